// SPDX-License-Identifier: GPL-2.0

//! The scheduler.

use kernel::prelude::*;

use super::bindings;

/// Lets other tasks run if they wait.
///
/// # Context
///
/// May sleep.
pub(crate) fn yield_if_needed() {
    // SAFETY: The callers may sleep.
    unsafe { bindings::vexfs_helper_cond_resched() };
}

/// Runs `step` until it does not fail for want of memory, with a pause each time: for what nobody
/// could do again later.
///
/// # Errors
///
/// What `step` returns, but never `ENOMEM`.
///
/// # Context
///
/// May sleep.
pub(crate) fn despite_no_memory<T>(mut step: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match step() {
            // SAFETY: The callers may sleep.
            Err(e) if e == ENOMEM => unsafe { bindings::vexfs_helper_memalloc_retry_wait() },
            other => return other,
        }
    }
}

/// Whether the current task is being killed.
pub(crate) fn killed() -> bool {
    // SAFETY: It only looks at the current task.
    unsafe { bindings::vexfs_helper_fatal_signal_pending() }
}

/// Whether a signal waits for the current task.
pub(crate) fn interrupted() -> bool {
    // SAFETY: It only looks at the current task.
    unsafe { bindings::vexfs_helper_signal_pending() }
}

/// A random number.
pub(crate) fn random() -> u64 {
    // SAFETY: It has no requirements.
    unsafe { bindings::vexfs_helper_get_random_u64() }
}

/// Seconds since 1970.
pub(crate) fn real_seconds() -> i64 {
    // SAFETY: It only reads the clock.
    unsafe { bindings::ktime_get_real_seconds() }
}

/// Runs `f` in a stack frame of its own. A task has 16 KiB of stack in the kernel, and interrupts may
/// want some of that. What the compiler puts into one frame with a choice of calls, as a dispatcher is,
/// has room for all of them at once, under whichever is made.
#[inline(never)]
pub(crate) fn apart<T>(f: impl FnOnce() -> T) -> T {
    f()
}
