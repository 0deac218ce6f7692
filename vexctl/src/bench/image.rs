// SPDX-License-Identifier: GPL-2.0
//! The index in a file system in an image, without a kernel: what is written is what a mount would find.

use super::engine::{errno, kind, params, Engine};
use super::sets::Vectors;
use super::AnnArgs;
use crate::device::{self, Access};
use crate::error::HintExt;
use anyhow::{anyhow, bail, Context, Result};
use kernel::error::code::ENOENT;
use std::fs::OpenOptions;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use vexfs::disk::FileDisk;
use vexfs::libvexfs::format::Time;
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::mkfs::{self, Options};
use vexfs::libvexfs::vector::Collection;
use vexfs_index::image::{Image, Indexed};
use zerocopy::IntoBytes;

/// Vectors of one call.
const BATCH: usize = 1000;
/// Where the rotation of a new index comes from: figures are to be the same each time.
pub const SEED: u64 = 0x5eed;
/// Space for the journal, and for what a file system has beside nodes and vectors.
const SPARE: u64 = 256 << 20;

/// Opens an image, or makes one in which these vectors have room.
pub fn open(path: &Path, base: &Vectors) -> Result<Image<FileDisk>> {
    let new = !path.exists();
    if new {
        let node = (base.dim as u64 * 8 + 4096).next_multiple_of(4096);
        let bytes = (base.len() as u64 * node * 5 / 4 + SPARE).next_multiple_of(1 << 20);
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        file.and_then(|file| file.set_len(bytes))
            .with_context(|| format!("cannot make {}", path.display()))?;
    }
    let disk = device::open(path, Access::WriteAlone)?;
    if new {
        format(&disk)
            .with_context(|| format!("cannot make a file system in {}", path.display()))?;
    }
    Image::open(disk)
        .map_err(errno)
        .with_context(|| format!("cannot open the file system in {}", path.display()))
}

fn format(disk: &FileDisk) -> Result<()> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let options = Options {
        label: [0; 64],
        uuid: device::new_uuid()?,
        csum_seed: u32::from_le_bytes(device::random()?),
        hash_key: device::random()?,
        staging_epoch: device::random()?,
        group_blocks: None,
        journal_blocks: None,
        quota: false,
        now: Time {
            sec: now.as_secs() as i64,
            nsec: now.subsec_nanos(),
        },
    };
    let blocks = disk.block_count().min(mkfs::MAX_BLOCKS);
    let sb = mkfs::layout(blocks, &options).map_err(|why| anyhow!("{why}"))?;
    vexfs::volume::format(disk, &sb, &options).map_err(errno)?;
    Ok(())
}

/// A collection in an image.
pub struct InImage<'a> {
    image: &'a Image<FileDisk>,
    collection: Collection,
    indexed: Option<Indexed<'a, FileDisk>>,
    args: &'a AnnArgs,
    /// The row of each slot.
    rows: Vec<u64>,
}

impl<'a> InImage<'a> {
    /// The collection with these vectors: the one that is there, or a new one.
    pub fn new(image: &'a Image<FileDisk>, args: &'a AnnArgs, base: &Vectors) -> Result<Self> {
        let (element, metric) = kind(args)?;
        let name = args.collection.as_bytes();
        let collection = match image.collection(name) {
            Ok(there) => {
                if (there.dim as usize, there.element, there.metric) != (base.dim, element, metric)
                {
                    return Err(anyhow!("collection {} has other vectors", args.collection))
                        .hint("name another one with --collection, or another image");
                }
                there
            }
            Err(ENOENT) => {
                let dim = base.dim as u32;
                let new = image.create_collection(name, dim, element, metric);
                let new = new.map_err(errno).context("cannot make a collection")?;
                put(image, &new, base)?;
                new
            }
            Err(e) => return Err(errno(e)),
        };
        let mut rows = Vec::new();
        for row in 0..base.len() as u64 {
            let slot = image.slot(&collection, row).map_err(errno)?;
            let Some(slot) = slot else {
                bail!("collection {} has no record for row {row}", args.collection);
            };
            let slot = slot as usize;
            if slot >= rows.len() {
                rows.resize(slot + 1, u64::MAX);
            }
            rows[slot] = row;
        }
        Ok(InImage {
            image,
            collection,
            indexed: None,
            args,
            rows,
        })
    }

    fn index(&mut self) -> Result<&mut Indexed<'a, FileDisk>> {
        self.indexed.as_mut().context("there is no index")
    }
}

fn put(image: &Image<FileDisk>, collection: &Collection, base: &Vectors) -> Result<()> {
    let mut items = Vec::with_capacity(BATCH);
    for (row, vector) in base.rows().enumerate() {
        items.push((row as u64, vector.as_bytes()));
        if items.len() == BATCH || row + 1 == base.len() {
            image
                .put(collection, &items)
                .map_err(errno)
                .with_context(|| format!("cannot put the vectors up to row {row}"))?;
            items.clear();
        }
    }
    image.commit().map_err(errno)
}

impl Engine for InImage<'_> {
    fn build(&mut self, _: &Vectors, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let mut indexed = match Indexed::open(self.image, &self.collection) {
            Ok(mut there) => {
                there.recover().map_err(errno)?;
                there
            }
            Err(ENOENT) => {
                let params = params(self.args);
                Indexed::create(self.image, &self.collection, params, SEED).map_err(errno)?
            }
            Err(e) => return Err(errno(e)),
        };
        indexed.build(progress).map_err(errno)?;
        self.indexed = Some(indexed);
        Ok(())
    }

    fn index_bytes(&self) -> u64 {
        self.indexed.as_ref().map_or(0, Indexed::bytes)
    }

    fn pinned_bytes(&self) -> u64 {
        let entries = self.indexed.as_ref();
        entries.map_or(0, |indexed| {
            size_of_val(&indexed.driver.graph.entries) as u64
        })
    }

    fn search(
        &mut self,
        query: &[f32],
        ef: usize,
        k: usize,
        found: &mut Vec<u64>,
    ) -> Result<usize> {
        let answer = self
            .index()?
            .search(query.as_bytes(), ef, k)
            .map_err(errno)?;
        found.clear();
        let rows = answer.hits.iter().map(|hit| self.rows.get(hit.0 as usize));
        found.extend(rows.map(|row| row.copied().unwrap_or(u64::MAX)));
        Ok(answer.found.expanded)
    }
}
