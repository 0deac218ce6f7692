// SPDX-License-Identifier: GPL-2.0

//! What share of the true neighbours is found.

use super::world::{bytes, Random, World};
use vexfs::libvexfs::vector::index::{default_ef, Params};
use vexfs::libvexfs::vector::{Element, Metric};
use vexfs_index::vectors::{data, Rows};

/// Vectors of the real set that are indexed; all 100,000 take minutes without full optimisation,
/// and are what `VEXFS_TEST_ALL=1` asks for.
const SOME: usize = 20_000;

fn real(metric: Metric, element: Element) {
    let Some(dir) = data() else {
        eprintln!("skipped: no ../shared/data beside the checkout");
        return;
    };
    let base = Rows::read(&dir.join("glove100_base.fvecs")).unwrap();
    let queries = Rows::read(&dir.join("glove100_query.fvecs")).unwrap();
    let all = std::env::var_os("VEXFS_TEST_ALL").is_some();
    let count = if all { base.len() } else { SOME };
    let mut world = World::new(base.dim, element, metric, count as u32, Params::default());
    for slot in 0..count {
        world.insert(slot as u32, 0, base.bytes(slot)).unwrap();
    }
    world.refine_all();
    let queries: Vec<Vec<u8>> = (0..200).map(|q| queries.bytes(q).to_vec()).collect();
    let recall = world.recall(&queries, default_ef(metric), 10);
    eprintln!("{metric:?} {element:?}: recall {recall:.4} of {count} vectors");
    assert!(recall >= 0.95, "{metric:?} {element:?}: recall {recall}");
    let (reached, there) = world.graph.reachable(&mut world.work).unwrap();
    assert_eq!(there as usize, count);
    assert!(
        reached as f64 >= 0.999 * there as f64,
        "{reached} of {there} are reachable"
    );
}

#[test]
fn real_vectors_by_cosine() {
    real(Metric::Cosine, Element::F32);
}

/// Norms go from 1 to 8: the longest vectors are near to most queries.
#[test]
fn real_vectors_by_inner_product() {
    real(Metric::Ip, Element::F32);
}

#[test]
fn real_vectors_by_distance() {
    real(Metric::L2, Element::F32);
}

#[test]
fn every_shape_finds_its_own() {
    let mut random = Random(3);
    for (dim, element) in [
        (1, Element::F32),
        (2, Element::F16),
        (7, Element::F32),
        (65, Element::F32),
        (384, Element::F32),
        (384, Element::F16),
        (700, Element::F32),
        (1024, Element::F16),
        (4096, Element::F32),
    ] {
        for metric in [Metric::L2, Metric::Cosine] {
            let count = if dim > 1000 { 60 } else { 400 };
            let mut world = World::new(dim, element, metric, count, Params::default());
            let points: Vec<Vec<u8>> = (0..count).map(|_| bytes(&random.point(dim, 20))).collect();
            for (slot, point) in points.iter().enumerate() {
                world.insert(slot as u32, slot as u32, point).unwrap();
            }
            let recall = world.recall(&points, 100, 10);
            // In one or two dimensions angles and rounded numbers are often equal: any is right.
            let least = if dim < 3 { 0.0 } else { 0.95 };
            assert!(
                recall >= least,
                "dim {dim} {element:?} {metric:?}: recall {recall}"
            );
            let mut row = vec![0; world.graph.shape.prepared()];
            for point in points.iter().take(50) {
                let (found, _) = world.search(point, 100, 1);
                let (_, stored) = &world.live[&found[0]];
                use vexfs::libvexfs::vector::index::Arithmetic;
                let arithmetic = &world.graph.arithmetic;
                let mut mine = vec![0; row.len()];
                arithmetic.unpack(stored, arithmetic.scale(stored), &mut row);
                arithmetic.prepare(point, &mut mine).unwrap();
                let distance = f32::from_bits(arithmetic.distance(&mine, &row));
                let size = f32::from_bits(arithmetic.distance(&vec![0; row.len()], &row));
                assert!(
                    distance <= 1e-5 * size,
                    "dim {dim} {element:?} {metric:?}: {distance}"
                );
            }
        }
    }
}
