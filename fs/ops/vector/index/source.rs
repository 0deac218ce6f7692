// SPDX-License-Identifier: GPL-2.0

//! What a graph is made from: the records of a collection, and their vectors.

use crate::crc32c::crc32c;
use crate::libvexfs::vector::index::driver;
use crate::libvexfs::vector::Record;
use crate::ops::vector::{search::SEED, Open};
use crate::vfs::{internal_file::Reader, sched};
use kernel::prelude::*;

/// Bytes that are read ahead where slots come one after the other.
const AHEAD: u64 = 1 << 18;
/// Records that are looked up together.
const BATCH: usize = 128;

/// The records and vectors of a collection. `stop` says why to stop, if there is a reason.
pub(in crate::ops::vector) struct Source<'a, F: FnMut() -> Result> {
    open: &'a Open,
    reader: Reader<'a>,
    stop: F,
    /// Live records from slot `from` on, as they were when they were looked up.
    ahead: KVec<(u32, Record)>,
    from: u32,
}

impl<'a, F: FnMut() -> Result> Source<'a, F> {
    /// Those of an open collection.
    pub(in crate::ops::vector) fn new(open: &'a Open, stop: F) -> Self {
        Source {
            open,
            reader: open.file.reader(),
            stop,
            ahead: KVec::new(),
            from: 0,
        }
    }

    fn record(&self, slot: u32) -> Result<Option<Record>> {
        let core = self.open.inode().core().read();
        self.open.inode().fs().record(&core, slot)
    }

    fn look_up(&mut self, from: u32) -> Result {
        self.ahead.clear();
        // Nothing is allocated under the metadata lock.
        self.ahead.reserve(BATCH, GFP_KERNEL)?;
        let core = self.open.inode().core().read();
        let fs = self.open.inode().fs();
        fs.records_from(&core, from, BATCH, &mut self.ahead)?;
        self.from = from;
        Ok(())
    }

    fn looked_up(&self, from: u32) -> Option<u32> {
        let at = self.ahead.partition_point(|(slot, _)| *slot < from);
        let found = self.ahead.get(at).map(|(slot, _)| *slot);
        found.filter(|_| from >= self.from)
    }
}

impl<F: FnMut() -> Result> driver::Source for Source<'_, F> {
    fn vector(&mut self, slot: u32, to: &mut [u8]) -> Result<Option<u32>> {
        let Some(record) = self.record(slot)? else {
            return Ok(None);
        };
        if to.len() != self.open.stored() {
            return Err(EINVAL);
        }
        self.open.copy_slot(&mut self.reader, slot, AHEAD, to)?;
        // Had the slot this record all the time?
        if self.record(slot)? != Some(record) {
            return Ok(None);
        }
        if crc32c(SEED, to) != record.crc {
            let inode = self.open.inode();
            let text = "a vector has a wrong checksum";
            // It is said. An exact search meets it too, and answers it.
            let _ = inode.fs().damaged(inode.ino(), 0, text);
            return Ok(None);
        }
        Ok(Some(record.sequence))
    }

    fn sequence(&mut self, slot: u32) -> Result<Option<u32>> {
        Ok(self.record(slot)?.map(|record| record.sequence))
    }

    fn next(&mut self, from: u32) -> Result<Option<u32>> {
        if let Some(slot) = self.looked_up(from) {
            return Ok(Some(slot));
        }
        self.look_up(from)?;
        Ok(self.looked_up(from))
    }

    fn pause(&mut self) -> Result {
        sched::yield_if_needed();
        (self.stop)()
    }
}
