// SPDX-License-Identifier: GPL-2.0

//! What changes in a mount, noted for prepared filters; for nothing while there are none.
//!
//! A change is noted after it was made, and before the call that made it returns. Whoever reads how
//! many there were, and then looks at records and files, sees what was changed before, or finds it
//! noted later.

use crate::libvexfs::format::inode::STATE_EMBEDDED;
use crate::libvexfs::vector::changes::{Change, Changes};
use crate::vfs::{inode::VexInode, sync::SpinLock};
use core::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};
use kernel::{prelude::*, sync::Arc};

/// Notes what changes while somebody watches.
pub(crate) struct Watch {
    changes: SpinLock<Changes>,
    watchers: AtomicU32,
    moves: AtomicU64,
    gone: AtomicU64,
}

/// Somebody who watches.
pub(super) struct Watcher(Arc<Watch>);

impl Watch {
    /// For a file system that is being mounted.
    pub(super) fn new() -> Result<Arc<Self>> {
        let watch = Watch {
            changes: SpinLock::new(Changes::new())?,
            watchers: AtomicU32::new(0),
            moves: AtomicU64::new(0),
            gone: AtomicU64::new(0),
        };
        Ok(Arc::new(watch, GFP_KERNEL)?)
    }

    fn note(&self, change: Change) {
        if self.watched() {
            self.changes.lock().note(change);
        }
    }

    /// Whether anybody watches who began before this.
    fn watched(&self) -> bool {
        // The change was made before, and is seen by who begins to watch after this.
        fence(Ordering::SeqCst);
        self.watchers.load(Ordering::Relaxed) != 0
    }

    /// A file changed that has records.
    pub(crate) fn file(&self, ino: u64) {
        self.note(Change::File(ino));
    }

    /// A file has become larger.
    ///
    /// # Context
    ///
    /// The core is not held.
    pub(crate) fn grown(&self, inode: &VexInode) {
        if self.watched() && inode.core().read().state & STATE_EMBEDDED != 0 {
            self.file(inode.ino());
        }
    }

    /// A record came into a slot.
    pub(super) fn record(&self, collection: u32, slot: u32) {
        self.note(Change::Record { collection, slot });
    }

    /// Records were removed, or replaced.
    pub(super) fn records_gone(&self) {
        self.gone.fetch_add(1, Ordering::SeqCst);
    }

    /// How often that happened.
    pub(super) fn gone(&self) -> u64 {
        self.gone.load(Ordering::SeqCst)
    }

    /// A directory was moved.
    pub(crate) fn moved(&self) {
        self.moves.fetch_add(1, Ordering::SeqCst);
    }
}

impl Watcher {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(watch: &Arc<Watch>) -> Result<Self> {
        let room = Changes::room()?;
        let watcher = Watcher(watch.clone());
        watch.watchers.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let unused = watch.changes.lock().with_room(room);
        drop(unused);
        Ok(watcher)
    }

    /// Whether this is what is watched.
    pub(super) fn watches(&self, watch: &Arc<Watch>) -> bool {
        Arc::ptr_eq(&self.0, watch)
    }

    /// How many changes there were.
    pub(super) fn now(&self) -> u64 {
        self.0.changes.lock().now()
    }

    /// How often directories were moved.
    pub(super) fn moves(&self) -> u64 {
        self.0.moves.load(Ordering::SeqCst)
    }

    /// The changes from number `from` on. None: that is too long ago.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn since(&self, from: u64) -> Result<Option<KVVec<Change>>> {
        let count = self.now().saturating_sub(from);
        let Some(count) = usize::try_from(count).ok().filter(|n| *n <= MOST) else {
            return Ok(None);
        };
        let mut changes = KVVec::from_elem(Change::File(0), count, GFP_KERNEL)?;
        let copied = self.0.changes.lock().since(from, &mut changes);
        Ok(copied.map(|copied| {
            changes.truncate(copied);
            changes
        }))
    }
}

/// Changes that are worth looking at one by one.
const MOST: usize = crate::libvexfs::vector::changes::ROOM;

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::SeqCst);
    }
}
