// SPDX-License-Identifier: GPL-2.0

//! Allocation groups in memory.

use crate::libvexfs::format::group::GroupHeader;
use crate::libvexfs::format::Superblock;
use crate::libvexfs::journal::Store;
use crate::libvexfs::Fs;
use crate::sync::Mutex;
use kernel::prelude::*;

/// A group.
pub struct Group {
    #[allow(dead_code)]
    pub(crate) core: Mutex<GroupCore>,
}

/// What a group's lock protects: the header, and by ownership every summary, bitmap and
/// tree block of the group.
pub(crate) struct GroupCore {
    #[allow(dead_code)]
    pub(crate) header: GroupHeader,
}

/// Makes a group on disk (mkfs): header, summaries, the bitmap of the first region with the
/// group's own metadata, and `extra` blocks behind it, marked as taken. The superblock copy is the
/// caller's. Dirties 2 blocks and the summary blocks (at most 9).
///
/// # Errors
///
/// What storage returns.
pub fn create_group<S: Store>(
    _t: &mut S::Trans,
    _sb: &Superblock,
    _group: u32,
    _extra: u64,
) -> Result {
    todo!()
}

impl<S: Store> Fs<S> {
    pub(crate) fn load_groups(&mut self) -> Result {
        todo!()
    }

    /// The number of groups.
    pub fn group_count(&self) -> u32 {
        self.sb.geometry.group_count
    }

    /// Puts `ino` into the orphan tree of its group, with a state byte that means something
    /// to the caller (replaced if it is there already). Credits:
    /// [`credits::ORPHAN`](crate::libvexfs::credits::ORPHAN).
    ///
    /// # Errors
    ///
    /// `ENOSPC`, with nothing dirtied.
    pub fn orphan_record_set(&self, _t: &mut S::Trans, _ino: u64, _state: u8) -> Result {
        todo!()
    }

    /// Takes `ino` out of the orphan tree of its group.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not there.
    pub fn orphan_record_remove(&self, _t: &mut S::Trans, _ino: u64) -> Result {
        todo!()
    }

    /// The first orphan of `group` whose number is at least `from`, and its state.
    pub fn orphan_record_next(&self, _group: u32, _from: u64) -> Result<Option<(u64, u8)>> {
        todo!()
    }

    /// Free inodes in chunks that exist, over all groups.
    pub fn free_inodes(&self) -> u64 {
        todo!()
    }

    /// All inodes in chunks that exist, over all groups.
    pub fn inode_count(&self) -> u64 {
        todo!()
    }
}
