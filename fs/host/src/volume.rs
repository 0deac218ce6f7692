// SPDX-License-Identifier: GPL-2.0

//! Volumes on disks: making one, finding its superblock, opening it with or without replay.

mod superblock;

pub use superblock::{best_superblock, Best};

use crate::file_store::{seal_in_place, sealed, FileStore};
use crate::libvexfs::errno::euclean;
use crate::libvexfs::format::geometry::{MAX_GROUP_BLOCKS, MIN_GROUP_BLOCKS};
use crate::libvexfs::format::inode::STATE_EMBEDDED;
use crate::libvexfs::format::superblock::{MAGIC, OFF_CSUM_SEED, OFF_MAGIC};
use crate::libvexfs::format::Superblock;
use crate::libvexfs::journal::host::jbd2::{Region, Super};
use crate::libvexfs::journal::host::replay::Overlay;
use crate::libvexfs::journal::host::{Disk, Log, Replay};
use crate::libvexfs::journal::{Store, Trans, BLOCK_SIZE, SEAL_SIZE};
use crate::libvexfs::mkfs::{self, Options};
use crate::libvexfs::{credits, format::le32, Fs, Inode};
use kernel::prelude::*;
use std::iter::successors;

/// Blocks that are wiped at the start of a new volume's disk and at its end: wherever another file system, RAID or
/// partition table keeps what it is recognised by.
const WIPE_START: u64 = 512;
const WIPE_END: u64 = 32;

/// Makes a file system on a disk: `sb` is what `mkfs::layout` says of it.
///
/// The superblock is written last, so that an interrupted mkfs leaves no file system rather than half of one.
///
/// # Errors
///
/// What the disk returns.
pub fn format<D: Disk>(disk: &D, sb: &Superblock, options: &Options) -> Result<Superblock> {
    let blocks = disk.block_count();
    disk.zero(0, WIPE_START.min(blocks))?;
    let end = WIPE_END.min(blocks);
    disk.zero(blocks - end, end)?;
    // Old log blocks would be told from new ones by their checksums, but nothing is as clear as zeros.
    let region = region(sb)?;
    disk.zero(region.start, region.len)?;
    disk.write(region.start, &Super::new(region, sb.journal_uuid).encode())?;
    disk.flush()?;
    let log = Log::new(Super::new(region, sb.journal_uuid))?;
    let store = FileStore::new(
        LastBlockZero {
            disk,
            held: std::sync::Mutex::new(None),
        },
        sb.csum_seed,
        log,
    );
    let (fs, sb) = mkfs::populate(store, sb, options.now)?;
    fs.store.close()?;
    fs.store.disk().release()?;
    Ok(sb)
}

/// Holds writes of block 0 back until everything else is on the disk.
struct LastBlockZero<'a, D> {
    disk: &'a D,
    held: std::sync::Mutex<Option<Box<[u8; BLOCK_SIZE]>>>,
}

impl<D: Disk> LastBlockZero<'_, D> {
    fn held(&self) -> std::sync::MutexGuard<'_, Option<Box<[u8; BLOCK_SIZE]>>> {
        self.held.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn release(&self) -> Result<()> {
        self.disk.flush()?;
        if let Some(block) = self.held().take() {
            self.disk.write(0, &block[..])?;
        }
        self.disk.flush()
    }
}

impl<D: Disk> Disk for LastBlockZero<'_, D> {
    fn read(&self, bno: u64, buf: &mut [u8]) -> Result<()> {
        self.disk.read(bno, buf)?;
        match (&*self.held(), buf.first_chunk_mut::<BLOCK_SIZE>()) {
            (Some(block), Some(to)) if bno == 0 => *to = **block,
            _ => {}
        }
        Ok(())
    }

    fn write(&self, bno: u64, buf: &[u8]) -> Result<()> {
        match (bno, buf.first_chunk::<BLOCK_SIZE>()) {
            (0, Some(block)) => {
                *self.held() = Some(Box::new(*block));
                match &buf[BLOCK_SIZE..] {
                    [] => Ok(()),
                    rest => self.disk.write(1, rest),
                }
            }
            _ => self.disk.write(bno, buf),
        }
    }

    fn flush(&self) -> Result<()> {
        self.disk.flush()
    }

    fn block_count(&self) -> u64 {
        self.disk.block_count()
    }
}

/// Where the journal of a volume lies.
///
/// # Errors
///
/// `EUCLEAN` if that is impossible.
pub fn region(sb: &Superblock) -> Result<Region> {
    Region::new(sb.journal_start, sb.journal_len, sb.geometry.block_count)
}

/// Reads the superblock or a copy of it from block `bno`.
///
/// # Errors
///
/// `EINVAL` if there is none (or of another version), `EUCLEAN` if it is damaged, `EIO`.
pub fn superblock_at<D: Disk>(disk: &D, bno: u64) -> Result<Superblock> {
    let mut block = [0; BLOCK_SIZE];
    disk.read(bno, &mut block)?;
    let body = &block[SEAL_SIZE..];
    if !body[OFF_MAGIC..].starts_with(&MAGIC) {
        return Err(EINVAL);
    }
    if !sealed(le32(body, OFF_CSUM_SEED), bno, &block) {
        return Err(euclean());
    }
    Superblock::parse(body)
}

/// Reads the superblock.
///
/// # Errors
///
/// As [`superblock_at`].
pub fn superblock<D: Disk>(disk: &D) -> Result<Superblock> {
    superblock_at(disk, 0)
}

/// Reads the superblock of a volume that is mounted. Its checksum is renewed at commits only, so what the kernel shows
/// through the device may have an old one.
///
/// # Errors
///
/// As [`superblock_at`].
pub fn superblock_in_use<D: Disk>(disk: &D) -> Result<Superblock> {
    let mut block = [0; BLOCK_SIZE];
    disk.read(0, &mut block)?;
    Superblock::parse(&block[SEAL_SIZE..])
}

/// Looks for a copy of the superblock without knowing how large groups are: where group 1 begins for every size that they
/// can have, then in the other groups with copies.
pub fn find_copy<D: Disk>(disk: &D) -> Option<(u64, Superblock)> {
    let blocks = disk.block_count();
    let below = |last: u64| move |n: &u64| *n < last;
    let powers = |base: u64| successors(Some(base), move |n| n.checked_mul(base));
    let most = blocks.div_ceil(MIN_GROUP_BLOCKS);
    let mut groups: Vec<u64> = [3, 5, 7]
        .into_iter()
        .flat_map(|base| powers(base).take_while(below(most)))
        .chain([1])
        .collect();
    groups.sort_unstable();
    let sizes = || successors(Some(MIN_GROUP_BLOCKS), |size| Some(size * 2));
    for group in groups {
        for size in sizes().take_while(|size| *size <= MAX_GROUP_BLOCKS && group * size < blocks) {
            match superblock_at(disk, group * size) {
                Ok(sb) if sb.geometry.group_blocks == size => return Some((group * size, sb)),
                _ => {}
            }
        }
    }
    None
}

/// Opens a volume for writing, after a replay if one is due.
///
/// # Errors
///
/// `EINVAL` (no VexFS), `EUCLEAN` (damage), `EROFS` (features that forbid writing), `EIO`.
pub fn open<D: Disk>(disk: D) -> Result<Fs<FileStore<D>>> {
    let sb = superblock(&disk)?;
    if !sb.writable() {
        return Err(EROFS);
    }
    let journal = Replay::open(&disk, region(&sb)?)?.apply(&disk, false)?;
    // The replay may have brought a newer superblock.
    let sb = superblock(&disk)?;
    Fs::open(FileStore::new(disk, sb.csum_seed, Log::new(journal)?), sb)
}

/// Opens a volume for reading: the replay happens in memory, the disk is not written to.
///
/// # Errors
///
/// As [`open`].
pub fn open_read_only<D: Disk>(disk: D) -> Result<Fs<FileStore<Overlay<D>>>> {
    let replay = Replay::open(&disk, region(&superblock(&disk)?)?)?;
    if !replay.damage().is_empty() {
        return Err(euclean());
    }
    let overlay = Overlay::new(disk, replay);
    let sb = superblock(&overlay)?;
    Fs::open(FileStore::read_only(overlay, sb.csum_seed), sb)
}

/// Writes the superblock over a damaged one, past the journal: nothing else can find the journal without it.
///
/// # Errors
///
/// What the disk returns.
pub fn write_superblock<D: Disk>(disk: &D, sb: &Superblock) -> Result<()> {
    let mut block = [0; BLOCK_SIZE];
    sb.format(&mut block[SEAL_SIZE..]);
    seal_in_place(sb.csum_seed, 0, &mut block);
    disk.write(0, &block)?;
    disk.flush()
}

/// Sets the superblock's state.
///
/// # Errors
///
/// What the store returns.
pub fn set_state<S: Store>(fs: &Fs<S>, state: u32) -> Result<()> {
    let mut t = fs.store.begin(credits::SUPERBLOCK)?;
    fs.update_superblock(&mut t, |sb| sb.state = state)?;
    t.stop()?;
    fs.store.commit()
}

/// Frees what orphans there are, as a mount does, but for those that vectors describe: their records in collections go
/// first, which is the mount's work. Returns how many were freed.
///
/// # Errors
///
/// `EUCLEAN`, `EIO`; those that were done are done.
pub fn finish_orphans<S: Store>(fs: &Fs<S>) -> Result<u64> {
    let mut done = 0;
    for group in 0..fs.group_count() {
        let mut from = 0;
        while let Some((ino, _)) = fs.orphan_record_next(group, from)? {
            from = ino.checked_add(1).ok_or_else(euclean)?;
            let mut inode = fs.read_inode(ino)?;
            if inode.nlink == 0 && inode.state & STATE_EMBEDDED != 0 {
                continue;
            }
            while !finish_step(fs, &mut inode)? {}
            done += 1;
        }
    }
    fs.store.commit()?;
    Ok(done)
}

fn finish_step<S: Store>(fs: &Fs<S>, inode: &mut Inode) -> Result<bool> {
    let mut t = fs.store.begin(credits::REAP_STEP)?;
    let done = if inode.nlink == 0 {
        fs.reap_step(&mut t, inode)?
    } else {
        fs.trim_step(&mut t, inode)?
    };
    t.stop()?;
    Ok(done)
}

/// Commits, checkpoints and marks the volume as unmounted.
///
/// # Errors
///
/// What the store returns.
pub fn close<D: Disk>(fs: &Fs<FileStore<D>>) -> Result<()> {
    fs.store.commit()?;
    fs.store.close()
}
