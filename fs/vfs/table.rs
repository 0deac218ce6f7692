// SPDX-License-Identifier: GPL-2.0

//! Constant tables of C function pointers.

/// A table that the kernel reads and nobody writes, fit for a `static`.
#[repr(transparent)]
pub(crate) struct Table<T>(T);

// SAFETY: The only access that the type offers is a pointer to constant memory. What the tables
// point to is static as well.
unsafe impl<T> Sync for Table<T> {}

impl<T> Table<T> {
    /// Wraps a table.
    pub(crate) const fn new(table: T) -> Self {
        Table(table)
    }

    /// The table, as C takes it.
    pub(crate) const fn as_ptr(&'static self) -> *const T {
        &self.0
    }
}
