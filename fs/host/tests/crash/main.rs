// SPDX-License-Identifier: GPL-2.0

//! The crash simulator.
//!
//! Random operations run over a disk that records every write and flush. Then the power goes after each of these:
//! once with everything arrived, once with any part of what was written since the last flush, torn at 512 bytes. What
//! is left is mounted, which replays the journal, and checked, which must find nothing. Then it must be exactly the
//! state of the last commit that had returned, or of the one that was under way: names, attributes, sizes, versions,
//! copies, vectors and orphans, block for block. Data that were written in place since the last flush may be old or
//! new in each sector. Some crashes hit the replay, too, and from one of them the next life of the file system begins.
//!
//! `VEXFS_SEED` is the first seed, `VEXFS_CRASH_POINTS` how many crashes each of the two tests makes at least.

mod compare;
mod data;
mod model;
mod names;
mod sweep;
mod vectors;
mod world;

use vexfs::crash::setting;
use world::World;

/// What a seed does more of than of anything else.
#[derive(Clone, Copy)]
enum Focus {
    Names,
    Data,
    Vectors,
}

impl World<'_> {
    /// One random operation.
    fn step(&mut self, focus: Focus) {
        match (self.below(12), focus) {
            (0, _) if self.below(6) == 0 => self.checkpoint(),
            (0..=1, _) => self.fsync(),
            (2, _) => self.free(),
            (3..=4, _) | (_, Focus::Names) => self.names(),
            (5..=6, _) | (_, Focus::Data) => self.data(),
            (7, _) | (_, Focus::Vectors) => self.vectors(),
        }
    }

    fn names(&mut self) {
        // Trees should both grow and shrink.
        let many = self.state.nodes.len() > 40;
        match self.below(16) {
            0..=3 if !many => self.create(),
            0..=1 => self.tmpfile(),
            2..=4 => self.link(),
            5..=8 => self.remove(),
            9..=12 => self.rename(),
            _ => self.xattr(),
        }
    }

    fn data(&mut self) {
        match self.below(16) {
            0 => self.scatter(),
            1..=5 => self.write(),
            6..=9 => self.complete_some(),
            10..=11 => self.truncate(),
            12..=13 => self.punch(),
            _ => self.archive(),
        }
    }

    fn vectors(&mut self) {
        match self.below(10) {
            8..=9 => self.index(),
            0 => self.create_collection(),
            1..=2 => self.delete_vectors(),
            3 => self.write(),
            _ => self.put(),
        }
    }

    /// A step of what is done in the background.
    fn free(&mut self) {
        match self.below(12) {
            0 => self.grow(),
            1 => self.fs.free_spare_chunks().expect("it is memory"),
            2..=6 => self.reap(),
            _ => self.trim(),
        }
    }
}

fn seeds(full: bool) {
    let first = setting("VEXFS_SEED", 1);
    let wanted = setting("VEXFS_CRASH_POINTS", 10_000) as usize;
    let (mut points, mut seed) = (0, first);
    while points < wanted {
        let focus = [Focus::Names, Focus::Data, Focus::Vectors][(seed % 3) as usize];
        points += sweep::run(seed, full, focus);
        seed += 1;
    }
    println!("{points} crashes, seeds {first} to {}", seed - 1);
}

#[test]
fn every_crash_leaves_what_a_commit_promised() {
    seeds(false);
}

#[test]
fn every_crash_of_a_full_volume_leaves_what_a_commit_promised() {
    seeds(true);
}
