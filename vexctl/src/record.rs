// SPDX-License-Identifier: GPL-2.0
//! `vexctl put`, `get`, `delete`: single vectors.

use crate::abi::vector as abi;
use crate::error::{not_found, usage, HintExt};
use crate::exit::Exit;
use crate::mounted::{explain_item, Collection, Mounted, Paths};
use crate::output::Output;
use crate::vectors_io::parse_vector;
use anyhow::{anyhow, Context, Result};
use nix::errno::Errno;
use serde::Serialize;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct PutArgs {
    /// The file that the vector describes
    file: PathBuf,
    /// The collection's name
    #[arg(long)]
    collection: String,
    /// The record's key, unique in the collection
    #[arg(long)]
    key: u64,
    /// The vector: '[0.1, -0.2, ...]'
    #[arg(long, allow_hyphen_values = true)]
    vector: String,
    /// First byte that the vector describes
    #[arg(long, default_value_t = 0, requires = "length")]
    offset: u64,
    /// Bytes that the vector describes (with offset 0, 0 means the whole file)
    #[arg(long, default_value_t = 0)]
    length: u64,
    /// Fail if the key is there already
    #[arg(long)]
    new: bool,
}

#[derive(clap::Args)]
pub struct GetArgs {
    /// A file, or any path on the file system
    path: PathBuf,
    /// The collection's name
    #[arg(long)]
    collection: String,
    /// The record with this key, with its vector; otherwise the records of the file, or all if PATH is a directory
    #[arg(long)]
    key: Option<u64>,
}

#[derive(clap::Args)]
pub struct DeleteArgs {
    /// A file, or any path on the file system
    path: PathBuf,
    /// The collection's name
    #[arg(long)]
    collection: String,
    /// Keys of the records to delete
    #[arg(long, value_delimiter = ',', required_unless_present = "all")]
    key: Vec<u64>,
    /// Delete all records of the file PATH
    #[arg(long, conflicts_with = "key")]
    all: bool,
}

/// A record in JSON.
#[derive(Serialize)]
struct Shown {
    key: u64,
    path: Option<String>,
    offset: u64,
    length: u64,
    version: u64,
    stale: bool,
    offline: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<Vec<f32>>,
}

impl Shown {
    fn new(record: &abi::Record, path: Option<PathBuf>, vector: Option<Vec<f32>>) -> Shown {
        Shown {
            key: record.key,
            path: path.map(|p| p.to_string_lossy().into_owned()),
            offset: record.off,
            length: record.len,
            version: record.version,
            stale: record.flags & abi::RECORD_STALE != 0,
            offline: record.flags & abi::RECORD_OFFLINE != 0,
            vector,
        }
    }

    fn line(&self) -> String {
        let range = match (self.offset, self.length) {
            (0, 0) => "whole file".to_owned(),
            (offset, length) => format!("bytes {offset}+{length}"),
        };
        let mut line = format!(
            "{:>20}  {}  {range}",
            self.key,
            self.path.as_deref().unwrap_or("?")
        );
        if self.stale {
            line.push_str("  stale");
        }
        if self.offline {
            line.push_str("  offline");
        }
        if let Some(vector) = &self.vector {
            line.push_str(&format!("\n{vector:?}"));
        }
        line
    }
}

pub fn put(args: PutArgs, out: &Output) -> Result<Exit> {
    let mounted = Mounted::open(&args.file)?;
    if !mounted.file().metadata()?.is_file() {
        return Err(usage(format!(
            "{} is not a regular file",
            args.file.display()
        )));
    }
    let collection = mounted.collection(&args.collection)?;
    let vector = parse_vector(&args.vector)?;
    collection.check_dim(vector.len(), "the vector")?;
    let mut item = [abi::PutItem {
        key: args.key,
        vector: vector.as_ptr() as u64,
        vector_len: (vector.len() * 4) as u32,
        fd: -1,
        off: args.offset,
        len: args.length,
        ..Default::default()
    }];
    let flags = abi::PUT_SYNC | if args.new { abi::PUT_NEW } else { 0 };
    mounted.put(&collection, &mut item, flags).context("put")?;
    if item[0].status != 0 {
        let e = Errno::from_raw(-item[0].status);
        return Err(anyhow::Error::from(e).context(format!(
            "cannot put key {}: {}",
            args.key,
            explain_item(item[0].status)
        )));
    }
    if !out.json() {
        out.note(&format!("put key {} on {}", args.key, args.file.display()));
    } else {
        out.line(&serde_json::json!({ "key": args.key, "path": args.file }).to_string())?;
    }
    Ok(Exit::Ok)
}

pub fn get(args: GetArgs, out: &Output) -> Result<Exit> {
    let mounted = Mounted::open(&args.path)?;
    let collection = mounted.collection(&args.collection)?;
    let mut paths = Paths::new(&mounted)?;
    if let Some(key) = args.key {
        let (record, vector) = match mounted.get(&collection, key) {
            Ok(found) => found,
            Err(Errno::ENOENT) => {
                return Err(not_found(format!(
                    "collection {} has no key {key} that you may read",
                    collection.name
                )))
            }
            Err(e) => return Err(e).with_context(|| format!("cannot get key {key}")),
        };
        let path = paths.of(&record)?;
        out.result(&Shown::new(&record, path, Some(vector)), Shown::line)?;
        return Ok(Exit::Ok);
    }
    let owned = mounted.file().metadata()?.is_file();
    mounted.list(&collection, owned, |record| {
        let path = paths.of(record)?;
        out.result(&Shown::new(record, path, None), Shown::line)
    })?;
    Ok(Exit::Ok)
}

pub fn delete(args: DeleteArgs, out: &Output) -> Result<Exit> {
    let mounted = Mounted::open(&args.path)?;
    let collection = mounted.collection(&args.collection)?;
    if args.all {
        if !mounted.file().metadata()?.is_file() {
            return Err(usage(
                "--all deletes the records of one file: PATH must be that file",
            ))
            .hint(format!(
                "to delete everything: vexctl collection drop {} {}",
                args.path.display(),
                args.collection
            ));
        }
        let n = mounted
            .delete_owned(&collection)
            .context("cannot delete the file's records")?;
        report(out, n)?;
        return Ok(if n == 0 { Exit::NotFound } else { Exit::Ok });
    }
    let status = mounted
        .delete(&collection, &args.key)
        .context("cannot delete")?;
    for (key, &status) in args.key.iter().zip(&status).filter(|(_, &s)| s != 0) {
        out.warn(&format!("key {key}: {}", explain_item(status)));
    }
    let deleted = status.iter().filter(|&&s| s == 0).count();
    report(out, deleted as u64)?;
    Ok(match deleted {
        n if n == status.len() => Exit::Ok,
        0 if status.iter().all(|&s| s == -(Errno::ENOENT as i32)) => Exit::NotFound,
        0 => Exit::Failed,
        _ => Exit::Partial,
    })
}

fn report(out: &Output, deleted: u64) -> Result<()> {
    out.result(&serde_json::json!({ "deleted": deleted }), |_| {
        format!("deleted {deleted}")
    })
}

/// A batch of records on its way to the kernel. Vectors and files stay alive until it is sent.
pub struct Batch<'a> {
    mounted: &'a Mounted,
    collection: &'a Collection,
    flags: u32,
    vectors: Vec<f32>,
    items: Vec<abi::PutItem>,
    /// What the caller calls each item.
    names: Vec<u64>,
    room: usize,
}

/// Where a vector belongs: which bytes of which content.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// Descriptor of the owner; -1: the batch's own.
    pub fd: i32,
    pub off: u64,
    pub len: u64,
    pub version: u64,
}

impl<'a> Batch<'a> {
    /// An empty batch of as many items as go into one call.
    pub fn new(mounted: &'a Mounted, collection: &'a Collection, flags: u32) -> Batch<'a> {
        let bytes = collection.dim() * 4;
        // A quarter of the limit keeps the steps of a progress bar small.
        let room = (abi::MAX_PUT_BYTES / 4 / bytes.max(1)).clamp(1, abi::MAX_PUT);
        Batch {
            mounted,
            collection,
            flags,
            vectors: Vec::new(),
            items: Vec::new(),
            names: Vec::new(),
            room,
        }
    }

    /// Adds a vector; `name` comes back if it is refused.
    pub fn add(&mut self, name: u64, key: u64, place: Place, vector: &[f32]) {
        self.vectors.extend_from_slice(vector);
        self.items.push(abi::PutItem {
            key,
            vector_len: (vector.len() * 4) as u32,
            fd: place.fd,
            off: place.off,
            len: place.len,
            version: place.version,
            ..Default::default()
        });
        self.names.push(name);
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_full(&self) -> bool {
        self.items.len() >= self.room
    }

    /// Sends what there is, and returns name and status of each item that was refused.
    pub fn send(&mut self) -> Result<Vec<(u64, i32)>> {
        if self.items.is_empty() {
            return Ok(Vec::new());
        }
        let mut at = self.vectors.as_ptr() as u64;
        for item in &mut self.items {
            item.vector = at;
            at += u64::from(item.vector_len);
        }
        match self
            .mounted
            .put(self.collection, &mut self.items, self.flags)
        {
            Ok(_) => {}
            Err(Errno::ENOENT) => {
                return Err(anyhow!(
                    "collection {} was dropped meanwhile",
                    self.collection.name
                ))
            }
            Err(e) => return Err(e).context("the kernel refused the whole batch"),
        }
        let bad = self
            .items
            .iter()
            .zip(&self.names)
            .filter(|(i, _)| i.status != 0)
            .map(|(i, &n)| (n, i.status))
            .collect();
        self.items.clear();
        self.names.clear();
        self.vectors.clear();
        Ok(bad)
    }
}
