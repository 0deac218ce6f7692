// SPDX-License-Identifier: GPL-2.0
//! Comparisons of prepared vectors: the same at all levels, on random and extreme input, and right.

use crate::{avx2, Random};
use vexfs_simd::*;

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum()
}

#[test]
fn distances_are_the_same_at_all_levels() {
    if !avx2() {
        return;
    }
    let mut random = Random::new(10);
    for n in [8, 16, 24, 104, 384, 4096] {
        for round in 0..40 {
            let (a, b) = match round {
                0..10 => (random.vector(n), random.vector(n)),
                _ => (random.extreme(n), random.extreme(n)),
            };
            let key =
                |level| unsafe { vexfs_simd_distance(a.as_ptr(), b.as_ptr(), n as u32, level) };
            assert_eq!(key(LEVEL_PLAIN), key(LEVEL_AVX2), "n {n} round {round}");
            if round < 10 {
                let truth: f64 = a
                    .iter()
                    .zip(&b)
                    .map(|(a, b)| (*a as f64 - *b as f64).powi(2))
                    .sum();
                let got = f32::from_bits(key(LEVEL_PLAIN)) as f64;
                assert!(
                    (got - truth).abs() < 1e-5 * truth,
                    "n {n}: {got} is not {truth}"
                );
            }
            let rows = [a.as_slice(), b.as_slice()].concat();
            let hidden = |limit: u32, level| unsafe {
                vexfs_simd_hidden(
                    rows.as_ptr(),
                    n as u32,
                    0,
                    [1].as_ptr(),
                    1,
                    limit,
                    1000,
                    level,
                )
            };
            for limit in [0, key(LEVEL_PLAIN), FARTHEST] {
                assert_eq!(hidden(limit, LEVEL_PLAIN), hidden(limit, LEVEL_AVX2));
            }
            // It hides what is exactly as far away; a distance that is not a number hides nothing.
            if key(LEVEL_PLAIN) < FARTHEST {
                assert_eq!(
                    hidden(key(LEVEL_PLAIN), LEVEL_PLAIN),
                    0,
                    "n {n} round {round}"
                );
            }
        }
    }
}

#[test]
fn comparing_says_who_hides_whom() {
    let bits = |x: f32| x.to_bits();
    let mut lengths = [bits(1.0); DEGREE];
    let mut keys = [bits(100.0); DEGREE];
    // Nearer than the new one at 4, and close to it; nearer and not close; farther and close; farther and not.
    (lengths[0], keys[0]) = (bits(2.0), bits(3.0));
    (lengths[1], keys[1]) = (bits(2.0), bits(4.5));
    (lengths[2], keys[2]) = (bits(9.0), bits(8.0));
    (lengths[31], keys[31]) = (bits(9.0), bits(9.5));
    let compare =
        |alpha| unsafe { vexfs_simd_compare(lengths.as_ptr(), keys.as_ptr(), bits(4.0), alpha) };
    assert_eq!(compare(1000), 1 | (1 << 2) << 32);
    // 1.2 squared is 1.44.
    assert_eq!(compare(1200), 0);
    assert_eq!(compare(900), 0b11 | (1 << 2 | 1 << 31) << 32);
}

#[test]
fn stored_vectors_are_unpacked_and_normalised() {
    let mut random = Random::new(11);
    let levels: &[u32] = if avx2() {
        &[LEVEL_PLAIN, LEVEL_AVX2]
    } else {
        &[LEVEL_PLAIN]
    };
    for dim in [1, 5, 8, 100] {
        for elem in [TYPE_F32, TYPE_F16, TYPE_INT8, TYPE_BINARY] {
            let mut v = random.vector(dim);
            match elem {
                TYPE_INT8 => v.iter_mut().for_each(|x| *x = (*x * 40.0).round() + 1.0),
                TYPE_BINARY => v.iter_mut().for_each(|x| *x = (*x > -1.0) as u8 as f32),
                _ => {}
            }
            v[0] = 1.0;
            let mut stored = vec![0; dim * 4];
            unsafe {
                vexfs_simd_encode(v.as_ptr(), dim as u32, elem, METRIC_L2, stored.as_mut_ptr())
            };
            let mut wide = vec![0f32; dim];
            unsafe { vexfs_simd_decode(stored.as_ptr(), dim as u32, elem, wide.as_mut_ptr()) };
            for metric in [METRIC_L2, METRIC_COSINE] {
                let unpack = |level| {
                    let mut got = vec![f32::NAN; dim.next_multiple_of(8)];
                    unsafe {
                        let from = stored.as_ptr();
                        let scale = vexfs_simd_scale(from, dim as u32, elem, metric);
                        let (dim, to) = (dim as u32, got.as_mut_ptr());
                        vexfs_simd_unpack(from, dim, elem, metric, scale, 0, to, level);
                    }
                    got
                };
                let got = unpack(LEVEL_PLAIN);
                for level in levels {
                    assert_eq!(got, unpack(*level), "dim {dim} level {level}");
                }
                let norm = if metric == METRIC_COSINE {
                    dot(&wide, &wide).sqrt()
                } else {
                    1.0
                };
                for (i, got) in got.into_iter().enumerate() {
                    let want = wide.get(i).map_or(0.0, |x| *x as f64 / norm);
                    assert!(
                        (got as f64 - want).abs() <= 1e-6 * want.abs(),
                        "dim {dim} at {i}"
                    );
                }
            }
        }
    }
}
