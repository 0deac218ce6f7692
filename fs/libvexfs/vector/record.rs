// SPDX-License-Identifier: GPL-2.0

//! Records: which vector describes which bytes of which file.

use super::index::log::Log;
use super::index::{Action, Op};
use super::slots::{Counts, FreeSlot};
use super::{key, MAX_SLOTS};
use crate::libvexfs::credits::{self, blocks};
use crate::libvexfs::errno::euclean;
use crate::libvexfs::format::{le32, le64, put32, put64, Inode};
use crate::libvexfs::journal::{Store, Trans};
use crate::libvexfs::{Fs, Mode, Space};
use kernel::prelude::*;

/// Bytes of a record's value.
pub const RECORD_LEN: usize = 56;

/// A record. Its slot is its key in the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The caller's key, unique in the collection.
    pub key: u64,
    /// The file it describes.
    pub ino: u64,
    /// That inode's generation.
    pub generation: u32,
    /// First byte described.
    pub off: u64,
    /// Bytes described; 0 together with `off` 0: the whole file.
    pub len: u64,
    /// The version of the file's contents that was described.
    pub version: u64,
    /// CRC32C of the vector as stored.
    pub crc: u32,
    /// Counts the records that this slot has had.
    pub sequence: u32,
}

impl Record {
    /// Writes its value.
    pub fn format(&self) -> [u8; RECORD_LEN] {
        let mut b = [0; RECORD_LEN];
        put64(&mut b, 0, self.key);
        put64(&mut b, 8, self.ino);
        put64(&mut b, 16, self.off);
        put64(&mut b, 24, self.len);
        put64(&mut b, 32, self.version);
        put32(&mut b, 40, self.generation);
        put32(&mut b, 44, self.crc);
        put32(&mut b, 48, self.sequence);
        b
    }

    /// Reads its value.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it is none.
    pub fn parse(b: &[u8]) -> Result<Record> {
        let record = Record {
            key: le64(b, 0),
            ino: le64(b, 8),
            off: le64(b, 16),
            len: le64(b, 24),
            version: le64(b, 32),
            generation: le32(b, 40),
            crc: le32(b, 44),
            sequence: le32(b, 48),
        };
        let range_fits = matches!(record.off.checked_add(record.len), Some(end) if end <= 1 << 63);
        if b.len() != RECORD_LEN || le32(b, 52) != 0 || !range_fits || record.version == 0 {
            return Err(euclean());
        }
        Ok(record)
    }

    /// Whether it describes the whole file, however long it grows.
    pub fn whole(&self) -> bool {
        self.off == 0 && self.len == 0
    }
}

/// What one record costs at worst: an old one of the same key goes, its slot becomes
/// free, the new one comes, its slot was free before; the index is told of both.
pub const PUT_CREDITS: usize =
    PUT_INSERTS * credits::INSERT + 3 * credits::REMOVE + 4 * credits::UPDATE;
/// What goes with each transaction: the totals, the record of the index, the inode.
pub const BASE_CREDITS: usize = credits::INSERT + credits::UPDATE + credits::INODE;
/// What one removal costs at worst: record, key, owner; the free slot; the index is told.
pub const DROP_CREDITS: usize = DROP_INSERTS * credits::INSERT + 3 * credits::REMOVE;
const _: () = assert!(BASE_CREDITS + PUT_CREDITS <= credits::MOST);
/// Records that one transaction changes at most.
pub const STEP: usize = 16;
/// Insertions that go with one record: slot, owner, key, the old one's free slot, and two
/// operations.
const PUT_INSERTS: usize = 6;
/// Insertions that go with one removal: the free slot, an operation.
const DROP_INSERTS: usize = 2;

/// Blocks to set aside for so many insertions into one tree. Each splits a leaf at worst;
/// what that adds to the levels above is less than a tenth of it, and one path more is
/// what the last insertion asks for.
fn space_for(inserts: usize) -> usize {
    2 * inserts + 2 * blocks::INSERT
}

/// What one publication changes, all of it looked up.
#[derive(Clone, Copy)]
struct Plan {
    slot: u32,
    record: Record,
    /// The slot was never used.
    fresh: bool,
    /// The record of the same key that goes.
    old: Option<(u32, Record)>,
}

/// A record that is to be published, and the slot that its vector was written to.
#[derive(Clone, Copy, Debug)]
pub struct Publish {
    /// Slot, from [`Fs::free_slots`].
    pub slot: u32,
    /// The record; `sequence` is filled in.
    pub record: Record,
}

impl<S: Store> Fs<S> {
    /// The slot of the record with the caller's `key`.
    pub fn slot_of_key(&self, collection: &Inode, key: u64) -> Result<Option<u32>> {
        let found = self.tree_lookup(collection.attr_root(), key::by_key(key), |b| {
            (b.len() == 4).then(|| le32(b, 0))
        })?;
        match found {
            Some(None) => Err(self.damaged(collection.ino, 0, "a vector's key has a bad value")),
            Some(slot) => Ok(slot),
            None => Ok(None),
        }
    }

    /// The record in a slot, if that is in use.
    pub fn record(&self, collection: &Inode, slot: u32) -> Result<Option<Record>> {
        self.tree_lookup(collection.attr_root(), key::slot(slot), Record::parse)?
            .transpose()
            .map_err(|_| self.damaged(collection.ino, 0, "a vector's record has a bad value"))
    }

    /// The records that live in slots, which are in ascending order, with their numbers among these.
    pub fn records_at(
        &self,
        collection: &Inode,
        slots: &[u32],
        mut each: impl FnMut(usize, Record),
    ) -> Result {
        let key = |n: usize| slots.get(n).map(|slot| key::slot(*slot));
        self.tree_lookup_some(collection.attr_root(), key, |n, b| {
            let record = Record::parse(b).map_err(|_| {
                self.damaged(collection.ino, 0, "a vector's record has a bad value")
            })?;
            each(n, record);
            Ok(())
        })
    }

    /// Appends live records from slot `from` on, at most `room`.
    pub fn records_from(
        &self,
        collection: &Inode,
        from: u32,
        room: usize,
        out: &mut KVec<(u32, Record)>,
    ) -> Result {
        let mut left = room;
        self.tree_scan(collection.attr_root(), key::slot(from), &mut |k, b| {
            if key::kind(k) != key::SLOT || left == 0 {
                return Ok(false);
            }
            out.push((k as u32, Record::parse(b)?), GFP_KERNEL)?;
            left -= 1;
            Ok(left > 0)
        })
    }

    /// Appends the slots of records in the order of the caller's keys, from `from` on,
    /// with their keys.
    pub fn slots_by_key(
        &self,
        collection: &Inode,
        from: u64,
        room: usize,
        out: &mut KVec<(u64, u32)>,
    ) -> Result {
        let mut left = room;
        self.tree_scan(collection.attr_root(), key::by_key(from), &mut |k, b| {
            if key::kind(k) != key::KEY || left == 0 {
                return Ok(false);
            }
            out.push((k as u64, le32(b, 0)), GFP_KERNEL)?;
            left -= 1;
            Ok(left > 0)
        })
    }

    /// Appends the slots of an owner's records from slot `from` on.
    pub fn slots_by_owner(
        &self,
        collection: &Inode,
        ino: u64,
        from: u32,
        room: usize,
        out: &mut KVec<u32>,
    ) -> Result {
        let last = key::owner(ino, u32::MAX);
        let mut left = room;
        self.tree_scan(
            collection.attr_root(),
            key::owner(ino, from),
            &mut |k, _| {
                if k > last || left == 0 {
                    return Ok(false);
                }
                out.push(k as u32, GFP_KERNEL)?;
                left -= 1;
                Ok(left > 0)
            },
        )
    }

    /// Publishes records whose vectors have reached the disk, replacing those of the
    /// same key. Does [`STEP`] of them at most, fewer if the transaction is full, and
    /// returns how many from the first on are done; the caller goes on in another
    /// transaction. It holds the collection's lock since before it found the slots.
    /// Credits to begin with: [`PUT_CREDITS`] + [`BASE_CREDITS`].
    ///
    /// # Errors
    ///
    /// `ENOSPC` with nothing dirtied ([`Fs::settle`] may help), `EIO`, `EUCLEAN`.
    pub fn publish_step(
        &self,
        t: &mut S::Trans,
        collection: &mut Inode,
        items: &[Publish],
    ) -> Result<usize> {
        let items = items.get(..items.len().min(STEP)).unwrap_or(items);
        if items.is_empty() {
            return Ok(0);
        }
        let mut counts = self.vector_counts(collection)?;
        let goal = collection.ino >> 3;
        let mut log = self.op_log(collection)?;
        let inserts = PUT_INSERTS * items.len();
        let mut space = self.space(goal, space_for(inserts), Mode::Normal)?;
        let mut done = 0;
        for item in items {
            if done > 0 && !t.extend(PUT_CREDITS)? {
                break;
            }
            match self.plan_publish(collection, &counts, item) {
                Ok(plan) => {
                    let (counts, log) = (&mut counts, &mut log);
                    self.apply_publish(t, &mut space, collection, counts, log, &plan)?;
                }
                Err(e) if done == 0 => return Err(e),
                // What was done stays; the next transaction meets the error first.
                Err(_) => break,
            }
            done += 1;
        }
        self.set_vector_counts(t, &mut space, collection, &counts)?;
        self.end_log(t, collection, &log)?;
        self.log_inode(t, collection)?;
        Ok(done)
    }

    /// Looks up what a publication changes.
    fn plan_publish(&self, collection: &Inode, counts: &Counts, item: &Publish) -> Result<Plan> {
        let slot = item.slot;
        let free = self.free_slot(collection, slot)?;
        // Slots behind `next` are taken in order, so that each one below is in use or free.
        let fresh = slot == counts.next && slot < MAX_SLOTS && free.is_none();
        if !(fresh || slot < counts.next && free.is_some()) {
            return Err(self.damaged(collection.ino, 0, "a vector's new slot is not free"));
        }
        let old = match self.slot_of_key(collection, item.record.key)? {
            Some(old_slot) => match self.record(collection, old_slot)? {
                Some(old) if old.key == item.record.key => Some((old_slot, old)),
                _ => {
                    return Err(self.damaged(
                        collection.ino,
                        0,
                        "a vector's key leads to no record",
                    ));
                }
            },
            None => None,
        };
        let sequence = free.map_or(1, |f| f.sequence.wrapping_add(1));
        Ok(Plan {
            slot,
            record: Record {
                sequence,
                ..item.record
            },
            fresh,
            old,
        })
    }

    fn apply_publish(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        collection: &mut Inode,
        counts: &mut Counts,
        log: &mut Log,
        plan: &Plan,
    ) -> Result {
        let Plan {
            slot,
            record,
            fresh,
            old,
        } = *plan;
        self.tree_insert(
            t,
            space,
            collection.attr_root_mut(),
            key::slot(slot),
            &record.format(),
        )?;
        self.tree_insert(
            t,
            space,
            collection.attr_root_mut(),
            key::owner(record.ino, slot),
            &[],
        )?;
        if fresh {
            counts.next = slot + 1;
        } else {
            self.tree_remove(t, collection.attr_root_mut(), key::free(slot))?;
            counts.free = counts.free.saturating_sub(1);
        }
        let by_key = key::by_key(record.key);
        if let Some((old_slot, old)) = old {
            self.tree_update(t, collection.attr_root_mut(), by_key, |b| put32(b, 0, slot))?;
            self.vacate(t, space, collection, log, old_slot, &old)?;
            counts.free = counts.free.saturating_add(1);
        } else {
            let value = slot.to_le_bytes();
            self.tree_insert(t, space, collection.attr_root_mut(), by_key, &value)?;
            counts.live = counts.live.saturating_add(1);
        }
        let op = Op {
            slot,
            generation: record.sequence,
            action: Action::Insert,
        };
        self.log_op(t, space, collection, log, &op)?;
        Ok(())
    }

    /// Takes a record and its owner's entry away and makes the slot a free one.
    fn vacate(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        collection: &mut Inode,
        log: &mut Log,
        slot: u32,
        record: &Record,
    ) -> Result {
        let op = Op {
            slot,
            generation: record.sequence,
            action: Action::Remove,
        };
        let op = self.log_op(t, space, collection, log, &op)?;
        let free = FreeSlot {
            tid: t.tid(),
            mount: self.sb.mount_count,
            sequence: record.sequence,
            op,
        };
        self.tree_remove(t, collection.attr_root_mut(), key::slot(slot))?;
        self.tree_remove(t, collection.attr_root_mut(), key::owner(record.ino, slot))?;
        self.tree_insert(
            t,
            space,
            collection.attr_root_mut(),
            key::free(slot),
            &free.format(),
        )
    }

    /// Removes the records in `slots`; those that are not in use are passed over. Returns
    /// how many slots from the first on are done, as [`Fs::publish_step`] does. Credits to
    /// begin with: [`DROP_CREDITS`] + [`BASE_CREDITS`].
    ///
    /// # Errors
    ///
    /// As for [`Fs::publish_step`].
    pub fn remove_step(
        &self,
        t: &mut S::Trans,
        collection: &mut Inode,
        slots: &[u32],
    ) -> Result<usize> {
        let slots = slots.get(..slots.len().min(STEP)).unwrap_or(slots);
        let mut counts = self.vector_counts(collection)?;
        let goal = collection.ino >> 3;
        let mut log = self.op_log(collection)?;
        let inserts = DROP_INSERTS * slots.len();
        let mut space = self.space(goal, space_for(inserts), Mode::Privileged)?;
        let mut done = 0;
        let mut changed = false;
        for &slot in slots {
            if changed && !t.extend(DROP_CREDITS)? {
                break;
            }
            let record = match self.record(collection, slot) {
                Ok(record) => record,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            };
            if let Some(record) = record {
                self.tree_remove(t, collection.attr_root_mut(), key::by_key(record.key))?;
                self.vacate(t, &mut space, collection, &mut log, slot, &record)?;
                counts.live = counts.live.saturating_sub(1);
                counts.free = counts.free.saturating_add(1);
                changed = true;
            }
            done += 1;
        }
        if changed {
            self.set_vector_counts(t, &mut space, collection, &counts)?;
            self.end_log(t, collection, &log)?;
            self.log_inode(t, collection)?;
        }
        Ok(done)
    }
}
