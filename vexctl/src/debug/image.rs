// SPDX-License-Identifier: GPL-2.0
//! A volume to be looked at, however damaged it is.

use crate::device::{self, Access};
use crate::error::HintExt;
use anyhow::{anyhow, bail, Context, Result};
use std::cell::RefCell;
use std::path::Path;
use vexfs::disk::FileDisk;
use vexfs::file_store::{sealed, FileStore};
use vexfs::libvexfs::format::superblock::{MAGIC, OFF_CSUM_SEED, OFF_MAGIC};
use vexfs::libvexfs::format::{le32, Superblock};
use vexfs::libvexfs::journal::host::{Disk, Replay};
use vexfs::libvexfs::journal::{BLOCK_SIZE, SEAL_SIZE};
use vexfs::volume;

/// The volume.
pub struct Image {
    disk: FileDisk,
    replay: Option<Replay>,
    sb: Option<Superblock>,
    /// What cannot be read or is wrong.
    problems: RefCell<Vec<String>>,
}

/// A block as it was found.
pub struct Raw {
    /// All of it.
    pub bytes: Box<[u8; BLOCK_SIZE]>,
    /// Its checksum is right. None: without a superblock nobody knows.
    pub sealed: Option<bool>,
}

impl Raw {
    /// What is behind the seal.
    pub fn body(&self) -> &[u8] {
        &self.bytes[SEAL_SIZE..]
    }
}

impl Image {
    /// Opens a volume. `from`: the block of the superblock to go by, otherwise the one that fits the volume best.
    /// `replay`: look through the journal, as a mount would.
    pub fn open(path: &Path, from: Option<u64>, replay: bool) -> Result<Image> {
        let disk = device::open(path, Access::Look)?;
        let mut image = Image {
            disk,
            replay: None,
            sb: None,
            problems: RefCell::default(),
        };
        let mounted = device::is_mounted(path)?;
        if mounted {
            image.problem("it is mounted: what is shown may be half of a change");
        }
        let found = match from {
            Some(bno) => {
                let sb = volume::superblock_at(&image.disk, bno)
                    .map_err(anyhow::Error::from)
                    .with_context(|| format!("no superblock to go by in block {bno}"))
                    .hint("vexctl debug IMAGE superblock --all lists what there is")?;
                Some((sb, bno))
            }
            None if mounted => volume::superblock_in_use(&image.disk)
                .ok()
                .map(|sb| (sb, 0)),
            None => volume::best_superblock(&image.disk).map(|best| (best.sb, best.from)),
        };
        let Some((sb, bno)) = found else {
            return Ok(image);
        };
        if bno != 0 && from.is_none() {
            image.problem(format!(
                "the superblock is damaged: this goes by the copy in block {bno}"
            ));
        }
        if sb.geometry.block_count > image.disk.block_count() {
            let (blocks, there) = (sb.geometry.block_count, image.disk.block_count());
            image.problem(format!(
                "the volume has {blocks} blocks, of which only {there} are there"
            ));
        }
        image.sb = Some(sb);
        if replay && !mounted {
            image.look_through_journal(bno == 0);
        }
        Ok(image)
    }

    /// Reads the journal. `renew`: the superblock may have a newer copy in it.
    fn look_through_journal(&mut self, renew: bool) {
        let Some(region) = self.sb.as_ref().map(volume::region) else {
            return;
        };
        match region.and_then(|region| Replay::open(&self.disk, region)) {
            Ok(replay) => {
                for damage in replay.damage() {
                    self.problem(format!("journal: {damage}"));
                }
                self.replay = Some(replay);
                if let (true, Ok(sb)) = (renew, volume::superblock(&&*self)) {
                    self.sb = Some(sb);
                }
            }
            Err(e) => self.problem(format!(
                "the journal cannot be read ({e}): blocks are shown as they are in place"
            )),
        }
    }

    /// Notes what cannot be read or is wrong.
    pub fn problem(&self, what: impl Into<String>) {
        self.problems.borrow_mut().push(what.into());
    }

    /// What was noted.
    pub fn problems(&self) -> Vec<String> {
        self.problems.borrow().clone()
    }

    /// The superblock, if there is one.
    pub fn any_superblock(&self) -> Option<&Superblock> {
        self.sb.as_ref()
    }

    /// The superblock.
    pub fn sb(&self) -> Result<&Superblock> {
        let none = || anyhow!("no superblock here, and no copy of it where one would be");
        self.sb
            .as_ref()
            .ok_or_else(none)
            .hint("vexctl debug IMAGE block NUMBER shows single blocks")
    }

    /// The journal's contents, if it is being looked through.
    pub fn replay(&self) -> Option<&Replay> {
        self.replay.as_ref()
    }

    /// What is in place, not looking through the journal.
    pub fn disk(&self) -> &FileDisk {
        &self.disk
    }

    /// A store over it.
    pub fn store(&self) -> Result<FileStore<&Image>> {
        Ok(FileStore::read_only(self, self.sb()?.csum_seed))
    }

    /// Reads a block, whatever it holds.
    pub fn block(&self, bno: u64) -> Result<Raw> {
        if bno >= self.disk.block_count() {
            bail!(
                "block {bno} is beyond the end: there are {} blocks",
                self.disk.block_count()
            );
        }
        let mut bytes = Box::new([0; BLOCK_SIZE]);
        self.read(bno, &mut bytes[..])
            .map_err(anyhow::Error::from)
            .with_context(|| format!("cannot read block {bno}"))?;
        // A superblock brings its own seed.
        let own = bytes[SEAL_SIZE + OFF_MAGIC..].starts_with(&MAGIC);
        let seed = match &self.sb {
            _ if own => Some(le32(&bytes[SEAL_SIZE..], OFF_CSUM_SEED)),
            Some(sb) => Some(sb.csum_seed),
            None => None,
        };
        let sealed = seed.map(|seed| sealed(seed, bno, &bytes));
        Ok(Raw { bytes, sealed })
    }

    /// Reads a block of metadata; that its checksum is wrong is noted.
    pub fn metadata(&self, bno: u64, what: &str) -> Result<Raw> {
        let raw = self.block(bno)?;
        if raw.sealed == Some(false) {
            self.problem(format!("block {bno} ({what}): wrong checksum"));
        }
        Ok(raw)
    }
}

impl Disk for Image {
    fn read(&self, bno: u64, buf: &mut [u8]) -> kernel::error::Result<()> {
        self.disk.read(bno, buf)?;
        if let Some(replay) = self.replay.as_ref().filter(|replay| !replay.is_empty()) {
            for (n, block) in buf.chunks_exact_mut(BLOCK_SIZE).enumerate() {
                replay.read(&self.disk, bno.saturating_add(n as u64), block)?;
            }
        }
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> kernel::error::Result<()> {
        Err(kernel::error::code::EROFS)
    }

    fn flush(&self) -> kernel::error::Result<()> {
        Ok(())
    }

    fn block_count(&self) -> u64 {
        self.disk.block_count()
    }
}
