// SPDX-License-Identifier: GPL-2.0

//! The attributes that the VFS's inode and the core both have, and which of the two is ahead.
//!
//! | Attribute                | Ahead | Copied by |
//! |--------------------------|-------|-----------|
//! | mode, owner, times       | VFS: set by setattr, writes, reads | [`VexInode::store_attributes`] |
//! | links, blocks, flags     | core: changed by libvexfs          | [`VexInode::show`] |
//! | mtime, ctime of entries' changes | core                       | [`VexInode::show_times`] |
//! | size of a regular file   | neither: the core has the size on disk, see `ops::truncate` | |

use super::{bindings, dentry::IdMap, inode::VexInode, jbd2};
use crate::libvexfs::{
    credits,
    format::{inode::STATE_OFFLINE, Time},
    journal::{Store as _, Trans as _},
    Inode as Core,
};
use core::sync::atomic::Ordering;
use kernel::prelude::*;

/// What the VFS may be ahead in.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Attributes {
    mode: u16,
    uid: u32,
    gid: u32,
    atime: Time,
    mtime: Time,
    ctime: Time,
}

impl Attributes {
    /// What the core has.
    fn of_core(core: &Core) -> Self {
        Attributes {
            mode: core.mode,
            uid: core.uid,
            gid: core.gid,
            atime: core.atime,
            mtime: core.mtime,
            ctime: core.ctime,
        }
    }

    /// What the VFS has.
    fn of_vfs(inode: &VexInode) -> Self {
        let raw = inode.as_ptr();
        // SAFETY: The inode lives.
        unsafe {
            Attributes {
                mode: inode.mode(),
                uid: bindings::vexfs_helper_i_uid_read(raw),
                gid: bindings::vexfs_helper_i_gid_read(raw),
                atime: time(
                    bindings::vexfs_helper_inode_get_atime_sec(raw),
                    bindings::vexfs_helper_inode_get_atime_nsec(raw),
                ),
                mtime: time(
                    bindings::vexfs_helper_inode_get_mtime_sec(raw),
                    bindings::vexfs_helper_inode_get_mtime_nsec(raw),
                ),
                ctime: time(
                    bindings::vexfs_helper_inode_get_ctime_sec(raw),
                    bindings::vexfs_helper_inode_get_ctime_nsec(raw),
                ),
            }
        }
    }

    fn store(&self, core: &mut Core) {
        core.mode = self.mode;
        core.uid = self.uid;
        core.gid = self.gid;
        core.atime = self.atime;
        core.mtime = self.mtime;
        core.ctime = self.ctime;
    }
}

/// A time of the VFS.
fn time(sec: i64, nsec: c_long) -> Time {
    // The clock's nanoseconds are in range; a torn read of two fields must not write others.
    let nsec = u32::try_from(nsec).unwrap_or(0).min(999_999_999);
    Time { sec, nsec }
}

/// What stat(2) tells of a file.
#[derive(Clone, Copy)]
pub(crate) struct Stat {
    /// Type and permissions.
    pub(crate) mode: u16,
    /// Owner, as the caller sees it.
    pub(crate) uid: u32,
    /// Group, as the caller sees it.
    pub(crate) gid: u32,
    /// Bytes.
    pub(crate) size: u64,
    /// Blocks of 512 bytes.
    pub(crate) sectors: u64,
    /// Names.
    pub(crate) nlink: u32,
    /// Last access.
    pub(crate) atime: Time,
    /// Last change of the contents.
    pub(crate) mtime: Time,
    /// Last change of anything.
    pub(crate) ctime: Time,
}

/// Attributes of the VFS's inode from before a change, to go back to.
pub(crate) struct Saved(Attributes);

impl VexInode {
    /// The time of a change of this inode: of the clock's granularity, but later than its last change
    /// if anybody has seen the time of that (`FS_MGTIME`).
    ///
    /// # Context
    ///
    /// The inode is locked for the change.
    pub(crate) fn now(&self) -> Time {
        // SAFETY: The inode lives, and nobody else changes its times.
        let now = unsafe { bindings::vexfs_helper_inode_change_time(self.as_ptr()) };
        time(now.tv_sec, now.tv_nsec)
    }

    /// Shows the VFS what libvexfs changed and logged: links, blocks, flags, and the times.
    pub(crate) fn show(&self, core: &Core) {
        self.unlogged.store(false, Ordering::Relaxed);
        self.show_times(core);
        let raw = self.as_ptr();
        // SAFETY: The inode lives.
        unsafe {
            let old = bindings::vexfs_helper_i_nlink(raw);
            if old != core.nlink {
                bindings::set_nlink(raw, core.nlink);
                self.link_changes.fetch_add(1, Ordering::Relaxed);
            }
            bindings::inode_set_flags(raw, vfs_flags(core.flags), vfs_flags(u32::MAX));
        }
        self.show_blocks(core);
        if !self.is_regular() {
            self.set_size(core.size);
        }
    }

    /// How often the number of links has changed since the inode is in core. With the core's lock
    /// held it stands still.
    pub(crate) fn link_changes(&self) -> u32 {
        self.link_changes.load(Ordering::Relaxed)
    }

    /// Shows the VFS how many blocks the inode has, delayed ones included.
    pub(crate) fn show_blocks(&self, core: &Core) {
        // Tools take a file without blocks for one without data: one that is on tape shows a sector.
        let least = u64::from(core.state & STATE_OFFLINE != 0);
        let blocks = core.blocks.saturating_add(self.data().delayed());
        let sectors = blocks.saturating_mul(8).max(least);
        // SAFETY: The inode lives; a torn read of the field does no harm.
        unsafe { (&raw mut (*self.as_ptr()).i_blocks).write_volatile(sectors) };
    }

    /// Shows the VFS the core's times.
    fn show_times(&self, core: &Core) {
        let raw = self.as_ptr();
        // SAFETY: The inode lives.
        unsafe {
            let t = core.atime;
            bindings::vexfs_helper_inode_set_atime(raw, t.sec, t.nsec as c_long);
            let t = core.mtime;
            bindings::vexfs_helper_inode_set_mtime(raw, t.sec, t.nsec as c_long);
            let t = core.ctime;
            bindings::vexfs_helper_inode_set_ctime(raw, t.sec, t.nsec as c_long);
        }
    }

    /// Brings the core up to date with what the VFS is ahead in. Call it before an operation that
    /// changes the core and logs the inode. Should that fail, the core is still to be logged.
    pub(crate) fn store_attributes(&self, core: &mut Core) {
        let now = Attributes::of_vfs(self);
        if now != Attributes::of_core(core) {
            now.store(core);
            self.unlogged.store(true, Ordering::Relaxed);
        }
    }

    /// What the caller is told of the file through a mount with this map of owners.
    pub(crate) fn stat(&self, idmap: IdMap) -> Stat {
        let all = Attributes::of_vfs(self);
        let (mut uid, mut gid) = (0, 0);
        // SAFETY: The inode lives, the map is that of a mount that is held; the rest is ours.
        unsafe {
            bindings::vexfs_helper_stat_owner(idmap.as_ptr(), self.as_ptr(), &mut uid, &mut gid);
        }
        Stat {
            mode: all.mode,
            uid,
            gid,
            size: self.size(),
            // SAFETY: The inode lives; a torn read of the field does no harm.
            sectors: unsafe { (&raw const (*self.as_ptr()).i_blocks).read_volatile() },
            nlink: self.nlink(),
            atime: all.atime,
            mtime: all.mtime,
            ctime: all.ctime,
        }
    }

    /// The attributes as they are, for [`VexInode::restore`].
    pub(crate) fn save(&self) -> Saved {
        Saved(Attributes::of_vfs(self))
    }

    /// Goes back to the attributes from before a change that failed.
    pub(crate) fn restore(&self, saved: &Saved) {
        let (raw, a) = (self.as_ptr(), &saved.0);
        // SAFETY: The inode lives, and its lock is held by whoever changes attributes.
        unsafe {
            (*raw).i_mode = a.mode;
            bindings::vexfs_helper_i_uid_write(raw, a.uid);
            bindings::vexfs_helper_i_gid_write(raw, a.gid);
            bindings::vexfs_helper_inode_set_atime(raw, a.atime.sec, a.atime.nsec as c_long);
            bindings::vexfs_helper_inode_set_mtime(raw, a.mtime.sec, a.mtime.nsec as c_long);
            bindings::vexfs_helper_inode_set_ctime(raw, a.ctime.sec, a.ctime.nsec as c_long);
        }
    }

    /// Logs the attributes that the VFS is ahead in, if there are any.
    ///
    /// # Errors
    ///
    /// What the journal says. The attributes stay ahead then.
    pub(crate) fn flush_attributes(&self) -> Result {
        // Inside of a transaction the operation that runs logs the inode itself, or write-back
        // will come here again.
        if !self.is_live() || self.read_only() || jbd2::has_handle() {
            return Ok(());
        }
        {
            let core = self.core().read();
            let same = Attributes::of_core(&core) == Attributes::of_vfs(self);
            if core.ino == 0 || (same && !self.unlogged.load(Ordering::Relaxed)) {
                return Ok(());
            }
        }
        let fs = self.fs();
        let mut t = fs.store.begin(credits::INODE)?;
        let mut core = self.core().write();
        let old = Attributes::of_core(&core);
        self.store_attributes(&mut core);
        if let Err(e) = fs.log_inode(&mut t, &core) {
            old.store(&mut core);
            return Err(e);
        }
        self.unlogged.store(false, Ordering::Relaxed);
        self.data().note(t.tid(), false);
        drop(core);
        t.stop()
    }
}

/// The VFS's flags for the flags on disk.
fn vfs_flags(flags: u32) -> u32 {
    const PAIRS: [(u32, u32); 5] = [
        (bindings::FS_SYNC_FL, bindings::S_SYNC),
        (bindings::FS_APPEND_FL, bindings::S_APPEND),
        (bindings::FS_IMMUTABLE_FL, bindings::S_IMMUTABLE),
        (bindings::FS_NOATIME_FL, bindings::S_NOATIME),
        (bindings::FS_DIRSYNC_FL, bindings::S_DIRSYNC),
    ];
    let mut s = 0;
    for (fs, vfs) in PAIRS {
        if flags & fs != 0 {
            s |= vfs;
        }
    }
    s
}
