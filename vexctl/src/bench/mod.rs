// SPDX-License-Identifier: GPL-2.0
//! `vexctl bench`: how quick and how exact searches are, on vectors with known neighbours.

mod engine;
mod image;
mod measure;
mod mount;
mod sets;
mod window;

use crate::collection::Metric;
use crate::error::usage;
use crate::exit::Exit;
use crate::output::Output;
use anyhow::Result;
use clap::ValueEnum;
use engine::{Engine, InMemory};
use image::InImage;
use measure::{Clock, Point};
use mount::Mount;
use serde::Serialize;
use sets::{Truth, Vectors};
use std::path::PathBuf;
use window::WindowArgs;

const AFTER_HELP: &str = "\
BASE and QUERIES are .fvecs, .bvecs or .npy, for every type: those of int8 and binary have whole numbers. TRUTH is
.ivecs: for each query the numbers of its nearest rows of BASE, nearest first. Where numbers are whole, distances are
often equal: whoever is as near as the last of them counts, too. With --json there is one line:
  {\"build_s\":9.1,\"index_bytes\":1,\"pinned_bytes\":1,\"points\":[{\"ef\":16,\"recall\":0.9,\"qps\":1,\"qps_batch\":1,
   \"p50_us\":1,\"p99_us\":1,\"pages_read\":1}]}
Every ef is measured in each of several passes over all queries, after one that warms up; a rate is that of the median
pass. Pages read are those that were looked at, in memory or not: of the graph, and with --mount of all else, too.
Filters: see `vexctl search --help`.";

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What can be measured.
#[derive(clap::Subcommand)]
enum Command {
    /// Recall and queries a second of the index over vectors
    Ann(AnnArgs),
    /// Recall of an index while all of its vectors are exchanged, and how many come and go a second
    Window(WindowArgs),
}

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
struct AnnArgs {
    /// Measure a file system in this image, without the kernel; it is made if it is not there, and what is in it is used.
    /// Without image and mount, the index is in memory only
    #[arg(long)]
    image: Option<PathBuf>,
    /// Measure the kernel: the file system that is mounted there
    #[arg(long, value_name = "DIR", conflicts_with = "image")]
    mount: Option<PathBuf>,
    /// Keys of the vectors: one number per line, in the order of their rows; else a row's number is its key
    #[arg(long, requires = "mount")]
    keys: Option<PathBuf>,
    /// Search among the records that match this; TRUTH must be that of these rows
    #[arg(long, requires = "mount")]
    filter: Option<String>,
    /// Have the kernel prepare the filter once
    #[arg(long, requires = "filter")]
    prepared: bool,
    /// Search in so many threads at once; rates are those of all of them together
    #[arg(long, requires = "mount", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// The collection's name; one that is there must have these very vectors
    #[arg(long, default_value = "bench")]
    collection: String,
    /// The vectors to search in
    #[arg(long)]
    base: PathBuf,
    /// The vectors to search for
    #[arg(long)]
    queries: PathBuf,
    /// The true neighbours
    #[arg(long)]
    truth: PathBuf,
    #[arg(long, value_enum, default_value = "cosine")]
    metric: Metric,
    /// How vectors are stored
    #[arg(long = "type", value_enum, default_value = "f32")]
    element: ElementType,
    /// Candidates that a search keeps
    #[arg(long, value_delimiter = ',', default_value = "16,32,64,128,256,512",
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    ef: Vec<u32>,
    /// Neighbours that are searched for
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    k: u32,
    /// Passes over all queries that are measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    passes: u32,
    /// What rates are taken from: time, or the time that this thread had a processor (for busy machines)
    #[arg(long, value_enum, default_value = "wall")]
    clock: Clock,
    /// Use so many of the base vectors; the truth is computed then
    #[arg(long)]
    limit: Option<usize>,
    /// Candidates that are kept while the index is built
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(16..=4096))]
    build_ef: u32,
}

/// Types that the index stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ElementType {
    F32,
    F16,
    Int8,
    Binary,
}

/// What a run came to.
#[derive(Serialize)]
struct Report {
    build_s: f64,
    index_bytes: u64,
    pinned_bytes: u64,
    points: Vec<Point>,
}

pub fn run(args: Args, out: &Output) -> Result<Exit> {
    match args.command {
        Command::Ann(args) => ann(&args, out),
        Command::Window(args) => {
            out.result(&window::run(&args, out)?, window::text)?;
            Ok(Exit::Ok)
        }
    }
}

fn ann(args: &AnnArgs, out: &Output) -> Result<Exit> {
    if args.threads > 1 && args.clock == Clock::Cpu {
        return Err(usage(
            "the time of one thread says nothing of many: --clock wall",
        ));
    }
    let mut base = Vectors::read(&args.base)?;
    let queries = Vectors::read(&args.queries)?;
    if base.dim != queries.dim {
        return Err(usage(format!(
            "vectors of {} numbers are searched for among some of {}",
            queries.dim, base.dim
        )));
    }
    let k = args.k as usize;
    let whole = base.len();
    base.truncate(args.limit.unwrap_or(whole));
    if base.len() < k || queries.len() == 0 {
        return Err(usage(format!(
            "{} vectors and {} queries are too few",
            base.len(),
            queries.len()
        )));
    }
    let truth = if base.len() < whole {
        out.note("computing the true neighbours");
        Truth::compute(&base, &queries, k, args.metric)
    } else {
        Truth::read(&args.truth, queries.len(), k, base.len())?
    };
    let set = Set {
        base,
        queries,
        truth,
    };
    let report = match (&args.image, &args.mount) {
        (_, Some(dir)) => measured(&mut Mount::new(dir, args, &set.base)?, &set, args, out)?,
        (None, None) => measured(&mut InMemory::new(args, &set.base)?, &set, args, out)?,
        (Some(path), None) => {
            let image = image::open(path, &set.base)?;
            let report = measured(&mut InImage::new(&image, args, &set.base)?, &set, args, out)?;
            image.close().map_err(engine::errno)?;
            report
        }
    };
    out.result(&report, text)?;
    Ok(Exit::Ok)
}

/// What is measured on.
struct Set {
    base: Vectors,
    queries: Vectors,
    truth: Truth,
}

fn measured(engine: &mut dyn Engine, set: &Set, args: &AnnArgs, out: &Output) -> Result<Report> {
    let bar = out.progress("building", 0);
    // What the kernel does is not done by this thread.
    let clock = match args.mount {
        Some(_) => Clock::Wall,
        None => args.clock,
    };
    let start = clock.now();
    engine.build(&set.base, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    let build_s = clock.now() - start;
    bar.finish_and_clear();
    Ok(Report {
        build_s: round(build_s, 3),
        index_bytes: engine.index_bytes(),
        pinned_bytes: engine.pinned_bytes(),
        points: measure::points(engine, set, args)?,
    })
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "built in {} s, {} bytes, {} of them pinned\n{:>6} {:>8} {:>9} {:>9} {:>9} {:>9} {:>8}",
        report.build_s,
        report.index_bytes,
        report.pinned_bytes,
        "ef",
        "recall",
        "1/s",
        "batch 1/s",
        "p50 us",
        "p99 us",
        "pages"
    );
    for p in &report.points {
        text += &format!(
            "\n{:>6} {:>8.4} {:>9.0} {:>9.0} {:>9.1} {:>9.1} {:>8.1}",
            p.ef, p.recall, p.qps, p.qps_batch, p.p50_us, p.p99_us, p.pages_read
        );
    }
    text
}

/// So many digits behind the point.
fn round(x: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (x * scale).round() / scale
}
