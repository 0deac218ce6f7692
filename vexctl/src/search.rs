// SPDX-License-Identifier: GPL-2.0
//! `vexctl search`: files by meaning.

pub mod ask;
pub mod expr;
pub mod program;

use crate::abi::vector as abi;
use crate::collection::Metric;
use crate::embedder::Embedder;
use crate::error::{usage, HintExt};
use crate::exit::Exit;
use crate::mounted::{Collection, Mounted, Paths};
use crate::output::Output;
use crate::vectors_io::{parse_vector, VectorFile};
use anyhow::{anyhow, Context, Result};
use ask::{Ask, Explained};
use nix::errno::Errno;
use program::Program;
use serde::Serialize;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const AFTER_HELP: &str = "\
Hits come best first. A score is the squared distance under l2 (lower is better), and the similarity
under cosine and ip (higher is better), and the number of bits that differ under hamming (lower is
better); with --fuse, a sum of reciprocal ranks (higher is better).
With --json there is a line for each query:
  {\"query\":0,\"hits\":[{\"key\":17,\"path\":\"..\",\"offset\":0,\"length\":9,\"score\":0.5,\"stale\":false}]}
Offset and length 0 mean the whole file; hits of files that are on a volume have \"offline\":true too.
Where they apply there are \"cursor\" (null at the end), \"truncated\" and \"explain\" beside the hits.";

#[derive(clap::Args)]
#[command(after_help = format!("{AFTER_HELP}\n\n{}", expr::HELP), group(clap::ArgGroup::new("query").required(true).multiple(true)))]
pub struct Args {
    /// The mount point, or a directory or file below it: only what lies there is found
    #[arg(required_unless_present = "text")]
    path: Option<PathBuf>,
    /// The collection's name
    #[arg(long)]
    collection: String,
    /// The query: '[0.1, -0.2, ...]'
    #[arg(long, group = "query", allow_hyphen_values = true)]
    vector: Vec<String>,
    /// Many queries: .fvecs, .bvecs or .npy
    #[arg(long, group = "query")]
    vectors: Option<PathBuf>,
    /// What is like this file; its vectors' mean is the query
    #[arg(long, group = "query", value_name = "FILE")]
    like: Vec<PathBuf>,
    /// What these words mean
    #[arg(long, group = "query", value_name = "WORDS", num_args = 1..)]
    text: Vec<String>,
    /// Hits for each query
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=abi::MAX_K as i64))]
    k: u32,
    /// Only what this is true of, such as 'size > 1M and mtime > -7d' (the language is described below)
    #[arg(long, value_name = "EXPR")]
    filter: Option<String>,
    /// Only hits whose score is this or better
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    within: Option<f32>,
    /// Each file once, with the best of what it has
    #[arg(long)]
    group: bool,
    /// One list for several queries, which may be given in several ways: what is good for many of them comes first
    #[arg(long)]
    fuse: bool,
    /// Leave out the file of --like itself
    #[arg(long, requires = "like")]
    others: bool,
    /// One page of hits: `start`, or the cursor that the page before told
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Stop after so many milliseconds, with what there is
    #[arg(long, value_name = "N")]
    budget_ms: Option<u64>,
    /// Stop when so many pages of 4 KiB were read from the device, with what there is
    #[arg(long, value_name = "N")]
    budget_pages: Option<u64>,
    /// Candidates on the way through an index: more find more and take longer
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    ef: u32,
    /// Tell how the search went
    #[arg(long)]
    explain: bool,
    /// Compare with every vector, even where an index could answer
    #[arg(long)]
    exact: bool,
    /// What turned the files into vectors, if that was not the built-in embedder: text on its stdin, a JSON array on its stdout
    #[arg(long, value_name = "CMD")]
    command: Option<String>,
}

/// A hit in JSON.
#[derive(Serialize)]
struct Hit {
    key: u64,
    path: String,
    offset: u64,
    length: u64,
    score: f32,
    stale: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    offline: bool,
}

/// The hits of one query in JSON.
#[derive(Serialize)]
struct Found {
    query: usize,
    hits: Vec<Hit>,
    /// Outer none: it was not asked for. Inner none: there are no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<Option<String>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<Explained>,
}

pub fn run(mut args: Args, out: &Output) -> Result<Exit> {
    let path = place(&mut args)?;
    let mounted = Mounted::open(&path)?;
    let collection = mounted.collection(&args.collection)?;
    let like = match &args.like[..] {
        // The kernel knows all vectors of the file: each is a query, not only their mean.
        [only] if args.fuse && args.sources() == 1 => vectors_of(only, &mounted, &collection)?,
        _ => None,
    };
    let queries = match like {
        Some(_) => Vec::new(),
        None => queries(&args, &mounted, &collection)?,
    };
    let count = queries.len() / collection.dim().max(1);
    if !args.fuse && args.sources() > 1 {
        return Err(usage(
            "several queries: give --fuse for one list of hits, or --vectors for many",
        ));
    }
    if args.cursor.is_some() && !args.fuse && count > 1 {
        return Err(usage(
            "a cursor is a place in one list: give one query, or --fuse",
        ));
    }
    let mut filter = match &args.filter {
        Some(text) => Some(program::compile(&expr::parse(text)?, &mounted)?),
        None => None,
    };
    if args.others && like.is_none() {
        let filter = filter.get_or_insert_with(Program::default);
        for file in &args.like {
            filter.but_not(std::fs::metadata(file)?.ino());
        }
    }
    let flags = [
        (abi::SEARCH_SUBTREE, !mounted.is_mount_root()?),
        (abi::SEARCH_EXACT, args.exact),
        (abi::SEARCH_FUSE, args.fuse),
        (abi::SEARCH_GROUP, args.group),
        (abi::SEARCH_OTHERS, args.others && like.is_some()),
    ];
    let answer = Ask {
        queries: &queries,
        like: like.as_ref(),
        k: args.k,
        flags: flags.iter().filter(|f| f.1).map(|f| f.0).sum(),
        ef: args.ef,
        within: args.within,
        filter: filter.as_ref(),
        budget_ns: args.budget_ms.unwrap_or(0).saturating_mul(1_000_000),
        budget_pages: args.budget_pages.unwrap_or(0),
        cursor: args.cursor.as_deref().map(ask::cursor).transpose()?,
        explain: args.explain,
    }
    .ask(&mounted, &collection);
    let answer = match answer {
        Ok(answer) => answer,
        Err(Errno::EINVAL) => {
            return Err(anyhow!("the kernel refused a query")).hint(
                "a query must have the collection's dimension and neither NaN nor infinity; under cosine it must not be zero",
            )
        }
        Err(e) => return Err(e).with_context(|| format!("cannot search collection {}", collection.name)),
    };
    let truncated = answer.result & abi::RESULT_TRUNCATED != 0;
    if truncated {
        out.warn("the budget was used up: there may be better hits");
    }
    let mut paths = Paths::new(&mounted)?;
    let many = answer.lists.len() > 1;
    for (query, records) in answer.lists.iter().enumerate() {
        let mut hits = Vec::new();
        for record in records {
            // What vanished since is no hit any more.
            if let Some(path) = paths.of(record)? {
                hits.push(hit(record, &path));
            }
        }
        let found = Found {
            query,
            hits,
            cursor: answer.cursor.as_ref().map(ask::token),
            truncated,
            explain: answer.explain.as_ref().map(Explained::new),
        };
        out.result(&found, |found| text(found, &collection, many))?;
        if !out.json() {
            if let Some(Some(cursor)) = &found.cursor {
                out.note(&format!("more: --cursor {cursor}"));
            }
            if let Some(explain) = &found.explain {
                out.note(&explain.text());
            }
        }
    }
    Ok(Exit::Ok)
}

impl Args {
    /// In how many ways queries are given.
    fn sources(&self) -> usize {
        let many = usize::from(self.vectors.is_some());
        let words = usize::from(!self.text.is_empty());
        self.vector.len() + many + self.like.len() + words
    }
}

/// Where to search.
fn place(args: &mut Args) -> Result<PathBuf> {
    if let Some(path) = args.path.take() {
        return Ok(path);
    }
    // `--text some words PATH` takes PATH for a word.
    let last = match args.text.len() {
        0 | 1 => None,
        _ => args.text.pop(),
    };
    last.map(PathBuf::from)
        .ok_or_else(|| usage("where to search? give the mount point or a path below it"))
}

/// The file, if it has vectors in the collection.
fn vectors_of(path: &Path, mounted: &Mounted, collection: &Collection) -> Result<Option<File>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    if file.metadata()?.dev() != mounted.file().metadata()?.dev() {
        return Ok(None);
    }
    let owner = Mounted::of(file.try_clone()?, path);
    let mut count = 0;
    owner.list(collection, true, |_| {
        count += 1;
        Ok(())
    })?;
    Ok((count > 0).then_some(file))
}

fn hit(record: &abi::Record, path: &Path) -> Hit {
    Hit {
        key: record.key,
        path: path.to_string_lossy().into_owned(),
        offset: record.off,
        length: record.len,
        score: f32::from_bits(record.score),
        stale: record.flags & abi::RECORD_STALE != 0,
        offline: record.flags & abi::RECORD_OFFLINE != 0,
    }
}

fn text(found: &Found, collection: &Collection, many: bool) -> String {
    let mut lines = Vec::new();
    if many {
        lines.push(format!("query {}:", found.query));
    }
    if found.hits.is_empty() {
        lines.push(format!("nothing found in collection {}", collection.name));
    }
    for hit in &found.hits {
        let mut line = format!("{:>10.4}  {}", hit.score, hit.path);
        if (hit.offset, hit.length) != (0, 0) {
            line.push_str(&format!("  bytes {}+{}", hit.offset, hit.length));
        }
        if hit.offline {
            line.push_str("  (offline)");
        }
        if hit.stale {
            line.push_str("  (changed since it was embedded)");
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// The queries, one after the other.
fn queries(args: &Args, mounted: &Mounted, collection: &Collection) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    for vector in &args.vector {
        let vector = parse_vector(vector)?;
        collection.check_dim(vector.len(), "the query")?;
        all.extend(vector);
    }
    if let Some(path) = &args.vectors {
        let mut file = VectorFile::open(path)?;
        file.unpack_for(collection);
        if file.count > 0 {
            collection.check_dim(file.dim, "each query of the file")?;
        }
        all.extend(file.read_all()?);
    }
    for path in &args.like {
        all.extend(like(path, args, mounted, collection)?);
    }
    if !args.text.is_empty() {
        let embedder = Embedder::new(args.command.as_deref(), collection)?;
        let vector = embedder
            .embed(&args.text.join(" "))?
            .ok_or_else(|| anyhow!("the embedder knows none of these words"))
            .hint("the built-in word vectors are English; try other words")?;
        collection.check_dim(vector.len(), "what the embedder makes of the words")?;
        all.extend(vector);
    }
    Ok(all)
}

/// A query from a file: the mean of its vectors, or if it has none, of its text.
fn like(path: &Path, args: &Args, mounted: &Mounted, collection: &Collection) -> Result<Vec<f32>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut mean = vec![0f64; collection.dim()];
    let mut count = 0;
    let same = file.metadata()?.dev() == mounted.file().metadata()?.dev();
    if same {
        let owner = Mounted::of(file, path);
        let mut keys = Vec::new();
        owner.list(collection, true, |record| {
            keys.push(record.key);
            Ok(())
        })?;
        for key in keys {
            let (_, vector) = owner
                .get(collection, key)
                .with_context(|| format!("cannot read key {key}"))?;
            let norm = vector
                .iter()
                .map(|x| f64::from(*x).powi(2))
                .sum::<f64>()
                .sqrt();
            let bytes = collection.raw.r#type == abi::TYPE_INT8;
            let scale = if collection.raw.metric == abi::METRIC_COSINE && norm > 0.0 && !bytes {
                1.0 / norm
            } else {
                1.0
            };
            mean.iter_mut()
                .zip(&vector)
                .for_each(|(m, x)| *m += f64::from(*x) * scale);
            count += 1;
        }
    }
    if count > 0 {
        let mean = mean.iter().map(|m| m / f64::from(count));
        return Ok(match collection.raw.r#type {
            // Of bits, what most vectors have.
            abi::TYPE_INT8 | abi::TYPE_BINARY => mean.map(|m| m.round() as f32).collect(),
            _ => mean.map(|m| m as f32).collect(),
        });
    }
    let embedder = Embedder::new(args.command.as_deref(), collection).with_context(|| {
        format!(
            "{} has no vector in collection {}",
            path.display(),
            collection.name
        )
    })?;
    let pieces = crate::text::read(path, None)?;
    let text = pieces.first().map(|p| p.text.as_str()).unwrap_or("");
    embedder
        .embed(text)?
        .ok_or_else(|| {
            anyhow!(
                "{} has no vector in collection {}, and no text to make one of",
                path.display(),
                collection.name
            )
        })
        .hint(format!(
            "collection {} is searched by {}",
            collection.name,
            Metric::name(collection.raw.metric)
        ))
}

#[cfg(test)]
mod tests {
    use crate::cli::Cli;
    use clap::Parser;

    #[test]
    fn a_query_is_asked_for() {
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parses(
            "vexctl search /mnt --collection c --vector [1,-2] -k 5 --exact --json"
        ));
        assert!(parses(
            "vexctl search /mnt --collection c --vectors q.fvecs"
        ));
        assert!(parses("vexctl search /mnt --collection c --like file"));
        assert!(parses(
            "vexctl search /mnt --collection c --text some words -k 3"
        ));
        assert!(parses(
            "vexctl search --collection c -k 3 --text some words /mnt"
        ));
        assert!(!parses("vexctl search /mnt --collection c"));
        assert!(parses(
            "vexctl search /mnt --collection c --like file --text some words --vector [1] --vector [2] --fuse --others"
        ));
        assert!(parses(
            "vexctl search /mnt --collection c --vector [1] --filter stale --within -0.5 --group --cursor start"
        ));
        assert!(!parses(
            "vexctl search /mnt --collection c --vector [1] --others"
        ));
        assert!(!parses(
            "vexctl search /mnt --collection c --vector [1] -k 0"
        ));
        assert!(!parses("vexctl search --collection c --vector [1]"));
    }

    #[test]
    fn the_forms_that_scripts_rely_on_parse() {
        for line in [
            "vexctl collection create /mnt c --dim 100 --metric ip --type f16",
            "vexctl collection drop /mnt c",
            "vexctl import /mnt/words --collection c --vectors v.npy --keys k.npy",
            "vexctl import /mnt --collection c --jsonl rows --json",
            "vexctl embed /mnt/a /mnt/b --collection c --chunk 1000 --command cmd",
            "vexctl put /mnt/f --collection c --key 7 --vector [-1,2] --offset 3 --length 4",
            "vexctl get /mnt/f --collection c --key 7",
            "vexctl delete /mnt/f --collection c --key 7,8",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }
}
