// SPDX-License-Identifier: GPL-2.0

//! From unwritten to written, and back.

use super::{Extent, New, State, MAX_LBLK};
use crate::libvexfs::alloc::{Mode, Space};
use crate::libvexfs::credits::CONVERT_EXTENTS;
use crate::libvexfs::journal::Store;
use crate::libvexfs::{Fs, Inode};
use kernel::prelude::*;

/// What a conversion makes of extents, and of which.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Written,
    Unwritten,
}

impl To {
    /// The state that an extent of `state` gets; `None` if it is no business of the conversion.
    fn apply(self, state: State) -> Option<State> {
        match (self, state) {
            (To::Written, State::Unwritten(phys)) => Some(State::Written(phys)),
            (To::Unwritten, State::Written(phys)) => Some(State::Unwritten(phys)),
            _ => None,
        }
    }
}

impl<S: Store> Fs<S> {
    /// Marks unwritten blocks of `[lblk, lblk + len)` as written. Does a bounded part and
    /// returns how many blocks from `lblk` on are done (holes and written ones count);
    /// the caller goes on in a new transaction. Logs the inode. Credits:
    /// [`credits::CONVERT`](crate::libvexfs::credits::CONVERT).
    ///
    /// # Errors
    ///
    /// Never `ENOSPC` while the reserve lasts.
    pub fn convert(&self, t: &mut S::Trans, i: &mut Inode, lblk: u64, len: u64) -> Result<u64> {
        let space = self.extent_space(i, 2, Mode::Privileged)?;
        self.convert_to(t, space, i, (lblk, len), To::Written)
    }

    /// Makes `[lblk, lblk + len)` read as zeros without giving its blocks back: written ones become
    /// unwritten; what is offline becomes a hole; holes stay. Does a bounded part and returns how
    /// many blocks from `lblk` on are done. Logs the inode. Credits:
    /// [`credits::ZERO`](crate::libvexfs::credits::ZERO).
    ///
    /// # Errors
    ///
    /// `ENOSPC` with nothing dirtied: an extent has to be split and the tree cannot grow.
    pub fn zero(&self, t: &mut S::Trans, i: &mut Inode, lblk: u64, len: u64) -> Result<u64> {
        let end = lblk.saturating_add(len);
        if let Some(e) = self.next_extent(i, lblk)?.filter(|e| e.lblk < end) {
            if let State::Offline { .. } = e.state {
                let from = e.lblk.max(lblk);
                let done = self.replace_range(t, i, from, e.end().min(end) - from, New::Hole)?;
                return Ok(from - lblk + done);
            }
        }
        let space = self.extent_space(i, 2, Mode::Normal)?;
        self.convert_to(t, space, i, (lblk, len), To::Unwritten)
    }

    /// A step of a conversion; stops before what is offline when it makes extents unwritten.
    fn convert_to(
        &self,
        t: &mut S::Trans,
        mut space: Space<'_, S>,
        i: &mut Inode,
        (lblk, len): (u64, u64),
        to: To,
    ) -> Result<u64> {
        let end = lblk
            .checked_add(len)
            .filter(|end| *end <= MAX_LBLK)
            .ok_or(EINVAL)?;
        // Only the first and the last extent of the range can be split: the space is for two
        // insertions.
        let mut at = lblk;
        let mut changed = false;
        for _ in 0..CONVERT_EXTENTS {
            let Some(e) = self.next_extent(i, at)?.filter(|e| e.lblk < end) else {
                at = end;
                break;
            };
            if to == To::Unwritten && matches!(e.state, State::Offline { .. }) {
                at = e.lblk.max(at);
                break;
            }
            at = e.end().min(end);
            if let Some(state) = to.apply(e.state) {
                let from = e.lblk.max(lblk);
                let middle = e.with_state(state).part(from, at);
                changed = true;
                if self.convert_part(t, &mut space, i, &e, &middle)? {
                    // A record was removed: that is enough for one transaction.
                    break;
                }
            }
            if at == end {
                break;
            }
        }
        if changed {
            self.log_inode(t, i)?;
        }
        Ok(at - lblk)
    }

    /// Puts `middle` in the place of a part of extent `e`; true if a record went away.
    fn convert_part(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        i: &mut Inode,
        e: &Extent,
        middle: &Extent,
    ) -> Result<bool> {
        let (from, to) = (middle.lblk, middle.end());
        let (left, right) = (e.lblk < from, to < e.end());
        if !left {
            // Writing on where the written part ends is the usual thing: it moves the
            // border and neither needs nor leaves a record.
            let below = match from.checked_sub(1) {
                Some(lblk) => self.extents_around(i, lblk)?.0,
                None => None,
            };
            if let Some(below) = below.filter(|b| self.can_join(b, middle)) {
                let joined = Extent {
                    len: below.len + middle.len,
                    ..below
                };
                if right {
                    self.reshape(t, i, e, &e.part(to, e.end()))?;
                } else {
                    self.remove_extent(t, i, e)?;
                }
                self.reshape(t, i, &below, &joined)?;
                return Ok(!right);
            }
        }
        match (left, right) {
            (false, false) => self.reshape(t, i, e, middle)?,
            (false, true) => {
                self.reshape(t, i, e, middle)?;
                self.insert_extent(t, space, i, &e.part(to, e.end()))?;
            }
            (true, _) => {
                self.reshape(t, i, e, &e.part(e.lblk, from))?;
                self.insert_extent(t, space, i, middle)?;
                if right {
                    self.insert_extent(t, space, i, &e.part(to, e.end()))?;
                }
            }
        }
        Ok(false)
    }
}
