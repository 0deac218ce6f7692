// SPDX-License-Identifier: GPL-2.0

//! Access control lists as they lie in extended attributes, compact as in ext4: a version, then
//! each entry's tag and permissions, and an id only where the tag names somebody.
//!
//! The attributes are `posix_acl_access` and `posix_acl_default` in the name space
//! [`index::SYSTEM`](crate::libvexfs::xattr::index::SYSTEM).

use crate::libvexfs::errno::euclean;
use crate::libvexfs::format::{le16, le32, put16, put32};
use kernel::prelude::*;

/// Name of the list that decides on access.
pub const ACCESS: &[u8] = b"posix_acl_access";
/// Name of the list that what is made in a directory begins with.
pub const DEFAULT: &[u8] = b"posix_acl_default";

/// Tag: the owner.
pub const USER_OBJ: u16 = 0x01;
/// Tag: the user with the entry's id.
pub const USER: u16 = 0x02;
/// Tag: the owning group.
pub const GROUP_OBJ: u16 = 0x04;
/// Tag: the group with the entry's id.
pub const GROUP: u16 = 0x08;
/// Tag: the most that users, groups and the owning group get.
pub const MASK: u16 = 0x10;
/// Tag: everybody else.
pub const OTHER: u16 = 0x20;

const VERSION: u32 = 1;
const HEAD: usize = 4;
const SHORT: usize = 4;
const LONG: usize = 8;

/// One entry of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Whom it is about.
    pub tag: u16,
    /// Read 4, write 2, execute 1.
    pub perm: u16,
    /// The user or group, if the tag is [`USER`] or [`GROUP`]; else 0.
    pub id: u32,
}

impl Entry {
    fn len(self) -> usize {
        match self.tag {
            USER | GROUP => LONG,
            _ => SHORT,
        }
    }
}

/// Returns the bytes of a list.
///
/// # Errors
///
/// `ENOMEM`.
pub fn format(entries: &[Entry]) -> Result<KVec<u8>> {
    let len = entries
        .iter()
        .fold(HEAD, |len, e| len.saturating_add(e.len()));
    let mut bytes = KVec::with_capacity(len, GFP_KERNEL)?;
    bytes.extend_from_slice(&VERSION.to_le_bytes(), GFP_KERNEL)?;
    for e in entries {
        let mut raw = [0; LONG];
        put16(&mut raw, 0, e.tag);
        put16(&mut raw, 2, e.perm);
        put32(&mut raw, 4, e.id);
        bytes.extend_from_slice(raw.get(..e.len()).unwrap_or(&[]), GFP_KERNEL)?;
    }
    Ok(bytes)
}

/// Reads the entries of a list. Whether they make sense together is for their user to check.
///
/// # Errors
///
/// `EUCLEAN` if it is none, `ENOMEM`.
pub fn parse(bytes: &[u8]) -> Result<KVec<Entry>> {
    if bytes.len() < HEAD || le32(bytes, 0) != VERSION {
        return Err(euclean());
    }
    let mut entries = KVec::with_capacity(bytes.len() / SHORT, GFP_KERNEL)?;
    let mut rest = bytes.get(HEAD..).unwrap_or(&[]);
    while !rest.is_empty() {
        if rest.len() < SHORT {
            return Err(euclean());
        }
        let mut entry = Entry {
            tag: le16(rest, 0),
            perm: le16(rest, 2),
            id: 0,
        };
        let known = matches!(
            entry.tag,
            USER_OBJ | USER | GROUP_OBJ | GROUP | MASK | OTHER
        );
        if !known || entry.perm > 7 || rest.len() < entry.len() {
            return Err(euclean());
        }
        if entry.len() == LONG {
            entry.id = le32(rest, 4);
        }
        entries.push(entry, GFP_KERNEL)?;
        rest = rest.get(entry.len()..).unwrap_or(&[]);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: [Entry; 5] = [
        Entry {
            tag: USER_OBJ,
            perm: 7,
            id: 0,
        },
        Entry {
            tag: USER,
            perm: 6,
            id: 70_000,
        },
        Entry {
            tag: GROUP_OBJ,
            perm: 5,
            id: 0,
        },
        Entry {
            tag: MASK,
            perm: 7,
            id: 0,
        },
        Entry {
            tag: OTHER,
            perm: 0,
            id: 0,
        },
    ];

    #[test]
    fn only_names_take_ids() {
        let bytes = format(&LIST).unwrap();
        assert_eq!(bytes.len(), 4 + 4 * 4 + 8);
        assert_eq!(parse(&bytes).unwrap().as_slice(), &LIST);
    }

    #[test]
    fn nonsense_is_damage() {
        let good = format(&LIST).unwrap();
        for len in [0, 3, 5, good.len() - 1] {
            assert!(parse(&good[..len]).is_err(), "{len} bytes");
        }
        for (at, byte) in [(0, 2), (4, 3), (6, 8)] {
            let mut bad = good.to_vec();
            bad[at] = byte;
            assert!(parse(&bad).is_err(), "byte {at}");
        }
    }
}
