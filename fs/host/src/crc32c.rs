// SPDX-License-Identifier: GPL-2.0

//! CRC32C with the kernel's convention: no inversion, neither before nor after.

/// Continues `seed` over `bytes`, as the kernel's `crc32c()` does.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !::crc32c::crc32c_append(!seed, bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn matches_the_published_check_value() {
        assert_eq!(!super::crc32c(!0, b"123456789"), 0xe306_9283);
    }
}
