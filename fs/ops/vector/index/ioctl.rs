// SPDX-License-Identifier: GPL-2.0

//! `VEXFS_IOC_INDEX`.

use super::source::Source;
use super::{changes, create};
use crate::libvexfs::errno::{ecanceled, etimedout};
use crate::libvexfs::vector::index::search::View;
use crate::libvexfs::vector::index::{self, State};
use crate::libvexfs::vector::top::sort_by_key;
use crate::ops::vector::{collection, Open};
use crate::vfs::{
    access, bindings, fpu, index_pages::IndexPages, ioctl::File, sched, super_block::Mount, uapi,
    wait::Signals,
};
use kernel::prelude::*;
use kernel::time::{Instant, Monotonic};

type Raw = bindings::vexfs_index;

/// Its size when it came.
const MIN: usize = 168;
const _: () = assert!(size_of::<Raw>() >= MIN);
/// Times that a verification begins anew if something changed meanwhile.
const TRIES: usize = 3;

/// Answers `VEXFS_IOC_INDEX`.
///
/// # Errors
///
/// See `fs/uapi/vexfs_index.h`.
pub(in crate::ops::vector) fn index(file: &File, arg: usize) -> Result<isize> {
    let (mut raw, size) = uapi::get::<Raw>(arg, MIN)?;
    if raw.flags != 0 || (raw.timeout_ms != 0 && raw.op != bindings::VEXFS_INDEX_WAIT) {
        return Err(EINVAL);
    }
    let mount = file.inode().mount();
    let open = Open::new(mount, raw.collection)?;
    let result = match raw.op {
        bindings::VEXFS_INDEX_CREATE => change(file, &open, || create(mount, &open, false)),
        bindings::VEXFS_INDEX_DROP => change(file, &open, || {
            match collection::drop_index(mount, &open.collection, open.inode(), State::None)? {
                true => Ok(()),
                false => Err(ENOENT),
            }
        }),
        bindings::VEXFS_INDEX_REBUILD => change(file, &open, || {
            collection::drop_index(mount, &open.collection, open.inode(), State::Wanted)?;
            match create(mount, &open, false) {
                // The worker, or somebody else, was quicker.
                Err(e) if e == EEXIST => Ok(()),
                other => other,
            }
        }),
        bindings::VEXFS_INDEX_STATS => Ok(()),
        bindings::VEXFS_INDEX_WAIT => wait(mount, &open, raw.timeout_ms),
        bindings::VEXFS_INDEX_VERIFY => verify(mount, &open, &mut raw),
        _ => return Err(EINVAL),
    };
    match result {
        Err(e) if e != etimedout() => return Err(e),
        _ => {}
    }
    raw.timeout_ms = 0;
    tell(mount, &open, &mut raw)?;
    uapi::put(arg, size, &raw)?;
    result.map(|()| 0)
}

/// Runs a change of the index, if the caller may.
fn change(file: &File, open: &Open, f: impl FnOnce() -> Result) -> Result {
    let owner = access::caller_uid(file).ok() == Some(open.collection.uid);
    if !owner && !access::capable_over(file.inode().sb(), bindings::CAP_FOWNER) {
        return Err(EPERM);
    }
    file.with_write_access(f)
}

/// The record of the index.
fn record(mount: &Mount, open: &Open) -> Result<Option<index::Index>> {
    mount.fs.index(&open.inode().core().read())
}

/// Fills in what there is to say.
fn tell(mount: &Mount, open: &Open, raw: &mut Raw) -> Result {
    let counts = mount.fs.vector_counts(&open.inode().core().read())?;
    (raw.records, raw.slots) = (counts.live, counts.next.into());
    let sections = fpu::sections();
    (raw.fpu_longest_ns, raw.fpu_too_long) = (sections.longest_ns, sections.too_long);
    let Some(record) = record(mount, open)? else {
        return Ok(());
    };
    raw.state = record.state as u32;
    raw.build = record.build;
    raw.ef = super::default_ef(&open.collection, &record) as u32;
    if record.automatic {
        raw.flags |= bindings::VEXFS_INDEX_AUTOMATIC;
    }
    raw.next = record.next;
    (raw.applied, raw.checkpoint) = (record.marks.applied, record.marks.applied);
    let Some(index) = mount.vectors.indexes.get(mount, open)? else {
        return Ok(());
    };
    let marks = index.marks();
    raw.built = u64::from(marks.built).min(raw.slots);
    raw.refined = marks.refined.into();
    raw.applied = marks.applied;
    let nodes = index.file.inode();
    raw.bytes = nodes.core().read().blocks.saturating_mul(4096);
    raw.cached = nodes.cached_bytes();
    raw.pinned = index.pinned() as u64;
    Ok(())
}

/// Waits until the index has all that was put before.
fn wait(mount: &Mount, open: &Open, timeout_ms: u32) -> Result {
    let indexes = &mount.vectors.indexes;
    let first = record(mount, open)?.ok_or(ENOENT)?;
    if first.state == State::None {
        return Err(ENOENT);
    }
    let begun = Instant::<Monotonic>::now();
    loop {
        let seen = indexes.progress.count();
        mount.check_running()?;
        if open.dropped() {
            return Err(ENOENT);
        }
        let Some(now) = record(mount, open)?.filter(|now| now.state != State::None) else {
            return Err(ecanceled());
        };
        if first.state.has_graph() && now.build != first.build {
            return Err(ecanceled());
        }
        if let Some(index) = indexes.get(mount, open)? {
            let now = index.snapshot();
            if now.ready && now.applied >= first.next && index.is_clean() {
                return Ok(());
            }
        }
        if mount.sb().mounted_read_only() || mount.sb().stopped_writing() {
            return Err(EROFS);
        }
        let passed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(0);
        let left = match timeout_ms {
            0 => 1000,
            ms if passed >= ms.into() => return Err(etimedout()),
            ms => (u64::from(ms) - passed).min(1000) as u32,
        };
        indexes
            .progress
            .wait(seen, Signals::Any, Some(left.max(1)))?;
    }
}

/// Looks at all nodes and all records.
fn verify(mount: &Mount, open: &Open, raw: &mut Raw) -> Result {
    let index = mount.vectors.indexes.get(mount, open)?.ok_or(ENOENT)?;
    for _ in 0..TRIES {
        let snapshot = index.snapshot();
        if !snapshot.ready {
            return Err(EAGAIN);
        }
        let changed = waiting(open, snapshot.applied)?;
        let pages = IndexPages::new(&index.file, &index.shape);
        let view = View {
            pages: &pages,
            arithmetic: &&index.kernels,
            shape: &index.shape,
            entries: snapshot.entries,
            end: snapshot.end,
        };
        let report = view.verify(&mut Source::new(open, pause), |slot| {
            changed.binary_search(&slot).is_ok()
        })?;
        let damaged = pages.counts().damaged;
        // What came or went meanwhile may look wrong.
        let same = index.snapshot().applied == snapshot.applied
            && waiting(open, snapshot.applied)?.len() == changed.len();
        if same || report.is_clean() {
            raw.nodes = report.nodes.into();
            raw.missing = report.missing.into();
            raw.wrong = u64::from(report.wrong) + u64::from(report.stale);
            raw.unreachable = report.unreachable.into();
            raw.damaged = damaged;
            if report.unreachable > 0 {
                index.found_lost();
                mount.vectors.indexes.changed();
            }
            return Ok(());
        }
    }
    Err(EAGAIN)
}

/// The slots of changes that are still to come, from sequence `from` on, in order.
fn waiting(open: &Open, from: u64) -> Result<KVVec<u32>> {
    let mut slots = KVVec::new();
    changes(open, from, |ops| {
        for (_, op) in ops.iter() {
            slots.push(op.slot, GFP_KERNEL)?;
        }
        pause()?;
        Ok(true)
    })?;
    sort_by_key(&mut slots, |slot| *slot);
    Ok(slots)
}

/// Lets others run, and ends when a signal came.
fn pause() -> Result {
    if sched::interrupted() {
        return Err(ERESTARTSYS);
    }
    sched::yield_if_needed();
    Ok(())
}
