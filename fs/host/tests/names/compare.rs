// SPDX-License-Identifier: GPL-2.0

//! The volume against the model: everything that can be asked.

use crate::model::{name, Model, Name, Node};
use kernel::prelude::*;
use std::collections::BTreeMap;
use vexfs::libvexfs::dir::entry::dtype_of;
use vexfs::libvexfs::errno::enodata;
use vexfs::libvexfs::format::inode::STATE_ORPHAN;
use vexfs::libvexfs::orphan;

impl Model {
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
