// SPDX-License-Identifier: GPL-2.0

//! POSIX access control lists: the VFS's, and what it calls to get and set them.

use super::{
    bindings,
    dentry::{errno, IdMap},
    inode::VexInode,
};
use crate::{
    libvexfs::acl::{self, Entry},
    ops,
};
use core::ptr::NonNull;
use kernel::{bindings::umode_t, error::to_result, prelude::*};

/// A list of the VFS's. Nobody changes one that others see.
///
/// # Invariants
///
/// One reference is ours.
pub(crate) struct Acl(NonNull<bindings::posix_acl>);

impl Acl {
    /// A new list.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(entries: &[Entry]) -> Result<Self> {
        let count = u32::try_from(entries.len())?;
        // SAFETY: It allocates room for as many entries.
        let raw = unsafe { bindings::posix_acl_alloc(count, bindings::VEXFS_GFP_NOFS) };
        // INVARIANT: The reference of a new list belongs to who made it.
        let list = Acl(NonNull::new(raw).ok_or(ENOMEM)?);
        for (i, e) in (0..count).zip(entries) {
            // SAFETY: The list is ours alone, and has this entry.
            unsafe { bindings::vexfs_helper_acl_set(raw, i, e.tag, e.perm, e.id) };
        }
        Ok(list)
    }

    /// Its entries.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn entries(acl: &bindings::posix_acl) -> Result<KVec<Entry>> {
        // SAFETY: The list is valid.
        let count = unsafe { bindings::vexfs_helper_acl_count(acl) };
        let mut entries = KVec::with_capacity(count as usize, GFP_KERNEL)?;
        for i in 0..count {
            let mut e = Entry::default();
            // SAFETY: The list is valid and has this entry.
            unsafe {
                bindings::vexfs_helper_acl_get(acl, i, &mut e.tag, &mut e.perm, &mut e.id);
            }
            entries.push(e, GFP_KERNEL)?;
        }
        Ok(entries)
    }

    /// Its bytes on disk.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn format(&self) -> Result<KVec<u8>> {
        // SAFETY: By the type invariant.
        acl::format(&Self::entries(unsafe { self.0.as_ref() })?)
    }

    /// Gives the reference to C.
    fn into_raw(self) -> *mut bindings::posix_acl {
        let raw = self.0.as_ptr();
        core::mem::forget(self);
        raw
    }
}

impl Drop for Acl {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::vexfs_helper_acl_release(self.0.as_ptr()) };
    }
}

/// What a new inode inherits from its directory.
#[derive(Default)]
pub(crate) struct Inherited {
    /// Who may access it.
    pub(crate) access: Option<Acl>,
    /// What is made in it inherits.
    pub(crate) default: Option<Acl>,
}

impl Inherited {
    /// The lists that something made in `dir` begins with; takes from its `mode` what they, or the
    /// caller's umask, do not grant. Call it before the transaction: it may read the directory's
    /// own list.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    pub(super) fn new(dir: &VexInode, mode: &mut umode_t) -> Result<Self> {
        let (mut access, mut default) = (core::ptr::null_mut(), core::ptr::null_mut());
        // SAFETY: The directory is referenced; what comes back is ours.
        to_result(unsafe {
            bindings::posix_acl_create(dir.as_ptr(), mode, &mut default, &mut access)
        })?;
        // INVARIANT: References that are not null belong to us now.
        Ok(Inherited {
            access: NonNull::new(access).map(Acl),
            default: NonNull::new(default).map(Acl),
        })
    }

    /// Lets the VFS know what a new inode has, so that it need not be read.
    pub(crate) fn cache(&self, inode: &VexInode) {
        inode.cache_acl(false, self.access.as_ref());
        inode.cache_acl(true, self.default.as_ref());
    }
}

impl VexInode {
    /// Lets the VFS know a list of the inode, or that it has none.
    pub(crate) fn cache_acl(&self, default: bool, acl: Option<&Acl>) {
        let kind = if default {
            bindings::ACL_TYPE_DEFAULT
        } else {
            bindings::ACL_TYPE_ACCESS
        };
        let acl = acl.map_or(core::ptr::null_mut(), |a| a.0.as_ptr());
        // SAFETY: The inode lives; the cache takes a reference of its own.
        unsafe { bindings::set_cached_acl(self.as_ptr(), kind as c_int, acl) };
    }

    /// Sets the mode that the VFS shows. The caller holds the inode's lock.
    pub(crate) fn set_mode(&self, mode: u16) {
        // SAFETY: The inode lives.
        unsafe { (&raw mut (*self.as_ptr()).i_mode).write_volatile(mode) };
    }
}

/// Whether the VFS asks for the default list.
fn is_default(kind: c_int) -> Result<bool> {
    match kind as u32 {
        bindings::ACL_TYPE_ACCESS => Ok(false),
        bindings::ACL_TYPE_DEFAULT => Ok(true),
        _ => Err(EINVAL),
    }
}

/// # Safety
///
/// Called by the VFS with an inode of ours; with `rcu` it must not sleep.
pub(super) unsafe extern "C" fn get_inode_acl(
    inode: *mut bindings::inode,
    kind: c_int,
    rcu: bool,
) -> *mut kernel::bindings::posix_acl {
    if rcu {
        return ECHILD.to_ptr();
    }
    // SAFETY: The VFS holds the inode.
    let inode = unsafe { VexInode::from_raw(inode) };
    match is_default(kind).and_then(|default| ops::acl::get(inode, default)) {
        Ok(Some(acl)) => acl.into_raw().cast(),
        Ok(None) => core::ptr::null_mut(),
        Err(e) => e.to_ptr(),
    }
}

/// # Safety
///
/// Called by the VFS with a dentry of ours whose inode is locked, and a valid list, or null to
/// remove it.
pub(super) unsafe extern "C" fn set_acl(
    idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    acl: *mut kernel::bindings::posix_acl,
    kind: c_int,
) -> c_int {
    let acl = acl.cast::<bindings::posix_acl>();
    // SAFETY: By this function's own requirement; what a list is set for has an inode.
    errno(unsafe {
        let inode = VexInode::from_raw(bindings::vexfs_helper_d_inode(dentry));
        is_default(kind).and_then(|default| set(&IdMap::from_raw(idmap), inode, acl, default))
    })
}

/// Sets a list, and the mode that follows from it.
///
/// # Safety
///
/// `acl` is null or valid.
unsafe fn set(
    idmap: &IdMap,
    inode: &VexInode,
    mut acl: *mut bindings::posix_acl,
    default: bool,
) -> Result {
    let mut mode = inode.mode();
    if !default && !acl.is_null() {
        // SAFETY: The inode lives; a list that says no more than the mode becomes null.
        to_result(unsafe {
            bindings::posix_acl_update_mode(idmap.as_ptr(), inode.as_ptr(), &mut mode, &mut acl)
        })?;
    }
    // SAFETY: By this function's own requirement.
    let bytes = match unsafe { acl.as_ref() } {
        Some(acl) => Some(acl::format(&Acl::entries(acl)?)?),
        None => None,
    };
    ops::acl::set(inode, default, bytes.as_deref(), mode)?;
    let kind = if default {
        bindings::ACL_TYPE_DEFAULT
    } else {
        bindings::ACL_TYPE_ACCESS
    };
    // SAFETY: The inode lives; the cache takes a reference of its own.
    unsafe { bindings::set_cached_acl(inode.as_ptr(), kind as c_int, acl) };
    Ok(())
}

/// The mode of an inode was changed: its list follows.
///
/// # Errors
///
/// As setting the list.
///
/// # Safety
///
/// `dentry` is the VFS's, of an inode of ours, which is locked.
pub(super) unsafe fn follow_mode(idmap: &IdMap, dentry: *mut bindings::dentry) -> Result {
    // SAFETY: By this function's own requirement.
    to_result(unsafe {
        let mode = (*bindings::vexfs_helper_d_inode(dentry)).i_mode;
        bindings::posix_acl_chmod(idmap.as_ptr(), dentry, mode)
    })
}
