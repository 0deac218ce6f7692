// SPDX-License-Identifier: GPL-2.0

//! What libvexfs asks of storage: blocks, and transactions over them.
//!
//! The module implements these traits over the buffer cache and jbd2, hosts over
//! memory and files. The rules that every caller keeps:
//!
//! 1. Plan, then apply. There is no rollback: what can fail (reading, finding
//!    space) comes before the first change. A transaction that is dropped after
//!    it dirtied something takes the file system down.
//! 2. Every block but inode blocks belongs to one owner (an inode, a group), and
//!    whoever holds that owner's lock may use the block's bytes freely. Inode
//!    blocks have several owners; only `read_at` and `write_at` touch them.

use crate::libvexfs::quota::{Caller, Warning};
use core::ops::{Deref, DerefMut};
use kernel::prelude::*;

/// Bytes in a block.
pub const BLOCK_SIZE: usize = 4096;
/// log2 of [`BLOCK_SIZE`].
pub const BLOCK_SHIFT: u32 = 12;
/// Bytes at the start of each metadata block that belong to the storage layer:
/// CRC32C le32 (initial value: crc32c(!0, csum_seed le32), then the block number
/// as le64, then bytes 4 to 4095), and four bytes of zero.
pub const SEAL_SIZE: usize = 8;
/// What libvexfs sees of a metadata block. All offsets into blocks that it uses
/// are offsets into this body.
pub const BODY_SIZE: usize = BLOCK_SIZE - SEAL_SIZE;

/// A transaction's number. It wraps: compare with [`tid_geq`].
pub type Tid = u32;

/// Whether `a` is `b` or later.
pub fn tid_geq(a: Tid, b: Tid) -> bool {
    a.wrapping_sub(b) as i32 >= 0
}

/// A metadata block in memory; a cheap, reference-counted handle.
pub trait Block {
    /// A view of the body.
    type Ref<'a>: Deref<Target = [u8]>
    where
        Self: 'a;

    /// The block's number.
    fn bno(&self) -> u64;

    /// The body, [`BODY_SIZE`] bytes. Do not hold it across a change of the same block.
    fn data(&self) -> Self::Ref<'_>;
}

/// A block that a transaction may change.
pub trait BlockMut: Block {
    /// A view of the body to write to.
    type Mut<'a>: DerefMut<Target = [u8]>
    where
        Self: 'a;

    /// The body, to be changed.
    fn data_mut(&mut self) -> Self::Mut<'_>;
}

/// A device full of blocks, with a journal.
pub trait Store: Sized {
    /// What reading gives.
    type Block: Block;
    /// This store's transactions.
    type Trans: Trans<Store = Self>;

    /// Reads a sealed block. The checksum is verified once per read from the medium.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` for a wrong checksum (named in the log), `EIO`.
    fn read(&self, bno: u64) -> Result<Self::Block>;

    /// As [`Store::read`], of an interior node of a tree: most searches go through the same few.
    fn read_interior(&self, bno: u64) -> Result<Self::Block> {
        self.read(bno)
    }

    /// Copies ranges of the body of a shared (inode) block out, under the buffer's lock. `missing` is
    /// called first if the block has to come from the medium.
    ///
    /// # Errors
    ///
    /// As [`Store::read`], and `EINVAL` if a range does not lie in the body.
    fn read_shared(
        &self,
        bno: u64,
        ranges: &mut [(usize, &mut [u8])],
        missing: impl FnOnce(),
    ) -> Result;

    /// [`Store::read_shared`] of one range.
    fn read_at(&self, bno: u64, off: usize, buf: &mut [u8]) -> Result {
        self.read_shared(bno, &mut [(off, buf)], || {})
    }

    /// Starts reading blocks that will be wanted soon. Numbers may be wrong: nothing comes of those.
    fn readahead(&self, bnos: impl Iterator<Item = u64>);

    /// Whether a block can be read without waiting for the medium.
    fn is_cached(&self, bno: u64) -> bool;

    /// Starts a transaction that dirties at most `credits` blocks. May sleep.
    fn begin(&self, credits: usize) -> Result<Self::Trans>;

    /// The newest transaction that is known to be durable.
    fn committed(&self) -> Tid;

    /// Makes everything durable that was stopped before. No transaction may be open
    /// in the calling thread.
    fn commit(&self) -> Result;

    /// The device's size in blocks.
    fn block_count(&self) -> u64;

    /// Who calls, as far as limits on space go. Without users there are no limits.
    fn caller(&self) -> Caller {
        Caller {
            exempt: true,
            now: 0,
        }
    }

    /// An owner passed a limit. It is called with the quota's lock held, inside of transactions too,
    /// and cannot fail: at worst nobody hears it.
    fn quota_warn(&self, _warning: Warning) {}
}

/// A running transaction (a jbd2 handle).
///
/// Dropped without [`Trans::stop`]: an ordinary end if nothing was dirtied,
/// otherwise the journal is aborted and the file system shut down.
pub trait Trans: Sized {
    /// The store it belongs to.
    type Store: Store;
    /// What may be changed.
    type BlockMut: BlockMut;

    /// The number of the transaction that this will be part of.
    fn tid(&self) -> Tid;

    /// Reads, seeing this transaction's own changes.
    fn read(&mut self, bno: u64) -> Result<<Self::Store as Store>::Block>;

    /// As [`Trans::read`], of an interior node of a tree.
    fn read_interior(&mut self, bno: u64) -> Result<<Self::Store as Store>::Block> {
        self.read(bno)
    }

    /// Write access to a block, which is dirty from now on. Cannot fail for lack of
    /// memory or for damage if the block was read before in this transaction.
    fn modify(&mut self, bno: u64) -> Result<Self::BlockMut>;

    /// A new metadata block, zeroed and dirty; whatever the medium holds is not read.
    fn create(&mut self, bno: u64) -> Result<Self::BlockMut>;

    /// The block is no metadata any more: forget its changes, and revoke it so that
    /// replay does not bring it back over data.
    fn forget(&mut self, bno: u64) -> Result;

    /// Writes a range of the body of a shared (inode) block under the buffer's lock.
    /// With no bytes it only takes write access and dirties the block, which is how
    /// in-core changes announce themselves before they happen.
    fn write_at(&mut self, bno: u64, off: usize, bytes: &[u8]) -> Result;

    /// Asks for `credits` more. `Ok(false)`: does not fit, stop and begin anew.
    fn extend(&mut self, credits: usize) -> Result<bool>;

    /// Whether anything was dirtied.
    fn dirtied(&self) -> bool;

    /// Ends the transaction in success.
    fn stop(self) -> Result;
}

// Hosts have no jbd2: this knows its format, writes it and replays it.
#[cfg(not(vexfs_kernel))]
pub mod host;
