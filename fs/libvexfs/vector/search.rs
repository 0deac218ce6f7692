// SPDX-License-Identifier: GPL-2.0

//! Exact search: one pass over the live slots for all queries of a call.
//!
//! The pass knows neither pages nor permissions: a [`Scan`] gives it records, scores
//! and verdicts. It works in batches, so that what it holds depends on the number of
//! queries and k, not on the size of the collection.

use super::top::{Hit, Top};
use super::Record;
use core::ops::Range;
use kernel::prelude::*;

/// Records that are looked at together.
pub const BATCH: usize = 512;
/// Queries whose keys are held at once.
pub const QUERIES: usize = 16;
/// Dead slots between live ones that are scored along rather than begin a new run.
const GAP: u32 = 4;

/// What a pass needs to know. Keys are integers that order like distances, lower is
/// better; `fs/simd` makes them.
pub trait Scan {
    /// Appends live records, in the order of their slots, from slot `from` on, and
    /// not more than `room`. None: there are no more.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    fn records(&mut self, from: u32, room: usize, out: &mut KVec<(u32, Record)>) -> Result;

    /// Whether the record may be a hit, if it lives: the caller may see what owns it,
    /// and it is what the search is restricted to. May remember verdicts.
    ///
    /// # Errors
    ///
    /// Only what must end the search.
    fn admits(&mut self, record: &Record) -> Result<bool>;

    /// Gives each pair of a query and a slot an optimistic key: not above what
    /// [`Scan::bound`] makes of the true one. `keys[(q - queries.start) * stride + i]`
    /// is that of query `q` and slot `slots.start + i`.
    ///
    /// # Errors
    ///
    /// `EIO`, `ENOMEM`, `EINTR`.
    fn score(
        &mut self,
        queries: Range<usize>,
        slots: Range<u32>,
        stride: usize,
        keys: &mut [u32],
    ) -> Result;

    /// The true key of a query and a slot.
    ///
    /// # Errors
    ///
    /// `EIO`, `ENOMEM`.
    fn exact(&mut self, query: usize, slot: u32) -> Result<u64>;

    /// The 32-bit key that no optimistic key of a hit with this true key is above.
    fn bound(&mut self, key: u64) -> u32;

    /// Whether the slot still has this very record. Asked after its vector was read:
    /// if it has, the vector read was the record's.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    fn unchanged(&mut self, slot: u32, record: &Record) -> Result<bool>;

    /// Called between batches: lets others run.
    ///
    /// # Errors
    ///
    /// `EINTR` if the caller is being killed.
    fn pause(&mut self) -> Result;
}

/// The `k` best visible records for each of `queries` queries, best first.
///
/// # Errors
///
/// What the scan returns, and `ENOMEM`.
pub fn exact(scan: &mut impl Scan, queries: usize, k: usize) -> Result<KVec<KVVec<Hit>>> {
    let mut tops = KVec::with_capacity(queries, GFP_KERNEL)?;
    for _ in 0..queries {
        tops.push(Top::new(k), GFP_KERNEL)?;
    }
    let mut bounds = KVec::from_elem(u32::MAX, queries, GFP_KERNEL)?;
    let mut keys = KVec::from_elem(0u32, BATCH * queries.min(QUERIES), GFP_KERNEL)?;
    let mut records = KVec::with_capacity(BATCH, GFP_KERNEL)?;
    let mut from = 0u32;
    loop {
        scan.pause()?;
        records.clear();
        scan.records(from, BATCH, &mut records)?;
        let Some(&(last, _)) = records.last() else {
            break;
        };
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let (run, after) = rest.split_at(run_length(rest));
            batch(scan, run, &mut tops, &mut bounds, &mut keys)?;
            rest = after;
        }
        from = match last.checked_add(1) {
            Some(next) => next,
            None => break,
        };
    }
    let mut results = KVec::with_capacity(queries, GFP_KERNEL)?;
    for top in tops {
        results.push(top.into_sorted(), GFP_KERNEL)?;
    }
    Ok(results)
}

/// How many of the records lie so close together that their slots are one run.
fn run_length(records: &[(u32, Record)]) -> usize {
    let mut length = 1;
    for pair in records.windows(2) {
        let together = pair[1].0.wrapping_sub(pair[0].0) <= GAP;
        let span = pair[1].0.wrapping_sub(records[0].0) as usize;
        if !together || span >= BATCH {
            break;
        }
        length += 1;
    }
    length
}

fn batch(
    scan: &mut impl Scan,
    run: &[(u32, Record)],
    tops: &mut [Top],
    bounds: &mut [u32],
    keys: &mut [u32],
) -> Result {
    let (Some(&(first, _)), Some(&(last, _))) = (run.first(), run.last()) else {
        return Ok(());
    };
    let slots = first..last.saturating_add(1);
    let width = slots.len();
    let mut at = 0;
    while at < tops.len() {
        let some = at..tops.len().min(at + QUERIES);
        at = some.end;
        let Some(keys) = keys.get_mut(..some.len() * width) else {
            return Err(EINVAL);
        };
        scan.score(some.clone(), slots.clone(), width, keys)?;
        for q in some.clone() {
            let row = keys.get((q - some.start) * width..).unwrap_or(&[]);
            let (Some(top), Some(bound)) = (tops.get_mut(q), bounds.get_mut(q)) else {
                continue;
            };
            for (slot, record) in run {
                let key = row
                    .get((slot - first) as usize)
                    .copied()
                    .unwrap_or(u32::MAX);
                if key <= *bound {
                    candidate(scan, q, *slot, record, top, bound)?;
                }
            }
        }
    }
    Ok(())
}

/// Looks closely at a record that may be a hit, and lets it in if it is one.
fn candidate(
    scan: &mut impl Scan,
    query: usize,
    slot: u32,
    record: &Record,
    top: &mut Top,
    bound: &mut u32,
) -> Result {
    let key = scan.exact(query, slot)?;
    if !top.wants(key, slot) || !scan.admits(record)? || !scan.unchanged(slot, record)? {
        return Ok(());
    }
    top.add(Hit {
        key,
        slot,
        record: *record,
    })?;
    if let Some(worst) = top.worst() {
        *bound = scan.bound(worst);
    }
    Ok(())
}
