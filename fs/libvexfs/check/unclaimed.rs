// SPDX-License-Identifier: GPL-2.0

//! Blocks that are taken, and that nothing leads to: where a repair looks for what was lost.

use super::usage::Bits;
use super::Outcome;
use crate::libvexfs::format::group::{is_bitmap, BITMAP_BYTES, BITMAP_HEADER, SUMMARY_INIT};
use crate::libvexfs::format::{bytes, le32, Geometry, Superblock};
use crate::libvexfs::journal::{Block, Store};

impl Outcome {
    /// Shows the blocks that bitmaps say are taken and that no structure claims. Where a bitmap cannot be read those are
    /// all that nobody claims. Complete if the check had memory for all of the volume.
    pub fn unclaimed<S: Store>(&self, store: &S, sb: &Superblock, f: &mut dyn FnMut(u64)) {
        let g = &sb.geometry;
        let Some(usage) = &self.usage else {
            return;
        };
        for group in 0..g.group_count {
            for region in 0..g.regions(group) {
                let taken = taken(store, g, group, region);
                let claimed = usage.region(group, region);
                for bit in 0..g.region_len(group, region) {
                    let (byte, mask) = (bit as usize / 8, 1u8 << (bit % 8));
                    let is_claimed = claimed.is_some_and(|bits| bits[byte] & mask != 0);
                    if taken[byte] & mask != 0 && !is_claimed {
                        f(g.region_start(group, region) + bit);
                    }
                }
            }
        }
    }
}

/// A region's bits as they are on disk; without a bitmap all are set, or none if it was never written.
pub(super) fn taken<S: Store>(store: &S, g: &Geometry, group: u32, region: u32) -> Bits {
    let bno = g.bitmap(group, region);
    if let Ok(block) = store.read(bno) {
        let data = block.data();
        if is_bitmap(&data, group, bno, region) {
            return bytes(&data, BITMAP_HEADER);
        }
    }
    let (summary, off) = g.summary(group, region);
    let written = match store.read(summary) {
        Ok(block) => le32(&block.data(), off) & SUMMARY_INIT != 0,
        Err(_) => true,
    };
    [if written { 0xff } else { 0 }; BITMAP_BYTES]
}
