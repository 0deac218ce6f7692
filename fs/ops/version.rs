// SPDX-License-Identifier: GPL-2.0

//! Versions of contents. Whoever describes the contents of a file (archives them, embeds them)
//! names the version that he describes, and settles it first: every change from then on makes
//! another one. What does the changing asks `ops::file::before_change`.

use crate::libvexfs::journal::{Store as _, Trans as _};
use crate::libvexfs::{credits, Inode};
use crate::vfs::{file::RwLocked, inode::VexInode};
use kernel::prelude::*;

/// Writes a file back, and makes any change from now on another version than the one returned.
/// `allowed` has a look at the inode first.
///
/// # Errors
///
/// `EBUSY` if pages are pinned: what a device puts there nobody would notice. `EINTR` when killed,
/// what `allowed` returns, and those of writing back.
///
/// # Context
///
/// No lock held.
pub(crate) fn settle(vi: &VexInode, allowed: impl FnOnce(&Inode) -> Result) -> Result<u64> {
    let fs = vi.fs();
    // Writes that looked for the mark before it was there must have ended.
    let _lock = RwLocked::take_killable(vi)?;
    vi.wait_for_direct_io();
    // As must those through mappings: pages that were written back are read-only, and the next
    // write faults and sees the mark. No fault may come in between.
    let _invalidate = vi.invalidate_lock();
    let marked = {
        let core = vi.core().read();
        allowed(&core)?;
        (core.marked_version >= core.data_version).then_some(core.data_version)
    };
    // The locks keep the version as it is.
    let version = match marked {
        Some(version) => version,
        None => {
            let mut t = fs.store.begin(credits::INODE)?;
            let mut core = vi.core().write();
            let version = fs.mark(&mut t, &mut core)?;
            vi.data().note(t.tid(), true);
            drop(core);
            t.stop()?;
            version
        }
    };
    vi.write_and_wait(0, i64::MAX as u64)?;
    // Who pinned pages to write to them did it before they became read-only.
    if vi.has_pinned_pages() {
        return Err(EBUSY);
    }
    Ok(version)
}
