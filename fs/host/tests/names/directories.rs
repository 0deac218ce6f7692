// SPDX-License-Identifier: GPL-2.0

//! Directories: cookies, size, hash collisions.

use crate::config;
use crate::volume::{Volume, SMALL};
use kernel::prelude::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use vexfs::libvexfs::dir::entry::{COOKIE_FIRST, COOKIE_MAX, COUNTER_BITS};
use vexfs::libvexfs::errno::enametoolong;
use vexfs::libvexfs::format::inode::{S_IFDIR, S_IFREG};
use vexfs::libvexfs::journal::{Store, Trans};
use vexfs::libvexfs::namespace::{NewInode, LINK_MAX};
use vexfs::libvexfs::{credits, Mode};

fn file() -> NewInode<'static> {
    NewInode {
        mode: S_IFREG | 0o644,
        ..NewInode::default()
    }
}

fn directory() -> NewInode<'static> {
    NewInode {
        mode: S_IFDIR | 0o755,
        ..NewInode::default()
    }
}

/// Reads a directory in portions, as `getdents` does, with something happening in between.
fn read_in_portions(
    volume: &mut Volume,
    dir: u64,
    portion: usize,
    between: &mut dyn FnMut(&mut Volume),
) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let mut pos = 0;
    loop {
        let i = volume.get(dir).clone();
        let mut left = portion;
        let mut end = true;
        volume
            .fs
            .readdir(&i, pos, &mut |e| {
                if left == 0 {
                    end = false;
                    return false;
                }
                left -= 1;
                pos = e.cookie + 1;
                names.push(e.name.to_vec());
                true
            })
            .unwrap();
        if end {
            return names;
        }
        between(volume);
    }
}

#[test]
fn entries_that_stay_are_read_exactly_once() {
    let change = prop::collection::vec((any::<bool>(), 0..400usize), 0..40);
    proptest!(config(20), |(portion in 1..50usize, changes in prop::collection::vec(change, 1..12))| {
        let mut volume = Volume::new(SMALL);
        let root = volume.root();
        let dir = volume.create(root, b"dir", directory()).unwrap();
        let target = volume.create(root, b"target", file()).unwrap();
        let name = |n: usize| format!("entry {n}").into_bytes();
        // Even names stay, odd ones come and go.
        let mut there = BTreeSet::new();
        for n in (0..400).filter(|n| n % 2 == 0 || n % 3 == 0) {
            volume.link(dir, &name(n), target).unwrap();
            there.insert(n);
        }
        let mut changes = changes.iter();
        let names = read_in_portions(&mut volume, dir, portion, &mut |volume| {
            for &(insert, n) in changes.next().into_iter().flatten() {
                let n = n | 1;
                if insert && there.insert(n) {
                    volume.link(dir, &name(n), target).unwrap();
                } else if !insert && there.remove(&n) {
                    volume.unlink(dir, &name(n), target).unwrap();
                }
            }
        });
        let mut times = BTreeMap::new();
        for name in names {
            *times.entry(name).or_insert(0) += 1;
        }
        for n in (0..400).step_by(2) {
            prop_assert_eq!(times.get(&name(n)), Some(&1), "entry {}", n);
        }
        prop_assert!(times.values().all(|&n| n == 1));
    });
}

#[test]
fn a_hundred_thousand_entries_are_found_read_and_removed() {
    const COUNT: usize = 100_000;
    let mut volume = Volume::new(4 * SMALL);
    let root = volume.root();
    let dir = volume.create(root, b"dir", directory()).unwrap();
    let free = volume.fs.free_blocks();
    let name = |n: usize| format!("a file name of usual length, number {n}").into_bytes();
    let mut target = 0;
    for n in 0..COUNT {
        // Several inodes, each with many links, so that attribute trees grow, too.
        if n % 1000 == 0 {
            target = volume.create(dir, &name(n), file()).unwrap();
        } else {
            volume.link(dir, &name(n), target).unwrap();
        }
    }
    volume.remount();
    assert_eq!(volume.get(dir).entries, COUNT as u64);
    let names: BTreeSet<_> = read_in_portions(&mut volume, dir, 1000, &mut |_| ())
        .into_iter()
        .collect();
    assert_eq!(names.len(), COUNT);
    let i = volume.get(dir).clone();
    for n in 0..COUNT {
        assert!(volume.fs.lookup(&i, &name(n)).unwrap().is_some());
    }
    volume.fsck();
    for n in 0..COUNT {
        let i = volume.get(dir).clone();
        let ino = volume.fs.lookup(&i, &name(n)).unwrap().unwrap().ino;
        volume.unlink(dir, &name(n), ino).unwrap();
        if volume.get(ino).nlink == 0 {
            volume.reap(ino).unwrap();
        }
    }
    assert_eq!(
        volume.get(dir).blocks,
        0,
        "an empty directory needs no blocks"
    );
    assert_eq!(volume.get(dir).size, 0);
    volume.fsck();
    volume.fs.settle().unwrap();
    // At most the chunks of inodes that a group keeps are missing.
    assert!(free - volume.fs.free_blocks() <= 8 * u64::from(volume.fs.group_count()));
}

/// Puts entries of a bucket in by hand: names that hash alike would take years to find.
fn insert_raw(volume: &mut Volume, dir: u64, cookie: u64, name: &[u8]) {
    let ino = volume.root();
    let value = [&ino.to_le_bytes()[..], &[4], name].concat();
    let mut i = volume.get(dir).clone();
    let mut t = volume.store.begin(credits::INSERT + 1).unwrap();
    let mut space = volume
        .fs
        .space(0, credits::blocks::INSERT, Mode::Normal)
        .unwrap();
    volume
        .fs
        .tree_insert(&mut t, &mut space, i.data_root_mut(), cookie.into(), &value)
        .unwrap();
    i.entries += 1;
    i.size += value.len() as u64;
    volume.fs.log_inode(&mut t, &i).unwrap();
    t.stop().unwrap();
    volume.inodes.insert(dir, i);
}

#[test]
fn names_of_equal_hash_live_side_by_side() {
    let mut volume = Volume::new(SMALL);
    let root = volume.root();
    let dir = volume.create(root, b"dir", directory()).unwrap();
    let ino = volume.create(dir, b"name", file()).unwrap();
    let first = volume.entries(dir)[0].0;
    assert_eq!(first % (1 << COUNTER_BITS), 0);
    volume.unlink(dir, b"name", ino).unwrap();
    volume.reap(ino).unwrap();
    for n in [0, 1, 3] {
        insert_raw(&mut volume, dir, first + n, format!("other {n}").as_bytes());
    }
    // The neighbours in the next bucket are none of ours.
    insert_raw(&mut volume, dir, first + (1 << COUNTER_BITS), b"next");
    let i = volume.get(dir).clone();
    assert_eq!(volume.fs.lookup(&i, b"name").unwrap(), None);
    // The first gap is taken.
    let ino = volume.create(dir, b"name", file()).unwrap();
    let i = volume.get(dir).clone();
    let entry = volume.fs.lookup(&i, b"name").unwrap().unwrap();
    assert_eq!((entry.ino, entry.cookie), (ino, first + 2));
    assert_eq!(volume.create(dir, b"name", file()), Err(EEXIST));
    volume.unlink(dir, b"name", ino).unwrap();
    let i = volume.get(dir).clone();
    assert_eq!(volume.fs.lookup(&i, b"name").unwrap(), None);
}

#[test]
fn a_full_bucket_is_no_space() {
    let mut volume = Volume::new(SMALL);
    let root = volume.root();
    let dir = volume.create(root, b"dir", directory()).unwrap();
    let ino = volume.create(dir, b"name", file()).unwrap();
    let first = volume.entries(dir)[0].0;
    volume.unlink(dir, b"name", ino).unwrap();
    for n in 0..1 << COUNTER_BITS {
        insert_raw(&mut volume, dir, first + n, b"o");
    }
    assert_eq!(volume.create(dir, b"name", file()), Err(ENOSPC));
}

#[test]
fn impossible_names_and_places_are_refused() {
    let mut volume = Volume::new(SMALL);
    let root = volume.root();
    assert_eq!(
        volume.create(root, &[b'n'; 256], file()),
        Err(enametoolong())
    );
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
        assert_eq!(volume.create(root, name, file()), Err(EINVAL), "{name:?}");
    }
    let ino = volume.create(root, &[b'n'; 255], file()).unwrap();
    assert_eq!(volume.create(ino, b"name", file()), Err(ENOTDIR));
    let i = volume.get(ino).clone();
    assert_eq!(volume.fs.lookup(&i, b"name"), Err(ENOTDIR));
    assert_eq!(volume.fs.readdir(&i, 0, &mut |_| true), Err(ENOTDIR));
    let fifo_with_target = NewInode {
        target: b"target",
        ..file()
    };
    assert_eq!(volume.create(root, b"x", fifo_with_target), Err(EINVAL));
    assert_eq!(
        volume.create(
            root,
            b"x",
            NewInode {
                mode: 0o644,
                ..file()
            }
        ),
        Err(EINVAL)
    );
    let i = volume.get(root).clone();
    assert_eq!(volume.fs.readdir(&i, u64::MAX, &mut |_| panic!()), Ok(()));
    assert!(volume
        .entries(root)
        .iter()
        .all(|e| (COOKIE_FIRST..=COOKIE_MAX).contains(&e.0)));
}

#[test]
fn links_are_limited() {
    let mut volume = Volume::new(SMALL);
    let root = volume.root();
    let ino = volume.create(root, b"file", file()).unwrap();
    let dir = volume.create(root, b"dir", directory()).unwrap();
    for i in [ino, dir] {
        volume.get(i);
        volume.inodes.get_mut(&i).unwrap().nlink = LINK_MAX;
    }
    assert_eq!(volume.link(root, b"again", ino), Err(EMLINK));
    assert_eq!(volume.create(dir, b"sub", directory()), Err(EMLINK));
    assert!(volume.create(dir, b"file", file()).is_ok());
}
