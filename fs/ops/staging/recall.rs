// SPDX-License-Identifier: GPL-2.0

//! Waiting for bytes that are offline, and delivering them.

use super::{file_by_number, Shared};
use crate::crc32c::crc32c;
use crate::libvexfs::errno::estale;
use crate::libvexfs::format::inode::STATE_OFFLINE;
use crate::libvexfs::journal::{Store as _, Trans as _};
use crate::libvexfs::staging::blocks::{Part, STAGE_CREDITS};
use crate::libvexfs::staging::copy::{chunk_sum, Copy};
use crate::libvexfs::staging::queue::{priority, Hint, Outcome, Request, Want};
use crate::libvexfs::staging::{ebadmsg, CHUNK};
use crate::libvexfs::{credits, Inode, Mode};
use crate::vfs::{
    fault::{Fault, Ready},
    inode::VexInode,
    log, sched,
    staging::{current_pid, current_uid, monotonic_ns},
    super_block::SuperBlock,
    uapi,
    wait::Signals,
};
use core::sync::atomic::Ordering;
use kernel::prelude::*;

const BLOCK: u64 = 4096;

/// How often a recall that ended well is asked for again because the file went offline meanwhile.
const MAX_ROUNDS: u32 = 8;

/// How long a waiting task sleeps at most before it looks whether the file system still works: a
/// journal that aborts wakes nobody.
const LOOK_AGAIN_MS: u32 = 10_000;

impl Shared {
    /// The bytes of a file cannot come, since nothing is written here. Says so in the log, once.
    #[cold]
    fn cannot_come(&self, vi: &VexInode) -> Error {
        if !self.told_read_only.swap(true, Ordering::Relaxed) {
            vi.sb().log(
                log::WARN,
                format_args!(
                    "inode {} is offline: offline files cannot be read while this is read-only",
                    vi.ino()
                ),
            );
        }
        EROFS
    }
}

/// A place in the queue; given up when dropped.
struct Ticket<'a> {
    shared: &'a Shared,
    cookie: u64,
    served: bool,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let tell = {
            let mut queue = self.shared.queue.lock();
            if self.served {
                queue.served(self.cookie);
                false
            } else {
                queue.leave(self.cookie)
            }
        };
        if tell {
            self.shared.requests.wake_all();
        }
    }
}

/// What a caller puts up with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It must not sleep (RWF_NOWAIT, io_uring).
    Never,
    /// It does not wait for a volume (O_NONBLOCK).
    Brief,
    /// It waits.
    Full,
}

/// Waits until none of the bytes `[pos, pos + len)` is offline.
///
/// # Errors
///
/// `EAGAIN` if it would wait and must not; the recall is queued then, unless finding out whether one
/// is needed would have to wait. `EINTR` when killed, `EIO` when there is no good copy, `EROFS` when
/// the bytes cannot come because nothing is written to this file system.
///
/// # Context
///
/// No lock held that staging needs: no transaction, no folio, no core.
pub(crate) fn before_read(vi: &VexInode, pos: u64, len: u64, patience: Patience) -> Result {
    if !may_be_offline(vi, patience)? {
        return Ok(());
    }
    let end = pos.saturating_add(len).min(vi.size());
    wait_online(vi, pos / BLOCK, end.div_ceil(BLOCK), patience)
}

/// The same before bytes `[pos, pos + len)` are written (`append`: at the end of file): the block
/// with the end of file, which a write behind it zeroes the rest of, must be there too.
///
/// # Errors
///
/// As [`before_read`].
///
/// # Context
///
/// As [`before_read`], once inside of `sb_start_write`. While it waits it is outside: whoever
/// freezes the file system does not wait for a volume.
pub(crate) fn before_write(
    vi: &VexInode,
    pos: u64,
    len: u64,
    append: bool,
    patience: Patience,
) -> Result {
    if !may_be_offline(vi, patience)? {
        return Ok(());
    }
    let size = vi.size();
    let start = if append { size } else { pos.min(size) };
    let end = start.max(pos).saturating_add(len);
    let last = last_block(size);
    let ranges = [
        (start / BLOCK, end.div_ceil(BLOCK)),
        // Nothing, if the write ends before the end of file.
        (last.0, if end >= size { last.1 } else { 0 }),
    ];
    for (from, to) in ranges {
        if missing(vi, from, to, patience)?.is_none() {
            continue;
        }
        if patience != Patience::Full {
            return wait_online(vi, from, to, patience);
        }
        vi.sb()
            .outside_write(|| wait_online(vi, from, to, patience))?;
    }
    Ok(())
}

/// The block with the end of a file of `size` bytes, as a range.
fn last_block(size: u64) -> (u64, u64) {
    (size.saturating_sub(1) / BLOCK, size.div_ceil(BLOCK))
}

/// The same before the file's size becomes `new`: if it grows, the block with the end of file must
/// be there. Says whether it waited.
///
/// # Errors
///
/// As [`before_read`].
///
/// # Context
///
/// `i_rwsem` held exclusively, once inside of `sb_start_write`. While it waits both are let go, so
/// whatever was checked under the lock has to be checked afterwards: nobody who wants to look at,
/// rename or unlink the file waits for a volume.
pub(crate) fn before_resize(vi: &VexInode, new: u64) -> Result<bool> {
    let mut waited = false;
    loop {
        let size = vi.size();
        if new <= size || !may_be_offline(vi, Patience::Full)? {
            return Ok(waited);
        }
        let (from, to) = last_block(size);
        if missing(vi, from, to, Patience::Full)?.is_none() {
            return Ok(waited);
        }
        waited = true;
        vi.while_unlocked(|| {
            vi.sb()
                .outside_write(|| wait_online(vi, from, to, Patience::Full))
        })?;
    }
}

/// Before a page fault: if its data is offline, gives up the lock that the fault holds and waits.
///
/// # Errors
///
/// `EIO`; `EAGAIN` where waiting is not allowed.
pub(crate) fn before_fault(fault: Fault) -> Result<Ready> {
    let pos = fault.pos();
    let inode = fault.inode();
    if !may_be_offline(inode, Patience::Full)? {
        return Ok(Ready::Here);
    }
    let first = pos / BLOCK;
    let part = inode
        .fs()
        .first_offline(&inode.core().read(), first, first + 1)?;
    if part.is_none() {
        return Ok(Ready::Here);
    }
    if !fault.may_retry() {
        // This is the second try, after a wait, or a place where nobody may wait. If the wait
        // failed there is nothing to wait for; otherwise the access will come again.
        let queue = inode.mount().staging.queue.lock();
        let activity = queue.activity(inode.ino(), inode.generation());
        drop(queue);
        if activity.last_error.is_some() {
            return Err(EIO);
        }
        wait_online(inode, first, first + 1, Patience::Brief)?;
        return Err(EAGAIN);
    }
    let Some(file) = fault.unlock() else {
        return Err(EAGAIN);
    };
    // With the lock gone only a retry may be answered: it finds out what came of the wait.
    let _ = wait_online(file.inode(), first, first + 1, Patience::Full);
    Ok(Ready::Again)
}

/// Cheap: false for all files that are not offline.
fn may_be_offline(vi: &VexInode, patience: Patience) -> Result<bool> {
    let core = match patience {
        Patience::Never => vi.core().try_read().ok_or(EAGAIN)?,
        _ => vi.core().read(),
    };
    Ok(core.state & STATE_OFFLINE != 0)
}

/// Waits until none of the blocks `[from, to)` is offline.
fn wait_online(vi: &VexInode, from: u64, to: u64, patience: Patience) -> Result {
    let shared: &Shared = &vi.mount().staging;
    let arrivals = shared.arrivals(vi.ino())?;
    let mut ticket: Option<Ticket<'_>> = None;
    let mut rounds = 0;
    loop {
        let seen = arrivals.count();
        let Some(want) = missing(vi, from, to, patience)? else {
            if let Some(ticket) = &mut ticket {
                ticket.served = true;
            }
            return Ok(());
        };
        vi.check_running()?;
        if vi.sb().closed_to_writers() {
            return Err(shared.cannot_come(vi));
        }
        match &ticket {
            None if patience != Patience::Full => {
                shared.queue.lock().prefetch(&want)?;
                shared.requests.wake_all();
                return Err(EAGAIN);
            }
            None => {
                let cookie = shared.queue.lock().recall(&want)?;
                ticket = Some(Ticket {
                    shared,
                    cookie,
                    served: false,
                });
                shared.requests.wake_all();
            }
            Some(t) => {
                let outcome = shared.queue.lock().outcome(t.cookie);
                match outcome {
                    Outcome::Pending => arrivals.wait(seen, Signals::Fatal, Some(LOOK_AGAIN_MS))?,
                    Outcome::Done(Err(e)) => return Err(e),
                    Outcome::Done(Ok(())) if rounds < MAX_ROUNDS => {
                        rounds += 1;
                        ticket = None;
                    }
                    Outcome::Done(Ok(())) => return Err(EIO),
                }
            }
        }
    }
}

/// What has to be recalled so that the blocks `[from, to)` are online; nothing if they are.
///
/// # Errors
///
/// `EAGAIN` if it would have to wait to find out and must not.
fn missing(vi: &VexInode, from: u64, to: u64, patience: Patience) -> Result<Option<Want>> {
    let part = {
        let core = match patience {
            Patience::Never => vi.core().try_read().ok_or(EAGAIN)?,
            _ => vi.core().read(),
        };
        // Extents that are not in the inode may have to be read from disk. (So may the records of
        // the copies, but then it is known that the caller will have to wait.)
        if patience == Patience::Never && !core.data_in_core() {
            return Err(EAGAIN);
        }
        vi.fs().first_offline(&core, from, to)?
    };
    match part {
        None => Ok(None),
        Some(part) => want_all(vi, &part, priority::READ).map(Some),
    }
}

/// A recall of all of the file that is offline, of which `part` is a part.
pub(super) fn want_all(vi: &VexInode, part: &Part, priority: u8) -> Result<Want> {
    let size = vi.size();
    let (copy, range) = {
        let core = vi.core().read();
        let copy = vi.fs().source(&core, part.src_version, 0)?;
        let archived = copy.as_ref().map_or(0, |c| c.len);
        (copy, vi.fs().recall_range(&core, size, archived)?)
    };
    let Some(copy) = copy else {
        lost(vi, part.src_version);
        return Err(EIO);
    };
    let (off, len) = range.unwrap_or((0, copy.len));
    Ok(Want {
        ino: vi.ino(),
        generation: vi.generation(),
        off,
        len,
        file_size: copy.len,
        version: part.src_version,
        hint: hint_of(&copy),
        uid: current_uid(),
        pid: current_pid(),
        priority,
        now_ns: monotonic_ns(),
    })
}

/// Where a copy is, for agents.
pub(super) fn hint_of(c: &Copy) -> Hint {
    Hint {
        copy: c.copy,
        volume: c.volume,
        bundle: c.bundle,
        block: c.block,
        object_off: c.object_off,
    }
}

/// Says that bytes of a file cannot be had any more.
#[cold]
pub(super) fn lost(vi: &VexInode, version: u64) {
    vi.sb().log(
        log::ERR,
        format_args!(
            "inode {}: no copy of version {version} can be read",
            vi.ino()
        ),
    );
}

/// How far a delivery came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// All bytes were dealt with.
    Whole,
    /// The file system is frozen: whoever waits for the thaw, without the link, may go on.
    Frozen,
}

/// Bytes of a recall come in: `[off, off + len)` of the archived version, at user address `buf`, of
/// which `done` were dealt with before. Says how it ended.
pub(super) fn deliver(
    shared: &Shared,
    sb: &SuperBlock,
    request: &Request,
    (off, len): (u64, u64),
    buf: u64,
    done: &mut u64,
) -> Result<Delivery> {
    let archived = request.want.file_size;
    let end = off.checked_add(len).ok_or(EINVAL)?;
    if off % CHUNK != 0 || end > archived || (end % CHUNK != 0 && end != archived) {
        return Err(EINVAL);
    }
    let vi = file_by_number(sb, request.want.ino, request.want.generation)?;
    if vi.read_only() {
        return Err(EROFS);
    }
    let mut bytes = KVVec::from_elem(0u8, CHUNK as usize, GFP_KERNEL)?;
    while *done < len {
        if shared.link.is_cut() {
            return Err(ENODEV);
        }
        if sched::killed() {
            return Err(EINTR);
        }
        let n = CHUNK.min(len - *done);
        let chunk = (off + *done) / CHUNK;
        let version = request.want.version;
        if missing_in_chunk(&vi, version, chunk, 0)?.is_some() {
            let (data, rest) = bytes.split_at_mut(n as usize);
            // What is here already was not copied, so the address was not looked at yet.
            let from = buf.checked_add(*done).ok_or(EFAULT)?;
            uapi::slice(from, n as usize).reader().read_slice(data)?;
            rest.fill(0);
            check(&vi, request, chunk, data)?;
            {
                // Nothing reaches the device of a frozen file system, not even free blocks.
                let Some(_write) = sb.try_hold_write() else {
                    return Ok(Delivery::Frozen);
                };
                // A release that began before the recall was asked for ends first, or it would give
                // back what comes in, and the recall would have brought nothing.
                let _invalidate = vi.invalidate_lock_shared();
                publish_chunk(&vi, version, chunk, &mut bytes)?;
            }
            shared.arrived(vi.ino());
        }
        *done += n;
    }
    Ok(Delivery::Whole)
}

fn missing_in_chunk(vi: &VexInode, version: u64, chunk: u64, from: u64) -> Result<Option<Part>> {
    vi.fs()
        .offline_in_chunk(&vi.core().read(), version, chunk, from)
}

/// Whether the bytes are those that were archived.
fn check(vi: &VexInode, request: &Request, chunk: u64, data: &[u8]) -> Result {
    let wanted = vi
        .fs()
        .chunk_sum(&vi.core().read(), request.want.version, chunk);
    let wanted = wanted.inspect_err(|e| {
        if *e == estale() {
            vi.sb().log(
                log::ERR,
                format_args!("inode {}: no checksum of chunk {chunk}, run fsck", vi.ino()),
            );
        }
    })?;
    if chunk_sum(crc32c, data) == wanted {
        return Ok(());
    }
    let hint = &request.want.hint;
    vi.sb().log(
        log::ERR,
        format_args!(
            "inode {}: copy {} (volume {}, bundle {}) has wrong bytes in chunk {chunk}",
            vi.ino(),
            hint.copy,
            hint.volume,
            hint.bundle
        ),
    );
    Err(ebadmsg())
}

/// Makes the checked bytes of a chunk part of the file where it is offline.
fn publish_chunk(vi: &VexInode, version: u64, chunk: u64, bytes: &mut [u8]) -> Result {
    let mut from = 0;
    let mut goal = 0;
    while let Some(part) = missing_in_chunk(vi, version, chunk, from)? {
        let at = (part.src_block * BLOCK - chunk * CHUNK) as usize;
        let end = (at + (part.len * BLOCK) as usize).min(bytes.len());
        let bytes = bytes.get_mut(at..end).ok_or(EINVAL)?;
        // What was cut off of the file must not come back behind its end.
        let size = vi.size();
        let live = size
            .saturating_sub(part.lblk * BLOCK)
            .min(bytes.len() as u64) as usize;
        bytes[live..].fill(0);
        let (phys, done) = vi
            .mount()
            .with_space(|| publish_part(vi, part, goal, bytes))?;
        goal = phys + done;
        from = part.lblk + done.max(1);
    }
    Ok(())
}

/// One step of [`publish_chunk`]: writes the bytes to free blocks, and then makes these part of the
/// file in one transaction. Returns where, and how many blocks are dealt with.
///
/// No transaction is open while the device writes. The commit flushes the device's cache first: after
/// a crash the blocks are part of the file with these bytes, or free.
fn publish_part(vi: &VexInode, part: Part, goal: u64, bytes: &[u8]) -> Result<(u64, u64)> {
    let fs = vi.fs();
    let claim = fs.claim(goal, part.len, Mode::Normal)?;
    let length = (claim.blocks() * BLOCK) as usize;
    vi.write_blocks(claim.bno(), bytes.get(..length).ok_or(EINVAL)?)?;
    let mut t = fs.store.begin(STAGE_CREDITS)?;
    let (phys, len) = claim.allocate(&mut t)?;
    let mut core = vi.core().write();
    let published = fs.publish(&mut t, &mut core, part, phys, len);
    vi.data().changed();
    vi.data().note(t.tid(), true);
    vi.show_blocks(&core);
    drop(core);
    match published {
        // Blocks that are not offline any more are as well dealt with as those published.
        Ok(_) => {}
        // No room for the tree: it is as it was, so the blocks can be given back.
        Err(e) if e == ENOSPC => {
            fs.free_data(&mut t, phys, len)?;
            t.stop()?;
            return Err(e);
        }
        Err(e) => return Err(e),
    }
    t.stop()?;
    Ok((phys, len))
}

/// A recall ended: takes the mark off the file if nothing is offline any more. Says whether blocks
/// of the request's range still are.
pub(super) fn settle(vi: &VexInode, request: &Request) -> Result<bool> {
    let fs = vi.fs();
    let mut t = fs.store.begin(credits::INODE)?;
    let mut core = vi.core().write();
    let left = fs.settle_offline(&mut t, &mut core);
    if t.dirtied() {
        vi.data().note(t.tid(), true);
    }
    let left = left.and_then(|left| Ok(left && still_offline(vi, &core, request)?));
    drop(core);
    let left = left?;
    t.stop()?;
    Ok(left)
}

fn still_offline(vi: &VexInode, core: &Inode, request: &Request) -> Result<bool> {
    let want = &request.want;
    let first = want.off / BLOCK;
    let end = want.off.saturating_add(want.len).div_ceil(BLOCK);
    let mut at = first;
    while let Some(part) = vi.fs().first_offline(core, at, end)? {
        if part.src_version == want.version {
            return Ok(true);
        }
        at = part.lblk + part.len;
    }
    Ok(false)
}
