// SPDX-License-Identifier: GPL-2.0

//! Folios of the page cache, for code that reads file data in bulk.

use core::ptr::NonNull;

use kernel::error::to_result;
use kernel::prelude::*;

use crate::vfs::bindings;

/// A counted reference to an uptodate folio of the page cache.
///
/// # Invariants
///
/// The folio is valid, one of its references is ours, and it was uptodate when we got it. Its
/// memory is in the kernel's direct map (there is no highmem on 64 bits).
pub(crate) struct FolioRef(NonNull<bindings::folio>);

// SAFETY: A folio's reference count is atomic, and its bytes are shared with everybody anyway.
unsafe impl Send for FolioRef {}
// SAFETY: As above.
unsafe impl Sync for FolioRef {}

impl FolioRef {
    /// Takes over a reference from C.
    ///
    /// # Safety
    ///
    /// `folio` is a valid, uptodate folio and its reference is given to us.
    pub(crate) unsafe fn from_raw(folio: NonNull<bindings::folio>) -> Self {
        Self(folio)
    }

    /// The folio, for C.
    pub(super) fn as_ptr(&self) -> *mut bindings::folio {
        self.0.as_ptr()
    }

    /// The byte of the file that its first byte is.
    pub(crate) fn pos(&self) -> u64 {
        // SAFETY: We hold a reference.
        unsafe { bindings::vexfs_helper_folio_pos(self.0.as_ptr()) as u64 }
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: We hold a reference.
        unsafe { bindings::vexfs_helper_folio_size(self.0.as_ptr()) }
    }

    /// Where its bytes are, for code that copes with their being written to meanwhile.
    pub(super) fn address(&self) -> *const u8 {
        // SAFETY: We hold a reference.
        unsafe { bindings::vexfs_helper_folio_address(self.0.as_ptr()) }
            .cast_const()
            .cast()
    }

    /// Whether somebody has looked at it since it was read from the medium: see
    /// [`super::index_pages`].
    pub(super) fn checked(&self) -> bool {
        // SAFETY: We hold a reference.
        unsafe { bindings::vexfs_helper_folio_test_checked(self.0.as_ptr()) }
    }

    /// Locks it, unless the task is killed first; `f` gets its bytes.
    ///
    /// # Errors
    ///
    /// `EINTR`, and what `f` returns.
    ///
    /// # Context
    ///
    /// May sleep; no other folio lock is held. Only for folios of internal inodes: nobody else
    /// writes to those but under the folio's lock.
    pub(super) fn locked<T>(&self, f: impl FnOnce(&mut [u8]) -> Result<T>) -> Result<T> {
        // SAFETY: We hold a reference; what is locked here is unlocked below.
        to_result(unsafe { bindings::vexfs_helper_folio_lock_killable(self.0.as_ptr()) })?;
        // SAFETY: The folio is in the direct map. Whoever writes to an internal inode's folio holds
        // its lock; those that read meanwhile do it as raw memory.
        let bytes = unsafe {
            let start: *mut u8 = bindings::vexfs_helper_folio_address(self.0.as_ptr()).cast();
            core::slice::from_raw_parts_mut(start, self.len())
        };
        let result = f(bytes);
        // SAFETY: Locked above.
        unsafe { bindings::vexfs_helper_folio_unlock(self.0.as_ptr()) };
        result
    }

    /// Notes that somebody has looked at it. The folio is locked.
    pub(super) fn set_checked(&self) {
        // SAFETY: We hold a reference.
        unsafe { bindings::vexfs_helper_folio_set_checked(self.0.as_ptr()) };
    }

    /// Its bytes, all of them, also those beyond the end of file (zeroes).
    ///
    /// The page cache of an internal inode is changed by
    /// [`super::internal_file::InternalFile::write_at`] alone, and whoever calls that excludes
    /// readers of the same bytes. Do not look at bytes that may be written meanwhile.
    pub(crate) fn data(&self) -> &[u8] {
        // SAFETY: The folio is in the direct map and our reference keeps it there. That nobody
        // writes to the bytes while they are looked at is the internal file's contract, as said
        // above.
        unsafe {
            let start: *const u8 = bindings::vexfs_helper_folio_address(self.0.as_ptr()).cast();
            core::slice::from_raw_parts(start, self.len())
        }
    }
}

impl Drop for FolioRef {
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { bindings::vexfs_helper_folio_put(self.0.as_ptr()) };
    }
}
