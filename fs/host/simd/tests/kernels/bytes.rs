// SPDX-License-Identifier: GPL-2.0
//! Signed bytes and bits: all instruction sets give the same keys, and these are true.

use crate::reference::{levels, stored, Case};
use crate::Random;
use vexfs_simd::*;

const DIMS: [usize; 17] = [
    1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 100, 384, 511, 1000, 4095, 4096,
];

/// Types and metrics that go together.
const KINDS: [(u32, u32); 4] = [
    (TYPE_INT8, METRIC_L2),
    (TYPE_INT8, METRIC_COSINE),
    (TYPE_INT8, METRIC_IP),
    (TYPE_BINARY, METRIC_HAMMING),
];

fn number(random: &mut Random, elem: u32) -> f32 {
    match elem {
        TYPE_INT8 => random.number() as i8 as f32,
        _ => (random.number() & 1) as f32,
    }
}

/// The largest, the smallest, and both in turn.
fn extremes(dim: usize, elem: u32) -> Vec<Vec<f32>> {
    let (low, high) = match elem {
        TYPE_INT8 => (-128.0, 127.0),
        _ => (0.0, 1.0),
    };
    let mut all = vec![vec![low; dim], vec![high; dim]];
    all.push(
        (0..dim)
            .map(|i| if i % 2 == 0 { low } else { high })
            .collect(),
    );
    // The last one alone, which is what a mistake at the end gets wrong.
    let mut last = vec![0.0; dim];
    last[dim - 1] = high;
    all.push(last);
    all
}

#[test]
fn all_instruction_sets_give_the_same_true_keys() {
    let mut random = Random::new(11);
    for dim in DIMS {
        for (elem, metric) in KINDS {
            let mut some = |n: usize| -> Vec<Vec<f32>> {
                let mut all: Vec<_> = (0..n)
                    .map(|_| (0..dim).map(|_| number(&mut random, elem)).collect())
                    .collect();
                // So that no cosine is refused.
                all.iter_mut().for_each(|v: &mut Vec<f32>| v[0] = 1.0);
                all
            };
            for (queries, count) in [(1, 1), (1, 7), (2, 5), (4, 3), (5, 4), (9, 2)] {
                let (mut queries, mut vectors) = (some(queries), some(count));
                vectors.push(queries[0].clone());
                if count == 7 {
                    queries.extend(extremes(dim, elem));
                    vectors.extend(extremes(dim, elem));
                }
                let expected = (queries.len(), vectors.len());
                let case = Case::new(dim, elem, metric, queries, vectors.clone());
                assert_eq!((case.queries.len(), case.vectors.len()), expected);
                assert_eq!(case.vectors, vectors, "what is stored comes back");
                case.check(true, "bytes");
                let plain = case.scan(LEVEL_PLAIN);
                for level in levels(elem) {
                    assert_eq!(
                        case.scan(level),
                        plain,
                        "level {level} dim {dim} type {elem}"
                    );
                }
            }
        }
    }
}

/// Memory whose end is the end of what may be read.
struct Guarded(*mut u8);

const GUARDED: usize = 16 << 10;

impl Guarded {
    fn new() -> Guarded {
        extern "C" {
            fn mmap(at: *mut u8, len: usize, prot: i32, flags: i32, fd: i32, off: i64) -> *mut u8;
            fn mprotect(at: *mut u8, len: usize, prot: i32) -> i32;
        }
        // SAFETY: A new anonymous mapping, and a part of it made unreadable.
        unsafe {
            let at = mmap(std::ptr::null_mut(), GUARDED + 4096, 3, 0x22, -1, 0);
            assert_ne!(at as isize, -1);
            assert_eq!(mprotect(at.add(GUARDED), 4096, 0), 0);
            Guarded(at)
        }
    }

    /// So many bytes at its end.
    fn last(&self, len: usize) -> *mut u8 {
        assert!(len <= GUARDED);
        // SAFETY: Within the mapping.
        unsafe { self.0.add(GUARDED - len) }
    }
}

#[test]
fn nothing_behind_a_vector_is_read() {
    let mut random = Random::new(12);
    let memory = Guarded::new();
    for dim in DIMS.into_iter().chain(1..200) {
        for (elem, metric) in KINDS {
            let len = stored(dim, elem);
            let vector: Vec<f32> = (0..dim).map(|_| number(&mut random, elem)).collect();
            let at = memory.last(len);
            let mut query = vec![0f32; dim.next_multiple_of(QUERY_PAD)];
            unsafe {
                vexfs_simd_encode(vector.as_ptr(), dim as u32, elem, metric, at);
                let to = query.as_mut_ptr();
                vexfs_simd_prepare(vector.as_ptr(), dim as u32, elem, metric, to);
            }
            let mut keys = [0];
            let mut job = VexfsScan {
                queries: query.as_ptr(),
                norms: &0,
                vectors: at,
                keys: keys.as_mut_ptr(),
                query_stride: query.len(),
                vector_stride: len,
                key_stride: 1,
                query_count: 1,
                count: 1,
                dim: dim as u32,
                elem,
                metric,
                level: LEVEL_PLAIN,
            };
            unsafe { vexfs_simd_scan(&job) };
            let plain = keys[0];
            for level in levels(elem) {
                job.level = level;
                unsafe { vexfs_simd_scan(&job) };
                assert_eq!(keys[0], plain, "level {level} dim {dim} type {elem}");
            }
        }
    }
}

#[test]
fn what_is_no_byte_or_bit_is_refused() {
    let mut room = [0u8; 64];
    let mut refused = |x: &[f32], elem, metric| {
        let (from, dim) = (x.as_ptr(), x.len() as u32);
        let put = unsafe { vexfs_simd_encode(from, dim, elem, metric, room.as_mut_ptr()) };
        let to = room.as_mut_ptr().cast();
        let query = unsafe { vexfs_simd_prepare(from, dim, elem, metric, to) };
        assert_eq!(put != 0, query == u32::MAX, "{x:?}");
        put != 0
    };
    for bad in [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        0.5,
        -0.25,
        1e-40,
        256.0,
        -3e9,
    ] {
        for at in [0, 7, 8, 12] {
            for (elem, metric) in KINDS {
                let mut x = [1.0; 13];
                x[at] = bad;
                assert!(refused(&x, elem, metric), "{bad} at {at}");
            }
        }
    }
    for (x, int8, binary) in [
        (127.0, false, true),
        (128.0, true, true),
        (-128.0, false, true),
        (-129.0, true, true),
        (-1.0, false, true),
        (2.0, false, true),
        (1.0, false, false),
        (0.0, false, false),
        (-0.0, false, false),
    ] {
        assert_eq!(refused(&[x; 3], TYPE_INT8, METRIC_L2), int8, "{x}");
        assert_eq!(refused(&[x; 3], TYPE_BINARY, METRIC_HAMMING), binary, "{x}");
    }
    assert!(refused(&[0.0; 9], TYPE_INT8, METRIC_COSINE));
    assert!(!refused(&[0.0; 9], TYPE_INT8, METRIC_IP));
    assert!(!refused(&[0.0; 9], TYPE_BINARY, METRIC_HAMMING));
}

#[test]
fn the_first_bit_is_the_highest() {
    let x = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0];
    let mut to = [0xff; 2];
    let bad =
        unsafe { vexfs_simd_encode(x.as_ptr(), 10, TYPE_BINARY, METRIC_HAMMING, to.as_mut_ptr()) };
    assert_eq!((bad, to), (0, [0b1000_0011, 0b0100_0000]));
    let mut back = [9.0; 10];
    unsafe { vexfs_simd_decode(to.as_ptr(), 10, TYPE_BINARY, back.as_mut_ptr()) };
    assert_eq!(back, x);
}
