// SPDX-License-Identifier: GPL-2.0

//! The kernels of `fs/simd` behind the trait that the graph computes with.

use crate::memory::Region;
use kernel::prelude::*;
use vexfs::libvexfs::vector::index::{
    bits, rotation, Arithmetic, Bound, Edge, Expansion, Query, Shape, DEGREE,
};
use vexfs::libvexfs::vector::{Element, Metric};
use vexfs_simd::*;

/// What computes for graphs of one shape.
pub struct Kernels {
    shape: Shape,
    elem: u32,
    metric: u32,
    level: u32,
    signs: KVVec<u32>,
    bound: Bound,
}

/// The best instruction set of this processor.
pub fn level() -> u32 {
    let has = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    if has {
        LEVEL_AVX2
    } else {
        LEVEL_PLAIN
    }
}

impl Kernels {
    /// For a shape; `seed` is that of the rotation.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(shape: &Shape, seed: u64) -> Result<Kernels> {
        Ok(Kernels {
            shape: *shape,
            elem: shape.element as u32,
            metric: shape.metric as u32,
            level: level(),
            signs: rotation::signs(shape, seed)?,
            bound: Bound::new(0),
        })
    }

    /// With another instruction set than the best one.
    ///
    /// # Safety
    ///
    /// It is one that this processor has.
    pub unsafe fn with_level(self, level: u32) -> Kernels {
        Kernels { level, ..self }
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
        assert!(query.prepared.len() == shape.prepared());
        assert!(query.table.len() == shape.padded() * 4);
        let job = VexfsExpand {
            node,
            query: query.prepared.as_ptr().cast(),
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
        // SAFETY: The query was checked, the node is the caller's promise. `Expansion` is laid out
        // as `VexfsExpanded`, which is asserted below.
        unsafe { vexfs_simd_expand(&job, (out as *mut Expansion).cast()) == 1 }
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Expansion>() == size_of::<VexfsExpanded>());
    assert!(offset_of!(Expansion, key) == offset_of!(VexfsExpanded, key));
    assert!(offset_of!(Expansion, generation) == offset_of!(VexfsExpanded, generation));
    assert!(offset_of!(Expansion, mask) == offset_of!(VexfsExpanded, mask));
    assert!(offset_of!(Expansion, used) == offset_of!(VexfsExpanded, used));
    assert!(offset_of!(Expansion, keys) == offset_of!(VexfsExpanded, keys));
    assert!(offset_of!(Expansion, slots) == offset_of!(VexfsExpanded, slots));
    assert!(DEGREE == vexfs_simd::DEGREE);
};

impl Arithmetic<Region> for Kernels {
    fn prepare(&self, vector: &[u8], prepared: &mut [u32]) -> Result {
        let dim = self.shape.dim;
        if vector.len() != dim as usize * 4 || prepared.len() != self.shape.prepared() {
            return Err(EINVAL);
        }
        // SAFETY: The lengths were checked.
        let norm = unsafe {
            let to = prepared.as_mut_ptr().cast();
            vexfs_simd_prepare(vector.as_ptr().cast(), dim, TYPE_F32, self.metric, to)
        };
        if norm == u32::MAX {
            return Err(EINVAL);
        }
        if self.metric == METRIC_IP {
            self.aim(prepared);
        }
        Ok(())
    }

    fn scale(&self, stored: &[u8]) -> u32 {
        assert!(stored.len() == self.shape.vector());
        // SAFETY: The length was checked.
        unsafe { vexfs_simd_scale(stored.as_ptr(), self.shape.dim, self.elem, self.metric) }
    }

    fn aim(&self, prepared: &mut [u32]) {
        let dim = self.shape.dim.next_multiple_of(8);
        assert!(prepared.len() == dim as usize + 8);
        // SAFETY: The length was checked.
        unsafe { vexfs_simd_aim(prepared.as_mut_ptr().cast(), dim, self.bound.get()) };
    }

    fn bound(&self) -> &Bound {
        &self.bound
    }

    fn unpack(&self, stored: &[u8], scale: u32, prepared: &mut [u32]) {
        assert!(stored.len() == self.shape.vector() && prepared.len() == self.shape.prepared());
        if self.metric == METRIC_IP {
            self.bound.raise(scale);
        }
        let to = prepared.as_mut_ptr().cast();
        // SAFETY: The lengths were checked.
        unsafe {
            vexfs_simd_unpack(
                stored.as_ptr(),
                self.shape.dim,
                self.elem,
                self.metric,
                scale,
                self.bound.get(),
                to,
                self.level,
            )
        }
    }

    fn rotate(&self, prepared: &[u32], rotated: &mut [u32]) {
        let (dim, padded) = (self.shape.prepared(), self.shape.padded());
        assert!(prepared.len() == dim && rotated.len() == padded);
        if self.shape.element == Element::Binary {
            return bits::widen(prepared, rotated);
        }
        // SAFETY: The lengths were checked; the signs are as many as a rotation takes.
        unsafe {
            vexfs_simd_rotate(
                prepared.as_ptr().cast(),
                dim as u32,
                self.signs.as_ptr(),
                padded as u32,
                rotated.as_mut_ptr().cast(),
                self.level,
            )
        }
    }

    fn table(&self, rotated: &[u32], table: &mut [u8]) -> (u32, u32) {
        let padded = self.shape.padded();
        assert!(rotated.len() == padded && table.len() == padded * 4);
        if self.shape.element == Element::Binary {
            return bits::table(rotated, table);
        }
        let mut scalars = [0; 2];
        // SAFETY: The lengths were checked.
        unsafe {
            vexfs_simd_table(
                rotated.as_ptr().cast(),
                padded as u32,
                self.shape.bits,
                table.as_mut_ptr(),
                scalars.as_mut_ptr(),
                self.level,
            )
        };
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
        assert!(self.shape.pages() == 1);
        // SAFETY: A region of a shape with one page is an image.
        unsafe { self.expand_at(query, slot, limit, block.address(), out) }
    }

    fn expand_image(
        &self,
        query: &Query,
        slot: u32,
        limit: u32,
        image: &[u8],
        out: &mut Expansion,
    ) -> bool {
        assert!(image.len() >= self.shape.image() && image.as_ptr().cast::<u32>().is_aligned());
        // SAFETY: The length was checked, and that its header can be read.
        unsafe { self.expand_at(query, slot, limit, image.as_ptr(), out) }
    }

    fn edge(&self, from: &[u32], rotated: &[u32], to: &[u32], edge: &mut Edge) {
        let (prepared, padded) = (self.shape.prepared(), self.shape.padded());
        assert!(from.len() == prepared && to.len() == prepared && rotated.len() == padded);
        assert!(edge.code.len() == self.shape.code() && edge.room.len() == 2 * padded);
        if self.shape.element == Element::Binary {
            return bits::edge(from, to, edge);
        }
        let mut job = VexfsEdge {
            from: from.as_ptr().cast(),
            rotated: rotated.as_ptr().cast(),
            to: to.as_ptr().cast(),
            signs: self.signs.as_ptr(),
            room: edge.room.as_mut_ptr().cast(),
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
        unsafe { vexfs_simd_edge(&mut job) };
        (edge.length, edge.a, edge.b) = (job.length, job.a, job.b);
    }

    fn distance(&self, a: &[u32], b: &[u32]) -> u32 {
        let n = self.shape.prepared();
        assert!(a.len() == n && b.len() == n);
        // SAFETY: The lengths were checked.
        unsafe { vexfs_simd_distance(a.as_ptr().cast(), b.as_ptr().cast(), n as u32, self.level) }
    }

    fn hidden(&self, rows: &[u32], row: u32, chosen: &[u32], key: u32, alpha: u32) -> bool {
        let n = self.shape.prepared();
        let there = |row: u32| (row as usize + 1) * n <= rows.len();
        assert!(there(row) && chosen.iter().all(|row| there(*row)));
        let count = chosen.len() as u32;
        // SAFETY: All rows are there.
        let by = unsafe {
            vexfs_simd_hidden(
                rows.as_ptr().cast(),
                n as u32,
                row,
                chosen.as_ptr(),
                count,
                key,
                alpha,
                self.level,
            )
        };
        by < count
    }

    fn compare(
        &self,
        lengths: &[u32; DEGREE],
        keys: &[u32; DEGREE],
        key: u32,
        alpha: u32,
    ) -> (u32, u32) {
        // SAFETY: Both have 32 keys.
        let both = unsafe { vexfs_simd_compare(lengths.as_ptr(), keys.as_ptr(), key, alpha) };
        (both as u32, (both >> 32) as u32)
    }

    fn mean(&self, prepared: &[u32], count: u32, mean: &mut [u32]) {
        assert!(prepared.len() == mean.len());
        let (from, to) = (prepared.as_ptr().cast(), mean.as_mut_ptr().cast());
        // SAFETY: They are equally long.
        unsafe { vexfs_simd_mean(from, prepared.len() as u32, count, to) }
    }
}

/// Checks a vector, f32 in little endian, and stores it in a collection's type.
///
/// # Errors
///
/// `EINVAL` if a collection does not take it, or a length is wrong.
pub fn encode(vector: &[u8], element: Element, metric: Metric, stored: &mut [u8]) -> Result {
    let dim = vector.len() / 4;
    if vector.len() != dim * 4 || stored.len() != element.bytes(dim as u32) as usize {
        return Err(EINVAL);
    }
    // SAFETY: The lengths were checked.
    let bad = unsafe {
        let (from, to) = (vector.as_ptr().cast(), stored.as_mut_ptr());
        vexfs_simd_encode(from, dim as u32, element as u32, metric as u32, to)
    };
    if bad != 0 {
        return Err(EINVAL);
    }
    Ok(())
}
