// SPDX-License-Identifier: GPL-2.0

//! Reading, writing and syncing regular files.
//!
//! Order of a write: wait for data that is offline (no lock held) -> `i_rwsem` -> the VFS's checks
//! -> zero the gap behind the old end of file -> the version transaction, durable, if somebody
//! described the old contents -> the bytes.

use kernel::prelude::*;

use crate::libvexfs::errno::enodata;
use crate::libvexfs::extent::{Mapping, MAX_LBLK};
use crate::libvexfs::format::inode::{STATE_EMBEDDED, STATE_OFFLINE};
use crate::libvexfs::journal::{tid_geq, Store, Trans};
use crate::libvexfs::vector::stale;
use crate::ops::staging::{self, Patience};
use crate::ops::{aops::settled, truncate};
use crate::vfs::bindings;
use crate::vfs::file::{Mode, Request, RwLocked};
use crate::vfs::inode::VexInode;
use crate::vfs::iomap::{self, BLOCK};

/// The bytes `[start, end)` are about to change: the version of the contents moves on, and what
/// describes these bytes is marked stale, durably, before the first of them changes. Free for files
/// that nothing describes.
///
/// # Context
///
/// May hold `i_rwsem` and mmap_lock; no folio lock, no handle, not the metadata lock.
pub(crate) fn before_change(vi: &VexInode, start: u64, end: u64) -> Result {
    let fs = vi.fs();
    if !fs.needs_note(&vi.core().read(), start, end)? {
        // Somebody else may have noted it just now, and still be waiting for the commit.
        return match vi.data().version_tid() {
            Some(tid) if !tid_geq(fs.store.committed(), tid) => vi.commit_tid(tid),
            _ => Ok(()),
        };
    }
    let noted = settled(vi, || {
        let mut t = fs.store.begin(stale::CREDITS)?;
        let mut core = vi.core().write();
        let noted = fs.note_change(&mut t, &mut core, start, end)?;
        let tid = t.tid();
        if noted {
            vi.data().note(tid, true);
            vi.data().note_version(tid);
        }
        drop(core);
        t.stop()?;
        // Also of who was faster.
        Ok(vi.data().version_tid())
    })?;
    match noted {
        Some(tid) => vi.commit_tid(tid),
        None => Ok(()),
    }
}

/// `read_iter`.
pub(crate) fn read(request: &mut Request<'_>) -> Result<usize> {
    let vi = request.inode();
    vi.check_running()?;
    if request.count() == 0 {
        return Ok(0);
    }
    online(request, staging_for_read, |request| {
        if !request.direct() {
            return request.buffered_read();
        }
        request.accessed();
        let _lock = RwLocked::take(vi, Mode::Shared, request.nowait())?;
        request.direct_read()
    })
}

/// Waits until what a read wants is not offline.
fn staging_for_read(request: &Request<'_>) -> Result {
    staging::before_read(
        request.inode(),
        request.pos(),
        request.count(),
        request.patience(),
    )
}

/// Waits until what a write wants to change, or to zero, is not offline.
fn staging_for_write(request: &Request<'_>) -> Result {
    let (pos, count) = (request.pos(), request.count());
    staging::before_write(
        request.inode(),
        pos,
        count,
        request.append(),
        request.patience(),
    )
}

/// Does `io` once `recall` says that the data it needs is here, and again if that has gone offline
/// in between.
fn online(
    request: &mut Request<'_>,
    recall: fn(&Request<'_>) -> Result,
    mut io: impl FnMut(&mut Request<'_>) -> Result<usize>,
) -> Result<usize> {
    let vi = request.inode();
    loop {
        let len = request.count();
        recall(request)?;
        match io(request) {
            Err(e) if went_offline(vi, request.pos(), len, e)? => {}
            other => return other,
        }
    }
}

/// Whether an operation on `[pos, pos + len)` failed with `e` because data has gone offline.
fn went_offline(vi: &VexInode, pos: u64, len: u64, e: Error) -> Result<bool> {
    // The page cache makes EIO of whatever kept a folio from being read.
    Ok((e == EIO || e == enodata()) && is_offline(vi, pos, len)?)
}

/// `splice_read`: `io` splices what is here.
pub(crate) fn splice(
    vi: &VexInode,
    pos: u64,
    len: u64,
    patience: Patience,
    mut io: impl FnMut() -> Result<usize>,
) -> Result<usize> {
    vi.check_running()?;
    loop {
        staging::before_read(vi, pos, len, patience)?;
        match io() {
            Err(e) if went_offline(vi, pos, len, e)? => {}
            other => return other,
        }
    }
}

/// Whether some of `[pos, pos + len)` is offline.
fn is_offline(vi: &VexInode, pos: u64, len: u64) -> Result<bool> {
    let core = vi.core().read();
    if core.state & STATE_OFFLINE == 0 {
        return Ok(false);
    }
    let end = pos.saturating_add(len).div_ceil(BLOCK).min(MAX_LBLK);
    let mut next = pos / BLOCK;
    while next < end {
        match vi.fs().map(&core, next, end - next)? {
            Mapping::Offline { .. } => return Ok(true),
            other => next = next.saturating_add(other.len().max(1)),
        }
    }
    Ok(false)
}

/// `write_iter`.
pub(crate) fn write(request: &mut Request<'_>) -> Result<usize> {
    let vi = request.inode();
    vi.check_running()?;
    let written = online(request, staging_for_write, |request| {
        if request.direct() {
            match write_direct(request) {
                // Folios of the range could not be dropped: go through the page cache instead.
                Err(e) if e.to_errno() == -(bindings::ENOTBLK as i32) => {
                    let (pos, n) = write_buffered(request)?;
                    request.flush_and_drop(pos, n)?;
                    return Ok(n);
                }
                other => return other,
            }
        }
        match write_buffered(request) {
            // More may be promised than is needed in the end.
            Err(e) if e == ENOSPC && !request.nowait() && vi.mount().place_delayed() => {
                write_buffered(request)
            }
            other => other,
        }
        .map(|(_, n)| n)
    });
    // The size grew without its being logged.
    vi.mount().vectors.watch().grown(vi);
    written
}

/// Writes through the page cache; returns where, and how much.
fn write_buffered(request: &mut Request<'_>) -> Result<(u64, usize)> {
    let vi = request.inode();
    let lock = RwLocked::take(vi, Mode::Exclusive, request.nowait())?;
    if request.generic_checks()? == 0 {
        return Ok((request.pos(), 0));
    }
    prepare(request, vi)?;
    let (pos, count) = (request.pos(), request.count());
    let end = pos.saturating_add(count);
    let result = request.buffered_write();
    if end > vi.size() && !matches!(result, Ok(n) if n as u64 == count) {
        // What was allocated beyond the new end of file for bytes that did not come.
        truncate::trim(vi);
    }
    drop(lock);
    let written = result?;
    if written == 0 {
        return Ok((pos, 0));
    }
    request.sync(written).map(|n| (pos, n))
}

/// What has to be done under `i_rwsem` (exclusively) before bytes change.
fn prepare(request: &mut Request<'_>, vi: &VexInode) -> Result {
    let (pos, size) = (request.pos(), vi.size());
    let end = pos.saturating_add(request.count());
    if pos > size {
        if request.nowait() {
            return Err(EAGAIN);
        }
        // A direct write may still move the end of file when it completes.
        vi.wait_for_direct_io();
        zero_gap(vi, pos)?;
    } else if end > size && vi.data().needs_trim() {
        if request.nowait() {
            return Err(EAGAIN);
        }
        truncate::finish(vi)?;
    }
    if request.nowait() {
        nothing_before_change(vi, pos.min(size), end)?;
        return request.modified();
    }
    request.modified()?;
    before_change(vi, pos.min(size), end)
}

/// Fails with `EAGAIN` if [`before_change`] of these bytes would have something to do, or to wait
/// for.
///
/// # Context
///
/// `i_rwsem` held, so that nobody begins to describe the contents until the bytes have changed.
fn nothing_before_change(vi: &VexInode, start: u64, end: u64) -> Result {
    let core = vi.core().try_read().ok_or(EAGAIN)?;
    // Whether a range is noted already stands in records; they may be on disk.
    if core.state & STATE_EMBEDDED != 0 && !core.attr_in_core() {
        return Err(EAGAIN);
    }
    let fs = vi.fs();
    let committing = vi
        .data()
        .version_tid()
        .is_some_and(|tid| !tid_geq(fs.store.committed(), tid));
    if committing || fs.needs_note(&core, start, end)? {
        return Err(EAGAIN);
    }
    Ok(())
}

/// The file grows beyond its end: what lies between must read as zeroes, in the block of the old
/// end of file too.
///
/// # Context
///
/// `i_rwsem` held exclusively, no direct I/O running.
fn zero_gap(vi: &VexInode, pos: u64) -> Result {
    if vi.data().needs_trim() {
        truncate::finish(vi)?;
    }
    let size = vi.size();
    if pos <= size {
        return Ok(());
    }
    let _invalidate = vi.invalidate_lock();
    let zeroed = iomap::zero_range(vi, size, pos - size)?;
    // The size on disk grows when data behind the gap is on disk. The old last block's rest must be
    // zero by then: after a truncate, or when we do not know, the zeroes are written first. Later
    // growth finds it clean.
    if zeroed && !vi.data().tail_clean() {
        vi.write_and_wait(size, pos - 1)?;
    }
    vi.data().set_tail_clean(true);
    Ok(())
}

/// Writes past the page cache.
fn write_direct(request: &mut Request<'_>) -> Result<usize> {
    let vi = request.inode();
    let count = request.count();
    if (request.pos() | count) & (vi.sector_size() - 1) != 0 {
        return Err(EINVAL);
    }
    // Parts of blocks are zeroed around data in blocks that were never written, so two such writes
    // to one block must not run side by side. A plain overwrite needs no zeroing: try that first.
    let mut alone = false;
    loop {
        let exclusive = alone || request.may_remove_privs() || vi.data().needs_trim();
        let mode = if exclusive {
            Mode::Exclusive
        } else {
            Mode::Shared
        };
        let mut lock = RwLocked::take(vi, mode, request.nowait())?;
        if request.generic_checks()? == 0 {
            return Ok(0);
        }
        // Where it goes is known only now (O_APPEND, limits), and the size holds still only under
        // the exclusive lock.
        let (pos, end, size) = (
            request.pos(),
            request.pos().saturating_add(request.count()),
            vi.size(),
        );
        let aligned = (pos | end) & (BLOCK - 1) == 0;
        if mode == Mode::Shared && (pos > size || (!aligned && end >= size)) {
            drop(lock);
            request.reexpand(count);
            alone = true;
            continue;
        }
        prepare(request, vi)?;
        let flags = if aligned {
            lock.downgrade();
            0
        } else if mode == Mode::Exclusive {
            vi.wait_for_direct_io();
            bindings::IOMAP_DIO_FORCE_WAIT
        } else {
            bindings::IOMAP_DIO_OVERWRITE_ONLY
        };
        match request.direct_write(flags) {
            Err(e)
                if e == EAGAIN
                    && flags == bindings::IOMAP_DIO_OVERWRITE_ONLY
                    && !request.nowait() =>
            {
                alone = true
            }
            other => return other,
        }
    }
}

/// The metadata half of fsync: the data was written and waited for.
///
/// # Errors
///
/// The journal's.
pub(crate) fn sync_metadata(vi: &VexInode, datasync: bool) -> Result {
    vi.check_running()?;
    if vi.read_only() {
        return Ok(());
    }
    if !datasync {
        vi.flush_attributes()?;
    }
    // The data is in the device's cache. The commit record of a transaction that is still to come
    // flushes it too; otherwise nothing has flushed it yet.
    let tid = vi.data().commit_tid(datasync);
    let flush = !vi.commit_will_flush(tid);
    vi.commit_tid(tid)?;
    if flush {
        vi.flush_device()?;
    }
    Ok(())
}
