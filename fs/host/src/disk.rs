// SPDX-License-Identifier: GPL-2.0

//! Disks for the host's stores: files, block devices, and memory.

use crate::libvexfs::journal::host::Disk;
use crate::libvexfs::journal::BLOCK_SIZE;
use kernel::prelude::*;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// An image file or a block device.
pub struct FileDisk {
    file: File,
    blocks: u64,
}

impl FileDisk {
    /// Takes an open file or device at its present size, rounded down to whole blocks.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(file: File) -> Result<FileDisk> {
        // A block device's metadata says length 0; seeking to the end works for both.
        let bytes = (&file).seek(SeekFrom::End(0))?;
        Ok(FileDisk {
            file,
            blocks: bytes / BLOCK_SIZE as u64,
        })
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    fn offset(&self, bno: u64, len: usize) -> Result<u64> {
        debug_assert_eq!(len % BLOCK_SIZE, 0);
        let end = bno.checked_add((len / BLOCK_SIZE) as u64).ok_or(EIO)?;
        if end > self.blocks {
            return Err(EIO);
        }
        Ok(bno * BLOCK_SIZE as u64)
    }
}

impl Disk for FileDisk {
    fn read(&self, bno: u64, buf: &mut [u8]) -> Result<()> {
        Ok(self.file.read_exact_at(buf, self.offset(bno, buf.len())?)?)
    }

    fn write(&self, bno: u64, buf: &[u8]) -> Result<()> {
        Ok(self.file.write_all_at(buf, self.offset(bno, buf.len())?)?)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.file.sync_data()?)
    }

    fn block_count(&self) -> u64 {
        self.blocks
    }

    fn zero(&self, bno: u64, count: u64) -> Result<()> {
        use nix::fcntl::{fallocate, FallocateFlags};
        let len = count.checked_mul(BLOCK_SIZE as u64).ok_or(EINVAL)?;
        let end = bno.checked_add(count).ok_or(EINVAL)?;
        if end > self.blocks {
            return Err(EIO);
        }
        // Quick on files and on most devices; written out where it is not to be had.
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let offset = bno * BLOCK_SIZE as u64;
        for flags in [
            flags,
            FallocateFlags::FALLOC_FL_ZERO_RANGE | FallocateFlags::FALLOC_FL_KEEP_SIZE,
        ] {
            if fallocate(&self.file, flags, offset as i64, len as i64).is_ok() {
                return Ok(());
            }
        }
        let zeros = vec![0; BLOCK_SIZE * 256];
        let mut at = offset;
        let mut left = len;
        while left > 0 {
            let n = left.min(zeros.len() as u64);
            self.file.write_all_at(&zeros[..n as usize], at)?;
            at += n;
            left -= n;
        }
        Ok(())
    }
}

/// A sparse disk in memory; blocks that were never written read as zeros. Clones share what neither of them has
/// written since, so that taking thousands of a disk is cheap.
pub struct MemoryDisk {
    blocks: u64,
    data: Mutex<HashMap<u64, Arc<[u8; BLOCK_SIZE]>>>,
}

impl MemoryDisk {
    /// A disk of zeros.
    pub fn new(blocks: u64) -> MemoryDisk {
        MemoryDisk {
            blocks,
            data: Mutex::new(HashMap::new()),
        }
    }

    /// How many blocks were written.
    pub fn used(&self) -> usize {
        self.data
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Writes a block that is held elsewhere, too, and need not be copied.
    pub(crate) fn put(&self, bno: u64, block: Arc<[u8; BLOCK_SIZE]>) {
        self.data
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(bno, block);
    }

    fn check(&self, bno: u64, len: usize) -> Result<()> {
        let end = bno.checked_add((len / BLOCK_SIZE) as u64).ok_or(EIO)?;
        if len % BLOCK_SIZE != 0 || end > self.blocks {
            return Err(EIO);
        }
        Ok(())
    }
}

impl Clone for MemoryDisk {
    fn clone(&self) -> MemoryDisk {
        let data = self
            .data
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        MemoryDisk {
            blocks: self.blocks,
            data: Mutex::new(data),
        }
    }
}

impl Disk for MemoryDisk {
    fn read(&self, bno: u64, buf: &mut [u8]) -> Result<()> {
        self.check(bno, buf.len())?;
        let data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        for (n, block) in buf.chunks_exact_mut(BLOCK_SIZE).enumerate() {
            match data.get(&(bno + n as u64)) {
                Some(found) => block.copy_from_slice(&found[..]),
                None => block.fill(0),
            }
        }
        Ok(())
    }

    fn write(&self, bno: u64, buf: &[u8]) -> Result<()> {
        self.check(bno, buf.len())?;
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        for (n, block) in buf.chunks_exact(BLOCK_SIZE).enumerate() {
            let mut copy = [0; BLOCK_SIZE];
            copy.copy_from_slice(block);
            data.insert(bno + n as u64, Arc::new(copy));
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn block_count(&self) -> u64 {
        self.blocks
    }

    fn zero(&self, bno: u64, count: u64) -> Result<()> {
        let end = bno
            .checked_add(count)
            .filter(|end| *end <= self.blocks)
            .ok_or(EIO)?;
        self.data
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|at, _| !(bno..end).contains(at));
        Ok(())
    }
}
