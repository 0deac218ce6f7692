// SPDX-License-Identifier: GPL-2.0

//! Allocation of blocks.

use super::*;
use crate::libvexfs::tree::Blocks;
use crate::libvexfs::Mode;
use proptest::prelude::*;

const BLOCKS: u64 = 1 << 14;

#[test]
fn free_runs_are_free_and_committed() {
    let fs = fresh(1 << 16);
    let collect = |from, to, least| {
        let mut runs = Vec::new();
        let n = fs
            .free_runs(from, to, least, &mut |bno, len| {
                assert!(len >= 1);
                runs.push((bno, len));
                Ok(())
            })
            .unwrap();
        assert_eq!(n, runs.iter().map(|(_, len)| len).sum::<u64>());
        runs
    };
    let all = |runs: &[(u64, u64)]| -> BTreeSet<u64> {
        runs.iter().flat_map(|(bno, len)| *bno..bno + len).collect()
    };
    let total = fs.geometry().block_count;
    let before = all(&collect(0, total, 1));
    assert_eq!(before.len() as u64, fs.free_blocks());
    assert!(before.is_disjoint(&taken(&fs)));

    let (bno, len) = with(&fs, 3, |t| fs.alloc_blocks(t, 0, 100, Mode::Normal)).unwrap();
    assert_eq!(len, 100);
    fs.store.commit().unwrap();
    // Every other block is freed: not free before the commit.
    for at in (bno..bno + len).step_by(2) {
        with(&fs, 3, |t| fs.free_data(t, at, 1)).unwrap();
    }
    let during = all(&collect(0, total, 1));
    assert!((bno..bno + len).all(|b| !during.contains(&b)));
    fs.store.commit().unwrap();
    let after = all(&collect(0, total, 1));
    assert!((bno..bno + len).all(|b| after.contains(&b) == ((b - bno) % 2 == 0)));
    // Neither short runs nor what is outside.
    let long = all(&collect(0, total, 2));
    assert!((bno..bno + len).all(|b| !long.contains(&b)));
    assert_eq!(collect(bno, bno + 1, 1), [(bno, 1)]);
    assert_eq!(collect(total, total + 5, 1), []);
    assert_eq!(
        fs.free_runs(0, total, 1, &mut |_, _| Err(EINTR)),
        Err(EINTR)
    );
}

#[test]
fn what_was_freed_is_shown_once_when_it_has_committed() {
    let fs = fresh(1 << 16);
    let freed = || {
        let mut runs = Vec::new();
        fs.freed_runs(&mut |bno, len| {
            runs.push((bno, len));
            Ok(())
        })
        .unwrap();
        runs
    };
    let (bno, len) = with(&fs, 3, |t| fs.alloc_blocks(t, 0, 100, Mode::Normal)).unwrap();
    let free = |at, n| with(&fs, 3, |t| fs.free_data(t, at, n)).unwrap();
    // Nobody asked for it.
    free(bno, 10);
    fs.store.commit().unwrap();
    assert_eq!(freed(), []);
    fs.set_discards(true);
    free(bno + 10, 20);
    free(bno + 40, 10);
    assert_eq!(freed(), []);
    fs.store.commit().unwrap();
    free(bno + 60, 10);
    assert_eq!(freed(), [(bno + 10, 20), (bno + 40, 10)]);
    assert_eq!(freed(), []);
    // What is in use again is left alone, and so is what was freed once more since.
    fs.store.commit().unwrap();
    assert!(!fs.settle().unwrap());
    let taken = with(&fs, 3, |t| fs.alloc_blocks(t, bno + 60, 5, Mode::Normal));
    assert_eq!(taken.unwrap(), (bno + 60, 5));
    free(bno + 60, 1);
    assert_eq!(freed(), [(bno + 65, 5)]);
    fs.store.commit().unwrap();
    assert_eq!(freed(), [(bno + 60, 1)]);
    assert_eq!(bno + len, bno + 100);
}

#[test]
fn a_new_volume_has_the_free_blocks_that_its_bitmaps_say() {
    for blocks in [1 << 14, (1 << 14) + 777, 300_000] {
        let fs = fresh(blocks);
        let taken = taken(&fs).len() as u64;
        assert_eq!(fs.free_blocks() + taken, fs.geometry().block_count);
    }
}

#[test]
fn freed_blocks_wait_for_the_commit() {
    let fs = fresh(BLOCKS);
    let all = fs.free_blocks() - 32 * u64::from(fs.group_count());
    let mut runs = Vec::new();
    loop {
        match with(&fs, 3, |t| fs.alloc_blocks(t, 0, 1 << 20, Mode::Privileged)) {
            Ok(run) => runs.push(run),
            Err(e) => {
                assert_eq!(e, ENOSPC);
                break;
            }
        }
    }
    assert_eq!(runs.iter().map(|(_, len)| len).sum::<u64>(), all);
    assert!(!fs.settle().unwrap());
    let (bno, len) = runs.pop().unwrap();
    with(&fs, 3, |t| fs.free_data(t, bno, len)).unwrap();
    // Other blocks there may be, of those that groups keep for themselves.
    if let Ok((other, n)) = with(&fs, 3, |t| fs.alloc_blocks(t, bno, len, Mode::Privileged)) {
        assert!(
            other + n <= bno || bno + len <= other,
            "reused before the commit"
        );
        with(&fs, 3, |t| fs.free_data(t, other, n)).unwrap();
    }
    assert!(fs.settle().unwrap());
    let again = with(&fs, 3, |t| fs.alloc_blocks(t, bno, len, Mode::Privileged)).unwrap();
    assert_eq!(again, (bno, len));
    assert!(!fs.store.aborted());
    taken(&fs);
}

#[test]
fn claimed_blocks_are_nobody_elses() {
    let fs = fresh(BLOCKS);
    let before = fs.available_blocks();
    let free = taken(&fs);
    let claim = fs.claim(0, 100, Mode::Normal).unwrap();
    let (bno, len) = (claim.bno(), claim.blocks());
    assert_eq!(len, 100);
    assert_eq!(fs.available_blocks(), before - 100);
    assert_eq!(taken(&fs), free, "it is in memory only");
    // Neither data nor metadata goes there, nor does a discard, and no commit changes that.
    fs.store.commit().unwrap();
    assert!(!fs.settle().unwrap());
    let mut others = BTreeSet::new();
    while let Ok((at, n)) = with(&fs, 3, |t| {
        fs.alloc_blocks(t, bno, 1 << 20, Mode::Privileged)
    }) {
        others.extend(at..at + n);
    }
    assert_eq!(fs.claim(0, 1, Mode::Privileged).err(), Some(ENOSPC));
    assert!((bno..bno + len).all(|b| !others.contains(&b)));
    fs.free_runs(0, BLOCKS, 1, &mut |at, n| {
        assert!(at + n <= bno || bno + len <= at);
        Ok(())
    })
    .unwrap();
    assert_eq!(with(&fs, 3, |t| claim.allocate(t)), Ok((bno, len)));
    let after = taken(&fs);
    assert!((bno..bno + len).all(|b| after.contains(&b)));
    // One that is dropped leaves free what was free.
    let at = *others.first().unwrap();
    with(&fs, 3, |t| fs.free_data(t, at, 1)).unwrap();
    assert!(fs.settle().unwrap());
    let again = fs.claim(at, 1, Mode::Privileged).unwrap();
    assert_eq!(again.bno(), at);
    drop(again);
    assert_eq!(fs.claim(at, 1, Mode::Privileged).unwrap().bno(), at);
    assert!(!fs.store.aborted());
}

#[test]
fn the_reserve_is_for_the_privileged() {
    let fs = fresh(BLOCKS);
    while with(&fs, 3, |t| fs.alloc_blocks(t, 0, 1 << 20, Mode::Normal)).is_ok() {}
    assert_eq!(fs.free_blocks(), fs.sb.reserved_blocks);
    assert!(fs.space(0, 1, Mode::Normal).is_err());
    // Whatever the split needs, for several at a time.
    let mut spaces: Vec<_> = (0..4)
        .map(|_| fs.space(BLOCKS / 2, 14, Mode::Privileged).unwrap())
        .collect();
    for space in &mut spaces {
        with(&fs, 3 + 14, |t| {
            for _ in 0..14 {
                let bno = space.take(t)?;
                t.create(bno)?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(space.left(), 0);
    }
    drop(spaces);
    assert_eq!(fs.free_blocks(), fs.sb.reserved_blocks - 4 * 14);
    taken(&fs);
}

#[test]
fn space_that_was_not_used_returns() {
    let fs = fresh(BLOCKS);
    let before = fs.available_blocks();
    let mut space = fs.space(0, 10, Mode::Normal).unwrap();
    assert_eq!(fs.available_blocks(), before - 10);
    let bno = with(&fs, 4, |t| {
        let bno = space.take(t)?;
        t.create(bno)?;
        Ok(bno)
    })
    .unwrap();
    drop(space);
    assert_eq!(fs.available_blocks(), before - 1);
    with(&fs, 4, |t| fs.free_meta(t, bno)).unwrap();
    assert_eq!(fs.available_blocks(), before);
}

#[test]
fn promises_are_kept() {
    let fs = fresh(BLOCKS);
    let all = fs.available_blocks();
    fs.promise(all - 10, Mode::Normal).unwrap();
    assert_eq!(fs.promise(11, Mode::Normal), Err(ENOSPC));
    let got = with(&fs, 3, |t| fs.alloc_blocks(t, 0, 100, Mode::Normal)).unwrap();
    assert_eq!(got.1, 10);
    let mut rest = all - 10;
    while rest > 0 {
        rest -= with(&fs, 3, |t| fs.alloc_blocks(t, 0, rest, Mode::Promised))
            .unwrap()
            .1;
    }
    assert_eq!(fs.available_blocks(), 0);
    assert_eq!(fs.free_blocks(), fs.sb.reserved_blocks);
}

#[test]
fn freeing_what_is_free_or_nobodys_is_refused() {
    let fs = fresh(BLOCKS);
    kernel::print::set_level(0);
    let (bno, _) = with(&fs, 3, |t| fs.alloc_blocks(t, 0, 8, Mode::Normal)).unwrap();
    let g = fs.geometry();
    let euclean = crate::libvexfs::errno::euclean();
    for (bno, len) in [
        (bno, 9),
        (bno, 0),
        (0, 1),
        (g.header(1), 1),
        (g.bitmap(1, 0), 1),
        (g.block_count, 1),
        (g.block_count - 1, 2),
        (u64::MAX, 1),
        (bno, u64::MAX),
        (g.group_start(1) - 1, 2),
    ] {
        let mut t = fs.store.begin(3).unwrap();
        assert_eq!(fs.free_data(&mut t, bno, len), Err(euclean), "{bno} {len}");
        assert!(!t.dirtied());
    }
    with(&fs, 3, |t| fs.free_data(t, bno, 8)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 24 }, ..Default::default() })]

    #[test]
    fn no_block_is_handed_out_twice(
        ops in proptest::collection::vec((0u8..8, any::<u32>(), 1u64..3000), 1..300)
    ) {
        let fs = fresh(BLOCKS);
        let base = taken(&fs);
        let mut runs: Vec<(u64, u64)> = Vec::new();
        let mut freed: Vec<(u64, u64)> = Vec::new();
        for (kind, at, len) in ops {
            match kind {
                0..=3 => {
                    let goal = u64::from(at) % BLOCKS;
                    match with(&fs, 3, |t| fs.alloc_blocks(t, goal, len, Mode::Normal)) {
                        Ok((bno, got)) => {
                            prop_assert!(got >= 1 && got <= len);
                            let apart = |&(b, l): &(u64, u64)| bno + got <= b || b + l <= bno;
                            prop_assert!(runs.iter().all(apart), "two owners");
                            prop_assert!(freed.iter().all(apart), "reused before the commit");
                            runs.push((bno, got));
                        }
                        Err(e) => prop_assert_eq!(e, ENOSPC),
                    }
                }
                4..=5 if !runs.is_empty() => {
                    let (bno, all) = runs.swap_remove(at as usize % runs.len());
                    // A part of it, to leave holes.
                    let part = len.min(all);
                    with(&fs, 3, |t| fs.free_data(t, bno + all - part, part)).unwrap();
                    freed.push((bno + all - part, part));
                    if part < all {
                        runs.push((bno, all - part));
                    }
                }
                6 => {
                    fs.store.commit().unwrap();
                    freed.clear();
                }
                _ => {}
            }
        }
        let mut expected = base;
        for (bno, len) in &runs {
            expected.extend(*bno..bno + len);
        }
        prop_assert_eq!(taken(&fs), expected);
        prop_assert!(!fs.store.aborted());
    }
}
