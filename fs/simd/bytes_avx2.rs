// SPDX-License-Identifier: GPL-2.0
//! Signed bytes and bits with AVX2. Each gives what its plain counterpart in `bytes` gives.

// Iterators bring landing pads along, and with them unwind tables.
#![allow(clippy::needless_range_loop)]

use crate::bytes::{differing, product};
use core::arch::x86_64::*;

/// See `bytes::Sums::tile`.
///
/// # Safety
///
/// As there, and the processor has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn signed<const N: usize>(
    queries: &[*const u8; N],
    vector: *const u8,
    len: usize,
    wanted: bool,
    products: &mut [i32; N],
) -> i32 {
    let mut sums = [_mm256_setzero_si256(); N];
    let mut squares = _mm256_setzero_si256();
    let whole = len & !15;
    let mut i = 0;
    // SAFETY: All bytes are below `len`.
    unsafe {
        let wide = |at: *const u8| _mm256_cvtepi8_epi16(_mm_loadu_si128(at.cast()));
        while i < whole {
            let x = wide(vector.add(i));
            // A product is at most 2^14, two of them fit into 16 bits and a sign.
            for q in 0..N {
                let y = _mm256_madd_epi16(x, wide(queries[q].add(i)));
                sums[q] = _mm256_add_epi32(sums[q], y);
            }
            if wanted {
                squares = _mm256_add_epi32(squares, _mm256_madd_epi16(x, x));
            }
            i += 16;
        }
        for q in 0..N {
            products[q] = add_up(sums[q]) + product(queries[q], vector, whole, len);
        }
        if wanted {
            add_up(squares) + product(vector, vector, whole, len)
        } else {
            0
        }
    }
}

/// See `bytes::Sums::tile`.
///
/// # Safety
///
/// As there, and the processor has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn bits<const N: usize>(
    queries: &[*const u8; N],
    vector: *const u8,
    len: usize,
    products: &mut [i32; N],
) {
    let low = _mm256_set1_epi8(15);
    let counts = _mm256_setr_epi8(
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3,
        3, 4,
    );
    let mut sums = [_mm256_setzero_si256(); N];
    let whole = len & !31;
    let mut i = 0;
    // SAFETY: All bytes are below `len`.
    unsafe {
        while i < whole {
            let x = _mm256_loadu_si256(vector.add(i).cast());
            for q in 0..N {
                let d = _mm256_xor_si256(x, _mm256_loadu_si256(queries[q].add(i).cast()));
                let even = _mm256_shuffle_epi8(counts, _mm256_and_si256(d, low));
                let d = _mm256_and_si256(_mm256_srli_epi16::<4>(d), low);
                let both = _mm256_add_epi8(even, _mm256_shuffle_epi8(counts, d));
                let both = _mm256_sad_epu8(both, _mm256_setzero_si256());
                sums[q] = _mm256_add_epi32(sums[q], both);
            }
            i += 32;
        }
        for q in 0..N {
            products[q] = add_up(sums[q]) + differing(queries[q], vector, whole, len);
        }
    }
}

/// The sum of eight lanes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_up(x: __m256i) -> i32 {
    let x = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
    let x = _mm_add_epi32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
    let x = _mm_add_epi32(x, _mm_shuffle_epi32::<0b10_11_00_01>(x));
    _mm_cvtsi128_si32(x)
}
