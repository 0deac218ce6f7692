// SPDX-License-Identifier: GPL-2.0

//! What the VFS calls to change and look up names.

use super::{
    bindings,
    dentry::{errno, Dentry, IdMap},
    inode::{InodeRef, VexInode},
};
use crate::{
    libvexfs::format::inode::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG},
    ops::{namei, rename},
};
use kernel::{bindings::umode_t, prelude::*};

/// An error as C has it where it returns a dentry.
fn err_ptr(e: Error) -> *mut bindings::dentry {
    e.to_ptr()
}

/// # Safety
///
/// Called by the VFS with a directory of ours, locked at least shared, and a new dentry in it.
pub(super) unsafe extern "C" fn lookup(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    _flags: c_uint,
) -> *mut bindings::dentry {
    // SAFETY: The VFS holds both.
    let found = unsafe { namei::lookup(VexInode::from_raw(dir), Dentry::from_raw(dentry)) };
    match found {
        Ok(inode) => {
            let inode = inode.map_or(core::ptr::null_mut(), InodeRef::into_raw);
            // SAFETY: The dentry is new; the reference to the inode is taken over.
            unsafe { bindings::d_splice_alias(inode, dentry) }
        }
        Err(e) => err_ptr(e),
    }
}

/// Makes an inode with a name.
///
/// # Safety
///
/// The pointers are the VFS's: a directory of ours, locked, and a negative dentry in it.
unsafe fn make(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: umode_t,
    rdev: u32,
    target: &[u8],
) -> Result {
    // SAFETY: By this function's own requirement.
    let (idmap, dir, dentry) = unsafe {
        (
            IdMap::from_raw(idmap),
            VexInode::from_raw(dir),
            Dentry::from_raw(dentry),
        )
    };
    namei::create(&idmap, dir, dentry, &namei::What { mode, rdev, target })
}

/// # Safety
///
/// Called by the VFS with a directory of ours, locked, and a negative dentry in it.
pub(super) unsafe extern "C" fn create(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: umode_t,
    #[cfg(vexfs_create_excl)] _exclusive: bool,
) -> c_int {
    // SAFETY: By this function's own requirement.
    errno(unsafe { make(idmap, dir, dentry, S_IFREG | (mode & !S_IFMT), 0, &[]) })
}

/// # Safety
///
/// As [`create`].
pub(super) unsafe extern "C" fn mkdir(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: umode_t,
) -> *mut bindings::dentry {
    // SAFETY: By this function's own requirement.
    match unsafe { make(idmap, dir, dentry, S_IFDIR | (mode & !S_IFMT), 0, &[]) } {
        Ok(()) => core::ptr::null_mut(),
        Err(e) => err_ptr(e),
    }
}

/// # Safety
///
/// As [`create`].
pub(super) unsafe extern "C" fn mknod(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: umode_t,
    dev: bindings::dev_t,
) -> c_int {
    // SAFETY: By this function's own requirement.
    unsafe {
        let rdev = bindings::vexfs_helper_new_encode_dev(dev);
        errno(make(idmap, dir, dentry, mode, rdev, &[]))
    }
}

/// # Safety
///
/// As [`create`], with a terminated string.
pub(super) unsafe extern "C" fn symlink(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    target: *const c_char,
) -> c_int {
    // SAFETY: By this function's own requirement.
    unsafe {
        let target = CStr::from_char_ptr(target).to_bytes();
        errno(make(idmap, dir, dentry, S_IFLNK | 0o777, 0, target))
    }
}

/// # Safety
///
/// Called by the VFS with a directory of ours, and a file that is being opened and whose dentry
/// has no name.
pub(super) unsafe extern "C" fn tmpfile(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    file: *mut bindings::file,
    mode: umode_t,
) -> c_int {
    // SAFETY: By this function's own requirement.
    let made = unsafe { namei::tmpfile(&IdMap::from_raw(idmap), VexInode::from_raw(dir), mode) };
    match made {
        Ok(inode) => {
            let inode = inode.into_raw();
            // SAFETY: The inode is new and locked. `d_tmpfile` takes over the reference and takes
            // off the one link that an inode without a name must seem to have.
            unsafe {
                bindings::set_nlink(inode, 1);
                bindings::d_tmpfile(file, inode);
                bindings::unlock_new_inode(inode);
                bindings::finish_open(file, bindings::vexfs_helper_file_path_dentry(file), None)
            }
        }
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// Called by the VFS with a dentry of ours, a directory, locked as its inode is, and a negative
/// dentry in it.
pub(super) unsafe extern "C" fn link(
    old: *mut bindings::dentry,
    dir: *mut bindings::inode,
    new: *mut bindings::dentry,
) -> c_int {
    // SAFETY: By this function's own requirement.
    let (old, dir, new) = unsafe {
        (
            Dentry::from_raw(old),
            VexInode::from_raw(dir),
            Dentry::from_raw(new),
        )
    };
    errno(namei::link(old, dir, new))
}

/// # Safety
///
/// Called by the VFS with a directory of ours and a positive dentry in it, both locked.
pub(super) unsafe extern "C" fn unlink(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
) -> c_int {
    // SAFETY: By this function's own requirement.
    let (dir, dentry) = unsafe { (VexInode::from_raw(dir), Dentry::from_raw(dentry)) };
    errno(namei::unlink(dir, dentry))
}

/// # Safety
///
/// As [`unlink`].
pub(super) unsafe extern "C" fn rmdir(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
) -> c_int {
    // SAFETY: By this function's own requirement.
    let (dir, dentry) = unsafe { (VexInode::from_raw(dir), Dentry::from_raw(dentry)) };
    errno(namei::rmdir(dir, dentry))
}

/// # Safety
///
/// Called by the VFS with two directories of ours and a dentry in each, all locked.
pub(super) unsafe extern "C" fn rename_name(
    idmap: *mut bindings::mnt_idmap,
    old_dir: *mut bindings::inode,
    old: *mut bindings::dentry,
    new_dir: *mut bindings::inode,
    new: *mut bindings::dentry,
    flags: c_uint,
) -> c_int {
    // SAFETY: By this function's own requirement.
    unsafe {
        errno(rename::rename(
            &IdMap::from_raw(idmap),
            (VexInode::from_raw(old_dir), Dentry::from_raw(old)),
            (VexInode::from_raw(new_dir), Dentry::from_raw(new)),
            flags,
        ))
    }
}

/// # Safety
///
/// Called by the VFS with a symbolic link of ours.
pub(super) unsafe extern "C" fn get_link(
    dentry: *mut bindings::dentry,
    inode: *mut bindings::inode,
    done: *mut bindings::delayed_call,
) -> *const c_char {
    // Reading the link may sleep, which a walk under RCU must not.
    if dentry.is_null() {
        return ECHILD.to_ptr();
    }
    // SAFETY: The VFS holds the inode.
    match namei::read_link(unsafe { VexInode::from_raw(inode) }) {
        Ok(target) => {
            // SAFETY: The delayed call is the VFS's to fill. The memory is a kmalloc allocation,
            // which is what `kfree_link` frees.
            unsafe {
                let text = target.into_raw_parts().0;
                (*done).fn_ = Some(bindings::kfree_link);
                (*done).arg = text.cast();
                text.cast_const().cast()
            }
        }
        Err(e) => e.to_ptr(),
    }
}
