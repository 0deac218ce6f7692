// SPDX-License-Identifier: GPL-2.0

//! Inner products as distances: all vectors get equally long by one more coordinate.

use crate::Random;
use vexfs_simd::*;

const DIM: usize = 100;
const FILLED: usize = 104;

/// A vector as a graph compares it.
fn lifted(vector: &[f32], bound: f32, level: u32) -> Vec<f32> {
    let mut to = vec![f32::NAN; FILLED + 8];
    let from = vector.as_ptr().cast();
    let dim = vector.len() as u32;
    // SAFETY: The lengths are what they should be.
    unsafe {
        let norm2 = vexfs_simd_scale(from, dim, TYPE_F32, METRIC_IP);
        let (bound, to) = (bound.to_bits(), to.as_mut_ptr());
        vexfs_simd_unpack(from, dim, TYPE_F32, METRIC_IP, norm2, bound, to, level);
    }
    to
}

fn aimed(query: &[f32], bound: f32) -> Vec<f32> {
    let mut query = query.to_vec();
    query.resize(FILLED, 0.0);
    query.resize(FILLED + 8, f32::NAN);
    // SAFETY: There are eight elements more.
    unsafe { vexfs_simd_aim(query.as_mut_ptr(), FILLED as u32, bound.to_bits()) };
    query
}

fn squares(a: &[f32]) -> f64 {
    a.iter().map(|x| f64::from(*x) * f64::from(*x)).sum()
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(x, y)| f64::from(*x) * f64::from(*y))
        .sum()
}

#[test]
fn the_nearest_has_the_largest_product() {
    let mut random = Random::new(31);
    // Norms that differ by a hundred times.
    let vectors: Vec<Vec<f32>> = (0..300)
        .map(|i| {
            let size = 10f32.powf((i % 9) as f32 / 4.0 - 1.0);
            random.vector(DIM).iter().map(|x| x * size).collect()
        })
        .collect();
    let most = vectors.iter().map(|v| squares(v)).fold(0.0, f64::max);
    for bound in [most as f32 * 1.0001, most as f32 * 1.24] {
        let lifted: Vec<Vec<f32>> = vectors
            .iter()
            .map(|v| lifted(v, bound, LEVEL_PLAIN))
            .collect();
        for (v, l) in vectors.iter().zip(&lifted) {
            assert_eq!(l[..DIM], v[..]);
            assert!((squares(l) / f64::from(bound) - 1.0).abs() < 1e-6);
            assert!(l[DIM..FILLED]
                .iter()
                .chain(&l[FILLED + 1..])
                .all(|x| *x == 0.0));
        }
        for size in [1e-3, 1.0, 1e6] {
            let query: Vec<f32> = random.vector(DIM).iter().map(|x| x * size).collect();
            let to = aimed(&query, bound);
            assert!((squares(&to) / f64::from(bound) - 1.0).abs() < 1e-6);
            assert!(to[FILLED..].iter().all(|x| *x == 0.0));
            let stretch = (f64::from(bound) / squares(&query)).sqrt();
            for (v, l) in vectors.iter().zip(&lifted) {
                // SAFETY: Both are that long.
                let key = unsafe {
                    let (a, b) = (to.as_ptr(), l.as_ptr());
                    vexfs_simd_distance(a, b, (FILLED + 8) as u32, LEVEL_PLAIN)
                };
                let want = 2.0 * f64::from(bound) - 2.0 * stretch * product(&query, v);
                let error = f64::from(f32::from_bits(key)) - want;
                assert!(error.abs() < 1e-5 * f64::from(bound), "off by {error}");
            }
        }
    }
}

#[test]
fn nothing_makes_a_coordinate_that_is_no_number() {
    // No bound yet, a vector longer than it, nothing at all.
    let zero = vec![0.0; DIM];
    let one = vec![1.0; DIM];
    for (vector, bound, height) in [
        (&zero, 0.0, 0.0),
        (&one, 0.0, 0.0),
        (&one, 99.0, 0.0),
        (&zero, 16.0, 4.0),
        (&one, 109.0, 3.0),
    ] {
        assert_eq!(lifted(vector, bound, LEVEL_PLAIN)[FILLED], height);
        let aimed = aimed(vector, bound);
        assert!(aimed.iter().all(|x| x.is_finite()));
        assert_eq!(aimed[FILLED], 0.0);
    }
    assert_eq!(aimed(&one, 0.0)[..DIM], one[..]);
    assert!(aimed(&zero, 9.0).iter().all(|x| *x == 0.0));
}
