// SPDX-License-Identifier: GPL-2.0

//! Room for numbers, quickly: `from_elem` of the kernel's vectors writes one element at a time.

use kernel::prelude::*;

/// Elements that are written at once.
const AT_ONCE: usize = 32;

/// So many zeroes, or whatever the type's default is.
///
/// # Errors
///
/// `ENOMEM`.
pub fn zeroes<T: Copy + Default>(n: usize) -> Result<KVVec<T>> {
    let mut room = KVVec::with_capacity(n, GFP_KERNEL)?;
    let some = [T::default(); AT_ONCE];
    let mut left = n;
    while left > 0 {
        let now = some.get(..left.min(AT_ONCE)).unwrap_or(&some);
        room.extend_from_slice(now, GFP_KERNEL)?;
        left -= now.len();
    }
    Ok(room)
}
