// SPDX-License-Identifier: GPL-2.0

//! Completion of file data writes.
//!
//! A write that needs a transaction when it is done (an unwritten extent becomes written, the size
//! on disk grows) cannot be completed in interrupt context. Its ioend is put on the list of its
//! inode, and a work item on the mount's own queue takes the whole list, sorts and merges it, and
//! completes it. The folios stay under write-back until then: whoever waits for write-back waits
//! for the transaction's handle too.
//!
//! [`DataState`] is what each inode keeps for that, and for knowing when a mapping is stale and
//! which commit makes the inode durable.

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use kernel::error::code::*;
use kernel::prelude::*;
use kernel::types::Opaque;

use crate::libvexfs::journal::{tid_geq, Tid};
use crate::ops::aops;
use crate::vfs::bindings;
use crate::vfs::inode::VexInode;
use crate::vfs::sched;

/// The workqueue of a mount on which ioends are completed.
///
/// Reclaim waits for write-back, so the queue has a rescuer (`WQ_MEM_RECLAIM`). Each mount has its
/// own: the image of one may be a file on another, and the inner one's completions must not wait in
/// line before the outer one's.
pub(crate) struct IoendQueue(ptr::NonNull<bindings::workqueue_struct>);

// SAFETY: A workqueue may be used from any task.
unsafe impl Send for IoendQueue {}
// SAFETY: Queueing work takes the workqueue's own locks.
unsafe impl Sync for IoendQueue {}

impl IoendQueue {
    /// Makes the queue.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The name is a C string; the flags are workqueue flags.
        let wq = unsafe {
            bindings::vexfs_helper_alloc_workqueue(
                c"vexfs-ioend".as_ptr().cast(),
                bindings::VEXFS_WQ_MEM_RECLAIM | bindings::VEXFS_WQ_UNBOUND,
                0,
            )
        };
        Ok(Self(ptr::NonNull::new(wq).ok_or(ENOMEM)?))
    }
}

impl Drop for IoendQueue {
    fn drop(&mut self) {
        // SAFETY: We own the queue. Inodes are evicted before the mount's data is dropped, and
        // eviction waits for write-back, so nothing can be queued any more; what still runs is
        // drained here.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}

/// The newest of the transactions that were noted. Two that run side by side may come in either
/// order.
struct NewestTid(AtomicU64);

impl NewestTid {
    /// Set beside the number once there is one.
    const KNOWN: u64 = 1 << 32;

    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn note(&self, tid: Tid) {
        // An error says that a newer one is there.
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| {
                (old & Self::KNOWN == 0 || tid_geq(tid, old as Tid))
                    .then_some(Self::KNOWN | u64::from(tid))
            });
    }

    fn get(&self) -> Tid {
        self.0.load(Ordering::Acquire) as Tid
    }

    /// None before the first one.
    fn known(&self) -> Option<Tid> {
        let noted = self.0.load(Ordering::Acquire);
        (noted & Self::KNOWN != 0).then_some(noted as Tid)
    }
}

/// What an inode keeps for its file data beside the metadata proper.
#[repr(C)]
pub(crate) struct DataState {
    /// Ioends that wait to be completed; protected by `lock`.
    ioends: Opaque<bindings::list_head>,
    lock: Opaque<bindings::spinlock_t>,
    work: Opaque<bindings::work_struct>,
    /// Counts the changes of the extent map: the cookie that tells a stale mapping from a good one.
    /// Changes only under the inode's metadata lock held for write.
    map_seq: AtomicU64,
    /// The newest transactions that changed anything of the inode, and anything that its data
    /// depends on.
    sync_tid: NewestTid,
    datasync_tid: NewestTid,
    /// The newest one that moved the version of the contents on.
    version_tid: NewestTid,
    /// Blocks beyond the end of file may be left to free: see `ops::truncate`.
    trim: AtomicBool,
    /// The block of the end of file is known to be zero behind it, on disk: see `ops::truncate`.
    tail_clean: AtomicBool,
    /// See `ops::room`: the size that the file had when it got room, or [`NO_ROOM`].
    room: AtomicU64,
    /// How often in a row it was closed with most of its room unused.
    room_wasted: AtomicU32,
    /// Descriptors that can write.
    writers: AtomicU32,
    /// How many blocks are delayed. Changes only under the metadata lock held for write.
    delayed: AtomicU64,
}

/// No size.
const NO_ROOM: u64 = u64::MAX;

// SAFETY: The list is only touched under the lock, the rest is atomic.
unsafe impl Sync for DataState {}
// SAFETY: As above; nothing in it belongs to a task.
unsafe impl Send for DataState {}

impl DataState {
    /// Initialises the state of an inode that was just allocated.
    ///
    /// # Safety
    ///
    /// `this` must point to memory for a `DataState` that nobody else uses yet and that does not
    /// move afterwards.
    pub(crate) unsafe fn init(this: *mut Self) {
        // SAFETY: The caller gives us the memory. Writing whole fields does not read what was
        // there.
        unsafe {
            bindings::INIT_LIST_HEAD((&raw mut (*this).ioends).cast());
            bindings::vexfs_helper_spin_lock_init(
                (&raw mut (*this).lock).cast(),
                c"vexfs ioend".as_ptr().cast(),
                LOCK_CLASS.0.get().cast(),
            );
            bindings::vexfs_helper_init_work((&raw mut (*this).work).cast(), Some(complete));
            (&raw mut (*this).map_seq).write(AtomicU64::new(0));
            (&raw mut (*this).sync_tid).write(NewestTid::new());
            (&raw mut (*this).datasync_tid).write(NewestTid::new());
            (&raw mut (*this).version_tid).write(NewestTid::new());
            (&raw mut (*this).trim).write(AtomicBool::new(false));
            (&raw mut (*this).tail_clean).write(AtomicBool::new(false));
            (&raw mut (*this).room).write(AtomicU64::new(NO_ROOM));
            (&raw mut (*this).room_wasted).write(AtomicU32::new(0));
            (&raw mut (*this).writers).write(AtomicU32::new(0));
            (&raw mut (*this).delayed).write(AtomicU64::new(0));
        }
    }

    /// The cookie of mappings that are read now. Call it with the inode's metadata lock held.
    pub(crate) fn seq(&self) -> u64 {
        self.map_seq.load(Ordering::Acquire)
    }

    /// The extent map changed: mappings that were read before are stale. Call it with the metadata
    /// lock held for write.
    pub(crate) fn changed(&self) {
        self.map_seq.fetch_add(1, Ordering::Release);
    }

    /// Transaction `tid` changed the inode; `datasync`: something that its data needs to be read
    /// back.
    pub(crate) fn note(&self, tid: Tid, datasync: bool) {
        self.sync_tid.note(tid);
        if datasync {
            self.datasync_tid.note(tid);
        }
    }

    /// The transaction that fsync (or fdatasync) has to see committed.
    pub(crate) fn commit_tid(&self, datasync: bool) -> Tid {
        if datasync {
            self.datasync_tid.get()
        } else {
            self.sync_tid.get()
        }
    }

    /// Transaction `tid` moved the version of the contents on. Call it with the metadata lock held
    /// for write.
    pub(crate) fn note_version(&self, tid: Tid) {
        self.version_tid.note(tid);
    }

    /// The newest transaction that moved the version on since the inode is in core.
    pub(crate) fn version_tid(&self) -> Option<Tid> {
        self.version_tid.known()
    }

    /// Remembers that blocks beyond the end of file are left to free.
    pub(crate) fn set_trim(&self, trim: bool) {
        self.trim.store(trim, Ordering::Release);
    }

    /// Whether blocks beyond the end of file may be left to free.
    pub(crate) fn needs_trim(&self) -> bool {
        self.trim.load(Ordering::Acquire)
    }

    /// Remembers whether the last block's rest is zero on disk.
    pub(crate) fn set_tail_clean(&self, clean: bool) {
        self.tail_clean.store(clean, Ordering::Release);
    }

    /// Whether the last block's rest is known to be zero on disk. Writes keep it so: write-back
    /// zeroes it each time.
    pub(crate) fn tail_clean(&self) -> bool {
        self.tail_clean.load(Ordering::Acquire)
    }

    /// The file has room since it had that size; or it has none (any more). Call it with `i_rwsem`
    /// held exclusively.
    pub(crate) fn set_room(&self, since: Option<u64>) {
        self.room.store(since.unwrap_or(NO_ROOM), Ordering::Release);
    }

    /// Whether the file has room behind its end.
    pub(crate) fn has_room(&self) -> bool {
        self.room.load(Ordering::Acquire) != NO_ROOM
    }

    /// The size that the file had when it got room.
    pub(crate) fn room_since(&self) -> u64 {
        self.room.load(Ordering::Acquire)
    }

    /// The file was closed, with most of its room unused or not. Call it with `i_rwsem` held
    /// exclusively.
    pub(crate) fn note_room(&self, wasted: bool) {
        let times = self.room_wasted();
        let times = if wasted { times.saturating_add(1) } else { 0 };
        self.room_wasted.store(times, Ordering::Relaxed);
    }

    /// How often in a row it was closed with most of its room unused.
    pub(crate) fn room_wasted(&self) -> u32 {
        self.room_wasted.load(Ordering::Relaxed)
    }

    /// A descriptor that can write was opened.
    pub(crate) fn writer_came(&self) {
        self.writers.fetch_add(1, Ordering::Relaxed);
    }

    /// A descriptor that can write is closed; true: it was the last.
    pub(crate) fn writer_went(&self) -> bool {
        self.writers.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether a descriptor that can write is open.
    pub(crate) fn has_writers(&self) -> bool {
        self.writers.load(Ordering::Acquire) != 0
    }

    /// Notes how many blocks are delayed. Call it with the metadata lock held for write.
    pub(crate) fn set_delayed(&self, blocks: u64) {
        self.delayed.store(blocks, Ordering::Release);
    }

    /// How many blocks are promised and have no place yet.
    pub(crate) fn delayed(&self) -> u64 {
        self.delayed.load(Ordering::Acquire)
    }

    /// Puts an ioend on the list and has it completed by the mount's queue.
    ///
    /// # Safety
    ///
    /// `ioend` must be a finished ioend of the inode that this state belongs to, and on no list.
    unsafe fn push(&self, queue: &IoendQueue, ioend: *mut bindings::iomap_ioend) {
        // SAFETY: The lock and the list were initialised by `init`. The work is queued under the
        // lock: once the ioend is on the list and the lock is dropped, the worker may complete it
        // and the inode may go away.
        unsafe {
            let flags = bindings::vexfs_helper_spin_lock_irqsave(self.lock.get());
            let head = self.ioends.get();
            if ptr::eq((*head).next, head) {
                bindings::vexfs_helper_queue_work(queue.0.as_ptr(), self.work.get());
            }
            bindings::list_add_tail(&raw mut (*ioend).io_list, head);
            bindings::vexfs_helper_spin_unlock_irqrestore(self.lock.get(), flags);
        }
    }
}

/// A lock class key: zeroed memory with a fixed address.
struct LockClass(core::cell::UnsafeCell<kernel::bindings::lock_class_key>);
// SAFETY: Only the address is used, by lockdep, which locks for itself.
unsafe impl Sync for LockClass {}
static LOCK_CLASS: LockClass = LockClass(core::cell::UnsafeCell::new(pin_init::zeroed()));

/// `bi_end_io` of writes that need a transaction.
///
/// # Safety
///
/// Called by the block layer, once, for a bio inside an ioend of an inode of ours.
pub(crate) unsafe extern "C" fn end_bio(bio: *mut bindings::bio) {
    // SAFETY: `vfs::iomap` sets this function only on the bios of ioends.
    let ioend: *mut bindings::iomap_ioend =
        unsafe { kernel::container_of!(bio, bindings::iomap_ioend, io_bio) };
    // SAFETY: The folios of the ioend are under write-back, which keeps the inode.
    let inode = unsafe { VexInode::from_raw((*ioend).io_inode) };
    // SAFETY: The ioend is finished, belongs to this inode and is on no list.
    unsafe { inode.data().push(inode.ioend_queue(), ioend) };
}

/// The work item: completes all ioends that wait.
///
/// # Safety
///
/// Called by the workqueue with the `work` of a `DataState`.
unsafe extern "C" fn complete(work: *mut bindings::work_struct) {
    // SAFETY: `init` registered this function only for the `work` field, and `Opaque` is
    // transparent. The inode lives: its ioends are on the list.
    let data: *mut DataState = unsafe {
        kernel::container_of!(
            work.cast::<Opaque<bindings::work_struct>>(),
            DataState,
            work
        )
    };
    let mut list = bindings::list_head {
        next: ptr::null_mut(),
        prev: ptr::null_mut(),
    };
    let list = &raw mut list;

    // SAFETY: The inode's list is moved to ours under its lock. From here on we touch our list
    // alone: the inode may be freed as soon as its last ioend is finished.
    unsafe {
        bindings::INIT_LIST_HEAD(list);
        let flags = bindings::vexfs_helper_spin_lock_irqsave((*data).lock.get());
        let head = (*data).ioends.get();
        if !ptr::eq((*head).next, head) {
            (*list).next = (*head).next;
            (*list).prev = (*head).prev;
            (*(*list).next).prev = list;
            (*(*list).prev).next = list;
            bindings::INIT_LIST_HEAD(head);
        }
        bindings::vexfs_helper_spin_unlock_irqrestore((*data).lock.get(), flags);
        bindings::iomap_sort_ioends(list);
    }

    // SAFETY: Each entry of the list is an ioend that we own now. `iomap_ioend_try_merge` takes
    // those off our list that it merges, and `iomap_finish_ioends` ends and frees the merged whole.
    unsafe {
        while !ptr::eq((*list).next, list) {
            let entry = (*list).next;
            (*(*entry).next).prev = list;
            (*list).next = (*entry).next;
            let ioend: *mut bindings::iomap_ioend =
                kernel::container_of!(entry, bindings::iomap_ioend, io_list);
            bindings::iomap_ioend_try_merge(ioend, list);
            finish(ioend);
            bindings::vexfs_helper_cond_resched();
        }
    }
}

/// Completes one (merged) ioend.
///
/// # Safety
///
/// The caller passes ownership of a finished ioend whose `io_list` is the head of those merged into
/// it.
unsafe fn finish(ioend: *mut bindings::iomap_ioend) {
    // Write-back on behalf of reclaim may wait for us: allocations must not enter the file system.
    // SAFETY: Restored below, by the same task.
    let nofs = unsafe { bindings::vexfs_helper_memalloc_nofs_save() };
    // SAFETY: The ioend is ours; its folios keep the inode until `iomap_finish_ioends`.
    let error = unsafe {
        let inode = VexInode::from_raw((*ioend).io_inode);
        match bindings::blk_status_to_errno((*ioend).io_bio.bi_status) {
            0 => {
                let unwritten = u32::from((*ioend).io_flags) & bindings::IOMAP_IOEND_UNWRITTEN != 0;
                let (pos, len) = ((*ioend).io_offset as u64, (*ioend).io_size as u64);
                // The data is on the medium, and in no place that anybody would find.
                match sched::despite_no_memory(|| {
                    aops::finish_write(inode, pos, len, unwritten, false)
                }) {
                    Ok(()) => 0,
                    Err(e) => e.to_errno(),
                }
            }
            error => error,
        }
    };
    // An error becomes the mapping's error here, and fsync will see it.
    // SAFETY: As above; the ioend is gone afterwards.
    unsafe {
        bindings::iomap_finish_ioends(ioend, error);
        bindings::vexfs_helper_memalloc_nofs_restore(nofs);
    }
}
