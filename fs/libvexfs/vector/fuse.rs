// SPDX-License-Identifier: GPL-2.0

//! Several lists become one, by reciprocal ranks (Cormack, Clarke, Büttcher, SIGIR 2009): the
//! r-th of a list gets 1 / (60 + r) from it. Ranks need no common scale of scores.

use super::top::{sort_by_key, Hit};
use kernel::prelude::*;

/// What is added to each rank.
const CONSTANT: u64 = 60;
/// Scores have so many bits behind the point.
const POINT: u32 = 40;

/// The key of a fused score: lower is better.
fn key(score: u64) -> u64 {
    u64::MAX - score
}

/// One hit of one list.
#[derive(Clone, Copy)]
struct Ranked {
    hit: Hit,
    rank: u64,
}

/// Fuses lists, each best first, into one, best first; with `files` a file is one thing, else
/// a record is. Of each the hit with the best rank stays. The keys of the result are those of
/// fused scores, see [`score`].
///
/// # Errors
///
/// `ENOMEM`.
pub fn fuse(lists: &[KVVec<Hit>], files: bool) -> Result<KVVec<Hit>> {
    let total = lists.iter().map(|list| list.len()).sum();
    let mut all = KVVec::with_capacity(total, GFP_KERNEL)?;
    for list in lists {
        for (rank, hit) in (1u64..).zip(list.iter()) {
            all.push(Ranked { hit: *hit, rank }, GFP_KERNEL)?;
        }
    }
    // Both are constant over what is one thing: in a list each file comes once, in a search
    // each slot has one record.
    let thing = |hit: &Hit| match files {
        true => (hit.record.ino, u64::from(hit.record.generation)),
        false => (hit.slot.into(), hit.record.sequence.into()),
    };
    sort_by_key(&mut all, |r| (thing(&r.hit), r.rank, r.hit.slot));
    let mut fused: KVVec<Hit> = KVVec::new();
    let mut last = None;
    let mut sum = 0;
    for ranked in all.iter() {
        let this = thing(&ranked.hit);
        if last != Some(this) {
            last = Some(this);
            sum = 0;
            fused.push(ranked.hit, GFP_KERNEL)?;
        }
        // The divisor is above 60; sums of 2^16 of these have less than 51 bits.
        sum += (1u64 << POINT)
            .checked_div(ranked.rank.saturating_add(CONSTANT))
            .unwrap_or(0);
        if let Some(hit) = fused.last_mut() {
            hit.key = key(sum);
        }
    }
    sort_by_key(&mut fused, |hit| (hit.key, hit.slot));
    Ok(fused)
}

/// The score that a user gets for the key of a fused hit: bits of an f32, rounded down.
pub fn score(key: u64) -> u32 {
    let sum = u64::MAX - key;
    if sum == 0 {
        return 0;
    }
    let top = 63 - sum.leading_zeros();
    let mantissa = match top.checked_sub(23) {
        Some(shift) => sum >> shift,
        None => sum << (23 - top),
    };
    // The exponent is that of the highest bit, 127 stands for 0; the highest bit is not stored.
    (top + 127 - POINT) << 23 | (mantissa as u32 & 0x007f_ffff)
}
