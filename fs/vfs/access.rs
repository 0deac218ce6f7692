// SPDX-License-Identifier: GPL-2.0

//! What the caller may see and touch of files that it did not open by name.

use super::{
    bindings,
    dentry::IdMap,
    inode::{InodeRef, VexInode},
    ioctl::File,
    super_block::SuperBlock,
};
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::{error::to_result, prelude::*};

/// To read.
pub(crate) const MAY_READ: u32 = bindings::MAY_READ;
/// To write.
pub(crate) const MAY_WRITE: u32 = bindings::MAY_WRITE;
/// To search a directory.
pub(crate) const MAY_SEARCH: u32 = bindings::MAY_EXEC;

/// Whether the caller is permitted something, by mode, ACL and security module, seen through a
/// mount's map of owners.
///
/// # Errors
///
/// `EACCES`, `EPERM`, `EROFS`, and what a security module says.
///
/// # Context
///
/// May sleep.
pub(crate) fn permission(idmap: IdMap, inode: &VexInode, mask: u32) -> Result {
    // SAFETY: The map is that of a mount that an open file holds; the inode lives.
    to_result(unsafe { bindings::inode_permission(idmap.as_ptr(), inode.as_ptr(), mask as c_int) })
}

/// The directory below which the caller sees files of this file's mount.
pub(crate) fn reach(file: &File) -> InodeRef {
    // SAFETY: The file is open and of our file system, so its mount's root is, too; the caller's
    // root is taken only if it lies in the same mount. The reference is ours.
    unsafe {
        let raw = bindings::vexfs_helper_file_reach(file.as_ptr());
        InodeRef::from_raw(raw)
    }
}

/// A moment in the history of renames.
pub(crate) struct RenameMoment(u32);

impl RenameMoment {
    /// Now.
    pub(crate) fn now() -> Self {
        // SAFETY: It only reads a sequence count.
        RenameMoment(unsafe { bindings::vexfs_helper_rename_begin() })
    }

    /// Whether something was renamed since.
    pub(crate) fn passed(&self) -> bool {
        // SAFETY: It only reads a sequence count.
        unsafe { bindings::vexfs_helper_rename_retry(self.0) }
    }
}

/// Who the caller is to this file system, for what it creates through a file's mount.
///
/// # Errors
///
/// `EOVERFLOW` if the mount maps the caller to nobody.
pub(crate) fn caller_uid(file: &File) -> Result<u32> {
    // SAFETY: The file is open.
    match unsafe { bindings::vexfs_helper_mapped_fsuid(file.as_ptr()) } {
        u32::MAX => Err(EOVERFLOW),
        uid => Ok(uid),
    }
}

/// Whether the caller has a capability over this file system.
pub(crate) fn capable_over(sb: &SuperBlock, cap: u32) -> bool {
    // SAFETY: The super block is valid.
    unsafe { bindings::vexfs_helper_ns_capable(sb.as_ptr(), cap as c_int) }
}

/// A file that the caller named by a descriptor.
///
/// # Invariants
///
/// The file is open, of our file system, and one reference is ours.
pub(crate) struct FileRef(NonNull<bindings::file>);

impl FileRef {
    /// The file of descriptor `fd`, if it is of the same mount as `beside`.
    ///
    /// # Errors
    ///
    /// `EBADF`, `EXDEV` if it is of another mount.
    pub(crate) fn get(fd: i32, beside: &File) -> Result<Self> {
        let fd = u32::try_from(fd).map_err(|_| EBADF)?;
        // SAFETY: It takes a reference, or returns null.
        let raw = NonNull::new(unsafe { bindings::fget(fd) }).ok_or(EBADF)?;
        // SAFETY: Both files are referenced.
        let same = unsafe {
            let mount = bindings::vexfs_helper_file_mnt(raw.as_ptr());
            core::ptr::eq(mount, bindings::vexfs_helper_file_mnt(beside.as_ptr()))
        };
        if !same {
            // SAFETY: The reference is ours and not used any more.
            unsafe { bindings::fput(raw.as_ptr()) };
            return Err(EXDEV);
        }
        // INVARIANT: Both were just made sure.
        Ok(FileRef(raw))
    }
}

impl Deref for FileRef {
    type Target = File;

    fn deref(&self) -> &File {
        // SAFETY: By the type invariant.
        unsafe { File::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for FileRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::fput(self.0.as_ptr()) };
    }
}
