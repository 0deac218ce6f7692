// SPDX-License-Identifier: GPL-2.0

//! Small values from and to user space.

use kernel::{
    prelude::*,
    uaccess::{UserPtr, UserSlice},
};

/// Reads a number at a user's address.
///
/// # Errors
///
/// `EFAULT`.
pub(crate) fn read_u32(address: usize) -> Result<u32> {
    UserSlice::new(UserPtr::from_addr(address), size_of::<u32>())
        .reader()
        .read()
}

/// Reads a structure of `N` 64-bit numbers at a user's address.
///
/// # Errors
///
/// `EFAULT`.
pub(crate) fn read_u64s<const N: usize>(address: usize) -> Result<[u64; N]> {
    UserSlice::new(UserPtr::from_addr(address), size_of::<[u64; N]>())
        .reader()
        .read()
}

/// Writes bytes to a user's address.
///
/// # Errors
///
/// `EFAULT`.
pub(crate) fn write(address: usize, bytes: &[u8]) -> Result {
    UserSlice::new(UserPtr::from_addr(address), bytes.len())
        .writer()
        .write_slice(bytes)
}

/// Reads bytes at a user's address.
///
/// # Errors
///
/// `EFAULT`.
pub(crate) fn read(address: usize, bytes: &mut [u8]) -> Result {
    UserSlice::new(UserPtr::from_addr(address), bytes.len())
        .reader()
        .read_slice(bytes)
}
