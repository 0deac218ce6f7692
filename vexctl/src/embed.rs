// SPDX-License-Identifier: GPL-2.0
//! `vexctl embed`: vectors of the words in files.
//!
//! A file whose vectors are there and describe its content as it is, is left alone. The version of the content is taken
//! before it is read, so that whatever is written meanwhile makes the vectors stale rather than wrong.

use crate::abi::vector as abi;
use crate::embedder::{self, Embedder};
use crate::error::{usage, HintExt};
use crate::exit::Exit;
use crate::mounted::{explain_item, Collection, Mounted};
use crate::output::Output;
use crate::record::{Batch, Place};
use crate::text;
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::HashSet;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Files, or directories with all below them
    #[arg(required_unless_present = "convert")]
    paths: Vec<PathBuf>,
    /// The collection's name
    #[arg(
        long,
        required_unless_present = "convert",
        default_value_if("convert", clap::builder::ArgPredicate::IsPresent, "")
    )]
    collection: Option<String>,
    /// An embedder of your own: text on its stdin, a JSON array of numbers on its stdout
    #[arg(long, value_name = "CMD")]
    command: Option<String>,
    /// A vector for each piece of about this many bytes, rather than one for each file
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(64..))]
    chunk: Option<u32>,
    /// Only list the files whose vectors are missing or stale
    #[arg(long)]
    list: bool,
    /// Embed again what is up to date
    #[arg(long)]
    force: bool,
    /// Make the built-in embedder's file from the npm package's JSON file
    #[arg(long, num_args = 2, value_names = ["JSON", "FILE"], hide = true, conflicts_with = "paths")]
    convert: Option<Vec<PathBuf>>,
}

/// What became of a file, or should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Missing,
    Stale,
    Current,
    Embedded,
    /// Not a text, or none of its words is known.
    Skipped,
}

#[derive(Serialize)]
struct Report {
    path: String,
    state: State,
}

pub fn run(args: Args, out: &Output) -> Result<Exit> {
    if let Some([json, to]) = args.convert.as_deref() {
        let words = embedder::convert(json, to)?;
        out.note(&format!("{}: {words} words", to.display()));
        return Ok(Exit::Ok);
    }
    let name = args.collection.as_deref().unwrap_or_default();
    let first = args
        .paths
        .first()
        .ok_or_else(|| usage("no path to embed"))?;
    let mounted = Mounted::open(first)?;
    let collection = mounted.collection(name)?;
    let embedder = if args.list {
        None
    } else {
        Some(Embedder::new(args.command.as_deref(), &collection)?)
    };
    warn_of_models(&args, &collection, out);

    let mut files = Vec::new();
    for path in &args.paths {
        walk(path, mounted.file().metadata()?.dev(), &mut files)?;
    }
    let bar = out.progress("embedding", files.len() as u64);
    let mut work = Work {
        args: &args,
        out,
        collection: &collection,
        counts: [0; 5],
        failed: 0,
    };
    for group in files.chunks(GROUP) {
        work.group(&mounted, group, embedder.as_ref())?;
        bar.inc(group.len() as u64);
    }
    bar.finish_and_clear();
    if !args.list {
        // One flush for all of them.
        mounted
            .file()
            .sync_all()
            .context("cannot make the vectors durable")?;
        work.summary()?;
    }
    Ok(match work.failed {
        0 => Exit::Ok,
        n if n == files.len() => Exit::Failed,
        _ => Exit::Partial,
    })
}

/// Files that are open, and in a batch, at once.
const GROUP: usize = 64;

struct Work<'a> {
    args: &'a Args,
    out: &'a Output,
    collection: &'a Collection,
    counts: [usize; 5],
    failed: usize,
}

impl Work<'_> {
    fn group(
        &mut self,
        mounted: &Mounted,
        paths: &[PathBuf],
        embedder: Option<&Embedder>,
    ) -> Result<()> {
        let mut batch = Batch::new(mounted, self.collection, 0);
        let mut open = Vec::new();
        for path in paths {
            match self.file(path, embedder, &mut batch, open.len()) {
                Ok((State::Embedded, file, surplus)) => {
                    open.extend(file.map(|f| (f, surplus, true)))
                }
                Ok((state, ..)) => self.report(path, state)?,
                Err(e) => self.fail(path, &format!("{e:#}")),
            }
            if batch.is_full() {
                self.send(&mut batch, &mut open)?;
            }
        }
        self.send(&mut batch, &mut open)
    }

    /// Sends the batch; the names of its items are indices into `open`.
    fn send(
        &mut self,
        batch: &mut Batch<'_>,
        open: &mut Vec<(Mounted, Vec<u64>, bool)>,
    ) -> Result<()> {
        for (i, status) in batch.send()? {
            if let Some((file, _, good)) = open.get_mut(i as usize).filter(|o| o.2) {
                *good = false;
                let path = file.path().to_owned();
                self.fail(&path, &explain_item(status));
            }
        }
        for (file, surplus, _) in open.drain(..).filter(|o| o.2) {
            if !surplus.is_empty() {
                file.delete(self.collection, &surplus).with_context(|| {
                    format!("cannot delete old vectors of {}", file.path().display())
                })?;
            }
            self.report(file.path(), State::Embedded)?;
        }
        Ok(())
    }

    /// Looks at one file and puts its vectors into the batch. Gives the keys of records that will be in excess.
    fn file(
        &self,
        path: &Path,
        embedder: Option<&Embedder>,
        batch: &mut Batch<'_>,
        name: usize,
    ) -> Result<(State, Option<Mounted>, Vec<u64>)> {
        let file =
            std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let file = Mounted::of(file, path);
        let mut old = Vec::new();
        let mut stale = false;
        file.list(self.collection, true, |record| {
            old.push(record.key);
            stale |= record.flags & abi::RECORD_STALE != 0;
            Ok(())
        })?;
        let state = match (old.is_empty(), stale) {
            (true, _) => State::Missing,
            (false, true) => State::Stale,
            (false, false) => State::Current,
        };
        let Some(embedder) = embedder else {
            return Ok((state, None, old));
        };
        if state == State::Current && !self.args.force {
            return Ok((state, None, old));
        }
        let mark = file.mark()?;
        let mut new = HashSet::new();
        for (i, piece) in text::read(path, self.args.chunk.map(|c| c as usize))?
            .iter()
            .enumerate()
        {
            let Some(vector) = embedder.embed(&piece.text)? else {
                continue;
            };
            self.collection
                .check_dim(vector.len(), "what the embedder makes")?;
            let key = key(mark.ino, mark.generation, i as u64);
            let range = piece.range.clone().unwrap_or(0..0);
            let place = Place {
                fd: file.file().as_raw_fd(),
                off: range.start,
                len: range.end - range.start,
                version: mark.version,
            };
            batch.add(name as u64, key, place, &vector);
            new.insert(key);
        }
        old.retain(|key| !new.contains(key));
        if new.is_empty() {
            return Ok((State::Skipped, None, old));
        }
        Ok((State::Embedded, Some(file), old))
    }

    fn report(&mut self, path: &Path, state: State) -> Result<()> {
        self.counts[state as usize] += 1;
        let wanted = if self.args.list {
            matches!(state, State::Missing | State::Stale)
        } else {
            self.out.json()
        };
        if wanted {
            let report = Report {
                path: path.to_string_lossy().into_owned(),
                state,
            };
            self.out.result(&report, |r| {
                format!("{:<8} {}", format!("{:?}", r.state).to_lowercase(), r.path)
            })?;
        }
        Ok(())
    }

    fn fail(&mut self, path: &Path, why: &str) {
        self.failed += 1;
        self.out.warn(&format!("{}: {why}", path.display()));
    }

    fn summary(&self) -> Result<()> {
        if self.out.json() {
            return Ok(());
        }
        let [_, _, current, embedded, skipped] = self.counts;
        let mut line = format!("embedded {embedded} files into {}", self.collection.name);
        for (n, what) in [
            (current, "were up to date"),
            (skipped, "have no text"),
            (self.failed, "failed"),
        ] {
            if n > 0 {
                line.push_str(&format!(", {n} {what}"));
            }
        }
        self.out.line(&line)
    }
}

/// Vectors of different models cannot be compared: say so before they are mixed.
fn warn_of_models(args: &Args, collection: &Collection, out: &Output) {
    let built_in = collection.model == embedder::MODEL;
    if !args.list && !collection.model.is_empty() && built_in == args.command.is_some() {
        out.warn(&format!(
            "collection {} says that its vectors come from: {}",
            collection.name, collection.model
        ));
    }
}

/// The key of a file's vector: the same each time the file is embedded.
fn key(ino: u64, generation: u32, piece: u64) -> u64 {
    let mut z =
        ino ^ u64::from(generation).rotate_left(32) ^ piece.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        z = (z ^ (z >> 30)).wrapping_mul(factor);
    }
    z ^ (z >> 31)
}

/// The regular files at and below a path, in the order of their names, on this device only.
fn walk(path: &Path, device: u64, files: &mut Vec<PathBuf>) -> Result<()> {
    let meta = path
        .symlink_metadata()
        .with_context(|| format!("cannot look at {}", path.display()))?;
    if meta.dev() != device {
        return Err(usage(format!(
            "{} is on another file system",
            path.display()
        )))
        .hint("give paths of one mount only");
    }
    if meta.is_file() {
        files.push(path.to_owned());
    } else if meta.is_dir() {
        let entries =
            std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut below = entries
            .map(|e| e.map(|e| e.path()))
            .collect::<std::io::Result<Vec<_>>>()?;
        below.sort_unstable();
        for path in below {
            // What lies on another mount below is left out.
            if path.symlink_metadata().is_ok_and(|m| m.dev() == device) {
                walk(&path, device, files)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn keys_are_stable_and_differ() {
        let keys: std::collections::HashSet<u64> = (0..100)
            .flat_map(|ino| (0..10).flat_map(move |g| (0..100).map(move |p| key(ino, g, p))))
            .collect();
        assert_eq!(keys.len(), 100_000);
        assert_eq!(key(257, 1, 0), key(257, 1, 0));
    }
}
