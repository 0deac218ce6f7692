// SPDX-License-Identifier: GPL-2.0

//! Indexes of collections: their records, their inodes.
//!
//! An index is derived, so all that is wrong with it is put right in one way: it is taken down, and made anew by the
//! next mount. Its nodes are file data: who reads them verifies them, and `vexctl index verify` looks at all.

use super::attr::Attrs;
use super::{Checker, Fix};
use crate::libvexfs::format::inode::STATE_INTERNAL;
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::vector::index::log::INTENT_LEN;
use crate::libvexfs::vector::index::{Index, Op};
use crate::libvexfs::vector::key;
use crate::libvexfs::vector::slots::FreeSlot;
use std::collections::BTreeSet;

/// Chunks of intents that an inode can have.
const CHUNKS_END: u128 = 1 << 34;

/// Internal inodes, to be compared when all were seen.
#[derive(Default)]
pub(super) struct Internal {
    /// Those without any records.
    bare: BTreeSet<u64>,
    /// Those that something leads to.
    known: BTreeSet<u64>,
}

/// What the records of one collection say of its index.
#[derive(Default)]
pub(super) struct IndexSeen {
    index: Option<Index>,
    /// Operations, and intents.
    ops: u64,
    intents: u64,
    /// Operations that are still to be done.
    waiting: u64,
    /// One more than the highest sequence of all, and the highest slot of an operation.
    end: u64,
    slot: u32,
}

impl IndexSeen {
    pub(super) fn add(&mut self, at: u128, value: &[u8]) {
        let sequence = at as u64;
        match key::kind(at) {
            // Its key is lower than those of operations.
            key::INDEX => self.index = Index::parse(value).ok(),
            key::OP => {
                self.ops += 1;
                let applied = self.index.map_or(0, |index| index.marks.applied);
                self.waiting += u64::from(sequence >= applied);
                self.end = self.end.max(sequence.saturating_add(1));
                self.slot = self.slot.max(Op::parse(value).map_or(0, |op| op.slot));
            }
            key::INTENT => self.intents += 1,
            key::FREE => {
                let op = FreeSlot::parse(value).map_or(0, |free| free.op);
                self.end = self.end.max(if op == 0 { 0 } else { op.saturating_add(1) });
            }
            _ => {}
        }
    }
}

/// Whether a record of an index is possible; none: it is of another kind.
pub(super) fn is_possible(record: u8, rest: u128, value: &[u8]) -> Option<bool> {
    match record {
        key::INDEX => Some(rest == 0 && Index::parse(value).is_ok()),
        key::OP => Some(rest <= u128::from(u64::MAX) && Op::parse(value).is_ok()),
        key::INTENT => Some(rest < CHUNKS_END && value.len() == INTENT_LEN),
        _ => None,
    }
}

impl<S: Store> Checker<'_, S> {
    /// Compares what a collection says of its index; `next` is the first slot that was never used.
    pub(super) fn index_records(&mut self, i: &Inode, seen: &IndexSeen, next: u32) {
        let ino = i.ino;
        let Some(index) = seen.index else {
            if seen.ops != 0 || seen.intents != 0 || seen.end != 0 {
                let what = "vectors: operations of an index that there is not";
                self.wrong(ino, 0, what, Fix::Index { ino });
            }
            return;
        };
        let mut say = |bad: bool, what: &str| {
            if bad {
                self.wrong(ino, 0, format!("vectors: {what}"), Fix::Index { ino });
            }
        };
        say(
            seen.end > index.next,
            "an operation that the index does not know of",
        );
        say(
            seen.waiting != index.tail(),
            "operations of the index are missing",
        );
        say(
            seen.ops != 0 && seen.slot >= next || index.marks.end > next,
            "the index has slots that there are not",
        );
        if !index.state.has_graph() {
            return;
        }
        let nodes = self.read_inode(index.ino).filter(|nodes| {
            let fits = nodes.is_reg() && nodes.nlink == 1 && nodes.state & STATE_INTERNAL != 0;
            fits && nodes.generation == index.generation && is_bare(nodes)
        });
        let known = !self.internal.known.insert(index.ino);
        if nodes.is_none() || known {
            let what = "vectors: the inode of the index is none";
            self.wrong(ino, 0, what, Fix::Index { ino });
        }
    }

    /// Notes an internal inode, whose records were all seen.
    pub(super) fn internal_inode(&mut self, i: &Inode, attrs: &Attrs) {
        let sb = self.sb;
        let internal = i.is_reg() && i.state & STATE_INTERNAL != 0 && i.nlink != 0;
        if self.first_pass && internal && !attrs.damaged && is_bare(i) {
            self.internal.bare.insert(i.ino);
        }
        self.internal.known.extend([sb.system_ino, sb.quota_ino]);
    }

    /// Something leads to an internal inode.
    pub(super) fn internal_known(&mut self, ino: u64) {
        self.internal.known.insert(ino);
    }

    /// Finds indexes that no collection has, unless a collection may just not have been seen.
    pub(super) fn unknown_indexes(&mut self) {
        if !self.first_pass || self.stopped || self.outcome.damage != 0 {
            return;
        }
        let bare = core::mem::take(&mut self.internal.bare);
        for ino in bare.difference(&core::mem::take(&mut self.internal.known)) {
            let what = "an index that no collection has";
            self.wrong(*ino, 0, what, Fix::Free { ino: *ino });
        }
    }
}

/// Whether an inode has no records, as those of indexes have none.
fn is_bare(i: &Inode) -> bool {
    i.attr_in_core() && i.attr.get(2..4) == Some(&[0, 0])
}
