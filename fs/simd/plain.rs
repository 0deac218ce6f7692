// SPDX-License-Identifier: GPL-2.0
//! The scan without AVX2: eight partial sums per pair, which the compiler turns into SSE2.

use crate::{element, key32, slack, VexfsScan, METRIC_L2};

const LANES: usize = 8;

/// See [`crate::vexfs_simd_scan`].
///
/// # Safety
///
/// All pointers of `scan` are valid for what its counts and strides say.
pub(crate) unsafe fn scan<const ELEM: u32, const METRIC: u32>(scan: &VexfsScan) {
    let slack = slack(scan.dim);
    for v in 0..scan.count as usize {
        // SAFETY: There are `count` vectors, `vector_stride` apart.
        let vector = unsafe { scan.vectors.add(v * scan.vector_stride) };
        for q in 0..scan.query_count as usize {
            // SAFETY: There are `query_count` queries, each with its norm and `key_stride` keys.
            unsafe {
                let query = scan.queries.add(q * scan.query_stride);
                let norm = f32::from_bits(*scan.norms.add(q));
                let (sum, norm2) = pair::<ELEM, METRIC>(query, vector, scan.dim as usize);
                *scan.keys.add(q * scan.key_stride + v) = key32::<METRIC>(sum, norm2, norm, slack);
            }
        }
    }
}

/// The sum for one pair, and the vector's sum of squares unless the metric is L2.
///
/// # Safety
///
/// Both have `dim` elements.
#[inline(always)]
unsafe fn pair<const ELEM: u32, const METRIC: u32>(
    query: *const f32,
    vector: *const u8,
    dim: usize,
) -> (f32, f32) {
    let mut sums = [0f32; LANES];
    let mut norms = [0f32; LANES];
    let mut i = 0;
    while i < dim {
        let lanes = if dim - i < LANES { dim - i } else { LANES };
        for lane in 0..lanes {
            // SAFETY: `i + lane` is below `dim`.
            let (q, v) = unsafe { (*query.add(i + lane), element(vector, ELEM, i + lane)) };
            if METRIC == METRIC_L2 {
                sums[lane] += (q - v) * (q - v);
            } else {
                sums[lane] += q * v;
                norms[lane] += v * v;
            }
        }
        i += LANES;
    }
    (add_up(&sums), add_up(&norms))
}

#[inline(always)]
fn add_up(s: &[f32; LANES]) -> f32 {
    ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]))
}
