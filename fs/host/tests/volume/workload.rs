// SPDX-License-Identifier: GPL-2.0

//! Something going on in a file system: random operations, and a description of all that is there.

use std::fmt::Write;
use vexfs::crash::Random;
use vexfs::file_store::{FileStore, FileTrans};
use vexfs::libvexfs::alloc::Mode;
use vexfs::libvexfs::credits;
use vexfs::libvexfs::extent::{Mapping, State};
use vexfs::libvexfs::format::inode::{S_IFDIR, S_IFLNK, S_IFREG};
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::{Store, Trans, BLOCK_SIZE};
use vexfs::libvexfs::namespace::{NewInode, Rename};
use vexfs::libvexfs::xattr::SetMode;
use vexfs::libvexfs::{Fs, Inode, Time};

pub type DiskFs<D> = Fs<FileStore<D>>;

const NOW: Time = Time {
    sec: 1_700_000_000,
    nsec: 0,
};

/// A name somewhere.
#[derive(Clone, Debug)]
pub struct Place {
    dir: u64,
    name: Vec<u8>,
    pub ino: u64,
}

/// A file system and what is known to be in it.
pub struct Work<D: Disk> {
    pub fs: DiskFs<D>,
    pub dirs: Vec<Place>,
    pub files: Vec<Place>,
    random: Random,
    count: u64,
}

impl<D: Disk> Work<D> {
    pub fn new(fs: DiskFs<D>, seed: u64) -> Work<D> {
        Work {
            fs,
            dirs: Vec::new(),
            files: Vec::new(),
            random: Random::new(seed),
            count: 0,
        }
    }

    fn with<R>(
        &self,
        credits: usize,
        f: impl FnOnce(&mut FileTrans<D>) -> kernel::error::Result<R>,
    ) -> R {
        let mut t = self.fs.store.begin(credits).unwrap();
        let r = f(&mut t).unwrap();
        t.stop().unwrap();
        r
    }

    fn inode(&self, ino: u64) -> Inode {
        self.fs.read_inode(ino).unwrap()
    }

    fn pick(&mut self, of_dirs: bool) -> Option<usize> {
        let len = if of_dirs {
            self.dirs.len()
        } else {
            self.files.len()
        } as u64;
        (len > 0).then(|| self.random.below(len) as usize)
    }

    /// The root, or any other directory.
    fn some_dir(&mut self) -> u64 {
        match self.pick(true) {
            Some(n) if self.random.below(4) != 0 => self.dirs[n].ino,
            _ => self.fs.sb.root_ino,
        }
    }

    fn new_name(&mut self) -> Vec<u8> {
        self.count += 1;
        let pad = "x".repeat(self.random.below(120) as usize);
        format!("name-{}-{pad}", self.count).into_bytes()
    }

    /// One random operation.
    pub fn step(&mut self) {
        match self.random.below(14) {
            0..=2 => self.create(S_IFREG | 0o644),
            3 => self.create(S_IFDIR | 0o755),
            4 => self.create(S_IFLNK | 0o777),
            5..=7 => self.write(),
            8 => self.unlink(),
            9 => self.rmdir(),
            10 => self.rename(),
            11 => self.link(),
            12 => self.xattr(),
            _ => self.truncate(),
        }
    }

    fn create(&mut self, mode: u16) {
        let dir = self.some_dir();
        let name = self.new_name();
        let target = vec![b't'; 1 + self.random.below(2500) as usize];
        let is_link = mode & S_IFLNK == S_IFLNK;
        let target: &[u8] = if is_link { &target } else { b"" };
        let new = NewInode {
            mode,
            target,
            now: NOW,
            ..NewInode::default()
        };
        let mut parent = self.inode(dir);
        let credits = if is_link {
            credits::SYMLINK
        } else {
            credits::CREATE
        };
        let made = self.with(credits, |t| self.fs.create(t, &mut parent, &name, &new));
        let place = Place {
            dir,
            name,
            ino: made.ino,
        };
        if made.is_dir() {
            self.dirs.push(place);
        } else {
            self.files.push(place);
        }
    }

    /// Writes some blocks somewhere: room first, then the bytes, then the record that they are there.
    fn write(&mut self) {
        let Some(n) = self.pick(false) else { return };
        let mut i = self.inode(self.files[n].ino);
        if !i.is_reg() {
            return;
        }
        let lblk = self.random.below(64);
        let max = 1 + self.random.below(12);
        if let Mapping::Hole { len } = self.fs.map(&i, lblk, max).unwrap() {
            let room = self.with(credits::EXTENT_ALLOC, |t| {
                self.fs
                    .allocate(t, &mut i, lblk, len.min(max), 0, Mode::Normal)
            });
            let Mapping::Unwritten { phys, len } = room else {
                panic!("{room:?}")
            };
            self.count += 1;
            let bytes = vec![self.count as u8; len as usize * BLOCK_SIZE];
            self.fs.store.disk().write(phys, &bytes).unwrap();
            let mut done = 0;
            while done < len {
                done += self.with(credits::CONVERT + 1, |t| {
                    let n = self.fs.convert(t, &mut i, lblk + done, len - done)?;
                    i.size = i.size.max((lblk + done + n) * BLOCK_SIZE as u64);
                    self.fs.log_inode(t, &i)?;
                    Ok(n)
                });
            }
        }
    }

    fn truncate(&mut self) {
        let Some(n) = self.pick(false) else { return };
        let mut i = self.inode(self.files[n].ino);
        if !i.is_reg() {
            return;
        }
        let blocks = self.random.below(40);
        self.with(credits::ORPHAN + credits::INODE, |t| {
            self.fs
                .orphan_add(t, &mut i, vexfs::libvexfs::orphan::TRUNCATE)?;
            i.size = i.size.min(blocks * BLOCK_SIZE as u64);
            self.fs.log_inode(t, &i)
        });
        while !self.with(credits::REAP_STEP, |t| self.fs.trim_step(t, &mut i)) {}
    }

    fn unlink(&mut self) {
        let Some(n) = self.pick(false) else { return };
        let place = self.files.swap_remove(n);
        let (mut dir, mut i) = (self.inode(place.dir), self.inode(place.ino));
        self.with(credits::UNLINK, |t| {
            self.fs.unlink(t, &mut dir, &place.name, &mut i, NOW)
        });
        // Sometimes somebody has it open until the power goes.
        if i.nlink == 0 && self.random.below(3) != 0 {
            while !self.with(credits::REAP_STEP, |t| self.fs.reap_step(t, &mut i)) {}
        }
    }

    fn rmdir(&mut self) {
        let Some(n) = self.pick(true) else { return };
        let mut i = self.inode(self.dirs[n].ino);
        if i.entries != 0 {
            return;
        }
        let place = self.dirs.swap_remove(n);
        let mut dir = self.inode(place.dir);
        self.with(credits::UNLINK, |t| {
            self.fs.rmdir(t, &mut dir, &place.name, &mut i, NOW)
        });
        while !self.with(credits::REAP_STEP, |t| self.fs.reap_step(t, &mut i)) {}
    }

    fn rename(&mut self) {
        let of_dirs = self.random.below(3) == 0;
        let Some(n) = self.pick(of_dirs) else { return };
        let place = if of_dirs {
            self.dirs[n].clone()
        } else {
            self.files[n].clone()
        };
        // Files only move between directories: a directory could end below itself.
        let to = if of_dirs { place.dir } else { self.some_dir() };
        let name = self.new_name();
        let (mut old_dir, mut old) = (self.inode(place.dir), self.inode(place.ino));
        let mut new_dir = (to != place.dir).then(|| self.inode(to));
        self.with(credits::RENAME, |t| {
            self.fs.rename(
                t,
                Rename {
                    old_dir: &mut old_dir,
                    old_name: &place.name,
                    old: &mut old,
                    new_dir: new_dir.as_mut(),
                    new_name: &name,
                    new: None,
                    whiteout: NewInode::default(),
                    flags: 0,
                    now: NOW,
                },
            )
        });
        let list = if of_dirs {
            &mut self.dirs
        } else {
            &mut self.files
        };
        list[n] = Place {
            dir: to,
            name,
            ino: place.ino,
        };
    }

    fn link(&mut self) {
        let Some(n) = self.pick(false) else { return };
        let ino = self.files[n].ino;
        let dir = self.some_dir();
        let name = self.new_name();
        let (mut parent, mut i) = (self.inode(dir), self.inode(ino));
        self.with(credits::LINK, |t| {
            self.fs.link(t, &mut parent, &name, &mut i, NOW)
        });
        self.files.push(Place { dir, name, ino });
    }

    fn xattr(&mut self) {
        let Some(n) = self.pick(false) else { return };
        let mut i = self.inode(self.files[n].ino);
        let name = format!("attr{}", self.random.below(4));
        let len = [10, 200, 3000][self.random.below(3) as usize];
        let value = vec![self.count as u8; len];
        let credits = self
            .fs
            .xattr_credits(&i, 1, name.as_bytes(), Some(len))
            .unwrap();
        self.with(credits, |t| {
            self.fs.xattr_set(
                t,
                &mut i,
                1,
                name.as_bytes(),
                Some(&value),
                SetMode::Any,
                NOW,
            )
        });
    }

    /// Makes files in the root directory.
    pub fn crowd(&mut self, files: usize) {
        let root = self.fs.sb.root_ino;
        for _ in 0..files {
            let name = self.new_name();
            let mut dir = self.inode(root);
            let new = NewInode {
                mode: S_IFREG | 0o600,
                now: NOW,
                ..NewInode::default()
            };
            let made = self.with(credits::CREATE, |t| {
                self.fs.create(t, &mut dir, &name, &new)
            });
            self.files.push(Place {
                dir: root,
                name,
                ino: made.ino,
            });
        }
    }

    /// Makes large trees of each kind: a directory of many names, a file in many pieces, an inode with many attributes.
    pub fn fill(&mut self) {
        let first = self.files.len();
        self.crowd(400);
        let (pieces, attrs) = (self.files[first].ino, self.files[first + 1].ino);
        let mut i = self.inode(pieces);
        for n in 0..1500 {
            self.with(credits::EXTENT_ALLOC, |t| {
                self.fs
                    .allocate(t, &mut i, 1000 + 2 * n, 1, 0, Mode::Normal)
            });
        }
        let mut i = self.inode(attrs);
        for n in 0..60 {
            let name = format!("attribute {n}");
            let credits = self
                .fs
                .xattr_credits(&i, 1, name.as_bytes(), Some(500))
                .unwrap();
            self.with(credits, |t| {
                self.fs.xattr_set(
                    t,
                    &mut i,
                    1,
                    name.as_bytes(),
                    Some(&[7; 500]),
                    SetMode::Any,
                    NOW,
                )
            });
        }
    }

    /// Moves a directory below itself, which only the kernel's VFS prevents.
    pub fn make_loop(&mut self) {
        let new = NewInode {
            mode: S_IFDIR | 0o755,
            now: NOW,
            ..NewInode::default()
        };
        let mut root = self.inode(self.fs.sb.root_ino);
        let mut a = self.with(credits::CREATE, |t| {
            self.fs.create(t, &mut root, b"a", &new)
        });
        let mut b = self.with(credits::CREATE, |t| self.fs.create(t, &mut a, b"b", &new));
        self.with(credits::RENAME, |t| {
            self.fs.rename(
                t,
                Rename {
                    old_dir: &mut root,
                    old_name: b"a",
                    old: &mut a,
                    new_dir: Some(&mut b),
                    new_name: b"c",
                    new: None,
                    whiteout: NewInode::default(),
                    flags: 0,
                    now: NOW,
                },
            )
        });
    }

    /// All that somebody can see, as text.
    pub fn describe(&self) -> String {
        describe(&self.fs)
    }
}

/// All that somebody can see in a file system, as text.
pub fn describe<D: Disk>(fs: &DiskFs<D>) -> String {
    let mut text = String::new();
    let mut todo = vec![(String::new(), fs.sb.root_ino)];
    while let Some((path, ino)) = todo.pop() {
        let i = fs.read_inode(ino).unwrap();
        // The size of a removed file's blocks is nobody's business: orphans have no path.
        write!(
            text,
            "{path} {:o} links {} size {} ",
            i.mode, i.nlink, i.size
        )
        .unwrap();
        if i.is_reg() {
            describe_extents(fs, &i, &mut text);
        } else if i.is_link() {
            let mut target = kernel::alloc::KVec::new();
            fs.read_symlink(&i, &mut target).unwrap();
            write!(text, "-> {}", target.len()).unwrap();
        } else if i.is_dir() {
            fs.readdir(&i, 0, &mut |e| {
                todo.push((format!("{path}/{}", String::from_utf8_lossy(e.name)), e.ino));
                true
            })
            .unwrap();
        }
        fs.xattr_list(&i, &mut |index, name, len| {
            write!(text, " {index}.{}={len}", String::from_utf8_lossy(name)).unwrap();
            Ok(true)
        })
        .unwrap();
        text.push('\n');
    }
    text
}

fn describe_extents<D: Disk>(fs: &DiskFs<D>, i: &Inode, text: &mut String) {
    let mut at = 0;
    let end = i.size.div_ceil(BLOCK_SIZE as u64);
    while let Some(e) = fs.next_extent(i, at).unwrap() {
        at = e.end();
        // Room that nothing was written to yet reads as zeros, like a hole.
        if let State::Written(phys) = e.state {
            let mut bytes = vec![0; e.len as usize * BLOCK_SIZE];
            fs.store.disk().read(phys, &mut bytes).unwrap();
            for (n, block) in bytes
                .chunks(BLOCK_SIZE)
                .enumerate()
                .take((end.max(e.lblk) - e.lblk) as usize)
            {
                assert!(
                    block.iter().all(|b| *b == block[0]),
                    "a torn block in inode {}",
                    i.ino
                );
                write!(text, "{}:{} ", e.lblk + n as u64, block[0]).unwrap();
            }
        }
    }
}
