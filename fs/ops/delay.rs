// SPDX-License-Identifier: GPL-2.0

//! Delayed allocation: what is written to the page cache is promised blocks, and gets them when it
//! is written back.
//!
//! By then all of a small file is known, and much of a large one: it lies in one piece, and a file
//! that has gone meanwhile never takes a block. What is promised counts as used ([`Fs::delay`]), so
//! there is no space when a write asks for it, not when it is written back. Blocks are not promised
//! but allocated where limits of quota are enforced, so that these hold to the block; for internal
//! files; and when promises find no space or too many pieces of a file are delayed.
//!
//! Each delayed block has a dirty folio, or belongs to a write that is still copying. So a promise
//! ends where a folio ceases to be dirty: written back, cut off, or never written
//! because a write fell short.
//!
//! [`Fs::delay`]: crate::libvexfs::Fs::delay

use kernel::prelude::*;

use crate::libvexfs::extent::MAX_LBLK;
use crate::ops::aops::{self, Extent, Kind, Want};
use crate::vfs::inode::VexInode;
use crate::vfs::sched;

/// Commits that write-back waits for at most, when what it was promised was freed just before.
const COMMITS: u32 = 8;

/// Promises blocks to the hole at the start of `want`. Nothing, if they are to be allocated now; if
/// something is there by now, what it is.
///
/// # Errors
///
/// `EUCLEAN`, `EIO`, `ENOMEM`.
///
/// # Context
///
/// May hold a folio lock.
pub(super) fn promise(vi: &VexInode, want: &Want) -> Result<Option<Extent>> {
    let fs = vi.fs();
    if fs.quota_enforced() != 0 {
        return Ok(None);
    }
    let mut guard = vi.core().write();
    let (core, delayed) = guard.parts();
    let seen = aops::read(vi, core, delayed, want)?;
    match seen.kind {
        Kind::Hole => {}
        // Who allocates will say so.
        Kind::Elsewhere => return Ok(None),
        _ => return Ok(Some(seen)),
    }
    if fs.delay(core, delayed, seen.first, seen.count).is_err() {
        return Ok(None);
    }
    vi.data().set_delayed(delayed.blocks());
    vi.show_blocks(core);
    Ok(Some(Extent {
        kind: Kind::Delayed,
        new: true,
        ..seen
    }))
}

/// Where write-back puts the blocks that `want` begins with, and as many behind them as lie
/// together; `dirty` of them are to be written. What is delayed gets its place, its run from the
/// start on.
///
/// # Errors
///
/// `EIO` and what the journal returns; not `ENOMEM`, after which it tries again. The data is lost
/// then, and so is its promise.
///
/// # Context
///
/// Holds a folio lock. Begins transactions.
pub(crate) fn place(vi: &VexInode, want: &Want, dirty: u64) -> Result<Extent> {
    let placed = sched::despite_no_memory(|| try_place(vi, want, dirty));
    if placed.is_err() {
        forget(vi, want.first, want.first.saturating_add(dirty));
    }
    placed
}

fn try_place(vi: &VexInode, want: &Want, dirty: u64) -> Result<Extent> {
    let mut commits = COMMITS;
    loop {
        let seen = aops::lookup(vi, want)?;
        let next = match seen.kind {
            Kind::Delayed => Want {
                first: vi
                    .core()
                    .read()
                    .delayed()
                    .run_start(want.first)
                    .unwrap_or(want.first),
                ..*want
            },
            // A dirty folio without a promise: no space was kept for it, but there may be some.
            Kind::Hole => Want {
                count: seen.count.min(dirty),
                ..*want
            },
            _ => return Ok(seen),
        };
        match aops::allocate_once(vi, &next, 0) {
            Ok(extent) if extent.first == want.first => return Ok(extent),
            Ok(_) => {}
            // What was freed by a transaction that is not durable was promised as well.
            Err(e) if e == ENOSPC && commits != 0 && vi.fs().settle()? => commits -= 1,
            Err(e) => return Err(e),
        }
    }
}

/// Takes back what is promised to the blocks `[first, end)`: nothing is there to be written.
///
/// # Context
///
/// No folio in the range can become dirty meanwhile.
pub(crate) fn forget(vi: &VexInode, first: u64, end: u64) {
    if vi.data().delayed() == 0 {
        return;
    }
    let mut guard = vi.core().write();
    let (core, delayed) = guard.parts();
    vi.fs().undelay(delayed, first, end);
    vi.data().set_delayed(delayed.blocks());
    vi.show_blocks(core);
}

/// [`forget`] from block `first` on.
pub(crate) fn forget_from(vi: &VexInode, first: u64) {
    forget(vi, first, MAX_LBLK);
}
