// SPDX-License-Identifier: GPL-2.0

//! Allocation within a group, under its lock.

use super::{add, bitmap, turn, Place};
use crate::libvexfs::format::group::{is_bitmap, SUMMARY_FREE, SUMMARY_INIT};
use crate::libvexfs::format::{le32, put32};
use crate::libvexfs::group::{init_bitmap, GroupCore};
use crate::libvexfs::journal::{Block, BlockMut, Store, Trans};
use crate::libvexfs::{damaged, Fs};
use kernel::prelude::*;

/// Blocks of each group that only its own trees may take. Otherwise a group full of data would have
/// no room for the record of an orphan, and nothing in it could be unlinked.
pub(crate) const GROUP_RESERVE: u64 = 32;

/// What is known of a region, and the blocks that say so, kept in memory.
pub(super) struct Region<S: Store> {
    number: u32,
    /// Blocks in it.
    len: u32,
    /// Of them free.
    free: u32,
    summary: S::Block,
    summary_at: usize,
    bitmap_bno: u64,
    /// `None`: never written, all free.
    pub(super) bitmap: Option<S::Block>,
}

impl<S: Store> Region<S> {
    /// Finds a run. Busy blocks count as taken.
    fn find(&self, core: &GroupCore, from: u32, want: u32) -> Option<(u32, u32)> {
        let busy = core.busy.region(self.number);
        match &self.bitmap {
            None => bitmap::find_run(|i| busy.word(i), from, self.len, want),
            Some(block) => {
                let data = block.data();
                let word = |i| bitmap::word(&data, i) | busy.word(i);
                bitmap::find_run(word, from, self.len, want)
            }
        }
    }
}

impl<S: Store> Fs<S> {
    /// The summary entry of a region; the block that it is in is kept in `at`, for the
    /// next region's is mostly there, too.
    fn summary(&self, core: &GroupCore, region: u32, at: &mut Option<S::Block>) -> Result<u32> {
        let (bno, offset) = self.geometry().summary(core.header.group, region);
        let block = match at {
            Some(block) if block.bno() == bno => block,
            _ => at.insert(self.store.read(bno)?),
        };
        let entry = le32(&block.data(), offset);
        Ok(entry)
    }

    pub(super) fn open_region(&self, core: &GroupCore, number: u32) -> Result<Region<S>> {
        let g = self.geometry();
        let group = core.header.group;
        let (summary_bno, summary_at) = g.summary(group, number);
        let summary = self.store.read(summary_bno)?;
        let entry = le32(&summary.data(), summary_at);
        let free = entry & SUMMARY_FREE;
        let len = g.region_len(group, number) as u32;
        let initialised = entry & SUMMARY_INIT != 0;
        if free > len || (!initialised && free != len) {
            return Err(damaged(
                0,
                summary.bno(),
                "a region with more free blocks than blocks",
            ));
        }
        let bitmap_bno = g.bitmap(group, number);
        let bitmap = if initialised {
            let block = self.store.read(bitmap_bno)?;
            if !is_bitmap(&block.data(), group, bitmap_bno, number) {
                return Err(damaged(0, bitmap_bno, "not the bitmap of its region"));
            }
            Some(block)
        } else {
            None
        };
        Ok(Region {
            number,
            len,
            free,
            summary,
            summary_at,
            bitmap_bno,
            bitmap,
        })
    }

    /// Sets or clears bits and keeps the counts, which all callers have checked.
    pub(super) fn apply(
        &self,
        t: &mut S::Trans,
        core: &mut GroupCore,
        region: &Region<S>,
        bit: u32,
        len: u32,
        set: bool,
    ) -> Result {
        let group = core.header.group;
        let free = if set {
            region.free.checked_sub(len)
        } else {
            region
                .free
                .checked_add(len)
                .filter(|free| *free <= region.len)
        };
        let header_free = if set {
            core.header.free_blocks.checked_sub(len.into())
        } else {
            core.header.free_blocks.checked_add(len.into())
        };
        let (Some(free), Some(header_free)) = (free, header_free) else {
            return Err(damaged(
                0,
                region.summary.bno(),
                "the count of free blocks is wrong",
            ));
        };
        let mut block = if region.bitmap.is_some() {
            t.modify(region.bitmap_bno)?
        } else {
            let mut block = t.create(region.bitmap_bno)?;
            let mut data = block.data_mut();
            init_bitmap(
                &mut data,
                group,
                region.bitmap_bno,
                region.number,
                region.len,
            );
            drop(data);
            block
        };
        bitmap::fill(&mut block.data_mut(), bit, len, set);
        let mut summary = t.modify(region.summary.bno())?;
        put32(
            &mut summary.data_mut(),
            region.summary_at,
            free | SUMMARY_INIT,
        );
        core.header.free_blocks = header_free;
        self.log_group(t, core, false)?;
        let change = if set { -i64::from(len) } else { i64::from(len) };
        add(&self.counters.free, change);
        add(&self.group(group)?.free, change);
        Ok(())
    }

    /// Finds a run of at most `want` and at least `least` blocks for data, near `goal`.
    pub(super) fn find_in_group(
        &self,
        core: &GroupCore,
        goal: u64,
        want: u64,
        least: u64,
    ) -> Result<Option<(Region<S>, Place)>> {
        /// Bitmaps that are searched for a good run.
        const PICKY: u32 = 16;
        let g = self.geometry();
        let group = core.header.group;
        let regions = g.regions(group);
        let (first, first_bit) = g.region_of(group, goal);
        let spare = self.spare_blocks(core);
        let mut looked_at = 0;
        let mut summary = None;
        for i in 0..regions {
            let number = turn(first, i, regions);
            let entry = self.summary(core, number, &mut summary)?;
            let kept = core
                .held_in(number)
                .saturating_add(core.busy.region(number).count());
            let usable = u64::from((entry & SUMMARY_FREE).saturating_sub(kept)).min(spare);
            if usable < least {
                continue;
            }
            let region = self.open_region(core, number)?;
            let want = want.min(usable) as u32;
            let from = if i == 0 { first_bit } else { 0 };
            let found = region.find(core, from, want);
            if let Some((bit, len)) = found {
                if u64::from(len) >= least {
                    let place = Place {
                        region: number,
                        bit,
                        len,
                    };
                    return Ok(Some((region, place)));
                }
            } else {
                return Err(damaged(
                    0,
                    region.bitmap_bno,
                    "fewer free blocks than counted",
                ));
            }
            looked_at += 1;
            if looked_at == PICKY && least > 1 {
                break;
            }
        }
        Ok(None)
    }

    /// Finds a region of the group that has `n` blocks for metadata and is at or behind that
    /// of `goal`.
    pub(super) fn region_with(&self, core: &GroupCore, goal: u64, n: u32) -> Result<Option<u32>> {
        let g = self.geometry();
        if self.spare_blocks(core) < n.into() {
            return Ok(None);
        }
        let regions = g.regions(core.header.group);
        let (first, _) = g.region_of(core.header.group, goal);
        let mut summary = None;
        for i in 0..regions {
            let number = turn(first, i, regions);
            let entry = self.summary(core, number, &mut summary)?;
            let kept = core
                .held_in(number)
                .saturating_add(core.busy.region(number).count());
            if (entry & SUMMARY_FREE).saturating_sub(kept) >= n {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Blocks of the group that its own trees may take.
    pub(crate) fn free_for_metadata(&self, core: &GroupCore) -> u64 {
        if core.busy.all() {
            return 0;
        }
        let held: u64 = core.held.iter().map(|(_, n)| u64::from(*n)).sum();
        core.header
            .free_blocks
            .saturating_sub(held)
            .saturating_sub(core.busy.total())
    }

    /// Blocks of the group that others than its own trees may take.
    pub(crate) fn spare_blocks(&self, core: &GroupCore) -> u64 {
        self.free_for_metadata(core).saturating_sub(GROUP_RESERVE)
    }

    /// Takes a block for metadata: out of what was set aside in `held`, or anywhere in the
    /// group.
    pub(crate) fn take_in_group(
        &self,
        t: &mut S::Trans,
        core: &mut GroupCore,
        held: Option<u32>,
    ) -> Result<u64> {
        self.take_run_in_group(t, core, held, 1)?.ok_or(ENOSPC)
    }

    /// Takes `n` blocks in a row for metadata.
    pub(crate) fn take_run_in_group(
        &self,
        t: &mut S::Trans,
        core: &mut GroupCore,
        held: Option<u32>,
        n: u32,
    ) -> Result<Option<u64>> {
        let g = self.geometry();
        let group = core.header.group;
        if core.busy.all() {
            return Ok(None);
        }
        let candidates = match held {
            Some(region) => region..region + 1,
            None => 0..g.regions(group),
        };
        let mut summary = None;
        for number in candidates {
            let entry = self.summary(core, number, &mut summary)?;
            let busy = core.busy.region(number).count();
            let kept = busy.saturating_add(if held.is_some() {
                0
            } else {
                core.held_in(number)
            });
            if (entry & SUMMARY_FREE).saturating_sub(kept) < n {
                continue;
            }
            let region = self.open_region(core, number)?;
            if let Some((bit, len)) = region.find(core, 0, n) {
                if len == n {
                    self.apply(t, core, &region, bit, n, true)?;
                    return Ok(Some(g.region_start(group, number) + u64::from(bit)));
                }
            } else {
                return Err(damaged(
                    0,
                    region.bitmap_bno,
                    "fewer free blocks than counted",
                ));
            }
        }
        Ok(None)
    }

    /// Frees blocks of the group. Nothing may go there until the transaction has committed.
    pub(crate) fn free_in_group(
        &self,
        t: &mut S::Trans,
        core: &mut GroupCore,
        bno: u64,
        len: u64,
    ) -> Result {
        let g = self.geometry();
        let group = core.header.group;
        let (number, bit) = g.region_of(group, bno);
        let within_group =
            g.group_of(bno) == Some(group) && bno - g.group_start(group) >= g.group_metadata();
        let within_region = within_group
            && len > 0
            && len <= g.region_len(group, number)
            && u64::from(bit) + len <= g.region_len(group, number);
        if !within_region {
            return Err(damaged(
                0,
                bno,
                "blocks that no file can have are to be freed",
            ));
        }
        let len = len as u32;
        let region = self.open_region(core, number)?;
        let set = match &region.bitmap {
            Some(block) => bitmap::count_set(&block.data(), bit, len),
            None => 0,
        };
        if set != len || region.free + len > region.len {
            return Err(damaged(0, bno, "blocks that are free are to be freed"));
        }
        self.apply(t, core, &region, bit, len, false)?;
        core.busy.add(number, bit, len, t.tid());
        self.settle_group(core);
        Ok(())
    }
}
