// SPDX-License-Identifier: GPL-2.0
//! Kernels of the graph index with AVX2. Each gives bit for bit what its plain counterpart in `graph` gives.

// Iterators, `min` and `clamp` bring landing pads along, and with them unwind tables.
#![allow(clippy::needless_range_loop)]

use core::arch::x86_64::*;

use crate::graph::{
    base, better, key, vector_at, VexfsEdge, VexfsExpand, VexfsExpanded, A_AT, B_AT, CODES_AT,
    FARTHEST, HALF_TURN, LANES, SLOTS_AT, THRESHOLDS,
};
use crate::{sqrt32, TYPE_BINARY, TYPE_F16, TYPE_F32, TYPE_INT8};

/// Groups that a lane can add up in 16 bits.
const WIDEN: usize = 256;

/// The sum of eight lanes.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn add_up(x: __m256) -> f32 {
    let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
}

/// The sum of 32 lanes.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn add_up_all(s: &[__m256; 4]) -> f32 {
    let (even, odd) = (_mm256_add_ps(s[0], s[2]), _mm256_add_ps(s[1], s[3]));
    // SAFETY: The processor has what this function wants too.
    unsafe { add_up(_mm256_add_ps(even, odd)) }
}

/// See [`crate::vexfs_simd_expand`].
///
/// # Safety
///
/// As there, and the processor has AVX2 and F16C.
#[target_feature(enable = "avx2,f16c")]
pub(crate) unsafe fn expand(job: &VexfsExpand, scale: f32, height: f32, out: &mut VexfsExpanded) {
    // SAFETY: All addresses are within what the caller promises.
    unsafe {
        fetch_vector(job);
        let mut sums = [_mm256_setzero_si256(); 4];
        let groups = job.padded as usize / 4;
        for plane in 0..job.bits as usize {
            let codes = job.node.add(CODES_AT + plane * groups * 16);
            look_up(codes, job.table, groups, plane as i32, &mut sums);
        }
        let distance = match job.elem {
            TYPE_F16 => to_node::<TYPE_F16>(job, scale),
            TYPE_INT8 => to_node::<TYPE_INT8>(job, scale),
            TYPE_BINARY => to_node::<TYPE_BINARY>(job, scale),
            _ => to_node::<TYPE_F32>(job, scale),
        };
        let distance = distance + height;
        out.key = key(distance);
        let delta = _mm256_set1_ps(f32::from_bits(job.delta));
        let bias = _mm256_set1_ps(f32::from_bits(job.bias));
        let (zero, distance) = (_mm256_setzero_ps(), _mm256_set1_ps(base(job, distance)));
        // Keys are not negative, so they compare as signed numbers; the limit may be above all of them.
        let all = i32::MAX as u32;
        let limit = if job.limit < all { job.limit } else { all };
        let limit = _mm256_set1_epi32(limit as i32);
        let mut mask = 0;
        for j in 0..4 {
            let at = job.node.add(32 * j);
            let a = _mm256_loadu_ps(at.add(A_AT).cast());
            let b = _mm256_loadu_ps(at.add(B_AT).cast());
            let inner = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[j]), delta), bias);
            let x = _mm256_add_ps(distance, _mm256_add_ps(a, _mm256_mul_ps(b, inner)));
            // The second operand is what comes of a NaN, which is put right after it.
            let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x);
            let x = _mm256_max_ps(x, zero);
            let x = _mm256_blendv_ps(x, _mm256_set1_ps(f32::from_bits(FARTHEST)), nan);
            let keys = _mm256_castps_si256(x);
            let below = _mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, keys));
            mask |= (_mm256_movemask_ps(below) as u32) << (8 * j);
            _mm256_storeu_si256(out.keys.as_mut_ptr().add(8 * j).cast(), keys);
            let slots = _mm256_loadu_si256(at.add(SLOTS_AT).cast());
            _mm256_storeu_si256(out.slots.as_mut_ptr().add(8 * j).cast(), slots);
        }
        out.mask = mask;
    }
}

/// Eight elements of a stored vector from `i` on, a multiple of 8.
///
/// # Safety
///
/// There are as many, filled up to a multiple of 8.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn load<const ELEM: u32>(vector: *const u8, i: usize) -> __m256 {
    // SAFETY: The caller's promise; all loads take any alignment.
    unsafe {
        match ELEM {
            TYPE_F16 => _mm256_cvtph_ps(_mm_loadu_si128(vector.add(i * 2).cast())),
            TYPE_INT8 => {
                let bytes = vector.add(i).cast::<i64>().read_unaligned();
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(bytes)))
            }
            TYPE_BINARY => {
                let bits = _mm256_setr_epi32(128, 64, 32, 16, 8, 4, 2, 1);
                let byte = _mm256_set1_epi32(*vector.add(i / 8) as i32);
                let set = _mm256_cmpeq_epi32(_mm256_and_si256(byte, bits), bits);
                _mm256_and_ps(_mm256_castsi256_ps(set), _mm256_set1_ps(1.0))
            }
            _ => _mm256_loadu_ps(vector.add(i * 4).cast()),
        }
    }
}

/// Has the node's own vector fetched, which comes last: the codes are there already if the node was expected.
#[inline(always)]
pub(crate) fn fetch_vector(job: &VexfsExpand) {
    let dim = job.dim as usize;
    let bytes = match job.elem {
        TYPE_F16 => dim * 2,
        TYPE_INT8 => dim,
        TYPE_BINARY => dim.div_ceil(8),
        _ => dim * 4,
    };
    let start = vector_at(job);
    let mut at = start;
    while at < start + bytes {
        // SAFETY: A prefetch may be of any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(job.node.wrapping_add(at).cast()) };
        at += 64;
    }
}

/// The squared distance between the query and the node's own vector.
///
/// # Safety
///
/// As for `expand`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn to_node<const ELEM: u32>(job: &VexfsExpand, scale: f32) -> f32 {
    let padded = (job.dim as usize).next_multiple_of(8);
    let scale = _mm256_set1_ps(scale);
    let mut sums = [_mm256_setzero_ps(); 4];
    // SAFETY: Both have `padded` elements.
    unsafe {
        let vector = job.node.add(vector_at(job));
        let squared = |i: usize| {
            let x = load::<ELEM>(vector, i);
            let d = _mm256_sub_ps(_mm256_loadu_ps(job.query.add(i)), _mm256_mul_ps(scale, x));
            _mm256_mul_ps(d, d)
        };
        let mut i = 0;
        while i + LANES <= padded {
            for j in 0..4 {
                sums[j] = _mm256_add_ps(sums[j], squared(i + 8 * j));
            }
            i += LANES;
        }
        for j in 0..3 {
            if i + 8 * j < padded {
                sums[j] = _mm256_add_ps(sums[j], squared(i + 8 * j));
            }
        }
        add_up_all(&sums)
    }
}

/// Looks up the codes of one plane for 32 neighbours and adds what it finds, times two to the `plane`, to `sums`.
///
/// # Safety
///
/// `codes` and `table` have 16 bytes for each of `groups`, an even number.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn look_up(
    codes: *const u8,
    table: *const u8,
    groups: usize,
    plane: i32,
    sums: &mut [__m256i; 4],
) {
    let nibble = _mm256_set1_epi8(15);
    let shift = _mm_cvtsi32_si128(plane);
    let mut group = 0;
    while group < groups {
        // Each half of a register takes every other group.
        let end = if groups - group > 2 * WIDEN {
            group + 2 * WIDEN
        } else {
            groups
        };
        let mut low = [_mm256_setzero_si256(); 2];
        let mut high = [_mm256_setzero_si256(); 2];
        while group < end {
            // SAFETY: `group` and the one after it are below `groups`.
            let (c, t) = unsafe {
                (
                    _mm256_loadu_si256(codes.add(group * 16).cast()),
                    _mm256_loadu_si256(table.add(group * 16).cast()),
                )
            };
            let a = _mm256_shuffle_epi8(t, _mm256_and_si256(c, nibble));
            let b = _mm256_shuffle_epi8(t, _mm256_and_si256(_mm256_srli_epi16::<4>(c), nibble));
            // Even bytes are added with the odd ones above them, which are taken off at the end.
            low[0] = _mm256_add_epi16(low[0], a);
            low[1] = _mm256_add_epi16(low[1], _mm256_srli_epi16::<8>(a));
            high[0] = _mm256_add_epi16(high[0], b);
            high[1] = _mm256_add_epi16(high[1], _mm256_srli_epi16::<8>(b));
            group += 2;
        }
        let halves = [low, high];
        for i in 0..2 {
            let odd = halves[i][1];
            let even = _mm256_sub_epi16(halves[i][0], _mm256_slli_epi16::<8>(odd));
            // Bytes 0 to 7 and 8 to 15 of each half, in order.
            let words = [
                _mm256_unpacklo_epi16(even, odd),
                _mm256_unpackhi_epi16(even, odd),
            ];
            for k in 0..2 {
                let x = _mm256_add_epi32(
                    _mm256_cvtepu16_epi32(_mm256_castsi256_si128(words[k])),
                    _mm256_cvtepu16_epi32(_mm256_extracti128_si256::<1>(words[k])),
                );
                let sum = &mut sums[2 * i + k];
                *sum = _mm256_add_epi32(*sum, _mm256_sll_epi32(x, shift));
            }
        }
    }
}

/// The lanes of the eight elements from `i` on that are below `dim`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn below(i: usize, dim: usize) -> __m256i {
    let left = dim.saturating_sub(i);
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(left as i32), lanes)
}

/// Eight elements from element `i` on, zeroes from `dim` on. Where there are none nothing is loaded at
/// all: emulators look at the memory of masked lanes, too.
///
/// # Safety
///
/// `from` has `dim` elements.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn load_below(from: *const f32, i: usize, dim: usize) -> __m256 {
    if i >= dim {
        return _mm256_setzero_ps();
    }
    // SAFETY: A masked load touches no lane from `dim` on.
    unsafe { _mm256_maskload_ps(from.add(i), below(i, dim)) }
}

/// Copies `dim` elements and fills up to `n`, a multiple of 8, with zeroes.
///
/// # Safety
///
/// `from` has `dim` elements, `to` has `n`.
#[target_feature(enable = "avx2,f16c")]
pub(crate) unsafe fn fill(from: *const f32, dim: usize, to: *mut f32, n: usize) {
    for i in 0..n / 8 {
        let i = i * 8;
        // SAFETY: The caller's promise.
        unsafe { _mm256_storeu_ps(to.add(i), load_below(from, i, dim)) };
    }
}

/// The difference of two vectors, filled up to `n`, a multiple of 8, with zeroes.
///
/// # Safety
///
/// `from` and `to` have `dim` elements, `d` has `n`.
#[target_feature(enable = "avx2,f16c")]
pub(crate) unsafe fn difference(
    from: *const f32,
    to: *const f32,
    dim: usize,
    d: *mut f32,
    n: usize,
) {
    for i in 0..n / 8 {
        let i = i * 8;
        // SAFETY: The caller's promise.
        unsafe {
            let u = load_below(from, i, dim);
            let v = load_below(to, i, dim);
            _mm256_storeu_ps(d.add(i), _mm256_sub_ps(v, u));
        }
    }
}

/// One round of a rotation. See `graph::round_plain`.
///
/// # Safety
///
/// As there; `n` is a multiple of 64, `at` of 8, and `part` a power of two not below 64.
#[target_feature(enable = "avx2,f16c")]
pub(crate) unsafe fn round(
    x: *mut f32,
    signs: *const u32,
    n: usize,
    at: usize,
    part: usize,
    scale: f32,
) {
    // SAFETY: All indices are below `n`.
    unsafe {
        for i in 0..n / 8 {
            let i = i * 8;
            let s = _mm256_loadu_ps(signs.add(i).cast());
            _mm256_storeu_ps(x.add(i), _mm256_xor_ps(_mm256_loadu_ps(x.add(i)), s));
        }
        let y = x.add(at);
        for i in 0..part / 8 {
            let i = i * 8;
            _mm256_storeu_ps(y.add(i), within(_mm256_loadu_ps(y.add(i))));
        }
        let mut half = 8;
        // Two steps at once while there are two.
        while half * 2 < part {
            let mut i = 0;
            while i < part {
                for j in 0..half / 8 {
                    let j = i + j * 8;
                    let (p, q) = (y.add(j), y.add(j + 2 * half));
                    let (v, w) = (_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(half)));
                    let (a, b) = (_mm256_add_ps(v, w), _mm256_sub_ps(v, w));
                    let (v, w) = (_mm256_loadu_ps(q), _mm256_loadu_ps(q.add(half)));
                    let (c, d) = (_mm256_add_ps(v, w), _mm256_sub_ps(v, w));
                    _mm256_storeu_ps(p, _mm256_add_ps(a, c));
                    _mm256_storeu_ps(p.add(half), _mm256_add_ps(b, d));
                    _mm256_storeu_ps(q, _mm256_sub_ps(a, c));
                    _mm256_storeu_ps(q.add(half), _mm256_sub_ps(b, d));
                }
                i += 4 * half;
            }
            half *= 4;
        }
        if half < part {
            for j in 0..half / 8 {
                let j = j * 8;
                let (a, b) = (_mm256_loadu_ps(y.add(j)), _mm256_loadu_ps(y.add(j + half)));
                _mm256_storeu_ps(y.add(j), _mm256_add_ps(a, b));
                _mm256_storeu_ps(y.add(j + half), _mm256_sub_ps(a, b));
            }
        }
        let scale = _mm256_set1_ps(scale);
        for i in 0..part / 8 {
            let i = i * 8;
            _mm256_storeu_ps(y.add(i), _mm256_mul_ps(_mm256_loadu_ps(y.add(i)), scale));
        }
        if part < n {
            let turn = _mm256_set1_ps(HALF_TURN);
            for i in 0..n / 16 {
                let i = i * 8;
                let (p, q) = (x.add(i), x.add(i + n / 2));
                let (a, b) = (_mm256_loadu_ps(p), _mm256_loadu_ps(q));
                _mm256_storeu_ps(p, _mm256_mul_ps(_mm256_add_ps(a, b), turn));
                _mm256_storeu_ps(q, _mm256_mul_ps(_mm256_sub_ps(a, b), turn));
            }
        }
    }
}

/// The three steps of the transform within eight elements.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn within(x: __m256) -> __m256 {
    // a + b in the even places, a - b in the odd ones, and so on: the sign of the second one is turned, then they are
    // added. That is the same as subtracting.
    let m = i32::MIN;
    let signs = [
        _mm256_castsi256_ps(_mm256_setr_epi32(0, m, 0, m, 0, m, 0, m)),
        _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, m, m, 0, 0, m, m)),
        _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, 0, 0, m, m, m, m)),
    ];
    let swapped = _mm256_permute_ps::<0b10_11_00_01>(x);
    let x = _mm256_add_ps(swapped, _mm256_xor_ps(x, signs[0]));
    let swapped = _mm256_permute_ps::<0b01_00_11_10>(x);
    let x = _mm256_add_ps(swapped, _mm256_xor_ps(x, signs[1]));
    let swapped = _mm256_permute2f128_ps::<1>(x, x);
    _mm256_add_ps(swapped, _mm256_xor_ps(x, signs[2]))
}

/// The entries of a table. See [`crate::vexfs_simd_table`].
///
/// # Safety
///
/// `rotated` has `n` elements, a multiple of 4, and `table` four times as many bytes.
#[target_feature(enable = "avx2,f16c")]
pub(crate) unsafe fn table(rotated: *const f32, n: usize, steps: f32, table: *mut u8) {
    let masks = [
        _mm256_castsi256_ps(_mm256_setr_epi32(0, -1, 0, -1, 0, -1, 0, -1)),
        _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, -1, -1, 0, 0, -1, -1)),
        _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, 0, 0, -1, -1, -1, -1)),
    ];
    let (steps, half) = (_mm256_set1_ps(steps), _mm256_set1_ps(0.5));
    let zero = _mm256_setzero_ps();
    for group in 0..n / 4 {
        // SAFETY: Below `n`; sixteen bytes for each group.
        unsafe {
            let mut x = [zero; 4];
            let mut least = zero;
            for i in 0..4 {
                x[i] = _mm256_broadcast_ss(&*rotated.add(group * 4 + i));
                least = _mm256_add_ps(least, _mm256_min_ps(x[i], zero));
            }
            let part = _mm256_add_ps(
                _mm256_add_ps(_mm256_and_ps(x[0], masks[0]), _mm256_and_ps(x[1], masks[1])),
                _mm256_and_ps(x[2], masks[2]),
            );
            let a = _mm256_mul_ps(_mm256_sub_ps(_mm256_add_ps(part, zero), least), steps);
            let a = _mm256_cvttps_epi32(_mm256_add_ps(a, half));
            let b = _mm256_mul_ps(_mm256_sub_ps(_mm256_add_ps(part, x[3]), least), steps);
            let b = _mm256_cvttps_epi32(_mm256_add_ps(b, half));
            // Packing works within halves: put the quarters back in order.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b));
            let bytes = _mm_packus_epi16(
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            _mm_storeu_si128(table.add(group * 16).cast(), bytes);
        }
    }
}

/// The squared distance of two vectors.
///
/// # Safety
///
/// Both have `n` elements, a multiple of 8.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) unsafe fn distance(a: *const f32, b: *const f32, n: usize) -> f32 {
    let mut sums = [_mm256_setzero_ps(); 4];
    // SAFETY: All indices are below `n`.
    unsafe {
        let squared = |i: usize| {
            let d = _mm256_sub_ps(_mm256_loadu_ps(a.add(i)), _mm256_loadu_ps(b.add(i)));
            _mm256_mul_ps(d, d)
        };
        let mut i = 0;
        while i + LANES <= n {
            for j in 0..4 {
                sums[j] = _mm256_add_ps(sums[j], squared(i + 8 * j));
            }
            i += LANES;
        }
        for j in 0..3 {
            if i + 8 * j < n {
                sums[j] = _mm256_add_ps(sums[j], squared(i + 8 * j));
            }
        }
        add_up_all(&sums)
    }
}

/// Codes a rotated difference. See `graph::code`.
///
/// # Safety
///
/// As there; `n` is a multiple of 64.
#[target_feature(enable = "avx2,f16c")]
pub(crate) unsafe fn code(edge: &VexfsEdge, d: *const f32, n: usize) -> (f32, f32, f32) {
    let zero = _mm256_setzero_ps();
    let no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MAX));
    let (mut squares, mut sums) = (zero, zero);
    // SAFETY: All indices are below `n`, those of bytes below an eighth of it.
    unsafe {
        for i in 0..n / 8 {
            let x = _mm256_loadu_ps(d.add(i * 8));
            squares = _mm256_add_ps(squares, _mm256_mul_ps(x, x));
            sums = _mm256_add_ps(sums, _mm256_and_ps(x, no_sign));
        }
        let (length, sum) = (add_up(squares), add_up(sums));
        let threshold = if edge.bits == 2 {
            threshold(d, n, sqrt32(length / n as f32), sum)
        } else {
            f32::INFINITY
        };
        let threshold = _mm256_set1_ps(threshold);
        let (near, far) = (_mm256_set1_ps(0.5), _mm256_set1_ps(1.5));
        let sign = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MIN));
        let (mut with_d, mut with_u) = (zero, zero);
        for byte in 0..n / 8 {
            let x = _mm256_loadu_ps(d.add(byte * 8));
            let plus = _mm256_cmp_ps::<_CMP_GE_OQ>(x, zero);
            let beyond = _mm256_cmp_ps::<_CMP_GE_OQ>(_mm256_and_ps(x, no_sign), threshold);
            let size = _mm256_blendv_ps(near, far, beyond);
            let value = _mm256_or_ps(size, _mm256_andnot_ps(plus, sign));
            with_d = _mm256_add_ps(with_d, _mm256_mul_ps(value, x));
            let u = _mm256_loadu_ps(edge.rotated.add(byte * 8));
            with_u = _mm256_add_ps(with_u, _mm256_mul_ps(value, u));
            let (plus, beyond) = (_mm256_movemask_ps(plus), _mm256_movemask_ps(beyond));
            if edge.bits == 2 {
                *edge.code.add(byte) = !(plus ^ beyond) as u8;
                *edge.code.add(n / 8 + byte) = plus as u8;
            } else {
                *edge.code.add(byte) = plus as u8;
            }
        }
        (length, add_up(with_d), add_up(with_u))
    }
}

/// See `graph::threshold`; all thresholds in one pass.
///
/// # Safety
///
/// `d` has `n` elements, a multiple of 8.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn threshold(d: *const f32, n: usize, rms: f32, sum: f32) -> f32 {
    const COUNT: usize = THRESHOLDS.len();
    let no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MAX));
    let mut far = [_mm256_setzero_ps(); COUNT];
    let mut counts = [_mm256_setzero_si256(); COUNT];
    for i in 0..n / 8 {
        // SAFETY: Below `n`.
        let x = _mm256_and_ps(unsafe { _mm256_loadu_ps(d.add(i * 8)) }, no_sign);
        for j in 0..COUNT {
            let limit = _mm256_set1_ps(THRESHOLDS[j] * rms);
            let beyond = _mm256_cmp_ps::<_CMP_GE_OQ>(x, limit);
            far[j] = _mm256_add_ps(far[j], _mm256_and_ps(x, beyond));
            counts[j] = _mm256_sub_epi32(counts[j], _mm256_castps_si256(beyond));
        }
    }
    let mut best = (-1.0, f32::INFINITY);
    for j in 0..COUNT {
        let mut lanes = [0u32; 8];
        // SAFETY: There is room for eight.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), counts[j]) };
        let mut count = 0;
        for lane in 0..8 {
            count += lanes[lane];
        }
        // SAFETY: The processor has what this function wants too.
        let far = unsafe { add_up(far[j]) };
        better(&mut best, THRESHOLDS[j] * rms, far, count, sum, n);
    }
    best.1
}

/// Widens and multiplies so much of a stored vector as fills registers; returns how many elements. See
/// [`crate::vexfs_simd_unpack`].
///
/// # Safety
///
/// As there.
#[target_feature(enable = "avx2,f16c")]
pub(crate) unsafe fn unpack<const ELEM: u32>(
    vector: *const u8,
    dim: usize,
    scale: f32,
    to: *mut f32,
) -> usize {
    let scale = _mm256_set1_ps(scale);
    let whole = dim & !7;
    for i in 0..whole / 8 {
        let i = i * 8;
        // SAFETY: All indices are below `dim`.
        unsafe {
            let x = load::<ELEM>(vector, i);
            _mm256_storeu_ps(to.add(i), _mm256_mul_ps(x, scale));
        }
    }
    whole
}
