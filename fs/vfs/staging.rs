// SPDX-License-Identifier: GPL-2.0

//! What staging needs of the kernel beside files: a link to a mount that does not pin it, blocks
//! written past the page cache, and the page cache of a file that goes.

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};

use kernel::error::to_result;
use kernel::prelude::*;

use super::bindings;
use super::folio::FolioRef;
use super::inode::VexInode;
use super::super_block::SuperBlock;
use super::sync::RwSemaphore;

/// A super block's address; null once it is going.
struct Target(*mut bindings::super_block);

// SAFETY: Only the address is kept here; `MountLink` decides who may follow it.
unsafe impl Send for Target {}
// SAFETY: As above.
unsafe impl Sync for Target {}

/// A way to a mounted file system for those who do not keep it mounted.
pub(crate) struct MountLink {
    target: RwSemaphore<Target>,
    cut: AtomicBool,
}

impl MountLink {
    /// A link to a file system that is being mounted. Whoever kills its super block cuts the link
    /// first.
    pub(crate) fn new(sb: &SuperBlock) -> Result<Self> {
        Ok(MountLink {
            target: RwSemaphore::new(Target(sb.as_ptr()))?,
            cut: AtomicBool::new(false),
        })
    }

    /// Whether it was cut, or is about to be.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Lets `f` use the file system, which stays until it returns. `f` should look at
    /// [`MountLink::is_cut`] now and then: the unmount waits for it.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it is gone, and what `f` returns.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&SuperBlock) -> Result<T>) -> Result<T> {
        if self.is_cut() {
            return Err(ENODEV);
        }
        let target = self.target.read();
        if target.0.is_null() {
            return Err(ENODEV);
        }
        // SAFETY: The super block's killer cuts the link first, and `cut` waits for our guard.
        f(unsafe { SuperBlock::from_raw(target.0) })
    }

    /// Waits until those who use the file system through the link now have ended; others may come
    /// meanwhile.
    pub(crate) fn wait_for_all(&self) {
        drop(self.target.write());
    }

    /// Waits until the file system is not frozen.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it is gone.
    ///
    /// # Context
    ///
    /// No lock held, and not inside of [`MountLink::with`]: `freeze_super` takes `s_umount` with
    /// `sb_start_write` shut, and an unmount takes the link with `s_umount` held.
    pub(crate) fn wait_for_thaw(&self) -> Result {
        let sb = {
            let target = self.target.read();
            // SAFETY: The super block's killer cuts the link first, and `cut` waits for our guard.
            if target.0.is_null() || !unsafe { bindings::vexfs_helper_sb_hold_active(target.0) } {
                return Err(ENODEV);
            }
            target.0
        };
        // SAFETY: Our active reference keeps the super block alive and is given back once. If it is
        // the last one, the unmount happens here: nothing is held that it waits for.
        unsafe {
            bindings::vexfs_helper_sb_start_write(sb);
            bindings::vexfs_helper_sb_end_write(sb);
            bindings::deactivate_super(sb);
        }
        Ok(())
    }

    /// Waits until nobody uses the file system through the link, and lets nobody do it again.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.target.write().0 = core::ptr::null_mut();
    }
}

/// While it lives the file system is not frozen.
pub(crate) struct WriteHeld<'a>(&'a SuperBlock);

impl Drop for WriteHeld<'_> {
    fn drop(&mut self) {
        // SAFETY: The super block is borrowed, and `try_hold_write` took the hold.
        unsafe { bindings::vexfs_helper_sb_end_write(self.0.as_ptr()) };
    }
}

impl SuperBlock {
    /// Keeps the file system from being frozen, for those who write without the VFS having seen to
    /// it. None if it is frozen, or is about to be.
    pub(crate) fn try_hold_write(&self) -> Option<WriteHeld<'_>> {
        // SAFETY: The super block is valid.
        let held = unsafe { bindings::vexfs_helper_sb_start_write_trylock(self.as_ptr()) };
        // A guard that is made in any case would give back what was not taken.
        held.then(|| WriteHeld(self))
    }

    /// Lets go of the hold that keeps the file system from being frozen, which every write has, while
    /// `f` runs.
    ///
    /// # Context
    ///
    /// Once inside of `sb_start_write`, with no lock that comes behind it held.
    pub(crate) fn outside_write<T>(&self, f: impl FnOnce() -> T) -> T {
        // SAFETY: The super block is valid, and the VFS took the hold for this task.
        unsafe { bindings::vexfs_helper_sb_end_write(self.as_ptr()) };
        let result = f();
        // SAFETY: As above; the VFS gives it back when the write returns.
        unsafe { bindings::vexfs_helper_sb_start_write(self.as_ptr()) };
        result
    }
}

impl VexInode {
    /// Lets go of `i_rwsem`, which the caller holds exclusively, while `f` runs.
    pub(crate) fn while_unlocked<T>(&self, f: impl FnOnce() -> T) -> T {
        // SAFETY: The inode lives, and the caller holds the lock.
        unsafe { bindings::vexfs_helper_inode_unlock(self.as_ptr()) };
        let result = f();
        // SAFETY: As above; the caller gives the lock back.
        unsafe { bindings::vexfs_helper_inode_lock(self.as_ptr()) };
        result
    }

    /// Whether the kernel swaps to it.
    pub(crate) fn is_swapfile(&self) -> bool {
        // SAFETY: The inode lives.
        unsafe { bindings::vexfs_helper_is_swapfile(self.as_ptr()) }
    }

    /// Takes all pages out of the page cache and out of mappings; they must be clean.
    ///
    /// # Errors
    ///
    /// `EBUSY` if some cannot be taken out: somebody dirtied them, or pinned them for a device.
    ///
    /// # Context
    ///
    /// `i_rwsem` and the invalidate lock held, no transaction open.
    pub(crate) fn drop_pages(&self) -> Result {
        // SAFETY: The inode lives, and is a regular file.
        to_result(unsafe { bindings::vexfs_helper_drop_folios(self.mapping()) })
    }

    /// Whether a device may be reading or writing pages of the page cache, or is going to.
    pub(crate) fn has_pinned_pages(&self) -> bool {
        // SAFETY: The inode lives.
        unsafe { bindings::vexfs_helper_has_pinned_folios(self.mapping()) }
    }

    /// Writes whole blocks to the device from block `bno` on, past all caches, and waits.
    ///
    /// # Errors
    ///
    /// `EIO` and what else the device says; `EINVAL` for parts of blocks.
    pub(crate) fn write_blocks(&self, bno: u64, bytes: &[u8]) -> Result {
        if bytes.len() % 4096 != 0 {
            return Err(EINVAL);
        }
        let data = bytes.as_ptr().cast_mut().cast::<c_void>();
        // SAFETY: The device is open as long as the super block lives; the bytes are only read,
        // and the call returns when the device has them.
        to_result(unsafe {
            bindings::vexfs_helper_write_blocks(self.bdev(), bno, data, bytes.len())
        })
    }
}

impl FolioRef {
    /// Copies bytes out that others may be changing meanwhile: whoever calls finds out afterwards
    /// whether they did, and throws the copy away then.
    pub(crate) fn copy_out(&self, from: usize, to: &mut [u8]) -> usize {
        let n = self.len().saturating_sub(from).min(to.len());
        // SAFETY: The folio is referenced and its memory in the direct map; `n` bytes from `from`
        // on are inside of it. C code copies, to which a race is no more than a wrong byte.
        unsafe {
            let source = bindings::vexfs_helper_folio_address(self.as_ptr())
                .cast::<u8>()
                .add(from);
            bindings::vexfs_helper_copy(to.as_mut_ptr().cast(), source.cast(), n);
        }
        n
    }
}

/// The user that the current task acts for.
pub(crate) fn current_uid() -> u32 {
    // SAFETY: A task may always look at its own credentials.
    unsafe { bindings::vexfs_helper_current_euid() }
}

/// The current task's process.
pub(crate) fn current_pid() -> u32 {
    kernel::current!().pid().unsigned_abs()
}

/// Nanoseconds on the clock that only goes forward.
pub(crate) fn monotonic_ns() -> u64 {
    // SAFETY: It only reads the clock.
    unsafe { bindings::ktime_get() }.unsigned_abs()
}
