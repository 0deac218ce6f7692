// SPDX-License-Identifier: GPL-2.0

//! What libvexfs sees of the device: blocks of the buffer cache, and jbd2 handles.

use super::{
    bindings,
    buffer::{Block, BlockMut},
    hot_blocks::HotBlocks,
    jbd2::{self, Journal, RawHandle, Trigger},
    log, sched,
    super_block::SuperBlock,
    sync::SpinLock,
};
use crate::libvexfs::{
    errno::euclean,
    journal::{self, Tid, BODY_SIZE},
    quota::{Caller, Passing, Warning},
};
use core::sync::atomic::{AtomicU32, Ordering};
use kernel::{error::to_result, prelude::*, sync::Arc, types::NotThreadSafe};

/// Locks of inode blocks, shared by block number.
const RANGE_LOCKS: usize = 64;

const ESHUTDOWN: i32 = 108;

/// Nothing is written any more, and every operation fails.
const SHUT_DOWN: u32 = 1;
/// Damage was found: nothing is written any more, reading goes on.
const READ_ONLY: u32 = 2;

/// A mounted volume's device.
///
/// # Invariants
///
/// `sb` is valid, and its device open with blocks of 4 KiB, as long as this lives.
struct Device {
    // Dropped first: the journal uses the trigger, and the device.
    journal: Option<Journal>,
    trigger: Trigger,
    hot: HotBlocks,
    sb: *mut bindings::super_block,
    seed: u32,
    range_locks: KVec<SpinLock<()>>,
    state: AtomicU32,
}

// SAFETY: The super block has its own locks, everything else is constant or atomic.
unsafe impl Send for Device {}
// SAFETY: As above.
unsafe impl Sync for Device {}

/// A handle on the device of a mounted volume.
#[derive(Clone)]
pub(crate) struct Store(Arc<Device>);

/// What [`Store::open`] needs to know of the volume.
pub(crate) struct Layout {
    /// Seed of the checksums.
    pub(crate) seed: u32,
    /// First block and length of the journal, if it is to be used.
    pub(crate) journal: Option<(u64, u64)>,
}

impl Store {
    /// Opens the device of `sb`; replays the journal.
    ///
    /// # Safety
    ///
    /// `sb` is valid and its device open, with blocks of 4 KiB, until the store and its clones
    /// are gone.
    pub(super) unsafe fn open(sb: *mut bindings::super_block, layout: &Layout) -> Result<Self> {
        let mut range_locks = KVec::with_capacity(RANGE_LOCKS, GFP_KERNEL)?;
        for _ in 0..RANGE_LOCKS {
            range_locks.push(SpinLock::new(())?, GFP_KERNEL)?;
        }
        let journal = match layout.journal {
            // SAFETY: By this function's own requirement.
            Some((start, len)) => Some(unsafe { Journal::load(sb, start, len) }?),
            None => None,
        };
        // INVARIANT: By this function's own requirement.
        let device = Device {
            journal,
            trigger: Trigger::new(layout.seed),
            hot: HotBlocks::new()?,
            sb,
            seed: layout.seed,
            range_locks,
            state: AtomicU32::new(0),
        };
        Ok(Store(Arc::new(device, GFP_KERNEL)?))
    }

    /// Whether the volume can be written to at all: it has a journal in use.
    pub(crate) fn has_journal(&self) -> bool {
        self.0.journal.is_some()
    }

    /// Takes over the error that an earlier mount left in the journal, if there is one.
    pub(crate) fn take_journal_error(&self) -> bool {
        self.0.journal.as_ref().is_some_and(Journal::take_error)
    }

    /// Whether the file system was shut down, by request or because it failed.
    pub(crate) fn is_shut_down(&self) -> bool {
        let aborted = self.0.journal.as_ref().is_some_and(Journal::aborted);
        aborted || self.0.state.load(Ordering::Relaxed) & SHUT_DOWN != 0
    }

    /// Whether damage stopped all writing.
    pub(crate) fn is_read_only(&self) -> bool {
        self.0.state.load(Ordering::Relaxed) & READ_ONLY != 0
    }

    /// Stops all writing; true if it was going on until now.
    pub(crate) fn set_read_only(&self) -> bool {
        self.0.state.fetch_or(READ_ONLY, Ordering::Relaxed) & READ_ONLY == 0
    }

    /// Shuts the file system down. Only what is committed will be there after the next mount.
    pub(crate) fn shut_down(&self) {
        self.0.state.fetch_or(SHUT_DOWN, Ordering::Relaxed);
        if let Some(journal) = &self.0.journal {
            journal.abort(-ESHUTDOWN);
        }
    }

    /// Waits until transaction `tid` is durable; commits it if it still runs.
    ///
    /// # Errors
    ///
    /// `EIO` if it failed or the file system is shut down.
    pub(crate) fn commit_tid(&self, tid: Tid) -> Result {
        let Some(journal) = &self.0.journal else {
            return Ok(());
        };
        if self.is_shut_down() {
            return Err(EIO);
        }
        journal.complete(tid).map_err(|e| self.translate(e))
    }

    /// Whether the commit of `tid` is still to come, and flushes the device's cache.
    pub(crate) fn commit_will_flush(&self, tid: Tid) -> bool {
        self.0.journal.as_ref().is_some_and(|j| j.will_flush(tid))
    }

    /// The newest transaction that there is.
    pub(crate) fn newest_tid(&self) -> Tid {
        self.0.journal.as_ref().map_or(0, Journal::newest)
    }

    /// Makes transaction `tid` durable, and everything that the device acknowledged before.
    ///
    /// # Errors
    ///
    /// `EIO` if it failed or the file system is shut down.
    pub(crate) fn sync_tid(&self, tid: Tid) -> Result {
        let flushes = self.commit_will_flush(tid);
        self.commit_tid(tid)?;
        if !flushes {
            self.flush_device()?;
        }
        Ok(())
    }

    /// Flushes the device's own cache.
    pub(crate) fn flush_device(&self) -> Result {
        // SAFETY: By the device's invariant.
        to_result(unsafe { bindings::blkdev_issue_flush((*self.0.sb).s_bdev) })
    }

    /// Starts a commit without waiting for it.
    pub(crate) fn start_commit(&self) {
        if let Some(journal) = &self.0.journal {
            journal.start_commit();
        }
    }

    /// Writes everything home and empties the journal.
    pub(crate) fn flush_journal(&self) -> Result {
        match &self.0.journal {
            Some(journal) => journal.flush().map_err(|e| self.translate(e)),
            None => Ok(()),
        }
    }

    fn start(&self, credits: usize) -> Result<Handle> {
        let Some(journal) = &self.0.journal else {
            return Err(EROFS);
        };
        if self.is_shut_down() {
            return Err(EIO);
        }
        if self.is_read_only() {
            return Err(EROFS);
        }
        // A second handle of one thread would share the credits of the first, and could deadlock
        // against a freeze. The lock order does not allow it, so it is a bug, but no reason to die.
        if jbd2::has_handle() {
            log::line(
                self.0.sb,
                log::ERR,
                format_args!("transaction inside of a transaction"),
            );
            return Err(EBUSY);
        }
        if credits > journal.most_credits() {
            log::line(
                self.0.sb,
                log::ERR,
                format_args!("an operation wants {credits} credits, the journal has too few"),
            );
            return Err(ENOSPC);
        }
        let count = WriteCount::new(self);
        let raw = journal
            .start(credits, revokes(credits))
            .map_err(|e| self.translate(e))?;
        Ok(Handle {
            raw: Some(raw),
            store: self.clone(),
            dirtied: false,
            _count: count,
            _here: NotThreadSafe,
        })
    }

    /// What jbd2 says of an aborted journal is EROFS. Users get EIO: the mount is not read-only,
    /// it is broken.
    fn translate(&self, e: Error) -> Error {
        if e == EROFS && self.is_shut_down() {
            return EIO;
        }
        e
    }

    /// The device's size in blocks, which may change.
    fn device_blocks(&self) -> u64 {
        // SAFETY: By the device's invariant.
        unsafe { SuperBlock::from_raw(self.0.sb) }.device_blocks()
    }

    /// Reads a block and verifies its seal.
    fn read_block(&self, bno: u64) -> Result<Block> {
        if bno >= self.device_blocks() {
            self.complain(bno, "lies outside of the device");
            return Err(euclean());
        }
        // SAFETY: By the device's invariant.
        let block = unsafe { Block::read(self.0.sb, bno) }.inspect_err(|_| {
            self.complain(bno, "cannot be read");
        })?;
        self.verified(block)
    }

    /// A block, if its seal is right.
    fn verified(&self, block: Block) -> Result<Block> {
        if !block.verify(self.0.seed) {
            self.complain(block.number(), "has a wrong checksum");
            return Err(euclean());
        }
        Ok(block)
    }

    /// A block that need not come from the medium. Its seal may not have been verified yet.
    fn cached(&self, bno: u64) -> Option<Block> {
        // SAFETY: By the device's invariant.
        unsafe { Block::cached(self.0.sb, bno) }.filter(Block::is_read)
    }

    /// Reads a block that many will want.
    fn read_hot_block(&self, bno: u64) -> Result<Block> {
        if let Some(block) = self.0.hot.get(bno) {
            return Ok(block);
        }
        let block = self.read_block(bno)?;
        self.0.hot.hold(&block);
        Ok(block)
    }

    fn complain(&self, bno: u64, what: &str) {
        log::line(
            self.0.sb,
            log::ERR,
            format_args!("metadata block {bno} {what}"),
        );
    }

    fn range_lock(&self, bno: u64) -> Option<&SpinLock<()>> {
        self.0.range_locks.get(bno as usize % RANGE_LOCKS)
    }
}

/// How many blocks a handle of `credits` may revoke. A block that is freed was reached through
/// others, of which most are changed, so there are not many more than credits.
fn revokes(credits: usize) -> usize {
    credits.saturating_mul(2).saturating_add(64)
}

/// Whether `off..off + len` lies in a block's body.
fn in_body(off: usize, len: usize) -> bool {
    off.checked_add(len).is_some_and(|end| end <= BODY_SIZE)
}

impl journal::Store for Store {
    type Block = Block;
    type Trans = Handle;

    fn read(&self, bno: u64) -> Result<Block> {
        self.read_block(bno)
    }

    fn read_interior(&self, bno: u64) -> Result<Block> {
        self.read_hot_block(bno)
    }

    fn read_shared(
        &self,
        bno: u64,
        ranges: &mut [(usize, &mut [u8])],
        missing: impl FnOnce(),
    ) -> Result {
        if ranges.iter().any(|(off, buf)| !in_body(*off, buf.len())) {
            return Err(EINVAL);
        }
        let block = match self.cached(bno) {
            Some(block) => self.verified(block)?,
            None => {
                missing();
                self.read_block(bno)?
            }
        };
        let lock = self.range_lock(bno).ok_or(EINVAL)?.lock();
        for (off, buf) in ranges {
            // SAFETY: The range lies in the body, as checked above. Whoever writes to this block
            // does it in `write_at`, under the same lock.
            unsafe {
                core::ptr::copy_nonoverlapping(block.body().add(*off), buf.as_mut_ptr(), buf.len())
            };
        }
        drop(lock);
        Ok(())
    }

    fn readahead(&self, bnos: impl Iterator<Item = u64>) {
        let end = self.device_blocks();
        let mut bnos = bnos.filter(|&bno| bno < end);
        let mut batch = [0; 16];
        loop {
            let mut len = 0;
            for (slot, bno) in batch.iter_mut().zip(&mut bnos) {
                *slot = bno;
                len += 1;
            }
            if len == 0 {
                return;
            }
            // SAFETY: By the device's invariant. The first `len` numbers lie on the device.
            unsafe { bindings::vexfs_helper_sb_breadahead(self.0.sb, batch.as_ptr(), len) };
        }
    }

    fn is_cached(&self, bno: u64) -> bool {
        self.cached(bno).is_some()
    }

    fn begin(&self, credits: usize) -> Result<Handle> {
        self.start(credits)
    }

    fn committed(&self) -> Tid {
        self.0.journal.as_ref().map_or(0, Journal::committed)
    }

    fn commit(&self) -> Result {
        match &self.0.journal {
            Some(_) if self.is_shut_down() => Err(EIO),
            Some(journal) => journal.commit().map_err(|e| self.translate(e)),
            None => Ok(()),
        }
    }

    fn block_count(&self) -> u64 {
        self.device_blocks()
    }

    fn caller(&self) -> Caller {
        Caller {
            // SAFETY: It only looks at the current task.
            exempt: unsafe { bindings::vexfs_helper_exempt_from_quota() },
            now: sched::real_seconds(),
        }
    }

    fn quota_warn(&self, warning: Warning) {
        // As the kernel's quota_send_warning numbers them: of inodes, of blocks.
        let (inodes, blocks) = match warning.passing {
            Passing::Hard => (1, 4),
            Passing::GraceOver => (2, 5),
            Passing::Soft => (3, 6),
            Passing::BelowHard => (7, 9),
            Passing::BelowSoft => (8, 10),
        };
        let what = if warning.inodes { inodes } else { blocks };
        let (qtype, id) = (warning.qtype as u32, warning.id);
        // SAFETY: By the device's invariant; the call only sends a message.
        unsafe { bindings::vexfs_helper_quota_warn(self.0.sb, qtype, id, what) };
    }
}

/// Keeps a freeze from completing.
struct WriteCount(Store);

impl WriteCount {
    fn new(store: &Store) -> Self {
        // SAFETY: By the device's invariant.
        unsafe { bindings::vexfs_helper_sb_start_intwrite(store.0.sb) };
        WriteCount(store.clone())
    }
}

impl Drop for WriteCount {
    fn drop(&mut self) {
        // SAFETY: By the device's invariant; the count was taken when `self` was made.
        unsafe { bindings::vexfs_helper_sb_end_intwrite(self.0 .0.sb) };
    }
}

/// A running transaction. It belongs to the thread that began it; memory is allocated without
/// entering file systems as long as it lives.
pub(crate) struct Handle {
    // Gone once it was stopped.
    raw: Option<RawHandle>,
    store: Store,
    dirtied: bool,
    // Dropped after the handle was stopped.
    _count: WriteCount,
    _here: NotThreadSafe,
}

impl Handle {
    fn raw(&self) -> Result<&RawHandle> {
        self.raw.as_ref().ok_or(EINVAL)
    }

    /// Reads a block and takes write access to it.
    fn access(&mut self, bno: u64) -> Result<Block> {
        let block = self.store.read_block(bno)?;
        let trigger = &self.store.0.trigger;
        self.raw()?
            .write(&block, trigger)
            .map_err(|e| self.store.translate(e))?;
        self.dirtied = true;
        Ok(block)
    }
}

impl journal::Trans for Handle {
    type Store = Store;
    type BlockMut = BlockMut;

    fn tid(&self) -> Tid {
        self.raw.as_ref().map_or(0, RawHandle::tid)
    }

    fn read(&mut self, bno: u64) -> Result<Block> {
        self.store.read_block(bno)
    }

    fn read_interior(&mut self, bno: u64) -> Result<Block> {
        self.store.read_hot_block(bno)
    }

    fn modify(&mut self, bno: u64) -> Result<BlockMut> {
        Ok(BlockMut::new(self.access(bno)?))
    }

    fn create(&mut self, bno: u64) -> Result<BlockMut> {
        if bno >= self.store.device_blocks() {
            self.store.complain(bno, "lies outside of the device");
            return Err(euclean());
        }
        // SAFETY: By the device's invariant.
        let block = unsafe { Block::get(self.store.0.sb, bno) }?;
        let trigger = &self.store.0.trigger;
        self.raw()?
            .create(&block, trigger)
            .map_err(|e| self.store.translate(e))?;
        self.dirtied = true;
        Ok(BlockMut::new(block))
    }

    fn forget(&mut self, bno: u64) -> Result {
        // Even a failure may have left a mark.
        self.dirtied = true;
        self.store.0.hot.forget(bno);
        // SAFETY: By the device's invariant.
        let block = unsafe { Block::cached(self.store.0.sb, bno) };
        self.raw()?
            .revoke(bno, block)
            .map_err(|e| self.store.translate(e))
    }

    fn write_at(&mut self, bno: u64, off: usize, bytes: &[u8]) -> Result {
        if !in_body(off, bytes.len()) {
            return Err(EINVAL);
        }
        let block = self.access(bno)?;
        let lock = self.store.range_lock(bno).ok_or(EINVAL)?.lock();
        // SAFETY: The range lies in the body, as checked above. Other handles that have write
        // access to this block keep to the same lock, and jbd2 does not look at the block before
        // they have all stopped.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), block.body().add(off), bytes.len())
        };
        drop(lock);
        Ok(())
    }

    fn extend(&mut self, credits: usize) -> Result<bool> {
        let extended = self.raw()?.extend(credits, revokes(credits));
        extended.map_err(|e| self.store.translate(e))
    }

    fn dirtied(&self) -> bool {
        self.dirtied
    }

    fn stop(mut self) -> Result {
        let raw = self.raw.take().ok_or(EINVAL)?;
        raw.stop().map_err(|e| self.store.translate(e))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let Some(raw) = self.raw.take() else {
            return;
        };
        if self.dirtied && !self.store.is_shut_down() {
            // There is no way back from a half-made change but to forget the whole transaction.
            log::line(
                self.store.0.sb,
                log::ERR,
                format_args!("operation failed in the middle of a change; shutting down"),
            );
            if let Some(journal) = &self.store.0.journal {
                journal.abort(EIO.to_errno());
            }
        }
        // The journal is gone or nothing was changed: there is nothing to report.
        let _ = raw.stop();
    }
}
