// SPDX-License-Identifier: GPL-2.0

//! iomap: the callbacks that tell the kernel where file data lies.
//!
//! Modelled on XFS. What a range maps to is decided in `ops::aops`; here its answers become `struct
//! iomap`, and iomap's calls become typed ones. Every mapping carries the inode's sequence number:
//! `iomap_valid` (with the folio locked) and write-back compare it, so a mapping that changed
//! behind a long write is looked up again. Data written through a stale mapping would be lost
//! without a word: iomap skips what it takes for a hole.

use core::ffi::c_int;

use kernel::prelude::*;

use crate::ops::aops::{self, Extent, Kind, Want};
use crate::ops::delay;
use crate::vfs::bindings;
use crate::vfs::bio;
use crate::vfs::inode::VexInode;
use crate::vfs::table::Table;

/// log2 of the block size.
pub(crate) const BLOCK_SHIFT: u32 = 12;
/// Bytes in a block.
pub(crate) const BLOCK: u64 = 1 << BLOCK_SHIFT;

/// Maps what is there: reads, seeks, fiemap, bmap.
pub(crate) static READ_OPS: Table<bindings::iomap_ops> = Table::new(bindings::iomap_ops {
    iomap_begin: Some(read_begin),
    iomap_end: None,
    iomap_next: None,
});

/// Maps for buffered writes, write faults and zeroing: holes are promised blocks, or allocated,
/// except to be zeroed.
pub(crate) static WRITE_OPS: Table<bindings::iomap_ops> = Table::new(bindings::iomap_ops {
    iomap_begin: Some(write_begin),
    iomap_end: Some(write_end),
    iomap_next: None,
});

/// Checks of a mapping during buffered writes.
pub(crate) static WRITE_CHECKS: Table<bindings::iomap_write_ops> =
    Table::new(bindings::iomap_write_ops {
        get_folio: None,
        put_folio: None,
        iomap_valid: Some(valid),
        read_folio_range: None,
    });

/// Completion of direct writes.
pub(crate) static DIRECT_WRITE: Table<bindings::iomap_dio_ops> =
    Table::new(bindings::iomap_dio_ops {
        end_io: Some(direct_end),
        submit_io: None,
        bio_set: core::ptr::null_mut(),
    });

static WRITEBACK: Table<bindings::iomap_writeback_ops> =
    Table::new(bindings::iomap_writeback_ops {
        writeback_range: Some(writeback_range),
        writeback_submit: Some(writeback_submit),
    });

/// 0 or the negative errno.
fn errno(r: Result) -> c_int {
    match r {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// Only a plain write through a descriptor says that more may follow.
const NOT_AHEAD: u32 = bindings::IOMAP_DIRECT | bindings::IOMAP_FAULT | bindings::IOMAP_ZERO;

/// What does not go to the page cache, or takes no blocks.
const NOT_DELAYED: u32 = bindings::IOMAP_DIRECT | bindings::IOMAP_ZERO;

/// Turns iomap's flags into what we want to know of them.
fn want(pos: i64, len: i64, flags: u32) -> Want {
    let (pos, len) = (pos.max(0) as u64, len.max(1) as u64);
    let first = pos >> BLOCK_SHIFT;
    let last = pos.saturating_add(len - 1) >> BLOCK_SHIFT;
    Want {
        first,
        count: last - first + 1,
        end: pos.saturating_add(len),
        aligned: (pos | len) & (BLOCK - 1) == 0,
        nowait: flags & bindings::IOMAP_NOWAIT != 0,
        overwrite_only: flags & bindings::IOMAP_OVERWRITE_ONLY != 0,
        report: flags & bindings::IOMAP_REPORT != 0,
        direct: flags & bindings::IOMAP_DIRECT != 0,
        ahead: flags & (bindings::IOMAP_WRITE | NOT_AHEAD) == bindings::IOMAP_WRITE,
        delay: flags & (bindings::IOMAP_WRITE | NOT_DELAYED) == bindings::IOMAP_WRITE,
    }
}

/// Writes `extent` into `map`.
fn fill(inode: &VexInode, map: &mut bindings::iomap, extent: &Extent, flags: u32) {
    let (kind, addr) = match extent.kind {
        Kind::Hole => (bindings::IOMAP_HOLE, u64::MAX),
        Kind::Written(phys) => (bindings::IOMAP_MAPPED, phys << BLOCK_SHIFT),
        Kind::Unwritten(phys) => (bindings::IOMAP_UNWRITTEN, phys << BLOCK_SHIFT),
        // Of what lies elsewhere only reports get here: data.
        Kind::Delayed | Kind::Elsewhere => (bindings::IOMAP_DELALLOC, u64::MAX),
    };
    map.type_ = kind as u16;
    map.addr = addr;
    map.offset = (extent.first << BLOCK_SHIFT) as i64;
    map.length = extent.count << BLOCK_SHIFT;
    map.flags = flags as u16;
    map.bdev = inode.bdev();
    map.validity_cookie = extent.seq;
}

/// # Safety
///
/// Called by iomap with an inode of ours and a mapping to fill.
unsafe extern "C" fn read_begin(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    flags: u32,
    map: *mut bindings::iomap,
    _srcmap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: iomap passes a live inode and its own mapping, exclusively ours for the call.
    let (inode, map) = unsafe { (VexInode::from_raw(inode), &mut *map) };
    let want = want(pos, len, flags);
    errno(aops::lookup(inode, &want).map(|mut extent| {
        // A map was written to after direct I/O had the page cache written back.
        if want.direct && extent.kind == Kind::Delayed {
            extent.kind = Kind::Hole;
        }
        fill(inode, map, &extent, 0);
    }))
}

/// # Safety
///
/// As [`read_begin`].
unsafe extern "C" fn write_begin(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    flags: u32,
    map: *mut bindings::iomap,
    _srcmap: *mut bindings::iomap,
) -> c_int {
    let want = want(pos, len, flags);
    if flags & bindings::IOMAP_ZERO != 0 {
        // SAFETY: As our caller's; zeroing comes from `iomap_zero_range`, whose mapping is inside
        // an `iomap_iter`.
        return errno(unsafe { zero_begin(inode, pos, &want, map) });
    }
    // SAFETY: iomap passes a live inode and its own mapping, exclusively ours for the call.
    let (inode, map) = unsafe { (VexInode::from_raw(inode), &mut *map) };
    errno(aops::allocate(inode, &want).map(|extent| {
        let mut flags = 0;
        if extent.new {
            flags |= bindings::IOMAP_F_NEW;
        }
        // What an O_DSYNC write has to commit beside its data.
        if want.end > inode.size() || extent.uncommitted {
            flags |= bindings::IOMAP_F_DIRTY;
        }
        fill(inode, map, &extent, flags);
    }))
}

/// Takes back what was promised for bytes that were not written.
///
/// # Safety
///
/// Called by iomap after it used a mapping that [`write_begin`] made.
unsafe extern "C" fn write_end(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    written: isize,
    flags: u32,
    map: *mut bindings::iomap,
) -> c_int {
    // SAFETY: The mapping is iomap's.
    let (kind, map_flags) = unsafe { (u32::from((*map).type_), u32::from((*map).flags)) };
    let promised = kind == bindings::IOMAP_DELALLOC && map_flags & bindings::IOMAP_F_NEW != 0;
    // A fault fails before it has a promise, or not at all.
    if !promised || flags & bindings::IOMAP_FAULT != 0 {
        return 0;
    }
    let (pos, len, written) = (pos.max(0) as u64, len.max(0) as u64, written.max(0) as u64);
    let start = match written {
        0 => pos - pos % BLOCK,
        _ => pos.saturating_add(written).div_ceil(BLOCK) * BLOCK,
    };
    let end = pos.saturating_add(len).div_ceil(BLOCK) * BLOCK;
    if start >= end {
        return 0;
    }
    let (start, end) = (start as i64, end as i64);
    // SAFETY: iomap passes a live inode, locked for writing; no folio is locked. Whoever makes
    // folios dirty is kept out while what is clean among these loses its promise.
    unsafe {
        let mapping = (*inode).i_mapping;
        bindings::vexfs_helper_filemap_invalidate_lock(mapping);
        bindings::iomap_write_delalloc_release(inode, start, end, flags, map, Some(punch));
        bindings::vexfs_helper_filemap_invalidate_unlock(mapping);
    }
    0
}

/// # Safety
///
/// Called by `iomap_write_delalloc_release` with an inode of ours, perhaps with a folio locked.
unsafe extern "C" fn punch(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    _map: *mut bindings::iomap,
) {
    // SAFETY: By this function's own requirement.
    let inode = unsafe { VexInode::from_raw(inode) };
    let (pos, end) = (pos.max(0) as u64, pos.saturating_add(len).max(0) as u64);
    // A start within a block is the end of file, behind bytes that are dirty.
    delay::forget(inode, pos.div_ceil(BLOCK), end.div_ceil(BLOCK));
}

/// Maps for zeroing: nothing is allocated, and of an unwritten extent only the dirty folios need to
/// be zeroed. Handing those to iomap spares it from writing them back first.
///
/// # Safety
///
/// `inode` is ours, `map` is the mapping inside an `iomap_iter`.
unsafe fn zero_begin(
    inode: *mut bindings::inode,
    pos: i64,
    want: &Want,
    map: *mut bindings::iomap,
) -> Result {
    // SAFETY: The caller passes a live inode.
    let inode = unsafe { VexInode::from_raw(inode) };
    // What is offline is not zeroed here: staging zeroes what lies behind the end of file when it
    // brings a block back.
    let mut extent = aops::lookup(
        inode,
        &Want {
            report: true,
            ..*want
        },
    )?;
    if extent.kind == Kind::Elsewhere {
        extent.kind = Kind::Hole;
    }
    let mut flags = 0u32;
    let eof = inode.size().div_ceil(BLOCK);
    // Folios beyond the end of file are not written back: the mapping must not reach across it.
    if extent.first < eof {
        extent.count = extent.count.min(eof - extent.first);
    }
    if matches!(extent.kind, Kind::Unwritten(_)) && extent.first < eof {
        let end = ((extent.first + extent.count) << BLOCK_SHIFT).min(want.end);
        let mut start = pos;
        // SAFETY: The caller says that `map` is in an iterator.
        let iter = unsafe { kernel::container_of!(map, bindings::iomap_iter, iomap) };
        // SAFETY: The iterator is iomap's and live; the other pointers are to our locals.
        unsafe {
            bindings::iomap_fill_dirty_folios(iter, &raw mut start, end as i64, &raw mut flags)
        };
        let reached = (start.max(pos) as u64).div_ceil(BLOCK);
        extent.count = extent
            .count
            .min(reached.saturating_sub(extent.first).max(1));
    }
    // SAFETY: The mapping is exclusively ours for the call.
    fill(inode, unsafe { &mut *map }, &extent, flags);
    Ok(())
}

/// Whether a mapping still holds; the folio that it is used for is locked.
///
/// # Safety
///
/// Called by iomap with an inode and a mapping of ours.
unsafe extern "C" fn valid(inode: *mut bindings::inode, map: *const bindings::iomap) -> bool {
    // SAFETY: iomap passes a live inode and mapping.
    let (inode, map) = unsafe { (VexInode::from_raw(inode), &*map) };
    // A hole is only zeroed or skipped, and nothing takes a hole from under a folio lock but an
    // allocation that itself needs that lock to put data there.
    u32::from(map.type_) == bindings::IOMAP_HOLE || map.validity_cookie == inode.data().seq()
}

/// End of a direct write: what was unwritten becomes written, and the size grows.
///
/// # Safety
///
/// Called by iomap, in task context, with the request that ended.
unsafe extern "C" fn direct_end(
    iocb: *mut bindings::kiocb,
    size: isize,
    error: c_int,
    flags: u32,
) -> c_int {
    if error != 0 || size <= 0 {
        return error;
    }
    // SAFETY: The request holds its file, the file its inode.
    let (inode, pos) = unsafe {
        let inode = bindings::vexfs_helper_file_inode((*iocb).ki_filp);
        (VexInode::from_raw(inode), (*iocb).ki_pos as u64)
    };
    // Write-back may wait for the direct write: do not enter the file system through an allocation.
    // SAFETY: Restored below, by the same task.
    let nofs = unsafe { bindings::vexfs_helper_memalloc_nofs_save() };
    let unwritten = flags & bindings::IOMAP_DIO_UNWRITTEN != 0;
    let result = aops::finish_write(inode, pos, size as u64, unwritten, true);
    // SAFETY: Saved above.
    unsafe { bindings::vexfs_helper_memalloc_nofs_restore(nofs) };
    errno(result)
}

/// One pass of write-back: the mapping that it works on, and when that was read.
#[repr(C)]
struct Writeback {
    ctx: bindings::iomap_writepage_ctx,
    seq: u64,
}

/// Writes dirty folios of a mapping back.
///
/// # Safety
///
/// `mapping` is that of an inode of ours, `wbc` the request.
pub(crate) unsafe extern "C" fn writepages(
    mapping: *mut bindings::address_space,
    wbc: *mut kernel::bindings::writeback_control,
) -> c_int {
    // SAFETY: A zeroed context is what C's designated initialiser gives for the rest.
    let mut pass: Writeback = unsafe { core::mem::zeroed() };
    // SAFETY: The mapping lives for the call.
    pass.ctx.inode = unsafe { (*mapping).host };
    pass.ctx.wbc = wbc.cast();
    pass.ctx.ops = WRITEBACK.as_ptr();
    // SAFETY: The context is filled and lives until the call returns.
    unsafe { bindings::iomap_writepages(&raw mut pass.ctx) }
}

/// # Safety
///
/// Called by iomap with the context that [`writepages`] made and a locked folio of the inode.
unsafe extern "C" fn writeback_range(
    ctx: *mut bindings::iomap_writepage_ctx,
    folio: *mut bindings::folio,
    pos: u64,
    len: u32,
    end_pos: u64,
) -> isize {
    // SAFETY: `ctx` is the field of a `Writeback`, which only this pass uses.
    let pass = unsafe { &mut *kernel::container_of!(ctx, Writeback, ctx) };
    // SAFETY: Write-back holds the inode.
    let inode = unsafe { VexInode::from_raw(pass.ctx.inode) };
    let map = &pass.ctx.iomap;
    let covered = pos >= map.offset as u64 && pos - (map.offset as u64) < map.length;
    if !covered || pass.seq != inode.data().seq() {
        let want = want(pos as i64, i64::from(len), 0);
        // The longest mapping that there is, or that is to be had: the following folios use it too.
        // Nothing takes blocks from under a locked dirty folio, so what is mapped here stays mapped
        // until the folio's write is done.
        let dirty = want.count;
        match delay::place(
            inode,
            &Want {
                count: u64::MAX >> (BLOCK_SHIFT + 1),
                ..want
            },
            dirty,
        ) {
            Ok(extent) => {
                pass.seq = extent.seq;
                fill(inode, &mut pass.ctx.iomap, &extent, 0);
            }
            Err(e) => return e.to_errno() as isize,
        }
    }
    // SAFETY: The context has a mapping that covers `pos`; the folio is locked and under
    // write-back.
    unsafe {
        bindings::iomap_add_to_ioend(&raw mut pass.ctx, folio, pos as i64, end_pos as i64, len)
    }
}

/// # Safety
///
/// Called by iomap with the context that [`writepages`] made, when an ioend is complete.
unsafe extern "C" fn writeback_submit(
    ctx: *mut bindings::iomap_writepage_ctx,
    error: c_int,
) -> c_int {
    // SAFETY: iomap calls this with an ioend in the context; write-back holds its inode.
    unsafe {
        let ioend = (*ctx).wb_ctx.cast::<bindings::iomap_ioend>();
        let inode = VexInode::from_raw((*ioend).io_inode);
        let end = (*ioend).io_offset as u64 + (*ioend).io_size as u64;
        let task = bindings::IOMAP_IOEND_UNWRITTEN | bindings::VEXFS_IOMAP_IOEND_DONTCACHE;
        if u32::from((*ioend).io_flags) & task != 0 || end > inode.disk_size() {
            (*ioend).io_bio.bi_end_io = Some(bio::end_bio);
        }
        bindings::iomap_ioend_writeback_submit(ctx, error)
    }
}

/// # Safety
///
/// `read_folio`: called by the page cache with a locked folio of an inode of ours.
pub(crate) unsafe extern "C" fn read_folio(
    _file: *mut bindings::file,
    folio: *mut bindings::folio,
) -> c_int {
    // SAFETY: A zeroed context is what C's designated initialiser gives for the rest.
    let mut ctx: bindings::iomap_read_folio_ctx = unsafe { core::mem::zeroed() };
    ctx.ops = &raw const bindings::iomap_bio_read_ops;
    ctx.cur_folio = folio;
    // SAFETY: The folio is locked; iomap unlocks it when it was read.
    unsafe { bindings::iomap_read_folio(READ_OPS.as_ptr(), &raw mut ctx, core::ptr::null_mut()) };
    0
}

/// # Safety
///
/// `readahead`: called by the page cache.
pub(crate) unsafe extern "C" fn readahead(rac: *mut bindings::readahead_control) {
    // SAFETY: As in `read_folio`.
    let mut ctx: bindings::iomap_read_folio_ctx = unsafe { core::mem::zeroed() };
    ctx.ops = &raw const bindings::iomap_bio_read_ops;
    ctx.rac = rac;
    // SAFETY: `rac` is the page cache's request.
    unsafe { bindings::iomap_readahead(READ_OPS.as_ptr(), &raw mut ctx, core::ptr::null_mut()) };
}

/// # Safety
///
/// `bmap`: called with a mapping of ours.
pub(crate) unsafe extern "C" fn bmap(mapping: *mut bindings::address_space, block: u64) -> u64 {
    // SAFETY: The mapping lives for the call.
    unsafe { bindings::iomap_bmap(mapping, block, READ_OPS.as_ptr()) }
}

/// `swap_activate`: the blocks of a file are handed to the swap code, which writes to them behind
/// our back. It refuses files with holes; the VFS refuses to write to or to cut an active one.
///
/// # Safety
///
/// Called by swapon with an open file of ours, its inode locked.
pub(crate) unsafe extern "C" fn swap_activate(
    info: *mut bindings::swap_info_struct,
    file: *mut bindings::file,
    span: *mut bindings::sector_t,
) -> c_int {
    // SAFETY: The file is open, and the other two are swapon's own.
    unsafe {
        let inode = VexInode::from_raw(bindings::vexfs_helper_file_inode(file));
        bindings::vexfs_helper_set_swap_bdev(info, inode.bdev());
        bindings::iomap_swapfile_activate(info, file, span, READ_OPS.as_ptr())
    }
}

/// Zeroes the bytes `[pos, pos + len)` in the page cache where they are not zero on disk; says
/// whether any were.
///
/// # Context
///
/// The inode and its `invalidate_lock` are locked exclusively.
pub(crate) fn zero_range(inode: &VexInode, pos: u64, len: u64) -> Result<bool> {
    let mut zeroed = false;
    // SAFETY: The inode lives; the tables are static; the caller holds the locks.
    let r = unsafe {
        bindings::iomap_zero_range(
            inode.as_ptr(),
            pos as i64,
            len as i64,
            &raw mut zeroed,
            WRITE_OPS.as_ptr(),
            WRITE_CHECKS.as_ptr(),
            core::ptr::null_mut(),
        )
    };
    kernel::error::to_result(r)?;
    Ok(zeroed)
}
