// SPDX-License-Identifier: GPL-2.0

//! Ioctls: from the VFS's call to `ops::ioctl`.

use super::{bindings, dentry::IdMap, inode::VexInode};
use crate::ops::ioctl;
use kernel::{error::to_result, prelude::*, types::Opaque};

/// An open file of ours.
#[repr(transparent)]
pub(crate) struct File(Opaque<bindings::file>);

impl File {
    /// The file at a C pointer.
    ///
    /// # Safety
    ///
    /// It is open on a mounted VexFS and referenced as long as the result is used.
    pub(crate) unsafe fn from_raw<'a>(file: *mut bindings::file) -> &'a Self {
        // SAFETY: By this function's own requirement; the type is transparent.
        unsafe { &*Opaque::cast_from(file).cast() }
    }

    /// The VFS's file.
    pub(crate) fn as_ptr(&self) -> *mut bindings::file {
        self.0.get()
    }

    /// The inode.
    pub(crate) fn inode(&self) -> &VexInode {
        // SAFETY: An open file holds its inode.
        unsafe { VexInode::from_raw(bindings::vexfs_helper_file_inode(self.as_ptr())) }
    }

    /// The map of owners of the mount that the file was opened through.
    pub(crate) fn idmap(&self) -> IdMap {
        // SAFETY: An open file holds its mount, the mount its map.
        unsafe { IdMap::from_raw(bindings::vexfs_helper_file_mnt_idmap(self.as_ptr())) }
    }

    /// Whether it was opened for reading.
    pub(crate) fn readable(&self) -> bool {
        self.f_mode() & bindings::VEXFS_FMODE_READ != 0
    }

    /// Whether it was opened for writing.
    pub(crate) fn writable(&self) -> bool {
        self.f_mode() & bindings::VEXFS_FMODE_WRITE != 0
    }

    /// Removes privileges and updates times, as a change of the contents must.
    ///
    /// # Errors
    ///
    /// What the VFS and security modules say.
    pub(crate) fn modified(&self) -> Result {
        // SAFETY: The file is open; its inode is locked.
        to_result(unsafe { bindings::file_modified(self.as_ptr()) })
    }

    /// Whether changes through it must be durable when the call returns.
    pub(crate) fn is_sync(&self) -> bool {
        // SAFETY: The file is open.
        unsafe {
            (*self.as_ptr()).f_flags & bindings::O_DSYNC != 0
                || bindings::vexfs_helper_is_sync(self.inode().as_ptr())
        }
    }

    /// Whether calls through it fail rather than wait for something that may take long.
    pub(crate) fn nonblocking(&self) -> bool {
        // SAFETY: The file is open.
        unsafe { (*self.as_ptr()).f_flags & bindings::O_NONBLOCK != 0 }
    }

    fn f_mode(&self) -> u32 {
        // SAFETY: The file is open; its mode does not change.
        unsafe { (*self.as_ptr()).f_mode }
    }

    /// Permission to write to the file's mount, and a hold on it while `f` runs.
    ///
    /// # Errors
    ///
    /// `EROFS`, and what `f` returns.
    pub(crate) fn with_write_access<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        // SAFETY: The file is open. What is taken is given back below.
        to_result(unsafe { bindings::mnt_want_write_file(self.as_ptr()) })?;
        let result = f();
        // SAFETY: Taken above.
        unsafe { bindings::mnt_drop_write_file(self.as_ptr()) };
        result
    }
}

/// Whether the current task has a capability.
pub(crate) fn capable(cap: u32) -> bool {
    // SAFETY: It only looks at the current task.
    unsafe { bindings::vexfs_helper_capable(cap as c_int) }
}

/// # Safety
///
/// Called by the VFS with an open file of ours.
pub(super) unsafe extern "C" fn unlocked_ioctl(
    file: *mut bindings::file,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: By this function's own requirement.
    let file = unsafe { File::from_raw(file) };
    match ioctl::dispatch(file, cmd, arg) {
        Ok(n) => n as c_long,
        Err(e) => e.to_errno() as c_long,
    }
}

/// # Safety
///
/// As [`unlocked_ioctl`]. The structures have no pointers and no holes, so 32-bit callers have the
/// same; only the pointer to them is shorter.
pub(super) unsafe extern "C" fn compat_ioctl(
    file: *mut bindings::file,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    // The few numbers that have a long in them differ.
    let cmd = ioctl::from_compat(cmd);
    // SAFETY: By this function's own requirement. A user's address has 32 bits.
    unsafe { unlocked_ioctl(file, cmd, arg & 0xffff_ffff) }
}

/// Freezes the file system of `inode`, runs `f`, and thaws it.
///
/// # Errors
///
/// `EBUSY` and others of freezing.
pub(crate) fn while_frozen(inode: &VexInode, f: impl FnOnce()) -> Result {
    // SAFETY: The super block is mounted, its device open.
    unsafe {
        let bdev = (*inode.sb().as_ptr()).s_bdev;
        to_result(bindings::bdev_freeze(bdev))?;
        f();
        bindings::bdev_thaw(bdev);
    }
    Ok(())
}
