// SPDX-License-Identifier: GPL-2.0

//! Metadata blocks in the block device's buffer cache.
//!
//! A block's seal (its first eight bytes) is verified once after each read from the medium; a bit
//! of the buffer's state remembers it. It is computed anew when jbd2 freezes the block for a
//! commit, so between changes the seal in memory may be stale. Nobody but this file looks at it.

use super::{bindings, crc32c::crc32c};
use crate::libvexfs::journal::{self, BLOCK_SIZE, SEAL_SIZE};
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::prelude::*;

/// A counted reference to a buffer of [`BLOCK_SIZE`] bytes.
///
/// # Invariants
///
/// The pointer is valid, and one count of the buffer is ours.
pub(crate) struct Block(NonNull<bindings::buffer_head>);

// SAFETY: A buffer's count and state bits are atomic. Its bytes belong to whoever holds the lock
// of the block's owner (see `libvexfs::journal`).
unsafe impl Send for Block {}
// SAFETY: As above.
unsafe impl Sync for Block {}

impl Block {
    /// Takes over a count that a C function returned; `None` for null.
    ///
    /// # Safety
    ///
    /// The pointer is null or valid, with a count that nobody else drops.
    unsafe fn take(bh: *mut bindings::buffer_head) -> Option<Self> {
        NonNull::new(bh).map(Block)
    }

    /// Reads block `bno`, unless it is cached.
    ///
    /// # Safety
    ///
    /// `sb` is a super block with an open device of block size [`BLOCK_SIZE`].
    pub(super) unsafe fn read(sb: *mut bindings::super_block, bno: u64) -> Result<Self> {
        // SAFETY: By this function's own requirement.
        let bh = unsafe { bindings::vexfs_helper_sb_bread(sb, bno) };
        // SAFETY: `sb_bread` returns a counted buffer or null.
        unsafe { Self::take(bh) }.ok_or(EIO)
    }

    /// The buffer of block `bno`, whatever it contains.
    ///
    /// # Safety
    ///
    /// As for [`Block::read`].
    pub(super) unsafe fn get(sb: *mut bindings::super_block, bno: u64) -> Result<Self> {
        // SAFETY: By this function's own requirement.
        let bh = unsafe { bindings::vexfs_helper_sb_getblk(sb, bno) };
        // SAFETY: `sb_getblk` returns a counted buffer or null.
        unsafe { Self::take(bh) }.ok_or(ENOMEM)
    }

    /// The buffer of block `bno` if it is cached.
    ///
    /// # Safety
    ///
    /// As for [`Block::read`].
    pub(super) unsafe fn cached(sb: *mut bindings::super_block, bno: u64) -> Option<Self> {
        // SAFETY: By this function's own requirement; the result is counted or null.
        unsafe { Self::take(bindings::vexfs_helper_sb_find_get_block(sb, bno)) }
    }

    /// Whether the buffer has what the medium has, or something newer.
    pub(super) fn is_read(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::vexfs_helper_buffer_uptodate(self.as_ptr()) }
    }

    /// The buffer. It stays valid as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut bindings::buffer_head {
        self.0.as_ptr()
    }

    /// Gives the count to C code that will drop it.
    pub(super) fn into_raw(self) -> *mut bindings::buffer_head {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// The bytes of the whole block, seal and all.
    pub(super) fn bytes(&self) -> *mut u8 {
        // SAFETY: By the type invariant. The device's cache never lies in high memory, so b_data
        // is mapped.
        unsafe { bindings::vexfs_helper_bh_data(self.as_ptr()) }.cast()
    }

    /// The body: what follows the seal.
    pub(super) fn body(&self) -> *mut u8 {
        self.bytes().wrapping_add(SEAL_SIZE)
    }

    /// Verifies the seal, unless that was done since the block was read. False: it is wrong.
    pub(super) fn verify(&self, seed: u32) -> bool {
        // SAFETY: By the type invariant.
        if unsafe { bindings::vexfs_helper_buffer_checked(self.as_ptr()) } {
            return true;
        }
        // Whoever verified first may change the block at once, so look again under the lock before
        // computing a sum over bytes that move.
        let lock = self.lock();
        // SAFETY: By the type invariant.
        if unsafe { bindings::vexfs_helper_buffer_checked(self.as_ptr()) } {
            return true;
        }
        // SAFETY: The buffer is as long as a block. Nobody writes to it: changing a block needs
        // a check that succeeded, and the buffer is locked against a second one.
        let bytes = unsafe { core::slice::from_raw_parts(self.bytes(), BLOCK_SIZE) };
        let good = bytes[..SEAL_SIZE] == seal(seed, self.number(), bytes);
        if good {
            lock.set_checked();
        }
        good
    }

    /// Locks the buffer against I/O and other holders of this lock. May sleep.
    pub(super) fn lock(&self) -> LockedBlock<'_> {
        // SAFETY: By the type invariant.
        unsafe { bindings::vexfs_helper_lock_buffer(self.as_ptr()) };
        LockedBlock(self)
    }

    /// Its number on the device.
    pub(super) fn number(&self) -> u64 {
        // SAFETY: By the type invariant.
        unsafe { bindings::vexfs_helper_bh_blocknr(self.as_ptr()) }
    }
}

/// Computes the seal of the block `bytes`, at home at `bno`.
fn seal(seed: u32, bno: u64, bytes: &[u8]) -> [u8; SEAL_SIZE] {
    let crc = crc32c(!0, &seed.to_le_bytes());
    let crc = crc32c(crc, &bno.to_le_bytes());
    let crc = crc32c(crc, &[0; SEAL_SIZE - 4]);
    let crc = crc32c(crc, bytes.get(SEAL_SIZE..).unwrap_or_default());
    let mut seal = [0; SEAL_SIZE];
    seal[..4].copy_from_slice(&crc.to_le_bytes());
    seal
}

/// Seals a block that is about to go to the journal.
///
/// # Safety
///
/// `bytes` points to the block's [`BLOCK_SIZE`] bytes, of which nobody writes or reads the seal
/// and nobody writes the rest.
pub(super) unsafe fn seal_at(seed: u32, bno: u64, bytes: *mut u8) {
    // SAFETY: By this function's own requirement.
    let body = unsafe { core::slice::from_raw_parts(bytes.cast_const(), BLOCK_SIZE) };
    let seal = seal(seed, bno, body);
    // SAFETY: By this function's own requirement; `body` is not used any more.
    unsafe { core::ptr::copy_nonoverlapping(seal.as_ptr(), bytes, SEAL_SIZE) };
}

/// A locked buffer; unlocks it when dropped.
pub(super) struct LockedBlock<'a>(&'a Block);

impl LockedBlock<'_> {
    /// Remembers that the seal was right, or that the content is ours.
    fn set_checked(&self) {
        // SAFETY: By the type invariant of the block.
        unsafe { bindings::vexfs_helper_set_buffer_checked(self.0.as_ptr()) };
    }

    /// Fills the block with zeros: it is new, and what the medium holds does not matter.
    pub(super) fn zero(&self) {
        // SAFETY: The buffer is a block long and locked; it was no metadata before, so nobody
        // else has a view of it.
        unsafe { core::ptr::write_bytes(self.0.bytes(), 0, BLOCK_SIZE) };
        // SAFETY: By the type invariant of the block.
        unsafe { bindings::vexfs_helper_set_buffer_uptodate(self.0.as_ptr()) };
        self.set_checked();
    }
}

impl Drop for LockedBlock<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant of the block; it was locked when `self` was made.
        unsafe { bindings::vexfs_helper_unlock_buffer(self.0.as_ptr()) };
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        // SAFETY: By the type invariant.
        unsafe { bindings::vexfs_helper_get_bh(self.as_ptr()) };
        // INVARIANT: The count was taken just now.
        Block(self.0)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; the count is not used any more.
        unsafe { bindings::vexfs_helper_brelse(self.as_ptr()) };
    }
}

impl journal::Block for Block {
    type Ref<'a> = &'a [u8];

    fn bno(&self) -> u64 {
        self.number()
    }

    fn data(&self) -> &[u8] {
        // SAFETY: The body is that long. Whoever calls holds the lock of the block's owner, so
        // nobody writes to it meanwhile; jbd2 writes to the seal alone.
        unsafe { core::slice::from_raw_parts(self.body(), journal::BODY_SIZE) }
    }
}

/// A block to which a handle took write access.
pub(crate) struct BlockMut(Block);

impl BlockMut {
    /// Wraps a block to which the running handle has write access, and which it dirtied.
    pub(super) fn new(block: Block) -> Self {
        BlockMut(block)
    }
}

impl journal::Block for BlockMut {
    type Ref<'a> = &'a [u8];

    fn bno(&self) -> u64 {
        self.0.number()
    }

    fn data(&self) -> &[u8] {
        self.0.data()
    }
}

impl journal::BlockMut for BlockMut {
    type Mut<'a> = &'a mut [u8];

    fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: The body is that long. Whoever calls holds the lock of the block's owner for
        // writing, so the bytes are his; jbd2 froze or copied what it needs of the older content
        // when write access was taken.
        unsafe { core::slice::from_raw_parts_mut(self.0.body(), journal::BODY_SIZE) }
    }
}
