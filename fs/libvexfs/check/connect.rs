// SPDX-License-Identifier: GPL-2.0

//! Whether every directory can be reached from the root: by going up its parents.

use super::group::{chunk_root, parse_chunk};
use super::tree::{find, walk, Event};
use super::{Checker, Fix};
use crate::libvexfs::attr::{self, kind};
use crate::libvexfs::dir::entry::DirEntryRef;
use crate::libvexfs::format::group::GroupHeader;
use crate::libvexfs::format::inode::{chunk_ino, CHUNK_INODES, STATE_INTERNAL};
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::{Block, Store};
use crate::libvexfs::parent::record::{self, ParentRef};
use crate::libvexfs::tree::{KIND_ATTR, KIND_DATA};
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
        let (g, group) = (self.sb.geometry, header.group);
        walk(self.store, chunk_root(header), &mut |event| {
            if let Event::Record { key, value, .. } = event {
                let Some((chunk, mask)) = parse_chunk(&g, group, key, value) else {
                    return Ok(true);
                };
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
                let what =
                    "the directory is in a loop of directories: it cannot be reached from the root";
                let fixes = self.cut_off(&at);
                self.wrong_by(start, 0, what, fixes);
                break;
            }
            // A missing or wrong parent was reported where its pointer was looked at.
            let Some((parent, _)) = self.parent_directory(&at) else {
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

    /// What takes a directory out of its parent.
    fn cut_off(&self, dir: &Inode) -> Vec<Fix> {
        let Some((parent, cookie)) = self.parent_directory(dir) else {
            return Vec::new();
        };
        let mut fixes = vec![Fix::name(parent.ino, KIND_DATA, cookie.into(), None)];
        if let Ok(key) = record::key(parent.ino, cookie) {
            let key = attr::key(kind::PARENT, key);
            fixes.push(Fix::name(dir.ino, KIND_ATTR, key, None));
        }
        fixes
    }

    /// The directory that a directory is in, and the cookie of its entry there: of the first parent pointer that has an
    /// entry.
    pub(super) fn parent_directory(&self, dir: &Inode) -> Option<(Inode, u64)> {
        let mut found = None;
        let _ = walk(self.store, dir.attr_root(), &mut |event| {
            if let Event::Record { key, value, .. } = event {
                if found.is_none() && (key >> attr::KIND_SHIFT) as u8 == kind::PARENT {
                    found = ParentRef::parse(key & attr::REST_MAX, value)
                        .ok()
                        .and_then(|p| {
                            let parent = self.read_inode(p.ino).filter(Inode::is_dir)?;
                            let key = u128::from(p.cookie);
                            let same = |value: &[u8]| {
                                DirEntryRef::parse(key, value).is_ok_and(|e| e.ino == dir.ino)
                            };
                            let same = find(self.store, parent.data_root(), key, same);
                            (same == Some(true)).then_some((parent, p.cookie))
                        });
                }
            }
            Ok(found.is_none())
        });
        found
    }
}
