// SPDX-License-Identifier: GPL-2.0

//! Structures of the ioctl ABI on their way from and to user space.
//!
//! Each one begins with its size as the caller knows it. What the caller does not know is read as
//! zeroes and not written back; what we do not know must be zero.

use core::mem::MaybeUninit;

use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};

use super::bindings;

/// What an ioctl may carry.
///
/// # Safety
///
/// A `repr(C)` structure of integers and arrays of them, without padding: every pattern of bytes
/// is one, and each one has only initialised bytes.
pub(crate) unsafe trait Plain: Sized {}

/// Structures larger than this come from no program that means well.
const MAX_SIZE: usize = 4096;

/// A structure of zeroes.
pub(crate) fn zeroed<T: Plain>() -> T {
    // SAFETY: By the trait's requirement zeroes are a T.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// The bytes of a structure.
pub(crate) fn as_bytes<T: Plain>(v: &T) -> &[u8] {
    // SAFETY: By the trait's requirement all bytes are initialised.
    unsafe { core::slice::from_raw_parts(core::ptr::from_ref(v).cast(), size_of::<T>()) }
}

fn as_bytes_mut<T: Plain>(v: &mut T) -> &mut [u8] {
    // SAFETY: As above, and any bytes may be written.
    unsafe { core::slice::from_raw_parts_mut(core::ptr::from_mut(v).cast(), size_of::<T>()) }
}

/// The user memory of `len` bytes at an address that came in a structure.
pub(crate) fn slice(address: u64, len: usize) -> UserSlice {
    UserSlice::new(UserPtr::from_addr(address as usize), len)
}

/// Reads `size` bytes at `address` as a T.
fn fetch<T: Plain>(address: usize, size: usize) -> Result<T> {
    let mut v = zeroed::<T>();
    let known = size.min(size_of::<T>());
    let mut reader = slice(address as u64, size).reader();
    reader.read_slice(&mut as_bytes_mut(&mut v)[..known])?;
    let mut rest = [0u8; 64];
    while !reader.is_empty() {
        let n = reader.len().min(rest.len());
        reader.read_slice(&mut rest[..n])?;
        if rest[..n].iter().any(|b| *b != 0) {
            return Err(E2BIG);
        }
    }
    Ok(v)
}

/// Reads the structure at `arg`, and its size as the caller knows it.
///
/// # Errors
///
/// `EFAULT`; `EINVAL` if it is shorter than `min`, which is its size in version 1 of the ABI;
/// `E2BIG` if there is something in it that is not known here.
pub(crate) fn get<T: Plain>(arg: usize, min: usize) -> Result<(T, u32)> {
    let size = super::user::read_u32(arg)?;
    if (size as usize) < min {
        return Err(EINVAL);
    }
    if size as usize > MAX_SIZE {
        return Err(E2BIG);
    }
    Ok((fetch(arg, size as usize)?, size))
}

/// Writes the structure back to `arg`, as far as the caller, who gave `size`, knows it.
///
/// # Errors
///
/// `EFAULT`.
pub(crate) fn put<T: Plain>(arg: usize, size: u32, v: &T) -> Result {
    let n = (size as usize).min(size_of::<T>());
    slice(arg as u64, n).writer().write_slice(&as_bytes(v)[..n])
}

/// Checks the size that a caller says the items of an array have; `min` as in [`get`].
///
/// # Errors
///
/// `EINVAL`, `E2BIG`.
pub(crate) fn check_item_size(item_size: u32, min: usize) -> Result {
    if item_size % 8 != 0 || (item_size as usize) < min {
        return Err(EINVAL);
    }
    if item_size as usize > MAX_SIZE {
        return Err(E2BIG);
    }
    Ok(())
}

/// The address of item `index` of an array at `array` whose items are `item_size` bytes long.
fn item_at(array: u64, item_size: u32, index: usize) -> Result<usize> {
    let off = (item_size as usize).checked_mul(index).ok_or(EFAULT)?;
    (array as usize).checked_add(off).ok_or(EFAULT)
}

/// Reads an item of an array. The size was checked with [`check_item_size`].
///
/// # Errors
///
/// `EFAULT`; `E2BIG` if there is something in it that is not known here.
pub(crate) fn get_item<T: Plain>(array: u64, item_size: u32, index: usize) -> Result<T> {
    fetch(item_at(array, item_size, index)?, item_size as usize)
}

/// Writes an item of an array.
///
/// # Errors
///
/// `EFAULT`.
pub(crate) fn put_item<T: Plain>(array: u64, item_size: u32, index: usize, v: &T) -> Result {
    put(item_at(array, item_size, index)?, item_size, v)
}

macro_rules! plain {
    ($($name:ident)*) => {
        $(
            // SAFETY: A structure of the ABI: fixed-width integers without holes, which the
            // header's rules demand and vexctl's layout test checks.
            unsafe impl Plain for bindings::$name {}
        )*
    };
}

plain! {
    vexfs_stage_attach vexfs_stage_request vexfs_archive_begin vexfs_archive_read vexfs_copy
    vexfs_copy_commit vexfs_stage_data vexfs_stage_complete vexfs_stage_item vexfs_stage_batch
    vexfs_stage_state vexfs_volume vexfs_volume_upsert vexfs_volume_list
    vexfs_abi vexfs_path vexfs_resize vexfs_collection vexfs_mark vexfs_put_item vexfs_put vexfs_record vexfs_get
    vexfs_delete vexfs_list vexfs_search vexfs_index vexfs_cursor vexfs_explain vexfs_filter vexfs_filter_insn
}
