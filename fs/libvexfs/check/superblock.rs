// SPDX-License-Identifier: GPL-2.0

//! The superblock and its copies.

use super::{Checker, Fix};
use crate::libvexfs::format::inode::{place, STATE_INTERNAL};
use crate::libvexfs::format::Superblock;
use crate::libvexfs::journal::{Block, Store};

impl<S: Store> Checker<'_, S> {
    /// What the superblock says of itself; its geometry was checked when it was read.
    pub(super) fn superblock(&mut self) {
        let sb = self.sb;
        if place(sb.root_ino).is_err() {
            self.bad(0, 0, "superblock: impossible number of the root directory");
        } else if !self
            .read_inode(sb.root_ino)
            .is_some_and(|root| root.is_dir())
        {
            self.bad(sb.root_ino, 0, "the root directory is no directory");
        }
        if place(sb.system_ino).is_err() || sb.system_ino == sb.root_ino {
            self.bad(0, 0, "superblock: impossible number of the system inode");
        } else if !self
            .read_inode(sb.system_ino)
            .is_some_and(|i| i.is_reg() && i.state & STATE_INTERNAL != 0)
        {
            self.bad(sb.system_ino, 0, "the system inode is not an internal file");
        }
        for group in (0..sb.geometry.group_count).filter(|g| sb.geometry.has_super_copy(*g)) {
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
    }
}

/// Whether a copy would do to find everything: times, counters and states change without the copies.
fn same_volume(sb: &Superblock, copy: &Superblock) -> bool {
    sb.geometry == copy.geometry
        && sb.uuid == copy.uuid
        && sb.csum_seed == copy.csum_seed
        && (sb.incompat, sb.ro_compat) == (copy.incompat, copy.ro_compat)
        && (sb.journal_start, sb.journal_len) == (copy.journal_start, copy.journal_len)
        && (sb.root_ino, sb.system_ino) == (copy.root_ino, copy.system_ino)
        && sb.hash_key == copy.hash_key
}
