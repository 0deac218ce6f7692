// SPDX-License-Identifier: GPL-2.0

//! Exact search among vectors that are held in memory, one after the other, with their records: those
//! that a prepared filter was found to let in.

use super::index::beam::Beam;
use super::list::List;
use super::search::{let_in, Scan, QUERIES};
use super::top::Hit;
use super::Record;
use core::ops::Range;
use kernel::prelude::*;

/// Vectors that are compared before the best of them are looked at closely.
const BLOCK: usize = 4096;
/// Of a block the best so many are looked at first. When the list is full of good hits, hardly any of
/// the others are worth a look.
const FIRST: usize = 64;
/// Beyond as many as are wanted: rough keys are not quite in order.
const SPARE: usize = 8;

/// A scan that holds some vectors in memory.
pub trait Held: Scan {
    /// How many it holds.
    fn held(&self) -> usize;

    /// The slot and the record of one, as it was when the vector was copied.
    fn entry(&self, row: usize) -> Option<(u32, Record)>;

    /// [`Scan::score`] of rows instead of slots, `rows.len()` keys for each query.
    ///
    /// # Errors
    ///
    /// `EINTR`.
    fn score_held(&mut self, queries: Range<usize>, rows: Range<usize>, keys: &mut [u32])
        -> Result;

    /// [`Scan::exact`] of a row.
    ///
    /// # Errors
    ///
    /// `EINVAL`.
    fn exact_held(&mut self, query: usize, row: usize) -> Result<u64>;

    /// Whether a slot has this very record still. Then the vector that is held is its.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    fn lives(&mut self, slot: u32, record: &Record) -> Result<bool>;
}

/// Fills a list for each query with the best of what is held and admitted. False: the scan's budget
/// was used up before all were seen.
///
/// # Errors
///
/// What the scan returns, and `ENOMEM`.
pub fn held(scan: &mut impl Held, lists: &mut [List]) -> Result<bool> {
    let count = scan.held();
    let width = count.min(BLOCK);
    let mut keys = KVVec::from_elem(0u32, width * lists.len().min(QUERIES), GFP_KERNEL)?;
    let mut first = Beam::new(1)?;
    for from in (0..count).step_by(BLOCK) {
        let rows = from..count.min(from + BLOCK);
        for at in (0..lists.len()).step_by(QUERIES) {
            if !scan.pause()? {
                return Ok(false);
            }
            let queries = at..lists.len().min(at + QUERIES);
            let keys = keys.get_mut(..queries.len() * rows.len()).ok_or(EINVAL)?;
            scan.score_held(queries.clone(), rows.clone(), keys)?;
            let some = lists.get_mut(queries.clone()).unwrap_or(&mut []);
            for ((query, list), keys) in queries.zip(some).zip(keys.chunks(rows.len())) {
                closest(scan, query, rows.start, keys, list, &mut first)?;
            }
        }
    }
    Ok(true)
}

/// Offers the list of a query what it may want of the rows from `start` on, the best first.
fn closest(
    scan: &mut impl Held,
    query: usize,
    start: usize,
    keys: &[u32],
    list: &mut List,
    first: &mut Beam,
) -> Result {
    first.reset(list.want().k.saturating_add(SPARE).min(FIRST))?;
    let limit = list.limit();
    for (row, key) in keys.iter().enumerate() {
        if *key <= limit && *key < first.limit() {
            first.add(*key, row as u32);
        }
    }
    for (_, row) in first.iter() {
        offer(scan, query, start + row as usize, list)?;
    }
    for (row, key) in keys.iter().enumerate() {
        if *key <= list.limit() && first.iter().all(|(_, offered)| offered as usize != row) {
            offer(scan, query, start + row, list)?;
        }
    }
    Ok(())
}

fn offer(scan: &mut impl Held, query: usize, row: usize, list: &mut List) -> Result {
    let Some((slot, record)) = scan.entry(row) else {
        return Ok(());
    };
    let key = scan.exact_held(query, row)?;
    let hit = Hit { key, slot, record };
    let_in(scan, hit, list, |scan| scan.lives(slot, &record))
}
