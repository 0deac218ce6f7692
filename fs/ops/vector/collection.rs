// SPDX-License-Identifier: GPL-2.0

//! Collections: create, look up, drop.

use super::{change, system, text};
use crate::libvexfs::credits;
use crate::libvexfs::journal::{Store as _, Trans as _};
use crate::libvexfs::orphan;
use crate::libvexfs::vector::collection::{Collection, Element, Metric, NewCollection};
use crate::libvexfs::vector::index::log::DROP_INDEX_CREDITS;
use crate::libvexfs::vector::index::{Index, State};
use crate::libvexfs::Fs;
use crate::vfs::{
    access::{self, MAY_WRITE},
    bindings,
    core_lock::CoreGuard,
    inode::VexInode,
    ioctl::File,
    store::Store,
    super_block::Mount,
    uapi,
};
use kernel::prelude::*;

type Raw = bindings::vexfs_collection;

/// Its size in version 1 of the ABI.
const MIN: usize = 320;

/// `VEXFS_IOC_COLLECTION_CREATE`.
pub(super) fn create(file: &File, arg: usize) -> Result<isize> {
    let (mut raw, size) = uapi::get::<Raw>(arg, MIN)?;
    if raw.flags != 0 {
        return Err(EINVAL);
    }
    let mount = file.inode().mount();
    let root = VexInode::get(mount.sb(), mount.fs.sb.root_ino, None)?;
    access::permission(file.idmap(), &root, MAY_WRITE)?;
    let new = NewCollection {
        name: text(&raw.name)?,
        model: text(&raw.model)?,
        dim: raw.dim,
        element: Element::from_raw(raw.type_).ok_or(EINVAL)?,
        metric: Metric::from_raw(raw.metric).ok_or(EINVAL)?,
        uid: access::caller_uid(file)?,
        now: root.now(),
    };
    let system = system(mount)?;
    let ((made, _), _) = mount.with_space(|| {
        change(&system, Fs::<Store>::CREATE_COLLECTION, |t, core| {
            mount.fs.create_collection(t, core, &new)
        })
    })?;
    tell(mount, &made, &mut raw)?;
    uapi::put(arg, size, &raw)?;
    Ok(0)
}

/// `VEXFS_IOC_COLLECTION_GET`.
pub(super) fn get(file: &File, arg: usize) -> Result<isize> {
    let (mut raw, size) = uapi::get::<Raw>(arg, MIN)?;
    if raw.flags & !bindings::VEXFS_COLLECTION_NEXT != 0 {
        return Err(EINVAL);
    }
    let mount = file.inode().mount();
    let found = find(mount, &raw)?;
    raw.flags = 0;
    tell(mount, &found, &mut raw)?;
    uapi::put(arg, size, &raw)?;
    Ok(0)
}

/// `VEXFS_IOC_COLLECTION_DROP`.
pub(super) fn drop(file: &File, arg: usize) -> Result<isize> {
    let (raw, _) = uapi::get::<Raw>(arg, MIN)?;
    if raw.flags != 0 {
        return Err(EINVAL);
    }
    let mount = file.inode().mount();
    let found = find(mount, &raw)?;
    if access::caller_uid(file).ok() != Some(found.uid)
        && !access::capable_over(mount.sb(), bindings::CAP_FOWNER)
    {
        return Err(EPERM);
    }
    let system = system(mount)?;
    let inode = VexInode::get(mount.sb(), found.ino, Some(found.generation))?;
    loop {
        drop_index(mount, &found, &inode, State::None)?;
        let _lock = mount.vectors.lock(found.id)?;
        // Another drop may have been first: a second one would fail in the middle of its change.
        if inode.nlink() == 0 {
            return Err(ENOENT);
        }
        let fs = &mount.fs;
        if has_index(mount, &inode)?.is_some() {
            // It was made meanwhile.
            continue;
        }
        let mut t = fs
            .store
            .begin(credits::REMOVE + credits::ORPHAN + 2 * credits::INODE)?;
        let (mut table, mut core) = both(&system, &inode);
        fs.orphan_add(&mut t, &mut core, orphan::DELETE)?;
        core.nlink = 0;
        fs.log_inode(&mut t, &core)?;
        fs.remove_collection(&mut t, &mut table, found.id)?;
        inode.show(&core);
        system.show_blocks(&table);
        let tid = t.tid();
        core::mem::drop((table, core));
        for changed in [&*system, &*inode, file.inode()] {
            changed.data().note(tid, true);
        }
        t.stop()?;
        break;
    }
    // The last reference frees what the collection had.
    core::mem::drop(inode);
    Ok(0)
}

/// Locks two cores, in the order of their numbers.
fn both<'a>(a: &'a VexInode, b: &'a VexInode) -> (CoreGuard<'a>, CoreGuard<'a>) {
    if a.ino() < b.ino() {
        let first = a.core().write();
        (first, b.core().write_nested(1))
    } else {
        let first = b.core().write();
        (a.core().write_nested(1), first)
    }
}

/// The index of a collection whose inode this is, if it has a graph.
fn has_index(mount: &Mount, inode: &VexInode) -> Result<Option<Index>> {
    let index = mount.fs.index(&inode.core().read())?;
    Ok(index.filter(|index| index.state.has_graph()))
}

/// Drops the index of a collection, if there is one; `to` is what its record says then. False: there
/// was none.
///
/// # Errors
///
/// What libvexfs returns.
///
/// # Context
///
/// No lock held.
pub(super) fn drop_index(
    mount: &Mount,
    found: &Collection,
    inode: &VexInode,
    to: State,
) -> Result<bool> {
    let Some(index) = has_index(mount, inode)? else {
        return Ok(false);
    };
    let nodes = match VexInode::get(mount.sb(), index.ino, Some(index.generation)) {
        Ok(nodes) => nodes,
        Err(e) if e == ENOMEM || e == EINTR => return Err(e),
        // What cannot be read is left to fsck.
        Err(_) => {
            let _lock = mount.vectors.lock(found.id)?;
            change(inode, DROP_INDEX_CREDITS, |t, core| {
                mount.fs.drop_index(t, core, None, to)
            })?;
            return Ok(true);
        }
    };
    {
        let _lock = mount.vectors.lock(found.id)?;
        let now = has_index(mount, inode)?;
        if now.is_none_or(|now| now.ino != index.ino || now.generation != index.generation) {
            return Ok(false);
        }
        let mut t = mount.fs.store.begin(DROP_INDEX_CREDITS)?;
        let (mut core, mut nodes_core) = both(inode, &nodes);
        mount
            .fs
            .drop_index(&mut t, &mut core, Some(&mut *nodes_core), to)?;
        nodes.show(&nodes_core);
        let tid = t.tid();
        core::mem::drop((core, nodes_core));
        for changed in [inode, &*nodes] {
            changed.data().note(tid, true);
        }
        t.stop()?;
    }
    // The last reference frees the nodes: perhaps that of a search that is running.
    core::mem::drop(mount.vectors.indexes.forget(found.id));
    core::mem::drop(nodes);
    Ok(true)
}

/// The lowest id of a collection above `id`.
pub(super) fn after(mount: &Mount, id: u32) -> Result<Option<u32>> {
    let system = system(mount)?;
    let found = mount.fs.collection_after(&system.core().read(), id)?;
    Ok(found.map(|found| found.id))
}

/// The collection that a structure names.
fn find(mount: &Mount, raw: &Raw) -> Result<Collection> {
    let system = system(mount)?;
    let core = system.core().read();
    let found = if raw.flags & bindings::VEXFS_COLLECTION_NEXT != 0 {
        mount.fs.collection_after(&core, raw.id)?
    } else if raw.id != 0 {
        mount.fs.collection(&core, raw.id)?
    } else {
        mount.fs.collection_named(&core, text(&raw.name)?)?
    };
    found.ok_or(ENOENT)
}

/// Fills in what there is to say of a collection.
fn tell(mount: &Mount, c: &Collection, raw: &mut Raw) -> Result {
    raw.id = c.id;
    raw.dim = c.dim;
    raw.type_ = c.element as u32;
    raw.metric = c.metric as u32;
    raw.created_sec = c.created.sec;
    raw.created_nsec = c.created.nsec;
    raw.uid = c.uid;
    fill(&mut raw.name, c.name.as_bytes());
    fill(&mut raw.model, c.model.as_bytes());
    let inode = VexInode::get(mount.sb(), c.ino, Some(c.generation))?;
    let core = inode.core().read();
    let counts = mount.fs.vector_counts(&core)?;
    raw.records = counts.live;
    raw.slots = counts.next.into();
    raw.bytes = core.blocks.saturating_mul(4096);
    Ok(())
}

fn fill(to: &mut [u8], text: &[u8]) {
    to.fill(0);
    if let Some(to) = to.get_mut(..text.len()) {
        to.copy_from_slice(text);
    }
}
