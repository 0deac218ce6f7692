// SPDX-License-Identifier: GPL-2.0

//! Builds, changes and reopening, without cuts.

use crate::world::{disk, point, problems, recall};
use std::collections::BTreeSet;
use vexfs::crash::Random;
use vexfs::libvexfs::vector::index::{Params, State};
use vexfs::libvexfs::vector::{Element, Metric};
use vexfs_index::image::{Image, Indexed, Recovered};

fn params() -> Params {
    Params {
        ef: 64,
        pool: 64,
        ..Params::default()
    }
}

/// What a search must come to in all shapes: small nodes that share a page, one a page, several
/// pages a node.
#[test]
fn an_index_outlives_the_mount() {
    for (dim, count, element, metric) in [
        (20, 1500, Element::F32, Metric::L2),
        (384, 400, Element::F16, Metric::Cosine),
        (700, 300, Element::F32, Metric::Cosine),
    ] {
        let mut random = Random::new(dim.into());
        let disk = disk(1 << 14);
        let queries: Vec<Vec<u8>> = (0..40).map(|_| point(&mut random, dim, 30)).collect();
        let vectors: Vec<Vec<u8>> = (0..count).map(|_| point(&mut random, dim, 30)).collect();
        let before = {
            let image = Image::open(&disk).unwrap();
            let made = image.create_collection(b"c", dim, element, metric).unwrap();
            for (n, some) in vectors.chunks(100).enumerate() {
                let keys = (100 * n as u64..).zip(some.iter().map(|v| &v[..]));
                image.put(&made, &keys.collect::<Vec<_>>()).unwrap();
            }
            let mut index = Indexed::create(&image, &made, params(), 99).unwrap();
            assert_eq!(index.index().unwrap().state, State::Building);
            index
                .build(&mut |done, total| assert!(done <= total))
                .unwrap();
            let said = index.index().unwrap();
            assert_eq!((said.state, said.tail()), (State::Ready, 0));
            let report = index.verify().unwrap();
            assert!(report.is_clean(), "dim {dim}: {report:?}");
            assert_eq!((report.nodes, report.dangling), (count as u32, 0));
            let recall = recall(&mut index, &queries, 96);
            assert!(recall >= 0.97, "dim {dim}: recall {recall}");
            drop(index);
            image.close().unwrap();
            assert_eq!(problems(&image.fs), Vec::<String>::new());
            recall
        };
        let image = Image::open(&disk).unwrap();
        let found = image.collection(b"c").unwrap();
        let mut index = Indexed::open(&image, &found).unwrap();
        assert_eq!(
            index.recover().unwrap(),
            Recovered::default(),
            "it was unmounted"
        );
        assert_eq!(recall(&mut index, &queries, 96), before, "dim {dim}");
        let answer = index.search(&queries[0], 32, 10).unwrap();
        assert_eq!(answer.reads, 0, "it is all in memory by now");
        index.driver.graph.pages.forget();
        let answer = index.search(&queries[0], 32, 10).unwrap();
        assert!(answer.reads > 5 && answer.reads <= answer.found.expanded as u64);
        // All of it goes with the index.
        let taken = image.fs.available_blocks();
        index.drop_index().unwrap();
        assert!(image.fs.available_blocks() > taken + u64::from(dim) * count as u64 / 4096);
        assert_eq!(problems(&image.fs), Vec::<String>::new());
        assert!(Indexed::open(&image, &found).is_err());
    }
}

#[test]
fn what_changes_is_found_before_and_after_the_graph_sees_it() {
    let (dim, clusters) = (24, 20);
    let mut random = Random::new(5);
    let disk = disk(1 << 14);
    let image = Image::open(&disk).unwrap();
    let made = image
        .create_collection(b"c", dim, Element::F32, Metric::L2)
        .unwrap();
    let mut index = Indexed::create(&image, &made, params(), 1).unwrap();
    index.build(&mut |_, _| ()).unwrap();
    let queries: Vec<Vec<u8>> = (0..30).map(|_| point(&mut random, dim, clusters)).collect();
    let mut keys: BTreeSet<u64> = BTreeSet::new();
    for round in 0..40u64 {
        let vectors: Vec<(u64, Vec<u8>)> = (0..60)
            .map(|_| (random.below(900), point(&mut random, dim, clusters)))
            .collect();
        let unique: std::collections::BTreeMap<u64, &[u8]> =
            vectors.iter().map(|(k, v)| (*k, &v[..])).collect();
        let items: Vec<(u64, &[u8])> = unique.into_iter().collect();
        index.put(&items).unwrap();
        keys.extend(items.iter().map(|i| i.0));
        let gone: Vec<u64> = keys
            .iter()
            .copied()
            .filter(|_| random.below(20) == 0)
            .collect();
        index.delete(&gone).unwrap();
        keys.retain(|k| !gone.contains(k));
        // What was put is there at once.
        let (key, vector) = items.iter().find(|i| keys.contains(&i.0)).unwrap();
        let slot = image.slot(&made, *key).unwrap();
        let hits = index.search(vector, 64, 1).unwrap().hits;
        assert_eq!(hits.first().map(|h| h.0), slot, "round {round}");
        let found = recall(&mut index, &queries, 96);
        assert!(found >= 0.97, "round {round}: recall {found}");
        match round % 3 {
            0 => drop(index.catch_up(usize::MAX).unwrap()),
            1 => drop(index.catch_up(30).unwrap()),
            _ => {
                index.catch_up(usize::MAX).unwrap();
                index.checkpoint().unwrap();
                assert_eq!(index.index().unwrap().tail(), 0);
            }
        }
    }
    index.catch_up(usize::MAX).unwrap();
    let report = index.verify().unwrap();
    assert_eq!(
        (report.records as usize, report.missing, report.stale),
        (keys.len(), 0, 0)
    );
    // Slots are used again, once a checkpoint covers what they had.
    let slots = index.driver.graph.end;
    assert!(slots < 1800, "{slots} slots for {} records", keys.len());
    image.commit().unwrap();
    assert_eq!(problems(&image.fs), Vec::<String>::new());
}
