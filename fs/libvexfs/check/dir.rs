// SPDX-License-Identifier: GPL-2.0

//! Directories: every entry, and the inode that it names.

use super::inode::Data;
use super::tree::{find, walk, Event};
use super::{Checker, Field, Fix};
use crate::libvexfs::attr::{self, kind};
use crate::libvexfs::dir::entry::{dtype, dtype_of, DirEntryRef, COUNTER_BITS, ENTRY_HEAD};
use crate::libvexfs::format::inode::STATE_INTERNAL;
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::parent::record::{self, ParentRef};
use crate::libvexfs::siphash::siphash24;
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
                    let ours = self.claim(dir.ino, bno, 1, "directory");
                    data.damaged |= !ours;
                    return Ok(ours && !self.stopped);
                }
                Event::Bad { bno, what } => {
                    data.damaged = true;
                    self.bad(dir.ino, bno, format!("directory: {what}"));
                }
                Event::Record { bno, key, value } => match DirEntryRef::parse(key, value) {
                    Ok(entry) => {
                        data.entries += 1;
                        data.subdirs += u64::from(entry.dtype == dtype::DIR);
                        data.bytes += (ENTRY_HEAD + entry.name.len()) as u64;
                        if self.first_pass {
                            self.entry(dir, bno, &entry, &mut names);
                        }
                    }
                    Err(_) => {
                        data.damaged = true;
                        self.bad(dir.ino, bno, format!("impossible directory entry {key:#x}"));
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
            self.bad(dir.ino, 0, "a removed directory with entries");
        }
        Ok(())
    }

    fn entry(&mut self, dir: &Inode, bno: u64, entry: &DirEntryRef<'_>, names: &mut Names) {
        let name = String::from_utf8_lossy(entry.name).into_owned();
        let hash = entry.cookie >> COUNTER_BITS;
        if hash != siphash24(&self.sb.hash_key, entry.name) >> 16 {
            self.bad(
                dir.ino,
                bno,
                format!("entry '{name}' is in the wrong place"),
            );
        }
        if names.hash != hash {
            *names = Names {
                hash,
                names: HashSet::new(),
            };
        }
        if !names.names.insert(entry.name.to_vec()) {
            self.bad(dir.ino, bno, format!("entry '{name}' is there twice"));
        }
        let Some(child) = self.read_inode(entry.ino) else {
            return self.bad(
                dir.ino,
                bno,
                format!(
                    "entry '{name}' names inode {}, which is not in use",
                    entry.ino
                ),
            );
        };
        if dtype_of(child.mode) != entry.dtype {
            self.bad(
                dir.ino,
                bno,
                format!("entry '{name}' has another type than inode {}", entry.ino),
            );
        }
        if child.state & STATE_INTERNAL != 0 || child.ino == self.sb.root_ino {
            self.bad(
                dir.ino,
                bno,
                format!(
                    "entry '{name}' names inode {}, which can have no name",
                    entry.ino
                ),
            );
        }
        if child.nlink == 0 {
            self.bad(
                dir.ino,
                bno,
                format!(
                    "entry '{name}' names inode {}, which has no links",
                    entry.ino
                ),
            );
        }
        let same = record::key(dir.ino, entry.cookie).ok().and_then(|key| {
            find(
                self.store,
                child.attr_root(),
                attr::key(kind::PARENT, key),
                |value| {
                    ParentRef::parse(key, value)
                        .is_ok_and(|p| p.generation == dir.generation && p.name == entry.name)
                },
            )
        });
        match same {
            Some(true) => {}
            Some(false) => self.bad(
                entry.ino,
                0,
                format!(
                    "the parent pointer for '{name}' in inode {} is wrong",
                    dir.ino
                ),
            ),
            None => self.bad(
                entry.ino,
                0,
                format!("no parent pointer for '{name}' in inode {}", dir.ino),
            ),
        }
    }

    /// Whether a parent pointer of `i` has its entry.
    pub(super) fn parent(&mut self, i: &Inode, bno: u64, parent: &ParentRef<'_>) {
        let name = String::from_utf8_lossy(parent.name).into_owned();
        let Some(dir) = self.read_inode(parent.ino).filter(Inode::is_dir) else {
            let what = format!(
                "the parent of '{name}', inode {}, is no directory in use",
                parent.ino
            );
            return self.bad(i.ino, bno, what);
        };
        if dir.generation != parent.generation {
            return self.bad(
                i.ino,
                bno,
                format!(
                    "the parent of '{name}', inode {}, was another one",
                    parent.ino
                ),
            );
        }
        let key = u128::from(parent.cookie);
        let same = find(self.store, dir.data_root(), key, |value| {
            DirEntryRef::parse(key, value).is_ok_and(|e| e.ino == i.ino && e.name == parent.name)
        });
        match same {
            Some(true) => {}
            Some(false) => self.bad(
                i.ino,
                bno,
                format!("inode {} has another entry in place of '{name}'", dir.ino),
            ),
            None => self.bad(
                i.ino,
                bno,
                format!("inode {} has no entry '{name}'", dir.ino),
            ),
        }
    }
}
