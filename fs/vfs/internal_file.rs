// SPDX-License-Identifier: GPL-2.0

//! The data of internal inodes: what the file system keeps for itself in files that have no name.
//!
//! Bulk data (vectors, indexes) goes out of place through the page cache of such an inode: written
//! with [`InternalFile::write_at`], made durable with [`InternalFile::flush`], and only then
//! published by a small transaction. It needs neither a `struct file` nor a mount, so nothing here
//! keeps the file system from being unmounted. Blocks are allocated, written back and converted as
//! for any other file.

use core::ptr::NonNull;

use kernel::error::from_err_ptr;
use kernel::prelude::*;

use crate::libvexfs::errno::estale;
use crate::ops::aops::{self, Want};
use crate::ops::truncate;
use crate::vfs::bindings;
use crate::vfs::file::{Mode, RwLocked};
use crate::vfs::folio::FolioRef;
use crate::vfs::index_pages;
use crate::vfs::inode::{InodeRef, VexInode};
use crate::vfs::iomap::{BLOCK, BLOCK_SHIFT};

/// The largest piece that is allocated and copied at a time.
const PIECE: u64 = 1 << 21;

/// How bytes get into the page cache.
struct Writer {
    /// # Safety
    ///
    /// Gets memory of a locked folio that is valid for writes of so many bytes.
    copy: unsafe fn(*mut u8, &[u8]),
    /// What is being written back is not changed.
    stable: bool,
    /// Holes are allocated up to a multiple of so many blocks.
    blocks: u64,
}

impl Writer {
    const PLAIN: Writer = Writer {
        copy: copy_plain,
        stable: false,
        blocks: 1,
    };
    const NODE: Writer = Writer {
        copy: index_pages::publish,
        stable: true,
        blocks: 256,
    };
}

/// # Safety
///
/// `to` is valid for writes of so many bytes.
unsafe fn copy_plain(to: *mut u8, bytes: &[u8]) {
    // SAFETY: The caller's promise; the page cache is none of the callers' buffers.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
}

/// An internal inode, open for reading and writing its data.
pub(crate) struct InternalFile(InodeRef);

impl InternalFile {
    /// Opens the data of `inode`, which must be a regular file.
    pub(crate) fn new(inode: InodeRef) -> Self {
        Self(inode)
    }

    /// The inode.
    pub(crate) fn inode(&self) -> &VexInode {
        &self.0
    }

    /// Bytes in the file.
    pub(crate) fn size(&self) -> u64 {
        self.0.size()
    }

    fn mapping(&self) -> *mut bindings::address_space {
        self.0.mapping()
    }

    /// Writes `bytes` to the page cache at `pos`, and grows the file if they end beyond it.
    ///
    /// # Errors
    ///
    /// ENOSPC, EIO, ENOMEM, EINTR after a fatal signal. Some of the bytes may be written then.
    ///
    /// # Context
    ///
    /// May sleep for long (throttled by write-back). No transaction open; call it inside
    /// `sb_start_write`. The caller excludes readers of the same bytes.
    pub(crate) fn write_at(&self, pos: u64, bytes: &[u8]) -> Result {
        self.write(pos, bytes, &Writer::PLAIN)
    }

    /// Writes a node of an index (see [`super::index_pages`]) to the page cache at `pos`. Others may
    /// read it meanwhile; the medium gets it as a whole, before or after.
    ///
    /// # Errors
    ///
    /// As for [`InternalFile::write_at`].
    ///
    /// # Context
    ///
    /// As there, but for the readers.
    pub(super) fn publish_at(&self, pos: u64, node: &[u8]) -> Result {
        self.write(pos, node, &Writer::NODE)
    }

    fn write(&self, pos: u64, bytes: &[u8], how: &Writer) -> Result {
        let _lock = RwLocked::take(&self.0, Mode::Exclusive, false)?;
        self.0.check_running()?;
        pos.checked_add(bytes.len() as u64)
            .filter(|end| *end <= i64::MAX as u64)
            .ok_or(EFBIG)?;
        if self.0.data().needs_trim() {
            truncate::finish(&self.0)?;
        }
        let mut done = 0;
        let mut result = Ok(());
        while done < bytes.len() {
            match self.write_piece(pos + done as u64, &bytes[done..], how) {
                Ok(n) => done += n,
                Err(e) => {
                    result = Err(e);
                    break;
                }
            }
        }
        if result.is_err() {
            truncate::trim(&self.0);
        }
        result
    }

    /// Allocates blocks for, and copies, as much of `bytes` as one extent takes. Returns how much.
    fn write_piece(&self, pos: u64, bytes: &[u8], how: &Writer) -> Result<usize> {
        let len = (bytes.len() as u64).min(PIECE);
        let first = pos >> BLOCK_SHIFT;
        let want = Want {
            first,
            count: (((pos + len - 1) >> BLOCK_SHIFT) + 1).next_multiple_of(how.blocks) - first,
            end: pos + len,
            aligned: false,
            nowait: false,
            overwrite_only: false,
            report: false,
            direct: false,
            ahead: false,
            delay: false,
        };
        let extent = aops::allocate(&self.0, &want)?;
        let mapped = ((extent.first + extent.count) << BLOCK_SHIFT).saturating_sub(pos);
        let len = len.min(mapped) as usize;
        let mut done = 0;
        while done < len {
            // SAFETY: These act on the current task, and on the mapping of an inode that we hold.
            unsafe {
                if bindings::vexfs_helper_fatal_signal_pending() {
                    return Err(EINTR);
                }
                bindings::balance_dirty_pages_ratelimited(self.mapping());
            }
            done += self.write_folio(pos + done as u64, &bytes[done..len], how)?;
        }
        Ok(len)
    }

    /// Copies as much of `bytes` as goes into the folio at `pos`. Returns how much.
    fn write_folio(&self, pos: u64, bytes: &[u8], how: &Writer) -> Result<usize> {
        let mapping = self.mapping();
        let index = (pos >> BLOCK_SHIFT) as usize;
        loop {
            // SAFETY: The mapping is that of an inode that we hold. The folio comes back locked and
            // counted, or not.
            let folio = unsafe {
                bindings::vexfs_helper_filemap_get_folio_write(mapping, index, bytes.len())
            };
            let folio = NonNull::new(folio).ok_or(ENOMEM)?.as_ptr();
            // SAFETY: The folio is locked and ours until we unlock and put it: it stays in the
            // mapping, and its memory is in the direct map. Copying inside its size stays inside
            // that memory.
            unsafe {
                let start = bindings::vexfs_helper_folio_pos(folio) as u64;
                let size = bindings::vexfs_helper_folio_size(folio);
                let offset = (pos - start) as usize;
                let n = bytes.len().min(size - offset);
                let whole = n == size;
                if !whole && !bindings::vexfs_helper_folio_test_uptodate(folio) {
                    // What is not overwritten has to be there first. Reading unlocks.
                    bindings::vexfs_helper_folio_unlock(folio);
                    bindings::vexfs_helper_folio_put(folio);
                    drop(read_folio(mapping, index)?);
                    continue;
                }
                if how.stable {
                    bindings::vexfs_helper_folio_wait_writeback(folio);
                }
                let to: *mut u8 = bindings::vexfs_helper_folio_address(folio).cast();
                (how.copy)(to.add(offset), &bytes[..n]);
                if whole {
                    bindings::vexfs_helper_folio_mark_uptodate(folio);
                }
                // iomap marks the whole folio dirty, also blocks that we did not touch: those that
                // are not allocated are holes that read as the zeroes they are.
                bindings::folio_mark_dirty(folio);
                if pos + n as u64 > self.0.size() {
                    self.0.set_size(pos + n as u64);
                }
                bindings::vexfs_helper_folio_unlock(folio);
                bindings::vexfs_helper_folio_put(folio);
                return Ok(n);
            }
        }
    }

    /// Writes `[pos, pos + len)` back and waits until it is on the device, mapped as written by a
    /// transaction that has ended. Durable it is with the next commit (`Store::commit`).
    ///
    /// # Errors
    ///
    /// EIO, ENOSPC.
    pub(crate) fn flush(&self, pos: u64, len: u64) -> Result {
        if len == 0 {
            return Ok(());
        }
        self.0.write_and_wait(pos, pos.saturating_add(len - 1))
    }

    /// The folio that holds byte `pos`, if it is in the page cache and was checked.
    pub(super) fn checked_folio(&self, pos: u64) -> Option<FolioRef> {
        let index = (pos >> BLOCK_SHIFT) as usize;
        // SAFETY: The inode lives. The folio comes back counted, or not at all.
        let folio =
            unsafe { bindings::vexfs_helper_filemap_get_folio_checked(self.mapping(), index) };
        // SAFETY: The folio is uptodate, and its reference was made for us.
        NonNull::new(folio).map(|folio| unsafe { FolioRef::from_raw(folio) })
    }

    /// The folio that holds byte `pos`, read if it has to be.
    ///
    /// # Errors
    ///
    /// EIO, ENOMEM, EINTR; ESTALE if the file does not reach there.
    ///
    /// # Context
    ///
    /// May sleep; do not hold a transaction or a metadata lock.
    pub(super) fn folio(&self, pos: u64) -> Result<FolioRef> {
        let index = (pos >> BLOCK_SHIFT) as usize;
        if let Some(folio) = cached_folio(&self.0, index) {
            return Ok(folio);
        }
        // Where the blocks are may change until they are read, unless this lock is held: those who
        // cut the file, or give its blocks back, hold it exclusively.
        let _invalidate = self.0.invalidate_lock_shared();
        if pos >= self.0.size() {
            return Err(estale());
        }
        read_folio(self.mapping(), index)
    }

    /// Says that the page of byte `pos` will be looked for.
    pub(super) fn prefetch_entry(&self, pos: u64) {
        let index = (pos >> BLOCK_SHIFT) as usize;
        // SAFETY: The mapping is that of an inode that we hold.
        unsafe { bindings::vexfs_helper_mapping_prefetch_entry(self.mapping(), index) };
    }

    /// Says that `len` bytes at `pos` will be wanted soon. Does not wait.
    pub(super) fn prefetch(&self, pos: u64, len: usize) {
        let end = self.size().div_ceil(BLOCK) as usize;
        // SAFETY: The mapping is that of an inode that we hold.
        unsafe { bindings::vexfs_helper_mapping_prefetch(self.mapping(), pos as i64, len, end) };
    }

    /// A reader that goes through the file folio by folio, reading ahead.
    pub(crate) fn reader(&self) -> Reader<'_> {
        let mut ra = pin_init::zeroed();
        // SAFETY: The state is ours, the mapping that of an inode that we hold.
        unsafe { bindings::file_ra_state_init(&raw mut ra, self.mapping()) };
        Reader {
            file: self,
            ra,
            missed: 0,
        }
    }
}

/// Reads an internal file.
pub(crate) struct Reader<'a> {
    file: &'a InternalFile,
    ra: bindings::file_ra_state,
    missed: u64,
}

impl Reader<'_> {
    /// The folio that holds byte `pos`; `ahead` bytes from there on are likely to be wanted next.
    ///
    /// # Errors
    ///
    /// EIO, ENOMEM, EINTR; ESTALE if the file does not reach there any more.
    ///
    /// # Context
    ///
    /// May sleep; do not hold a transaction or a metadata lock.
    pub(crate) fn folio(&mut self, pos: u64, ahead: u64) -> Result<FolioRef> {
        let mapping = self.file.mapping();
        let index = (pos >> BLOCK_SHIFT) as usize;
        let count = ahead.div_ceil(BLOCK).clamp(1, 4096) as usize;
        // SAFETY: The state is ours, the mapping that of an inode that we hold.
        let came = unsafe {
            bindings::vexfs_helper_page_cache_readahead(mapping, &raw mut self.ra, index, count)
        };
        self.missed = self.missed.saturating_add(came as u64);
        self.file.folio(pos)
    }

    /// Pages that had to be read from the device so far.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    /// Copies bytes out, from `pos` on; returns how many there were before the end of file.
    pub(crate) fn read_at(&mut self, pos: u64, buf: &mut [u8]) -> Result<usize> {
        let size = self.file.size();
        let want = (buf.len() as u64).min(size.saturating_sub(pos)) as usize;
        let mut done = 0;
        while done < want {
            let at = pos + done as u64;
            let folio = self.folio(at, (want - done) as u64)?;
            let data = &folio.data()[(at - folio.pos()) as usize..];
            let n = data.len().min(want - done);
            buf[done..done + n].copy_from_slice(&data[..n]);
            done += n;
        }
        Ok(done)
    }
}

/// The folio at `index`, if it is in the page cache and uptodate.
fn cached_folio(inode: &VexInode, index: usize) -> Option<FolioRef> {
    // SAFETY: The inode lives. The folio comes back counted, or not at all.
    let folio =
        unsafe { bindings::vexfs_helper_filemap_get_folio_uptodate(inode.mapping(), index) };
    // SAFETY: The folio is uptodate, and its reference was made for us.
    NonNull::new(folio).map(|folio| unsafe { FolioRef::from_raw(folio) })
}

/// The uptodate folio at `index`, read if it has to be. Nobody cuts the file meanwhile.
fn read_folio(mapping: *mut bindings::address_space, index: usize) -> Result<FolioRef> {
    // SAFETY: The callers pass the mapping of an inode that they hold; no file is needed to read
    // ours.
    let folio =
        unsafe { bindings::vexfs_helper_read_mapping_folio(mapping, index, core::ptr::null_mut()) };
    let folio = NonNull::new(from_err_ptr(folio)?).ok_or(EIO)?;
    // SAFETY: The folio is uptodate, and its reference was made for us.
    Ok(unsafe { FolioRef::from_raw(folio) })
}
