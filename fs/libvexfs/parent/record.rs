// SPDX-License-Identifier: GPL-2.0

//! A parent pointer as it lies in the attribute tree of the child: key (parent's number, cookie
//! of the entry), value (generation of the parent, name of the entry).

use crate::libvexfs::dir::entry::{check_name, COOKIE_FIRST, COOKIE_MAX, NAME_MAX};
use crate::libvexfs::errno::euclean;
use kernel::prelude::*;

/// Bytes of a record before its name.
pub const HEAD: usize = 4;
/// Largest record.
pub const RECORD_MAX: usize = HEAD + NAME_MAX;
/// Bits of a key that hold the cookie.
const COOKIE_BITS: u32 = 63;
const COOKIE_MASK: u64 = (1 << COOKIE_BITS) - 1;
/// Inode numbers have to fit beside a cookie and a record type.
pub const INO_MAX: u64 = (1 << 57) - 1;

/// Where an inode is linked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentRef<'a> {
    /// The directory that holds the entry.
    pub ino: u64,
    /// Its generation, so that a reused inode number is not taken for it.
    pub generation: u32,
    /// Key of the entry in that directory.
    pub cookie: u64,
    /// The entry's name.
    pub name: &'a [u8],
}

impl<'a> ParentRef<'a> {
    /// Decodes a record; `key` is the key without its record type.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` when it is no parent pointer.
    pub fn parse(key: u128, value: &'a [u8]) -> Result<Self> {
        let (generation, name) = value.split_first_chunk::<HEAD>().ok_or_else(euclean)?;
        let ino = u64::try_from(key >> COOKIE_BITS).map_err(|_| euclean())?;
        let cookie = key as u64 & COOKIE_MASK;
        let known = (COOKIE_FIRST..=COOKIE_MAX).contains(&cookie);
        if ino == 0 || ino > INO_MAX || !known || check_name(name).is_err() {
            return Err(euclean());
        }
        Ok(Self {
            ino,
            generation: u32::from_le_bytes(*generation),
            cookie,
            name,
        })
    }
}

/// Returns the key, without its record type, of the pointer to entry `cookie` of directory `ino`.
///
/// # Errors
///
/// `EUCLEAN` when the number is none that an inode can have.
pub fn key(ino: u64, cookie: u64) -> Result<u128> {
    if ino == 0 || ino > INO_MAX || cookie > COOKIE_MAX {
        return Err(euclean());
    }
    Ok(u128::from(ino) << COOKIE_BITS | u128::from(cookie))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_both_numbers() {
        let value = [7, 0, 0, 0, b'n'];
        for ino in [1, 0x1234_5678_9abc, INO_MAX] {
            for cookie in [COOKIE_FIRST, 1 << 40, COOKIE_MAX] {
                let parent = ParentRef::parse(key(ino, cookie).unwrap(), &value).unwrap();
                assert_eq!((parent.ino, parent.cookie), (ino, cookie));
                assert_eq!((parent.generation, parent.name), (7, &b"n"[..]));
            }
        }
        assert!(key(INO_MAX + 1, 3).is_err());
        assert!(ParentRef::parse(key(1, 3).unwrap(), &[1, 2, 3]).is_err());
        assert!(ParentRef::parse(key(1, 3).unwrap(), &[1, 2, 3, 4]).is_err());
    }
}
