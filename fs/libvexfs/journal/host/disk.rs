// SPDX-License-Identifier: GPL-2.0

//! What the host's journal code needs of a device or image: whole blocks in, whole blocks out, and a flush.

use crate::libvexfs::journal::BLOCK_SIZE;
use kernel::prelude::*;

/// A device or image file, addressed in blocks of 4 KiB.
///
/// Writes may be held back and reordered until `flush` returns, as a disk with a write cache does; the crash tests
/// rely on nobody assuming more.
pub trait Disk {
    /// Reads whole blocks, from `bno` on, into `buf`.
    ///
    /// # Errors
    /// EIO for a failed read or one beyond the end.
    fn read(&self, bno: u64, buf: &mut [u8]) -> Result<()>;

    /// Writes whole blocks, from `bno` on.
    ///
    /// # Errors
    /// EIO for a failed write or one beyond the end, EROFS for a disk that was opened for reading.
    fn write(&self, bno: u64, buf: &[u8]) -> Result<()>;

    /// Returns when everything written before is durable.
    ///
    /// # Errors
    /// EIO; nothing is known then about what was written since the last flush.
    fn flush(&self) -> Result<()>;

    /// The number of whole blocks.
    fn block_count(&self) -> u64;

    /// Makes `count` blocks from `bno` on read as zeros.
    ///
    /// # Errors
    /// As `write`.
    fn zero(&self, bno: u64, count: u64) -> Result<()> {
        const RUN: u64 = 64;
        let zeros = [0u8; BLOCK_SIZE * RUN as usize];
        let mut done = 0;
        while done < count {
            let n = (count - done).min(RUN);
            let at = bno.checked_add(done).ok_or(EINVAL)?;
            self.write(at, &zeros[..n as usize * BLOCK_SIZE])?;
            done += n;
        }
        Ok(())
    }
}

impl<D: Disk + ?Sized> Disk for &D {
    fn read(&self, bno: u64, buf: &mut [u8]) -> Result<()> {
        (**self).read(bno, buf)
    }
    fn write(&self, bno: u64, buf: &[u8]) -> Result<()> {
        (**self).write(bno, buf)
    }
    fn flush(&self) -> Result<()> {
        (**self).flush()
    }
    fn block_count(&self) -> u64 {
        (**self).block_count()
    }
    fn zero(&self, bno: u64, count: u64) -> Result<()> {
        (**self).zero(bno, count)
    }
}
