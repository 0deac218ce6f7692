// SPDX-License-Identifier: GPL-2.0

//! Every type of elements by every metric that compares it, in every kind of dimension: what share of
//! the true neighbours is found. The truth is the key that exact searches order by, and of equal
//! ones any is right.

use super::world::{bytes, Random, World};
use vexfs::libvexfs::vector::index::{default_ef, Params};
use vexfs::libvexfs::vector::{Element, Metric};
use vexfs_simd::vexfs_simd_exact;

/// What goes together.
pub const KINDS: [(Element, Metric); 10] = [
    (Element::F32, Metric::L2),
    (Element::F32, Metric::Cosine),
    (Element::F32, Metric::Ip),
    (Element::F16, Metric::L2),
    (Element::F16, Metric::Cosine),
    (Element::F16, Metric::Ip),
    (Element::Int8, Metric::L2),
    (Element::Int8, Metric::Cosine),
    (Element::Int8, Metric::Ip),
    (Element::Binary, Metric::Hamming),
];

/// A point near one of some centres, of a type.
pub fn point(random: &mut Random, dim: usize, element: Element) -> Vec<f32> {
    let mut point = random.point(dim, 40);
    match element {
        Element::F32 | Element::F16 => {}
        // A few of them are cut off at the ends.
        Element::Int8 => {
            for x in &mut point {
                *x = (*x * 25.0).round().clamp(-128.0, 127.0);
            }
        }
        Element::Binary => point.iter_mut().for_each(|x| *x = (*x > 0.0) as u8 as f32),
    }
    // No zero vector.
    if point.iter().all(|x| *x == 0.0) {
        point[0] = 1.0;
    }
    point
}

/// Recall with `ef` candidates.
fn recall(
    world: &mut World,
    queries: &[Vec<f32>],
    element: Element,
    metric: Metric,
    ef: usize,
) -> f64 {
    let (mut found, mut wanted) = (0, 0);
    for query in queries {
        let dim = query.len() as u32;
        let exact = |stored: &[u8]| unsafe {
            let (element, metric) = (element as u32, metric as u32);
            vexfs_simd_exact(query.as_ptr(), stored.as_ptr(), dim, element, metric)
        };
        let mut keys: Vec<u64> = world.live.values().map(|(_, v)| exact(v)).collect();
        keys.sort_unstable();
        let (hits, _) = world.search(&bytes(query), ef, 10);
        let far = keys[9.min(keys.len() - 1)];
        found += hits
            .iter()
            .filter(|slot| exact(&world.live[slot].1) <= far)
            .count();
        wanted += 10.min(keys.len());
    }
    found as f64 / wanted as f64
}

#[test]
fn every_type_is_found_in_every_dimension() {
    let mut random = Random(21);
    for dim in [1, 2, 7, 64, 1000, 4096] {
        // The long form asks what the default finds; the short one has few points, and few candidates.
        let all = std::env::var_os("VEXFS_TEST_ALL").is_some();
        let count = match (dim, all) {
            (4096, true) => 500,
            (1000, true) => 1000,
            (_, true) => 3000,
            (1000.., false) => 200,
            (_, false) => 600,
        };
        for (element, metric) in KINDS {
            // What others of that length show too, and takes longest.
            let alike = element == Element::F16 || metric == Metric::Cosine;
            if dim >= 1000 && alike && !all {
                continue;
            }
            let mut world = World::new(dim, element, metric, count, Params::default());
            for slot in 0..count {
                let vector = point(&mut random, dim, element);
                world.insert(slot, slot, &bytes(&vector)).unwrap();
            }
            world.refine_all();
            let ef = default_ef(metric) / if all { 1 } else { 4 };
            let queries: Vec<_> = (0..50).map(|_| point(&mut random, dim, element)).collect();
            let recall = recall(&mut world, &queries, element, metric, ef);
            let what = format!("dim {dim} {element:?} {metric:?}");
            eprintln!("{what}: {recall:.4}");
            assert!(recall >= 0.95, "{what}: recall {recall}");
            let (reached, there) = world.graph.reachable(&mut world.work).unwrap();
            assert_eq!(there, count, "{what}");
            assert!(
                there - reached <= 1 + count / 1000,
                "{what}: {reached} reached"
            );
        }
    }
}

/// An estimate of bits is no estimate.
#[test]
fn neighbours_of_bits_have_their_true_distances() {
    use vexfs::libvexfs::vector::index::{Arithmetic, Expansion, Query};
    let mut random = Random(22);
    for dim in [1, 9, 64, 130, 1000] {
        let (element, metric) = (Element::Binary, Metric::Hamming);
        let mut world = World::new(dim, element, metric, 100, Params::default());
        for slot in 0..100 {
            let vector = point(&mut random, dim, element);
            world.insert(slot, slot, &bytes(&vector)).unwrap();
        }
        let mut query = Query::new(&world.graph.shape).unwrap();
        let wanted = bytes(&point(&mut random, dim, element));
        let arithmetic = &world.graph.arithmetic;
        arithmetic.prepare(&wanted, &mut query.prepared).unwrap();
        query.finish(arithmetic);
        let stored = world.stored(&wanted);
        let differ = |slot: u32| -> u32 {
            let pairs = stored.iter().zip(&world.live[&slot].1);
            pairs.map(|(a, b)| (a ^ b).count_ones()).sum()
        };
        let mut expansion = Expansion::new();
        for slot in 0..100 {
            world.expand(&query, slot, &mut expansion);
            assert_eq!(f32::from_bits(expansion.key), differ(slot) as f32);
            assert!(expansion.used > 0);
            for lane in 0..expansion.used as usize {
                let neighbour = expansion.slots[lane];
                let key = f32::from_bits(expansion.keys[lane]);
                assert_eq!(
                    key,
                    differ(neighbour) as f32,
                    "dim {dim} {slot} {neighbour}"
                );
            }
        }
    }
}

/// Where all of a cluster are about equally far from each other, none hides another, and a node could
/// fill all its lanes with the nearest ones.
#[test]
fn clusters_larger_than_a_node_are_no_islands() {
    let (dim, count, ef) = (1024, 400, 64);
    for (element, metric) in [
        (Element::F32, Metric::L2),
        (Element::Binary, Metric::Hamming),
    ] {
        let mut random = Random(23);
        let mut some = |n: u32| -> Vec<Vec<f32>> {
            let mut all: Vec<_> = (0..n).map(|_| random.point(dim, 8)).collect();
            if element == Element::Binary {
                let bits = all.iter_mut().flatten();
                bits.for_each(|x| *x = (*x > 0.0) as u8 as f32);
            }
            all
        };
        let mut world = World::new(dim, element, metric, count, Params::default());
        for (slot, vector) in (0..).zip(some(count)) {
            world.insert(slot, slot, &bytes(&vector)).unwrap();
        }
        world.refine_all();
        let recall = recall(&mut world, &some(60), element, metric, ef);
        assert!(recall >= 0.95, "{element:?}: recall {recall}");
    }
}
