// SPDX-License-Identifier: GPL-2.0

//! Telling a device which blocks are free.

use super::bitmap;
use crate::libvexfs::journal::{Block, Store};
use crate::libvexfs::Fs;
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
                shown += self.free_runs_in(group, region, (first, last), least, f)?;
            }
        }
        Ok(shown)
    }

    /// The runs of one region, between two bits.
    fn free_runs_in(
        &self,
        group: u32,
        region: u32,
        (first, last): (u32, u32),
        least: u64,
        f: &mut dyn FnMut(u64, u64) -> Result,
    ) -> Result<u64> {
        let start = self.geometry().region_start(group, region);
        let mut at = first;
        let mut shown = 0;
        while at < last {
            // Looked up anew for each piece: the lock was given up in between.
            let mut core = self.group(group)?.core.lock();
            core.busy.settle(self.store.committed());
            if core.busy.all() {
                break;
            }
            let opened = self.open_region(&core, region)?;
            let busy = core.busy.region(region);
            let found = match &opened.bitmap {
                None => next_run(&|i| busy.word(i), at, last),
                Some(block) => {
                    let data = block.data();
                    next_run(&|i| bitmap::word(&data, i) | busy.word(i), at, last)
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
