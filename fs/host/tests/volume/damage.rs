// SPDX-License-Identifier: GPL-2.0

//! Damage in every structure, with its checksum put right: fsck must find it and name it.

use crate::sample::{sample, Sample};
use crate::{assert_clean, Found};
use vexfs::libvexfs::check::{check, Options as CheckOptions};
use vexfs::libvexfs::format::inode::{place, INODE_SIZE, STATE_ORPHAN};
use vexfs::libvexfs::format::{le16, le32, le64, put16, put32, put64, Inode};
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::BLOCK_SIZE;
use vexfs::libvexfs::mkfs::MIN_BLOCKS;
use vexfs::libvexfs::tree::node::{Node, HEADER, PAGE_HEADER, SLOT};
use vexfs::libvexfs::tree::{KIND_ATTR, KIND_CHUNK, KIND_DATA};

/// The offset in a node's block of the value of entry `i`.
fn value_at(body: &[u8], i: usize) -> usize {
    HEADER + usize::from(le16(body, HEADER + PAGE_HEADER + i * SLOT + 16))
}

/// A node of a kind and level, of which the sample must have one.
#[track_caller]
fn one(s: &Sample, kind: u32, level: u8) -> u64 {
    *s.nodes(kind, level)
        .first()
        .expect("the sample has such a node")
}

#[test]
fn the_sample_is_in_order_and_rich() {
    let s = sample(1);
    let fs = s.open();
    let outcome = assert_clean(&fs.store, &fs.sb, "the sample");
    let t = outcome.totals;
    assert!(
        t.files > 50 && t.dirs > 10 && t.links > 5 && outcome.orphans > 0,
        "{t:?} {}",
        outcome.orphans
    );
    for (kind, level) in [(KIND_DATA, 0), (KIND_DATA, 1), (KIND_ATTR, 0)] {
        assert!(
            !s.nodes(kind, level).is_empty(),
            "no node of kind {kind}, level {level}"
        );
    }
    // Looking with less memory takes more passes and finds the same.
    let mut found = Found::default();
    let few = CheckOptions {
        memory: 1,
        ..CheckOptions::default()
    };
    let again = check(&fs.store, &fs.sb, &mut found, few).unwrap();
    assert_eq!(
        (found.0, again.totals, again.orphans),
        (vec![], outcome.totals, outcome.orphans)
    );
}

#[test]
fn wrong_checksums_are_found() {
    let s = sample(2);
    let g = s.sb.geometry;
    for bno in [
        g.header(1),
        g.summary(0, 0).0,
        g.bitmap(2, 0),
        one(&s, KIND_DATA, 0),
        s.sb.root_ino >> 3,
    ] {
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
    s.expect(
        &s.with(g.group_start(1), |b| b[40] ^= 1),
        "copy of the superblock",
    );
    s.expect(&s.with(header, |b| b[0] ^= 1), "not the header of group 0");
    s.expect(&s.with(header, |b| b[4] ^= 1), "not the header of group 0");
    for count in [16, 24, 32, 40, 48, 56] {
        s.expect(&s.with(header, |b| b[count] ^= 1), "counts are");
    }
    let (summary, off) = g.summary(0, 0);
    s.expect(&s.with(summary, |b| b[off] ^= 1), "free, rightly");
    s.expect(
        &s.with(summary, |b| b[off + 3] ^= 0x80),
        "the summary knows of none",
    );
    let bitmap = g.bitmap(0, 0);
    s.expect(&s.with(bitmap, |b| b[24] ^= 1), "is in use and free");
    let last = g.group_len(0) as usize - 1;
    s.expect(
        &s.with(bitmap, |b| b[24 + last / 8] ^= 0x80),
        "is not in use and not free",
    );
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
    s.expect(
        &s.with(header, |b| put64(b, at, mask | 1 << taken)),
        "its chunk says it is free",
    );
    let free = mask.trailing_zeros();
    if mask != 0 {
        s.expect(
            &s.with(header, |b| put64(b, at, mask & !(1 << free))),
            "its chunk says it is in use",
        );
    }
    s.expect(
        &s.with(header, |b| put64(b, at, mask | 1 << 60)),
        "an impossible record",
    );
    s.expect(
        &s.with(header, |b| b[64 + PAGE_HEADER] ^= 1),
        "belongs to something else, too",
    );
}

#[test]
fn damage_in_inodes_is_found() {
    let s = sample(5);
    let inodes = s.inodes();
    let file = inodes
        .iter()
        .find(|i| i.is_reg() && i.blocks > 0)
        .unwrap()
        .ino;
    let dir = inodes
        .iter()
        .find(|i| i.is_dir() && i.ino != s.sb.root_ino && i.entries > 0)
        .unwrap()
        .ino;
    let link = inodes
        .iter()
        .find(|i| i.is_link() && !i.has_inline_link())
        .unwrap()
        .ino;
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
    s.expect(
        &s.with(leaf, |b| put16(b, HEADER + 2, 0)),
        "an empty tree node",
    );
    s.expect(
        &s.with(leaf, |b| put16(b, HEADER + 2, 300)),
        "contradicts itself",
    );
    s.expect(
        &s.with(leaf, |b| put16(b, HEADER + 4, 9)),
        "contradicts itself",
    );
    let slot = |i: usize| HEADER + PAGE_HEADER + i * SLOT;
    s.expect(
        &s.with(leaf, |b| {
            for n in 0..16 {
                b.swap(slot(0) + n, slot(1) + n);
            }
        }),
        "out of order",
    );
    s.expect(
        &s.with(leaf, |b| put16(b, slot(0) + 18, 1001)),
        "contradicts itself",
    );
    let child = value_at(&s.body(inner), 0);
    let second = le64(&s.body(inner), value_at(&s.body(inner), 1));
    s.expect(
        &s.with(inner, |b| put64(b, child, 1 << 60)),
        "not within the volume",
    );
    s.expect(
        &s.with(inner, |b| put64(b, child, second)),
        "belongs to something else, too",
    );
    s.expect(&s.with(inner, |b| put64(b, child, inner)), "wrong level");
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
    (i.is_reg() && node.level() == 0 && node.count() > 1)
        .then(|| 192 + usize::from(le16(&i.data, PAGE_HEADER + 16)))
}

#[test]
fn damage_in_extents_is_found() {
    let s = sample(7);
    let inodes = s.inodes();
    let (ino, at) = inodes
        .iter()
        .find_map(|i| Some((i.ino, first_extent(i)?)))
        .unwrap();
    let (other, _) = inodes
        .iter()
        .rev()
        .find_map(|i| Some((i.ino, first_extent(i)?)))
        .unwrap();
    assert_ne!(ino, other);
    let phys_of = |ino: u64| {
        let (bno, off) = place(ino).unwrap();
        let i = Inode::parse(&s.body(bno)[off..off + INODE_SIZE], ino).unwrap();
        let at = first_extent(&i).unwrap() - 192;
        le64(&i.data, at)
    };
    s.expect(
        &s.with_inode(ino, |b| put64(b, at, MIN_BLOCKS)),
        "impossible extent",
    );
    s.expect(&s.with_inode(ino, |b| put64(b, at, 0)), "impossible extent");
    s.expect(&s.with_inode(ino, |b| b[at + 11] = 3), "impossible extent");
    s.expect(
        &s.with_inode(ino, |b| put32(b, at + 8, 0)),
        "impossible extent",
    );
    s.expect(
        &s.with_inode(ino, |b| put64(b, at, phys_of(other))),
        "belongs to something else, too",
    );
    s.expect(
        &s.with_inode(ino, |b| put64(b, at, s.sb.journal_start + 7)),
        "belongs to something else, too",
    );
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
    s.expect(
        &s.with(leaf, |b| put64(b, at, (MIN_BLOCKS - 1) << 3 | 1)),
        "not in use",
    );
    s.expect(&s.with(leaf, |b| b[at + 8] ^= 2), "another type");
    s.expect(
        &s.with(leaf, |b| b[at + 8] = 99),
        "impossible directory entry",
    );
    s.expect(
        &s.with(leaf, |b| b[at + 9] = b'/'),
        "impossible directory entry",
    );
    s.expect(&s.with(leaf, |b| b[at + 9] = b'Q'), "in the wrong place");
    s.expect(
        &s.with(leaf, |b| b[at + 9] = b'Q'),
        "has another entry in place",
    );
    s.expect(
        &s.with(leaf, |b| put64(b, at, s.sb.root_ino)),
        "can have no name",
    );
    s.expect(
        &s.with(leaf, |b| put64(b, at, s.sb.system_ino)),
        "can have no name",
    );
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
                    s.expect(
                        &s.with(leaf, |b| b[at + 4] = b'Q'),
                        "another entry in place",
                    );
                }
                2 => {
                    s.expect(&s.with(leaf, |b| b[at + 6] ^= 1), "in the wrong place");
                    s.expect(&s.with(leaf, |b| b[at] = 9), "unknown prefix");
                    s.expect(
                        &s.with(leaf, |b| b[at + 1] = 0),
                        "impossible extended attribute",
                    );
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
