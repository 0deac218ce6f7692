// SPDX-License-Identifier: GPL-2.0

//! Walking a tree node by node. Unlike the file system's own searches this trusts nothing, goes on behind what is bad,
//! and visits every node.

use crate::libvexfs::journal::{Block, Store};
use crate::libvexfs::tree::node::{self, Node};
use crate::libvexfs::tree::{Root, MAX_HEIGHT};
use kernel::prelude::*;

/// What a walk comes across.
pub enum Event<'a> {
    /// A node in a block of its own, which says that it is this tree's. Say false not to look into it.
    Node(u64),
    /// A record; `bno` is the node's block, or that of the owner.
    Record {
        /// The block.
        bno: u64,
        /// The key.
        key: u128,
        /// The value.
        value: &'a [u8],
    },
    /// Something that must not be. What is below it is not visited.
    Bad {
        /// The block.
        bno: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// The keys that may occur in a node: from `low` on, below `high`.
#[derive(Clone, Copy)]
struct Range {
    low: u128,
    high: Option<u128>,
}

impl Range {
    fn contains(&self, key: u128) -> bool {
        key >= self.low && self.high.is_none_or(|high| key < high)
    }
}

/// Visits all nodes and records of a tree in order; `f` says false to a node that is not to be looked into. Every node
/// is visited once at most, for ranges of keys do not overlap and no node is empty; the depth is limited.
///
/// # Errors
///
/// Only what `f` returns: damage and failed reads are events.
pub fn walk<S: Store>(
    store: &S,
    root: Root<'_>,
    f: &mut dyn FnMut(Event<'_>) -> Result<bool>,
) -> Result {
    let home = root.owner.home;
    let top = match Node::open(root.bytes) {
        Ok(top) if usize::from(top.level()) <= MAX_HEIGHT => top,
        _ => return bad(f, home, "a tree root contradicts itself"),
    };
    if top.level() > 0 && top.count() == 0 {
        return bad(f, home, "an interior tree root is empty");
    }
    Walk { store, root, f }.node(home, top, Range { low: 0, high: None })
}

fn bad(f: &mut dyn FnMut(Event<'_>) -> Result<bool>, bno: u64, what: &'static str) -> Result {
    f(Event::Bad { bno, what }).map(|_| ())
}

struct Walk<'a, 'f, S> {
    store: &'a S,
    root: Root<'a>,
    f: &'f mut dyn FnMut(Event<'_>) -> Result<bool>,
}

impl<S: Store> Walk<'_, '_, S> {
    fn node(&mut self, bno: u64, node: Node<'_>, range: Range) -> Result {
        if node.check().is_err() {
            return bad(
                self.f,
                bno,
                "a tree node contradicts itself, or its keys are out of order",
            );
        }
        for i in 0..node.count() {
            let key = node.key(i);
            if !range.contains(key) {
                bad(self.f, bno, "a key lies outside of its node's range")?;
                continue;
            }
            if node.level() == 0 {
                let value = node.value(i).unwrap_or_default();
                (self.f)(Event::Record { bno, key, value })?;
                continue;
            }
            // The file system looks for keys below the first one in the first child, too.
            let low = if i == 0 { range.low } else { key };
            let high = if i + 1 < node.count() {
                Some(node.key(i + 1))
            } else {
                range.high
            };
            match node.child(i) {
                Ok(child) => self.child(child, node.level() - 1, Range { low, high })?,
                Err(_) => bad(self.f, bno, "a tree node contradicts itself")?,
            }
        }
        Ok(())
    }

    fn child(&mut self, bno: u64, level: u8, range: Range) -> Result {
        if bno >= self.store.block_count() {
            return bad(self.f, bno, "a node that is not within the volume");
        }
        let block = match self.store.read(bno) {
            Ok(block) => block,
            Err(e) => return bad(self.f, bno, unreadable(e)),
        };
        let data = block.data();
        if let Some(why) = node::block_is_bad(&data, bno, &self.root.owner) {
            return bad(self.f, bno, why);
        }
        match Node::open(node::page(&data)) {
            Ok(node) if node.level() != level => bad(self.f, bno, "a tree node of the wrong level"),
            Ok(node) if node.count() == 0 => bad(self.f, bno, "an empty tree node"),
            // Only now it is clear that the block is this tree's, and nobody else's.
            Ok(node) if (self.f)(Event::Node(bno))? => self.node(bno, node, range),
            Ok(_) => Ok(()),
            Err(_) => bad(self.f, bno, "a tree node contradicts itself"),
        }
    }
}

/// What to say of a block that cannot be read.
pub(super) fn unreadable(e: Error) -> &'static str {
    if e == EIO {
        "cannot be read"
    } else {
        "wrong checksum"
    }
}

/// Finds one record. Nothing is reported here: damage on the way is "not found", and found by the walk.
pub(super) fn find<S: Store, R>(
    store: &S,
    root: Root<'_>,
    key: u128,
    f: impl FnOnce(&[u8]) -> R,
) -> Option<R> {
    let top = Node::open(root.bytes).ok()?;
    let mut level = usize::from(top.level());
    if level > MAX_HEIGHT {
        return None;
    }
    if level == 0 {
        return leaf(&top, key, f);
    }
    let mut bno = top.child(top.child_index(key)).ok()?;
    loop {
        level -= 1;
        let block = store.read(bno).ok()?;
        let data = block.data();
        if node::block_is_bad(&data, bno, &root.owner).is_some() {
            return None;
        }
        let node = Node::open(node::page(&data))
            .ok()
            .filter(|n| usize::from(n.level()) == level)?;
        if level == 0 {
            return leaf(&node, key, f);
        }
        bno = node.child(node.child_index(key)).ok()?;
    }
}

fn leaf<R>(node: &Node<'_>, key: u128, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let i = node.lower_bound(key);
    if i >= node.count() || node.key(i) != key {
        return None;
    }
    node.value(i).ok().map(f)
}
