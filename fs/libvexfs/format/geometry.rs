// SPDX-License-Identifier: GPL-2.0

//! Where things lie on a volume: arithmetic only.
//!
//! A volume is a row of groups, each a power of two in size but the last. A
//! group starting at block s holds
//!
//! ```text
//! s      superblock (group 0), its copy, or unused
//! s+1    group header
//! s+2    region summaries, one u32 a region
//!        bitmaps, one block a region
//!        (room for those of a whole group, for the last one may grow)
//!        journal (group 0 only)
//!        inodes, tree nodes, data
//! ```

use crate::libvexfs::errno::euclean;
use crate::libvexfs::journal::BODY_SIZE;
use kernel::prelude::*;

/// Blocks that one bitmap block covers.
pub const REGION_BLOCKS: u64 = 32_256;
/// Summary entries in one block.
pub const SUMMARIES_PER_BLOCK: u64 = (BODY_SIZE / 4) as u64;
/// The smallest group: 16 MiB.
pub const MIN_GROUP_BLOCKS: u64 = 1 << 12;
/// The largest group: 1 TiB.
pub const MAX_GROUP_BLOCKS: u64 = 1 << 28;
/// What a last, short group must have beside its own metadata to be worth having.
pub const MIN_LAST_GROUP: u64 = 64;
/// 2^52 blocks of 4 KiB: physical block numbers must fit beside a slot in an
/// inode number, with room to spare.
pub const MAX_BLOCKS: u64 = 1 << 52;

/// The sizes that say where everything lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks of the volume that groups cover.
    pub block_count: u64,
    /// Blocks in each group but the last.
    pub group_blocks: u64,
    /// The number of groups.
    pub group_count: u32,
}

impl Geometry {
    /// The geometry of a new volume on `blocks` blocks: about a thousand groups at
    /// most, four at least where the size allows.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is too small or too large.
    pub fn choose(blocks: u64) -> Result<Self> {
        if blocks > MAX_BLOCKS {
            return Err(EINVAL);
        }
        let mut group_blocks = MIN_GROUP_BLOCKS;
        // A few large groups beat many small ones: an extent ends at a region's end, and a
        // region needs a group of 128 MiB to be whole.
        while group_blocks < MAX_GROUP_BLOCKS {
            let groups = blocks >> group_blocks.trailing_zeros();
            if groups < 16 || (groups < 1024 && group_blocks >= 1 << 18) {
                break;
            }
            group_blocks *= 2;
        }
        Self::new(blocks, group_blocks)
    }

    /// The geometry with a given group size. A last group too short to be of use is
    /// left out.
    pub fn new(blocks: u64, group_blocks: u64) -> Result<Self> {
        if !group_blocks.is_power_of_two()
            || !(MIN_GROUP_BLOCKS..=MAX_GROUP_BLOCKS).contains(&group_blocks)
            || blocks > MAX_BLOCKS
        {
            return Err(EINVAL);
        }
        let shift = group_blocks.trailing_zeros();
        let whole = blocks >> shift;
        let rest = blocks - (whole << shift);
        if whole == 0 {
            return Err(EINVAL);
        }
        let keep_rest = rest != 0 && rest >= group_metadata(group_blocks) + MIN_LAST_GROUP;
        let group_count = u32::try_from(whole + u64::from(keep_rest)).map_err(|_| EINVAL)?;
        Ok(Geometry {
            block_count: if keep_rest {
                blocks
            } else {
                whole * group_blocks
            },
            group_blocks,
            group_count,
        })
    }

    /// The geometry of a volume with groups of the same size that covers `block_count` blocks, a
    /// number that [`Geometry::new`] gave.
    pub(crate) fn covering(&self, block_count: u64) -> Self {
        let shift = self.group_blocks.trailing_zeros();
        let whole = block_count >> shift;
        let rest = block_count & (self.group_blocks - 1) != 0;
        Geometry {
            block_count,
            group_blocks: self.group_blocks,
            group_count: (whole + u64::from(rest)) as u32,
        }
    }

    /// Checks a geometry that was read from a disk.
    pub fn verify(&self) -> Result {
        match Self::new(self.block_count, self.group_blocks) {
            Ok(g) if g == *self => Ok(()),
            _ => Err(euclean()),
        }
    }

    /// A group's first block.
    pub fn group_start(&self, group: u32) -> u64 {
        u64::from(group) * self.group_blocks
    }

    /// A group's size in blocks.
    pub fn group_len(&self, group: u32) -> u64 {
        (self.block_count.saturating_sub(self.group_start(group))).min(self.group_blocks)
    }

    /// The group in which a block lies.
    pub fn group_of(&self, bno: u64) -> Option<u32> {
        if bno >= self.block_count {
            return None;
        }
        u32::try_from(bno.checked_div(self.group_blocks)?).ok()
    }

    /// A group's header block.
    pub fn header(&self, group: u32) -> u64 {
        self.group_start(group) + 1
    }

    /// The number of regions of a group.
    pub fn regions(&self, group: u32) -> u32 {
        self.group_len(group).div_ceil(REGION_BLOCKS) as u32
    }

    /// The number of regions of all groups, or somewhat more: a bound that needs no loop.
    pub fn regions_at_most(&self) -> u64 {
        self.block_count.div_ceil(REGION_BLOCKS) + u64::from(self.group_count)
    }

    /// The number of summary blocks of every group: a short one can grow.
    pub fn summary_blocks(&self) -> u64 {
        summary_blocks(self.group_blocks)
    }

    /// The summary block of a region and the offset of its entry in the body.
    pub fn summary(&self, group: u32, region: u32) -> (u64, usize) {
        let region = u64::from(region);
        (
            self.group_start(group) + 2 + region / SUMMARIES_PER_BLOCK,
            4 * (region % SUMMARIES_PER_BLOCK) as usize,
        )
    }

    /// A region's bitmap block.
    pub fn bitmap(&self, group: u32, region: u32) -> u64 {
        self.group_start(group) + 2 + self.summary_blocks() + u64::from(region)
    }

    /// A region's first block.
    pub fn region_start(&self, group: u32, region: u32) -> u64 {
        self.group_start(group) + u64::from(region) * REGION_BLOCKS
    }

    /// A region's size in blocks.
    pub fn region_len(&self, group: u32, region: u32) -> u64 {
        self.group_len(group)
            .saturating_sub(u64::from(region) * REGION_BLOCKS)
            .min(REGION_BLOCKS)
    }

    /// The region of `group` in which `bno` lies, and the bit of its bitmap.
    pub fn region_of(&self, group: u32, bno: u64) -> (u32, u32) {
        let offset = bno.saturating_sub(self.group_start(group));
        (
            (offset / REGION_BLOCKS) as u32,
            (offset % REGION_BLOCKS) as u32,
        )
    }

    /// Blocks at every group's start that are taken by the group itself (without the journal).
    pub fn group_metadata(&self) -> u64 {
        group_metadata(self.group_blocks)
    }

    /// Whether a group starts with a copy of the superblock: group 1 and the powers
    /// of 3, 5 and 7.
    pub fn has_super_copy(&self, group: u32) -> bool {
        group != 0 && group < self.group_count && is_copy_group(group)
    }

    /// The groups that start with a copy of the superblock.
    pub fn super_copies(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.group_count).filter(|group| self.has_super_copy(*group))
    }

    /// The reserve that only unlink, truncate and conversion may use. With as many
    /// blocks free there is always a region that has enough for a tree to split, beside
    /// what each group keeps for its own trees.
    pub fn default_reserve(&self) -> u64 {
        let groups = u64::from(self.group_count);
        32 * self.regions_at_most() + 32 * groups
    }
}

fn summary_blocks(group_blocks: u64) -> u64 {
    group_blocks
        .div_ceil(REGION_BLOCKS)
        .div_ceil(SUMMARIES_PER_BLOCK)
}

fn group_metadata(group_blocks: u64) -> u64 {
    2 + summary_blocks(group_blocks) + group_blocks.div_ceil(REGION_BLOCKS)
}

fn is_copy_group(group: u32) -> bool {
    [3, 5, 7].iter().any(|base| {
        let mut power: u32 = 1;
        while power < group {
            match power.checked_mul(*base) {
                Some(p) => power = p,
                None => return false,
            }
        }
        power == group
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_lie_in_group_1_and_powers_of_3_5_and_7() {
        let copies: Vec<u32> = (0..100).filter(|g| *g != 0 && is_copy_group(*g)).collect();
        assert_eq!(copies, [1, 3, 5, 7, 9, 25, 27, 49, 81]);
    }

    #[test]
    fn sizes_from_64_mib_to_2_50_bytes_have_a_sane_geometry() {
        for shift in 26..=50 {
            for odd in [0u64, 1, 4095, 4096 * 777] {
                let g = Geometry::choose(((1u64 << shift) + odd) >> 12).unwrap();
                g.verify().unwrap();
                assert!(g.group_count >= 4, "{g:?}");
                assert!(g.group_count <= 1025, "{g:?}");
                for group in [0, 1, g.group_count - 1] {
                    let regions = g.regions(group);
                    let whole = g.regions(0);
                    let data = g.bitmap(group, whole - 1) + 1 - g.group_start(group);
                    assert_eq!(data, g.group_metadata());
                    assert!(data < REGION_BLOCKS);
                    assert!(data + MIN_LAST_GROUP <= g.group_len(group));
                    let last = g.group_start(group) + g.group_len(group) - 1;
                    let (r, bit) = g.region_of(group, last);
                    assert_eq!(r, regions - 1);
                    assert_eq!(u64::from(bit) + 1, g.region_len(group, r));
                }
            }
        }
        assert!(Geometry::choose(100).is_err());
    }
}
