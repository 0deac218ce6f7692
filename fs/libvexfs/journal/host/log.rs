// SPDX-License-Identifier: GPL-2.0

//! The log's writer: one transaction at a time, each behind two flushes.

use super::disk::Disk;
use super::jbd2::{self, Super, Tag, REVOKES_PER_BLOCK, TAGS_PER_DESCRIPTOR};
use crate::libvexfs::journal::{Tid, BLOCK_SIZE};
use kernel::prelude::*;

/// One block of a transaction.
pub struct Change<'a> {
    /// Where it belongs.
    pub bno: u64,
    /// The whole block, sealed.
    pub data: &'a [u8],
}

/// The writing end of a journal whose log was replayed.
pub struct Log {
    sb: Super,
    /// Where the next transaction goes.
    head: u64,
    /// The log blocks between the tail, which is where the superblock says replay starts, and the head.
    used: u64,
    next: Tid,
}

impl Log {
    /// Continues a journal that is empty (`Replay::apply` makes it so, mkfs made it so).
    ///
    /// # Errors
    /// EINVAL for a log that needs replay.
    pub fn new(sb: Super) -> Result<Log> {
        if sb.start != 0 {
            return Err(EINVAL);
        }
        let head = sb.region.first();
        // The kernel, too, leaves one number out: a transaction of `sequence` may have been begun and torn.
        let next = sb.sequence.wrapping_add(1);
        Ok(Log { sb, head, used: 0, next })
    }

    /// The number of the transaction that `append` will write.
    pub fn next_tid(&self) -> Tid {
        self.next
    }

    /// The most blocks that one transaction may have: a third of the log, as in jbd2.
    pub fn max_blocks(&self) -> usize {
        (self.sb.region.log_blocks() / 3) as usize
    }

    /// How many log blocks a transaction takes.
    pub fn space(blocks: usize, revokes: usize) -> u64 {
        (blocks + blocks.div_ceil(TAGS_PER_DESCRIPTOR) + revokes.div_ceil(REVOKES_PER_BLOCK) + 1) as u64
    }

    /// Whether a transaction fits without a checkpoint.
    pub fn fits(&self, blocks: usize, revokes: usize) -> bool {
        Self::space(blocks, revokes) <= self.sb.region.log_blocks() - self.used
    }

    /// Writes a transaction; when this returns it is durable. `revokes` are blocks that were metadata and are none any
    /// more, none of them among `blocks`.
    ///
    /// # Errors
    /// ENOSPC if it does not fit: checkpoint first. EIO: whether the transaction is durable is not known, and nothing
    /// may be written behind it.
    pub fn append<D: Disk>(&mut self, disk: &D, blocks: &[Change<'_>], revokes: &[u64], time: (u64, u32)) -> Result<Tid> {
        if !self.fits(blocks.len(), revokes.len()) {
            return Err(ENOSPC);
        }
        let tid = self.next;
        if self.used == 0 {
            // The log is empty, and replay must begin here, also when it last began elsewhere.
            self.sb.sequence = tid;
            self.sb.start = self.head;
            self.write_super(disk)?;
        }
        let mut at = self.head;
        for chunk in revokes.chunks(REVOKES_PER_BLOCK) {
            disk.write(at, &jbd2::revoke(&self.sb, tid, chunk))?;
            at = self.sb.region.advance(at, 1);
        }
        for chunk in blocks.chunks(TAGS_PER_DESCRIPTOR) {
            at = self.write_chunk(disk, tid, at, chunk)?;
        }
        disk.flush()?;
        disk.write(at, &jbd2::commit(&self.sb, tid, time.0, time.1))?;
        disk.flush()?;
        self.head = self.sb.region.advance(at, 1);
        self.used += Self::space(blocks.len(), revokes.len());
        self.next = tid.wrapping_add(1);
        Ok(tid)
    }

    /// A descriptor and the blocks that it describes.
    fn write_chunk<D: Disk>(&self, disk: &D, tid: Tid, descriptor: u64, chunk: &[Change<'_>]) -> Result<u64> {
        let seed = self.sb.seed();
        let mut tags = Vec::with_capacity(chunk.len());
        let mut at = self.sb.region.advance(descriptor, 1);
        for change in chunk {
            let escaped = jbd2::needs_escape(change.data);
            let checksum = if escaped {
                let mut copy = [0; BLOCK_SIZE];
                copy.copy_from_slice(change.data);
                jbd2::escape(&mut copy);
                disk.write(at, &copy)?;
                jbd2::data_checksum(seed, tid, &copy)
            } else {
                disk.write(at, change.data)?;
                jbd2::data_checksum(seed, tid, change.data)
            };
            tags.push(Tag { bno: change.bno, escaped, checksum });
            at = self.sb.region.advance(at, 1);
        }
        disk.write(descriptor, &jbd2::descriptor(&self.sb, tid, &tags))?;
        Ok(at)
    }

    /// Everything in the log is in its place, durably: the log is free again. The superblock on disk is left behind
    /// until the next transaction; replaying the same blocks once more would change nothing.
    pub fn checkpointed(&mut self) {
        self.used = 0;
    }

    /// Marks the log empty, after a checkpoint. This is what a clean unmount leaves.
    ///
    /// # Errors
    /// EIO. EBUSY if there was no checkpoint.
    pub fn close<D: Disk>(&mut self, disk: &D) -> Result<()> {
        if self.used != 0 {
            return Err(EBUSY);
        }
        if self.sb.start != 0 {
            self.sb.sequence = self.next;
            self.sb.start = 0;
            self.sb.head = self.head as u32;
            self.write_super(disk)?;
            self.next = self.next.wrapping_add(1);
        }
        Ok(())
    }

    /// Records the error with which the journal was aborted, for the next mount to report.
    ///
    /// # Errors
    /// EIO.
    pub fn set_errno<D: Disk>(&mut self, disk: &D, errno: u32) -> Result<()> {
        self.sb.errno = errno;
        self.write_super(disk)
    }

    /// The journal's superblock as it is on disk.
    pub fn superblock(&self) -> &Super {
        &self.sb
    }

    fn write_super<D: Disk>(&self, disk: &D) -> Result<()> {
        disk.write(self.sb.region.start, &self.sb.encode())?;
        disk.flush()
    }
}
