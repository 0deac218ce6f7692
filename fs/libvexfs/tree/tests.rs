// SPDX-License-Identifier: GPL-2.0

//! The tree against a `BTreeMap`, and against damage.

use super::*;
use crate::libvexfs::journal::Trans;
use crate::libvexfs::tree::node::{page, Node};
use crate::memory::{MemoryStore, MemoryTrans};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const HOME: u64 = 1;
const OWNER: Owner = Owner {
    id: 4711,
    generation: 9,
    kind: KIND_ATTR,
    home: HOME,
};

/// Blocks for a tree: the test's own allocator.
struct Heap {
    free: Vec<u64>,
    used: BTreeSet<u64>,
}

impl Blocks<MemoryStore> for Heap {
    fn left(&self) -> usize {
        self.free.len()
    }
    fn take(&mut self, _t: &mut MemoryTrans) -> Result<u64> {
        let bno = self.free.pop().ok_or(ENOSPC)?;
        assert!(self.used.insert(bno));
        Ok(bno)
    }
    fn give(&mut self, t: &mut MemoryTrans, bno: u64) -> Result {
        t.forget(bno)?;
        assert!(self.used.remove(&bno));
        self.free.push(bno);
        Ok(())
    }
}

struct Fixture {
    store: MemoryStore,
    heap: Heap,
    root: Vec<u8>,
    blocks: u64,
    model: BTreeMap<u128, Vec<u8>>,
}

impl Fixture {
    fn new(root_len: usize) -> Self {
        let store = MemoryStore::new(1 << 20);
        let mut t = store.begin(1).unwrap();
        t.create(HOME).unwrap();
        t.stop().unwrap();
        let mut root = vec![0; root_len];
        init_root(&mut root);
        let free = (2..1 << 14).rev().collect();
        let heap = Heap {
            free,
            used: BTreeSet::new(),
        };
        Fixture {
            store,
            heap,
            root,
            blocks: 0,
            model: BTreeMap::new(),
        }
    }

    fn root(&self) -> Root<'_> {
        Root {
            bytes: &self.root,
            owner: OWNER,
        }
    }

    fn change<R>(
        &mut self,
        credits: usize,
        f: impl FnOnce(&mut MemoryTrans, &mut Heap, RootMut<'_>) -> Result<R>,
    ) -> Result<R> {
        let mut t = self.store.begin(credits)?;
        let root = RootMut {
            bytes: &mut self.root,
            blocks: &mut self.blocks,
            owner: OWNER,
        };
        let r = f(&mut t, &mut self.heap, root)?;
        t.stop()?;
        Ok(r)
    }

    fn insert(&mut self, key: u128, value: &[u8], replace: bool) -> Result {
        self.change(crate::libvexfs::credits::INSERT, |t, heap, root| {
            insert(t, heap, root, key, value, replace)
        })
    }

    fn remove(&mut self, key: u128) -> Result {
        self.change(crate::libvexfs::credits::REMOVE, |t, heap, root| {
            remove::<MemoryStore, _>(t, heap, root, key)
        })
    }

    /// Walks the whole tree and checks what fsck would check.
    fn verify(&self) {
        let mut seen = BTreeSet::new();
        let top = Node::open(&self.root).unwrap();
        self.verify_node(&top, 0, None, true, &mut seen);
        assert_eq!(seen, self.heap.used);
        assert_eq!(self.blocks, seen.len() as u64);
        let mut all = Vec::new();
        search::scan(&self.store, self.root(), 0, &mut |k, v| {
            all.push((k, v.to_vec()));
            Ok(true)
        })
        .unwrap();
        assert!(all.iter().map(|(k, v)| (k, v)).eq(self.model.iter()));
        // Each third key, and what lies behind it.
        let some: Vec<u128> = self
            .model
            .keys()
            .step_by(3)
            .flat_map(|k| [*k, k + 1])
            .collect();
        let mut found = Vec::new();
        let key = |n: usize| some.get(n).copied();
        search::lookup_some(&self.store, self.root(), key, |n, v| {
            found.push((some[n], v.to_vec()));
            Ok(())
        })
        .unwrap();
        let held = some
            .iter()
            .filter_map(|k| Some((*k, self.model.get(k)?.clone())));
        assert!(held.eq(found));
    }

    fn verify_node(
        &self,
        node: &Node<'_>,
        lower: u128,
        upper: Option<u128>,
        is_root: bool,
        seen: &mut BTreeSet<u64>,
    ) {
        node.check().unwrap();
        assert!(is_root || node.count() > 0);
        for i in 0..node.count() {
            let key = node.key(i);
            assert!(key >= lower && upper.is_none_or(|u| key < u));
            if node.level() == 0 {
                continue;
            }
            assert!(
                i > 0 || key == lower,
                "the first key is the node's lower bound"
            );
            let bno = node.child(i).unwrap();
            assert!(seen.insert(bno), "a node with two parents");
            let next = if i + 1 < node.count() {
                Some(node.key(i + 1))
            } else {
                upper
            };
            let block = self.store.read(bno).unwrap();
            use crate::libvexfs::journal::Block;
            let data = block.data();
            assert_eq!(node::block_is_bad(&data, bno, &OWNER), None);
            let child = Node::open(page(&data)).unwrap();
            assert_eq!(child.level() + 1, node.level());
            self.verify_node(&child, key, next, false, seen);
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u16, usize),
    Replace(u16, usize),
    Remove(u16),
    RemoveRange(u16, u16),
    Rekey(u16, u8),
    Probe(u16),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let len = prop_oneof![4 => 0usize..40, 1 => 0usize..=MAX_VALUE];
    let op = prop_oneof![
        8 => (any::<u16>(), len.clone()).prop_map(|(k, l)| Op::Insert(k, l)),
        2 => (any::<u16>(), len).prop_map(|(k, l)| Op::Replace(k, l)),
        4 => any::<u16>().prop_map(Op::Remove),
        1 => (any::<u16>(), 0u16..3000).prop_map(|(k, n)| Op::RemoveRange(k, n)),
        1 => (any::<u16>(), any::<u8>()).prop_map(|(k, d)| Op::Rekey(k, d)),
        2 => any::<u16>().prop_map(Op::Probe),
    ];
    proptest::collection::vec(op, 1..800)
}

fn value(key: u128, len: usize) -> Vec<u8> {
    (0..len).map(|i| (key as usize + i) as u8).collect()
}

fn apply(fx: &mut Fixture, op: &Op) {
    // Keys that share a grid meet often; the factor spreads them over all 128 bits.
    let wide = |k: u16| u128::from(k & 0x3fff) << 100 | u128::from(k & 0x3fff);
    match *op {
        Op::Insert(k, len) => {
            let (k, v) = (wide(k), value(wide(k), len));
            match fx.insert(k, &v, false) {
                Ok(()) => assert!(fx.model.insert(k, v).is_none()),
                Err(e) => {
                    assert_eq!(e, EEXIST);
                    assert!(fx.model.contains_key(&k));
                }
            }
        }
        Op::Replace(k, len) => {
            let k = fx
                .model
                .range(wide(k)..)
                .next()
                .map_or(wide(k), |(k, _)| *k);
            let v = value(k + 1, len);
            match fx.insert(k, &v, true) {
                Ok(()) => assert!(fx.model.insert(k, v).is_some()),
                Err(e) => {
                    assert_eq!(e, ENOENT);
                    assert!(!fx.model.contains_key(&k));
                }
            }
        }
        Op::Remove(k) => {
            let k = fx
                .model
                .range(wide(k)..)
                .next()
                .map_or(wide(k), |(k, _)| *k);
            match fx.remove(k) {
                Ok(()) => assert!(fx.model.remove(&k).is_some()),
                Err(e) => {
                    assert_eq!(e, ENOENT);
                    assert!(!fx.model.contains_key(&k));
                }
            }
        }
        Op::RemoveRange(k, n) => {
            let end = wide((k & 0x3fff).saturating_add(n).min(0x3fff));
            let keys: Vec<u128> = match wide(k) <= end {
                true => fx.model.range(wide(k)..=end).map(|(k, _)| *k).collect(),
                false => Vec::new(),
            };
            for k in keys {
                fx.remove(k).unwrap();
                fx.model.remove(&k);
            }
        }
        Op::Rekey(k, d) => {
            let Some((&k, v)) = fx.model.range(wide(k)..).next() else {
                return;
            };
            let new = k + u128::from(d);
            let mut v = v.clone();
            v.reverse();
            let free = fx.model.range(k + 1..).next().is_none_or(|(n, _)| new < *n);
            let r = fx.change(1, |t, _, root| {
                update::<MemoryStore, _>(t, root, k, new, |to| {
                    to.copy_from_slice(&v);
                    Ok(())
                })
            });
            // A leaf may end before the next key: then the answer may be no although
            // nothing stands there.
            if r.is_ok() {
                assert!(free);
                fx.model.remove(&k);
                fx.model.insert(new, v);
            }
        }
        Op::Probe(k) => {
            let k = wide(k);
            let show = |k, v: &[u8]| (k, v.to_vec());
            let found = search::lookup(&fx.store, fx.root(), k, |v| v.to_vec()).unwrap();
            assert_eq!(found.as_ref(), fx.model.get(&k));
            let next = search::next(&fx.store, fx.root(), k, show).unwrap();
            assert_eq!(
                next,
                fx.model.range(k..).next().map(|(k, v)| (*k, v.clone()))
            );
            let prev = search::prev(&fx.store, fx.root(), k, show).unwrap();
            assert_eq!(
                prev,
                fx.model
                    .range(..=k)
                    .next_back()
                    .map(|(k, v)| (*k, v.clone()))
            );
        }
    }
}

fn cases(n: u32) -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 2 } else { n },
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn agrees_with_a_map(ops in ops(), small in any::<bool>()) {
        let mut fx = Fixture::new(if small { 184 } else { 512 });
        for op in &ops {
            apply(&mut fx, op);
        }
        fx.verify();
        // And all the way back to nothing.
        let keys: Vec<u128> = fx.model.keys().copied().collect();
        for (i, k) in keys.iter().enumerate() {
            fx.remove(*k).unwrap();
            fx.model.remove(k);
            if i % 64 == 0 {
                fx.verify();
            }
        }
        fx.verify();
        prop_assert_eq!(fx.blocks, 0);
        prop_assert!(!fx.store.aborted());
    }

    #[test]
    fn damage_gives_an_error_and_nothing_worse(
        ops in ops(),
        more in ops(),
        hits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..4088, any::<u8>()), 1..20),
    ) {
        kernel::print::set_level(0);
        let mut fx = Fixture::new(184);
        for op in &ops {
            apply(&mut fx, op);
        }
        let nodes: Vec<u64> = fx.heap.used.iter().copied().collect();
        for (which, at, byte) in &hits {
            if nodes.is_empty() {
                let at = at % fx.root.len();
                fx.root[at] = *byte;
            } else {
                fx.store.corrupt(*which.get(&nodes), |b| b[*at % 200] = *byte);
            }
        }
        // Nobody looks at what comes back: that it comes back is the test. The heap of
        // blocks must not mind being given what it never had.
        struct Careless(u64);
        impl Blocks<MemoryStore> for Careless {
            fn left(&self) -> usize {
                100
            }
            fn take(&mut self, _t: &mut MemoryTrans) -> Result<u64> {
                self.0 += 1;
                Ok(self.0)
            }
            fn give(&mut self, t: &mut MemoryTrans, bno: u64) -> Result {
                t.forget(bno)
            }
        }
        let mut blocks = Careless(1 << 15);
        for op in &more {
            let store = fx.store.snapshot();
            let Ok(mut t) = store.begin(1000) else { break };
            let root = RootMut { bytes: &mut fx.root, blocks: &mut fx.blocks, owner: OWNER };
            let wide = |k: u16| u128::from(k & 0x3fff) << 100 | u128::from(k & 0x3fff);
            let _ = match *op {
                Op::Insert(k, l) => {
                    insert(&mut t, &mut blocks, root, wide(k), &value(1, l), false)
                }
                Op::Replace(k, l) => {
                    insert(&mut t, &mut blocks, root, wide(k), &value(1, l), true)
                }
                Op::Remove(k) => remove::<MemoryStore, _>(&mut t, &mut blocks, root, wide(k)),
                Op::RemoveRange(..) => {
                    destroy_step::<MemoryStore, _>(&mut t, &mut blocks, root).map(|_| ())
                }
                Op::Rekey(k, d) => {
                    let new = wide(k) + u128::from(d);
                    update::<MemoryStore, _>(&mut t, root, wide(k), new, |_| Ok(()))
                }
                Op::Probe(k) => {
                    let root = root.root();
                    let _ = search::next(&store, root, wide(k), |_, _| ());
                    let _ = search::prev(&store, root, wide(k), |_, _| ());
                    let mut n = 0;
                    let _ = search::scan(&store, root, 0, &mut |_, _| {
                        n += 1;
                        Ok(n < 100_000)
                    });
                    Ok(())
                }
            };
            let _ = t.stop();
            fx.store = store;
        }
    }
}

#[test]
fn keys_in_order_fill_the_leaves() {
    let mut fx = Fixture::new(184);
    let n = if cfg!(miri) { 500 } else { 20_000u128 };
    for k in 0..n {
        fx.insert(k, &[7; 12], false).unwrap();
        fx.model.insert(k, vec![7; 12]);
    }
    fx.verify();
    let full = n as f64 * 32.0 / (fx.blocks as f64 * node::PAYLOAD as f64);
    assert!(full > 0.9, "nodes are {full} full");
}

#[test]
fn destroying_frees_all_within_its_credits() {
    let mut fx = Fixture::new(184);
    let n = if cfg!(miri) { 300 } else { 30_000u128 };
    for k in 0..n {
        fx.insert(k * 77 % n, &[1; 30], false).unwrap();
    }
    assert!(height(&fx.root) >= 2 || cfg!(miri));
    let mut steps = 0;
    while !fx
        .change(crate::libvexfs::credits::DESTROY, |t, heap, root| {
            destroy_step::<MemoryStore, _>(t, heap, root)
        })
        .unwrap()
    {
        steps += 1;
        assert!(steps < 10_000);
    }
    fx.verify();
    assert_eq!(fx.blocks, 0);
}

#[test]
fn a_tree_that_has_no_space_is_left_alone() {
    let mut fx = Fixture::new(184);
    fx.heap.free.truncate(0);
    let mut k = 0;
    let e = loop {
        if let Err(e) = fx.insert(k, &[3; 20], false) {
            break e;
        }
        fx.model.insert(k, vec![3; 20]);
        k += 1;
    };
    assert_eq!(e, ENOSPC);
    assert!(!fx.store.aborted());
    fx.verify();
}

#[test]
fn a_failed_read_leaves_the_tree_alone() {
    let mut fx = Fixture::new(184);
    let n = if cfg!(miri) { 200 } else { 5_000u128 };
    for k in 0..n {
        let k = k * 7919 % n;
        fx.insert(k, &[k as u8; 30], false).unwrap();
        fx.model.insert(k, vec![k as u8; 30]);
    }
    for k in 0..n {
        for reads in 0.. {
            let before = fx.root.clone();
            fx.store.fail_read_after(Some(reads));
            match fx.remove(k) {
                Ok(()) => break,
                Err(e) => {
                    assert_eq!(e, EIO);
                    assert_eq!(before, fx.root);
                    assert!(!fx.store.aborted());
                }
            }
        }
        fx.store.fail_read_after(None);
        fx.model.remove(&k);
        if k % 500 == 0 {
            fx.verify();
        }
    }
    fx.verify();
}
