// SPDX-License-Identifier: GPL-2.0

//! Extents against a model that knows each block.

use super::*;
use crate::libvexfs::credits;
use crate::libvexfs::extent::{Mapping, New, State, MAX_LBLK};
use crate::libvexfs::Mode;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Logical blocks that the tests use.
const SPAN: u64 = 400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Written(u64),
    Unwritten(u64),
    Offline(u64),
}

#[derive(Clone, Debug)]
enum Op {
    Allocate(u64, u64, bool),
    Convert(u64, u64),
    Hole(u64, u64),
    Offline(u64, u64),
    Recall(u64, u64),
    Truncate(u64),
    Zero(u64, u64),
    Collapse(u64, u64),
    Insert(u64, u64),
    Commit,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let at = || 0..SPAN;
    let len = || prop_oneof![3 => 1u64..6, 1 => 1u64..120];
    let op = prop_oneof![
        6 => (at(), len(), any::<bool>()).prop_map(|(a, l, g)| Op::Allocate(a, l, g)),
        4 => (at(), len()).prop_map(|(a, l)| Op::Convert(a, l)),
        2 => (at(), len()).prop_map(|(a, l)| Op::Hole(a, l)),
        2 => (at(), len()).prop_map(|(a, l)| Op::Offline(a, l)),
        2 => (at(), len()).prop_map(|(a, l)| Op::Recall(a, l)),
        1 => (at()).prop_map(Op::Truncate),
        2 => (at(), len()).prop_map(|(a, l)| Op::Zero(a, l)),
        2 => (at(), len()).prop_map(|(a, l)| Op::Collapse(a, l)),
        2 => (at(), len()).prop_map(|(a, l)| Op::Insert(a, l)),
        1 => Just(Op::Commit),
    ];
    proptest::collection::vec(op, 1..250)
}

struct Model {
    fs: TestFs,
    inode: Inode,
    cells: BTreeMap<u64, Cell>,
    /// Blocks that are taken by everything else.
    base: BTreeSet<u64>,
}

impl Model {
    fn new() -> Self {
        let fs = fresh(1 << 14);
        let inode = file(&fs);
        let base = taken(&fs);
        Model {
            fs,
            inode,
            cells: BTreeMap::new(),
            base,
        }
    }

    fn apply(&mut self, op: &Op) {
        let Model {
            fs, inode, cells, ..
        } = self;
        match *op {
            Op::Allocate(at, len, far) => {
                let goal = if far {
                    at * 37 % fs.geometry().block_count
                } else {
                    0
                };
                let r = with(fs, credits::EXTENT_ALLOC, |t| {
                    fs.allocate(t, inode, at, len, goal, Mode::Normal)
                });
                match r {
                    Ok(Mapping::Unwritten { phys, len: got }) => {
                        assert!(got >= 1 && got <= len);
                        for i in 0..got {
                            assert!(cells.insert(at + i, Cell::Unwritten(phys + i)).is_none());
                        }
                    }
                    Err(e) if e == EEXIST => assert!(cells.contains_key(&at)),
                    other => panic!("{other:?}"),
                }
            }
            Op::Convert(at, len) => {
                let mut done = 0;
                while done < len {
                    done += with(fs, credits::CONVERT, |t| {
                        let n = fs.convert(t, inode, at + done, len - done)?;
                        assert!(n > 0 && n <= len - done);
                        Ok(n)
                    })
                    .unwrap();
                }
                for (_, cell) in cells.range_mut(at..at + len) {
                    if let Cell::Unwritten(p) = *cell {
                        *cell = Cell::Written(p);
                    }
                }
            }
            Op::Hole(at, len) => self.replace(at, len, New::Hole),
            Op::Offline(at, len) => {
                self.replace(
                    at,
                    len,
                    New::Offline {
                        src_block: at + 7,
                        src_version: 3,
                    },
                );
            }
            Op::Recall(at, len) => {
                let (phys, len) = with(fs, credits::REGION, |t| {
                    fs.alloc_blocks(t, 0, len, Mode::Privileged)
                })
                .unwrap();
                self.replace(at, len, New::Written { phys });
            }
            Op::Truncate(at) => {
                for steps in 0.. {
                    assert!(steps < 1000);
                    if with(fs, credits::TRUNCATE, |t| fs.truncate_step(t, inode, at)).unwrap() {
                        break;
                    }
                }
                cells.retain(|l, _| *l < at);
            }
            Op::Zero(at, len) => {
                let mut done = 0;
                while done < len {
                    done += with(fs, credits::ZERO, |t| {
                        let n = fs.zero(t, inode, at + done, len - done)?;
                        assert!(n > 0 && n <= len - done);
                        Ok(n)
                    })
                    .unwrap();
                }
                cells.retain(|l, cell| {
                    let offline = matches!(cell, Cell::Offline(_));
                    if let Cell::Written(p) = *cell {
                        if (at..at + len).contains(l) {
                            *cell = Cell::Unwritten(p);
                        }
                    }
                    !(offline && (at..at + len).contains(l))
                });
            }
            Op::Collapse(at, len) => {
                self.replace(at, len, New::Hole);
                self.collapse(at, len);
            }
            Op::Insert(at, len) => self.insert(at, len),
            Op::Commit => fs.store.commit().unwrap(),
        }
    }

    fn collapse(&mut self, at: u64, len: u64) {
        let Model {
            fs, inode, cells, ..
        } = self;
        let mut from = Some(at + len);
        while let Some(next) = from {
            from = with(fs, credits::SHIFT, |t| fs.shift_left(t, inode, next, len)).unwrap();
            assert!(from.is_none_or(|f| f > next));
        }
        let moved = cells.split_off(&(at + len));
        cells.extend(moved.into_iter().map(|(l, cell)| (l - len, cell)));
    }

    fn insert(&mut self, at: u64, len: u64) {
        let Model {
            fs, inode, cells, ..
        } = self;
        let mut limit = Some(MAX_LBLK);
        while let Some(next) = limit {
            limit = with(fs, credits::SHIFT, |t| {
                fs.shift_right(t, inode, at, next, len)
            })
            .unwrap();
            assert!(limit.is_none_or(|l| l < next));
        }
        let moved = cells.split_off(&at);
        cells.extend(moved.into_iter().map(|(l, cell)| (l + len, cell)));
    }

    fn replace(&mut self, at: u64, len: u64, new: New) {
        let Model {
            fs, inode, cells, ..
        } = self;
        let mut done = 0;
        while done < len {
            let new = match new {
                New::Hole => New::Hole,
                New::Offline {
                    src_block,
                    src_version,
                } => New::Offline {
                    src_block: src_block + done,
                    src_version,
                },
                New::Written { phys } => New::Written { phys: phys + done },
                New::Unwritten { phys } => New::Unwritten { phys: phys + done },
            };
            let n = with(fs, credits::REPLACE_RANGE, |t| {
                fs.replace_range(t, inode, at + done, len - done, new)
            })
            .unwrap();
            assert!(n > 0 && n <= len - done);
            for i in done..done + n {
                match new {
                    New::Hole => cells.remove(&(at + i)),
                    New::Offline { src_block, .. } => {
                        cells.insert(at + i, Cell::Offline(src_block + i - done))
                    }
                    New::Written { phys } => cells.insert(at + i, Cell::Written(phys + i - done)),
                    New::Unwritten { phys } => {
                        cells.insert(at + i, Cell::Unwritten(phys + i - done))
                    }
                };
            }
            done += n;
        }
    }

    /// The file as mapping it says it is.
    fn mapped(&self, inode: &Inode) -> BTreeMap<u64, Cell> {
        let mut found = BTreeMap::new();
        let mut at = 0;
        let end = self.cells.keys().last().map_or(0, |l| l + 1).max(SPAN) + 200;
        while at < end {
            let m = self.fs.map(inode, at, end - at).unwrap();
            assert!(!m.is_empty());
            for i in 0..m.len() {
                let cell = match m {
                    Mapping::Hole { .. } => continue,
                    Mapping::Written { phys, .. } => Cell::Written(phys + i),
                    Mapping::Unwritten { phys, .. } => Cell::Unwritten(phys + i),
                    Mapping::Offline {
                        src_block,
                        src_version,
                        ..
                    } => {
                        assert_eq!(src_version, 3);
                        Cell::Offline(src_block + i)
                    }
                };
                found.insert(at + i, cell);
            }
            at += m.len();
        }
        found
    }

    fn verify(&self) {
        assert_eq!(self.mapped(&self.inode), self.cells);
        // The inode on disk is the one in memory.
        let read = self.fs.read_inode(self.inode.ino).unwrap();
        assert_eq!(read.data, self.inode.data);
        assert_eq!(read.blocks, self.inode.blocks);
        // Each block has one owner: the file's extents, or its tree, or somebody else.
        let mut taken = taken(&self.fs);
        let mut count = 0;
        for cell in self.cells.values() {
            if let Cell::Written(p) | Cell::Unwritten(p) = cell {
                assert!(taken.remove(p), "block {p} is free or has two owners");
                assert!(!self.base.contains(p));
                count += 1;
            }
        }
        let nodes = taken.difference(&self.base).count() as u64;
        assert_eq!(self.inode.blocks, count + nodes);
        assert!(self.base.is_subset(&taken));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 48 }, ..Default::default() })]

    #[test]
    fn agrees_with_a_model_of_blocks(ops in ops()) {
        let mut m = Model::new();
        for (i, op) in ops.iter().enumerate() {
            m.apply(op);
            if i % 20 == 0 {
                m.verify();
            }
        }
        m.verify();
        m.apply(&Op::Truncate(0));
        m.verify();
        prop_assert_eq!(m.inode.blocks, 0);
        prop_assert!(!m.fs.store.aborted());
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 6 }, ..Default::default() })]

    #[test]
    fn a_failure_changes_nothing(ops in ops(), victim in ops()) {
        kernel::print::set_level(0);
        let mut m = Model::new();
        for op in &ops {
            m.apply(op);
        }
        let Model { fs, inode, .. } = &mut m;
        for op in victim.iter().take(8) {
            let before = fs.store.snapshot();
            for n in 0..100 {
                let copy = before.snapshot();
                let fs = Fs::open(copy.clone(), fs.sb.clone()).unwrap();
                let mut trial = inode.clone();
                let Ok(mut t) = copy.begin(300) else { unreachable!() };
                if n % 2 == 0 {
                    kernel::alloc::fail_after(Some(n / 2));
                } else {
                    copy.fail_read_after(Some(n / 2));
                }
                let r = match *op {
                    Op::Allocate(at, len, _) => {
                        fs.allocate(&mut t, &mut trial, at, len, 0, Mode::Normal).map(|_| ())
                    }
                    Op::Convert(at, len) => fs.convert(&mut t, &mut trial, at, len).map(|_| ()),
                    Op::Hole(at, len) | Op::Recall(at, len) => {
                        fs.replace_range(&mut t, &mut trial, at, len, New::Hole).map(|_| ())
                    }
                    Op::Offline(at, len) => {
                        let new = New::Offline { src_block: 0, src_version: 3 };
                        fs.replace_range(&mut t, &mut trial, at, len, new).map(|_| ())
                    }
                    Op::Truncate(at) => fs.truncate_step(&mut t, &mut trial, at).map(|_| ()),
                    Op::Zero(at, len) => fs.zero(&mut t, &mut trial, at, len).map(|_| ()),
                    Op::Collapse(at, len) => {
                        fs.shift_left(&mut t, &mut trial, at + len, len).map(|_| ())
                    }
                    Op::Insert(at, len) => {
                        fs.shift_right(&mut t, &mut trial, at, MAX_LBLK, len).map(|_| ())
                    }
                    Op::Commit => Ok(()),
                };
                let failed = kernel::alloc::fail_after(None);
                copy.fail_read_after(None);
                match r {
                    Ok(()) => {
                        t.stop().unwrap();
                        if failed == 0 && n > 40 {
                            taken(&fs);
                            break;
                        }
                    }
                    // Lack of memory must never end half-way. A failed read may, for the
                    // groups' blocks are not all read first; then the journal aborts.
                    Err(e) if e == ENOMEM => {
                        prop_assert!(!t.dirtied(), "{op:?} gave up half-way, failure {n}");
                        prop_assert_eq!(&trial.data, &inode.data);
                        prop_assert_eq!(trial.blocks, inode.blocks);
                        prop_assert!(copy.same_as(&before));
                    }
                    Err(e) if e == EIO => {
                        if !t.dirtied() {
                            prop_assert_eq!(&trial.data, &inode.data);
                            prop_assert!(copy.same_as(&before));
                        }
                    }
                    // There is no hole to fill, or none to move into.
                    Err(e) => prop_assert!(e == EEXIST || e == EINVAL, "{e:?}"),
                }
            }
        }
    }
}

#[test]
fn sequential_writing_makes_one_extent() {
    let fs = fresh(1 << 14);
    let mut i = file(&fs);
    for at in (0..1000).step_by(10) {
        let m = with(&fs, credits::EXTENT_ALLOC, |t| {
            fs.allocate(t, &mut i, at, 10, 0, Mode::Normal)
        })
        .unwrap();
        assert_eq!(m.len(), 10);
        let n = with(&fs, credits::CONVERT, |t| fs.convert(t, &mut i, at, 10)).unwrap();
        assert_eq!(n, 10);
    }
    let e = fs.next_extent(&i, 0).unwrap().unwrap();
    assert_eq!((e.lblk, e.len), (0, 1000));
    assert!(matches!(e.state, State::Written(_)));
    assert!(i.data_in_core());
    assert_eq!(i.blocks, 1000);
}

#[test]
fn thousands_of_extents_are_moved_within_bounds() {
    let mut m = Model::new();
    // Every other block is a hole, so nothing joins and the tree has many leaves.
    for at in 0..1500 {
        m.apply(&Op::Allocate(at * 2, 1, false));
        m.apply(&Op::Convert(at * 2, 1));
    }
    assert!(!m.inode.data_in_core());
    for (at, len) in [(700, 1), (701, 1333), (0, 7), (5000, 9)] {
        m.insert(at, len);
        m.verify();
        m.collapse(at, len);
        m.verify();
    }
    // Collapsing into a full tree from a distance: all leaves are rebuilt.
    m.replace(10, 2000, New::Hole);
    m.collapse(10, 2000);
    m.verify();
    assert!(m.fs.store.most_dirtied() <= credits::SHIFT.max(credits::REPLACE_RANGE));
}

#[test]
fn nothing_moves_over_something_or_out_of_a_file() {
    let fs = fresh(1 << 14);
    let mut i = file(&fs);
    for at in [0, 10, MAX_LBLK - 5] {
        with(&fs, credits::EXTENT_ALLOC, |t| {
            fs.allocate(t, &mut i, at, 1, 0, Mode::Normal)
        })
        .unwrap();
    }
    let before = i.clone();
    let left = with(&fs, credits::SHIFT, |t| fs.shift_left(t, &mut i, 10, 10));
    assert_eq!(left, Err(EINVAL));
    let left = with(&fs, credits::SHIFT, |t| fs.shift_left(t, &mut i, 10, 11));
    assert_eq!(left, Err(EINVAL));
    let right = with(&fs, credits::SHIFT, |t| {
        fs.shift_right(t, &mut i, 0, MAX_LBLK, 5)
    });
    assert_eq!(right, Err(EFBIG));
    assert_eq!(i.data, before.data);
    assert!(!fs.store.aborted());
}

#[test]
fn the_last_block_of_the_largest_file_can_be_mapped() {
    let fs = fresh(1 << 14);
    let mut i = file(&fs);
    let last = crate::libvexfs::extent::MAX_LBLK - 1;
    let m = with(&fs, credits::EXTENT_ALLOC, |t| {
        fs.allocate(t, &mut i, last, 10, 0, Mode::Normal)
    })
    .unwrap();
    assert_eq!(m.len(), 1);
    assert_eq!(fs.map(&i, last - 5, 100).unwrap(), Mapping::Hole { len: 5 });
    assert_eq!(fs.map(&i, last, 100).unwrap().len(), 1);
    assert_eq!(fs.map(&i, last + 1, 1), Err(EFBIG));
    let done = with(&fs, credits::TRUNCATE, |t| fs.truncate_step(t, &mut i, 0)).unwrap();
    assert!(done);
}

#[test]
fn a_full_disk_still_converts_punches_and_truncates() {
    let fs = fresh(1 << 14);
    let mut i = file(&fs);
    // Every other block, so that the tree is as large as can be, then all of the rest.
    let mut at = 0;
    while at < 4000 {
        with(&fs, credits::EXTENT_ALLOC, |t| {
            fs.allocate(t, &mut i, at * 2, 3, 0, Mode::Normal)
        })
        .unwrap();
        at += 2;
    }
    while with(&fs, 3, |t| fs.alloc_blocks(t, 0, 1 << 20, Mode::Normal)).is_ok() {}
    let full = with(&fs, credits::EXTENT_ALLOC, |t| {
        fs.allocate(t, &mut i, 1 << 20, 1, 0, Mode::Normal)
    });
    assert_eq!(full, Err(ENOSPC));
    for at in (0..2000).step_by(4) {
        // The middle of each extent: two more records.
        let n = with(&fs, credits::CONVERT, |t| fs.convert(t, &mut i, at + 1, 1)).unwrap();
        assert_eq!(n, 1);
    }
    let mut done = 0;
    while done < 4000 {
        done += with(&fs, credits::REPLACE_RANGE, |t| {
            let new = New::Offline {
                src_block: 2000 + done,
                src_version: 1,
            };
            fs.replace_range(t, &mut i, 2000 + done, 4000 - done, new)
        })
        .unwrap();
    }
    while !with(&fs, credits::TRUNCATE, |t| fs.truncate_step(t, &mut i, 0)).unwrap() {}
    assert_eq!(i.blocks, 0);
    assert!(!fs.store.aborted());
    taken(&fs);
}
