// SPDX-License-Identifier: GPL-2.0

//! Which bytes of a file were changed since something described them.
//!
//! A file's contents have a version. A description (an embedding, a copy on tape)
//! carries the version it was made from, and [`Fs::mark`] notes that one was made.
//! The first change after that begins a new version; which bytes changed in which
//! version is kept as ranges, so that a description of other bytes stays good. The
//! rule for all who change contents: [`Fs::note_change`] is durable before the bytes are.
//!
//! There are at most [`RANGES_MAX`] ranges. Beyond that neighbours are merged, which
//! may call a good description stale, and never the reverse.

use super::{key, Record};
use crate::libvexfs::credits::{self, blocks};
use crate::libvexfs::errno::euclean;
use crate::libvexfs::format::inode::STATE_EMBEDDED;
use crate::libvexfs::format::{le64, put64, Inode};
use crate::libvexfs::journal::Store;
use crate::libvexfs::{Fs, Mode};
use kernel::prelude::*;

/// Ranges that a file has at most.
pub const RANGES_MAX: usize = 64;
/// Bytes of a range's value.
const VALUE_LEN: usize = 16;
/// Records that one change adds at most: the range, and what is left of one that it
/// splits.
const ADDED_MAX: usize = 3;

/// Credits of [`Fs::note_change`]. All ranges lie side by side in one tree and are too
/// few to fill more than three leaves, so that the removals share their paths.
pub const CREDITS: usize = ADDED_MAX * credits::INSERT + 3 * credits::REMOVE + 2 * credits::INODE;

/// Credits of [`Fs::embed_into`].
pub const EMBED_CREDITS: usize = credits::INSERT + CREDITS;

/// A range of bytes that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Byte behind the last one; `u64::MAX`: however long the file grows.
    pub end: u64,
    /// The version that the change made.
    pub version: u64,
}

impl Range {
    fn format(&self) -> [u8; VALUE_LEN] {
        let mut b = [0; VALUE_LEN];
        put64(&mut b, 0, self.end);
        put64(&mut b, 8, self.version);
        b
    }

    /// Reads a range from its record.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it is none.
    pub fn parse(k: u128, b: &[u8]) -> Result<Range> {
        let start = u64::try_from(k & !(0xff << 120)).map_err(|_| euclean())?;
        let range = Range {
            start,
            end: le64(b, 0),
            version: le64(b, 8),
        };
        if b.len() != VALUE_LEN || range.end <= range.start || range.version == 0 {
            return Err(euclean());
        }
        Ok(range)
    }

    /// Whether it makes a record of this version and these bytes stale.
    pub fn outdates(&self, record: &Record) -> bool {
        let overlaps = record.whole()
            || (self.start < record.off.saturating_add(record.len) && record.off < self.end);
        self.version > record.version && overlaps
    }
}

/// Adds a range to a list that is in order and without overlap, and keeps it so. Of
/// overlapping ranges the newest version counts.
///
/// # Errors
///
/// `ENOMEM`.
pub fn cover(ranges: &mut KVec<Range>, new: Range) -> Result {
    let mut old = KVec::with_capacity(ranges.len() + ADDED_MAX, GFP_KERNEL)?;
    core::mem::swap(ranges, &mut old);
    let mut add = |r: Range| -> Result {
        if r.start >= r.end {
            return Ok(());
        }
        match ranges.last_mut() {
            Some(last) if last.end == r.start && last.version == r.version => last.end = r.end,
            _ => ranges.push(r, GFP_KERNEL)?,
        }
        Ok(())
    };
    let mut added = false;
    for r in &old {
        add(Range {
            end: r.end.min(new.start),
            ..*r
        })?;
        if r.end > new.start && !added {
            add(new)?;
            added = true;
        }
        add(Range {
            start: r.start.max(new.end),
            ..*r
        })?;
    }
    if !added {
        add(new)?;
    }
    while ranges.len() > RANGES_MAX {
        merge_nearest(ranges)?;
    }
    Ok(())
}

/// Merges the two neighbours that are closest together.
fn merge_nearest(ranges: &mut KVec<Range>) -> Result {
    let gap = |pair: &[Range]| pair[1].start - pair[0].end;
    let nearest = ranges
        .windows(2)
        .enumerate()
        .min_by_key(|(_, pair)| gap(pair))
        .map(|(i, _)| i);
    let Some(at) = nearest else { return Ok(()) };
    let gone = ranges.remove(at + 1).map_err(|_| EINVAL)?;
    if let Some(kept) = ranges.get_mut(at) {
        kept.end = gone.end;
        kept.version = kept.version.max(gone.version);
    }
    Ok(())
}

impl<S: Store> Fs<S> {
    fn stale_ranges(&self, inode: &Inode) -> Result<KVec<Range>> {
        let mut ranges = KVec::new();
        self.tree_scan(inode.attr_root(), key::stale(0), &mut |k, b| {
            if key::kind(k) != key::STALE {
                return Ok(false);
            }
            let range = Range::parse(k, b)?;
            let in_order = ranges
                .last()
                .is_none_or(|last: &Range| last.end <= range.start);
            if !in_order || ranges.len() >= RANGES_MAX {
                return Err(self.damaged(inode.ino, 0, "its changed ranges are out of order"));
            }
            ranges.push(range, GFP_KERNEL)?;
            Ok(true)
        })?;
        Ok(ranges)
    }

    /// Whether what `record` says of its owner was overtaken by a change.
    pub fn is_stale(&self, owner: &Inode, record: &Record) -> Result<bool> {
        if owner.data_version <= record.version {
            return Ok(false);
        }
        let mut stale = false;
        self.tree_scan(owner.attr_root(), key::stale(0), &mut |k, b| {
            if key::kind(k) != key::STALE {
                return Ok(false);
            }
            stale = Range::parse(k, b)?.outdates(record);
            Ok(!stale)
        })?;
        Ok(stale)
    }

    /// Whether a change of bytes `[start, end)` must be noted before it happens. Quick,
    /// and false, for a file that nothing describes.
    pub fn needs_note(&self, inode: &Inode, start: u64, end: u64) -> Result<bool> {
        if inode.marked_version >= inode.data_version {
            return Ok(true);
        }
        if inode.state & STATE_EMBEDDED == 0 || start >= end {
            return Ok(false);
        }
        let end = if end > inode.size { u64::MAX } else { end };
        let covered = self.tree_prev(inode.attr_root(), key::stale(start), |k, b| {
            key::kind(k) == key::STALE
                && Range::parse(k, b).is_ok_and(|r| r.end >= end && r.version == inode.data_version)
        })?;
        Ok(covered != Some(true))
    }

    /// Notes that bytes `[start, end)` are about to change, and logs the inode. True:
    /// there was something to note, and the transaction must be durable before the new
    /// bytes are written. A truncation and whatever else reaches the end of the file
    /// says `end = u64::MAX`; what reaches beyond the size is taken as that, so that a
    /// growing file is noted once. Credits: [`CREDITS`].
    ///
    /// # Errors
    ///
    /// `ENOSPC`, `EUCLEAN`, `EIO`, `ENOMEM`, with nothing dirtied.
    pub fn note_change(
        &self,
        t: &mut S::Trans,
        inode: &mut Inode,
        start: u64,
        end: u64,
    ) -> Result<bool> {
        if !self.needs_note(inode, start, end)? {
            return Ok(false);
        }
        let version = match inode.data_version.checked_add(1) {
            Some(next) if inode.marked_version >= inode.data_version => next,
            _ => inode.data_version,
        };
        if inode.state & STATE_EMBEDDED == 0 || start >= end {
            // No record asks which bytes it was.
            self.touch_inode(t, inode)?;
            inode.data_version = version;
            self.log_inode(t, inode)?;
            return Ok(true);
        }
        let end = if end > inode.size { u64::MAX } else { end };
        self.add_stale(
            t,
            inode,
            Range {
                start,
                end,
                version,
            },
        )?;
        inode.data_version = version;
        self.log_inode(t, inode)?;
        Ok(true)
    }

    /// Adds a range to the tree. Does not log the inode.
    fn add_stale(&self, t: &mut S::Trans, inode: &mut Inode, range: Range) -> Result {
        let old = self.stale_ranges(inode)?;
        let mut new = KVec::with_capacity(old.len(), GFP_KERNEL)?;
        new.extend_from_slice(&old, GFP_KERNEL)?;
        cover(&mut new, range)?;
        let goal = inode.ino >> 3;
        let mut space = self.space(goal, (ADDED_MAX + 1) * blocks::INSERT, Mode::Privileged)?;
        for r in old
            .iter()
            .filter(|r| !new.iter().any(|n| n.start == r.start))
        {
            self.tree_remove(t, inode.attr_root_mut(), key::stale(r.start))?;
        }
        for r in new.iter().filter(|r| !old.contains(r)) {
            let (at, value) = (key::stale(r.start), r.format());
            if old.iter().any(|o| o.start == r.start) {
                self.tree_update(t, inode.attr_root_mut(), at, |b| b.copy_from_slice(&value))?;
            } else {
                self.tree_insert(t, &mut space, inode.attr_root_mut(), at, &value)?;
            }
        }
        Ok(())
    }

    /// Notes that the contents as they are now get described, and returns their version:
    /// whatever changes after this is a newer one. Credits: [`credits::INODE`].
    ///
    /// # Errors
    ///
    /// What storage returns.
    pub fn mark(&self, t: &mut S::Trans, inode: &mut Inode) -> Result<u64> {
        if inode.marked_version < inode.data_version {
            self.touch_inode(t, inode)?;
            inode.marked_version = inode.data_version;
            self.log_inode(t, inode)?;
        }
        Ok(inode.data_version)
    }

    /// Prepares a file for records in collection `id` that describe `version` of it:
    /// notes that there are some, and that changes after this version count. Before the
    /// records are published; logs the inode if something changed. Credits:
    /// [`EMBED_CREDITS`].
    ///
    /// # Errors
    ///
    /// `EINVAL` for a version that the file never had, `ENOSPC`, `EUCLEAN`, `EIO`, with
    /// nothing dirtied.
    pub fn embed_into(&self, t: &mut S::Trans, owner: &mut Inode, id: u32, version: u64) -> Result {
        if version == 0 || version > owner.data_version {
            return Err(EINVAL);
        }
        let there = self.is_embedded_in(owner, id)?;
        let embedded = owner.state & STATE_EMBEDDED != 0;
        if there && embedded && owner.marked_version >= version {
            return Ok(());
        }
        let goal = owner.ino >> 3;
        let mut space = self.space(goal, blocks::INSERT, Mode::Normal)?;
        if !embedded && version < owner.data_version {
            // Ranges are kept only while there are records: what changed up to now is unknown.
            let all = Range {
                start: 0,
                end: u64::MAX,
                version: owner.data_version,
            };
            self.add_stale(t, owner, all)?;
        }
        if !there {
            self.tree_insert(
                t,
                &mut space,
                owner.attr_root_mut(),
                key::embedded_in(id),
                &[],
            )?;
        } else {
            self.touch_inode(t, owner)?;
        }
        owner.state |= STATE_EMBEDDED;
        owner.marked_version = owner.marked_version.max(version);
        self.log_inode(t, owner)
    }

    /// Whether collection `id` may have records of this file.
    pub fn is_embedded_in(&self, owner: &Inode, id: u32) -> Result<bool> {
        Ok(self
            .tree_lookup(owner.attr_root(), key::embedded_in(id), |_| ())?
            .is_some())
    }

    /// The lowest id above `id` of a collection that may have records of this file; they
    /// must go before the inode may. The collection may be gone already.
    pub fn embedded_in_after(&self, owner: &Inode, id: u32) -> Result<Option<u32>> {
        let Some(from) = id.checked_add(1) else {
            return Ok(None);
        };
        let found = self.tree_next(owner.attr_root(), key::embedded_in(from), |k, _| {
            (key::kind(k) == key::EMBEDDED_IN).then_some(k as u32)
        })?;
        Ok(found.flatten())
    }
}
