// SPDX-License-Identifier: GPL-2.0

//! A full volume: nothing is lost, and everything can be deleted again.

use crate::volume::{Volume, SMALL};
use kernel::prelude::*;
use vexfs::libvexfs::format::inode::{S_IFDIR, S_IFLNK, S_IFREG};
use vexfs::libvexfs::namespace::NewInode;
use vexfs::libvexfs::xattr::SetMode;
use vexfs::libvexfs::{credits, Mode};

fn long_name(n: usize) -> Vec<u8> {
    let mut name = format!("{n} ").into_bytes();
    name.resize(255, b'n');
    name
}

/// Makes things until the volume is full; returns them with their directories.
fn fill(volume: &mut Volume) -> Vec<(u64, Vec<u8>, u64)> {
    let root = volume.root();
    let mut made: Vec<(u64, Vec<u8>, u64)> = Vec::new();
    let mut dir = root;
    for n in 0.. {
        let name = long_name(n);
        let target = vec![b't'; 4095];
        let new = match n % 10 {
            0 => NewInode {
                mode: S_IFDIR | 0o755,
                ..NewInode::default()
            },
            1..=3 => NewInode {
                mode: S_IFLNK | 0o777,
                target: &target,
                ..NewInode::default()
            },
            _ => NewInode {
                mode: S_IFREG | 0o644,
                ..NewInode::default()
            },
        };
        let parent = if n % 10 == 0 { root } else { dir };
        let ino = match volume.create(parent, &name, new) {
            Ok(ino) => ino,
            Err(e) => {
                assert_eq!(e, ENOSPC);
                break;
            }
        };
        made.push((parent, name, ino));
        if n % 10 == 0 {
            dir = ino;
        }
        let now = volume.now();
        let value = vec![7; 60_000];
        let i = volume.get(ino).clone();
        let credits = volume
            .fs
            .xattr_credits(&i, 1, b"big", Some(60_000))
            .unwrap();
        let set = volume.run(credits, &[ino], &mut |fs, t, i| {
            fs.xattr_set(t, &mut i[0], 1, b"big", Some(&value), SetMode::Any, now)
        });
        assert!(set.is_ok() || set == Err(ENOSPC), "{set:?}");
    }
    assert!(!volume.store.aborted());
    made
}

#[test]
fn a_full_volume_gives_every_block_back() {
    let mut volume = Volume::new(SMALL);
    let start = volume.fs.free_blocks();
    for _ in 0..2 {
        let made = fill(&mut volume);
        assert!(made.len() > 500, "only {} made", made.len());
        volume.remount();
        volume.fsck();
        // All links are there, whatever failed at the end.
        for (dir, name, ino) in &made {
            let dir = volume.get(*dir).clone();
            let entry = volume.fs.lookup(&dir, name).unwrap().unwrap();
            assert_eq!(entry.ino, *ino);
        }
        // A file can replace another one, and a name can go, on a full volume.
        for (dir, name, ino) in made.iter().rev() {
            if volume.get(*ino).is_dir() {
                volume.rmdir(*dir, name, *ino).unwrap();
            } else {
                volume.unlink(*dir, name, *ino).unwrap();
            }
            volume.reap(*ino).unwrap();
        }
        // As sync does.
        volume.fs.free_spare_chunks().unwrap();
        volume.remount();
        volume.fsck();
        let root = volume.root();
        assert_eq!(volume.get(root).blocks, 0);
        assert_eq!(volume.fs.free_blocks(), start);
    }
}

#[test]
fn many_open_files_can_be_unlinked_on_a_full_volume() {
    let mut volume = Volume::new(SMALL);
    let made = fill(&mut volume);
    // Reaped only in the end, as when all of them are open: orphan records need room, too.
    for (dir, name, ino) in made.iter().rev() {
        if volume.get(*ino).is_dir() {
            volume.rmdir(*dir, name, *ino).unwrap();
        } else {
            volume.unlink(*dir, name, *ino).unwrap();
        }
    }
    volume.remount();
    volume.fsck();
    let mut orphans = Vec::new();
    for group in 0..volume.fs.group_count() {
        let push = &mut |ino, _| {
            orphans.push(ino);
            true
        };
        volume.fs.orphans(group, 0, push).unwrap();
    }
    assert_eq!(orphans.len(), made.len());
    for ino in orphans {
        volume.reap(ino).unwrap();
    }
    volume.fsck();
}

/// Fills a file with blocks until there are no more.
fn fill_with_data(volume: &mut Volume, ino: u64) {
    let mut lblk = 0;
    loop {
        let got = volume.run(credits::EXTENT_ALLOC, &[ino], &mut |fs, t, i| {
            fs.allocate(t, &mut i[0], lblk, 4096, 0, Mode::Normal)
        });
        match got {
            Ok(mapping) => lblk += mapping.len(),
            Err(e) => {
                assert_eq!(e, ENOSPC);
                return;
            }
        }
    }
}

#[test]
fn names_can_be_removed_when_data_fills_the_volume() {
    let mut volume = Volume::new(SMALL);
    let root = volume.root();
    let file = NewInode {
        mode: S_IFREG | 0o644,
        ..NewInode::default()
    };
    let directory = NewInode {
        mode: S_IFDIR | 0o755,
        ..NewInode::default()
    };
    let mut made = Vec::new();
    // Directories lie in all groups, and files with them.
    for n in 0..8 {
        let dir = volume.create(root, &long_name(n), directory).unwrap();
        // Short names: a directory gives blocks back only when most of them are gone.
        for n in 0..150 {
            let name = n.to_string().into_bytes();
            let ino = volume.create(dir, &name, file).unwrap();
            made.push((dir, name, ino));
        }
    }
    let big = volume.create(root, b"big", file).unwrap();
    let free = volume.fs.free_blocks();
    fill_with_data(&mut volume, big);
    assert!(volume.fs.free_blocks() < free / 10);
    // All of them are open, so that none is reaped yet.
    for (dir, name, ino) in &made {
        volume.unlink(*dir, name, *ino).unwrap();
    }
    volume.unlink(root, b"big", big).unwrap();
    volume.remount();
    volume.fsck();
    for (_, _, ino) in made {
        volume.reap(ino).unwrap();
    }
    volume.reap(big).unwrap();
    volume.fsck();
}
