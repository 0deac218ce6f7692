// SPDX-License-Identifier: GPL-2.0

//! The extents of regular files: from logical blocks to places.

use crate::libvexfs::alloc::Mode;
pub use crate::libvexfs::format::extent::{Extent, State, MAX_LBLK, MAX_LEN};
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::Fs;
use kernel::prelude::*;

/// Where a file's blocks are, from the one that was asked for on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Nothing there: reads as zeros.
    Hole {
        /// Blocks.
        len: u64,
    },
    /// On disk.
    Written {
        /// First block on disk.
        phys: u64,
        /// Blocks.
        len: u64,
    },
    /// Room on disk; reads as zeros.
    Unwritten {
        /// First block on disk.
        phys: u64,
        /// Blocks.
        len: u64,
    },
    /// In archived copies only.
    Offline {
        /// Blocks.
        len: u64,
        /// The block in the archived contents.
        src_block: u64,
        /// The archived version.
        src_version: u64,
    },
}

impl Mapping {
    /// Blocks for which it holds.
    pub fn len(&self) -> u64 {
        match *self {
            Mapping::Hole { len }
            | Mapping::Written { len, .. }
            | Mapping::Unwritten { len, .. }
            | Mapping::Offline { len, .. } => len,
        }
    }

    /// Never: a mapping says something about at least one block.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What [`Fs::replace_range`] puts in place of what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum New {
    /// Nothing.
    Hole,
    /// The archived contents, from `src_block` for the first block of the range on.
    Offline {
        /// The block in the archived contents.
        src_block: u64,
        /// The archived version.
        src_version: u64,
    },
    /// Blocks from [`Fs::alloc_blocks`] that hold the contents.
    Written {
        /// First block on disk.
        phys: u64,
    },
    /// Blocks from [`Fs::alloc_blocks`] without contents.
    Unwritten {
        /// First block on disk.
        phys: u64,
    },
}

impl<S: Store> Fs<S> {
    /// What is at logical block `lblk`, for at most `max` blocks.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`; `EFBIG` for a block that no file has.
    pub fn map(&self, _i: &Inode, _lblk: u64, _max: u64) -> Result<Mapping> {
        todo!()
    }

    /// The first extent that ends behind logical block `lblk`.
    pub fn next_extent(&self, _i: &Inode, _lblk: u64) -> Result<Option<Extent>> {
        todo!()
    }

    /// Fills the hole at `lblk` with an unwritten extent of at most `max` blocks, placed
    /// near `goal` (0: where this inode's files should go), and returns it. Logs the inode.
    /// Credits: [`credits::EXTENT_ALLOC`](crate::libvexfs::credits::EXTENT_ALLOC).
    ///
    /// # Errors
    ///
    /// `ENOSPC` with nothing dirtied; `EEXIST` if there is no hole.
    pub fn allocate(
        &self,
        _t: &mut S::Trans,
        _i: &mut Inode,
        _lblk: u64,
        _max: u64,
        _goal: u64,
        _mode: Mode,
    ) -> Result<Mapping> {
        todo!()
    }

    /// Marks unwritten blocks of `[lblk, lblk + len)` as written. Does a bounded part and
    /// returns how many blocks from `lblk` on are done (holes and written ones count);
    /// the caller goes on in a new transaction. Logs the inode. Credits:
    /// [`credits::CONVERT`](crate::libvexfs::credits::CONVERT).
    ///
    /// # Errors
    ///
    /// Never `ENOSPC` while the reserve lasts.
    pub fn convert(&self, _t: &mut S::Trans, _i: &mut Inode, _lblk: u64, _len: u64) -> Result<u64> {
        todo!()
    }

    /// Replaces `[lblk, lblk + len)` by something else and frees what was there. Does a
    /// bounded part and returns how many blocks from `lblk` on are done. Logs the inode.
    /// Credits: [`credits::REPLACE_RANGE`](crate::libvexfs::credits::REPLACE_RANGE).
    ///
    /// # Errors
    ///
    /// `ENOSPC` with nothing dirtied.
    pub fn replace_range(
        &self,
        _t: &mut S::Trans,
        _i: &mut Inode,
        _lblk: u64,
        _len: u64,
        _new: New,
    ) -> Result<u64> {
        todo!()
    }

    /// Frees extents from `first_lblk` on, the last ones first; true when none is left.
    /// Logs the inode. Credits: [`credits::TRUNCATE`](crate::libvexfs::credits::TRUNCATE).
    pub fn truncate_step(
        &self,
        _t: &mut S::Trans,
        _i: &mut Inode,
        _first_lblk: u64,
    ) -> Result<bool> {
        todo!()
    }
}
