// SPDX-License-Identifier: GPL-2.0

//! A sliding window over a file of vectors: 50,000 live, 5,000 go and 5,000 come, ten times over. Prints
//! a line of JSON for each step: recall of the ten nearest at some numbers of candidates, and what a
//! second of processor time did.
//!
//! `window [--alpha N] [--ef N] [--pool N] [--ef-remove N] [--refine N] [--start N] [--steps N]
//! [--touched 0|1] [--sweep N]`: after each step, refine what lost an edge, or so many of all.

use std::collections::{BTreeSet, VecDeque};
use vexfs::libvexfs::vector::index::insert::Work;
use vexfs::libvexfs::vector::index::{Arithmetic, Params, Query, Scratch};
use vexfs::libvexfs::vector::{Element, Metric};
use vexfs_index::vectors::{data, Rows};
use vexfs_index::{encode, in_memory};

const WINDOW: usize = 50_000;
const STEP: usize = 5_000;
const K: usize = 10;

/// Seconds that this thread has had a processor: other work on the machine does not count.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
    first.unwrap_or(0.0) / 1e9
}

fn run() -> Result<(), String> {
    let mut params = Params::default();
    let (mut refine, mut touched, mut sweep, mut steps) = (1, false, 0, 11);
    let (mut next, mut start_at) = (0, 0);
    let mut list = std::env::args().skip(1);
    while let Some(name) = list.next() {
        let value = list.next().and_then(|v| v.parse::<usize>().ok());
        let value = value.ok_or(format!("{name} needs a number"))?;
        match name.as_str() {
            "--alpha" => params.alpha = value as u32,
            "--ef" => params.ef = value,
            "--pool" => params.pool = value,
            "--ef-remove" => params.ef_remove = value,
            "--refine" => refine = value,
            "--touched" => touched = value != 0,
            "--sweep" => sweep = value,
            "--steps" => steps = value,
            "--start" => start_at = value,
            _ => return Err(format!("{name} is not known")),
        }
    }
    let dir = data().ok_or("no data: VEXFS_TEST_DATA says where")?;
    let read = |name: &str| Rows::read(&dir.join(name)).map_err(|e| format!("{name}: {e}"));
    let (base, queries) = (read("glove100_base.fvecs")?, read("glove100_query.fvecs")?);
    let truth = read("glove100_gt_cos_window50k_step5k.ivecs")?;
    let errno = |e: kernel::error::Error| format!("{e:?}");
    let (element, metric) = (Element::F32, Metric::Cosine);
    let slots = base.len() as u32;
    let mut graph = in_memory(base.dim as u32, element, metric, slots, params).map_err(errno)?;
    let shape = graph.shape;
    let mut work = Work::new(&shape).map_err(errno)?;
    let mut scratch = Scratch::new(&shape).map_err(errno)?;
    let mut query = Query::new(&shape).map_err(errno)?;
    let mut stored = vec![0; shape.vector()];
    // Slots are used again, as a collection does it.
    let mut free: Vec<u32> = (0..WINDOW as u32 + STEP as u32).rev().collect();
    let mut live = VecDeque::new();
    let mut row_of = vec![usize::MAX; WINDOW + STEP];
    let mut times = (0.0, 0.0);
    for step in start_at..steps.max(start_at + 1) {
        let (from, to) = match step {
            s if s == start_at => (s * STEP, s * STEP + WINDOW),
            s => (WINDOW + (s - 1) * STEP, WINDOW + s * STEP),
        };
        let start = processor_time();
        let mut new = Vec::new();
        for row in from..to {
            encode(base.bytes(row), element, metric, &mut stored).map_err(errno)?;
            let slot = free.pop().ok_or("no slot is free")?;
            row_of[slot as usize] = row;
            live.push_back(slot);
            graph.insert(&mut work, slot, 1, &stored).map_err(errno)?;
            new.push(slot);
        }
        times.0 = processor_time() - start;
        if step == start_at {
            graph.choose_entries(&mut work, 16).map_err(errno)?;
            for _ in 0..refine {
                for slot in &new {
                    graph.refine(&mut work, *slot).map_err(errno)?;
                }
            }
        } else {
            let start = processor_time();
            let mut hurt = BTreeSet::new();
            for slot in live.drain(..STEP) {
                graph.remove(&mut work, slot).map_err(errno)?;
                hurt.extend(work.touched());
                row_of[slot as usize] = usize::MAX;
                free.push(slot);
            }
            times.1 = processor_time() - start;
            let start = processor_time();
            if touched {
                for slot in new.iter().chain(&hurt) {
                    graph.refine(&mut work, *slot).map_err(errno)?;
                }
            }
            // Or some of all, one after the other.
            for _ in 0..sweep {
                graph.refine(&mut work, next).map_err(errno)?;
                next = (next + 1) % graph.end;
            }
            let hurt = hurt.len();
            println!(
                "touched {hurt}, refined in {:.1} s",
                processor_time() - start
            );
        }
        let mut recalls = Vec::new();
        for ef in [32, 64, 128, 256] {
            let (mut hits, mut expanded) = (0, 0);
            for q in 0..queries.len() {
                let prepared = &mut query.prepared;
                graph
                    .arithmetic
                    .prepare(queries.bytes(q), prepared)
                    .map_err(errno)?;
                query.finish(&graph.arithmetic);
                let found = graph
                    .search(&query, ef, K, &mut scratch, |_, _| Ok(true))
                    .map_err(errno)?;
                expanded += found.expanded;
                let near: Vec<u32> = truth.ids(step * queries.len() + q).take(K).collect();
                hits += scratch
                    .found()
                    .filter(|(_, slot)| near.contains(&(row_of[*slot as usize] as u32)))
                    .count();
            }
            let n = queries.len() as f64;
            let (recall, pages) = (hits as f64 / n / K as f64, expanded as f64 / n);
            recalls.push(format!(
                "{{\"ef\":{ef},\"recall\":{recall:.4},\"pages\":{pages:.1}}}"
            ));
        }
        let (reached, there) = graph.reachable(&mut work).map_err(errno)?;
        println!(
            "{{\"step\":{step},\"inserts_s\":{:.0},\"removes_s\":{:.0},\"unreachable\":{},\"points\":[{}]}}",
            (to - from) as f64 / times.0,
            STEP as f64 / times.1.max(1e-9),
            there - reached,
            recalls.join(",")
        );
    }
    Ok(())
}

fn main() {
    if let Err(e) = run() {
        eprintln!("window: {e}");
        std::process::exit(1);
    }
}
