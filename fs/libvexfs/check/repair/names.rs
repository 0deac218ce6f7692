// SPDX-License-Identifier: GPL-2.0

//! Names: entries and parent pointers, and lost+found for what has none.

use super::{Edits, Repair};
use crate::libvexfs::attr::{self, kind};
use crate::libvexfs::check::dir::{format_entry, format_pointer};
use crate::libvexfs::check::tree::find;
use crate::libvexfs::check::Fix;
use crate::libvexfs::dir::entry::{dtype_of, DirEntryRef, COOKIE_FIRST, COOKIE_MAX, COUNTER_BITS};
use crate::libvexfs::format::inode::{STATE_INTERNAL, STATE_ORPHAN, S_IFDIR};
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::parent::record;
use crate::libvexfs::siphash::siphash24;
use crate::libvexfs::tree::{KIND_ATTR, KIND_DATA};
use kernel::prelude::*;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// Where what has no name goes.
const LOST_FOUND: &[u8] = b"lost+found";

/// Changes of many trees.
type AllEdits = BTreeMap<(u64, u32), Edits>;

impl<S: Store> Repair<'_, S> {
    pub(super) fn names(&mut self, fixes: Vec<Fix>) -> Result {
        let mut edits = AllEdits::new();
        let mut moves = Vec::new();
        let mut root = false;
        for fix in fixes {
            match fix {
                Fix::Record {
                    ino,
                    kind,
                    key,
                    value,
                    ..
                } => edits.entry((ino, kind)).or_default().set(key, value),
                Fix::Move { dir, key } => moves.push((dir, key)),
                Fix::Inode { ino, field } => self.write_field(ino, field)?,
                Fix::Root => root = true,
                _ => {}
            }
        }
        for (dir, key) in moves {
            self.move_entry(dir, key, &mut edits)?;
        }
        self.edit_trees(edits)?;
        if root {
            self.find_root()?;
        }
        Ok(())
    }

    /// Moves an entry to where its name belongs.
    fn move_entry(&self, dir: u64, key: u128, edits: &mut AllEdits) -> Result {
        let inode = self.inode(dir)?;
        let entry = find(self.store, inode.data_root(), key, |value| {
            let entry = DirEntryRef::parse(key, value).ok()?;
            Some((entry.ino, entry.dtype, entry.name.to_vec()))
        });
        let Some((ino, dtype, name)) = entry.flatten() else {
            return Ok(());
        };
        let edits = edits.entry((dir, KIND_DATA)).or_default();
        edits.set(key, None);
        if let Some(cookie) = self.free_cookie(&inode, &name, edits) {
            edits.set(cookie.into(), Some(format_entry(ino, dtype, &name)));
        }
        Ok(())
    }

    /// Where an entry of a name can be put; none if the name is there.
    fn free_cookie(&self, dir: &Inode, name: &[u8], edits: &Edits) -> Option<u64> {
        let base = siphash24(&self.sb.hash_key, name) >> 16 << COUNTER_BITS;
        let last = (base | ((1 << COUNTER_BITS) - 1)).min(COOKIE_MAX);
        for cookie in base.max(COOKIE_FIRST)..=last {
            let key = u128::from(cookie);
            let same = |value: &[u8]| DirEntryRef::parse(key, value).is_ok_and(|e| e.name == name);
            let taken = match edits.hard.get(&key) {
                Some(value) => value.as_ref().map(|value| same(value)),
                None => find(self.store, dir.data_root(), key, same),
            };
            match taken {
                Some(true) => return None,
                Some(false) => {}
                None => return Some(cookie),
            }
        }
        None
    }

    /// The inode that a name in a directory leads to.
    fn lookup(&self, dir: &Inode, name: &[u8]) -> Option<u64> {
        let base = siphash24(&self.sb.hash_key, name) >> 16 << COUNTER_BITS;
        (base.max(COOKIE_FIRST)..base + 8).find_map(|cookie| {
            let key = u128::from(cookie);
            let ino = find(self.store, dir.data_root(), key, |value| {
                let entry = DirEntryRef::parse(key, value).ok()?;
                (entry.name == name).then_some(entry.ino)
            });
            ino.flatten()
        })
    }

    /// Plans an entry of `child` in `dir`, and its parent pointer. Says false if the name is taken.
    fn link(&self, dir: &Inode, name: &[u8], child: &Inode, edits: &mut AllEdits) -> Result<bool> {
        let entries = edits.entry((dir.ino, KIND_DATA)).or_default();
        let Some(cookie) = self.free_cookie(dir, name, entries) else {
            return Ok(false);
        };
        let entry = format_entry(child.ino, dtype_of(child.mode), name);
        entries.set(cookie.into(), Some(entry));
        let key = attr::key(kind::PARENT, record::key(dir.ino, cookie)?);
        let pointer = format_pointer(dir.generation, name);
        let pointers = edits.entry((child.ino, KIND_ATTR)).or_default();
        pointers.set(key, Some(pointer));
        Ok(true)
    }

    /// Gives what has no name one, and makes the indices of collections anew.
    pub(super) fn lost(&mut self, fixes: &[Fix]) -> Result {
        let mut adopted = Vec::new();
        let mut indexes = BTreeSet::new();
        for fix in fixes {
            match fix {
                Fix::Adopt { ino } => adopted.push(*ino),
                Fix::Collection { ino } => self.rebuild_collection(*ino)?,
                Fix::Index { ino } => {
                    indexes.insert(*ino);
                }
                _ => {}
            }
        }
        for ino in indexes {
            self.take_index_down(ino)?;
        }
        adopted.sort_unstable();
        adopted.dedup();
        if adopted.is_empty() {
            return Ok(());
        }
        let home = self.lost_found()?;
        let mut edits = AllEdits::new();
        for ino in adopted {
            let Some(mut inode) = self.used_inode(ino) else {
                continue;
            };
            if inode.state & STATE_INTERNAL != 0 || ino == self.sb.root_ino || ino == home.ino {
                continue;
            }
            if inode.nlink == 0 {
                inode.nlink = 1 + u32::from(inode.is_dir());
                inode.state &= !STATE_ORPHAN;
                self.write_inode(&inode)?;
            }
            // A name that is taken is so by somebody who was here before under the same number.
            for n in 0..8 {
                let name = match n {
                    0 => format!("#{ino}"),
                    n => format!("#{ino}.{n}"),
                };
                if self.link(&home, name.as_bytes(), &inode, &mut edits)? {
                    break;
                }
            }
        }
        self.edit_trees(edits)
    }

    /// The directory lost+found, which is made if it is not there.
    fn lost_found(&mut self) -> Result<Inode> {
        let root = self.inode(self.sb.root_ino)?;
        let mut names = vec![LOST_FOUND.to_vec()];
        names.extend((1..8).map(|n| format!("lost+found.{n}").into_bytes()));
        for name in names {
            match self.lookup(&root, &name) {
                Some(ino) => {
                    if let Some(dir) = self.used_inode(ino).filter(Inode::is_dir) {
                        return Ok(dir);
                    }
                }
                None => {
                    let mut dir = self.make_inode(S_IFDIR | 0o700)?;
                    dir.nlink = 2;
                    self.write_inode(&dir)?;
                    let mut edits = AllEdits::new();
                    self.link(&root, &name, &dir, &mut edits)?;
                    self.edit_trees(edits)?;
                    self.refresh_masks(dir.ino)?;
                    return self.inode(dir.ino);
                }
            }
        }
        Err(EEXIST)
    }
}
