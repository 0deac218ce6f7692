// SPDX-License-Identifier: GPL-2.0

//! Whether every directory can be reached from the root: by going up its parents.

use super::tree::{find, walk, Event};
use super::Checker;
use crate::libvexfs::attr::{self, kind};
use crate::libvexfs::format::group::GroupHeader;
use crate::libvexfs::format::inode::{chunk_ino, CHUNK_INODES, STATE_INTERNAL};
use crate::libvexfs::format::{le64, Inode};
use crate::libvexfs::journal::{Block, Store};
use crate::libvexfs::parent::record::ParentRef;
use crate::libvexfs::tree::{Owner, Root, KIND_CHUNK};
use kernel::prelude::*;
use std::collections::HashSet;

/// How many directories are remembered as reachable: a few dozen MiB.
const REMEMBERED: usize = 1 << 20;

impl<S: Store> Checker<'_, S> {
    /// Every entry has a parent pointer and every pointer its entry: that was checked. What is left are directories
    /// that contain each other.
    pub(super) fn connectivity(&mut self) -> Result {
        let mut reachable = HashSet::new();
        reachable.insert(self.sb.root_ino);
        // All of this is in the first pass' spirit: said once.
        self.first_pass = true;
        for group in 0..self.sb.geometry.group_count {
            let bno = self.sb.geometry.header(group);
            let Ok(block) = self.store.read(bno) else {
                continue;
            };
            let header = GroupHeader::parse(&block.data(), group, bno);
            if let Ok(header) = header {
                self.group_directories(&header, &mut reachable)?;
            }
            if self.stopped {
                break;
            }
        }
        Ok(())
    }

    fn group_directories(&mut self, header: &GroupHeader, reachable: &mut HashSet<u64>) -> Result {
        if header.dirs == 0 {
            return Ok(());
        }
        let owner = Owner {
            id: header.group.into(),
            generation: 0,
            kind: KIND_CHUNK,
            home: header.bno,
        };
        let root = Root {
            bytes: &header.chunk_root,
            owner,
        };
        walk(self.store, root, &mut |event| {
            if let Event::Record { key, value, .. } = event {
                let (chunk, mask) = (key as u64, le64(value, 0));
                for index in (0..CHUNK_INODES).filter(|index| mask >> index & 1 == 0) {
                    let Some(i) = self.read_inode(chunk_ino(chunk, index)) else {
                        continue;
                    };
                    if i.is_dir() && i.nlink > 0 && i.state & STATE_INTERNAL == 0 {
                        self.climb(i, reachable);
                    }
                }
            }
            Ok(!self.stopped)
        })
    }

    /// Goes up until something known is met.
    fn climb(&mut self, dir: Inode, reachable: &mut HashSet<u64>) {
        let start = dir.ino;
        let mut path = HashSet::new();
        let mut at = dir;
        while !reachable.contains(&at.ino) {
            if !path.insert(at.ino) {
                self.bad(
                    start,
                    0,
                    "the directory is in a loop of directories: it cannot be reached from the root",
                );
                break;
            }
            // A missing or wrong parent was reported where its pointer was looked at.
            let Some(parent) = self.parent_directory(&at) else {
                return;
            };
            at = parent;
        }
        // Those in a loop count as known, too: one message is enough.
        if reachable.len() + path.len() > REMEMBERED {
            reachable.retain(|ino| *ino == self.sb.root_ino);
        }
        reachable.extend(path);
    }

    fn parent_directory(&self, dir: &Inode) -> Option<Inode> {
        let mut parent = None;
        // The lowest record is the parent pointer: its kind is the lowest.
        let _ = walk(self.store, dir.attr_root(), &mut |event| {
            if let Event::Record { key, value, .. } = event {
                if parent.is_none() && (key >> attr::KIND_SHIFT) as u8 == kind::PARENT {
                    parent = ParentRef::parse(key & attr::REST_MAX, value)
                        .ok()
                        .map(|p| (p.ino, p.cookie));
                }
            }
            Ok(parent.is_none())
        });
        let (ino, cookie) = parent?;
        let parent = self.read_inode(ino).filter(Inode::is_dir)?;
        find(self.store, parent.data_root(), cookie.into(), |_| ())?;
        Some(parent)
    }
}
