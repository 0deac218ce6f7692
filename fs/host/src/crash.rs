// SPDX-License-Identifier: GPL-2.0

//! Power cuts for tests: a disk that records what is written to it, and the disks that a cut could leave.
//!
//! The model is a drive with a volatile cache. A flush makes what was written before it durable. Of the writes since
//! the last flush any subset may have arrived, and each of them torn at any 512-byte sector. Subsets cover every order
//! too: where two writes go to the same block, either one's sectors may be the ones that stay.

use crate::disk::MemoryDisk;
use crate::libvexfs::journal::host::Disk;
use crate::libvexfs::journal::BLOCK_SIZE;
use kernel::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a drive writes whole or not at all.
pub const SECTOR: usize = 512;

/// One recorded operation.
#[derive(Clone)]
enum Op {
    Write(u64, Arc<[u8; BLOCK_SIZE]>),
    Flush,
}

/// A small, seedable generator (SplitMix64): cuts can be repeated from the seed that a failing test prints.
pub struct Random(u64);

impl Random {
    /// Starts with `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.number() % n.max(1)
    }
}

/// A disk in memory that remembers every write and flush since it was made.
pub struct Recorder {
    base: MemoryDisk,
    now: MemoryDisk,
    ops: Mutex<Vec<Op>>,
}

impl Recorder {
    /// Starts from what `disk` holds, all of it durable.
    pub fn new(disk: MemoryDisk) -> Recorder {
        Recorder {
            base: disk.clone(),
            now: disk,
            ops: Mutex::new(Vec::new()),
        }
    }

    fn ops(&self) -> MutexGuard<'_, Vec<Op>> {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations were recorded: cuts are possible at 0 up to this number.
    pub fn len(&self) -> usize {
        self.ops().len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The disk after a power cut when the first `cut` operations had been submitted.
    pub fn cut(&self, cut: usize, random: &mut Random) -> MemoryDisk {
        let mut cuts = self.cuts();
        while cuts.at() < cut && cuts.advance() {}
        cuts.scrambled(random)
    }

    /// All cuts of what was recorded up to now, one after the other.
    pub fn cuts(&self) -> Cuts {
        Cuts {
            ops: self.ops().clone(),
            at: 0,
            flushed: 0,
            durable: self.base.clone(),
        }
    }
}

/// A power cut that moves through a recording.
pub struct Cuts {
    ops: Vec<Op>,
    at: usize,
    flushed: usize,
    durable: MemoryDisk,
}

impl Cuts {
    /// How many operations had been submitted.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How many of them the last flush made durable; that flush is the last one of these.
    pub fn flushed(&self) -> usize {
        self.flushed
    }

    /// One operation later. False: there are no more.
    pub fn advance(&mut self) -> bool {
        let Some(op) = self.ops.get(self.at) else {
            return false;
        };
        self.at += 1;
        if let Op::Flush = op {
            apply(&self.durable, &self.ops[self.flushed..self.at]);
            self.flushed = self.at;
        }
        true
    }

    /// The disk when everything that was submitted had arrived.
    pub fn in_order(&self) -> MemoryDisk {
        let disk = self.durable.clone();
        apply(&disk, &self.ops[self.flushed..self.at]);
        disk
    }

    /// The disk when some of what was submitted since the last flush had arrived, some of that torn.
    pub fn scrambled(&self, random: &mut Random) -> MemoryDisk {
        let disk = self.durable.clone();
        // How much of the cache had been written out by itself: nothing, all, or any share in between.
        let share = random.below(5);
        for op in &self.ops[self.flushed..self.at] {
            if let Op::Write(bno, data) = op {
                match random.below(8) {
                    0 => tear(&disk, *bno, data, random),
                    _ if random.below(4) < share => disk.put(*bno, data.clone()),
                    _ => {}
                }
            }
        }
        disk
    }
}

fn apply(disk: &MemoryDisk, ops: &[Op]) {
    for op in ops {
        if let Op::Write(bno, data) = op {
            disk.put(*bno, data.clone());
        }
    }
}

/// Writes some of a block's sectors.
fn tear(disk: &MemoryDisk, bno: u64, data: &[u8; BLOCK_SIZE], random: &mut Random) {
    let mut block = [0; BLOCK_SIZE];
    disk.read(bno, &mut block).expect("it was written before");
    for (old, new) in block
        .chunks_exact_mut(SECTOR)
        .zip(data.chunks_exact(SECTOR))
    {
        if random.below(2) == 0 {
            old.copy_from_slice(new);
        }
    }
    disk.write(bno, &block).expect("it was written before");
}

impl Disk for Recorder {
    fn read(&self, bno: u64, buf: &mut [u8]) -> Result<()> {
        self.now.read(bno, buf)
    }

    fn write(&self, bno: u64, buf: &[u8]) -> Result<()> {
        self.now.write(bno, buf)?;
        let mut ops = self.ops();
        for (n, block) in buf.chunks_exact(BLOCK_SIZE).enumerate() {
            let mut copy = [0; BLOCK_SIZE];
            copy.copy_from_slice(block);
            ops.push(Op::Write(bno + n as u64, Arc::new(copy)));
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.ops().push(Op::Flush);
        Ok(())
    }

    fn block_count(&self) -> u64 {
        self.now.block_count()
    }
}

/// A number from the environment: how long a test runs, or where it begins.
///
/// # Panics
///
/// If it is none.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => default,
    }
}
