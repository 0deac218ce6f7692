// SPDX-License-Identifier: GPL-2.0

//! The worker of a mount: it builds graphs, keeps them up with the records, and saves them.
//!
//! It goes from collection to collection, and works on each for a slice of time. In a frozen file
//! system, a read-only one, and one that was shut down it does nothing.

use super::source::Source;
use super::{store, Index};
use crate::libvexfs::vector::index;
use crate::libvexfs::vector::index::driver::{Driver, Source as _};
use crate::libvexfs::vector::index::log::INTENT_SHIFT;
use crate::ops::vector::{collection, Open};
use crate::vfs::{
    graph::GraphKernels, index_pages::IndexPages, log, sched::apart, super_block::Mount,
    wait::Signals,
};
use core::sync::atomic::Ordering;
use kernel::prelude::*;
use kernel::time::{Instant, Monotonic};

/// Nanoseconds that it works for one collection before it looks at the others.
const SLICE: i64 = 500_000_000;
/// Changes after which a graph is saved.
const SAVE_OPS: u64 = 8192;
/// Milliseconds after which it is saved in any case, and the time between two looks at all.
const SAVE_MS: u32 = 5_000;
/// Milliseconds that changes are left to come together.
const PAUSE_MS: u32 = 20;
/// Changes that are read together.
const BATCH: usize = 128;
/// Slots of a step.
const ROOM: u32 = 64;

/// Works until it is told to stop.
pub(super) fn run(mount: &Mount) {
    let indexes = &mount.vectors.indexes;
    while !indexes.stopping() {
        let seen = indexes.work.count();
        let busy = round(mount, false);
        if !busy && !indexes.stopping() {
            // Signals do not come to a thread of the kernel.
            let _ = indexes.work.wait(seen, Signals::Any, Some(SAVE_MS));
            pause(mount);
        }
    }
    round(mount, true);
}

/// Lets changes come together.
fn pause(mount: &Mount) {
    let indexes = &mount.vectors.indexes;
    if !indexes.stopping() {
        let _ = indexes
            .progress
            .wait(indexes.progress.count(), Signals::Any, Some(PAUSE_MS));
    }
}

/// Whether there is anything that the worker may do.
fn may_work(mount: &Mount) -> bool {
    mount.check_running().is_ok() && !mount.sb().stopped_writing()
}

/// Works for each collection in turn; `last` only saves. True if there is more to do.
fn round(mount: &Mount, last: bool) -> bool {
    let mut busy = false;
    let mut id = 0;
    while may_work(mount) && (last || !mount.vectors.indexes.stopping()) {
        // Who freezes the file system must not wait long.
        let Some(_held) = mount.sb().try_hold_write() else {
            break;
        };
        let next = match mount.judge(collection::after(mount, id)) {
            Ok(Some(next)) => next,
            _ => break,
        };
        id = next;
        let served = mount.judge(apart(|| serve(mount, id, last)));
        if let Some(index) = mount.vectors.indexes.known(id) {
            let stuck = matches!(served, Err(e) if e != EINTR);
            index.stuck.store(stuck, Ordering::Relaxed);
            if stuck {
                mount.vectors.indexes.progress.wake_all();
            }
        }
        match served {
            Ok(more) => busy |= more,
            // It was dropped meanwhile, or there is no space now.
            Err(e) if e == ENOENT || e == ENOSPC || e == EINTR => {}
            Err(e) => {
                mount.sb().log(
                    log::WARN,
                    format_args!("collection {id}: its index waits: error {}", -e.to_errno()),
                );
            }
        }
    }
    busy && !last
}

/// Works for a collection. True if there is more to do.
fn serve(mount: &Mount, id: u32, last: bool) -> Result<bool> {
    let open = Open::new(mount, id)?;
    let Some(index) = mount.vectors.indexes.get(mount, &open)? else {
        if !last {
            apart(|| create_if_large(mount, &open))?;
        }
        return Ok(false);
    };
    let marks = index.marks();
    let next = next_op(&open)?;
    let ready = index.snapshot().ready;
    let due = index.save_is_due(SAVE_OPS, SAVE_MS);
    let done = marks.applied >= next && marks.refined >= marks.end && index.is_clean();
    let idle = ready && done && !index.walk_is_due();
    let save = index.unsaved() > 0 && (due || last);
    if if last { !save } else { idle && !save } {
        return Ok(false);
    }
    index.load_intents(&open)?;
    let note = |pos, len| {
        let mut intents = index.intents.lock();
        store::note(&open, Option::as_mut(&mut intents).ok_or(EINVAL)?, pos, len)
    };
    let mut pages = IndexPages::new(&index.file, &index.shape);
    pages.note_writes(&note);
    let mut writer = apart(|| -> Result<_> {
        let so_far = index::Index {
            marks,
            ..index.record
        };
        Ok(Writer {
            open: &open,
            index: &index,
            source: Source::new(&open, || stop(mount, &index)),
            driver: Driver::new(pages, &index.kernels, index.shape, &so_far)?,
            ready,
            begun: Instant::now(),
        })
    });
    // It is large: it stays where it was made.
    let writer = writer.as_mut().map_err(|e| *e)?;
    let result = if last {
        Ok(false)
    } else {
        apart(|| writer.work())
    };
    let saved = match &result {
        _ if index.is_dropped() => return Ok(false),
        Ok(_) if last || index.save_is_due(SAVE_OPS, SAVE_MS) => apart(|| writer.save()),
        _ => Ok(()),
    };
    mount.vectors.indexes.progress.wake_all();
    saved.and(result)
}

/// Why to stop, if there is a reason.
fn stop(mount: &Mount, index: &Index) -> Result {
    if index.is_dropped() {
        return Err(ENOENT);
    }
    if mount.vectors.indexes.stopping() || !may_work(mount) {
        return Err(EINTR);
    }
    Ok(())
}

/// The sequence of the next change.
fn next_op(open: &Open) -> Result<u64> {
    let record = open.inode().fs().index(&open.inode().core().read())?;
    Ok(record.map_or(0, |record| record.next))
}

/// Makes an index if the collection is so large that it should have one, and nobody dropped one.
fn create_if_large(mount: &Mount, open: &Open) -> Result {
    let automatic = mount.vectors.indexes.automatic();
    let large = {
        let core = open.inode().core().read();
        let counts = mount.fs.vector_counts(&core)?;
        let never = mount.fs.index(&core)?.is_none();
        never && automatic.is_some_and(|least| counts.live >= least)
    };
    if large {
        super::create(mount, open, true)?;
    }
    Ok(())
}

/// Who changes the graph of an index, for the length of a slice.
struct Writer<'a, F: FnMut() -> Result> {
    open: &'a Open,
    index: &'a Index,
    source: Source<'a, F>,
    driver: Driver<IndexPages<'a>, &'a GraphKernels>,
    ready: bool,
    begun: Instant<Monotonic>,
}

impl<F: FnMut() -> Result> Writer<'_, F> {
    /// Whether the slice is over.
    fn over(&self) -> bool {
        self.begun.elapsed().as_nanos() >= SLICE
    }

    /// What was done so far can be seen from now on.
    fn show(&self) {
        self.index.show(&self.driver.marks(), self.ready);
    }

    /// Brings the graph to the medium.
    fn save(&mut self) -> Result {
        self.show();
        let marks = self.driver.marks();
        let mut intents = self.index.intents.lock();
        let intents = Option::as_mut(&mut intents).ok_or(EINVAL)?;
        store::checkpoint(self.open, self.index, intents, &marks)?;
        self.index.saved(&marks);
        Ok(())
    }

    /// Goes on for a slice. True if there is more to do.
    fn work(&mut self) -> Result<bool> {
        let mut more = true;
        while more && !self.over() {
            more = apart(|| self.step())?;
            self.show();
            if self.index.save_is_due(SAVE_OPS, SAVE_MS) {
                self.save()?;
            }
        }
        Ok(more)
    }

    /// Does some of what comes first. False if there is nothing to do.
    fn step(&mut self) -> Result<bool> {
        if self.apply()? || self.scrub()? {
            return Ok(true);
        }
        let driver = &mut self.driver;
        if !self.ready {
            if !driver.build_step(&mut self.source, ROOM)? {
                return Ok(true);
            }
            if driver.marks().chosen == 0 && driver.graph.end > 0 {
                driver.choose_entries()?;
                return Ok(true);
            }
        }
        // Searches are told of it when each node was looked at twice: before, they would find less.
        if !driver.refine_step(&mut self.source, ROOM)? {
            return Ok(true);
        }
        if !self.ready {
            self.walk()?;
            self.save()?;
            store::mark_built(self.open, self.index)?;
            self.ready = true;
            self.index.tell(format_args!("built"));
            return Ok(true);
        }
        if self.index.walk_is_due() {
            let attached = self.walk()?;
            if attached > 0 {
                self.save()?;
                self.index
                    .tell(format_args!("{attached} nodes attached again"));
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Applies some changes of the records. False if there are none.
    fn apply(&mut self) -> Result<bool> {
        let mut ops = KVec::with_capacity(BATCH, GFP_KERNEL)?;
        {
            let core = self.open.inode().core().read();
            let fs = self.open.inode().fs();
            fs.index_ops(&core, self.driver.marks().applied, BATCH, &mut ops)?;
        }
        for (sequence, op) in ops.iter() {
            self.driver.apply(&mut self.source, *sequence, op)?;
            self.index.walks.changed(1);
            self.show();
            self.source.pause()?;
            if self.over() {
                break;
            }
        }
        Ok(!ops.is_empty())
    }

    /// Walks along all edges, and attaches what that does not come to; returns how many nodes. One that
    /// does not come to its end, as when the file system is frozen or unmounted, is to be done again.
    fn walk(&mut self) -> Result<u32> {
        let owed = self.index.walks.begin();
        let attached = self.driver.reattach(&mut self.source);
        if attached.is_err() {
            self.index.walks.failed(owed);
        }
        attached
    }

    /// Looks at some of what a crash may have torn. False if nothing is left.
    fn scrub(&mut self) -> Result<bool> {
        let from = self.index.scrubbed_to();
        let next = {
            let intents = self.index.intents.lock();
            let intents = intents.as_ref().ok_or(EINVAL)?;
            if intents.is_clean() {
                return Ok(false);
            }
            intents.to_scrub(from)
        };
        let Some(mib) = next else {
            let attached = self.walk()?;
            if let Some(intents) = Option::as_mut(&mut self.index.intents.lock()) {
                intents.scrubbed();
            }
            self.save()?;
            self.index.tell(format_args!(
                "looked through after a crash, {attached} nodes attached"
            ));
            return Ok(true);
        };
        let (start, end) = (mib << INTENT_SHIFT, (mib + 1) << INTENT_SHIFT);
        let slots = self.index.shape.slots_at(start, end);
        // Behind the last node and the last record there is nothing to see.
        let last = self.driver.graph.end.max(self.slots()?);
        let slots = slots.start..slots.end.min(last);
        self.driver.scrub_step(&mut self.source, slots)?;
        self.index.set_scrubbed_to(mib + 1);
        Ok(true)
    }

    /// Slots of the collection.
    fn slots(&self) -> Result<u32> {
        let core = self.open.inode().core().read();
        Ok(self.open.inode().fs().vector_counts(&core)?.next)
    }
}
