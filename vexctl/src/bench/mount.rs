// SPDX-License-Identifier: GPL-2.0
//! The index in the kernel, through the ioctls.

use super::engine::Engine;
use super::sets::Vectors;
use super::{AnnArgs, ElementType};
use crate::abi::{ioctl, vector as abi};
use crate::error::HintExt;
use crate::index;
use crate::mounted::{explain_item, Collection, Mounted};
use crate::record::{Batch, Place};
use crate::search::{ask, expr, program};
use crate::vectors_io::read_keys;
use anyhow::{anyhow, bail, Context, Result};
use nix::errno::Errno;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two looks at how far an index is refined.
const TICK: Duration = Duration::from_millis(50);

/// A collection on a mounted file system.
pub struct Mount {
    mounted: Mounted,
    collection: Collection,
    filter: Option<Filter>,
    /// The filter, if it was prepared; it is not sent then.
    prepared: Option<OwnedFd>,
    threads: usize,
    /// The row of each key.
    rows: HashMap<u64, u64>,
    one: Caller,
}

/// A filter as the kernel takes it.
struct Filter {
    insns: Vec<abi::FilterInsn>,
    data: Vec<u8>,
}

/// Room for the answers of a thread's calls.
#[derive(Default)]
struct Caller {
    hits: Vec<abi::Record>,
    counts: Vec<u32>,
}

impl Mount {
    /// The collection with these vectors: the one that is there, or a new one, whose records describe a file of the
    /// collection's name, a byte for each.
    pub fn new(dir: &Path, args: &AnnArgs, base: &Vectors) -> Result<Mount> {
        let keys = keys(args, base.len())?;
        let mounted = Mounted::open(dir)?;
        let element = match args.element {
            ElementType::F32 => abi::TYPE_F32,
            ElementType::F16 => abi::TYPE_F16,
            ElementType::Int8 => abi::TYPE_INT8,
            ElementType::Binary => abi::TYPE_BINARY,
        };
        let metric = args.metric.raw();
        let there = mounted.collections()?;
        let collection = match there.into_iter().find(|c| c.name == args.collection) {
            Some(there) => {
                let raw = &there.raw;
                let kind = (raw.dim as usize, raw.r#type, raw.metric, raw.records);
                if kind != (base.dim, element, metric, base.len() as u64) {
                    return Err(anyhow!("collection {} has other vectors", args.collection))
                        .hint("name another one with --collection");
                }
                there
            }
            None => {
                let dim = base.dim as u32;
                let new = mounted.create_collection(&args.collection, "", dim, element, metric)?;
                put(&mounted, &new, &dir.join(&args.collection), base, &keys)?;
                new
            }
        };
        let (mut filter, mut prepared) = (None, None);
        if let Some(text) = &args.filter {
            let program = program::compile(&expr::parse(text)?, &mounted)?;
            if args.prepared {
                let made = ask::prepare(&mounted, &program)?;
                prepared = Some(made.context("the kernel prepares no filters")?);
            } else {
                filter = Some(Filter {
                    insns: program.insns.iter().map(abi::FilterInsn::from).collect(),
                    data: program.data,
                });
            }
        }
        Ok(Mount {
            mounted,
            collection,
            filter,
            prepared,
            threads: args.threads as usize,
            rows: keys.into_iter().zip(0..).collect(),
            one: Caller::default(),
        })
    }

    fn stats(&self) -> abi::Index {
        index::call(&self.mounted, &self.collection, abi::INDEX_STATS, 0).0
    }

    /// One call with some queries; the answer is left in `caller`.
    fn call(
        &self,
        caller: &mut Caller,
        queries: &[f32],
        ef: usize,
        k: usize,
        explain: Option<&mut abi::Explain>,
    ) -> Result<()> {
        let count = queries.len() / self.collection.dim();
        caller.hits.resize(count * k, abi::Record::default());
        caller.counts.resize(count, 0);
        let filter = self
            .filter
            .as_ref()
            .map(|filter| abi::Filter::new(&filter.insns, &filter.data));
        let prepared = self.prepared.as_ref();
        let mut arg = abi::Search {
            flags: prepared.map_or(0, |_| abi::SEARCH_PREPARED),
            filter_fd: prepared.map_or(0, |fd| fd.as_raw_fd()),
            collection: self.collection.raw.id,
            dim: self.collection.raw.dim,
            queries: count as u32,
            k: k as u32,
            vectors: queries.as_ptr() as u64,
            hits: caller.hits.as_mut_ptr() as u64,
            counts: caller.counts.as_mut_ptr() as u64,
            hit_size: size_of::<abi::Record>() as u32,
            ef: ef as u32,
            filter: filter.as_ref().map_or(0, |f| std::ptr::from_ref(f) as u64),
            explain: explain.map_or(0, |explain| std::ptr::from_mut(explain) as u64),
            ..Default::default()
        };
        ioctl(&self.mounted, abi::IOC_SEARCH, &mut arg).context("cannot search")?;
        Ok(())
    }

    /// Gives each thread its part of the queries, with what belongs to them.
    fn split<T: Send>(
        &self,
        queries: &Vectors,
        each: &mut [T],
        work: impl Fn(&mut Caller, &[f32], &mut [T]) -> Result<()> + Sync,
    ) -> Result<()> {
        let part = queries.len().div_ceil(self.threads);
        std::thread::scope(|scope| {
            let threads: Vec<_> = queries
                .blocks(part)
                .zip(each.chunks_mut(part))
                .map(|(queries, each)| scope.spawn(|| work(&mut Caller::default(), queries, each)))
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread failed"))?)
        })
    }
}

/// The key of each row.
fn keys(args: &AnnArgs, rows: usize) -> Result<Vec<u64>> {
    let Some(path) = &args.keys else {
        return Ok((0..rows as u64).collect());
    };
    let mut keys = read_keys(path)?;
    if keys.len() < rows {
        bail!("{} has {} keys for {rows} rows", path.display(), keys.len());
    }
    keys.truncate(rows);
    Ok(keys)
}

fn put(
    mounted: &Mounted,
    collection: &Collection,
    owner: &Path,
    base: &Vectors,
    keys: &[u64],
) -> Result<()> {
    let what = || format!("cannot make {}", owner.display());
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = options.open(owner).with_context(what)?;
    file.set_len(base.len() as u64).with_context(what)?;
    let file = Mounted::of(file, owner);
    let version = file.mark()?.version;
    let mut batch = Batch::new(mounted, collection, 0);
    for (row, (vector, key)) in base.rows().zip(keys).enumerate() {
        let place = Place {
            fd: file.file().as_raw_fd(),
            off: row as u64,
            len: 1,
            version,
        };
        batch.add(row as u64, *key, place, vector);
        if batch.is_full() || row + 1 == base.len() {
            if let Some((row, status)) = batch.send()?.first() {
                bail!("row {row}: {}", explain_item(*status));
            }
        }
    }
    file.file().sync_all().with_context(what)
}

impl Engine for Mount {
    fn build(&mut self, _: &Vectors, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let (mounted, collection) = (&self.mounted, &self.collection);
        match index::call(mounted, collection, abi::INDEX_CREATE, 0).1 {
            None | Some(Errno::EEXIST) => {}
            Some(e) => return Err(e).context("cannot make an index"),
        }
        index::wait(mounted, collection, progress)?;
        loop {
            // It is of use before it is refined, but not as good.
            let raw = self.stats();
            progress(raw.built + raw.refined, 2 * raw.slots);
            match raw.state {
                abi::INDEX_STATE_READY if raw.refined >= raw.slots => return Ok(()),
                abi::INDEX_STATE_READY => std::thread::sleep(TICK),
                _ => bail!("the index was dropped meanwhile"),
            }
        }
    }

    fn index_bytes(&self) -> u64 {
        self.stats().bytes
    }

    fn pinned_bytes(&self) -> u64 {
        self.stats().pinned
    }

    fn search(
        &mut self,
        query: &[f32],
        ef: usize,
        k: usize,
        found: &mut Vec<u64>,
    ) -> Result<usize> {
        let mut one = std::mem::take(&mut self.one);
        let mut explain = abi::Explain::default();
        self.call(&mut one, query, ef, k, Some(&mut explain))?;
        found.clear();
        let hits = one.hits.iter().take(one.counts[0] as usize);
        found.extend(hits.filter_map(|hit| self.rows.get(&hit.key)));
        self.one = one;
        Ok(explain.pages as usize)
    }

    fn singles(
        &mut self,
        queries: &Vectors,
        ef: usize,
        k: usize,
        latencies: &mut [Vec<f64>],
    ) -> Result<()> {
        self.split(queries, latencies, |caller, queries, latencies| {
            let rows = queries.chunks_exact(self.collection.dim());
            // To ask for the time is a system call in User Mode Linux: where one ends the next begins.
            let mut begun = Instant::now();
            for (query, latencies) in rows.zip(latencies) {
                self.call(caller, query, ef, k, None)?;
                let ended = Instant::now();
                latencies.push((ended - begun).as_secs_f64() * 1e6);
                begun = ended;
            }
            Ok(())
        })
    }

    fn batch(&mut self, queries: &Vectors, ef: usize, k: usize) -> Result<()> {
        let at_once = (abi::MAX_HITS as usize / k).clamp(1, abi::MAX_QUERIES as usize);
        let mut none = vec![(); queries.len()];
        self.split(queries, &mut none, |caller, queries, _| {
            for queries in queries.chunks(at_once * self.collection.dim()) {
                self.call(caller, queries, ef, k, None)?;
            }
            Ok(())
        })
    }
}
