// SPDX-License-Identifier: GPL-2.0

//! A store over a file or device, with the jbd2 journal inside the volume.
//!
//! Transactions gather in memory and go to the log when [`Store::commit`] asks for it or when no more would fit. What
//! the kernel's jbd2 does with buffers, states and threads is one mutex here: a commit waits until no handle is open,
//! so that no block changes while it is written.

mod buffer;
mod trans;

pub use buffer::{FileBlock, Read, Write};
pub use trans::FileTrans;

use crate::libvexfs::errno::euclean;
use crate::libvexfs::format::inode::Time;
use crate::libvexfs::journal::host::log::Change;
use crate::libvexfs::journal::host::{Disk, Log};
use crate::libvexfs::journal::{Store, Tid, BLOCK_SIZE, SEAL_SIZE};
use buffer::Buffer;
use kernel::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How many blocks are cached: 64 MiB.
const CACHE_BLOCKS: usize = 16_384;

/// The initial value of a block's checksum, and the checksum.
pub fn seal(csum_seed: u32, bno: u64, block: &[u8]) -> u32 {
    let crc = crate::crc32c::crc32c(!0, &csum_seed.to_le_bytes());
    let crc = crate::crc32c::crc32c(crc, &bno.to_le_bytes());
    crate::crc32c::crc32c(crc, block.get(4..).unwrap_or_default())
}

/// Puts the right checksum into a block.
pub fn seal_in_place(csum_seed: u32, bno: u64, block: &mut [u8; BLOCK_SIZE]) {
    let crc = seal(csum_seed, bno, block);
    block[..4].copy_from_slice(&crc.to_le_bytes());
}

/// Whether a block has the right checksum.
pub fn sealed(csum_seed: u32, bno: u64, block: &[u8; BLOCK_SIZE]) -> bool {
    block[..4] == seal(csum_seed, bno, block).to_le_bytes() && block[4..SEAL_SIZE] == [0; 4]
}

/// The store. Clones share everything.
pub struct FileStore<D: Disk> {
    inner: Arc<Inner<D>>,
}

impl<D: Disk> Clone for FileStore<D> {
    fn clone(&self) -> Self {
        FileStore {
            inner: self.inner.clone(),
        }
    }
}

struct Inner<D> {
    disk: D,
    csum_seed: u32,
    state: Mutex<State>,
    /// A handle was stopped.
    stopped: Condvar,
}

struct State {
    cache: HashMap<u64, Arc<Buffer>>,
    /// Cached blocks, oldest first; what is in use is passed over. Blocks that left the cache may still stand here.
    order: VecDeque<u64>,
    /// None: for reading only.
    log: Option<Log>,
    dirty: BTreeMap<u64, Arc<Buffer>>,
    revoked: BTreeSet<u64>,
    /// Open handles and the credits that they asked for.
    handles: usize,
    credits: usize,
    running: Tid,
    committed: Tid,
    aborted: bool,
}

impl<D: Disk> FileStore<D> {
    /// A store for reading. `disk` may be an overlay that shows what replay would do.
    pub fn read_only(disk: D, csum_seed: u32) -> FileStore<D> {
        Self::make(disk, csum_seed, None)
    }

    /// A store for reading and writing, over a log that was replayed.
    pub fn new(disk: D, csum_seed: u32, log: Log) -> FileStore<D> {
        Self::make(disk, csum_seed, Some(log))
    }

    fn make(disk: D, csum_seed: u32, log: Option<Log>) -> FileStore<D> {
        let running = log.as_ref().map_or(1, Log::next_tid);
        let state = State {
            cache: HashMap::new(),
            order: VecDeque::new(),
            log,
            dirty: BTreeMap::new(),
            revoked: BTreeSet::new(),
            handles: 0,
            credits: 0,
            running,
            committed: running.wrapping_sub(1),
            aborted: false,
        };
        FileStore {
            inner: Arc::new(Inner {
                disk,
                csum_seed,
                state: Mutex::new(state),
                stopped: Condvar::new(),
            }),
        }
    }

    /// The disk, for file data. What is written there is as durable as `Disk::flush` makes it, and a commit flushes.
    pub fn disk(&self) -> &D {
        &self.inner.disk
    }

    /// Commits, writes everything into place and leaves an empty log: an unmount.
    ///
    /// # Errors
    /// EIO; EROFS after an abort.
    pub fn close(&self) -> Result<()> {
        self.commit()?;
        let mut state = self.inner.lock();
        let Some(log) = state.log.as_mut() else {
            return Ok(());
        };
        log.close(&self.inner.disk)?;
        state.running = log.next_tid();
        state.committed = state.running.wrapping_sub(1);
        Ok(())
    }

    /// Writes everything committed into place, and goes on.
    ///
    /// # Errors
    /// EIO; EROFS after an abort.
    pub fn checkpoint(&self) -> Result<()> {
        self.commit()?;
        match self.inner.lock().log.as_mut() {
            Some(log) => log.checkpoint(&self.inner.disk),
            None => Ok(()),
        }
    }

    /// Whether a transaction was dropped half-done.
    pub fn aborted(&self) -> bool {
        self.inner.lock().aborted
    }

    /// The most credits that a transaction can have.
    pub fn max_credits(&self) -> usize {
        self.inner.lock().log.as_ref().map_or(0, Log::max_blocks)
    }

    /// How many more blocks the running transaction takes before it must be committed.
    pub fn room(&self) -> usize {
        let state = self.inner.lock();
        let max = state.log.as_ref().map_or(0, Log::max_blocks);
        max.saturating_sub(state.dirty.len() + state.credits)
    }

    /// Forgets cached blocks that are not dirty: the next reads come from the disk.
    pub fn drop_cache(&self) {
        let mut state = self.inner.lock();
        let State {
            cache,
            order,
            dirty,
            ..
        } = &mut *state;
        cache.retain(|bno, _| dirty.contains_key(bno));
        order.retain(|bno| cache.contains_key(bno));
    }
}

impl<D: Disk> Inner<D> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block from the cache, the log or the disk.
    fn get(&self, state: &mut State, bno: u64) -> Result<Arc<Buffer>> {
        if let Some(buffer) = state.cache.get(&bno) {
            return Ok(buffer.clone());
        }
        let mut data = Box::new([0; BLOCK_SIZE]);
        let in_log = match &state.log {
            Some(log) => log.read(&self.disk, bno, &mut data[..])?,
            None => false,
        };
        if !in_log {
            self.disk.read(bno, &mut data[..])?;
        }
        if !sealed(self.csum_seed, bno, &data) {
            pr_err!("damage: block {}: wrong checksum\n", bno);
            return Err(euclean());
        }
        Ok(state.insert(bno, data))
    }

    /// Writes the running transaction. No handle is open.
    fn write(&self, state: &mut State) -> Result<()> {
        if state.dirty.is_empty() && state.revoked.is_empty() {
            return Ok(());
        }
        let dirty = core::mem::take(&mut state.dirty);
        let revoked: Vec<u64> = core::mem::take(&mut state.revoked).into_iter().collect();
        let log = state.log.as_mut().ok_or(EROFS)?;
        for (bno, buffer) in &dirty {
            seal_in_place(self.csum_seed, *bno, &mut buffer.write());
        }
        let views: Vec<_> = dirty
            .iter()
            .map(|(bno, buffer)| (*bno, buffer.read()))
            .collect();
        let changes: Vec<_> = views
            .iter()
            .map(|(bno, view)| Change {
                bno: *bno,
                data: &view[..],
            })
            .collect();
        let now = Time::now();
        match log.append(&self.disk, &changes, &revoked, (now.sec as u64, now.nsec)) {
            Ok(tid) => {
                state.committed = tid;
                state.running = log.next_tid();
                Ok(())
            }
            Err(e) => {
                pr_err!("the journal cannot be written ({:?}): aborted\n", e);
                state.aborted = true;
                Err(e)
            }
        }
    }

    /// Waits until no handle is open, then writes the running transaction.
    fn commit<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Result<MutexGuard<'a, State>> {
        while state.handles > 0 && !state.aborted {
            if trans::mine() {
                // It would wait for itself: in the kernel, too, this is a deadlock.
                pr_err!("commit with an open transaction\n");
                return Err(EBUSY);
            }
            state = self
                .stopped
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.aborted {
            return Err(EROFS);
        }
        self.write(&mut state)?;
        Ok(state)
    }
}

impl State {
    fn insert(&mut self, bno: u64, data: Box<[u8; BLOCK_SIZE]>) -> Arc<Buffer> {
        self.shrink();
        let buffer = Arc::new(Buffer::new(bno, data));
        self.cache.insert(bno, buffer.clone());
        self.order.push_back(bno);
        buffer
    }

    /// Makes room for one more block, unless everything is in use.
    fn shrink(&mut self) {
        if self.order.len() > 2 * CACHE_BLOCKS {
            let mut seen = BTreeSet::new();
            self.order
                .retain(|bno| self.cache.contains_key(bno) && seen.insert(*bno));
        }
        for _ in 0..8 {
            if self.cache.len() < CACHE_BLOCKS {
                return;
            }
            let Some(bno) = self.order.pop_front() else {
                return;
            };
            let idle = self
                .cache
                .get(&bno)
                .is_none_or(|buffer| Arc::strong_count(buffer) == 1);
            if idle {
                self.cache.remove(&bno);
            } else {
                self.order.push_back(bno);
            }
        }
    }
}

impl<D: Disk> Store for FileStore<D> {
    type Block = FileBlock;
    type Trans = FileTrans<D>;

    fn read(&self, bno: u64) -> Result<FileBlock> {
        let mut state = self.inner.lock();
        self.inner.get(&mut state, bno).map(FileBlock::new)
    }

    fn read_shared(
        &self,
        bno: u64,
        ranges: &mut [(usize, &mut [u8])],
        _missing: impl FnOnce(),
    ) -> Result {
        let block = self.read(bno)?;
        let body = block.body();
        for (off, buf) in ranges {
            let end = off.checked_add(buf.len()).ok_or(EINVAL)?;
            buf.copy_from_slice(body.get(*off..end).ok_or(EINVAL)?);
        }
        Ok(())
    }

    fn readahead(&self, _bnos: impl Iterator<Item = u64>) {}

    fn is_cached(&self, _bno: u64) -> bool {
        true
    }

    fn begin(&self, credits: usize) -> Result<FileTrans<D>> {
        let mut state = self.inner.lock();
        let max = state.log.as_ref().ok_or(EROFS)?.max_blocks();
        if credits > max {
            pr_err!(
                "a transaction of {} blocks, of which the journal takes {}\n",
                credits,
                max
            );
            return Err(ENOSPC);
        }
        if state.dirty.len() + state.credits + credits > max {
            state = self.inner.commit(state)?;
        }
        if state.aborted {
            return Err(EROFS);
        }
        state.handles += 1;
        state.credits += credits;
        Ok(FileTrans::new(self.clone(), state.running, credits))
    }

    fn committed(&self) -> Tid {
        self.inner.lock().committed
    }

    fn commit(&self) -> Result {
        let state = self.inner.lock();
        if state.log.is_none() {
            return Ok(());
        }
        self.inner.commit(state).map(drop)
    }

    fn block_count(&self) -> u64 {
        self.inner.disk.block_count()
    }
}
