// SPDX-License-Identifier: GPL-2.0
//! `vexctl search`: files by meaning.

use crate::abi::vector as abi;
use crate::collection::Metric;
use crate::embedder::Embedder;
use crate::error::{usage, HintExt};
use crate::exit::Exit;
use crate::mounted::{Collection, Mounted, Paths};
use crate::output::Output;
use crate::vectors_io::{parse_vector, VectorFile};
use anyhow::{anyhow, Context, Result};
use nix::errno::Errno;
use serde::Serialize;
use std::path::{Path, PathBuf};

const AFTER_HELP: &str = "\
Hits come best first. A score is the squared distance under l2 (lower is better), and the similarity
under cosine and ip (higher is better). With --json there is a line for each query:
  {\"query\":0,\"hits\":[{\"key\":17,\"path\":\"..\",\"offset\":0,\"length\":9,\"score\":0.5,\"stale\":false}]}
Offset and length 0 mean the whole file; hits of files that are on a volume have \"offline\":true too.";

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, group(clap::ArgGroup::new("query").required(true)))]
pub struct Args {
    /// The mount point, or a directory or file below it: only what lies there is found
    #[arg(required_unless_present = "text")]
    path: Option<PathBuf>,
    /// The collection's name
    #[arg(long)]
    collection: String,
    /// The query: '[0.1, -0.2, ...]'
    #[arg(long, group = "query", allow_hyphen_values = true)]
    vector: Option<String>,
    /// Many queries: .fvecs or .npy
    #[arg(long, group = "query")]
    vectors: Option<PathBuf>,
    /// What is like this file
    #[arg(long, group = "query", value_name = "FILE")]
    like: Option<PathBuf>,
    /// What these words mean
    #[arg(long, group = "query", value_name = "WORDS", num_args = 1..)]
    text: Option<Vec<String>>,
    /// Hits for each query
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=abi::MAX_K as i64))]
    k: u32,
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
}

pub fn run(mut args: Args, out: &Output) -> Result<Exit> {
    // `--text some words PATH` takes PATH for a word.
    let path = match args.path.take() {
        Some(path) => path,
        None => match args
            .text
            .as_mut()
            .filter(|words| words.len() > 1)
            .and_then(Vec::pop)
        {
            Some(last) => last.into(),
            None => {
                return Err(usage(
                    "where to search? give the mount point or a path below it",
                ))
            }
        },
    };
    let mounted = Mounted::open(&path)?;
    let collection = mounted.collection(&args.collection)?;
    let queries = queries(&args, &mounted, &collection)?;
    let subtree = !mounted.is_mount_root()?;
    let results = match mounted.search(&collection, &queries, args.k, subtree, args.exact) {
        Ok(results) => results,
        Err(Errno::EINVAL) => {
            return Err(anyhow!("the kernel refused a query")).hint(
                "a query must have the collection's dimension and neither NaN nor infinity; under cosine it must not be zero",
            )
        }
        Err(e) => return Err(e).with_context(|| format!("cannot search collection {}", collection.name)),
    };
    let mut paths = Paths::new(&mounted)?;
    let many = results.len() > 1;
    for (query, records) in results.iter().enumerate() {
        let mut hits = Vec::new();
        for record in records {
            // What vanished since is no hit any more.
            if let Some(path) = paths.of(record)? {
                hits.push(hit(record, &path));
            }
        }
        out.result(&Found { query, hits }, |found| {
            text(found, &collection, many)
        })?;
    }
    Ok(Exit::Ok)
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
    if let Some(vector) = &args.vector {
        let vector = parse_vector(vector)?;
        collection.check_dim(vector.len(), "the query")?;
        return Ok(vector);
    }
    if let Some(path) = &args.vectors {
        let file = VectorFile::open(path)?;
        if file.count > 0 {
            collection.check_dim(file.dim, "each query of the file")?;
        }
        return file.read_all();
    }
    if let Some(path) = &args.like {
        return like(path, args, mounted, collection);
    }
    let words = args.text.as_deref().unwrap_or_default().join(" ");
    let embedder = Embedder::new(args.command.as_deref(), collection)?;
    let vector = embedder
        .embed(&words)?
        .ok_or_else(|| anyhow!("the embedder knows none of these words"))
        .hint("the built-in word vectors are English; try other words")?;
    collection.check_dim(vector.len(), "what the embedder makes of the words")?;
    Ok(vector)
}

/// A query from a file: the mean of its vectors, or if it has none, of its text.
fn like(path: &Path, args: &Args, mounted: &Mounted, collection: &Collection) -> Result<Vec<f32>> {
    let file =
        std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut mean = vec![0f64; collection.dim()];
    let mut count = 0;
    let same = {
        use std::os::unix::fs::MetadataExt;
        file.metadata()?.dev() == mounted.file().metadata()?.dev()
    };
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
            let scale = if collection.raw.metric == abi::METRIC_COSINE && norm > 0.0 {
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
        return Ok(mean.iter().map(|m| (m / f64::from(count)) as f32).collect());
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
    fn exactly_one_query_is_asked_for() {
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
        assert!(!parses(
            "vexctl search /mnt --collection c --like file --text words"
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
