// SPDX-License-Identifier: GPL-2.0

//! Repairs of random damage: what comes out is in order, and whatever was not hit is as it was.
//!
//! `VEXFS_CASES` says how many, `VEXFS_SEED` with which seed to begin, `VEXFS_HITS` how many blocks at most are hit; each
//! case can be had again by its own.

use crate::sample::{crowded_sample, edit, sample, Sample};
use crate::{check_store, Found};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use vexfs::crash::Random;
use vexfs::disk::MemoryDisk;
use vexfs::file_store::FileStore;
use vexfs::libvexfs::check::{repair, Options, Repaired};
use vexfs::libvexfs::extent::State;
use vexfs::libvexfs::format::group::INODE_BLOCK_MAGIC;
use vexfs::libvexfs::format::inode::{BLOCK_HEADER, INODE_SIZE};
use vexfs::libvexfs::format::{le32, le64, put16, put64, Superblock};
use vexfs::libvexfs::journal::host::{Disk, Log, Replay};
use vexfs::libvexfs::journal::{Store, BLOCK_SIZE};
use vexfs::libvexfs::mkfs::MIN_BLOCKS;
use vexfs::libvexfs::tree::node::MAGIC as NODE_MAGIC;
use vexfs::libvexfs::{Fs, Inode};
use vexfs::volume;

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

/// A store for repairs, as fsck opens it.
pub fn open_store<D: Disk>(disk: D, sb: &Superblock) -> FileStore<D> {
    let journal = Replay::open(&disk, volume::region(sb).unwrap())
        .unwrap()
        .apply(&disk, false)
        .unwrap();
    FileStore::new(disk, sb.csum_seed, Log::new(journal).unwrap())
}

/// How many blocks at most are hit.
pub fn hits() -> u64 {
    number("VEXFS_HITS", 4)
}

/// Repairs without asking, with what was said.
pub fn mend<D: Disk>(store: &FileStore<D>, sb: &Superblock) -> (Repaired, Vec<String>) {
    let mut found = Found::default();
    let options = Options::default();
    let done = repair(store, store.disk(), sb, &mut found, options, &mut |_| {
        Ok(true)
    })
    .unwrap();
    (done, found.0)
}

/// What every inode that has a name holds: bytes, attributes, target.
pub fn contents<S: Store>(fs: &Fs<S>, disk: &dyn Disk) -> BTreeMap<u64, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![fs.sb.root_ino];
    while let Some(ino) = todo.pop() {
        if all.contains_key(&ino) {
            continue;
        }
        let i = fs.read_inode(ino).unwrap();
        if i.is_dir() {
            let each = &mut |e: &vexfs::libvexfs::dir::DirEntryRef<'_>| {
                todo.push(e.ino);
                true
            };
            fs.readdir(&i, 0, each).unwrap();
        }
        all.insert(ino, content(fs, disk, &i));
    }
    all
}

fn content<S: Store>(fs: &Fs<S>, disk: &dyn Disk, i: &Inode) -> String {
    let mut text = format!("{:o} {} {}", i.mode, i.uid, i.generation);
    if i.is_reg() {
        write!(text, " size {}", i.size).unwrap();
        let mut at = 0;
        while let Some(e) = fs.next_extent(i, at).unwrap() {
            at = e.end();
            if let State::Written(phys) = e.state {
                let mut bytes = vec![0; e.len as usize * BLOCK_SIZE];
                disk.read(phys, &mut bytes).unwrap();
                for (n, block) in bytes.chunks(BLOCK_SIZE).enumerate() {
                    let crc = vexfs::crc32c::crc32c(!0, block);
                    write!(text, " {}:{crc:x}", e.lblk + n as u64).unwrap();
                }
            }
        }
    } else if i.is_link() {
        let mut target = kernel::alloc::KVec::new();
        fs.read_symlink(i, &mut target).unwrap();
        write!(text, " -> {}", String::from_utf8_lossy(&target)).unwrap();
    }
    let each = &mut |index: u8, name: &[u8], len: usize| {
        write!(text, " {index}.{}={len}", String::from_utf8_lossy(name)).unwrap();
        Ok(true)
    };
    fs.xattr_list(i, each).unwrap();
    text
}

/// The inodes that a change of these bytes of a block hits.
fn hit(s: &Sample, bno: u64, at: usize, len: usize) -> Vec<u64> {
    let body = s.body(bno);
    if le32(&body, 0) == INODE_BLOCK_MAGIC {
        let slots = (0..7).filter(|slot| {
            let start = BLOCK_HEADER + slot * INODE_SIZE;
            at < start + INODE_SIZE && at + len > start
        });
        return slots.map(|slot| bno << 3 | (slot as u64 + 1)).collect();
    }
    if le32(&body, 0) == NODE_MAGIC && le32(&body, 4) <= 2 {
        return vec![le64(&body, 16)];
    }
    Vec::new()
}

/// Changes a few bytes of each of some blocks of metadata, `most` of them; returns the inodes that it hits.
pub fn damage(
    s: &Sample,
    used: &[u64],
    disk: &MemoryDisk,
    random: &mut Random,
    most: u64,
) -> BTreeSet<u64> {
    let mut touched = BTreeSet::new();
    let geometry = &s.sb.geometry;
    let mut superblocks: BTreeSet<u64> = geometry
        .super_copies()
        .map(|group| geometry.group_start(group))
        .chain([0])
        .collect();
    for _ in 0..1 + random.below(most) {
        let bno = used[random.below(used.len() as u64) as usize];
        // One of them is left: without any there is nothing to go by.
        if superblocks.contains(&bno) && superblocks.len() == 1 {
            continue;
        }
        superblocks.remove(&bno);
        let kind = random.below(8);
        let whole = kind >= 6;
        edit(disk, s.sb.csum_seed, bno, |body| {
            let at = random.below(body.len() as u64 - 8) as usize;
            match kind {
                0 | 1 => body[at] ^= 1 << random.below(8),
                2 => body[at] = [0, 1, 0xff][random.below(3) as usize],
                3 | 4 => put64(body, at & !7, random.number()),
                5 => put16(body, at & !1, random.below(65_536) as u16),
                6 => body.fill(0),
                _ => {}
            }
            let (at, len) = if whole { (0, body.len()) } else { (at & !7, 8) };
            touched.extend(hit(s, bno, at, len));
        });
        if kind == 7 {
            // A block that went bad: its checksum is wrong, and some of it.
            let mut block = [0; BLOCK_SIZE];
            disk.read(bno, &mut block).unwrap();
            let at = 8 + random.below(BLOCK_SIZE as u64 - 8) as usize;
            block[at] ^= 0x10;
            disk.write(bno, &block).unwrap();
        }
    }
    touched
}

fn metadata(s: &Sample) -> Vec<u64> {
    let journal = volume::region(&s.sb).unwrap();
    let is_metadata = |bno: &u64| {
        let body = s.body(*bno);
        let magic = le32(&body, 0);
        let file_data = body[..64].iter().all(|b| *b == body[0]);
        magic != 0 && !file_data
    };
    (0..MIN_BLOCKS)
        .filter(|bno| !journal.contains(*bno) && s.in_use(*bno))
        .filter(is_metadata)
        .collect()
}

#[test]
fn random_damage_is_put_right() {
    every_case(150, 20, one_case);
}

/// Runs `one_case` on a sample with as many seeds as are asked for, and says which failed.
pub fn every_case(
    cases: u64,
    seed: u64,
    one_case: impl Fn(&Sample, &[u64], &BTreeMap<u64, String>, u64) -> Result<(), String>,
) {
    kernel::print::set_level(0);
    let (cases, first) = (number("VEXFS_CASES", cases), number("VEXFS_SEED", 1));
    let s = sample(seed);
    let used = metadata(&s);
    let before = {
        let fs = s.open();
        contents(&fs, fs.store.disk())
    };
    let mut failed = Vec::new();
    for case in first..first + cases {
        if let Err(why) = one_case(&s, &used, &before, case) {
            failed.push(format!("seed {case}: {why}"));
        }
    }
    let seeds: Vec<&str> = failed.iter().filter_map(|f| f.split(':').next()).collect();
    assert!(
        failed.is_empty(),
        "{} of {cases}: {seeds:?}\n{}",
        failed.len(),
        failed[..failed.len().min(3)].join("\n\n")
    );
}

/// Damages, repairs, compares.
fn one_case(
    s: &Sample,
    used: &[u64],
    before: &BTreeMap<u64, String>,
    case: u64,
) -> Result<(), String> {
    let mut random = Random::new(case);
    let disk = s.disk.clone();
    let touched = damage(s, used, &disk, &mut random, hits());
    put_right(&disk, before, &touched)
}

/// So much that chunks of inodes are looked up in many rounds.
#[test]
fn heavy_damage_is_put_right() {
    kernel::print::set_level(0);
    let s = sample(20);
    let used = metadata(&s);
    let before = {
        let fs = s.open();
        contents(&fs, fs.store.disk())
    };
    for case in [80, 379] {
        let disk = s.disk.clone();
        let touched = damage(&s, &used, &disk, &mut Random::new(case), 40);
        let result = put_right(&disk, &before, &touched);
        assert!(result.is_ok(), "seed {case}: {}", result.unwrap_err());
    }
}

/// Repairs a disk as `fsck -y` does; what damage did not touch must be as it was before.
fn put_right(
    disk: &MemoryDisk,
    before: &BTreeMap<u64, String>,
    touched: &BTreeSet<u64>,
) -> Result<(), String> {
    let best = volume::best_superblock(disk).ok_or("no superblock")?;
    if best.from != 0 {
        volume::write_superblock(disk, &best.sb).unwrap();
    }
    let store = open_store(disk, &best.sb);
    let (done, found) = mend(&store, &best.sb);
    store.close().unwrap();
    let said = || format!("{:#?}", &found[..found.len().min(80)]);
    let (_, left) = check_store(&FileStore::read_only(disk, done.sb.csum_seed), &done.sb);
    if !left.is_empty() {
        return Err(format!("left {left:#?}\nof {}", said()));
    }
    let fs = volume::open(disk).map_err(|e| format!("{e:?}"))?;
    volume::finish_orphans(&fs).map_err(|e| format!("orphans: {e:?}"))?;
    let after = contents(&fs, disk);
    for (ino, content) in before {
        if !touched.contains(ino) && after.get(ino) != Some(content) {
            let after = after.get(ino);
            return Err(format!("inode {ino}:\n{content}\n{after:?}\n{}", said()));
        }
    }
    Ok(())
}

/// Without header and bitmap of a group it has to be guessed what is free, and the new tree of its chunks needs room:
/// that must not be where one of them lies, or what their inodes have.
#[test]
fn groups_that_lost_their_start_keep_their_inodes() {
    kernel::print::set_level(0);
    let s = crowded_sample(22, 4000);
    let geometry = s.sb.geometry;
    let before = {
        let fs = s.open();
        contents(&fs, fs.store.disk())
    };
    let all: Vec<u32> = (0..geometry.group_count).collect();
    let mut with_tree = 0;
    for lost in all.chunks(1).chain([&all[..]]) {
        let disk = s.disk.clone();
        for group in lost {
            let start = geometry.group_start(*group);
            with_tree += s.body(geometry.header(*group))[64];
            for bno in start..start + geometry.group_metadata() {
                if bno != 0 {
                    disk.write(bno, &[0; BLOCK_SIZE]).unwrap();
                }
            }
        }
        let result = put_right(&disk, &before, &BTreeSet::new());
        assert!(result.is_ok(), "groups {lost:?}: {}", result.unwrap_err());
    }
    assert!(
        with_tree > 0,
        "no group has more chunks than its header holds"
    );
}
