// SPDX-License-Identifier: GPL-2.0

//! Waiting for something to change.

use core::ffi::c_void;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};

use kernel::prelude::*;
use kernel::sync::LockClassKey;
use kernel::types::Opaque;

use super::bindings;

/// Counts how often something changed, and lets tasks sleep until it changes again.
///
/// Read [`Event::count`], look at the condition (which may sleep), and wait with that count: a
/// change in between is not missed.
pub(crate) struct Event(Pin<KBox<Inner>>);

#[pin_data]
struct Inner {
    #[pin]
    queue: Opaque<bindings::wait_queue_head>,
    count: AtomicU64,
}

// SAFETY: The queue has its own lock, the count is atomic.
unsafe impl Send for Inner {}
// SAFETY: As above.
unsafe impl Sync for Inner {}

/// Which signals end a wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signals {
    /// All that the task takes.
    Any,
    /// Those that kill it.
    Fatal,
}

/// What a sleeping task waits for: the count is not `seen` any more.
struct Wanted<'a> {
    inner: &'a Inner,
    seen: u64,
}

/// # Safety
///
/// `data` is a [`Wanted`] that lives as long as the wait.
unsafe extern "C" fn changed(data: *mut c_void) -> bool {
    // SAFETY: By this function's own requirement.
    let wanted = unsafe { &*data.cast::<Wanted<'_>>() };
    wanted.inner.count.load(Ordering::Acquire) != wanted.seen
}

impl Event {
    /// Makes an event.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let class = kernel::static_lock_class!();
        let inner = pin_init!(Inner {
            queue <- Self::init_queue(class),
            count: AtomicU64::new(0),
        });
        Ok(Event(KBox::pin_init(inner, GFP_KERNEL)?))
    }

    fn init_queue(
        class: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Opaque<bindings::wait_queue_head>> {
        // SAFETY: The slot is valid for writes and does not move; name and class are static.
        unsafe {
            Opaque::ffi_init(move |slot| {
                let name = c"vexfs event".as_char_ptr();
                bindings::vexfs_helper_init_waitqueue_head(slot, name, class.as_ptr());
            })
        }
    }

    /// The count now.
    pub(crate) fn count(&self) -> u64 {
        self.0.count.load(Ordering::Acquire)
    }

    /// Something changed: wakes everybody.
    pub(crate) fn wake_all(&self) {
        self.0.count.fetch_add(1, Ordering::Release);
        // SAFETY: The queue was initialised when `self` was made. Waking takes its lock, which
        // orders the count before the look at the waiters.
        unsafe { bindings::vexfs_helper_wake_up_all(self.0.queue.get()) };
    }

    /// Sleeps until the count is not `seen`, or `limit` milliseconds have gone by.
    ///
    /// # Errors
    ///
    /// When a signal of `ended_by` arrives: `EINTR` for those that kill the task, `ERESTARTSYS` if
    /// any will do.
    pub(crate) fn wait(&self, seen: u64, ended_by: Signals, limit: Option<u32>) -> Result {
        let mut wanted = Wanted {
            inner: &self.0,
            seen,
        };
        let fatal = ended_by == Signals::Fatal;
        // SAFETY: The queue was initialised when `self` was made; `wanted` lives until the call
        // returns.
        let r = unsafe {
            bindings::vexfs_helper_wait_event_timeout(
                self.0.queue.get(),
                Some(changed),
                (&raw mut wanted).cast(),
                fatal,
                limit.unwrap_or(0),
            )
        };
        match (r, fatal) {
            (0.., _) => Ok(()),
            (_, true) => Err(EINTR),
            (_, false) => Err(ERESTARTSYS),
        }
    }

    /// Registers a poll(2) of `file` with the event.
    ///
    /// # Safety
    ///
    /// Both pointers are the VFS's, in a `poll` callback; the event lives as long as the file.
    pub(super) unsafe fn poll(
        &self,
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) {
        // SAFETY: By this function's own requirement.
        unsafe { bindings::vexfs_helper_poll_wait(file, self.0.queue.get(), table) };
    }
}
