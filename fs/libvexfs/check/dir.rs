// SPDX-License-Identifier: GPL-2.0

//! Directories: every entry, and the inode that it names.

use super::inode::Data;
use super::tree::{find, walk, Event};
use super::{Checker, Claimant, Field, Fix};
use crate::libvexfs::attr::{self, kind};
use crate::libvexfs::dir::entry::{
    dtype, dtype_of, DirEntryRef, COOKIE_FIRST, COUNTER_BITS, ENTRY_HEAD,
};
use crate::libvexfs::format::extent::Extent;
use crate::libvexfs::format::inode::STATE_INTERNAL;
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::parent::record::{self, ParentRef};
use crate::libvexfs::siphash::siphash24;
use crate::libvexfs::tree::{KIND_ATTR, KIND_DATA};
use kernel::prelude::*;
use std::collections::HashSet;

/// Names of the same hash, to find one that is there twice.
#[derive(Default)]
struct Names {
    hash: u64,
    names: HashSet<Vec<u8>>,
}

impl<S: Store> Checker<'_, S> {
    pub(super) fn directory(&mut self, dir: &Inode, data: &mut Data) -> Result {
        let store = self.store;
        let mut names = Names::default();
        walk(store, dir.data_root(), &mut |event| {
            match event {
                Event::Node(bno) => {
                    data.blocks += 1;
                    let ours = self.claim(dir.ino, bno, 1, Claimant::Node("directory"));
                    data.damaged |= !ours;
                    return Ok(ours && !self.stopped);
                }
                Event::Bad { bno, what } => {
                    data.damaged = true;
                    let fix = Fix::Tree {
                        ino: dir.ino,
                        kind: KIND_DATA,
                    };
                    self.wrong(dir.ino, bno, format!("directory: {what}"), fix);
                }
                Event::Record { bno, key, value } => match DirEntryRef::parse(key, value) {
                    Ok(entry) => {
                        data.fitting += 1;
                        data.entries += 1;
                        data.subdirs += u64::from(entry.dtype == dtype::DIR);
                        data.bytes += (ENTRY_HEAD + entry.name.len()) as u64;
                        if self.first_pass {
                            self.entry(dir, bno, &entry, &mut names);
                        }
                    }
                    Err(_) => {
                        data.damaged = true;
                        let blocks = self.sb.geometry.block_count;
                        data.strange += u64::from(Extent::parse(key, value, blocks).is_ok());
                        let what = format!("impossible directory entry {key:#x}");
                        let fix = Fix::drop_record(dir.ino, KIND_DATA, key);
                        self.wrong(dir.ino, bno, what, fix);
                    }
                },
            }
            Ok(true)
        })?;
        if !data.damaged && data.entries != dir.entries {
            let what = format!("{} entries, rightly {}", dir.entries, data.entries);
            self.wrong(
                dir.ino,
                0,
                what,
                Fix::Inode {
                    ino: dir.ino,
                    field: Field::Entries(data.entries),
                },
            );
        }
        if !data.damaged && data.bytes != dir.size {
            let what = format!("{} bytes of entries, rightly {}", dir.size, data.bytes);
            self.wrong(
                dir.ino,
                0,
                what,
                Fix::Inode {
                    ino: dir.ino,
                    field: Field::Size(data.bytes),
                },
            );
        }
        if dir.nlink == 0 && data.entries != 0 {
            // It gets a place in lost+found for its entries.
            let links = u32::try_from(data.subdirs).unwrap_or(0).saturating_add(2);
            let fix = Fix::field(dir.ino, Field::Revive(links));
            self.wrong(dir.ino, 0, "a removed directory with entries", fix);
        }
        Ok(())
    }

    /// Whether a record looks like a directory's.
    pub(super) fn is_entry(&self, key: u128, value: &[u8]) -> bool {
        DirEntryRef::parse(key, value).is_ok_and(|e| self.is_place_of(e.cookie, e.name))
    }

    /// Whether the superblock names an inode, so that no directory does.
    fn is_special(&self, ino: u64) -> bool {
        [self.sb.root_ino, self.sb.system_ino, self.sb.quota_ino].contains(&ino)
    }

    /// Whether a name hashes to a cookie.
    pub(super) fn is_place_of(&self, cookie: u64, name: &[u8]) -> bool {
        is_place_of(&self.sb.hash_key, cookie, name)
    }

    fn entry(&mut self, dir: &Inode, bno: u64, entry: &DirEntryRef<'_>, names: &mut Names) {
        let name = String::from_utf8_lossy(entry.name).into_owned();
        let hash = entry.cookie >> COUNTER_BITS;
        let key = u128::from(entry.cookie);
        let put = |ino: u64, dtype: u8, name: &[u8]| {
            let value = format_entry(ino, dtype, name);
            Fix::name(dir.ino, KIND_DATA, key, Some(value))
        };
        let remove = || Fix::name(dir.ino, KIND_DATA, key, None);
        let child = self.read_inode(entry.ino);
        let pointer = child
            .as_ref()
            .and_then(|child| self.pointer(child, dir.ino, entry.cookie));
        if !self.is_place_of(entry.cookie, entry.name) {
            let what = format!("entry '{name}' is in the wrong place");
            // If the pointer back has a name that belongs here, this one is damaged; otherwise its place is.
            let old = pointer
                .as_ref()
                .filter(|p| self.is_place_of(entry.cookie, &p.name));
            let fix = match old {
                Some(old) => put(entry.ino, entry.dtype, &old.name),
                None => Fix::Move { dir: dir.ino, key },
            };
            return self.wrong(dir.ino, bno, what, fix);
        }
        if names.hash != hash {
            *names = Names {
                hash,
                names: HashSet::new(),
            };
        }
        if !names.names.insert(entry.name.to_vec()) {
            let what = format!("entry '{name}' is there twice");
            return self.wrong(dir.ino, bno, what, remove());
        }
        let Some(child) = child else {
            let what = format!(
                "entry '{name}' names inode {}, which is not in use",
                entry.ino
            );
            return self.wrong(dir.ino, bno, what, remove());
        };
        let same = pointer.map(|p| p.generation == dir.generation && p.name == entry.name);
        if child.state & STATE_INTERNAL != 0 || child.ino == self.sb.root_ino {
            let what = format!(
                "entry '{name}' names inode {}, which can have no name",
                entry.ino
            );
            let fix = match same {
                Some(true) if !self.is_special(child.ino) => {
                    Fix::field(child.ino, Field::StateClear(STATE_INTERNAL))
                }
                _ => remove(),
            };
            return self.wrong(dir.ino, bno, what, fix);
        }
        if dtype_of(child.mode) != entry.dtype {
            let what = format!("entry '{name}' has another type than inode {}", entry.ino);
            let fix = match same {
                Some(true) => put(entry.ino, dtype_of(child.mode), entry.name),
                _ => remove(),
            };
            self.wrong(dir.ino, bno, what, fix);
        }
        if child.nlink == 0 {
            let what = format!(
                "entry '{name}' names inode {}, which has no links",
                entry.ino
            );
            let fix = match same {
                Some(true) => Fix::field(child.ino, Field::Revive(1 + u32::from(child.is_dir()))),
                _ => remove(),
            };
            return self.wrong(dir.ino, bno, what, fix);
        }
        let what = match same {
            Some(true) => return,
            Some(false) => format!(
                "the parent pointer for '{name}' in inode {} is wrong",
                dir.ino
            ),
            None => format!("no parent pointer for '{name}' in inode {}", dir.ino),
        };
        // A directory has one parent: if it has another already, this entry is not its.
        let elsewhere = child.is_dir() && same.is_none() && self.parent_directory(&child).is_some();
        let fix = match record::key(dir.ino, entry.cookie) {
            Ok(key) if !elsewhere && dtype_of(child.mode) == entry.dtype => Fix::name(
                child.ino,
                KIND_ATTR,
                attr::key(kind::PARENT, key),
                Some(format_pointer(dir.generation, entry.name)),
            ),
            _ => remove(),
        };
        self.wrong(entry.ino, 0, what, fix);
    }

    /// The parent pointer of `child` for an entry.
    fn pointer(&self, child: &Inode, dir: u64, cookie: u64) -> Option<Pointer> {
        let rest = record::key(dir, cookie).ok()?;
        let key = attr::key(kind::PARENT, rest);
        find(self.store, child.attr_root(), key, |value| {
            ParentRef::parse(rest, value).ok().map(|p| Pointer {
                generation: p.generation,
                name: p.name.to_vec(),
            })
        })
        .flatten()
    }

    /// Whether a parent pointer of `i` has its entry. `first`: it is the first one that `i` has.
    pub(super) fn parent(&mut self, i: &Inode, bno: u64, parent: &ParentRef<'_>, first: bool) {
        let name = String::from_utf8_lossy(parent.name).into_owned();
        let Ok(rest) = record::key(parent.ino, parent.cookie) else {
            return;
        };
        let own = attr::key(kind::PARENT, rest);
        let remove = || Fix::name(i.ino, KIND_ATTR, own, None);
        if i.state & STATE_INTERNAL != 0 {
            // What has a name is not internal, unless the superblock says that it is.
            let what = format!("an internal inode with a name, '{name}'");
            let fix = if self.is_special(i.ino) {
                remove()
            } else {
                Fix::field(i.ino, Field::StateClear(STATE_INTERNAL))
            };
            return self.wrong(i.ino, bno, what, fix);
        }
        let Some(dir) = self.read_inode(parent.ino).filter(Inode::is_dir) else {
            let what = format!(
                "the parent of '{name}', inode {}, is no directory in use",
                parent.ino
            );
            return self.wrong(i.ino, bno, what, remove());
        };
        let key = u128::from(parent.cookie);
        let there = find(self.store, dir.data_root(), key, |value| {
            DirEntryRef::parse(key, value)
                .ok()
                .map(|e| (e.ino, e.name.to_vec()))
        })
        .flatten();
        if dir.generation != parent.generation {
            let what = format!(
                "the parent of '{name}', inode {}, was another one",
                parent.ino
            );
            // The root is never another one: what knows it knows this one. So is whoever has the entry.
            let same = there
                .as_ref()
                .is_some_and(|(ino, n)| *ino == i.ino && n == parent.name);
            let fix = if dir.ino == self.sb.root_ino || same {
                let value = format_pointer(dir.generation, parent.name);
                Fix::name(i.ino, KIND_ATTR, own, Some(value))
            } else {
                remove()
            };
            return self.wrong(i.ino, bno, what, fix);
        }
        let entry = format_entry(i.ino, dtype_of(i.mode), parent.name);
        let put = Fix::name(dir.ino, KIND_DATA, key, Some(entry));
        let placed = self.is_place_of(parent.cookie, parent.name) && i.nlink > 0;
        match there {
            Some((ino, n)) if ino == i.ino && n == parent.name => {}
            Some((ino, n)) => {
                let what = format!("inode {} has another entry in place of '{name}'", dir.ino);
                // Ours if the name is, and whoever is named there knows nothing of it.
                let theirs = ino != i.ino
                    && self.read_inode(ino).is_some_and(|other| {
                        self.pointer(&other, dir.ino, parent.cookie)
                            .is_some_and(|p| p.name == n)
                    });
                let ours = placed
                    && !theirs
                    && (n == parent.name || ino == i.ino && !self.is_place_of(parent.cookie, &n));
                let fix = if ours { put } else { remove() };
                self.wrong(i.ino, bno, what, fix);
            }
            None => {
                let what = format!("inode {} has no entry '{name}'", dir.ino);
                // An entry that was lost comes back, unless the name is taken or makes a second parent.
                let ours =
                    placed && (first || !i.is_dir()) && self.has_name(&dir, parent) == Some(false);
                let fix = if ours { put } else { remove() };
                self.wrong(i.ino, bno, what, fix);
            }
        }
    }

    /// Whether a directory has an entry of the name that a pointer has, at whatever place. None: that cannot be told.
    fn has_name(&self, dir: &Inode, parent: &ParentRef<'_>) -> Option<bool> {
        let base = parent.cookie >> COUNTER_BITS << COUNTER_BITS;
        let mut cookie = base.max(COOKIE_FIRST);
        // Counters have gaps where names were removed; more than a few names of one hash there are not.
        while cookie < base + 8 {
            let key = u128::from(cookie);
            let same = find(self.store, dir.data_root(), key, |value| {
                DirEntryRef::parse(key, value).is_ok_and(|e| e.name == parent.name)
            });
            if same == Some(true) {
                return Some(true);
            }
            cookie += 1;
        }
        Some(false)
    }

    /// What leaves a directory with one parent: the first whose entry it has. None at all: it is to be adopted.
    pub(super) fn one_parent(&mut self, dir: &Inode) -> Vec<Fix> {
        let keep = if dir.ino == self.sb.root_ino {
            None
        } else {
            let Some((parent, cookie)) = self.parent_directory(dir) else {
                return vec![Fix::Adopt { ino: dir.ino }];
            };
            Some((parent.ino, cookie))
        };
        let mut fixes = Vec::new();
        let _ = walk(self.store, dir.attr_root(), &mut |event| {
            if let Event::Record { key, value, .. } = event {
                if (key >> attr::KIND_SHIFT) as u8 == kind::PARENT {
                    if let Ok(p) = ParentRef::parse(key & attr::REST_MAX, value) {
                        if keep != Some((p.ino, p.cookie)) {
                            fixes.push(Fix::name(dir.ino, KIND_ATTR, key, None));
                            let entry = u128::from(p.cookie);
                            let parent = self.read_inode(p.ino).filter(Inode::is_dir);
                            let ours = parent.and_then(|parent| {
                                find(self.store, parent.data_root(), entry, |value| {
                                    DirEntryRef::parse(entry, value).is_ok_and(|e| e.ino == dir.ino)
                                })
                            });
                            if ours == Some(true) {
                                fixes.push(Fix::name(p.ino, KIND_DATA, entry, None));
                            }
                        }
                    }
                }
            }
            Ok(true)
        });
        fixes
    }
}

/// A parent pointer's value.
struct Pointer {
    generation: u32,
    name: Vec<u8>,
}

/// Whether a name hashes to a cookie.
pub(super) fn is_place_of(hash_key: &[u8; 16], cookie: u64, name: &[u8]) -> bool {
    cookie >> COUNTER_BITS == siphash24(hash_key, name) >> 16
}

/// The value of an entry.
pub(super) fn format_entry(ino: u64, dtype: u8, name: &[u8]) -> Box<[u8]> {
    [&ino.to_le_bytes()[..], &[dtype], name].concat().into()
}

/// The value of a parent pointer.
pub(super) fn format_pointer(generation: u32, name: &[u8]) -> Box<[u8]> {
    [&generation.to_le_bytes()[..], name].concat().into()
}
