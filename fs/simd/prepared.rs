// SPDX-License-Identifier: GPL-2.0
//! Prepared vectors: what a graph compares, as f32 whatever is stored.

use crate::lift::lift;
use crate::{
    element, graph_avx2, LEVEL_PLAIN, METRIC_COSINE, METRIC_IP, TYPE_BINARY, TYPE_F16, TYPE_F32,
    TYPE_INT8,
};

/// The bits of what a stored vector is multiplied by: one over its norm for cosine, else one. For inner products, which
/// multiply by one too, those of its squared norm.
///
/// # Safety
///
/// `vector` has `dim` elements of type `elem`, of any alignment.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_scale(
    vector: *const u8,
    dim: u32,
    elem: u32,
    metric: u32,
) -> u32 {
    align_stack!();
    if metric != METRIC_COSINE && metric != METRIC_IP {
        return 1f32.to_bits();
    }
    // SAFETY: The caller's promise.
    let norm2 = unsafe { crate::sum_of_squares(vector, elem, dim) };
    if metric == METRIC_IP {
        return (norm2 as f32).to_bits();
    }
    ((1.0 / crate::sqrt64(norm2)) as f32).to_bits()
}

/// Widens a stored vector, multiplies it, and fills it up with zeroes: a prepared vector. `scale` is what
/// `vexfs_simd_scale` said, `bound` what no squared norm is above, for inner products.
///
/// # Safety
///
/// `vector` has `dim` elements of type `elem`, of any alignment; `to` has `dim` rounded up to a multiple of 8, and for
/// inner products eight more. `level` is one that this processor has.
#[no_mangle]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn vexfs_simd_unpack(
    vector: *const u8,
    dim: u32,
    elem: u32,
    metric: u32,
    scale: u32,
    bound: u32,
    to: *mut f32,
    level: u32,
) {
    align_stack!();
    let dim = dim as usize;
    let mut scale = f32::from_bits(scale);
    if metric == METRIC_IP {
        // SAFETY: The caller's promise.
        unsafe {
            lift(
                scale,
                f32::from_bits(bound),
                to.add(dim.next_multiple_of(8)),
            )
        };
        scale = 1.0;
    }
    // What is left for one element at a time.
    let rest = match (level, elem) {
        (LEVEL_PLAIN, _) => 0,
        // SAFETY: The caller's promise.
        (_, TYPE_F16) => unsafe { graph_avx2::unpack::<TYPE_F16>(vector, dim, scale, to) },
        // SAFETY: The caller's promise.
        (_, TYPE_INT8) => unsafe { graph_avx2::unpack::<TYPE_INT8>(vector, dim, scale, to) },
        // SAFETY: The caller's promise.
        (_, TYPE_BINARY) => unsafe { graph_avx2::unpack::<TYPE_BINARY>(vector, dim, scale, to) },
        // SAFETY: The caller's promise.
        _ => unsafe { graph_avx2::unpack::<TYPE_F32>(vector, dim, scale, to) },
    };
    for i in rest..dim.next_multiple_of(8) {
        // SAFETY: `i` is below `dim` where the vector is read.
        unsafe {
            let x = if i < dim {
                element(vector, elem, i)
            } else {
                0.0
            };
            *to.add(i) = x * scale;
        }
    }
}

/// Adds a prepared vector, divided by `count`, to another: a mean in the making.
///
/// # Safety
///
/// Both have `n` elements.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_mean(from: *const f32, n: u32, count: u32, to: *mut f32) {
    align_stack!();
    let part = 1.0 / count as i32 as f32;
    for i in 0..n as usize {
        // SAFETY: Below `n`.
        unsafe { *to.add(i) += *from.add(i) * part };
    }
}
