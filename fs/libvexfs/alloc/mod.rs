// SPDX-License-Identifier: GPL-2.0

//! Space: finding free blocks, promising them, and giving them back.
//!
//! Which blocks are free stands in bitmaps, one block for each region of 32,256
//! blocks, with a summary entry each. An extent never crosses a region, so that
//! allocating or freeing one dirties three blocks: bitmap, summary, group header.
//!
//! A reserve of [`Superblock::reserved_blocks`](crate::libvexfs::Superblock) is kept
//! from ordinary users. It is so large that some region always has blocks enough for
//! a tree to split: removing and converting work on a full disk.

pub(crate) mod bitmap;
pub(crate) mod busy;
mod claim;
mod region;
mod space;
mod trim;

pub use claim::Claim;
pub use space::Space;

use crate::libvexfs::group::{Group, GroupCore};
use crate::libvexfs::journal::{Store, Trans};
use crate::libvexfs::Fs;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::prelude::*;
use region::Region;
pub(crate) use region::GROUP_RESERVE;

/// Who asks for space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Ordinary: the reserve stays untouched.
    Normal,
    /// The blocks were promised before with [`Fs::promise`]. Tree nodes that are needed
    /// on the way may come from the reserve.
    Promised,
    /// May use the reserve: unlink, truncate, conversion, recall's bookkeeping.
    Privileged,
}

/// Sums over all groups.
pub(crate) struct Counters {
    /// Bits that are clear on disk.
    pub(crate) free: AtomicU64,
    /// Blocks that were promised and not yet allocated.
    pub(crate) promised: AtomicU64,
    /// Free inodes in chunks.
    pub(crate) free_inodes: AtomicU64,
    /// Chunks.
    pub(crate) chunks: AtomicU64,
    /// Chunks in which no inode is in use, kept for the next one.
    pub(crate) spare_chunks: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Counters {
            free: zero(),
            promised: zero(),
            free_inodes: zero(),
            chunks: zero(),
            spare_chunks: zero(),
        }
    }
}

/// The `i`th of `count` things when one begins with the `first` and goes round.
pub(crate) fn turn(first: u32, i: u32, count: u32) -> u32 {
    let rest = count.saturating_sub(first);
    if i < rest {
        first + i
    } else {
        i - rest
    }
}

/// Adds to a counter, or takes off.
pub(crate) fn add(counter: &AtomicU64, n: i64) {
    // Wrapping addition of the two's complement is subtraction.
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

/// A run of blocks within a region of a group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) region: u32,
    pub(crate) bit: u32,
    pub(crate) len: u32,
}

/// What is done with a run that was found, under the lock of its group.
type Taker<'f, S> = dyn FnMut(&mut GroupCore, &Region<S>, &Place) -> Result + 'f;

/// A run that is at least so long is good enough for a longer wish: 8 MiB.
const GOOD_RUN: u64 = 2048;

impl<S: Store> Fs<S> {
    /// Free blocks, with the reserve and what is promised.
    pub fn free_blocks(&self) -> u64 {
        self.counters.free.load(Ordering::Relaxed)
    }

    /// Blocks that are promised: to delayed data, and to operations that are just running.
    pub fn promised_blocks(&self) -> u64 {
        self.counters.promised.load(Ordering::Relaxed)
    }

    /// Free blocks that nobody was promised, with the reserve.
    pub fn unpromised_blocks(&self) -> u64 {
        self.free_blocks().saturating_sub(self.promised_blocks())
    }

    /// Free blocks for ordinary use: without the reserve and without what is promised.
    pub fn available_blocks(&self) -> u64 {
        self.unpromised(Mode::Normal)
    }

    /// Free blocks that a mode does not get.
    fn kept_from(&self, mode: Mode) -> u64 {
        let groups = u64::from(self.group_count()) * GROUP_RESERVE;
        match mode {
            Mode::Privileged => groups,
            Mode::Normal | Mode::Promised => self.reserve.load(Ordering::Relaxed).max(groups),
        }
    }

    fn unpromised(&self, mode: Mode) -> u64 {
        let kept = self.kept_from(mode);
        self.unpromised_blocks().saturating_sub(kept)
    }

    /// Promises `n` blocks to a later allocation (delayed allocation).
    ///
    /// # Errors
    ///
    /// `ENOSPC`.
    pub fn promise(&self, n: u64, mode: Mode) -> Result {
        if self.promise_up_to(n, n, mode)? < n {
            return Err(ENOSPC);
        }
        Ok(())
    }

    /// Promises at most `most` blocks, at least `least`.
    fn promise_up_to(&self, least: u64, most: u64, mode: Mode) -> Result<u64> {
        let promised = &self.counters.promised;
        let kept = self.kept_from(mode);
        let mut old = promised.load(Ordering::Relaxed);
        loop {
            let n = self
                .free_blocks()
                .saturating_sub(old)
                .saturating_sub(kept)
                .min(most);
            if n < least {
                return Err(ENOSPC);
            }
            match promised.compare_exchange_weak(old, old + n, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(n),
                Err(now) => old = now,
            }
        }
    }

    /// Takes back a promise of `n` blocks that were not allocated with [`Mode::Promised`].
    pub fn unpromise(&self, n: u64) {
        let promised = &self.counters.promised;
        debug_assert!(promised.load(Ordering::Relaxed) >= n);
        add(promised, -(n as i64));
    }

    /// Allocates up to `want` blocks in a row, at `goal` if it is free or as near to it
    /// as may be; returns first block and length. They belong to nobody yet: put them
    /// into a tree in the same transaction. A goal that is the first block of a group asks
    /// for the place where the group's last allocation ended.
    ///
    /// # Errors
    ///
    /// `ENOSPC`, with nothing dirtied.
    pub fn alloc_blocks(
        &self,
        t: &mut S::Trans,
        goal: u64,
        want: u64,
        mode: Mode,
    ) -> Result<(u64, u64)> {
        let want = match mode {
            Mode::Promised => want,
            _ => self.promise_up_to(1, want.max(1), mode)?,
        };
        let found = self.alloc_promised(t, goal, want.max(1));
        let got = match &found {
            Ok((_, len)) => *len,
            Err(_) => 0,
        };
        // What was promised and allocated is allocated; the rest of an ordinary wish is
        // dropped, the rest of an earlier promise stays with who got it.
        self.unpromise(if mode == Mode::Promised { got } else { want });
        found
    }

    fn alloc_promised(&self, t: &mut S::Trans, goal: u64, want: u64) -> Result<(u64, u64)> {
        let (_, place, bno) = self.find_run(goal, want, &mut |core, region, place| {
            self.apply(t, core, region, place.bit, place.len, true)
        })?;
        Ok((bno, place.len.into()))
    }

    /// Finds at most `want` free blocks in a row, near `goal`, and lets `take` have them. Returns
    /// their group, place and first block.
    fn find_run(
        &self,
        goal: u64,
        want: u64,
        take: &mut Taker<'_, S>,
    ) -> Result<(&Group, Place, u64)> {
        /// Groups that are searched for a long run before a short one will do.
        const PICKY: u32 = 32;
        let g = self.geometry();
        let first = g.group_of(goal).unwrap_or(0);
        let good = want.min(GOOD_RUN);
        for least in [good, 1] {
            let tries = if least == 1 {
                g.group_count
            } else {
                g.group_count.min(PICKY)
            };
            for i in 0..tries {
                let number = turn(first, i, g.group_count);
                let group = self.group(number)?;
                if group.free.load(Ordering::Relaxed) < least {
                    continue;
                }
                let mut core = group.core.lock();
                self.settle_group(&mut core);
                if core.busy.all() {
                    continue;
                }
                let goal = match i {
                    0 if goal != g.group_start(number) => goal,
                    _ => core.cursor,
                };
                if let Some((region, place)) = self.find_in_group(&core, goal, want, least)? {
                    take(&mut core, &region, &place)?;
                    let bno = g.region_start(number, place.region) + u64::from(place.bit);
                    core.cursor = bno + u64::from(place.len);
                    return Ok((group, place, bno));
                }
            }
            if good == 1 {
                break;
            }
        }
        Err(ENOSPC)
    }

    /// Frees data blocks. They become allocatable when the transaction has committed. Three credits.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if they are not all allocated data blocks of one region.
    pub fn free_data(&self, t: &mut S::Trans, bno: u64, len: u64) -> Result {
        let group = self.geometry().group_of(bno);
        let group = group.and_then(|g| self.groups.get(g));
        let Some(group) = group else {
            return Err(self.damaged(0, bno, "a block outside of the volume is to be freed"));
        };
        self.free_in_group(t, &mut group.core.lock(), bno, len)
    }

    /// Frees a metadata block: forgets, revokes, frees. Three credits.
    ///
    /// # Errors
    ///
    /// As [`Fs::free_data`].
    pub fn free_meta(&self, t: &mut S::Trans, bno: u64) -> Result {
        t.forget(bno)?;
        self.free_data(t, bno, 1)
    }

    /// Takes note of what has committed.
    pub(crate) fn settle_group(&self, core: &mut GroupCore) {
        core.busy.settle(self.store.committed(), self.discards());
    }

    /// After `ENOSPC`: if freed blocks only wait for their transaction to commit, commits
    /// it and says true. No transaction may be open in the calling thread.
    ///
    /// # Errors
    ///
    /// What committing returns.
    pub fn settle(&self) -> Result<bool> {
        for number in 0..self.group_count() {
            let group = self.group(number)?;
            let mut core = group.core.lock();
            self.settle_group(&mut core);
            if !core.busy.is_empty() {
                drop(core);
                self.store.commit()?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}
