// SPDX-License-Identifier: GPL-2.0

//! Quota: what `quotactl(2)` asks for. What is counted, and when, is libvexfs's business.

use crate::libvexfs::format::quota::{Amount, Grace, Record, TYPES};
use crate::vfs::super_block::Mount;
use kernel::prelude::*;

/// Bytes in a block.
const BLOCK: u64 = crate::libvexfs::journal::BLOCK_SIZE as u64;

/// A limit, deadline or period that is to change; `None`: it stays.
#[derive(Clone, Copy, Default)]
pub(crate) struct Change {
    /// The hard limit.
    pub(crate) hard: Option<u64>,
    /// The soft limit.
    pub(crate) soft: Option<u64>,
    /// The end of the period of grace, in seconds since 1970.
    pub(crate) deadline: Option<i64>,
}

impl Change {
    fn apply(&self, to: &mut Amount, now: i64, grace: u64) {
        to.hard = self.hard.unwrap_or(to.hard);
        to.soft = self.soft.unwrap_or(to.soft);
        to.settle(now, grace);
        if let Some(deadline) = self.deadline.filter(|_| to.deadline != 0) {
            to.deadline = deadline.max(1);
        }
    }

    /// The same change, with limits in blocks instead of bytes.
    fn in_blocks(&self) -> Self {
        Change {
            hard: self.hard.map(|bytes| bytes.div_ceil(BLOCK)),
            soft: self.soft.map(|bytes| bytes.div_ceil(BLOCK)),
            deadline: self.deadline,
        }
    }
}

/// Bytes of so many blocks.
pub(crate) fn bytes(blocks: u64) -> u64 {
    blocks.saturating_mul(BLOCK)
}

/// What an owner has and may have.
///
/// # Errors
///
/// `EUCLEAN`, `EIO`, `ENOMEM`.
pub(crate) fn get(mount: &Mount, qtype: usize, id: u32) -> Result<Record> {
    mount.check_running()?;
    let found = mount.judge(mount.fs.quota_get(qtype, id))?;
    Ok(found.unwrap_or_default())
}

/// The first owner from number `id` on.
///
/// # Errors
///
/// `ENOENT` if there is none; `EUCLEAN`, `EIO`, `ENOMEM`.
pub(crate) fn next(mount: &Mount, qtype: usize, id: u32) -> Result<(u32, Record)> {
    mount.check_running()?;
    let found = mount.judge(mount.fs.quota_next(qtype, id))?;
    found.ok_or(ENOENT)
}

/// Changes an owner's limits: those on space in bytes.
///
/// # Errors
///
/// `EROFS`, `ENOSPC`, `EUCLEAN`, `EIO`, `ENOMEM`.
pub(crate) fn set(mount: &Mount, qtype: usize, id: u32, space: &Change, inodes: &Change) -> Result {
    mount.check_running()?;
    if mount.sb().read_only() {
        return Err(EROFS);
    }
    let now = crate::vfs::sched::real_seconds();
    let space = space.in_blocks();
    mount.judge(mount.with_space(|| {
        mount.fs.quota_set(qtype, id, |r, grace| {
            space.apply(&mut r.blocks, now, grace.blocks);
            inodes.apply(&mut r.inodes, now, grace.inodes);
        })
    }))
}

/// Changes a type's periods of grace, in seconds.
///
/// # Errors
///
/// `EROFS`, `ENOSPC`, `EUCLEAN`, `EIO`, `ENOMEM`.
pub(crate) fn set_grace(
    mount: &Mount,
    qtype: usize,
    blocks: Option<u64>,
    inodes: Option<u64>,
) -> Result {
    mount.check_running()?;
    if mount.sb().read_only() {
        return Err(EROFS);
    }
    mount.judge(mount.with_space(|| {
        mount.fs.quota_set_grace(qtype, |grace| {
            grace.blocks = blocks.unwrap_or(grace.blocks);
            grace.inodes = inodes.unwrap_or(grace.inodes);
        })
    }))
}

/// How quota of a type stands.
pub(crate) struct State {
    /// Limits hold.
    pub(crate) enforced: bool,
    /// Periods of grace.
    pub(crate) grace: Grace,
}

/// How quota stands: for each type, and number and blocks of the inode that keeps it all.
///
/// # Errors
///
/// `EUCLEAN`, `EIO`, `ENOMEM`.
pub(crate) fn state(mount: &Mount, qtype: usize) -> Result<(State, u64, u64)> {
    mount.check_running()?;
    let grace = mount.judge(mount.fs.quota_get_grace(qtype))?;
    let (ino, blocks) = mount.fs.quota_inode().ok_or(EINVAL)?;
    let enforced = mount.fs.quota_enforced() & 1 << qtype != 0;
    Ok((State { enforced, grace }, ino, blocks))
}

/// Makes limits hold for some types (bits `1 << type`).
///
/// # Errors
///
/// `EBUSY` if they hold for one of these already.
pub(crate) fn enable(mount: &Mount, types: u32) -> Result {
    let so_far = mount.fs.quota_enforced();
    if types & so_far != 0 {
        return Err(EBUSY);
    }
    mount.fs.quota_enforce(so_far | types);
    Ok(())
}

/// Makes limits hold no longer for some types. What owners have is still counted.
pub(crate) fn disable(mount: &Mount, types: u32) {
    mount.fs.quota_enforce(mount.fs.quota_enforced() & !types);
}

const _: () = assert!(TYPES == 3);
