// SPDX-License-Identifier: GPL-2.0

//! Power cuts in the middle of work: what is found afterwards is one of the committed states, and in order.

use crate::assert_clean;
use crate::workload::{describe, Work};
use vexfs::crash::{Random, Recorder};
use vexfs::disk::MemoryDisk;
use vexfs::libvexfs::journal::Store;
use vexfs::libvexfs::mkfs::{layout, test_options, Options, MIN_BLOCKS};
use vexfs::volume;

/// How many operations had been sent to the disk when a commit began and when it ended, and what was there then.
struct Commit {
    begun: usize,
    done: usize,
    state: String,
}

/// Works for `steps` operations and keeps what each commit made durable.
fn work(recorder: &Recorder, seed: u64, steps: usize) -> Vec<Commit> {
    let fs = volume::open(recorder).unwrap();
    let mut random = Random::new(!seed);
    let state = describe(&fs);
    let mut commits = vec![Commit {
        begun: 0,
        done: 0,
        state,
    }];
    let mut work = Work::new(fs, seed);
    for _ in 0..steps {
        let (before, begun) = (work.fs.store.committed(), recorder.len());
        // A transaction that is full commits by itself at the beginning of an operation, with the state before that; an
        // operation of several transactions can do so in between, where nobody knows the state: those take a commit first.
        if work.fs.store.room() < 200 {
            let state = work.describe();
            work.fs.store.commit().unwrap();
            commits.push(Commit {
                begun,
                done: recorder.len(),
                state,
            });
        }
        work.step();
        if work.fs.store.committed() == before && random.below(12) == 0 {
            let (begun, state) = (recorder.len(), work.describe());
            work.fs.store.commit().unwrap();
            commits.push(Commit {
                begun,
                done: recorder.len(),
                state,
            });
        }
    }
    let (begun, state) = (recorder.len(), work.describe());
    volume::close(&work.fs).unwrap();
    commits.push(Commit {
        begun,
        done: recorder.len(),
        state,
    });
    commits
}

fn sweep(seed: u64, steps: usize, cuts: usize) {
    let options = Options {
        journal_blocks: Some(1024),
        ..test_options()
    };
    let disk = MemoryDisk::new(MIN_BLOCKS);
    volume::format(&disk, &layout(MIN_BLOCKS, &options).unwrap(), &options).unwrap();
    let recorder = Recorder::new(disk);
    let commits = work(&recorder, seed, steps);
    let mut random = Random::new(seed);
    for _ in 0..cuts {
        let at = random.below(recorder.len() as u64 + 1) as usize;
        let when = format!("seed {seed}, cut at {at} of {}", recorder.len());
        let disk = recorder.cut(at, &mut random);
        let durable = commits.iter().rposition(|c| c.done <= at).unwrap();
        let begun = commits.iter().rposition(|c| c.begun <= at).unwrap();
        let fs = volume::open(&disk).unwrap_or_else(|e| panic!("{when}: {e}"));
        assert_clean(&fs.store, &fs.sb, &when);
        let found = describe(&fs);
        let state = (durable..=begun).find(|n| commits[*n].state == found);
        assert!(
            state.is_some(),
            "{when}: neither of commits {durable} to {begun}:\n{found}\nbut\n{}",
            commits[durable].state
        );
        volume::finish_orphans(&fs).unwrap();
        assert_eq!(assert_clean(&fs.store, &fs.sb, &when).orphans, 0, "{when}");
        assert_eq!(describe(&fs), found, "{when}");
        volume::close(&fs).unwrap();
    }
}

#[test]
fn every_power_cut_leaves_a_committed_state_in_order() {
    let seeds = std::env::var("VEXFS_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(6);
    let first = std::env::var("VEXFS_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    for seed in first..first + seeds {
        sweep(seed, 400, 25);
    }
}
