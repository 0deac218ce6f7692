// SPDX-License-Identifier: GPL-2.0

//! From unwritten to written.

use super::{Extent, State, MAX_LBLK};
use crate::libvexfs::alloc::{Mode, Space};
use crate::libvexfs::credits::CONVERT_EXTENTS;
use crate::libvexfs::journal::Store;
use crate::libvexfs::{Fs, Inode};
use kernel::prelude::*;

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
        let end = lblk
            .checked_add(len)
            .filter(|end| *end <= MAX_LBLK)
            .ok_or(EINVAL)?;
        // Only the first and the last extent of the range can be split.
        let mut space = self.extent_space(i, 2, Mode::Privileged)?;
        let mut at = lblk;
        let mut changed = false;
        for _ in 0..CONVERT_EXTENTS {
            let Some(e) = self.next_extent(i, at)?.filter(|e| e.lblk < end) else {
                at = end;
                break;
            };
            at = e.end().min(end);
            if let State::Unwritten(_) = e.state {
                let from = e.lblk.max(lblk);
                changed = true;
                if self.convert_part(t, &mut space, i, &e, from, at)? {
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

    /// Converts `[from, to)` of an unwritten extent; true if a record went away.
    fn convert_part(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        i: &mut Inode,
        e: &Extent,
        from: u64,
        to: u64,
    ) -> Result<bool> {
        let written = |part: Extent| match part.state {
            State::Unwritten(phys) => Extent {
                state: State::Written(phys),
                ..part
            },
            _ => part,
        };
        let middle = written(e.part(from, to));
        let (left, right) = (e.lblk < from, to < e.end());
        if !left {
            // Writing on where the written part ends is the usual thing: it moves the
            // border and neither needs nor leaves a record.
            let below = match from.checked_sub(1) {
                Some(lblk) => self.extents_around(i, lblk)?.0,
                None => None,
            };
            if let Some(below) = below.filter(|b| self.can_join(b, &middle)) {
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
            (false, false) => self.reshape(t, i, e, &middle)?,
            (false, true) => {
                self.reshape(t, i, e, &middle)?;
                self.insert_extent(t, space, i, &e.part(to, e.end()))?;
            }
            (true, _) => {
                self.reshape(t, i, e, &e.part(e.lblk, from))?;
                self.insert_extent(t, space, i, &middle)?;
                if right {
                    self.insert_extent(t, space, i, &e.part(to, e.end()))?;
                }
            }
        }
        Ok(false)
    }
}
