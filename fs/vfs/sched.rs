// SPDX-License-Identifier: GPL-2.0

//! The scheduler.

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
