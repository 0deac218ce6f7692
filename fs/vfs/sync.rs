// SPDX-License-Identifier: GPL-2.0

//! Locks.
//!
//! libvexfs moves its structures while it builds them, so [`Mutex`], [`SpinLock`] and
//! [`RwSemaphore`] keep the kernel's lock, which must not move, on the heap. The class that lockdep
//! files a lock under is the source line that made it.

use super::bindings;
use core::{
    cell::UnsafeCell,
    ops::{Deref, DerefMut},
    panic::Location,
    pin::Pin,
};
use kernel::{
    prelude::*,
    sync::LockClassKey,
    types::{NotThreadSafe, Opaque},
};

pub(crate) use kernel::sync::SetOnce;

/// The lock class of the line that called.
#[track_caller]
fn class() -> Pin<&'static LockClassKey> {
    const _: () = assert!(size_of::<Location<'_>>() >= size_of::<LockClassKey>());
    const _: () = assert!(align_of::<Location<'_>>() >= align_of::<LockClassKey>());

    let place: &'static Location<'static> = Location::caller();
    // SAFETY: Of a key in static memory lockdep uses the address and the span, never the content.
    // The place is static, lies in the module, and is large enough as asserted above.
    Pin::static_ref(unsafe { &*core::ptr::from_ref(place).cast::<LockClassKey>() })
}

/// A sleeping lock around a value.
pub(crate) struct Mutex<T>(Pin<KBox<kernel::sync::Mutex<T>>>);

impl<T> Mutex<T> {
    /// Makes a lock.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[track_caller]
    pub(crate) fn new(value: T) -> Result<Self> {
        let lock = kernel::sync::Mutex::new(value, c"vexfs mutex", class());
        Ok(Mutex(KBox::pin_init(lock, GFP_KERNEL)?))
    }

    /// Takes the lock.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn lock(&self) -> kernel::sync::MutexGuard<'_, T> {
        self.0.lock()
    }
}

/// A spinning lock around a value.
pub(crate) struct SpinLock<T>(Pin<KBox<kernel::sync::SpinLock<T>>>);

impl<T> SpinLock<T> {
    /// Makes a lock.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[track_caller]
    pub(crate) fn new(value: T) -> Result<Self> {
        let lock = kernel::sync::SpinLock::new(value, c"vexfs spinlock", class());
        Ok(SpinLock(KBox::pin_init(lock, GFP_KERNEL)?))
    }

    /// Takes the lock. The holder must not sleep.
    pub(crate) fn lock(&self) -> kernel::sync::SpinLockGuard<'_, T> {
        self.0.lock()
    }
}

/// A reader-writer semaphore that lies where it was made.
pub(crate) struct PinnedRwSemaphore<T> {
    raw: Opaque<bindings::rw_semaphore>,
    data: UnsafeCell<T>,
}

// SAFETY: The semaphore hands the value to one writer or to several readers at a time.
unsafe impl<T: Send> Send for PinnedRwSemaphore<T> {}
// SAFETY: As above; readers share the value, so it must be `Sync`.
unsafe impl<T: Send + Sync> Sync for PinnedRwSemaphore<T> {}

impl<T> PinnedRwSemaphore<T> {
    /// Makes a semaphore in place, of the calling line's class.
    ///
    /// # Safety
    ///
    /// `slot` is valid for writes, nobody else uses it, and the semaphore stays there.
    #[track_caller]
    pub(crate) unsafe fn init(slot: *mut Self, value: T) {
        let class = class();
        // SAFETY: The fields are valid for writes as the slot is, the name and the class are
        // static.
        unsafe {
            let raw = Opaque::cast_into(&raw const (*slot).raw);
            bindings::__init_rwsem(raw, c"vexfs rwsem".as_char_ptr(), class.as_ptr());
            (&raw mut (*slot).data).write(UnsafeCell::new(value));
        }
    }

    /// Takes the semaphore for reading.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn read(&self) -> ReadGuard<'_, T> {
        // SAFETY: The semaphore was initialised when `self` was made.
        unsafe { bindings::down_read(self.raw.get()) };
        ReadGuard(self, NotThreadSafe)
    }

    /// Takes the semaphore for reading if that does not mean to wait.
    pub(crate) fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        // SAFETY: The semaphore was initialised when `self` was made.
        let taken = unsafe { bindings::down_read_trylock(self.raw.get()) } != 0;
        // Not `then_some`: that makes a guard in any case, and dropping it gives back what was not
        // taken.
        taken.then(|| ReadGuard(self, NotThreadSafe))
    }

    /// Takes the semaphore for writing.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn write(&self) -> WriteGuard<'_, T> {
        self.write_nested(0)
    }

    /// Takes the semaphore for writing while `depth` others of the class are held, in the order
    /// that `ops` documents.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn write_nested(&self, depth: i32) -> WriteGuard<'_, T> {
        // SAFETY: The semaphore was initialised when `self` was made.
        unsafe { bindings::vexfs_helper_down_write_nested(self.raw.get(), depth) };
        WriteGuard(self, NotThreadSafe)
    }
}

/// Shared access to the value of a semaphore; gives it up when dropped.
pub(crate) struct ReadGuard<'a, T>(&'a PinnedRwSemaphore<T>, #[allow(dead_code)] NotThreadSafe);

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The guard holds the semaphore for reading, so nobody writes the value.
        unsafe { &*self.0.data.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The guard holds the semaphore for reading.
        unsafe { bindings::up_read(self.0.raw.get()) }
    }
}

/// Exclusive access to the value of a semaphore; gives it up when dropped.
pub(crate) struct WriteGuard<'a, T>(&'a PinnedRwSemaphore<T>, #[allow(dead_code)] NotThreadSafe);

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The guard holds the semaphore for writing, so the value is its own.
        unsafe { &*self.0.data.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The guard holds the semaphore for writing, so the value is its own.
        unsafe { &mut *self.0.data.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The guard holds the semaphore for writing.
        unsafe { bindings::up_write(self.0.raw.get()) }
    }
}

/// A reader-writer semaphore that may be moved.
pub(crate) struct RwSemaphore<T>(Pin<KBox<PinnedRwSemaphore<T>>>);

impl<T> RwSemaphore<T> {
    /// Makes a semaphore.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[track_caller]
    pub(crate) fn new(value: T) -> Result<Self> {
        let mut lock = KBox::<PinnedRwSemaphore<T>>::new_uninit(GFP_KERNEL)?;
        // SAFETY: The box's memory is ours alone; the box is whole when the semaphore is
        // initialised, and pinned from here on.
        unsafe {
            PinnedRwSemaphore::init(lock.as_mut_ptr(), value);
            Ok(RwSemaphore(Pin::new_unchecked(lock.assume_init())))
        }
    }

    /// Takes the semaphore for reading.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn read(&self) -> ReadGuard<'_, T> {
        self.0.read()
    }

    /// Takes the semaphore for writing.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn write(&self) -> WriteGuard<'_, T> {
        self.0.write()
    }
}
