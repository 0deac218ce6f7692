// SPDX-License-Identifier: GPL-2.0

//! Reading and syncing directories.

use crate::libvexfs::dir::{entry::COOKIE_END, DirEntryRef, Listing};
use crate::vfs::{inode::VexInode, sched};
use kernel::prelude::*;

/// Shows the entries of a directory from `pos` on to `show` until it says false, and leaves `pos`
/// where to go on. Showing may copy to user space and so wait for anything, which is why entries
/// are copied first and shown with no lock of ours held.
///
/// # Errors
///
/// `EUCLEAN`, `EIO`, `ENOMEM`, `EINTR`.
pub(crate) fn read(
    dir: &VexInode,
    pos: &mut u64,
    show: &mut dyn FnMut(&DirEntryRef<'_>) -> bool,
) -> Result {
    dir.check_running()?;
    // The end, which is where reading stopped before.
    if *pos >= COOKIE_END {
        return Ok(());
    }
    let mut listing = Listing::new()?;
    loop {
        let read = dir.fs().list(&dir.core().read(), *pos, &mut listing);
        // The entries before the damage were shown.
        dir.mount().judge(read)?;
        let shown = listing.show(*pos, &mut |entry| {
            *pos = entry.cookie;
            let more = show(entry);
            if more {
                *pos = entry.cookie.saturating_add(1).min(COOKIE_END);
            }
            more
        });
        if !dir.mount().judge(shown)? {
            return Ok(());
        }
        *pos = listing.next().unwrap_or(COOKIE_END);
        if *pos >= COOKIE_END {
            return Ok(());
        }
        if sched::killed() {
            return Err(EINTR);
        }
        sched::yield_if_needed();
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
///
/// `EIO`.
pub(crate) fn sync(dir: &VexInode) -> Result {
    dir.check_running()?;
    if dir.read_only() {
        return Ok(());
    }
    let flushed = dir.flush_attributes();
    dir.mount().judge(flushed)?;
    dir.fs().store.sync_tid(dir.data().commit_tid(false))
}
