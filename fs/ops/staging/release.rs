// SPDX-License-Identifier: GPL-2.0

//! Giving the blocks of archived files back.

use crate::libvexfs::errno::estale;
use crate::libvexfs::journal::{Store as _, Trans as _};
use crate::libvexfs::staging::{blocks::RELEASE_CREDITS, MIN_COPIES};
use crate::vfs::{file::RwLocked, inode::VexInode, sched};
use kernel::prelude::*;

/// Releases a file whose contents are of `version` (0: whichever). Returns the bytes freed.
///
/// # Errors
///
/// `EAGAIN`: too few copies of this version. `ESTALE`: another version. `EBUSY`: the file is in
/// use in a way that forbids it. `EROFS`, `EINTR`, and those of the journal. Some blocks may be
/// released already then; the file is whole all the same.
///
/// # Context
///
/// No lock held.
pub(super) fn release(vi: &VexInode, version: u64) -> Result<u64> {
    if vi.read_only() {
        return Err(EROFS);
    }
    let _lock = RwLocked::take_killable(vi)?;
    let _invalidate = vi.invalidate_lock();
    vi.wait_for_direct_io();
    if vi.is_swapfile() {
        return Err(EBUSY);
    }
    // A reader that waits for bytes wants to find them when it wakes.
    let activity = vi
        .mount()
        .staging
        .queue
        .lock()
        .activity(vi.ino(), vi.generation());
    if activity.recalling {
        return Err(EBUSY);
    }
    let version = covered(vi, version)?;
    vi.write_and_wait(0, i64::MAX as u64)?;
    vi.drop_pages()?;
    // Nobody can have written since: the locks are ours and no page is mapped. A fault that is on
    // its way may have made a new version already, though.
    if covered(vi, version) != Ok(version) {
        return Err(EBUSY);
    }
    // The copy records must be on disk before the blocks are let go.
    vi.commit_tid(vi.data().commit_tid(false))?;

    let fs = vi.fs();
    let mut freed = 0u64;
    let mut from = 0;
    loop {
        if sched::killed() {
            return Err(EINTR);
        }
        let step = vi.mount().with_space(|| {
            let mut t = fs.store.begin(RELEASE_CREDITS)?;
            let mut core = vi.core().write();
            let step = fs.release_step(&mut t, &mut core, version, from);
            vi.data().changed();
            vi.data().note(t.tid(), true);
            vi.show_blocks(&core);
            drop(core);
            let step = step?;
            t.stop()?;
            Ok(step)
        });
        match step? {
            Some((next, blocks)) => {
                from = next;
                freed += blocks * 4096;
            }
            None => return Ok(freed),
        }
    }
}

/// The version of the contents, if it is the one that is meant and there are enough copies of it.
fn covered(vi: &VexInode, version: u64) -> Result<u64> {
    let core = vi.core().read();
    if version != 0 && core.data_version != version {
        return Err(estale());
    }
    if vi.fs().good_copies(&core)? < MIN_COPIES || core.marked_version < core.data_version {
        return Err(EAGAIN);
    }
    Ok(core.data_version)
}
