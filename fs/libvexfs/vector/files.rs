// SPDX-License-Identifier: GPL-2.0

//! The best k files so far, each with its best hit.

use super::top::{sort_by_key, Hit};
use kernel::prelude::*;

/// Places of the table when it is made.
const TABLE_MIN: usize = 64;

/// The best hit of each of the `k` best files.
///
/// A file that was dropped was worse than k others, which only get better; so it comes back
/// only with a better record, and then by that.
///
/// Hits stay where they are while they are in. A heap of their numbers has the worst on top,
/// and a table finds them by file.
pub struct Files {
    k: usize,
    hits: KVVec<Hit>,
    heap: KVVec<u32>,
    /// Where in the heap each hit is.
    place: KVVec<u32>,
    /// Numbers of hits plus 1, or 0; at the place that the file hashes to, or the next free one.
    table: KVVec<u32>,
}

fn rank(hit: &Hit) -> (u64, u32) {
    (hit.key, hit.slot)
}

fn same_file(a: &Hit, b: &Hit) -> bool {
    (a.record.ino, a.record.generation) == (b.record.ino, b.record.generation)
}

impl Files {
    /// None so far.
    pub fn new(k: usize) -> Files {
        Files {
            k,
            hits: KVVec::new(),
            heap: KVVec::new(),
            place: KVVec::new(),
            table: KVVec::new(),
        }
    }

    /// Whether there are as many files as it takes.
    pub fn full(&self) -> bool {
        self.hits.len() >= self.k
    }

    /// The key that a hit must not be above, if there is such a bound yet.
    pub fn worst(&self) -> Option<u64> {
        if !self.full() {
            return None;
        }
        self.top().map(|hit| hit.key)
    }

    fn top(&self) -> Option<&Hit> {
        self.hits.get(*self.heap.first()? as usize)
    }

    /// Whether a hit would be let in.
    pub fn wants(&self, hit: &Hit) -> bool {
        match self.find(hit).and_then(|at| self.hit_at(at)) {
            Some((_, known)) => rank(hit) < rank(known),
            None => !self.full() || self.top().is_some_and(|worst| rank(hit) < rank(worst)),
        }
    }

    /// Adds a hit, if it is wanted.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; nothing is changed then.
    pub fn add(&mut self, hit: Hit) -> Result {
        if !self.wants(&hit) {
            return Ok(());
        }
        let found = self.find(&hit).and_then(|at| self.hit_at(at));
        if let Some((number, _)) = found {
            self.replace(number, hit);
        } else if self.full() {
            let Some(&number) = self.heap.first() else {
                return Ok(());
            };
            self.forget(number);
            self.replace(number, hit);
            self.note(number);
        } else {
            self.room()?;
            let number = self.hits.len() as u32;
            self.hits.push(hit, GFP_KERNEL)?;
            self.heap.push(number, GFP_KERNEL)?;
            self.place.push(number, GFP_KERNEL)?;
            self.note(number);
            self.up(number as usize);
        }
        Ok(())
    }

    /// The hits, best first.
    pub fn into_sorted(mut self) -> KVVec<Hit> {
        sort_by_key(&mut self.hits, rank);
        self.hits
    }

    // --- The table ---

    fn home(&self, hit: &Hit) -> usize {
        let hash = hit.record.ino.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        // Its length is a power of two.
        hash as usize & self.table.len().wrapping_sub(1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & self.table.len().wrapping_sub(1)
    }

    /// The number at a place of the table, and its hit.
    fn hit_at(&self, at: usize) -> Option<(u32, &Hit)> {
        let number = self.table.get(at)?.checked_sub(1)?;
        Some((number, self.hits.get(number as usize)?))
    }

    /// The place in the table of a hit's file.
    fn find(&self, hit: &Hit) -> Option<usize> {
        let mut at = self.home(hit);
        while let Some((_, known)) = self.hit_at(at) {
            if same_file(known, hit) {
                return Some(at);
            }
            at = self.next(at);
        }
        None
    }

    /// Enters a hit. There is room.
    fn note(&mut self, number: u32) {
        let Some(hit) = self.hits.get(number as usize) else {
            return;
        };
        let mut at = self.home(hit);
        while self.hit_at(at).is_some() {
            at = self.next(at);
        }
        if let Some(entry) = self.table.get_mut(at) {
            *entry = number + 1;
        }
    }

    /// Takes a hit out of the table.
    fn forget(&mut self, number: u32) {
        let found = self
            .hits
            .get(number as usize)
            .and_then(|hit| self.find(hit));
        let Some(mut hole) = found else { return };
        // Those behind it that could not have their places move up.
        let mut at = self.next(hole);
        while let Some((other, hit)) = self.hit_at(at) {
            let home = self.home(hit);
            let mask = self.table.len().wrapping_sub(1);
            let from_home = at.wrapping_sub(home) & mask;
            let from_hole = at.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                if let Some(entry) = self.table.get_mut(hole) {
                    *entry = other + 1;
                }
                hole = at;
            }
            at = self.next(at);
        }
        if let Some(entry) = self.table.get_mut(hole) {
            *entry = 0;
        }
    }

    /// Makes room for one more: the table is never more than half full.
    fn room(&mut self) -> Result {
        if (self.hits.len() + 1) * 2 <= self.table.len() {
            return Ok(());
        }
        let len = (self.table.len() * 2).max(TABLE_MIN);
        let mut table = KVVec::from_elem(0u32, len, GFP_KERNEL)?;
        core::mem::swap(&mut self.table, &mut table);
        for number in 0..self.hits.len() as u32 {
            self.note(number);
        }
        Ok(())
    }

    // --- The heap ---

    fn rank_at(&self, at: usize) -> Option<(u64, u32)> {
        let number = *self.heap.get(at)?;
        self.hits.get(number as usize).map(rank)
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for at in [a, b] {
            if let Some(place) = self.place.get_mut(self.heap[at] as usize) {
                *place = at as u32;
            }
        }
    }

    fn up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.rank_at(parent) >= self.rank_at(at) {
                break;
            }
            self.swap(parent, at);
            at = parent;
        }
    }

    /// Puts a better hit in the place of another.
    fn replace(&mut self, number: u32, hit: Hit) {
        if let Some(old) = self.hits.get_mut(number as usize) {
            *old = hit;
        }
        let Some(&place) = self.place.get(number as usize) else {
            return;
        };
        let mut at = place as usize;
        loop {
            let mut largest = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if self.rank_at(child) > self.rank_at(largest) {
                    largest = child;
                }
            }
            if largest == at {
                return;
            }
            self.swap(at, largest);
            at = largest;
        }
    }
}
