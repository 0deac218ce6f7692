// SPDX-License-Identifier: GPL-2.0
//! Which blocks are metadata: those that a check reads, and those that a repair would look at.

use std::cell::RefCell;
use std::collections::btree_map::{BTreeMap, Entry};
use vexfs::libvexfs::check::{self, Problem, Reporter};
use vexfs::libvexfs::journal::host::replay::Overlay;
use vexfs::libvexfs::journal::host::{Disk, Replay};
use vexfs::libvexfs::journal::BLOCK_SIZE;
use vexfs::volume;

/// Bits in a piece of a [`Set`].
const PIECE: u64 = 32_768;

/// Numbers of blocks. Metadata lies in clusters, so bits in pieces take little.
#[derive(Default)]
pub struct Set(BTreeMap<u64, Box<[u8; PIECE as usize / 8]>>);

impl Set {
    /// Adds a number.
    pub fn insert(&mut self, n: u64) {
        let piece = self.0.entry(n / PIECE);
        let bits = piece.or_insert_with(|| Box::new([0; PIECE as usize / 8]));
        bits[(n % PIECE / 8) as usize] |= 1 << (n % 8);
    }

    /// Adds all numbers of another.
    fn merge(&mut self, other: Set) {
        for (piece, bits) in other.0 {
            match self.0.entry(piece) {
                Entry::Vacant(mine) => {
                    mine.insert(bits);
                }
                Entry::Occupied(mut mine) => {
                    for (a, b) in mine.get_mut().iter_mut().zip(bits.iter()) {
                        *a |= b;
                    }
                }
            }
        }
    }

    /// All numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flat_map(|(piece, bits)| {
            let set = (0..PIECE).filter(|n| bits[(n / 8) as usize] >> (n % 8) & 1 == 1);
            set.map(move |n| piece * PIECE + n)
        })
    }
}

/// A disk that remembers what was read of it.
struct Watched<'a, D> {
    disk: &'a D,
    seen: RefCell<Set>,
}

impl<D: Disk> Disk for Watched<'_, D> {
    fn read(&self, bno: u64, buf: &mut [u8]) -> kernel::error::Result<()> {
        let mut seen = self.seen.borrow_mut();
        for n in 0..(buf.len() / BLOCK_SIZE) as u64 {
            seen.insert(bno.saturating_add(n));
        }
        self.disk.read(bno, buf)
    }

    fn write(&self, _: u64, _: &[u8]) -> kernel::error::Result<()> {
        Err(kernel::error::code::EROFS)
    }

    fn flush(&self) -> kernel::error::Result<()> {
        Ok(())
    }

    fn block_count(&self) -> u64 {
        self.disk.block_count()
    }
}

/// Nobody wants to know what is wrong: it is the dump that tells.
struct Nobody;

impl Reporter for Nobody {
    fn problem(&mut self, _: &Problem) {}
}

/// What there is to dump.
pub struct Found {
    /// Blocks that a check reads, in place and in the journal; and those that are taken and that nothing leads to: a
    /// repair looks for metadata among them.
    pub wanted: Set,
    /// What the check found.
    pub problems: u64,
}

/// Checks a volume as `fsck -n` does, and notes what that reads. None: there is no superblock.
pub fn collect<D: Disk>(disk: &D) -> anyhow::Result<Option<Found>> {
    let watched = Watched {
        disk,
        seen: RefCell::default(),
    };
    let Some(best) = volume::best_superblock(&watched) else {
        return Ok(None);
    };
    let mut found = Found {
        wanted: Set::default(),
        problems: 0,
    };
    // With a damaged superblock or journal fsck -n goes no further, but with a repaired one it would.
    let region = volume::region(&best.sb)?;
    let replay = Replay::open(&watched, region);
    match replay {
        Ok(replay) => check_all(Overlay::new(&watched, replay), &best.sb, &mut found)?,
        Err(_) => check_all(&watched, &best.sb, &mut found)?,
    }
    found.wanted.merge(watched.seen.into_inner());
    Ok(Some(found))
}

fn check_all<D: Disk>(
    disk: D,
    sb: &vexfs::libvexfs::Superblock,
    found: &mut Found,
) -> anyhow::Result<()> {
    let newest = volume::superblock(&disk).unwrap_or_else(|_| sb.clone());
    let store = vexfs::file_store::FileStore::read_only(disk, newest.csum_seed);
    let options = check::Options {
        memory: u64::MAX,
        max_problems: u64::MAX,
        ..check::Options::default()
    };
    let outcome = check::check(&store, &newest, &mut Nobody, options)?;
    found.problems = outcome.problems;
    outcome.unclaimed(&store, &newest, &mut |bno| found.wanted.insert(bno));
    Ok(())
}
