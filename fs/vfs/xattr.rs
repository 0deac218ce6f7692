// SPDX-License-Identifier: GPL-2.0

//! What the VFS calls for extended attributes.

use super::{bindings, dentry::errno, inode::VexInode, table::Table};
use crate::{libvexfs::xattr::SetMode, ops::xattr};
use kernel::{prelude::*, str::as_char_ptr_in_const_context};

/// A handler for the names that begin with `prefix`; on disk they are stored without it, with
/// `index`.
const fn handler(prefix: &'static CStr, index: u8) -> bindings::xattr_handler {
    bindings::xattr_handler {
        prefix: as_char_ptr_in_const_context(prefix),
        flags: index as c_int,
        get: Some(get),
        set: Some(set),
        ..pin_init::zeroed()
    }
}

static USER: Table<bindings::xattr_handler> = Table::new(handler(c"user.", xattr::USER));
static TRUSTED: Table<bindings::xattr_handler> = Table::new(handler(c"trusted.", xattr::TRUSTED));
static SECURITY: Table<bindings::xattr_handler> =
    Table::new(handler(c"security.", xattr::SECURITY));

/// All handlers.
pub(super) static HANDLERS: Table<[*const bindings::xattr_handler; 4]> = Table::new([
    USER.as_ptr(),
    TRUSTED.as_ptr(),
    SECURITY.as_ptr(),
    core::ptr::null(),
]);

/// # Safety
///
/// Called by the VFS with a handler of ours, an inode, a terminated name without its prefix, and a
/// buffer of `size` bytes, or null to ask for the size.
unsafe extern "C" fn get(
    handler: *const bindings::xattr_handler,
    _dentry: *mut bindings::dentry,
    inode: *mut bindings::inode,
    name: *const c_char,
    buffer: *mut c_void,
    size: usize,
) -> c_int {
    // SAFETY: By this function's own requirement.
    let got = unsafe {
        let name = CStr::from_char_ptr(name).to_bytes();
        xattr::get(VexInode::from_raw(inode), (*handler).flags as u8, name)
    };
    let value = match got {
        Ok(value) => value,
        Err(e) => return e.to_errno(),
    };
    let len = value.len();
    if !buffer.is_null() {
        if len > size {
            return ERANGE.to_errno();
        }
        // SAFETY: The buffer has room for the value.
        unsafe { core::ptr::copy_nonoverlapping(value.as_ptr(), buffer.cast(), len) };
    }
    c_int::try_from(len).unwrap_or(ERANGE.to_errno())
}

/// # Safety
///
/// Called by the VFS with a handler of ours, a locked inode, a terminated name without its prefix,
/// and a value of `size` bytes, or null to remove the attribute.
unsafe extern "C" fn set(
    handler: *const bindings::xattr_handler,
    _idmap: *mut bindings::mnt_idmap,
    _dentry: *mut bindings::dentry,
    inode: *mut bindings::inode,
    name: *const c_char,
    value: *const c_void,
    size: usize,
    flags: c_int,
) -> c_int {
    // SAFETY: By this function's own requirement.
    unsafe {
        let name = CStr::from_char_ptr(name).to_bytes();
        let value =
            (!value.is_null()).then(|| core::slice::from_raw_parts(value.cast::<u8>(), size));
        // With both, as in ext4 and XFS: nothing can be created and replaced.
        let flags = flags as u32;
        let mode = if flags & bindings::XATTR_CREATE != 0 {
            SetMode::Create
        } else if flags & bindings::XATTR_REPLACE != 0 {
            SetMode::Replace
        } else {
            SetMode::Any
        };
        errno(xattr::set(
            VexInode::from_raw(inode),
            (*handler).flags as u8,
            name,
            value,
            mode,
        ))
    }
}

/// # Safety
///
/// Called by the VFS with a dentry of ours and a buffer of `size` bytes, or null to ask for the
/// size.
pub(super) unsafe extern "C" fn list(
    dentry: *mut bindings::dentry,
    buffer: *mut c_char,
    size: usize,
) -> isize {
    // SAFETY: By this function's own requirement.
    let inode = unsafe { VexInode::from_raw(bindings::vexfs_helper_d_inode(dentry)) };
    let names = match xattr::list(inode) {
        Ok(names) => names,
        Err(e) => return e.to_errno() as isize,
    };
    let len = names.len();
    if !buffer.is_null() {
        if len > size {
            return ERANGE.to_errno() as isize;
        }
        // SAFETY: The buffer has room for the names.
        unsafe { core::ptr::copy_nonoverlapping(names.as_ptr(), buffer.cast(), len) };
    }
    isize::try_from(len).unwrap_or(ERANGE.to_errno() as isize)
}
