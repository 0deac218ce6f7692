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

/// The best `k` hits, as a heap with the worst of them on top. Takes memory for
/// what it holds, never for more than `k`.
pub struct Top {
    k: usize,
    heap: KVec<Hit>,
}

impl Top {
    /// An empty one.
    pub fn new(k: usize) -> Top {
        Top { k, heap: KVec::new() }
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
            self.heap.push(hit, GFP_KERNEL)?;
            self.up(self.heap.len() - 1);
        } else if self.wants(hit.key, hit.slot) {
            if let Some(worst) = self.heap.first_mut() {
                *worst = hit;
                self.down();
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

    fn down(&mut self) {
        let mut at = 0;
        loop {
            let mut worst = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len()
                    && Self::rank(&self.heap[child]) > Self::rank(&self.heap[worst])
                {
                    worst = child;
                }
            }
            if worst == at {
                return;
            }
            self.heap.swap(at, worst);
            at = worst;
        }
    }

    /// The hits, best first.
    pub fn into_sorted(mut self) -> KVec<Hit> {
        self.heap.sort_unstable_by_key(Self::rank);
        self.heap
    }
}
