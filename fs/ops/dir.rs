// SPDX-License-Identifier: GPL-2.0

//! Reading and syncing directories.

use crate::libvexfs::dir::entry::{COOKIE_END, ENTRY_MAX};
use crate::vfs::{inode::VexInode, sched};
use kernel::prelude::*;

/// Room for entries that were read and not shown yet.
const BATCH: usize = 4096;
/// Bytes of an entry in a batch, before its name.
const HEAD: usize = 18;
const _: () = assert!(BATCH >= HEAD + ENTRY_MAX);

/// An entry, as readers see it.
pub(crate) struct Entry<'a> {
    /// Its position.
    pub(crate) cookie: u64,
    /// Inode number.
    pub(crate) ino: u64,
    /// `DT_*`.
    pub(crate) dtype: u8,
    /// The name.
    pub(crate) name: &'a [u8],
}

/// Entries that were read, packed: cookie, inode number, type, length of the name, name.
struct Batch(KVec<u8>);

impl Batch {
    /// Adds an entry; false when there is no room left.
    fn add(&mut self, entry: &Entry<'_>) -> bool {
        if self.0.len() + HEAD + entry.name.len() > BATCH {
            return false;
        }
        let Ok(len) = u8::try_from(entry.name.len()) else {
            return false;
        };
        // The room was allocated at the start.
        let (cookie, ino) = (entry.cookie.to_le_bytes(), entry.ino.to_le_bytes());
        let fields = [&cookie[..], &ino, &[entry.dtype, len], entry.name];
        fields
            .iter()
            .all(|f| self.0.extend_from_slice(f, GFP_KERNEL).is_ok())
    }

    /// Shows the entries to `show` until it says false.
    fn all(&self, mut show: impl FnMut(&Entry<'_>) -> bool) -> bool {
        let mut rest = self.0.as_slice();
        while let Some((head, tail)) = rest.split_first_chunk::<HEAD>() {
            let [c0, c1, c2, c3, c4, c5, c6, c7, i0, i1, i2, i3, i4, i5, i6, i7, dtype, len] =
                *head;
            let Some((name, after)) = tail.split_at_checked(len.into()) else {
                break;
            };
            let entry = Entry {
                cookie: u64::from_le_bytes([c0, c1, c2, c3, c4, c5, c6, c7]),
                ino: u64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
                dtype,
                name,
            };
            if !show(&entry) {
                return false;
            }
            rest = after;
        }
        true
    }
}

/// Shows the entries of a directory from `pos` on to `show` until it says false, and leaves `pos`
/// where to go on. Showing may copy to user space and so wait for anything, which is why entries
/// are collected first and shown with no lock of ours held.
///
/// # Errors
///
/// `EUCLEAN`, `EIO`, `ENOMEM`, `EINTR`.
pub(crate) fn read(
    dir: &VexInode,
    pos: &mut u64,
    show: &mut dyn FnMut(&Entry<'_>) -> bool,
) -> Result {
    dir.check_running()?;
    // The end, which is where reading stopped before.
    if *pos >= COOKIE_END {
        return Ok(());
    }
    let mut batch = Batch(KVec::with_capacity(BATCH, GFP_KERNEL)?);
    loop {
        batch.0.clear();
        let mut end = true;
        let read = dir.fs().readdir(&dir.core().read(), *pos, &mut |e| {
            let entry = Entry {
                cookie: e.cookie,
                ino: e.ino,
                dtype: e.dtype,
                name: e.name,
            };
            end = batch.add(&entry);
            end
        });
        // What was read before the damage is shown.
        let whole = batch.all(|entry| {
            *pos = entry.cookie;
            let more = show(entry);
            if more {
                *pos = entry.cookie.saturating_add(1).min(COOKIE_END);
            }
            more
        });
        dir.mount().judge(read)?;
        if !whole {
            return Ok(());
        }
        if end {
            *pos = COOKIE_END;
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
