// SPDX-License-Identifier: GPL-2.0

//! Collections: indices and totals follow from the records. 64 bytes of memory or so for each of them, of one
//! collection at a time.

use super::{Edits, Repair};
use crate::libvexfs::check::tree::{walk, Event};
use crate::libvexfs::format::le32;
use crate::libvexfs::journal::Store;
use crate::libvexfs::tree::KIND_ATTR;
use crate::libvexfs::vector::slots::{Counts, FreeSlot};
use crate::libvexfs::vector::{key, Record, MAX_SLOTS};
use kernel::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What a collection's tree holds.
#[derive(Default)]
struct Found {
    /// Slot -> the caller's key, the owner.
    live: BTreeMap<u32, (u64, u64)>,
    /// Free slots that have a record.
    free: BTreeSet<u32>,
    /// Records that follow from those above, and are not among what should be there.
    surplus: HashSet<u128>,
    keys: HashSet<u64>,
    counts: Option<Counts>,
}

impl<S: Store> Repair<'_, S> {
    pub(super) fn rebuild_collection(&mut self, ino: u64) -> Result {
        let inode = self.inode(ino)?;
        let mut found = Found::default();
        let mut edits = Edits::default();
        walk(self.store, inode.attr_root(), &mut |event| {
            if let Event::Record { key: at, value, .. } = event {
                match key::kind(at) {
                    key::SLOT => match Record::parse(value) {
                        // Of two records with one key the first stays.
                        Ok(r) if found.keys.insert(r.key) && (at as u32) < MAX_SLOTS => {
                            found.live.insert(at as u32, (r.key, r.ino));
                        }
                        _ => edits.set(at, None),
                    },
                    key::FREE if FreeSlot::parse(value).is_ok() => {
                        found.free.insert(at as u32);
                    }
                    key::COUNTS => found.counts = Counts::parse(value).ok(),
                    _ => {}
                }
            }
            Ok(true)
        })?;
        // Indices: what is there wrongly goes, what is missing comes.
        let mut by_key: BTreeMap<u64, u32> = found
            .live
            .iter()
            .map(|(slot, (k, _))| (*k, *slot))
            .collect();
        let mut by_owner: BTreeSet<u128> = found
            .live
            .iter()
            .map(|(slot, (_, owner))| key::owner(*owner, *slot))
            .collect();
        let last = found.live.keys().next_back().copied();
        let last = last.max(found.free.iter().next_back().copied());
        let next = last.map_or(0, |slot| slot.saturating_add(1)).min(MAX_SLOTS);
        walk(self.store, inode.attr_root(), &mut |event| {
            if let Event::Record { key: at, value, .. } = event {
                let right = match key::kind(at) {
                    key::KEY => {
                        by_key.get(&(at as u64)) == Some(&le32(value, 0))
                            && by_key.remove(&(at as u64)).is_some()
                    }
                    key::OWNER => by_owner.remove(&at),
                    key::FREE => {
                        FreeSlot::parse(value).is_ok()
                            && !found.live.contains_key(&(at as u32))
                            && (at as u32) < next
                    }
                    _ => true,
                };
                if !right {
                    found.surplus.insert(at);
                }
            }
            Ok(true)
        })?;
        for at in core::mem::take(&mut found.surplus) {
            edits.set(at, None);
        }
        for (k, slot) in by_key {
            edits.set(key::by_key(k), Some(slot.to_le_bytes().into()));
        }
        for at in by_owner {
            edits.set(at, Some([].into()));
        }
        let mut free = 0;
        for slot in (0..next).filter(|slot| !found.live.contains_key(slot)) {
            free += 1;
            if !found.free.contains(&slot) {
                let was = FreeSlot {
                    tid: 0,
                    mount: 0,
                    sequence: 0,
                    op: 0,
                };
                edits.set(key::free(slot), Some(was.format().into()));
            }
        }
        let counts = Counts {
            next,
            live: found.live.len() as u64,
            free,
        };
        edits.set(key::counts(), Some(counts.format().into()));
        self.edit_trees(BTreeMap::from([((ino, KIND_ATTR), edits)]))
    }
}
