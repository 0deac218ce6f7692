// SPDX-License-Identifier: GPL-2.0

//! Lists that a graph fills: within a radius, each file once, page by page; against the exact answer.

use super::world::{bytes, Random, World};
use std::collections::HashSet;
use vexfs::libvexfs::vector::index::depth::{Depth, Next, SPARE};
use vexfs::libvexfs::vector::index::{Arithmetic, Params};
use vexfs::libvexfs::vector::list::{List, Want};
use vexfs::libvexfs::vector::top::Hit;
use vexfs::libvexfs::vector::{Element, Metric, Record};

const COUNT: u32 = 2000;
const DIM: usize = 96;
const EF: usize = 128;
/// Records of a file.
const FILE: u64 = 7;

type Places = Vec<(u64, u32)>;

fn hit(world: &World, query: &[u8], slot: u32) -> Hit {
    let arithmetic = &world.graph.arithmetic;
    let width = world.graph.shape.prepared();
    let (mut mine, mut row) = (vec![0; width], vec![0; width]);
    arithmetic.prepare(query, &mut mine).unwrap();
    let (_, stored) = &world.live[&slot];
    arithmetic.unpack(stored, arithmetic.scale(stored), &mut row);
    Hit {
        key: arithmetic.distance(&mine, &row).into(),
        slot,
        record: Record {
            ino: u64::from(slot) / FILE,
            ..Record::default()
        },
    }
}

fn bound(key: u64) -> u32 {
    key as u32
}

fn places(list: List) -> Places {
    let hits = list.into_sorted();
    hits.iter().map(|hit| (hit.key, hit.slot)).collect()
}

/// What is in a list of all records.
fn exact(world: &World, query: &[u8], want: Want) -> Places {
    let mut list = List::new(want);
    for slot in 0..COUNT {
        let hit = hit(world, query, slot);
        if list.wants(&hit, bound) {
            list.add(hit, bound).unwrap();
        }
    }
    places(list)
}

/// What the graph finds for a list, and whether it says that there is no more; or that all must be
/// compared.
fn find(world: &mut World, query: &[u8], want: Want) -> Option<(Places, bool)> {
    let mut depth = Depth::new(&want, EF, COUNT as usize);
    loop {
        let (slots, _) = world.search(query, depth.ef(), depth.hits() + SPARE);
        let mut list = List::new(want);
        let mut inside = 0;
        for slot in &slots {
            let hit = hit(world, query, *slot);
            inside += usize::from(list.inside(|| bound(hit.key)));
            if list.wants(&hit, bound) {
                list.add(hit, bound).unwrap();
            }
        }
        match depth.judge(&list, slots.len(), inside) {
            Next::Enough => {
                let ended = !list.full();
                return Some((places(list), ended));
            }
            Next::Deeper => {}
            Next::TooFew => return None,
        }
    }
}

fn world() -> (World, Vec<Vec<u8>>) {
    let mut random = Random(11);
    let params = Params::default();
    let mut world = World::new(DIM, Element::F32, Metric::L2, COUNT, params);
    for slot in 0..COUNT {
        let point = bytes(&random.point(DIM, 40));
        world.insert(slot, slot, &point).unwrap();
    }
    world.refine_all();
    let queries = (0..24).map(|_| bytes(&random.point(DIM, 40))).collect();
    (world, queries)
}

#[test]
fn within_a_radius() {
    let (mut world, queries) = world();
    let (mut found, mut all, mut scans) = (0, 0, 0);
    for (at, query) in queries.iter().enumerate() {
        // So that there are none, few, and many more than are wanted at first.
        for count in [0, 3, 20, 90, 400] {
            let (k, radius) = match count {
                0 => (10, 0),
                _ => {
                    let order = exact(
                        &world,
                        query,
                        Want {
                            k: count,
                            ..Want::default()
                        },
                    );
                    (if at % 2 == 0 { 1000 } else { 50 }, order[count - 1].0)
                }
            };
            let want = Want {
                k,
                within: Some(bound(radius)),
                ..Want::default()
            };
            let truth = exact(&world, query, want);
            let Some((got, ended)) = find(&mut world, query, want) else {
                // Twice 400 and more are to be found then, and twice as many looked at.
                scans += usize::from(count < 400);
                continue;
            };
            assert!(got.iter().all(|hit| hit.0 <= radius));
            assert_eq!(ended, got.len() < k);
            // As many as are asked for, if there are so many.
            assert!(truth.len() < k || got.len() == k);
            all += truth.len();
            found += got.iter().filter(|hit| truth.contains(hit)).count();
        }
    }
    assert!(found as f64 >= 0.97 * all as f64, "{found} of {all}");
    assert_eq!(scans, 0);
}

#[test]
fn each_file_once() {
    let (mut world, queries) = world();
    let (mut found, mut all) = (0, 0);
    for query in &queries {
        for k in [1, 10, 60] {
            let want = Want {
                k,
                files: true,
                ..Want::default()
            };
            let truth = exact(&world, query, want);
            let (got, _) = find(&mut world, query, want).unwrap();
            assert_eq!(got.len(), k);
            let files: HashSet<u64> = got.iter().map(|hit| u64::from(hit.1) / FILE).collect();
            assert_eq!(files.len(), k);
            all += k;
            found += got.iter().filter(|hit| truth.contains(hit)).count();
        }
    }
    assert!(found as f64 >= 0.93 * all as f64, "{found} of {all}");
}

#[test]
fn page_by_page() {
    let (mut world, queries) = world();
    for files in [false, true] {
        let (mut found, mut all) = (0, 0);
        for query in queries.iter().take(20) {
            let mut want = Want {
                k: 25,
                files,
                ..Want::default()
            };
            let mut told: Places = Vec::new();
            for _ in 0..6 {
                let (page, ended) = find(&mut world, query, want).unwrap();
                // A file that a deeper look finds to be better than what was told comes no more.
                assert!(!ended && page.len() <= want.k);
                assert!(files || page.len() == want.k);
                // Nothing comes twice, and nothing that is better than what was told.
                assert!(page.iter().all(|hit| Some(hit) > told.last()));
                told.extend(&page);
                (want.after, want.told) = (told.last().copied(), told.len());
            }
            let at_once = Want {
                k: told.len(),
                files,
                ..Want::default()
            };
            let truth = exact(&world, query, at_once);
            let (whole, _) = find(&mut world, query, at_once).unwrap();
            all += whole.iter().filter(|hit| truth.contains(hit)).count();
            found += told.iter().filter(|hit| truth.contains(hit)).count();
        }
        // The pages have what one long list has, but for what was missed when fewer were looked at.
        assert!(found as f64 >= 0.92 * all as f64, "{found} of {all}");
    }
}

#[test]
fn what_the_graph_cannot_give_is_left_to_the_scan() {
    let (mut world, queries) = world();
    let want = |k, within| Want {
        k,
        within,
        ..Want::default()
    };
    assert!(!Depth::new(&want(COUNT as usize, None), EF, COUNT as usize).fits());
    // All are inside.
    assert!(find(&mut world, &queries[0], want(4000, Some(u32::MAX))).is_none());
    // More files than the graph may be asked for.
    let files = Want {
        files: true,
        ..want(COUNT as usize / FILE as usize, None)
    };
    assert!(find(&mut world, &queries[0], files).is_none());
}

#[test]
fn a_filter_that_refuses_what_is_near_makes_a_search_deeper() {
    let (mut world, queries) = world();
    let want = Want {
        k: 10,
        ..Want::default()
    };
    let depth = Depth::new(&want, 32, COUNT as usize);
    assert_eq!(depth.ef_among(100, 100), Some(32));
    assert_eq!(depth.ef_among(100, 25), Some(128));
    assert_eq!(depth.ef_among(100, 0), None);
    assert_eq!(depth.ef_among(COUNT as usize, 31), None);
    let (mut first, mut deeper, mut all) = (0, 0, 0);
    for query in &queries {
        // A third of those that are behind the nearest 20.
        let order = exact(
            &world,
            query,
            Want {
                k: COUNT as usize,
                ..want
            },
        );
        let far: HashSet<u32> = order[20..].iter().map(|hit| hit.1).collect();
        let lets_in = |slot: u32| slot % 3 == 0 && far.contains(&slot);
        let truth: Vec<u32> = order
            .iter()
            .map(|hit| hit.1)
            .filter(|s| lets_in(*s))
            .collect();
        let truth: HashSet<u32> = truth[..10].iter().copied().collect();
        let (mut asked, mut admitted) = (0, 0);
        let (found, _) = world.search_among(query, depth.ef(), 10, |slot| {
            asked += 1;
            admitted += usize::from(lets_in(slot));
            lets_in(slot)
        });
        let same = |found: &[u32]| found.iter().filter(|slot| truth.contains(slot)).count();
        first += same(&found);
        deeper += match depth.ef_among(asked, admitted) {
            Some(ef) => same(&world.search_among(query, ef, 10, lets_in).0),
            None => 10,
        };
        all += 10;
    }
    assert!(first * 100 < all * 90, "{first} of {all}");
    assert!(deeper * 100 >= all * 95, "{deeper} of {all}");
}
