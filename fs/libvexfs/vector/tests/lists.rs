// SPDX-License-Identifier: GPL-2.0

//! The parts that need no disk: changed ranges, the best k, values.

use crate::libvexfs::vector::collection::{valid_name, Text};
use crate::libvexfs::vector::memo::Memo;
use crate::libvexfs::vector::slots::{Counts, FreeSlot};
use crate::libvexfs::vector::stale::{cover, Range, RANGES_MAX};
use crate::libvexfs::vector::top::{Hit, Top};
use crate::libvexfs::vector::Record;
use kernel::prelude::*;
use proptest::prelude::*;

fn record(off: u64, len: u64, version: u64) -> Record {
    Record {
        key: 1,
        ino: 257,
        off,
        len,
        version,
        ..Record::default()
    }
}

/// What the ranges say of each byte: the newest version that changed it.
fn versions(ranges: &[Range], bytes: u64) -> Vec<u64> {
    (0..bytes)
        .map(|b| {
            ranges
                .iter()
                .filter(|r| r.start <= b && b < r.end)
                .map(|r| r.version)
                .max()
                .unwrap_or(0)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 48 }))]

    #[test]
    fn covering_keeps_what_each_byte_was_told(
        changes in prop::collection::vec((0u64..200, 1u64..40), 0..40)
    ) {
        let mut ranges = KVec::new();
        let mut model = vec![0; 300];
        for (i, (start, len)) in changes.iter().enumerate() {
            let version = i as u64 / 3 + 2;
            cover(&mut ranges, Range { start: *start, end: start + len, version }).unwrap();
            model[*start as usize..(start + len) as usize].fill(version);
            prop_assert!(ranges.windows(2).all(|w| w[0].end <= w[1].start));
            prop_assert!(ranges.iter().all(|r| r.start < r.end));
            // 40 changes of up to 40 bytes within 240 never reach the bound.
            prop_assert!(ranges.len() <= RANGES_MAX);
            prop_assert_eq!(versions(&ranges, 300), model.clone());
        }
    }

    #[test]
    fn too_many_ranges_merge_and_forget_no_change(
        changes in prop::collection::vec((0u64..4000, 1u64..4), 100..300)
    ) {
        let mut ranges = KVec::new();
        let mut model = vec![0u64; 5000];
        for (i, (start, len)) in changes.iter().enumerate() {
            let version = i as u64 / 50 + 2;
            cover(&mut ranges, Range { start: *start, end: start + len, version }).unwrap();
            model[*start as usize..(start + len) as usize].fill(version);
            prop_assert!(ranges.len() <= RANGES_MAX);
            let said = versions(&ranges, 5000);
            prop_assert!(said.iter().zip(&model).all(|(said, truth)| said >= truth));
        }
    }

    #[test]
    fn the_best_k_are_kept_in_order(
        keys in prop::collection::vec(0u64..50, 0..200),
        k in 1usize..20,
    ) {
        let mut top = Top::new(k);
        let mut model: Vec<(u64, u32)> = Vec::new();
        for (slot, &key) in keys.iter().enumerate() {
            let slot = slot as u32;
            let wanted = top.wants(key, slot);
            model.push((key, slot));
            model.sort_unstable();
            model.truncate(k);
            prop_assert_eq!(wanted, model.contains(&(key, slot)));
            top.add(Hit { key, slot, record: Record::default() }).unwrap();
            prop_assert_eq!(top.worst(), (model.len() == k).then(|| model[k - 1].0));
        }
        let sorted: Vec<_> = top.into_sorted().iter().map(|h| (h.key, h.slot)).collect();
        prop_assert_eq!(sorted, model);
    }

    #[test]
    fn values_survive_and_anything_else_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(record) = Record::parse(&bytes) {
            prop_assert_eq!(Record::parse(&record.format()).unwrap(), record);
        }
        if let Ok(counts) = Counts::parse(&bytes) {
            prop_assert_eq!(Counts::parse(&counts.format()).unwrap(), counts);
        }
        if let Ok(free) = FreeSlot::parse(&bytes) {
            prop_assert_eq!(&free.format()[..], &bytes[..]);
        }
        let _ = Range::parse(4 << 120 | 17, &bytes);
        let _ = crate::libvexfs::vector::Collection::parse(1, &bytes);
    }
}

#[test]
fn a_change_outdates_what_overlaps_and_is_older() {
    let change = Range {
        start: 10,
        end: 20,
        version: 5,
    };
    assert!(change.outdates(&record(0, 0, 4)), "the whole file");
    assert!(
        !change.outdates(&record(0, 0, 5)),
        "described after the change"
    );
    assert!(change.outdates(&record(19, 1, 4)));
    assert!(change.outdates(&record(0, 11, 4)));
    assert!(!change.outdates(&record(0, 10, 4)), "ends before it");
    assert!(!change.outdates(&record(20, 5, 4)), "begins behind it");
    let tail = Range {
        start: 100,
        end: u64::MAX,
        version: 5,
    };
    assert!(tail.outdates(&record(1 << 62, 1, 4)));
}

#[test]
fn a_change_at_the_very_end_of_the_address_space_is_covered() {
    let mut ranges = KVec::new();
    cover(
        &mut ranges,
        Range {
            start: 5,
            end: u64::MAX,
            version: 2,
        },
    )
    .unwrap();
    cover(
        &mut ranges,
        Range {
            start: 0,
            end: u64::MAX,
            version: 3,
        },
    )
    .unwrap();
    assert_eq!(
        &ranges[..],
        &[Range {
            start: 0,
            end: u64::MAX,
            version: 3
        }]
    );
}

#[test]
fn a_memo_remembers_the_generation_that_it_was_told() {
    let mut memo = Memo::new().unwrap();
    assert_eq!(memo.get(0, 0), None);
    memo.set(257, 3, true);
    assert_eq!(memo.get(257, 3), Some(true));
    assert_eq!(memo.get(257, 4), None);
    for ino in 0..100_000 {
        memo.set(ino, 1, ino % 2 == 0);
    }
    for ino in 0..100_000 {
        assert!(memo.get(ino, 1).is_none_or(|v| v == (ino % 2 == 0)));
    }
    memo.clear();
    assert!((0..100_000).all(|ino| memo.get(ino, 1).is_none()));
}

#[test]
fn names_are_such_that_people_can_type_them() {
    assert!(valid_name(b"docs") && valid_name("wörter 100".as_bytes()) && valid_name(&[b'x'; 63]));
    for bad in [
        &b""[..],
        b".",
        b"..",
        b"a/b",
        b"a\nb",
        b"a\0b",
        &[b'x'; 64],
        b"\x7f",
    ] {
        assert!(!valid_name(bad), "{bad:?}");
    }
    assert!(Text::<3>::new(b"four").is_none());
    assert_eq!(Text::<3>::new(b"ab").unwrap().as_bytes(), b"ab");
}

#[test]
fn an_exhausted_heap_reports_it() {
    let mut top = Top::new(5);
    kernel::alloc::fail_after(Some(0));
    let added = top.add(Hit {
        key: 1,
        slot: 1,
        record: Record::default(),
    });
    kernel::alloc::fail_after(None);
    assert_eq!(added.unwrap_err(), ENOMEM);
    assert!(top.into_sorted().is_empty());
}
