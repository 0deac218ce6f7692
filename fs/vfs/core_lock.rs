// SPDX-License-Identifier: GPL-2.0

//! The lock around the metadata of an inode, and around its delayed blocks, which are metadata that
//! no disk knows of. Whoever had it for writing changed something, and those who remember what they
//! found out about files are told.

use super::{
    inode::VexInode,
    sync::{PinnedRwSemaphore, ReadGuard, WriteGuard},
};
use crate::libvexfs::{extent::Delayed, format::inode::STATE_EMBEDDED, Inode as Core};
use core::ops::{Deref, DerefMut};

/// What the lock protects.
pub(super) struct Locked {
    pub(super) core: Core,
    pub(super) delayed: Delayed,
}

/// The lock of an inode's metadata.
#[derive(Clone, Copy)]
pub(crate) struct CoreLock<'a> {
    inode: &'a VexInode,
    lock: &'a PinnedRwSemaphore<Locked>,
}

impl<'a> CoreLock<'a> {
    pub(super) fn new(inode: &'a VexInode, lock: &'a PinnedRwSemaphore<Locked>) -> Self {
        CoreLock { inode, lock }
    }

    /// Takes it for reading.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn read(self) -> CoreReadGuard<'a> {
        CoreReadGuard(self.lock.read())
    }

    /// Takes it for reading if that does not mean to wait.
    pub(crate) fn try_read(self) -> Option<CoreReadGuard<'a>> {
        self.lock.try_read().map(CoreReadGuard)
    }

    /// Takes it for writing.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn write(self) -> CoreGuard<'a> {
        self.write_nested(0)
    }

    /// Takes it for writing while `depth` others are held, in the order that `ops` documents.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn write_nested(self, depth: i32) -> CoreGuard<'a> {
        CoreGuard {
            inode: self.inode,
            held: self.lock.write_nested(depth),
        }
    }
}

/// Shared access to the metadata of an inode.
pub(crate) struct CoreReadGuard<'a>(ReadGuard<'a, Locked>);

impl CoreReadGuard<'_> {
    /// Blocks that are promised and have no place yet.
    pub(crate) fn delayed(&self) -> &Delayed {
        &self.0.delayed
    }
}

impl Deref for CoreReadGuard<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.0.core
    }
}

/// Exclusive access to the metadata of an inode.
pub(crate) struct CoreGuard<'a> {
    inode: &'a VexInode,
    held: WriteGuard<'a, Locked>,
}

impl CoreGuard<'_> {
    /// The metadata, and the blocks that are promised and have no place yet.
    pub(crate) fn parts(&mut self) -> (&mut Core, &mut Delayed) {
        let Locked { core, delayed } = &mut *self.held;
        (core, delayed)
    }
}

impl Deref for CoreGuard<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.held.core
    }
}

impl DerefMut for CoreGuard<'_> {
    fn deref_mut(&mut self) -> &mut Core {
        &mut self.held.core
    }
}

impl Drop for CoreGuard<'_> {
    fn drop(&mut self) {
        // What is going to be read under the lock is noted before it is let go.
        if self.held.core.state & STATE_EMBEDDED != 0 {
            self.inode.mount().vectors.watch().file(self.held.core.ino);
        }
    }
}
