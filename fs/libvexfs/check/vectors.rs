// SPDX-License-Identifier: GPL-2.0

//! Collections, records of vectors, changed ranges.
//!
//! Records stand in several trees of one inode: each is found by its slot, by the caller's key and by its owner. What is
//! counted here is compared when all of an inode's records were seen; that each one has its partners follows from sums of
//! hashes. Vectors themselves are file data: `search` and `get` verify their checksums.

use super::attr::Attrs;
use super::index::{is_possible, IndexSeen};
use super::inode::VERSION_SANE;
use super::tree::{walk, Event};
use super::{Checker, Field, Fix};
use crate::libvexfs::attr::{key as attr_key, kind};
use crate::libvexfs::format::inode::{STATE_EMBEDDED, STATE_INTERNAL};
use crate::libvexfs::format::{le32, Inode};
use crate::libvexfs::journal::Store;
use crate::libvexfs::tree::KIND_ATTR;
use crate::libvexfs::vector::slots::{Counts, FreeSlot};
use crate::libvexfs::vector::stale::{Range, RANGES_MAX};
use crate::libvexfs::vector::{key, Collection, Record};
use kernel::prelude::*;

/// The records of collection inodes.
const OF_COLLECTIONS: [u8; 8] = [
    key::SLOT,
    key::KEY,
    key::OWNER,
    key::FREE,
    key::COUNTS,
    key::INDEX,
    key::OP,
    key::INTENT,
];

impl<S: Store> Checker<'_, S> {
    /// Checks a record of one of the kinds that belong to vectors; says false to others.
    pub(super) fn vector_record(
        &mut self,
        i: &Inode,
        bno: u64,
        record: u8,
        rest: u128,
        value: &[u8],
    ) -> Result<bool> {
        let right = match record {
            kind::STALE => Range::parse(rest, value)
                .is_ok_and(|r| r.version <= i.data_version && i.state & STATE_EMBEDDED != 0),
            key::COLLECTION => {
                let id = u32::try_from(rest);
                let known = id.is_ok_and(|id| (1..self.sb.next_collection).contains(&id));
                let collection = Collection::parse(rest as u32, value);
                if let Ok(collection) = &collection {
                    self.internal_known(collection.ino);
                }
                known && i.ino == self.sb.system_ino && collection.is_ok()
            }
            key::EMBEDDED_IN => {
                let id = u32::try_from(rest);
                value.is_empty()
                    && i.state & STATE_EMBEDDED != 0
                    && id.is_ok_and(|id| (1..self.sb.next_collection).contains(&id))
            }
            key::SLOT => rest <= u128::from(u32::MAX) && Record::parse(value).is_ok(),
            key::KEY => rest <= u128::from(u64::MAX) && value.len() == 4,
            key::OWNER => rest >> 96 == 0 && value.is_empty(),
            key::FREE => rest <= u128::from(u32::MAX) && FreeSlot::parse(value).is_ok(),
            key::COUNTS => rest == 0 && Counts::parse(value).is_ok(),
            _ => match is_possible(record, rest, value) {
                Some(possible) => possible,
                None => return Ok(false),
            },
        };
        let internal = i.state & STATE_INTERNAL != 0;
        if !right || (OF_COLLECTIONS.contains(&record) && !internal) {
            let what = format!("vectors: an impossible record of kind {record}");
            let fix = self.vector_fix(i, record, rest, value);
            self.wrong(i.ino, bno, what, fix);
        }
        Ok(true)
    }

    /// What makes a record possible: it goes, unless it is the inode that forgot about it.
    fn vector_fix(&self, i: &Inode, record: u8, rest: u128, value: &[u8]) -> Fix {
        let remembers = i.state & STATE_EMBEDDED != 0 || !i.is_reg();
        let range = Range::parse(rest, value).ok();
        let known = u32::try_from(rest).is_ok_and(|id| (1..self.sb.next_collection).contains(&id));
        match (record, range) {
            (key::INDEX | key::OP | key::INTENT, _) if i.state & STATE_INTERNAL != 0 => {
                Fix::Index { ino: i.ino }
            }
            (kind::STALE, Some(r)) if r.version > i.data_version && r.version < VERSION_SANE => {
                Fix::field(i.ino, Field::DataVersionAtLeast(r.version))
            }
            (kind::STALE, Some(r)) if r.version <= i.data_version && !remembers => {
                Fix::field(i.ino, Field::StateSet(STATE_EMBEDDED))
            }
            (key::EMBEDDED_IN, _) if known && value.is_empty() && !remembers => {
                Fix::field(i.ino, Field::StateSet(STATE_EMBEDDED))
            }
            _ => Fix::drop_record(i.ino, KIND_ATTR, attr_key(record, rest)),
        }
    }

    /// Checks an inode when all of its records were seen.
    pub(super) fn vector_inode(&mut self, i: &Inode, attrs: &Attrs) {
        // One that is being taken apart has some records left, or none.
        if attrs.damaged || !self.first_pass || i.nlink == 0 {
            return;
        }
        if attrs.count(kind::STALE) > RANGES_MAX as u64 {
            let fixes = self.surplus_ranges(i);
            self.wrong_by(i.ino, 0, "vectors: too many changed ranges", fixes);
        }
        if OF_COLLECTIONS.iter().any(|k| attrs.count(*k) != 0) {
            self.collection_inode(i, attrs);
        }
    }

    /// Takes ranges out until there are as many as there may be.
    fn surplus_ranges(&mut self, i: &Inode) -> Vec<Fix> {
        let mut keys = Vec::new();
        let _ = walk(self.store, i.attr_root(), &mut |event| {
            if let Event::Record { key: at, .. } = event {
                if key::kind(at) == kind::STALE {
                    keys.push(at);
                }
            }
            Ok(true)
        });
        let surplus = keys.into_iter().skip(RANGES_MAX);
        surplus
            .map(|key| Fix::drop_record(i.ino, KIND_ATTR, key))
            .collect()
    }

    fn collection_inode(&mut self, i: &Inode, attrs: &Attrs) {
        let mut seen = Seen::default();
        let walked = walk(self.store, i.attr_root(), &mut |event| {
            if let Event::Record { key, value, .. } = event {
                seen.add(key, value);
            }
            Ok(true)
        });
        if walked.is_err() {
            return;
        }
        let ino = i.ino;
        let mut say = |what: String| self.wrong(ino, 0, what, Fix::Collection { ino });
        let Some(counts) = seen.counts else {
            return say("vectors: the totals are missing".to_owned());
        };
        for (kind, what, wanted) in [
            (key::SLOT, "records", counts.live),
            (key::KEY, "keys", counts.live),
            (key::OWNER, "entries of owners", counts.live),
            (key::FREE, "free slots", counts.free),
        ] {
            let found = attrs.count(kind);
            if found != wanted {
                say(format!("vectors: {found} {what}, rightly {wanted}"));
            }
        }
        let next = u64::from(counts.next);
        if seen.slots != u128::from(next) * u128::from(next.saturating_sub(1)) / 2 {
            say("vectors: a slot is neither free nor in use, or both".to_owned());
        }
        if seen.keys != 0 {
            say("vectors: a key leads to another record's slot".to_owned());
        }
        if seen.owners != 0 {
            say("vectors: a record is missing at its owner".to_owned());
        }
        self.index_records(i, &seen.index, counts.next);
    }
}

/// Sums over the records of a collection. Each pair of records that belong together adds and takes away the same hash,
/// so that a sum that is not zero means that one has no partner, at no cost in memory.
#[derive(Default)]
struct Seen {
    counts: Option<Counts>,
    slots: u128,
    keys: u64,
    owners: u64,
    index: IndexSeen,
}

impl Seen {
    fn add(&mut self, at: u128, value: &[u8]) {
        let slot = at as u32;
        self.index.add(at, value);
        match key::kind(at) {
            key::COUNTS => self.counts = Counts::parse(value).ok(),
            key::SLOT => {
                let record = Record::parse(value).unwrap_or_default();
                self.slots += u128::from(slot);
                self.keys = self.keys.wrapping_add(hash(record.key, slot));
                self.owners = self.owners.wrapping_add(hash(record.ino, slot));
            }
            key::KEY => self.keys = self.keys.wrapping_sub(hash(at as u64, le32(value, 0))),
            key::OWNER => self.owners = self.owners.wrapping_sub(hash((at >> 32) as u64, slot)),
            key::FREE => self.slots += u128::from(slot),
            _ => {}
        }
    }
}

/// Mixes a number and a slot (the finaliser of MurmurHash3).
fn hash(number: u64, slot: u32) -> u64 {
    let mut z = number
        ^ u64::from(slot)
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    z = (z ^ (z >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    z ^ (z >> 33)
}
