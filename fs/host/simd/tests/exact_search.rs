// SPDX-License-Identifier: GPL-2.0
//! The exact search of libvexfs over the distance kernels, as the module puts them together, but with vectors in
//! memory: against sorting by the f64 distance, and against the ground truth of real word vectors if that is there.

use kernel::prelude::*;
use std::ops::Range;
use std::path::PathBuf;
use vexfs::libvexfs::vector::list::{List, Want};
use vexfs::libvexfs::vector::search::{all, some, Scan};
use vexfs::libvexfs::vector::Record;
use vexfs_simd::*;

/// Vectors in memory. Every slot whose number `live` says yes to has a record.
struct Memory {
    dim: usize,
    elem: u32,
    metric: u32,
    level: u32,
    stride: usize,
    bytes: Vec<u8>,
    slots: u32,
    live: fn(u32) -> bool,
    visible: fn(&Record) -> bool,
    queries: Vec<Vec<f32>>,
    prepared: Vec<f32>,
    norms: Vec<u32>,
    looked_closely: usize,
}

impl Memory {
    fn new(
        vectors: &[Vec<f32>],
        queries: &[Vec<f32>],
        elem: u32,
        metric: u32,
        level: u32,
    ) -> Memory {
        let dim = queries[0].len();
        let stride = dim * if elem == TYPE_F16 { 2 } else { 4 };
        let mut bytes = vec![0u8; stride * vectors.len()];
        for (v, to) in vectors.iter().zip(bytes.chunks_mut(stride)) {
            assert_eq!(
                unsafe { vexfs_simd_encode(v.as_ptr(), dim as u32, elem, metric, to.as_mut_ptr()) },
                0
            );
        }
        let padded = dim.next_multiple_of(QUERY_PAD);
        let mut prepared = vec![0f32; padded * queries.len()];
        let norms = queries
            .iter()
            .zip(prepared.chunks_mut(padded))
            .map(|(q, to)| unsafe {
                vexfs_simd_prepare(q.as_ptr(), dim as u32, elem, metric, to.as_mut_ptr())
            })
            .collect();
        Memory {
            dim,
            elem,
            metric,
            level,
            stride,
            bytes,
            slots: vectors.len() as u32,
            live: |_| true,
            visible: |_| true,
            queries: queries.to_vec(),
            prepared,
            norms,
            looked_closely: 0,
        }
    }
}

impl Scan for Memory {
    fn records(&mut self, from: u32, room: usize, out: &mut KVec<(u32, Record)>) -> Result {
        let live = self.live;
        for slot in (from..self.slots).filter(|s| live(*s)).take(room) {
            if let Some(record) = self.record(slot)? {
                out.push((slot, record), GFP_KERNEL)?;
            }
        }
        Ok(())
    }

    fn record(&mut self, slot: u32) -> Result<Option<Record>> {
        let record = Record {
            key: slot as u64,
            ino: 300 + slot as u64 / 5,
            sequence: 1,
            ..Record::default()
        };
        Ok((slot < self.slots && (self.live)(slot)).then_some(record))
    }

    fn admits(&mut self, record: &Record) -> Result<bool> {
        Ok((self.visible)(record))
    }

    fn score(
        &mut self,
        queries: Range<usize>,
        slots: Range<u32>,
        stride: usize,
        keys: &mut [u32],
    ) -> Result {
        let padded = self.dim.next_multiple_of(QUERY_PAD);
        assert!(keys.len() >= queries.len() * stride && stride >= slots.len());
        let scan = VexfsScan {
            queries: self.prepared[queries.start * padded..].as_ptr(),
            norms: self.norms[queries.start..].as_ptr(),
            vectors: self.bytes[slots.start as usize * self.stride..].as_ptr(),
            keys: keys.as_mut_ptr(),
            query_stride: padded,
            vector_stride: self.stride,
            key_stride: stride,
            query_count: queries.len() as u32,
            count: slots.len() as u32,
            dim: self.dim as u32,
            elem: self.elem,
            metric: self.metric,
            level: self.level,
        };
        unsafe { vexfs_simd_scan(&scan) };
        Ok(())
    }

    fn exact(&mut self, query: usize, slot: u32) -> Result<u64> {
        self.looked_closely += 1;
        let vector = self.bytes[slot as usize * self.stride..].as_ptr();
        Ok(unsafe {
            vexfs_simd_exact(
                self.queries[query].as_ptr(),
                vector,
                self.dim as u32,
                self.elem,
                self.metric,
            )
        })
    }

    fn bound(&self, key: u64) -> u32 {
        vexfs_simd_bound(key)
    }

    fn unchanged(&mut self, _: u32, _: &Record) -> Result<bool> {
        Ok(true)
    }

    fn pause(&mut self) -> Result<bool> {
        Ok(true)
    }
}

fn level() -> u32 {
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
    {
        LEVEL_AVX2
    } else {
        LEVEL_PLAIN
    }
}

/// The slots that a search finds for each query; of some slots only, if they are given.
fn search(memory: &mut Memory, want: Want, slots: Option<&[u32]>) -> Vec<Vec<u32>> {
    let mut lists: Vec<List> = memory.queries.iter().map(|_| List::new(want)).collect();
    let complete = match slots {
        Some(slots) => some(memory, slots, &mut lists),
        None => all(memory, &mut lists),
    };
    assert!(complete.unwrap());
    lists
        .into_iter()
        .map(|list| list.into_sorted().iter().map(|hit| hit.slot).collect())
        .collect()
}

fn found(memory: &mut Memory, k: usize) -> Vec<Vec<u32>> {
    let want = Want {
        k,
        ..Want::default()
    };
    search(memory, want, None)
}

#[test]
fn the_scan_finds_what_sorting_finds() {
    let mut state = 7u64;
    let mut random = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        // Coarse values, so that there are many equal distances.
        ((state >> 60) as f32 - 7.5) / 4.0
    };
    for metric in [METRIC_L2, METRIC_COSINE, METRIC_IP] {
        for elem in [TYPE_F32, TYPE_F16] {
            let dim = 5;
            let mut vectors = |n: usize| -> Vec<Vec<f32>> {
                (0..n)
                    .map(|_| (0..dim).map(|_| random()).collect())
                    .collect()
            };
            let (base, queries) = (vectors(3000), vectors(19));
            let mut memory = Memory::new(&base, &queries, elem, metric, level());
            memory.live = |slot| slot % 7 != 3 && !(1000..1020).contains(&slot);
            memory.visible = |record| record.key % 3 != 1;
            let visible: Vec<u32> = (0..3000)
                .filter(|s| (memory.live)(*s) && s % 3 != 1)
                .collect();
            for k in [1, 10, 4000] {
                let hits = found(&mut memory, k);
                for (q, hits) in hits.iter().enumerate() {
                    let mut truth: Vec<(u64, u32)> = visible
                        .iter()
                        .map(|&s| (memory.exact(q, s).unwrap(), s))
                        .collect();
                    truth.sort_unstable();
                    let truth: Vec<u32> = truth.iter().take(k).map(|t| t.1).collect();
                    assert_eq!(*hits, truth, "metric {metric} type {elem} k {k} query {q}");
                }
                // The same of a third of the slots, each file once, in pages.
                let slots: Vec<u32> = (0..3000).filter(|s| s % 3 == 2).collect();
                let mut want = Want {
                    k: k.min(100),
                    files: true,
                    ..Want::default()
                };
                memory.queries.truncate(1);
                let mut files: Vec<(u64, u32, u64)> = visible
                    .iter()
                    .filter(|s| *s % 3 == 2)
                    .map(|&s| (memory.exact(0, s).unwrap(), s, u64::from(s) / 5))
                    .collect();
                files.sort_unstable();
                let mut seen = std::collections::HashSet::new();
                files.retain(|file| seen.insert(file.2));
                for page in files.chunks(want.k).take(5) {
                    let hits = search(&mut memory, want, Some(&slots));
                    let truth: Vec<u32> = page.iter().map(|file| file.1).collect();
                    assert_eq!(hits[0], truth, "metric {metric} type {elem} k {k}");
                    want.told += page.len();
                    want.after = page.last().map(|file| (file.0, file.1));
                }
                memory.queries = queries.clone();
            }
        }
    }
}

fn data() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/data");
    let dir = std::env::var_os("VEXFS_TEST_DATA").map_or(beside, PathBuf::from);
    dir.join("glove100_base.fvecs").exists().then_some(dir)
}

fn rows<T>(path: PathBuf, value: fn([u8; 4]) -> T) -> Vec<Vec<T>> {
    let bytes = std::fs::read(path).unwrap();
    let dim = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    bytes
        .chunks_exact(4 + 4 * dim)
        .map(|row| {
            row[4..]
                .chunks_exact(4)
                .map(|b| value(b.try_into().unwrap()))
                .collect()
        })
        .collect()
}

#[test]
fn real_vectors_give_the_ground_truth() {
    let Some(dir) = data() else {
        eprintln!("skipped: no ../shared/data beside the checkout");
        return;
    };
    let base = rows(dir.join("glove100_base.fvecs"), f32::from_le_bytes);
    let queries = rows(dir.join("glove100_query.fvecs"), f32::from_le_bytes);
    for (metric, truth) in [
        (METRIC_L2, "glove100_gt_l2.ivecs"),
        (METRIC_COSINE, "glove100_gt_cos.ivecs"),
    ] {
        let truth = rows(dir.join(truth), u32::from_le_bytes);
        let mut memory = Memory::new(&base, &queries[..100], TYPE_F32, metric, level());
        let start = std::time::Instant::now();
        let hits = found(&mut memory, 100);
        eprintln!(
            "metric {metric}: {:.0} queries/s, {} pairs looked at closely",
            100.0 / start.elapsed().as_secs_f64(),
            memory.looked_closely
        );
        for (q, hits) in hits.iter().enumerate() {
            assert_eq!(*hits, truth[q], "metric {metric} query {q}");
        }
    }
}
