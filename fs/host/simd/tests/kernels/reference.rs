// SPDX-License-Identifier: GPL-2.0
//! Checks the distance kernels against a plain f64 reference, on random, clustered and extreme input.

use crate::{avx2, Random};
use vexfs_simd::*;

/// The instruction sets that this processor has for a type.
pub fn levels(elem: u32) -> Vec<u32> {
    let mut levels = vec![LEVEL_PLAIN];
    if avx2() {
        levels.push(LEVEL_AVX2);
    }
    let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
    if elem == TYPE_INT8 && has && is_x86_feature_detected!("avx512vnni") {
        levels.push(LEVEL_VNNI);
    }
    if elem == TYPE_BINARY && has && is_x86_feature_detected!("avx512vpopcntdq") {
        levels.push(LEVEL_POPCNT);
    }
    levels
}

/// Bytes of a stored vector.
pub fn stored(dim: usize, elem: u32) -> usize {
    match elem {
        TYPE_F32 => dim * 4,
        TYPE_F16 => dim * 2,
        TYPE_INT8 => dim,
        _ => dim.div_ceil(8),
    }
}

fn order(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

fn order32(x: f32) -> u32 {
    let bits = x.to_bits();
    if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    }
}

/// The distance by the book.
fn distance(q: &[f32], v: &[f32], metric: u32) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(x, y)| *x as f64 * *y as f64)
            .sum::<f64>()
    };
    match metric {
        METRIC_L2 | METRIC_HAMMING => q
            .iter()
            .zip(v)
            .map(|(x, y)| (*x as f64 - *y as f64).powi(2))
            .sum(),
        METRIC_COSINE => -dot(q, v) / (dot(q, q).sqrt() * dot(v, v).sqrt()),
        _ => -dot(q, v),
    }
}

pub struct Case {
    dim: usize,
    elem: u32,
    metric: u32,
    pub queries: Vec<Vec<f32>>,
    /// As stored: widened again.
    pub vectors: Vec<Vec<f32>>,
    bytes: Vec<u8>,
    stride: usize,
}

impl Case {
    /// Encodes the vectors; those that are refused are left out.
    pub fn new(
        dim: usize,
        elem: u32,
        metric: u32,
        queries: Vec<Vec<f32>>,
        vectors: Vec<Vec<f32>>,
    ) -> Case {
        let stride = stored(dim, elem);
        let mut case = Case {
            dim,
            elem,
            metric,
            queries: vec![],
            vectors: vec![],
            bytes: vec![],
            stride,
        };
        for v in vectors {
            let mut stored = vec![0u8; stride];
            if unsafe {
                vexfs_simd_encode(v.as_ptr(), dim as u32, elem, metric, stored.as_mut_ptr())
            } == 0
            {
                let mut wide = vec![0f32; dim];
                unsafe { vexfs_simd_decode(stored.as_ptr(), dim as u32, elem, wide.as_mut_ptr()) };
                case.bytes.extend(stored);
                case.vectors.push(wide);
            }
        }
        let mut room = vec![0f32; dim.next_multiple_of(QUERY_PAD)];
        case.queries = queries
            .into_iter()
            .filter(|q| unsafe { vexfs_simd_prepare(q.as_ptr(), dim as u32, elem, metric, room.as_mut_ptr()) } != u32::MAX)
            .collect();
        case
    }

    pub fn scan(&self, level: u32) -> Vec<u32> {
        let padded = self.dim.next_multiple_of(QUERY_PAD);
        let mut prepared = vec![f32::NAN; padded * self.queries.len()];
        let norms: Vec<u32> = self
            .queries
            .iter()
            .zip(prepared.chunks_mut(padded))
            .map(|(q, to)| unsafe {
                vexfs_simd_prepare(
                    q.as_ptr(),
                    self.dim as u32,
                    self.elem,
                    self.metric,
                    to.as_mut_ptr(),
                )
            })
            .collect();
        let count = self.vectors.len();
        // At the very end of the allocation, so that a tool finds a read past it.
        let mut keys = vec![7u32; self.queries.len() * count];
        let job = VexfsScan {
            queries: prepared.as_ptr(),
            norms: norms.as_ptr(),
            vectors: self.bytes.as_ptr(),
            keys: keys.as_mut_ptr(),
            query_stride: padded,
            vector_stride: self.stride,
            key_stride: count,
            query_count: self.queries.len() as u32,
            count: count as u32,
            dim: self.dim as u32,
            elem: self.elem,
            metric: self.metric,
            level,
        };
        unsafe { vexfs_simd_scan(&job) };
        keys
    }

    fn exact(&self, q: usize, v: usize) -> u64 {
        let vector = &self.bytes[v * self.stride..];
        unsafe {
            vexfs_simd_exact(
                self.queries[q].as_ptr(),
                vector.as_ptr(),
                self.dim as u32,
                self.elem,
                self.metric,
            )
        }
    }

    /// Checks the three promises: exact keys are true, optimistic keys are not above them, and not far below.
    pub fn check(&self, tight: bool, what: &str) {
        for level in levels(self.elem) {
            let keys = self.scan(level);
            for q in 0..self.queries.len() {
                for v in 0..self.vectors.len() {
                    let at = format!(
                        "{what} level {level} dim {} metric {} q {q} v {v}",
                        self.dim, self.metric
                    );
                    let truth = distance(&self.queries[q], &self.vectors[v], self.metric);
                    let exact = self.exact(q, v);
                    let back = f64::from_bits(if exact >> 63 == 1 {
                        exact ^ 1 << 63
                    } else {
                        !exact
                    });
                    let norms = distance(&self.queries[q], &self.queries[q], METRIC_IP)
                        .abs()
                        .sqrt()
                        * distance(&self.vectors[v], &self.vectors[v], METRIC_IP)
                            .abs()
                            .sqrt();
                    let scale = match self.metric {
                        METRIC_L2 | METRIC_HAMMING => truth,
                        METRIC_COSINE => 1.0,
                        _ => norms,
                    };
                    assert!(
                        (back - truth).abs() <= 1e-12 * scale,
                        "{at}: {back} is not {truth}"
                    );
                    let key = keys[q * self.vectors.len() + v];
                    let bound = vexfs_simd_bound(exact);
                    assert!(
                        key <= bound,
                        "{at}: key {key:x} above {bound:x}, truth {truth}"
                    );
                    if tight {
                        let floor = order32((truth - 1e-3 * scale.max(1e-6)) as f32);
                        assert!(key >= floor, "{at}: key {key:x} far below {truth}");
                    }
                }
            }
        }
    }
}

fn all(mut f: impl FnMut(usize, u32, u32)) {
    for dim in [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 100, 384, 4096] {
        for elem in [TYPE_F32, TYPE_F16] {
            for metric in [METRIC_L2, METRIC_COSINE, METRIC_IP] {
                f(dim, elem, metric);
            }
        }
    }
}

#[test]
fn random_vectors_score_as_the_reference_says() {
    let mut random = Random::new(1);
    all(|dim, elem, metric| {
        let mut vectors = |n: usize| -> Vec<Vec<f32>> {
            (0..n)
                .map(|_| (0..dim).map(|_| random.unit() * 3.0).collect())
                .collect()
        };
        // Every remainder of the tiles: 1 to 6 queries, 1 to 7 vectors.
        for (queries, count) in [(1, 1), (1, 7), (2, 5), (4, 3), (5, 4), (6, 2)] {
            let case = Case::new(dim, elem, metric, vectors(queries), vectors(count));
            assert_eq!((case.queries.len(), case.vectors.len()), (queries, count));
            case.check(true, "random");
        }
    });
}

#[test]
fn near_ties_and_cancellation_stay_within_the_bound() {
    let mut random = Random::new(2);
    all(|dim, elem, metric| {
        let base: Vec<f32> = (0..dim).map(|_| random.unit()).collect();
        let mut near =
            |scale: f32| -> Vec<f32> { base.iter().map(|x| x + random.unit() * scale).collect() };
        let queries = vec![
            base.clone(),
            near(1e-3),
            base.iter().map(|x| -x).collect(),
            near(1.0),
        ];
        let vectors = vec![
            base.clone(),
            near(1e-6),
            near(1e-4),
            near(1e-2),
            base.iter().map(|x| -x).collect(),
        ];
        Case::new(dim, elem, metric, queries, vectors).check(false, "near");
    });
}

#[test]
fn extreme_magnitudes_stay_within_the_bound() {
    let mut random = Random::new(3);
    all(|dim, elem, metric| {
        let mut vectors = Vec::new();
        for exponent in [
            -149, -140, -126, -100, -80, -60, -46, -45, -44, -30, 0, 15, 30, 50, 56, 60, 62,
        ] {
            let scale = 2f64.powi(exponent);
            vectors.push(
                (0..dim)
                    .map(|_| (random.unit() as f64 * scale) as f32)
                    .collect::<Vec<_>>(),
            );
            // One big element among tiny ones.
            let mut mixed: Vec<f32> = (0..dim)
                .map(|_| (random.unit() as f64 * 2f64.powi(-140)) as f32)
                .collect();
            mixed[dim / 2] = scale as f32;
            vectors.push(mixed);
        }
        Case::new(dim, elem, metric, vectors.clone(), vectors).check(false, "extreme");
    });
}

#[test]
fn bad_vectors_are_refused() {
    for elem in [TYPE_F32, TYPE_F16] {
        let refused = |x: &[f32], metric| {
            let mut room = vec![0u8; x.len() * 4];
            unsafe {
                vexfs_simd_encode(x.as_ptr(), x.len() as u32, elem, metric, room.as_mut_ptr()) != 0
            }
        };
        for bad in [
            f32::NAN,
            -f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            1e19,
        ] {
            for at in [0, 8, 12] {
                let mut x = [0.5f32; 13];
                x[at] = bad;
                assert!(refused(&x, METRIC_L2), "{bad} at {at}");
                let mut room = [0f32; 16];
                let query = unsafe {
                    vexfs_simd_prepare(x.as_ptr(), 13, elem, METRIC_L2, room.as_mut_ptr())
                };
                assert_eq!(query, u32::MAX, "{bad} at {at}");
            }
        }
        assert!(refused(&[0.0; 5], METRIC_COSINE));
        assert!(refused(&[-0.0; 5], METRIC_COSINE));
        assert!(!refused(&[0.0; 5], METRIC_L2));
        assert!(!refused(&[0.0; 5], METRIC_IP));
        assert!(!refused(&[6e-8; 5], METRIC_COSINE));
    }
    // What only the narrow type cannot hold.
    let mut room = [0u8; 16];
    let mut encode = |x: f32, elem, metric| unsafe {
        vexfs_simd_encode([x; 4].as_ptr(), 4, elem, metric, room.as_mut_ptr())
    };
    assert_eq!(encode(65520.0, TYPE_F32, METRIC_L2), 0);
    assert_eq!(encode(65519.0, TYPE_F16, METRIC_L2), 0);
    assert_eq!(encode(65520.0, TYPE_F16, METRIC_L2), 1);
    assert_eq!(encode(1e-9, TYPE_F16, METRIC_COSINE), 1, "rounds to zero");
}

#[test]
fn halves_convert_as_the_processor_does() {
    let encode = |x: f32| {
        let mut h = [0u8; 2];
        unsafe { vexfs_simd_encode(&x, 1, TYPE_F16, METRIC_L2, h.as_mut_ptr()) };
        u16::from_le_bytes(h)
    };
    let decode = |h: u16| {
        let mut x = 0f32;
        unsafe { vexfs_simd_decode(h.to_le_bytes().as_ptr(), 1, TYPE_F16, &mut x) };
        x
    };
    #[target_feature(enable = "f16c,avx")]
    unsafe fn hardware(x: f32, h: u16) -> (u16, f32) {
        use std::arch::x86_64::*;
        let narrow = _mm_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm_set_ss(x));
        (
            _mm_extract_epi16::<0>(narrow) as u16,
            _mm_cvtss_f32(_mm_cvtph_ps(_mm_set1_epi16(h as i16))),
        )
    }
    let check = |x: f32, h: u16| {
        if is_x86_feature_detected!("f16c") {
            let (narrow, wide) = unsafe { hardware(x, h) };
            assert_eq!(encode(x), narrow, "{x:e} {:x}", x.to_bits());
            assert_eq!(decode(h).to_bits(), wide.to_bits(), "{h:x}");
        }
    };
    for h in 0..=u16::MAX {
        check(decode(h), h);
        // The neighbourhood of each half, and of the middle between two.
        for d in [-1i32, 0, 1, 0xfff, 0x1000, 0x1001] {
            check(
                f32::from_bits(decode(h).to_bits().wrapping_add(d as u32)),
                h,
            );
        }
    }
    let mut random = Random::new(4);
    for _ in 0..1_000_000 {
        check(f32::from_bits(random.number() as u32), 0);
    }
    assert_eq!(decode(encode(1.0)), 1.0);
    assert_eq!(encode(-2.0), 0xc000);
}

#[test]
fn scores_come_back_from_keys() {
    for d in [0.0f64, 1e-30, 0.25, 1.0, 3.5e30] {
        let key = order(d);
        assert_eq!(f32::from_bits(vexfs_simd_score(key, METRIC_L2)), d as f32);
        let key = order(-d);
        assert_eq!(f32::from_bits(vexfs_simd_score(key, METRIC_IP)), d as f32);
        let key = order(d);
        assert_eq!(
            f32::from_bits(vexfs_simd_score(key, METRIC_COSINE)),
            -(d as f32)
        );
    }
    // Never minus nought, which a person would wonder about.
    assert_eq!(vexfs_simd_score(order(0.0), METRIC_COSINE), 0);
}
