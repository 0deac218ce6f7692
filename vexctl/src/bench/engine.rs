// SPDX-License-Identifier: GPL-2.0
//! What is measured: an index over vectors, somewhere.

use super::sets::Vectors;
use super::{AnnArgs, ElementType};
use crate::collection::Metric;
use crate::error::usage;
use anyhow::{anyhow, Context, Result};
use std::time::Instant;
use vexfs::libvexfs::vector::index::insert::Work;
use vexfs::libvexfs::vector::index::{Arithmetic, Params, Query, Scratch};
use vexfs::libvexfs::vector::{self, Element};
use vexfs_index::{encode, MemoryGraph};
use zerocopy::IntoBytes;

/// Entries of a graph.
const ENTRIES: usize = 16;

/// An index.
pub trait Engine {
    /// Builds it; row numbers are the keys. `progress` is told how far of how much it is.
    fn build(&mut self, base: &Vectors, progress: &mut dyn FnMut(u64, u64)) -> Result<()>;

    /// Bytes of the index.
    fn index_bytes(&self) -> u64;

    /// Bytes that stay in memory whatever happens.
    fn pinned_bytes(&self) -> u64;

    /// Puts the keys of the `k` nearest into `found`, nearest first. Returns how many pages were looked at.
    fn search(&mut self, query: &[f32], ef: usize, k: usize, found: &mut Vec<u64>)
        -> Result<usize>;

    /// Searches for each of the queries in a call of its own, and adds how many microseconds each took to what it
    /// took before.
    fn singles(
        &mut self,
        queries: &Vectors,
        ef: usize,
        k: usize,
        latencies: &mut [Vec<f64>],
    ) -> Result<()> {
        let mut found = Vec::with_capacity(k);
        for (query, latencies) in queries.rows().zip(latencies) {
            let one = Instant::now();
            self.search(query, ef, k, &mut found)?;
            latencies.push(one.elapsed().as_secs_f64() * 1e6);
        }
        Ok(())
    }

    /// Searches for all queries in as few calls as there may be.
    fn batch(&mut self, queries: &Vectors, ef: usize, k: usize) -> Result<()> {
        let mut found = Vec::with_capacity(k);
        for query in queries.rows() {
            self.search(query, ef, k, &mut found)?;
        }
        Ok(())
    }
}

/// The error of libvexfs, as the operating system calls it.
pub fn errno(e: kernel::error::Error) -> anyhow::Error {
    nix::errno::Errno::from_raw(-e.to_errno()).into()
}

/// What a collection of these vectors is.
pub fn kind(args: &AnnArgs) -> Result<(Element, vector::Metric)> {
    let metric = match args.metric {
        Metric::L2 => vector::Metric::L2,
        Metric::Cosine => vector::Metric::Cosine,
        Metric::Ip => vector::Metric::Ip,
        Metric::Hamming => vector::Metric::Hamming,
    };
    let element = match args.element {
        ElementType::F32 => Element::F32,
        ElementType::F16 => Element::F16,
        ElementType::Int8 => Element::Int8,
        ElementType::Binary => Element::Binary,
    };
    if (element == Element::Binary) != (metric == vector::Metric::Hamming) {
        return Err(usage(
            "binary vectors are compared by --metric hamming, and no others",
        ));
    }
    Ok((element, metric))
}

/// How its index is built.
pub fn params(args: &AnnArgs) -> Params {
    Params {
        ef: args.build_ef as usize,
        pool: args.build_ef as usize * 4 / 5,
        ..Params::default()
    }
}

/// The index as libvexfs builds it, over memory and nothing else.
pub struct InMemory {
    graph: MemoryGraph,
    element: Element,
    metric: vector::Metric,
    scratch: Scratch,
    query: Query,
}

impl InMemory {
    /// An empty one.
    pub fn new(args: &AnnArgs, base: &Vectors) -> Result<InMemory> {
        let (element, metric) = kind(args)?;
        let slots = u32::try_from(base.len()).context("too many vectors")?;
        let graph = vexfs_index::in_memory(base.dim as u32, element, metric, slots, params(args))
            .map_err(errno)?;
        Ok(InMemory {
            scratch: Scratch::new(&graph.shape).map_err(errno)?,
            query: Query::new(&graph.shape).map_err(errno)?,
            graph,
            element,
            metric,
        })
    }
}

impl Engine for InMemory {
    fn build(&mut self, base: &Vectors, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let (shape, total) = (self.graph.shape, 2 * base.len() as u64);
        let mut work = Work::new(&shape).map_err(errno)?;
        let mut stored = vec![0; shape.vector()];
        for (row, vector) in base.rows().enumerate() {
            encode(vector.as_bytes(), self.element, self.metric, &mut stored)
                .map_err(|_| anyhow!("row {row} is not a vector that this metric takes"))?;
            self.graph
                .insert(&mut work, row as u32, 1, &stored)
                .map_err(errno)?;
            if row % 1024 == 0 {
                progress(row as u64, total);
            }
        }
        self.graph
            .choose_entries(&mut work, ENTRIES)
            .map_err(errno)?;
        for row in 0..base.len() as u32 {
            self.graph.refine(&mut work, row).map_err(errno)?;
            if row % 1024 == 0 {
                progress(total / 2 + u64::from(row), total);
            }
        }
        Ok(())
    }

    fn index_bytes(&self) -> u64 {
        self.graph.shape.offset(self.graph.end)
    }

    fn pinned_bytes(&self) -> u64 {
        (size_of_val(&self.graph.entries)) as u64
    }

    fn search(
        &mut self,
        query: &[f32],
        ef: usize,
        k: usize,
        found: &mut Vec<u64>,
    ) -> Result<usize> {
        let graph = &self.graph;
        graph
            .arithmetic
            .prepare(query.as_bytes(), &mut self.query.prepared)
            .map_err(|_| anyhow!("a query is not a vector that this metric takes"))?;
        self.query.finish(&graph.arithmetic);
        let walked = graph
            .search(&self.query, ef, k, &mut self.scratch, |_, _| Ok(true))
            .map_err(errno)?;
        found.clear();
        found.extend(self.scratch.found().map(|(_, slot)| u64::from(slot)));
        Ok(walked.expanded)
    }
}
