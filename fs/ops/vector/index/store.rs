// SPDX-License-Identifier: GPL-2.0

//! How a graph gets to the medium: write intents before, checkpoints after.

use super::Index;
use crate::libvexfs::vector::index::intent::Intents;
use crate::libvexfs::vector::index::log::{CHECKPOINT_CREDITS, INTENT_CREDITS, TUNE_CREDITS};
use crate::libvexfs::vector::index::Marks;
use crate::ops::vector::{change, Open};
use crate::vfs::sched;
use kernel::prelude::*;

/// Notes, durably, that the bytes `[pos, pos + len)` of the index's inode are going to be written.
///
/// # Errors
///
/// `ENOSPC`, `EIO`.
pub(super) fn note(open: &Open, intents: &mut Intents, pos: u64, len: u64) -> Result {
    let Some(wanted) = intents.wanted(pos, len) else {
        return Ok(());
    };
    let vi = open.inode();
    let mut next = wanted.start;
    while next < wanted.end {
        let (count, tid) = vi.mount().with_space(|| {
            change(vi, INTENT_CREDITS, |t, core| {
                vi.fs().set_intents(t, core, next, wanted.end - next)
            })
        })?;
        vi.commit_tid(tid)?;
        next += count.max(1);
    }
    intents.note(wanted)
}

/// Brings the graph to the medium, and notes how far it is. Intents go unless something is left to
/// be scrubbed.
///
/// # Errors
///
/// `EIO`, `ENOSPC`, `EUCLEAN`; `ENOENT` if the index was dropped.
///
/// # Context
///
/// The worker: nobody changes the graph.
pub(super) fn checkpoint(
    open: &Open,
    index: &Index,
    intents: &mut Intents,
    marks: &Marks,
) -> Result {
    index.file.flush(0, i64::MAX as u64)?;
    let (vi, fs) = (open.inode(), open.inode().fs());
    fs.store.flush_device()?;
    let mut tid;
    loop {
        let done;
        (done, tid) = change(vi, CHECKPOINT_CREDITS, |t, core| {
            let now = fs
                .index(core)?
                .filter(|now| now.build == index.record.build);
            if now.is_none_or(|now| !now.state.has_graph()) {
                return Err(ENOENT);
            }
            fs.checkpoint_step(t, core, marks, intents.is_clean())
        })?;
        if done {
            break;
        }
        sched::yield_if_needed();
    }
    // What is written from now on is noted again: not before the old notes are gone for good, or a
    // crash might bring back a state of things that has neither.
    vi.commit_tid(tid)?;
    intents.checkpoint();
    Ok(())
}

/// Says that searches may use the graph.
///
/// # Errors
///
/// `ENOENT` if the index was dropped; `EIO`.
pub(super) fn mark_built(open: &Open, index: &Index) -> Result {
    let (vi, fs) = (open.inode(), open.inode().fs());
    change(vi, TUNE_CREDITS, |t, core| {
        let now = fs
            .index(core)?
            .filter(|now| now.build == index.record.build);
        if now.is_none_or(|now| !now.state.has_graph()) {
            return Err(ENOENT);
        }
        fs.mark_built(t, core)
    })?;
    Ok(())
}
