// SPDX-License-Identifier: GPL-2.0

//! The exact search: `libvexfs::vector::search` over the page cache.

use super::{sight, sight::Sight, unless_dropped, Open};
use crate::crc32c::crc32c;
use crate::libvexfs::format::inode::STATE_OFFLINE;
use crate::libvexfs::vector::search::{self, Scan};
use crate::libvexfs::vector::top::Hit;
use crate::libvexfs::vector::Record;
use crate::vfs::{
    bindings,
    internal_file::Reader,
    ioctl::File,
    sched,
    simd::{copy_racing, Kernels, Queries},
    uapi,
};
use core::ops::Range;
use kernel::prelude::*;

/// Bytes that are read ahead of the scan.
const AHEAD: u64 = 1 << 20;
/// Checksums of vectors begin with this.
pub(super) const SEED: u32 = !0;

/// `VEXFS_IOC_SEARCH`.
pub(super) fn search(file: &File, arg: usize) -> Result<isize> {
    let (raw, _) = uapi::get::<bindings::vexfs_search>(arg, 56)?;
    let known = bindings::VEXFS_SEARCH_SUBTREE | bindings::VEXFS_SEARCH_EXACT;
    if raw.flags & !known != 0 || raw.reserved != 0 || raw.k == 0 || raw.queries == 0 {
        return Err(EINVAL);
    }
    uapi::check_item_size(raw.hit_size, 56)?;
    // The product cannot overflow: both factors are bounded.
    if raw.k > bindings::VEXFS_MAX_K
        || raw.queries > bindings::VEXFS_MAX_QUERIES
        || raw.k * raw.queries > bindings::VEXFS_MAX_HITS
    {
        return Err(E2BIG);
    }
    let mount = file.inode().mount();
    let open = Open::new(mount, raw.collection)?;
    if raw.dim != open.collection.dim {
        return Err(EINVAL);
    }
    let (n, k) = (raw.queries as usize, raw.k as usize);
    let mut queries = KVVec::from_elem(0u8, n * open.wide(), GFP_KERNEL)?;
    uapi::slice(raw.vectors, queries.len())
        .reader()
        .read_slice(&mut queries)?;
    let prepared = open.kernels.prepare(&queries)?;

    let mut pass = Pass {
        open: &open,
        reader: open.file.reader(),
        sight: Sight::new(file, raw.flags & bindings::VEXFS_SEARCH_SUBTREE != 0)?,
        kernels: open.kernels,
        queries: &queries,
        prepared,
        vector: KVVec::from_elem(0u8, open.stored(), GFP_KERNEL)?,
    };
    let results = unless_dropped(&open, search::exact(&mut pass, n, k))?;
    for (q, hits) in results.iter().enumerate() {
        let mut count = 0;
        for hit in hits.iter() {
            // What was let in may be gone by now.
            let Some(told) = tell(file, &open, hit)? else {
                continue;
            };
            uapi::put_item(raw.hits, raw.hit_size, q * k + count, &told)?;
            count += 1;
        }
        let at = raw.counts.checked_add(4 * q as u64).ok_or(EFAULT)?;
        uapi::slice(at, 4)
            .writer()
            .write_slice(&(count as u32).to_ne_bytes())?;
        pass.pause()?;
    }
    Ok(0)
}

/// What a user is told of a hit; `None` if its file is gone.
fn tell(file: &File, open: &Open, hit: &Hit) -> Result<Option<bindings::vexfs_record>> {
    let told = describe(file, hit.slot, &hit.record)?;
    Ok(told.map(|r| bindings::vexfs_record {
        score: open.kernels.score(hit.key),
        ..r
    }))
}

/// What a user is told of a record; `None` if its file is gone.
pub(super) fn describe(
    file: &File,
    slot: u32,
    record: &Record,
) -> Result<Option<bindings::vexfs_record>> {
    let Some(owner) = sight::get(file.inode().sb(), record.ino, record.generation)? else {
        return Ok(None);
    };
    let core = owner.core().read();
    let mut flags = 0;
    if file.inode().fs().is_stale(&core, record)? {
        flags |= bindings::VEXFS_RECORD_STALE;
    }
    if core.state & STATE_OFFLINE != 0 {
        flags |= bindings::VEXFS_RECORD_OFFLINE;
    }
    Ok(Some(bindings::vexfs_record {
        key: record.key,
        ino: record.ino,
        off: record.off,
        len: record.len,
        version: record.version,
        generation: record.generation,
        flags,
        score: 0,
        slot,
    }))
}

/// One pass over a collection.
struct Pass<'a> {
    open: &'a Open,
    reader: Reader<'a>,
    sight: Sight<'a>,
    kernels: Kernels,
    /// As the user gave them.
    queries: &'a [u8],
    prepared: Queries,
    /// A copy of the vector that is being looked at closely.
    vector: KVVec<u8>,
}

impl Pass<'_> {
    /// Copies the vector of a slot into `self.vector`.
    fn copy(&mut self, slot: u32) -> Result {
        let pos = self.open.collection.offset(slot);
        let mut done = 0;
        while done < self.vector.len() {
            let at = pos + done as u64;
            let folio = self.reader.folio(at, (self.vector.len() - done) as u64)?;
            let n = copy_racing(
                &folio,
                (at - folio.pos()) as usize,
                &mut self.vector[done..],
            );
            if n == 0 {
                return Err(EIO);
            }
            done += n;
        }
        Ok(())
    }
}

impl Scan for Pass<'_> {
    fn records(&mut self, from: u32, room: usize, out: &mut KVec<(u32, Record)>) -> Result {
        // Nothing is allocated under the metadata lock.
        out.reserve(room, GFP_KERNEL)?;
        let core = self.open.inode().core().read();
        self.open.inode().fs().records_from(&core, from, room, out)
    }

    fn visible(&mut self, record: &Record) -> Result<bool> {
        self.sight.sees(record.ino, record.generation)
    }

    fn score(
        &mut self,
        queries: Range<usize>,
        slots: Range<u32>,
        stride: usize,
        keys: &mut [u32],
    ) -> Result {
        let size = self.open.stored() as u64;
        let end = self.open.collection.offset(slots.end);
        let mut slot = slots.start;
        while slot < slots.end {
            let pos = self.open.collection.offset(slot);
            let folio = self.reader.folio(pos, (end - pos).max(AHEAD))?;
            let mut at = (pos - folio.pos()) as usize;
            loop {
                let left = (slots.end - slot) as usize;
                let row = keys
                    .get_mut((slot - slots.start) as usize..)
                    .unwrap_or(&mut []);
                let n = self.kernels.scan_folio(
                    self.prepared.some(queries.clone()),
                    &folio,
                    at,
                    left,
                    row,
                    stride,
                );
                if n == 0 {
                    break;
                }
                slot += n as u32;
                at += n * size as usize;
                if slot < slots.end {
                    self.pause()?;
                }
            }
            if slot < slots.end && at < folio.len() {
                // It begins in this folio and ends in the next.
                self.copy(slot)?;
                let row = keys
                    .get_mut((slot - slots.start) as usize..)
                    .unwrap_or(&mut []);
                self.kernels.scan_copy(
                    self.prepared.some(queries.clone()),
                    &self.vector,
                    row,
                    stride,
                );
                slot += 1;
            }
        }
        Ok(())
    }

    fn exact(&mut self, query: usize, slot: u32) -> Result<u64> {
        self.copy(slot)?;
        let wide = self.open.wide();
        let query = self
            .queries
            .get(query * wide..(query + 1) * wide)
            .ok_or(EINVAL)?;
        self.kernels.exact(query, &self.vector)
    }

    fn bound(&mut self, key: u64) -> u32 {
        self.kernels.bound(key)
    }

    fn unchanged(&mut self, slot: u32, record: &Record) -> Result<bool> {
        let now = {
            let core = self.open.inode().core().read();
            self.open.inode().fs().record(&core, slot)?
        };
        if now.as_ref() != Some(record) {
            return Ok(false);
        }
        // The slot had this record all the time, so the copy is of its vector.
        if crc32c(SEED, &self.vector) != record.crc {
            let ino = self.open.inode().ino();
            return Err(self
                .open
                .inode()
                .fs()
                .damaged(ino, 0, "a vector has a wrong checksum"));
        }
        Ok(true)
    }

    fn pause(&mut self) -> Result {
        if sched::killed() {
            return Err(EINTR);
        }
        sched::yield_if_needed();
        Ok(())
    }
}
