// SPDX-License-Identifier: GPL-2.0

//! Delayed allocation: blocks of a file that are promised, and have no place yet.
//!
//! What was promised cannot be refused when write-back asks for it, however torn the free space
//! may be: beside each block a share of the tree nodes is promised that it may need in an extent
//! of its own.

use super::{Mapping, MAX_LBLK};
use crate::libvexfs::alloc::Mode;
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::{Store, Trans};
use crate::libvexfs::Fs;
use kernel::prelude::*;

/// Pieces of a file that may be delayed at a time: more are searched, and moved, for too long.
pub const RUNS_MAX: usize = 512;
/// So many blocks need no node in a file without any: the root has room for as many extents.
const IN_ROOT: u64 = 4;
/// A node that was split has room for about twice as many extents.
const BLOCKS_PER_NODE: u64 = 32;

/// The delayed blocks of an inode. It has no memory while there are none.
#[derive(Debug)]
pub struct Delayed {
    /// First block and end of each run: sorted, with gaps between.
    runs: KVec<(u64, u64)>,
    blocks: u64,
    /// The file had blocks before: its root may be full.
    grown: bool,
    /// What [`Fs::promise`] gave.
    promised: u64,
}

impl Default for Delayed {
    fn default() -> Self {
        Self::new()
    }
}

impl Delayed {
    /// None.
    pub const fn new() -> Self {
        Delayed {
            runs: KVec::new(),
            blocks: 0,
            grown: false,
            promised: 0,
        }
    }

    /// Blocks that have to be promised for `blocks` delayed ones and the nodes that they may need.
    fn needed(&self, blocks: u64) -> u64 {
        let nodes = match blocks {
            0 => 0,
            1..=IN_ROOT if !self.grown => 0,
            _ => blocks.div_ceil(BLOCKS_PER_NODE),
        };
        blocks + nodes
    }

    /// How many there are.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The index of the first run that ends behind block `lblk`.
    fn index(&self, lblk: u64) -> usize {
        self.runs.partition_point(|&(_, end)| end <= lblk)
    }

    /// Whether block `lblk` is delayed, and how many from there on, at most `most`, are like it.
    pub fn at(&self, lblk: u64, most: u64) -> (bool, u64) {
        match self.runs.get(self.index(lblk)) {
            Some(&(start, end)) if start <= lblk => (true, most.min(end - lblk)),
            Some(&(start, _)) => (false, most.min(start - lblk)),
            None => (false, most),
        }
    }

    /// The first block of the run that block `lblk` is in.
    pub fn run_start(&self, lblk: u64) -> Option<u64> {
        let &(start, _) = self.runs.get(self.index(lblk))?;
        (start <= lblk).then_some(start)
    }

    /// Adds the blocks `[lblk, end)`, none of which is there.
    fn insert(&mut self, lblk: u64, end: u64) -> Result {
        let i = self.index(lblk);
        if lblk >= end || self.runs.get(i).is_some_and(|&(start, _)| start < end) {
            return Err(EINVAL);
        }
        let joins_next = self.runs.get(i).is_some_and(|&(start, _)| start == end);
        let before = i.checked_sub(1).filter(|&b| self.runs[b].1 == lblk);
        match (before, joins_next) {
            (Some(b), true) => {
                self.runs[b].1 = self.runs[i].1;
                self.runs.remove(i).map_err(|_| EINVAL)?;
            }
            (Some(b), false) => self.runs[b].1 = end,
            (None, true) => self.runs[i].0 = lblk,
            (None, false) => {
                if self.runs.len() >= RUNS_MAX {
                    return Err(ENOMEM);
                }
                // Memory must not be waited for: the caller may have a folio locked.
                self.runs.reserve(1, GFP_ATOMIC)?;
                self.runs
                    .insert_within_capacity(i, (lblk, end))
                    .map_err(|_| ENOMEM)?;
            }
        }
        self.blocks += end - lblk;
        Ok(())
    }

    /// Takes the blocks `[lblk, end)` out where they are there; says how many were. Without memory for
    /// the two parts of a run that is cut in the middle it stays whole, and its blocks promised.
    fn remove(&mut self, lblk: u64, end: u64) -> u64 {
        let old = self.blocks;
        let mut i = self.index(lblk);
        while let Some(&(start, stop)) = self.runs.get(i) {
            if start >= end {
                break;
            }
            match (start < lblk, stop > end) {
                (false, false) => {
                    if self.runs.remove(i).is_err() {
                        break;
                    }
                    self.blocks -= stop - start;
                    continue;
                }
                (false, true) => {
                    self.runs[i].0 = end;
                    self.blocks -= end - start;
                }
                (true, false) => {
                    self.runs[i].1 = lblk;
                    self.blocks -= stop - lblk;
                }
                (true, true) => {
                    let room = self.runs.reserve(1, GFP_ATOMIC).is_ok();
                    if room && self.runs.insert_within_capacity(i + 1, (end, stop)).is_ok() {
                        self.runs[i].1 = lblk;
                        self.blocks -= end - lblk;
                    }
                    break;
                }
            }
            i += 1;
        }
        if self.runs.is_empty() {
            self.runs = KVec::new();
            self.grown = false;
        }
        old - self.blocks
    }
}

impl<S: Store> Fs<S> {
    /// Promises the `len` blocks from `lblk` on to the file `i`, whose delayed blocks `d` has. They
    /// are neither delayed nor mapped.
    ///
    /// # Errors
    ///
    /// `ENOSPC`; `ENOMEM` if there are too many runs, or no memory. They can be allocated at once.
    pub fn delay(&self, i: &Inode, d: &mut Delayed, lblk: u64, len: u64) -> Result {
        let end = lblk.checked_add(len).filter(|end| *end <= MAX_LBLK);
        let end = end.ok_or(EFBIG)?;
        d.grown |= i.blocks != 0;
        let needed = d.needed(d.blocks + len).saturating_sub(d.promised);
        self.promise(needed, Mode::Normal)?;
        if let Err(e) = d.insert(lblk, end) {
            self.unpromise(needed);
            return Err(e);
        }
        d.promised += needed;
        Ok(())
    }

    /// Takes the promise of the blocks `[lblk, end)` back where there is one. Says of how many.
    pub fn undelay(&self, d: &mut Delayed, lblk: u64, end: u64) -> u64 {
        let n = d.remove(lblk, end);
        self.fit_promise(d);
        n
    }

    /// Gives back what is promised beyond what the delayed blocks need.
    fn fit_promise(&self, d: &mut Delayed) {
        let needed = d.needed(d.blocks);
        self.unpromise(d.promised.saturating_sub(needed));
        d.promised = d.promised.min(needed);
    }

    /// Gives delayed block `lblk`, and as many behind it as are delayed and fit into one extent,
    /// places on disk, unwritten. Logs the inode. Credits:
    /// [`credits::EXTENT_ALLOC`](crate::libvexfs::credits::EXTENT_ALLOC).
    ///
    /// # Errors
    ///
    /// `ENOSPC`, with nothing dirtied, only while freed blocks wait for a commit; `ENOENT` if the
    /// block is not delayed.
    pub fn allocate_delayed(
        &self,
        t: &mut S::Trans,
        i: &mut Inode,
        d: &mut Delayed,
        lblk: u64,
    ) -> Result<Mapping> {
        let (true, len) = d.at(lblk, u64::MAX) else {
            return Err(ENOENT);
        };
        match self.allocate(t, i, lblk, len, 0, Mode::Promised) {
            Ok(mapping) => {
                // That much of the promise is used up.
                d.promised = d.promised.saturating_sub(mapping.len());
                self.undelay(d, lblk, lblk + mapping.len());
                Ok(mapping)
            }
            Err(e) => {
                if t.dirtied() {
                    // The journal is about to be aborted: nobody counts any more.
                    d.remove(0, u64::MAX);
                    d.promised = 0;
                }
                Err(e)
            }
        }
    }
}
