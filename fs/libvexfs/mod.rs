// SPDX-License-Identifier: GPL-2.0

//! The file system itself: what its bytes mean and how they change.
//!
//! No kernel types, no `unsafe`, no panics that a disk could cause. The module and
//! user-space programs build the same source; what differs lies behind
//! [`journal::Store`], `crate::sync`, `crate::crc32c` and the `kernel` crate.
//!
//! Lock order: inode locks (held by the callers: `&mut Inode` means for writing),
//! then one group, then a buffer.

#![cfg_attr(
    vexfs_kernel,
    expect(
        unreachable_pub,
        dead_code,
        unused_imports,
        reason = "a library for programs, of which the module uses a part and exports nothing"
    )
)]

pub mod acl;
pub mod alloc;
pub mod attr;
pub mod credits;
pub mod errno;
pub mod extent;
pub mod format;
pub mod group;
mod grow;
pub mod inode;
pub mod journal;
pub mod siphash;
pub mod tree;

pub mod dir;
pub mod namespace;
pub mod orphan;
pub mod parent;
pub mod quota;
pub mod staging;
pub mod symlink;
pub mod vector;
pub mod xattr;

#[cfg(not(vexfs_kernel))]
pub mod check;
#[cfg(not(vexfs_kernel))]
pub mod mkfs;

#[cfg(test)]
mod tests;

pub use alloc::{Mode, Space};
pub use format::{Inode, Superblock, Time};
pub use tree::{Owner, Root, RootMut};

use crate::sync::Mutex;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use format::geometry::Geometry;
use journal::{BlockMut, Store, Trans};
use kernel::prelude::*;

/// A mounted file system.
pub struct Fs<S: Store> {
    /// Where it is kept.
    pub store: S,
    /// The superblock as it was when it was opened: keys and ids never change while it
    /// is. [`Fs::geometry`] and [`Fs::superblock`] have the rest.
    pub sb: Superblock,
    live: Mutex<Superblock>,
    /// Blocks that groups cover; grows. Changed under the lock of the group that it changes.
    blocks: AtomicU64,
    /// Blocks that ordinary allocation leaves free.
    reserve: AtomicU64,
    groups: group::Groups,
    counters: alloc::Counters,
    /// What is freed is kept for [`Fs::freed_runs`].
    discards: AtomicBool,
    quota: Option<quota::Quota>,
}

impl<S: Store> Fs<S> {
    /// Opens the file system that `sb` describes. The journal must have been replayed.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if a group header is damaged or the volume larger than its store,
    /// `EIO`, `ENOMEM`.
    pub fn open(store: S, sb: Superblock) -> Result<Self> {
        sb.geometry.verify()?;
        if sb.geometry.block_count > store.block_count() {
            pr_err!(
                "the volume has {} blocks, its device less\n",
                sb.geometry.block_count
            );
            return Err(errno::euclean());
        }
        let live = Mutex::new(sb.clone())?;
        let mut fs = Fs {
            blocks: AtomicU64::new(sb.geometry.block_count),
            reserve: AtomicU64::new(sb.reserved_blocks),
            store,
            sb,
            live,
            groups: group::Groups::new()?,
            counters: alloc::Counters::new(),
            discards: AtomicBool::new(false),
            quota: None,
        };
        fs.load_groups()?;
        fs.load_quota()?;
        Ok(fs)
    }

    /// Where things lie, now.
    pub fn geometry(&self) -> Geometry {
        self.sb
            .geometry
            .covering(self.blocks.load(Ordering::Acquire))
    }

    /// The superblock as it is now.
    pub fn superblock(&self) -> Superblock {
        self.live.lock().clone()
    }

    /// Changes the superblock. One credit.
    ///
    /// # Errors
    ///
    /// What `modify` returns; nothing is changed then.
    pub fn update_superblock<R>(
        &self,
        t: &mut S::Trans,
        change: impl FnOnce(&mut Superblock) -> R,
    ) -> Result<R> {
        self.change_superblock(t, change, |_, _| Ok(()))
    }

    /// Credits of [`Fs::update_superblocks`] on a volume of such a geometry.
    pub fn superblocks_credits(geometry: &Geometry) -> usize {
        credits::SUPERBLOCK + geometry.super_copies().count()
    }

    /// As [`Fs::update_superblock`], the copies too: for what they must be good for alone.
    pub fn update_superblocks<R>(
        &self,
        t: &mut S::Trans,
        change: impl FnOnce(&mut Superblock) -> R,
    ) -> Result<R> {
        self.change_superblock(t, change, |t, live| {
            for group in live.geometry.super_copies() {
                let mut copy = t.create(live.geometry.group_start(group))?;
                live.format(&mut copy.data_mut());
            }
            Ok(())
        })
    }

    fn change_superblock<R>(
        &self,
        t: &mut S::Trans,
        change: impl FnOnce(&mut Superblock) -> R,
        also: impl FnOnce(&mut S::Trans, &Superblock) -> Result,
    ) -> Result<R> {
        let mut live = self.live.lock();
        let mut block = t.modify(0)?;
        let r = change(&mut live);
        live.format(&mut block.data_mut());
        also(t, &live)?;
        Ok(r)
    }

    /// Reports damage in a block or an inode (0: none to name) and returns the error for it.
    #[cold]
    pub fn damaged(&self, ino: u64, bno: u64, what: &str) -> Error {
        damaged(ino, bno, what)
    }
}

/// Reports damage in the log: one line that names inode and block.
#[cold]
pub(crate) fn damaged(ino: u64, bno: u64, what: &str) -> Error {
    pr_err!("damage: inode {}, block {}: {}\n", ino, bno, what);
    errno::euclean()
}
