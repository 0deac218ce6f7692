// SPDX-License-Identifier: GPL-2.0

//! File handles: from numbers to inodes, directories and names.

use super::evict;
use crate::libvexfs::{dir::NAME_MAX, errno::estale, format::inode::STATE_INTERNAL};
use crate::vfs::{
    inode::{InodeRef, VexInode},
    super_block::SuperBlock,
};
use kernel::prelude::*;

/// The inode of a handle, which may come from anywhere.
///
/// # Errors
///
/// `ESTALE` if there is none any more, or it is none for users; `EUCLEAN`, `EIO`, `ENOMEM`.
pub(crate) fn get(sb: &SuperBlock, ino: u64, generation: u32) -> Result<InodeRef> {
    let mount = sb.mount();
    mount.check_running()?;
    let inode = mount.judge(find(sb, ino, generation))?;
    if inode.core().read().state & STATE_INTERNAL != 0 {
        return Err(estale());
    }
    Ok(inode)
}

fn find(sb: &SuperBlock, ino: u64, generation: u32) -> Result<InodeRef> {
    // Of the blocks that anybody could name only those with inodes are read.
    if !sb.mount().fs.inode_in_use(ino)? {
        return Err(estale());
    }
    VexInode::get(sb, ino, Some(generation))
}

/// The directory that a directory is in.
///
/// # Errors
///
/// `ESTALE` if it was removed; `EUCLEAN`, `EIO`, `ENOMEM`.
pub(crate) fn parent(dir: &VexInode) -> Result<InodeRef> {
    dir.check_running()?;
    let of = dir.fs().parent_of(&dir.core().read());
    let (ino, generation) = dir.mount().judge(of).map_err(|e| match e {
        e if e == ENOENT => estale(),
        e => e,
    })?;
    get(dir.sb(), ino, generation)
}

/// Shows one name that an inode has in a directory.
///
/// # Errors
///
/// `ENOENT` if there is none (any more); `EUCLEAN`, `EIO`, `ENOMEM`.
pub(crate) fn name_in(dir: &VexInode, inode: &VexInode, f: &mut dyn FnMut(&[u8])) -> Result {
    inode.check_running()?;
    let mut found = false;
    let scanned = inode.fs().parents(&inode.core().read(), &mut |link| {
        let here = link.ino == dir.ino() && link.generation == dir.generation();
        if here && link.name.len() <= NAME_MAX {
            f(link.name);
            found = true;
        }
        Ok(!found)
    });
    inode.mount().judge(scanned)?;
    if found {
        Ok(())
    } else {
        Err(ENOENT)
    }
}

/// Makes durable what happened to an inode.
///
/// # Errors
///
/// The journal's.
pub(crate) fn commit(inode: &VexInode) -> Result {
    inode.check_running()?;
    let written = evict::write(inode, true);
    inode.mount().judge(written)
}
