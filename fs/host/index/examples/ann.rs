// SPDX-License-Identifier: GPL-2.0

//! Measures the graph index on this machine: builds it in memory from a file of vectors, one
//! thread, and searches. Prints one line of JSON.
//!
//! `ann --base B.fvecs --queries Q.fvecs --truth T.ivecs [--metric cosine|l2] [--type f32|f16]
//! [--ef 16,32,...] [--limit N] [--refine N] [--build-ef N] [--pool N] [--alpha N]`

use std::path::PathBuf;
use std::time::Instant;
use vexfs::libvexfs::vector::index::insert::Work;
use vexfs::libvexfs::vector::index::{Arithmetic, Params, Query, Scratch};
use vexfs::libvexfs::vector::{Element, Metric};
use vexfs_index::vectors::{data, Rows};
use vexfs_index::{encode, in_memory};

const K: usize = 10;

struct Args {
    base: PathBuf,
    queries: PathBuf,
    truth: PathBuf,
    metric: Metric,
    element: Element,
    efs: Vec<usize>,
    limit: usize,
    refine: usize,
    params: Params,
}

fn args() -> Result<Args, String> {
    let dir = data().unwrap_or_default();
    let mut a = Args {
        base: dir.join("glove100_base.fvecs"),
        queries: dir.join("glove100_query.fvecs"),
        truth: dir.join("glove100_gt_cos.ivecs"),
        metric: Metric::Cosine,
        element: Element::F32,
        efs: vec![10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512],
        limit: usize::MAX,
        refine: 1,
        params: Params::default(),
    };
    let mut list = std::env::args().skip(1);
    while let Some(name) = list.next() {
        let value = list.next().ok_or(format!("{name} needs a value"))?;
        let number = || {
            value
                .parse::<usize>()
                .map_err(|_| format!("{name}: {value} is no number"))
        };
        match name.as_str() {
            "--base" => a.base = value.into(),
            "--queries" => a.queries = value.into(),
            "--truth" => a.truth = value.into(),
            "--metric" if value == "l2" => a.metric = Metric::L2,
            "--metric" if value == "cosine" => a.metric = Metric::Cosine,
            "--type" if value == "f16" => a.element = Element::F16,
            "--type" if value == "f32" => a.element = Element::F32,
            "--ef" => {
                let efs: Result<_, _> = value.split(',').map(str::parse).collect();
                a.efs = efs.map_err(|_| format!("--ef: {value} is no list of numbers"))?;
            }
            "--limit" => a.limit = number()?,
            "--refine" => a.refine = number()?,
            "--build-ef" => a.params.ef = number()?,
            "--pool" => a.params.pool = number()?,
            "--alpha" => a.params.alpha = number()? as u32,
            _ => return Err(format!("{name} {value} is not known")),
        }
    }
    Ok(a)
}

/// Seconds that this thread has had a processor: other work on the machine does not count.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
    first.unwrap_or(0.0) / 1e9
}

fn run() -> Result<(), String> {
    let a = args()?;
    let read = |path: &PathBuf| Rows::read(path).map_err(|e| format!("{}: {e}", path.display()));
    let (base, queries, truth) = (read(&a.base)?, read(&a.queries)?, read(&a.truth)?);
    let count = base.len().min(a.limit) as u32;
    let errno = |e: kernel::error::Error| format!("{e:?}");
    let mut graph =
        in_memory(base.dim as u32, a.element, a.metric, count, a.params).map_err(errno)?;
    let shape = graph.shape;
    let mut work = Work::new(&shape).map_err(errno)?;
    let start = processor_time();
    let mut stored = vec![0; shape.vector()];
    for slot in 0..count {
        encode(base.bytes(slot as usize), a.element, a.metric, &mut stored).map_err(errno)?;
        graph.insert(&mut work, slot, 0, &stored).map_err(errno)?;
    }
    let insert_s = processor_time() - start;
    graph.choose_entries(&mut work, 16).map_err(errno)?;
    for _ in 0..a.refine {
        for slot in 0..count {
            graph.refine(&mut work, slot).map_err(errno)?;
        }
    }
    let build_s = processor_time() - start;
    let (reached, there) = graph.reachable(&mut work).map_err(errno)?;
    let mut scratch = Scratch::new(&shape).map_err(errno)?;
    let mut query = Query::new(&shape).map_err(errno)?;
    let mut nearest: Vec<Vec<u32>> = Vec::new();
    for q in 0..queries.len() {
        nearest.push(if (count as usize) < base.len() {
            let prepared = &mut query.prepared;
            graph
                .arithmetic
                .prepare(queries.bytes(q), prepared)
                .map_err(errno)?;
            let mut all = Vec::new();
            let mut row = vec![0; shape.prepared()];
            for slot in 0..count {
                let bytes = base.bytes(slot as usize);
                encode(bytes, a.element, a.metric, &mut stored).map_err(errno)?;
                let scale = graph.arithmetic.scale(&stored);
                graph.arithmetic.unpack(&stored, scale, &mut row);
                all.push((graph.arithmetic.distance(prepared, &row), slot));
            }
            all.sort_unstable();
            all.iter().take(K).map(|(_, slot)| *slot).collect()
        } else {
            truth.ids(q).take(K).collect()
        });
    }
    let mut points = Vec::new();
    for ef in a.efs {
        let (mut hits, mut expanded) = (0, 0);
        let mut times = Vec::new();
        // The first pass warms up; the best of three is the least disturbed one.
        let mut best = f64::MAX;
        for pass in 0..4 {
            let start = processor_time();
            for (q, near) in nearest.iter().enumerate() {
                let one = Instant::now();
                let prepared = &mut query.prepared;
                graph
                    .arithmetic
                    .prepare(queries.bytes(q), prepared)
                    .map_err(errno)?;
                query.finish(&graph.arithmetic);
                let found = graph
                    .search(&query, ef, K, &mut scratch, |_, _| Ok(true))
                    .map_err(errno)?;
                if pass == 0 {
                    expanded += found.expanded;
                    hits += scratch
                        .found()
                        .filter(|(_, slot)| near.contains(slot))
                        .count();
                } else {
                    times.push(one.elapsed().as_secs_f64() * 1e6);
                }
            }
            if pass > 0 {
                best = best.min(processor_time() - start);
            }
        }
        times.sort_by(f64::total_cmp);
        let n = queries.len() as f64;
        points.push(format!(
            "{{\"ef\":{ef},\"recall\":{:.4},\"qps\":{:.0},\"p50_us\":{:.1},\"p99_us\":{:.1},\"pages_read\":{:.1}}}",
            hits as f64 / n / K as f64,
            n / best,
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            expanded as f64 / n,
        ));
    }
    println!(
        "{{\"build_s\":{build_s:.1},\"insert_s\":{insert_s:.1},\"index_bytes\":{},\"pinned_bytes\":{},\
         \"reached\":{reached},\"nodes\":{there},\"points\":[{}]}}",
        shape.offset(count),
        4 * graph.entries.len(),
        points.join(",")
    );
    Ok(())
}

fn main() {
    if let Err(e) = run() {
        eprintln!("ann: {e}");
        std::process::exit(1);
    }
}
