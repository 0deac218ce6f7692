// SPDX-License-Identifier: GPL-2.0
//! Comparisons of prepared vectors, from which a graph's neighbours are picked.

// Iterators, `min` and `clamp` bring landing pads along, and with them unwind tables.
#![allow(clippy::needless_range_loop)]

use crate::graph::{add_up_all, key, DEGREE, LANES};
use crate::{graph_avx2, LEVEL_AVX2};

/// The key of the squared distance of two prepared vectors.
///
/// # Safety
///
/// Both have `n` elements, a multiple of 8. `level` is one that this processor has.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_distance(
    a: *const f32,
    b: *const f32,
    n: u32,
    level: u32,
) -> u32 {
    align_stack!();
    // SAFETY: The caller's promise.
    unsafe { key(distance(a, b, n as usize, level)) }
}

/// # Safety
///
/// As for `vexfs_simd_distance`.
#[inline(always)]
unsafe fn distance(a: *const f32, b: *const f32, n: usize, level: u32) -> f32 {
    if level == LEVEL_AVX2 {
        // SAFETY: The caller's promise.
        return unsafe { graph_avx2::distance(a, b, n) };
    }
    let mut lanes = [0f32; LANES];
    for i in 0..n {
        // SAFETY: Below `n`.
        let d = unsafe { *a.add(i) - *b.add(i) };
        lanes[i % LANES] += d * d;
    }
    add_up_all(&lanes)
}

/// Looks for one among `count` rows that hides row `row`: closer to it, `alpha` thousandths of times, than the key
/// `key` says. Returns its place in `chosen`, or `count`.
///
/// # Safety
///
/// `rows` has, `n` elements apart, a row for `row` and each of the `count` numbers at `chosen`; `n` is a multiple of 8.
/// `level` is one that this processor has.
#[no_mangle]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn vexfs_simd_hidden(
    rows: *const f32,
    n: u32,
    row: u32,
    chosen: *const u32,
    count: u32,
    key: u32,
    alpha: u32,
    level: u32,
) -> u32 {
    align_stack!();
    let n = n as usize;
    let limit = f32::from_bits(key) / stretch(alpha);
    // SAFETY: The caller's promise.
    unsafe {
        let one = rows.add(row as usize * n);
        for i in 0..count {
            let other = rows.add(*chosen.add(i as usize) as usize * n);
            if distance(one, other, n, level) <= limit {
                return i;
            }
        }
    }
    count
}

/// What squared distances are multiplied by for `alpha` thousandths.
#[inline(always)]
fn stretch(alpha: u32) -> f32 {
    let alpha = alpha as i32 as f32 / 1000.0;
    alpha * alpha
}

/// Compares a new neighbour, whose squared distance to the node has the key `key`, with those there are: `lengths`
/// are the keys of their distances to the node, `keys` of those to the new one. The lower half of what it returns says
/// which of them hide the new one, the upper half which of them it hides.
///
/// # Safety
///
/// Both pointers have 32 keys.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_compare(
    lengths: *const u32,
    keys: *const u32,
    key: u32,
    alpha: u32,
) -> u64 {
    align_stack!();
    let (mut hiding, mut hidden) = (0u64, 0u64);
    for i in 0..DEGREE {
        // SAFETY: Below 32.
        let (length, between) = unsafe { (*lengths.add(i), *keys.add(i)) };
        let between = f32::from_bits(between) * stretch(alpha);
        if length <= key {
            hiding |= ((between <= f32::from_bits(key)) as u64) << i;
        } else {
            hidden |= ((between <= f32::from_bits(length)) as u64) << i;
        }
    }
    hiding | hidden << 32
}
