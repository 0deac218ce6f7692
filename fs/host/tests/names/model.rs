// SPDX-License-Identifier: GPL-2.0

//! What a name space is, said as simply as possible.

use crate::operations::{Kind, Op};
use crate::volume::{Volume, SMALL};
use kernel::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use vexfs::libvexfs::credits;
use vexfs::libvexfs::errno::{enodata, enotempty};
use vexfs::libvexfs::format::inode::*;
use vexfs::libvexfs::journal::Store;
use vexfs::libvexfs::namespace::*;
use vexfs::libvexfs::xattr::SetMode;

pub type Name = Vec<u8>;

#[derive(Clone, Debug, Default)]
pub struct Node {
    pub mode: u16,
    pub rdev: u32,
    pub target: Vec<u8>,
    pub links: BTreeSet<(u64, Name)>,
    pub entries: BTreeMap<Name, u64>,
    pub xattrs: BTreeMap<(u8, Name), Vec<u8>>,
}

impl Node {
    pub fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }
}

/// Numbers of names from here on are of another kind, of which there are many.
const MANY: usize = 1_000_000;

/// Few names, so that operations meet; of all lengths that matter.
pub fn name(n: usize) -> Name {
    if n >= MANY {
        return format!("{:0width$}", n, width = n * 7 % 240 + 5).into_bytes();
    }
    match n % 14 {
        0 => vec![b'x'; 255],
        1 => vec![b'y'; 254],
        2 => b" odd\xff\x01name".to_vec(),
        n => [&b"name"[..], &vec![b'0' + (n % 10) as u8; n * 3]].concat(),
    }
}

fn xattr_name(n: usize) -> (u8, Name) {
    let index = (n % 4) as u8 + 1;
    match n % 5 {
        0 => (index, vec![b'n'; 255]),
        n => (index, vec![b'a' + n as u8; n]),
    }
}

fn value(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + len) as u8).collect()
}

pub struct Model {
    pub volume: Volume,
    pub nodes: BTreeMap<u64, Node>,
    pub root: u64,
}

impl Model {
    pub fn new() -> Self {
        let volume = Volume::new(SMALL);
        let root = volume.root();
        let node = Node {
            mode: S_IFDIR | 0o755,
            ..Node::default()
        };
        Self {
            volume,
            nodes: [(root, node)].into(),
            root,
        }
    }

    fn node(&mut self, ino: u64) -> &mut Node {
        self.nodes.get_mut(&ino).unwrap()
    }

    /// A directory, mostly one that is still linked.
    fn pick_dir(&self, n: usize) -> u64 {
        let dirs: Vec<u64> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.is_dir())
            .map(|(&ino, _)| ino)
            .collect();
        dirs[n % dirs.len()]
    }

    fn pick(&self, n: usize) -> u64 {
        *self.nodes.keys().nth(n % self.nodes.len()).unwrap()
    }

    /// One of the names of a directory, or any name.
    fn pick_name(&self, dir: u64, n: usize) -> Name {
        let entries = &self.nodes[&dir].entries;
        match entries.len() {
            len if len != 0 && n % 5 != 0 => entries.keys().nth(n % len).unwrap().clone(),
            _ => name(n),
        }
    }

    pub fn is_live(&self, dir: u64) -> bool {
        dir == self.root || !self.nodes[&dir].links.is_empty()
    }

    pub fn is_below(&self, mut dir: u64, ancestor: u64) -> bool {
        loop {
            if dir == ancestor {
                return true;
            }
            match self.nodes[&dir].links.first() {
                Some((parent, _)) => dir = *parent,
                None => return false,
            }
        }
    }

    fn add_link(&mut self, dir: u64, name: &[u8], ino: u64) {
        let old = self.node(dir).entries.insert(name.to_vec(), ino);
        assert!(old.is_none());
        self.node(ino).links.insert((dir, name.to_vec()));
    }

    fn drop_link(&mut self, dir: u64, name: &[u8]) {
        let ino = self.node(dir).entries.remove(name).unwrap();
        assert!(self.node(ino).links.remove(&(dir, name.to_vec())));
    }

    pub fn apply(&mut self, op: &Op) {
        match *op {
            Op::Create(dir, n, kind) => self.create(dir, n, kind),
            Op::Tmpfile(dir, kind) => self.tmpfile(dir, kind),
            Op::Link(dir, n, target) => self.link(dir, n, target),
            Op::Remove(dir, n) => self.remove(dir, n),
            Op::Rename {
                from,
                old,
                to,
                new,
                flags,
            } => self.rename(from, old, to, new, flags),
            Op::SetXattr(i, n, len, mode) => self.set_xattr(i, n, Some(len), mode),
            Op::RemoveXattr(i, n) => self.set_xattr(i, n, None, 0),
            Op::Fill(dir, n, count) => self.fill(dir, n, count),
            Op::Clear(dir, n, count) => self.clear(dir, n, count),
            Op::Reap(n) => self.reap(n),
            Op::Remount => {
                self.volume.remount();
                self.check();
            }
            Op::Commit => self.volume.store.commit().unwrap(),
        }
    }

    fn new_node(kind: Kind, n: usize) -> Node {
        let (format, target, rdev) = match kind {
            Kind::File => (S_IFREG, 0, 0),
            Kind::Dir => (S_IFDIR, 0, 0),
            Kind::ShortLink => (S_IFLNK, n % 180 + 1, 0),
            Kind::LongLink => (S_IFLNK, 181 + n * 31 % (4095 - 180), 0),
            Kind::Device => ([S_IFCHR, S_IFBLK][n % 2], 0, n as u32 * 77),
            Kind::Fifo => (S_IFIFO, 0, 0),
            Kind::Socket => (S_IFSOCK, 0, 0),
        };
        Node {
            mode: format | 0o640,
            rdev,
            target: value(target).iter().map(|b| b | 1).collect(),
            ..Node::default()
        }
    }

    fn create(&mut self, dir: usize, n: usize, kind: Kind) {
        let dir = self.pick_dir(dir);
        let name = name(n);
        let node = Self::new_node(kind, n);
        let new = NewInode {
            mode: node.mode,
            uid: 5,
            gid: 6,
            projid: 7,
            rdev: node.rdev,
            target: &node.target,
            ..NewInode::default()
        };
        let expected = match (
            self.is_live(dir),
            self.nodes[&dir].entries.contains_key(&name),
        ) {
            (false, _) => Err(ENOENT),
            (true, true) => Err(EEXIST),
            (true, false) => Ok(()),
        };
        let got = self.volume.create(dir, &name, new);
        assert_eq!(got.map(|_| ()), expected);
        if let Ok(ino) = got {
            assert!(self.nodes.insert(ino, node).is_none());
            self.add_link(dir, &name, ino);
        }
    }

    /// Makes files, and links to one that is there.
    fn fill(&mut self, dir: usize, n: usize, count: usize) {
        let ino = self.pick_dir(dir);
        let files: Vec<u64> = self
            .nodes
            .keys()
            .copied()
            .filter(|ino| !self.nodes[ino].is_dir())
            .collect();
        for k in n..n + count {
            let name = name(MANY + k % 700);
            if !self.is_live(ino) || self.nodes[&ino].entries.contains_key(&name) {
                continue;
            }
            if k % 3 == 0 || files.is_empty() {
                let node = Self::new_node(Kind::File, k);
                let new = NewInode {
                    mode: node.mode,
                    ..NewInode::default()
                };
                let made = self.volume.create(ino, &name, new).unwrap();
                assert!(self.nodes.insert(made, node).is_none());
                self.add_link(ino, &name, made);
            } else {
                let target = files[n % files.len()];
                self.volume.link(ino, &name, target).unwrap();
                self.add_link(ino, &name, target);
            }
        }
    }

    fn clear(&mut self, dir: usize, n: usize, count: usize) {
        let ino = self.pick_dir(dir);
        for k in n..n + count {
            let name = name(MANY + k % 700);
            let Some(&target) = self.nodes[&ino].entries.get(&name) else {
                continue;
            };
            if !self.nodes[&target].is_dir() {
                self.volume.unlink(ino, &name, target).unwrap();
                self.drop_link(ino, &name);
            }
        }
    }

    fn tmpfile(&mut self, dir: usize, kind: Kind) {
        let dir = self.pick_dir(dir);
        let node = Self::new_node(kind, dir as usize);
        let new = NewInode {
            mode: node.mode,
            rdev: node.rdev,
            target: &node.target,
            ..NewInode::default()
        };
        match self.volume.tmpfile(dir, new) {
            Ok(ino) => assert!(self.nodes.insert(ino, node).is_none()),
            Err(e) => assert!(e == EINVAL && node.is_dir()),
        }
    }

    fn link(&mut self, dir: usize, n: usize, target: usize) {
        let dir = self.pick_dir(dir);
        let target = self.pick(target);
        if dir == target {
            return;
        }
        let name = name(n);
        let expected = if self.nodes[&target].is_dir() {
            Err(EPERM)
        } else if !self.is_live(dir) {
            Err(ENOENT)
        } else if self.nodes[&dir].entries.contains_key(&name) {
            Err(EEXIST)
        } else {
            Ok(())
        };
        assert_eq!(self.volume.link(dir, &name, target), expected);
        if expected.is_ok() {
            self.add_link(dir, &name, target);
        }
    }

    fn remove(&mut self, dir: usize, n: usize) {
        let dir = self.pick_dir(dir);
        let name = self.pick_name(dir, n);
        let Some(&target) = self.nodes[&dir].entries.get(&name) else {
            // Somebody else's name.
            let other = self.pick(n);
            if other != dir {
                assert_eq!(self.volume.unlink(dir, &name, other), Err(ENOENT));
            }
            return;
        };
        if self.nodes[&target].is_dir() {
            assert_eq!(self.volume.unlink(dir, &name, target), Err(EISDIR));
            let expected = match self.nodes[&target].entries.is_empty() {
                true => Ok(()),
                false => Err(enotempty()),
            };
            assert_eq!(self.volume.rmdir(dir, &name, target), expected);
            if expected.is_err() {
                return;
            }
        } else {
            assert_eq!(self.volume.rmdir(dir, &name, target), Err(ENOTDIR));
            assert_eq!(self.volume.unlink(dir, &name, target), Ok(()));
        }
        self.drop_link(dir, &name);
    }

    fn rename(&mut self, from: usize, old: usize, to: usize, new: usize, flags: u32) {
        let from = self.pick_dir(from);
        let to = self.pick_dir(to);
        let old_name = self.pick_name(from, old);
        let new_name = self.pick_name(to, new);
        let Some(&old) = self.nodes[&from].entries.get(&old_name) else {
            return;
        };
        let new = self.nodes[&to].entries.get(&new_name).copied();
        // What the VFS refuses before it asks a file system.
        let dir = self.volume.get(to).clone();
        let below = |model: &Self, ino: u64| {
            let answer = model.volume.fs.is_below(&dir, ino);
            match model.is_live(to) {
                true => {
                    assert_eq!(answer, Ok(model.is_below(to, ino)));
                    model.is_below(to, ino)
                }
                false => false,
            }
        };
        if self.nodes[&old].is_dir() && below(self, old) {
            return;
        }
        if new.is_some_and(|new| new != old && self.is_below(from, new)) {
            return;
        }
        let expected = self.expect_rename(old, to, new, flags);
        // Flags and a vanished directory are judged in an order that nobody relies on.
        let got = self.run_rename(from, &old_name, old, to, &new_name, new, flags);
        assert_eq!(got.map(|_| ()), expected, "{flags} {old} {new:?}");
        if let (Ok(whiteout), false) = (got, new == Some(old)) {
            self.move_links(from, &old_name, old, to, &new_name, new, flags, whiteout);
        }
    }

    fn expect_rename(&self, old: u64, to: u64, new: Option<u64>, flags: u32) -> Result {
        let exchange = flags & RENAME_EXCHANGE != 0;
        if flags > 7 || exchange && flags != RENAME_EXCHANGE {
            return Err(EINVAL);
        }
        if !self.is_live(to) {
            return Err(ENOENT);
        }
        let Some(new) = new else {
            return match exchange {
                true => Err(ENOENT),
                false => Ok(()),
            };
        };
        if flags & RENAME_NOREPLACE != 0 {
            return Err(EEXIST);
        }
        if exchange || new == old {
            return Ok(());
        }
        let (old, new) = (&self.nodes[&old], &self.nodes[&new]);
        match (old.is_dir(), new.is_dir()) {
            (true, false) => Err(ENOTDIR),
            (false, true) => Err(EISDIR),
            (true, true) if !new.entries.is_empty() => Err(enotempty()),
            _ => Ok(()),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn run_rename(
        &mut self,
        from: u64,
        old_name: &[u8],
        old: u64,
        to: u64,
        new_name: &[u8],
        new: Option<u64>,
        flags: u32,
    ) -> Result<Option<u64>> {
        let now = self.volume.now();
        let mut inos = vec![from, old];
        if to != from {
            inos.push(to);
        }
        if let Some(new) = new.filter(|&new| new != old) {
            inos.push(new);
        }
        let whiteout = self.volume.run(credits::RENAME, &inos, &mut |fs, t, i| {
            let mut i = i.iter_mut();
            let rename = Rename {
                old_dir: i.next().unwrap(),
                old_name,
                old: i.next().unwrap(),
                new_dir: (to != from).then(|| i.next().unwrap()),
                new_name,
                new: i.next(),
                flags,
                whiteout: NewInode::default(),
                now,
            };
            fs.rename(t, rename)
        })?;
        Ok(whiteout.map(|w| {
            let ino = w.ino;
            assert!(self.volume.inodes.insert(ino, w).is_none());
            ino
        }))
    }

    #[allow(clippy::too_many_arguments)]
    fn move_links(
        &mut self,
        from: u64,
        old_name: &[u8],
        old: u64,
        to: u64,
        new_name: &[u8],
        new: Option<u64>,
        flags: u32,
        whiteout: Option<u64>,
    ) {
        self.drop_link(from, old_name);
        if new.is_some() {
            self.drop_link(to, new_name);
        }
        self.add_link(to, new_name, old);
        match new {
            Some(new) if flags & RENAME_EXCHANGE != 0 => self.add_link(from, old_name, new),
            _ => {}
        }
        assert_eq!(whiteout.is_some(), flags & RENAME_WHITEOUT != 0);
        if let Some(whiteout) = whiteout {
            let node = Node {
                mode: S_IFCHR,
                ..Node::default()
            };
            self.nodes.insert(whiteout, node);
            self.add_link(from, old_name, whiteout);
        }
    }

    fn set_xattr(&mut self, i: usize, n: usize, len: Option<usize>, mode: u8) {
        let ino = self.pick(i);
        let (index, name) = xattr_name(n);
        let key = (index, name.clone());
        let bytes = len.map(value);
        let mode = [SetMode::Any, SetMode::Create, SetMode::Replace][usize::from(mode)];
        let exists = self.nodes[&ino].xattrs.contains_key(&key);
        let expected = match (len, exists, mode) {
            (None, false, _) | (_, false, SetMode::Replace) => Err(enodata()),
            (_, true, SetMode::Create) => Err(EEXIST),
            (Some(len), ..) if len > 65_536 => Err(E2BIG),
            _ => Ok(()),
        };
        let now = self.volume.now();
        let inode = self.volume.get(ino).clone();
        let fs = &self.volume.fs;
        let credits = fs.xattr_credits(&inode, index, &name, len).unwrap();
        let got = self.volume.run(credits, &[ino], &mut |fs, t, i| {
            fs.xattr_set(t, &mut i[0], index, &name, bytes.as_deref(), mode, now)
        });
        if got == Err(ENOSPC) && expected.is_ok() {
            return;
        }
        assert_eq!(got, expected);
        if got.is_ok() {
            let xattrs = &mut self.node(ino).xattrs;
            match bytes {
                Some(bytes) => xattrs.insert(key, bytes),
                None => xattrs.remove(&key),
            };
        }
    }

    fn reap(&mut self, n: usize) {
        let dead: Vec<u64> = self
            .nodes
            .keys()
            .copied()
            .filter(|&ino| !self.is_live(ino))
            .collect();
        match dead.len() {
            0 => assert_eq!(self.volume.reap(self.root), Err(EINVAL)),
            len => {
                let ino = dead[n % len];
                self.volume.reap(ino).unwrap();
                self.nodes.remove(&ino);
            }
        }
    }
}
