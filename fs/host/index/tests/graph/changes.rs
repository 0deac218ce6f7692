// SPDX-License-Identifier: GPL-2.0

//! Inserting and taking out, in any order, with failing memory, equal vectors, and slots that
//! are used again.

use super::world::{bytes, Random, World};
use kernel::alloc::fail_after;
use vexfs::libvexfs::vector::index::Params;
use vexfs::libvexfs::vector::{Element, Metric};

fn params() -> Params {
    Params {
        ef: 64,
        pool: 48,
        ef_remove: 64,
        ..Params::default()
    }
}

#[test]
fn any_order_of_changes_keeps_what_lives_findable() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let metric = [Metric::L2, Metric::Cosine][seed as usize % 2];
        let (dim, slots) = (24, 600);
        let mut world = World::new(dim, Element::F32, metric, slots, params());
        let queries: Vec<Vec<u8>> = (0..40).map(|_| bytes(&random.point(dim, 12))).collect();
        let mut generation = 0;
        for step in 0..4000 {
            // Grows, shrinks to nothing, grows again.
            let growing = step / 1000 % 2 == 0;
            let slot = random.below(slots.into()) as u32;
            if world.live.contains_key(&slot) {
                if !growing || random.below(4) == 0 {
                    assert!(world.remove(slot).unwrap());
                }
            } else if growing {
                generation += 1;
                let point = bytes(&random.point(dim, 12));
                world.insert(slot, generation, &point).unwrap();
            } else {
                assert!(!world.remove(slot).unwrap());
            }
            if step % 500 == 499 {
                let recall = world.recall(&queries, 128, 5);
                assert!(recall >= 0.95, "seed {seed} step {step}: recall {recall}");
            }
        }
        let all: Vec<u32> = world.live.keys().copied().collect();
        for slot in all {
            assert!(world.remove(slot).unwrap());
        }
        assert_eq!(world.search(&queries[0], 64, 5).0, []);
        assert_eq!(world.graph.reachable(&mut world.work).unwrap(), (0, 0));
        // And it begins anew.
        world.insert(3, 1, &queries[0]).unwrap();
        assert_eq!(world.search(&queries[0], 64, 5).0, [3]);
    }
}

#[test]
fn a_full_turnover_keeps_recall() {
    let mut random = Random(11);
    let (dim, window, total) = (32, 1500u32, 4500u32);
    let mut world = World::new(dim, Element::F32, Metric::L2, total, params());
    let queries: Vec<Vec<u8>> = (0..100).map(|_| bytes(&random.point(dim, 200))).collect();
    let mut first = 0.0;
    for slot in 0..total {
        world
            .insert(slot, 0, &bytes(&random.point(dim, 200)))
            .unwrap();
        if slot >= window {
            world.remove(slot - window).unwrap();
        }
        if slot + 1 == window {
            first = world.recall(&queries, 96, 10);
        }
    }
    let last = world.recall(&queries, 96, 10);
    eprintln!("recall {first:.4}, after two turnovers {last:.4}");
    assert!(last >= first - 0.03, "{first} became {last}");
}

#[test]
fn equal_vectors_do_not_hide_the_others() {
    let mut random = Random(21);
    let (dim, copies, others) = (32, 1000u32, 1000u32);
    let mut world = World::new(dim, Element::F32, Metric::Cosine, copies + others, params());
    let same = bytes(&random.point(dim, 8));
    for slot in 0..copies {
        world.insert(2 * slot, 0, &same).unwrap();
        let point = bytes(&random.point(dim, 8));
        world.insert(2 * slot + 1, 0, &point).unwrap();
    }
    let queries: Vec<Vec<u8>> = (0..60).map(|_| bytes(&random.point(dim, 8))).collect();
    // Of the copies only some count: a query that is near to them has ties without end.
    world.live.retain(|slot, _| slot % 2 == 1);
    let recall = world.recall(&queries, 200, 10);
    assert!(recall >= 0.9, "recall {recall}");
    let (reached, there) = world.graph.reachable(&mut world.work).unwrap();
    assert_eq!(there, copies + others);
    assert!(reached >= there * 9 / 10, "{reached} of {there}");
}

#[test]
fn memory_that_fails_leaves_a_graph_that_works() {
    let mut random = Random(31);
    let dim = 16;
    let mut world = World::new(dim, Element::F32, Metric::L2, 400, params());
    let mut failures = 0;
    for slot in 0..300u32 {
        let point = bytes(&random.point(dim, 10));
        for n in 0.. {
            fail_after(Some(n));
            let done = world.insert(slot, 0, &point);
            if fail_after(None) == 0 {
                done.unwrap();
                break;
            }
            failures += 1;
            if done.is_ok() {
                break;
            }
        }
        if slot % 3 == 2 {
            for n in 0.. {
                fail_after(Some(n));
                let done = world.remove(slot - 1);
                if fail_after(None) == 0 {
                    done.unwrap();
                    break;
                }
                failures += 1;
            }
        }
    }
    assert!(failures > 100, "{failures}");
    let queries: Vec<Vec<u8>> = (0..40).map(|_| bytes(&random.point(dim, 10))).collect();
    let recall = world.recall(&queries, 64, 5);
    assert!(recall >= 0.95, "recall {recall}");
}

#[test]
fn a_wrong_length_and_a_full_region_are_errors() {
    let mut world = World::new(8, Element::F32, Metric::L2, 2, params());
    let graph = &mut world.graph;
    assert!(graph.insert(&mut world.work, 0, 0, &[0; 31]).is_err());
    assert!(graph
        .insert(&mut world.work, u32::MAX, 0, &[0; 32])
        .is_err());
    graph.insert(&mut world.work, 0, 0, &[0; 32]).unwrap();
    assert!(graph.insert(&mut world.work, 3, 0, &[0; 32]).is_err());
    assert!(!graph.remove(&mut world.work, 1).unwrap());
    assert!(!graph.refine(&mut world.work, 1).unwrap());
}
