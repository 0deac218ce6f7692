// SPDX-License-Identifier: GPL-2.0

//! What a search is asked for, checked.

use crate::libvexfs::errno::eopnotsupp;
use crate::vfs::{bindings, uapi};
use kernel::prelude::*;

/// Flags of the ABI.
const KNOWN: u32 = bindings::VEXFS_SEARCH_SUBTREE
    | bindings::VEXFS_SEARCH_EXACT
    | bindings::VEXFS_SEARCH_FUSE
    | bindings::VEXFS_SEARCH_GROUP
    | bindings::VEXFS_SEARCH_WITHIN
    | bindings::VEXFS_SEARCH_LIKE_KEY
    | bindings::VEXFS_SEARCH_LIKE_FILE
    | bindings::VEXFS_SEARCH_OTHERS
    | bindings::VEXFS_SEARCH_PREPARED;
/// Those of them that this kernel does not do.
const LATER: u32 = KNOWN & !(bindings::VEXFS_SEARCH_SUBTREE | bindings::VEXFS_SEARCH_EXACT);

/// The argument of a search.
pub(super) struct Request {
    /// As the caller gave it.
    pub(super) raw: bindings::vexfs_search,
    /// Its size as the caller knows it.
    size: u32,
}

impl Request {
    /// Reads and checks the argument at `arg`.
    ///
    /// # Errors
    ///
    /// `EFAULT`, `EINVAL`, `E2BIG`, `EOPNOTSUPP`.
    pub(super) fn read(arg: usize) -> Result<Self> {
        let (raw, size) = uapi::get::<bindings::vexfs_search>(arg, 56)?;
        if raw.flags & !KNOWN != 0 || raw.reserved != 0 || raw.k == 0 || raw.queries == 0 {
            return Err(EINVAL);
        }
        uapi::check_item_size(raw.hit_size, 56)?;
        // The product cannot overflow: both factors are bounded.
        if raw.k > bindings::VEXFS_MAX_K
            || raw.queries > bindings::VEXFS_MAX_QUERIES
            || raw.k * raw.queries > bindings::VEXFS_MAX_HITS
            || raw.ef > bindings::VEXFS_MAX_EF
        {
            return Err(E2BIG);
        }
        let later = raw.filter != 0
            || raw.cursors != 0
            || raw.budget_ns != 0
            || raw.budget_pages != 0
            || raw.flags & LATER != 0;
        if later {
            return Err(eopnotsupp());
        }
        Ok(Request { raw, size })
    }

    /// Writes back what the call tells in its structure. A caller of version 1 has no such fields.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    pub(super) fn answer(&self, arg: usize) -> Result {
        if self.size as usize <= core::mem::offset_of!(bindings::vexfs_search, ef) {
            return Ok(());
        }
        uapi::put(arg, self.size, &self.raw)
    }

    /// Hits lie below the descriptor's directory, or are its file.
    pub(super) fn subtree(&self) -> bool {
        self.raw.flags & bindings::VEXFS_SEARCH_SUBTREE != 0
    }

    /// How many queries there are.
    pub(super) fn queries(&self) -> usize {
        self.raw.queries as usize
    }

    /// How many hits each list has room for.
    pub(super) fn k(&self) -> usize {
        self.raw.k as usize
    }
}
