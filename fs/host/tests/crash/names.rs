// SPDX-License-Identifier: GPL-2.0

//! Operations on names and attributes.

use crate::model::{is_dir, is_reg, Node};
use crate::world::{World, NOW};
use kernel::prelude::*;
use vexfs::libvexfs::credits;
use vexfs::libvexfs::format::inode::{S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG};
use vexfs::libvexfs::namespace::{
    NewInode, Rename, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT,
};
use vexfs::libvexfs::orphan;
use vexfs::libvexfs::vector::record::{BASE_CREDITS, DROP_CREDITS, STEP};
use vexfs::libvexfs::xattr::SetMode;

/// Lengths of values: in the record, at its limit, in chunks.
const LENGTHS: [usize; 6] = [0, 10, 200, 980, 3_000, 12_000];

impl World<'_> {
    fn some_dir(&mut self) -> u64 {
        let root = self.root();
        match self.below(3) {
            0 => root,
            _ => self
                .pick(|ino, n| is_dir(n.mode) && (ino == root || n.links != 0))
                .unwrap_or(root),
        }
    }

    fn new_name(&mut self) -> Vec<u8> {
        let n = self.next() as u32;
        let pad = "x".repeat([2, 20, 100, 240][self.below(4) as usize]);
        format!("{n}-{pad}").into_bytes()
    }

    /// A name that is there: directory, name, inode.
    fn some_name(&mut self) -> Option<(u64, Vec<u8>, u64)> {
        let dir = self.pick(|_, n| !n.entries.is_empty())?;
        let len = self.state.node(dir).entries.len() as u64;
        let n = self.below(len) as usize;
        let (name, ino) = self.state.node(dir).entries.iter().nth(n)?;
        let found = (dir, name.clone(), *ino);
        (!self.state.node(found.2).kept).then_some(found)
    }

    pub fn create(&mut self) {
        let mode = [
            S_IFREG | 0o644,
            S_IFREG | 0o644,
            S_IFDIR | 0o755,
            S_IFLNK | 0o777,
        ];
        let mode = mode[self.below(4) as usize];
        let (dir, name) = (self.some_dir(), self.new_name());
        let is_link = mode & S_IFLNK == S_IFLNK;
        let len = [20, 181, 2_500, 4_000][self.below(4) as usize];
        let target = vec![b't'; if is_link { len } else { 0 }];
        let credits = if is_link {
            credits::SYMLINK
        } else {
            credits::CREATE
        };
        let mut parent = self.inode(dir);
        let new = NewInode {
            mode,
            target: &target,
            now: NOW,
            ..NewInode::default()
        };
        let Ok(made) = self.run(credits, |fs, t| fs.create(t, &mut parent, &name, &new)) else {
            return;
        };
        let size = target.len() as u64;
        self.add_node(
            &made,
            Node {
                links: 1,
                target,
                size,
                ..Node::default()
            },
        );
        self.state.node_mut(dir).entries.insert(name, made.ino);
    }

    pub fn tmpfile(&mut self) {
        let near = self.inode(self.root());
        let new = NewInode {
            mode: S_IFREG | 0o600,
            now: NOW,
            ..NewInode::default()
        };
        let Ok(made) = self.run(credits::TMPFILE, |fs, t| fs.tmpfile(t, &near, &new)) else {
            return;
        };
        let orphan = Some(orphan::DELETE);
        self.add_node(
            &made,
            Node {
                orphan,
                ..Node::default()
            },
        );
    }

    pub fn link(&mut self) {
        // The record of a removed file that is being cut must stay.
        let cutting = |n: &Node| n.cutting && n.links == 0;
        let Some(ino) = self.pick(|_, n| !is_dir(n.mode) && !n.reaped && !cutting(n)) else {
            return;
        };
        let (dir, name) = (self.some_dir(), self.new_name());
        let (mut parent, mut i) = (self.inode(dir), self.inode(ino));
        if self
            .run(credits::LINK, |fs, t| {
                fs.link(t, &mut parent, &name, &mut i, NOW)
            })
            .is_err()
        {
            return;
        }
        self.state.node_mut(dir).entries.insert(name, ino);
        let node = self.state.node_mut(ino);
        if node.links == 0 {
            node.orphan = None;
        }
        node.links += 1;
    }

    /// `unlink` or `rmdir`.
    pub fn remove(&mut self) {
        let Some((dir, name, ino)) = self.some_name() else {
            return;
        };
        let of_dir = is_dir(self.state.node(ino).mode);
        let (mut parent, mut i) = (self.inode(dir), self.inode(ino));
        let got = self.run(credits::UNLINK, |fs, t| match of_dir {
            true => fs.rmdir(t, &mut parent, &name, &mut i, NOW),
            false => fs.unlink(t, &mut parent, &name, &mut i, NOW),
        });
        if of_dir && !self.state.node(ino).entries.is_empty() {
            assert!(got.is_err(), "a directory with entries was removed");
            return;
        }
        got.expect("removing needs no space that is not kept for it");
        self.drop_name(dir, &name);
        self.drop_link(ino);
    }

    fn drop_name(&mut self, dir: u64, name: &[u8]) {
        self.state.node_mut(dir).entries.remove(name);
    }

    fn drop_link(&mut self, ino: u64) {
        let node = self.state.node_mut(ino);
        node.links -= 1;
        if node.links == 0 {
            node.orphan = Some(orphan::DELETE);
        }
    }

    pub fn rename(&mut self) {
        let Some((from, old_name, old)) = self.some_name() else {
            return;
        };
        let flags =
            [0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT][self.below(6) as usize];
        let onto = flags == RENAME_EXCHANGE || self.below(3) == 0;
        let (to, new_name, new) = match self.some_name().filter(|_| onto) {
            Some((dir, name, ino)) => (dir, name, Some(ino)),
            None => (self.some_dir(), self.new_name(), None),
        };
        // What the VFS refuses.
        let below =
            |ino, above| is_dir(self.state.node(above).mode) && self.state.is_below(ino, above);
        if new == Some(old) || below(to, old) || new.is_some_and(|new| below(from, new)) {
            return;
        }
        // Numbers begin anew after each crash: a name may be one that there is. Moving something onto
        // itself does nothing.
        if self.state.node(to).entries.get(&new_name) == Some(&old) {
            return;
        }
        let mut inodes = [self.inode(from), self.inode(old)];
        let mut new_dir = (to != from).then(|| self.inode(to));
        let mut replaced = new.map(|ino| self.inode(ino));
        let got = self.run(credits::RENAME, |fs, t| {
            let [old_dir, old] = &mut inodes;
            let rename = Rename {
                old_dir,
                old_name: &old_name,
                old,
                new_dir: new_dir.as_mut(),
                new_name: &new_name,
                new: replaced.as_mut(),
                flags,
                whiteout: NewInode::default(),
                now: NOW,
            };
            fs.rename(t, rename)
        });
        let Ok(whiteout) = got else { return };
        self.drop_name(from, &old_name);
        self.state.node_mut(to).entries.insert(new_name, old);
        match new {
            Some(new) if flags == RENAME_EXCHANGE => {
                self.state
                    .node_mut(from)
                    .entries
                    .insert(old_name.clone(), new);
            }
            Some(new) => self.drop_link(new),
            None => {}
        }
        if let Some(made) = whiteout {
            assert_eq!(made.mode, S_IFCHR);
            self.add_node(
                &made,
                Node {
                    links: 1,
                    ..Node::default()
                },
            );
            self.state.node_mut(from).entries.insert(old_name, made.ino);
        }
    }

    pub fn xattr(&mut self) {
        let Some(ino) = self.pick(|_, n| n.links != 0) else {
            return;
        };
        let name = format!("attribute {}", self.below(7)).into_bytes();
        let len = LENGTHS[self.below(6) as usize];
        let value = match self.below(4) {
            0 => None,
            _ => {
                let n = self.next();
                Some(
                    n.to_le_bytes()
                        .iter()
                        .copied()
                        .cycle()
                        .take(len)
                        .collect::<Vec<u8>>(),
                )
            }
        };
        let mut i = self.inode(ino);
        let len = value.as_ref().map(Vec::len);
        let credits = self
            .fs
            .xattr_credits(&i, 1, &name, len)
            .expect("it can be read");
        let got = self.run(credits, |fs, t| {
            fs.xattr_set(t, &mut i, 1, &name, value.as_deref(), SetMode::Any, NOW)
        });
        if got.is_ok() {
            let xattrs = &mut self.state.node_mut(ino).xattrs;
            match value {
                Some(value) => xattrs.insert(name, value),
                None => xattrs.remove(&name),
            };
        }
    }

    /// One step of freeing something that has no links: records that describe it first.
    pub fn reap(&mut self) {
        let dead = self.pick(|_, n| n.orphan == Some(orphan::DELETE));
        let Some(ino) = dead.or(self.state.dropped.first().copied()) else {
            return;
        };
        // What is under way is awaited before an inode goes.
        self.complete_all(ino);
        if self.forget_vectors(ino) {
            return;
        }
        let mut i = self.inode(ino);
        let done = self
            .run(credits::REAP_STEP, |fs, t| fs.reap_step(t, &mut i))
            .expect("freeing needs no space");
        if done {
            self.state.nodes.remove(&ino);
            self.state.dropped.remove(&ino);
        } else if self.state.nodes.contains_key(&ino) {
            self.state.node_mut(ino).reaped = true;
        }
    }

    /// Removes some records that describe an inode; false if there are none.
    fn forget_vectors(&mut self, owner: u64) -> bool {
        let of = |c: &crate::model::Collection| c.vectors.values().any(|v| v.record.ino == owner);
        let Some((id, c)) = self.state.collections.iter().find(|(_, c)| of(c)) else {
            return false;
        };
        let (id, mut collection) = (*id, self.inode(c.ino));
        let mut slots = KVec::new();
        self.fs
            .slots_by_owner(&collection, owner, 0, STEP, &mut slots)
            .expect("it can be read");
        let n = self
            .run(BASE_CREDITS + DROP_CREDITS, |fs, t| {
                fs.remove_step(t, &mut collection, &slots)
            })
            .expect("removing needs no space");
        let gone = &slots[..n];
        self.state
            .collection_mut(id)
            .vectors
            .retain(|_, v| !gone.contains(&v.slot));
        self.look_at_index(id);
        true
    }

    /// Whether a file may be written to.
    pub fn is_file(n: &Node) -> bool {
        is_reg(n.mode) && !n.reaped && !n.cutting
    }
}
