// SPDX-License-Identifier: GPL-2.0
//! A sliding window: vectors come and go until none of the first ones is left.
//!
//! Through the driver that a mount has, in an image: changes are journalled, then done in the graph, then it is refined
//! as long as it owes some, then a checkpoint is made.

use super::engine::{errno, kind, params};
use super::measure::Clock;
use super::sets::{Truth, Vectors};
use super::{image, round, AnnArgs};
use crate::error::usage;
use crate::output::Output;
use anyhow::{bail, Context, Result};
use serde::Serialize;
use std::path::PathBuf;
use vexfs::disk::FileDisk;
use vexfs::libvexfs::vector::Collection;
use vexfs_index::image::{Image, Indexed};
use zerocopy::IntoBytes;

/// Vectors of one call.
const BATCH: usize = 1000;
/// Slots that are refined between two looks at the clock.
const ROOM: u32 = 1024;
/// Neighbours that recall is told of.
const K: usize = 10;

#[derive(clap::Args)]
pub struct WindowArgs {
    #[command(flatten)]
    what: AnnArgs,
    /// Vectors that live at a time
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1000..))]
    window: u32,
    /// Vectors that come, and go, in one step
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    step: u32,
}

/// One step.
#[derive(Serialize)]
struct Step {
    /// Recall for each ef.
    recall: Vec<f64>,
    /// Vectors that were put, and nodes that were made of them, a second.
    inserts: f64,
    /// Records that were deleted, and nodes that were taken out, a second.
    deletes: f64,
    /// Seconds of refining what these owed, and of the checkpoint.
    refine_s: f64,
    checkpoint_s: f64,
}

/// What a run came to.
#[derive(Serialize)]
pub struct Report {
    ef: Vec<u32>,
    build_s: f64,
    /// Before the first step.
    recall: Vec<f64>,
    steps: Vec<Step>,
    /// From the first to the last window, for each ef.
    recall_lost: Vec<f64>,
    /// Medians over the steps.
    inserts: f64,
    deletes: f64,
}

/// What is measured.
struct Window<'a> {
    image: &'a Image<FileDisk>,
    collection: Collection,
    base: &'a Vectors,
    clock: Clock,
    /// The row of each slot.
    rows: Vec<u64>,
}

impl Window<'_> {
    /// Runs something and returns the seconds it took.
    fn timed(&self, f: impl FnOnce() -> Result<()>) -> Result<f64> {
        let start = self.clock.now();
        f()?;
        Ok(self.clock.now() - start)
    }

    fn put(&self, indexed: &mut Indexed<'_, FileDisk>, rows: std::ops::Range<usize>) -> Result<()> {
        let items: Vec<(u64, &[u8])> = rows
            .map(|row| (row as u64, self.base.row(row).as_bytes()))
            .collect();
        for items in items.chunks(BATCH) {
            indexed.put(items).map_err(errno)?;
            indexed.catch_up(usize::MAX).map_err(errno)?;
        }
        self.image.commit().map_err(errno)
    }

    fn delete(
        &self,
        indexed: &mut Indexed<'_, FileDisk>,
        rows: std::ops::Range<usize>,
    ) -> Result<()> {
        let keys: Vec<u64> = rows.map(|row| row as u64).collect();
        for keys in keys.chunks(BATCH) {
            if indexed.delete(keys).map_err(errno)? != keys.len() {
                bail!("a record was gone before it was deleted");
            }
            indexed.catch_up(usize::MAX).map_err(errno)?;
        }
        self.image.commit().map_err(errno)
    }

    /// Learns which slots rows got.
    fn learn(&mut self, rows: std::ops::Range<usize>) -> Result<()> {
        for row in rows {
            let slot = self.image.slot(&self.collection, row as u64);
            let slot = slot.map_err(errno)?.context("a record is not there")? as usize;
            if slot >= self.rows.len() {
                self.rows.resize(slot + 1, u64::MAX);
            }
            self.rows[slot] = row as u64;
        }
        Ok(())
    }

    /// Recall of all queries for each ef; `first` is the row of the truth that is the first query's.
    fn recall(
        &self,
        indexed: &mut Indexed<'_, FileDisk>,
        queries: &Vectors,
        truth: &Truth,
        first: usize,
        efs: &[u32],
    ) -> Result<Vec<f64>> {
        let mut all = Vec::new();
        for ef in efs {
            let mut hits = 0;
            for (i, query) in queries.rows().enumerate() {
                let answer = indexed
                    .search(query.as_bytes(), *ef as usize, K)
                    .map_err(errno)?;
                let found = answer
                    .hits
                    .iter()
                    .filter_map(|hit| self.rows.get(hit.0 as usize));
                let found: Vec<u64> = found.copied().collect();
                hits += truth.hits(first + i, &found, K);
            }
            all.push(round(hits as f64 / (queries.len() * K) as f64, 5));
        }
        Ok(all)
    }
}

/// Runs it.
pub fn run(args: &WindowArgs, out: &Output) -> Result<Report> {
    let path: &PathBuf = match (&args.what.image, args.what.limit) {
        (Some(path), None) if !path.exists() => path,
        _ => {
            return Err(usage(
                "a window is measured in a new --image, without --limit",
            ))
        }
    };
    let base = Vectors::read(&args.what.base)?;
    let queries = Vectors::read(&args.what.queries)?;
    let (window, step) = (args.window as usize, args.step as usize);
    if base.dim != queries.dim || base.len() < window + step || window < step {
        return Err(usage(
            "a window and a step must fit into BASE, queries to its vectors",
        ));
    }
    let steps = ((base.len() - window) / step).min(window / step);
    let truth = Truth::read(&args.what.truth, (steps + 1) * queries.len(), K, base.len())
        .context("TRUTH must have a block of all queries for each window")?;
    let image = image::open(path, &base)?;
    let (element, metric) = kind(&args.what)?;
    let name = args.what.collection.as_bytes();
    let collection = image
        .create_collection(name, base.dim as u32, element, metric)
        .map_err(errno)?;
    let mut state = Window {
        image: &image,
        collection,
        base: &base,
        clock: args.what.clock,
        rows: Vec::new(),
    };
    let params = params(&args.what);
    let mut indexed = Indexed::create(&image, &collection, params, image::SEED).map_err(errno)?;
    let bar = out.progress("sliding", steps as u64 + 1);
    let build_s = state.timed(|| {
        state.put(&mut indexed, 0..window)?;
        indexed.build(&mut |_, _| {}).map_err(errno)
    })?;
    state.learn(0..window)?;
    let efs = &args.what.ef;
    let before = state.recall(&mut indexed, &queries, &truth, 0, efs)?;
    let mut all: Vec<Step> = Vec::new();
    for i in 0..steps {
        bar.inc(1);
        let (new, old) = (
            window + i * step..window + (i + 1) * step,
            i * step..(i + 1) * step,
        );
        let put_s = state.timed(|| state.put(&mut indexed, new.clone()))?;
        let delete_s = state.timed(|| state.delete(&mut indexed, old))?;
        let refine_s = state.timed(|| {
            while !indexed.refine_step(ROOM).map_err(errno)? {}
            Ok(())
        })?;
        let checkpoint_s = state.timed(|| indexed.checkpoint().map_err(errno))?;
        state.learn(new)?;
        let first = (i + 1) * queries.len();
        all.push(Step {
            recall: state.recall(&mut indexed, &queries, &truth, first, efs)?,
            inserts: round(step as f64 / put_s, 1),
            deletes: round(step as f64 / delete_s, 1),
            refine_s: round(refine_s, 3),
            checkpoint_s: round(checkpoint_s, 3),
        });
    }
    bar.finish_and_clear();
    drop(indexed);
    image.close().map_err(errno)?;
    let last = all.last().map_or(&before, |step| &step.recall);
    let lost = before
        .iter()
        .zip(last)
        .map(|(a, b)| round(a - b, 5))
        .collect();
    let middle = |of: fn(&Step) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        super::measure::median(&mut values)
    };
    Ok(Report {
        ef: efs.clone(),
        build_s: round(build_s, 3),
        recall_lost: lost,
        inserts: middle(|step| step.inserts),
        deletes: middle(|step| step.deletes),
        recall: before,
        steps: all,
    })
}

/// The report for people.
pub fn text(report: &Report) -> String {
    let list = |numbers: &[f64]| {
        let numbers: Vec<String> = numbers.iter().map(|x| format!("{x:.4}")).collect();
        numbers.join(" ")
    };
    let mut text = format!(
        "built in {} s; ef {:?}: recall {}",
        report.build_s,
        report.ef,
        list(&report.recall)
    );
    for step in &report.steps {
        text += &format!(
            "\n{} after {:.0} inserts and {:.0} deletes a second, {} s of refining, {} s of checkpoint",
            list(&step.recall), step.inserts, step.deletes, step.refine_s, step.checkpoint_s
        );
    }
    text + &format!("\nrecall lost: {}", list(&report.recall_lost))
}
