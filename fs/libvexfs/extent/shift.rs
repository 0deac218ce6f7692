// SPDX-License-Identifier: GPL-2.0

//! Moving extents within a file, in bounded steps: collapsing and inserting ranges.
//!
//! What a step leaves is a whole file: no block is in two places or in none. Who looks in between
//! (after a crash) finds the gap somewhere between where it was and where it goes.

use super::{Extent, MAX_LBLK};
use crate::libvexfs::alloc::{Mode, Space};
use crate::libvexfs::credits::{SHIFT_IN_PLACE, SHIFT_MOVES};
use crate::libvexfs::journal::{Store, Trans};
use crate::libvexfs::tree::{height, MAX_HEIGHT};
use crate::libvexfs::{Fs, Inode};
use kernel::prelude::*;

/// What a step may still spend.
struct Budget {
    /// Records that go into another leaf.
    moves: usize,
    /// Records that stay in theirs.
    in_place: usize,
}

impl Budget {
    fn new() -> Self {
        Budget {
            moves: SHIFT_MOVES,
            in_place: SHIFT_IN_PLACE,
        }
    }

    fn is_spent(&self) -> bool {
        self.moves == 0 || self.in_place == 0
    }
}

impl<S: Store> Fs<S> {
    /// Moves extents that begin at or behind `from` to the left by `by` blocks, the first ones
    /// first. `[from - by, from)` must be a hole. Returns the `from` of the next step; `None` when
    /// all are moved. Logs the inode. Credits: [`credits::SHIFT`](crate::libvexfs::credits::SHIFT).
    ///
    /// # Errors
    ///
    /// `EINVAL` if something is in the way, `ENOSPC`, both with nothing dirtied; `EUCLEAN`, `EIO`.
    pub fn shift_left(
        &self,
        t: &mut S::Trans,
        i: &mut Inode,
        from: u64,
        by: u64,
    ) -> Result<Option<u64>> {
        let mut at = from;
        let mut space = self.shift_space(i)?;
        let mut budget = Budget::new();
        let gap = from.checked_sub(by).filter(|_| by > 0).ok_or(EINVAL)?;
        if self.next_extent(i, gap)?.is_some_and(|e| e.lblk < from) {
            return Err(EINVAL);
        }
        while !budget.is_spent() {
            let Some(e) = self.next_extent(i, at)? else {
                self.log_if_dirtied(t, i)?;
                return Ok(None);
            };
            let to = e.at(e.lblk - by);
            let below = match to.lblk.checked_sub(1) {
                Some(lblk) => self.extents_around(i, lblk)?.0,
                None => None,
            };
            at = e.end();
            if let Some(below) = below.filter(|b| self.can_join(b, &to)) {
                budget.moves -= 1;
                self.remove_extent(t, i, &e)?;
                let len = below.len + to.len;
                self.reshape(t, i, &below, &Extent { len, ..below })?;
            } else {
                self.move_extent(t, &mut space, i, &mut budget, &e, &to)?;
            }
        }
        self.log_inode(t, i)?;
        Ok(Some(at))
    }

    /// Moves what is at or behind block `from`, and before `limit`, to the right by `by` blocks,
    /// the last ones first; an extent across `from` is split. The first step's limit is
    /// [`MAX_LBLK`]. Returns the limit of the next step; `None` when all is moved. Logs the inode.
    /// Credits: [`credits::SHIFT`](crate::libvexfs::credits::SHIFT).
    ///
    /// # Errors
    ///
    /// `EFBIG` if blocks would go where no file has any, `ENOSPC`, both with nothing dirtied;
    /// `EUCLEAN`, `EIO`.
    pub fn shift_right(
        &self,
        t: &mut S::Trans,
        i: &mut Inode,
        from: u64,
        limit: u64,
        by: u64,
    ) -> Result<Option<u64>> {
        let mut limit = limit;
        let mut space = self.shift_space(i)?;
        let mut budget = Budget::new();
        if by == 0 || limit > MAX_LBLK {
            return Err(EINVAL);
        }
        while !budget.is_spent() {
            let below = match limit.checked_sub(1) {
                Some(lblk) => self.extents_around(i, lblk)?.0,
                None => None,
            };
            let Some(e) = below.filter(|e| e.end() > from) else {
                self.log_if_dirtied(t, i)?;
                return Ok(None);
            };
            if e.end().checked_add(by).is_none_or(|end| end > MAX_LBLK) {
                // Only the first that is moved can be the last of the file.
                return Err(EFBIG);
            }
            if e.lblk < from {
                self.reshape(t, i, &e, &e.part(e.lblk, from))?;
                let right = e.part(from, e.end());
                self.insert_extent(t, &mut space, i, &right.at(from + by))?;
                self.log_inode(t, i)?;
                return Ok(None);
            }
            limit = e.lblk;
            self.move_extent(t, &mut space, i, &mut budget, &e, &e.at(e.lblk + by))?;
        }
        self.log_inode(t, i)?;
        Ok(Some(limit))
    }

    /// Space for all insertions of a step.
    fn shift_space(&self, i: &Inode) -> Result<Space<'_, S>> {
        // The tree may get higher on the way.
        let each = (height(&i.data) + 2).min(MAX_HEIGHT);
        self.space(i.ino >> 3, (SHIFT_MOVES + 1) * each, Mode::Privileged)
    }

    /// Gives an extent another place in the file, between the same neighbours.
    fn move_extent(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        i: &mut Inode,
        budget: &mut Budget,
        e: &Extent,
        to: &Extent,
    ) -> Result {
        match self.reshape(t, i, e, to) {
            // The new key belongs into another leaf.
            Err(err) if err == EINVAL => {
                budget.moves -= 1;
                self.remove_extent(t, i, e)?;
                self.insert_extent(t, space, i, to)
            }
            other => {
                budget.in_place -= 1;
                other
            }
        }
    }

    fn log_if_dirtied(&self, t: &mut S::Trans, i: &Inode) -> Result {
        if t.dirtied() {
            self.log_inode(t, i)?;
        }
        Ok(())
    }
}
