// SPDX-License-Identifier: GPL-2.0

//! What fsck checks.
//!
//! The checker reads every structure by itself and trusts none: it shares the format of structures with the file
//! system, not its searches. It visits all groups, their inode chunks, every inode in them, every node and record of
//! every tree, and compares at the end what is in use with what the bitmaps say. Links are checked from both sides:
//! each entry must have its parent pointer and each pointer its entry, so that counts need no table of all inodes.
//!
//! Memory is bounded: bits for the blocks of some groups at a time (more passes for huge volumes), one inode, one path.

mod attr;
mod connect;
mod dir;
mod group;
mod inode;
mod repair;
mod space;
mod staging;
mod superblock;
mod tree;
mod usage;
mod vectors;

pub use repair::repair;

use crate::libvexfs::format::Superblock;
use crate::libvexfs::journal::Store;
use core::fmt;
use kernel::prelude::*;
use usage::{Bits, Conflict, Usage};

/// Something that is wrong.
#[derive(Debug)]
pub struct Problem {
    /// The inode; 0: none to name.
    pub ino: u64,
    /// The block; 0 with no inode: the superblock or none to name.
    pub bno: u64,
    /// What is wrong.
    pub what: String,
    /// How it can be put right, if that loses nothing.
    pub fix: Option<Fix>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.ino, self.bno) {
            (0, bno) => write!(f, "block {bno}: {}", self.what),
            (ino, 0) => write!(f, "inode {ino}: {}", self.what),
            (ino, bno) => write!(f, "inode {ino}, block {bno}: {}", self.what),
        }
    }
}

/// How to put something right. Each of them follows from structures that were found good.
#[derive(Debug)]
pub enum Fix {
    /// Write the superblock over a copy of it.
    Copy {
        /// Where the copy lies.
        bno: u64,
    },
    /// Write a region's bitmap and summary.
    Region {
        /// The group.
        group: u32,
        /// The region.
        region: u32,
        /// What is in use.
        bits: Box<[u8]>,
    },
    /// Write the counts in a group's header.
    Counts {
        /// The group.
        group: u32,
        /// The right ones.
        counts: Counts,
    },
    /// Write a field of an inode.
    Inode {
        /// The inode.
        ino: u64,
        /// Which field, and the right value.
        field: Field,
    },
}

/// A field of an inode that can be counted anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Blocks that belong to it.
    Blocks(u64),
    /// Links.
    Links(u32),
    /// Entries of a directory.
    Entries(u64),
    /// Bytes of a directory's entries.
    Size(u64),
}

/// The counts of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Free blocks.
    pub free_blocks: u64,
    /// Free inodes.
    pub free_inodes: u64,
    /// Directories.
    pub dirs: u64,
    /// Chunks.
    pub chunks: u64,
    /// Blocks of the chunk tree.
    pub chunk_blocks: u64,
    /// Blocks of the orphan tree.
    pub orphan_blocks: u64,
}

/// Who wants to know.
pub trait Reporter {
    /// Something is wrong.
    fn problem(&mut self, problem: &Problem);

    /// So much of the work is done.
    fn progress(&mut self, done: u64, total: u64) {
        let _ = (done, total);
    }

    /// Whether to stop.
    fn interrupted(&self) -> bool {
        false
    }
}

/// How to check.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes that the table of blocks in use may take.
    pub memory: u64,
    /// How many problems are enough: one lost block of pointers can make millions.
    pub max_problems: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            memory: 512 << 20,
            max_problems: 10_000,
        }
    }
}

/// What came out.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Problems found.
    pub problems: u64,
    /// Those of them that cannot be put right without loss.
    pub damage: u64,
    /// How to put the others right.
    pub fixes: Vec<Fix>,
    /// Too many problems, or interrupted: there may be more.
    pub incomplete: bool,
    /// Orphans, which the next mount (or fsck, when it writes) will free.
    pub orphans: u64,
    /// Inodes by type and blocks.
    pub totals: Totals,
}

/// What there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Symbolic links.
    pub links: u64,
    /// Device nodes, pipes, sockets.
    pub others: u64,
    /// Inodes that nobody sees.
    pub internal: u64,
    /// Free blocks.
    pub free_blocks: u64,
}

/// Checks everything.
///
/// # Errors
///
/// `ENOMEM`. Whatever is wrong with the volume, failed reads included, is a problem and goes to `reporter`.
pub fn check<S: Store>(
    store: &S,
    sb: &Superblock,
    reporter: &mut dyn Reporter,
    options: Options,
) -> Result<Outcome> {
    let group_count = sb.geometry.group_count;
    let mut checker = Checker {
        store,
        sb,
        reporter,
        max_problems: options.max_problems,
        outcome: Outcome::default(),
        usage: Usage::new(sb.geometry, 0, options.memory),
        first_pass: true,
        stopped: false,
        work: (0, 0),
    };
    checker.superblock();
    let mut first = 0;
    while first < group_count && !checker.stopped {
        checker.usage = Usage::new(sb.geometry, first, options.memory);
        // To visit all groups, and to compare those that are left; more passes show later.
        checker.work.1 = checker.work.0 + u64::from(group_count) + u64::from(group_count - first);
        checker.all_groups()?;
        checker.compare_space();
        first = checker.usage.groups().end;
        checker.first_pass = false;
    }
    if !checker.stopped {
        checker.connectivity()?;
    }
    let mut outcome = checker.outcome;
    outcome.incomplete = checker.stopped;
    Ok(outcome)
}

/// A check under way.
struct Checker<'a, S> {
    store: &'a S,
    sb: &'a Superblock,
    reporter: &'a mut dyn Reporter,
    max_problems: u64,
    outcome: Outcome,
    usage: Usage,
    /// Later passes only look for blocks in use: everything else was said in the first.
    first_pass: bool,
    stopped: bool,
    work: (u64, u64),
}

impl<'a, S: Store> Checker<'a, S> {
    fn report(&mut self, problem: Problem) {
        if self.stopped {
            return;
        }
        self.reporter.problem(&problem);
        self.outcome.problems += 1;
        match problem.fix {
            Some(fix) => self.outcome.fixes.push(fix),
            None => self.outcome.damage += 1,
        }
        self.stopped = self.outcome.problems >= self.max_problems;
    }

    /// Reports what cannot be put right. In later passes it was said before.
    fn bad(&mut self, ino: u64, bno: u64, what: impl Into<String>) {
        if self.first_pass {
            self.report(Problem {
                ino,
                bno,
                what: what.into(),
                fix: None,
            });
        }
    }

    /// Reports what can be put right.
    fn wrong(&mut self, ino: u64, bno: u64, what: impl Into<String>, fix: Fix) {
        if self.first_pass {
            self.report(Problem {
                ino,
                bno,
                what: what.into(),
                fix: Some(fix),
            });
        }
    }

    /// Claims blocks for somebody. Says false if they are not all there to be had.
    fn claim(&mut self, ino: u64, bno: u64, len: u64, what: &str) -> bool {
        match self.usage.claim(bno, len) {
            Ok(()) => true,
            Err(Conflict::Outside) => {
                self.bad(
                    ino,
                    bno,
                    format!("{what}: {len} blocks are not within the volume"),
                );
                false
            }
            Err(Conflict::Twice(at)) => {
                // The other owner may belong to an earlier pass of its own: say it in whichever pass sees it.
                let what = format!("{what}: the block belongs to something else, too");
                self.report(Problem {
                    ino,
                    bno: at,
                    what,
                    fix: None,
                });
                false
            }
        }
    }

    fn step(&mut self) {
        self.work.0 += 1;
        self.reporter.progress(self.work.0, self.work.1);
        self.stopped |= self.reporter.interrupted();
    }
}

/// Counts the bits that are clear among the first `len`.
fn clear_bits(bits: &Bits, len: u64) -> u64 {
    let whole = (len / 8) as usize;
    let set: u64 = bits[..whole]
        .iter()
        .map(|b| u64::from(b.count_ones()))
        .sum();
    let rest = bits
        .get(whole)
        .map_or(0, |b| (b & ((1 << (len % 8)) - 1)).count_ones());
    len - set - u64::from(rest)
}
