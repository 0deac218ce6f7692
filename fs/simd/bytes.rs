// SPDX-License-Identifier: GPL-2.0
//! Vectors of signed bytes, and of bits.
//!
//! All sums here are integers that fit into 32 bits, so that every instruction set gives the same keys, and keys that
//! are not rounded but for the last step. A prepared query is two sums (i32): of its squares, and of its elements;
//! and behind them the query as a vector is stored.

// Iterators bring landing pads along, and with them unwind tables.
#![allow(clippy::needless_range_loop)]

use crate::{
    bytes_avx2, bytes_avx512, order32, sqrt32, valid, VexfsScan, LEVEL_AVX2, LEVEL_POPCNT,
    LEVEL_VNNI, METRIC_COSINE, METRIC_L2, TYPE_BINARY, TYPE_INT8,
};

/// Bytes before the elements of a prepared query.
const HEAD: usize = 8;

/// Queries of a tile.
const TILE: usize = 4;

/// Bytes of a stored vector.
#[inline(always)]
fn stored(dim: usize, elem: u32) -> usize {
    if elem == TYPE_BINARY {
        dim.div_ceil(8)
    } else {
        dim
    }
}

/// See [`crate::vexfs_simd_encode`].
///
/// # Safety
///
/// As there.
pub(crate) unsafe fn encode(
    from: *const f32,
    dim: u32,
    elem: u32,
    metric: u32,
    to: *mut u8,
) -> u32 {
    let (mut fine, mut squares) = (true, 0i32);
    let mut bits = 0;
    for i in 0..dim as usize {
        // SAFETY: `i` is below `dim`; a vector of bits has a byte for each eight of them.
        unsafe {
            let x = from.add(i).read_unaligned();
            // Of what is no number this makes 0, which it does not equal.
            let n = x as i32;
            fine &= n as f32 == x;
            if elem == TYPE_INT8 {
                fine &= n as i8 as i32 == n;
                *to.add(i) = n as u8;
                squares += n as i8 as i32 * n as i8 as i32;
            } else {
                fine &= n & 1 == n;
                bits = bits << 1 | n as u8 & 1;
                if i % 8 == 7 || i + 1 == dim as usize {
                    *to.add(i / 8) = bits << (7 - i % 8);
                }
                squares += n & 1;
            }
        }
    }
    !(fine && valid(squares as f64, metric)) as u32
}

/// See [`crate::vexfs_simd_prepare`].
///
/// # Safety
///
/// As there: `to` has four bytes for each element, and for eight elements at least.
pub(crate) unsafe fn prepare(
    from: *const f32,
    dim: u32,
    elem: u32,
    metric: u32,
    to: *mut u8,
) -> u32 {
    // SAFETY: The caller's promise: the head and a byte for each element are not more.
    unsafe {
        let query = to.add(HEAD);
        if encode(from, dim, elem, metric, query) != 0 {
            return u32::MAX;
        }
        let (mut squares, mut sum) = (0, 0);
        for i in 0..dim as usize {
            let x = crate::element(query, elem, i) as i32;
            squares += x * x;
            sum += x;
        }
        to.cast::<i32>().write_unaligned(squares);
        to.add(4).cast::<i32>().write_unaligned(sum);
        sqrt32(squares as f32).to_bits() + 1
    }
}

/// See [`crate::vexfs_simd_scan`].
///
/// # Safety
///
/// As there.
pub(crate) unsafe fn scan(scan: &VexfsScan) {
    // SAFETY: The caller's promise; the level was looked at.
    unsafe {
        match (scan.elem, scan.level) {
            (TYPE_INT8, LEVEL_VNNI) => pass::<Vnni>(scan),
            (TYPE_INT8, LEVEL_AVX2) => pass::<SignedAvx2>(scan),
            (TYPE_INT8, _) => pass::<Signed>(scan),
            (_, LEVEL_POPCNT) => pass::<Popcnt>(scan),
            (_, LEVEL_AVX2) => pass::<BitsAvx2>(scan),
            _ => pass::<Bits>(scan),
        }
    }
}

/// Sums over the elements of vectors in one type, by one instruction set.
trait Sums {
    /// Elements are bits: the product is the number of bits that differ, and nothing else is needed.
    const BITS: bool;

    /// The products of a vector with one query or four; and its sum of squares if that is `wanted`.
    ///
    /// # Safety
    ///
    /// All have `len` bytes. The queries' heads are before them.
    unsafe fn tile<const N: usize>(
        queries: &[*const u8; N],
        vector: *const u8,
        len: usize,
        wanted: bool,
        products: &mut [i32; N],
    ) -> i32;
}

/// # Safety
///
/// As for `scan`, and the processor has what `S` takes.
#[inline(always)]
unsafe fn pass<S: Sums>(scan: &VexfsScan) {
    let queries = scan.query_count as usize;
    let mut first = 0;
    while first < queries {
        // SAFETY: The caller's promise; `first` is a query.
        unsafe {
            if queries - first == 1 {
                row::<S, 1>(scan, first);
            } else {
                row::<S, TILE>(scan, first);
            }
        }
        first += TILE;
    }
}

/// All vectors with `N` queries from `first` on. If there are not so many, the last one comes again.
///
/// # Safety
///
/// As for `pass`, and there is a query `first`.
#[inline(always)]
unsafe fn row<S: Sums, const N: usize>(scan: &VexfsScan, first: usize) {
    let len = stored(scan.dim as usize, scan.elem);
    let last = scan.query_count as usize - 1;
    let mut queries = [core::ptr::null(); N];
    let (mut keys, mut squares) = ([core::ptr::null_mut(); N], [0; N]);
    for q in 0..N {
        let at = if first + q < last { first + q } else { last };
        // SAFETY: There is such a query, with its head before it, and a row of keys.
        unsafe {
            let query = scan.queries.add(at * scan.query_stride);
            squares[q] = query.cast::<i32>().read_unaligned();
            queries[q] = query.cast::<u8>().add(HEAD);
            keys[q] = scan.keys.add(at * scan.key_stride);
        }
    }
    let wanted = scan.metric == METRIC_L2 || scan.metric == METRIC_COSINE;
    for v in 0..scan.count as usize {
        let mut products = [0; N];
        // SAFETY: There are so many vectors, and keys for all pairs.
        unsafe {
            let vector = scan.vectors.add(v * scan.vector_stride);
            let norm = S::tile(&queries, vector, len, wanted, &mut products);
            for q in 0..N {
                *keys[q].add(v) = if S::BITS {
                    order32(products[q] as f32)
                } else {
                    key(scan.metric, products[q], squares[q], norm)
                };
            }
        }
    }
}

/// The key of a pair, from its product and both sums of squares. Rounding keeps the order, and the bound of a true key
/// is rounded in the same way: only what is computed after it needs some slack.
#[inline(always)]
fn key(metric: u32, product: i32, query: i32, vector: i32) -> u32 {
    /// Sixteen roundings; six are made.
    const SLACK: f32 = 1.0 / (1 << 20) as f32;
    match metric {
        METRIC_L2 => order32((query + vector - 2 * product) as f32),
        // What should not be there gets the best key: it is looked at closely.
        METRIC_COSINE if vector == 0 => 0,
        METRIC_COSINE => {
            let norms = sqrt32(query as f32) * sqrt32(vector as f32);
            order32(-(product as f32 / norms) - SLACK)
        }
        _ => order32(-(product as f32)),
    }
}

/// Implements [`Sums`].
macro_rules! sums {
    ($name:ident, $bits:literal, |$queries:ident, $vector:ident, $len:ident, $wanted:ident, $products:ident| $body:block) => {
        impl Sums for $name {
            const BITS: bool = $bits;

            #[inline(always)]
            unsafe fn tile<const N: usize>(
                $queries: &[*const u8; N],
                $vector: *const u8,
                $len: usize,
                $wanted: bool,
                $products: &mut [i32; N],
            ) -> i32 $body
        }
    };
}

/// Signed bytes, plainly.
struct Signed;

sums!(Signed, false, |queries, vector, len, wanted, products| {
    for q in 0..N {
        // SAFETY: The caller's promise.
        products[q] = unsafe { product(queries[q], vector, 0, len) };
    }
    if wanted {
        // SAFETY: The caller's promise.
        unsafe { product(vector, vector, 0, len) }
    } else {
        0
    }
});

/// The product of the bytes from `from` on.
///
/// # Safety
///
/// Both have `len` bytes.
#[inline(always)]
pub(crate) unsafe fn product(a: *const u8, b: *const u8, from: usize, len: usize) -> i32 {
    let mut sum = 0;
    for i in from..len {
        // SAFETY: `i` is below `len`.
        sum += unsafe { *a.cast::<i8>().add(i) as i32 * *b.cast::<i8>().add(i) as i32 };
    }
    sum
}

/// Bits, plainly.
struct Bits;

sums!(Bits, true, |queries, vector, len, _wanted, products| {
    for q in 0..N {
        // SAFETY: The caller's promise.
        products[q] = unsafe { differing(queries[q], vector, 0, len) };
    }
    0
});

/// Bits that differ, from byte `from` on.
///
/// # Safety
///
/// Both have `len` bytes.
#[inline(always)]
pub(crate) unsafe fn differing(a: *const u8, b: *const u8, from: usize, len: usize) -> i32 {
    let (mut sum, mut i) = (0, from);
    // SAFETY: All bytes are below `len`.
    unsafe {
        while i + 8 <= len {
            let (x, y) = (a.add(i).cast::<u64>(), b.add(i).cast::<u64>());
            sum += (x.read_unaligned() ^ y.read_unaligned()).count_ones() as i32;
            i += 8;
        }
        while i < len {
            sum += (*a.add(i) ^ *b.add(i)).count_ones() as i32;
            i += 1;
        }
    }
    sum
}

/// Signed bytes by AVX2.
struct SignedAvx2;

sums!(SignedAvx2, false, |queries,
                          vector,
                          len,
                          wanted,
                          products| {
    // SAFETY: The caller's promise.
    unsafe { bytes_avx2::signed(queries, vector, len, wanted, products) }
});

/// Bits by AVX2.
struct BitsAvx2;

sums!(BitsAvx2, true, |queries, vector, len, _wanted, products| {
    // SAFETY: The caller's promise.
    unsafe { bytes_avx2::bits(queries, vector, len, products) }
    0
});

/// Signed bytes by VNNI.
struct Vnni;

sums!(Vnni, false, |queries, vector, len, wanted, products| {
    // SAFETY: The caller's promise: the sum of a query's elements is before it.
    unsafe {
        bytes_avx512::signed(queries, vector, len, products);
        for q in 0..N {
            let sum = queries[q].sub(4).cast::<i32>().read_unaligned();
            products[q] -= 128 * sum;
        }
        if wanted {
            bytes_avx512::squares(vector, len)
        } else {
            0
        }
    }
});

/// Bits by VPOPCNTDQ.
struct Popcnt;

sums!(Popcnt, true, |queries, vector, len, _wanted, products| {
    // SAFETY: The caller's promise.
    unsafe { bytes_avx512::bits(queries, vector, len, products) }
    0
});
