// SPDX-License-Identifier: GPL-2.0

//! A volume with some of everything in it, and how to damage it.

use crate::check_store;
use crate::workload::{describe, DiskFs, Work};
use vexfs::disk::MemoryDisk;
use vexfs::file_store::{seal_in_place, FileStore};
use vexfs::libvexfs::format::inode::{place, INODE_SIZE};
use vexfs::libvexfs::format::{le32, le64, Inode, Superblock};
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::{BLOCK_SIZE, SEAL_SIZE};
use vexfs::libvexfs::mkfs::{layout, test_options, MIN_BLOCKS};
use vexfs::libvexfs::tree::node::{HEADER, MAGIC as NODE_MAGIC};
use vexfs::volume;

/// A volume with some of everything, unmounted.
pub struct Sample {
    pub disk: MemoryDisk,
    pub sb: Superblock,
    /// All that is seen in it.
    pub state: String,
}

pub fn sample(seed: u64) -> Sample {
    crowded_sample(seed, 0)
}

/// A sample with so many empty files besides, in the root directory.
pub fn crowded_sample(seed: u64, files: usize) -> Sample {
    let options = test_options();
    let disk = MemoryDisk::new(MIN_BLOCKS);
    volume::format(&disk, &layout(MIN_BLOCKS, &options).unwrap(), &options).unwrap();
    let mut work = Work::new(volume::open(&disk).unwrap(), seed);
    for _ in 0..900 {
        work.step();
    }
    work.fill();
    work.crowd(files);
    let state = describe(&work.fs);
    volume::close(&work.fs).unwrap();
    let sb = volume::superblock(&disk).unwrap();
    drop(work);
    Sample { disk, sb, state }
}

impl Sample {
    pub fn body(&self, bno: u64) -> Vec<u8> {
        let mut block = [0; BLOCK_SIZE];
        self.disk.read(bno, &mut block).unwrap();
        block[SEAL_SIZE..].to_vec()
    }

    /// A copy of the disk with one block changed behind the file system's back.
    pub fn with(&self, bno: u64, change: impl FnOnce(&mut [u8])) -> MemoryDisk {
        let disk = self.disk.clone();
        edit(&disk, self.sb.csum_seed, bno, change);
        disk
    }

    /// The same for an inode.
    pub fn with_inode(&self, ino: u64, change: impl FnOnce(&mut [u8])) -> MemoryDisk {
        let (bno, at) = place(ino).unwrap();
        self.with(bno, |body| change(&mut body[at..at + INODE_SIZE]))
    }

    /// The nodes of trees of one kind and level.
    pub fn nodes(&self, kind: u32, level: u8) -> Vec<u64> {
        let journal = volume::region(&self.sb).unwrap();
        (1..MIN_BLOCKS)
            .filter(|bno| !journal.contains(*bno))
            .filter(|bno| {
                let body = self.body(*bno);
                le32(&body, 0) == NODE_MAGIC
                    && le32(&body, 4) == kind
                    && le64(&body, 8) == *bno
                    && body[HEADER] == level
            })
            // Freed nodes lie around.
            .filter(|bno| self.in_use(*bno))
            .collect()
    }

    pub fn in_use(&self, bno: u64) -> bool {
        let g = self.sb.geometry;
        let group = g.group_of(bno).unwrap();
        let (region, bit) = g.region_of(group, bno);
        let body = self.body(g.bitmap(group, region));
        body[24 + bit as usize / 8] >> (bit % 8) & 1 == 1
    }

    /// All inodes that are seen, read from disk.
    pub fn inodes(&self) -> Vec<Inode> {
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

    pub fn open(&self) -> DiskFs<MemoryDisk> {
        volume::open(self.disk.clone()).unwrap()
    }

    /// What fsck says of a changed disk.
    pub fn problems(&self, disk: &MemoryDisk) -> Vec<String> {
        check_store(&FileStore::read_only(disk, self.sb.csum_seed), &self.sb).1
    }

    #[track_caller]
    pub fn expect(&self, disk: &MemoryDisk, text: &str) {
        let problems = self.problems(disk);
        assert!(
            problems.iter().any(|p| p.contains(text)),
            "'{text}' is not among {problems:#?}"
        );
    }
}

pub fn edit(disk: &MemoryDisk, seed: u32, bno: u64, change: impl FnOnce(&mut [u8])) {
    let mut block = [0; BLOCK_SIZE];
    disk.read(bno, &mut block).unwrap();
    change(&mut block[SEAL_SIZE..]);
    seal_in_place(seed, bno, &mut block);
    disk.write(bno, &block).unwrap();
}
