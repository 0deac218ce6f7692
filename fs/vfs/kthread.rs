// SPDX-License-Identifier: GPL-2.0

//! Kernel threads of a mount.

use core::ffi::c_void;
use core::ptr::NonNull;

use kernel::error::from_err_ptr;
use kernel::prelude::*;

use super::{
    bindings,
    super_block::{Mount, SuperBlock},
};

/// What a thread runs.
struct Item {
    sb: *mut bindings::super_block,
    run: fn(&Mount),
}

/// A thread that works for a mount. Dropping it waits until it has ended; somebody tells it to.
pub(crate) struct Thread {
    task: NonNull<bindings::task_struct>,
    // Freed when the thread has ended.
    _item: KBox<Item>,
}

// SAFETY: A task may be waited for from any other.
unsafe impl Send for Thread {}
// SAFETY: As above.
unsafe impl Sync for Thread {}

/// # Safety
///
/// `data` is an [`Item`] that lives until the thread has ended.
unsafe extern "C" fn body(data: *mut c_void) -> c_int {
    // SAFETY: By this function's own requirement. The mount lives: `kill_sb` ends its threads
    // before it goes.
    unsafe {
        let item = &*data.cast_const().cast::<Item>();
        (item.run)(SuperBlock::from_raw(item.sb).mount());
    }
    0
}

impl Thread {
    /// Starts a thread of low priority that runs `run` with the mount of `sb`, which has one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EINTR`.
    pub(crate) fn start(sb: &SuperBlock, name: &CStr, run: fn(&Mount)) -> Result<Self> {
        let item = KBox::new(
            Item {
                sb: sb.as_ptr(),
                run,
            },
            GFP_KERNEL,
        )?;
        let data = core::ptr::from_ref(&*item).cast_mut().cast();
        // SAFETY: The name is a C string; the item stays where it is until the thread has ended.
        let task =
            unsafe { bindings::vexfs_helper_kthread_run(Some(body), data, name.as_char_ptr()) };
        let task = NonNull::new(from_err_ptr(task)?).ok_or(ENOMEM)?;
        Ok(Thread { task, _item: item })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: The reference to the task is ours, and given up here.
        unsafe { bindings::vexfs_helper_kthread_stop_put(self.task.as_ptr()) };
    }
}
