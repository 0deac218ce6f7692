// SPDX-License-Identifier: GPL-2.0

//! The log's writer: one transaction at a time, each behind two flushes.

use super::disk::Disk;
use super::jbd2::{self, Super, Tag, REVOKES_PER_BLOCK, TAGS_PER_DESCRIPTOR};
use crate::libvexfs::journal::{Tid, BLOCK_SIZE};
use kernel::prelude::*;
use std::collections::BTreeMap;

/// One block of a transaction.
pub struct Change<'a> {
    /// Where it belongs.
    pub bno: u64,
    /// The whole block, sealed.
    pub data: &'a [u8],
}

/// Where the log has the newest committed copy of a block that is not in its place yet.
#[derive(Clone, Copy)]
struct Copy {
    log_block: u64,
    escaped: bool,
}

/// The writing end of a journal whose log was replayed.
///
/// What was committed stays in the log until a checkpoint writes it into place, from the log: the memory that this takes
/// is a map entry per block, whatever the journal's size.
pub struct Log {
    sb: Super,
    /// Where the next transaction goes.
    head: u64,
    /// The log blocks between the tail, which is where the superblock says replay starts, and the head.
    used: u64,
    next: Tid,
    copies: BTreeMap<u64, Copy>,
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
        Ok(Log {
            sb,
            head,
            used: 0,
            next,
            copies: BTreeMap::new(),
        })
    }

    /// The number of the transaction that `append` will write.
    pub fn next_tid(&self) -> Tid {
        self.next
    }

    /// The most blocks that one transaction may have: a third of the log, as in jbd2.
    pub fn max_blocks(&self) -> usize {
        (self.sb.region.log_blocks() / 3) as usize
    }

    /// The journal's superblock as it is on disk.
    pub fn superblock(&self) -> &Super {
        &self.sb
    }

    /// How many log blocks a transaction takes.
    fn space(blocks: usize, revokes: usize) -> u64 {
        (blocks + blocks.div_ceil(TAGS_PER_DESCRIPTOR) + revokes.div_ceil(REVOKES_PER_BLOCK) + 1)
            as u64
    }

    /// Writes a transaction; when this returns it is durable. `revokes` are blocks that were metadata and are none any
    /// more; those among `blocks` are metadata again and are left out.
    ///
    /// # Errors
    /// ENOSPC if it is longer than the log. EIO: whether the transaction is durable is not known, and nothing may be
    /// written behind it.
    pub fn append<D: Disk>(
        &mut self,
        disk: &D,
        blocks: &[Change<'_>],
        revokes: &[u64],
        time: (u64, u32),
    ) -> Result<Tid> {
        let space = Self::space(blocks.len(), revokes.len());
        if space > self.sb.region.log_blocks() {
            return Err(ENOSPC);
        }
        if space > self.sb.region.log_blocks() - self.used {
            self.checkpoint(disk)?;
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
        let mut copies = Vec::with_capacity(blocks.len());
        for chunk in blocks.chunks(TAGS_PER_DESCRIPTOR) {
            at = self.write_chunk(disk, tid, at, chunk, &mut copies)?;
        }
        disk.flush()?;
        disk.write(at, &jbd2::commit(&self.sb, tid, time.0, time.1))?;
        disk.flush()?;
        // A revoked block may hold data from now on: no checkpoint may write it.
        for bno in revokes {
            self.copies.remove(bno);
        }
        self.copies.extend(copies);
        self.head = self.sb.region.advance(at, 1);
        self.used += space;
        self.next = tid.wrapping_add(1);
        Ok(tid)
    }

    /// A descriptor and the blocks that it describes. Returns where the log goes on.
    fn write_chunk<D: Disk>(
        &self,
        disk: &D,
        tid: Tid,
        descriptor: u64,
        chunk: &[Change<'_>],
        copies: &mut Vec<(u64, Copy)>,
    ) -> Result<u64> {
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
            tags.push(Tag {
                bno: change.bno,
                escaped,
                checksum,
            });
            copies.push((
                change.bno,
                Copy {
                    log_block: at,
                    escaped,
                },
            ));
            at = self.sb.region.advance(at, 1);
        }
        disk.write(descriptor, &jbd2::descriptor(&self.sb, tid, &tags))?;
        Ok(at)
    }

    /// Reads the newest committed copy of a block, if it is still in the log only.
    ///
    /// # Errors
    /// EIO.
    pub fn read<D: Disk>(&self, disk: &D, bno: u64, buf: &mut [u8]) -> Result<bool> {
        let Some(copy) = self.copies.get(&bno) else {
            return Ok(false);
        };
        disk.read(copy.log_block, buf)?;
        if copy.escaped {
            jbd2::unescape(buf);
        }
        Ok(true)
    }

    /// Writes everything into place and frees the log.
    ///
    /// The superblock on disk is left behind until the next transaction: replaying the same log once more would change
    /// nothing, for what it would bring back over newer data is revoked in it.
    ///
    /// # Errors
    /// EIO; the log is as before then.
    pub fn checkpoint<D: Disk>(&mut self, disk: &D) -> Result<()> {
        let mut buf = [0; BLOCK_SIZE];
        for bno in self.copies.keys() {
            self.read(disk, *bno, &mut buf)?;
            disk.write(*bno, &buf)?;
        }
        disk.flush()?;
        self.copies.clear();
        self.used = 0;
        Ok(())
    }

    /// Checkpoints and marks the log empty, which is what a clean unmount leaves.
    ///
    /// # Errors
    /// EIO.
    pub fn close<D: Disk>(&mut self, disk: &D) -> Result<()> {
        self.checkpoint(disk)?;
        if self.sb.start != 0 {
            self.sb.sequence = self.next;
            self.sb.start = 0;
            self.sb.head = self.head as u32;
            self.write_super(disk)?;
            self.next = self.next.wrapping_add(1);
        }
        Ok(())
    }

    /// Records the error with which the journal was aborted, for the next mount to report; 0 removes it.
    ///
    /// # Errors
    /// EIO.
    pub fn set_errno<D: Disk>(&mut self, disk: &D, errno: u32) -> Result<()> {
        self.sb.errno = errno;
        self.write_super(disk)
    }

    fn write_super<D: Disk>(&self, disk: &D) -> Result<()> {
        disk.write(self.sb.region.start, &self.sb.encode())?;
        disk.flush()
    }
}
