// SPDX-License-Identifier: GPL-2.0

//! Blocks set aside for the nodes of trees.

use super::{add, turn, Mode};
use crate::libvexfs::group::Group;
use crate::libvexfs::journal::Store;
use crate::libvexfs::tree::Blocks;
use crate::libvexfs::Fs;
use core::sync::atomic::Ordering;
use kernel::prelude::*;

/// Metadata blocks set aside for tree operations: taking one cannot fail for lack of
/// space. All lie in one region. What is left returns when it is dropped.
pub struct Space<'a, S: Store> {
    fs: &'a Fs<S>,
    group: &'a Group,
    region: u32,
    left: u32,
}

impl<S: Store> Space<'_, S> {
    /// How many blocks are left.
    pub fn left(&self) -> usize {
        self.left as usize
    }
}

impl<S: Store> Blocks<S> for Space<'_, S> {
    fn left(&self) -> usize {
        self.left as usize
    }

    fn take(&mut self, t: &mut S::Trans) -> Result<u64> {
        let left = self.left.checked_sub(1).ok_or(ENOSPC)?;
        let mut core = self.group.core.lock();
        let bno = self.fs.take_in_group(t, &mut core, Some(self.region))?;
        release(&mut core.held, self.region, 1);
        self.left = left;
        self.fs.unpromise(1);
        Ok(bno)
    }

    fn give(&mut self, t: &mut S::Trans, bno: u64) -> Result {
        self.fs.free_meta(t, bno)
    }
}

impl<S: Store> Drop for Space<'_, S> {
    fn drop(&mut self) {
        if self.left != 0 {
            release(&mut self.group.core.lock().held, self.region, self.left);
            add(&self.fs.counters.promised, -i64::from(self.left));
        }
    }
}

/// Lets go of some of what is set aside in a region.
fn release(held: &mut KVec<(u32, u32)>, region: u32, n: u32) {
    if let Some(entry) = held.iter_mut().find(|(r, _)| *r == region) {
        entry.1 = entry.1.saturating_sub(n);
    }
    held.retain(|(_, n)| *n != 0);
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
    /// `ENOSPC`, `ENOMEM`.
    pub fn space(&self, goal: u64, blocks: usize, mode: Mode) -> Result<Space<'_, S>> {
        let g = self.geometry();
        let n = u32::try_from(blocks)?;
        let mode = if mode == Mode::Promised {
            Mode::Privileged
        } else {
            mode
        };
        self.promise(n.into(), mode)?;
        let found = self.hold(g.group_of(goal).unwrap_or(0), goal, n);
        if found.is_err() {
            self.unpromise(n.into());
        }
        found
    }

    fn hold(&self, first: u32, goal: u64, n: u32) -> Result<Space<'_, S>> {
        let count = self.group_count();
        for i in 0..count {
            let number = turn(first, i, count);
            let group = self.group(number)?;
            if group.free.load(Ordering::Relaxed) < n.into() {
                continue;
            }
            let mut core = group.core.lock();
            self.settle_group(&mut core);
            let goal = if i == 0 {
                goal
            } else {
                self.geometry().group_start(number)
            };
            let Some(region) = self.region_with(&core, goal, n)? else {
                continue;
            };
            match core.held.iter_mut().find(|(r, _)| *r == region) {
                Some(entry) => entry.1 += n,
                None if n != 0 => core.held.push((region, n), GFP_KERNEL)?,
                None => {}
            }
            return Ok(Space {
                fs: self,
                group,
                region,
                left: n,
            });
        }
        Err(ENOSPC)
    }
}
