// SPDX-License-Identifier: GPL-2.0

//! The driver against a model of the records: builds, operations, checkpoints, and cuts that leave
//! any mixture of old, new and torn nodes since the last checkpoint.

use super::world::{bytes, Random};
use kernel::error::Result;
use std::collections::BTreeMap;
use vexfs::libvexfs::vector::index::verify::Report;
use vexfs::libvexfs::vector::index::{
    Action, Arithmetic, Driver, Index, Marks, Op, Pages, Params, Query, Scratch, Shape, Source,
    State,
};
use vexfs::libvexfs::vector::{Element, Metric};
use vexfs_index::{Kernels, Memory};

const SLOTS: u32 = 1200;
const DIM: usize = 24;

/// The records: slot to sequence and vector.
#[derive(Clone, Default)]
struct Records(BTreeMap<u32, (u32, Vec<u8>)>);

impl Source for Records {
    fn vector(&mut self, slot: u32, to: &mut [u8]) -> Result<Option<u32>> {
        Ok(self.0.get(&slot).map(|(sequence, bytes)| {
            to.copy_from_slice(bytes);
            *sequence
        }))
    }

    fn sequence(&mut self, slot: u32) -> Result<Option<u32>> {
        Ok(self.0.get(&slot).map(|r| r.0))
    }

    fn next(&mut self, from: u32) -> Result<Option<u32>> {
        Ok(self.0.range(from..).next().map(|r| *r.0))
    }

    fn pause(&mut self) -> Result<()> {
        Ok(())
    }
}

type TestDriver<'a> = Driver<&'a Memory, &'a Kernels>;

struct Test<'a> {
    shape: Shape,
    pages: &'a Memory,
    kernels: &'a Kernels,
    records: Records,
    /// Free slots: the sequence of their last record, the operation that they wait for.
    free: BTreeMap<u32, (u32, u64)>,
    ops: Vec<Op>,
    /// What the last checkpoint noted, and the nodes then.
    marks: Marks,
    kept: Vec<Vec<u8>>,
    random: Random,
}

impl<'a> Test<'a> {
    fn driver(&self) -> TestDriver<'a> {
        let index = Index {
            state: State::Ready,
            marks: self.marks,
            params: params(),
            ..Index::none()
        };
        Driver::new(self.pages, self.kernels, self.shape, &index).unwrap()
    }

    fn region(&self, slot: u32) -> Vec<u8> {
        let mut bytes = vec![0; self.shape.stored()];
        if let Some(block) = self.pages.block(slot).unwrap() {
            self.pages.copy(&block, 0, &mut bytes);
        }
        bytes
    }

    fn put(&mut self) {
        let usable = |(_, op): &(u32, u64)| *op < self.marks.applied;
        let slot = match self.free.iter().find(|f| usable(f.1)) {
            Some((slot, _)) => *slot,
            None => (self.records.0.len() + self.free.len()) as u32,
        };
        if slot < SLOTS {
            let generation = self.free.remove(&slot).map_or(0, |f| f.0) + 1;
            let point = bytes(&self.random.point(DIM, 12));
            self.records.0.insert(slot, (generation, point));
            self.ops.push(Op {
                slot,
                generation,
                action: Action::Insert,
            });
        }
    }

    fn delete(&mut self) {
        let at = self.random.below(SLOTS.into()) as u32;
        let Some(slot) = self.records.next(at).unwrap() else {
            return;
        };
        let (generation, _) = self.records.0.remove(&slot).unwrap();
        self.free.insert(slot, (generation, self.ops.len() as u64));
        self.ops.push(Op {
            slot,
            generation,
            action: Action::Remove,
        });
    }

    /// Does some of the operations; sequence 0 is never used.
    fn apply(&mut self, driver: &mut TestDriver<'a>, most: usize) {
        let from = driver.marks().applied as usize;
        for sequence in from..self.ops.len().min(from + most) {
            let op = self.ops[sequence];
            driver
                .apply(&mut self.records, sequence as u64, &op)
                .unwrap();
        }
    }

    fn checkpoint(&mut self, driver: &TestDriver<'a>) {
        self.marks = driver.marks();
        self.kept = (0..SLOTS).map(|slot| self.region(slot)).collect();
    }

    /// The power goes: each node is old, new or torn.
    fn cut(&mut self) {
        for slot in 0..SLOTS {
            let (old, new) = (&self.kept[slot as usize], self.region(slot));
            if *old == new {
                continue;
            }
            let mut left = new.clone();
            let whole = self.random.below(4);
            for (sector, old) in left.chunks_mut(512).zip(old.chunks(512)) {
                let is_old = match whole {
                    0 => true,
                    1 | 2 => false,
                    _ => self.random.below(2) == 0,
                };
                if is_old {
                    sector.copy_from_slice(old);
                }
            }
            self.pages.overwrite(slot, &left);
        }
    }

    /// What a mount does.
    fn recover(&mut self) -> TestDriver<'a> {
        let mut driver = self.driver();
        let all = self.ops.len();
        self.apply(&mut driver, all);
        driver.scrub_step(&mut self.records, 0..SLOTS).unwrap();
        driver.reattach(&mut self.records).unwrap();
        driver
    }

    fn verify(&mut self, driver: &TestDriver<'a>) -> Report {
        let view = driver.graph.view();
        let report = view.verify(&mut self.records, |_| false).unwrap();
        assert_eq!(report.records as usize, self.records.0.len());
        report
    }

    fn recall(&mut self, driver: &TestDriver<'a>) -> f64 {
        let mut scratch = Scratch::new(&self.shape).unwrap();
        let mut query = Query::new(&self.shape).unwrap();
        let mut row = vec![0; self.shape.prepared()];
        let (mut hits, mut wanted) = (0, 0);
        let mut random = Random(77);
        for _ in 0..60 {
            let point = bytes(&random.point(DIM, 12));
            self.kernels.prepare(&point, &mut query.prepared).unwrap();
            query.finish(&self.kernels);
            let mut all: Vec<(u32, u32)> = Vec::new();
            for (slot, (_, stored)) in &self.records.0 {
                self.kernels
                    .unpack(stored, self.kernels.scale(stored), &mut row);
                all.push((self.kernels.distance(&query.prepared, &row), *slot));
            }
            all.sort_unstable();
            all.truncate(10);
            driver
                .graph
                .search(&query, 64, 10, &mut scratch, |slot, generation| {
                    Ok(self.records.0.get(&slot).is_some_and(|r| r.0 == generation))
                })
                .unwrap();
            let found: Vec<u32> = scratch.found().map(|f| f.1).collect();
            wanted += all.len();
            hits += all.iter().filter(|a| found.contains(&a.1)).count();
        }
        hits as f64 / wanted.max(1) as f64
    }
}

fn params() -> Params {
    Params {
        ef: 48,
        pool: 40,
        ef_remove: 64,
        ..Params::default()
    }
}

fn with(seed: u64, f: impl FnOnce(&mut Test<'_>)) {
    with_slots(seed, SLOTS, f);
}

fn with_slots(seed: u64, slots: u32, f: impl FnOnce(&mut Test<'_>)) {
    let shape = Shape::new(3, 1, 0x1234_5678, DIM as u32, Element::F32, Metric::L2);
    let pages = Memory::new(&shape, slots).unwrap();
    let kernels = Kernels::new(&shape, 9).unwrap();
    let mut test = Test {
        shape,
        pages: &pages,
        kernels: &kernels,
        records: Records::default(),
        free: BTreeMap::new(),
        ops: vec![Op {
            slot: 0,
            generation: 0,
            action: Action::Remove,
        }],
        marks: Marks {
            applied: 1,
            ..Marks::default()
        },
        kept: Vec::new(),
        random: Random(seed),
    };
    test.kept = (0..slots).map(|_| vec![0; shape.stored()]).collect();
    f(&mut test);
}

/// A build over what there is, interrupted by operations.
fn build(test: &mut Test<'_>) {
    for _ in 0..600 {
        test.put();
    }
    test.marks.applied = test.ops.len() as u64;
    let mut driver = test.driver();
    while !driver.build_step(&mut test.records, 50).unwrap() {
        test.put();
        test.delete();
        test.apply(&mut driver, 3);
        if test.random.below(4) == 0 {
            test.checkpoint(&driver);
        }
        if test.random.below(6) == 0 {
            test.cut();
            driver = test.recover();
        }
    }
    driver.choose_entries().unwrap();
    while !driver.refine_step(&mut test.records, 100).unwrap() {}
    test.apply(&mut driver, usize::MAX / 2);
    driver.reattach(&mut test.records).unwrap();
    test.checkpoint(&driver);
    let report = test.verify(&driver);
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn ten_thousand_equal_vectors_do_no_harm() {
    const COPIES: u32 = 10_000;
    const OTHERS: u32 = 2_000;
    with_slots(5, COPIES + OTHERS, |test| {
        let same = bytes(&test.random.point(DIM, 12));
        for slot in 0..COPIES + OTHERS {
            let vector = match slot % 6 {
                5 => bytes(&test.random.point(DIM, 12)),
                _ => same.clone(),
            };
            test.records.0.insert(slot, (1, vector));
        }
        let mut driver = test.driver();
        while !driver.build_step(&mut test.records, 1000).unwrap() {}
        driver.choose_entries().unwrap();
        let attached = driver.reattach(&mut test.records).unwrap();
        assert!(attached <= COPIES / 100, "{attached} were cut off");
        let report = test.verify(&driver);
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.nodes, COPIES + OTHERS);
        // Any of the copies is as good as the others: what counts is the rest, and that ten are found.
        let all = test.records.clone();
        test.records.0.retain(|slot, _| slot % 6 == 5);
        let recall = test.recall(&driver);
        assert!(recall >= 0.97, "recall {recall}");
        let mut query = Query::new(&test.shape).unwrap();
        test.kernels.prepare(&same, &mut query.prepared).unwrap();
        query.finish(&test.kernels);
        let mut scratch = Scratch::new(&test.shape).unwrap();
        driver
            .graph
            .search(&query, 64, 10, &mut scratch, |_, _| Ok(true))
            .unwrap();
        assert_eq!(scratch.found().filter(|f| f.0 == 0).count(), 10);
        // They go, and leave the others.
        test.records = all;
        for slot in (0..COPIES + OTHERS).filter(|slot| slot % 6 != 5) {
            test.records.0.remove(&slot);
            let op = Op {
                slot,
                generation: 1,
                action: Action::Remove,
            };
            driver.apply(&mut test.records, 1, &op).unwrap();
        }
        driver.reattach(&mut test.records).unwrap();
        let report = test.verify(&driver);
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.nodes, OTHERS);
        let recall = test.recall(&driver);
        assert!(recall >= 0.97, "recall {recall} without them");
    });
}

#[test]
fn turnovers_keep_recall() {
    with(30, |test| {
        build(test);
        let mut driver = test.driver();
        let before = test.recall(&driver);
        // All of it, three times over.
        for _ in 0..60 {
            for _ in 0..30 {
                test.delete();
                test.put();
            }
            test.apply(&mut driver, usize::MAX / 2);
            let marks = driver.marks();
            assert!(marks.refined < marks.end, "nothing is to be refined");
            while !driver.refine_step(&mut test.records, 50).unwrap() {}
            test.checkpoint(&driver);
        }
        let after = test.recall(&driver);
        assert!(after >= before - 0.005, "recall {after} of {before}");
        let report = test.verify(&driver);
        assert!(report.unreachable <= 2, "{report:?}");
    });
}

#[test]
fn a_build_can_be_cut_anywhere() {
    for seed in 0..3 {
        with(seed, |test| {
            build(test);
            let driver = test.driver();
            let recall = test.recall(&driver);
            assert!(recall >= 0.97, "seed {seed}: recall {recall}");
        });
    }
}

#[test]
fn cuts_leave_what_recovery_puts_right() {
    for seed in 10..13 {
        with(seed, |test| {
            build(test);
            let mut driver = test.driver();
            let before = test.recall(&driver);
            for round in 0..40 {
                for _ in 0..test.random.below(60) {
                    match test.random.below(2) {
                        0 => test.put(),
                        _ => test.delete(),
                    }
                }
                let most = test.random.below(120) as usize;
                test.apply(&mut driver, most);
                match test.random.below(3) {
                    0 => test.checkpoint(&driver),
                    1 => {
                        test.cut();
                        driver = test.recover();
                        let report = test.verify(&driver);
                        assert!(report.is_clean(), "seed {seed}, round {round}: {report:?}");
                        let recall = test.recall(&driver);
                        assert!(
                            recall >= before - 0.02,
                            "seed {seed}, round {round}: {recall} of {before}"
                        );
                        test.checkpoint(&driver);
                    }
                    _ => {}
                }
            }
        });
    }
}
