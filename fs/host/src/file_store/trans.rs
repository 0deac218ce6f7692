// SPDX-License-Identifier: GPL-2.0

//! FileTrans: the transactions that callers hold.

use super::buffer::FileBlock;
use super::FileStore;
use crate::libvexfs::journal::host::Disk;
use crate::libvexfs::journal::{Store, Tid, Trans, BLOCK_SIZE};
use kernel::prelude::*;
use std::cell::Cell;
use std::collections::BTreeSet;

thread_local! {
    /// The handles that this thread has open, over all stores.
    static OPEN: Cell<usize> = const { Cell::new(0) };
}

/// Whether the calling thread has a handle open.
pub(super) fn mine() -> bool {
    OPEN.get() > 0
}

/// A part of the running transaction.
///
/// It is stricter than jbd2: a block that another handle has dirtied before costs a credit here, too, so that tests find
/// an operation whose worst case is not what it says.
pub struct FileTrans<D: Disk> {
    store: FileStore<D>,
    tid: Tid,
    credits: usize,
    touched: BTreeSet<u64>,
    dirtied: bool,
    open: bool,
}

impl<D: Disk> FileTrans<D> {
    pub(super) fn new(store: FileStore<D>, tid: Tid, credits: usize) -> FileTrans<D> {
        OPEN.set(OPEN.get() + 1);
        FileTrans {
            store,
            tid,
            credits,
            touched: BTreeSet::new(),
            dirtied: false,
            open: true,
        }
    }

    /// Counts a block against the credits.
    fn charge(&mut self, bno: u64) -> Result<()> {
        if !self.touched.contains(&bno) {
            if self.touched.len() >= self.credits {
                pr_err!(
                    "block {} is more than the {} credits of its transaction\n",
                    bno,
                    self.credits
                );
                debug_assert!(false, "out of credits");
                return Err(ENOSPC);
            }
            self.touched.insert(bno);
        }
        Ok(())
    }

    fn end(&mut self, good: bool) -> Result<()> {
        if !self.open {
            return Ok(());
        }
        self.open = false;
        OPEN.set(OPEN.get().saturating_sub(1));
        let inner = &self.store.inner;
        let mut state = inner.lock();
        state.handles -= 1;
        state.credits -= self.credits;
        if !good && self.dirtied {
            pr_err!("a transaction was dropped half-done: aborted\n");
            state.aborted = true;
        }
        let aborted = state.aborted;
        drop(state);
        inner.stopped.notify_all();
        if aborted && self.dirtied {
            return Err(EROFS);
        }
        Ok(())
    }
}

impl<D: Disk> Trans for FileTrans<D> {
    type Store = FileStore<D>;
    type BlockMut = FileBlock;

    fn tid(&self) -> Tid {
        self.tid
    }

    fn read(&mut self, bno: u64) -> Result<FileBlock> {
        self.store.read(bno)
    }

    fn modify(&mut self, bno: u64) -> Result<FileBlock> {
        let block = self.store.read(bno)?;
        self.charge(bno)?;
        self.dirtied = true;
        let mut state = self.store.inner.lock();
        state.dirty.insert(bno, block.buffer().clone());
        state.revoked.remove(&bno);
        Ok(block)
    }

    fn create(&mut self, bno: u64) -> Result<FileBlock> {
        if bno >= self.store.block_count() {
            return Err(EIO);
        }
        self.charge(bno)?;
        self.dirtied = true;
        let mut state = self.store.inner.lock();
        if state.revoked.contains(&bno) {
            // jbd2 cannot take a block back whose freeing has not committed.
            pr_err!(
                "block {} is made anew in the transaction that freed it\n",
                bno
            );
            debug_assert!(false, "made anew in the transaction that freed it");
            return Err(EIO);
        }
        // A handle to the block's former life may still be around: it must not see the new one.
        state.cache.remove(&bno);
        let buffer = state.insert(bno, Box::new([0; BLOCK_SIZE]));
        state.dirty.insert(bno, buffer.clone());
        state.revoked.remove(&bno);
        Ok(FileBlock::new(buffer))
    }

    fn forget(&mut self, bno: u64) -> Result {
        self.dirtied = true;
        let mut state = self.store.inner.lock();
        state.dirty.remove(&bno);
        state.revoked.insert(bno);
        state.cache.remove(&bno);
        Ok(())
    }

    fn write_at(&mut self, bno: u64, off: usize, bytes: &[u8]) -> Result {
        let block = self.modify(bno)?;
        if block.write_at(off, bytes) {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }

    fn extend(&mut self, credits: usize) -> Result<bool> {
        let mut state = self.store.inner.lock();
        let max = state.log.as_ref().ok_or(EROFS)?.max_blocks();
        if state.dirty.len() + state.credits + credits > max {
            return Ok(false);
        }
        state.credits += credits;
        self.credits += credits;
        Ok(true)
    }

    fn dirtied(&self) -> bool {
        self.dirtied
    }

    fn stop(mut self) -> Result {
        self.end(true)
    }
}

impl<D: Disk> Drop for FileTrans<D> {
    fn drop(&mut self) {
        // The abort is on record in the store; a drop has nobody to tell.
        let _ = self.end(false);
    }
}
