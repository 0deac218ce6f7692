// SPDX-License-Identifier: GPL-2.0

//! Free blocks that are written to before a transaction allocates them, so that no transaction
//! waits for the device.
//!
//! A claim is in memory only: after a crash the blocks are as free as they were. Meanwhile it counts
//! as busy, and as promised, so that nobody else gets the blocks or the room.

use super::{Mode, Place};
use crate::libvexfs::group::Group;
use crate::libvexfs::journal::Store;
use crate::libvexfs::Fs;
use kernel::prelude::*;

/// A run of free blocks that one task may write to. They stay free if it is dropped.
pub struct Claim<'a, S: Store> {
    fs: &'a Fs<S>,
    group: &'a Group,
    place: Place,
    bno: u64,
}

impl<S: Store> Claim<'_, S> {
    /// The first block.
    pub fn bno(&self) -> u64 {
        self.bno
    }

    /// How many blocks; at least one.
    pub fn blocks(&self) -> u64 {
        self.place.len.into()
    }

    /// Allocates the blocks; returns the first and how many. As with [`Fs::alloc_blocks`] they
    /// belong to nobody yet. Three credits.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, with nothing dirtied.
    pub fn allocate(self, t: &mut S::Trans) -> Result<(u64, u64)> {
        {
            let mut core = self.group.core.lock();
            let region = self.fs.open_region(&core, self.place.region)?;
            self.fs
                .apply(t, &mut core, &region, self.place.bit, self.place.len, true)?;
        }
        // Dropped, it lets go of what nobody else can take any more.
        Ok((self.bno, self.blocks()))
    }
}

impl<S: Store> Drop for Claim<'_, S> {
    fn drop(&mut self) {
        self.group.core.lock().busy.unclaim(&self.place);
        self.fs.unpromise(self.blocks());
    }
}

impl<S: Store> Fs<S> {
    /// Claims up to `want` free blocks in a row, near `goal` if possible. Dirties nothing.
    ///
    /// # Errors
    ///
    /// `ENOSPC`, `ENOMEM`.
    pub fn claim(&self, goal: u64, want: u64, mode: Mode) -> Result<Claim<'_, S>> {
        let want = self.promise_up_to(1, want.max(1), mode)?;
        let found = self.find_run(goal, want, &mut |core, _, place| core.busy.claim(*place));
        let got = found.as_ref().map_or(0, |(_, place, _)| place.len.into());
        self.unpromise(want - got);
        let (group, place, bno) = found?;
        Ok(Claim {
            fs: self,
            group,
            place,
            bno,
        })
    }
}
