// SPDX-License-Identifier: GPL-2.0

//! The distance kernels of `fs/simd`, which compute with floating point: an object of its own,
//! called inside of FPU sections, numbers as bits.

use super::{bindings, folio::FolioRef, fpu};
use crate::libvexfs::vector::{room::zeroes, Collection, Element};
use core::ops::Range;
use kernel::prelude::*;

/// Scores of no more stored bytes than this in one FPU section, which keeps the section below 50
/// microseconds: with AVX2, of f32.
const BURST_AVX2: usize = 1 << 19;
/// The same without.
const BURST_PLAIN: usize = 1 << 16;

/// What a pair of a query and a vector costs besides its bytes, as a number of those.
const PAIR: usize = 64;

const LEVEL_PLAIN: u32 = 0;
const LEVEL_AVX2: u32 = 1;
const LEVEL_VNNI: u32 = 16;
const LEVEL_POPCNT: u32 = 17;
/// What the helper says of AVX2, FMA and F16C.
const NEEDED: u32 = 3;
/// Of AVX-512 F, BW and VL and of VNNI.
const NEEDED_VNNI: u32 = 4 | 8;
/// Of AVX-512 F, BW and VL and of VPOPCNTDQ.
const NEEDED_POPCNT: u32 = 4 | 16;

/// Prepared queries are filled up to a multiple of this many elements.
pub(crate) const QUERY_PAD: usize = 8;

/// `struct VexfsScan` of `fs/simd/dist.rs`.
#[repr(C)]
struct RawScan {
    queries: *const u32,
    norms: *const u32,
    vectors: *const u8,
    keys: *mut u32,
    query_stride: usize,
    vector_stride: usize,
    key_stride: usize,
    query_count: u32,
    count: u32,
    dim: u32,
    elem: u32,
    metric: u32,
    level: u32,
}

// Floats are f32 bits here: the signatures have pointers and integers only.
extern "C" {
    fn vexfs_simd_scan(scan: *const RawScan);
    pub(super) fn vexfs_simd_prepare(
        from: *const u8,
        dim: u32,
        elem: u32,
        metric: u32,
        to: *mut u32,
    ) -> u32;
    fn vexfs_simd_encode(from: *const u8, dim: u32, elem: u32, metric: u32, to: *mut u8) -> u32;
    fn vexfs_simd_decode(from: *const u8, dim: u32, elem: u32, to: *mut u8);
    fn vexfs_simd_exact(
        query: *const u8,
        vector: *const u8,
        dim: u32,
        elem: u32,
        metric: u32,
    ) -> u64;
    fn vexfs_simd_bound(key: u64) -> u32;
    fn vexfs_simd_score(key: u64, metric: u32) -> u32;
}

/// The best instruction set of this processor.
pub(super) fn level() -> u32 {
    // SAFETY: It only looks at what the boot found out.
    let simd = unsafe { bindings::vexfs_helper_cpu_simd() };
    if simd & NEEDED == NEEDED {
        LEVEL_AVX2
    } else {
        LEVEL_PLAIN
    }
}

/// The best one for a scan of vectors in this type.
fn scan_level(element: Element) -> u32 {
    // SAFETY: As above.
    let simd = unsafe { bindings::vexfs_helper_cpu_simd() };
    match element {
        Element::Int8 if simd & NEEDED_VNNI == NEEDED_VNNI => LEVEL_VNNI,
        Element::Binary if simd & NEEDED_POPCNT == NEEDED_POPCNT => LEVEL_POPCNT,
        _ => level(),
    }
}

/// Vectors of one shape: dimension, type, metric.
#[derive(Clone, Copy)]
pub(crate) struct Kernels {
    dim: u32,
    /// Bytes of a vector as it is stored.
    stored: usize,
    /// Vectors that one FPU section takes with one query.
    burst: usize,
    elem: u32,
    metric: u32,
    level: u32,
}

/// Queries, checked and prepared.
pub(crate) struct Queries {
    /// f32 bits, `padded` for each query.
    prepared: KVVec<u32>,
    /// f32 bits.
    norms: KVec<u32>,
    padded: usize,
}

/// Some of the queries.
#[derive(Clone, Copy)]
pub(crate) struct Chosen<'a> {
    prepared: &'a [u32],
    norms: &'a [u32],
    padded: usize,
}

impl Queries {
    /// The queries of a range; none if there are not so many.
    pub(crate) fn some(&self, range: Range<usize>) -> Chosen<'_> {
        let from = range.start.saturating_mul(self.padded);
        let to = range.end.saturating_mul(self.padded);
        match (self.prepared.get(from..to), self.norms.get(range)) {
            (Some(prepared), Some(norms)) => Chosen {
                prepared,
                norms,
                padded: self.padded,
            },
            _ => Chosen {
                prepared: &[],
                norms: &[],
                padded: self.padded,
            },
        }
    }
}

impl Kernels {
    /// For the vectors of a collection.
    pub(crate) fn new(collection: &Collection) -> Self {
        let (dim, element) = (collection.dim, collection.element);
        let level = scan_level(element);
        let bytes = match (level, element) {
            (LEVEL_PLAIN, Element::F32) => BURST_PLAIN,
            (LEVEL_PLAIN, Element::F16) => BURST_PLAIN / 2,
            // A multiplication for each byte; bits are counted by eight bytes.
            (LEVEL_PLAIN, Element::Int8) => BURST_PLAIN / 4,
            (LEVEL_PLAIN, Element::Binary) => BURST_PLAIN,
            (_, Element::F32) => BURST_AVX2,
            (_, Element::F16 | Element::Int8 | Element::Binary) => BURST_AVX2 / 2,
        };
        let stored = collection.stride() as usize;
        // What a pair costs besides its bytes is that of a few dozen.
        let burst = bytes / (stored + PAIR);
        Kernels {
            dim,
            stored,
            burst,
            elem: element as u32,
            metric: collection.metric as u32,
            level,
        }
    }

    /// Bytes of a vector as users see it: f32.
    fn wide(&self) -> usize {
        self.dim as usize * 4
    }

    /// Bytes of a vector as it is stored.
    fn stored(&self) -> usize {
        self.stored
    }

    /// Checks queries (f32, one after the other) and prepares them.
    ///
    /// # Errors
    ///
    /// `EINVAL` if one is no vector that a search takes; `ENOMEM`.
    pub(crate) fn prepare(&self, queries: &[u8]) -> Result<Queries> {
        let padded = (self.dim as usize).next_multiple_of(QUERY_PAD);
        let count = queries.len() / self.wide();
        let mut prepared = zeroes(padded * count)?;
        let mut norms = KVec::with_capacity(count, GFP_KERNEL)?;
        for (from, to) in queries
            .chunks_exact(self.wide())
            .zip(prepared.chunks_exact_mut(padded))
        {
            // SAFETY: `from` has `dim` f32, `to` has `dim` rounded up.
            let norm = fpu::section(|| unsafe {
                let to = to.as_mut_ptr();
                vexfs_simd_prepare(from.as_ptr(), self.dim, self.elem, self.metric, to)
            });
            if norm == u32::MAX {
                return Err(EINVAL);
            }
            norms.push(norm, GFP_KERNEL)?;
        }
        Ok(Queries {
            prepared,
            norms,
            padded,
        })
    }

    /// Stores a vector (f32) in the collection's type.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the collection cannot take it, or a length is wrong.
    pub(crate) fn encode(&self, from: &[u8], to: &mut [u8]) -> Result {
        if from.len() != self.wide() || to.len() != self.stored() {
            return Err(EINVAL);
        }
        // SAFETY: The lengths were checked.
        let bad = fpu::section(|| unsafe {
            vexfs_simd_encode(
                from.as_ptr(),
                self.dim,
                self.elem,
                self.metric,
                to.as_mut_ptr(),
            )
        });
        if bad != 0 {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Widens a stored vector to f32.
    ///
    /// # Errors
    ///
    /// `EINVAL` if a length is wrong.
    pub(crate) fn decode(&self, from: &[u8], to: &mut [u8]) -> Result {
        if from.len() != self.stored() || to.len() != self.wide() {
            return Err(EINVAL);
        }
        // SAFETY: The lengths were checked.
        fpu::section(|| unsafe {
            vexfs_simd_decode(from.as_ptr(), self.dim, self.elem, to.as_mut_ptr())
        });
        Ok(())
    }

    /// Checks a vector as it is stored, and widens it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the collection cannot take it, or a length is wrong.
    pub(crate) fn admit(&self, stored: &mut [u8], wide: &mut [u8]) -> Result {
        // What is behind the last bit is no part of the vector.
        let behind = match self.elem {
            bindings::VEXFS_TYPE_BINARY => 8 * stored.len() as u32 - self.dim,
            _ => 0,
        };
        if stored.last().is_some_and(|b| b.trailing_zeros() < behind) {
            return Err(EINVAL);
        }
        self.decode(stored, wide)?;
        self.encode(wide, stored)
    }

    /// The true key of a query (f32, as the user gave it) and a stored vector.
    ///
    /// # Errors
    ///
    /// `EINVAL` if a length is wrong.
    pub(crate) fn exact(&self, query: &[u8], vector: &[u8]) -> Result<u64> {
        if query.len() != self.wide() || vector.len() != self.stored() {
            return Err(EINVAL);
        }
        // SAFETY: The lengths were checked.
        Ok(fpu::section(|| unsafe {
            vexfs_simd_exact(
                query.as_ptr(),
                vector.as_ptr(),
                self.dim,
                self.elem,
                self.metric,
            )
        }))
    }

    /// The 32-bit key that no optimistic key of a better vector is above.
    pub(crate) fn bound(&self, key: u64) -> u32 {
        // SAFETY: It has no requirements but the FPU.
        fpu::section(|| unsafe { vexfs_simd_bound(key) })
    }

    /// The bits of the score that a user gets for a true key.
    pub(crate) fn score(&self, key: u64) -> u32 {
        // SAFETY: It has no requirements but the FPU.
        fpu::section(|| unsafe { vexfs_simd_score(key, self.metric) })
    }

    /// How many vectors one FPU section takes with so many queries.
    fn burst(&self, queries: usize) -> usize {
        (self.burst / queries.max(1)).max(1)
    }

    /// Gives pairs of queries and the vectors that lie in `folio` from byte `at` on
    /// optimistic keys: `keys[q * stride + v]`. Does one burst, of at most `count` vectors, and
    /// returns how many it did; 0 if not even one lies in the folio as a whole.
    ///
    /// The vectors may be overwritten meanwhile. The keys of those that are mean nothing then: the
    /// caller finds out before it believes them.
    pub(crate) fn scan_folio(
        &self,
        queries: Chosen<'_>,
        folio: &FolioRef,
        at: usize,
        count: usize,
        keys: &mut [u32],
        stride: usize,
    ) -> usize {
        let whole = folio.len().saturating_sub(at) / self.stored();
        let count = count.min(whole).min(self.burst(queries.norms.len()));
        if count > 0 {
            // SAFETY: `count` vectors from `at` on lie in the folio, which is referenced.
            let vectors = unsafe { folio.address().add(at) };
            self.scan(queries, vectors, count, keys, stride);
        }
        count
    }

    /// The same for vectors that were copied, and do not change.
    pub(crate) fn scan_copy(
        &self,
        queries: Chosen<'_>,
        vectors: &[u8],
        count: usize,
        keys: &mut [u32],
        stride: usize,
    ) -> usize {
        let whole = vectors.len().checked_div(self.stored()).unwrap_or(0);
        let count = count.min(whole).min(self.burst(queries.norms.len()));
        if count > 0 {
            self.scan(queries, vectors.as_ptr(), count, keys, stride);
        }
        count
    }

    fn scan(
        &self,
        queries: Chosen<'_>,
        vectors: *const u8,
        count: usize,
        keys: &mut [u32],
        stride: usize,
    ) {
        let last = queries
            .norms
            .len()
            .checked_sub(1)
            .map(|q| q * stride + count);
        if last.is_none_or(|last| last > keys.len()) || count > stride {
            return;
        }
        let scan = RawScan {
            queries: queries.prepared.as_ptr(),
            norms: queries.norms.as_ptr(),
            vectors,
            keys: keys.as_mut_ptr(),
            query_stride: queries.padded,
            vector_stride: self.stored(),
            key_stride: stride,
            query_count: queries.norms.len() as u32,
            count: count as u32,
            dim: self.dim,
            elem: self.elem,
            metric: self.metric,
            level: self.level,
        };
        // SAFETY: `Queries::some` took as many queries as norms, the keys were checked above, the
        // callers have checked the vectors. The level was found out when `self` was made. Vectors
        // that change meanwhile are only read, as raw memory, by code that takes any bytes.
        fpu::section(|| unsafe { vexfs_simd_scan(&scan) });
    }
}

/// Copies bytes out of a folio that others may write to meanwhile; returns how many.
pub(crate) fn copy_racing(folio: &FolioRef, at: usize, to: &mut [u8]) -> usize {
    let n = folio.len().saturating_sub(at).min(to.len());
    // SAFETY: `n` bytes from `at` on lie in the folio, which is referenced. The copy is made by
    // memcpy on raw memory; what was torn is found out by the caller.
    unsafe {
        core::ptr::copy_nonoverlapping(folio.address().add(at.min(folio.len())), to.as_mut_ptr(), n)
    };
    n
}
