// SPDX-License-Identifier: GPL-2.0

//! Extended attributes as they lie in the attribute tree.
//!
//! A record has the key hash64 << 16 | counter16 and holds {index u8, name length u8, value length
//! u32, name, value}. When all of that is more than a record can hold, the value lies in chunk
//! records and a chunk id (u32) stands in its place; the lengths alone tell which it is.

use crate::libvexfs::errno::euclean;
use crate::libvexfs::siphash::siphash24;
use kernel::prelude::*;

/// Longest name, without its prefix.
pub const NAME_MAX: usize = 255;
/// Longest value.
pub const VALUE_MAX: usize = 65_536;
/// Bytes of a record before its name.
pub const HEAD: usize = 6;
/// Largest record in the tree.
pub const RECORD_MAX: usize = 1_000;
/// Bytes of each chunk of a long value but the last.
pub const CHUNK_LEN: usize = 1_000;
/// Most chunks of a value.
pub const CHUNKS_MAX: usize = VALUE_MAX.div_ceil(CHUNK_LEN);
/// Bits of a key that hold the counter of equal hashes.
pub const COUNTER_BITS: u32 = 16;
/// The chunk id of a symbolic link's target.
pub const CHUNK_LINK: u32 = 0;

/// Name spaces; the number is stored instead of the prefix.
pub mod index {
    /// `user.`
    pub const USER: u8 = 1;
    /// `trusted.`
    pub const TRUSTED: u8 = 2;
    /// `security.`
    pub const SECURITY: u8 = 3;
    /// `system.`: access control lists.
    pub const SYSTEM: u8 = 4;
}

/// Where the value of an attribute lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// In the record.
    Inline(&'a [u8]),
    /// In chunks of this id.
    Chunks(u32),
}

/// A record, borrowed from the node that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XattrRef<'a> {
    /// Name space.
    pub index: u8,
    /// Name without its prefix.
    pub name: &'a [u8],
    /// Length of the value.
    pub len: usize,
    /// The value or where it lies.
    pub value: Value<'a>,
}

/// Tells whether the value of an attribute fits into its record.
pub fn is_inline(name: usize, value: usize) -> bool {
    HEAD.saturating_add(name).saturating_add(value) <= RECORD_MAX
}

/// Returns the number of chunks that `len` bytes take.
pub fn chunks(len: usize) -> usize {
    len.div_ceil(CHUNK_LEN)
}

/// Returns the key, without its record type, of chunk `n` of `id`.
pub fn chunk_key(id: u32, n: u32) -> u128 {
    u128::from(id) << 32 | u128::from(n)
}

/// Returns the hash of a name.
pub fn hash(key: &[u8; 16], index: u8, name: &[u8]) -> u64 {
    // The name space goes over the hash, not through it: a name rarely exists in two of them, and
    // this needs no copy.
    siphash24(key, name).rotate_left(u32::from(index))
}

impl<'a> XattrRef<'a> {
    /// Decodes a record.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` when it is no attribute.
    pub fn parse(value: &'a [u8]) -> Result<Self> {
        let (head, rest) = value.split_first_chunk::<HEAD>().ok_or_else(euclean)?;
        let [index, name_len, l0, l1, l2, l3] = *head;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let (name, rest) = rest
            .split_at_checked(usize::from(name_len))
            .ok_or_else(euclean)?;
        if name.is_empty() || name.contains(&0) || len > VALUE_MAX {
            return Err(euclean());
        }
        let value = if is_inline(name.len(), len) {
            if rest.len() != len {
                return Err(euclean());
            }
            Value::Inline(rest)
        } else {
            let id = u32::from_le_bytes(rest.try_into().map_err(|_| euclean())?);
            if id == CHUNK_LINK {
                return Err(euclean());
            }
            Value::Chunks(id)
        };
        Ok(Self {
            index,
            name,
            len,
            value,
        })
    }
}

/// Encodes everything of a record but the value, which follows.
pub fn format_head(index: u8, name: &[u8], len: usize) -> [u8; HEAD] {
    let [l0, l1, l2, l3] = (len as u32).to_le_bytes();
    [index, name.len() as u8, l0, l1, l2, l3]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(index: u8, name: &[u8], len: usize, rest: &[u8]) -> Vec<u8> {
        [&format_head(index, name, len)[..], name, rest].concat()
    }

    #[test]
    fn records_decode_to_what_was_encoded() {
        let value = [5u8; 990];
        let inline = record(index::USER, b"name", 990, &value);
        assert_eq!(inline.len(), RECORD_MAX);
        let parsed = XattrRef::parse(&inline).unwrap();
        assert_eq!(parsed.value, Value::Inline(&value));
        let long = record(index::USER, b"name", 991, &7u32.to_le_bytes());
        assert_eq!(XattrRef::parse(&long).unwrap().value, Value::Chunks(7));
        let empty = record(index::SECURITY, b"n", 0, b"");
        assert_eq!(XattrRef::parse(&empty).unwrap().len, 0);
    }

    #[test]
    fn damaged_records_are_refused() {
        for bad in [
            record(1, b"", 0, b""),
            record(1, b"n", 3, b"va"),
            record(1, b"n", 1, b"va"),
            record(1, b"n", VALUE_MAX + 1, &7u32.to_le_bytes()),
            record(1, b"n", 5000, &0u32.to_le_bytes()),
            record(1, b"n", 5000, b"abc"),
            record(1, b"a\0b", 0, b""),
            vec![1, 200, 0, 0, 0, 0, b'x'],
            vec![1, 2, 3],
        ] {
            assert!(XattrRef::parse(&bad).is_err(), "{bad:?}");
        }
    }
}
