// SPDX-License-Identifier: GPL-2.0

//! What a search is asked for, checked.

use crate::libvexfs::vector::list::Want;
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
    | bindings::VEXFS_SEARCH_PREPARED
    | bindings::VEXFS_SEARCH_STORED;
/// Hits of each query that are fused, unless the caller says more or less.
const WINDOW: u32 = 100;

/// Hits of each query that are fused.
fn window(raw: &bindings::vexfs_search) -> u32 {
    match raw.window {
        0 => raw.k.max(WINDOW),
        window => window,
    }
}

/// The argument of a search.
pub(super) struct Request {
    /// As the caller gave it; `queries` and `result` are told in the end.
    pub(super) raw: bindings::vexfs_search,
    /// Where each list is to begin; empty: at the start.
    cursors: KVec<bindings::vexfs_cursor>,
    /// Its size as the caller knows it.
    size: u32,
}

impl Request {
    /// Reads and checks the argument at `arg`.
    ///
    /// # Errors
    ///
    /// `EFAULT`, `EINVAL`, `E2BIG`.
    pub(super) fn read(arg: usize) -> Result<Self> {
        let (mut raw, size) = uapi::get::<bindings::vexfs_search>(arg, 56)?;
        if raw.flags & !KNOWN != 0 || raw.reserved != 0 || raw.k == 0 || raw.queries == 0 {
            return Err(EINVAL);
        }
        uapi::check_item_size(raw.hit_size, 56)?;
        let has = |flag| raw.flags & flag != 0;
        let fused = has(bindings::VEXFS_SEARCH_FUSE);
        let like_key = has(bindings::VEXFS_SEARCH_LIKE_KEY);
        let like_file = has(bindings::VEXFS_SEARCH_LIKE_FILE);
        // What is not used must be zero, so that it can get a meaning.
        let unused = (raw.radius != 0 && !has(bindings::VEXFS_SEARCH_WITHIN))
            || (raw.window != 0 && !fused)
            || (raw.like_fd != 0 && !like_file)
            || (raw.like_key != 0 && !like_key)
            || (raw.filter_fd != 0 && !has(bindings::VEXFS_SEARCH_PREPARED));
        let clash = (like_key && (like_file || raw.queries != 1))
            || (has(bindings::VEXFS_SEARCH_STORED) && (like_key || like_file))
            || (has(bindings::VEXFS_SEARCH_OTHERS) && !(like_key || like_file))
            || (has(bindings::VEXFS_SEARCH_PREPARED) && raw.filter != 0);
        if unused || clash {
            return Err(EINVAL);
        }
        // What an earlier call told there.
        raw.result = 0;
        let depth = if fused { window(&raw) } else { raw.k };
        // The product cannot overflow: both factors are bounded.
        if raw.k > bindings::VEXFS_MAX_K
            || raw.queries > bindings::VEXFS_MAX_QUERIES
            || depth > bindings::VEXFS_MAX_WINDOW
            || depth * raw.queries > bindings::VEXFS_MAX_HITS
            || raw.ef > bindings::VEXFS_MAX_EF
        {
            return Err(E2BIG);
        }
        let mut request = Request {
            raw,
            cursors: KVec::new(),
            size,
        };
        request.read_cursors()?;
        Ok(request)
    }

    fn read_cursors(&mut self) -> Result {
        if self.raw.cursors == 0 {
            return Ok(());
        }
        let known = bindings::VEXFS_CURSOR_BEGUN | bindings::VEXFS_CURSOR_END;
        for index in 0..self.lists() {
            let cursor = uapi::get_item::<bindings::vexfs_cursor>(
                self.raw.cursors,
                size_of::<bindings::vexfs_cursor>() as u32,
                index,
            )?;
            if cursor.flags & !known != 0 {
                return Err(EINVAL);
            }
            // A list of files is found from its start on.
            let again = self.files() && !self.fused();
            if again && cursor.told > (bindings::VEXFS_MAX_HITS - self.raw.k).into() {
                return Err(E2BIG);
            }
            self.cursors.push(cursor, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Tells where a list ended: at `last`, with `count` hits in all, and whether it `ended`.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    pub(super) fn move_cursor(
        &self,
        list: usize,
        last: Option<(u64, u32)>,
        count: usize,
        ended: bool,
    ) -> Result {
        let Some(from) = self.cursors.get(list) else {
            return Ok(());
        };
        let mut cursor = bindings::vexfs_cursor { ..*from };
        if let Some((key, slot)) = last {
            (cursor.key, cursor.slot) = (key, slot);
            cursor.flags |= bindings::VEXFS_CURSOR_BEGUN;
            cursor.told = cursor.told.saturating_add(count as u64);
        }
        if ended {
            cursor.flags |= bindings::VEXFS_CURSOR_END;
        }
        let size = size_of::<bindings::vexfs_cursor>() as u32;
        uapi::put_item(self.raw.cursors, size, list, &cursor)
    }

    /// The place behind which a list is to begin.
    pub(super) fn after(&self, list: usize) -> Option<(u64, u32)> {
        let cursor = self.cursors.get(list)?;
        let begun = cursor.flags & bindings::VEXFS_CURSOR_BEGUN != 0;
        begun.then_some((cursor.key, cursor.slot))
    }

    /// Whether the caller was told already that a list has no more.
    pub(super) fn ended(&self, list: usize) -> bool {
        let ended = |c: &bindings::vexfs_cursor| c.flags & bindings::VEXFS_CURSOR_END != 0;
        self.cursors.get(list).is_some_and(ended)
    }

    /// What the list of a query is to take.
    pub(super) fn want(&self, query: usize, within: Option<u32>) -> Want {
        let all = Want {
            files: self.files(),
            within,
            ..Want::default()
        };
        if self.fused() {
            return Want {
                k: window(&self.raw) as usize,
                ..all
            };
        }
        let told = self.cursors.get(query).map_or(0, |c| c.told);
        Want {
            k: self.k(),
            after: self.after(query),
            told: told as usize,
            ..all
        }
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
        self.has(bindings::VEXFS_SEARCH_SUBTREE)
    }

    /// One list for all queries is wanted.
    pub(super) fn fused(&self) -> bool {
        self.has(bindings::VEXFS_SEARCH_FUSE)
    }

    /// Each file is wanted once.
    pub(super) fn files(&self) -> bool {
        self.has(bindings::VEXFS_SEARCH_GROUP)
    }

    /// Bits of the score that a hit must reach.
    pub(super) fn radius(&self) -> Option<u32> {
        self.has(bindings::VEXFS_SEARCH_WITHIN)
            .then_some(self.raw.radius)
    }

    /// Whether a flag is set.
    pub(super) fn has(&self, flag: u32) -> bool {
        self.raw.flags & flag != 0
    }

    /// How many queries there are.
    pub(super) fn queries(&self) -> usize {
        self.raw.queries as usize
    }

    /// How many lists the caller has room for.
    pub(super) fn lists(&self) -> usize {
        match self.fused() {
            true => 1,
            false => self.queries(),
        }
    }

    /// How many hits each list has room for.
    pub(super) fn k(&self) -> usize {
        self.raw.k as usize
    }
}
