// SPDX-License-Identifier: GPL-2.0

//! Making file systems of all sizes.

use crate::assert_clean;
use vexfs::disk::MemoryDisk;
use vexfs::libvexfs::check::Totals;
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::BLOCK_SIZE;
use vexfs::libvexfs::mkfs::{layout, test_options, Options, MAX_BLOCKS, MIN_BLOCKS};
use vexfs::volume;

fn make(blocks: u64, options: &Options) -> MemoryDisk {
    let disk = MemoryDisk::new(blocks);
    volume::format(&disk, &layout(blocks, options).unwrap(), options).unwrap();
    disk
}

#[test]
fn volumes_of_all_sizes_are_in_order() {
    for blocks in [
        MIN_BLOCKS,
        MIN_BLOCKS + 4097,
        40_000,
        262_144,
        1 << 22,
        (1 << 28) - 77,
        MAX_BLOCKS,
    ] {
        let disk = make(blocks, &test_options());
        let fs = volume::open_read_only(&disk).unwrap();
        let outcome = assert_clean(&fs.store, &fs.sb, &format!("{blocks} blocks"));
        let free = outcome.totals.free_blocks;
        assert_eq!(
            outcome.totals,
            Totals {
                dirs: 1,
                internal: 2,
                free_blocks: free,
                ..Totals::default()
            }
        );
        assert_eq!(fs.free_blocks(), free);
        assert!(free > blocks * 8 / 10, "{blocks}: {free}");
        assert!(disk.used() < 30_000, "{blocks}: {}", disk.used());
    }
}

#[test]
fn group_and_journal_sizes_are_as_asked() {
    for (group, journal) in [(4096, 1024), (1 << 14, 5000), (1 << 15, 1024)] {
        let options = Options {
            group_blocks: Some(group),
            journal_blocks: Some(journal),
            ..test_options()
        };
        let fs = volume::open(make(1 << 16, &options)).unwrap();
        assert_eq!(
            (fs.sb.geometry.group_blocks, fs.sb.journal_len),
            (group, journal)
        );
        assert_clean(&fs.store, &fs.sb, "made as asked");
    }
}

#[test]
fn the_same_options_make_the_same_bytes() {
    let (a, b) = (
        make(MIN_BLOCKS, &test_options()),
        make(MIN_BLOCKS, &test_options()),
    );
    let (mut x, mut y) = ([0; BLOCK_SIZE], [0; BLOCK_SIZE]);
    for bno in 0..MIN_BLOCKS {
        a.read(bno, &mut x).unwrap();
        b.read(bno, &mut y).unwrap();
        // Log blocks carry the time of their commit.
        let in_journal = volume::region(&volume::superblock(&a).unwrap())
            .unwrap()
            .contains(bno);
        assert!(in_journal || x == y, "block {bno}");
    }
}

#[test]
fn what_was_there_before_does_not_shine_through() {
    let disk = MemoryDisk::new(MIN_BLOCKS);
    for bno in 0..MIN_BLOCKS {
        disk.write(bno, &[0xa5; BLOCK_SIZE]).unwrap();
    }
    let options = test_options();
    volume::format(&disk, &layout(MIN_BLOCKS, &options).unwrap(), &options).unwrap();
    let fs = volume::open(&disk).unwrap();
    assert_clean(&fs.store, &fs.sb, "over rubbish");
}

#[test]
fn a_copy_of_the_superblock_is_found() {
    let disk = make(1 << 20, &test_options());
    let sb = volume::superblock(&disk).unwrap();
    disk.zero(0, 1).unwrap();
    assert!(volume::superblock(&disk).is_err());
    let (bno, copy) = volume::find_copy(&disk).unwrap();
    assert_eq!((bno, &copy), (sb.geometry.group_blocks, &sb));
    volume::write_superblock(&disk, &copy).unwrap();
    let fs = volume::open(&disk).unwrap();
    assert_clean(&fs.store, &fs.sb, "with a copy");
}
