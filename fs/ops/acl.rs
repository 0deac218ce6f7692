// SPDX-License-Identifier: GPL-2.0

//! POSIX access control lists.

use super::xattr;
use crate::libvexfs::{
    acl,
    errno::{enodata, euclean},
    journal::{Store as _, Tid, Trans as _},
    xattr::{index::SYSTEM, SetMode},
};
use crate::vfs::{acl::Acl, inode::VexInode};
use kernel::prelude::*;

/// The name of the attribute that holds a list.
pub(crate) fn name(default: bool) -> &'static [u8] {
    if default {
        acl::DEFAULT
    } else {
        acl::ACCESS
    }
}

/// A list of an inode, if it has one.
///
/// # Errors
///
/// `EUCLEAN`, `EIO`, `ENOMEM`.
pub(crate) fn get(inode: &VexInode, default: bool) -> Result<Option<Acl>> {
    let bytes = match xattr::get(inode, SYSTEM, name(default)) {
        Ok(bytes) => bytes,
        Err(e) if e == enodata() => return Ok(None),
        Err(e) => return Err(e),
    };
    let entries = acl::parse(&bytes).map_err(|e| {
        if e == euclean() {
            return inode
                .fs()
                .damaged(inode.ino(), 0, "an access control list makes no sense");
        }
        e
    });
    match inode.mount().judge(entries)? {
        entries if entries.is_empty() => Ok(None),
        entries => Ok(Some(Acl::new(&entries)?)),
    }
}

/// Sets or removes a list, and sets the mode, in one transaction. The inode is locked.
///
/// # Errors
///
/// `EACCES` for a default list on anything but a directory; as `libvexfs::Fs::xattr_set`.
pub(crate) fn set(inode: &VexInode, default: bool, value: Option<&[u8]>, mode: u16) -> Result {
    inode.check_running()?;
    if default && !inode.is_dir() {
        return match value {
            Some(_) => Err(EACCES),
            None => Ok(()),
        };
    }
    let mount = inode.mount();
    let done = mount.with_space(|| write(inode, default, value, mode));
    let tid = mount.judge(done)?;
    inode.sync_if_asked(tid)
}

fn write(inode: &VexInode, default: bool, value: Option<&[u8]>, mode: u16) -> Result<Tid> {
    let fs = inode.fs();
    let name = name(default);
    // The inode is locked, so the list that is there stays until it is replaced.
    let len = value.map(<[u8]>::len);
    let credits = fs.xattr_credits(&inode.core().read(), SYSTEM, name, len)?;
    let now = inode.now();
    let mut t = fs.store.begin(credits)?;
    let mut core = inode.core().write();
    let mut changed = core.clone();
    inode.store_attributes(&mut changed);
    changed.mode = mode;
    let set = fs.xattr_set(&mut t, &mut changed, SYSTEM, name, value, SetMode::Any, now);
    match set {
        // There was none to remove. The mode may change all the same.
        Err(e) if e == enodata() && value.is_none() => {
            if changed.mode != core.mode {
                changed.ctime = now;
            }
            fs.log_inode(&mut t, &changed)?;
        }
        done => done?,
    }
    *core = changed;
    let tid = t.tid();
    inode.set_mode(mode);
    inode.show(&core);
    inode.data().note(tid, false);
    drop(core);
    t.stop()?;
    Ok(tid)
}
