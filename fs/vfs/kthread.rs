// SPDX-License-Identifier: GPL-2.0

//! Kernel threads.

use core::ffi::c_void;
use core::ptr::NonNull;

use kernel::error::from_err_ptr;
use kernel::prelude::*;

use super::bindings;

/// A thread that works for somebody. Dropping it waits until it has ended; somebody tells it to.
pub(crate) struct Thread {
    task: NonNull<bindings::task_struct>,
}

// SAFETY: A task may be waited for from any other.
unsafe impl Send for Thread {}
// SAFETY: As above.
unsafe impl Sync for Thread {}

/// What a thread runs.
pub(crate) trait Body {
    /// Runs until it was told to end.
    fn run(&self);
}

/// # Safety
///
/// `data` is a `B` that lives until the thread has ended.
unsafe extern "C" fn body<B: Body>(data: *mut c_void) -> c_int {
    // SAFETY: By this function's own requirement.
    unsafe { &*data.cast_const().cast::<B>() }.run();
    0
}

impl Thread {
    /// Starts a thread of low priority.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EINTR`.
    ///
    /// # Safety
    ///
    /// `of` stays where it is until the thread was dropped.
    pub(crate) unsafe fn start<B: Body + Sync>(name: &CStr, of: &B) -> Result<Self> {
        let data = core::ptr::from_ref(of).cast_mut().cast();
        // SAFETY: The name is a C string, the data the caller's promise.
        let task = unsafe {
            bindings::vexfs_helper_kthread_run(Some(body::<B>), data, name.as_char_ptr())
        };
        let task = NonNull::new(from_err_ptr(task)?).ok_or(ENOMEM)?;
        Ok(Thread { task })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: The reference to the task is ours, and given up here.
        unsafe { bindings::vexfs_helper_kthread_stop_put(self.task.as_ptr()) };
    }
}
