// SPDX-License-Identifier: GPL-2.0

//! Repairs that end in the middle, by a kill or a power cut: the next one ends clean, and what the damage did not hit
//! is as it was.
//!
//! `VEXFS_CASES` says how many kinds of damage, `VEXFS_SEED` with which seed to begin.

use crate::check_store;
use crate::mend::{contents, damage, every_case, hits, mend, open_store};
use crate::sample::Sample;
use std::collections::{BTreeMap, BTreeSet};
use vexfs::crash::{Random, Recorder};
use vexfs::disk::MemoryDisk;
use vexfs::file_store::FileStore;
use vexfs::volume;

/// Ends in the middle of each repair.
const CUTS: u64 = 6;

/// Repairs what is on a disk as `fsck -y` does, to its end.
fn repair(disk: &Recorder) {
    let best = volume::best_superblock(disk).expect("a superblock is there, or a copy");
    if best.from != 0 {
        volume::write_superblock(disk, &best.sb).unwrap();
    }
    let store = open_store(disk, &best.sb);
    mend(&store, &best.sb);
    store.close().unwrap();
    let fs = volume::open(disk).unwrap();
    volume::finish_orphans(&fs).unwrap();
    volume::close(&fs).unwrap();
}

/// Repairs, cut off some times in a row, then to the end.
fn one_case(
    s: &Sample,
    used: &[u64],
    before: &BTreeMap<u64, String>,
    case: u64,
) -> Result<(), String> {
    let mut random = Random::new(case);
    let damaged = s.disk.clone();
    let touched: BTreeSet<u64> = damage(s, used, &damaged, &mut random, hits());
    let whole = Recorder::new(damaged);
    repair(&whole);
    for _ in 0..CUTS {
        let at = random.below(whole.len() as u64 + 1) as usize;
        let first = cut(&whole, at, &mut random);
        // The next one does not get to its end either.
        let again = Recorder::new(first);
        repair(&again);
        let at_again = random.below(again.len() as u64 + 1) as usize;
        let second = cut(&again, at_again, &mut random);
        let last = Recorder::new(second.clone());
        repair(&last);
        let disk = last.cut(last.len(), &mut random);
        verify(&disk, before, &touched)
            .map_err(|why| format!("cut at {at} of {}, {at_again}: {why}", whole.len()))?;
    }
    Ok(())
}

/// The disk after a kill (what was written is there) or a power cut (what was flushed is).
fn cut(recorder: &Recorder, at: usize, random: &mut Random) -> MemoryDisk {
    if random.below(2) == 0 {
        return recorder.cut(at, random);
    }
    let mut cuts = recorder.cuts();
    while cuts.at() < at && cuts.advance() {}
    cuts.in_order()
}

fn verify(
    disk: &MemoryDisk,
    before: &BTreeMap<u64, String>,
    touched: &BTreeSet<u64>,
) -> Result<(), String> {
    let sb = volume::superblock(disk).map_err(|e| format!("superblock: {e:?}"))?;
    let (_, left) = check_store(&FileStore::read_only(disk, sb.csum_seed), &sb);
    if !left.is_empty() {
        return Err(format!("left {left:#?}"));
    }
    let fs = volume::open(disk).map_err(|e| format!("{e:?}"))?;
    let after = contents(&fs, disk);
    for (ino, content) in before {
        if !touched.contains(ino) && after.get(ino) != Some(content) {
            return Err(format!("inode {ino}:\n{content}\n{:?}", after.get(ino)));
        }
    }
    Ok(())
}

#[test]
fn a_repair_that_was_cut_off_is_repeated() {
    every_case(12, 21, one_case);
}
