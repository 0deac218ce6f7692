// SPDX-License-Identifier: GPL-2.0

//! The superblock and its copies.

use super::tree::{walk, Event};
use super::{Checker, Fix, SuperField};
use crate::libvexfs::attr::{kind, KIND_SHIFT, REST_MAX};
use crate::libvexfs::format::inode::{place, STATE_INTERNAL};
use crate::libvexfs::format::{Inode, Superblock};
use crate::libvexfs::journal::{Block, Store};
use crate::libvexfs::staging::volume::Volume;
use crate::libvexfs::vector::Collection;
use kernel::prelude::*;

impl<S: Store> Checker<'_, S> {
    /// What the superblock says of itself; its geometry was checked when it was read.
    pub(super) fn superblock(&mut self) -> Result {
        let sb = self.sb;
        if place(sb.root_ino).is_err() {
            let what = "superblock: impossible number of the root directory";
            self.wrong(0, 0, what, Fix::Root);
        } else if !self
            .read_inode(sb.root_ino)
            .is_some_and(|root| root.is_dir())
        {
            let what = "the root directory is no directory";
            self.wrong(sb.root_ino, 0, what, Fix::Root);
        }
        if place(sb.system_ino).is_err() || sb.system_ino == sb.root_ino {
            let what = "superblock: impossible number of the system inode";
            self.wrong(0, 0, what, Fix::System);
        } else {
            match self.read_inode(sb.system_ino) {
                Some(i) if i.is_reg() && i.state & STATE_INTERNAL != 0 => self.counters(&i)?,
                _ => {
                    let what = "the system inode is not an internal file";
                    self.wrong(sb.system_ino, 0, what, Fix::System);
                }
            }
        }
        self.quota_inode();
        for group in sb.geometry.super_copies() {
            let bno = sb.geometry.group_start(group);
            let copy = self
                .store
                .read(bno)
                .ok()
                .and_then(|block| Superblock::parse(&block.data()).ok());
            if !copy.is_some_and(|copy| same_volume(sb, &copy)) {
                self.wrong(
                    0,
                    bno,
                    "the copy of the superblock is not like the superblock",
                    Fix::Copy { bno },
                );
            }
        }
        Ok(())
    }

    /// Ids of collections and volumes are never given out twice: those that exist are below the next ones.
    fn counters(&mut self, system: &Inode) -> Result {
        let (mut collection, mut volume) = (0, 0);
        walk(self.store, system.attr_root(), &mut |event| {
            if let Event::Record { key, value, .. } = event {
                let id = u32::try_from(key & REST_MAX).unwrap_or(0);
                match (key >> KIND_SHIFT) as u8 {
                    kind::COLLECTION if Collection::parse(id, value).is_ok() => {
                        collection = collection.max(id);
                    }
                    kind::VOLUME if Volume::parse(key, value).is_ok() => volume = volume.max(id),
                    _ => {}
                }
            }
            Ok(true)
        })?;
        let counters = [
            (
                collection,
                self.sb.next_collection,
                SuperField::NextCollection as fn(u32) -> SuperField,
            ),
            (volume, self.sb.next_volume, SuperField::NextVolume),
        ];
        for (most, next, field) in counters {
            if most >= next.max(1) {
                let rightly = most.saturating_add(1);
                let what = format!(
                    "superblock: the next id of {field:?} is {next}",
                    field = field(rightly)
                );
                self.wrong(0, 0, what, Fix::Super(field(rightly)));
            }
        }
        Ok(())
    }
}

/// Whether a copy would do to find everything: times, counters and states change without the copies.
fn same_volume(sb: &Superblock, copy: &Superblock) -> bool {
    sb.geometry == copy.geometry
        && sb.uuid == copy.uuid
        && sb.csum_seed == copy.csum_seed
        && (sb.incompat, sb.ro_compat) == (copy.incompat, copy.ro_compat)
        && (sb.journal_start, sb.journal_len) == (copy.journal_start, copy.journal_len)
        && (sb.root_ino, sb.system_ino, sb.quota_ino)
            == (copy.root_ino, copy.system_ino, copy.quota_ino)
        && sb.hash_key == copy.hash_key
}
