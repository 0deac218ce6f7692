// SPDX-License-Identifier: GPL-2.0

//! Fallible memory, as `rust/kernel/alloc.rs` has it, that can be told to fail.

use core::cell::Cell;
use core::fmt;
use core::ops::{Deref, DerefMut, Index, IndexMut};
use core::slice::SliceIndex;

mod kvec;
pub use kvec::{KVec, PushError, RemoveError};

/// The kernel's vector over `vmalloc`; one and the same on a host.
pub type VVec<T> = KVec<T>;
/// The kernel's vector over `kvmalloc`.
pub type KVVec<T> = KVec<T>;
/// The kernel's box over `vmalloc`.
pub type VBox<T> = KBox<T>;
/// The kernel's box over `kvmalloc`.
pub type KVBox<T> = KBox<T>;

/// An allocation failed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct AllocError;

/// How to allocate. Hosts ignore it.
#[derive(Clone, Copy, PartialEq)]
pub struct Flags(u32);

impl Flags {
    /// Whether all of `flags` are set.
    pub fn contains(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl core::ops::BitOr for Flags {
    type Output = Self;
    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

impl core::ops::BitAnd for Flags {
    type Output = Self;
    fn bitand(self, rhs: Self) -> Self {
        Self(self.0 & rhs.0)
    }
}

/// The flags that the kernel crate names.
pub mod flags {
    use super::Flags;

    /// May sleep and reclaim; inside a journal handle the kernel drops `__GFP_FS` by itself.
    pub const GFP_KERNEL: Flags = Flags(1);
    /// The same, charged to the caller's memory cgroup.
    pub const GFP_KERNEL_ACCOUNT: Flags = Flags(1 | 2);
    /// May not sleep.
    pub const GFP_ATOMIC: Flags = Flags(4);
    /// May neither sleep nor start reclaim.
    pub const GFP_NOWAIT: Flags = Flags(8);
    /// Zeroed memory.
    pub const __GFP_ZERO: Flags = Flags(16);
    /// No report on failure.
    pub const __GFP_NOWARN: Flags = Flags(32);
}

thread_local! {
    static FAIL_AFTER: Cell<Option<usize>> = const { Cell::new(None) };
    static FAILED: Cell<usize> = const { Cell::new(0) };
}

/// Lets the next `n` allocations of this thread succeed and the one after them fail.
/// `None` ends the injection. Returns how many have failed since the last call.
pub fn fail_after(n: Option<usize>) -> usize {
    FAIL_AFTER.with(|c| c.set(n));
    FAILED.with(|c| c.replace(0))
}

/// Says whether an allocation of this thread fails now, and counts it.
pub fn check() -> Result<(), AllocError> {
    FAIL_AFTER.with(|c| match c.get() {
        None => Ok(()),
        Some(0) => {
            c.set(None);
            FAILED.with(|f| f.set(f.get() + 1));
            Err(AllocError)
        }
        Some(n) => {
            c.set(Some(n - 1));
            Ok(())
        }
    })
}

/// A box whose making can fail.
pub struct KBox<T: ?Sized>(Box<T>);

impl<T> KBox<T> {
    /// Moves `x` to the heap.
    pub fn new(x: T, _flags: Flags) -> Result<Self, AllocError> {
        check()?;
        Ok(KBox(Box::new(x)))
    }

    /// Takes the value out again.
    pub fn into_inner(b: Self) -> T {
        *b.0
    }
}

impl<T: ?Sized> Deref for KBox<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for KBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T, I: SliceIndex<[T]>> Index<I> for KVec<T> {
    type Output = I::Output;
    fn index(&self, index: I) -> &I::Output {
        Index::index(&**self, index)
    }
}

impl<T, I: SliceIndex<[T]>> IndexMut<I> for KVec<T> {
    fn index_mut(&mut self, index: I) -> &mut I::Output {
        IndexMut::index_mut(&mut **self, index)
    }
}
