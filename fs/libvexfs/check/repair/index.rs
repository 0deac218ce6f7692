// SPDX-License-Identifier: GPL-2.0

//! Indexes: one that is damaged goes, and the next mount makes it anew.

use super::{Edits, Repair};
use crate::libvexfs::check::tree::{walk, Event};
use crate::libvexfs::format::inode::STATE_INTERNAL;
use crate::libvexfs::journal::Store;
use crate::libvexfs::tree::KIND_ATTR;
use crate::libvexfs::vector::index::{Index, State};
use crate::libvexfs::vector::key;
use crate::libvexfs::vector::slots::FreeSlot;
use kernel::prelude::*;
use std::collections::BTreeMap;

impl<S: Store> Repair<'_, S> {
    pub(super) fn take_index_down(&mut self, ino: u64) -> Result {
        let inode = self.inode(ino)?;
        let mut edits = Edits::default();
        let mut old = Index::none();
        // Operations without an index: its record was lost.
        let mut wanted = true;
        walk(self.store, inode.attr_root(), &mut |event| {
            if let Event::Record { key: at, value, .. } = event {
                match key::kind(at) {
                    key::INDEX => {
                        if let Ok(index) = Index::parse(value) {
                            wanted = index.state != State::None;
                            old = index;
                        }
                    }
                    key::OP | key::INTENT => edits.set(at, None),
                    // Nothing waits for the index any more.
                    key::FREE => {
                        if let Ok(free) = FreeSlot::parse(value).map(|f| FreeSlot { op: 0, ..f }) {
                            edits.set(at, Some(free.format().into()));
                        }
                    }
                    _ => {}
                }
            }
            Ok(true)
        })?;
        // Of an inode that is no index nothing is touched.
        let nodes = self.used_inode(old.ino);
        if let Some(nodes) = nodes.filter(|n| n.generation == old.generation && n.is_reg()) {
            if nodes.state & STATE_INTERNAL != 0 && nodes.attr_in_core() {
                self.unlink_index(nodes.ino)?;
            }
        }
        let index = old.without_graph(if wanted { State::Wanted } else { State::None });
        edits.set(key::index(), Some(index.format().into()));
        self.edit_trees(BTreeMap::from([((ino, KIND_ATTR), edits)]))
    }

    /// Frees the inode of an index, unless it is something else.
    fn unlink_index(&mut self, ino: u64) -> Result {
        let special = [self.sb.system_ino, self.sb.quota_ino, self.sb.root_ino];
        let bare = self.inode(ino)?.attr.get(2..4) == Some(&[0, 0]);
        match bare && !special.contains(&ino) {
            true => self.free_inode(ino),
            false => Ok(()),
        }
    }
}
