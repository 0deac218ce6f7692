// SPDX-License-Identifier: GPL-2.0

//! Which blocks are in use, as the structures that use them say.
//!
//! One bit a block, in pieces that exist only where something is in use. What would be too much for memory is looked at
//! in several passes, each of which remembers a range of blocks.

use crate::libvexfs::format::group::BITMAP_BYTES;
use crate::libvexfs::format::Geometry;
use std::collections::BTreeMap;

/// The bits of one region.
pub(super) type Bits = [u8; BITMAP_BYTES];

/// The blocks in use among those of some groups.
#[derive(Debug)]
pub(super) struct Usage {
    geometry: Geometry,
    groups: core::ops::Range<u32>,
    regions: BTreeMap<(u32, u32), Box<Bits>>,
    /// How many regions fit into memory.
    limit: usize,
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
    /// Remembers the blocks of all groups from `first` on that `memory` bytes suffice for. Which those are turns out as
    /// blocks are claimed: a huge volume may be nearly empty.
    pub(super) fn new(geometry: Geometry, first: u32, memory: u64) -> Usage {
        let limit = usize::try_from(memory / BITMAP_BYTES as u64).unwrap_or(usize::MAX);
        Usage {
            geometry,
            groups: first..geometry.group_count,
            regions: BTreeMap::new(),
            limit,
        }
    }

    /// The bits of a region, to be changed; none if its group is for a later pass.
    fn bits(&mut self, group: u32, region: u32) -> Option<&mut Bits> {
        if !self.regions.contains_key(&(group, region)) {
            // The last groups are left to the next pass, but for one there is always room.
            while self.regions.len() >= self.limit && self.groups.len() > 1 {
                self.groups.end -= 1;
                self.regions.split_off(&(self.groups.end, 0));
            }
            if !self.groups.contains(&group) {
                return None;
            }
        }
        let bits = self.regions.entry((group, region));
        Some(bits.or_insert_with(|| Box::new([0; BITMAP_BYTES])))
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
            if let Some(bits) = self.bits(group, region) {
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

    /// Takes over all that `other` knows.
    pub(super) fn merge(&mut self, other: &Usage) {
        for (at, bits) in &other.regions {
            let mine = self
                .regions
                .entry(*at)
                .or_insert_with(|| Box::new([0; BITMAP_BYTES]));
            for (a, b) in mine.iter_mut().zip(bits.iter()) {
                *a |= b;
            }
        }
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
        let mut usage = Usage::new(g, 0, 1 << 20);
        assert_eq!(usage.claim(10, 70_000), Ok(()));
        assert_eq!(usage.claim(5, 5), Ok(()));
        assert_eq!(usage.claim(70_009, 10), Err(Conflict::Twice(70_009)));
        assert_eq!(usage.claim(0, 8), Err(Conflict::Twice(5)));
        assert_eq!(usage.claim(g.block_count - 1, 2), Err(Conflict::Outside));
        assert_eq!(usage.claim(u64::MAX, 2), Err(Conflict::Outside));
        assert_eq!(usage.region(0, 1).unwrap()[0], 0xff);
        assert_eq!(usage.region(0, 2).unwrap()[127], 0xff);
        assert!(usage.region(1, 2).is_none() && usage.region(2, 0).is_none());
    }

    #[test]
    fn what_does_not_fit_is_for_later_passes() {
        let g = Geometry::new(4 << 16, 1 << 16).unwrap();
        let group = |n: u64| n << 16;
        let mut usage = Usage::new(g, 0, 2 * BITMAP_BYTES as u64);
        usage.claim(group(3), 5).unwrap();
        usage.claim(group(1), 5).unwrap();
        assert_eq!(usage.groups(), 0..4);
        // Group 3 has to go, and then has nothing to say.
        usage.claim(group(0), 5).unwrap();
        assert_eq!(usage.groups(), 0..3);
        assert_eq!(usage.claim(group(3), 5), Ok(()));
        // There is room for the first group, however large it is.
        usage.claim(group(0) + 40_000, 30_000).unwrap();
        assert_eq!(usage.groups(), 0..1);
        assert_eq!(usage.claim(group(0) + 4, 1), Err(Conflict::Twice(4)));
        let mut rest = Usage::new(g, 1, 2 * BITMAP_BYTES as u64);
        assert_eq!(rest.claim(group(0), 5), Ok(()));
        assert_eq!(rest.claim(group(1), 5), Ok(()));
        assert_eq!(rest.groups(), 1..4);
    }
}
