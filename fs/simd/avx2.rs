// SPDX-License-Identifier: GPL-2.0
//! The scan with AVX2, FMA and F16C.
//!
//! Vectors come from memory and queries from the first-level cache, so the work goes in tiles: four queries against two
//! vectors share each load, and one query alone takes four vectors at a time.

// Loops over the sides of a tile are unrolled, so that the sums stay in registers.
#![allow(clippy::needless_range_loop)]

use core::arch::x86_64::*;

use crate::{key32, slack, VexfsScan, METRIC_L2, TYPE_F16};

/// See [`crate::vexfs_simd_scan`].
///
/// # Safety
///
/// All pointers of `scan` are valid for what its counts and strides say; the processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn scan<const ELEM: u32, const METRIC: u32>(scan: &VexfsScan) {
    let queries = scan.query_count as usize;
    let count = scan.count as usize;
    let mut q = 0;
    // SAFETY: The tiles stay within `query_count` queries and `count` vectors; the rest is the caller's promise.
    unsafe {
        while queries - q >= 4 {
            let mut v = 0;
            while count - v >= 2 {
                tile::<ELEM, METRIC, 4, 2>(scan, q, v);
                v += 2;
            }
            if v < count {
                tile::<ELEM, METRIC, 4, 1>(scan, q, v);
            }
            q += 4;
        }
        while q < queries {
            let mut v = 0;
            while count - v >= 4 {
                tile::<ELEM, METRIC, 1, 4>(scan, q, v);
                v += 4;
            }
            while v < count {
                tile::<ELEM, METRIC, 1, 1>(scan, q, v);
                v += 1;
            }
            q += 1;
        }
    }
}

/// Scores `Q` queries from `q` on against `V` vectors from `v` on.
///
/// # Safety
///
/// As for `scan`, and the tile lies within it.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const ELEM: u32, const METRIC: u32, const Q: usize, const V: usize>(
    scan: &VexfsScan,
    q: usize,
    v: usize,
) {
    let dim = scan.dim as usize;
    let whole = dim & !7;
    let mut sums = [[_mm256_setzero_ps(); V]; Q];
    let mut norms = [_mm256_setzero_ps(); V];
    // SAFETY: All addresses are within what `scan` promises: vectors are read up to `dim` elements, queries up to the
    // multiple of eight that they are filled up to, and keys and norms of the tile's pairs only.
    unsafe {
        let query = scan.queries.add(q * scan.query_stride);
        let vector = scan.vectors.add(v * scan.vector_stride);
        let mut i = 0;
        while i < whole {
            let mut x = [_mm256_setzero_ps(); V];
            for b in 0..V {
                x[b] = load::<ELEM>(vector.add(b * scan.vector_stride), i);
            }
            step::<METRIC, Q, V>(&mut sums, &mut norms, query.add(i), scan.query_stride, &x);
            i += 8;
        }
        if whole < dim {
            let mut x = [_mm256_setzero_ps(); V];
            for b in 0..V {
                x[b] = load_part::<ELEM>(vector.add(b * scan.vector_stride), whole, dim - whole);
            }
            step::<METRIC, Q, V>(
                &mut sums,
                &mut norms,
                query.add(whole),
                scan.query_stride,
                &x,
            );
        }
        let slack = slack(scan.dim);
        for b in 0..V {
            let norm2 = add_up(norms[b]);
            for a in 0..Q {
                let norm = f32::from_bits(*scan.norms.add(q + a));
                let key = key32::<METRIC>(add_up(sums[a][b]), norm2, norm, slack);
                *scan.keys.add((q + a) * scan.key_stride + v + b) = key;
            }
        }
    }
}

/// Adds eight elements of each pair of a tile.
///
/// # Safety
///
/// `Q` queries, `stride` apart, have eight elements at `query`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn step<const METRIC: u32, const Q: usize, const V: usize>(
    sums: &mut [[__m256; V]; Q],
    norms: &mut [__m256; V],
    query: *const f32,
    stride: usize,
    x: &[__m256; V],
) {
    for a in 0..Q {
        // SAFETY: The caller's promise.
        let y = unsafe { _mm256_loadu_ps(query.add(a * stride)) };
        for b in 0..V {
            sums[a][b] = if METRIC == METRIC_L2 {
                let d = _mm256_sub_ps(y, x[b]);
                _mm256_fmadd_ps(d, d, sums[a][b])
            } else {
                _mm256_fmadd_ps(y, x[b], sums[a][b])
            };
        }
    }
    if METRIC != METRIC_L2 {
        for b in 0..V {
            norms[b] = _mm256_fmadd_ps(x[b], x[b], norms[b]);
        }
    }
}

/// Eight elements from `i` on, as f32.
///
/// # Safety
///
/// `vector` has `i + 8` elements.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load<const ELEM: u32>(vector: *const u8, i: usize) -> __m256 {
    // SAFETY: The caller's promise; both loads take any alignment.
    unsafe {
        if ELEM == TYPE_F16 {
            _mm256_cvtph_ps(_mm_loadu_si128(vector.add(i * 2).cast()))
        } else {
            _mm256_loadu_ps(vector.add(i * 4).cast())
        }
    }
}

/// `n` elements, 1 to 7, from `i` on, and zeroes. Reads not a byte more.
///
/// # Safety
///
/// `vector` has `i + n` elements.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load_part<const ELEM: u32>(vector: *const u8, i: usize, n: usize) -> __m256 {
    // SAFETY: The caller's promise: the masked load touches the first `n` elements only, the loop likewise.
    unsafe {
        if ELEM == TYPE_F16 {
            let mut low = 0u64;
            let mut high = 0u64;
            for j in 0..n {
                let h = vector.add((i + j) * 2).cast::<u16>().read_unaligned() as u64;
                if j < 4 {
                    low |= h << (16 * j);
                } else {
                    high |= h << (16 * (j - 4));
                }
            }
            _mm256_cvtph_ps(_mm_set_epi64x(high as i64, low as i64))
        } else {
            let mask = _mm256_cmpgt_epi32(
                _mm256_set1_epi32(n as i32),
                _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
            );
            _mm256_maskload_ps(vector.add(i * 4).cast(), mask)
        }
    }
}

/// The sum of eight lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_up(x: __m256) -> f32 {
    let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    let x = _mm_add_ss(x, _mm_movehdup_ps(x));
    _mm_cvtss_f32(x)
}
