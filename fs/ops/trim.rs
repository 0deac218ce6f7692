// SPDX-License-Identifier: GPL-2.0

//! The device learns which blocks are free: by FITRIM, and by the option `discard`.

use crate::libvexfs::errno::eopnotsupp;
use crate::vfs::{
    bindings, inode::VexInode, ioctl::capable, iomap::BLOCK, log, sched, super_block::Mount,
};
use kernel::prelude::*;

/// What a caller wants to have discarded, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    /// Where in the volume.
    pub(crate) start: u64,
    /// How much.
    pub(crate) len: u64,
    /// Shorter free runs are left alone.
    pub(crate) least: u64,
}

/// Discards free blocks of the range. Returns how many bytes.
///
/// # Errors
///
/// `EPERM`, `EOPNOTSUPP` for a device that cannot, `EINVAL` for a range outside of the volume,
/// `EROFS`, `EINTR`, `EIO`.
pub(crate) fn trim(vi: &VexInode, range: Range) -> Result<u64> {
    if !capable(bindings::CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    let sb = vi.sb();
    let granularity = sb.discard_granularity().ok_or_else(eopnotsupp)?;
    let fs = vi.fs();
    let end = fs.geometry().block_count.saturating_mul(BLOCK);
    if range.start >= end || range.len < BLOCK {
        return Err(EINVAL);
    }
    if sb.device_read_only() || !fs.store.has_journal() {
        return Err(EROFS);
    }
    let least = range.least.max(granularity).div_ceil(BLOCK).max(1);
    let from = range.start.div_ceil(BLOCK);
    let to = range.start.saturating_add(range.len).min(end) / BLOCK;
    let shown = fs.free_runs(from, to, least, &mut |bno, len| {
        if sched::killed() {
            return Err(EINTR);
        }
        vi.check_running()?;
        sb.discard(bno, len)
    });
    Ok(vi.mount().judge(shown)?.saturating_mul(BLOCK))
}

/// Discards what was freed since the last call, if the mount is to.
pub(crate) fn discard_freed(mount: &Mount) {
    let sb = mount.sb();
    let discarded = mount.fs.freed_runs(&mut |bno, len| {
        sched::yield_if_needed();
        // What was kept before the option was taken back is forgotten.
        if !mount.fs.discards() || mount.check_running().is_err() {
            return Ok(());
        }
        sb.discard(bno, len)
    });
    if let Err(e) = mount.judge(discarded) {
        sb.log(
            log::WARN,
            format_args!("discarding failed and stops: error {}", -e.to_errno()),
        );
        mount.fs.set_discards(false);
    }
}
