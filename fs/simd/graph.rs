// SPDX-License-Identifier: GPL-2.0
//! Kernels of the graph index: rotation, codes of edges, the query's table, and the expansion of a node.
//!
//! A node's image holds its vector and, for each of up to 32 neighbours, a code of the rotated difference and two
//! factors. One expansion gives the exact distance to the node and an estimate for every neighbour (RaBitQ,
//! arXiv 2405.12497 and 2409.09913): with `x` the code of `v - u`,
//!
//! `|q - v|^2 ~ |q - u|^2 + A + B <x, q>`, `B = -2 |v - u|^2 / <x, v - u>`, `A = |v - u|^2 - B <x, u>`.
//!
//! Distances are squared and Euclidean, in f32; cosine is the same on normalised vectors. They leave as the bits of a
//! non-negative f32, which order like the numbers. All instruction sets give the same bits: sums are made in the same
//! eight lanes and nothing is fused, so an index does not depend on the machine that made it.

// Iterators, `min` and `clamp` bring landing pads along, and with them unwind tables.
#![allow(clippy::needless_range_loop)]

use crate::{element, graph_avx2, lift, sqrt32 as sqrt, LEVEL_AVX2, LEVEL_PLAIN, TYPE_BINARY};
use core::sync::atomic::{compiler_fence, Ordering};

/// Neighbours of a node at most, and lanes of a lookup.
pub const DEGREE: usize = 32;
/// Where things are in an image. `libvexfs::vector::index::node` has the whole of it.
pub const COLLECTION_AT: usize = 4;
/// The build's number.
pub const BUILD_AT: usize = 8;
/// The node's slot.
pub const SLOT_AT: usize = 12;
/// Its generation.
pub const GENERATION_AT: usize = 16;
/// Its sequence; odd while it is being written.
pub const SEQUENCE_AT: usize = 20;
/// Neighbours in use.
pub const USED_AT: usize = 24;
/// What the vector is multiplied by; for inner products its squared norm.
pub const SCALE_AT: usize = 32;
/// Slots of the neighbours.
pub const SLOTS_AT: usize = 64;
/// Factors A.
pub const A_AT: usize = 320;
/// Factors B.
pub const B_AT: usize = 448;
/// Codes, then the vector.
pub const CODES_AT: usize = 576;

/// A key that nothing is farther than.
pub const FARTHEST: u32 = 0x7f80_0000;

/// What an expansion needs to know.
#[repr(C)]
pub struct VexfsExpand {
    /// The node's image. Others may write to it meanwhile.
    pub node: *const u8,
    /// The query as `vexfs_simd_prepare` made it.
    pub query: *const f32,
    /// The query's table, `padded / 4 * 16` bytes.
    pub table: *const u8,
    /// f32 bits: one step of the table.
    pub delta: u32,
    /// f32 bits: what is added to the looked up sum.
    pub bias: u32,
    /// Elements of a vector.
    pub dim: u32,
    /// `TYPE_*`.
    pub elem: u32,
    /// Rotated dimensions, a multiple of 64.
    pub padded: u32,
    /// Bits of a code: 1 or 2.
    pub bits: u32,
    /// `LEVEL_*`.
    pub level: u32,
    /// The collection that the node must be of.
    pub collection: u32,
    /// The build that the node must be of.
    pub build: u32,
    /// The slot that the node must have.
    pub slot: u32,
    /// Only estimates below this key are wanted.
    pub limit: u32,
    /// `METRIC_*`.
    pub metric: u32,
    /// f32 bits, for inner products: no vector's squared norm is above it.
    pub bound: u32,
}

/// What an expansion gives.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VexfsExpanded {
    /// Key of the distance to the node itself.
    pub key: u32,
    /// The generation of its record.
    pub generation: u32,
    /// Which neighbours have a key below the limit.
    pub mask: u32,
    /// Neighbours in use.
    pub used: u32,
    /// Keys of the neighbours, estimated.
    pub keys: [u32; DEGREE],
    /// Slots of the neighbours.
    pub slots: [u32; DEGREE],
}

/// The key of a squared distance or an estimate of one. Below zero is zero, NaN the farthest.
#[inline(always)]
pub(crate) fn key(x: f32) -> u32 {
    if x > 0.0 {
        x.to_bits()
    } else if x <= 0.0 {
        0
    } else {
        FARTHEST
    }
}

/// The sum of eight lanes, in the order of `graph_avx2::add_up`.
#[inline(always)]
pub(crate) fn add_up(s: &[f32; 8]) -> f32 {
    ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

/// Partial sums of a distance: enough that additions need not wait for each other.
pub(crate) const LANES: usize = 32;

/// The sum of all lanes, in the order of `graph_avx2::add_up_all`.
#[inline(always)]
pub(crate) fn add_up_all(s: &[f32; LANES]) -> f32 {
    let mut sum = [0f32; 8];
    for i in 0..8 {
        sum[i] = (s[i] + s[i + 16]) + (s[i + 8] + s[i + 24]);
    }
    add_up(&sum)
}

/// Expands a node. Returns 1, or 0 if the image is not the node that was asked for, or was written meanwhile.
///
/// # Safety
///
/// All pointers of `job` are valid for what it says: `node` for a whole image, `query` for `dim` rounded up to a
/// multiple of `QUERY_PAD`, and for inner products eight more. The level is one that this processor has.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_expand(
    job: *const VexfsExpand,
    out: *mut VexfsExpanded,
) -> u32 {
    align_stack!();
    // SAFETY: The caller's promise; nobody else has `out`.
    let (job, out) = unsafe { (&*job, &mut *out) };
    let field = |at: usize| {
        // SAFETY: The header is part of the image. Images are aligned to 4 at least.
        unsafe { job.node.add(at).cast::<u32>().read_volatile() }
    };
    let sequence = field(SEQUENCE_AT);
    compiler_fence(Ordering::Acquire);
    let used = field(USED_AT) & 0xffff;
    if sequence & 1 == 1
        || used as usize > DEGREE
        || field(COLLECTION_AT) != job.collection
        || field(BUILD_AT) != job.build
        || field(SLOT_AT) != job.slot
    {
        return 0;
    }
    out.generation = field(GENERATION_AT);
    out.used = used;
    // SAFETY: The caller's promise.
    unsafe {
        let (scale, height) = lift::scale_and_height(job, f32::from_bits(field(SCALE_AT)));
        if job.level == LEVEL_AVX2 {
            graph_avx2::expand(job, scale, height, out);
        } else {
            expand(job, scale, height, out);
        }
    }
    // Lanes that are not in use hold anything.
    let lanes = ((1u64 << used) - 1) as u32;
    out.mask &= lanes;
    compiler_fence(Ordering::Acquire);
    (field(SEQUENCE_AT) == sequence) as u32
}

/// What estimates of neighbours are counted from: the node's distance, but of bits it is all looked up.
#[inline(always)]
pub(crate) fn base(job: &VexfsExpand, distance: f32) -> f32 {
    if job.elem == TYPE_BINARY {
        0.0
    } else {
        distance
    }
}

/// Where the vector is in an image.
#[inline(always)]
pub(crate) fn vector_at(job: &VexfsExpand) -> usize {
    CODES_AT + job.padded as usize * 4 * job.bits as usize
}

/// # Safety
///
/// As for `vexfs_simd_expand`.
unsafe fn expand(job: &VexfsExpand, scale: f32, height: f32, out: &mut VexfsExpanded) {
    let padded = (job.dim as usize).next_multiple_of(8);
    let mut lanes = [0f32; LANES];
    // SAFETY: The image has `padded` elements behind the codes, the query as many.
    unsafe {
        let vector = job.node.add(vector_at(job));
        for i in 0..padded {
            let d = *job.query.add(i) - scale * element(vector, job.elem, i);
            lanes[i % LANES] += d * d;
        }
    }
    let distance = add_up_all(&lanes) + height;
    out.key = key(distance);
    let groups = job.padded as usize / 4;
    let mut sums = [0u32; DEGREE];
    for plane in 0..job.bits as usize {
        for group in 0..groups {
            // SAFETY: There are `bits` planes of `groups` times 16 bytes, and a table of as many groups.
            unsafe {
                let codes = job.node.add(CODES_AT + (plane * groups + group) * 16);
                let table = job.table.add(group * 16);
                for j in 0..16 {
                    let byte = *codes.add(j) as usize;
                    sums[j] += (*table.add(byte & 15) as u32) << plane;
                    sums[j + 16] += (*table.add(byte >> 4) as u32) << plane;
                }
            }
        }
    }
    let (delta, bias) = (f32::from_bits(job.delta), f32::from_bits(job.bias));
    let distance = base(job, distance);
    out.mask = 0;
    for j in 0..DEGREE {
        // SAFETY: Factors and slots are part of the image.
        let (a, b, slot) = unsafe {
            let at = job.node.add(4 * j);
            (
                at.add(A_AT).cast::<f32>().read_unaligned(),
                at.add(B_AT).cast::<f32>().read_unaligned(),
                at.add(SLOTS_AT).cast::<u32>().read_unaligned(),
            )
        };
        let k = key(distance + (a + b * (sums[j] as i32 as f32 * delta + bias)));
        out.keys[j] = k;
        out.slots[j] = slot;
        out.mask |= ((k < job.limit) as u32) << j;
    }
}

/// Rounds of a rotation: `vexfs_simd_rotate` takes so many times `padded` signs.
#[no_mangle]
pub extern "C" fn vexfs_simd_rounds(padded: u32) -> u32 {
    3 + !padded.is_power_of_two() as u32
}

/// Rotates a vector: random signs and a Hadamard transform, a few times over. Where `padded` is no power of two, the
/// transform takes the first and the last part in turn, and one more step joins the halves.
///
/// # Safety
///
/// `from` has `dim` elements, not more than `padded`, a multiple of 64; `to` has `padded`, `signs` `padded` for each
/// round, each 0 or the sign bit. `level` is one that this processor has.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_rotate(
    from: *const f32,
    dim: u32,
    signs: *const u32,
    padded: u32,
    to: *mut f32,
    level: u32,
) {
    align_stack!();
    let (dim, n) = (dim as usize, padded as usize);
    // SAFETY: The caller's promise.
    unsafe {
        if level == LEVEL_PLAIN {
            for i in 0..n {
                *to.add(i) = if i < dim { *from.add(i) } else { 0.0 };
            }
        } else {
            graph_avx2::fill(from, dim, to, n);
        }
        rotate(to, signs, n, level);
    }
}

/// Rotates a vector in place.
///
/// # Safety
///
/// As for `vexfs_simd_rotate`; `x` has `n` elements.
#[inline(always)]
unsafe fn rotate(x: *mut f32, signs: *const u32, n: usize, level: u32) {
    let part = 1usize << (63 - (n | 1).leading_zeros());
    let scale = 1.0 / sqrt(part as f32);
    for round in 0..vexfs_simd_rounds(n as u32) as usize {
        let at = if round & 1 == 1 { n - part } else { 0 };
        // SAFETY: The caller's promise.
        unsafe {
            let signs = signs.add(round * n);
            if level == LEVEL_PLAIN {
                round_plain(x, signs, n, at, part, scale);
            } else {
                graph_avx2::round(x, signs, n, at, part, scale);
            }
        }
    }
}

/// One over the square root of two.
pub(crate) const HALF_TURN: f32 = core::f32::consts::FRAC_1_SQRT_2;

/// # Safety
///
/// `x` and `signs` have `n` elements, `at + part` is not above that.
unsafe fn round_plain(
    x: *mut f32,
    signs: *const u32,
    n: usize,
    at: usize,
    part: usize,
    scale: f32,
) {
    // SAFETY: All indices are below `n`.
    unsafe {
        for i in 0..n {
            *x.add(i) = f32::from_bits((*x.add(i)).to_bits() ^ *signs.add(i));
        }
        let y = x.add(at);
        let mut half = 1;
        while half < part {
            let mut i = 0;
            while i < part {
                for j in i..i + half {
                    let (a, b) = (*y.add(j), *y.add(j + half));
                    *y.add(j) = a + b;
                    *y.add(j + half) = a - b;
                }
                i += 2 * half;
            }
            half *= 2;
        }
        for i in 0..part {
            *y.add(i) *= scale;
        }
        if part < n {
            for i in 0..n / 2 {
                let (a, b) = (*x.add(i), *x.add(i + n / 2));
                *x.add(i) = (a + b) * HALF_TURN;
                *x.add(i + n / 2) = (a - b) * HALF_TURN;
            }
        }
    }
}

/// Makes the table of a rotated query: for each four dimensions the sixteen sums of a part of them, above the least
/// of these, in steps. `scalars[0]` gets the bits of the step, `scalars[1]` those of what `VexfsExpand::bias` is.
///
/// # Safety
///
/// `rotated` has `padded` elements, a multiple of 64, `table` four times as many bytes, `scalars` two. `level` is one
/// that this processor has.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_table(
    rotated: *const f32,
    padded: u32,
    bits: u32,
    table: *mut u8,
    scalars: *mut u32,
    level: u32,
) {
    align_stack!();
    let n = padded as usize;
    let (mut least, mut all) = ([0f32; 8], [0f32; 8]);
    let mut widest = 0f32;
    for i in 0..n / 8 {
        let i = i * 8;
        let mut x = [0f32; 8];
        for j in 0..8 {
            // SAFETY: Below `padded`.
            x[j] = unsafe { *rotated.add(i + j) };
            least[j] += if x[j] < 0.0 { x[j] } else { 0.0 };
            all[j] += x[j];
        }
        for g in 0..2 {
            let g = g * 4;
            let width = (x[g].abs() + x[g + 1].abs()) + (x[g + 2].abs() + x[g + 3].abs());
            widest = if width > widest { width } else { widest };
        }
    }
    let steps = if widest > 0.0 { 255.0 / widest } else { 0.0 };
    // A query so small that this overflows has a table of zeroes, and every neighbour the same rank.
    let steps = if steps < f32::MAX { steps } else { 0.0 };
    if level == LEVEL_AVX2 {
        // SAFETY: The caller's promise.
        unsafe { graph_avx2::table(rotated, n, steps, table) };
    } else {
        for group in 0..n / 4 {
            // SAFETY: Below `padded`, and 16 bytes of the table for each group.
            unsafe {
                let x = rotated.add(group * 4);
                let low = |i: usize| if *x.add(i) < 0.0 { *x.add(i) } else { 0.0 };
                let least = ((low(0) + low(1)) + low(2)) + low(3);
                for m in 0..16usize {
                    let some = |i: usize| if m >> i & 1 == 1 { *x.add(i) } else { 0.0 };
                    let sum = ((some(0) + some(1)) + some(2)) + some(3);
                    let step = ((sum - least) * steps + 0.5) as i32;
                    let step = if step > 0 { step } else { 0 };
                    *table.add(group * 16 + m) = if step < 255 { step as u8 } else { 255 };
                }
            }
        }
    }
    let (delta, weight) = (widest / 255.0, ((1u32 << bits) - 1) as f32);
    // The code's planes stand for 0 and 1, its grid for -1/2, 1/2 or -3/2 to 3/2.
    let bias = weight * (add_up(&least) - 0.5 * add_up(&all));
    // SAFETY: The caller's promise.
    unsafe {
        *scalars = delta.to_bits();
        *scalars.add(1) = bias.to_bits();
    }
}

/// An edge from `u` to `v`.
#[repr(C)]
pub struct VexfsEdge {
    /// `u`, prepared.
    pub from: *const f32,
    /// `u`, rotated.
    pub rotated: *const f32,
    /// `v`, prepared.
    pub to: *const f32,
    /// Signs of the rotation.
    pub signs: *const u32,
    /// Room for `padded` elements.
    pub room: *mut f32,
    /// Where the code goes: `bits` planes of `padded / 8` bytes, lowest bit first.
    pub code: *mut u8,
    /// Elements of a vector.
    pub dim: u32,
    /// Rotated dimensions, a multiple of 64.
    pub padded: u32,
    /// Bits of a code: 1 or 2.
    pub bits: u32,
    /// `LEVEL_*`.
    pub level: u32,
    /// Gets the key of the squared length.
    pub length: u32,
    /// Gets the bits of the factor A.
    pub a: u32,
    /// Gets the bits of the factor B.
    pub b: u32,
}

/// Thresholds between the inner and the outer steps of a 2-bit code, in root mean squares.
pub(crate) const THRESHOLDS: [f32; 5] = [0.8, 0.9, 1.0, 1.1, 1.2];

/// Codes an edge.
///
/// # Safety
///
/// The pointers are valid for what `edge` says. The level is one that this processor has.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_edge(edge: *mut VexfsEdge) {
    align_stack!();
    // SAFETY: The caller's promise.
    unsafe {
        let edge = &mut *edge;
        let (n, d) = (edge.padded as usize, edge.room);
        let (from, to, dim) = (edge.from, edge.to, edge.dim as usize);
        if edge.level == LEVEL_PLAIN {
            for i in 0..n {
                *d.add(i) = if i < dim {
                    *to.add(i) - *from.add(i)
                } else {
                    0.0
                };
            }
        } else {
            graph_avx2::difference(from, to, dim, d, n);
        }
        rotate(d, edge.signs, n, edge.level);
        let (length, with_d, with_u) = if edge.level == LEVEL_PLAIN {
            code(edge, d, n)
        } else {
            graph_avx2::code(edge, d, n)
        };
        let b = -2.0 * length / with_d;
        let a = length - b * with_u;
        // Equal vectors, and what is too small or too large to divide, get the length alone.
        let fine = b.abs() < f32::MAX && a.abs() < f32::MAX;
        edge.length = key(length);
        edge.a = if fine { a } else { length }.to_bits();
        edge.b = if fine { b } else { 0.0 }.to_bits();
    }
}

/// Codes the rotated difference `d`. Returns its squared length, and the products of the code, as a vector on the grid,
/// with `d` and with the rotated vector that the edge comes from.
///
/// # Safety
///
/// As for `vexfs_simd_edge`; `d` has `n` elements.
unsafe fn code(edge: &VexfsEdge, d: *const f32, n: usize) -> (f32, f32, f32) {
    let (mut squares, mut sums) = ([0f32; 8], [0f32; 8]);
    // SAFETY: All indices are below `n`, those of bytes below an eighth of it.
    unsafe {
        for i in 0..n {
            let x = *d.add(i);
            squares[i & 7] += x * x;
            sums[i & 7] += x.abs();
        }
        let (length, sum) = (add_up(&squares), add_up(&sums));
        let threshold = if edge.bits == 2 {
            threshold(d, n, sqrt(length / n as f32), sum)
        } else {
            f32::INFINITY
        };
        let (mut with_d, mut with_u) = ([0f32; 8], [0f32; 8]);
        for byte in 0..n / 8 {
            let (mut sign, mut inner) = (0u8, 0u8);
            for j in 0..8 {
                let x = *d.add(byte * 8 + j);
                let (plus, far) = (x >= 0.0, x.abs() >= threshold);
                sign |= (plus as u8) << j;
                inner |= ((plus == far) as u8) << j;
                let size = if far { 1.5 } else { 0.5 };
                let value = if plus { size } else { -size };
                with_d[j] += value * x;
                with_u[j] += value * *edge.rotated.add(byte * 8 + j);
            }
            if edge.bits == 2 {
                *edge.code.add(byte) = inner;
                *edge.code.add(n / 8 + byte) = sign;
            } else {
                *edge.code.add(byte) = sign;
            }
        }
        (length, add_up(&with_d), add_up(&with_u))
    }
}

/// The threshold that brings the code closest to the direction of `d`.
///
/// # Safety
///
/// `d` has `n` elements.
#[inline(always)]
unsafe fn threshold(d: *const f32, n: usize, rms: f32, sum: f32) -> f32 {
    let mut best = (-1.0, f32::INFINITY);
    for t in &THRESHOLDS {
        let t = *t * rms;
        let (mut far, mut count) = ([0f32; 8], 0u32);
        for i in 0..n {
            // SAFETY: Below `n`.
            let x = unsafe { *d.add(i) }.abs();
            far[i & 7] += if x >= t { x } else { 0.0 };
            count += (x >= t) as u32;
        }
        better(&mut best, t, add_up(&far), count, sum, n);
    }
    best.1
}

/// Takes a threshold if it is better than the best one: `far` is the sum of all that is beyond it, `count` how many
/// these are.
#[inline(always)]
pub(crate) fn better(
    best: &mut (f32, f32),
    threshold: f32,
    far: f32,
    count: u32,
    sum: f32,
    n: usize,
) {
    let product = 0.5 * sum + far;
    let squares = 0.25 * n as f32 + 2.0 * count as f32;
    let cosine = product / sqrt(squares);
    if cosine > best.0 {
        *best = (cosine, threshold);
    }
}
