// SPDX-License-Identifier: GPL-2.0

//! Which records a prepared filter may let in: found out once, and kept up to date.

use super::Prepared;
use crate::libvexfs::vector::changes::Change;
use crate::libvexfs::vector::filter::Filter;
use crate::libvexfs::vector::index::Source as _;
use crate::libvexfs::vector::memo::Memo;
use crate::libvexfs::vector::top::sort_by_key;
use crate::libvexfs::vector::Record;
use crate::ops::vector::filter::View;
use crate::ops::vector::index::Source;
use crate::ops::vector::watch::Watch;
use crate::ops::vector::{plan, sight, Open};
use crate::vfs::{ioctl::File, sched, super_block::SuperBlock};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::{Instant, Monotonic};

/// Bytes of vectors and records that a filter holds at most.
const HELD_BYTES: usize = 16 << 20;
/// Slots that it remembers at most, besides: 16 MiB.
const SLOTS_MAX: usize = 4 << 20;
/// A filter that lets in more than one of so many is worth nothing: other plans are as good.
const SHARE: u64 = 4;
/// Records that are always worth remembering.
const FEW: usize = 1024;
/// Records that are looked at again one by one before everything is.
const AGAIN: usize = 4096;
/// Records that are read together.
const BATCH: usize = 512;

/// Records with copies of their vectors.
pub(in crate::ops::vector) struct Held {
    entries: KVVec<(u32, Record)>,
    vectors: KVVec<u8>,
    stored: usize,
    /// How often records had gone before these were read.
    gone: u64,
}

impl Held {
    /// How many they are.
    pub(in crate::ops::vector) fn len(&self) -> usize {
        self.entries.len()
    }

    /// One of them.
    pub(in crate::ops::vector) fn entry(&self, row: usize) -> Option<(u32, Record)> {
        self.entries.get(row).copied()
    }

    /// The vectors from a row on, one after the other.
    pub(in crate::ops::vector) fn vectors(&self, row: usize) -> &[u8] {
        self.vectors.get(row * self.stored..).unwrap_or(&[])
    }

    /// The vector of a row.
    pub(in crate::ops::vector) fn vector(&self, row: usize) -> Result<&[u8]> {
        self.vectors(row).get(..self.stored).ok_or(EINVAL)
    }

    /// Whether all of them live still. If not, each has to be asked for.
    pub(in crate::ops::vector) fn all_live(&self, watch: &Watch) -> bool {
        watch.gone() == self.gone
    }

    fn has(&self, slot: u32, record: &Record) -> bool {
        let found = self.entries.binary_search_by_key(&slot, |entry| entry.0);
        let found = found.ok().and_then(|at| self.entries.get(at));
        found.is_some_and(|(_, held)| held == record)
    }
}

/// What a filter lets in, as far as it does not depend on who asks.
pub(in crate::ops::vector) struct Cached {
    collection: u32,
    /// Nothing is remembered: too many match.
    wide: bool,
    held: Arc<Held>,
    /// Slots of others that match, in order.
    slots: KVVec<u32>,
    /// How many of them there were when it was built.
    at_first: usize,
    /// Changes below this number are taken account of.
    through: u64,
    moves: u64,
    built: Instant<Monotonic>,
    took: i64,
}

impl Cached {
    /// Whether it is of this collection.
    pub(super) fn is_of(&self, open: &Open) -> bool {
        self.collection == open.collection.id
    }

    /// Whether those that match are few.
    pub(super) fn is_useful(&self) -> bool {
        !self.wide
    }

    /// How many changes it has taken account of.
    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// How often directories had been moved.
    pub(super) fn moves(&self) -> u64 {
        self.moves
    }

    /// Notes how long it took to build.
    pub(super) fn took(self, begun: Instant<Monotonic>) -> Self {
        Cached {
            built: Instant::now(),
            took: begun.elapsed().as_nanos(),
            ..self
        }
    }

    /// Whether it was built not longer ago than so many times of what that took.
    pub(super) fn rests(&self, times: i64) -> bool {
        self.built.elapsed().as_nanos() < self.took.saturating_mul(times)
    }

    /// Those that match whose vectors are held.
    pub(in crate::ops::vector) fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// The slots of the others.
    pub(in crate::ops::vector) fn slots(&self) -> &[u32] {
        &self.slots
    }
}

/// Who finds out whether a record may match, whoever asks.
struct Judge<'a> {
    filter: &'a Filter,
    sb: &'a SuperBlock,
    /// What is known of files: none if it depends on the record.
    memo: Memo<Option<bool>>,
}

impl<'a> Judge<'a> {
    fn new(prepared: &'a Prepared, file: &'a File) -> Result<Self> {
        Ok(Judge {
            filter: &prepared.filter,
            sb: file.inode().sb(),
            memo: Memo::new()?,
        })
    }

    fn may_match(&mut self, record: &Record) -> Result<bool> {
        let uses = self.filter.uses();
        if let Some(said) = self.filter.run(&mut View::of_record(record))? {
            return Ok(said);
        }
        let (ino, generation) = (record.ino, record.generation);
        let of_file = match self.memo.get(ino, generation) {
            Some(known) => known,
            None => {
                let known = self.of_file(ino, generation, None)?;
                self.memo.set(ino, generation, known);
                known
            }
        };
        match of_file {
            Some(said) => Ok(said),
            None if uses.record => Ok(self.of_file(ino, generation, Some(record))? != Some(false)),
            None => Ok(true),
        }
    }

    fn of_file(&self, ino: u64, generation: u32, record: Option<&Record>) -> Result<Option<bool>> {
        // Should it come back, by a link to what had none, that is a change.
        let Some(inode) = sight::get(self.sb, ino, generation)? else {
            return Ok(Some(false));
        };
        let mut view = View::for_anyone(&inode, self.filter, record);
        self.filter.run(&mut view)
    }
}

/// Finds out which records match.
///
/// # Errors
///
/// `EUCLEAN`, `EIO`, `ENOMEM`, `EINTR`.
pub(super) fn build(prepared: &Prepared, file: &File, open: &Open) -> Result<Cached> {
    // First of all: what changes from here on is looked at again.
    let (moves, through) = (prepared.watcher.moves(), prepared.watcher.now());
    let live = {
        let core = open.inode().core().read();
        open.inode().fs().vector_counts(&core)?.live
    };
    let most = usize::try_from(live / SHARE).unwrap_or(SLOTS_MAX);
    let most = most.clamp(FEW, SLOTS_MAX);
    let mut judge = Judge::new(prepared, file)?;
    let mut found = KVVec::new();
    let need = prepared.filter.need();
    let enough = match plan::needed(open, &prepared.filter, need, most)? {
        Some(slots) => known(open, &mut judge, &slots, &mut found)?,
        None => all(open, &mut judge, most, &mut found)?,
    };
    let mut cached = Cached {
        collection: open.collection.id,
        wide: !enough,
        held: Arc::new(
            Held {
                entries: KVVec::new(),
                vectors: KVVec::new(),
                stored: open.stored(),
                gone: 0,
            },
            GFP_KERNEL_ACCOUNT,
        )?,
        slots: KVVec::new(),
        at_first: 0,
        through,
        moves,
        built: Instant::now(),
        took: 0,
    };
    let bytes = open.stored() + size_of::<(u32, Record)>();
    if enough && found.len().saturating_mul(bytes) <= HELD_BYTES {
        let (held, left) = hold(open, &found)?;
        cached.held = Arc::new(held, GFP_KERNEL_ACCOUNT)?;
        cached.slots = left;
    } else if enough {
        cached.slots = found;
    }
    cached.at_first = cached.slots.len();
    Ok(cached)
}

/// Takes those of some slots that match.
fn known(
    open: &Open,
    judge: &mut Judge<'_>,
    slots: &[u32],
    found: &mut KVVec<u32>,
) -> Result<bool> {
    for (n, slot) in slots.iter().enumerate() {
        if n % BATCH == 0 {
            pause()?;
        }
        if let Some(record) = record(open, *slot)? {
            if judge.may_match(&record)? {
                found.push(*slot, GFP_KERNEL_ACCOUNT)?;
            }
        }
    }
    Ok(true)
}

/// Takes those of all records that match. False: they are more than `most`.
fn all(open: &Open, judge: &mut Judge<'_>, most: usize, found: &mut KVVec<u32>) -> Result<bool> {
    let mut records = KVec::with_capacity(BATCH, GFP_KERNEL)?;
    let mut from = 0;
    loop {
        records.clear();
        {
            let core = open.inode().core().read();
            let fs = open.inode().fs();
            fs.records_from(&core, from, BATCH, &mut records)?;
        }
        let Some((last, _)) = records.last().copied() else {
            return Ok(true);
        };
        for (slot, record) in records.iter() {
            if judge.may_match(record)? {
                found.push(*slot, GFP_KERNEL_ACCOUNT)?;
            }
        }
        if found.len() > most {
            return Ok(false);
        }
        from = match last.checked_add(1) {
            Some(next) => next,
            None => return Ok(true),
        };
        pause()?;
    }
}

/// Copies the vectors of some slots; and the slots where that was not to be done: a search will look
/// at these itself.
fn hold(open: &Open, slots: &[u32]) -> Result<(Held, KVVec<u32>)> {
    let stored = open.stored();
    let gone = open.inode().mount().vectors.watch().gone();
    let mut held = Held {
        entries: KVVec::with_capacity(slots.len(), GFP_KERNEL_ACCOUNT)?,
        vectors: KVVec::with_capacity(slots.len() * stored, GFP_KERNEL_ACCOUNT)?,
        stored,
        gone,
    };
    let mut left = KVVec::new();
    let mut vector = KVVec::from_elem(0u8, stored, GFP_KERNEL)?;
    let mut source = Source::new(open, pause);
    for slot in slots {
        source.pause()?;
        let before = record(open, *slot)?;
        let copied = source.vector(*slot, &mut vector)?;
        match before {
            Some(record) if copied == Some(record.sequence) => {
                held.entries.push((*slot, record), GFP_KERNEL_ACCOUNT)?;
                held.vectors
                    .extend_from_slice(&vector, GFP_KERNEL_ACCOUNT)?;
            }
            _ => left.push(*slot, GFP_KERNEL_ACCOUNT)?,
        }
    }
    Ok((held, left))
}

/// What is remembered, with all that changed since. None: that is too much.
///
/// # Errors
///
/// As [`build`].
pub(super) fn catch_up(
    prepared: &Prepared,
    file: &File,
    open: &Open,
    old: &Cached,
) -> Result<Option<Cached>> {
    let (moves, uses) = (prepared.watcher.moves(), prepared.filter.uses());
    if old.wide || (old.moves != moves && !prepared.filter.dirs().is_empty()) {
        return Ok(None);
    }
    let Some(changes) = prepared.watcher.since(old.through)? else {
        return Ok(None);
    };
    let (mut slots, mut files) = (KVec::new(), KVec::new());
    for change in changes.iter() {
        match *change {
            Change::Record { collection, slot } if collection == old.collection => {
                slots.push(slot, GFP_KERNEL)?;
            }
            Change::File(ino) if uses.inode || uses.far => files.push(ino, GFP_KERNEL)?,
            _ => {}
        }
    }
    sort_by_key(&mut files, |ino| *ino);
    let mut last = None;
    files.retain(|ino| last.replace(*ino) != Some(*ino));
    let mut some = KVec::with_capacity(AGAIN, GFP_KERNEL)?;
    for ino in files.iter() {
        pause()?;
        some.clear();
        {
            let core = open.inode().core().read();
            let fs = open.inode().fs();
            fs.slots_by_owner(&core, *ino, 0, AGAIN, &mut some)?;
        }
        slots.extend_from_slice(&some, GFP_KERNEL)?;
        if slots.len() > AGAIN {
            return Ok(None);
        }
    }
    // Those that matched before stay: to let them go would take a look at each of them.
    let mut found = KVVec::with_capacity(old.slots.len() + slots.len(), GFP_KERNEL_ACCOUNT)?;
    found.extend_from_slice(&old.slots, GFP_KERNEL_ACCOUNT)?;
    let mut judge = Judge::new(prepared, file)?;
    for (n, slot) in slots.iter().enumerate() {
        if n % BATCH == 0 {
            pause()?;
        }
        if let Some(record) = record(open, *slot)? {
            if !old.held.has(*slot, &record) && judge.may_match(&record)? {
                found.push(*slot, GFP_KERNEL_ACCOUNT)?;
            }
        }
    }
    sort_by_key(&mut found, |slot| *slot);
    let mut last = None;
    found.retain(|slot| last.replace(*slot) != Some(*slot));
    if found.len() > old.at_first.saturating_add(AGAIN) {
        return Ok(None);
    }
    Ok(Some(Cached {
        collection: old.collection,
        wide: false,
        held: old.held.clone(),
        slots: found,
        at_first: old.at_first,
        through: old.through + changes.len() as u64,
        moves,
        built: old.built,
        took: old.took,
    }))
}

fn record(open: &Open, slot: u32) -> Result<Option<Record>> {
    let core = open.inode().core().read();
    open.inode().fs().record(&core, slot)
}

/// Lets others run.
fn pause() -> Result {
    if sched::killed() {
        return Err(EINTR);
    }
    sched::yield_if_needed();
    Ok(())
}
