// SPDX-License-Identifier: GPL-2.0

//! Work that a mount does in the background.

use super::{
    bindings,
    super_block::{Mount, SuperBlock},
};
use kernel::{prelude::*, types::Opaque};

/// What is queued.
#[repr(C)]
struct Item {
    raw: Opaque<bindings::work_struct>,
    sb: *mut bindings::super_block,
    run: fn(&Mount),
}

/// A function that runs some time after it was asked for, once for all who asked before it began.
/// It does not run beside itself.
pub(crate) struct Work(KBox<Item>);

// SAFETY: A work item may be queued and disabled from any task.
unsafe impl Send for Work {}
// SAFETY: As above; the rest of the item is constant.
unsafe impl Sync for Work {}

impl Work {
    /// Prepares `run` to be called with the mount of `sb`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(sb: &SuperBlock, run: fn(&Mount)) -> Result<Self> {
        let item = KBox::new(
            Item {
                raw: Opaque::zeroed(),
                sb: sb.as_ptr(),
                run,
            },
            GFP_KERNEL,
        )?;
        // SAFETY: The item is ours, and stays where it is.
        unsafe { bindings::vexfs_helper_init_work(item.raw.get(), Some(work)) };
        Ok(Work(item))
    }

    /// Has it run. Only while the super block has its mount; any context.
    pub(crate) fn queue(&self) {
        // SAFETY: The item was initialised.
        unsafe { bindings::vexfs_helper_queue_background(self.0.raw.get()) };
    }

    /// Waits until it does not run, and will not any more.
    pub(crate) fn stop(&self) {
        // SAFETY: The item was initialised.
        unsafe { bindings::disable_work_sync(self.0.raw.get()) };
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.stop();
    }
}

/// # Safety
///
/// Called by the workqueue with the `raw` of an [`Item`].
unsafe extern "C" fn work(raw: *mut bindings::work_struct) {
    // SAFETY: `new` registered this function only for that field, and `Opaque` is transparent. The
    // item and the mount live: they are dropped when this does not run any more.
    unsafe {
        let item: *mut Item =
            kernel::container_of!(raw.cast::<Opaque<bindings::work_struct>>(), Item, raw);
        ((*item).run)(SuperBlock::from_raw((*item).sb).mount());
    }
}
