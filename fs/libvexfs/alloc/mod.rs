// SPDX-License-Identifier: GPL-2.0

//! Space: finding free blocks, promising them, and giving them back.

use crate::libvexfs::journal::Store;
use crate::libvexfs::tree::Blocks;
use crate::libvexfs::Fs;
use core::sync::atomic::AtomicU64;
use kernel::prelude::*;

/// Who asks for space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Ordinary: the reserve stays untouched.
    Normal,
    /// The blocks were promised before with [`Fs::promise`].
    Promised,
    /// May use the reserve: unlink, truncate, conversion, recall's bookkeeping.
    Privileged,
}

/// Sums over all groups.
pub(crate) struct Counters {
    /// Bits that are clear on disk.
    pub(crate) free: AtomicU64,
    /// Blocks that were promised and not yet allocated.
    pub(crate) promised: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Counters { free: AtomicU64::new(0), promised: AtomicU64::new(0) }
    }
}

/// Metadata blocks set aside for tree operations: taking one cannot fail for lack of
/// space. What is left returns when it is dropped.
pub struct Space<'a, S: Store> {
    fs: &'a Fs<S>,
}

impl<S: Store> Space<'_, S> {
    /// How many blocks are left.
    pub fn left(&self) -> usize {
        let _ = self.fs;
        todo!()
    }
}

impl<S: Store> Blocks<S> for Space<'_, S> {
    fn left(&self) -> usize {
        Space::left(self)
    }

    fn take(&mut self, _t: &mut S::Trans) -> Result<u64> {
        todo!()
    }

    fn give(&mut self, t: &mut S::Trans, bno: u64) -> Result {
        self.fs.free_meta(t, bno)
    }
}

/// A removal takes no blocks: the file system itself is where nodes go.
impl<S: Store> Blocks<S> for &Fs<S> {
    fn left(&self) -> usize {
        0
    }

    fn take(&mut self, _t: &mut S::Trans) -> Result<u64> {
        Err(ENOSPC)
    }

    fn give(&mut self, t: &mut S::Trans, bno: u64) -> Result {
        self.free_meta(t, bno)
    }
}

impl<S: Store> Fs<S> {
    /// Sets `blocks` metadata blocks aside, near block `goal` if possible. Dirties
    /// nothing. Credits for using them: [`credits::SPACE`](crate::libvexfs::credits::SPACE),
    /// however many.
    ///
    /// # Errors
    ///
    /// `ENOSPC`: if [`Fs::settle`] says that something was waiting for a commit, try again.
    pub fn space(&self, _goal: u64, _blocks: usize, _mode: Mode) -> Result<Space<'_, S>> {
        todo!()
    }

    /// Free blocks, as statfs wants them: with the reserve.
    pub fn free_blocks(&self) -> u64 {
        todo!()
    }

    /// Free blocks for ordinary use: without the reserve and without what is promised.
    pub fn available_blocks(&self) -> u64 {
        todo!()
    }

    /// Promises `n` blocks to a later allocation (delayed allocation).
    ///
    /// # Errors
    ///
    /// `ENOSPC`.
    pub fn promise(&self, _n: u64, _mode: Mode) -> Result {
        todo!()
    }

    /// Takes back a promise of `n` blocks that were not allocated with [`Mode::Promised`].
    pub fn unpromise(&self, _n: u64) {
        todo!()
    }

    /// Allocates up to `want` blocks in a row, at `goal` if it is free or as near to it
    /// as may be; returns first block and length. They belong to nobody yet: put them
    /// into a tree in the same transaction.
    ///
    /// # Errors
    ///
    /// `ENOSPC`, with nothing dirtied.
    pub fn alloc_blocks(
        &self,
        _t: &mut S::Trans,
        _goal: u64,
        _want: u64,
        _mode: Mode,
    ) -> Result<(u64, u64)> {
        todo!()
    }

    /// Frees data blocks. They become allocatable when the transaction has committed.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if they are not all allocated data blocks of one region.
    pub fn free_data(&self, _t: &mut S::Trans, _bno: u64, _len: u64) -> Result {
        todo!()
    }

    /// Frees a metadata block: forgets, revokes, frees.
    ///
    /// # Errors
    ///
    /// As [`Fs::free_data`].
    pub fn free_meta(&self, _t: &mut S::Trans, _bno: u64) -> Result {
        todo!()
    }

    /// After `ENOSPC`: if freed blocks only wait for their transaction to commit, commits
    /// it and says true. No transaction may be open in the calling thread.
    ///
    /// # Errors
    ///
    /// What committing returns.
    pub fn settle(&self) -> Result<bool> {
        todo!()
    }
}
