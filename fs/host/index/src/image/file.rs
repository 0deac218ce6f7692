// SPDX-License-Identifier: GPL-2.0

//! The data of internal inodes: written to the disk, then said to be there.

use super::Image;
use kernel::prelude::*;
use vexfs::libvexfs::alloc::Mode;
use vexfs::libvexfs::credits;
use vexfs::libvexfs::extent::Mapping;
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::BLOCK_SIZE;
use vexfs::libvexfs::Inode;

const BLOCK: u64 = BLOCK_SIZE as u64;

impl<D: Disk> Image<D> {
    /// Reads whole blocks of an inode's data, from logical block `lblk` on; zeroes where there are
    /// none.
    pub(crate) fn read_blocks(&self, inode: &Inode, mut lblk: u64, to: &mut [u8]) -> Result {
        let mut rest = to;
        while !rest.is_empty() {
            let blocks = (rest.len() / BLOCK_SIZE) as u64;
            let map = self.fs.map(inode, lblk, blocks)?;
            let n = (map.len().min(blocks) as usize) * BLOCK_SIZE;
            let (some, more) = rest.split_at_mut_checked(n).ok_or(EINVAL)?;
            match map {
                Mapping::Written { phys, .. } => self.fs.store.disk().read(phys, some)?,
                _ => some.fill(0),
            }
            lblk += map.len();
            rest = more;
        }
        Ok(())
    }

    /// Reads bytes of an inode's data.
    ///
    /// # Errors
    ///
    /// What the disk returns.
    pub fn read(&self, inode: &Inode, offset: u64, to: &mut [u8]) -> Result {
        let first = offset / BLOCK;
        let end = (offset + to.len() as u64).div_ceil(BLOCK);
        let mut blocks = vec![0; ((end - first) * BLOCK) as usize];
        self.read_blocks(inode, first, &mut blocks)?;
        let at = (offset - first * BLOCK) as usize;
        to.copy_from_slice(&blocks[at..at + to.len()]);
        Ok(())
    }

    /// Writes bytes of an inode's data through to the disk. They are durable with the next commit.
    pub(crate) fn write(&self, ino: u64, offset: u64, bytes: &[u8]) -> Result {
        let first = offset / BLOCK;
        let end = (offset + bytes.len() as u64).div_ceil(BLOCK);
        let mut blocks = vec![0; ((end - first) * BLOCK) as usize];
        let inode = self.fs.read_inode(ino)?;
        // The blocks at both ends keep what else is in them.
        let last = blocks.len() - BLOCK_SIZE;
        self.read_blocks(&inode, first, &mut blocks[..BLOCK_SIZE])?;
        if last != 0 {
            self.read_blocks(&inode, end - 1, &mut blocks[last..])?;
        }
        let at = (offset - first * BLOCK) as usize;
        blocks[at..at + bytes.len()].copy_from_slice(bytes);
        self.write_blocks(ino, first, &blocks, offset + bytes.len() as u64)
    }

    /// Writes whole blocks, from logical block `lblk` on, of a file that reaches to `size` at least
    /// then.
    pub(crate) fn write_blocks(&self, ino: u64, lblk: u64, bytes: &[u8], size: u64) -> Result {
        let mut inode = self.fs.read_inode(ino)?;
        let (mut at, mut rest) = (lblk, bytes);
        let mut fresh = false;
        while !rest.is_empty() {
            let blocks = (rest.len() / BLOCK_SIZE) as u64;
            let map = match self.fs.map(&inode, at, blocks)? {
                Mapping::Hole { len } => self.change(credits::EXTENT_ALLOC, |fs, t| {
                    fs.allocate(t, &mut inode, at, len.min(blocks), 0, Mode::Normal)
                })?,
                map => map,
            };
            let phys = match map {
                Mapping::Written { phys, .. } => phys,
                Mapping::Unwritten { phys, .. } => {
                    fresh = true;
                    phys
                }
                _ => return Err(EINVAL),
            };
            let n = map.len().min(blocks);
            let (some, more) = rest
                .split_at_checked(n as usize * BLOCK_SIZE)
                .ok_or(EINVAL)?;
            self.fs.store.disk().write(phys, some)?;
            at += n;
            rest = more;
        }
        let (mut from, end) = (lblk, at);
        while fresh && from < end {
            from += self.change(credits::CONVERT + 1, |fs, t| {
                let done = fs.convert(t, &mut inode, from, end - from)?;
                inode.size = inode.size.max(((from + done) * BLOCK).min(size));
                fs.log_inode(t, &inode)?;
                Ok(done)
            })?;
        }
        if inode.size < size {
            inode.size = size;
            self.change(credits::INODE, |fs, t| fs.log_inode(t, &inode))?;
        }
        Ok(())
    }
}
