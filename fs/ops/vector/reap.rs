// SPDX-License-Identifier: GPL-2.0

//! Records of files that are gone.

use super::{change, Open};
use crate::libvexfs::format::inode::STATE_EMBEDDED;
use crate::libvexfs::vector::record::{BASE_CREDITS, DROP_CREDITS, STEP};
use crate::vfs::{inode::VexInode, sched};
use kernel::prelude::*;

/// Removes all records that describe an inode which is about to be freed, in bounded transactions.
/// Interrupted by a crash it is done again.
///
/// # Errors
///
/// What libvexfs returns; the inode must stay an orphan then.
///
/// # Context
///
/// Takes collections' locks; no transaction, no core.
pub(crate) fn forget_owner(owner: &VexInode) -> Result {
    if owner.core().read().state & STATE_EMBEDDED == 0 {
        return Ok(());
    }
    let mut id = 0;
    loop {
        let next = owner.fs().embedded_in_after(&owner.core().read(), id)?;
        let Some(next) = next else { return Ok(()) };
        id = next;
        match Open::new(owner.mount(), id) {
            Ok(open) => {
                remove_owned(&open, owner, || true)?;
            }
            // The collection was dropped, and the records with it.
            Err(e) if e == ENOENT => {}
            Err(e) => return Err(e),
        }
    }
}

/// Removes the records of `owner` from a collection, as long as `more` says so. Returns how many
/// there were.
pub(super) fn remove_owned(
    open: &Open,
    owner: &VexInode,
    mut more: impl FnMut() -> bool,
) -> Result<u64> {
    let mount = owner.mount();
    let mut removed = 0;
    let mut slots = KVec::with_capacity(STEP, GFP_KERNEL)?;
    loop {
        let _lock = mount.vectors.lock(open.collection.id)?;
        if open.dropped() {
            return Ok(removed);
        }
        slots.clear();
        {
            let core = open.inode().core().read();
            mount
                .fs
                .slots_by_owner(&core, owner.ino(), 0, STEP, &mut slots)?;
        }
        if slots.is_empty() || !more() {
            return Ok(removed);
        }
        removed += remove_slots(open, &slots)? as u64;
        sched::yield_if_needed();
    }
}

/// Removes the records in some slots; returns how many slots from the first on are done. The
/// collection's lock is held.
pub(super) fn remove_slots(open: &Open, slots: &[u32]) -> Result<usize> {
    let vi = open.inode();
    vi.mount().vectors.indexes.changed();
    vi.mount()
        .with_space(|| {
            change(vi, BASE_CREDITS + DROP_CREDITS, |t, core| {
                vi.fs().remove_step(t, core, slots)
            })
        })
        .map(|(done, _)| {
            vi.mount().vectors.watch().records_gone();
            done
        })
}
