// SPDX-License-Identifier: GPL-2.0
//! Inner products as distances. A vector `x` gets one coordinate more, `sqrt(M^2 - |x|^2)`, with which all are `M` long;
//! a query gets zero, and is made `M` long: `|q - x|^2 = 2 M^2 - 2 <q, x>`, so the nearest has the largest product
//! (Bachrach and others, RecSys 2014). `M^2` is the *bound*: no vector's squared norm is above it.
//!
//! The coordinate comes behind the vector filled up to a multiple of 8, and seven zeroes behind it. It is not stored: a
//! node has its squared norm, so a bound that is raised moves all nodes at once. Edges that were coded before say the
//! same of a search's query as ever, whose coordinate is zero.

use crate::{sqrt32, sqrt64, VexfsExpand, METRIC_IP};

/// Elements that it adds to a prepared vector.
const MORE: usize = 8;

/// The coordinate of a vector whose squared norm is `norm2`.
#[inline(always)]
fn height(norm2: f32, bound: f32) -> f32 {
    let rest = bound - norm2;
    if rest > 0.0 {
        sqrt32(rest)
    } else {
        0.0
    }
}

/// Writes the coordinate of a vector, and the zeroes behind it.
///
/// # Safety
///
/// `to` has eight elements.
#[inline(always)]
pub(crate) unsafe fn lift(norm2: f32, bound: f32, to: *mut f32) {
    for i in 0..MORE {
        let x = if i == 0 { height(norm2, bound) } else { 0.0 };
        // SAFETY: Below eight.
        unsafe { *to.add(i) = x };
    }
}

/// What a node's header says its vector is multiplied by, and what its coordinate adds to the squared distance.
///
/// # Safety
///
/// As for `vexfs_simd_expand`; `word` is the node's at `SCALE_AT`.
#[inline(always)]
pub(crate) unsafe fn scale_and_height(job: &VexfsExpand, word: f32) -> (f32, f32) {
    if job.metric != METRIC_IP {
        return (word, 0.0);
    }
    // SAFETY: A query for inner products has eight elements more.
    let query = unsafe { *job.query.add((job.dim as usize).next_multiple_of(8)) };
    let d = query - height(word, f32::from_bits(job.bound));
    (1.0, d * d)
}

/// Makes a query, as `vexfs_simd_prepare` made it, one for distances: as long as the bound says, and zero in the
/// coordinate that is added. One of zeroes stays what it is.
///
/// # Safety
///
/// `query` has `dim` elements, a multiple of 8, and room for eight more.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_aim(query: *mut f32, dim: u32, bound: u32) {
    align_stack!();
    let dim = dim as usize;
    // SAFETY: The caller's promise.
    unsafe {
        let mut norm2 = 0f64;
        for i in 0..dim {
            let x = *query.add(i) as f64;
            norm2 += x * x;
        }
        let scale = sqrt64(f32::from_bits(bound) as f64 / norm2);
        // Not if there is nothing to multiply, or nothing to be as long as.
        if scale > 0.0 && scale < f64::MAX {
            for i in 0..dim {
                *query.add(i) = (*query.add(i) as f64 * scale) as f32;
            }
        }
        lift(0.0, 0.0, query.add(dim));
    }
}
