// SPDX-License-Identifier: GPL-2.0

//! The pass of an exact search: `libvexfs::vector::search` over the page cache.

use super::admission::Admission;
use super::prepared::Held;
use super::search::SEED;
use super::trace::Trace;
use super::Open;
use crate::crc32c::crc32c;
use crate::libvexfs::vector::held;
use crate::libvexfs::vector::room::zeroes;
use crate::libvexfs::vector::search::Scan;
use crate::libvexfs::vector::{Metric, Record};
use crate::vfs::{
    internal_file::Reader,
    sched,
    simd::{Kernels, Queries},
};
use core::ops::Range;
use kernel::page::PAGE_SIZE;
use kernel::{prelude::*, sync::Arc};

/// Bytes that are read ahead of the scan.
const AHEAD: u64 = 1 << 20;

/// One pass over a collection.
pub(super) struct Pass<'a> {
    open: &'a Open,
    reader: Reader<'a>,
    kernels: Kernels,
    /// As the user gave them.
    queries: &'a [u8],
    prepared: Queries,
    /// A copy of the vector that is being looked at closely.
    vector: KVVec<u8>,
    admission: Admission<'a>,
    trace: &'a mut Trace,
    budget: Budget,
    /// Pages of an index that were read from the device.
    missed: u64,
    /// Vectors in memory.
    held: Option<Arc<Held>>,
}

/// What a search may use.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    /// Nanoseconds since its beginning.
    pub(super) time: Option<u64>,
    /// Pages that it reads from the device.
    pub(super) pages: Option<u64>,
}

impl<'a> Pass<'a> {
    /// For `queries`, as the user gave them, in the collection's dimension.
    ///
    /// # Errors
    ///
    /// `EINVAL` if one is no vector that a search takes; `ENOMEM`.
    pub(super) fn new(
        open: &'a Open,
        queries: &'a [u8],
        admission: Admission<'a>,
        trace: &'a mut Trace,
        budget: Budget,
    ) -> Result<Self> {
        Ok(Pass {
            open,
            reader: open.file.reader(),
            kernels: open.kernels,
            queries,
            prepared: open.kernels.prepare(queries)?,
            vector: zeroes(open.stored())?,
            admission,
            trace,
            budget,
            missed: 0,
            held: None,
        })
    }

    /// Has vectors in memory to look at.
    pub(super) fn hold(&mut self, held: &Arc<Held>) {
        self.held = Some(held.clone());
    }

    /// Whether less is asked for than all that the caller may see.
    pub(super) fn restricted(&self) -> bool {
        self.admission.restricts()
    }

    /// A query as the user gave it.
    pub(super) fn query(&self, query: usize) -> Result<&'a [u8]> {
        let wide = self.open.wide();
        let bytes = self.queries.get(query * wide..(query + 1) * wide);
        bytes.ok_or(EINVAL)
    }

    /// The records that live in slots, which are in ascending order.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    pub(super) fn records_of(&self, slots: &[u32], records: &mut KVVec<Option<Record>>) -> Result {
        records.clear();
        // Nothing is allocated under the metadata lock.
        records.resize(slots.len(), None, GFP_KERNEL)?;
        let core = self.open.inode().core().read();
        let fs = self.open.inode().fs();
        fs.records_at(&core, slots, |n, record| {
            if let Some(place) = records.get_mut(n) {
                *place = Some(record);
            }
        })
    }

    /// The true key of a query and a vector as it is stored.
    pub(super) fn exact_of(&mut self, query: usize, vector: &[u8]) -> Result<u64> {
        let part = self.trace.part();
        self.trace.told.scored += 1;
        let key = self.kernels.exact(self.query(query)?, vector);
        part.end(&mut self.trace.told.score_ns);
        key
    }

    /// Counts pages of an index that were looked at, and those of them that were read.
    pub(super) fn count_pages(&mut self, looked_at: u64, missed: u64) {
        self.missed = self.missed.saturating_add(missed);
        let told = &mut self.trace.told;
        told.pages = told.pages.saturating_add(looked_at);
        told.pages_missed = told.pages_missed.saturating_add(missed);
    }

    /// The 32-bit key that no bound of a hit may be above whose score is to be `radius` (bits of
    /// an f32) or better.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is no number.
    pub(super) fn within(&self, radius: u32) -> Result<u32> {
        const SIGN: u32 = 1 << 31;
        if radius & !SIGN > 0x7f80_0000 {
            return Err(EINVAL);
        }
        // Of a similarity the negative is the distance.
        let flip = match self.open.collection.metric {
            Metric::L2 | Metric::Hamming => 0,
            Metric::Cosine | Metric::Ip => SIGN,
        };
        // Both zeroes are one, the larger.
        let distance = match radius & !SIGN {
            0 => 0,
            _ => radius ^ flip,
        };
        let order = match distance & SIGN {
            0 => distance | SIGN,
            _ => !distance,
        };
        Ok(order.saturating_add(1))
    }

    /// What is told of the search.
    pub(super) fn trace(&mut self) -> &mut Trace {
        self.trace
    }

    /// Copies the vector of a slot into `self.vector`.
    fn copy(&mut self, slot: u32) -> Result {
        self.open
            .copy_slot(&mut self.reader, slot, 0, &mut self.vector)
    }

    /// Compares the queries of a range with the vectors of a run of slots.
    fn score_run(
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
                    rest()?;
                }
            }
            if slot < slots.end && at < folio.len() {
                // It begins in this folio and ends in the next.
                self.copy(slot)?;
                let row = keys
                    .get_mut((slot - slots.start) as usize..)
                    .unwrap_or(&mut []);
                let queries = self.prepared.some(queries.clone());
                self.kernels
                    .scan_copy(queries, &self.vector, 1, row, stride);
                slot += 1;
            }
        }
        Ok(())
    }

    fn exact_key(&mut self, query: usize, slot: u32) -> Result<u64> {
        self.copy(slot)?;
        self.kernels.exact(self.query(query)?, &self.vector)
    }
}

impl Scan for Pass<'_> {
    fn records(&mut self, from: u32, room: usize, out: &mut KVec<(u32, Record)>) -> Result {
        // Nothing is allocated under the metadata lock.
        out.reserve(room, GFP_KERNEL)?;
        let core = self.open.inode().core().read();
        self.open.inode().fs().records_from(&core, from, room, out)
    }

    fn record(&mut self, slot: u32) -> Result<Option<Record>> {
        self.admission.record(slot)
    }

    fn admits(&mut self, record: &Record) -> Result<bool> {
        self.admission.admits(record, self.trace)
    }

    fn score(
        &mut self,
        queries: Range<usize>,
        slots: Range<u32>,
        stride: usize,
        keys: &mut [u32],
    ) -> Result {
        let part = self.trace.part();
        let told = &mut self.trace.told;
        told.scanned += slots.len() as u64;
        let bytes = slots.len() as u64 * self.open.collection.stride();
        told.pages += bytes.div_ceil(PAGE_SIZE as u64);
        let scored = self.score_run(queries, slots, stride, keys);
        let told = &mut self.trace.told;
        told.pages_missed = self.missed.saturating_add(self.reader.missed());
        part.end(&mut told.scan_ns);
        scored
    }

    fn exact(&mut self, query: usize, slot: u32) -> Result<u64> {
        let part = self.trace.part();
        self.trace.told.scored += 1;
        let key = self.exact_key(query, slot);
        part.end(&mut self.trace.told.score_ns);
        key
    }

    fn bound(&self, key: u64) -> u32 {
        self.kernels.bound(key)
    }

    fn unchanged(&mut self, slot: u32, record: &Record) -> Result<bool> {
        if !self.admission.lives(slot, record)? {
            self.trace.told.refused_dead += 1;
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

    fn pause(&mut self) -> Result<bool> {
        rest()?;
        let time = self.budget.time;
        let pages = self.budget.pages;
        Ok(time.is_none_or(|time| self.trace.elapsed() < time)
            && pages.is_none_or(|pages| self.trace.told.pages_missed < pages))
    }
}

impl held::Held for Pass<'_> {
    fn held(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.len())
    }

    fn entry(&self, row: usize) -> Option<(u32, Record)> {
        self.held.as_ref()?.entry(row)
    }

    fn score_held(
        &mut self,
        queries: Range<usize>,
        rows: Range<usize>,
        keys: &mut [u32],
    ) -> Result {
        let Some(held) = &self.held else {
            return Err(EINVAL);
        };
        let part = self.trace.part();
        self.trace.told.scanned += rows.len() as u64;
        let stride = rows.len();
        let mut row = rows.start;
        while row < rows.end {
            let keys = keys.get_mut(row - rows.start..).unwrap_or(&mut []);
            let queries = self.prepared.some(queries.clone());
            let left = rows.end - row;
            let n = self
                .kernels
                .scan_copy(queries, held.vectors(row), left, keys, stride);
            if n == 0 {
                return Err(EINVAL);
            }
            row += n;
            rest()?;
        }
        part.end(&mut self.trace.told.scan_ns);
        Ok(())
    }

    fn exact_held(&mut self, query: usize, row: usize) -> Result<u64> {
        let held = self.held.clone().ok_or(EINVAL)?;
        self.exact_of(query, held.vector(row)?)
    }

    fn lives(&mut self, slot: u32, record: &Record) -> Result<bool> {
        let watch = self.open.inode().mount().vectors.watch();
        let all_live = self.held.as_ref().is_some_and(|held| held.all_live(watch));
        let lives = all_live || self.admission.lives(slot, record)?;
        self.trace.told.refused_dead += u64::from(!lives);
        Ok(lives)
    }
}

/// Lets others run.
fn rest() -> Result {
    if sched::killed() {
        return Err(EINTR);
    }
    sched::yield_if_needed();
    Ok(())
}
