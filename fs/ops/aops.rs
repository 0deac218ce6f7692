// SPDX-License-Identifier: GPL-2.0

//! Where file data lies: the decisions behind `vfs::iomap`.
//!
//! Lock order: folio -> transaction handle -> the inode's metadata lock -> allocation group ->
//! buffer. The metadata lock is never held when a handle is begun, so each change looks again at
//! what it saw before it had one.
//!
//! What is written to the page cache is promised blocks, which get their places, *unwritten*, when
//! it is written back (see [`delay`]). A file that grows behind blocks that it has on disk gets its
//! blocks at once, with room for more (see [`room`]).
//! They become written, in one transaction with the size on disk, when the data is on the medium:
//! see [`finish_write`]. A crash in between shows zeroes or the old size, never someone else's
//! bytes.

use kernel::error::code::*;
use kernel::prelude::*;

use crate::libvexfs::errno::enodata;
use crate::libvexfs::extent::{Delayed, Mapping, MAX_LBLK};
use crate::libvexfs::journal::{tid_geq, Store, Trans};
use crate::libvexfs::{credits, format::Inode, Mode};
use crate::ops::{delay, room};
use crate::vfs::inode::VexInode;
use crate::vfs::iomap::{BLOCK, BLOCK_SHIFT};
use crate::vfs::store::Handle;

/// A range of blocks that the kernel asks about.
#[derive(Clone, Copy)]
pub(crate) struct Want {
    /// First block of the file, and how many.
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// Where the request ends, in bytes.
    pub(crate) end: u64,
    /// It begins and ends on block boundaries.
    pub(crate) aligned: bool,
    /// Fail with EAGAIN rather than sleep.
    pub(crate) nowait: bool,
    /// Fail with EAGAIN unless the blocks can simply be overwritten.
    pub(crate) overwrite_only: bool,
    /// Nothing is read or written: seek, fiemap, bmap.
    pub(crate) report: bool,
    /// Direct I/O.
    pub(crate) direct: bool,
    /// More may follow: room for it may be taken.
    pub(crate) ahead: bool,
    /// It goes to the page cache: a promise of blocks will do.
    pub(crate) delay: bool,
}

impl Want {
    /// Only to look.
    pub(crate) fn report(first: u64, count: u64) -> Self {
        Want {
            first,
            count,
            end: first.saturating_add(count) << BLOCK_SHIFT,
            aligned: true,
            nowait: false,
            overwrite_only: false,
            report: true,
            direct: false,
            ahead: false,
            delay: false,
        }
    }
}

/// What a range maps to, with the physical block of its first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: reads as zeroes.
    Hole,
    /// Data.
    Written(u64),
    /// Blocks without data yet: read as zeroes.
    Unwritten(u64),
    /// Promised blocks: there is data in the page cache, or about to be.
    Delayed,
    /// Data that is not on this disk (archived and released).
    Elsewhere,
}

/// An answer: `count` blocks from `first` on are of one kind.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) kind: Kind,
    /// The extent map's sequence number when it was read.
    pub(crate) seq: u64,
    /// Allocated by this very request.
    pub(crate) new: bool,
    /// The mapping may not be durable yet.
    pub(crate) uncommitted: bool,
}

/// Reads the mapping at the start of `want` under the metadata lock.
pub(super) fn read(vi: &VexInode, core: &Inode, delayed: &Delayed, want: &Want) -> Result<Extent> {
    let mapping = vi.fs().map(core, want.first, want.count)?;
    let (kind, count) = match mapping {
        Mapping::Hole { len } => match delayed.at(want.first, len) {
            (true, len) => (Kind::Delayed, len),
            (false, len) => (Kind::Hole, len),
        },
        Mapping::Written { phys, len } => (Kind::Written(phys), len),
        Mapping::Unwritten { phys, len } => (Kind::Unwritten(phys), len),
        Mapping::Offline { len, .. } => (Kind::Elsewhere, len),
    };
    if count == 0 {
        return Err(EIO);
    }
    Ok(Extent {
        first: want.first,
        count: count.min(want.count),
        kind,
        seq: vi.data().seq(),
        new: false,
        uncommitted: !tid_geq(vi.fs().store.committed(), vi.data().commit_tid(true)),
    })
}

/// What `want` maps to, up to the first change of kind.
///
/// # Errors
///
/// EAGAIN when it would sleep and must not; ENODATA for data that is offline, unless it is only
/// reported: who uses it recalls it first, and again if it has gone in between (`ops::file`).
///
/// # Context
///
/// May hold a folio lock.
pub(crate) fn lookup(vi: &VexInode, want: &Want) -> Result<Extent> {
    vi.check_running()?;
    let core = if want.nowait {
        vi.core().try_read().ok_or(EAGAIN)?
    } else {
        vi.core().read()
    };
    if want.nowait && !core.data_in_core() {
        return Err(EAGAIN);
    }
    let extent = read(vi, &core, core.delayed(), want)?;
    if extent.kind == Kind::Elsewhere && !want.report {
        return Err(enodata());
    }
    Ok(extent)
}

/// Maps `want` for writing: where nothing is mapped, blocks are promised, or allocated, unwritten, in
/// as long an extent as there is.
///
/// # Errors
///
/// EAGAIN when it would sleep or allocate and must not; ENOSPC when there is no space, freed blocks
/// that wait for a commit included.
///
/// # Context
///
/// May hold a folio lock (write faults). May begin a transaction.
pub(crate) fn allocate(vi: &VexInode, want: &Want) -> Result<Extent> {
    let seen = lookup(vi, want)?;
    if want.overwrite_only {
        // Part of a request cannot be taken back, and a block that is not written would need
        // zeroing around the data.
        let plain = matches!(seen.kind, Kind::Written(_))
            || (matches!(seen.kind, Kind::Unwritten(_)) && want.aligned);
        return if plain && seen.count == want.count {
            Ok(seen)
        } else {
            Err(EAGAIN)
        };
    }
    let placed = match seen.kind {
        Kind::Hole => false,
        Kind::Delayed => want.delay,
        _ => true,
    };
    if want.nowait && (!placed || (want.direct && seen.count < want.count)) {
        return Err(EAGAIN);
    }
    if placed {
        return Ok(seen);
    }

    let ahead = room::wish(vi, want);
    if ahead == 0 && want.delay {
        if let Some(extent) = delay::promise(vi, want)? {
            return Ok(extent);
        }
    }
    settled(vi, || allocate_once(vi, want, ahead))
}

/// Gives the first hole in the blocks `[next, end)` blocks, unwritten, as many as fit in one
/// extent. Returns the block up to which nothing is a hole any more.
///
/// # Context
///
/// `i_rwsem` held exclusively. Begins a transaction.
pub(crate) fn fill(vi: &VexInode, next: u64, end: u64) -> Result<u64> {
    let want = Want::report(next, end.saturating_sub(next));
    let mut seen = lookup(vi, &want)?;
    if matches!(seen.kind, Kind::Hole | Kind::Delayed) {
        let want = Want {
            count: seen.count,
            ..want
        };
        seen = settled(vi, || allocate_once(vi, &want, 0))?;
    }
    Ok(next.saturating_add(seen.count))
}

/// Runs a transaction, and once more if there was no space but some comes back with a commit: what
/// was freed lately can be used when its transaction is durable.
pub(crate) fn settled<T>(vi: &VexInode, mut transaction: impl FnMut() -> Result<T>) -> Result<T> {
    match transaction() {
        Err(e) if e == ENOSPC => {
            let room = room::reclaim(vi.mount());
            if vi.fs().settle()? || room {
                transaction()
            } else {
                Err(e)
            }
        }
        other => other,
    }
}

/// One transaction of [`allocate`]; takes `ahead` blocks more if nothing is mapped behind. Blocks
/// that are delayed get their places, unless a promise will do.
pub(super) fn allocate_once(vi: &VexInode, want: &Want, ahead: u64) -> Result<Extent> {
    let fs = vi.fs();
    let mut t = fs.store.begin(credits::EXTENT_ALLOC)?;
    let mut guard = vi.core().write();
    let (core, delayed) = guard.parts();
    // Somebody else may have been here before we had the handle.
    let seen = read(vi, core, delayed, want)?;
    // A failure only drops the handle: that aborts the journal if something was changed already.
    let taken = match seen.kind {
        Kind::Hole => {
            let mapping = take(vi, &mut t, core, want.first, seen.count, ahead)?;
            // With room it may reach over some that are delayed.
            let end = want.first.saturating_add(mapping.len());
            fs.undelay(delayed, want.first, end);
            true
        }
        Kind::Delayed if !want.delay => {
            fs.allocate_delayed(&mut t, core, delayed, want.first)?;
            true
        }
        Kind::Elsewhere => return Err(enodata()),
        Kind::Delayed => false,
        // What has its place may be delayed still, if there was no memory to cut a run in two. At the
        // start of a run that needs none.
        Kind::Written(_) | Kind::Unwritten(_) => {
            fs.undelay(delayed, seen.first, seen.first + seen.count);
            vi.data().set_delayed(delayed.blocks());
            vi.show_blocks(core);
            false
        }
    };
    let mut extent = seen;
    if taken {
        vi.data().changed();
        vi.data().note(t.tid(), true);
        vi.data().set_delayed(delayed.blocks());
        vi.show_blocks(core);
        extent = Extent {
            new: true,
            uncommitted: true,
            ..read(vi, core, delayed, want)?
        };
    }
    drop(guard);
    t.stop()?;
    Ok(extent)
}

/// Takes `count` blocks for a hole, and `ahead` blocks more if nothing is mapped behind, as near
/// behind the extent before it as there is space.
fn take(
    vi: &VexInode,
    t: &mut Handle,
    core: &mut Inode,
    first: u64,
    count: u64,
    ahead: u64,
) -> Result<Mapping> {
    let fs = vi.fs();
    let mut most = count;
    if ahead != 0 {
        let rest = MAX_LBLK.saturating_sub(first);
        // What is mapped further on somebody wanted.
        if matches!(fs.map(core, first, rest)?, Mapping::Hole { len } if len >= rest) {
            most = count.saturating_add(ahead);
        }
    }
    match fs.allocate(t, core, first, most, 0, Mode::Normal) {
        Err(e) if most > count && e == ENOSPC && !t.dirtied() => {
            fs.allocate(t, core, first, count, 0, Mode::Normal)
        }
        other => other,
    }
}

/// The data of `[pos, pos + len)` is on the medium: makes its extents written and the size on disk
/// cover it. For a direct write the size in core grows here too, after the conversion: before it, a
/// reader would find zeroes.
///
/// # Context
///
/// Task context, in a nofs scope, no folio lock. Begins transactions. For direct writes of what was
/// written before, below the end of file, any context.
pub(crate) fn finish_write(
    vi: &VexInode,
    pos: u64,
    len: u64,
    unwritten: bool,
    direct: bool,
) -> Result {
    vi.check_running()?;
    let end = pos.saturating_add(len);
    // A plain direct overwrite completes in interrupt context, where the metadata lock cannot be
    // taken. Should the size on disk be behind, it catches up with the write-back that put the size
    // in core where it is.
    if !unwritten
        && if direct {
            end <= vi.size()
        } else {
            end <= vi.disk_size()
        }
    {
        return Ok(());
    }
    let mut next = pos >> BLOCK_SHIFT;
    while next < end.div_ceil(BLOCK) {
        next = settled(vi, || finish_part(vi, next, end, unwritten, direct))?;
    }
    Ok(())
}

/// One transaction of [`finish_write`], from block `next` on. Returns the first block that is left
/// to do.
fn finish_part(vi: &VexInode, next: u64, end: u64, unwritten: bool, direct: bool) -> Result<u64> {
    let fs = vi.fs();
    let last = end.div_ceil(BLOCK);
    let mut t = fs.store.begin(credits::CONVERT)?;
    let mut core = vi.core().write();
    let mut done = last;
    if unwritten {
        let converted = fs.convert(&mut t, &mut core, next, last - next)?;
        done = next.saturating_add(converted.max(1)).min(last);
        vi.data().changed();
    }
    let reached = if done >= last {
        end
    } else {
        done << BLOCK_SHIFT
    };
    if direct && reached > vi.size() {
        vi.set_size(reached);
    }
    // A truncate may have cut the file while the data was on its way.
    let old = core.size;
    core.size = old.max(reached.min(vi.size()));
    if let Err(e) = fs.log_inode(&mut t, &core) {
        core.size = old;
        return Err(e);
    }
    vi.data().note(t.tid(), true);
    drop(core);
    t.stop()?;
    Ok(done)
}
