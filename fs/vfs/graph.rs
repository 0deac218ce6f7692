// SPDX-License-Identifier: GPL-2.0

//! The kernels of `fs/simd` behind the trait that the graph of an index computes with: each call
//! an FPU section of a few microseconds.
//!
//! Lengths are those of the graph's shape. What has another one is a mistake of ours: nothing is
//! computed then.

use super::{bindings, fpu, index_pages::Region, simd};
use crate::libvexfs::vector::index::{
    bits, rotation, Arithmetic, Bound, Edge, Expansion, Query, Shape, DEGREE, FARTHEST,
};
use crate::libvexfs::vector::Element;
use kernel::prelude::*;

/// Queries come as f32, whatever the collection stores.
const F32: u32 = bindings::VEXFS_TYPE_F32;
/// Products are compared in one coordinate more.
const IP: u32 = bindings::VEXFS_METRIC_IP;
/// Of expansions, which have all the same length, one in so many slots is measured.
const MEASURED: u32 = 16;

/// `struct VexfsExpand` of `fs/simd/graph.rs`.
#[repr(C)]
struct RawExpand {
    node: *const u8,
    query: *const u32,
    table: *const u8,
    delta: u32,
    bias: u32,
    dim: u32,
    elem: u32,
    padded: u32,
    bits: u32,
    level: u32,
    collection: u32,
    build: u32,
    slot: u32,
    limit: u32,
    metric: u32,
    bound: u32,
}

/// `struct VexfsEdge` of `fs/simd/graph.rs`.
#[repr(C)]
struct RawEdge {
    from: *const u32,
    rotated: *const u32,
    to: *const u32,
    signs: *const u32,
    room: *mut u32,
    code: *mut u8,
    dim: u32,
    padded: u32,
    bits: u32,
    level: u32,
    length: u32,
    a: u32,
    b: u32,
}

// Floats are f32 bits here: the signatures have pointers and integers only. `Expansion` is laid
// out as `VexfsExpanded`, which the host's tests assert.
extern "C" {
    fn vexfs_simd_expand(job: *const RawExpand, out: *mut Expansion) -> u32;
    fn vexfs_simd_rotate(
        from: *const u32,
        dim: u32,
        signs: *const u32,
        padded: u32,
        to: *mut u32,
        level: u32,
    );
    fn vexfs_simd_table(
        rotated: *const u32,
        padded: u32,
        bits: u32,
        table: *mut u8,
        scalars: *mut u32,
        level: u32,
    );
    fn vexfs_simd_edge(edge: *mut RawEdge);
    fn vexfs_simd_scale(vector: *const u8, dim: u32, elem: u32, metric: u32) -> u32;
    fn vexfs_simd_aim(query: *mut u32, dim: u32, bound: u32);
    fn vexfs_simd_unpack(
        vector: *const u8,
        dim: u32,
        elem: u32,
        metric: u32,
        scale: u32,
        bound: u32,
        to: *mut u32,
        level: u32,
    );
    fn vexfs_simd_mean(from: *const u32, n: u32, count: u32, to: *mut u32);
    fn vexfs_simd_distance(a: *const u32, b: *const u32, n: u32, level: u32) -> u32;
    fn vexfs_simd_hidden(
        rows: *const u32,
        n: u32,
        row: u32,
        chosen: *const u32,
        count: u32,
        key: u32,
        alpha: u32,
        level: u32,
    ) -> u32;
    fn vexfs_simd_compare(lengths: *const u32, keys: *const u32, key: u32, alpha: u32) -> u64;
}

/// What computes for graphs of one shape.
pub(crate) struct GraphKernels {
    shape: Shape,
    elem: u32,
    metric: u32,
    level: u32,
    signs: KVVec<u32>,
    bound: Bound,
}

impl GraphKernels {
    /// For a shape; `seed` is that of the rotation, `bound` what [`Bound`] was.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(shape: &Shape, seed: u64, bound: u32) -> Result<GraphKernels> {
        Ok(GraphKernels {
            shape: *shape,
            elem: shape.element as u32,
            metric: shape.metric as u32,
            level: simd::level(),
            signs: rotation::signs(shape, seed)?,
            bound: Bound::new(bound),
        })
    }

    /// Bytes of memory that it has.
    pub(crate) fn pinned(&self) -> usize {
        size_of_val(self.signs.as_slice())
    }

    /// # Safety
    ///
    /// `node` is the address of a whole image.
    unsafe fn expand_at(
        &self,
        query: &Query,
        slot: u32,
        limit: u32,
        node: *const u8,
        out: &mut Expansion,
    ) -> bool {
        let shape = &self.shape;
        if query.prepared.len() != shape.prepared() || query.table.len() != shape.padded() * 4 {
            return false;
        }
        let job = RawExpand {
            node,
            query: query.prepared.as_ptr(),
            table: query.table.as_ptr(),
            delta: query.delta,
            bias: query.bias,
            dim: shape.dim,
            elem: self.elem,
            padded: shape.padded() as u32,
            bits: shape.bits,
            level: self.level,
            collection: shape.collection,
            build: shape.build,
            slot,
            limit,
            metric: self.metric,
            bound: query.bound,
        };
        // SAFETY: The query was checked, the node is the caller's promise. The level was found out
        // when `self` was made.
        let expand = || unsafe { vexfs_simd_expand(&job, out) == 1 };
        if slot % MEASURED == 0 {
            fpu::section(expand)
        } else {
            fpu::unmeasured(expand)
        }
    }
}

impl Arithmetic<Region> for &GraphKernels {
    fn prepare(&self, vector: &[u8], prepared: &mut [u32]) -> Result {
        let (dim, metric) = (self.shape.dim, self.metric);
        if vector.len() != dim as usize * 4 || prepared.len() != self.shape.prepared() {
            return Err(EINVAL);
        }
        let to = prepared.as_mut_ptr();
        // SAFETY: The lengths were checked.
        let prepare = || unsafe { simd::vexfs_simd_prepare(vector.as_ptr(), dim, F32, metric, to) };
        if fpu::section(prepare) == u32::MAX {
            return Err(EINVAL);
        }
        if metric == IP {
            self.aim(prepared);
        }
        Ok(())
    }

    fn scale(&self, stored: &[u8]) -> u32 {
        if stored.len() != self.shape.vector() {
            return 0;
        }
        let (dim, elem, metric) = (self.shape.dim, self.elem, self.metric);
        // SAFETY: The length was checked.
        fpu::section(|| unsafe { vexfs_simd_scale(stored.as_ptr(), dim, elem, metric) })
    }

    fn aim(&self, prepared: &mut [u32]) {
        let (dim, bound) = (self.shape.dim.next_multiple_of(8), self.bound.get());
        if prepared.len() == dim as usize + 8 {
            let query = prepared.as_mut_ptr();
            // SAFETY: The length was checked.
            fpu::section(|| unsafe { vexfs_simd_aim(query, dim, bound) });
        }
    }

    fn bound(&self) -> &Bound {
        &self.bound
    }

    fn unpack(&self, stored: &[u8], scale: u32, prepared: &mut [u32]) {
        let shape = &self.shape;
        if stored.len() != shape.vector() || prepared.len() != shape.prepared() {
            return;
        }
        let (dim, elem, metric, level) = (shape.dim, self.elem, self.metric, self.level);
        if metric == IP {
            self.bound.raise(scale);
        }
        let (from, to, bound) = (stored.as_ptr(), prepared.as_mut_ptr(), self.bound.get());
        // SAFETY: The lengths were checked.
        fpu::section(|| unsafe {
            vexfs_simd_unpack(from, dim, elem, metric, scale, bound, to, level);
        });
    }

    fn rotate(&self, prepared: &[u32], rotated: &mut [u32]) {
        let (dim, padded) = (self.shape.prepared(), self.shape.padded());
        if prepared.len() != dim || rotated.len() != padded {
            return;
        }
        if self.shape.element == Element::Binary {
            return bits::widen(prepared, rotated);
        }
        let (from, signs) = (prepared.as_ptr(), self.signs.as_ptr());
        let (to, level) = (rotated.as_mut_ptr(), self.level);
        // SAFETY: The lengths were checked; the signs are as many as a rotation takes.
        fpu::section(|| unsafe {
            vexfs_simd_rotate(from, dim as u32, signs, padded as u32, to, level)
        });
    }

    fn table(&self, rotated: &[u32], table: &mut [u8]) -> (u32, u32) {
        let padded = self.shape.padded();
        if rotated.len() != padded || table.len() != padded * 4 {
            return (0, 0);
        }
        if self.shape.element == Element::Binary {
            return bits::table(rotated, table);
        }
        let mut scalars = [0; 2];
        let (from, to, level) = (rotated.as_ptr(), table.as_mut_ptr(), self.level);
        let bits = self.shape.bits;
        let out = scalars.as_mut_ptr();
        // SAFETY: The lengths were checked.
        fpu::section(|| unsafe { vexfs_simd_table(from, padded as u32, bits, to, out, level) });
        (scalars[0], scalars[1])
    }

    fn expand(
        &self,
        query: &Query,
        slot: u32,
        limit: u32,
        block: &Region,
        out: &mut Expansion,
    ) -> bool {
        let Some(node) = block.image(&self.shape) else {
            return false;
        };
        // SAFETY: There is a whole image at this address as long as `block` is.
        unsafe { self.expand_at(query, slot, limit, node, out) }
    }

    fn expand_image(
        &self,
        query: &Query,
        slot: u32,
        limit: u32,
        image: &[u8],
        out: &mut Expansion,
    ) -> bool {
        if image.len() < self.shape.image() || !image.as_ptr().cast::<u32>().is_aligned() {
            return false;
        }
        // SAFETY: The length was checked, and that its header can be read.
        unsafe { self.expand_at(query, slot, limit, image.as_ptr(), out) }
    }

    fn edge(&self, from: &[u32], rotated: &[u32], to: &[u32], edge: &mut Edge) {
        let (prepared, padded) = (self.shape.prepared(), self.shape.padded());
        let vectors = from.len() == prepared && to.len() == prepared && rotated.len() == padded;
        let room = edge.code.len() == self.shape.code() && edge.room.len() == 2 * padded;
        if !vectors || !room {
            return;
        }
        if self.shape.element == Element::Binary {
            return bits::edge(from, to, edge);
        }
        let mut job = RawEdge {
            from: from.as_ptr(),
            rotated: rotated.as_ptr(),
            to: to.as_ptr(),
            signs: self.signs.as_ptr(),
            room: edge.room.as_mut_ptr(),
            code: edge.code.as_mut_ptr(),
            dim: prepared as u32,
            padded: padded as u32,
            bits: self.shape.bits,
            level: self.level,
            length: 0,
            a: 0,
            b: 0,
        };
        // SAFETY: The lengths were checked.
        fpu::section(|| unsafe { vexfs_simd_edge(&mut job) });
        (edge.length, edge.a, edge.b) = (job.length, job.a, job.b);
    }

    fn distance(&self, a: &[u32], b: &[u32]) -> u32 {
        let n = self.shape.prepared();
        if a.len() != n || b.len() != n {
            return FARTHEST;
        }
        let (a, b, level) = (a.as_ptr(), b.as_ptr(), self.level);
        // SAFETY: The lengths were checked.
        fpu::section(|| unsafe { vexfs_simd_distance(a, b, n as u32, level) })
    }

    fn hidden(&self, rows: &[u32], row: u32, chosen: &[u32], key: u32, alpha: u32) -> bool {
        let n = self.shape.prepared();
        let there = |row: u32| (row as usize + 1) * n <= rows.len();
        if !there(row) || !chosen.iter().all(|row| there(*row)) {
            return false;
        }
        let count = chosen.len() as u32;
        let (rows, others, level) = (rows.as_ptr(), chosen.as_ptr(), self.level);
        // SAFETY: All rows are there.
        let by = fpu::section(|| unsafe {
            vexfs_simd_hidden(rows, n as u32, row, others, count, key, alpha, level)
        });
        by < count
    }

    fn compare(
        &self,
        lengths: &[u32; DEGREE],
        keys: &[u32; DEGREE],
        key: u32,
        alpha: u32,
    ) -> (u32, u32) {
        let (lengths, keys) = (lengths.as_ptr(), keys.as_ptr());
        // SAFETY: Both have 32 keys.
        let both = fpu::section(|| unsafe { vexfs_simd_compare(lengths, keys, key, alpha) });
        (both as u32, (both >> 32) as u32)
    }

    fn mean(&self, prepared: &[u32], count: u32, mean: &mut [u32]) {
        if prepared.len() != mean.len() {
            return;
        }
        let (from, n, to) = (prepared.as_ptr(), prepared.len() as u32, mean.as_mut_ptr());
        // SAFETY: They are equally long.
        fpu::section(|| unsafe { vexfs_simd_mean(from, n, count, to) });
    }
}
