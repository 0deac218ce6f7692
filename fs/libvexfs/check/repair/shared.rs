// SPDX-License-Identifier: GPL-2.0

//! Blocks that several claim.
//!
//! A node of a tree says whose it is, and inode blocks and groups do, too: what an extent says against that is wrong.
//! Between files the first keeps the blocks and the others get copies, so that the one whose they are has its bytes in
//! any case. What finds no room is cut.

use super::{Edits, Nobody, Repair};
use crate::libvexfs::check::{Claim, Claimant, Fix, Watch};
use crate::libvexfs::format::extent::{Extent, State};
use crate::libvexfs::journal::{Store, BLOCK_SIZE};
use crate::libvexfs::tree::KIND_DATA;
use kernel::prelude::*;
use std::collections::BTreeMap;

/// The most blocks that are copied for one extent: one that claims more than it can have had is not worth a volume.
const COPIED_MAX: u64 = 1 << 18;

impl<S: Store> Repair<'_, S> {
    pub(super) fn shared(&mut self, fixes: &[Fix]) -> Result {
        let ranges = fixes.iter().filter_map(|fix| match fix {
            Fix::Shared { bno, len } => Some(*bno..bno.saturating_add(*len)),
            _ => None,
        });
        let claims = self.claims(join(ranges.collect()))?;
        let mut edits: BTreeMap<(u64, u32), Edits> = BTreeMap::new();
        // Blocks that somebody has by now, in the order in which they are given away.
        let mut given = Vec::new();
        for claim in &claims {
            match claim.by {
                Claimant::Fixed(_) | Claimant::Node(_) => {
                    // Two nodes in one place, or a node that is reached twice: its tree is made anew.
                    let twice = take(&mut given, claim.bno, claim.len)
                        .iter()
                        .any(|(_, ours)| !ours);
                    if twice && claim.ino != 0 {
                        for kind in [KIND_DATA, crate::libvexfs::tree::KIND_ATTR] {
                            edits.entry((claim.ino, kind)).or_default().damaged = true;
                        }
                    }
                }
                Claimant::Extent(_) => {}
            }
        }
        let fixed = given.clone();
        for claim in &claims {
            let Claimant::Extent(lblk) = claim.by else {
                continue;
            };
            let Some(extent) = self.extent_of(claim, lblk) else {
                continue;
            };
            let parts = take(&mut given, claim.bno, claim.len);
            if parts.len() == 1 && parts[0].1 {
                continue;
            }
            let edits = edits.entry((claim.ino, KIND_DATA)).or_default();
            edits.set(extent.key(), None);
            let mut copied = 0;
            for (range, ours) in parts {
                let at = extent.lblk + (range.start - claim.bno);
                let part = extent.part(at, at + (range.end - range.start));
                let metadata = fixed
                    .iter()
                    .any(|f: &core::ops::Range<u64>| f.start < range.end && range.start < f.end);
                let part = if ours {
                    vec![part]
                } else if metadata || copied + part.len > COPIED_MAX {
                    Vec::new()
                } else {
                    copied += part.len;
                    self.copies(&part)?
                };
                for part in part {
                    let fix = Fix::put_extent(claim.ino, &part);
                    if let Fix::Record { key, value, .. } = fix {
                        edits.set(key, value);
                    }
                }
            }
        }
        self.disk.flush()?;
        for (tree, edits) in edits {
            let cut = edits.hard.keys().map(|key| (*key, None)).collect();
            match self.edit_trees(BTreeMap::from([(tree, edits)])) {
                // Without room for the pieces, all of it is cut.
                Err(e) if e == ENOSPC => {
                    let edits = Edits {
                        hard: cut,
                        damaged: false,
                    };
                    self.edit_trees(BTreeMap::from([(tree, edits)]))?;
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Who claims blocks of these ranges, in the order of inodes.
    fn claims(&self, ranges: Vec<core::ops::Range<u64>>) -> Result<Vec<Claim>> {
        let mut nobody = Nobody;
        let mut checker = self.checker(&mut nobody);
        checker.watch = Some(Watch {
            ranges,
            claims: Vec::new(),
        });
        checker.all_groups()?;
        Ok(checker.watch.take().map_or_else(Vec::new, |w| w.claims))
    }

    /// The extent that claims.
    fn extent_of(&self, claim: &Claim, lblk: u64) -> Option<Extent> {
        let inode = self.inode(claim.ino).ok()?;
        let key = u128::from(lblk);
        let blocks = self.sb.geometry.block_count;
        let found = super::super::tree::find(self.store, inode.data_root(), key, |value| {
            Extent::parse(key, value, blocks).ok()
        });
        found
            .flatten()
            .filter(|e| e.phys() == Some(claim.bno) && e.len == claim.len)
    }

    /// Copies of an extent's blocks. Without room, none: a hole is left.
    fn copies(&mut self, part: &Extent) -> Result<Vec<Extent>> {
        // Room that nothing was written to needs no copy.
        let State::Written(from) = part.state else {
            return Ok(Vec::new());
        };
        let mut copies: Vec<Extent> = Vec::new();
        let mut block = vec![0; BLOCK_SIZE];
        for n in 0..part.len {
            let to = match self.take_block(from, None) {
                Ok(to) => to,
                Err(e) if e == ENOSPC => break,
                Err(e) => return Err(e),
            };
            if self.disk.read(from + n, &mut block).is_err() {
                continue;
            }
            self.disk.write(to, &block)?;
            let copy = Extent {
                lblk: part.lblk + n,
                len: 1,
                state: State::Written(to),
            };
            let g = &self.sb.geometry;
            let group = g.group_of(to).unwrap_or(0);
            let same_region = |a: u64| g.region_of(group, a).0 == g.region_of(group, to).0;
            match copies.last_mut() {
                Some(last) if last.continues(&copy) && last.phys().is_some_and(same_region) => {
                    last.len += 1;
                }
                _ => copies.push(copy),
            }
        }
        Ok(copies)
    }
}

/// Sorts ranges and joins those that touch.
fn join(mut ranges: Vec<core::ops::Range<u64>>) -> Vec<core::ops::Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<core::ops::Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Gives `len` blocks from `bno` on away, as far as nobody has them yet. Returns the parts in order, and whether each was
/// free to be had.
fn take(
    given: &mut Vec<core::ops::Range<u64>>,
    bno: u64,
    len: u64,
) -> Vec<(core::ops::Range<u64>, bool)> {
    let end = bno.saturating_add(len);
    let mut parts = Vec::new();
    let mut at = bno;
    while at < end {
        let n = given.partition_point(|r| r.end <= at);
        let (stop, ours) = match given.get(n) {
            Some(r) if r.start <= at => (r.end.min(end), false),
            Some(r) => (r.start.min(end), true),
            None => (end, true),
        };
        parts.push((at..stop, ours));
        at = stop;
    }
    let first = given.partition_point(|r| r.end < bno);
    let behind = given.partition_point(|r| r.start <= end);
    let range = match given.get(first..behind) {
        Some([a, .., b]) => a.start.min(bno)..b.end.max(end),
        Some([a]) => a.start.min(bno)..a.end.max(end),
        _ => bno..end,
    };
    given.splice(first..behind.max(first), [range]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_given_away_once() {
        let mut given = Vec::new();
        assert_eq!(take(&mut given, 10, 10), [(10..20, true)]);
        assert_eq!(
            take(&mut given, 5, 30),
            [(5..10, true), (10..20, false), (20..35, true)]
        );
        assert_eq!(take(&mut given, 12, 3), [(12..15, false)]);
        assert_eq!(given.first(), Some(&(5..35)));
        assert_eq!(given.len(), 1);
    }
}
