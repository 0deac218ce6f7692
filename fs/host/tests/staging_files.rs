// SPDX-License-Identifier: GPL-2.0

//! Copies, release and publication of files' blocks, on a volume in memory.

#![forbid(unsafe_code)]

use kernel::prelude::*;
use vexfs::libvexfs::check::{self, Problem, Reporter};
use vexfs::libvexfs::errno::{estale, euclean};
use vexfs::libvexfs::extent::Mapping;
use vexfs::libvexfs::format::inode::{STATE_OFFLINE, S_IFREG};
use vexfs::libvexfs::journal::{Store, Trans};
use vexfs::libvexfs::namespace::NewInode;
use vexfs::libvexfs::staging::blocks::{Part, RELEASE_CREDITS, STAGE_CREDITS};
use vexfs::libvexfs::staging::copy::{self, Copy, PUT_CREDITS, REMOVE_CREDITS};
use vexfs::libvexfs::staging::volume::{Volume, UPSERT_CREDITS};
use vexfs::libvexfs::staging::{ebadmsg, CHUNK_BLOCKS};
use vexfs::libvexfs::{credits, mkfs, Fs, Inode, Mode, Superblock, Time};
use vexfs::memory::{MemoryStore, MemoryTrans};

const BLOCK: u64 = 4096;

struct Found(Vec<String>);

impl Reporter for Found {
    fn problem(&mut self, p: &Problem) {
        self.0.push(format!("inode {}: {}", p.ino, p.what));
    }
}

struct World {
    store: MemoryStore,
    fs: Fs<MemoryStore>,
    sb: Superblock,
    file: Inode,
}

impl World {
    /// A volume with a volume in its table, and an empty file.
    fn new() -> World {
        let options = mkfs::test_options();
        let store = MemoryStore::new(mkfs::MIN_BLOCKS);
        let sb = mkfs::layout(mkfs::MIN_BLOCKS, &options).unwrap();
        let (_, sb) = mkfs::populate(store.clone(), &sb, options.now).unwrap();
        store.commit().unwrap();
        let fs = Fs::open(store.clone(), sb.clone()).unwrap();
        let mut root = fs.read_inode(sb.root_ino).unwrap();
        let new = NewInode {
            mode: S_IFREG | 0o600,
            now: Time { sec: 1, nsec: 0 },
            ..NewInode::default()
        };
        let mut t = store.begin(credits::CREATE).unwrap();
        let file = fs.create(&mut t, &mut root, b"file", &new).unwrap();
        t.stop().unwrap();
        let world = World {
            store,
            fs,
            sb,
            file,
        };
        assert_eq!(world.upsert(&volume(7)), Ok(1));
        world
    }

    fn upsert(&self, v: &Volume) -> Result<u32> {
        let mut system = self.fs.read_inode(self.sb.system_ino)?;
        let mut t = self.store.begin(UPSERT_CREDITS)?;
        let mut space = self
            .fs
            .space(0, credits::blocks::INSERT, Mode::Privileged)?;
        let id = self.fs.upsert_volume(&mut t, &mut space, &mut system, v)?;
        drop(space);
        t.stop()?;
        Ok(id)
    }

    fn run<R>(
        &mut self,
        credits: usize,
        op: impl FnOnce(&Fs<MemoryStore>, &mut MemoryTrans, &mut Inode) -> Result<R>,
    ) -> Result<R> {
        let mut t = self.store.begin(credits)?;
        let r = op(&self.fs, &mut t, &mut self.file)?;
        t.stop()?;
        Ok(r)
    }

    /// Written blocks `[from, to)`.
    fn write(&mut self, from: u64, to: u64) {
        let mut at = from;
        while at < to {
            let n = self
                .run(credits::EXTENT_ALLOC, |fs, t, i| {
                    fs.allocate(t, i, at, to - at, 0, Mode::Normal)
                })
                .unwrap()
                .len();
            let mut done = 0;
            while done < n {
                done += self
                    .run(credits::CONVERT, |fs, t, i| {
                        fs.convert(t, i, at + done, n - done)
                    })
                    .unwrap();
            }
            at += n;
        }
        self.file.size = self.file.size.max(to * BLOCK);
        self.run(credits::INODE, |fs, t, i| fs.log_inode(t, i))
            .unwrap();
    }

    /// Checksums that tell their place, and a copy.
    fn archive(&mut self, version: u64) -> Result {
        let len = self.file.size;
        let sums: Vec<u32> = (0..copy::chunks(len)).map(|n| n as u32 * 3 + 1).collect();
        for (n, sums) in sums.chunks(copy::SUMS).enumerate() {
            let first = (n * copy::SUMS) as u64;
            self.run(PUT_CREDITS, |fs, t, i| {
                let mut space = fs.staging_space(i)?;
                fs.put_sums(t, &mut space, i, version, first, sums)
            })?;
        }
        let chunks = copy::chunks(len);
        while !self.run(REMOVE_CREDITS, |fs, t, i| fs.trim_sums(t, i, chunks))? {}
        let copy = a_copy(version, len);
        self.run(PUT_CREDITS, |fs, t, i| {
            let mut space = fs.staging_space(i)?;
            fs.put_copy(t, &mut space, i, &copy)
        })
    }

    fn release(&mut self, version: u64) -> Result<u64> {
        let (mut from, mut freed) = (0, 0);
        while let Some((next, n)) = self.run(RELEASE_CREDITS, |fs, t, i| {
            fs.release_step(t, i, version, from)
        })? {
            (from, freed) = (next, freed + n);
        }
        Ok(freed)
    }

    fn publish(&mut self, part: Part) -> Result<u64> {
        self.run(STAGE_CREDITS, |fs, t, i| {
            let (phys, len) = fs.alloc_blocks(t, 0, part.len, Mode::Normal)?;
            fs.publish(t, i, part, phys, len.min(part.len))
        })
    }

    fn recall(&mut self, version: u64) {
        for chunk in 0..copy::chunks(self.file.size) {
            let mut from = 0;
            while let Some(part) = self
                .fs
                .offline_in_chunk(&self.file, version, chunk, from)
                .unwrap()
            {
                from = part.lblk + self.publish(part).unwrap();
            }
        }
        assert_eq!(
            self.run(credits::INODE, |fs, t, i| fs.settle_offline(t, i)),
            Ok(false)
        );
    }

    #[track_caller]
    fn clean(&self) {
        self.store.commit().unwrap();
        let found = self.problems();
        assert!(found.is_empty(), "{found:#?}");
    }

    fn problems(&self) -> Vec<String> {
        let mut found = Found(Vec::new());
        let sb = self.fs.superblock();
        check::check(&self.store, &sb, &mut found, check::Options::default()).unwrap();
        found.0
    }
}

fn volume(uuid: u8) -> Volume {
    Volume {
        state: 1,
        uuid: [uuid; 16],
        next_bundle: 1,
        ..Volume::default()
    }
}

fn a_copy(version: u64, len: u64) -> Copy {
    Copy {
        state: copy::STATE_VALID,
        volume: 1,
        version,
        len,
        digest: [9; 32],
        ..Copy::default()
    }
}

#[test]
fn blocks_go_and_come_back_and_holes_stay() {
    let mut w = World::new();
    w.write(0, 300);
    w.write(400, 1000);
    let before = w.fs.free_blocks();
    w.archive(1).unwrap();
    w.clean();
    assert_eq!(w.release(1), Ok(900));
    assert!(w.file.state & STATE_OFFLINE != 0);
    assert_eq!(w.fs.residency(&w.file).unwrap().offline, 900);
    w.clean();
    assert!(w.fs.free_blocks() > before + 890);
    let hole = w.fs.map(&w.file, 300, 500).unwrap();
    assert_eq!(hole, Mapping::Hole { len: 100 });
    // Again: nothing left to do.
    assert_eq!(w.release(1), Ok(0));

    let file = w.fs.read_inode(w.file.ino).unwrap();
    assert_eq!(file.state, w.file.state);
    w.recall(1);
    let r = w.fs.residency(&w.file).unwrap();
    assert_eq!((r.offline, r.online), (0, 900));
    assert_eq!(w.file.state & STATE_OFFLINE, 0);
    w.clean();
}

#[test]
fn only_what_is_still_offline_is_published() {
    let mut w = World::new();
    w.write(0, 600);
    w.archive(1).unwrap();
    w.release(1).unwrap();
    let part = w.fs.offline_in_chunk(&w.file, 1, 0, 0).unwrap().unwrap();
    assert_eq!((part.lblk, part.len), (0, CHUNK_BLOCKS));
    assert_eq!(w.publish(part), Ok(CHUNK_BLOCKS));
    // The second delivery finds nothing, and its blocks are given back.
    assert_eq!(w.publish(part), Ok(0));
    w.clean();
    // A truncation in between.
    let part = w.fs.offline_in_chunk(&w.file, 1, 1, 0).unwrap().unwrap();
    w.file.size = 300 * BLOCK;
    while !w
        .run(credits::TRUNCATE, |fs, t, i| fs.truncate_step(t, i, 300))
        .unwrap()
    {}
    assert_eq!(w.publish(part), Ok(300 - CHUNK_BLOCKS));
    w.clean();
}

#[test]
fn another_version_is_refused() {
    let mut w = World::new();
    w.write(0, 10);
    w.archive(1).unwrap();
    w.file.data_version = 2;
    w.run(credits::INODE, |fs, t, i| fs.log_inode(t, i))
        .unwrap();
    assert_eq!(w.release(1), Err(estale()));
    assert_eq!(w.archive(1), Err(estale()));
    assert_eq!(w.fs.good_copies(&w.file), Ok(0));
    // The old copy is still the one to read version 1 from.
    assert!(w.fs.source(&w.file, 1, 0).unwrap().is_some());
    assert!(w.fs.source(&w.file, 1, 1).unwrap().is_none());
    w.archive(2).unwrap();
    assert_eq!(w.fs.good_copies(&w.file), Ok(1));
    assert_eq!(w.fs.chunk_sum(&w.file, 1, 0), Err(estale()));
    w.clean();
}

#[test]
fn bytes_that_changed_by_themselves_are_not_archived_again() {
    let mut w = World::new();
    w.write(0, 10);
    w.archive(1).unwrap();
    let other = w.run(PUT_CREDITS, |fs, t, i| {
        let mut space = fs.staging_space(i)?;
        fs.put_sums(t, &mut space, i, 1, 0, &[77])
    });
    assert_eq!(other, Err(ebadmsg()));
    w.clean();
}

#[test]
fn sums_of_long_files_take_several_records_and_go_with_the_length() {
    let mut w = World::new();
    // Only the size matters here: the blocks are holes.
    w.file.size = 300 << 20;
    w.run(credits::INODE, |fs, t, i| fs.log_inode(t, i))
        .unwrap();
    w.archive(1).unwrap();
    assert_eq!(w.fs.chunk_sum(&w.file, 1, 299), Ok(299 * 3 + 1));
    assert_eq!(w.fs.chunk_sum(&w.file, 1, 300), Err(estale()));
    w.file.size = 5 << 20;
    w.file.data_version = 2;
    w.archive(2).unwrap();
    assert_eq!(w.fs.chunk_sum(&w.file, 2, 4), Ok(13));
    assert_eq!(w.fs.chunk_sum(&w.file, 1, 299), Err(estale()));
    w.clean();
}

#[test]
fn volumes_keep_their_ids() {
    let w = World::new();
    assert_eq!(w.upsert(&volume(8)), Ok(2));
    let mut again = volume(7);
    again.next_bundle = 5;
    assert_eq!(w.upsert(&again), Ok(1));
    assert_eq!(w.upsert(&Volume { id: 2, ..again }), Err(EEXIST));
    assert_eq!(w.upsert(&Volume { state: 0, ..again }), Err(EINVAL));
    assert_eq!(w.upsert(&volume(0)), Err(EINVAL));
    let system = w.fs.read_inode(w.sb.system_ino).unwrap();
    let mut seen = Vec::new();
    w.fs.volumes(&system, 0, &mut |v| {
        seen.push((v.id, v.next_bundle));
        Ok(true)
    })
    .unwrap();
    assert_eq!(seen, [(1, 5), (2, 1)]);
    w.clean();
}

#[test]
fn fsck_misses_a_copy_that_is_gone() {
    let mut w = World::new();
    w.write(0, 10);
    w.archive(1).unwrap();
    w.release(1).unwrap();
    w.run(REMOVE_CREDITS, |fs, t, i| {
        fs.tree_remove(t, i.attr_root_mut(), copy::copy_key(0))?;
        fs.log_inode(t, i)
    })
    .unwrap();
    w.store.commit().unwrap();
    let found = w.problems();
    assert!(
        found.iter().any(|p| p.contains("no copy of version 1")),
        "{found:?}"
    );
}

#[test]
fn records_that_make_no_sense_are_damage() {
    let c = a_copy(1, 10);
    let good = c.format();
    assert_eq!(Copy::parse(c.key(), &good), Ok(c));
    for (at, byte) in [(0, 9), (1, 0), (1, 7), (4, 0), (23, 0x80)] {
        let mut bad = good;
        bad[at] = byte;
        assert_eq!(Copy::parse(c.key(), &bad), Err(euclean()), "byte {at}");
    }
    assert_eq!(Copy::parse(c.key() | 1, &good), Err(euclean()));
    assert_eq!(Copy::parse(copy::copy_key(16), &good), Err(euclean()));
    assert_eq!(Copy::parse(c.key(), &good[..87]), Err(euclean()));
}
