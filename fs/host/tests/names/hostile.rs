// SPDX-License-Identifier: GPL-2.0

//! Volumes that somebody broke on purpose: every operation must end, in success or with an error,
//! and none may panic. Bytes are changed below the checksums, so that damage gets through to the
//! code that has to cope with it.

use crate::config;
use crate::model::Model;
use crate::operations::op;
use crate::volume::{All, Volume};
use kernel::prelude::*;
use proptest::prelude::*;
use vexfs::libvexfs::format::inode::{Inode, S_IFDIR, S_IFREG};
use vexfs::libvexfs::journal::{Store, Trans};
use vexfs::libvexfs::namespace::{NewInode, Rename};
use vexfs::libvexfs::xattr::SetMode;
use vexfs::libvexfs::{check, credits, Fs, Mode, Time};
use vexfs::memory::{MemoryStore, MemoryTrans};

/// How bytes are changed.
#[derive(Clone, Debug)]
enum Damage {
    /// Any byte.
    Byte { block: usize, at: usize, value: u8 },
    /// One of the first bytes, where headers and slots are.
    Head { block: usize, at: usize, value: u8 },
    /// A number of one block in another place: pointers that go astray.
    Copy {
        from: usize,
        from_at: usize,
        to: usize,
        to_at: usize,
        len: usize,
    },
    /// A whole block in place of another, its own number made right.
    Block { from: usize, to: usize },
}

fn damage() -> impl Strategy<Value = Damage> {
    let n = || 0..100_000usize;
    let value = || prop_oneof![Just(0u8), Just(1), Just(0xff), Just(0x7f), any::<u8>()];
    prop_oneof![
        3 => (n(), n(), value()).prop_map(|(block, at, value)| Damage::Byte { block, at, value }),
        4 => (n(), 0..120usize, value())
            .prop_map(|(block, at, value)| Damage::Head { block, at, value }),
        3 => (n(), n(), n(), n(), 1..24usize).prop_map(|(from, from_at, to, to_at, len)| {
            Damage::Copy { from, from_at, to, to_at, len }
        }),
        1 => (n(), n()).prop_map(|(from, to)| Damage::Block { from, to }),
    ]
}

fn apply(store: &MemoryStore, damage: &Damage) {
    let blocks = store.contents();
    let pick = |n: usize| blocks.iter().nth(n % blocks.len()).unwrap();
    match *damage {
        Damage::Byte { block, at, value } | Damage::Head { block, at, value } => {
            let (bno, body) = pick(block);
            store.corrupt(*bno, |b| b[at % body.len()] = value);
        }
        Damage::Copy {
            from,
            from_at,
            to,
            to_at,
            len,
        } => {
            let (_, source) = pick(from);
            let from_at = from_at % (source.len() - len);
            store.corrupt(*pick(to).0, |b| {
                let to_at = to_at % (b.len() - len);
                b[to_at..to_at + len].copy_from_slice(&source[from_at..from_at + len]);
            });
        }
        Damage::Block { from, to } => {
            let (from_bno, source) = pick(from);
            let to = *pick(to).0;
            store.corrupt(to, |b| {
                b.copy_from_slice(source);
                for at in 0..b.len() - 8 {
                    if b[at..at + 8] == from_bno.to_le_bytes() {
                        b[at..at + 8].copy_from_slice(&to.to_le_bytes());
                        break;
                    }
                }
            });
        }
    }
}

/// Gives files some extents, apart from each other, so that there is something to free.
fn give_blocks(volume: &mut Volume) {
    for ino in volume.inodes.keys().copied().collect::<Vec<_>>() {
        if !volume.get(ino).is_reg() {
            continue;
        }
        for n in 0..ino % 30 {
            volume
                .run(credits::EXTENT_ALLOC, &[ino], &mut |fs, t, i| {
                    fs.allocate(t, &mut i[0], 3 * n, 1, 0, Mode::Normal)
                })
                .unwrap();
        }
    }
}

/// A transaction that may go wrong in any way; an abort ends this volume.
fn attempt<R>(
    fs: &Fs<MemoryStore>,
    credits: usize,
    op: impl FnOnce(&mut MemoryTrans) -> Result<R>,
) -> Option<R> {
    let mut t = fs.store.begin(credits).ok()?;
    let r = op(&mut t).ok()?;
    t.stop().ok()?;
    Some(r)
}

/// Looks at everything that an inode leads to.
fn look(fs: &Fs<MemoryStore>, i: &Inode) -> Vec<(Vec<u8>, u64)> {
    let mut names = Vec::new();
    let _ = fs.readdir(i, 0, &mut |e| {
        names.push((e.name.to_vec(), e.ino));
        names.len() < 5_000
    });
    for (name, _) in &names {
        let _ = fs.lookup(i, name);
    }
    let _ = fs.parents(i, &mut |_| Ok(true));
    let _ = fs.xattr_list(i, &mut |index, name, len| {
        let mut buf = vec![0; len];
        let _ = fs.xattr_get(i, index, name, &mut buf);
        Ok(true)
    });
    let _ = fs.read_symlink(i, &mut KVec::new());
    let _ = fs.path_of(
        &mut All(fs),
        i.ino,
        i.generation,
        fs.sb.root_ino,
        &mut KVec::new(),
    );
    let _ = fs.is_below(i, 12345);
    if i.is_reg() {
        let _ = fs.next_extent(i, 0);
        let _ = fs.map(i, 3, 100);
    }
    names
}

fn change(fs: &Fs<MemoryStore>, dir: &mut Inode, names: &[(Vec<u8>, u64)]) {
    let now = Time::default();
    for (n, mode) in [(1, S_IFREG), (2, S_IFDIR), (3, S_IFREG)] {
        let new = NewInode {
            mode: mode | 0o777,
            ..NewInode::default()
        };
        let name = vec![b'a' + n; 80];
        attempt(fs, credits::CREATE, |t| fs.create(t, dir, &name, &new));
    }
    for (n, (name, ino)) in names.iter().enumerate() {
        let Ok(mut i) = fs.read_inode(*ino) else {
            continue;
        };
        if i.ino == dir.ino {
            continue;
        }
        let value = vec![9; [20, 500, 3000][n % 3]];
        let credits = credits::xattr_set(3, 66, 16);
        attempt(fs, credits, |t| {
            fs.xattr_set(t, &mut i, 1, b"new", Some(&value), SetMode::Any, now)
        });
        match n % 4 {
            0 => attempt(fs, credits::UNLINK, |t| fs.rmdir(t, dir, name, &mut i, now)),
            1 => attempt(fs, credits::UNLINK, |t| {
                fs.unlink(t, dir, name, &mut i, now)
            }),
            2 => attempt(fs, credits::LINK, |t| {
                fs.link(t, dir, &[b'l'; 200], &mut i, now)
            }),
            _ => attempt(fs, credits::RENAME, |t| {
                let rename = Rename {
                    old_dir: dir,
                    old_name: name,
                    old: &mut i,
                    new_dir: None,
                    new_name: &[b'r'; 100],
                    new: None,
                    flags: 0,
                    whiteout: NewInode::default(),
                    now,
                };
                fs.rename(t, rename).map(drop)
            }),
        };
        reap(fs, &mut i);
    }
}

fn reap(fs: &Fs<MemoryStore>, i: &mut Inode) {
    // As many steps as there are blocks would be enough; a damaged tree must not need more.
    for _ in 0..20_000 {
        match attempt(fs, credits::REAP_STEP, |t| fs.reap_step(t, i)) {
            Some(false) => {}
            _ => return,
        }
    }
    panic!("reaping inode {} does not end", i.ino);
}

fn everything(volume: Volume) {
    let store = volume.store.clone();
    let inos: Vec<u64> = volume.inodes.keys().copied().collect();
    let sb = volume.fs.superblock();
    drop(volume);
    let Ok(fs) = Fs::open(store.clone(), sb.clone()) else {
        return;
    };
    for group in 0..fs.group_count() {
        let mut orphans = Vec::new();
        let _ = fs.orphans(group, 0, &mut |ino, _| {
            orphans.push(ino);
            orphans.len() < 1000
        });
        for ino in orphans {
            if let Ok(mut i) = fs.read_inode(ino) {
                reap(&fs, &mut i);
            }
        }
    }
    for ino in inos {
        let Ok(mut i) = fs.read_inode(ino) else {
            continue;
        };
        let names = look(&fs, &i);
        change(&fs, &mut i, &names);
    }
    struct Quiet;
    impl check::Reporter for Quiet {
        fn problem(&mut self, _: &check::Problem) {}
    }
    let _ = check::check(&store, &sb, &mut Quiet, check::Options::default());
}

#[test]
fn damaged_volumes_end_no_operation_in_a_panic() {
    let ops = || prop::collection::vec(op(), 40..160);
    let damages = prop::collection::vec(damage(), 1..8);
    proptest!(config(150), |(ops in ops(), damages in prop::collection::vec(damages, 1..8))| {
        let mut model = Model::new();
        for op in &ops {
            model.apply(op);
        }
        give_blocks(&mut model.volume);
        model.volume.store.commit().unwrap();
        let saved = model.volume.save();
        for damages in damages {
            let volume = Volume::restore(&saved);
            for damage in &damages {
                apply(&volume.store, damage);
            }
            everything(volume);
        }
    });
}
