// SPDX-License-Identifier: GPL-2.0

//! Memory and reads that fail, one after the other, at every place of every operation: either
//! nothing happened, or the journal is aborted.

use crate::volume::{same, Saved, Volume, SMALL};
use kernel::prelude::*;
use vexfs::libvexfs::format::inode::{S_IFDIR, S_IFLNK, S_IFREG};
use vexfs::libvexfs::journal::Store;
use vexfs::libvexfs::namespace::{NewInode, Rename, RENAME_EXCHANGE, RENAME_WHITEOUT};
use vexfs::libvexfs::xattr::SetMode;
use vexfs::libvexfs::{credits, Time};

/// A volume with enough in it that trees have some levels, and what the operations work on.
struct World {
    saved: Saved,
    root: u64,
    dir: u64,
    file: u64,
    other: u64,
    sub: u64,
    tmp: u64,
    dead: u64,
}

fn file() -> NewInode<'static> {
    NewInode {
        mode: S_IFREG | 0o644,
        ..NewInode::default()
    }
}

fn world() -> World {
    let mut volume = Volume::new(SMALL);
    let root = volume.root();
    let directory = NewInode {
        mode: S_IFDIR | 0o755,
        ..file()
    };
    let dir = volume.create(root, b"dir", directory).unwrap();
    let one = volume.create(root, b"file", file()).unwrap();
    let other = volume.create(root, b"other", file()).unwrap();
    let dead = volume.create(root, b"dead", file()).unwrap();
    for n in 0..200 {
        let name = format!("a long name, so that leaves are full early {n}");
        volume.link(dir, name.as_bytes(), one).unwrap();
        volume.link(root, name.as_bytes(), one).unwrap();
    }
    let sub = volume.create(dir, b"sub", directory).unwrap();
    for n in 0..60 {
        let name = format!("dead {n}");
        volume.link(root, name.as_bytes(), dead).unwrap();
    }
    let now = Time::default();
    let value = vec![3; 5000];
    for ino in [one, dead] {
        volume
            .run(credits::xattr_set(10, 0, 16), &[ino], &mut |fs, t, i| {
                fs.xattr_set(t, &mut i[0], 1, b"long", Some(&value), SetMode::Any, now)
            })
            .unwrap();
    }
    let tmp = volume.tmpfile(root, file()).unwrap();
    for n in 0..60 {
        let name = format!("dead {n}");
        volume.unlink(root, name.as_bytes(), dead).unwrap();
    }
    volume.unlink(root, b"dead", dead).unwrap();
    volume.store.commit().unwrap();
    World {
        saved: volume.save(),
        root,
        dir,
        file: one,
        other,
        sub,
        tmp,
        dead,
    }
}

type Operation = fn(&World, &mut Volume) -> Result;

fn rename(w: &World, v: &mut Volume, flags: u32, new: Option<u64>, new_name: &[u8]) -> Result {
    let now = v.now();
    let mut inos = vec![w.root, w.other, w.dir];
    inos.extend(new);
    let whiteout = v.run(credits::RENAME, &inos, &mut |fs, t, i| {
        let mut i = i.iter_mut();
        let rename = Rename {
            old_dir: i.next().unwrap(),
            old_name: b"other",
            old: i.next().unwrap(),
            new_dir: i.next(),
            new_name,
            new: i.next(),
            flags,
            whiteout: NewInode::default(),
            now,
        };
        fs.rename(t, rename)
    })?;
    if let Some(w) = whiteout {
        v.inodes.insert(w.ino, w);
    }
    Ok(())
}

const EXISTING: &[u8] = b"a long name, so that leaves are full early 77";

const OPERATIONS: &[(&str, Operation)] = &[
    ("create", |w, v| v.create(w.dir, b"new", file()).map(drop)),
    ("mkdir", |w, v| {
        let new = NewInode {
            mode: S_IFDIR | 0o755,
            ..file()
        };
        v.create(w.dir, &[b'd'; 255], new).map(drop)
    }),
    ("symlink", |w, v| {
        let new = NewInode {
            mode: S_IFLNK | 0o777,
            target: &[b't'; 4000],
            ..file()
        };
        v.create(w.dir, b"link", new).map(drop)
    }),
    ("tmpfile", |w, v| v.tmpfile(w.dir, file()).map(drop)),
    ("link", |w, v| v.link(w.dir, b"new", w.other)),
    ("link of a temporary file", |w, v| {
        v.link(w.dir, b"new", w.tmp)
    }),
    ("unlink", |w, v| v.unlink(w.dir, EXISTING, w.file)),
    ("last unlink", |w, v| v.unlink(w.root, b"other", w.other)),
    ("rmdir", |w, v| v.rmdir(w.dir, b"sub", w.sub)),
    ("rename", |w, v| rename(w, v, 0, None, b"new")),
    ("rename over a file", |w, v| {
        rename(w, v, 0, Some(w.file), EXISTING)
    }),
    ("rename with a whiteout", |w, v| {
        rename(w, v, RENAME_WHITEOUT, None, b"new")
    }),
    ("exchange", |w, v| {
        rename(w, v, RENAME_EXCHANGE, Some(w.sub), b"sub")
    }),
    ("set a short attribute", |w, v| {
        set(v, w.file, b"short", Some(&[1; 50]))
    }),
    ("replace a long attribute", |w, v| {
        set(v, w.file, b"long", Some(&[1; 9000]))
    }),
    ("remove a long attribute", |w, v| {
        set(v, w.file, b"long", None)
    }),
    ("reap", |w, v| v.reap(w.dead)),
];

fn set(v: &mut Volume, ino: u64, name: &[u8], value: Option<&[u8]>) -> Result {
    let now = v.now();
    let credits = credits::xattr_set(10, 10, 16);
    v.run(credits, &[ino], &mut |fs, t, i| {
        fs.xattr_set(t, &mut i[0], 1, name, value, SetMode::Any, now)
    })
}

/// Runs every operation once for each point at which `arm` lets it fail, until it succeeds.
fn sweep(arm: fn(&Volume, usize), disarm: fn(&Volume, usize) -> bool) {
    let world = world();
    for (what, operation) in OPERATIONS {
        let (mut clean, mut aborted) = (0, 0);
        for point in 0.. {
            assert!(point < 10_000, "{what} never succeeds");
            let mut volume = Volume::restore(&world.saved);
            for ino in [world.root, world.dir, world.file, world.other, world.sub] {
                volume.get(ino);
            }
            let before = volume.save();
            arm(&volume, point);
            let result = operation(&world, &mut volume);
            let fired = disarm(&volume, point);
            let Err(e) = result else {
                volume.remount();
                volume.fsck();
                // It may have gone well in spite of a failure that did not matter.
                match fired {
                    true => continue,
                    false => break,
                }
            };
            assert!(e == ENOMEM || e == EIO, "{what}, point {point}: {e:?}");
            if volume.store.aborted() {
                aborted += 1;
                continue;
            }
            clean += 1;
            // Reaping consists of several transactions; all others left everything as it was.
            if *what != "reap" {
                let before = Volume::restore(&before);
                assert!(volume.store.same_as(&before.store), "{what}, point {point}");
                for (ino, i) in &volume.inodes {
                    assert!(same(i, &before.inodes[ino]), "{what}, point {point}");
                }
            }
            volume.remount();
            volume.fsck();
        }
        println!("{what}: {clean} clean failures, {aborted} aborts");
    }
}

#[test]
fn failing_allocations_change_nothing_or_abort() {
    sweep(
        |_, point| {
            kernel::alloc::fail_after(Some(point));
        },
        |_, _| kernel::alloc::fail_after(None) != 0,
    );
}

#[test]
fn failing_reads_change_nothing_or_abort() {
    sweep(
        |volume, point| volume.store.fail_read_after(Some(point)),
        |volume, point| {
            // If the failure is still to come, that many more reads meet it.
            let fired = (0..=point).all(|_| volume.store.read(0).is_ok());
            volume.store.fail_read_after(None);
            fired
        },
    );
}
