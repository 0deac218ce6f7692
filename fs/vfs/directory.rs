// SPDX-License-Identifier: GPL-2.0

//! Open directories.

use super::{bindings, dentry::errno, inode::VexInode, ioctl, mount::this_module, table::Table};
use crate::{libvexfs::dir::DirEntryRef, ops::dir};
use kernel::prelude::*;

/// What is done with open directories.
pub(super) static FILE_OPS: Table<bindings::file_operations> =
    Table::new(bindings::file_operations {
        owner: this_module(),
        llseek: Some(llseek),
        read: Some(bindings::generic_read_dir),
        iterate_shared: Some(iterate),
        unlocked_ioctl: Some(ioctl::unlocked_ioctl),
        compat_ioctl: Some(ioctl::compat_ioctl),
        fsync: Some(fsync),
        setlease: Some(super::file::setlease),
        ..pin_init::zeroed()
    });

/// # Safety
///
/// Called by the VFS with an open directory of ours. Positions are cookies, up to the end of the
/// positive numbers.
unsafe extern "C" fn llseek(file: *mut bindings::file, offset: i64, whence: c_int) -> i64 {
    // SAFETY: By this function's own requirement.
    unsafe { bindings::generic_file_llseek_size(file, offset, whence, i64::MAX, i64::MAX) }
}

/// # Safety
///
/// Called by the VFS with an open directory of ours, locked shared, and a context to show its
/// entries to.
unsafe extern "C" fn iterate(file: *mut bindings::file, ctx: *mut bindings::dir_context) -> c_int {
    // SAFETY: The file holds its inode. The context is ours for the call.
    let (dir, ctx) = unsafe {
        if !bindings::vexfs_helper_dir_emit_dots(file, ctx) {
            return 0;
        }
        (
            VexInode::from_raw(bindings::vexfs_helper_file_inode(file)),
            &mut *ctx,
        )
    };
    let mut pos = u64::try_from(ctx.pos).unwrap_or(0);
    let result = dir::read(dir, &mut pos, &mut |entry: &DirEntryRef<'_>| {
        ctx.pos = entry.cookie as i64;
        // SAFETY: The context is valid, the name a valid buffer.
        unsafe {
            bindings::vexfs_helper_dir_emit(
                ctx,
                entry.name.as_ptr().cast(),
                entry.name.len() as c_int,
                entry.ino,
                entry.dtype.into(),
            )
        }
    });
    ctx.pos = i64::try_from(pos).unwrap_or(i64::MAX);
    errno(result)
}

/// # Safety
///
/// Called by the VFS with an open directory of ours.
unsafe extern "C" fn fsync(
    file: *mut bindings::file,
    _start: i64,
    _end: i64,
    _data: c_int,
) -> c_int {
    // SAFETY: The file holds its inode.
    let dir = unsafe { VexInode::from_raw(bindings::vexfs_helper_file_inode(file)) };
    errno(dir::sync(dir))
}
