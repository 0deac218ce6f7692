// SPDX-License-Identifier: GPL-2.0

//! Freeing and replacing ranges of a file, in bounded steps.

use super::{Extent, State, MAX_LBLK, MAX_LEN};
use crate::libvexfs::alloc::Mode;
use crate::libvexfs::credits::{self, extents_per_step};
use crate::libvexfs::journal::{Store, Trans};
use crate::libvexfs::tree::height;
use crate::libvexfs::{Fs, Inode};
use kernel::prelude::*;

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

impl New {
    /// The extent for `[lblk, stop)` when the range that was asked for began at `lblk`.
    fn extent(&self, lblk: u64, stop: u64) -> Option<Extent> {
        let state = match *self {
            New::Hole => return None,
            New::Offline {
                src_block,
                src_version,
            } => State::Offline {
                src_block,
                src_version,
            },
            New::Written { phys } => State::Written(phys),
            New::Unwritten { phys } => State::Unwritten(phys),
        };
        Some(Extent {
            lblk,
            len: stop - lblk,
            state,
        })
    }
}

impl<S: Store> Fs<S> {
    /// Replaces `[lblk, lblk + len)` by something else and frees what was there. Does a
    /// bounded part and returns how many blocks from `lblk` on are done; the caller goes on
    /// with the rest of the range in a new transaction. Logs the inode. Credits:
    /// [`credits::REPLACE_RANGE`].
    ///
    /// # Errors
    ///
    /// `ENOSPC` with nothing dirtied; `EINVAL` for a range that no file has.
    pub fn replace_range(
        &self,
        t: &mut S::Trans,
        i: &mut Inode,
        lblk: u64,
        len: u64,
        new: New,
    ) -> Result<u64> {
        let end = lblk
            .checked_add(len)
            .filter(|end| len > 0 && *end <= MAX_LBLK)
            .ok_or(EINVAL)?;
        let mut stop = end.min(lblk + MAX_LEN);

        // Plan: what is there, and how far this step goes.
        let most = extents_per_step(height(&i.data)).min(credits::STEP_EXTENTS);
        let mut old = [None; credits::STEP_EXTENTS];
        let mut at = lblk;
        for slot in old.iter_mut().take(most) {
            *slot = self.next_extent(i, at)?.filter(|e| e.lblk < stop);
            match slot {
                Some(e) => at = e.end(),
                None => break,
            }
        }
        if old.iter().take(most).all(Option::is_some) {
            stop = stop.min(at);
        }
        let new = new.extent(lblk, stop);
        let below = match lblk.checked_sub(1) {
            Some(lblk) => self
                .extents_around(i, lblk)?
                .0
                .filter(|e| e.end() == lblk + 1),
            None => None,
        };
        let mut space = self.extent_space(i, 2, Mode::Privileged)?;

        for e in old.iter().flatten() {
            let (from, to) = (e.lblk.max(lblk), e.end().min(stop));
            self.free_extent(t, i, &e.part(from, to))?;
            match (e.lblk < from, to < e.end()) {
                (false, false) => self.remove_extent(t, i, e)?,
                (true, false) => self.reshape(t, i, e, &e.part(e.lblk, from))?,
                (false, true) => self.reshape(t, i, e, &e.part(to, e.end()))?,
                (true, true) => {
                    self.reshape(t, i, e, &e.part(e.lblk, from))?;
                    self.insert_extent(t, &mut space, i, &e.part(to, e.end()))?;
                }
            }
        }
        if let Some(new) = &new {
            match below.filter(|e| self.can_join(e, new)) {
                Some(e) => self.reshape(
                    t,
                    i,
                    &e,
                    &Extent {
                        len: e.len + new.len,
                        ..e
                    },
                )?,
                None => self.insert_extent(t, &mut space, i, new)?,
            }
            if new.phys().is_some() {
                i.blocks += new.len;
            }
        }
        if t.dirtied() {
            self.log_inode(t, i)?;
        }
        Ok(stop - lblk)
    }

    /// Frees extents from `first_lblk` on, the last ones first; true when none is left.
    /// Logs the inode. Needs no space. Credits: [`credits::TRUNCATE`].
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    pub fn truncate_step(&self, t: &mut S::Trans, i: &mut Inode, first_lblk: u64) -> Result<bool> {
        let mut changed = false;
        for _ in 0..extents_per_step(height(&i.data)) {
            let Some(e) = self.last_extent(i)?.filter(|e| e.end() > first_lblk) else {
                break;
            };
            if e.lblk >= first_lblk {
                self.free_extent(t, i, &e)?;
                self.remove_extent(t, i, &e)?;
            } else {
                self.free_extent(t, i, &e.part(first_lblk, e.end()))?;
                self.reshape(t, i, &e, &e.part(e.lblk, first_lblk))?;
            }
            changed = true;
        }
        if changed {
            self.log_inode(t, i)?;
        }
        Ok(!matches!(self.last_extent(i)?, Some(e) if e.end() > first_lblk))
    }

    fn last_extent(&self, i: &Inode) -> Result<Option<Extent>> {
        Ok(self.extents_around(i, MAX_LBLK)?.0)
    }
}
