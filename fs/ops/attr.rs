// SPDX-License-Identifier: GPL-2.0

//! Changing and showing attributes.

use super::{staging, truncate};
use crate::libvexfs::{
    credits,
    format::Time,
    journal::{Store as _, Tid, Trans as _},
    quota::Owners,
};
use crate::vfs::{attr::Change, bindings, inode::VexInode};
use kernel::prelude::*;

/// Changes attributes: size, owner, mode, times.
///
/// # Errors
///
/// What the VFS says of the permission to; `EDQUOT` if the new owner must not have so much; the
/// journal's and those of changing the size.
pub(crate) fn set(inode: &VexInode, change: &Change) -> Result {
    inode.check_running()?;
    change.prepare()?;
    if let Some(size) = change.size() {
        // Through a descriptor that is older than the flag; all else the VFS refuses.
        if inode.is_immutable() {
            return Err(EPERM);
        }
        if staging::before_resize(inode, size)? {
            // The lock was let go, so what was found out with it may not be so any more.
            change.refresh_mode(inode);
            change.prepare()?;
        }
        // truncate(2) leaves it to us whether that is a change, ftruncate(2) does not.
        if size != inode.size() {
            change.touch();
        }
        let cut = truncate::setsize(inode, size);
        inode.mount().judge(cut)?;
    }

    let logged = log(inode, change);
    let tid = inode.mount().judge(logged)?;
    inode.sync_if_asked(tid)?;
    change.follow_mode()
}

/// Changes all but the size, in one transaction.
fn log(inode: &VexInode, change: &Change) -> Result<Tid> {
    let fs = inode.fs();
    // The inode's lock, which the VFS holds, keeps the owners as they are meanwhile.
    let (uid, gid) = change.owner(inode);
    let owners = Owners([uid, gid, inode.core().read().projid]);
    fs.quota_open(&owners)?;
    let mut t = fs.store.begin(credits::INODE + credits::QUOTA)?;
    let mut core = inode.core().write();
    fs.quota_may_move(&core, &owners)?;
    // Until the inode is logged, a failure must leave the VFS's inode and the core as they were.
    let saved = inode.save();
    let mut changed = core.clone();
    change.apply(inode);
    inode.store_attributes(&mut changed);
    if let Err(e) = fs.log_inode(&mut t, &changed) {
        inode.restore(&saved);
        return Err(e);
    }
    *core = changed;
    let tid = t.tid();
    inode.data().note(tid, false);
    drop(core);
    t.stop()?;
    Ok(tid)
}

/// What users may see beyond what the VFS knows.
pub(crate) struct Shown {
    /// Time of creation.
    pub(crate) btime: Time,
    /// Only appending is allowed.
    pub(crate) append: bool,
    /// No change is allowed.
    pub(crate) immutable: bool,
    /// Backups are to skip it.
    pub(crate) nodump: bool,
}

/// Shows attributes.
///
/// # Errors
///
/// `EIO` when the file system is shut down.
pub(crate) fn show(inode: &VexInode) -> Result<Shown> {
    inode.check_running()?;
    let core = inode.core().read();
    Ok(Shown {
        btime: core.btime,
        append: core.flags & bindings::FS_APPEND_FL != 0,
        immutable: core.flags & bindings::FS_IMMUTABLE_FL != 0,
        nodump: core.flags & bindings::FS_NODUMP_FL != 0,
    })
}
