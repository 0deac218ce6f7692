// SPDX-License-Identifier: GPL-2.0

//! Putting records.
//!
//! A call goes in chunks. Of each: look at the items and copy the vectors from the user, with no
//! lock held; then with the collection's lock: who may replace what, note the collection at the
//! owners, write the vectors to free slots and wait until they are on disk, publish the records.

use super::{change, search::SEED, sight::Verdicts, Open};
use crate::crc32c::crc32c;
use crate::libvexfs::format::inode::STATE_INTERNAL;
use crate::libvexfs::journal::Tid;
use crate::libvexfs::vector::record::{Publish, BASE_CREDITS, PUT_CREDITS};
use crate::libvexfs::vector::top::sort_by_key;
use crate::libvexfs::vector::{stale, Record};
use crate::ops::version;
use crate::vfs::{
    access::{self, FileRef, MAY_WRITE},
    bindings,
    inode::VexInode,
    ioctl::File,
    sched, uapi,
};
use kernel::prelude::*;

/// Bytes of vectors in a chunk, more or less.
const CHUNK_BYTES: usize = 2 << 20;
/// Items in a chunk at most.
const CHUNK_ITEMS: usize = 4096;

/// Whether the caller may write to a file that vectors are to describe.
///
/// # Errors
///
/// `EINVAL` if it is no regular file, and what the permission check says.
pub(super) fn may_describe(file: &File) -> Result {
    let inode = file.inode();
    if !inode.is_regular() || inode.core().read().state & STATE_INTERNAL != 0 {
        return Err(EINVAL);
    }
    if file.writable() {
        return Ok(());
    }
    access::permission(file.idmap(), inode, MAY_WRITE)
}

/// A file that items of this call describe.
struct Owner {
    fd: i32,
    /// None: the file of the call itself.
    file: Option<FileRef>,
    verdict: Result,
    /// The version of its contents that this call has settled.
    settled: Option<u64>,
}

/// An item that is on its way.
struct Item {
    /// Its index in the call.
    index: usize,
    /// Index of its owner.
    owner: usize,
    record: Record,
    /// Index of its vector in the chunk's buffer.
    vector: usize,
}

/// One call.
struct Call<'a> {
    file: &'a File,
    open: &'a Open,
    raw: &'a bindings::vexfs_put,
    owners: KVVec<Owner>,
    /// The newest transaction.
    tid: Option<Tid>,
    done: u32,
}

/// What comes before a put, and outside of the hold on the mount: if the index is far behind, waits
/// until it has caught up.
pub(super) fn wait(file: &File, arg: usize) -> Result {
    let (raw, _) = uapi::get::<bindings::vexfs_put>(arg, 32)?;
    let mount = file.inode().mount();
    let indexes = &mount.vectors.indexes;
    indexes.wait_for_room(mount, raw.collection, file.nonblocking())
}

/// `VEXFS_IOC_PUT`.
pub(super) fn put(file: &File, arg: usize) -> Result<isize> {
    let (mut raw, size) = uapi::get::<bindings::vexfs_put>(arg, 32)?;
    if raw.flags & !(bindings::VEXFS_PUT_SYNC | bindings::VEXFS_PUT_NEW) != 0 {
        return Err(EINVAL);
    }
    uapi::check_item_size(raw.item_size, 56)?;
    let count = raw.count as usize;
    let mount = file.inode().mount();
    let open = Open::new(mount, raw.collection)?;
    if raw.count > bindings::VEXFS_MAX_PUT
        || count * open.wide() > bindings::VEXFS_MAX_PUT_BYTES as usize
    {
        return Err(E2BIG);
    }
    let mut call = Call {
        file,
        open: &open,
        raw: &raw,
        owners: KVVec::new(),
        tid: None,
        done: 0,
    };
    let per_chunk = (CHUNK_BYTES / open.stored()).clamp(1, CHUNK_ITEMS);
    let mut first = 0;
    while first < count {
        if sched::killed() {
            return Err(EINTR);
        }
        let n = per_chunk.min(count - first);
        call.chunk(first, n)?;
        first += n;
        sched::yield_if_needed();
    }
    let (tid, done) = (call.tid, call.done);
    drop(call);
    mount.vectors.indexes.changed();
    if let Some(tid) = tid.filter(|_| raw.flags & bindings::VEXFS_PUT_SYNC != 0) {
        mount.fs.store.sync_tid(tid)?;
    }
    raw.done = done;
    uapi::put(arg, size, &raw)?;
    Ok(0)
}

impl Call<'_> {
    fn chunk(&mut self, first: usize, n: usize) -> Result {
        let mut items = KVVec::with_capacity(n, GFP_KERNEL)?;
        let mut status = KVVec::from_elem(Ok(()), n, GFP_KERNEL)?;
        let mut vectors = KVVec::from_elem(0u8, n * self.open.stored(), GFP_KERNEL)?;
        let mut wide = KVVec::from_elem(0u8, self.open.wide(), GFP_KERNEL)?;
        for (i, status) in status.iter_mut().enumerate() {
            let raw = uapi::get_item(self.raw.items, self.raw.item_size, first + i)?;
            let at = items.len() * self.open.stored();
            let room = vectors.get_mut(at..at + self.open.stored()).ok_or(EINVAL)?;
            match self.admit(&raw, &mut wide, room) {
                Ok((owner, record)) => {
                    let item = Item {
                        index: i,
                        owner,
                        record,
                        vector: items.len(),
                    };
                    items.push(item, GFP_KERNEL)?;
                }
                Err(e) if e == ENOMEM || e == EINTR => return Err(e),
                Err(e) => *status = Err(e),
            }
        }
        self.store(items, &vectors, &mut status)?;
        for (i, status) in status.iter().enumerate() {
            self.tell(first + i, status)?;
        }
        Ok(())
    }

    /// Writes an item's status to the user.
    fn tell(&mut self, index: usize, status: &Result) -> Result {
        let code = match status {
            Ok(()) => 0,
            Err(e) => e.to_errno(),
        };
        self.done += u32::from(code == 0);
        let off = index * self.raw.item_size as usize
            + core::mem::offset_of!(bindings::vexfs_put_item, status);
        let at = self.raw.items.checked_add(off as u64).ok_or(EFAULT)?;
        uapi::slice(at, 4).writer().write_slice(&code.to_ne_bytes())
    }

    /// Looks at an item, copies its vector to `to` and tells its owner and record.
    fn admit(
        &mut self,
        raw: &bindings::vexfs_put_item,
        wide: &mut [u8],
        to: &mut [u8],
    ) -> Result<(usize, Record)> {
        let end = raw.off.checked_add(raw.len);
        if raw.flags != 0
            || ![wide.len(), to.len()].contains(&(raw.vector_len as usize))
            || end.is_none_or(|end| end > 1 << 63)
        {
            return Err(EINVAL);
        }
        let owner = self.owner(raw.fd)?;
        let inode = self.inode(owner)?;
        let (ino, generation) = (inode.ino(), inode.generation());
        let version = self.version(owner, raw.version)?;
        let vector = uapi::slice(raw.vector, raw.vector_len as usize);
        if raw.vector_len as usize == wide.len() {
            vector.reader().read_slice(wide)?;
            self.open.kernels.encode(wide, to)?;
        } else {
            vector.reader().read_slice(to)?;
            self.open.kernels.admit(to, wide)?;
        }
        let record = Record {
            key: raw.key,
            ino,
            generation,
            off: raw.off,
            len: raw.len,
            version,
            crc: crc32c(SEED, to),
            sequence: 0,
        };
        Ok((owner, record))
    }

    /// The index of the owner with descriptor `fd`, if the caller may describe it.
    fn owner(&mut self, fd: i32) -> Result<usize> {
        // Items of one file mostly come together.
        let known = self.owners.iter().rposition(|o| o.fd == fd);
        let index = match known {
            Some(index) => index,
            None => {
                let file = match fd {
                    -1 => None,
                    _ => Some(FileRef::get(fd, self.file)?),
                };
                let verdict = may_describe(file.as_deref().unwrap_or(self.file));
                let owner = Owner {
                    fd,
                    file,
                    verdict,
                    settled: None,
                };
                self.owners.push(owner, GFP_KERNEL)?;
                self.owners.len() - 1
            }
        };
        self.owners.get(index).ok_or(EINVAL)?.verdict?;
        Ok(index)
    }

    /// The version of an owner's contents that a record describes: `said`, or with 0 the one that the
    /// call finds there. If that is the present one and nobody has settled it, this does.
    fn version(&mut self, owner: usize, said: u64) -> Result<u64> {
        let inode = self.inode(owner)?;
        let (current, marked) = {
            let core = inode.core().read();
            (core.data_version, core.marked_version)
        };
        if said > current {
            return Err(EINVAL);
        }
        let known = self.owners.get(owner).and_then(|o| o.settled);
        match known {
            // Settling looks at the whole page cache of the file, so not for each record.
            Some(version) if said == 0 => return Ok(version),
            _ if said != 0 && (said != current || marked >= current) => return Ok(said),
            _ => {}
        }
        let found = version::settle(inode, |_| Ok(()))?;
        if let Some(owner) = self.owners.get_mut(owner) {
            owner.settled = Some(found);
        }
        Ok(if said == 0 { found } else { said })
    }

    fn inode(&self, owner: usize) -> Result<&VexInode> {
        let owner = self.owners.get(owner).ok_or(EINVAL)?;
        Ok(owner.file.as_deref().unwrap_or(self.file).inode())
    }

    /// Stores the items of a chunk; those that fail get a status.
    fn store(&mut self, mut items: KVVec<Item>, vectors: &[u8], status: &mut [Result]) -> Result {
        let mount = self.file.inode().mount();
        if self.only_new() {
            self.refuse_twice(&mut items, status)?;
        }
        let mut verdicts = Verdicts::new();
        let (_lock, allowed) = loop {
            let lock = mount.vectors.lock(self.open.collection.id)?;
            if self.open.dropped() {
                return Err(ENOENT);
            }
            let allowed = self.may_replace(&items, &mut verdicts)?;
            if !verdicts.missing() {
                break (lock, allowed);
            }
            drop(lock);
            verdicts.look(self.file)?;
        };
        let mut verdict = allowed.iter();
        items.retain(|item| match verdict.next() {
            Some(Err(e)) => {
                set(status, item.index, Err(*e));
                false
            }
            _ => true,
        });
        self.note_owners(&mut items, status)?;
        if items.is_empty() {
            return Ok(());
        }
        let result = self
            .write(&items, vectors)
            .and_then(|slots| self.publish(&items, &slots));
        let (done, error) = match result {
            Ok((done, error)) => (done, error),
            Err(e) if e == ENOMEM || e == EINTR => return Err(e),
            Err(e) => (0, Some(e)),
        };
        if let Some(e) = error {
            for item in items.iter().skip(done) {
                set(status, item.index, Err(e));
            }
        }
        for item in items.iter().take(done) {
            if let Some(tid) = self.tid {
                self.inode(item.owner)?.data().note(tid, true);
                self.file.inode().data().note(tid, true);
            }
        }
        Ok(())
    }

    fn only_new(&self) -> bool {
        self.raw.flags & bindings::VEXFS_PUT_NEW != 0
    }

    /// Of each item, whether it may replace the record that has its key.
    fn may_replace(&self, items: &[Item], verdicts: &mut Verdicts) -> Result<KVVec<Result>> {
        let mut all = KVVec::with_capacity(items.len(), GFP_KERNEL)?;
        for item in items {
            let new = &item.record;
            let verdict = match self.replaced(item) {
                Ok(None) => Ok(()),
                Ok(Some(_)) if self.only_new() => Err(EEXIST),
                Ok(Some(old)) if (old.ino, old.generation) == (new.ino, new.generation) => Ok(()),
                Ok(Some(old)) => verdicts.get(old.ino, old.generation)?,
                Err(e) if e == ENOMEM => return Err(e),
                Err(e) => Err(e),
            };
            all.push(verdict, GFP_KERNEL)?;
        }
        Ok(all)
    }

    /// Of items with the same key only the first is new.
    fn refuse_twice(&self, items: &mut KVVec<Item>, status: &mut [Result]) -> Result {
        let mut keys = KVVec::with_capacity(items.len(), GFP_KERNEL)?;
        for item in items.iter() {
            keys.push((item.record.key, item.index), GFP_KERNEL)?;
        }
        sort_by_key(&mut keys, |k| *k);
        for pair in keys.windows(2) {
            if pair[0].0 == pair[1].0 {
                set(status, pair[1].1, Err(EEXIST));
            }
        }
        items.retain(|item| matches!(status.get(item.index), Some(Ok(()))));
        Ok(())
    }

    fn replaced(&self, item: &Item) -> Result<Option<Record>> {
        let (fs, inode) = (self.file.inode().fs(), self.open.inode());
        let core = inode.core().read();
        match fs.slot_of_key(&core, item.record.key)? {
            Some(slot) => fs.record(&core, slot),
            None => Ok(None),
        }
    }

    /// Notes at each owner that the collection has records of it, and takes out the items of those
    /// where that failed.
    fn note_owners(&self, items: &mut KVVec<Item>, status: &mut [Result]) -> Result {
        let mut oldest = KVVec::with_capacity(items.len(), GFP_KERNEL)?;
        for item in items.iter() {
            oldest.push((item.owner, item.record.version), GFP_KERNEL)?;
        }
        sort_by_key(&mut oldest, |o| *o);
        let mut last = None;
        let mut failed = false;
        for &(owner, version) in oldest.iter() {
            if last == Some(owner) {
                continue;
            }
            last = Some(owner);
            if let Err(e) = self.note_owner(self.inode(owner)?, version) {
                failed = true;
                for item in items.iter().filter(|i| i.owner == owner) {
                    set(status, item.index, Err(e));
                }
            }
        }
        if failed {
            items.retain(|item| matches!(status.get(item.index), Some(Ok(()))));
        }
        Ok(())
    }

    fn note_owner(&self, owner: &VexInode, version: u64) -> Result {
        let (fs, id) = (owner.fs(), self.open.collection.id);
        {
            let core = owner.core().read();
            if core.marked_version >= version && fs.is_embedded_in(&core, id)? {
                return Ok(());
            }
        }
        owner.mount().with_space(|| {
            change(owner, stale::EMBED_CREDITS, |t, core| {
                fs.embed_into(t, core, id, version)
            })
        })?;
        Ok(())
    }

    /// Writes the vectors to free slots, waits until they are on disk, and tells the slots.
    fn write(&self, items: &[Item], vectors: &[u8]) -> Result<KVVec<u32>> {
        let (open, fs) = (self.open, self.file.inode().fs());
        let mut slots = KVec::with_capacity(items.len(), GFP_KERNEL)?;
        fs.free_slots(&open.inode().core().read(), items.len(), &mut slots)?;
        let size = open.stored();
        let mut run = 0;
        for at in 1..=items.len() {
            let together = at < items.len()
                && slots[at] == slots[at - 1].wrapping_add(1)
                && items[at].vector == items[at - 1].vector + 1;
            if !together {
                let (from, to) = (items[run].vector * size, (items[at - 1].vector + 1) * size);
                let bytes = vectors.get(from..to).ok_or(EINVAL)?;
                open.file
                    .write_at(open.collection.offset(slots[run]), bytes)?;
                run = at;
            }
        }
        let first = slots.iter().min().copied().unwrap_or(0);
        let last = slots.iter().max().copied().unwrap_or(0);
        let (start, end) = (
            open.collection.offset(first),
            open.collection.offset(last + 1),
        );
        open.file.flush(start, end - start)?;
        let mut result = KVVec::with_capacity(slots.len(), GFP_KERNEL)?;
        result.extend_from_slice(&slots, GFP_KERNEL)?;
        Ok(result)
    }

    /// Publishes the records: how many from the first on are, and why not the others.
    fn publish(&mut self, items: &[Item], slots: &[u32]) -> Result<(usize, Option<Error>)> {
        let mut all = KVVec::with_capacity(items.len(), GFP_KERNEL)?;
        for (item, &slot) in items.iter().zip(slots) {
            all.push(
                Publish {
                    slot,
                    record: item.record,
                },
                GFP_KERNEL,
            )?;
        }
        let vi = self.open.inode();
        let mut done = 0;
        while let Some(rest) = all.get(done..).filter(|r| !r.is_empty()) {
            let step = vi.mount().with_space(|| {
                change(vi, BASE_CREDITS + PUT_CREDITS, |t, core| {
                    vi.fs().publish_step(t, core, rest)
                })
            });
            match step {
                Ok((n, tid)) => {
                    vi.mount().vectors.watch().records_gone();
                    for new in rest.iter().take(n) {
                        let id = self.open.collection.id;
                        vi.mount().vectors.watch().record(id, new.slot);
                    }
                    done += n;
                    self.tid = Some(tid);
                }
                Err(e) => return Ok((done, Some(e))),
            }
            sched::yield_if_needed();
        }
        Ok((done, None))
    }
}

fn set(status: &mut [Result], index: usize, value: Result) {
    if let Some(status) = status.get_mut(index) {
        *status = value;
    }
}
