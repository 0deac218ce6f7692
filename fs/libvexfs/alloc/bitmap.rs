// SPDX-License-Identifier: GPL-2.0

//! Runs of bits in bitmap blocks.

use crate::libvexfs::format::group::BITMAP_HEADER;
use crate::libvexfs::format::{le64, put64};

/// Words of a bitmap.
pub(crate) const WORDS: usize = crate::libvexfs::format::group::BITMAP_BYTES / 8;

/// Finds `want` clear bits in a row, from bit `from` on and then from the start. If there is no
/// such run, the longest is returned; `None` if all bits are set. `word` gives 64 bits each;
/// `end` is the number of bits.
pub(crate) fn find_run(
    word: impl Fn(usize) -> u64,
    from: u32,
    end: u32,
    want: u32,
) -> Option<(u32, u32)> {
    let mut best = None;
    // A run across `from` is found by the second walk, which starts at the beginning.
    for (mut at, end) in [(from.min(end), end), (0, end)] {
        while let Some(start) = next_clear(&word, at, end) {
            let len = run_length(&word, start, end.min(start.saturating_add(want)));
            if len >= want {
                return Some((start, len));
            }
            if best.is_none_or(|(_, longest)| len > longest) {
                best = Some((start, len));
            }
            at = start + len;
        }
        if from == 0 {
            break;
        }
    }
    best
}

/// The first clear bit at or behind `at`.
pub(crate) fn next_clear(word: &impl Fn(usize) -> u64, at: u32, end: u32) -> Option<u32> {
    let mut at = at;
    while at < end {
        let clear = !word((at / 64) as usize) >> (at % 64);
        if clear != 0 {
            let found = at + clear.trailing_zeros();
            return (found < end).then_some(found);
        }
        at = (at / 64 + 1) * 64;
    }
    None
}

/// How many bits from `start` on are clear, up to `end`.
pub(crate) fn run_length(word: &impl Fn(usize) -> u64, start: u32, end: u32) -> u32 {
    let mut at = start;
    while at < end {
        let set = word((at / 64) as usize) >> (at % 64);
        if set != 0 {
            return (at + set.trailing_zeros()).min(end) - start;
        }
        at = (at / 64 + 1) * 64;
    }
    end.saturating_sub(start)
}

/// The bits of one word that belong to the run from `bit` to `end`.
fn mask(word: u32, bit: u32, end: u32) -> u64 {
    let low = bit.max(word * 64) - word * 64;
    let high = end.min(word * 64 + 64) - word * 64;
    let below = |n: u32| if n >= 64 { u64::MAX } else { (1 << n) - 1 };
    below(high) & !below(low)
}

/// Calls `f` with the index of each word that the run touches and the mask of its bits there.
pub(crate) fn for_words(bit: u32, len: u32, mut f: impl FnMut(usize, u64)) {
    if len == 0 {
        return;
    }
    let end = bit + len;
    for word in bit / 64..=(end - 1) / 64 {
        f(word as usize, mask(word, bit, end));
    }
}

/// The word of a bitmap block's body.
pub(crate) fn word(body: &[u8], i: usize) -> u64 {
    le64(body, BITMAP_HEADER + 8 * i)
}

/// How many bits of a run are set.
pub(crate) fn count_set(body: &[u8], bit: u32, len: u32) -> u32 {
    let mut n = 0;
    for_words(bit, len, |i, mask| n += (word(body, i) & mask).count_ones());
    n
}

/// Sets or clears a run.
pub(crate) fn fill(body: &mut [u8], bit: u32, len: u32, set: bool) {
    for_words(bit, len, |i, mask| {
        let old = word(body, i);
        put64(
            body,
            BITMAP_HEADER + 8 * i,
            if set { old | mask } else { old & !mask },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slow(bits: &[bool], from: usize, want: usize) -> Option<(u32, u32)> {
        let mut runs = Vec::new();
        let mut walk = |range: std::ops::Range<usize>| {
            let mut start = None;
            for i in range.clone() {
                if !bits[i] && start.is_none() {
                    start = Some(i);
                }
                if let Some(s) = start {
                    if bits[i] || i - s == want {
                        runs.push((s, i - s));
                        start = (!bits[i]).then_some(i);
                    }
                }
            }
            if let Some(s) = start {
                runs.push((s, range.end - s));
            }
        };
        walk(from..bits.len());
        walk(0..bits.len());
        let longest = runs.iter().map(|(_, l)| *l).max()?;
        let target = longest.min(want);
        runs.iter()
            .find(|(_, l)| *l >= target)
            .map(|(s, l)| (*s as u32, *l as u32))
    }

    proptest! {
        #[test]
        fn finds_what_a_slow_search_finds(
            runs in proptest::collection::vec((any::<bool>(), 1usize..150), 1..12),
            from in 0usize..300,
            want in 1usize..120,
        ) {
            let bits: Vec<bool> =
                runs.iter().flat_map(|(b, n)| std::iter::repeat_n(*b, *n)).collect();
            let from = from.min(bits.len());
            let word = |i: usize| {
                (0..64).fold(0u64, |w, b| {
                    w | u64::from(*bits.get(i * 64 + b).unwrap_or(&false)) << b
                })
            };
            prop_assert_eq!(
                find_run(word, from as u32, bits.len() as u32, want as u32),
                slow(&bits, from, want)
            );
        }

        #[test]
        fn filling_sets_just_the_run(bit in 0u32..2000, len in 0u32..2000) {
            let mut body = vec![0u8; 4088];
            fill(&mut body, bit, len, true);
            prop_assert_eq!(count_set(&body, bit, len), len);
            prop_assert_eq!(count_set(&body, 0, 32_256), len);
            fill(&mut body, bit, len, false);
            prop_assert_eq!(count_set(&body, 0, 32_256), 0);
        }
    }
}
