// SPDX-License-Identifier: GPL-2.0

//! Damage in every structure, with its checksum put right: fsck must find it, name it, and never fall over it.

use crate::workload::{describe, DiskFs, Work};
use crate::{assert_clean, check_store, Found};
use vexfs::crash::Random;
use vexfs::disk::MemoryDisk;
use vexfs::file_store::{seal_in_place, FileStore};
use vexfs::libvexfs::check::{check, repair, Options as CheckOptions};
use vexfs::libvexfs::format::geometry::Geometry;
use vexfs::libvexfs::format::inode::{place, INODE_SIZE, STATE_ORPHAN};
use vexfs::libvexfs::format::{le16, le32, le64, put16, put32, put64, Inode, Superblock};
use vexfs::libvexfs::journal::host::{Disk, Log, Replay};
use vexfs::libvexfs::journal::{BLOCK_SIZE, SEAL_SIZE};
use vexfs::libvexfs::mkfs::{layout, test_options, MIN_BLOCKS};
use vexfs::libvexfs::tree::node::{Node, HEADER, MAGIC as NODE_MAGIC, PAGE_HEADER, SLOT};
use vexfs::libvexfs::tree::{KIND_ATTR, KIND_CHUNK, KIND_DATA};
use vexfs::volume;

/// A volume with some of everything, unmounted.
struct Sample {
    disk: MemoryDisk,
    sb: Superblock,
    /// All that is seen in it.
    state: String,
}

fn sample(seed: u64) -> Sample {
    let options = test_options();
    let disk = MemoryDisk::new(MIN_BLOCKS);
    volume::format(&disk, &layout(MIN_BLOCKS, &options).unwrap(), &options).unwrap();
    let mut work = Work::new(volume::open(&disk).unwrap(), seed);
    for _ in 0..900 {
        work.step();
    }
    work.fill();
    let state = describe(&work.fs);
    volume::close(&work.fs).unwrap();
    let sb = volume::superblock(&disk).unwrap();
    drop(work);
    Sample { disk, sb, state }
}

impl Sample {
    fn body(&self, bno: u64) -> Vec<u8> {
        let mut block = [0; BLOCK_SIZE];
        self.disk.read(bno, &mut block).unwrap();
        block[SEAL_SIZE..].to_vec()
    }

    /// A copy of the disk with one block changed behind the file system's back.
    fn with(&self, bno: u64, change: impl FnOnce(&mut [u8])) -> MemoryDisk {
        let disk = self.disk.clone();
        edit(&disk, self.sb.csum_seed, bno, change);
        disk
    }

    /// The same for an inode.
    fn with_inode(&self, ino: u64, change: impl FnOnce(&mut [u8])) -> MemoryDisk {
        let (bno, at) = place(ino).unwrap();
        self.with(bno, |body| change(&mut body[at..at + INODE_SIZE]))
    }

    /// The nodes of trees of one kind and level.
    fn nodes(&self, kind: u32, level: u8) -> Vec<u64> {
        let journal = volume::region(&self.sb).unwrap();
        (1..MIN_BLOCKS)
            .filter(|bno| !journal.contains(*bno))
            .filter(|bno| {
                let body = self.body(*bno);
                le32(&body, 0) == NODE_MAGIC && le32(&body, 4) == kind && le64(&body, 8) == *bno && body[HEADER] == level
            })
            // Freed nodes lie around.
            .filter(|bno| self.in_use(*bno))
            .collect()
    }

    fn in_use(&self, bno: u64) -> bool {
        let g = self.sb.geometry;
        let group = g.group_of(bno).unwrap();
        let (region, bit) = g.region_of(group, bno);
        let body = self.body(g.bitmap(group, region));
        body[24 + bit as usize / 8] >> (bit % 8) & 1 == 1
    }

    /// All inodes that are seen, read from disk.
    fn inodes(&self) -> Vec<Inode> {
        let fs = self.open();
        let mut found = Vec::new();
        let mut todo = vec![self.sb.root_ino];
        while let Some(ino) = todo.pop() {
            let i = fs.read_inode(ino).unwrap();
            if i.is_dir() {
                fs.readdir(&i, 0, &mut |e| {
                    todo.push(e.ino);
                    true
                })
                .unwrap();
            }
            found.push(i);
        }
        found
    }

    fn open(&self) -> DiskFs<MemoryDisk> {
        volume::open(self.disk.clone()).unwrap()
    }

    /// What fsck says of a changed disk.
    fn problems(&self, disk: &MemoryDisk) -> Vec<String> {
        check_store(&FileStore::read_only(disk, self.sb.csum_seed), &self.sb).1
    }

    #[track_caller]
    fn expect(&self, disk: &MemoryDisk, text: &str) {
        let problems = self.problems(disk);
        assert!(problems.iter().any(|p| p.contains(text)), "'{text}' is not among {problems:#?}");
    }
}

fn edit(disk: &MemoryDisk, seed: u32, bno: u64, change: impl FnOnce(&mut [u8])) {
    let mut block = [0; BLOCK_SIZE];
    disk.read(bno, &mut block).unwrap();
    change(&mut block[SEAL_SIZE..]);
    seal_in_place(seed, bno, &mut block);
    disk.write(bno, &block).unwrap();
}

/// The offset in a node's block of the value of entry `i`.
fn value_at(body: &[u8], i: usize) -> usize {
    HEADER + usize::from(le16(body, HEADER + PAGE_HEADER + i * SLOT + 16))
}

/// A node of a kind and level, of which the sample must have one.
#[track_caller]
fn one(s: &Sample, kind: u32, level: u8) -> u64 {
    *s.nodes(kind, level).first().expect("the sample has such a node")
}

#[test]
fn the_sample_is_in_order_and_rich() {
    let s = sample(1);
    let fs = s.open();
    let outcome = assert_clean(&fs.store, &fs.sb, "the sample");
    let t = outcome.totals;
    assert!(t.files > 50 && t.dirs > 10 && t.links > 5 && outcome.orphans > 0, "{t:?} {}", outcome.orphans);
    for (kind, level) in [(KIND_DATA, 0), (KIND_DATA, 1), (KIND_ATTR, 0)] {
        assert!(!s.nodes(kind, level).is_empty(), "no node of kind {kind}, level {level}");
    }
    // Looking with less memory takes more passes and finds the same.
    let mut found = Found::default();
    let few = CheckOptions { memory: 1, ..CheckOptions::default() };
    let again = check(&fs.store, &fs.sb, &mut found, few).unwrap();
    assert_eq!((found.0, again.totals, again.orphans), (vec![], outcome.totals, outcome.orphans));
}

#[test]
fn wrong_checksums_are_found() {
    let s = sample(2);
    let g = s.sb.geometry;
    for bno in [g.header(1), g.summary(0, 0).0, g.bitmap(2, 0), one(&s, KIND_DATA, 0), s.sb.root_ino >> 3] {
        let disk = s.disk.clone();
        let mut block = [0; BLOCK_SIZE];
        disk.read(bno, &mut block).unwrap();
        block[2000] ^= 4;
        disk.write(bno, &block).unwrap();
        s.expect(&disk, "wrong checksum");
    }
}

#[test]
fn damage_in_groups_is_found() {
    let s = sample(3);
    let g = s.sb.geometry;
    let header = g.header(0);
    s.expect(&s.with(g.group_start(1), |b| b[40] ^= 1), "copy of the superblock");
    s.expect(&s.with(header, |b| b[0] ^= 1), "not the header of group 0");
    s.expect(&s.with(header, |b| b[4] ^= 1), "not the header of group 0");
    for count in [16, 24, 32, 40, 48, 56] {
        s.expect(&s.with(header, |b| b[count] ^= 1), "counts are");
    }
    let (summary, off) = g.summary(0, 0);
    s.expect(&s.with(summary, |b| b[off] ^= 1), "free, rightly");
    s.expect(&s.with(summary, |b| b[off + 3] ^= 0x80), "the summary knows of none");
    let bitmap = g.bitmap(0, 0);
    s.expect(&s.with(bitmap, |b| b[24] ^= 1), "is in use and free");
    let last = g.group_len(0) as usize - 1;
    s.expect(&s.with(bitmap, |b| b[24 + last / 8] ^= 0x80), "is not in use and not free");
    s.expect(&s.with(bitmap, |b| b[16] ^= 1), "not the bitmap");
}

#[test]
fn damage_in_chunks_is_found() {
    let s = sample(4);
    let root = s.sb.root_ino;
    let (bno, _) = place(root).unwrap();
    s.expect(&s.with(bno, |b| b[0] ^= 1), "not the inode block");
    s.expect(&s.with(bno, |b| b[8] ^= 1), "not the inode block");
    // The chunk's record lies in the root in the group's header, or a leaf.
    let group = s.sb.geometry.group_of(bno).unwrap();
    let header = s.sb.geometry.header(group);
    let body = s.body(header);
    let node = Node::open(&body[64..64 + 512]).unwrap();
    assert_eq!((node.level(), s.nodes(KIND_CHUNK, 0).len()), (0, 0));
    let at = 64 + usize::from(le16(&body, 64 + PAGE_HEADER + 16));
    let mask = le64(&body, at);
    let taken = mask.trailing_ones();
    s.expect(&s.with(header, |b| put64(b, at, mask | 1 << taken)), "its chunk says it is free");
    let free = mask.trailing_zeros();
    if mask != 0 {
        s.expect(&s.with(header, |b| put64(b, at, mask & !(1 << free))), "its chunk says it is in use");
    }
    s.expect(&s.with(header, |b| put64(b, at, mask | 1 << 60)), "an impossible record");
    s.expect(&s.with(header, |b| b[64 + PAGE_HEADER] ^= 1), "belongs to something else, too");
}

#[test]
fn damage_in_inodes_is_found() {
    let s = sample(5);
    let inodes = s.inodes();
    let file = inodes.iter().find(|i| i.is_reg() && i.blocks > 0).unwrap().ino;
    let dir = inodes.iter().find(|i| i.is_dir() && i.ino != s.sb.root_ino && i.entries > 0).unwrap().ino;
    let link = inodes.iter().find(|i| i.is_link() && !i.has_inline_link()).unwrap().ino;
    let short = inodes.iter().find(|i| i.has_inline_link()).unwrap().ino;
    for (ino, at, bit, text) in [
        (file, 0, 1u8, "not an inode"),
        (file, 3, 0x60, "not an inode"),
        (file, 16, 1, "links, rightly"),
        (dir, 16, 1, "links, rightly"),
        (file, 32, 1, "blocks, rightly"),
        (dir, 24, 1, "bytes of entries, rightly"),
        (dir, 120, 1, "entries, rightly"),
        (file, 120, 1, "but with entries"),
        (file, 115, 1, "not an inode"),
        (file, 112, STATE_ORPHAN as u8, "is not listed"),
        (file, 108, 1, "no device"),
        (file, 96, 0x80, "a version was marked"),
        (dir, 112, 2, "embedded or archived"),
        (link, 24, 1, "a long value"),
        (short, 24, 0xff, "impossible length"),
        (s.sb.system_ino, 112, 1, "not an internal file"),
    ] {
        let disk = s.with_inode(ino, |b| {
            b[at] ^= bit;
            if text == "impossible length" {
                put64(b, at, 5000);
            }
        });
        s.expect(&disk, text);
    }
    let zero = s.with_inode(file, |b| put64(b, 88, 0));
    s.expect(&zero, "version 0");
    let cut = s.with_inode(file, |b| put64(b, 24, 0));
    s.expect(&cut, "behind the end");
    s.expect(&s.with_inode(short, |b| b[192] = 0), "zero byte");
    // Another generation: the trees and the entries below belong to what was there before.
    s.expect(&s.with_inode(dir, |b| b[4] ^= 1), "was another one");
}

#[test]
fn damage_in_tree_nodes_is_found() {
    let s = sample(6);
    let leaf = one(&s, KIND_DATA, 0);
    let inner = one(&s, KIND_DATA, 1);
    for (at, text) in [
        (0, "not a tree node"),
        (4, "another tree"),
        (8, "another place"),
        (16, "another tree"),
        (24, "another tree"),
        (HEADER, "wrong level"),
    ] {
        s.expect(&s.with(leaf, |b| b[at] ^= 1), text);
        s.expect(&s.with(inner, |b| b[at] ^= 1), text);
    }
    s.expect(&s.with(leaf, |b| put16(b, HEADER + 2, 0)), "an empty tree node");
    s.expect(&s.with(leaf, |b| put16(b, HEADER + 2, 300)), "contradicts itself");
    s.expect(&s.with(leaf, |b| put16(b, HEADER + 4, 9)), "contradicts itself");
    let slot = |i: usize| HEADER + PAGE_HEADER + i * SLOT;
    s.expect(
        &s.with(leaf, |b| {
            for n in 0..16 {
                b.swap(slot(0) + n, slot(1) + n);
            }
        }),
        "out of order",
    );
    s.expect(&s.with(leaf, |b| put16(b, slot(0) + 18, 1001)), "contradicts itself");
    let child = value_at(&s.body(inner), 0);
    let second = le64(&s.body(inner), value_at(&s.body(inner), 1));
    s.expect(&s.with(inner, |b| put64(b, child, 1 << 60)), "not within the volume");
    s.expect(&s.with(inner, |b| put64(b, child, second)), "belongs to something else, too");
    s.expect(&s.with(inner, |b| put64(b, child, inner)), "belongs to something else, too");
    // A separator that is too high leaves keys on the wrong side of it.
    s.expect(
        &s.with(inner, |b| {
            let key = u128::from_le_bytes(b[slot(1)..slot(1) + 16].try_into().unwrap());
            b[slot(1)..slot(1) + 16].copy_from_slice(&(key + 1).to_le_bytes());
        }),
        "outside of its node's range",
    );
}

/// A file with extents in its inode: offset of the first value in the 576 bytes.
fn first_extent(i: &Inode) -> Option<usize> {
    let node = Node::open(&i.data).ok()?;
    (i.is_reg() && node.level() == 0 && node.count() > 1).then(|| 192 + usize::from(le16(&i.data, PAGE_HEADER + 16)))
}

#[test]
fn damage_in_extents_is_found() {
    let s = sample(7);
    let inodes = s.inodes();
    let (ino, at) = inodes.iter().find_map(|i| Some((i.ino, first_extent(i)?))).unwrap();
    let (other, _) = inodes.iter().rev().find_map(|i| Some((i.ino, first_extent(i)?))).unwrap();
    assert_ne!(ino, other);
    let phys_of = |ino: u64| {
        let (bno, off) = place(ino).unwrap();
        let i = Inode::parse(&s.body(bno)[off..off + INODE_SIZE], ino).unwrap();
        let at = first_extent(&i).unwrap() - 192;
        le64(&i.data, at)
    };
    s.expect(&s.with_inode(ino, |b| put64(b, at, MIN_BLOCKS)), "impossible extent");
    s.expect(&s.with_inode(ino, |b| put64(b, at, 0)), "impossible extent");
    s.expect(&s.with_inode(ino, |b| b[at + 11] = 3), "impossible extent");
    s.expect(&s.with_inode(ino, |b| put32(b, at + 8, 0)), "impossible extent");
    s.expect(&s.with_inode(ino, |b| put64(b, at, phys_of(other))), "belongs to something else, too");
    s.expect(&s.with_inode(ino, |b| put64(b, at, s.sb.journal_start + 7)), "belongs to something else, too");
    let long = s.with_inode(ino, |b| {
        let word = le32(b, at + 8);
        put32(b, at + 8, word & 0xff00_0000 | 70);
    });
    s.expect(&long, "overlap");
}

#[test]
fn damage_in_directories_is_found() {
    let s = sample(8);
    let leaf = *s
        .nodes(KIND_DATA, 0)
        .iter()
        .find(|bno| {
            let owner = le64(&s.body(**bno), 16);
            s.inodes().iter().any(|i| i.ino == owner && i.is_dir())
        })
        .unwrap();
    let at = value_at(&s.body(leaf), 0);
    s.expect(&s.with(leaf, |b| put64(b, at, (MIN_BLOCKS - 1) << 3 | 1)), "not in use");
    s.expect(&s.with(leaf, |b| b[at + 8] ^= 2), "another type");
    s.expect(&s.with(leaf, |b| b[at + 8] = 99), "impossible directory entry");
    s.expect(&s.with(leaf, |b| b[at + 9] = b'/'), "impossible directory entry");
    s.expect(&s.with(leaf, |b| b[at + 9] = b'Q'), "in the wrong place");
    s.expect(&s.with(leaf, |b| b[at + 9] = b'Q'), "is wrong");
    s.expect(&s.with(leaf, |b| put64(b, at, s.sb.root_ino)), "can have no name");
    s.expect(&s.with(leaf, |b| put64(b, at, s.sb.system_ino)), "can have no name");
    let other = le64(&s.body(leaf), value_at(&s.body(leaf), 1));
    s.expect(&s.with(leaf, |b| put64(b, at, other)), "parent pointer");
}

#[test]
fn damage_in_attributes_is_found() {
    let s = sample(9);
    let mut seen = [false; 3];
    for leaf in s.nodes(KIND_ATTR, 0) {
        let body = s.body(leaf);
        let count = usize::from(le16(&body, HEADER + 2));
        for i in 0..count {
            let slot = HEADER + PAGE_HEADER + i * SLOT;
            let at = value_at(&body, i);
            let kind = body[slot + 15];
            match kind {
                1 => {
                    s.expect(&s.with(leaf, |b| b[at] ^= 1), "was another one");
                    s.expect(&s.with(leaf, |b| b[at + 4] = b'Q'), "another entry in place");
                }
                2 => {
                    s.expect(&s.with(leaf, |b| b[at + 6] ^= 1), "in the wrong place");
                    s.expect(&s.with(leaf, |b| b[at] = 9), "unknown prefix");
                    s.expect(&s.with(leaf, |b| b[at + 1] = 0), "impossible extended attribute");
                }
                3 => {
                    // Whatever it is taken for, its value is incomplete now.
                    let disk = s.with(leaf, |b| b[slot + 15] = 77);
                    assert!(!s.problems(&disk).is_empty());
                    s.expect(&s.with(leaf, |b| b[slot] ^= 0x80), "");
                }
                _ => continue,
            }
            seen[usize::from(kind) - 1] = true;
        }
        if seen == [true; 3] {
            return;
        }
    }
    panic!("not all kinds of records were there: {seen:?}");
}

#[test]
fn directories_in_a_loop_are_found() {
    let s = sample(10);
    let mut work = Work::new(s.open(), 1);
    work.make_loop();
    volume::close(&work.fs).unwrap();
    let (_, problems) = check_store(&work.fs.store, &work.fs.sb);
    assert_eq!(problems.iter().filter(|p| p.contains("loop of directories")).count(), 1, "{problems:#?}");
    assert_eq!(problems.len(), 1, "{problems:#?}");
}

#[test]
fn counts_and_bitmaps_are_put_right() {
    let s = sample(11);
    let g: Geometry = s.sb.geometry;
    let inodes = s.inodes();
    let file = inodes.iter().find(|i| i.is_reg() && i.blocks > 0).unwrap().ino;
    let dir = inodes.iter().find(|i| i.is_dir() && i.entries > 0).unwrap().ino;
    let disk = s.disk.clone();
    let seed = s.sb.csum_seed;
    let fields = |ino: u64, at: usize| {
        let (bno, off) = place(ino).unwrap();
        edit(&disk, seed, bno, |b| b[off + at] ^= 3);
    };
    fields(file, 32);
    fields(file, 16);
    fields(dir, 24);
    fields(dir, 120);
    edit(&disk, seed, g.header(0), |b| b[16..64].fill(9));
    edit(&disk, seed, g.header(2), |b| b[16] ^= 1);
    edit(&disk, seed, g.summary(0, 0).0, |b| b[g.summary(0, 0).1] ^= 0x55);
    edit(&disk, seed, g.bitmap(0, 0), |b| b[24 + 100..24 + 200].fill(0x5a));
    edit(&disk, seed, g.group_start(3), |b| b.fill(0));
    disk.write(g.bitmap(1, 0), &[7; BLOCK_SIZE]).unwrap();
    // As fsck does: such a volume cannot be mounted.
    let journal = Replay::open(&disk, volume::region(&s.sb).unwrap()).unwrap().apply(&disk, false).unwrap();
    let store = FileStore::new(&disk, seed, Log::new(journal).unwrap());
    let (outcome, problems) = check_store(&store, &s.sb);
    assert!(outcome.problems >= 9 && outcome.damage == 0, "{problems:#?}");
    repair(&store, &s.sb, &outcome.fixes).unwrap();
    let (outcome, problems) = check_store(&store, &s.sb);
    assert!(outcome.damage == 0, "{problems:#?}");
    // Counts of groups follow from summaries that were put right in the same run.
    repair(&store, &s.sb, &outcome.fixes).unwrap();
    assert_clean(&store, &s.sb, "after the repair");
    store.close().unwrap();
    assert_eq!(describe(&volume::open(&disk).unwrap()), s.state);
}

#[test]
fn no_mutation_makes_it_fall() {
    kernel::print::set_level(0);
    let cases = std::env::var("VEXFS_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let seed = std::env::var("VEXFS_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let s = sample(12);
    let used: Vec<u64> = (1..MIN_BLOCKS).filter(|bno| s.in_use(*bno) && s.body(*bno).iter().any(|b| *b != 0)).collect();
    let journal = volume::region(&s.sb).unwrap();
    let used: Vec<u64> = used.into_iter().filter(|bno| !journal.contains(*bno)).collect();
    let mut random = Random::new(seed);
    for case in 0..cases {
        let disk = s.disk.clone();
        for _ in 0..1 + random.below(4) {
            let bno = used[random.below(used.len() as u64) as usize];
            edit(&disk, s.sb.csum_seed, bno, |body| {
                let at = random.below(body.len() as u64 - 8) as usize;
                match random.below(4) {
                    0 => body[at] ^= 1 << random.below(8),
                    1 => body[at] = [0, 1, 0xff][random.below(3) as usize],
                    2 => put64(body, at & !7, random.next()),
                    _ => put16(body, at & !1, random.below(65_536) as u16),
                }
            });
        }
        // What is wrong may be a time or an owner: that nothing is found is allowed here, a panic or a hang is not.
        let problems = s.problems(&disk);
        assert!(problems.len() <= 10_000, "seed {seed}, case {case}");
    }
}
