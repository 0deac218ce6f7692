// SPDX-License-Identifier: GPL-2.0

//! Collections and records of vectors.

use super::attr::Attrs;
use super::Checker;
use crate::libvexfs::attr::kind;
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::vector::key;
use kernel::prelude::*;

impl<S: Store> Checker<'_, S> {
    /// Checks a record of one of the kinds that belong to vectors; says false to others.
    pub(super) fn vector_record(&mut self, i: &Inode, bno: u64, record: u8, rest: u128, value: &[u8]) -> Result<bool> {
        let _ = (i, bno, rest, value);
        Ok(matches!(
            record,
            kind::STALE
                | key::COLLECTION
                | key::SLOT
                | key::KEY
                | key::OWNER
                | key::FREE
                | key::COUNTS
                | key::EMBEDDED_IN
        ))
    }

    /// Checks an inode when all of its records were seen.
    pub(super) fn vector_inode(&mut self, i: &Inode, attrs: &Attrs) {
        let _ = (i, attrs.count(kind::STALE));
    }
}
