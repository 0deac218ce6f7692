// SPDX-License-Identifier: GPL-2.0

//! The extents of regular files: from logical blocks to places.

mod convert;
mod delayed;
mod replace;
mod shift;

pub use crate::libvexfs::format::extent::{Extent, State, MAX_LBLK, MAX_LEN};
pub use delayed::{Delayed, RUNS_MAX};
pub use replace::New;

use crate::libvexfs::alloc::{Mode, Space};
use crate::libvexfs::format::extent::OFFLINE_LEN;
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::tree::{self, node::SLOT};
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
    fn of(e: &Extent) -> Self {
        let len = e.len;
        match e.state {
            State::Written(phys) => Mapping::Written { phys, len },
            State::Unwritten(phys) => Mapping::Unwritten { phys, len },
            State::Offline {
                src_block,
                src_version,
            } => Mapping::Offline {
                len,
                src_block,
                src_version,
            },
        }
    }

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

impl<S: Store> Fs<S> {
    /// The extent that starts at or before `lblk`, and the one behind that.
    fn extents_around(&self, i: &Inode, lblk: u64) -> Result<(Option<Extent>, Option<Extent>)> {
        let (below, above) = tree::around(&self.store, i.data_root(), lblk.into(), |k, v| {
            self.parse(i, k, v)
        })?;
        if let (Some(a), Some(b)) = (&below, &above) {
            if a.end() > b.lblk {
                return Err(self.damaged(i.ino, 0, "extents overlap"));
            }
        }
        Ok((below, above))
    }

    fn parse(&self, i: &Inode, key: u128, value: &[u8]) -> Result<Extent> {
        Extent::parse(key, value, self.geometry().block_count)
            .map_err(|_| self.damaged(i.ino, 0, "an extent that cannot be"))
    }

    /// What is at logical block `lblk`, for at most `max` blocks.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`; `EFBIG` for a block that no file has.
    pub fn map(&self, i: &Inode, lblk: u64, max: u64) -> Result<Mapping> {
        if lblk >= MAX_LBLK {
            return Err(EFBIG);
        }
        let max = max.clamp(1, MAX_LBLK - lblk);
        let (below, above) = self.extents_around(i, lblk)?;
        if let Some(e) = below.filter(|e| e.end() > lblk) {
            return Ok(Mapping::of(&e.part(lblk, e.end().min(lblk + max))));
        }
        Ok(Mapping::Hole {
            len: above.map_or(max, |e| max.min(e.lblk - lblk)),
        })
    }

    /// The first extent that ends behind logical block `lblk`.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    pub fn next_extent(&self, i: &Inode, lblk: u64) -> Result<Option<Extent>> {
        let (below, above) = self.extents_around(i, lblk)?;
        Ok(below.filter(|e| e.end() > lblk).or(above))
    }

    /// Blocks that are mapped right before logical block `lblk` without a gap, in the last 16
    /// extents there.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    pub fn mapped_before(&self, i: &Inode, lblk: u64) -> Result<u64> {
        let mut start = lblk;
        for _ in 0..16 {
            let Some(last) = start.checked_sub(1) else {
                break;
            };
            match self.extents_around(i, last)?.0 {
                Some(e) if e.end() == start => start = e.lblk,
                _ => break,
            }
        }
        Ok(lblk - start)
    }

    /// Whether `next` can become a part of `e`: it goes on where `e` ends, in the same region
    /// (an extent that crosses one could not be freed with bounded credits).
    fn can_join(&self, e: &Extent, next: &Extent) -> bool {
        if !e.continues(next) {
            return false;
        }
        let (Some(a), Some(b)) = (e.phys(), next.phys()) else {
            return true;
        };
        let g = self.geometry();
        match (g.group_of(a), g.group_of(b)) {
            (Some(x), Some(y)) => x == y && g.region_of(x, a).0 == g.region_of(y, b).0,
            _ => false,
        }
    }

    /// Space for `n` insertions into the extent tree.
    fn extent_space(&self, i: &Inode, n: usize, mode: Mode) -> Result<Space<'_, S>> {
        let blocks = n * tree::blocks_to_insert(&i.data, n * (SLOT + OFFLINE_LEN));
        self.space(i.ino >> 3, blocks, mode)
    }

    fn insert_extent(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        i: &mut Inode,
        e: &Extent,
    ) -> Result {
        let mut value = [0; OFFLINE_LEN];
        let len = e.format(&mut value);
        self.tree_insert(t, space, i.data_root_mut(), e.key(), &value[..len])
    }

    /// Replaces extent `old` by one that covers an end or all of it, in place.
    fn reshape(&self, t: &mut S::Trans, i: &mut Inode, old: &Extent, new: &Extent) -> Result {
        let mut value = [0; OFFLINE_LEN];
        let len = new.format(&mut value);
        self.tree_rekey(t, i.data_root_mut(), old.key(), new.key(), &value[..len])
    }

    fn remove_extent(&self, t: &mut S::Trans, i: &mut Inode, e: &Extent) -> Result {
        self.tree_remove(t, i.data_root_mut(), e.key())
    }

    /// Frees the blocks of an extent that is no longer, or about to be no longer, in a tree.
    fn free_extent(&self, t: &mut S::Trans, i: &mut Inode, e: &Extent) -> Result {
        let Some(phys) = e.phys() else { return Ok(()) };
        self.free_data(t, phys, e.len)?;
        i.blocks = i.blocks.saturating_sub(e.len);
        Ok(())
    }

    /// Fills the hole at `lblk` with an unwritten extent of at most `max` blocks, placed
    /// near `goal` (0: behind the extent before, or where this inode's files should go), and
    /// returns it. Logs the inode. Credits:
    /// [`credits::EXTENT_ALLOC`](crate::libvexfs::credits::EXTENT_ALLOC).
    ///
    /// # Errors
    ///
    /// `ENOSPC` and `EDQUOT` with nothing dirtied; `EEXIST` if there is no hole.
    pub fn allocate(
        &self,
        t: &mut S::Trans,
        i: &mut Inode,
        lblk: u64,
        max: u64,
        goal: u64,
        mode: Mode,
    ) -> Result<Mapping> {
        if lblk >= MAX_LBLK {
            return Err(EFBIG);
        }
        let (below, above) = self.extents_around(i, lblk)?;
        if below.is_some_and(|e| e.end() > lblk) {
            return Err(EEXIST);
        }
        let hole = above.map_or(MAX_LBLK, |e| e.lblk) - lblk;
        let behind = below
            .filter(|e| e.end() == lblk)
            .and_then(|e| Some(e.phys()? + e.len));
        let goal = match (goal, behind) {
            (0, Some(bno)) => bno,
            (0, None) => self.goal_of(i),
            (goal, _) => goal,
        };
        let mut space = self.extent_space(i, 1, mode)?;
        let want = max.clamp(1, hole.min(MAX_LEN));
        let claim = self.quota_claim_data(i, want, mode)?;
        let (phys, len) = self.alloc_blocks(t, goal, claim.blocks(), mode)?;
        let new = Extent {
            lblk,
            len,
            state: State::Unwritten(phys),
        };
        match below.filter(|e| self.can_join(e, &new)) {
            Some(e) => self.reshape(
                t,
                i,
                &e,
                &Extent {
                    len: e.len + len,
                    ..e
                },
            )?,
            None => self.insert_extent(t, &mut space, i, &new)?,
        }
        i.blocks += len;
        self.log_inode(t, i)?;
        Ok(Mapping::of(&new))
    }
}
