// SPDX-License-Identifier: GPL-2.0

//! What a search keeps: candidates in order, and the nodes that it has seen.

use crate::libvexfs::vector::room::zeroes;
use kernel::prelude::*;

/// Marks a candidate that was taken; the lowest bit of its key.
const TAKEN: u64 = 1 << 32;

/// A bounded list of candidates (key, slot), best first.
pub struct Beam {
    /// Key in the upper half, slot in the lower.
    items: KVVec<u64>,
    len: usize,
    /// Nothing before it is left to be taken.
    next: usize,
}

impl Beam {
    /// An empty list for at most `room` candidates.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(room: usize) -> Result<Beam> {
        let mut beam = Beam {
            items: KVVec::new(),
            len: 0,
            next: 0,
        };
        beam.reset(room)?;
        Ok(beam)
    }

    /// Empties it and sets its room.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn reset(&mut self, room: usize) -> Result {
        (self.len, self.next) = (0, 0);
        self.items.resize(room.max(1), 0, GFP_KERNEL)?;
        Ok(())
    }

    /// Candidates that it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The key that another candidate must be below.
    pub fn limit(&self) -> u32 {
        if self.len < self.items.len() {
            return u32::MAX;
        }
        self.items.last().map_or(0, |item| (item >> 32) as u32)
    }

    /// The key of the `n`-th best candidate; the farthest if there are fewer.
    pub fn nth(&self, n: usize) -> u32 {
        let held = self.items.get(..self.len).unwrap_or(&[]);
        let item = n.checked_sub(1).and_then(|n| held.get(n));
        item.map_or(u32::MAX, |item| (item >> 32) as u32)
    }

    /// Adds a candidate, and drops the worst if there is no room. One that is there with the
    /// very same key is not added again.
    pub fn add(&mut self, key: u32, slot: u32) {
        let item = u64::from(key & !1) << 32 | u64::from(slot);
        let held = self.items.get(..self.len).unwrap_or(&[]);
        let at = held.partition_point(|have| *have < item);
        let same = |i: usize| held.get(i).is_some_and(|have| have & !TAKEN == item);
        if at >= self.items.len() || same(at) || at > 0 && same(at - 1) {
            return;
        }
        let moved = self.len.min(self.items.len() - 1);
        self.items.copy_within(at..moved, at + 1);
        if let Some(place) = self.items.get_mut(at) {
            *place = item;
        }
        self.len = moved + 1;
        self.next = self.next.min(at);
    }

    /// Takes the best candidate that was not taken yet.
    pub fn take(&mut self) -> Option<(u32, u32)> {
        while self.next < self.len {
            let item = self.items.get_mut(self.next)?;
            self.next += 1;
            if *item & TAKEN == 0 {
                *item |= TAKEN;
                return Some(((*item >> 32) as u32, *item as u32));
            }
        }
        None
    }

    /// The slots of the next `n` candidates.
    pub fn ahead(&self, n: usize) -> impl Iterator<Item = u32> + '_ {
        let rest = self.items.get(self.next..self.len).unwrap_or(&[]);
        let rest = rest.iter().filter(|item| **item & TAKEN == 0);
        rest.take(n).map(|item| *item as u32)
    }

    /// All candidates (key, slot), best first.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let held = self.items.get(..self.len).unwrap_or(&[]);
        held.iter().map(|item| ((*item >> 32) as u32, *item as u32))
    }
}

/// The nodes that a search has come across, each with the best key that it was estimated at.
pub struct Seen {
    /// A slot and one in the upper half, a key in the lower; or 0.
    places: KVVec<u64>,
    len: usize,
}

impl Seen {
    /// Places of a new one: 8 KiB.
    const PLACES: usize = 1024;
    /// The key of those that were expanded: none is below it.
    const EXPANDED: u32 = 0;

    /// An empty one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Seen> {
        Ok(Seen {
            places: zeroes(Self::PLACES)?,
            len: 0,
        })
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.places.fill(0);
        self.len = 0;
    }

    /// Whether a key is better than those that the node had. It is remembered then.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn improves(&mut self, slot: u32, key: u32) -> Result<bool> {
        // Zero is what expanded ones have; the lowest bit of a key does not count anyway.
        let key = key.max(1);
        let place = self.place(slot)?;
        let better = *place == 0 || key < *place as u32;
        if better {
            *place = Self::item(slot, key);
        }
        Ok(better)
    }

    /// Says that a node is expanded; false if it was already.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn expand(&mut self, slot: u32) -> Result<bool> {
        let item = Self::item(slot, Self::EXPANDED);
        let place = self.place(slot)?;
        let new = *place != item;
        *place = item;
        Ok(new)
    }

    /// Whether a node was expanded.
    pub fn expanded(&self, slot: u32) -> bool {
        let at = Self::find(&self.places, slot);
        at.and_then(|at| self.places.get(at)) == Some(&Self::item(slot, Self::EXPANDED))
    }

    fn item(slot: u32, key: u32) -> u64 {
        (u64::from(slot) + 1) << 32 | u64::from(key)
    }

    /// The place of a slot: its own, or a free one.
    fn place(&mut self, slot: u32) -> Result<&mut u64> {
        if self.len * 2 >= self.places.len() {
            self.grow()?;
        }
        let at = Self::find(&self.places, slot).ok_or(ENOMEM)?;
        let place = self.places.get_mut(at).ok_or(ENOMEM)?;
        // Whoever asks for a place fills it.
        self.len += usize::from(*place == 0);
        Ok(place)
    }

    /// The number of places is a power of two, and some are free.
    fn find(places: &[u64], slot: u32) -> Option<usize> {
        let mask = places.len().wrapping_sub(1);
        let mut at = (slot.wrapping_mul(0x9e37_79b1) >> 7) as usize & mask;
        loop {
            let item = *places.get(at)?;
            if item == 0 || item >> 32 == u64::from(slot) + 1 {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) -> Result {
        let mut places = zeroes(self.places.len() * 2)?;
        for item in self.places.iter().filter(|item| **item != 0) {
            let slot = ((item >> 32) - 1) as u32;
            if let Some(place) = Self::find(&places, slot).and_then(|at| places.get_mut(at)) {
                *place = *item;
            }
        }
        self.places = places;
        Ok(())
    }
}
