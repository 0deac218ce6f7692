// SPDX-License-Identifier: GPL-2.0

//! Vectors that are held, against sorting; changes, against a list of all that there were.

use crate::libvexfs::vector::changes::{Change, Changes, ROOM};
use crate::libvexfs::vector::held::{held, Held};
use crate::libvexfs::vector::list::{List, Want};
use crate::libvexfs::vector::search::Scan;
use crate::libvexfs::vector::Record;
use core::ops::Range;
use kernel::prelude::*;
use proptest::prelude::*;

/// Vectors of one number, rough keys that are too good by up to 3.
struct Row {
    queries: Vec<i64>,
    values: Vec<i64>,
    /// How many times vectors were compared exactly.
    closely: usize,
    /// Batches that may be begun.
    budget: usize,
}

impl Row {
    fn key(&self, query: usize, row: usize) -> u64 {
        self.queries[query].abs_diff(self.values[row])
    }

    fn slot(row: usize) -> u32 {
        3 * row as u32 + 1
    }

    fn record(row: usize) -> Record {
        Record {
            ino: row as u64 / 3,
            sequence: row as u32,
            ..Record::default()
        }
    }

    /// Every seventh died, every fifth file is hidden.
    fn counts(row: usize) -> bool {
        row % 7 != 0 && (row / 3) % 5 != 0
    }

    fn truth(&self, query: usize, files: bool) -> Vec<(u64, u32)> {
        let rows = (0..self.values.len()).filter(|row| Self::counts(*row));
        let mut all: Vec<_> = rows
            .map(|row| (self.key(query, row), Self::slot(row), row / 3))
            .collect();
        all.sort();
        let mut seen = std::collections::HashSet::new();
        all.retain(|hit| !files || seen.insert(hit.2));
        all.iter().map(|hit| (hit.0, hit.1)).collect()
    }
}

impl Scan for Row {
    fn records(&mut self, _: u32, _: usize, _: &mut KVec<(u32, Record)>) -> Result {
        unreachable!("all is held")
    }

    fn record(&mut self, _: u32) -> Result<Option<Record>> {
        unreachable!("all is held")
    }

    fn admits(&mut self, record: &Record) -> Result<bool> {
        Ok(record.ino % 5 != 0)
    }

    fn score(&mut self, _: Range<usize>, _: Range<u32>, _: usize, _: &mut [u32]) -> Result {
        unreachable!("all is held")
    }

    fn exact(&mut self, _: usize, _: u32) -> Result<u64> {
        unreachable!("all is held")
    }

    fn bound(&self, key: u64) -> u32 {
        key as u32
    }

    fn unchanged(&mut self, _: u32, _: &Record) -> Result<bool> {
        unreachable!("all is held")
    }

    fn pause(&mut self) -> Result<bool> {
        let more = self.budget > 0;
        self.budget = self.budget.saturating_sub(1);
        Ok(more)
    }
}

impl Held for Row {
    fn held(&self) -> usize {
        self.values.len()
    }

    fn entry(&self, row: usize) -> Option<(u32, Record)> {
        Some((Self::slot(row), Self::record(row)))
    }

    fn score_held(
        &mut self,
        queries: Range<usize>,
        rows: Range<usize>,
        keys: &mut [u32],
    ) -> Result {
        assert_eq!(keys.len(), queries.len() * rows.len());
        let pairs = queries.flat_map(|query| rows.clone().map(move |row| (query, row)));
        for (key, (query, row)) in keys.iter_mut().zip(pairs) {
            *key = self.key(query, row).saturating_sub(row as u64 % 4) as u32;
        }
        Ok(())
    }

    fn exact_held(&mut self, query: usize, row: usize) -> Result<u64> {
        self.closely += 1;
        Ok(self.key(query, row))
    }

    fn lives(&mut self, slot: u32, record: &Record) -> Result<bool> {
        assert_eq!(slot, Self::slot(record.sequence as usize));
        Ok(record.sequence % 7 != 0)
    }
}

fn search(row: &mut Row, want: Want) -> (bool, Vec<Vec<(u64, u32)>>) {
    let mut lists: Vec<List> = row.queries.iter().map(|_| List::new(want)).collect();
    let done = held(row, &mut lists).unwrap();
    let places = |list: List| {
        let hits = list.into_sorted();
        hits.iter().map(|hit| (hit.key, hit.slot)).collect()
    };
    (done, lists.into_iter().map(places).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 48 }))]

    #[test]
    fn the_best_of_what_is_held_is_found(
        queries in prop::collection::vec(-500i64..500, 1..40),
        values in prop::collection::vec(-1000i64..1000, 0..600),
        k in 1usize..100, files in any::<bool>(), radius in prop::option::of(0u64..900),
    ) {
        let mut row = Row { queries, values, closely: 0, budget: usize::MAX };
        let want = Want { k, files, within: radius.map(|r| r as u32), ..Want::default() };
        let (done, found) = search(&mut row, want);
        prop_assert!(done);
        for (query, found) in found.iter().enumerate() {
            let mut truth = row.truth(query, files);
            truth.retain(|hit| radius.is_none_or(|radius| hit.0 <= radius));
            truth.truncate(k);
            prop_assert_eq!(found, &truth);
        }
    }
}

#[test]
fn few_of_many_are_looked_at_closely() {
    let values = (0..10_000).map(|i| (i * 7919) % 10_007).collect();
    let mut row = Row {
        queries: vec![0, 5000],
        values,
        closely: 0,
        budget: usize::MAX,
    };
    let want = Want {
        k: 10,
        ..Want::default()
    };
    search(&mut row, want);
    assert!(row.closely < 200, "{}", row.closely);
    row.budget = 1;
    assert!(!search(&mut row, want).0);
}

#[test]
fn changes_are_told_in_order_or_not_at_all() {
    let mut changes = Changes::new();
    changes.note(Change::File(1));
    let before = changes.now();
    assert_eq!(changes.since(before, &mut []), Some(0));
    assert!(changes.with_room(Changes::room().unwrap()).is_none());
    // What was changed while nobody remembered cannot be told.
    let mut out = vec![Change::File(0); ROOM];
    assert_eq!(changes.since(before, &mut out), None);
    let begin = changes.now();
    assert!(changes.with_room(Changes::room().unwrap()).is_some());
    let change = |i: u64| match i % 3 {
        0 => Change::Record {
            collection: 7,
            slot: i as u32,
        },
        _ => Change::File(i / 2),
    };
    for i in 0..3 * ROOM as u64 {
        changes.note(change(i));
        let now = changes.now();
        assert_eq!(now, begin + i + 1);
        for back in [0, 1, 5, ROOM as u64 - 1, ROOM as u64] {
            let Some(from) = now.checked_sub(back).filter(|from| *from >= begin) else {
                continue;
            };
            assert_eq!(changes.since(from, &mut out), Some(back as usize));
            let told = &out[..back as usize];
            let sample = told.iter().enumerate().step_by(97);
            assert!(sample
                .clone()
                .all(|(at, told)| *told == change(from - begin + at as u64)));
        }
        if i >= ROOM as u64 {
            assert_eq!(changes.since(now - ROOM as u64 - 1, &mut out), None);
        }
    }
    // Somebody with less room gets the first of them; from the future nothing comes.
    assert_eq!(changes.since(changes.now() - 9, &mut out[..4]), Some(4));
    assert_eq!(changes.since(changes.now() + 1, &mut out), None);
}
