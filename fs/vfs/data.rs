// SPDX-License-Identifier: GPL-2.0

//! What operations do to the page cache of an inode.

use core::marker::PhantomData;

use kernel::error::to_result;
use kernel::prelude::*;

use crate::ops::delay;
use crate::vfs::bindings;
use crate::vfs::inode::{InodeRef, VexInode};
use crate::vfs::iomap::BLOCK;
use crate::vfs::super_block::SuperBlock;

/// Keeps page faults from bringing folios into the page cache of an inode.
pub(crate) struct InvalidateLocked<'a> {
    mapping: *mut bindings::address_space,
    _inode: PhantomData<&'a VexInode>,
}

impl Drop for InvalidateLocked<'_> {
    fn drop(&mut self) {
        // SAFETY: We hold the lock of a mapping whose inode we borrow.
        unsafe { bindings::vexfs_helper_filemap_invalidate_unlock(self.mapping) };
    }
}

/// The same lock, shared: with those who bring folios in.
pub(crate) struct SharedInvalidateLocked<'a> {
    mapping: *mut bindings::address_space,
    _inode: PhantomData<&'a VexInode>,
}

impl Drop for SharedInvalidateLocked<'_> {
    fn drop(&mut self) {
        // SAFETY: We hold the lock, shared, of a mapping whose inode we borrow.
        unsafe { bindings::vexfs_helper_filemap_invalidate_unlock_shared(self.mapping) };
    }
}

impl VexInode {
    /// The page cache.
    pub(crate) fn mapping(&self) -> *mut bindings::address_space {
        // SAFETY: The inode lives, and its mapping is set once.
        unsafe { (*self.as_ptr()).i_mapping }
    }

    /// Bytes of it that are in the page cache.
    pub(crate) fn cached_bytes(&self) -> u64 {
        // SAFETY: The inode lives; the count may be old by the time it is used.
        let pages = unsafe { core::ptr::read_volatile(&raw const (*self.mapping()).nrpages) };
        (pages as u64) << 12
    }

    /// The device that data is on.
    pub(crate) fn bdev(&self) -> *mut bindings::block_device {
        // SAFETY: The inode's super block lives, and has its device as long as it does.
        unsafe { (*(*self.as_ptr()).i_sb).s_bdev }
    }

    /// The smallest piece that the device can write.
    pub(crate) fn sector_size(&self) -> u64 {
        // SAFETY: The device is open as long as the super block lives.
        u64::from(unsafe { bindings::vexfs_helper_bdev_logical_block_size(self.bdev()) }.max(512))
    }

    /// The size of a regular file as far as the disk is concerned: up to there its data was
    /// written.
    pub(crate) fn disk_size(&self) -> u64 {
        self.core().read().size
    }

    /// Locks page faults out.
    ///
    /// # Context
    ///
    /// `i_rwsem` is held; no folio lock, no transaction.
    pub(crate) fn invalidate_lock(&self) -> InvalidateLocked<'_> {
        let mapping = self.mapping();
        // SAFETY: The inode lives as long as the result.
        unsafe { bindings::vexfs_helper_filemap_invalidate_lock(mapping) };
        InvalidateLocked {
            mapping,
            _inode: PhantomData,
        }
    }

    /// Keeps those out who take folios out of the page cache and change where their bytes lie.
    ///
    /// # Context
    ///
    /// No folio lock, no transaction.
    pub(crate) fn invalidate_lock_shared(&self) -> SharedInvalidateLocked<'_> {
        let mapping = self.mapping();
        // SAFETY: The inode lives as long as the result.
        unsafe { bindings::vexfs_helper_filemap_invalidate_lock_shared(mapping) };
        SharedInvalidateLocked {
            mapping,
            _inode: PhantomData,
        }
    }

    /// The inode with number `ino`, if it is in core and not on its way out. Waits for nobody.
    pub(crate) fn in_core(sb: &SuperBlock, ino: u64) -> Option<InodeRef> {
        // SAFETY: The super block is valid.
        let raw = unsafe { bindings::vexfs_helper_grab_inode(sb.as_ptr(), ino) };
        // SAFETY: The inode is of our super block, and the count was taken for us.
        (!raw.is_null()).then(|| unsafe { InodeRef::from_raw(raw) })
    }

    /// Whether direct I/O runs.
    pub(crate) fn has_direct_io(&self) -> bool {
        // SAFETY: The inode lives.
        unsafe { bindings::vexfs_helper_inode_has_dio(self.as_ptr()) }
    }

    /// Waits until no direct I/O runs. `i_rwsem` is held exclusively, so none begins.
    pub(crate) fn wait_for_direct_io(&self) {
        // SAFETY: The inode lives.
        unsafe { bindings::inode_dio_wait(self.as_ptr()) };
    }

    /// Sets the size in core and drops the page cache behind it, waiting for what is being written
    /// there.
    pub(crate) fn truncate_pagecache(&self, size: u64) {
        // SAFETY: The inode lives; the caller holds the locks that a change of size needs.
        unsafe { bindings::truncate_setsize(self.as_ptr(), size as i64) };
    }

    /// Whether the file may get so long: the task's limit, and active swap files.
    ///
    /// # Errors
    ///
    /// `EFBIG` (with a signal, if it is the task's limit), `ETXTBSY`.
    pub(crate) fn new_size_ok(&self, size: u64) -> Result {
        // SAFETY: The inode lives, and is locked.
        to_result(unsafe { bindings::inode_newsize_ok(self.as_ptr(), size as i64) })
    }

    /// Writes the blocks of the bytes `[start, end)` back and takes them out of the page cache and
    /// of all maps.
    ///
    /// # Context
    ///
    /// `i_rwsem` held exclusively and no direct I/O running; `invalidate_lock` held, so that they
    /// stay out.
    pub(crate) fn flush_and_unmap(&self, start: u64, end: u64) -> Result {
        let first = start & !(BLOCK - 1);
        let last = end
            .checked_next_multiple_of(BLOCK)
            .map_or(i64::MAX as u64, |end| (end - 1).min(i64::MAX as u64));
        self.write_and_wait(first, last)?;
        // SAFETY: The inode lives; the caller holds the locks.
        unsafe { bindings::truncate_pagecache_range(self.as_ptr(), first as i64, last as i64) };
        // Nothing, unless write-back met an error that somebody else was told of.
        delay::forget(self, first / BLOCK, last / BLOCK + 1);
        Ok(())
    }

    /// Writes the bytes from `first` to `last` back and waits, completion included.
    pub(crate) fn write_and_wait(&self, first: u64, last: u64) -> Result {
        // SAFETY: The inode lives; no transaction is open.
        to_result(unsafe {
            bindings::filemap_write_and_wait_range(self.mapping(), first as i64, last as i64)
        })
    }
}
