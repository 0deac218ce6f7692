// SPDX-License-Identifier: GPL-2.0

//! Flags and projects of files: `chattr` and its relatives.

use crate::libvexfs::{
    credits,
    errno::{eopnotsupp, exdev},
    format::inode::{S_IFDIR, S_IFMT, S_IFREG},
    journal::{Store as _, Tid, Trans as _},
    quota::{qtype, Owners},
    Inode as Core,
};
use crate::vfs::{bindings, inode::VexInode};
use kernel::prelude::*;

/// The flags that files can have.
const KNOWN: u32 = bindings::FS_SYNC_FL
    | bindings::FS_IMMUTABLE_FL
    | bindings::FS_APPEND_FL
    | bindings::FS_NODUMP_FL
    | bindings::FS_NOATIME_FL
    | bindings::FS_DIRSYNC_FL
    | bindings::FS_PROJINHERIT_FL;
/// What is made in a directory has these from the directory, as with ext4.
const INHERITED: u32 = bindings::FS_SYNC_FL
    | bindings::FS_NODUMP_FL
    | bindings::FS_NOATIME_FL
    | bindings::FS_DIRSYNC_FL
    | bindings::FS_PROJINHERIT_FL;
/// These are for directories alone.
const OF_DIRECTORIES: u32 = bindings::FS_DIRSYNC_FL | bindings::FS_PROJINHERIT_FL;
/// These are for everything, the others for directories and regular files.
const OF_ALL: u32 = bindings::FS_NODUMP_FL | bindings::FS_NOATIME_FL;

/// The extended flags that some of these are also known by.
const KNOWN_X: u32 = bindings::FS_XFLAG_SYNC
    | bindings::FS_XFLAG_IMMUTABLE
    | bindings::FS_XFLAG_APPEND
    | bindings::FS_XFLAG_NODUMP
    | bindings::FS_XFLAG_NOATIME
    | bindings::FS_XFLAG_PROJINHERIT;

/// The flags that a file of a kind can have, of some.
fn fitting(mode: u16, flags: u32) -> u32 {
    match mode & S_IFMT {
        S_IFDIR => flags,
        S_IFREG => flags & !OF_DIRECTORIES,
        _ => flags & OF_ALL,
    }
}

/// Flags and project.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileAttr {
    /// `FS_*_FL`.
    pub(crate) flags: u32,
    /// The project.
    pub(crate) projid: u32,
}

/// Flags and project that something made in a directory begins with.
pub(crate) fn inherited(dir: &VexInode, mode: u16) -> FileAttr {
    let dir = dir.core().read();
    FileAttr {
        flags: fitting(mode, dir.flags & INHERITED),
        projid: match dir.flags & bindings::FS_PROJINHERIT_FL {
            0 => 0,
            _ => dir.projid,
        },
    }
}

/// Whether something may get a name in a directory: one that passes its project on takes only what
/// is of that project.
///
/// # Errors
///
/// `EXDEV`.
pub(crate) fn check_project(dir: &VexInode, inode: &VexInode) -> Result {
    let (flags, projid) = {
        let core = dir.core().read();
        (core.flags, core.projid)
    };
    if flags & bindings::FS_PROJINHERIT_FL != 0 && inode.core().read().projid != projid {
        return Err(exdev());
    }
    Ok(())
}

/// Shows flags and project.
///
/// # Errors
///
/// `EIO` when the file system is shut down.
pub(crate) fn get(inode: &VexInode) -> Result<FileAttr> {
    inode.check_running()?;
    let core = inode.core().read();
    Ok(FileAttr {
        flags: core.flags & KNOWN,
        projid: core.projid,
    })
}

/// Sets flags and project. The inode is locked, and the VFS looked at the caller's rights.
///
/// # Errors
///
/// `EOPNOTSUPP` for what there is not, or not for such a file; `EPERM` for a change beside an
/// immutable flag that stays; the journal's.
pub(crate) fn set(inode: &VexInode, to: FileAttr, xflags: u32) -> Result {
    inode.check_running()?;
    if to.flags & !KNOWN != 0 || xflags & !KNOWN_X != 0 {
        return Err(eopnotsupp());
    }
    if fitting(inode.mode(), to.flags) != to.flags {
        return Err(eopnotsupp());
    }
    let have = get(inode)?;
    if to == have {
        return Ok(());
    }
    if have.flags & to.flags & bindings::FS_IMMUTABLE_FL != 0 {
        return Err(EPERM);
    }
    let logged = log(inode, to);
    let tid = inode.mount().judge(logged)?;
    if inode.is_immutable() && inode.is_regular() {
        // Pages that are mapped and dirty would not fault at the next write to them.
        inode.write_and_wait(0, i64::MAX as u64)?;
    }
    inode.sync_if_asked(tid)
}

fn log(inode: &VexInode, to: FileAttr) -> Result<Tid> {
    let fs = inode.fs();
    let now = inode.now();
    let mut owners = Owners::of(&inode.core().read());
    owners.0[qtype::PROJECT] = to.projid;
    fs.quota_open(&owners)?;
    let mut t = fs.store.begin(credits::INODE + credits::QUOTA)?;
    let mut core = inode.core().write();
    fs.quota_may_move(&core, &owners)?;
    let mut changed: Core = core.clone();
    inode.store_attributes(&mut changed);
    changed.flags = changed.flags & !KNOWN | to.flags;
    changed.projid = to.projid;
    changed.ctime = now;
    fs.log_inode(&mut t, &changed)?;
    *core = changed;
    let tid = t.tid();
    inode.show(&core);
    inode.data().note(tid, false);
    drop(core);
    t.stop()?;
    Ok(tid)
}
