// SPDX-License-Identifier: GPL-2.0

//! What fsck does beyond finding: loops, repairs, and not falling over.

use crate::mend::{mend, open_store};
use crate::sample::{edit, sample};
use crate::workload::{describe, Work};
use crate::{assert_clean, check_store};
use vexfs::crash::Random;
use vexfs::libvexfs::format::geometry::Geometry;
use vexfs::libvexfs::format::group::{GroupHeader, ROOT_LEN};
use vexfs::libvexfs::format::inode::place;
use vexfs::libvexfs::format::{put16, put64};
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::BLOCK_SIZE;
use vexfs::libvexfs::mkfs::MIN_BLOCKS;
use vexfs::libvexfs::tree::node::{Node, NodeMut};
use vexfs::volume;

#[test]
fn directories_in_a_loop_are_found() {
    let s = sample(10);
    let mut work = Work::new(s.open(), 1);
    work.make_loop();
    volume::close(&work.fs).unwrap();
    let (_, problems) = check_store(&work.fs.store, &work.fs.sb);
    assert_eq!(
        problems
            .iter()
            .filter(|p| p.contains("loop of directories"))
            .count(),
        1,
        "{problems:#?}"
    );
    assert_eq!(problems.len(), 1, "{problems:#?}");
}

#[test]
fn counts_and_bitmaps_are_put_right() {
    let s = sample(11);
    let g: Geometry = s.sb.geometry;
    let inodes = s.inodes();
    let file = inodes
        .iter()
        .find(|i| i.is_reg() && i.blocks > 0)
        .unwrap()
        .ino;
    let dir = inodes
        .iter()
        .find(|i| i.is_dir() && i.entries > 0)
        .unwrap()
        .ino;
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
    edit(&disk, seed, g.summary(0, 0).0, |b| {
        b[g.summary(0, 0).1] ^= 0x55
    });
    edit(&disk, seed, g.bitmap(0, 0), |b| {
        b[24 + 100..24 + 200].fill(0x5a)
    });
    edit(&disk, seed, g.group_start(3), |b| b.fill(0));
    disk.write(g.bitmap(1, 0), &[7; BLOCK_SIZE]).unwrap();
    // As fsck does: such a volume cannot be mounted.
    let store = open_store(&disk, &s.sb);
    let (outcome, problems) = check_store(&store, &s.sb);
    assert!(
        outcome.problems >= 9 && outcome.damage == 0,
        "{problems:#?}"
    );
    let (done, _) = mend(&store, &s.sb);
    assert!(done.changed && done.outcome.problems == 0);
    assert_clean(&store, &s.sb, "after the repair");
    store.close().unwrap();
    assert_eq!(describe(&volume::open(&disk).unwrap()), s.state);
}

#[test]
fn a_tree_of_nothing_but_impossible_orphans_becomes_empty() {
    let s = sample(13);
    let g: Geometry = s.sb.geometry;
    let disk = s.disk.clone();
    // A group without orphans: when the record is out, nothing is left to be put in.
    let empty = |group: &u32| {
        let bno = g.header(*group);
        let h = GroupHeader::parse(&s.body(bno), *group, bno).unwrap();
        Node::open(&h.orphan_root).unwrap().count() == 0
    };
    let group = (0..g.group_count).find(empty).expect("a group is empty");
    edit(&disk, s.sb.csum_seed, g.header(group), |body| {
        let at = 64 + ROOT_LEN;
        let mut root = NodeMut::open(&mut body[at..at + ROOT_LEN]).unwrap();
        let free = ((g.group_start(group) + 100) << 3) | 1;
        root.insert(0, free.into(), &[1]).unwrap();
    });
    let store = open_store(&disk, &s.sb);
    let (done, problems) = mend(&store, &s.sb);
    assert!(problems.iter().any(|p| p.contains("no inode in use")));
    assert!(done.changed && done.outcome.problems == 0, "{problems:#?}");
    assert_clean(&store, &s.sb, "after the repair");
    store.close().unwrap();
    assert_eq!(describe(&volume::open(&disk).unwrap()), s.state);
}

#[test]
fn no_mutation_makes_it_fall() {
    kernel::print::set_level(0);
    let cases = std::env::var("VEXFS_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(400);
    let seed = std::env::var("VEXFS_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let s = sample(12);
    let used: Vec<u64> = (1..MIN_BLOCKS)
        .filter(|bno| s.in_use(*bno) && s.body(*bno).iter().any(|b| *b != 0))
        .collect();
    let journal = volume::region(&s.sb).unwrap();
    let used: Vec<u64> = used
        .into_iter()
        .filter(|bno| !journal.contains(*bno))
        .collect();
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
                    2 => put64(body, at & !7, random.number()),
                    _ => put16(body, at & !1, random.below(65_536) as u16),
                }
            });
        }
        // What is wrong may be a time or an owner: that nothing is found is allowed here, a panic or a hang is not.
        let problems = s.problems(&disk);
        assert!(problems.len() <= 10_000, "seed {seed}, case {case}");
    }
}
