// SPDX-License-Identifier: GPL-2.0

//! Exact search: one pass over the live slots for all queries of a call.
//!
//! Or over some slots that are known to be enough, in the same way.
//!
//! The pass knows neither pages nor permissions: a [`Scan`] gives it records, scores
//! and verdicts. It works in batches, so that what it holds depends on the number of
//! queries and k, not on the size of the collection.

use super::list::List;
use super::top::Hit;
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

    /// The record that lives in a slot.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    fn record(&mut self, slot: u32) -> Result<Option<Record>>;

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
    fn bound(&self, key: u64) -> u32;

    /// Whether the slot still has this very record. Asked after its vector was read:
    /// if it has, the vector read was the record's.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    fn unchanged(&mut self, slot: u32, record: &Record) -> Result<bool>;

    /// Called between batches: lets others run. Whether to go on: a caller may have set a
    /// budget.
    ///
    /// # Errors
    ///
    /// `EINTR` if the caller is being killed.
    fn pause(&mut self) -> Result<bool>;
}

/// What a pass needs besides its scan.
struct Room {
    keys: KVec<u32>,
    records: KVec<(u32, Record)>,
}

impl Room {
    fn new(queries: usize) -> Result<Room> {
        Ok(Room {
            keys: KVec::from_elem(0u32, BATCH * queries.min(QUERIES), GFP_KERNEL)?,
            records: KVec::with_capacity(BATCH, GFP_KERNEL)?,
        })
    }

    /// Compares the records with all queries.
    fn compare(&mut self, scan: &mut impl Scan, lists: &mut [List]) -> Result {
        let mut rest = self.records.as_slice();
        while !rest.is_empty() {
            let (run, after) = rest.split_at(run_length(rest));
            batch(scan, run, lists, &mut self.keys)?;
            rest = after;
        }
        Ok(())
    }
}

/// Fills a list for each query with the best of all records that are admitted. False: the
/// scan's budget was used up before all were seen.
///
/// # Errors
///
/// What the scan returns, and `ENOMEM`.
pub fn all(scan: &mut impl Scan, lists: &mut [List]) -> Result<bool> {
    let mut room = Room::new(lists.len())?;
    let mut from = 0u32;
    loop {
        if !scan.pause()? {
            return Ok(false);
        }
        room.records.clear();
        scan.records(from, BATCH, &mut room.records)?;
        let Some(&(last, _)) = room.records.last() else {
            return Ok(true);
        };
        room.compare(scan, lists)?;
        from = match last.checked_add(1) {
            Some(next) => next,
            None => return Ok(true),
        };
    }
}

/// The same over the slots that are given, in ascending order.
///
/// # Errors
///
/// As [`all`].
pub fn some(scan: &mut impl Scan, slots: &[u32], lists: &mut [List]) -> Result<bool> {
    // Mostly an index has no tail.
    if slots.is_empty() {
        return Ok(true);
    }
    let mut room = Room::new(lists.len())?;
    for slots in slots.chunks(BATCH) {
        if !scan.pause()? {
            return Ok(false);
        }
        room.records.clear();
        for &slot in slots {
            if let Some(record) = scan.record(slot)? {
                room.records.push((slot, record), GFP_KERNEL)?;
            }
        }
        room.compare(scan, lists)?;
    }
    Ok(true)
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
    lists: &mut [List],
    keys: &mut [u32],
) -> Result {
    let (Some(&(first, _)), Some(&(last, _))) = (run.first(), run.last()) else {
        return Ok(());
    };
    let slots = first..last.saturating_add(1);
    let width = slots.len();
    let mut at = 0;
    while at < lists.len() {
        let some = at..lists.len().min(at + QUERIES);
        at = some.end;
        let Some(keys) = keys.get_mut(..some.len() * width) else {
            return Err(EINVAL);
        };
        scan.score(some.clone(), slots.clone(), width, keys)?;
        for q in some.clone() {
            let row = keys.get((q - some.start) * width..).unwrap_or(&[]);
            let Some(list) = lists.get_mut(q) else {
                continue;
            };
            for (slot, record) in run {
                let key = row
                    .get((slot - first) as usize)
                    .copied()
                    .unwrap_or(u32::MAX);
                if key <= list.limit() {
                    offer(scan, q, *slot, record, list)?;
                }
            }
        }
    }
    Ok(())
}

/// Looks closely at a record that may be a hit, and lets it in if it is one. What finds
/// candidates in another way than by a pass over the slots offers them here.
///
/// # Errors
///
/// What the scan returns, and `ENOMEM`.
pub fn offer(
    scan: &mut impl Scan,
    query: usize,
    slot: u32,
    record: &Record,
    list: &mut List,
) -> Result {
    let hit = Hit {
        key: scan.exact(query, slot)?,
        slot,
        record: *record,
    };
    let_in(scan, hit, list, |scan| scan.unchanged(slot, record))
}

/// Lets a hit in if the list wants it, it is admitted, and its record `lives` still.
pub(super) fn let_in<S: Scan>(
    scan: &mut S,
    hit: Hit,
    list: &mut List,
    lives: impl FnOnce(&mut S) -> Result<bool>,
) -> Result {
    if !list.wants(&hit, |key| scan.bound(key)) || !scan.admits(&hit.record)? || !lives(scan)? {
        return Ok(());
    }
    list.add(hit, |key| scan.bound(key))
}
