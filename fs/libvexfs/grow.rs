// SPDX-License-Identifier: GPL-2.0

//! Making a volume larger while it is in use.
//!
//! One transaction makes the last group longer or adds one, and changes the superblock and all of
//! its copies: so a crash leaves a volume that is whole, at one of the sizes in between.

use crate::libvexfs::alloc::{add, bitmap};
use crate::libvexfs::damaged;
use crate::libvexfs::errno::euclean;
use crate::libvexfs::format::geometry::{Geometry, SUMMARIES_PER_BLOCK};
use crate::libvexfs::format::group::{is_bitmap, SUMMARY_FREE, SUMMARY_INIT};
use crate::libvexfs::format::{le32, put32};
use crate::libvexfs::group::{create_credits, create_group, Group};
use crate::libvexfs::journal::{Block, BlockMut, Store, Trans};
use crate::libvexfs::{credits, Fs};
use core::sync::atomic::Ordering;
use kernel::prelude::*;

impl<S: Store> Fs<S> {
    /// The size that a volume would get on a device of `blocks` blocks: a remainder that is not
    /// worth a group is left out.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is smaller than the volume is, `EFBIG` if it is larger than volumes can be,
    /// `ENOSPC` if the journal is too short for so large a volume.
    pub fn grown(&self, blocks: u64) -> Result<Geometry> {
        let now = self.geometry();
        if blocks < now.block_count {
            return Err(EINVAL);
        }
        let new = Geometry::new(blocks, now.group_blocks).map_err(|_| EFBIG)?;
        if !credits::fits_journal(self.sb.journal_len, &new) {
            return Err(ENOSPC);
        }
        Ok(new)
    }

    /// Credits for [`Fs::grow_step`].
    pub fn grow_credits(&self, to: &Geometry) -> usize {
        let extend = 2 + to.summary_blocks() as usize + 2;
        create_credits(to, 0).max(extend) + Self::superblocks_credits(to)
    }

    /// Goes one step towards a size that [`Fs::grown`] gave. Says true when there is no more to do.
    /// One caller at a time.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn grow_step(&self, t: &mut S::Trans, to: &Geometry) -> Result<bool> {
        let now = self.geometry();
        if now.block_count >= to.block_count {
            return Ok(true);
        }
        let last = now.group_count.checked_sub(1).ok_or_else(euclean)?;
        if now.group_len(last) < to.group_len(last) {
            self.extend_last(t, &now, to, last)?;
        } else {
            self.add_group(t, to, now.group_count)?;
        }
        Ok(false)
    }

    /// Makes the last group longer.
    fn extend_last(&self, t: &mut S::Trans, now: &Geometry, to: &Geometry, last: u32) -> Result {
        let new = to.covering(to.block_count.min(to.group_start(last) + to.group_blocks));
        let group = self.group(last)?;
        let mut core = group.core.lock();
        let first = now.regions(last).saturating_sub(1);
        for region in first..new.regions(last) {
            let (bno, at) = new.summary(last, region);
            let len = new.region_len(last, region) as u32;
            if region == first {
                self.extend_region(t, now, last, region, len)?;
            } else if u64::from(region) % SUMMARIES_PER_BLOCK == 0 {
                put32(&mut t.create(bno)?.data_mut(), at, len);
            } else {
                put32(&mut t.modify(bno)?.data_mut(), at, len);
            }
        }
        let more = new.group_len(last) - now.group_len(last);
        core.header.free_blocks += more;
        self.log_group(t, &core, false)?;
        self.resized(t, &new)?;
        add(&group.free, more as i64);
        add(&self.counters.free, more as i64);
        Ok(())
    }

    /// Makes the region at the end of the last group longer.
    fn extend_region(
        &self,
        t: &mut S::Trans,
        now: &Geometry,
        group: u32,
        region: u32,
        len: u32,
    ) -> Result {
        let (summary, at) = now.summary(group, region);
        let old = now.region_len(group, region) as u32;
        let mut block = t.modify(summary)?;
        let entry = le32(&block.data(), at);
        let free = entry & SUMMARY_FREE;
        if free > old {
            return Err(damaged(
                0,
                summary,
                "a region with more free blocks than blocks",
            ));
        }
        put32(
            &mut block.data_mut(),
            at,
            (entry & SUMMARY_INIT) | (free + (len - old)),
        );
        if entry & SUMMARY_INIT != 0 && len != old {
            let bno = now.bitmap(group, region);
            let mut bits = t.modify(bno)?;
            if !is_bitmap(&bits.data(), group, bno, region) {
                return Err(damaged(0, bno, "not the bitmap of its region"));
            }
            bitmap::fill(&mut bits.data_mut(), old, len - old, false);
        }
        Ok(())
    }

    /// Adds a group at the end.
    fn add_group(&self, t: &mut S::Trans, to: &Geometry, number: u32) -> Result {
        let new = to.covering(to.block_count.min(to.group_start(number) + to.group_blocks));
        // Memory that is refused behind the first change would abort the journal.
        self.groups.reserve(number)?;
        let header = create_group::<S>(t, &new, number, 0)?;
        let free = header.free_blocks;
        // A step that failed may have added it.
        if self.groups.get(number).is_none() {
            self.groups.add(number, Group::new(&new, header)?)?;
        }
        self.resized(t, &new)?;
        add(&self.counters.free, free as i64);
        Ok(())
    }

    /// Writes the new size to the superblock and its copies, and shows it.
    fn resized(&self, t: &mut S::Trans, new: &Geometry) -> Result {
        let old = self.geometry();
        let reserve = self.update_superblocks(t, |sb| {
            // What mkfs chose goes on to be what mkfs would choose.
            if sb.reserved_blocks == old.default_reserve() {
                sb.reserved_blocks = new.default_reserve();
            }
            sb.geometry = *new;
            sb.reserved_blocks
        })?;
        self.reserve.store(reserve, Ordering::Relaxed);
        self.blocks.store(new.block_count, Ordering::Release);
        Ok(())
    }
}
