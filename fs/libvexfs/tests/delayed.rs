// SPDX-License-Identifier: GPL-2.0

//! Delayed allocation: what was promised is there when it is asked for.

use super::*;
use crate::libvexfs::alloc::GROUP_RESERVE;
use crate::libvexfs::credits;
use crate::libvexfs::errno::ENOENT;
use crate::libvexfs::extent::{Delayed, Mapping, RUNS_MAX};
use crate::libvexfs::Mode;
use core::sync::atomic::Ordering;
use proptest::prelude::*;

/// Logical blocks that the tests use.
const SPAN: u64 = 300;

/// Gives a delayed block, and what is behind it, a place.
fn place(fs: &TestFs, i: &mut Inode, d: &mut Delayed, lblk: u64) -> Result<Mapping> {
    with(fs, credits::EXTENT_ALLOC, |t| {
        fs.allocate_delayed(t, i, d, lblk)
    })
}

/// The delayed blocks below `SPAN`, and all runs are as long as they can be.
fn blocks(d: &Delayed) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    let mut at = 0;
    while at < SPAN {
        let (delayed, len) = d.at(at, SPAN - at);
        assert!(len > 0 && len <= SPAN - at);
        if delayed {
            assert_eq!(d.run_start(at), Some(at));
            assert_eq!(d.run_start(at + len - 1), Some(at));
            found.extend(at..at + len);
            assert!(at + len == SPAN || !d.at(at + len, 1).0, "two runs touch");
        } else {
            assert_eq!(d.run_start(at), None);
        }
        at += len;
    }
    found
}

#[test]
fn what_is_promised_is_not_free_and_comes_back() {
    let fs = fresh(1 << 14);
    let i = file(&fs);
    let mut d = Delayed::new();
    let all = fs.available_blocks();
    fs.delay(&i, &mut d, 10, 100).unwrap();
    assert!(fs.available_blocks() <= all - 100);
    assert_eq!(fs.undelay(&mut d, 50, 60), 10);
    assert_eq!(d.at(40, 100), (true, 10));
    assert_eq!(d.at(50, 100), (false, 10));
    assert_eq!(d.at(60, 100), (true, 50));
    assert_eq!(fs.undelay(&mut d, 0, u64::MAX), 90);
    assert_eq!(d.blocks(), 0);
    assert_eq!(fs.available_blocks(), all);
    // Nothing of it ever was on disk.
    assert_eq!(fs.map(&i, 0, 200).unwrap(), Mapping::Hole { len: 200 });
}

#[test]
fn what_cannot_be_promised_is_refused_when_it_is_asked_for() {
    let fs = fresh(1 << 14);
    let i = file(&fs);
    let mut d = Delayed::new();
    let all = fs.available_blocks();
    assert_eq!(fs.delay(&i, &mut d, 0, all + 1), Err(ENOSPC));
    assert_eq!(fs.delay(&i, &mut d, u64::MAX, 1), Err(EFBIG));
    assert_eq!((d.blocks(), fs.available_blocks()), (0, all));
    for run in 0..RUNS_MAX as u64 {
        fs.delay(&i, &mut d, 2 * run, 1).unwrap();
    }
    let rest = fs.available_blocks();
    assert_eq!(fs.delay(&i, &mut d, 5000, 1), Err(ENOMEM));
    assert_eq!(
        fs.delay(&i, &mut d, 4, 2),
        Err(EINVAL),
        "half of it is there"
    );
    assert_eq!(fs.available_blocks(), rest);
    // What makes a run longer is no new one.
    fs.delay(&i, &mut d, 1, 1).unwrap();
    fs.undelay(&mut d, 0, u64::MAX);
    assert_eq!(fs.available_blocks(), all);
}

/// The worst that can be: every second block of the volume is taken, all that is free is promised,
/// one half to one file and the rest to many, and then somebody takes what space is left. The
/// reserve lends nodes for a moment; it is too small to give them.
#[test]
fn a_torn_volume_keeps_its_promises() {
    let fs = fresh(1 << 14);
    let mut owner = file(&fs);
    let mut lblk = 0;
    while let Ok(m) = with(&fs, credits::EXTENT_ALLOC, |t| {
        fs.allocate(t, &mut owner, lblk, 1, 0, Mode::Normal)
    }) {
        lblk += m.len();
    }
    for hole in (0..lblk).step_by(2) {
        with(&fs, credits::REPLACE_RANGE, |t| {
            fs.replace_range(t, &mut owner, hole, 1, crate::libvexfs::extent::New::Hole)
        })
        .unwrap();
    }
    fs.store.commit().unwrap();
    fs.settle().unwrap();
    let lent = 8;
    fs.reserve.store(
        u64::from(fs.group_count()) * GROUP_RESERVE + lent,
        Ordering::Relaxed,
    );

    let mut small: Vec<(Inode, Delayed)> = Vec::new();
    for _ in 0..40 {
        small.push((file(&fs), Delayed::new()));
    }
    fs.store.commit().unwrap();
    let (mut big, mut d) = (file(&fs), Delayed::new());
    fs.delay(&big, &mut d, 0, fs.available_blocks() / 2)
        .unwrap();
    'all: loop {
        for (n, (i, d)) in small.iter_mut().enumerate() {
            if fs.delay(i, d, d.blocks() * 3, 1 + n as u64 % 3).is_err() {
                break 'all;
            }
        }
    }
    let mut rest = file(&fs);
    let mut at = 0;
    while with(&fs, credits::EXTENT_ALLOC, |t| {
        fs.allocate(t, &mut rest, at, 1, 0, Mode::Normal)
    })
    .is_ok()
    {
        at += 1;
    }
    small.push((big.clone(), d));
    let mut placed = 0;
    for (i, d) in &mut small {
        let promised = d.blocks();
        while let Some(lblk) = (0..4 * promised + 8).find(|&l| d.at(l, 1).0) {
            placed += place(&fs, i, d, lblk).unwrap().len();
        }
        assert_eq!(d.blocks(), 0);
    }
    assert!(placed > 2000, "{placed}");
    big = small.pop().unwrap().0;
    assert!(!big.data_in_core(), "it has a tree");
    assert!(!fs.store.aborted());
    taken(&fs);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 64 }, ..Default::default() })]

    #[test]
    fn agrees_with_a_set_of_blocks(
        ops in proptest::collection::vec((0u8..4, 0..SPAN, 1u64..40), 1..200)
    ) {
        let fs = fresh(1 << 14);
        let mut i = file(&fs);
        let base = fs.free_blocks();
        let all = fs.available_blocks();
        let (mut d, mut model, mut mapped) = (Delayed::new(), BTreeSet::new(), BTreeSet::new());
        for (kind, at, len) in ops {
            let end = (at + len).min(SPAN);
            match kind {
                0 | 1 => {
                    let free = |b: &u64| !model.contains(b) && !mapped.contains(b);
                    let len = (at..end).take_while(free).count() as u64;
                    if len != 0 {
                        fs.delay(&i, &mut d, at, len).unwrap();
                        model.extend(at..at + len);
                    }
                }
                2 => {
                    let old = model.len();
                    model.retain(|b| !(at..end).contains(b));
                    let n = fs.undelay(&mut d, at, end);
                    prop_assert_eq!(n as usize, old - model.len());
                }
                _ => match place(&fs, &mut i, &mut d, at) {
                    Ok(Mapping::Unwritten { len, .. }) => {
                        for b in at..at + len {
                            prop_assert!(model.remove(&b));
                            mapped.insert(b);
                        }
                    }
                    Err(e) if e == ENOENT => prop_assert!(!model.contains(&at)),
                    other => prop_assert!(false, "{:?}", other),
                },
            }
            prop_assert_eq!(&blocks(&d), &model);
            prop_assert_eq!(d.blocks() as usize, model.len());
            prop_assert!(fs.available_blocks() <= all - (model.len() as u64) - i.blocks);
        }
        fs.undelay(&mut d, 0, SPAN);
        prop_assert_eq!(fs.available_blocks(), all - i.blocks);
        prop_assert_eq!(fs.free_blocks(), base - i.blocks);
        taken(&fs);
    }
}
