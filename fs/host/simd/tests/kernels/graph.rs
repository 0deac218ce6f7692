// SPDX-License-Identifier: GPL-2.0
//! The kernels of the graph index: all instruction sets give the same bits, on random and extreme input, and what they
//! give is what it should be.

use crate::reference::stored;
use crate::{avx2, Random};
use vexfs_simd::*;

const PADDED: [usize; 8] = [64, 128, 192, 384, 448, 768, 1536, 4096];

fn rotate(x: &[f32], signs: &[u32], padded: usize, level: u32) -> Vec<f32> {
    let mut to = vec![f32::NAN; padded];
    assert_eq!(
        signs.len(),
        padded * vexfs_simd_rounds(padded as u32) as usize
    );
    unsafe {
        vexfs_simd_rotate(
            x.as_ptr(),
            x.len() as u32,
            signs.as_ptr(),
            padded as u32,
            to.as_mut_ptr(),
            level,
        )
    };
    to
}

fn table(rotated: &[f32], bits: u32, level: u32) -> (Vec<u8>, f32, f32) {
    let mut table = vec![0xaa; rotated.len() * 4];
    let mut scalars = [0; 2];
    unsafe {
        vexfs_simd_table(
            rotated.as_ptr(),
            rotated.len() as u32,
            bits,
            table.as_mut_ptr(),
            scalars.as_mut_ptr(),
            level,
        )
    };
    (
        table,
        f32::from_bits(scalars[0]),
        f32::from_bits(scalars[1]),
    )
}

/// Bits, with all NaN as one.
fn bits(x: &[f32]) -> Vec<u32> {
    let one = |x: &f32| if x.is_nan() { u32::MAX } else { x.to_bits() };
    x.iter().map(one).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum()
}

#[test]
fn a_rotation_keeps_lengths_and_angles() {
    let mut random = Random::new(1);
    for padded in PADDED {
        let signs = random.signs(padded);
        for dim in [padded, padded - 63, padded - 28] {
            let (a, b) = (random.vector(dim), random.vector(dim));
            let (ra, rb) = (
                rotate(&a, &signs, padded, LEVEL_PLAIN),
                rotate(&b, &signs, padded, LEVEL_PLAIN),
            );
            let size = (dot(&a, &a) * dot(&b, &b)).sqrt();
            assert!((dot(&a, &a) - dot(&ra, &ra)).abs() < 1e-5 * dot(&a, &a));
            assert!((dot(&a, &b) - dot(&ra, &rb)).abs() < 1e-5 * size);
        }
        // A vector along an axis is spread over all dimensions.
        for axis in [0, padded / 2, padded - 1] {
            let mut x = vec![0.0; padded];
            x[axis] = 1.0;
            let r = rotate(&x, &signs, padded, LEVEL_PLAIN);
            let most = r.iter().fold(0f32, |m, x| m.max(x.abs()));
            let even = 1.0 / (padded as f32).sqrt();
            assert!(
                most < 6.0 * even,
                "padded {padded} axis {axis}: {most} of {even}"
            );
        }
    }
}

#[test]
fn rotations_have_the_same_bits_at_all_levels() {
    if !avx2() {
        return;
    }
    let mut random = Random::new(2);
    for padded in PADDED {
        let signs = random.signs(padded);
        for round in 0..12 {
            let dim = padded - (random.number() % 64) as usize;
            let x = match round {
                0..3 => random.vector(dim),
                _ => random.extreme(dim),
            };
            let plain = rotate(&x, &signs, padded, LEVEL_PLAIN);
            let quick = rotate(&x, &signs, padded, LEVEL_AVX2);
            assert_eq!(bits(&plain), bits(&quick), "padded {padded} round {round}");
        }
    }
}

#[test]
fn a_table_has_the_sums_within_a_step() {
    let mut random = Random::new(3);
    for padded in PADDED {
        let q = random.vector(padded);
        let (table, delta, bias) = table(&q, 1, LEVEL_PLAIN);
        let mut least_sum = 0.0;
        for (x, steps) in q.chunks(4).zip(table.chunks(16)) {
            let sum = |m: usize| -> f64 {
                (0..4)
                    .filter(|i| m >> i & 1 == 1)
                    .map(|i| x[i] as f64)
                    .sum()
            };
            let least = (0..16).map(sum).fold(f64::MAX, f64::min);
            least_sum += least;
            for (m, step) in steps.iter().enumerate() {
                let error = least + *step as f64 * delta as f64 - sum(m);
                assert!(
                    error.abs() <= 0.51 * delta as f64,
                    "padded {padded} entry {m}"
                );
            }
        }
        let all: f64 = q.iter().map(|x| *x as f64).sum();
        assert!((bias as f64 - (least_sum - all / 2.0)).abs() < 1e-3 * padded as f64);
        assert_eq!(table.iter().max(), Some(&255));
    }
}

#[test]
fn tables_have_the_same_bits_at_all_levels() {
    if !avx2() {
        return;
    }
    let mut random = Random::new(4);
    for padded in PADDED {
        for round in 0..20 {
            let q = match round {
                0..5 => random.vector(padded),
                // What a rotation of a vector that was let in can be: finite.
                _ => {
                    let mut q = random.extreme(padded);
                    q.iter_mut()
                        .filter(|x| !x.is_finite() || x.abs() > 1e19)
                        .for_each(|x| *x = 1e19);
                    q
                }
            };
            for planes in [1, 2] {
                let plain = table(&q, planes, LEVEL_PLAIN);
                let quick = table(&q, planes, LEVEL_AVX2);
                assert_eq!(plain.0, quick.0, "padded {padded} round {round}");
                assert_eq!(bits(&[plain.1, plain.2]), bits(&[quick.1, quick.2]));
            }
        }
    }
}

/// A node's image of random bytes, with a header that fits.
struct Node {
    dim: usize,
    padded: usize,
    planes: usize,
    elem: u32,
    metric: u32,
    bound: u32,
    image: Vec<u32>,
}

impl Node {
    fn new(random: &mut Random, dim: usize, planes: usize, elem: u32) -> Node {
        let padded = dim.next_multiple_of(64);
        let vector = stored(dim.next_multiple_of(8), elem);
        let length = CODES_AT + padded * 4 * planes + vector;
        let mut node = Node {
            dim,
            padded,
            planes,
            elem,
            metric: METRIC_L2,
            bound: 0,
            image: (0..length.div_ceil(4))
                .map(|_| random.number() as u32)
                .collect(),
        };
        node.set(COLLECTION_AT, 7);
        node.set(BUILD_AT, 8);
        node.set(SLOT_AT, 9);
        node.set(SEQUENCE_AT, 4);
        node.set(USED_AT, 32);
        node.set(SCALE_AT, 1f32.to_bits());
        node
    }

    fn set(&mut self, at: usize, value: u32) {
        self.image[at / 4] = value;
    }

    fn codes(&mut self) -> &mut [u32] {
        let end = CODES_AT / 4 + self.padded * self.planes;
        &mut self.image[CODES_AT / 4..end]
    }

    fn expand(
        &self,
        query: &[f32],
        table: &[u8],
        scalars: [u32; 2],
        limit: u32,
        level: u32,
    ) -> Option<VexfsExpanded> {
        let more = if self.metric == METRIC_IP { 8 } else { 0 };
        assert!(query.len() >= self.dim.next_multiple_of(8) + more);
        assert_eq!(table.len(), self.padded * 4);
        let job = VexfsExpand {
            node: self.image.as_ptr().cast(),
            query: query.as_ptr(),
            table: table.as_ptr(),
            delta: scalars[0],
            bias: scalars[1],
            dim: self.dim as u32,
            elem: self.elem,
            padded: self.padded as u32,
            bits: self.planes as u32,
            level,
            collection: 7,
            build: 8,
            slot: 9,
            limit,
            metric: self.metric,
            bound: self.bound,
        };
        let mut out = VexfsExpanded {
            key: 0,
            generation: 0,
            mask: 0,
            used: 0,
            keys: [0; DEGREE],
            slots: [0; DEGREE],
        };
        (unsafe { vexfs_simd_expand(&job, &mut out) } == 1).then_some(out)
    }
}

fn padded_query(random: &mut Random, dim: usize) -> Vec<f32> {
    let mut query = random.vector(dim);
    query.resize(dim.next_multiple_of(8), 0.0);
    query
}

#[test]
fn expansions_have_the_same_bits_at_all_levels() {
    if !avx2() {
        return;
    }
    let mut random = Random::new(5);
    for dim in [1, 7, 63, 64, 65, 100, 384, 385, 1000, 1024, 2000, 4096] {
        for planes in [1, 2] {
            for elem in [TYPE_F32, TYPE_F16, TYPE_INT8, TYPE_BINARY] {
                for round in 0..6 {
                    // Vector and factors are random bits too: NaN, infinities, whatever the medium may bring.
                    let mut node = Node::new(&mut random, dim, planes, elem);
                    if round == 1 {
                        node.codes().fill(u32::MAX);
                    }
                    let mut query = padded_query(&mut random, dim);
                    if round % 2 == 1 && elem != TYPE_BINARY {
                        query.extend(random.vector(8));
                        node.metric = METRIC_IP;
                        let norm2;
                        (node.bound, norm2) = match round {
                            5 => (random.number() as u32, random.number() as u32),
                            _ => (200f32.to_bits(), (dim as f32).to_bits()),
                        };
                        node.set(SCALE_AT, norm2);
                    }
                    let table: Vec<u8> = (0..node.padded * 4)
                        .map(|_| {
                            if round < 2 {
                                255
                            } else {
                                random.number() as u8
                            }
                        })
                        .collect();
                    let scalars = match round {
                        0..4 => [random.unit().to_bits(), random.unit().to_bits()],
                        _ => [random.number() as u32, random.number() as u32],
                    };
                    for limit in [0, 0x3f80_0000, FARTHEST, u32::MAX] {
                        let plain = node.expand(&query, &table, scalars, limit, LEVEL_PLAIN);
                        let quick = node.expand(&query, &table, scalars, limit, LEVEL_AVX2);
                        assert!(plain.is_some());
                        assert_eq!(
                            plain, quick,
                            "dim {dim} planes {planes} elem {elem} round {round}"
                        );
                        for key in plain.unwrap().keys {
                            assert!(key <= FARTHEST);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_lookup_adds_up_what_the_table_says() {
    let mut random = Random::new(6);
    let levels = if avx2() {
        vec![LEVEL_PLAIN, LEVEL_AVX2]
    } else {
        vec![LEVEL_PLAIN]
    };
    for level in levels {
        for dim in [64, 384, 1024, 1088, 2048, 4096] {
            for planes in [1, 2] {
                for most in [false, true] {
                    let mut node = Node::new(&mut random, dim, planes, TYPE_F32);
                    let vector = CODES_AT / 4 + node.padded * planes;
                    // The node lies at the origin, so does the query; A is 0, B is 1.
                    node.image[vector..].fill(0);
                    node.image[A_AT / 4..A_AT / 4 + 32].fill(0);
                    node.image[B_AT / 4..B_AT / 4 + 32].fill(1f32.to_bits());
                    let table: Vec<u8> = (0..node.padded * 4)
                        .map(|_| if most { 255 } else { random.number() as u8 })
                        .collect();
                    let scalars = [1f32.to_bits(), 0f32.to_bits()];
                    let got = node
                        .expand(&vec![0.0; dim], &table, scalars, FARTHEST, level)
                        .unwrap();
                    let codes: Vec<u8> =
                        node.codes().iter().flat_map(|w| w.to_le_bytes()).collect();
                    for lane in 0..DEGREE {
                        let groups = node.padded / 4;
                        let sum: u32 = (0..planes * groups)
                            .map(|i| {
                                let byte = codes[i * 16 + lane % 16];
                                let nibble = if lane < 16 { byte & 15 } else { byte >> 4 };
                                (table[i % groups * 16 + nibble as usize] as u32) << (i / groups)
                            })
                            .sum();
                        assert_eq!(
                            f32::from_bits(got.keys[lane]),
                            sum as f32,
                            "dim {dim} lane {lane}"
                        );
                    }
                    assert_eq!(got.key, 0);
                    assert_eq!(got.mask, u32::MAX);
                }
            }
        }
    }
}

#[test]
fn a_node_that_is_not_the_one_is_refused() {
    let mut random = Random::new(7);
    let query = padded_query(&mut random, 100);
    let table = vec![0; 512];
    let expand = |node: &Node| node.expand(&query, &table, [0, 0], u32::MAX, LEVEL_PLAIN);
    let fresh = |random: &mut Random| Node::new(random, 100, 2, TYPE_F32);
    assert!(expand(&fresh(&mut random)).is_some());
    for (at, value) in [
        (COLLECTION_AT, 6),
        (BUILD_AT, 0),
        (SLOT_AT, 10),
        (SEQUENCE_AT, 5),
        (USED_AT, 33),
        (USED_AT, 0xffff),
    ] {
        let mut node = fresh(&mut random);
        node.set(at, value);
        assert!(expand(&node).is_none(), "at {at}: {value}");
    }
    for used in [0, 1, 31, 32] {
        let mut node = fresh(&mut random);
        // The upper half is the number of the page.
        node.set(USED_AT, 0x1_0000 | used);
        let lanes = ((1u64 << used) - 1) as u32;
        let got = expand(&node).unwrap();
        assert_eq!((got.used, got.mask & !lanes), (used, 0));
    }
}

struct Edge {
    length: f32,
    a: f32,
    b: f32,
    code: Vec<u8>,
}

fn edge(u: &[f32], v: &[f32], signs: &[u32], padded: usize, planes: u32, level: u32) -> Edge {
    let rotated = rotate(u, signs, padded, level);
    let mut room = vec![0f32; 2 * padded];
    let mut code = vec![0; padded / 8 * planes as usize];
    let mut job = VexfsEdge {
        from: u.as_ptr(),
        rotated: rotated.as_ptr(),
        to: v.as_ptr(),
        signs: signs.as_ptr(),
        room: room.as_mut_ptr(),
        code: code.as_mut_ptr(),
        dim: u.len() as u32,
        padded: padded as u32,
        bits: planes,
        level,
        length: 0,
        a: 0,
        b: 0,
    };
    unsafe { vexfs_simd_edge(&mut job) };
    Edge {
        length: f32::from_bits(job.length),
        a: f32::from_bits(job.a),
        b: f32::from_bits(job.b),
        code,
    }
}

#[test]
fn an_edge_estimates_without_bias() {
    let mut random = Random::new(8);
    for (dim, planes, most) in [
        (100, 2, 0.04),
        (384, 1, 0.05),
        (384, 2, 0.02),
        (960, 1, 0.035),
    ] {
        let padded = 64 * dim_groups(dim);
        let signs = random.signs(padded);
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
        for _ in 0..200 {
            let (u, v, q) = (random.vector(dim), random.vector(dim), random.vector(dim));
            let e = edge(&u, &v, &signs, padded, planes, LEVEL_PLAIN);
            let rq = rotate(&q, &signs, padded, LEVEL_PLAIN);
            let between = |a: &[f32], b: &[f32]| -> f64 {
                a.iter()
                    .zip(b)
                    .map(|(a, b)| (*a as f64 - *b as f64).powi(2))
                    .sum()
            };
            assert!((e.length as f64 - between(&u, &v)).abs() < 1e-4 * between(&u, &v));
            let inner: f64 = (0..padded)
                .map(|i| {
                    let bit =
                        |plane: usize| (e.code[plane * padded / 8 + i / 8] >> (i % 8) & 1) as f64;
                    let value = if planes == 1 {
                        bit(0) - 0.5
                    } else {
                        2.0 * bit(1) + bit(0) - 1.5
                    };
                    value * rq[i] as f64
                })
                .sum();
            let estimate = between(&q, &u) + e.a as f64 + e.b as f64 * inner;
            let error =
                (estimate - between(&q, &v)) / (2.0 * (between(&u, &v) * between(&q, &u)).sqrt());
            sum += error;
            squares += error * error;
            count += 1.0;
        }
        let (mean, deviation) = (sum / count, f64::sqrt(squares / count));
        assert!(deviation < most, "dim {dim} planes {planes}: {deviation}");
        assert!(
            mean.abs() < 3.5 * deviation / f64::sqrt(count),
            "dim {dim} planes {planes}: {mean}"
        );
    }
}

fn dim_groups(dim: usize) -> usize {
    dim.div_ceil(64)
}

#[test]
fn edges_are_the_same_at_all_levels_and_never_wild() {
    let mut random = Random::new(9);
    let quick = avx2();
    for dim in [1, 3, 64, 100, 384, 1000] {
        let padded = 64 * dim_groups(dim);
        let signs = random.signs(padded);
        for round in 0..40 {
            for planes in [1, 2] {
                let u = random.extreme(dim);
                let v = if round % 8 == 0 {
                    u.clone()
                } else {
                    random.extreme(dim)
                };
                let plain = edge(&u, &v, &signs, padded, planes, LEVEL_PLAIN);
                let at = format!("dim {dim} round {round} planes {planes}");
                assert!(plain.b.is_finite(), "{at}: B {}", plain.b);
                if u.iter().chain(&v).all(|x| x.is_finite()) && dot(&u, &u) + dot(&v, &v) < 1e36 {
                    assert!(plain.a.is_finite(), "{at}: A {}", plain.a);
                }
                if u == v {
                    assert_eq!((plain.length, plain.a, plain.b), (0.0, 0.0, 0.0), "{at}");
                }
                if quick {
                    let other = edge(&u, &v, &signs, padded, planes, LEVEL_AVX2);
                    assert_eq!(plain.code, other.code, "{at}");
                    let (a, b) = (
                        [plain.length, plain.a, plain.b],
                        [other.length, other.a, other.b],
                    );
                    assert_eq!(bits(&a), bits(&b), "{at}");
                }
            }
        }
    }
}
