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
mod fix;
mod group;
mod index;
mod inode;
mod quota;
mod repair;
mod space;
mod staging;
mod superblock;
mod tree;
mod unclaimed;
mod usage;
mod vectors;

pub use fix::{Counts, Field, Fix, SuperField};
pub use group::parse_chunk;
pub use repair::{repair, Repaired};
pub use tree::{walk, Event};

use crate::libvexfs::format::Superblock;
use crate::libvexfs::journal::Store;
use crate::libvexfs::tree::KIND_DATA;
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
    /// How it can be put right. None: it cannot.
    pub fixes: Vec<Fix>,
}

impl Problem {
    /// Whether putting it right loses nothing.
    pub fn is_lossless(&self) -> bool {
        !self.fixes.is_empty() && self.fixes.iter().all(Fix::is_lossless)
    }
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
    /// Do not go on when it is not even clear which inodes there are: what would be said then only follows from that.
    pub structures_first: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            memory: 512 << 20,
            max_problems: 10_000,
            structures_first: false,
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
    /// Those of them that cannot be put right at all.
    pub hopeless: u64,
    /// How to put the others right.
    pub fixes: Vec<Fix>,
    /// Too many problems, or interrupted: there may be more.
    pub incomplete: bool,
    /// Orphans, which the next mount (or fsck, when it writes) will free.
    pub orphans: u64,
    /// Inodes by type and blocks.
    pub totals: Totals,
    /// What is in use, for a repair; complete only if there was memory for all of it.
    usage: Option<Usage>,
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
    let mut checker = Checker::new(store, sb, reporter, options);
    checker.load_chunks()?;
    checker.superblock()?;
    let mut first = 0;
    while first < group_count && !checker.stopped {
        checker.usage = Usage::new(sb.geometry, first, options.memory);
        // To visit all groups, and to compare those that are left; more passes show later.
        checker.work.1 = checker.work.0 + u64::from(group_count) + u64::from(group_count - first);
        checker.all_groups()?;
        if options.structures_first && checker.structures_damaged() {
            break;
        }
        checker.compare_space();
        checker.compare_quota();
        checker.unknown_indexes();
        first = checker.usage.groups().end;
        checker.first_pass = false;
    }
    let vain = options.structures_first && checker.structures_damaged();
    if !checker.stopped && !vain {
        checker.connectivity()?;
    }
    let mut outcome = checker.outcome;
    outcome.incomplete |= checker.stopped;
    outcome.usage = Some(checker.usage);
    Ok(outcome)
}

/// Who claims blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claimant {
    /// A group for its own metadata, the journal, inodes.
    Fixed(&'static str),
    /// A tree, for a node that was found good.
    Node(&'static str),
    /// A file, for the extent at this logical block.
    Extent(u64),
}

impl fmt::Display for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claimant::Fixed(what) | Claimant::Node(what) => f.write_str(what),
            Claimant::Extent(lblk) => write!(f, "extent at logical block {lblk}"),
        }
    }
}

/// A claim of blocks that several claim.
struct Claim {
    ino: u64,
    by: Claimant,
    bno: u64,
    len: u64,
}

/// Blocks that several claim, and who does.
#[derive(Default)]
struct Watch {
    /// Ranges, sorted and apart.
    ranges: Vec<core::ops::Range<u64>>,
    claims: Vec<Claim>,
}

/// A check under way.
struct Checker<'a, S> {
    store: &'a S,
    sb: &'a Superblock,
    reporter: &'a mut dyn Reporter,
    options: Options,
    outcome: Outcome,
    usage: Usage,
    /// All chunks of inodes, sorted: first block, mask of free inodes. 16 bytes for 56 inodes.
    chunks: Vec<(u64, u64)>,
    /// What owners have.
    quota: quota::Quota,
    /// Internal inodes.
    internal: index::Internal,
    /// For a repair: who claims what several claim.
    watch: Option<Watch>,
    /// Later passes only look for blocks in use: everything else was said in the first.
    first_pass: bool,
    stopped: bool,
    work: (u64, u64),
}

impl<'a, S: Store> Checker<'a, S> {
    fn new(
        store: &'a S,
        sb: &'a Superblock,
        reporter: &'a mut dyn Reporter,
        options: Options,
    ) -> Self {
        Checker {
            store,
            sb,
            reporter,
            options,
            outcome: Outcome::default(),
            usage: Usage::new(sb.geometry, 0, options.memory),
            chunks: Vec::new(),
            quota: quota::Quota::default(),
            internal: index::Internal::default(),
            watch: None,
            first_pass: true,
            stopped: false,
            work: (0, 0),
        }
    }

    fn report(&mut self, problem: Problem) {
        if self.stopped {
            return;
        }
        self.reporter.problem(&problem);
        self.outcome.problems += 1;
        self.outcome.damage += u64::from(!problem.is_lossless());
        self.outcome.hopeless += u64::from(problem.fixes.is_empty());
        self.outcome.fixes.extend(problem.fixes);
        if self.outcome.problems >= self.options.max_problems {
            self.outcome.incomplete = true;
            // A repair allocates among what nobody claims: it has to see all claims. So it goes on, and keeps no more.
            if self.options.structures_first {
                self.first_pass = false;
            } else {
                self.stopped = true;
            }
        }
    }

    /// Whether it is unclear which inodes there are.
    fn structures_damaged(&self) -> bool {
        let first = |fix: &Fix| fix.stage() == fix::Stage::Structures;
        self.outcome.fixes.iter().any(first)
    }

    /// Reports what cannot be put right. In later passes it was said before.
    fn bad(&mut self, ino: u64, bno: u64, what: impl Into<String>) {
        self.wrong_by(ino, bno, what, Vec::new());
    }

    /// Reports what can be put right.
    fn wrong(&mut self, ino: u64, bno: u64, what: impl Into<String>, fix: Fix) {
        self.wrong_by(ino, bno, what, vec![fix]);
    }

    /// Reports what several changes put right.
    fn wrong_by(&mut self, ino: u64, bno: u64, what: impl Into<String>, fixes: Vec<Fix>) {
        if self.first_pass {
            self.report(Problem {
                ino,
                bno,
                what: what.into(),
                fixes,
            });
        }
    }

    /// Claims blocks for somebody. Says false if they are not all there to be had.
    fn claim(&mut self, ino: u64, bno: u64, len: u64, by: Claimant) -> bool {
        if let Some(watch) = &mut self.watch {
            let end = bno.saturating_add(len);
            let at = watch.ranges.partition_point(|r| r.end <= bno);
            if watch.ranges.get(at).is_some_and(|r| r.start < end) {
                watch.claims.push(Claim { ino, by, bno, len });
            }
        }
        match self.usage.claim(bno, len) {
            Ok(()) => true,
            Err(Conflict::Outside) => {
                let what = format!("{by}: {len} blocks are not within the volume");
                let fixes = match by {
                    Claimant::Extent(lblk) => {
                        vec![Fix::drop_record(ino, KIND_DATA, lblk.into())]
                    }
                    _ => Vec::new(),
                };
                self.wrong_by(ino, bno, what, fixes);
                false
            }
            Err(Conflict::Twice(at)) => {
                // The other owner may belong to an earlier pass of its own: say it in whichever pass sees it.
                let what = format!("{by}: the block belongs to something else, too");
                self.report(Problem {
                    ino,
                    bno: at,
                    what,
                    fixes: vec![Fix::Shared { bno, len }],
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
