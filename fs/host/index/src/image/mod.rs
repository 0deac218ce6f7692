// SPDX-License-Identifier: GPL-2.0

//! Collections and their indexes in an image file or a device that is not mounted: what the module
//! does, on a host. One thread.
//!
//! ```no_run
//! # use vexfs_index::image::{Image, Indexed};
//! # use vexfs::libvexfs::vector::{Element, Metric, index::Params};
//! # fn main() -> kernel::error::Result<()> {
//! # let (path, vectors): (&std::path::Path, Vec<Vec<u8>>) = unimplemented!();
//! let image = Image::open_file(path)?; // made by mkfs.vexfs
//! let collection = image.create_collection(b"docs", 100, Element::F32, Metric::Cosine)?;
//! let keys = (0..).zip(vectors.iter().map(|v| &v[..]));
//! image.put(&collection, &keys.collect::<Vec<_>>())?;
//! let mut index = Indexed::create(&image, &collection, Params::default(), 7)?;
//! index.build(&mut |_, _| ())?; // and a checkpoint
//! let hits = index.search(&vectors[0], 64, 10)?; // (slot, key of the distance), best first
//! # drop(hits);
//! image.close()
//! # }
//! ```

mod file;
mod indexed;
mod pages;

pub use indexed::{Answer, Indexed, Recovered};
pub use pages::ImagePages;

use crate::encode;
use kernel::prelude::*;
use std::fs::OpenOptions;
use std::path::Path;
use vexfs::disk::FileDisk;
use vexfs::file_store::{FileStore, FileTrans};
use vexfs::libvexfs::credits;
use vexfs::libvexfs::format::inode::S_IFREG;
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::{Store, Trans};
use vexfs::libvexfs::namespace::NewInode;
use vexfs::libvexfs::vector::collection::NewCollection;
use vexfs::libvexfs::vector::record::{Publish, BASE_CREDITS, DROP_CREDITS, PUT_CREDITS};
use vexfs::libvexfs::vector::stale::EMBED_CREDITS;
use vexfs::libvexfs::vector::{Collection, Element, Metric, Record};
use vexfs::libvexfs::{Fs, Inode, Time};
use vexfs::volume;

/// The file that all records describe.
const OWNER: &[u8] = b"vectors";

/// An image with a file system in it.
pub struct Image<D: Disk> {
    /// The file system.
    pub fs: Fs<FileStore<D>>,
}

impl Image<FileDisk> {
    /// Opens an image file or a device for writing, after a replay if one is due.
    ///
    /// # Errors
    ///
    /// What the operating system says, and as [`volume::open`].
    pub fn open_file(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Image::open(FileDisk::new(file)?)
    }
}

impl<D: Disk> Image<D> {
    /// Opens the file system on a disk, after a replay if one is due.
    ///
    /// # Errors
    ///
    /// As [`volume::open`].
    pub fn open(disk: D) -> Result<Self> {
        let image = Image {
            fs: volume::open(disk)?,
        };
        // What a mount does: transactions of earlier ones are all durable.
        image.change(credits::SUPERBLOCK, |fs, t| {
            fs.update_superblock(t, |sb| sb.mount_count = sb.mount_count.wrapping_add(1))
        })?;
        Ok(image)
    }

    /// Makes everything durable and leaves the file system as an unmount does.
    ///
    /// # Errors
    ///
    /// What the disk returns.
    pub fn close(&self) -> Result {
        volume::close(&self.fs)
    }

    /// Makes everything durable.
    ///
    /// # Errors
    ///
    /// What the disk returns.
    pub fn commit(&self) -> Result {
        self.fs.store.commit()
    }

    /// One transaction. Without space it is tried again when freed blocks may be used.
    pub(crate) fn change<R>(
        &self,
        credits: usize,
        mut f: impl FnMut(&Fs<FileStore<D>>, &mut FileTrans<D>) -> Result<R>,
    ) -> Result<R> {
        for again in [true, false] {
            let mut t = self.fs.store.begin(credits)?;
            match f(&self.fs, &mut t) {
                Ok(r) => {
                    t.stop()?;
                    return Ok(r);
                }
                Err(e) => {
                    drop(t);
                    if !(again && e == ENOSPC && self.fs.settle()?) {
                        return Err(e);
                    }
                }
            }
        }
        Err(ENOSPC)
    }

    /// The collection with this name.
    ///
    /// # Errors
    ///
    /// `ENOENT`, and what the disk returns.
    pub fn collection(&self, name: &[u8]) -> Result<Collection> {
        let system = self.fs.read_inode(self.fs.sb.system_ino)?;
        self.fs.collection_named(&system, name)?.ok_or(ENOENT)
    }

    /// Makes a collection.
    ///
    /// # Errors
    ///
    /// As [`Fs::create_collection`].
    pub fn create_collection(
        &self,
        name: &[u8],
        dim: u32,
        element: Element,
        metric: Metric,
    ) -> Result<Collection> {
        let mut system = self.fs.read_inode(self.fs.sb.system_ino)?;
        let new = NewCollection {
            name,
            model: b"",
            dim,
            element,
            metric,
            uid: 0,
            now: Time::now(),
        };
        let credits = Fs::<FileStore<D>>::CREATE_COLLECTION;
        let made = self.change(credits, |fs, t| fs.create_collection(t, &mut system, &new))?;
        Ok(made.0)
    }

    /// The file that all records describe.
    fn owner(&self, collection: &Collection) -> Result<Inode> {
        let mut root = self.fs.read_inode(self.fs.sb.root_ino)?;
        let mut owner = match self.fs.lookup(&root, OWNER)? {
            Some(entry) => self.fs.read_inode(entry.ino)?,
            None => {
                let new = NewInode {
                    mode: S_IFREG | 0o644,
                    now: Time::now(),
                    ..NewInode::default()
                };
                self.fs.quota_open(&new.owners())?;
                self.change(credits::CREATE, |fs, t| {
                    fs.create(t, &mut root, OWNER, &new)
                })?
            }
        };
        let version = self.change(credits::INODE, |fs, t| fs.mark(t, &mut owner))?;
        self.change(EMBED_CREDITS, |fs, t| {
            fs.embed_into(t, &mut owner, collection.id, version)
        })?;
        Ok(owner)
    }

    /// Puts vectors, f32 in little endian, under keys; records of the same keys go. All vectors of a
    /// call are written, then published in transactions of some each.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a vector that the collection does not take, with nothing done; `ENOSPC`, `EIO`:
    /// the first few are published, perhaps.
    pub fn put(&self, collection: &Collection, items: &[(u64, &[u8])]) -> Result {
        let stride = collection.stride() as usize;
        let mut stored = vec![0; stride * items.len()];
        for ((_, vector), to) in items.iter().zip(stored.chunks_exact_mut(stride)) {
            encode(vector, collection.element, collection.metric, to)?;
        }
        let owner = self.owner(collection)?;
        let mut slots = KVec::new();
        let inode = self.fs.read_inode(collection.ino)?;
        self.fs.free_slots(&inode, items.len(), &mut slots)?;
        let mut run = 0;
        for at in 1..=slots.len() {
            if at < slots.len() && slots[at] == slots[at - 1] + 1 {
                continue;
            }
            let bytes = &stored[run * stride..at * stride];
            self.write(collection.ino, collection.offset(slots[run]), bytes)?;
            run = at;
        }
        let mut publish = Vec::new();
        for ((slot, (key, _)), bytes) in slots.iter().zip(items).zip(stored.chunks_exact(stride)) {
            let record = Record {
                key: *key,
                ino: owner.ino,
                generation: owner.generation,
                version: owner.data_version,
                crc: vexfs::crc32c::crc32c(!0, bytes),
                ..Record::default()
            };
            publish.push(Publish {
                slot: *slot,
                record,
            });
        }
        let mut inode = self.fs.read_inode(collection.ino)?;
        let mut rest = &publish[..];
        while !rest.is_empty() {
            let done = self.change(BASE_CREDITS + PUT_CREDITS, |fs, t| {
                fs.publish_step(t, &mut inode, rest)
            })?;
            rest = &rest[done..];
        }
        Ok(())
    }

    /// Removes the records with these keys; returns how many there were.
    ///
    /// # Errors
    ///
    /// What the disk returns; the first few are gone, perhaps.
    pub fn delete(&self, collection: &Collection, keys: &[u64]) -> Result<usize> {
        let mut inode = self.fs.read_inode(collection.ino)?;
        let mut slots = Vec::new();
        for key in keys {
            slots.extend(self.fs.slot_of_key(&inode, *key)?);
        }
        let mut rest = &slots[..];
        while !rest.is_empty() {
            let done = self.change(BASE_CREDITS + DROP_CREDITS, |fs, t| {
                fs.remove_step(t, &mut inode, rest)
            })?;
            rest = &rest[done..];
        }
        Ok(slots.len())
    }

    /// The slot of the record with this key.
    ///
    /// # Errors
    ///
    /// What the disk returns.
    pub fn slot(&self, collection: &Collection, key: u64) -> Result<Option<u32>> {
        let inode = self.fs.read_inode(collection.ino)?;
        self.fs.slot_of_key(&inode, key)
    }
}
