// SPDX-License-Identifier: GPL-2.0

//! The journalled part of an index over a store in memory, against a model. The store panics when a
//! transaction dirties more blocks than it asked for.

use super::records::{create, new, put, record, remove, slots};
use crate::libvexfs::check::{check, repair, Options, Problem, Reporter};
use crate::libvexfs::credits;
use crate::libvexfs::journal::Store;
use crate::libvexfs::tests::{fresh, taken, with, TestFs, NOW};
use crate::libvexfs::vector::index::log::*;
use crate::libvexfs::vector::index::{Action, Index, Marks, Op, Params, State};
use crate::libvexfs::vector::record::Publish;
use crate::libvexfs::vector::{key, Collection};
use crate::libvexfs::{Fs, Inode};
use crate::memory::MemoryStore;
use kernel::prelude::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NEW: NewIndex = NewIndex {
    automatic: true,
    bits: 0,
    params: Params {
        ef: 64,
        pool: 48,
        alpha: 1050,
        ef_remove: 80,
    },
    seed: 0x0123_4567_89ab_cdef,
    now: NOW,
};

fn create_index(fs: &TestFs, c: &Collection, inode: &mut Inode) -> Result<(Index, Inode)> {
    let credits = Fs::<MemoryStore>::CREATE_INDEX;
    with(fs, credits, |t| fs.create_index(t, c, inode, &NEW))
}

fn checkpoint(fs: &TestFs, inode: &mut Inode, marks: &Marks, clean: bool) {
    while !with(fs, CHECKPOINT_CREDITS, |t| {
        fs.checkpoint_step(t, inode, marks, clean)
    })
    .unwrap()
    {}
}

fn drop_index(fs: &TestFs, inode: &mut Inode, nodes: &mut Inode, to: State) {
    with(fs, DROP_INDEX_CREDITS, |t| {
        fs.drop_index(t, inode, Some(nodes), to)
    })
    .unwrap();
    while !with(fs, credits::REAP_STEP, |t| fs.reap_step(t, nodes)).unwrap() {}
}

fn ops(fs: &TestFs, inode: &Inode, from: u64) -> Vec<(u64, Op)> {
    let mut out = KVec::new();
    fs.index_ops(inode, from, usize::MAX, &mut out).unwrap();
    out.iter().copied().collect()
}

#[derive(Default)]
struct Found(Vec<String>);

impl Reporter for Found {
    fn problem(&mut self, problem: &Problem) {
        self.0.push(problem.to_string());
    }
}

fn problems(fs: &TestFs) -> Vec<String> {
    fs.store.commit().unwrap();
    let mut found = Found::default();
    check(
        &fs.store,
        &fs.superblock(),
        &mut found,
        Options {
            max_problems: 20,
            ..Options::default()
        },
    )
    .unwrap();
    found.0
}

/// What an index should say: operations by sequence, what lies in slots, which wait.
#[derive(Default)]
struct Model {
    graph: bool,
    next: u64,
    applied: u64,
    ops: BTreeMap<u64, Op>,
    live: BTreeMap<u64, (u32, u32)>,
    /// Free slots, and the operation that takes their node out.
    free: BTreeMap<u32, u64>,
    sequences: BTreeMap<u32, u32>,
}

impl Model {
    fn log(&mut self, slot: u32, generation: u32, action: Action) -> u64 {
        if !self.graph {
            return 0;
        }
        let op = Op {
            slot,
            generation,
            action,
        };
        self.ops.insert(self.next, op);
        self.next += 1;
        self.next - 1
    }

    fn delete(&mut self, k: u64) {
        if let Some((slot, generation)) = self.live.remove(&k) {
            let op = self.log(slot, generation, Action::Remove);
            self.free.insert(slot, op);
        }
    }

    fn put(&mut self, k: u64, slot: u32) {
        // The old record goes first.
        self.delete(k);
        self.free.remove(&slot);
        let generation = self.sequences.entry(slot).or_default();
        *generation += 1;
        let generation = *generation;
        self.log(slot, generation, Action::Insert);
        self.live.insert(k, (slot, generation));
    }

    fn usable(&self, slot: u32) -> bool {
        match self.free.get(&slot) {
            Some(op) => !self.graph || *op < self.applied,
            None => true,
        }
    }
}

fn compare(fs: &TestFs, inode: &Inode, model: &Model) {
    let index = fs.index(inode).unwrap().unwrap_or_else(Index::none);
    assert_eq!(index.state.has_graph(), model.graph);
    assert_eq!(index.next, model.next.max(1));
    let all: Vec<(u64, Op)> = model.ops.iter().map(|(s, op)| (*s, *op)).collect();
    assert_eq!(ops(fs, inode, 0), all);
    for (slot, op) in &model.free {
        assert_eq!(fs.free_slot(inode, *slot).unwrap().unwrap().op, *op);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 32 }))]

    #[test]
    fn operations_follow_records(
        steps in prop::collection::vec((0u8..10, 0u64..60, 1usize..40), 1..50)
    ) {
        let fs = fresh(1 << 14);
        let (collection, mut inode) = create(&fs, &new(b"c")).unwrap();
        let mut nodes: Option<Inode> = None;
        let mut model = Model { next: 1, applied: 1, ..Model::default() };
        for (what, first, n) in steps {
            match what {
                0 => fs.store.commit().unwrap(),
                1 | 2 => {
                    let keys: Vec<u64> = (first..first + n as u64 / 4).collect();
                    let gone: Vec<u32> = keys
                        .iter()
                        .filter_map(|k| fs.slot_of_key(&inode, *k).unwrap())
                        .collect();
                    let mut done = 0;
                    while done < gone.len() {
                        done += remove(&fs, &mut inode, &gone[done..]);
                    }
                    keys.iter().for_each(|k| model.delete(*k));
                }
                3 if nodes.is_none() => {
                    let (index, made) = create_index(&fs, &collection, &mut inode).unwrap();
                    prop_assert_eq!((index.ino, index.generation), (made.ino, made.generation));
                    prop_assert_eq!(index.shape(&collection).bits, 2);
                    prop_assert_eq!(create_index(&fs, &collection, &mut inode).unwrap_err(), EEXIST);
                    nodes = Some(made);
                    (model.graph, model.applied) = (true, model.next);
                }
                4 if first < 20 => if let Some(mut nodes) = nodes.take() {
                    drop_index(&fs, &mut inode, &mut nodes, State::Wanted);
                    checkpoint(&fs, &mut inode, &Marks::default(), false);
                    model.graph = false;
                    model.ops.clear();
                },
                5 => if nodes.is_some() {
                    model.applied = (model.applied + first).min(model.next);
                    let marks = Marks { applied: model.applied, ..Marks::default() };
                    checkpoint(&fs, &mut inode, &marks, n % 2 == 0);
                    model.ops.retain(|sequence, _| *sequence >= model.applied);
                },
                6 => if nodes.is_some() {
                    let (at, count) = (first * 300, n as u64 * 40);
                    let mut done = 0;
                    while done < count {
                        done += with(&fs, INTENT_CREDITS, |t| {
                            fs.set_intents(t, &mut inode, at + done, count - done)
                        }).unwrap();
                    }
                    let mut seen = BTreeSet::new();
                    fs.intents(&inode, &mut |from, bits| {
                        let bits = bits.iter().enumerate();
                        for (byte, bit) in bits.flat_map(|(i, b)| (0..8).filter(move |k| b >> k & 1 == 1).map(move |k| (i, k))) {
                            seen.insert(from + byte as u64 * 8 + bit);
                        }
                        Ok(())
                    }).unwrap();
                    prop_assert!((at..at + count).all(|mib| seen.contains(&mib)));
                },
                _ => {
                    let items: Vec<Publish> = slots(&fs, &inode, n)
                        .iter()
                        .zip(first..)
                        .map(|(&slot, k)| Publish { slot, record: record(k % 70, 1000) })
                        .collect();
                    prop_assert!(items.iter().all(|i| model.usable(i.slot)));
                    let mut done = 0;
                    while done < items.len() {
                        done += put(&fs, &mut inode, &items[done..]);
                    }
                    items.iter().for_each(|i| model.put(i.record.key, i.slot));
                }
            }
            compare(&fs, &inode, &model);
        }
        prop_assert!(!fs.store.aborted());
        prop_assert_eq!(problems(&fs), Vec::<String>::new());
    }
}

#[test]
fn a_slot_waits_for_the_checkpoint_that_covers_its_removal() {
    let fs = fresh(1 << 14);
    let (collection, mut inode) = create(&fs, &new(b"c")).unwrap();
    create_index(&fs, &collection, &mut inode).unwrap();
    let items: Vec<Publish> = (0..3)
        .map(|slot| Publish {
            slot,
            record: record(slot.into(), 300),
        })
        .collect();
    put(&fs, &mut inode, &items);
    remove(&fs, &mut inode, &[1]);
    fs.store.commit().unwrap();
    assert_eq!(&slots(&fs, &inode, 1)[..], &[3], "its node is there still");
    let marks = |applied| Marks {
        applied,
        end: 3,
        ..Marks::default()
    };
    checkpoint(&fs, &mut inode, &marks(4), true);
    assert_eq!(&slots(&fs, &inode, 1)[..], &[3]);
    checkpoint(&fs, &mut inode, &marks(5), true);
    assert_eq!(&slots(&fs, &inode, 1)[..], &[1]);
    assert_eq!(ops(&fs, &inode, 0), []);
    let refused = |marks: &Marks, inode: &mut Inode| {
        with(&fs, CHECKPOINT_CREDITS, |t| {
            fs.checkpoint_step(t, inode, marks, true)
        })
        .unwrap_err()
    };
    assert_eq!(refused(&marks(4), &mut inode), EINVAL, "it goes back");
    assert_eq!(refused(&marks(6), &mut inode), EINVAL, "it was not done");
    assert!(!fs.store.aborted());
}

#[test]
fn an_index_is_built_then_ready_and_leaves_nothing() {
    let fs = fresh(1 << 14);
    let (collection, mut inode) = create(&fs, &new(b"c")).unwrap();
    let before = (taken(&fs).len() as u64, inode.blocks);
    let (index, mut nodes) = create_index(&fs, &collection, &mut inode).unwrap();
    assert_eq!(index.state, State::Building);
    with(&fs, TUNE_CREDITS, |t| fs.mark_built(t, &mut inode)).unwrap();
    let ready = fs.index(&inode).unwrap().unwrap();
    assert_eq!((ready.state, ready.build), (State::Ready, 1));
    let again = with(&fs, TUNE_CREDITS, |t| fs.mark_built(t, &mut inode));
    assert_eq!(again.unwrap_err(), ENOENT);
    assert_eq!(problems(&fs), Vec::<String>::new());
    let mut other = fs.read_inode(fs.sb.system_ino).unwrap();
    let wrong = with(&fs, DROP_INDEX_CREDITS, |t| {
        fs.drop_index(t, &mut inode, Some(&mut other), State::None)
    });
    assert_eq!(wrong.unwrap_err(), EINVAL);
    drop_index(&fs, &mut inode, &mut nodes, State::None);
    let gone = with(&fs, DROP_INDEX_CREDITS, |t| {
        fs.drop_index(t, &mut inode, None, State::None)
    });
    assert_eq!(gone.unwrap_err(), ENOENT);
    fs.store.commit().unwrap();
    // The record stays, and tells that it was dropped.
    let kept = inode.blocks - before.1;
    assert_eq!(taken(&fs).len() as u64, before.0 + kept);
    assert_eq!(problems(&fs), Vec::<String>::new());
    let (index, _) = create_index(&fs, &collection, &mut inode).unwrap();
    assert_eq!(
        index.build, 2,
        "nodes of the first are none of the second's"
    );
}

/// A collection with records, operations, intents and an index.
fn indexed(fs: &TestFs) -> (Inode, Inode) {
    let (collection, mut inode) = create(fs, &new(b"c")).unwrap();
    let (_, nodes) = create_index(fs, &collection, &mut inode).unwrap();
    let items: Vec<Publish> = (0..10)
        .map(|slot| Publish {
            slot,
            record: record(slot.into(), 300),
        })
        .collect();
    put(fs, &mut inode, &items);
    remove(fs, &mut inode, &[4]);
    with(fs, INTENT_CREDITS, |t| {
        fs.set_intents(t, &mut inode, 7, 5000)
    })
    .unwrap();
    (inode, nodes)
}

#[test]
fn damage_of_an_index_is_found_and_takes_it_down() {
    type Damage = fn(&TestFs, &mut Inode, &mut Inode);
    let cases: [(&str, Damage); 7] = [
        ("impossible record", |fs, inode, _| {
            change(fs, inode, key::index(), |b| b[0] = 9)
        }),
        ("impossible record", |fs, inode, _| {
            change(fs, inode, key::op(3), |b| b[8] = 7)
        }),
        ("operations of the index are missing", |fs, inode, _| {
            forget(fs, inode, key::op(3))
        }),
        ("operation that the index does not know", |fs, inode, _| {
            change(fs, inode, key::index(), |b| b[48] = 11)
        }),
        (
            "operations of an index that there is not",
            |fs, inode, _| forget(fs, inode, key::index()),
        ),
        ("slots that there are not", |fs, inode, _| {
            change(fs, inode, key::index(), |b| b[64] = 11)
        }),
        ("the inode of the index is none", |fs, _, nodes| {
            nodes.generation += 1;
            with(fs, credits::INODE, |t| fs.log_inode(t, nodes)).unwrap();
        }),
    ];
    for (n, (text, damage)) in cases.iter().enumerate() {
        let fs = fresh(1 << 14);
        let (mut inode, mut nodes) = indexed(&fs);
        assert_eq!(problems(&fs), Vec::<String>::new());
        damage(&fs, &mut inode, &mut nodes);
        let found = problems(&fs);
        assert!(
            found.iter().any(|p| p.contains(text)),
            "case {n}: '{text}' is not among {found:#?}"
        );
        let sb = fs.superblock();
        let mut reporter = Found::default();
        let options = Options::default();
        let disk = crate::disk::MemoryDisk::new(sb.geometry.block_count);
        let done = repair(
            &fs.store,
            &disk,
            &sb,
            &mut reporter,
            options,
            &mut |outcome| {
                assert_eq!(outcome.hopeless, 0);
                Ok(true)
            },
        )
        .unwrap();
        assert!(
            done.changed && done.outcome.problems == 0,
            "case {n}: {:#?}",
            reporter.0
        );
        let fs = Fs::open(fs.store.clone(), done.sb).unwrap();
        assert_eq!(problems(&fs), Vec::<String>::new(), "case {n}");
        let inode = fs.read_inode(inode.ino).unwrap();
        let index = fs.index(&inode).unwrap().unwrap();
        assert_eq!(index.state, State::Wanted, "case {n}");
        assert_eq!(ops(&fs, &inode, 0), [], "case {n}");
        assert_eq!(fs.vector_counts(&inode).unwrap().live, 9, "case {n}");
        assert_eq!(fs.free_slot(&inode, 4).unwrap().unwrap().op, 0, "case {n}");
    }
}

fn change(fs: &TestFs, inode: &mut Inode, at: u128, f: impl FnOnce(&mut [u8])) {
    with(fs, credits::UPDATE + credits::INODE, |t| {
        fs.tree_update(t, inode.attr_root_mut(), at, f)?;
        fs.log_inode(t, inode)
    })
    .unwrap();
}

fn forget(fs: &TestFs, inode: &mut Inode, at: u128) {
    with(fs, credits::REMOVE + credits::INODE, |t| {
        fs.tree_remove(t, inode.attr_root_mut(), at)?;
        fs.log_inode(t, inode)
    })
    .unwrap();
}
