// SPDX-License-Identifier: GPL-2.0

//! Records: mark, get, list, delete.

use super::reap::{remove_owned, remove_slots};
use super::search::{describe, SEED};
use super::sight::{Sight, Verdicts};
use super::{put::may_describe, unless_dropped, Open};
use crate::crc32c::crc32c;
use crate::libvexfs::vector::Record;
use crate::ops::version;
use crate::vfs::{bindings, ioctl::File, sched, uapi};
use kernel::prelude::*;

/// Records that are looked up together.
const BATCH: usize = 256;

/// `VEXFS_IOC_MARK`.
pub(super) fn mark(file: &File, arg: usize) -> Result<isize> {
    let (mut raw, size) = uapi::get::<bindings::vexfs_mark>(arg, 40)?;
    if raw.flags != 0 || raw.reserved != 0 {
        return Err(EINVAL);
    }
    may_describe(file)?;
    let inode = file.inode();
    raw.version = version::settle(inode, |_| Ok(()))?;
    raw.ino = inode.ino();
    raw.generation = inode.generation();
    raw.file_size = inode.size();
    uapi::put(arg, size, &raw)?;
    Ok(0)
}

/// `VEXFS_IOC_GET`.
pub(super) fn get(file: &File, arg: usize) -> Result<isize> {
    let (mut raw, size) = uapi::get::<bindings::vexfs_get>(arg, 88)?;
    if raw.flags != 0 {
        return Err(EINVAL);
    }
    let mount = file.inode().mount();
    let open = Open::new(mount, raw.collection)?;
    let len = raw.vector_len as usize;
    if ![0, open.wide(), open.stored()].contains(&len) {
        return Err(EINVAL);
    }
    let (slot, record, vector) = read_by_key(file, &open, raw.key)?;
    raw.record = describe(file, slot, &record)?.ok_or(ENOENT)?;
    if len == open.wide() {
        let mut wide = KVVec::from_elem(0u8, len, GFP_KERNEL)?;
        open.kernels.decode(&vector, &mut wide)?;
        uapi::slice(raw.vector, len).writer().write_slice(&wide)?;
    } else if len != 0 {
        let to = uapi::slice(raw.vector, len);
        to.writer().write_slice(&vector)?;
    }
    uapi::put(arg, size, &raw)?;
    Ok(0)
}

/// The record with a key, its slot and its vector, if the caller may see it.
///
/// # Errors
///
/// `ENOENT` if there is none for the caller; `EUCLEAN`, `EIO`, `ENOMEM`, `EINTR`.
pub(super) fn read_by_key(file: &File, open: &Open, key: u64) -> Result<(u32, Record, KVVec<u8>)> {
    let mut vector = KVVec::from_elem(0u8, open.stored(), GFP_KERNEL)?;
    let (slot, record) = loop {
        let (slot, record) = by_key(open, key)?.ok_or(ENOENT)?;
        let read = read_vector(open, slot, &mut vector)?;
        if by_key(open, key)? == Some((slot, record)) {
            check_vector(open, read, &vector, &record)?;
            break (slot, record);
        }
        // It was replaced between the two looks.
        if sched::killed() {
            return Err(EINTR);
        }
    };
    if !Sight::new(file, false)?.sees(record.ino, record.generation)? {
        return Err(ENOENT);
    }
    Ok((slot, record, vector))
}

/// Reads the vector in a slot, and tells how many bytes of it there were.
///
/// # Errors
///
/// `ENOENT` if the collection was dropped; `EIO`, `ENOMEM`, `EINTR`.
pub(super) fn read_vector(open: &Open, slot: u32, vector: &mut [u8]) -> Result<usize> {
    let read = open
        .file
        .reader()
        .read_at(open.collection.offset(slot), vector);
    unless_dropped(open, read)
}

/// Checks a vector that was read while its record lived.
///
/// # Errors
///
/// `EUCLEAN`.
pub(super) fn check_vector(open: &Open, read: usize, vector: &[u8], record: &Record) -> Result {
    if read != vector.len() || crc32c(SEED, vector) != record.crc {
        let inode = open.inode();
        return Err(inode
            .fs()
            .damaged(inode.ino(), 0, "a vector has a wrong checksum"));
    }
    Ok(())
}

/// The record with a key, and its slot.
fn by_key(open: &Open, key: u64) -> Result<Option<(u32, Record)>> {
    let fs = open.inode().fs();
    let core = open.inode().core().read();
    let found = match fs.slot_of_key(&core, key) {
        Ok(Some(slot)) => fs.record(&core, slot).map(|r| r.map(|r| (slot, r))),
        Ok(None) => Ok(None),
        Err(e) => Err(e),
    };
    core::mem::drop(core);
    unless_dropped(open, found)
}

/// `VEXFS_IOC_LIST`.
pub(super) fn list(file: &File, arg: usize) -> Result<isize> {
    let (mut raw, size) = uapi::get::<bindings::vexfs_list>(arg, 40)?;
    if raw.flags & !bindings::VEXFS_LIST_OWNER != 0 || raw.reserved != 0 {
        return Err(EINVAL);
    }
    uapi::check_item_size(raw.record_size, 56)?;
    if raw.count > bindings::VEXFS_MAX_LIST {
        return Err(E2BIG);
    }
    let owned = raw.flags & bindings::VEXFS_LIST_OWNER != 0;
    let open = Open::new(file.inode().mount(), raw.collection)?;
    let mut sight = Sight::new(file, false)?;
    let mut found = KVec::with_capacity(BATCH, GFP_KERNEL)?;
    let mut count = 0;
    // What comes after the largest cursor is the end.
    let mut next = Some(raw.cursor);
    raw.flags |= bindings::VEXFS_LIST_END;
    'all: while let Some(cursor) = next {
        if count >= raw.count {
            raw.flags &= !bindings::VEXFS_LIST_END;
            break;
        }
        if sched::killed() {
            return Err(EINTR);
        }
        unless_dropped(&open, batch(file, &open, owned, cursor, &mut found))?;
        if found.is_empty() {
            break;
        }
        for (at, slot, record) in found.iter() {
            if count >= raw.count {
                next = Some(*at);
                continue 'all;
            }
            next = at.checked_add(1);
            let seen = sight.sees(record.ino, record.generation)?;
            let Some(told) = describe(file, *slot, record)?.filter(|_| seen) else {
                continue;
            };
            uapi::put_item(raw.records, raw.record_size, count as usize, &told)?;
            count += 1;
        }
    }
    raw.count = count;
    raw.cursor = next.unwrap_or(u64::MAX);
    uapi::put(arg, size, &raw)?;
    Ok(0)
}

/// Looks up some records from `cursor` on: cursor, slot and record of each.
fn batch(
    file: &File,
    open: &Open,
    owned: bool,
    cursor: u64,
    out: &mut KVec<(u64, u32, Record)>,
) -> Result {
    out.clear();
    let fs = open.inode().fs();
    let mut keys = KVec::with_capacity(BATCH, GFP_KERNEL)?;
    let mut slots = KVec::with_capacity(BATCH, GFP_KERNEL)?;
    let core = open.inode().core().read();
    if owned {
        let Ok(from) = u32::try_from(cursor) else {
            return Ok(());
        };
        fs.slots_by_owner(&core, file.inode().ino(), from, BATCH, &mut slots)?;
        for &slot in slots.iter() {
            keys.push((slot.into(), slot), GFP_KERNEL)?;
        }
    } else {
        fs.slots_by_key(&core, cursor, BATCH, &mut keys)?;
    }
    for &(at, slot) in keys.iter() {
        if let Some(record) = fs.record(&core, slot)? {
            out.push((at, slot, record), GFP_KERNEL)?;
        }
    }
    Ok(())
}

/// `VEXFS_IOC_DELETE`.
pub(super) fn delete(file: &File, arg: usize) -> Result<isize> {
    let (mut raw, size) = uapi::get::<bindings::vexfs_delete>(arg, 40)?;
    let owned = raw.flags & bindings::VEXFS_DELETE_OWNER != 0;
    let known = bindings::VEXFS_DELETE_OWNER | bindings::VEXFS_DELETE_SYNC;
    if raw.flags & !known != 0 || (owned && raw.count != 0) {
        return Err(EINVAL);
    }
    if raw.count > bindings::VEXFS_MAX_DELETE {
        return Err(E2BIG);
    }
    let mount = file.inode().mount();
    let open = Open::new(mount, raw.collection)?;
    raw.deleted = 0;
    if owned {
        may_describe(file)?;
        raw.deleted = remove_owned(&open, file.inode(), || !sched::killed())?;
    } else {
        let count = raw.count as usize;
        let mut first = 0;
        while first < count {
            if sched::killed() {
                return Err(EINTR);
            }
            let n = BATCH.min(count - first);
            raw.deleted += delete_some(file, &open, &raw, first, n)?;
            first += n;
            sched::yield_if_needed();
        }
    }
    if raw.deleted > 0 {
        let tid = mount.fs.store.newest_tid();
        file.inode().data().note(tid, true);
        if raw.flags & bindings::VEXFS_DELETE_SYNC != 0 {
            mount.fs.store.sync_tid(tid)?;
        }
    }
    uapi::put(arg, size, &raw)?;
    Ok(0)
}

/// Deletes records by key: `n` keys from the `first` on.
fn delete_some(
    file: &File,
    open: &Open,
    raw: &bindings::vexfs_delete,
    first: usize,
    n: usize,
) -> Result<u64> {
    let mut keys = KVec::from_elem(0u8, 8 * n, GFP_KERNEL)?;
    let at = raw.keys.checked_add(8 * first as u64).ok_or(EFAULT)?;
    uapi::slice(at, keys.len()).reader().read_slice(&mut keys)?;
    let mut status = KVec::with_capacity(n, GFP_KERNEL)?;
    let deleted = delete_keys(file, open, &keys, &mut status)?;
    if raw.status != 0 {
        let at = raw.status.checked_add(4 * first as u64).ok_or(EFAULT)?;
        let mut writer = uapi::slice(at, 4 * n).writer();
        for code in status.iter() {
            writer.write_slice(&code.to_ne_bytes())?;
        }
    }
    Ok(deleted)
}

fn delete_keys(file: &File, open: &Open, keys: &[u8], status: &mut KVec<i32>) -> Result<u64> {
    let mut verdicts = Verdicts::new();
    let (_lock, slots) = loop {
        let lock = file.inode().mount().vectors.lock(open.collection.id)?;
        if open.dropped() {
            return Err(ENOENT);
        }
        status.clear();
        let slots = may_delete(open, keys, &mut verdicts, status)?;
        if !verdicts.missing() {
            break (lock, slots);
        }
        drop(lock);
        verdicts.look(file)?;
    };
    let mut done = 0;
    while let Some(rest) = slots.get(done..).filter(|r| !r.is_empty()) {
        done += remove_slots(open, rest)?;
    }
    Ok(done as u64)
}

/// The slots of those keys whose records may be deleted; all keys get a status.
fn may_delete(
    open: &Open,
    keys: &[u8],
    verdicts: &mut Verdicts,
    status: &mut KVec<i32>,
) -> Result<KVec<u32>> {
    let mut slots = KVec::new();
    for key in keys.chunks_exact(8) {
        let key = u64::from_ne_bytes(key.try_into().map_err(|_| EINVAL)?);
        let verdict = match by_key(open, key)? {
            // A key that is given twice is gone the second time.
            Some((slot, _)) if slots.contains(&slot) => Err(ENOENT),
            Some((slot, record)) => match verdicts.get(record.ino, record.generation)? {
                Ok(()) => Ok(slots.push(slot, GFP_KERNEL)?),
                Err(e) => Err(e),
            },
            None => Err(ENOENT),
        };
        let code = verdict.map_or_else(Error::to_errno, |()| 0);
        status.push(code, GFP_KERNEL)?;
    }
    Ok(slots)
}
