// SPDX-License-Identifier: GPL-2.0

//! What the VFS calls to change and show attributes.

use super::{
    acl, bindings,
    dentry::{errno, IdMap},
    inode::VexInode,
};
use crate::ops::attr;
use kernel::{error::to_result, prelude::*};

/// A change of attributes that a user asks for.
pub(crate) struct Change {
    idmap: IdMap,
    dentry: *mut bindings::dentry,
    attr: *mut bindings::iattr,
}

impl Change {
    /// Checks whether the user may.
    ///
    /// # Errors
    ///
    /// `EPERM` and others.
    pub(crate) fn prepare(&self) -> Result {
        // SAFETY: The pointers are the VFS's, valid for the call that this is about.
        to_result(unsafe { bindings::setattr_prepare(self.idmap.as_ptr(), self.dentry, self.attr) })
    }

    /// The new size, if it is to change.
    pub(crate) fn size(&self) -> Option<u64> {
        // SAFETY: As above.
        unsafe {
            if (*self.attr).ia_valid & bindings::ATTR_SIZE == 0 {
                return None;
            }
            u64::try_from((*self.attr).ia_size).ok()
        }
    }

    /// Changes the times of change, too, to the time that the VFS filled in.
    pub(crate) fn touch(&self) {
        // SAFETY: As above; the VFS lets a file system add to what is changed.
        unsafe { (*self.attr).ia_valid |= bindings::ATTR_MTIME | bindings::ATTR_CTIME };
    }

    /// If the mode changes because setuid and setgid are taken away, the VFS made the new mode from
    /// the one that the inode had then. Makes it from the one that it has now.
    ///
    /// # Context
    ///
    /// After the inode's lock was let go and taken again.
    pub(crate) fn refresh_mode(&self, inode: &VexInode) {
        // SAFETY: As above. The VFS asks for either kind of change of the mode, never for both.
        unsafe {
            let valid = (*self.attr).ia_valid;
            let taken = [
                (bindings::ATTR_KILL_SUID, bindings::S_ISUID),
                (bindings::ATTR_KILL_SGID, bindings::S_ISGID),
            ]
            .into_iter()
            .filter(|(kill, _)| valid & kill != 0)
            .fold(0, |bits, (_, bit)| bits | bit as u16);
            if taken != 0 && valid & bindings::ATTR_MODE != 0 {
                (*self.attr).ia_mode = inode.mode() & !taken;
            }
        }
    }

    /// User and group that the inode will belong to.
    pub(crate) fn owner(&self, inode: &VexInode) -> (u32, u32) {
        let (idmap, inode) = (self.idmap.as_ptr(), inode.as_ptr());
        // SAFETY: As above; the inode is locked by the VFS.
        unsafe {
            (
                bindings::vexfs_helper_iattr_uid(idmap, inode, self.attr),
                bindings::vexfs_helper_iattr_gid(idmap, inode, self.attr),
            )
        }
    }

    /// Lets the access control list follow the mode, if that was changed.
    ///
    /// # Errors
    ///
    /// As setting the list.
    pub(crate) fn follow_mode(&self) -> Result {
        // SAFETY: As above.
        unsafe {
            if (*self.attr).ia_valid & bindings::ATTR_MODE == 0 {
                return Ok(());
            }
            acl::follow_mode(&self.idmap, self.dentry)
        }
    }

    /// Sets all but the size in the VFS's inode.
    pub(crate) fn apply(&self, inode: &VexInode) {
        // SAFETY: As above; the inode is locked by the VFS.
        unsafe { bindings::setattr_copy(self.idmap.as_ptr(), inode.as_ptr(), self.attr) };
    }
}

/// # Safety
///
/// Called by the VFS with a dentry of ours whose inode is locked, and the attributes to change.
pub(super) unsafe extern "C" fn setattr(
    idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    attr: *mut bindings::iattr,
) -> c_int {
    // SAFETY: By this function's own requirement; a dentry whose attributes change has an inode.
    let (inode, idmap) = unsafe {
        let inode = VexInode::from_raw(bindings::vexfs_helper_d_inode(dentry));
        (inode, IdMap::from_raw(idmap))
    };
    errno(attr::set(
        inode,
        &Change {
            idmap,
            dentry,
            attr,
        },
    ))
}

/// # Safety
///
/// Called by the VFS with a path on a mount of ours and a structure to fill.
pub(super) unsafe extern "C" fn getattr(
    idmap: *mut bindings::mnt_idmap,
    path: *const bindings::path,
    stat: *mut bindings::kstat,
    mask: u32,
    _flags: c_uint,
) -> c_int {
    // SAFETY: By this function's own requirement.
    unsafe {
        let raw = bindings::vexfs_helper_d_inode((*path).dentry);
        let shown = match attr::show(VexInode::from_raw(raw)) {
            Ok(shown) => shown,
            Err(e) => return e.to_errno(),
        };
        let stat = &mut *stat;
        if mask & bindings::STATX_BTIME != 0 {
            stat.result_mask |= bindings::STATX_BTIME;
            stat.btime.tv_sec = shown.btime.sec;
            stat.btime.tv_nsec = shown.btime.nsec as c_long;
        }
        for (have, bit) in [
            (shown.append, bindings::STATX_ATTR_APPEND),
            (shown.immutable, bindings::STATX_ATTR_IMMUTABLE),
            (shown.nodump, bindings::STATX_ATTR_NODUMP),
        ] {
            stat.attributes_mask |= u64::from(bit);
            if have {
                stat.attributes |= u64::from(bit);
            }
        }
        let dio = bindings::STATX_DIOALIGN | bindings::STATX_DIO_READ_ALIGN;
        let vi = VexInode::from_raw(raw);
        if mask & dio != 0 && vi.is_regular() {
            stat.result_mask |= dio;
            stat.dio_mem_align = bindings::vexfs_helper_bdev_dma_alignment(vi.bdev()) + 1;
            stat.dio_offset_align = vi.sector_size() as u32;
            stat.dio_read_offset_align = stat.dio_offset_align;
        }
        bindings::generic_fillattr(idmap, mask, raw, stat);
    }
    0
}
