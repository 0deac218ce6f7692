// SPDX-License-Identifier: GPL-2.0

//! The host's side of `crate::sync`. The module has one of the same shape over
//! the kernel's mutex.

use kernel::prelude::*;
use std::sync::MutexGuard;

/// A sleeping lock around a value.
pub struct Mutex<T>(std::sync::Mutex<T>);

/// Holds the lock until it is dropped.
pub type Guard<'a, T> = MutexGuard<'a, T>;

impl<T> Mutex<T> {
    /// Wraps `value`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: the kernel's mutex must not move, so there it lives on the heap.
    pub fn new(value: T) -> Result<Self> {
        kernel::alloc::check()?;
        Ok(Mutex(std::sync::Mutex::new(value)))
    }

    /// Takes the lock; may sleep.
    pub fn lock(&self) -> Guard<'_, T> {
        // A panic in a test poisons the lock; the state behind it is still what
        // the test wants to look at.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The value, without locking: nobody else can have it.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(|e| e.into_inner())
    }
}

/// A place for a value that is set once.
pub struct SetOnce<T>(std::sync::OnceLock<T>);

impl<T> Default for SetOnce<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> SetOnce<T> {
    /// An empty one.
    pub const fn new() -> Self {
        SetOnce(std::sync::OnceLock::new())
    }

    /// The value, if it was set.
    pub fn as_ref(&self) -> Option<&T> {
        self.0.get()
    }

    /// Sets the value, unless there is one.
    pub fn populate(&self, value: T) -> bool {
        self.0.set(value).is_ok()
    }
}
