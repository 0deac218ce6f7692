// SPDX-License-Identifier: GPL-2.0
//! How it is measured.
//!
//! One pass over all queries warms up and counts recall; it is not timed. Then each pass takes every ef in turn, so that
//! whatever else the machine does meets all of them alike. The rate of an ef is that of its median pass. A query's
//! latency is the median of its passes too; percentiles are over queries.

use super::engine::Engine;
use super::sets;
use super::{round, AnnArgs, ElementType, Set};
use anyhow::Result;
use clap::ValueEnum;
use nix::time::{clock_gettime, ClockId};
use serde::Serialize;

/// What rates are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Clock {
    /// Time
    Wall,
    /// The time that this thread had a processor
    Cpu,
}

impl Clock {
    /// Seconds since some moment.
    pub fn now(self) -> f64 {
        let id = match self {
            Clock::Wall => ClockId::CLOCK_MONOTONIC,
            Clock::Cpu => ClockId::CLOCK_THREAD_CPUTIME_ID,
        };
        // Both clocks are there on every Linux.
        clock_gettime(id).map_or(0.0, |t| t.tv_sec() as f64 + t.tv_nsec() as f64 / 1e9)
    }
}

/// What was measured with one ef.
#[derive(Serialize)]
pub struct Point {
    pub ef: u32,
    pub recall: f64,
    pub qps: f64,
    pub qps_batch: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub pages_read: f64,
}

/// What the passes with one ef took.
#[derive(Default)]
struct Passes {
    hits: usize,
    pages: usize,
    single: Vec<f64>,
    batch: Vec<f64>,
    /// Microseconds for each query, pass after pass.
    latencies: Vec<Vec<f64>>,
}

/// Measures all that was asked for.
pub fn points(engine: &mut dyn Engine, set: &Set, args: &AnnArgs) -> Result<Vec<Point>> {
    let Set {
        base,
        queries,
        truth,
    } = set;
    let k = args.k as usize;
    let whole = matches!(args.element, ElementType::Int8 | ElementType::Binary);
    let mut found = Vec::with_capacity(k);
    let mut all = Vec::new();
    for ef in &args.ef {
        let mut passes = Passes::default();
        passes.latencies.resize(queries.len(), Vec::new());
        for (i, query) in queries.rows().enumerate() {
            passes.pages += engine.search(query, *ef as usize, k, &mut found)?;
            passes.hits += truth.hits(i, &found, k);
            if whole {
                passes.hits += truth.ties(i, &found, k, |row| match row < base.len() {
                    true => sets::distance(query, base.row(row), args.metric),
                    false => f64::MAX,
                });
            }
        }
        all.push(passes);
    }
    for _ in 0..args.passes {
        for (ef, passes) in args.ef.iter().zip(&mut all) {
            let start = args.clock.now();
            engine.singles(queries, *ef as usize, k, &mut passes.latencies)?;
            passes.single.push(args.clock.now() - start);
            let start = args.clock.now();
            engine.batch(queries, *ef as usize, k)?;
            passes.batch.push(args.clock.now() - start);
        }
    }
    let n = queries.len() as f64;
    Ok(args
        .ef
        .iter()
        .zip(all)
        .map(|(ef, mut passes)| {
            let mut latencies: Vec<f64> = passes.latencies.iter_mut().map(|l| median(l)).collect();
            latencies.sort_by(f64::total_cmp);
            let at = |part: f64| latencies[((n * part) as usize).min(latencies.len() - 1)];
            Point {
                ef: *ef,
                recall: round(passes.hits as f64 / n / k as f64, 5),
                qps: round(n / median(&mut passes.single), 1),
                qps_batch: round(n / median(&mut passes.batch), 1),
                p50_us: round(at(0.5), 2),
                p99_us: round(at(0.99), 2),
                pages_read: round(passes.pages as f64 / n, 2),
            }
        })
        .collect())
}

/// The one in the middle; of an even number, the mean of the two.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 if middle > 0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values.get(middle).copied().unwrap_or(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 100.0]), 3.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 100.0]), 3.0);
        assert_eq!(median(&mut [5.0]), 5.0);
        assert_eq!(median(&mut []), 0.0);
    }

    #[test]
    fn clocks_go_on() {
        for clock in [Clock::Wall, Clock::Cpu] {
            let start = clock.now();
            let mut x = 1u64;
            while clock.now() - start < 1e-4 {
                x = std::hint::black_box(x.wrapping_mul(3));
            }
            assert!(clock.now() > start);
        }
    }
}
