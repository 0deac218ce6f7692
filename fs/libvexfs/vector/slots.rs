// SPDX-License-Identifier: GPL-2.0

//! Slots: the places of vectors in the collection's inode.
//!
//! A slot that was freed is handed out again only when the transaction that freed it
//! is durable. Before that a crash would bring the old record back, over somebody
//! else's vector. If there is an index, its graph must have lost the node, too, on the
//! medium: the operation that takes it out must lie below the last checkpoint.

use super::{key, MAX_SLOTS};
use crate::libvexfs::alloc::Space;
use crate::libvexfs::errno::euclean;
use crate::libvexfs::format::{le32, le64, put32, put64, Inode};
use crate::libvexfs::journal::{tid_geq, Store, Tid};
use crate::libvexfs::Fs;
use kernel::prelude::*;

/// Bytes of the totals' value.
const COUNTS_LEN: usize = 24;
/// Bytes of a free slot's value.
const FREE_LEN: usize = 24;
/// Free slots that may not be used yet and are passed over at most, with an index.
const PASSED_OVER: usize = 4096;

/// The totals of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The first slot that was never used.
    pub next: u32,
    /// Live records.
    pub live: u64,
    /// Free slots below `next`.
    pub free: u64,
}

impl Counts {
    /// Writes the value.
    pub fn format(&self) -> [u8; COUNTS_LEN] {
        let mut b = [0; COUNTS_LEN];
        put32(&mut b, 0, self.next);
        put64(&mut b, 8, self.live);
        put64(&mut b, 16, self.free);
        b
    }

    /// Reads the value.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if the totals contradict each other.
    pub fn parse(b: &[u8]) -> Result<Counts> {
        let counts = Counts {
            next: le32(b, 0),
            live: le64(b, 8),
            free: le64(b, 16),
        };
        let sum = counts.live.checked_add(counts.free);
        if b.len() != COUNTS_LEN || sum != Some(counts.next.into()) || counts.next > MAX_SLOTS {
            return Err(euclean());
        }
        Ok(counts)
    }
}

/// A free slot: when it became one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSlot {
    /// The transaction that freed it.
    pub tid: Tid,
    /// The mount during which that was; transactions of earlier ones are all durable.
    pub mount: u32,
    /// The sequence of the last record.
    pub sequence: u32,
    /// The sequence of the operation that takes its node out of the graph; 0: there was none.
    pub op: u64,
}

impl FreeSlot {
    /// Writes the value.
    pub fn format(&self) -> [u8; FREE_LEN] {
        let mut b = [0; FREE_LEN];
        put32(&mut b, 0, self.tid);
        put32(&mut b, 4, self.mount);
        put32(&mut b, 8, self.sequence);
        put64(&mut b, 16, self.op);
        b
    }

    /// Reads the value.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it is none.
    pub fn parse(b: &[u8]) -> Result<FreeSlot> {
        if b.len() != FREE_LEN || le32(b, 12) != 0 {
            return Err(euclean());
        }
        Ok(FreeSlot {
            tid: le32(b, 0),
            mount: le32(b, 4),
            sequence: le32(b, 8),
            op: le64(b, 16),
        })
    }
}

impl<S: Store> Fs<S> {
    /// The totals of a collection.
    pub fn vector_counts(&self, collection: &Inode) -> Result<Counts> {
        let found = self.tree_lookup(collection.attr_root(), key::counts(), Counts::parse)?;
        match found {
            Some(Ok(counts)) => Ok(counts),
            Some(Err(_)) => Err(self.damaged(collection.ino, 0, "the vectors' totals are wrong")),
            None => Err(self.damaged(collection.ino, 0, "the vectors' totals are missing")),
        }
    }

    pub(super) fn set_vector_counts(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        collection: &mut Inode,
        counts: &Counts,
    ) -> Result {
        self.tree_replace(
            t,
            space,
            collection.attr_root_mut(),
            key::counts(),
            &counts.format(),
        )
    }

    /// The free-slot record of `slot`.
    pub fn free_slot(&self, collection: &Inode, slot: u32) -> Result<Option<FreeSlot>> {
        self.tree_lookup(collection.attr_root(), key::free(slot), FreeSlot::parse)?
            .transpose()
            .map_err(|_| self.damaged(collection.ino, 0, "a free slot has a bad value"))
    }

    /// Appends `n` slots that vectors may be written to: free ones, then new ones in
    /// order. They stay free until [`Fs::publish_step`] takes them, in this order.
    ///
    /// # Errors
    ///
    /// `EFBIG` if the collection has no more, `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn free_slots(&self, collection: &Inode, n: usize, out: &mut KVec<u32>) -> Result {
        let counts = self.vector_counts(collection)?;
        let mut left = n;
        // Free slots whose transaction is still running are passed over; how many of
        // those are looked at is bounded.
        let mut looked = 0;
        let index = self.index(collection)?.filter(|i| i.state.has_graph());
        let (applied, most) = match index {
            Some(index) => (index.marks.applied, 2 * n + PASSED_OVER),
            None => (u64::MAX, 2 * n + 256),
        };
        let (committed, mount) = (self.store.committed(), self.sb.mount_count);
        if counts.free > 0 {
            self.tree_scan(collection.attr_root(), key::free(0), &mut |k, b| {
                if key::kind(k) != key::FREE || left == 0 || looked >= most {
                    return Ok(false);
                }
                looked += 1;
                let free = FreeSlot::parse(b)?;
                let durable = free.mount != mount || tid_geq(committed, free.tid);
                if durable && free.op < applied {
                    out.push(k as u32, GFP_KERNEL)?;
                    left -= 1;
                }
                Ok(left > 0)
            })?;
        }
        let end = u64::from(counts.next) + left as u64;
        if end > MAX_SLOTS.into() {
            return Err(EFBIG);
        }
        for next in counts.next..end as u32 {
            out.push(next, GFP_KERNEL)?;
        }
        Ok(())
    }
}
