// SPDX-License-Identifier: GPL-2.0

//! Copies, their checksums, and the table of volumes.

use super::attr::Attrs;
use super::Checker;
use crate::libvexfs::attr::kind;
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use kernel::prelude::*;

impl<S: Store> Checker<'_, S> {
    /// Checks a record of one of the kinds that belong to staging; says false to others.
    pub(super) fn staging_record(
        &mut self,
        i: &Inode,
        bno: u64,
        record: u8,
        rest: u128,
        value: &[u8],
    ) -> Result<bool> {
        let _ = (i, bno, rest, value);
        Ok(matches!(
            record,
            kind::COPY | kind::CHUNKSUM | kind::STAGING | kind::VOLUME
        ))
    }

    /// Checks an inode when all of its records and extents were seen.
    pub(super) fn staging_inode(&mut self, i: &Inode, attrs: &Attrs, offline: bool) {
        let _ = (i, attrs.count(kind::COPY), offline);
    }
}
