// SPDX-License-Identifier: GPL-2.0

//! What a name space is, said as simply as possible, and random operations on it.

use crate::volume::{Volume, SMALL};
use kernel::prelude::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use vexfs::libvexfs::dir::entry::dtype_of;
use vexfs::libvexfs::errno::{enodata, enotempty};
use vexfs::libvexfs::format::inode::*;
use vexfs::libvexfs::journal::Store;
use vexfs::libvexfs::namespace::*;
use vexfs::libvexfs::xattr::SetMode;
use vexfs::libvexfs::{credits, orphan};

type Name = Vec<u8>;

#[derive(Clone, Debug, Default)]
pub struct Node {
    mode: u16,
    rdev: u32,
    target: Vec<u8>,
    links: BTreeSet<(u64, Name)>,
    entries: BTreeMap<Name, u64>,
    xattrs: BTreeMap<(u8, Name), Vec<u8>>,
}

impl Node {
    fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    File,
    Dir,
    ShortLink,
    LongLink,
    Device,
    Fifo,
    Socket,
}

/// An operation; numbers choose among what there is.
#[derive(Clone, Debug)]
pub enum Op {
    Create(usize, usize, Kind),
    Tmpfile(usize, Kind),
    Link(usize, usize, usize),
    Remove(usize, usize),
    Rename {
        from: usize,
        old: usize,
        to: usize,
        new: usize,
        flags: u32,
    },
    SetXattr(usize, usize, usize, u8),
    RemoveXattr(usize, usize),
    Reap(usize),
    Remount,
    Commit,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::File),
        4 => Just(Kind::Dir),
        1 => Just(Kind::ShortLink),
        1 => Just(Kind::LongLink),
        1 => Just(Kind::Device),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Socket),
    ]
}

fn flags() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => Just(0),
        2 => Just(RENAME_NOREPLACE),
        4 => Just(RENAME_EXCHANGE),
        3 => Just(RENAME_WHITEOUT),
        1 => Just(RENAME_WHITEOUT | RENAME_NOREPLACE),
        1 => 0..16u32,
    ]
}

pub fn op() -> impl Strategy<Value = Op> {
    let n = || 0..1000usize;
    prop_oneof![
        12 => (n(), n(), kind()).prop_map(|(d, n, k)| Op::Create(d, n, k)),
        2 => (n(), kind()).prop_map(|(d, k)| Op::Tmpfile(d, k)),
        6 => (n(), n(), n()).prop_map(|(d, n, t)| Op::Link(d, n, t)),
        8 => (n(), n()).prop_map(|(d, n)| Op::Remove(d, n)),
        12 => (n(), n(), n(), n(), flags())
            .prop_map(|(from, old, to, new, flags)| Op::Rename { from, old, to, new, flags }),
        5 => (n(), n(), prop_oneof![0..1200usize, 0..70_000usize], 0..3u8)
            .prop_map(|(i, n, len, mode)| Op::SetXattr(i, n, len, mode)),
        2 => (n(), n()).prop_map(|(i, n)| Op::RemoveXattr(i, n)),
        3 => n().prop_map(Op::Reap),
        1 => Just(Op::Remount),
        1 => Just(Op::Commit),
    ]
}

/// Few names, so that operations meet; of all lengths that matter.
fn name(n: usize) -> Name {
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
    nodes: BTreeMap<u64, Node>,
    root: u64,
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

    fn is_live(&self, dir: u64) -> bool {
        dir == self.root || !self.nodes[&dir].links.is_empty()
    }

    fn is_below(&self, mut dir: u64, ancestor: u64) -> bool {
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

    /// Compares everything that can be asked with what it should be.
    pub fn check(&mut self) {
        let nodes = self.nodes.clone();
        for (&ino, node) in &nodes {
            let i = self.volume.get(ino).clone();
            assert_eq!((i.mode, i.rdev), (node.mode, node.rdev));
            let dirs = node.entries.values().filter(|c| nodes[c].is_dir()).count();
            let nlink = match node.is_dir() {
                true if self.is_live(ino) => 2 + dirs,
                true => 0,
                false => node.links.len(),
            };
            assert_eq!(i.nlink as usize, nlink, "links of {ino}");
            assert_eq!(i.state & STATE_ORPHAN != 0, nlink == 0);
            self.check_parents(ino, node);
            self.check_xattrs(ino, node);
            if node.is_dir() {
                self.check_dir(ino, node);
            } else if i.is_link() {
                let mut target = KVec::new();
                self.volume.fs.read_symlink(&i, &mut target).unwrap();
                assert_eq!(&target[..], &node.target[..]);
            }
        }
        self.check_orphans();
        self.volume.fsck();
    }

    fn check_dir(&mut self, ino: u64, node: &Node) {
        let entries = self.volume.entries(ino);
        assert!(
            entries.windows(2).all(|w| w[0].0 < w[1].0),
            "cookies ascend"
        );
        let i = self.volume.get(ino).clone();
        assert_eq!(i.entries as usize, node.entries.len());
        let listed: BTreeMap<Name, u64> = entries.iter().map(|e| (e.1.clone(), e.2)).collect();
        assert_eq!(listed, node.entries);
        for (cookie, name, child, dtype) in entries {
            let found = self.volume.fs.lookup(&i, &name).unwrap().unwrap();
            assert_eq!(
                (found.ino, found.cookie, found.dtype),
                (child, cookie, dtype)
            );
            assert_eq!(dtype, dtype_of(self.nodes[&child].mode));
            // Reading from any cookie on begins with that entry.
            let mut first = None;
            self.volume
                .fs
                .readdir(&i, cookie, &mut |e| {
                    first = Some(e.cookie);
                    false
                })
                .unwrap();
            assert_eq!(first, Some(cookie));
        }
        for n in 0..14 {
            let found = self.volume.fs.lookup(&i, &name(n)).unwrap();
            assert_eq!(found.map(|e| e.ino), node.entries.get(&name(n)).copied());
        }
    }

    fn check_parents(&mut self, ino: u64, node: &Node) {
        let i = self.volume.get(ino).clone();
        let mut links = Vec::new();
        self.volume
            .fs
            .parents(&i, &mut |p| {
                links.push((p.ino, p.generation, p.cookie, p.name.to_vec()));
                Ok(true)
            })
            .unwrap();
        assert_eq!(links.len(), node.links.len());
        for (dir, generation, cookie, name) in links {
            assert!(node.links.contains(&(dir, name.clone())));
            let dir = self.volume.get(dir).clone();
            assert_eq!(dir.generation, generation);
            let entry = self.volume.fs.lookup(&dir, &name).unwrap().unwrap();
            assert_eq!((entry.ino, entry.cookie), (ino, cookie));
        }
        let path = self.volume.path(ino);
        let reachable =
            ino == self.root || node.links.iter().any(|(d, _)| self.is_below(*d, self.root));
        assert_eq!(path.is_some(), reachable);
        if let Some(path) = path {
            assert_eq!(self.resolve(&path), ino);
        }
    }

    fn resolve(&self, path: &[u8]) -> u64 {
        path.split(|&b| b == b'/')
            .filter(|name| !name.is_empty())
            .fold(self.root, |dir, name| self.nodes[&dir].entries[name])
    }

    fn check_xattrs(&mut self, ino: u64, node: &Node) {
        let i = self.volume.get(ino).clone();
        let fs = &self.volume.fs;
        let mut listed = BTreeMap::new();
        fs.xattr_list(&i, &mut |index, name, len| {
            listed.insert((index, name.to_vec()), len);
            Ok(true)
        })
        .unwrap();
        let expected: BTreeMap<_, _> = node
            .xattrs
            .iter()
            .map(|(k, v)| (k.clone(), v.len()))
            .collect();
        assert_eq!(listed, expected);
        for ((index, name), value) in &node.xattrs {
            let mut buf = vec![0; 65_536];
            assert_eq!(fs.xattr_get(&i, *index, name, &mut buf), Ok(value.len()));
            assert_eq!(&buf[..value.len()], &value[..]);
            assert_eq!(fs.xattr_get(&i, *index, name, &mut []), Ok(value.len()));
        }
        assert_eq!(fs.xattr_get(&i, 1, b"no such", &mut []), Err(enodata()));
    }

    fn check_orphans(&mut self) {
        let mut orphans = BTreeMap::new();
        for group in 0..self.volume.fs.group_count() {
            self.volume
                .fs
                .orphans(group, 0, &mut |ino, why| orphans.insert(ino, why).is_none())
                .unwrap();
        }
        let dead: BTreeMap<u64, u8> = self
            .nodes
            .keys()
            .copied()
            .filter(|&ino| !self.is_live(ino))
            .map(|ino| (ino, orphan::DELETE))
            .collect();
        assert_eq!(orphans, dead);
    }
}
