// SPDX-License-Identifier: GPL-2.0

//! Lists of hits against sorting: each file once, radius, pages, fusion.

use crate::libvexfs::vector::fuse::{fuse, score};
use crate::libvexfs::vector::list::{behind, List, Want};
use crate::libvexfs::vector::top::Hit;
use crate::libvexfs::vector::Record;
use kernel::prelude::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};

/// Hits with few files and many equal keys, in any order of keys.
fn hits(keys: &[(u64, u64)]) -> Vec<Hit> {
    (0u32..)
        .zip(keys)
        .map(|(slot, (key, ino))| Hit {
            key: *key,
            slot,
            record: Record {
                key: slot.into(),
                ino: *ino,
                // Colliding in a hash of the number alone.
                generation: (*ino % 2) as u32,
                sequence: 1,
                ..Record::default()
            },
        })
        .collect()
}

fn any_keys() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((0u64..50, 0u64..40), 0..300)
}

fn fill(want: Want, all: &[Hit]) -> List {
    let bound = |key: u64| key as u32 + 1;
    let mut list = List::new(want);
    for hit in all {
        // What the limit keeps out is not wanted either.
        if bound(hit.key) > list.limit() {
            assert!(!list.wants(hit, bound));
        } else if list.wants(hit, bound) {
            list.add(*hit, bound).unwrap();
        }
    }
    list
}

fn model(all: &[Hit], files: bool, radius: Option<u64>) -> Vec<(u64, u32)> {
    let mut sorted: Vec<&Hit> = all
        .iter()
        .filter(|h| radius.is_none_or(|r| h.key <= r))
        .collect();
    sorted.sort_by_key(|h| (h.key, h.slot));
    let mut seen = HashSet::new();
    sorted.retain(|h| !files || seen.insert((h.record.ino, h.record.generation)));
    sorted.iter().map(|h| (h.key, h.slot)).collect()
}

fn places(hits: &[Hit]) -> Vec<(u64, u32)> {
    hits.iter().map(|h| (h.key, h.slot)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 128 }))]

    #[test]
    fn pages_of_a_list_are_the_list(
        keys in any_keys(), k in 1usize..30, files in any::<bool>(), radius in prop::option::of(0u64..50),
    ) {
        let all = hits(&keys);
        let truth = model(&all, files, radius);
        let mut want = Want { k, files, within: radius.map(|r| r as u32 + 1), ..Want::default() };
        let mut told: Vec<(u64, u32)> = Vec::new();
        loop {
            let list = fill(want, &all);
            let full = list.full();
            let page = places(&list.into_sorted());
            prop_assert_eq!(&page[..], &truth[told.len()..truth.len().min(told.len() + k)]);
            prop_assert!(full || page.len() < k);
            told.extend(&page);
            if !full {
                break;
            }
            let Some(last) = page.last() else { break };
            (want.after, want.told) = (Some(*last), told.len());
        }
        prop_assert_eq!(told, truth);
    }

    #[test]
    fn fused_lists_are_in_the_order_of_their_sums(
        keys in prop::collection::vec(any_keys(), 1..6), files in any::<bool>(), k in 1usize..20,
    ) {
        let mut lists = KVec::new();
        let mut sums: BTreeMap<(u64, u64), f64> = BTreeMap::new();
        for (n, keys) in (0u32..).zip(&keys) {
            let mut all = hits(keys);
            // The same slots are other files' in each list: they are others, then.
            for hit in all.iter_mut().filter(|_| files) {
                hit.slot += n * 1000;
            }
            let list = fill(Want { k: 40, files, ..Want::default() }, &all).into_sorted();
            for (rank, hit) in list.iter().enumerate() {
                let thing = if files { hit.record.ino } else { u64::MAX };
                let slot = if files { 0 } else { hit.slot.into() };
                *sums.entry((thing, slot)).or_default() += 1.0 / (61.0 + rank as f64);
            }
            lists.push(list, GFP_KERNEL).unwrap();
        }
        let fused = fuse(&lists, files).unwrap();
        prop_assert_eq!(fused.len(), sums.len());
        prop_assert!(fused.windows(2).all(|w| (w[0].key, w[0].slot) < (w[1].key, w[1].slot)));
        let mut last = f64::INFINITY;
        for hit in fused.iter() {
            let thing = if files { (hit.record.ino, 0) } else { (u64::MAX, hit.slot.into()) };
            let sum = sums[&thing];
            prop_assert!(sum <= last + 1e-9);
            last = sum;
            let told = f64::from(f32::from_bits(score(hit.key)));
            prop_assert!((told - sum).abs() < sum * 1e-6, "{} {}", told, sum);
            prop_assert!(lists.iter().any(|l| l.iter().any(|h| h.slot == hit.slot && h.record == hit.record)));
        }
        // Pages of it.
        let mut after = None;
        let mut told: Vec<(u64, u32)> = Vec::new();
        loop {
            let mut page = KVVec::new();
            page.extend_from_slice(&fused, GFP_KERNEL).unwrap();
            behind(&mut page, after, k);
            told.extend(places(&page));
            match page.last() {
                Some(last) => after = Some((last.key, last.slot)),
                None => break,
            }
        }
        prop_assert_eq!(told, places(&fused));
    }
}
