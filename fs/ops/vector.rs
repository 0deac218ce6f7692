// SPDX-License-Identifier: GPL-2.0

//! Vectors: collections, records and the exact search, by ioctl.
//!
//! - [`collection`]: what there is. [`put`]: records go in. [`record`]: they come out again.
//! - [`search`]: run, tell. [`request`]: what is asked for. [`query`]: the vectors that are looked for.
//!   [`plan`]: which slots are enough. [`scan`]: the pass over vectors. [`trace`]: how it went.
//! - [`admission`]: which records may be hits. [`sight`]: which files the caller may see. [`filter`]:
//!   what filters see of them. [`prepared`]: filters behind descriptors. [`watch`]: what changes
//!   meanwhile.
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
mod prepared;
mod put;
mod query;
mod reap;
mod record;
mod request;
mod scan;
mod search;
mod sight;
mod trace;
mod watch;

pub(crate) use prepared::Prepared;
pub(crate) use reap::forget_owner;

use crate::libvexfs::errno::{estale, euclean};
use crate::libvexfs::format::inode::STATE_INTERNAL;
use crate::libvexfs::journal::{Tid, Trans as _};
use crate::libvexfs::vector::Collection;
use crate::libvexfs::Inode;
use crate::vfs::{
    bindings,
    inode::{InodeRef, VexInode},
    internal_file::{InternalFile, Reader},
    ioctl::File,
    sched::apart,
    simd::{copy_racing, Kernels},
    store::Handle,
    super_block::Mount,
    sync::Mutex,
    uapi,
};
use kernel::{
    prelude::*,
    sync::{Arc, MutexGuard},
};

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
    watch: Arc<watch::Watch>,
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
            watch: watch::Watch::new()?,
        })
    }

    /// The mount writes from now on: indexes are kept up.
    pub(crate) fn start(&self, mount: &Mount) -> Result {
        self.indexes.start_worker(mount)
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

    /// Who is to be told of changes.
    pub(crate) fn watch(&self) -> &watch::Watch {
        &self.watch
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
    let changes =
        |f: fn(&File, usize) -> Result<isize>| apart(|| file.with_write_access(|| f(file, arg)));
    let result = match nr {
        bindings::VEXFS_NR_ABI => apart(|| abi(file, arg)),
        bindings::VEXFS_NR_PATH => apart(|| sight::path(file, arg)),
        bindings::VEXFS_NR_COLLECTION_CREATE => changes(collection::create),
        bindings::VEXFS_NR_COLLECTION_GET => apart(|| collection::get(file, arg)),
        bindings::VEXFS_NR_COLLECTION_DROP => changes(collection::drop),
        bindings::VEXFS_NR_MARK => changes(record::mark),
        bindings::VEXFS_NR_PUT => apart(|| put::wait(file, arg)).and_then(|()| changes(put::put)),
        bindings::VEXFS_NR_GET => apart(|| record::get(file, arg)),
        bindings::VEXFS_NR_DELETE => changes(record::delete),
        bindings::VEXFS_NR_LIST => apart(|| record::list(file, arg)),
        bindings::VEXFS_NR_SEARCH => apart(|| search::search(file, arg)),
        bindings::VEXFS_NR_FILTER => apart(|| prepared::prepare(file, arg)),
        bindings::VEXFS_NR_INDEX => apart(|| index::ioctl(file, arg)),
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
    // Not inlined: what it needs of the stack is not its callers'.
    #[inline(never)]
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
        let kernels = Kernels::new(&collection);
        Ok(Open {
            collection,
            file: InternalFile::new(inode),
            kernels,
        })
    }

    fn inode(&self) -> &VexInode {
        self.file.inode()
    }

    /// Copies the bytes of a slot to `to`, which is as long, and has at least `ahead` bytes read from
    /// there on. Others may write there if nothing lives in the slot.
    ///
    /// # Errors
    ///
    /// `EIO`, `ENOMEM`, `EINTR`; `ESTALE` if the file does not reach there any more.
    fn copy_slot(&self, reader: &mut Reader<'_>, slot: u32, ahead: u64, to: &mut [u8]) -> Result {
        let mut pos = self.collection.offset(slot);
        let mut rest = to;
        while !rest.is_empty() {
            let folio = reader.folio(pos, ahead.max(rest.len() as u64))?;
            let n = copy_racing(&folio, (pos - folio.pos()) as usize, rest);
            if n == 0 {
                return Err(EIO);
            }
            pos += n as u64;
            rest = rest.split_at_mut(n).1;
        }
        Ok(())
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
