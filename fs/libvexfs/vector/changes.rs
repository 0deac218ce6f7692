// SPDX-License-Identifier: GPL-2.0

//! What changed lately, for those who remember what they found out about records and files.
//!
//! A ring of fixed size: who changes something never waits and never fails. Who was away for too
//! long is told so, and finds everything out anew.

use kernel::prelude::*;

/// Changes that are remembered: a power of two.
pub const ROOM: usize = 4096;

const _: () = assert!(ROOM.is_power_of_two());

/// Something that changed. What is gone is no change: nobody finds it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A record came into a slot of a collection.
    Record {
        /// The collection.
        collection: u32,
        /// The slot.
        slot: u32,
    },
    /// A file's attributes, contents or names.
    File(u64),
}

/// The last changes, and how many there were.
pub struct Changes {
    ring: KVVec<Change>,
    next: u64,
}

impl Default for Changes {
    fn default() -> Self {
        Self::new()
    }
}

impl Changes {
    /// One that remembers nothing: it only counts.
    pub fn new() -> Changes {
        Changes {
            ring: KVVec::new(),
            next: 0,
        }
    }

    /// Room for [`Changes::with_room`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn room() -> Result<KVVec<Change>> {
        Ok(KVVec::from_elem(Change::File(0), ROOM, GFP_KERNEL)?)
    }

    /// Remembers from now on, unless it does already. What is not used comes back.
    pub fn with_room(&mut self, room: KVVec<Change>) -> Option<KVVec<Change>> {
        if !self.ring.is_empty() {
            return Some(room);
        }
        self.ring = room;
        // What was noted before cannot be told: whoever asks for it was away for too long.
        self.next = self.next.saturating_add(ROOM as u64 + 1);
        None
    }

    /// Notes a change that has been made: after it, never before.
    pub fn note(&mut self, change: Change) {
        let Some(last) = self.ring.len().checked_sub(1) else {
            return;
        };
        if let Some(place) = self.ring.get_mut(self.next as usize & last) {
            *place = change;
            self.next += 1;
        }
    }

    /// How many there were.
    pub fn now(&self) -> u64 {
        self.next
    }

    /// Copies the changes from number `from` on, up to now or as many as there is room for. None:
    /// that is too long ago.
    pub fn since(&self, from: u64, out: &mut [Change]) -> Option<usize> {
        let count = self.next.checked_sub(from)?;
        if count > self.ring.len() as u64 {
            return None;
        }
        let count = (count as usize).min(out.len());
        let last = self.ring.len().saturating_sub(1);
        for (i, place) in out.iter_mut().take(count).enumerate() {
            *place = *self.ring.get((from + i as u64) as usize & last)?;
        }
        Some(count)
    }
}
