// SPDX-License-Identifier: GPL-2.0

//! The journal: jbd2 on the volume's own device, with absolute block numbers.

use super::{bindings, buffer, super_block::Mount};
use crate::libvexfs::journal::{Tid, BLOCK_SIZE};
use crate::ops::mount;
use core::ptr::NonNull;
use kernel::{
    error::{from_err_ptr, to_result},
    prelude::*,
};

/// Seals blocks at the moment when jbd2 takes their content for a commit.
///
/// jbd2 calls back with the address of `raw`, from which the seed is found.
#[repr(C)]
pub(super) struct Trigger {
    raw: bindings::jbd2_buffer_trigger_type,
    seed: u32,
}

impl Trigger {
    /// A trigger that seals with `seed`. It must stay where it is while the journal lives.
    pub(super) fn new(seed: u32) -> Self {
        Trigger {
            raw: bindings::jbd2_buffer_trigger_type {
                t_frozen: Some(frozen),
                t_abort: None,
            },
            seed,
        }
    }

    fn as_ptr(&self) -> *mut bindings::jbd2_buffer_trigger_type {
        // jbd2 only reads it.
        (&raw const self.raw).cast_mut()
    }
}

/// # Safety
///
/// Called by jbd2 with the trigger that was set for the buffer and with the bytes that go to the
/// journal, which hold still until it returns.
unsafe extern "C" fn frozen(
    trigger: *mut bindings::jbd2_buffer_trigger_type,
    bh: *mut bindings::buffer_head,
    data: *mut c_void,
    size: usize,
) {
    if size != BLOCK_SIZE {
        return;
    }
    // SAFETY: `raw` is the first field of a Trigger, which lives as long as the journal.
    let seed = unsafe { (*trigger.cast::<Trigger>()).seed };
    // SAFETY: The buffer is valid; of the data nobody else touches the seal, and while jbd2
    // freezes a block nobody has write access to the rest.
    unsafe { buffer::seal_at(seed, bindings::vexfs_helper_bh_blocknr(bh), data.cast()) };
}

/// # Safety
///
/// Called by jbd2 when a transaction of a journal that [`Journal::load`] made has committed.
unsafe extern "C" fn committed(
    journal: *mut bindings::journal_t,
    _transaction: *mut bindings::transaction_t,
) {
    // SAFETY: `load` put the super block there. Its mount, if it has one, is freed after the
    // journal, which takes no notice of later changes of the pointer.
    let mount = unsafe {
        let sb = (*journal).j_private.cast::<bindings::super_block>();
        let mount = (&raw const (*sb).s_fs_info).read_volatile();
        mount.cast::<Mount>().as_ref()
    };
    if let Some(mount) = mount {
        mount::committed(mount);
    }
}

/// A loaded journal. Dropping it commits, checkpoints and marks it empty, unless it was aborted.
///
/// # Invariants
///
/// The pointer is valid, and nobody else destroys the journal.
pub(super) struct Journal(NonNull<bindings::journal_t>);

// SAFETY: jbd2 has its own locks.
unsafe impl Send for Journal {}
// SAFETY: As above.
unsafe impl Sync for Journal {}

impl Journal {
    /// Opens the journal at `start` of `len` blocks and replays it.
    ///
    /// # Safety
    ///
    /// `sb` is valid, and has an open device with block size [`BLOCK_SIZE`] that stays open as long
    /// as the journal; its mount, once it has one, is freed after the journal.
    pub(super) unsafe fn load(
        sb: *mut bindings::super_block,
        start: u64,
        len: u64,
    ) -> Result<Self> {
        // SAFETY: By this function's own requirement.
        let bdev = unsafe { (*sb).s_bdev };
        // Absolute numbers: to jbd2 the journal ends at start + len, and its superblock says that
        // its log begins behind `start`.
        let end = start.checked_add(len).ok_or(EINVAL)?;
        let end = i32::try_from(end).map_err(|_| EINVAL)?;
        // SAFETY: By this function's own requirement.
        let journal = from_err_ptr(unsafe {
            bindings::jbd2_journal_init_dev(bdev, bdev, start, end, BLOCK_SIZE as i32)
        })?;
        // INVARIANT: It was made just now. From here on dropping it destroys it.
        let journal = Journal(NonNull::new(journal).ok_or(ENOMEM)?);
        // SAFETY: By the type invariant; nothing uses the journal yet.
        to_result(unsafe { bindings::jbd2_journal_load(journal.as_ptr()) })?;

        // SAFETY: By the type invariant; nothing is committed yet.
        unsafe {
            (*journal.as_ptr()).j_private = sb.cast();
            (*journal.as_ptr()).j_commit_callback = Some(committed);
        }

        // jbd2 thinks that the blocks before `start` belong to the log and would let a transaction
        // take a third of them too.
        let most = i32::try_from(len / 3).map_err(|_| EINVAL)?;
        // SAFETY: By the type invariant; no handle was started yet.
        // The flag asks for the flushes that make a commit durable.
        unsafe {
            let j = journal.as_ptr();
            (*j).j_max_transaction_buffers = (*j).j_max_transaction_buffers.min(most);
            (*j).j_flags |= bindings::JBD2_BARRIER as c_ulong;
        }
        Ok(journal)
    }

    /// Whether the journal at `start` must be replayed before the volume may be read.
    ///
    /// # Safety
    ///
    /// As for [`Block::read`](buffer::Block).
    pub(super) unsafe fn is_dirty(sb: *mut bindings::super_block, start: u64) -> Result<bool> {
        // SAFETY: By this function's own requirement.
        let block = unsafe { buffer::Block::read(sb, start) }?;
        // SAFETY: The buffer is a block long, a journal superblock is shorter, and every bit
        // pattern of its integers is valid.
        let jsb = unsafe { &*block.bytes().cast::<bindings::journal_superblock_t>() };
        if u32::from_be(jsb.s_header.h_magic) != bindings::JBD2_MAGIC_NUMBER {
            return Err(EINVAL);
        }
        // An empty log has no start.
        Ok(jsb.s_start != 0)
    }

    /// The journal. It stays valid as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut bindings::journal_t {
        self.0.as_ptr()
    }

    /// Whether it was aborted: nothing is written any more.
    pub(super) fn aborted(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::vexfs_helper_is_journal_aborted(self.as_ptr()) }
    }

    /// Stops all writing at once. `ESHUTDOWN` leaves no error mark in the journal.
    pub(super) fn abort(&self, errno: i32) {
        // SAFETY: By the type invariant.
        unsafe { bindings::jbd2_journal_abort(self.as_ptr(), errno) };
    }

    /// Takes over the error that an earlier mount left in the journal, if there is one.
    pub(super) fn take_error(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe {
            if bindings::jbd2_journal_errno(self.as_ptr()) == 0 {
                return false;
            }
            bindings::jbd2_journal_clear_err(self.as_ptr());
            bindings::jbd2_journal_ack_err(self.as_ptr());
        }
        true
    }

    /// The most blocks that one handle may ask for.
    pub(super) fn most_credits(&self) -> usize {
        // SAFETY: By the type invariant. Both are constant since the journal was loaded.
        let n = unsafe {
            (*self.as_ptr()).j_max_transaction_buffers
                - (*self.as_ptr()).j_transaction_overhead_buffers
        };
        usize::try_from(n).unwrap_or(0)
    }

    /// The newest transaction that is durable.
    pub(super) fn committed(&self) -> Tid {
        // SAFETY: By the type invariant; jbd2 itself reads the field without a lock.
        unsafe { (&raw const (*self.as_ptr()).j_commit_sequence).read_volatile() }
    }

    /// Commits the running transaction and waits.
    pub(super) fn commit(&self) -> Result {
        // jbd2 asserts this: a thread that has a handle open would wait for itself.
        if has_handle() {
            return Err(EBUSY);
        }
        // SAFETY: By the type invariant; the thread has no handle.
        to_result(unsafe { bindings::jbd2_journal_force_commit(self.as_ptr()) })
    }

    /// Starts a commit without waiting for it.
    pub(super) fn start_commit(&self) {
        // SAFETY: By the type invariant; the tid is not asked for.
        unsafe { bindings::jbd2_journal_start_commit(self.as_ptr(), core::ptr::null_mut()) };
    }

    /// The newest transaction: the running one, the one that commits, or the last that did.
    pub(super) fn newest(&self) -> Tid {
        // SAFETY: By the type invariant. The next number to be given is a hint that may be late.
        let next = unsafe { (&raw const (*self.as_ptr()).j_transaction_sequence).read_volatile() };
        next.wrapping_sub(1)
    }

    /// Whether the commit of `tid` is still to come, and flushes the device's cache.
    pub(super) fn will_flush(&self, tid: Tid) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::jbd2_trans_will_send_data_barrier(self.as_ptr(), tid) != 0 }
    }

    /// Waits until transaction `tid` is durable; commits it if it is running.
    pub(super) fn complete(&self, tid: Tid) -> Result {
        if has_handle() {
            return Err(EBUSY);
        }
        // SAFETY: By the type invariant; the thread has no handle.
        to_result(unsafe { bindings::jbd2_complete_transaction(self.as_ptr(), tid) })
    }

    /// Commits and writes everything home; the log is empty afterwards. New handles wait.
    pub(super) fn flush(&self) -> Result {
        // SAFETY: By the type invariant. The lock is given back below on every path.
        unsafe { bindings::jbd2_journal_lock_updates(self.as_ptr()) };
        // SAFETY: By the type invariant; no handle is open.
        let done = to_result(unsafe { bindings::jbd2_journal_flush(self.as_ptr(), 0) });
        // SAFETY: The lock was taken above.
        unsafe { bindings::jbd2_journal_unlock_updates(self.as_ptr()) };
        done
    }

    /// Starts a handle.
    pub(super) fn start(&self, credits: usize, revokes: usize) -> Result<RawHandle> {
        let credits = i32::try_from(credits).map_err(|_| EINVAL)?;
        let revokes = i32::try_from(revokes).map_err(|_| EINVAL)?;
        // SAFETY: By the type invariant.
        let handle = from_err_ptr(unsafe {
            bindings::jbd2__journal_start(
                self.as_ptr(),
                credits,
                0,
                revokes,
                bindings::VEXFS_GFP_NOFS,
                0,
                0,
            )
        })?;
        // INVARIANT: It was started just now.
        Ok(RawHandle(NonNull::new(handle).ok_or(ENOMEM)?))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; nobody uses the journal any more. An error means that it
        // was aborted, which was logged when it happened.
        unsafe { bindings::jbd2_journal_destroy(self.as_ptr()) };
    }
}

/// Whether the calling thread has a handle open.
pub(super) fn has_handle() -> bool {
    // SAFETY: It only looks at the current task.
    !unsafe { bindings::vexfs_helper_journal_current_handle() }.is_null()
}

/// A handle that was started and not stopped yet. It belongs to the thread that started it.
///
/// # Invariants
///
/// The pointer is valid, and the handle is the calling thread's.
pub(super) struct RawHandle(NonNull<bindings::handle_t>);

impl RawHandle {
    /// The transaction that the handle is part of.
    pub(super) fn tid(&self) -> Tid {
        // SAFETY: By the type invariant.
        unsafe { bindings::vexfs_helper_handle_tid(self.0.as_ptr()) }
    }

    /// Write access to a block that was read, and marks it dirty.
    pub(super) fn write(&self, block: &buffer::Block, trigger: &Trigger) -> Result {
        let (handle, bh) = (self.0.as_ptr(), block.as_ptr());
        // SAFETY: By the type invariants of both.
        to_result(unsafe { bindings::jbd2_journal_get_write_access(handle, bh) })?;
        self.dirty(block, trigger)
    }

    /// Write access to a block that is new, which it fills with zeros, and marks it dirty.
    pub(super) fn create(&self, block: &buffer::Block, trigger: &Trigger) -> Result {
        let (handle, bh) = (self.0.as_ptr(), block.as_ptr());
        let lock = block.lock();
        // SAFETY: By the type invariants of both; the buffer is locked, as jbd2 wants it.
        to_result(unsafe { bindings::jbd2_journal_get_create_access(handle, bh) })?;
        lock.zero();
        drop(lock);
        self.dirty(block, trigger)
    }

    fn dirty(&self, block: &buffer::Block, trigger: &Trigger) -> Result {
        let (handle, bh) = (self.0.as_ptr(), block.as_ptr());
        // SAFETY: The caller got access to the buffer. The trigger lives as long as the journal.
        unsafe { bindings::jbd2_journal_set_triggers(bh, trigger.as_ptr()) };
        // SAFETY: As above.
        to_result(unsafe { bindings::jbd2_journal_dirty_metadata(handle, bh) })
    }

    /// Forgets a block's changes and revokes it.
    pub(super) fn revoke(&self, bno: u64, block: Option<buffer::Block>) -> Result {
        let bh = block.map_or(core::ptr::null_mut(), buffer::Block::into_raw);
        // SAFETY: By the type invariants; jbd2 drops the count that was given to it.
        to_result(unsafe { bindings::jbd2_journal_revoke(self.0.as_ptr(), bno, bh) })
    }

    /// Asks for more credits. False: the transaction has no room.
    pub(super) fn extend(&self, credits: usize, revokes: usize) -> Result<bool> {
        let credits = i32::try_from(credits).map_err(|_| EINVAL)?;
        let revokes = i32::try_from(revokes).map_err(|_| EINVAL)?;
        // SAFETY: By the type invariant.
        let n = unsafe { bindings::jbd2_journal_extend(self.0.as_ptr(), credits, revokes) };
        if n < 0 {
            return Err(Error::from_errno(n));
        }
        Ok(n == 0)
    }

    /// Ends the handle.
    pub(super) fn stop(self) -> Result {
        // SAFETY: By the type invariant; `self` is gone afterwards.
        to_result(unsafe { bindings::jbd2_journal_stop(self.0.as_ptr()) })
    }
}
