// SPDX-License-Identifier: GPL-2.0

//! What the VFS calls for a super block.

use super::{
    bindings,
    dentry::errno,
    inode::{self, VexInode},
    super_block::SuperBlock,
    table::Table,
};
use crate::ops::{delay, evict, mount, room};
use kernel::prelude::*;

/// The super block operations.
pub(super) static SUPER_OPS: Table<bindings::super_operations> =
    Table::new(bindings::super_operations {
        alloc_inode: Some(inode::alloc_inode),
        free_inode: Some(inode::free_inode),
        dirty_inode: Some(dirty_inode),
        write_inode: Some(write_inode),
        evict_inode: Some(evict_inode),
        put_super: Some(put_super),
        sync_fs: Some(sync_fs),
        freeze_fs: Some(freeze_fs),
        unfreeze_fs: Some(unfreeze_fs),
        statfs: Some(statfs),
        show_options: Some(show_options),
        shutdown: Some(shutdown),
        ..pin_init::zeroed()
    });

/// # Safety
///
/// Called by the VFS with an inode of ours.
unsafe extern "C" fn dirty_inode(inode: *mut bindings::inode, flags: c_int) {
    let dirty = bindings::inode_state_flags_enum_I_DIRTY_SYNC
        | bindings::inode_state_flags_enum_I_DIRTY_DATASYNC;
    if flags as u32 & dirty == 0 {
        return;
    }
    // SAFETY: The VFS holds the inode.
    let inode = unsafe { VexInode::from_raw(inode) };
    // The caller cannot be told. The inode stays dirty, so write-back tries again.
    let result = inode.flush_attributes();
    let _ = inode.mount().judge(result);
}

/// # Safety
///
/// Called by write-back with an inode of ours.
unsafe extern "C" fn write_inode(
    inode: *mut bindings::inode,
    wbc: *mut kernel::bindings::writeback_control,
) -> c_int {
    let wbc = wbc.cast::<bindings::writeback_control>();
    // SAFETY: Write-back holds the inode, and the request is its own.
    let (inode, wait) = unsafe {
        let all = (*wbc).sync_mode == bindings::writeback_sync_modes_WB_SYNC_ALL;
        (VexInode::from_raw(inode), all && (*wbc).for_sync() == 0)
    };
    errno(inode.mount().judge(evict::write(inode, wait)))
}

/// # Safety
///
/// Called by the VFS with an inode of ours to which nobody else refers any more.
unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
    // SAFETY: The inode is being freed; its page cache is ours.
    let ours = unsafe {
        bindings::truncate_inode_pages_final(&raw mut (*inode).i_data);
        VexInode::from_raw(inode)
    };
    if ours.is_live() {
        delay::forget_from(ours, 0);
        room::forgotten(ours);
        let result = evict::free_unlinked(ours);
        let _ = ours.mount().judge(result);
    }
    // SAFETY: The page cache is empty.
    unsafe { bindings::clear_inode(inode) };
}

/// # Safety
///
/// Called by the VFS when the last inode is gone.
unsafe extern "C" fn put_super(sb: *mut bindings::super_block) {
    // SAFETY: The super block is valid.
    mount::stop(unsafe { SuperBlock::from_raw(sb) }.mount());
    // SAFETY: Nobody uses the mount any more.
    unsafe { super::mount::drop_mount(sb) };
}

/// # Safety
///
/// Called by the VFS with a super block of ours.
unsafe extern "C" fn sync_fs(sb: *mut bindings::super_block, wait: c_int) -> c_int {
    // SAFETY: The super block is valid and mounted.
    let sb = unsafe { SuperBlock::from_raw(sb) };
    errno(mount::sync(sb.mount(), wait != 0))
}

/// # Safety
///
/// Called by the VFS when no writers are left.
unsafe extern "C" fn freeze_fs(sb: *mut bindings::super_block) -> c_int {
    // SAFETY: The super block is valid and mounted.
    errno(mount::freeze(unsafe { SuperBlock::from_raw(sb) }.mount()))
}

/// # Safety
///
/// Called by the VFS with a super block of ours.
unsafe extern "C" fn unfreeze_fs(sb: *mut bindings::super_block) -> c_int {
    // SAFETY: The super block is valid and mounted.
    errno(mount::thaw(unsafe { SuperBlock::from_raw(sb) }.mount()))
}

/// # Safety
///
/// Called by the block layer when the device goes away.
unsafe extern "C" fn shutdown(sb: *mut bindings::super_block) {
    // SAFETY: The super block is valid and mounted.
    unsafe { SuperBlock::from_raw(sb) }.mount().shut_down();
}

/// # Safety
///
/// Called by the VFS with a dentry of ours and a structure to fill.
unsafe extern "C" fn statfs(
    dentry: *mut bindings::dentry,
    to: *mut kernel::bindings::kstatfs,
) -> c_int {
    // SAFETY: The dentry is referenced, its super block is mounted.
    let sb = unsafe { SuperBlock::from_raw((*dentry).d_sb) };
    let stat = mount::statfs(sb.mount());
    let to = to.cast::<bindings::kstatfs>();
    // SAFETY: The structure is the VFS's, ours for the call.
    unsafe {
        (*to).f_type = (*sb.as_ptr()).s_magic as c_long;
        (*to).f_bsize = (*sb.as_ptr()).s_blocksize as c_long;
        (*to).f_blocks = stat.blocks;
        (*to).f_bfree = stat.free;
        (*to).f_bavail = stat.available;
        (*to).f_files = stat.files;
        (*to).f_ffree = stat.free_files;
        (*to).f_fsid = bindings::vexfs_helper_u64_to_fsid(sb.device_id());
        (*to).f_namelen = stat.name_max as c_long;
    }
    0
}

/// # Safety
///
/// Called by the VFS with a dentry of ours and an open sequence file.
unsafe extern "C" fn show_options(
    seq: *mut bindings::seq_file,
    dentry: *mut bindings::dentry,
) -> c_int {
    // SAFETY: The dentry is referenced, its super block is mounted.
    let sb = unsafe { SuperBlock::from_raw((*dentry).d_sb) };
    mount::show_options(sb.mount(), &mut |text| {
        // SAFETY: The sequence file is open; the text is a valid buffer.
        unsafe { bindings::seq_write(seq, text.as_ptr().cast(), text.len()) };
    });
    0
}
