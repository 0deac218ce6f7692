// SPDX-License-Identifier: GPL-2.0
//! Comparisons of prepared vectors: the same at all levels, on random and extreme input, and right.

use vexfs_simd::*;

/// A small generator, so that a failure's seed says it all.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// Nearly normal.
    fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.unit()).sum::<f32>() / 1.414
    }

    fn vector(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }

    /// Zeroes, the smallest and the largest numbers among ordinary ones.
    fn extreme(&mut self, n: usize) -> Vec<f32> {
        let kind = self.next() % 6;
        (0..n)
            .map(|_| match (kind, self.next() % 4) {
                (0, _) => 0.0,
                (1, _) => f32::from_bits(self.next() as u32 & 0x807f_ffff),
                (2, _) => self.unit() * 1e18,
                (3, 0) => self.unit() * 3e17,
                (4, 0) => -0.0,
                (5, _) => f32::from_bits(self.next() as u32),
                _ => self.unit(),
            })
            .collect()
    }
}

fn avx2() -> bool {
    let has = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    if !has {
        eprintln!("skipped: this processor has no AVX2");
    }
    has
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum()
}

#[test]
fn distances_are_the_same_at_all_levels() {
    if !avx2() {
        return;
    }
    let mut random = Random(10);
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
    let mut random = Random(11);
    for dim in [1, 5, 8, 100] {
        for elem in [TYPE_F32, TYPE_F16] {
            let v = random.vector(dim);
            let mut stored = vec![0; dim * 4];
            unsafe {
                vexfs_simd_encode(v.as_ptr(), dim as u32, elem, METRIC_L2, stored.as_mut_ptr())
            };
            let mut wide = vec![0f32; dim];
            unsafe { vexfs_simd_decode(stored.as_ptr(), dim as u32, elem, wide.as_mut_ptr()) };
            for normalise in [0, 1] {
                let mut got = vec![f32::NAN; dim.next_multiple_of(8)];
                unsafe {
                    let scale = vexfs_simd_scale(stored.as_ptr(), dim as u32, elem, normalise);
                    vexfs_simd_unpack(stored.as_ptr(), dim as u32, elem, scale, got.as_mut_ptr());
                }
                let norm = if normalise == 1 {
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
