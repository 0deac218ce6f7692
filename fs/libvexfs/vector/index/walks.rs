// SPDX-License-Identifier: GPL-2.0

//! When all edges of a graph are to be walked along, so that what no search comes to is attached again.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Changes after which there is to be a walk, at least, and slots of the largest graph where that is done:
/// it takes a byte for each, and some microseconds.
const CHANGES: u64 = 16_384;
const SLOTS_MAX: u32 = 4 << 20;

/// What is known since the last walk.
#[derive(Default)]
pub struct Walks {
    changes: AtomicU64,
    /// Somebody found a node that no path leads to.
    lost: AtomicBool,
}

/// Why a walk was begun.
#[derive(Debug)]
#[must_use = "a walk that fails is owed still"]
pub struct Owed {
    changes: u64,
    lost: bool,
}

impl Walks {
    /// For a graph that nobody knows anything of.
    pub fn new() -> Walks {
        Walks::default()
    }

    /// So many nodes were put in or taken out: the only edge to another may have been displaced.
    pub fn changed(&self, nodes: u64) {
        self.changes.fetch_add(nodes, Ordering::Relaxed);
    }

    /// A node was found that no path leads to.
    pub fn found_lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    /// Whether there should be a walk, of a graph with slots below `end`.
    pub fn is_due(&self, end: u32) -> bool {
        let changes = self.changes.load(Ordering::Relaxed);
        let many = changes >= CHANGES.max(u64::from(end) / 2);
        end <= SLOTS_MAX && (many || self.lost.load(Ordering::Relaxed))
    }

    /// A walk begins. What comes from now on is for the next one.
    pub fn begin(&self) -> Owed {
        Owed {
            changes: self.changes.swap(0, Ordering::Relaxed),
            lost: self.lost.swap(false, Ordering::Relaxed),
        }
    }

    /// A walk did not come to its end: it is to be done again.
    pub fn failed(&self, owed: Owed) {
        self.changed(owed.changes);
        if owed.lost {
            self.found_lost();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_that_fails_stays_due() {
        let walks = Walks::new();
        assert!(!walks.is_due(100));
        for lost in [false, true] {
            match lost {
                true => walks.found_lost(),
                false => walks.changed(CHANGES),
            }
            assert!(walks.is_due(100));
            let owed = walks.begin();
            assert!(!walks.is_due(100));
            walks.failed(owed);
            assert!(walks.is_due(100), "lost: {lost}");
            // One that comes to its end is not.
            drop(walks.begin());
            assert!(!walks.is_due(100));
        }
    }

    #[test]
    fn what_comes_during_a_walk_is_for_the_next() {
        let walks = Walks::new();
        walks.found_lost();
        let owed = walks.begin();
        walks.found_lost();
        drop(owed);
        assert!(walks.is_due(100));
        // Large graphs take more changes, and the largest are never walked.
        let walks = Walks::new();
        walks.changed(CHANGES);
        assert!(walks.is_due(100) && !walks.is_due(1 << 20));
        walks.changed(1 << 20);
        assert!(walks.is_due(1 << 20) && !walks.is_due(SLOTS_MAX + 1));
    }
}
