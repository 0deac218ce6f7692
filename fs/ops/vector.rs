// SPDX-License-Identifier: GPL-2.0

//! Vectors: collections, records and the exact search, by ioctl.
//!
//! - [`collection`]: what there is. [`put`]: records go in. [`record`]: they come out again.
//! - [`search`]: run, tell. [`request`]: what is asked for. [`query`]: the vectors that are looked for.
//!   [`plan`]: which slots are enough. [`scan`]: the pass over vectors. [`trace`]: how it went.
//! - [`admission`]: which records may be hits. [`sight`]: which files the caller may see. [`filter`]:
//!   what filters see of them.
//! - [`index`]: graphs over collections, the worker that keeps them, and searches through them.
//! - [`reap`]: records of files that are gone.
//!
//! Locks: whoever changes a collection holds its lock of [`Vectors`], taken after the mount's write
//! access and before everything else; with it no inode is looked up or let go, because the last
//! reference to an unlinked one takes that lock to remove its records. A search holds nothing while it computes.

mod admission;
mod collection;
mod filter;
mod index;
mod plan;
mod put;
mod query;
mod reap;
mod record;
mod request;
mod scan;
mod search;
mod sight;
mod trace;

pub(crate) use reap::forget_owner;

use crate::libvexfs::errno::{estale, euclean};
use crate::libvexfs::format::inode::STATE_INTERNAL;
use crate::libvexfs::journal::{Tid, Trans as _};
use crate::libvexfs::vector::Collection;
use crate::libvexfs::Inode;
use crate::vfs::{
    bindings,
    inode::{InodeRef, VexInode},
    internal_file::InternalFile,
    ioctl::File,
    simd::Kernels,
    store::Handle,
    super_block::Mount,
    sync::Mutex,
    uapi,
};
use kernel::{prelude::*, sync::MutexGuard};

// What the calls take as the sizes of version 1 of the ABI. A structure that grew is larger.
const _: () = {
    assert!(size_of::<bindings::vexfs_abi>() >= 16);
    assert!(size_of::<bindings::vexfs_path>() >= 40);
    assert!(size_of::<bindings::vexfs_collection>() >= 320);
    assert!(size_of::<bindings::vexfs_mark>() >= 40);
    assert!(size_of::<bindings::vexfs_put>() >= 32);
    assert!(size_of::<bindings::vexfs_put_item>() >= 56);
    assert!(size_of::<bindings::vexfs_record>() >= 56);
    assert!(size_of::<bindings::vexfs_get>() >= 88);
    assert!(size_of::<bindings::vexfs_delete>() >= 40);
    assert!(size_of::<bindings::vexfs_list>() >= 40);
    assert!(size_of::<bindings::vexfs_search>() >= 56);
    assert!(size_of::<bindings::vexfs_cursor>() >= 24);
    assert!(size_of::<bindings::vexfs_explain>() >= 176);
    assert!(size_of::<bindings::vexfs_filter>() >= 40);
    assert!(size_of::<bindings::vexfs_filter_insn>() >= 16);
};

/// Locks that collections share, by id.
const LOCKS: usize = 16;

/// What a mount keeps for vectors.
pub(crate) struct Vectors {
    locks: KVec<Mutex<()>>,
    indexes: index::Indexes,
}

impl Vectors {
    /// For a file system that is being mounted.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let mut locks = KVec::with_capacity(LOCKS, GFP_KERNEL)?;
        for _ in 0..LOCKS {
            locks.push(Mutex::new(())?, GFP_KERNEL)?;
        }
        Ok(Vectors {
            locks,
            indexes: index::Indexes::new()?,
        })
    }

    /// The mount writes from now on: indexes are kept up.
    ///
    /// # Safety
    ///
    /// `mount`, which this is of, stays where it is until [`Vectors::stop`] was called.
    pub(crate) unsafe fn start(&self, mount: &Mount) -> Result {
        // SAFETY: The caller's promise.
        unsafe { self.indexes.start_worker(mount) }
    }

    /// Nothing is written from now on: indexes are saved and left alone.
    pub(crate) fn stop(&self) {
        self.indexes.stop_worker();
    }

    /// Collections get indexes of themselves from so many records on; 0: never.
    pub(crate) fn set_automatic(&self, least: u64) {
        self.indexes.set_automatic(least);
    }

    /// Shows that option if it is not the default.
    pub(crate) fn show_automatic(&self, show: &mut dyn FnMut(&str)) {
        self.indexes.show_automatic(show);
    }

    /// The file system goes: holds no inodes any more.
    pub(crate) fn detach(&self) {
        self.indexes.stop_worker();
        self.indexes.clear();
    }

    /// The file system is not frozen any more, or was shut down: who waits looks again.
    pub(crate) fn look_again(&self) {
        self.indexes.look_again();
    }

    /// Keeps others from changing collection `id`.
    fn lock(&self, id: u32) -> Result<MutexGuard<'_, ()>> {
        Ok(self.locks.get(id as usize % LOCKS).ok_or(EINVAL)?.lock())
    }
}

/// Answers an ioctl of the general or the vectors' range of numbers.
///
/// # Errors
///
/// `ENOTTY` for numbers that are not in use, and each call's own.
pub(crate) fn ioctl(file: &File, nr: u32, arg: usize) -> Result<isize> {
    let result = match nr {
        bindings::VEXFS_NR_ABI => abi(file, arg),
        bindings::VEXFS_NR_PATH => sight::path(file, arg),
        bindings::VEXFS_NR_COLLECTION_CREATE => {
            file.with_write_access(|| collection::create(file, arg))
        }
        bindings::VEXFS_NR_COLLECTION_GET => collection::get(file, arg),
        bindings::VEXFS_NR_COLLECTION_DROP => {
            file.with_write_access(|| collection::drop(file, arg))
        }
        bindings::VEXFS_NR_MARK => file.with_write_access(|| record::mark(file, arg)),
        bindings::VEXFS_NR_PUT => {
            put::wait(file, arg).and_then(|()| file.with_write_access(|| put::put(file, arg)))
        }
        bindings::VEXFS_NR_GET => record::get(file, arg),
        bindings::VEXFS_NR_DELETE => file.with_write_access(|| record::delete(file, arg)),
        bindings::VEXFS_NR_LIST => record::list(file, arg),
        bindings::VEXFS_NR_SEARCH => search::search(file, arg),
        bindings::VEXFS_NR_INDEX => index::ioctl(file, arg),
        _ => Err(ENOTTY),
    };
    file.inode().mount().judge(result)
}

/// `VEXFS_IOC_ABI`.
fn abi(file: &File, arg: usize) -> Result<isize> {
    let (mut abi, size) = uapi::get::<bindings::vexfs_abi>(arg, 16)?;
    if abi.flags != 0 || abi.reserved != 0 {
        return Err(EINVAL);
    }
    let sb = &file.inode().fs().sb;
    abi.size = size_of_val(&abi) as u32;
    abi.version = bindings::VEXFS_ABI_VERSION;
    abi.features = (bindings::VEXFS_FEATURE_VECTORS
        | bindings::VEXFS_FEATURE_STAGING
        | bindings::VEXFS_FEATURE_INDEX)
        .into();
    abi.root_ino = sb.root_ino;
    abi.uuid = sb.uuid;
    uapi::put(arg, size, &abi)?;
    Ok(0)
}

/// The system inode, which has the table of collections.
fn system(mount: &Mount) -> Result<InodeRef> {
    VexInode::get(mount.sb(), mount.fs.sb.system_ino, None)
}

/// A collection and its inode.
struct Open {
    collection: Collection,
    file: InternalFile,
    kernels: Kernels,
}

impl Open {
    /// Opens collection `id`.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none; `EUCLEAN`, `EIO`, `ENOMEM`.
    fn new(mount: &Mount, id: u32) -> Result<Self> {
        let system = system(mount)?;
        let found = mount.fs.collection(&system.core().read(), id);
        let collection = found?.ok_or(ENOENT)?;
        // It may be dropped at any moment: then its inode is another, or none.
        let inode = VexInode::get(mount.sb(), collection.ino, Some(collection.generation))
            .map_err(|e| if e == estale() { ENOENT } else { e })?;
        if !inode.is_regular() || inode.core().read().state & STATE_INTERNAL == 0 {
            return Err(mount
                .fs
                .damaged(collection.ino, 0, "a collection's inode is none"));
        }
        let kernels = Kernels::new(
            collection.dim,
            collection.element as u32,
            collection.metric as u32,
        );
        Ok(Open {
            collection,
            file: InternalFile::new(inode),
            kernels,
        })
    }

    fn inode(&self) -> &VexInode {
        self.file.inode()
    }

    /// Bytes of a vector as it is stored.
    fn stored(&self) -> usize {
        self.collection.stride() as usize
    }

    /// Bytes of a vector as users see it.
    fn wide(&self) -> usize {
        self.collection.dim as usize * 4
    }

    /// Whether it was dropped since it was opened.
    fn dropped(&self) -> bool {
        self.inode().nlink() == 0
    }
}

/// Changes an inode's core in a transaction of its own, and tells who must know. `f` leaves the
/// core as it was if it fails before something is dirtied.
fn change<T>(
    vi: &VexInode,
    credits: usize,
    f: impl FnOnce(&mut Handle, &mut Inode) -> Result<T>,
) -> Result<(T, Tid)> {
    use crate::libvexfs::journal::Store as _;
    let mut t = vi.fs().store.begin(credits)?;
    let tid = t.tid();
    let mut core = vi.core().write();
    let result = f(&mut t, &mut core);
    if result.is_ok() {
        vi.show_blocks(&core);
        vi.data().note(tid, true);
    }
    drop(core);
    // Dropped after an error the transaction ends plainly, or takes the journal down if something
    // was dirtied.
    let value = result?;
    t.stop()?;
    Ok((value, tid))
}

/// Whether a text in a structure of the ABI ends with a NUL, and the bytes before it.
fn text(bytes: &[u8]) -> Result<&[u8]> {
    let end = bytes.iter().position(|&b| b == 0).ok_or(EINVAL)?;
    let (text, rest) = bytes.split_at(end);
    if rest.iter().any(|&b| b != 0) {
        return Err(EINVAL);
    }
    Ok(text)
}

/// `ENOENT` for damage that a dropped collection explains.
fn unless_dropped<T>(open: &Open, result: Result<T>) -> Result<T> {
    match result {
        Err(e) if (e == euclean() || e == estale() || e == EIO) && open.dropped() => Err(ENOENT),
        other => other,
    }
}
