// SPDX-License-Identifier: GPL-2.0

//! Tests of this library over a store in memory.

mod delayed;
mod extents;
mod grow;
mod inodes;
mod quota;
mod space;
mod threads;

use crate::libvexfs::alloc::bitmap;
use crate::libvexfs::format::group::{SUMMARY_FREE, SUMMARY_INIT};
use crate::libvexfs::format::{le32, Time};
use crate::libvexfs::journal::{Block, Store, Trans};
use crate::libvexfs::{mkfs, Fs, Inode};
use crate::memory::{MemoryStore, MemoryTrans};
use kernel::prelude::*;
use std::collections::BTreeSet;

pub(crate) type TestFs = Fs<MemoryStore>;

pub(crate) const NOW: Time = Time {
    sec: 1_700_000_000,
    nsec: 5,
};

/// A fresh file system on `blocks` blocks.
pub(crate) fn fresh(blocks: u64) -> TestFs {
    let sb = mkfs::layout(blocks, &mkfs::test_options()).unwrap();
    let (fs, sb) = mkfs::populate(MemoryStore::new(blocks), &sb, NOW).unwrap();
    let store = fs.store.clone();
    store.commit().unwrap();
    store.most_dirtied();
    Fs::open(store, sb).unwrap()
}

/// Runs one operation in a transaction of its own.
pub(crate) fn with<R>(
    fs: &TestFs,
    credits: usize,
    f: impl FnOnce(&mut MemoryTrans) -> Result<R>,
) -> Result<R> {
    let mut t = fs.store.begin(credits)?;
    let r = f(&mut t)?;
    t.stop()?;
    Ok(r)
}

/// All blocks that are marked as taken, with all counts checked on the way.
pub(crate) fn taken(fs: &TestFs) -> BTreeSet<u64> {
    let g = fs.geometry();
    let mut all = BTreeSet::new();
    let mut free = 0;
    for group in 0..g.group_count {
        let mut group_free = 0;
        for region in 0..g.regions(group) {
            let (bno, at) = g.summary(group, region);
            let entry = le32(&fs.store.read(bno).unwrap().data(), at);
            let len = g.region_len(group, region) as u32;
            group_free += u64::from(entry & SUMMARY_FREE);
            if entry & SUMMARY_INIT == 0 {
                assert_eq!(entry, len);
                continue;
            }
            let block = fs.store.read(g.bitmap(group, region)).unwrap();
            let data = block.data();
            assert_eq!(len - bitmap::count_set(&data, 0, len), entry & SUMMARY_FREE);
            assert_eq!(bitmap::count_set(&data, len, 32_256 - len), 32_256 - len);
            for bit in 0..len {
                if bitmap::count_set(&data, bit, 1) == 1 {
                    all.insert(g.region_start(group, region) + u64::from(bit));
                }
            }
        }
        fs.with_group_header(group, |h| assert_eq!(h.free_blocks, group_free))
            .unwrap();
        free += group_free;
    }
    assert_eq!(fs.free_blocks(), free);
    all
}

/// A regular file that nobody has a name for.
pub(crate) fn file(fs: &TestFs) -> Inode {
    let root = fs.read_inode(fs.sb.root_ino).unwrap();
    with(fs, crate::libvexfs::credits::INODE_ALLOC + 1, |t| {
        let mut inode = fs.alloc_inode(t, Some(&root), 0o100644, NOW)?;
        inode.nlink = 1;
        fs.log_inode(t, &inode)?;
        Ok(inode)
    })
    .unwrap()
}
