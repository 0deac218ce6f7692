// SPDX-License-Identifier: GPL-2.0

//! Building a tree beside the old one: leaves that need no change stay, all else is new.

use super::leaves::{Harvest, Records};
use super::{Edits, Repair};
use crate::libvexfs::errno::euclean;
use crate::libvexfs::journal::{BlockMut, Store, Trans};
use crate::libvexfs::tree::node::{self, NodeMut, INTERIOR_ENTRY, PAGE_HEADER, PAYLOAD, SLOT};
use crate::libvexfs::tree::{init_root, Owner, MAX_HEIGHT};
use kernel::prelude::*;
use std::collections::btree_map::{BTreeMap, Entry};

/// New blocks in one transaction.
const BATCH: usize = 8;

/// Where a tree is to lie.
#[derive(Clone, Copy)]
pub(super) struct Site {
    pub(super) owner: Owner,
    /// The group that all nodes have to lie in.
    pub(super) within: Option<u32>,
}

/// A node that is to be written.
struct NewNode {
    bno: u64,
    level: u8,
    entries: Vec<(u128, Box<[u8]>)>,
}

impl<S: Store> Repair<'_, S> {
    /// Builds the tree that `harvest` with `edits` makes. `root` becomes its root; it is the caller's to write it, which
    /// is when the new tree takes the old one's place.
    pub(super) fn build(
        &mut self,
        root: &mut [u8],
        site: Site,
        harvest: Harvest,
        edits: &Edits,
    ) -> Result {
        if !edits.damaged && self.edit_in_place(&harvest, edits)? {
            return Ok(());
        }
        let mut new = Vec::new();
        let mut level = 0;
        let mut row = self.bottom(root.len(), site, harvest, edits, &mut new)?;
        if let Some(records) = row.in_root {
            return write_page(root, 0, records.iter().map(|(k, v)| (*k, &v[..])));
        }
        // The left edge of each level begins with 0.
        if let Some(first) = row.children.first_mut() {
            first.0 = 0;
        }
        let in_root = (root.len() - PAGE_HEADER) / INTERIOR_ENTRY;
        let in_node = PAYLOAD / INTERIOR_ENTRY;
        loop {
            level += 1;
            if level > MAX_HEIGHT {
                return Err(euclean());
            }
            if row.children.len() <= in_root {
                break;
            }
            let mut above = Vec::new();
            for children in row.children.chunks(in_node) {
                let bno = self.take_block(site.owner.home, site.within)?;
                let entries = children
                    .iter()
                    .map(|(key, child)| (*key, Box::from(child.to_le_bytes())))
                    .collect();
                above.push((children.first().map_or(0, |c| c.0), bno));
                new.push(NewNode {
                    bno,
                    level: level as u8,
                    entries,
                });
                self.flush_nodes(site, &mut new, BATCH)?;
            }
            row.children = above;
        }
        self.flush_nodes(site, &mut new, 0)?;
        let children = row.children.iter().map(|(k, b)| (*k, b.to_le_bytes()));
        let children: Vec<(u128, [u8; 8])> = children.collect();
        let children = children.iter().map(|(k, b)| (*k, &b[..]));
        write_page(root, level as u8, children)
    }

    /// Changes leaves where they are, if nothing else has to change: that takes no room. Says false if something has.
    fn edit_in_place(&self, harvest: &Harvest, edits: &Edits) -> Result<bool> {
        if !harvest.strays.is_empty() {
            return Ok(false);
        }
        let mut changed: BTreeMap<u64, Records> = BTreeMap::new();
        for (key, value) in &edits.hard {
            let at = harvest.leaves.partition_point(|leaf| leaf.last < *key);
            let leaf = match harvest.leaves.get(at) {
                Some(leaf) if leaf.first <= *key && leaf.records.is_none() => leaf,
                // What is not there needs not be taken out.
                _ if value.is_none() => continue,
                _ => return Ok(false),
            };
            let records = match changed.entry(leaf.bno) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(room) => room.insert(self.records_at(leaf.bno)?),
            };
            match value {
                Some(value) => drop(records.insert(*key, value.clone())),
                None => drop(records.remove(key)),
            }
        }
        let whole = harvest.leaves.iter().all(|leaf| leaf.records.is_none());
        let fits = |records: &Records| !records.is_empty() && bytes_of(records) <= PAYLOAD;
        if !whole || !changed.values().all(fits) {
            return Ok(false);
        }
        for (bno, records) in changed {
            let mut t = self.store.begin(1)?;
            let mut block = t.modify(bno)?;
            let mut body = block.data_mut();
            let entries = records.iter().map(|(k, v)| (*k, &v[..]));
            write_page(node::page_mut(&mut body), 0, entries)?;
            drop(body);
            t.stop()?;
        }
        Ok(true)
    }

    /// The leaves, those that change written anew; or the records, when they fit into the root.
    fn bottom(
        &mut self,
        root_len: usize,
        site: Site,
        mut harvest: Harvest,
        edits: &Edits,
        new: &mut Vec<NewNode>,
    ) -> Result<Row> {
        let mut row = Row::default();
        let few = harvest.leaves.len() <= 1;
        let bounds: Vec<u128> = harvest.leaves.iter().map(|leaf| leaf.first).collect();
        let strays = core::mem::take(&mut harvest.strays);
        let mut leaves = harvest.leaves.into_iter().enumerate();
        let mut next = leaves.next();
        loop {
            // One round even if there is no leaf: what is put has to go somewhere.
            let (n, leaf) = match next.take() {
                Some((n, leaf)) => (n, Some(leaf)),
                None if row.rounds == 0 => (0, None),
                None => break,
            };
            row.rounds += 1;
            let low = if n == 0 { 0 } else { bounds[n] };
            let high = bounds.get(n + 1).copied().map_or(u128::MAX, |b| b - 1);
            let touched = edits.hard.range(low..=high).next().is_some()
                || strays.range(low..=high).next().is_some();
            next = leaves.next();
            let stays = leaf.as_ref().is_some_and(|l| l.records.is_none()) && !touched && !few;
            if let (true, Some(leaf)) = (stays, &leaf) {
                row.children.push((leaf.first, leaf.bno));
                continue;
            }
            let mut records = match leaf {
                Some(mut leaf) => self.records(&mut leaf)?,
                None => Records::new(),
            };
            for (key, value) in strays.range(low..=high) {
                records.entry(*key).or_insert_with(|| value.clone());
            }
            for (key, value) in edits.hard.range(low..=high) {
                match value {
                    Some(value) => drop(records.insert(*key, value.clone())),
                    None => drop(records.remove(key)),
                }
            }
            if few && bytes_of(&records) <= root_len - PAGE_HEADER {
                row.in_root = Some(records);
                return Ok(row);
            }
            self.write_leaves(site, records, &mut row, new)?;
        }
        if row.children.is_empty() {
            row.in_root = Some(Records::new());
        }
        Ok(row)
    }

    fn write_leaves(
        &mut self,
        site: Site,
        records: Records,
        row: &mut Row,
        new: &mut Vec<NewNode>,
    ) -> Result {
        let mut entries: Vec<(u128, Box<[u8]>)> = Vec::new();
        let mut used = 0;
        let mut records = records.into_iter().peekable();
        while let Some((key, value)) = records.next() {
            used += SLOT + value.len();
            entries.push((key, value));
            let full = match records.peek() {
                Some((_, value)) => used + SLOT + value.len() > PAYLOAD,
                None => true,
            };
            if full {
                let bno = self.take_block(site.owner.home, site.within)?;
                row.children.push((entries.first().map_or(0, |e| e.0), bno));
                new.push(NewNode {
                    bno,
                    level: 0,
                    entries: core::mem::take(&mut entries),
                });
                used = 0;
                self.flush_nodes(site, new, BATCH)?;
            }
        }
        Ok(())
    }

    /// Writes nodes when there are as many as `least`.
    fn flush_nodes(&self, site: Site, new: &mut Vec<NewNode>, least: usize) -> Result {
        if new.is_empty() || new.len() < least {
            return Ok(());
        }
        let mut t = self.store.begin(new.len())?;
        for node in new.drain(..) {
            let mut block = t.create(node.bno)?;
            let mut body = block.data_mut();
            node::init_block(&mut body, node.bno, &site.owner, node.level);
            let entries = node.entries.iter().map(|(k, v)| (*k, &v[..]));
            write_page(node::page_mut(&mut body), node.level, entries)?;
        }
        t.stop()
    }
}

/// The lowest level that stands.
#[derive(Default)]
struct Row {
    children: Vec<(u128, u64)>,
    in_root: Option<Records>,
    rounds: usize,
}

fn bytes_of(records: &Records) -> usize {
    records.values().map(|value| SLOT + value.len()).sum()
}

/// Fills a page with entries that fit.
fn write_page<'a>(
    page: &mut [u8],
    level: u8,
    entries: impl Iterator<Item = (u128, &'a [u8])>,
) -> Result {
    page.fill(0);
    init_root(page);
    let mut node = NodeMut::open(page).map_err(|_| euclean())?;
    node.reset(level);
    for (i, (key, value)) in entries.enumerate() {
        node.insert(i, key, value).map_err(|_| euclean())?;
    }
    Ok(())
}
