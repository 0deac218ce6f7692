// SPDX-License-Identifier: GPL-2.0

//! Gathering the leaves of a tree that may be damaged.
//!
//! Leaves say by themselves whose they are and which keys they hold; the nodes above them can be made anew from that.
//! So whatever leads to a leaf is good enough, and what leads to one twice or in a circle does no harm.

use super::Repair;
use crate::libvexfs::format::{le128, le16};
use crate::libvexfs::journal::{Block, Store, BLOCK_SIZE, SEAL_SIZE};
use crate::libvexfs::tree::node::{self, Node, PAGE_HEADER, SLOT};
use crate::libvexfs::tree::{Owner, MAX_HEIGHT, MAX_VALUE};
use kernel::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Records by key.
pub(super) type Records = BTreeMap<u128, Box<[u8]>>;

/// Whether a record may be one of the tree's, for those that are found in damaged nodes.
pub(super) type Plausible<'a> = &'a dyn Fn(u128, &[u8]) -> bool;

/// A leaf.
pub(super) struct Leaf {
    pub(super) first: u128,
    pub(super) last: u128,
    /// Where it lies.
    pub(super) bno: u64,
    /// Its records, if it cannot stay as it is.
    pub(super) records: Option<Records>,
}

/// What a tree still has.
#[derive(Default)]
pub(super) struct Harvest {
    /// Sorted, and apart.
    pub(super) leaves: Vec<Leaf>,
    /// Records that lay where they do not belong.
    pub(super) strays: Records,
    seen: BTreeSet<u64>,
    /// Leaves with wrong checksums are looked at, too.
    unsealed: bool,
}

/// The keys that belong below a node, as far as the nodes above can be trusted.
#[derive(Clone, Copy)]
struct Range {
    low: u128,
    high: Option<u128>,
}

impl Range {
    const ALL: Range = Range { low: 0, high: None };

    fn contains(&self, key: u128) -> bool {
        key >= self.low && self.high.is_none_or(|high| key < high)
    }
}

impl<S: Store> Repair<'_, S> {
    /// Gathers all leaves below `root`, and of those at `lost` the ones with keys that are not there. `unsealed`: records
    /// that make sense are taken from leaves with wrong checksums, too.
    pub(super) fn harvest(
        &self,
        root: &[u8],
        owner: &Owner,
        lost: &[u64],
        unsealed: bool,
        plausible: Plausible<'_>,
    ) -> Result<Harvest> {
        let mut found = Harvest {
            unsealed,
            ..Harvest::default()
        };
        self.gather(root, 0, owner, None, Range::ALL, plausible, &mut found);
        let reached = found.leaves.len();
        for &bno in lost {
            if found.seen.insert(bno) {
                self.gather_block(bno, owner, 0, Range::ALL, plausible, &mut found);
            }
        }
        let late = found.leaves.split_off(reached);
        found.leaves.sort_by_key(|leaf| leaf.first);
        self.part(&mut found.leaves)?;
        for leaf in late {
            let at = found.leaves.partition_point(|l| l.last < leaf.first);
            if found.leaves.get(at).is_none_or(|l| leaf.last < l.first) {
                found.leaves.insert(at, leaf);
            }
        }
        Ok(found)
    }

    /// Joins leaves whose keys overlap.
    fn part(&self, leaves: &mut Vec<Leaf>) -> Result {
        let mut apart: Vec<Leaf> = Vec::with_capacity(leaves.len());
        for mut leaf in leaves.drain(..) {
            match apart.last_mut() {
                Some(before) if leaf.first <= before.last => {
                    let mut records = self.records(before)?;
                    for (key, value) in self.records(&mut leaf)? {
                        records.entry(key).or_insert(value);
                    }
                    before.last = before.last.max(leaf.last);
                    before.records = Some(records);
                }
                _ => apart.push(leaf),
            }
        }
        *leaves = apart;
        Ok(())
    }

    /// The records of a leaf.
    pub(super) fn records(&self, leaf: &mut Leaf) -> Result<Records> {
        if let Some(records) = leaf.records.take() {
            return Ok(records);
        }
        self.records_at(leaf.bno)
    }

    /// The records of the leaf in a block.
    pub(super) fn records_at(&self, bno: u64) -> Result<Records> {
        let block = self.store.read(bno)?;
        let data = block.data();
        let mut records = Records::new();
        if let Ok(node) = Node::open(node::page(&data)) {
            for i in 0..node.count() {
                records.insert(node.key(i), node.value(i).unwrap_or_default().into());
            }
        }
        Ok(records)
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "a walk down carries what it was told"
    )]
    fn gather(
        &self,
        page: &[u8],
        bno: u64,
        owner: &Owner,
        level: Option<u8>,
        range: Range,
        plausible: Plausible<'_>,
        found: &mut Harvest,
    ) {
        let node = match Node::open(page) {
            Ok(node) if level.is_none_or(|level| node.level() == level) => node,
            // A page that does not even open may be a leaf whose header was hit.
            _ if level.is_none_or(|level| level == 0) => {
                return salvage_leaf(page, range, plausible, found)
            }
            _ => return,
        };
        let sound = node.check().is_ok();
        if node.level() == 0 {
            if !sound {
                return salvage_leaf(page, range, plausible, found);
            }
            return whole_leaf(&node, bno, range, found);
        }
        if usize::from(node.level()) > MAX_HEIGHT {
            return;
        }
        for i in 0..node.count() {
            let Ok(child) = node.child(i) else {
                continue;
            };
            let below = if sound {
                let low = if i == 0 { range.low } else { node.key(i) };
                let high = if i + 1 < node.count() {
                    Some(node.key(i + 1))
                } else {
                    range.high
                };
                Range { low, high }
            } else {
                range
            };
            if found.seen.insert(child) {
                self.gather_block(child, owner, node.level() - 1, below, plausible, found);
            }
        }
    }

    fn gather_block(
        &self,
        bno: u64,
        owner: &Owner,
        level: u8,
        range: Range,
        plausible: Plausible<'_>,
        found: &mut Harvest,
    ) {
        if let Ok(block) = self.store.read(bno) {
            let data = block.data();
            if node::block_is_bad(&data, bno, owner).is_none() {
                let page = node::page(&data);
                self.gather(page, bno, owner, Some(level), range, plausible, found);
            }
            return;
        }
        // Wrong checksum, or nothing at all: a leaf is looked at record by record.
        let mut raw = [0; BLOCK_SIZE];
        if found.unsealed
            && level == 0
            && bno < self.sb.geometry.block_count
            && self.disk.read(bno, &mut raw).is_ok()
        {
            let body = &raw[SEAL_SIZE..];
            if node::block_is_bad(body, bno, owner).is_none() {
                salvage_leaf(node::page(body), range, plausible, found);
            }
        }
    }
}

/// A leaf in order: it stays as it is, unless some of its keys belong elsewhere or it lies in the root.
fn whole_leaf(node: &Node<'_>, bno: u64, range: Range, found: &mut Harvest) {
    let count = node.count();
    if count == 0 {
        return;
    }
    let all = (0..count).all(|i| range.contains(node.key(i)));
    if all && bno != 0 {
        found.leaves.push(Leaf {
            first: node.key(0),
            last: node.key(count - 1),
            bno,
            records: None,
        });
        return;
    }
    let mut records = Records::new();
    for i in 0..count {
        let value: Box<[u8]> = node.value(i).unwrap_or_default().into();
        if range.contains(node.key(i)) {
            records.insert(node.key(i), value);
        } else {
            found.strays.entry(node.key(i)).or_insert(value);
        }
    }
    push(records, found);
}

fn push(records: Records, found: &mut Harvest) {
    if let (Some((&first, _)), Some((&last, _))) =
        (records.first_key_value(), records.last_key_value())
    {
        found.leaves.push(Leaf {
            first,
            last,
            bno: 0,
            records: Some(records),
        });
    }
}

/// Takes out of a damaged leaf what makes sense by itself.
fn salvage_leaf(page: &[u8], range: Range, plausible: Plausible<'_>, found: &mut Harvest) {
    if page.first() != Some(&0) {
        return;
    }
    let most = page.len().saturating_sub(PAGE_HEADER) / SLOT;
    let count = match usize::from(le16(page, 2)) {
        // The count itself may be what is wrong: slots are looked at as far as they make sense.
        n if n > most => most,
        n => n,
    };
    let mut records = Records::new();
    for i in 0..count {
        let slot = PAGE_HEADER + i * SLOT;
        let key = le128(page, slot);
        let (off, len) = (
            usize::from(le16(page, slot + 16)),
            usize::from(le16(page, slot + 18)),
        );
        let value = if len == 0 {
            Some(&[][..])
        } else {
            page.get(off..off + len)
        };
        let Some(value) = value.filter(|value| value.len() <= MAX_VALUE) else {
            continue;
        };
        if !plausible(key, value) {
            continue;
        }
        if range.contains(key) {
            records.entry(key).or_insert_with(|| value.into());
        } else {
            found.strays.entry(key).or_insert_with(|| value.into());
        }
    }
    push(records, found);
}
