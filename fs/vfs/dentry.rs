// SPDX-License-Identifier: GPL-2.0

//! Dentries, and the identity maps of mounts.

use super::{
    bindings,
    inode::{InodeRef, LockedInode, VexInode},
};
use kernel::{prelude::*, types::Opaque};

/// A name that the VFS looks up or changes.
#[repr(transparent)]
pub(crate) struct Dentry(Opaque<bindings::dentry>);

impl Dentry {
    /// The dentry at a C pointer.
    ///
    /// # Safety
    ///
    /// `dentry` belongs to a mounted VexFS and is referenced as long as the result is used, and
    /// its name does not change meanwhile: the lock of its directory is held.
    pub(super) unsafe fn from_raw<'a>(dentry: *mut bindings::dentry) -> &'a Self {
        // SAFETY: By this function's own requirement; the type is transparent.
        unsafe { &*Opaque::cast_from(dentry).cast() }
    }

    /// The VFS's dentry.
    pub(crate) fn as_ptr(&self) -> *mut bindings::dentry {
        self.0.get()
    }

    /// The name.
    pub(crate) fn name(&self) -> &[u8] {
        // SAFETY: By `from_raw`'s requirement the name stays.
        unsafe {
            core::slice::from_raw_parts(
                bindings::vexfs_helper_d_name(self.as_ptr()),
                bindings::vexfs_helper_d_name_len(self.as_ptr()) as usize,
            )
        }
    }

    /// The inode, if the name exists.
    pub(crate) fn inode(&self) -> Option<&VexInode> {
        // SAFETY: The dentry is referenced and holds its inode, which is of the same super block.
        unsafe {
            let inode = bindings::vexfs_helper_d_inode(self.as_ptr());
            (!inode.is_null()).then(|| VexInode::from_raw(inode))
        }
    }

    /// The name exists from now on, for an inode that others may know already.
    pub(crate) fn instantiate(&self, inode: InodeRef) {
        // SAFETY: The dentry is negative and its directory locked; it takes over the reference.
        unsafe { bindings::d_instantiate(self.as_ptr(), inode.into_raw()) };
    }

    /// The name exists from now on, for a new inode, which is unlocked.
    pub(crate) fn instantiate_new(&self, inode: LockedInode) {
        // SAFETY: As above; the inode is locked and new.
        unsafe { bindings::d_instantiate_new(self.as_ptr(), inode.into_raw()) };
    }
}

/// How the mount that a request came through maps owners.
#[derive(Clone, Copy)]
pub(crate) struct IdMap(*mut bindings::mnt_idmap);

impl IdMap {
    /// The map at a C pointer.
    ///
    /// # Safety
    ///
    /// It is valid as long as the result and its copies are used.
    pub(super) unsafe fn from_raw(idmap: *mut bindings::mnt_idmap) -> Self {
        IdMap(idmap)
    }

    /// The map that maps everybody to themselves.
    pub(crate) fn identity() -> Self {
        // SAFETY: It returns a static.
        IdMap(unsafe { bindings::vexfs_helper_nop_idmap() })
    }

    /// Whether everybody is mapped to themselves.
    pub(crate) fn is_identity(self) -> bool {
        core::ptr::eq(self.0, Self::identity().0)
    }

    /// The map.
    pub(crate) fn as_ptr(&self) -> *mut bindings::mnt_idmap {
        self.0
    }
}

/// What an operation without a result returns to C.
pub(super) fn errno(result: Result) -> c_int {
    match result {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}
