// SPDX-License-Identifier: GPL-2.0

//! What the VFS calls for flags and projects of files.

use super::{bindings, dentry::errno, inode::VexInode};
use crate::ops::fileattr::{self, FileAttr};
use kernel::prelude::*;

/// # Safety
///
/// Called by the VFS with a positive dentry of ours and a structure to fill.
pub(super) unsafe extern "C" fn get(
    dentry: *mut bindings::dentry,
    to: *mut kernel::bindings::file_kattr,
) -> c_int {
    let to = to.cast::<bindings::file_kattr>();
    // SAFETY: By this function's own requirement.
    unsafe {
        let inode = VexInode::from_raw(bindings::vexfs_helper_d_inode(dentry));
        match fileattr::get(inode) {
            Ok(have) => {
                bindings::fileattr_fill_flags(to, have.flags);
                (*to).fsx_projid = have.projid;
                0
            }
            Err(e) => e.to_errno(),
        }
    }
}

/// # Safety
///
/// Called by the VFS with a positive dentry of ours, whose inode is locked, and what to set.
pub(super) unsafe extern "C" fn set(
    _idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    from: *mut kernel::bindings::file_kattr,
) -> c_int {
    // SAFETY: By this function's own requirement.
    let (inode, from) = unsafe {
        (
            VexInode::from_raw(bindings::vexfs_helper_d_inode(dentry)),
            &*from.cast::<bindings::file_kattr>(),
        )
    };
    let to = FileAttr {
        flags: from.flags,
        projid: from.fsx_projid,
    };
    errno(fileattr::set(inode, to, from.fsx_xflags))
}
