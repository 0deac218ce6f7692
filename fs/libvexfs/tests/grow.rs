// SPDX-License-Identifier: GPL-2.0

//! Volumes that become larger while they are used.

use super::*;
use crate::libvexfs::format::geometry::Geometry;
use crate::libvexfs::Mode;
use proptest::prelude::*;

/// A volume on a larger device.
fn small(blocks: u64, device: u64, group_blocks: u64) -> TestFs {
    let options = mkfs::Options {
        group_blocks: Some(group_blocks),
        ..mkfs::test_options()
    };
    let sb = mkfs::layout(blocks, &options).unwrap();
    let (fs, _) = mkfs::populate(MemoryStore::new(device), &sb, NOW).unwrap();
    fs
}

/// Grows to what `blocks` allow; returns the steps that it took.
fn grow(fs: &TestFs, blocks: u64) -> Result<(Geometry, usize)> {
    let to = fs.grown(blocks)?;
    let credits = fs.grow_credits(&to);
    let mut steps = 0;
    while !with(fs, credits, |t| fs.grow_step(t, &to))? {
        steps += 1;
    }
    Ok((to, steps))
}

/// What is on disk is what is in memory, and every block is free or somebody's.
fn assert_whole(fs: &TestFs) {
    let g = fs.geometry();
    let taken = taken(fs).len() as u64;
    assert_eq!(fs.free_blocks() + taken, g.block_count);
    fs.store.commit().unwrap();
    let sb = fs.superblock();
    assert_eq!(sb.geometry, g);
    for group in g.super_copies() {
        let block = fs.store.read(g.group_start(group)).unwrap();
        let copy = crate::libvexfs::Superblock::parse(&block.data()).unwrap();
        assert_eq!(copy.geometry, g);
    }
    let again = Fs::open(fs.store.clone(), sb).unwrap();
    assert_eq!(again.free_blocks(), fs.free_blocks());
    assert_eq!(again.available_blocks(), fs.available_blocks());
}

#[test]
fn what_it_gains_can_be_used() {
    let fs = small(1 << 14, 7 << 14, 1 << 12);
    let before = fs.available_blocks();
    let (to, steps) = grow(&fs, 7 << 14).unwrap();
    assert_eq!((to.block_count, steps), (7 << 14, 24));
    assert_whole(&fs);
    assert!(fs.available_blocks() > 6 * before);
    let mut end = 0;
    while let Ok((bno, len)) = with(&fs, 3, |t| fs.alloc_blocks(t, end, 1 << 20, Mode::Normal)) {
        end = end.max(bno + len);
    }
    assert_eq!(fs.available_blocks(), 0);
    assert!(end > 27 << 12, "{end}");
    assert_whole(&fs);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let fs = small(1 << 14, 1 << 15, 1 << 12);
    assert_eq!(fs.grown((1 << 14) - 1), Err(EINVAL));
    // Not even a volume.
    assert_eq!(fs.grown(1), Err(EINVAL));
    assert_eq!(fs.grown((1 << 14) + 5).unwrap(), fs.geometry());
    assert_eq!(grow(&fs, 1 << 14).unwrap().1, 0);
    assert_eq!(fs.grown(1 << 53), Err(EFBIG));
}

#[test]
fn a_journal_that_is_too_short_is_said_so() {
    let fs = small(1 << 14, 1 << 14, 1 << 12);
    assert_eq!(fs.grown(1 << 30), Err(ENOSPC));
    // Seven times its size is fine with the shortest journal.
    fs.grown(7 << 14).unwrap();
    // The journal of a volume of 1 GiB will do for the largest.
    fresh(1 << 18).grown(mkfs::MAX_BLOCKS).unwrap();
}

#[test]
fn a_group_of_many_regions_grows_over_summary_blocks() {
    // 2^26 blocks have 2,081 regions, 1,022 of which fit into a summary block.
    let device = 3 << 26;
    let fs = small((1 << 26) + 30_000, device, 1 << 26);
    assert_eq!(fs.group_count(), 2);
    for blocks in [40_000, 1022 * 32_256, 1023 * 32_256 + 9, 1 << 26, 2 << 26] {
        grow(&fs, (1 << 26) + blocks).unwrap();
        let g = fs.geometry();
        assert_eq!(g.block_count, (1 << 26) + blocks);
        let mut free = 0;
        for region in 0..g.regions(1) {
            let (bno, at) = g.summary(1, region);
            free += u64::from(le32(&fs.store.read(bno).unwrap().data(), at) & SUMMARY_FREE);
        }
        fs.with_group_header(1, |h| assert_eq!(h.free_blocks, free))
            .unwrap();
        assert_eq!(free, g.group_len(1) - g.group_metadata());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_steps_leave_it_whole(
        first in 0u64..4000,
        steps in proptest::collection::vec((0u64..6000, 0u64..3000), 1..6),
    ) {
        const DEVICE: u64 = 1 << 17;
        let fs = small((1 << 14) + first, DEVICE, 1 << 12);
        for (more, take) in steps {
            let blocks = (fs.geometry().block_count + more).min(DEVICE);
            let to = grow(&fs, blocks).unwrap().0;
            prop_assert_eq!(fs.geometry(), to);
            prop_assert!(to.block_count <= blocks);
            let goal = to.block_count - 1;
            let _ = with(&fs, 3, |t| fs.alloc_blocks(t, goal, take, Mode::Normal));
            assert_whole(&fs);
        }
    }
}
