// SPDX-License-Identifier: GPL-2.0

//! A graph, and the truth beside it.

use kernel::error::Error;
use std::collections::BTreeMap;
use vexfs::libvexfs::vector::index::insert::Work;
use vexfs::libvexfs::vector::index::node::Image;
use vexfs::libvexfs::vector::index::{Arithmetic, Expansion, Found, Pages, Params, Query, Scratch};
use vexfs::libvexfs::vector::{Element, Metric};
use vexfs_index::{encode, in_memory, MemoryGraph};

/// A small generator, so that a failure's seed says it all.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn normal(&mut self) -> f32 {
        let unit = |x: u64| (x >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
        (0..6).map(|_| unit(self.next())).sum::<f32>() / 1.414
    }

    /// A point near one of `clusters` centres.
    pub fn point(&mut self, dim: usize, clusters: u64) -> Vec<f32> {
        let mut centre = Random(self.below(clusters) * 7919);
        (0..dim)
            .map(|_| 2.0 * centre.normal() + self.normal())
            .collect()
    }
}

/// A graph with what is in it: slot to generation and stored vector.
pub struct World {
    pub graph: MemoryGraph,
    pub live: BTreeMap<u32, (u32, Vec<u8>)>,
    pub work: Work,
    element: Element,
    metric: Metric,
    scratch: Scratch,
    query: Query,
}

impl World {
    pub fn new(dim: usize, element: Element, metric: Metric, slots: u32, params: Params) -> World {
        let graph = in_memory(dim as u32, element, metric, slots, params).unwrap();
        let shape = graph.shape;
        World {
            graph,
            live: BTreeMap::new(),
            work: Work::new(&shape).unwrap(),
            element,
            metric,
            scratch: Scratch::new(&shape).unwrap(),
            query: Query::new(&shape).unwrap(),
        }
    }

    pub fn stored(&self, vector: &[u8]) -> Vec<u8> {
        let mut stored = vec![0; self.graph.shape.vector()];
        encode(vector, self.element, self.metric, &mut stored).unwrap();
        stored
    }

    pub fn insert(&mut self, slot: u32, generation: u32, vector: &[u8]) -> Result<(), Error> {
        let stored = self.stored(vector);
        self.graph
            .insert(&mut self.work, slot, generation, &stored)?;
        self.live.insert(slot, (generation, stored));
        Ok(())
    }

    pub fn remove(&mut self, slot: u32) -> Result<bool, Error> {
        self.live.remove(&slot);
        self.graph.remove(&mut self.work, slot)
    }

    pub fn refine_all(&mut self) {
        self.graph.choose_entries(&mut self.work, 16).unwrap();
        for slot in 0..self.graph.end {
            let there = self.graph.refine(&mut self.work, slot).unwrap();
            assert!(there || !self.live.contains_key(&slot));
        }
    }

    /// Searches and checks every hit against the truth: only what lives, in order, once.
    pub fn search(&mut self, vector: &[u8], ef: usize, k: usize) -> (Vec<u32>, Found) {
        self.search_among(vector, ef, k, |_| true)
    }

    /// The same among those that `lets_in` says.
    pub fn search_among(
        &mut self,
        vector: &[u8],
        ef: usize,
        k: usize,
        mut lets_in: impl FnMut(u32) -> bool,
    ) -> (Vec<u32>, Found) {
        let live = &self.live;
        self.graph
            .arithmetic
            .prepare(vector, &mut self.query.prepared)
            .unwrap();
        self.query.finish(&self.graph.arithmetic);
        let admit = |slot: u32, generation: u32| {
            Ok(live.get(&slot).is_some_and(|l| l.0 == generation) && lets_in(slot))
        };
        let found = self
            .graph
            .search(&self.query, ef, k, &mut self.scratch, admit)
            .unwrap();
        let hits: Vec<(u32, u32)> = self.scratch.found().collect();
        assert!(hits.len() <= k && hits.is_sorted());
        let mut slots: Vec<u32> = hits.iter().map(|hit| hit.1).collect();
        assert!(
            slots.iter().all(|slot| live.contains_key(slot)),
            "a hit is not live"
        );
        let result = slots.clone();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), result.len(), "a hit is there twice");
        (result, found)
    }

    /// Expands a node for a query.
    pub fn expand(&self, query: &Query, slot: u32, out: &mut Expansion) {
        let graph = &self.graph;
        let block = graph.pages.block(slot).unwrap().unwrap();
        let mut image = Image::new(&graph.shape).unwrap();
        let copy = |at: usize, to: &mut [u8]| graph.pages.copy(&block, at, to);
        assert!(image.read(&graph.shape, slot, copy));
        let image = image.bytes();
        let there = graph
            .arithmetic
            .expand_image(query, slot, u32::MAX, image, out);
        assert!(there, "slot {slot}");
    }

    /// The true nearest, by looking at all that lives.
    pub fn nearest(&mut self, vector: &[u8], k: usize) -> Vec<u32> {
        let arithmetic = &self.graph.arithmetic;
        arithmetic
            .prepare(vector, &mut self.query.prepared)
            .unwrap();
        let mut row = vec![0; self.graph.shape.prepared()];
        let mut all: Vec<(u32, u32)> = Vec::new();
        for (slot, (_, stored)) in &self.live {
            arithmetic.unpack(stored, arithmetic.scale(stored), &mut row);
            all.push((arithmetic.distance(&self.query.prepared, &row), *slot));
        }
        all.sort_unstable();
        all.truncate(k);
        all.into_iter().map(|(_, slot)| slot).collect()
    }

    /// Recall of the `k` nearest over some queries.
    pub fn recall(&mut self, queries: &[Vec<u8>], ef: usize, k: usize) -> f64 {
        let (mut hits, mut all) = (0, 0);
        for q in queries {
            let truth = self.nearest(q, k);
            let (found, _) = self.search(q, ef, k);
            all += truth.len();
            hits += truth.iter().filter(|slot| found.contains(slot)).count();
        }
        if all == 0 {
            1.0
        } else {
            hits as f64 / all as f64
        }
    }
}

/// A vector as a caller of a search gives it.
pub fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}
