// SPDX-License-Identifier: GPL-2.0

//! CRC32C, the kernel's: no inversion, neither before nor after.

use super::bindings;

/// Continues `seed` over `bytes`.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    // SAFETY: The pointer and the length are those of a slice.
    unsafe { bindings::vexfs_helper_crc32c(seed, bytes.as_ptr().cast(), bytes.len()) }
}
