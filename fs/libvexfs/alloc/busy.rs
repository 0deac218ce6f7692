// SPDX-License-Identifier: GPL-2.0

//! Freed blocks whose transaction has not committed.
//!
//! Data is written in place, so a block that was freed by a transaction that a crash may
//! undo must not get new data before it has committed. (Metadata may go there at once: it
//! reaches its place only after a commit, which covers the earlier one.) At most two
//! transactions have not committed at any time, the running and the committing one; each
//! has a bitmap for every region in which it freed something.

use super::bitmap::{for_words, WORDS};
use crate::libvexfs::journal::{tid_geq, Tid};
use kernel::prelude::*;

/// What one transaction freed in one region.
struct Freed {
    tid: Tid,
    /// Blocks; some may have been reused for metadata since.
    count: u32,
    bits: KVec<u64>,
}

/// A region in which something is busy.
struct BusyRegion {
    region: u32,
    freed: [Option<Freed>; 2],
}

/// The busy blocks of a group.
pub(crate) struct Busy {
    /// Sorted by region.
    regions: KVec<BusyRegion>,
    /// There was no memory to note what this transaction freed: until it has committed,
    /// every block of the group counts as busy.
    all_until: Option<Tid>,
    /// The newest commit that was taken note of.
    seen: Option<Tid>,
}

impl Busy {
    pub(crate) fn new() -> Self {
        Busy { regions: KVec::new(), all_until: None, seen: None }
    }

    /// Notes that blocks were freed by transaction `tid`.
    pub(crate) fn add(&mut self, region: u32, bit: u32, len: u32, tid: Tid) {
        if self.try_add(region, bit, len, tid).is_err() {
            self.all_until = Some(match self.all_until {
                Some(old) if tid_geq(old, tid) => old,
                _ => tid,
            });
        }
    }

    fn try_add(&mut self, region: u32, bit: u32, len: u32, tid: Tid) -> Result {
        let at = match self.regions.binary_search_by_key(&region, |r| r.region) {
            Ok(at) => at,
            Err(at) => {
                self.regions.reserve(1, GFP_KERNEL)?;
                let new = BusyRegion { region, freed: [None, None] };
                self.regions.insert_within_capacity(at, new).map_err(|_| ENOMEM)?;
                at
            }
        };
        let Some(entry) = self.regions.get_mut(at) else { return Err(EINVAL) };
        let known = |f: &Option<Freed>| matches!(f, Some(f) if f.tid == tid);
        let slot = match entry.freed.iter().position(known) {
            Some(slot) => slot,
            None => match entry.freed.iter().position(Option::is_none) {
                Some(slot) => {
                    let bits = KVec::from_elem(0, WORDS, GFP_KERNEL)?;
                    entry.freed[slot] = Some(Freed { tid, count: 0, bits });
                    slot
                }
                // Three at a time cannot be; should they be, the newest covers all.
                None => 1,
            },
        };
        let Some(freed) = &mut entry.freed[slot] else { return Err(EINVAL) };
        if tid_geq(tid, freed.tid) {
            freed.tid = tid;
        }
        for_words(bit, len, |i, mask| {
            if let Some(word) = freed.bits.get_mut(i) {
                freed.count += (mask & !*word).count_ones();
                *word |= mask;
            }
        });
        Ok(())
    }

    /// Forgets what has committed.
    pub(crate) fn settle(&mut self, committed: Tid) {
        if self.seen == Some(committed) {
            return;
        }
        self.seen = Some(committed);
        if matches!(self.all_until, Some(tid) if tid_geq(committed, tid)) {
            self.all_until = None;
        }
        self.regions.retain(|r| {
            for freed in &mut r.freed {
                if matches!(freed, Some(f) if tid_geq(committed, f.tid)) {
                    *freed = None;
                }
            }
            r.freed.iter().any(Option::is_some)
        });
    }

    /// Whether nothing is busy.
    pub(crate) fn is_empty(&self) -> bool {
        self.regions.is_empty() && self.all_until.is_none()
    }

    /// Whether everything must be taken for busy.
    pub(crate) fn all(&self) -> bool {
        self.all_until.is_some()
    }

    /// What is busy in a region.
    pub(crate) fn region(&self, region: u32) -> BusyBits<'_> {
        match self.regions.binary_search_by_key(&region, |r| r.region) {
            Ok(at) => BusyBits(self.regions.get(at).map(|r| &r.freed)),
            Err(_) => BusyBits(None),
        }
    }
}

/// The busy blocks of a region.
pub(crate) struct BusyBits<'a>(Option<&'a [Option<Freed>; 2]>);

impl BusyBits<'_> {
    /// How many at most.
    pub(crate) fn count(&self) -> u32 {
        self.0.map_or(0, |f| f.iter().flatten().map(|f| f.count).sum())
    }

    /// 64 of them.
    pub(crate) fn word(&self, i: usize) -> u64 {
        self.0.map_or(0, |f| {
            f.iter().flatten().fold(0, |w, f| w | f.bits.get(i).copied().unwrap_or(0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stay_busy_until_their_transaction_commits() {
        let mut busy = Busy::new();
        busy.add(3, 100, 28, 7);
        busy.add(3, 10, 1, 8);
        busy.add(1, 0, 5, 8);
        busy.settle(6);
        assert_eq!(busy.region(3).count(), 29);
        assert_eq!(busy.region(3).word(0), 1 << 10);
        assert_eq!(busy.region(3).word(1), !0 << 36);
        busy.settle(7);
        assert_eq!(busy.region(3).count(), 1);
        assert_eq!(busy.region(1).count(), 5);
        busy.settle(8);
        assert!(busy.is_empty());
    }

    #[test]
    fn without_memory_the_whole_group_is_busy() {
        let mut busy = Busy::new();
        kernel::alloc::fail_after(Some(0));
        busy.add(0, 0, 1, u32::MAX);
        assert_eq!(kernel::alloc::fail_after(None), 1);
        assert!(busy.all());
        busy.settle(u32::MAX - 1);
        assert!(busy.all());
        busy.settle(0);
        assert!(!busy.all() && busy.is_empty());
    }
}
