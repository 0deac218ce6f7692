// SPDX-License-Identifier: GPL-2.0
//! Distance kernels: everything of VexFS that computes with floating point.
//!
//! The kernel's Rust target has no floating point, so this file is compiled apart, for the ordinary x86-64 target, into
//! an object of its own that is linked into the module. It is called between `kernel_fpu_begin()` and
//! `kernel_fpu_end()`; pointers and integers only cross its boundary, it calls nothing, keeps no state and cannot panic.
//! The same file is a crate on the host (`fs/host/simd`), where it is tested against a plain f64 reference.
//!
//! A search works in two steps, and both live here:
//!
//! - `vexfs_simd_scan` gives each (query, vector) pair an *optimistic* 32-bit key, in f32 and quickly. A key is an
//!   integer that orders like a distance: lower is better. Optimistic means never above the true key: the bound on the
//!   rounding error is subtracted. Whatever is not a clear case (underflow) gets the best key, 0.
//! - `vexfs_simd_exact` gives a pair that survived the comparison its true 64-bit key, from f64 sums. Results are ordered
//!   by these, so they do not depend on the instruction set or on the order of a sum.

#![no_std]

mod avx2;
mod bytes;
mod bytes_avx2;
mod bytes_avx512;
mod half;
mod plain;

#[macro_use]
mod stack;

mod graph;
mod graph_avx2;
mod lift;
mod prepared;
mod prune;

pub use {graph::*, lift::*, prepared::*, prune::*};

/// Element type: IEEE 754 binary32 (`VEXFS_TYPE_F32`).
pub const TYPE_F32: u32 = 1;
/// Element type: IEEE 754 binary16 (`VEXFS_TYPE_F16`).
pub const TYPE_F16: u32 = 2;
/// Element type: signed bytes (`VEXFS_TYPE_INT8`).
pub const TYPE_INT8: u32 = 3;
/// Element type: bits, the first one highest in its byte (`VEXFS_TYPE_BINARY`).
pub const TYPE_BINARY: u32 = 4;

/// Squared Euclidean distance (`VEXFS_METRIC_L2`).
pub const METRIC_L2: u32 = 1;
/// Cosine similarity (`VEXFS_METRIC_COSINE`).
pub const METRIC_COSINE: u32 = 2;
/// Inner product (`VEXFS_METRIC_IP`).
pub const METRIC_IP: u32 = 3;
/// Bits that differ (`VEXFS_METRIC_HAMMING`); of zeroes and ones the same as the squared distance.
pub const METRIC_HAMMING: u32 = 4;

/// Instruction set: what every x86-64 has.
pub const LEVEL_PLAIN: u32 = 0;
/// Instruction set: AVX2, FMA and F16C.
pub const LEVEL_AVX2: u32 = 1;
/// Instruction set for signed bytes: AVX-512 F, BW and VNNI.
pub const LEVEL_VNNI: u32 = 16;
/// Instruction set for bits: AVX-512 F, BW and VPOPCNTDQ.
pub const LEVEL_POPCNT: u32 = 17;

/// Queries are stored with this many elements or a multiple, filled up with zeroes.
pub const QUERY_PAD: usize = 8;

/// The largest sum of squares that a vector may have. Two such vectors are less than 2^127 apart, squared, so nothing
/// here can overflow.
const MAX_NORM2: f64 = (1u128 << 125) as f64;

/// One scan: `queries` prepared queries against `count` vectors.
#[repr(C)]
pub struct VexfsScan {
    /// Prepared queries, `query_stride` f32 apart.
    pub queries: *const f32,
    /// Per query the f32 bits of its norm, as `vexfs_simd_prepare` returns them.
    pub norms: *const u32,
    /// Vectors in their stored type, little endian, of any alignment.
    pub vectors: *const u8,
    /// Where the keys go: `keys[q * key_stride + v]`.
    pub keys: *mut u32,
    /// Elements from one query to the next: `dim` rounded up to a multiple of `QUERY_PAD`.
    pub query_stride: usize,
    /// Bytes from one vector to the next.
    pub vector_stride: usize,
    /// Elements from one query's keys to the next one's; at least `count`.
    pub key_stride: usize,
    /// Number of queries.
    pub query_count: u32,
    /// Number of vectors.
    pub count: u32,
    /// Elements of a vector.
    pub dim: u32,
    /// `TYPE_*`.
    pub elem: u32,
    /// `METRIC_*`.
    pub metric: u32,
    /// `LEVEL_*`.
    pub level: u32,
}

/// Maps an f32 to an integer that orders the same way.
#[inline(always)]
fn order32(x: f32) -> u32 {
    let bits = x.to_bits();
    bits ^ (((bits as i32 >> 31) as u32) | 0x8000_0000)
}

/// Maps an f64 to an integer that orders the same way. Both zeroes are one.
#[inline(always)]
fn order64(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    bits ^ (((bits as i64 >> 63) as u64) | 1 << 63)
}

/// The inverse of `order64`.
#[inline(always)]
fn unorder64(key: u64) -> f64 {
    f64::from_bits(key ^ ((!((key as i64) >> 63)) as u64 | 1 << 63))
}

#[inline(always)]
fn sqrt32(x: f32) -> f32 {
    use core::arch::x86_64::*;
    // SAFETY: SSE2 is part of x86-64.
    unsafe { _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))) }
}

#[inline(always)]
fn sqrt64(x: f64) -> f64 {
    use core::arch::x86_64::*;
    // SAFETY: SSE2 is part of x86-64.
    unsafe { _mm_cvtsd_f64(_mm_sqrt_sd(_mm_setzero_pd(), _mm_set_sd(x))) }
}

/// A bound on the relative rounding error of a sum over `dim` products in f32, with eight or more partial sums. Each
/// partial sum takes `dim / 8` steps of at most two roundings of 2^-24 each; a few more add the parts up, and the query
/// was rounded when it was normalised. This is about twice what that comes to.
#[inline(always)]
fn slack(dim: u32) -> f32 {
    const ULP: f32 = 1.0 / (1 << 24) as f32;
    (dim as f32 * 0.5 + 32.0) * ULP
}

/// Whether a sum is large enough to have lost nothing to underflow; no for NaN.
#[inline(always)]
fn clear(sum: f32) -> bool {
    /// Below this, sums of squares have lost bits.
    const TINY: f32 = 1.0 / (1u128 << 90) as f32;
    sum >= TINY
}

/// Turns what a tile summed up into an optimistic key.
///
/// `sum` is the squared distance or the inner product with the prepared query, `norm2` the vector's sum of squares (not
/// used for L2), `query_norm` the query's norm.
#[inline(always)]
fn key32<const METRIC: u32>(sum: f32, norm2: f32, query_norm: f32, slack: f32) -> u32 {
    let value = if METRIC == METRIC_L2 {
        if !clear(sum) {
            return 0;
        }
        sum - sum * slack
    } else if METRIC == METRIC_COSINE {
        if !clear(norm2) {
            return 0;
        }
        -(sum / sqrt32(norm2)) - slack
    } else {
        if !clear(norm2) {
            return 0;
        }
        // The last term covers products that underflow, one by one.
        const UNDERFLOW: f32 = 1.0 / (1u128 << 120) as f32;
        -sum - sqrt32(norm2) * query_norm * slack - UNDERFLOW
    };
    order32(value)
}

/// Reads element `i` of a stored vector.
///
/// # Safety
///
/// `v` has more than `i` elements of type `elem`.
#[inline(always)]
unsafe fn element(v: *const u8, elem: u32, i: usize) -> f32 {
    // SAFETY: The caller's promise.
    unsafe {
        match elem {
            TYPE_F16 => half::widen(v.cast::<u16>().add(i).read_unaligned()),
            TYPE_INT8 => *v.cast::<i8>().add(i) as i32 as f32,
            TYPE_BINARY => (*v.add(i / 8) >> (7 - i % 8) & 1) as i32 as f32,
            _ => v.cast::<f32>().add(i).read_unaligned(),
        }
    }
}

/// Gives each pair of a query and a vector an optimistic key.
///
/// # Safety
///
/// All pointers of `scan` are valid for what its counts and strides say. `level` is one that this processor has.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_scan(scan: *const VexfsScan) {
    align_stack!();
    // SAFETY: The caller's promise.
    let scan = unsafe { &*scan };
    if scan.elem == TYPE_INT8 || scan.elem == TYPE_BINARY {
        // SAFETY: The caller's promise.
        return unsafe { bytes::scan(scan) };
    }
    macro_rules! dispatch {
        ($($elem:ident $metric:ident),*) => {
            match (scan.elem, scan.metric, scan.level) {
                // SAFETY: The caller's promise; the level was looked at.
                $(($elem, $metric, LEVEL_AVX2) => unsafe { avx2::scan::<$elem, $metric>(scan) },
                // SAFETY: The caller's promise.
                ($elem, $metric, _) => unsafe { plain::scan::<$elem, $metric>(scan) },)*
                _ => {}
            }
        };
    }
    dispatch!(
        TYPE_F32 METRIC_L2, TYPE_F32 METRIC_COSINE, TYPE_F32 METRIC_IP,
        TYPE_F16 METRIC_L2, TYPE_F16 METRIC_COSINE, TYPE_F16 METRIC_IP
    );
}

/// Checks a query and prepares it for `vexfs_simd_scan`: normalised for cosine, and filled up with zeroes; for bytes and
/// bits in another form, see `bytes`. Returns the bits of its norm (an f32, rounded up), or `u32::MAX` if it is not a
/// vector that a search takes.
///
/// # Safety
///
/// `from` has `dim` elements of any alignment, `to` has `dim` rounded up to a multiple of `QUERY_PAD`.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_prepare(
    from: *const f32,
    dim: u32,
    elem: u32,
    metric: u32,
    to: *mut f32,
) -> u32 {
    align_stack!();
    if elem == TYPE_INT8 || elem == TYPE_BINARY {
        // SAFETY: The caller's promise.
        return unsafe { bytes::prepare(from, dim, elem, metric, to.cast()) };
    }
    // SAFETY: The caller's promise.
    let norm2 = unsafe { sum_of_squares(from.cast(), TYPE_F32, dim) };
    if !valid(norm2, metric) {
        return u32::MAX;
    }
    let norm = sqrt64(norm2);
    let scale = if metric == METRIC_COSINE {
        1.0 / norm
    } else {
        1.0
    };
    let dim = dim as usize;
    for i in 0..dim.next_multiple_of(QUERY_PAD) {
        let x = if i < dim {
            // SAFETY: `i` is below `dim`.
            (unsafe { from.add(i).read_unaligned() } as f64 * scale) as f32
        } else {
            0.0
        };
        // SAFETY: `to` has this many elements.
        unsafe { to.add(i).write(x) };
    }
    // One unit in the last place more than the rounded norm is not less than the norm.
    ((norm as f32).to_bits()) + 1
}

/// Checks a vector and stores it in the collection's type. Returns 0, or 1 if the collection cannot take it: not
/// finite, a sum of squares above 2^125, or zero where the metric is cosine; all after rounding to the type. Bytes and
/// bits are not rounded: what is none is refused.
///
/// # Safety
///
/// `from` has `dim` elements of any alignment, `to` room for `dim` of type `elem`.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_encode(
    from: *const f32,
    dim: u32,
    elem: u32,
    metric: u32,
    to: *mut u8,
) -> u32 {
    align_stack!();
    if elem == TYPE_INT8 || elem == TYPE_BINARY {
        // SAFETY: The caller's promise.
        return unsafe { bytes::encode(from, dim, elem, metric, to) };
    }
    for i in 0..dim as usize {
        // SAFETY: `i` is below `dim`, of both.
        unsafe {
            let x = from.add(i).read_unaligned();
            if elem == TYPE_F16 {
                to.cast::<u16>().add(i).write_unaligned(half::narrow(x));
            } else {
                to.cast::<f32>().add(i).write_unaligned(x);
            }
        }
    }
    // SAFETY: All `dim` elements were just written.
    let norm2 = unsafe { sum_of_squares(to, elem, dim) };
    !valid(norm2, metric) as u32
}

/// Widens a stored vector to f32.
///
/// # Safety
///
/// `from` has `dim` elements of type `elem`, `to` room for `dim` f32, both of any alignment.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_decode(from: *const u8, dim: u32, elem: u32, to: *mut f32) {
    align_stack!();
    for i in 0..dim as usize {
        // SAFETY: `i` is below `dim`, of both.
        unsafe { to.add(i).write_unaligned(element(from, elem, i)) };
    }
}

/// The true key of a query, as the caller gave it, and a stored vector: lower is better.
///
/// # Safety
///
/// `query` has `dim` f32 and `vector` `dim` elements of type `elem`, both of any alignment.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_exact(
    query: *const f32,
    vector: *const u8,
    dim: u32,
    elem: u32,
    metric: u32,
) -> u64 {
    align_stack!();
    let n = dim as usize;
    // SAFETY: The caller's promise.
    let Sums { l2, dot, q2, v2 } = unsafe {
        match elem {
            TYPE_F32 => sums::<TYPE_F32>(query, vector, n, metric),
            TYPE_F16 => sums::<TYPE_F16>(query, vector, n, metric),
            TYPE_INT8 => sums::<TYPE_INT8>(query, vector, n, metric),
            _ => sums::<TYPE_BINARY>(query, vector, n, metric),
        }
    };
    let sum = |s: [f64; 4]| (s[0] + s[1]) + (s[2] + s[3]);
    let distance = match metric {
        METRIC_L2 | METRIC_HAMMING => sum(l2),
        METRIC_COSINE => -(sum(dot) / (sqrt64(sum(q2)) * sqrt64(sum(v2)))),
        _ => -sum(dot),
    };
    // A NaN cannot come from vectors that were let in; should the medium bring one, it is the worst.
    if distance.is_nan() {
        u64::MAX
    } else {
        order64(distance)
    }
}

/// What distances are made of: four sums each, so that additions need not wait for each other.
struct Sums {
    l2: [f64; 4],
    dot: [f64; 4],
    q2: [f64; 4],
    v2: [f64; 4],
}

impl Sums {
    /// Adds four elements of both, or fewer, filled up with zeroes.
    #[inline(always)]
    fn add<const L2: bool>(&mut self, q: [f64; 4], v: [f64; 4]) {
        for lane in 0..4 {
            let (q, v) = (q[lane], v[lane]);
            if L2 {
                self.l2[lane] += (q - v) * (q - v);
            } else {
                self.dot[lane] += q * v;
                self.q2[lane] += q * q;
                self.v2[lane] += v * v;
            }
        }
    }
}

/// The sums that a metric is made of.
///
/// # Safety
///
/// As [`vexfs_simd_exact`]; the elements of `vector` are of type `ELEM`.
unsafe fn sums<const ELEM: u32>(
    query: *const f32,
    vector: *const u8,
    dim: usize,
    metric: u32,
) -> Sums {
    // SAFETY: The caller's promise.
    match metric {
        METRIC_L2 | METRIC_HAMMING => unsafe { sums_of::<ELEM, true>(query, vector, dim) },
        _ => unsafe { sums_of::<ELEM, false>(query, vector, dim) },
    }
}

/// # Safety
///
/// As [`sums`].
#[inline(always)]
unsafe fn sums_of<const ELEM: u32, const L2: bool>(
    query: *const f32,
    vector: *const u8,
    dim: usize,
) -> Sums {
    let mut sums = Sums {
        l2: [0.0; 4],
        dot: [0.0; 4],
        q2: [0.0; 4],
        v2: [0.0; 4],
    };
    let whole = dim & !3;
    // SAFETY: The callers give what is below `dim`, of both.
    let at = |i: usize| unsafe {
        (
            query.add(i).read_unaligned() as f64,
            element(vector, ELEM, i) as f64,
        )
    };
    let mut i = 0;
    while i < whole {
        let ((a, e), (b, f), (c, g), (d, h)) = (at(i), at(i + 1), at(i + 2), at(i + 3));
        sums.add::<L2>([a, b, c, d], [e, f, g, h]);
        i += 4;
    }
    let (mut q, mut v) = ([0.0; 4], [0.0; 4]);
    for lane in 0..dim - whole {
        (q[lane & 3], v[lane & 3]) = at(whole + lane);
    }
    sums.add::<L2>(q, v);
    sums
}

/// The 32-bit key that no better vector's optimistic key can be above, for a true key.
#[no_mangle]
pub extern "C" fn vexfs_simd_bound(key: u64) -> u32 {
    align_stack!();
    if key == u64::MAX {
        return u32::MAX;
    }
    // The conversion rounds to nearest: the next key up is never below the true value.
    order32(unorder64(key) as f32).saturating_add(1)
}

/// The bits of the score, as a caller of a search gets it, for a true key.
#[no_mangle]
pub extern "C" fn vexfs_simd_score(key: u64, metric: u32) -> u32 {
    align_stack!();
    if key == u64::MAX {
        return f32::NAN.to_bits();
    }
    let distance = unorder64(key);
    let score = if metric == METRIC_L2 || metric == METRIC_HAMMING {
        distance
    } else {
        0.0 - distance
    };
    (score as f32).to_bits()
}

/// The sum of squares in f64; NaN or infinite if an element is.
///
/// # Safety
///
/// `v` has `dim` elements of type `elem`.
unsafe fn sum_of_squares(v: *const u8, elem: u32, dim: u32) -> f64 {
    let mut sums = [0f64; 4];
    for i in 0..dim as usize {
        // SAFETY: `i` is below `dim`.
        let x = unsafe { element(v, elem, i) } as f64;
        sums[i & 3] += x * x;
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// Whether a vector with this sum of squares is let in.
fn valid(norm2: f64, metric: u32) -> bool {
    // False for NaN too. Squares of the smallest f32 do not vanish in f64, so zero means a zero vector.
    norm2 <= MAX_NORM2 && (metric != METRIC_COSINE || norm2 > 0.0)
}
