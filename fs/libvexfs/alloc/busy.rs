// SPDX-License-Identifier: GPL-2.0

//! Freed blocks whose transaction has not committed, and free ones that somebody claims.
//!
//! Data is written in place, so a block that was freed by a transaction that a crash may
//! undo must not get new data before it has committed. Nor may metadata go there: jbd2 has
//! no way to create a buffer anew that the committing transaction still forgets. At most
//! two transactions have not committed at any time, the running and the committing one;
//! each has a bitmap for every region in which it freed something.

use super::bitmap::{for_words, WORDS};
use super::Place;
use crate::libvexfs::journal::{tid_geq, Tid};
use kernel::prelude::*;

/// What one transaction freed in one region.
struct Freed {
    tid: Tid,
    count: u32,
    bits: KVec<u64>,
}

/// A run for which there was no bitmap to be had.
#[derive(Clone, Copy)]
struct Run {
    tid: Tid,
    region: u32,
    bit: u32,
    len: u32,
}

/// A run's bits in word `i` of its region's bitmap.
fn run_word(bit: u32, len: u32, i: usize) -> u64 {
    let mut found = 0;
    for_words(bit, len, |j, mask| {
        if i == j {
            found = mask;
        }
    });
    found
}

/// Runs that are kept without memory of their own.
const RUNS: usize = 8;

/// A region in which something is busy.
struct BusyRegion {
    region: u32,
    freed: [Option<Freed>; 2],
}

/// The busy blocks of a group.
pub(crate) struct Busy {
    /// Sorted by region.
    regions: KVec<BusyRegion>,
    /// For when there is no memory.
    runs: [Option<Run>; RUNS],
    /// Even these were not enough for what this transaction freed: until it has committed,
    /// every block of the group counts as busy.
    all_until: Option<Tid>,
    /// How many blocks are busy, without those that are claimed.
    total: u64,
    /// Free blocks that are written to already; one for each task that does.
    claims: KVec<Place>,
    /// The newest commit that was taken note of.
    seen: Option<Tid>,
    /// What has committed and the device is to be told of: bitmaps of regions.
    committed: KVec<(u32, KVec<u64>)>,
}

impl Busy {
    pub(crate) fn new() -> Self {
        Busy {
            regions: KVec::new(),
            runs: [None; RUNS],
            all_until: None,
            total: 0,
            claims: KVec::new(),
            seen: None,
            committed: KVec::new(),
        }
    }

    /// Takes blocks that are free for busy until [`Busy::unclaim`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn claim(&mut self, place: Place) -> Result {
        Ok(self.claims.push(place, GFP_KERNEL)?)
    }

    pub(crate) fn unclaim(&mut self, place: &Place) {
        self.claims.retain(|c| c != place);
    }

    /// Notes that blocks were freed by transaction `tid`.
    pub(crate) fn add(&mut self, region: u32, bit: u32, len: u32, tid: Tid) {
        self.total += u64::from(len);
        if self.try_add(region, bit, len, tid).is_ok() {
            return;
        }
        if let Some(free) = self.runs.iter_mut().find(|r| r.is_none()) {
            *free = Some(Run {
                tid,
                region,
                bit,
                len,
            });
        } else {
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
                let new = BusyRegion {
                    region,
                    freed: [None, None],
                };
                self.regions
                    .insert_within_capacity(at, new)
                    .map_err(|_| ENOMEM)?;
                at
            }
        };
        let Some(entry) = self.regions.get_mut(at) else {
            return Err(EINVAL);
        };
        let known = |f: &Option<Freed>| matches!(f, Some(f) if f.tid == tid);
        let slot = match entry.freed.iter().position(known) {
            Some(slot) => slot,
            None => match entry.freed.iter().position(Option::is_none) {
                Some(slot) => {
                    let bits = KVec::from_elem(0, WORDS, GFP_KERNEL)?;
                    entry.freed[slot] = Some(Freed {
                        tid,
                        count: 0,
                        bits,
                    });
                    slot
                }
                // Three at a time cannot be; should they be, the newest covers all.
                None => 1,
            },
        };
        let Some(freed) = &mut entry.freed[slot] else {
            return Err(EINVAL);
        };
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

    /// Forgets what has committed, or keeps it for [`Busy::take_committed`].
    pub(crate) fn settle(&mut self, committed: Tid, keep: bool) {
        if self.seen == Some(committed) {
            return;
        }
        self.seen = Some(committed);
        if matches!(self.all_until, Some(tid) if tid_geq(committed, tid)) {
            self.all_until = None;
        }
        let mut total = 0;
        let kept = &mut self.committed;
        self.regions.retain(|r| {
            for freed in &mut r.freed {
                match freed.take() {
                    Some(f) if !tid_geq(committed, f.tid) => {
                        total += u64::from(f.count);
                        *freed = Some(f);
                    }
                    Some(f) if keep => keep_bits(kept, r.region, f.bits),
                    _ => {}
                }
            }
            r.freed.iter().any(Option::is_some)
        });
        for run in &mut self.runs {
            match run {
                Some(r) if tid_geq(committed, r.tid) => *run = None,
                Some(r) => total += u64::from(r.len),
                None => {}
            }
        }
        self.total = total;
    }

    /// What was kept since the last call: regions, and which of their blocks were freed. Some of
    /// it may be in use again.
    pub(crate) fn take_committed(&mut self) -> KVec<(u32, KVec<u64>)> {
        core::mem::replace(&mut self.committed, KVec::new())
    }

    /// How many blocks are busy.
    pub(crate) fn total(&self) -> u64 {
        let claimed: u64 = self.claims.iter().map(|c| u64::from(c.len)).sum();
        self.total.saturating_add(claimed)
    }

    /// Whether nothing waits for a commit.
    pub(crate) fn is_empty(&self) -> bool {
        self.regions.is_empty() && self.all_until.is_none() && self.runs.iter().all(Option::is_none)
    }

    /// Whether everything must be taken for busy.
    pub(crate) fn all(&self) -> bool {
        self.all_until.is_some()
    }

    /// What is busy in a region.
    pub(crate) fn region(&self, region: u32) -> BusyBits<'_> {
        let freed = match self.regions.binary_search_by_key(&region, |r| r.region) {
            Ok(at) => self.regions.get(at).map(|r| &r.freed),
            Err(_) => None,
        };
        BusyBits {
            busy: self,
            region,
            freed,
        }
    }
}

/// Adds to what is kept. It is forgotten if there is no memory for it.
fn keep_bits(kept: &mut KVec<(u32, KVec<u64>)>, region: u32, bits: KVec<u64>) {
    match kept.iter_mut().find(|(number, _)| *number == region) {
        Some((_, known)) => {
            for (word, more) in known.iter_mut().zip(bits.iter()) {
                *word |= more;
            }
        }
        None => drop(kept.push((region, bits), GFP_KERNEL)),
    }
}

/// The busy blocks of a region.
pub(crate) struct BusyBits<'a> {
    busy: &'a Busy,
    region: u32,
    freed: Option<&'a [Option<Freed>; 2]>,
}

impl BusyBits<'_> {
    fn freed(&self) -> impl Iterator<Item = &Freed> {
        self.freed.into_iter().flatten().flatten()
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.busy
            .runs
            .iter()
            .flatten()
            .filter(|r| r.region == self.region)
    }

    fn claims(&self) -> impl Iterator<Item = &Place> {
        self.busy.claims.iter().filter(|c| c.region == self.region)
    }

    /// How many.
    pub(crate) fn count(&self) -> u32 {
        self.freed().map(|f| f.count).sum::<u32>()
            + self.runs().map(|r| r.len).sum::<u32>()
            + self.claims().map(|c| c.len).sum::<u32>()
    }

    /// 64 of them.
    pub(crate) fn word(&self, i: usize) -> u64 {
        let bits = self
            .freed()
            .fold(0, |w, f| w | f.bits.get(i).copied().unwrap_or(0));
        let bits = self.runs().fold(bits, |w, r| w | run_word(r.bit, r.len, i));
        self.claims()
            .fold(bits, |w, c| w | run_word(c.bit, c.len, i))
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
        busy.settle(6, false);
        assert_eq!(busy.region(3).count(), 29);
        assert_eq!(busy.region(3).word(0), 1 << 10);
        assert_eq!(busy.region(3).word(1), !0 << 36);
        busy.settle(7, false);
        assert_eq!(busy.region(3).count(), 1);
        assert_eq!(busy.region(1).count(), 5);
        busy.settle(8, false);
        assert!(busy.is_empty());
    }

    #[test]
    fn claimed_blocks_are_busy_whatever_commits() {
        let mut busy = Busy::new();
        let place = Place {
            region: 2,
            bit: 60,
            len: 10,
        };
        busy.claim(place).unwrap();
        busy.add(2, 0, 1, 7);
        busy.settle(7, false);
        assert!(busy.is_empty());
        assert_eq!((busy.total(), busy.region(2).count()), (10, 10));
        assert_eq!(busy.region(2).word(0), 0xf << 60);
        assert_eq!(busy.region(2).word(1), 0x3f);
        assert_eq!(busy.region(1).count(), 0);
        busy.unclaim(&place);
        assert_eq!((busy.total(), busy.region(2).count()), (0, 0));
    }

    #[test]
    fn without_memory_nothing_is_forgotten() {
        let mut busy = Busy::new();
        let none = |busy: &mut Busy, region, bit, len, tid| {
            kernel::alloc::fail_after(Some(0));
            busy.add(region, bit, len, tid);
            assert_eq!(kernel::alloc::fail_after(None), 1);
        };
        for i in 0..RUNS as u32 {
            none(&mut busy, i, 60, 10, u32::MAX - 1);
        }
        assert!(!busy.all());
        assert_eq!(busy.total(), 80);
        assert_eq!(busy.region(2).count(), 10);
        assert_eq!(busy.region(2).word(0), 0xf << 60);
        assert_eq!(busy.region(2).word(1), 0x3f);
        // No room for one more: now all of the group is busy.
        none(&mut busy, 0, 0, 1, u32::MAX);
        assert!(busy.all());
        busy.settle(u32::MAX - 1, false);
        assert!(busy.all());
        assert_eq!(busy.region(2).count(), 0);
        busy.settle(0, false);
        assert!(!busy.all() && busy.is_empty());
    }
}
