// SPDX-License-Identifier: GPL-2.0

//! The best k hits so far.

use super::Record;
use kernel::prelude::*;

/// A record with its distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// True key of the distance: lower is better.
    pub key: u64,
    /// Slot of the record; the lower one is better when keys are equal.
    pub slot: u32,
    /// The record as it was when the hit was let in.
    pub record: Record,
}

/// Hits that there is room for at once.
const FIRST: usize = 16;

/// The best `k` hits, as a heap with the worst of them on top. Takes memory for
/// what it holds, never for more than `k`.
pub struct Top {
    k: usize,
    heap: KVVec<Hit>,
}

impl Top {
    /// An empty one.
    pub fn new(k: usize) -> Top {
        Top {
            k,
            heap: KVVec::new(),
        }
    }

    fn rank(hit: &Hit) -> (u64, u32) {
        (hit.key, hit.slot)
    }

    /// Whether a hit with this key and slot would be let in.
    pub fn wants(&self, key: u64, slot: u32) -> bool {
        if self.heap.len() < self.k {
            return true;
        }
        match self.heap.first() {
            Some(worst) => (key, slot) < Self::rank(worst),
            None => false,
        }
    }

    /// The key that a hit must not be above, if there is such a bound yet.
    pub fn worst(&self) -> Option<u64> {
        if self.heap.len() < self.k {
            return None;
        }
        self.heap.first().map(|hit| hit.key)
    }

    /// Adds a hit, and drops the worst one if there are more than k.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; nothing is changed then.
    pub fn add(&mut self, hit: Hit) -> Result {
        if self.heap.len() < self.k {
            if self.heap.is_empty() {
                self.heap.reserve(self.k.min(FIRST), GFP_KERNEL)?;
            }
            self.heap.push(hit, GFP_KERNEL)?;
            self.up(self.heap.len() - 1);
        } else if self.wants(hit.key, hit.slot) {
            if let Some(worst) = self.heap.first_mut() {
                *worst = hit;
                sift_down(&mut self.heap, 0, &Self::rank);
            }
        }
        Ok(())
    }

    fn up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if Self::rank(&self.heap[parent]) >= Self::rank(&self.heap[at]) {
                break;
            }
            self.heap.swap(parent, at);
            at = parent;
        }
    }

    /// The hits, best first.
    pub fn into_sorted(mut self) -> KVVec<Hit> {
        sort_by_key(&mut self.heap, Self::rank);
        self.heap
    }
}

/// Sorts in place, by a heap: the standard library's way has more code than the rest of this
/// folder, and panics inside that the kernel's tools cannot see through.
pub fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    for at in (0..items.len() / 2).rev() {
        sift_down(items, at, &key);
    }
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        if let Some(rest) = items.get_mut(..end) {
            sift_down(rest, 0, &key);
        }
    }
}

/// Lets the item at `at` sink below those with larger keys.
fn sift_down<T, K: Ord>(items: &mut [T], mut at: usize, key: &impl Fn(&T) -> K) {
    loop {
        let mut largest = at;
        for child in [2 * at + 1, 2 * at + 2] {
            if child < items.len() && key(&items[child]) > key(&items[largest]) {
                largest = child;
            }
        }
        if largest == at {
            return;
        }
        items.swap(at, largest);
        at = largest;
    }
}
