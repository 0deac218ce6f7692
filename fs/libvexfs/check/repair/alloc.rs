// SPDX-License-Identifier: GPL-2.0

//! Where a repair takes blocks from.

use super::Repair;
use crate::libvexfs::check::unclaimed::taken;
use crate::libvexfs::check::usage::{Bits, Usage};
use crate::libvexfs::format::group::BITMAP_BYTES;
use crate::libvexfs::format::Geometry;
use crate::libvexfs::journal::Store;
use kernel::prelude::*;

/// What is taken: all that was claimed in the last check, and all that the repair took itself. Nothing that it took is
/// used for something else in the same repair: the journal may still hold what a block was before.
pub(super) struct Blocks {
    taken: Usage,
    own: Usage,
}

impl Blocks {
    pub(super) fn new(geometry: Geometry) -> Blocks {
        Blocks {
            taken: Usage::new(geometry, 0, u64::MAX),
            own: Usage::new(geometry, 0, u64::MAX),
        }
    }

    /// Learns what is in use now.
    pub(super) fn learn(&mut self, mut usage: Usage) {
        usage.merge(&self.own);
        self.taken = usage;
    }

    /// Learns what else is in use.
    pub(super) fn also(&mut self, usage: &Usage) {
        self.taken.merge(usage);
    }

    /// Whether nobody has a block.
    pub(super) fn is_free(&self, geometry: &Geometry, bno: u64) -> bool {
        let Some(group) = geometry.group_of(bno) else {
            return false;
        };
        let (region, bit) = geometry.region_of(group, bno);
        let bits = self.taken.region(group, region);
        bits.is_none_or(|bits| bits[bit as usize / 8] >> (bit % 8) & 1 == 0)
    }
}

impl<S: Store> Repair<'_, S> {
    /// The bitmap of a region as it stands on the disk: a hint where lost blocks may be. What cannot be read may be
    /// anywhere.
    pub(super) fn bits_on_disk(&self, group: u32, region: u32) -> Bits {
        taken(self.store, &self.sb.geometry, group, region)
    }

    /// Takes a block for a tree; `within`: it has to lie in this group.
    pub(super) fn take_block(&mut self, goal: u64, within: Option<u32>) -> Result<u64> {
        self.take(goal, 1, within)
    }

    /// Takes `len` blocks in a row, near `goal`.
    ///
    /// # Errors
    ///
    /// `ENOSPC`.
    pub(super) fn take(&mut self, goal: u64, len: u64, within: Option<u32>) -> Result<u64> {
        let g = self.sb.geometry;
        let first = within.or(g.group_of(goal)).unwrap_or(0);
        let others = (0..g.group_count).filter(|group| within.is_none() && *group != first);
        let groups: Vec<u32> = core::iter::once(first).chain(others).collect();
        // Blocks that the bitmaps say are free hold nothing that was lost; only if there is none, any will do.
        for trust in [true, false] {
            for &group in &groups {
                for region in 0..g.regions(group) {
                    if let Some(bit) = self.find_free(group, region, len, trust) {
                        let bno = g.region_start(group, region) + bit;
                        self.blocks.taken.claim(bno, len).map_err(|_| EIO)?;
                        self.blocks.own.claim(bno, len).map_err(|_| EIO)?;
                        return Ok(bno);
                    }
                }
            }
        }
        Err(ENOSPC)
    }

    fn find_free(&self, group: u32, region: u32, len: u64, trust: bool) -> Option<u64> {
        let end = self.sb.geometry.region_len(group, region);
        let taken = self.blocks.taken.region(group, region);
        let none = [0; BITMAP_BYTES];
        let taken: &Bits = taken.unwrap_or(&none);
        let disk = if trust {
            self.bits_on_disk(group, region)
        } else {
            none
        };
        let mut run = 0;
        let mut bit = 0;
        while bit < end {
            let byte = bit as usize / 8;
            let set = taken[byte] | disk[byte];
            if set == 0xff {
                run = 0;
                bit = (bit / 8 + 1) * 8;
                continue;
            }
            run = if set >> (bit % 8) & 1 == 0 {
                run + 1
            } else {
                0
            };
            bit += 1;
            if run == len {
                return Some(bit - len);
            }
        }
        None
    }
}
