// SPDX-License-Identifier: GPL-2.0

//! Several threads at once: what they share are groups, counters and the busy lists.

use super::*;
use crate::libvexfs::credits;
use crate::libvexfs::extent::New;
use crate::libvexfs::Mode;
use std::sync::atomic::{AtomicBool, Ordering};

/// A small generator, so that a run can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Runs an operation that a full disk must not stop: what is free may only wait for a commit.
fn privileged<R>(
    fs: &TestFs,
    credits: usize,
    mut f: impl FnMut(&mut MemoryTrans) -> Result<R>,
) -> R {
    loop {
        match with(fs, credits, &mut f) {
            Err(e) if e == ENOSPC => {
                fs.settle().unwrap();
            }
            r => return r.unwrap(),
        }
    }
}

fn work(fs: &TestFs, seed: u64, rounds: u64) -> (Vec<Inode>, BTreeSet<u64>) {
    let mut random = Random(seed);
    let mut files: Vec<Inode> = Vec::new();
    let mut orphans = BTreeSet::new();
    for _ in 0..rounds {
        let pick = random.below(files.len().max(1) as u64) as usize;
        let at = random.below(300);
        let len = random.below(40) + 1;
        let few = files.len() < 60;
        match (random.below(10), files.get_mut(pick)) {
            (0, _) | (_, None) if few => files.push(file(fs)),
            (_, None) => {}
            (1..=4, Some(i)) => {
                let r = with(fs, credits::EXTENT_ALLOC, |t| {
                    fs.allocate(t, i, at, len, 0, Mode::Normal)
                });
                assert!(matches!(r, Ok(_) | Err(EEXIST) | Err(ENOSPC)), "{r:?}");
            }
            (5, Some(i)) => {
                privileged(fs, credits::CONVERT, |t| fs.convert(t, i, at, len));
            }
            (6, Some(i)) => {
                privileged(fs, credits::REPLACE_RANGE, |t| {
                    fs.replace_range(t, i, at, len, New::Hole)
                });
            }
            (7, Some(i)) => {
                privileged(fs, credits::ORPHAN, |t| fs.orphan_record_set(t, i.ino, 1));
                if random.below(3) != 0 {
                    with(fs, credits::ORPHAN, |t| fs.orphan_record_remove(t, i.ino)).unwrap();
                    orphans.remove(&i.ino);
                } else {
                    orphans.insert(i.ino);
                }
            }
            (8, Some(_)) => {
                let mut i = files.swap_remove(pick);
                while !with(fs, credits::TRUNCATE, |t| fs.truncate_step(t, &mut i, 0)).unwrap() {}
                if orphans.remove(&i.ino) {
                    with(fs, credits::ORPHAN, |t| fs.orphan_record_remove(t, i.ino)).unwrap();
                }
                with(fs, credits::INODE_FREE, |t| fs.free_inode(t, &i)).unwrap();
            }
            (_, Some(_)) => {
                let space = fs.space(at * 50, 7, Mode::Privileged);
                if fs.promise(len, Mode::Normal).is_ok() {
                    fs.unpromise(len);
                }
                drop(space);
                if let Ok(claim) = fs.claim(at * 50, len, Mode::Normal) {
                    std::thread::yield_now();
                    if random.below(2) == 0 {
                        let (bno, n) = with(fs, 3, |t| claim.allocate(t)).unwrap();
                        privileged(fs, 3, |t| fs.free_data(t, bno, n));
                    }
                }
            }
        }
    }
    (files, orphans)
}

#[test]
fn threads_do_not_tread_on_each_other() {
    let rounds = if cfg!(miri) { 20 } else { 4000 };
    let fs = fresh(3 << 14);
    let base = taken(&fs);
    let done = AtomicBool::new(false);
    /// Says so even when a worker has panicked.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (files, orphans) = std::thread::scope(|s| {
        let workers: Vec<_> = (0..4)
            .map(|n| {
                let fs = &fs;
                s.spawn(move || work(fs, 0x5eed + n, rounds))
            })
            .collect();
        let committer = s.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs.store.commit().unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let ended = Done(&done);
        let (mut files, mut orphans) = (Vec::new(), BTreeSet::new());
        for worker in workers {
            let (f, o) = worker.join().unwrap();
            files.extend(f);
            orphans.extend(o);
        }
        drop(ended);
        committer.join().unwrap();
        (files, orphans)
    });
    assert!(!fs.store.aborted());
    // Every block that is taken belongs to one file, a chunk of inodes, or a tree.
    let mut rest: BTreeSet<u64> = taken(&fs).difference(&base).copied().collect();
    let mut owned = 0;
    for i in &files {
        let mut at = 0;
        while let Some(e) = fs.next_extent(i, at).unwrap() {
            if let Some(phys) = e.phys() {
                for bno in phys..phys + e.len {
                    assert!(rest.remove(&bno), "block {bno} is free or has two owners");
                }
                owned += e.len;
            }
            at = e.end();
        }
    }
    let blocks: u64 = files.iter().map(|i| i.blocks).sum();
    let (mut chunks, mut tree) = (0, 0);
    let mut found = BTreeSet::new();
    for group in 0..fs.group_count() {
        fs.with_group_header(group, |h| {
            chunks += h.chunks;
            tree += h.chunk_blocks + h.orphan_blocks;
        })
        .unwrap();
        let mut from = 0;
        while let Some((ino, _)) = fs.orphan_record_next(group, from).unwrap() {
            found.insert(ino);
            from = ino + 1;
        }
    }
    assert_eq!(found, orphans);
    // The first chunk was there before.
    assert_eq!(
        rest.len() as u64,
        (blocks - owned) + (chunks - 1) * 8 + tree
    );
    assert_eq!(
        fs.available_blocks(),
        fs.free_blocks() - fs.sb.reserved_blocks
    );
}
