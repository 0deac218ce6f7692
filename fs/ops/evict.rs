// SPDX-License-Identifier: GPL-2.0

//! Inodes on their way out of core, and off the disk.

use crate::libvexfs::{
    credits,
    journal::{Store as _, Trans as _},
};
use crate::vfs::{inode::VexInode, sched};
use kernel::prelude::*;

/// Writes an inode: what the VFS changed and nobody logged yet. With `wait` it is durable
/// afterwards.
///
/// # Errors
///
/// The journal's.
pub(crate) fn write(inode: &VexInode, wait: bool) -> Result {
    inode.flush_attributes()?;
    if wait && inode.is_live() {
        inode.commit_tid(inode.data().commit_tid(false))?;
    }
    Ok(())
}

/// Frees an inode that has no links, and whatever belongs to it. On a file system that is not to
/// be written to it stays an orphan, for a later mount to free.
///
/// # Errors
///
/// What libvexfs returns; the inode stays an orphan then.
pub(crate) fn free_unlinked(inode: &VexInode) -> Result {
    if inode.nlink() != 0 || inode.read_only() || inode.check_running().is_err() {
        return Ok(());
    }
    super::vector::forget_owner(inode)?;
    let fs = inode.fs();
    loop {
        let mut t = fs.store.begin(credits::REAP_STEP)?;
        let mut core = inode.core().write();
        let done = fs.reap_step(&mut t, &mut core)?;
        drop(core);
        t.stop()?;
        if done {
            return Ok(());
        }
        sched::yield_if_needed();
    }
}

/// Goes on cutting a file to its size where a crash ended it.
///
/// # Errors
///
/// What libvexfs returns.
pub(crate) fn cut(inode: &VexInode) -> Result {
    let fs = inode.fs();
    loop {
        let mut t = fs.store.begin(credits::REAP_STEP)?;
        let mut core = inode.core().write();
        let done = fs.trim_step(&mut t, &mut core)?;
        inode.show_blocks(&core);
        inode.data().changed();
        inode.data().note(t.tid(), true);
        drop(core);
        t.stop()?;
        if done {
            inode.data().set_trim(false);
            return Ok(());
        }
        sched::yield_if_needed();
    }
}
