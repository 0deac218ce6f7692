// SPDX-License-Identifier: GPL-2.0

//! Putting right what a check found.
//!
//! A check says of each problem what can be done about it. A repair does that in stages, of which each relies on what
//! those before it put right: which inodes there are, each inode by itself, names, what has none, orphans, counts. After
//! each stage everything is checked again, so that the end of a repair is a check that finds nothing.
//!
//! Every change leaves the volume no worse than before, at any moment: trees are built beside the old ones and take
//! their place in one transaction, and nothing is kept between stages but what the volume itself says. A repair that was
//! interrupted is simply repeated.
//!
//! Blocks are taken from those that nobody claims, whatever the bitmaps say; those are made anew at the end.

mod alloc;
mod collection;
mod counts;
mod edits;
mod group;
mod index;
mod leaves;
mod names;
mod roots;
mod salvage;
mod shared;
mod tree;

use super::fix::Stage;
use super::{check, Checker, Field, Fix, Options, Outcome, Problem, Reporter, SuperField};
use crate::libvexfs::errno::estale;
use crate::libvexfs::format::inode::{place, INODE_SIZE, STATE_ORPHAN, S_IFMT};
use crate::libvexfs::format::superblock::RO_COMPAT_QUOTA;
use crate::libvexfs::format::{Inode, Superblock};
use crate::libvexfs::journal::host::Disk;
use crate::libvexfs::journal::{BlockMut, Store, Trans};
use alloc::Blocks;
use edits::Edits;
use kernel::prelude::*;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

/// How often to check before giving up. Damage of one kind takes two; one kind behind another takes more.
const ROUNDS: usize = 64;

/// What a repair came to.
#[derive(Debug)]
pub struct Repaired {
    /// What the last check found.
    pub outcome: Outcome,
    /// Something was written.
    pub changed: bool,
    /// It was interrupted.
    pub interrupted: bool,
    /// The superblock as it is now.
    pub sb: Superblock,
}

/// Checks, and puts right what is found, until nothing more is. Before the first change `may` is asked.
///
/// # Errors
///
/// What the store returns, `ENOSPC` when there is no room to build trees in, `ENOMEM`.
pub fn repair<S: Store>(
    store: &S,
    disk: &dyn Disk,
    sb: &Superblock,
    reporter: &mut dyn Reporter,
    options: Options,
    may: &mut dyn FnMut(&Outcome) -> Result<bool>,
) -> Result<Repaired> {
    let options = Options {
        memory: u64::MAX,
        structures_first: true,
        max_problems: options.max_problems.max(1_000_000),
    };
    let mut repair = Repair {
        store,
        disk,
        sb: sb.clone(),
        blocks: Blocks::new(sb.geometry),
        chunks: Vec::new(),
    };
    let mut changed = false;
    let mut seen = BTreeSet::new();
    loop {
        let mut digest = Digest {
            reporter,
            hasher: DefaultHasher::new(),
        };
        let mut outcome = check(store, &repair.sb, &mut digest, options)?;
        let digest = digest.hasher.finish();
        let interrupted = reporter.interrupted();
        // What was seen before will be seen for ever.
        let stuck = !seen.insert(digest) || seen.len() > ROUNDS;
        let end = outcome.problems == 0 || outcome.fixes.is_empty();
        if end || interrupted || stuck || !(changed || may(&outcome)?) {
            return Ok(Repaired {
                outcome,
                changed,
                interrupted,
                sb: repair.sb,
            });
        }
        changed = true;
        if let Some(usage) = outcome.usage.take() {
            repair.blocks.learn(usage);
        }
        repair.stage(core::mem::take(&mut outcome.fixes))?;
        store.commit()?;
    }
}

/// Passes problems on, and remembers whether they were the same before.
struct Digest<'a> {
    reporter: &'a mut dyn Reporter,
    hasher: DefaultHasher,
}

impl Reporter for Digest<'_> {
    fn problem(&mut self, problem: &Problem) {
        (problem.ino, problem.bno, &problem.what).hash(&mut self.hasher);
        self.reporter.problem(problem);
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.reporter.progress(done, total);
    }

    fn interrupted(&self) -> bool {
        self.reporter.interrupted()
    }
}

/// Nobody who wants to know.
struct Nobody;

impl Reporter for Nobody {
    fn problem(&mut self, _: &Problem) {}
}

/// A repair under way.
struct Repair<'a, S> {
    store: &'a S,
    disk: &'a dyn Disk,
    sb: Superblock,
    blocks: Blocks,
    /// Chunks of inodes: first block, mask of the free ones.
    chunks: Vec<(u64, u64)>,
}

impl<S: Store> Repair<'_, S> {
    /// Makes the fixes of the first stage that has some.
    fn stage(&mut self, fixes: Vec<Fix>) -> Result {
        let Some(stage) = fixes.iter().map(Fix::stage).min() else {
            return Ok(());
        };
        self.chunks = self.look().chunks;
        let fixes: Vec<Fix> = fixes.into_iter().filter(|f| f.stage() == stage).collect();
        match stage {
            Stage::Structures => self.structures(&fixes),
            Stage::Inodes => self.inodes(fixes),
            Stage::Shared => self.shared(&fixes),
            Stage::Names => self.names(fixes),
            Stage::Lost => self.lost(&fixes),
            Stage::Orphans => {
                for group in groups(&fixes) {
                    self.rebuild_orphans(group)?;
                }
                Ok(())
            }
            Stage::Counts => self.counts(&fixes),
        }
    }

    /// A checker that only helps to look things up.
    fn look(&self) -> Looker {
        let mut nobody = Nobody;
        let mut checker = self.checker(&mut nobody);
        let _ = checker.load_chunks();
        Looker {
            chunks: checker.chunks,
        }
    }

    fn checker<'c>(&'c self, reporter: &'c mut dyn Reporter) -> Checker<'c, S> {
        let options = Options {
            memory: u64::MAX,
            max_problems: u64::MAX,
            structures_first: true,
        };
        let mut checker = Checker::new(self.store, &self.sb, reporter, options);
        checker.chunks = self.chunks.clone();
        checker
    }

    fn structures(&mut self, fixes: &[Fix]) -> Result {
        for fix in fixes {
            if let Fix::Super(field) = fix {
                match *field {
                    SuperField::NextCollection(n) => self.sb.next_collection = n,
                    SuperField::NextVolume(n) => self.sb.next_volume = n,
                    SuperField::NoQuota => {
                        self.sb.quota_ino = 0;
                        self.sb.ro_compat &= !RO_COMPAT_QUOTA;
                    }
                }
                self.write_superblock()?;
            }
        }
        self.rebuild_groups(groups(fixes))
    }

    fn inodes(&mut self, fixes: Vec<Fix>) -> Result {
        let mut edits: BTreeMap<(u64, u32), Edits> = BTreeMap::new();
        let mut freed = BTreeSet::new();
        let mut links = BTreeSet::new();
        for fix in fixes {
            match fix {
                Fix::Inode { ino, field } => self.write_field(ino, field)?,
                Fix::Record {
                    ino,
                    kind,
                    key,
                    value,
                    ..
                } => edits.entry((ino, kind)).or_default().set(key, value),
                Fix::Tree { ino, kind } => edits.entry((ino, kind)).or_default().damaged = true,
                Fix::Link { ino } => {
                    links.insert(ino);
                }
                Fix::Free { ino } => {
                    freed.insert(ino);
                }
                Fix::System => self.find_system()?,
                _ => {}
            }
        }
        edits.retain(|(ino, _), _| !freed.contains(ino));
        self.edit_trees(edits)?;
        for ino in links {
            if !self.measure_link(ino)? {
                freed.insert(ino);
            }
        }
        for ino in freed {
            self.free_inode(ino)?;
        }
        Ok(())
    }

    /// Reads an inode; its chunk may say that it is free.
    fn inode(&self, ino: u64) -> Result<Inode> {
        let (bno, at) = place(ino)?;
        let mut bytes = [0; INODE_SIZE];
        self.store.read_at(bno, at, &mut bytes)?;
        Inode::parse(&bytes, ino)
    }

    /// Reads an inode that is in use; none if it is not.
    fn used_inode(&self, ino: u64) -> Option<Inode> {
        let mut nobody = Nobody;
        self.checker(&mut nobody).read_inode(ino)
    }

    fn write_inode(&self, inode: &Inode) -> Result {
        let mut t = self.store.begin(1)?;
        self.put_inode(&mut t, inode)?;
        t.stop()
    }

    /// Writes an inode in a transaction that has a credit for it.
    fn put_inode(&self, t: &mut S::Trans, inode: &Inode) -> Result {
        let (bno, at) = place(inode.ino)?;
        let mut bytes = [0; INODE_SIZE];
        inode.format(&mut bytes);
        t.write_at(bno, at, &bytes)
    }

    /// Writes a field; an inode that went in the meantime needs none.
    fn write_field(&self, ino: u64, field: Field) -> Result {
        let mut inode = match self.inode(ino) {
            Ok(inode) => inode,
            Err(e) if e == estale() => return Ok(()),
            Err(e) => return Err(e),
        };
        match field {
            Field::Blocks(n) => inode.blocks = n,
            Field::Links(n) => inode.nlink = n,
            Field::Revive(n) => {
                inode.nlink = n;
                inode.state &= !STATE_ORPHAN;
            }
            Field::Entries(n) => inode.entries = n,
            Field::Size(n) => inode.size = n,
            Field::SizeAtLeast(n) => inode.size = inode.size.max(n),
            Field::Kind(kind) => {
                inode.mode = inode.mode & !S_IFMT | kind;
                inode.rdev = 0;
            }
            Field::StateSet(bits) => inode.state |= bits,
            Field::StateClear(bits) => inode.state &= !bits,
            Field::Rdev(n) => inode.rdev = n,
            Field::DataVersionAtLeast(n) => inode.data_version = inode.data_version.max(n),
            Field::MarkedVersion(n) => inode.marked_version = n,
        }
        self.write_inode(&inode)
    }

    fn write_superblock(&mut self) -> Result {
        let mut t = self.store.begin(1)?;
        self.sb.format(&mut t.create(0)?.data_mut());
        t.stop()
    }
}

/// What looking around gives.
struct Looker {
    chunks: Vec<(u64, u64)>,
}

/// The groups that fixes are about, each once.
fn groups(fixes: &[Fix]) -> BTreeSet<u32> {
    let groups = fixes.iter().filter_map(|fix| match fix {
        Fix::Group { group } | Fix::Orphans { group } => Some(*group),
        _ => None,
    });
    groups.collect()
}
