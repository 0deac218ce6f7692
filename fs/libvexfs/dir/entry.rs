// SPDX-License-Identifier: GPL-2.0

//! Directory entries as they lie in the data tree of a directory.
//!
//! The key of an entry is its *cookie*: 48 bits of the name's hash and 15 bits of a counter that
//! tells names of equal hash apart. It is also what `telldir` returns, so it never changes while
//! the entry lives, whatever is inserted or removed around it.

use crate::libvexfs::errno::{enametoolong, euclean};
use kernel::prelude::*;

/// Longest name in bytes.
pub const NAME_MAX: usize = 255;
/// Bits of a cookie that hold the counter.
pub const COUNTER_BITS: u32 = 15;
/// The position behind all cookies: the end of a directory.
pub const COOKIE_END: u64 = i64::MAX as u64;
/// Largest cookie.
pub const COOKIE_MAX: u64 = COOKIE_END - 1;
/// Cookies below this one are positions of "." and "..".
pub const COOKIE_FIRST: u64 = 3;
/// Bytes of an entry before its name.
pub const ENTRY_HEAD: usize = 9;
/// Largest entry.
pub const ENTRY_MAX: usize = ENTRY_HEAD + NAME_MAX;

/// What `d_type` can be; equal to the file type bits of a mode, shifted.
pub mod dtype {
    /// A named pipe.
    pub const FIFO: u8 = 1;
    /// A character device.
    pub const CHR: u8 = 2;
    /// A directory.
    pub const DIR: u8 = 4;
    /// A block device.
    pub const BLK: u8 = 6;
    /// A regular file.
    pub const REG: u8 = 8;
    /// A symbolic link.
    pub const LNK: u8 = 10;
    /// A socket.
    pub const SOCK: u8 = 12;
    /// A whiteout is a character device of number 0; the entry says so to overlayfs only there.
    pub const MAX: u8 = 15;
}

/// Returns the `d_type` of a mode.
pub fn dtype_of(mode: u16) -> u8 {
    (mode >> 12) as u8
}

/// What a lookup finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The inode that the entry names.
    pub ino: u64,
    /// Its type.
    pub dtype: u8,
    /// Key of the entry in its directory.
    pub cookie: u64,
}

/// An entry with its name, borrowed from the tree node that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntryRef<'a> {
    /// The inode that the entry names.
    pub ino: u64,
    /// Its type.
    pub dtype: u8,
    /// Key of the entry in its directory; the position behind it is `cookie + 1`.
    pub cookie: u64,
    /// The name.
    pub name: &'a [u8],
}

impl<'a> DirEntryRef<'a> {
    /// Decodes the value of the record `key`.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` when the bytes are no entry.
    pub fn parse(key: u128, value: &'a [u8]) -> Result<Self> {
        let (head, name) = value.split_at_checked(ENTRY_HEAD).ok_or_else(euclean)?;
        let (ino, dtype) = head.split_first_chunk::<8>().ok_or_else(euclean)?;
        let ino = u64::from_le_bytes(*ino);
        let dtype = *dtype.first().ok_or_else(euclean)?;
        let cookie = u64::try_from(key).map_err(|_| euclean())?;
        if !(COOKIE_FIRST..=COOKIE_MAX).contains(&cookie)
            || ino == 0
            || dtype > dtype::MAX
            || check_name(name).is_err()
        {
            return Err(euclean());
        }
        Ok(Self {
            ino,
            dtype,
            cookie,
            name,
        })
    }

    /// Returns the entry without its name.
    pub fn entry(&self) -> DirEntry {
        DirEntry {
            ino: self.ino,
            dtype: self.dtype,
            cookie: self.cookie,
        }
    }
}

/// Checks a name as the VFS does, because tools and hostile images do not.
///
/// # Errors
///
/// `ENAMETOOLONG` over 255 bytes; `EINVAL` for no name at all, ".", "..", and names with a slash
/// or a zero byte.
pub fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX {
        return Err(enametoolong());
    }
    if name.is_empty() || name == b"." || name == b".." {
        return Err(EINVAL);
    }
    if has_either(name, b'/', 0) {
        return Err(EINVAL);
    }
    Ok(())
}

/// Whether one of two values is among the bytes: eight of them at a time, for this is asked of
/// each entry that is read.
fn has_either(bytes: &[u8], a: u8, b: u8) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7) != 0;
    let mut words = bytes.chunks_exact(8);
    let found = words.by_ref().any(|chunk| {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        let word = u64::from_ne_bytes(word);
        has_zero(word ^ (ONES * u64::from(a))) || has_zero(word ^ (ONES * u64::from(b)))
    });
    found || words.remainder().iter().any(|&byte| byte == a || byte == b)
}
