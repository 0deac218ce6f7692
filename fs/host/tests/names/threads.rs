// SPDX-License-Identifier: GPL-2.0

//! Several threads at once: each has directories of its own, all share groups and inode blocks.

use crate::volume::{Volume, SMALL};
use kernel::prelude::*;
use vexfs::libvexfs::format::inode::{Inode, S_IFDIR, S_IFREG};
use vexfs::libvexfs::journal::{Store, Trans};
use vexfs::libvexfs::namespace::NewInode;
use vexfs::libvexfs::xattr::SetMode;
use vexfs::libvexfs::{credits, Fs, Time};
use vexfs::memory::{MemoryStore, MemoryTrans};

const NOW: Time = Time { sec: 9, nsec: 0 };

fn with<R>(
    fs: &Fs<MemoryStore>,
    credits: usize,
    op: impl FnOnce(&mut MemoryTrans) -> Result<R>,
) -> R {
    let mut t = fs.store.begin(credits).unwrap();
    let r = op(&mut t).unwrap();
    t.stop().unwrap();
    r
}

/// Makes and removes files in a directory that no other thread knows.
fn work(fs: &Fs<MemoryStore>, dir: &mut Inode, seed: usize) {
    let mut files: Vec<(Vec<u8>, Inode)> = Vec::new();
    for n in 0..600 {
        let x = (n * 7919 + seed * 104_729) % 1009;
        if x % 5 < 3 || files.is_empty() {
            let name = format!("{n} {}", "x".repeat(x % 100)).into_bytes();
            let new = NewInode {
                mode: S_IFREG | 0o600,
                now: NOW,
                ..NewInode::default()
            };
            let i = with(fs, credits::CREATE, |t| fs.create(t, dir, &name, &new));
            files.push((name, i));
        } else {
            let at = x % files.len();
            let (name, i) = &mut files[at];
            let value = vec![x as u8; x * 3];
            let long = credits::xattr_set(4, 4, 64);
            with(fs, long, |t| {
                fs.xattr_set(t, i, 1, b"name", Some(&value), SetMode::Any, NOW)
            });
            if x % 5 == 4 {
                with(fs, credits::UNLINK, |t| fs.unlink(t, dir, name, i, NOW));
                while !with(fs, credits::REAP_STEP, |t| fs.reap_step(t, i)) {}
                files.swap_remove(at);
            }
        }
        // Others change their slots of the same inode block meanwhile.
        let read = fs.read_inode(dir.ino).unwrap();
        assert_eq!((read.entries, read.blocks), (dir.entries, dir.blocks));
        if n % 100 == 0 {
            fs.store.commit().unwrap();
        }
    }
    assert_eq!(dir.entries, files.len() as u64);
}

#[test]
fn threads_with_directories_of_their_own_do_not_meet() {
    let mut volume = Volume::new(SMALL);
    let root = volume.root();
    let new = NewInode {
        mode: S_IFDIR | 0o700,
        ..NewInode::default()
    };
    // All below one directory, so that all lie in one group.
    let parent = volume.create(root, b"parent", new).unwrap();
    let dirs: Vec<u64> = (0..4u8)
        .map(|n| volume.create(parent, &[b'a' + n], new).unwrap())
        .collect();
    let mut cores: Vec<Inode> = dirs.iter().map(|&ino| volume.get(ino).clone()).collect();
    let fs = &volume.fs;
    std::thread::scope(|scope| {
        for (seed, core) in cores.iter_mut().enumerate() {
            scope.spawn(move || work(fs, core, seed));
        }
    });
    assert!(!volume.store.aborted());
    for core in cores {
        volume.inodes.insert(core.ino, core);
    }
    volume.remount();
    volume.fsck();
}
