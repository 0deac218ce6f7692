// SPDX-License-Identifier: GPL-2.0

//! Allocation of inodes.

use super::*;
use crate::libvexfs::credits;
use crate::libvexfs::errno::estale;
use std::collections::BTreeMap;

fn check_masks(fs: &TestFs, used: &BTreeSet<u64>) {
    let mut found = BTreeSet::new();
    let (mut free, mut chunks) = (0, 0);
    for group in 0..fs.group_count() {
        let mut group_free = 0;
        let mut all = Vec::new();
        fs.for_chunks(group, |start, mask| {
            all.push((start, mask));
            Ok(())
        })
        .unwrap();
        for (start, mask) in all {
            chunks += 1;
            group_free += u64::from(mask.count_ones());
            for i in 0..56 {
                let ino = crate::libvexfs::inode::chunk_ino(start, i);
                let in_use = mask & (1 << i) == 0;
                assert_eq!(fs.inode_in_use(ino).unwrap(), in_use);
                if in_use {
                    found.insert(ino);
                } else {
                    assert_eq!(fs.read_inode(ino).unwrap_err(), estale());
                }
            }
        }
        fs.with_group_header(group, |h| assert_eq!(h.free_inodes, group_free))
            .unwrap();
        free += group_free;
    }
    assert_eq!(&found, used);
    assert_eq!(fs.free_inodes(), free);
    assert_eq!(fs.inode_count(), chunks * 56);
}

#[test]
fn inodes_come_and_go() {
    let fs = fresh(1 << 14);
    let before = taken(&fs);
    let root = fs.read_inode(fs.sb.root_ino).unwrap();
    let mut used: BTreeSet<u64> = [fs.sb.root_ino, fs.sb.system_ino, fs.sb.quota_ino].into();
    let base = used.clone();
    let n = if cfg!(miri) { 60 } else { 3000 };
    let mut inodes = BTreeMap::new();
    for i in 0..n {
        let inode = file(&fs);
        assert!(used.insert(inode.ino), "handed out twice");
        assert!(inode.ino >> 3 > fs.geometry().header(0));
        let read = fs.read_inode(inode.ino).unwrap();
        assert_eq!((read.generation, read.mode), (inode.generation, 0o100644));
        inodes.insert(inode.ino, inode);
        if i % 3 == 2 {
            let (_, inode) = inodes.pop_first().unwrap();
            with(&fs, credits::INODE_FREE, |t| fs.free_inode(t, &inode)).unwrap();
            used.remove(&inode.ino);
        }
        if i % 500 == 0 {
            check_masks(&fs, &used);
        }
    }
    assert!(root.is_dir());
    for inode in inodes.into_values().rev() {
        with(&fs, credits::INODE_FREE, |t| fs.free_inode(t, &inode)).unwrap();
    }
    check_masks(&fs, &base);
    // A spare chunk may be kept, until it is asked for.
    assert!(taken(&fs).len() <= before.len() + 8);
    fs.free_spare_chunks().unwrap();
    assert_eq!(taken(&fs), before);
    check_masks(&fs, &base);
    assert!(!fs.store.aborted());
}

#[test]
fn a_number_that_comes_again_has_another_generation() {
    let fs = fresh(1 << 14);
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        let inode = file(&fs);
        assert!(seen.insert((inode.ino, inode.generation)));
        with(&fs, credits::INODE_FREE, |t| fs.free_inode(t, &inode)).unwrap();
    }
    assert_eq!(
        seen.iter()
            .map(|(ino, _)| ino)
            .collect::<BTreeSet<_>>()
            .len(),
        1
    );
}

#[test]
fn a_full_disk_takes_no_inode_and_keeps_its_order() {
    let fs = fresh(1 << 14);
    while with(&fs, 3, |t| {
        fs.alloc_blocks(t, 0, 1 << 20, crate::libvexfs::Mode::Normal)
    })
    .is_ok()
    {}
    let root = fs.read_inode(fs.sb.root_ino).unwrap();
    let mut n = 0;
    loop {
        let mut t = fs.store.begin(credits::INODE_ALLOC).unwrap();
        match fs.alloc_inode(&mut t, Some(&root), 0o100644, NOW) {
            Ok(inode) => {
                fs.log_inode(&mut t, &inode).unwrap();
                t.stop().unwrap();
                n += 1;
            }
            Err(e) => {
                assert_eq!(e, ENOSPC);
                assert!(!t.dirtied());
                break;
            }
        }
    }
    assert!(n < 60, "the reserve went into {n} inodes");
    assert!(!fs.store.aborted());
    taken(&fs);
}

#[test]
fn orphan_records_are_found_again() {
    let fs = fresh(1 << 14);
    let n = if cfg!(miri) { 40 } else { 1500 };
    let inos: Vec<u64> = (0..n).map(|_| file(&fs).ino).collect();
    for (i, ino) in inos.iter().enumerate() {
        with(&fs, credits::ORPHAN, |t| {
            fs.orphan_record_set(t, *ino, i as u8)
        })
        .unwrap();
    }
    with(&fs, credits::ORPHAN, |t| {
        fs.orphan_record_set(t, inos[0], 77)
    })
    .unwrap();
    let mut found = BTreeMap::new();
    for group in 0..fs.group_count() {
        let mut from = 0;
        while let Some((ino, state)) = fs.orphan_record_next(group, from).unwrap() {
            found.insert(ino, state);
            from = ino + 1;
        }
    }
    assert_eq!(found.len(), inos.len());
    assert_eq!(found[&inos[0]], 77);
    assert_eq!(found[&inos[9]], 9);
    // What is on disk must say the same: open again.
    let fs = Fs::open(fs.store.clone(), fs.sb.clone()).unwrap();
    for ino in &inos {
        with(&fs, credits::ORPHAN, |t| fs.orphan_record_remove(t, *ino)).unwrap();
    }
    let gone = with(&fs, credits::ORPHAN, |t| {
        fs.orphan_record_remove(t, inos[0])
    });
    assert_eq!(gone, Err(ENOENT));
    for group in 0..fs.group_count() {
        assert_eq!(fs.orphan_record_next(group, 0).unwrap(), None);
    }
    assert!(!fs.store.aborted());
    taken(&fs);
}

#[test]
fn directories_of_the_root_are_spread() {
    let fs = fresh(1 << 14);
    let mut root = fs.read_inode(fs.sb.root_ino).unwrap();
    let mut groups = BTreeSet::new();
    for _ in 0..32 {
        let dir = with(&fs, credits::INODE_ALLOC + 1, |t| {
            let dir = fs.alloc_inode(t, Some(&root), 0o040755, NOW)?;
            fs.log_inode(t, &dir)?;
            Ok(dir)
        })
        .unwrap();
        root.entries += 1;
        let group = fs.geometry().group_of(dir.ino >> 3).unwrap();
        groups.insert(group);
        // Its files stay with it.
        let f = with(&fs, credits::INODE_ALLOC + 1, |t| {
            let f = fs.alloc_inode(t, Some(&dir), 0o100644, NOW)?;
            fs.log_inode(t, &f)?;
            Ok(f)
        })
        .unwrap();
        assert_eq!(fs.geometry().group_of(f.ino >> 3).unwrap(), group);
    }
    assert!(groups.len() >= 2, "all in {groups:?}");
}
