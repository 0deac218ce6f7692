// SPDX-License-Identifier: GPL-2.0

//! fallocate: allocating ranges of a file, taking them out, moving what is behind them.
//!
//! Order, as in XFS: what is needed comes back from where it is offline (no lock held) -> `i_rwsem`
//! -> direct I/O has ended -> the version of the contents moves on -> page faults are locked out ->
//! the range is written back and leaves the page cache -> bounded transactions change the extents.
//!
//! Writing back first is not for the data: it lets the size on disk catch up, which nothing would
//! do for folios that are dropped. Collapsing and inserting end a crash on the way with all data
//! there, in order, and the gap somewhere between where it was and where it was to go.

use kernel::error::code::*;
use kernel::prelude::*;

use crate::libvexfs::credits;
use crate::libvexfs::errno::{enodata, eopnotsupp};
use crate::libvexfs::extent::{New, MAX_LBLK};
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::{Store as _, Trans as _};
use crate::ops::file::{before_change, sync_metadata};
use crate::ops::staging::{self, Patience};
use crate::ops::{aops, aops::settled, room, truncate};
use crate::vfs::bindings;
use crate::vfs::file::{Mode, RwLocked};
use crate::vfs::inode::VexInode;
use crate::vfs::ioctl::File;
use crate::vfs::iomap::{self, BLOCK};
use crate::vfs::sched;
use crate::vfs::store::Handle;

/// What to do with a range.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    /// Give it blocks where it has none.
    Allocate,
    /// Take its blocks away.
    Punch,
    /// Make it read as zeroes, with blocks.
    Zero,
    /// Take it out of the file.
    Collapse,
    /// Put a hole before what is there.
    Insert,
}

/// A call of fallocate: bytes `[start, end)`.
#[derive(Clone, Copy)]
struct Call {
    op: Op,
    keep_size: bool,
    start: u64,
    end: u64,
}

impl Call {
    fn new(mode: u32, start: u64, len: u64) -> Result<Self> {
        let op = match mode & !bindings::FALLOC_FL_KEEP_SIZE {
            // No blocks are shared.
            0 | bindings::FALLOC_FL_UNSHARE_RANGE => Op::Allocate,
            bindings::FALLOC_FL_PUNCH_HOLE => Op::Punch,
            bindings::FALLOC_FL_ZERO_RANGE => Op::Zero,
            bindings::FALLOC_FL_COLLAPSE_RANGE => Op::Collapse,
            bindings::FALLOC_FL_INSERT_RANGE => Op::Insert,
            _ => return Err(eopnotsupp()),
        };
        Ok(Call {
            op,
            keep_size: mode & bindings::FALLOC_FL_KEEP_SIZE != 0,
            start,
            end: start.checked_add(len).ok_or(EFBIG)?,
        })
    }

    fn len(&self) -> u64 {
        self.end - self.start
    }

    /// The blocks that lie in the range with all the bytes that a file of `size` bytes has there.
    fn whole_blocks(&self, size: u64) -> (u64, u64) {
        let first = self.start.div_ceil(BLOCK);
        let last = self.end.div_ceil(BLOCK);
        let end = if self.end >= size && last == size.div_ceil(BLOCK) {
            last
        } else {
            self.end / BLOCK
        };
        (first, end.max(first))
    }

    /// The ranges of bytes that must not be offline: blocks of which a part is zeroed, and all
    /// that moves, since a place in the archived contents is one in the file.
    fn needed(&self, size: u64) -> [(u64, u64); 2] {
        let edge = |at: u64| match at % BLOCK {
            0 => (at, at),
            _ => (at, at + 1),
        };
        match self.op {
            Op::Allocate => [(0, 0), (0, 0)],
            // The block with the end of the file goes as a whole if all that the file has of it does.
            Op::Punch | Op::Zero if self.whole_blocks(size).1 >= size.div_ceil(BLOCK) => {
                [edge(self.start), (0, 0)]
            }
            Op::Punch | Op::Zero => [edge(self.start), edge(self.end.min(size))],
            Op::Collapse | Op::Insert => [(self.start, size.max(self.start)), (0, 0)],
        }
    }
}

/// `fallocate`.
///
/// # Errors
///
/// `EINVAL` for a range that cannot be moved, `EFBIG`, `ENOSPC`, `EOPNOTSUPP`, `EINTR`, and what
/// recalling, write-back and the journal return. Part of the range may be dealt with then.
pub(crate) fn fallocate(file: &File, mode: u32, start: u64, len: u64) -> Result {
    let vi = file.inode();
    vi.check_running()?;
    let call = Call::new(mode, start, len)?;
    let mut again = true;
    loop {
        for (from, to) in call.needed(vi.size()) {
            if from < to {
                staging::before_write(vi, from, to - from, false, Patience::Full)?;
            }
        }
        match locked(file, vi, &call) {
            // It went offline again before we had the lock.
            Err(e) if e == enodata() => {}
            // More may be promised than is needed in the end.
            Err(e)
                if e == ENOSPC
                    && again
                    && call.op == Op::Allocate
                    && vi.mount().place_delayed() =>
            {
                again = false;
            }
            other => {
                vi.mount().judge(other)?;
                break;
            }
        }
    }
    if file.is_sync() {
        vi.write_and_wait(0, i64::MAX as u64)?;
        sync_metadata(vi, false)?;
    }
    Ok(())
}

/// What is done under `i_rwsem`.
fn locked(file: &File, vi: &VexInode, call: &Call) -> Result {
    let _lock = RwLocked::take(vi, Mode::Exclusive, false)?;
    // Completions of direct writes change the size.
    vi.wait_for_direct_io();
    {
        let core = vi.core().read();
        for (from, to) in call.needed(vi.size()) {
            let (from, to) = (from / BLOCK, to.div_ceil(BLOCK));
            if vi.fs().first_offline(&core, from, to)?.is_some() {
                return Err(enodata());
            }
        }
    }
    let size = vi.size();
    let grown = match call.op {
        Op::Allocate | Op::Zero if !call.keep_size && call.end > size => Some(call.end),
        Op::Insert => Some(check_insert(vi, call, size)?),
        Op::Collapse => {
            check_collapse(call, size)?;
            None
        }
        _ => None,
    };
    if let Some(size) = grown {
        vi.new_size_ok(size)?;
    }
    file.modified()?;
    if vi.data().needs_trim() {
        truncate::finish(vi)?;
    }
    // It would not be told from what is asked for now.
    room::give_back(vi)?;

    match call.op {
        Op::Allocate => allocate(vi, call)?,
        Op::Punch => clear(vi, call)?,
        Op::Zero => {
            clear(vi, call)?;
            allocate(vi, call)?;
        }
        Op::Collapse => {
            collapse(vi, call)?;
            return truncate::setsize(vi, size - call.len());
        }
        Op::Insert => {
            // First, so that nothing with data is ever behind the end of the file.
            truncate::setsize(vi, size + call.len())?;
            return insert(vi, call);
        }
    }
    match grown {
        Some(size) => truncate::setsize(vi, size),
        None => Ok(()),
    }
}

fn aligned(call: &Call) -> Result {
    if (call.start | call.end) % BLOCK != 0 {
        return Err(EINVAL);
    }
    Ok(())
}

/// Reaching to the end of the file would be a truncation.
fn check_collapse(call: &Call, size: u64) -> Result {
    aligned(call)?;
    if call.end >= size {
        return Err(EINVAL);
    }
    Ok(())
}

/// The size that the file is going to have.
fn check_insert(vi: &VexInode, call: &Call, size: u64) -> Result<u64> {
    aligned(call)?;
    let new = size.checked_add(call.len()).ok_or(EFBIG)?;
    if new > vi.sb().max_bytes() {
        return Err(EFBIG);
    }
    if call.start >= size {
        return Err(EINVAL);
    }
    Ok(new)
}

/// Gives every block that the range touches a place on disk.
fn allocate(vi: &VexInode, call: &Call) -> Result {
    let end = call.end.div_ceil(BLOCK);
    let mut next = call.start / BLOCK;
    while next < end {
        if sched::killed() {
            return Err(EINTR);
        }
        next = aops::fill(vi, next, end)?;
        sched::yield_if_needed();
    }
    Ok(())
}

/// Makes the range read as zeroes: whole blocks lose their blocks on disk, or what is in them.
fn clear(vi: &VexInode, call: &Call) -> Result {
    let size = vi.size();
    if call.start < size {
        before_change(vi, call.start, call.end)?;
    }
    let _invalidate = vi.invalidate_lock();
    vi.flush_and_unmap(call.start, call.end)?;
    let (first, end) = call.whole_blocks(size);
    let zero = call.op == Op::Zero;
    let mut next = first;
    while next < end {
        next += change(vi, credits::ZERO, |t, core| {
            if zero {
                vi.fs().zero(t, core, next, end - next)
            } else {
                vi.fs().replace_range(t, core, next, end - next, New::Hole)
            }
        })?
        .max(1);
        sched::yield_if_needed();
    }
    truncate::settle_offline(vi)?;
    // What is left of the blocks at both ends.
    if call.start >= size {
        return Ok(());
    }
    let end = call.end.min(size);
    iomap::zero_range(vi, call.start, end - call.start)?;
    if end == size && end % BLOCK != 0 {
        // A map may have left something behind the end of the file: write-back clears it.
        vi.write_and_wait(end - end % BLOCK, i64::MAX as u64)?;
    }
    Ok(())
}

/// Takes the range out, and moves what is behind it there.
fn collapse(vi: &VexInode, call: &Call) -> Result {
    before_change(vi, call.start, u64::MAX)?;
    let _invalidate = vi.invalidate_lock();
    vi.flush_and_unmap(call.start, i64::MAX as u64)?;
    let (first, end) = (call.start / BLOCK, call.end / BLOCK);
    let mut next = first;
    while next < end {
        next += change(vi, credits::REPLACE_RANGE, |t, core| {
            vi.fs().replace_range(t, core, next, end - next, New::Hole)
        })?
        .max(1);
        sched::yield_if_needed();
    }
    let mut from = Some(end);
    while let Some(at) = from {
        from = change(vi, credits::SHIFT, |t, core| {
            vi.fs().shift_left(t, core, at, end - first)
        })?;
        sched::yield_if_needed();
    }
    Ok(())
}

/// Moves what is behind the start of the range to behind its end.
fn insert(vi: &VexInode, call: &Call) -> Result {
    before_change(vi, call.start, u64::MAX)?;
    let _invalidate = vi.invalidate_lock();
    vi.flush_and_unmap(call.start, i64::MAX as u64)?;
    let (first, by) = (call.start / BLOCK, call.len() / BLOCK);
    let mut limit = Some(MAX_LBLK);
    while let Some(at) = limit {
        limit = change(vi, credits::SHIFT, |t, core| {
            vi.fs().shift_right(t, core, first, at, by)
        })?;
        sched::yield_if_needed();
    }
    Ok(())
}

/// One transaction that changes the extents.
fn change<T>(
    vi: &VexInode,
    credits: usize,
    mut f: impl FnMut(&mut Handle, &mut Inode) -> Result<T>,
) -> Result<T> {
    settled(vi, || {
        let mut t = vi.fs().store.begin(credits)?;
        let mut core = vi.core().write();
        let result = f(&mut t, &mut core);
        vi.data().changed();
        if t.dirtied() {
            vi.data().note(t.tid(), true);
        }
        vi.show_blocks(&core);
        drop(core);
        // After a failure the handle is only dropped: that aborts the journal if something was
        // changed already.
        let result = result?;
        t.stop()?;
        Ok(result)
    })
}
