// SPDX-License-Identifier: GPL-2.0

//! Volumes in memory, vectors, and what is looked at everywhere.

use vexfs::crash::Random;
use vexfs::disk::MemoryDisk;
use vexfs::file_store::FileStore;
use vexfs::libvexfs::check::{check, Options, Problem, Reporter};
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::mkfs::{layout, test_options};
use vexfs::libvexfs::Fs;
use vexfs::volume;
use vexfs_index::image::Indexed;

pub fn disk(blocks: u64) -> MemoryDisk {
    let options = test_options();
    let disk = MemoryDisk::new(blocks);
    volume::format(&disk, &layout(blocks, &options).unwrap(), &options).unwrap();
    disk
}

/// A vector near one of `clusters` centres.
pub fn point(random: &mut Random, dim: u32, clusters: u64) -> Vec<u8> {
    let mut centre = Random::new(random.below(clusters) * 7919);
    let normal = |random: &mut Random| {
        let unit = |x: u64| (x >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
        (0..4).map(|_| unit(random.number())).sum::<f32>()
    };
    (0..dim)
        .map(|_| 2.0 * normal(&mut centre) + normal(random))
        .flat_map(f32::to_le_bytes)
        .collect()
}

#[derive(Default)]
struct Found(Vec<String>);

impl Reporter for Found {
    fn problem(&mut self, problem: &Problem) {
        self.0.push(problem.to_string());
    }
}

/// What fsck says.
pub fn problems<D: Disk>(fs: &Fs<FileStore<D>>) -> Vec<String> {
    let mut found = Found::default();
    check(&fs.store, &fs.superblock(), &mut found, Options::default()).unwrap();
    found.0
}

/// The share of the ten nearest that a search finds, over some queries.
pub fn recall<D: Disk>(index: &mut Indexed<'_, D>, queries: &[Vec<u8>], ef: usize) -> f64 {
    let (mut hits, mut wanted) = (0, 0);
    for query in queries {
        let truth = index.exact(query, 10).unwrap();
        let found = index.search(query, ef, 10).unwrap().hits;
        wanted += truth.len();
        hits += truth
            .iter()
            .filter(|t| found.iter().any(|f| f.0 == t.0))
            .count();
    }
    hits as f64 / wanted.max(1) as f64
}
