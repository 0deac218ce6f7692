// SPDX-License-Identifier: GPL-2.0

//! Telling a device which blocks are free.

use super::bitmap;
use crate::libvexfs::journal::{Block, Store};
use crate::libvexfs::Fs;
use core::sync::atomic::Ordering;
use kernel::prelude::*;

/// The longest run that is shown at a time, under the lock of its group: 32 MiB.
const MOST: u32 = 8192;

impl<S: Store> Fs<S> {
    /// Shows the free runs of at least `least` blocks (1 or more) that lie in `[from, to)` to `f`,
    /// in pieces. While it looks at one nobody can allocate it. Blocks that were freed by a
    /// transaction that has not committed are not free: a crash would bring them back. Returns how
    /// many were shown.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, and what `f` returns.
    pub fn free_runs(
        &self,
        from: u64,
        to: u64,
        least: u64,
        f: &mut dyn FnMut(u64, u64) -> Result,
    ) -> Result<u64> {
        let g = self.geometry();
        let to = to.min(g.block_count);
        let mut shown = 0;
        for group in 0..g.group_count {
            for region in 0..g.regions(group) {
                let start = g.region_start(group, region);
                let end = start + g.region_len(group, region);
                if end <= from || start >= to {
                    continue;
                }
                let first = (from.max(start) - start) as u32;
                let last = (to.min(end) - start) as u32;
                shown += self.free_runs_in(group, region, (first, last), least, &|_| !0, f)?;
            }
        }
        Ok(shown)
    }

    /// Whether [`Fs::freed_runs`] is to have something to show.
    pub fn set_discards(&self, on: bool) {
        self.discards.store(on, Ordering::Relaxed);
    }

    /// Whether it is.
    pub fn discards(&self) -> bool {
        self.discards.load(Ordering::Relaxed)
    }

    /// Shows what was freed and has committed since the last call, and is still free, as
    /// [`Fs::free_runs`] does. What there was no memory for is left out.
    ///
    /// # Errors
    ///
    /// As [`Fs::free_runs`].
    pub fn freed_runs(&self, f: &mut dyn FnMut(u64, u64) -> Result) -> Result<u64> {
        let g = self.geometry();
        let mut shown = 0;
        for group in 0..g.group_count {
            let freed = {
                let mut core = self.group(group)?.core.lock();
                self.settle_group(&mut core);
                core.busy.take_committed()
            };
            for (region, bits) in freed {
                let len = g.region_len(group, region) as u32;
                let wanted = |i: usize| bits.get(i).copied().unwrap_or(0);
                shown += self.free_runs_in(group, region, (0, len), 1, &wanted, f)?;
            }
        }
        Ok(shown)
    }

    /// The runs of one region, between two bits, of blocks that are `wanted`.
    fn free_runs_in(
        &self,
        group: u32,
        region: u32,
        (first, last): (u32, u32),
        least: u64,
        wanted: &dyn Fn(usize) -> u64,
        f: &mut dyn FnMut(u64, u64) -> Result,
    ) -> Result<u64> {
        let start = self.geometry().region_start(group, region);
        let mut at = first;
        let mut shown = 0;
        while at < last {
            // Looked up anew for each piece: the lock was given up in between.
            let mut core = self.group(group)?.core.lock();
            self.settle_group(&mut core);
            if core.busy.all() {
                break;
            }
            let opened = self.open_region(&core, region)?;
            let busy = core.busy.region(region);
            let found = match &opened.bitmap {
                None => next_run(&|i| busy.word(i) | !wanted(i), at, last),
                Some(block) => {
                    let data = block.data();
                    let taken = |i| bitmap::word(&data, i) | busy.word(i) | !wanted(i);
                    next_run(&taken, at, last)
                }
            };
            let Some((bit, len)) = found else { break };
            // A piece of a longer run counts as that.
            let long_enough = u64::from(len) >= least || bit == at && at != first;
            let len = len.min(MOST);
            if long_enough {
                f(start + u64::from(bit), len.into())?;
                shown += u64::from(len);
            }
            at = bit + len;
        }
        Ok(shown)
    }
}

/// The first run of clear bits from bit `from` on.
fn next_run(word: &impl Fn(usize) -> u64, from: u32, end: u32) -> Option<(u32, u32)> {
    let bit = bitmap::next_clear(word, from, end)?;
    Some((bit, bitmap::run_length(word, bit, end)))
}
