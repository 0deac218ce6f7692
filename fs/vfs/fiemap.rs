// SPDX-License-Identifier: GPL-2.0

//! FIEMAP: where a file's data lies, for who asks.
//!
//! iomap's own walk has no word for data that is on a volume. As other file systems with an archive
//! behind them do, it is shown as an extent of unknown place (`FIEMAP_EXTENT_UNKNOWN`) and no other
//! flag; one whose place is still to be chosen is `DELALLOC` too.

use core::ffi::c_int;

use kernel::prelude::*;

use crate::ops::aops::{self, Extent, Kind, Want};
use crate::vfs::bindings;
use crate::vfs::file::{Mode, RwLocked};
use crate::vfs::inode::VexInode;
use crate::vfs::iomap::{BLOCK, BLOCK_SHIFT};

/// `fiemap` of regular files.
///
/// # Safety
///
/// Called by the VFS with an inode of ours.
pub(crate) unsafe extern "C" fn fiemap(
    inode: *mut bindings::inode,
    info: *mut kernel::bindings::fiemap_extent_info,
    start: u64,
    len: u64,
) -> c_int {
    let info: *mut bindings::fiemap_extent_info = info.cast();
    let mut len = len;
    // SAFETY: The VFS holds the inode, and the request is its own. No flag but SYNC is known.
    let error = unsafe { bindings::fiemap_prep(inode, info, start, &raw mut len, 0) };
    if error != 0 {
        return error;
    }
    // SAFETY: The VFS holds the inode.
    let vi = unsafe { VexInode::from_raw(inode) };
    let shown = show(vi, start, start.saturating_add(len), &mut |extent, last| {
        let (place, flags) = match extent.kind {
            Kind::Hole => return Ok(true),
            Kind::Written(phys) => (phys << BLOCK_SHIFT, 0),
            Kind::Unwritten(phys) => (phys << BLOCK_SHIFT, bindings::FIEMAP_EXTENT_UNWRITTEN),
            Kind::Delayed => (
                0,
                bindings::FIEMAP_EXTENT_UNKNOWN | bindings::FIEMAP_EXTENT_DELALLOC,
            ),
            Kind::Elsewhere => (0, bindings::FIEMAP_EXTENT_UNKNOWN),
        };
        let last = if last {
            bindings::FIEMAP_EXTENT_LAST
        } else {
            0
        };
        // SAFETY: The request is the VFS's, ours for the call; it copies to user memory.
        let r = unsafe {
            bindings::fiemap_fill_next_extent(
                info,
                extent.first << BLOCK_SHIFT,
                place,
                extent.count << BLOCK_SHIFT,
                flags | last,
            )
        };
        kernel::error::to_result(r.min(0))?;
        Ok(r == 0)
    });
    match vi.mount().judge(shown) {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// Shows the extents that touch the bytes `[start, end)` to `f` until it says false, and whether
/// each is the last of the file. No metadata lock is held while it looks.
fn show(
    vi: &VexInode,
    start: u64,
    end: u64,
    f: &mut dyn FnMut(&Extent, bool) -> Result<bool>,
) -> Result {
    // Keeps the extents still, but for those that are being written.
    let _lock = RwLocked::take(vi, Mode::Shared, false)?;
    let all = vi.sb().max_bytes().div_ceil(BLOCK);
    let end = end.div_ceil(BLOCK).min(all);
    let mut next = start / BLOCK;
    // The extent that is shown when it is known whether another one follows.
    let mut held: Option<Extent> = None;
    while next < all {
        let extent = aops::lookup(vi, &Want::report(next, all - next))?;
        let at = next;
        next = next.saturating_add(extent.count.max(1));
        if extent.kind == Kind::Hole {
            if next >= all {
                break;
            }
            continue;
        }
        if let Some(before) = held.take() {
            if !f(&before, false)? {
                return Ok(());
            }
        }
        if at >= end {
            return Ok(());
        }
        held = Some(extent);
    }
    match held {
        Some(last) => f(&last, true).map(|_| ()),
        None => Ok(()),
    }
}
