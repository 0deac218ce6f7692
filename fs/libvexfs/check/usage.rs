// SPDX-License-Identifier: GPL-2.0

//! Which blocks are in use, as the structures that use them say.
//!
//! One bit a block, in pieces that exist only where something is in use. What would be too much for memory is looked at
//! in several passes, each of which remembers a range of blocks.

use crate::libvexfs::format::group::BITMAP_BYTES;
use crate::libvexfs::format::Geometry;
use std::collections::HashMap;

/// The bits of one region.
pub(super) type Bits = [u8; BITMAP_BYTES];

/// The blocks in use among those of some groups.
pub(super) struct Usage {
    geometry: Geometry,
    groups: core::ops::Range<u32>,
    regions: HashMap<(u32, u32), Box<Bits>>,
}

/// What was wrong with a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// Beyond the end of the volume.
    Outside,
    /// The first block that somebody else has, too.
    Twice(u64),
}

impl Usage {
    /// Remembers the blocks of `groups`.
    pub(super) fn new(geometry: Geometry, groups: core::ops::Range<u32>) -> Usage {
        Usage {
            geometry,
            groups,
            regions: HashMap::new(),
        }
    }

    /// How many groups can be looked at in one pass with `memory` bytes.
    pub(super) fn groups_per_pass(geometry: &Geometry, memory: u64) -> u32 {
        let per_group = u64::from(geometry.regions(0)) * BITMAP_BYTES as u64;
        u32::try_from((memory / per_group).max(1)).unwrap_or(u32::MAX)
    }

    /// Claims `len` blocks from `bno` on.
    pub(super) fn claim(&mut self, bno: u64, len: u64) -> Result<(), Conflict> {
        let end = bno
            .checked_add(len)
            .filter(|end| *end <= self.geometry.block_count)
            .ok_or(Conflict::Outside)?;
        let mut twice = None;
        let mut at = bno;
        while at < end {
            let group = self.geometry.group_of(at).ok_or(Conflict::Outside)?;
            let (region, bit) = self.geometry.region_of(group, at);
            let left = self.geometry.region_len(group, region) - u64::from(bit);
            let n = left.min(end - at);
            if self.groups.contains(&group) {
                let bits = self
                    .regions
                    .entry((group, region))
                    .or_insert_with(|| Box::new([0; BITMAP_BYTES]));
                for b in u64::from(bit)..u64::from(bit) + n {
                    let (byte, mask) = (b as usize / 8, 1 << (b % 8));
                    if bits[byte] & mask != 0 {
                        twice.get_or_insert(at + b - u64::from(bit));
                    }
                    bits[byte] |= mask;
                }
            }
            at += n;
        }
        twice.map_or(Ok(()), |bno| Err(Conflict::Twice(bno)))
    }

    /// The bits of a region, if anything in it is in use.
    pub(super) fn region(&self, group: u32, region: u32) -> Option<&Bits> {
        self.regions.get(&(group, region)).map(|bits| &**bits)
    }

    /// The groups that are remembered.
    pub(super) fn groups(&self) -> core::ops::Range<u32> {
        self.groups.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_can_be_claimed_once() {
        let g = Geometry::new(3 << 16, 1 << 16).unwrap();
        let mut usage = Usage::new(g, 0..2);
        assert_eq!(usage.claim(10, 70_000), Ok(()));
        assert_eq!(usage.claim(5, 5), Ok(()));
        assert_eq!(usage.claim(70_009, 10), Err(Conflict::Twice(70_009)));
        assert_eq!(usage.claim(0, 8), Err(Conflict::Twice(5)));
        assert_eq!(usage.claim(g.block_count - 1, 2), Err(Conflict::Outside));
        assert_eq!(usage.claim(u64::MAX, 2), Err(Conflict::Outside));
        // The last group is not looked at in this pass.
        assert_eq!(usage.claim(2 << 16, 5), Ok(()));
        assert_eq!(usage.claim(2 << 16, 5), Ok(()));
        assert_eq!(usage.region(0, 1).unwrap()[0], 0xff);
        assert_eq!(usage.region(0, 0).unwrap()[0], 0b1110_0000);
        assert!(usage.region(1, 2).is_none() && usage.region(2, 0).is_none());
    }
}
