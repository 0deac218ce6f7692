// SPDX-License-Identifier: GPL-2.0
//! `vexctl import`: many vectors from one file.
//!
//! Either a file on VexFS with one line per vector, each vector belonging to the byte range of its line; or rows of
//! JSON that say for each vector which file and range it describes.

use crate::error::{usage, HintExt};
use crate::exit::Exit;
use crate::mounted::{explain_item, Collection, Mounted};
use crate::output::Output;
use crate::record::{Batch, Place};
use crate::vectors_io::{read_keys, VectorFile};
use anyhow::{bail, Context, Result};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// With --vectors: the file on VexFS that has a line for each vector; with --jsonl: the mount point
    path: PathBuf,
    /// The collection's name
    #[arg(long)]
    collection: String,
    /// The vectors, one for each line of PATH: .fvecs, .bvecs or .npy; of binary ones also what
    /// numpy.packbits gives
    #[arg(long, required_unless_present = "jsonl", conflicts_with = "jsonl")]
    vectors: Option<PathBuf>,
    /// Rows {"path":..,"offset":..,"length":..,"key":..,"vector":[..]}; paths are relative to PATH
    #[arg(long)]
    jsonl: Option<PathBuf>,
    /// Keys, one for each vector: text with a number a line, or .npy (otherwise: the row's number)
    #[arg(long)]
    keys: Option<PathBuf>,
}

/// How many refused rows are named before the rest is only counted.
const NAMED: usize = 20;

/// Counts and reports what was refused.
struct Tally<'a> {
    out: &'a Output,
    good: u64,
    bad: u64,
}

impl Tally<'_> {
    fn add(&mut self, sent: usize, refused: Vec<(u64, i32)>) {
        self.good += (sent - refused.len()) as u64;
        for (row, status) in refused {
            self.refuse(row, &explain_item(status));
        }
    }

    fn refuse(&mut self, row: u64, why: &str) {
        self.bad += 1;
        if self.bad as usize <= NAMED {
            self.out.warn(&format!("row {row}: {why}"));
        } else if self.bad as usize == NAMED + 1 {
            self.out
                .warn("more rows were refused; they are counted, but not named");
        }
    }

    fn finish(self, collection: &Collection) -> Result<Exit> {
        let shown = serde_json::json!({ "collection": collection.name, "imported": self.good, "failed": self.bad });
        self.out.result(&shown, |_| {
            let failed = if self.bad > 0 {
                format!(", {} refused", self.bad)
            } else {
                String::new()
            };
            format!(
                "imported {} vectors into {}{failed}",
                self.good, collection.name
            )
        })?;
        Ok(match (self.good, self.bad) {
            (_, 0) => Exit::Ok,
            (0, _) => Exit::Failed,
            _ => Exit::Partial,
        })
    }
}

pub fn run(args: Args, out: &Output) -> Result<Exit> {
    let mounted = Mounted::open(&args.path)?;
    let collection = mounted.collection(&args.collection)?;
    match (&args.vectors, &args.jsonl) {
        (Some(vectors), None) => lines(&args, vectors, &mounted, &collection, out),
        (None, Some(rows)) => {
            if args.keys.is_some() {
                return Err(usage(
                    "--keys goes with --vectors; rows of JSON carry their keys",
                ));
            }
            json_rows(rows, &mounted, &collection, out)
        }
        _ => Err(usage("give either --vectors or --jsonl")),
    }
}

fn lines(
    args: &Args,
    vectors: &Path,
    mounted: &Mounted,
    collection: &Collection,
    out: &Output,
) -> Result<Exit> {
    if !mounted.file().metadata()?.is_file() {
        return Err(usage(format!(
            "{} is not a regular file",
            args.path.display()
        )))
        .hint("with --vectors, PATH is the file on VexFS whose lines the vectors belong to");
    }
    let mut vectors = VectorFile::open(vectors)?;
    vectors.unpack_for(collection);
    if vectors.count > 0 {
        collection.check_dim(vectors.dim, "each vector of the file")?;
    }
    // Before the file is read: whatever is written to it from now on makes the records stale.
    let version = mounted.mark()?.version;
    let ranges = line_ranges(&mut BufReader::new(mounted.file()))
        .with_context(|| format!("cannot read {}", args.path.display()))?;
    if ranges.len() != vectors.count {
        bail!(
            "{} has {} lines, the file of vectors {} vectors",
            args.path.display(),
            ranges.len(),
            vectors.count
        );
    }
    let keys = args.keys.as_deref().map(read_keys).transpose()?;
    if let Some(keys) = keys.as_ref().filter(|k| k.len() != vectors.count) {
        bail!(
            "there are {} keys for {} vectors",
            keys.len(),
            vectors.count
        );
    }

    let bar = out.progress("importing", vectors.count as u64);
    let mut batch = Batch::new(mounted, collection, 0);
    let mut tally = Tally {
        out,
        good: 0,
        bad: 0,
    };
    let mut vector = Vec::new();
    for (row, &(off, len)) in ranges.iter().enumerate() {
        vector.clear();
        vectors.next(&mut vector)?;
        let key = keys.as_ref().map_or(row as u64, |k| k[row]);
        batch.add(
            row as u64,
            key,
            Place {
                fd: -1,
                off,
                len,
                version,
            },
            &vector,
        );
        if batch.is_full() || row + 1 == ranges.len() {
            let sent = batch.len();
            tally.add(sent, batch.send()?);
            bar.inc(sent as u64);
        }
    }
    bar.finish_and_clear();
    mounted
        .file()
        .sync_all()
        .context("the vectors were taken, but making them durable failed")?;
    tally.finish(collection)
}

/// Start and length of each line, without its newline. An empty first line is given its newline, because the empty
/// range at 0 would mean the whole file.
fn line_ranges(reader: &mut impl BufRead) -> Result<Vec<(u64, u64)>> {
    let mut ranges = Vec::new();
    let mut line = Vec::new();
    let mut off = 0;
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            return Ok(ranges);
        }
        let len = read - u64::from(line.last() == Some(&b'\n'));
        ranges.push((off, if off == 0 && len == 0 { 1 } else { len }));
        off += read;
    }
}

/// One row of JSON.
#[derive(Deserialize)]
struct Row {
    path: PathBuf,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    length: u64,
    key: Option<u64>,
    vector: Vec<Option<f64>>,
}

/// Files that rows of a batch belong to, open at once at most.
const FILES: usize = 200;

fn json_rows(
    rows: &Path,
    mounted: &Mounted,
    collection: &Collection,
    out: &Output,
) -> Result<Exit> {
    let file = File::open(rows).with_context(|| format!("cannot open {}", rows.display()))?;
    let bar = out.progress_bytes("importing", file.metadata()?.len());
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut tally = Tally {
        out,
        good: 0,
        bad: 0,
    };
    let mut batch = Batch::new(mounted, collection, 0);
    let mut files: HashMap<PathBuf, (Mounted, u64)> = HashMap::new();
    let mut line = String::new();
    for row in 0.. {
        line.clear();
        let read = reader
            .read_line(&mut line)
            .with_context(|| format!("cannot read {}", rows.display()))?;
        let end = read == 0;
        if !end && !line.trim().is_empty() {
            if let Err(e) = add_row(row, &line, mounted, &mut files, &mut batch) {
                tally.refuse(row, &format!("{e:#}"));
            }
        }
        if end || batch.is_full() || files.len() >= FILES {
            let sent = batch.len();
            tally.add(sent, batch.send()?);
            for (path, (file, _)) in files.drain() {
                file.file()
                    .sync_all()
                    .with_context(|| format!("cannot make {} durable", path.display()))?;
            }
        }
        bar.inc(read as u64);
        if end {
            break;
        }
    }
    bar.finish_and_clear();
    tally.finish(collection)
}

fn add_row(
    row: u64,
    line: &str,
    mounted: &Mounted,
    files: &mut HashMap<PathBuf, (Mounted, u64)>,
    batch: &mut Batch<'_>,
) -> Result<()> {
    let parsed: Row =
        serde_json::from_str(line).context("not a row {\"path\":..,\"key\":..,\"vector\":[..]}")?;
    // A null is what many programs write for a NaN: the kernel refuses it as one.
    let vector: Vec<f32> = parsed
        .vector
        .iter()
        .map(|x| x.map_or(f32::NAN, |x| x as f32))
        .collect();
    if !files.contains_key(&parsed.path) {
        let path = mounted.path().join(&parsed.path);
        let file = Mounted::open(&path)?;
        let version = file.mark()?.version;
        files.insert(parsed.path.clone(), (file, version));
    }
    let Some((file, version)) = files.get(&parsed.path) else {
        bail!("no file")
    };
    let place = Place {
        fd: file.file().as_raw_fd(),
        off: parsed.offset,
        len: parsed.length,
        version: *version,
    };
    batch.add(row, parsed.key.unwrap_or(row), place, &vector);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::line_ranges;

    #[test]
    fn lines_are_ranges_without_their_newlines() {
        let ranges = |text: &str| line_ranges(&mut text.as_bytes()).unwrap();
        assert_eq!(ranges("ab\nc\n\nd"), [(0, 2), (3, 1), (5, 0), (6, 1)]);
        assert_eq!(ranges("ab\n"), [(0, 2)]);
        assert_eq!(ranges(""), []);
        assert_eq!(ranges("\nx\n"), [(0, 1), (1, 1)], "not the whole file");
    }
}
