// SPDX-License-Identifier: GPL-2.0

//! File handles: what NFS and `open_by_handle_at` name files by. A handle has the number and the
//! generation of an inode, and if asked for those of a directory that it is in, so it stays true
//! as long as the inode does: over renames, reboots and remounts.

use super::{
    bindings,
    dentry::errno,
    inode::{InodeRef, VexInode},
    super_block::SuperBlock,
    table::Table,
};
use crate::ops::export;
use kernel::prelude::*;

/// The operations.
pub(super) static EXPORT_OPS: Table<bindings::export_operations> =
    Table::new(bindings::export_operations {
        encode_fh: Some(encode_fh),
        fh_to_dentry: Some(fh_to_dentry),
        fh_to_parent: Some(fh_to_parent),
        get_name: Some(get_name),
        get_parent: Some(get_parent),
        commit_metadata: Some(commit_metadata),
        ..pin_init::zeroed()
    });

/// Type of a handle without a directory, as XFS has it.
const ALONE: u32 = bindings::fid_type_FILEID_INO64_GEN;
/// Type of a handle with a directory.
const WITH_PARENT: u32 = bindings::fid_type_FILEID_INO64_GEN_PARENT;
/// What is no handle.
const INVALID: u32 = bindings::fid_type_FILEID_INVALID;
/// Words of an inode in a handle: number, generation.
const WORDS: usize = 3;

/// # Safety
///
/// Called by the VFS with an inode of ours, a buffer of `max_len` words, and a directory of ours
/// or null.
unsafe extern "C" fn encode_fh(
    inode: *mut bindings::inode,
    fh: *mut u32,
    max_len: *mut c_int,
    parent: *mut bindings::inode,
) -> c_int {
    let (kind, need) = match parent.is_null() {
        true => (ALONE, WORDS),
        false => (WITH_PARENT, 2 * WORDS),
    };
    // SAFETY: By this function's own requirement; the words are written only if there is room.
    unsafe {
        let have = usize::try_from(*max_len).unwrap_or(0);
        *max_len = need as c_int;
        if have < need {
            return INVALID as c_int;
        }
        for (i, inode) in [inode, parent].into_iter().take(need / WORDS).enumerate() {
            let inode = VexInode::from_raw(inode);
            let ino = inode.ino();
            let words = [ino as u32, (ino >> 32) as u32, inode.generation()];
            core::ptr::copy_nonoverlapping(words.as_ptr(), fh.add(i * WORDS), WORDS);
        }
    }
    kind as c_int
}

/// Number and generation of inode `i` of a handle.
///
/// # Safety
///
/// `fid` has `len` words.
unsafe fn decode(fid: *const u32, len: c_int, kind: c_int, i: usize) -> Option<(u64, u32)> {
    let inodes = match kind as u32 {
        ALONE => 1,
        WITH_PARENT => 2,
        _ => return None,
    };
    if i >= inodes || usize::try_from(len).ok()? < inodes * WORDS {
        return None;
    }
    let mut words = [0u32; WORDS];
    // SAFETY: By this function's own requirement the words are there.
    unsafe { core::ptr::copy_nonoverlapping(fid.add(i * WORDS), words.as_mut_ptr(), WORDS) };
    let [low, high, generation] = words;
    Some((u64::from(high) << 32 | u64::from(low), generation))
}

/// A dentry for an inode.
fn dentry_of(inode: Result<InodeRef>) -> *mut bindings::dentry {
    match inode {
        // SAFETY: The reference is taken over.
        Ok(inode) => unsafe { bindings::d_obtain_alias(inode.into_raw()) },
        Err(e) => e.to_ptr(),
    }
}

/// The inode `i` that a handle names.
///
/// # Safety
///
/// As [`fh_to_dentry`].
unsafe fn to_dentry(
    sb: *mut bindings::super_block,
    fid: *const u32,
    len: c_int,
    kind: c_int,
    i: usize,
) -> *mut bindings::dentry {
    // SAFETY: By this function's own requirement.
    unsafe {
        match decode(fid, len, kind, i) {
            Some((ino, generation)) => {
                dentry_of(export::get(SuperBlock::from_raw(sb), ino, generation))
            }
            None => core::ptr::null_mut(),
        }
    }
}

/// # Safety
///
/// Called by the VFS with a super block of ours and a handle of `len` words from outside.
unsafe extern "C" fn fh_to_dentry(
    sb: *mut bindings::super_block,
    fid: *mut bindings::fid,
    len: c_int,
    kind: c_int,
) -> *mut bindings::dentry {
    // SAFETY: By this function's own requirement.
    unsafe { to_dentry(sb, fid.cast(), len, kind, 0) }
}

/// # Safety
///
/// As [`fh_to_dentry`].
unsafe extern "C" fn fh_to_parent(
    sb: *mut bindings::super_block,
    fid: *mut bindings::fid,
    len: c_int,
    kind: c_int,
) -> *mut bindings::dentry {
    // SAFETY: By this function's own requirement.
    unsafe { to_dentry(sb, fid.cast(), len, kind, 1) }
}

/// # Safety
///
/// Called by the VFS with a directory of ours and a dentry of something in it, and room for the
/// longest name.
unsafe extern "C" fn get_name(
    parent: *mut bindings::dentry,
    name: *mut c_char,
    child: *mut bindings::dentry,
) -> c_int {
    // SAFETY: Both dentries are referenced and positive.
    let (dir, inode) = unsafe {
        (
            VexInode::from_raw(bindings::vexfs_helper_d_inode(parent)),
            VexInode::from_raw(bindings::vexfs_helper_d_inode(child)),
        )
    };
    errno(export::name_in(dir, inode, &mut |found| {
        // SAFETY: Names of ours are no longer than the longest, for which there is room, with
        // its end.
        unsafe {
            core::ptr::copy_nonoverlapping(found.as_ptr(), name.cast(), found.len());
            *name.add(found.len()) = 0;
        }
    }))
}

/// # Safety
///
/// Called by the VFS with a dentry of a directory of ours.
unsafe extern "C" fn get_parent(child: *mut bindings::dentry) -> *mut bindings::dentry {
    // SAFETY: The dentry is referenced and positive.
    let inode = unsafe { VexInode::from_raw(bindings::vexfs_helper_d_inode(child)) };
    dentry_of(export::parent(inode))
}

/// # Safety
///
/// Called by the NFS server with an inode of ours.
unsafe extern "C" fn commit_metadata(inode: *mut bindings::inode) -> c_int {
    // SAFETY: The server holds the inode.
    let inode = unsafe { VexInode::from_raw(inode) };
    errno(export::commit(inode))
}
