// SPDX-License-Identifier: GPL-2.0

//! A volume in memory, with its inodes in core as the kernel would have them.

use std::collections::BTreeMap;
use vexfs::libvexfs::journal::{Store, Trans};
use vexfs::libvexfs::namespace::NewInode;
use vexfs::libvexfs::parent::Ancestors;
use vexfs::libvexfs::{check, credits, mkfs, xattr, Fs, Inode, Superblock, Time};
use vexfs::memory::{MemoryStore, MemoryTrans};

use kernel::prelude::*;

/// The smallest volume that can be made: 64 MiB.
pub const SMALL: u64 = mkfs::MIN_BLOCKS;

/// What an operation does with the file system, its transaction and the inodes that it changes.
pub type Operation<'a, R> =
    dyn FnMut(&Fs<MemoryStore>, &mut MemoryTrans, &mut [Inode]) -> Result<R> + 'a;

pub struct Volume {
    pub fs: Fs<MemoryStore>,
    pub store: MemoryStore,
    sb: Superblock,
    pub inodes: BTreeMap<u64, Inode>,
    pub clock: i64,
}

/// A copy of everything, to come back to.
pub struct Saved {
    store: MemoryStore,
    sb: Superblock,
    inodes: BTreeMap<u64, Inode>,
    clock: i64,
}

pub fn same(a: &Inode, b: &Inode) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

impl Volume {
    pub fn new(blocks: u64) -> Self {
        let options = mkfs::test_options();
        let store = MemoryStore::new(blocks);
        let sb = mkfs::layout(blocks, &options).unwrap();
        let (fs, sb) = mkfs::populate(store.clone(), &sb, options.now).unwrap();
        drop(fs);
        store.commit().unwrap();
        Self::open(store, sb, BTreeMap::new(), 1_800_000_000)
    }

    fn open(store: MemoryStore, sb: Superblock, inodes: BTreeMap<u64, Inode>, clock: i64) -> Self {
        let fs = Fs::open(store.clone(), sb.clone()).unwrap();
        let mut volume = Self {
            fs,
            store,
            sb,
            inodes,
            clock,
        };
        volume.get(volume.root());
        volume
    }

    pub fn save(&self) -> Saved {
        Saved {
            store: self.store.snapshot(),
            sb: self.sb.clone(),
            inodes: self.inodes.clone(),
            clock: self.clock,
        }
    }

    pub fn restore(saved: &Saved) -> Self {
        Self::open(
            saved.store.snapshot(),
            saved.sb.clone(),
            saved.inodes.clone(),
            saved.clock,
        )
    }

    pub fn root(&self) -> u64 {
        self.fs.sb.root_ino
    }

    pub fn now(&mut self) -> Time {
        self.clock += 1;
        Time {
            sec: self.clock,
            nsec: 7,
        }
    }

    /// The in-core inode.
    pub fn get(&mut self, ino: u64) -> &Inode {
        let fs = &self.fs;
        self.inodes
            .entry(ino)
            .or_insert_with(|| fs.read_inode(ino).unwrap())
    }

    /// Runs an operation on some in-core inodes, in the order of `inos`. Checks that a failure that
    /// dirtied nothing also changed nothing in core. After `ENOSPC` tries once more when freed
    /// blocks waited for their commit.
    pub fn run<R>(&mut self, credits: usize, inos: &[u64], op: &mut Operation<'_, R>) -> Result<R> {
        let mut again = true;
        loop {
            let before: Vec<Inode> = inos.iter().map(|&i| self.get(i).clone()).collect();
            let mut inodes = before.clone();
            let mut t = self.store.begin(credits)?;
            match op(&self.fs, &mut t, &mut inodes) {
                Ok(r) => {
                    t.stop()?;
                    for i in inodes {
                        self.inodes.insert(i.ino, i);
                    }
                    return Ok(r);
                }
                Err(e) => {
                    if t.dirtied() {
                        return Err(e);
                    }
                    for (i, old) in inodes.iter().zip(&before) {
                        assert!(same(i, old), "{e:?} changed an inode: {old:?} {i:?}");
                    }
                    drop(t);
                    if e == ENOSPC && again && self.fs.settle()? {
                        again = false;
                        continue;
                    }
                    return Err(e);
                }
            }
        }
    }

    pub fn create(&mut self, dir: u64, name: &[u8], new: NewInode<'_>) -> Result<u64> {
        let new = NewInode {
            now: self.now(),
            ..new
        };
        let credits = match new.target.is_empty() {
            true => credits::CREATE,
            false => credits::SYMLINK,
        } + xattr::initial_cost(new.attrs);
        self.fs.quota_open(&new.owners())?;
        let i = self.run(credits, &[dir], &mut |fs, t, i| {
            fs.create(t, &mut i[0], name, &new)
        })?;
        let ino = i.ino;
        assert!(self.inodes.insert(ino, i).is_none());
        Ok(ino)
    }

    pub fn tmpfile(&mut self, dir: u64, new: NewInode<'_>) -> Result<u64> {
        let new = NewInode {
            now: self.now(),
            ..new
        };
        let credits = credits::TMPFILE + xattr::initial_cost(new.attrs);
        self.fs.quota_open(&new.owners())?;
        let i = self.run(credits, &[dir], &mut |fs, t, i| fs.tmpfile(t, &i[0], &new))?;
        let ino = i.ino;
        assert!(self.inodes.insert(ino, i).is_none());
        Ok(ino)
    }

    pub fn link(&mut self, dir: u64, name: &[u8], target: u64) -> Result {
        let now = self.now();
        self.run(credits::LINK, &[dir, target], &mut |fs, t, i| {
            let (dir, target) = i.split_at_mut(1);
            fs.link(t, &mut dir[0], name, &mut target[0], now)
        })
    }

    pub fn unlink(&mut self, dir: u64, name: &[u8], target: u64) -> Result {
        let now = self.now();
        self.run(credits::UNLINK, &[dir, target], &mut |fs, t, i| {
            let (dir, target) = i.split_at_mut(1);
            fs.unlink(t, &mut dir[0], name, &mut target[0], now)
        })
    }

    pub fn rmdir(&mut self, dir: u64, name: &[u8], target: u64) -> Result {
        let now = self.now();
        self.run(credits::UNLINK, &[dir, target], &mut |fs, t, i| {
            let (dir, target) = i.split_at_mut(1);
            fs.rmdir(t, &mut dir[0], name, &mut target[0], now)
        })
    }

    /// Reaps an inode without links, step by step, and forgets it.
    pub fn reap(&mut self, ino: u64) -> Result {
        for _ in 0..100_000 {
            let done = self.run(credits::REAP_STEP, &[ino], &mut |fs, t, i| {
                fs.reap_step(t, &mut i[0])
            })?;
            if done {
                self.inodes.remove(&ino);
                return Ok(());
            }
        }
        panic!("reaping inode {ino} does not end");
    }

    /// Unmounts and mounts: what was in core must be what is on disk.
    pub fn remount(&mut self) {
        self.store.commit().unwrap();
        self.fs = Fs::open(self.store.clone(), self.sb.clone()).unwrap();
        for (ino, i) in &self.inodes {
            let disk = self.fs.read_inode(*ino).unwrap();
            assert!(same(i, &disk), "in core {i:?}\non disk {disk:?}");
        }
        self.inodes.clear();
        self.get(self.root());
    }

    /// Lets the checker look at all of it.
    pub fn fsck(&self) {
        self.store.commit().unwrap();
        struct Print(u64);
        impl check::Reporter for Print {
            fn problem(&mut self, problem: &check::Problem) {
                self.0 += 1;
                println!("fsck: {problem}");
            }
        }
        let mut print = Print(0);
        let sb = self.fs.superblock();
        check::check(&self.store, &sb, &mut print, check::Options::default()).unwrap();
        assert_eq!(print.0, 0, "the checker found problems");
    }

    pub fn entries(&mut self, dir: u64) -> Vec<(u64, Vec<u8>, u64, u8)> {
        let mut all = Vec::new();
        let i = self.get(dir).clone();
        self.fs
            .readdir(&i, 0, &mut |e| {
                all.push((e.cookie, e.name.to_vec(), e.ino, e.dtype));
                true
            })
            .unwrap();
        all
    }

    pub fn path(&self, ino: u64) -> Option<Vec<u8>> {
        let generation = self.fs.read_inode(ino).unwrap().generation;
        let mut path = KVec::new();
        self.fs
            .path_of(&mut All(&self.fs), ino, generation, self.root(), &mut path)
            .unwrap()
            .then(|| path.to_vec())
    }
}

/// Ancestors that anybody may search.
pub struct All<'a>(pub &'a Fs<MemoryStore>);

impl Ancestors for All<'_> {
    fn with(&mut self, ino: u64, f: &mut dyn FnMut(&Inode) -> Result) -> Result {
        f(&self.0.read_inode(ino)?)
    }
}
