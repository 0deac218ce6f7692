// SPDX-License-Identifier: GPL-2.0

//! Copies, their checksums, and the table of volumes.
//!
//! An offline extent holds no bytes: all that matters of it is that a copy of its version exists,
//! is long enough, and can be measured by checksums of the same version.

use super::attr::Attrs;
use super::inode::VERSION_SANE;
use super::tree::{walk, Event};
use super::{Checker, Field, Fix};
use crate::libvexfs::attr::{key, kind, KIND_SHIFT};
use crate::libvexfs::format::extent::{Extent, State};
use crate::libvexfs::format::inode::STATE_ARCHIVED;
use crate::libvexfs::format::{le64, Inode};
use crate::libvexfs::journal::{Store, BLOCK_SIZE};
use crate::libvexfs::staging::copy::{Copy, SUMS, SUMS_LEN};
use crate::libvexfs::staging::volume::Volume;
use crate::libvexfs::staging::CHUNK_BLOCKS;
use crate::libvexfs::tree::{KIND_ATTR, KIND_DATA};
use kernel::prelude::*;
use std::collections::BTreeMap;

impl<S: Store> Checker<'_, S> {
    /// Checks a record of one of the kinds that belong to staging; says false to others.
    pub(super) fn staging_record(
        &mut self,
        i: &Inode,
        bno: u64,
        record: u8,
        rest: u128,
        value: &[u8],
    ) -> Result<bool> {
        let right = match record {
            kind::COPY => Copy::parse(key(record, rest), value)
                .is_ok_and(|c| i.is_reg() && self.is_volume(c.volume) && is_version(i, c.version)),
            kind::CHUNKSUM => {
                let place = rest <= u128::from(u64::MAX / SUMS as u64);
                let shape = value.len() >= 12 && value.len() <= SUMS_LEN && value.len() % 4 == 0;
                place && shape && i.is_reg() && is_version(i, le64(value, 0))
            }
            kind::VOLUME => Volume::parse(key(record, rest), value)
                .is_ok_and(|v| i.ino == self.sb.system_ino && self.is_volume(v.id)),
            // Reserved: nothing writes it yet.
            kind::STAGING => false,
            _ => return Ok(false),
        };
        if !right {
            let what = format!("impossible record of kind {record}");
            let at = key(record, rest);
            let version = match record {
                kind::COPY => Copy::parse(at, value).map_or(0, |c| c.version),
                kind::CHUNKSUM => le64(value, 0),
                _ => 0,
            };
            // A version that the inode never had may mean that its own is wrong.
            let later = i.is_reg() && version > i.data_version && version < VERSION_SANE;
            let fix = if later {
                Fix::field(i.ino, Field::DataVersionAtLeast(version))
            } else {
                Fix::drop_record(i.ino, KIND_ATTR, at)
            };
            self.wrong(i.ino, bno, what, fix);
        }
        Ok(true)
    }

    fn is_volume(&self, id: u32) -> bool {
        (1..self.sb.next_volume.max(1)).contains(&id)
    }

    /// Checks an inode when all of its records and extents were seen.
    pub(super) fn staging_inode(&mut self, i: &Inode, attrs: &Attrs, offline: bool) {
        if attrs.damaged {
            return;
        }
        if attrs.count(kind::COPY) > 0 && i.state & STATE_ARCHIVED == 0 {
            let what = "copies of a file that is not marked as archived";
            let fix = Fix::field(i.ino, Field::StateSet(STATE_ARCHIVED));
            self.wrong(i.ino, 0, what, fix);
        }
        // What cannot be read was reported by those who walked the trees before.
        if offline && self.offline_extents(i).is_err() {
            self.bad(i.ino, 0, "its copies cannot be read");
        }
    }

    /// Whether each offline extent has a copy and checksums.
    fn offline_extents(&mut self, i: &Inode) -> Result {
        let store = self.store;
        // Version -> blocks that the longest copy has; version -> chunks with checksums.
        let (mut copies, mut sums) = (BTreeMap::new(), BTreeMap::new());
        walk(store, i.attr_root(), &mut |event| {
            if let Event::Record { key, value, .. } = event {
                match (key >> KIND_SHIFT) as u8 {
                    kind::COPY => {
                        if let Ok(c) = Copy::parse(key, value) {
                            let most: &mut u64 = copies.entry(c.version).or_default();
                            *most = (*most).max(c.len.div_ceil(BLOCK_SIZE as u64));
                        }
                    }
                    kind::CHUNKSUM => {
                        let first = (key as u64).saturating_mul(SUMS as u64);
                        let end = first.saturating_add((value.len() as u64).saturating_sub(8) / 4);
                        let done: &mut u64 = sums.entry(le64(value, 0)).or_default();
                        // Records come in order: a gap ends what is covered.
                        if first <= *done {
                            *done = (*done).max(end);
                        }
                    }
                    _ => {}
                }
            }
            Ok(true)
        })?;
        walk(store, i.data_root(), &mut |event| {
            let Event::Record { bno, key, value } = event else {
                return Ok(true);
            };
            let Ok(e) = Extent::parse(key, value, self.sb.geometry.block_count) else {
                return Ok(true);
            };
            if let State::Offline {
                src_block,
                src_version,
            } = e.state
            {
                let end = src_block.saturating_add(e.len);
                let copied = copies.get(&src_version).is_some_and(|have| end <= *have);
                let summed = sums
                    .get(&src_version)
                    .is_some_and(|have| end.div_ceil(CHUNK_BLOCKS) <= *have);
                let missing = match (copied, summed) {
                    (true, true) => return Ok(true),
                    (false, _) => "copy",
                    (true, false) => "checksum",
                };
                let what = format!(
                    "no {missing} of version {src_version} for the offline blocks from {} on",
                    e.lblk
                );
                // Nobody has these bytes any more: a hole is left.
                let fix = Fix::drop_record(i.ino, KIND_DATA, e.key());
                self.wrong(i.ino, bno, what, fix);
            }
            Ok(true)
        })
    }
}

/// Whether a file can have had this version.
fn is_version(i: &Inode, version: u64) -> bool {
    version != 0 && version <= i.data_version
}
