// SPDX-License-Identifier: GPL-2.0

//! Records of the attribute tree: one tree per inode for all that is known about it beside its
//! data, told apart by the first byte of the key.

use crate::libvexfs::alloc::Space;
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::Fs;
use kernel::prelude::*;

/// Bits of a key below its kind.
pub const KIND_SHIFT: u32 = 120;
/// Largest key without its kind.
pub const REST_MAX: u128 = (1 << KIND_SHIFT) - 1;

/// Kinds of records.
pub mod kind {
    /// Parent pointer; see `parent`.
    pub const PARENT: u8 = 1;
    /// Extended attribute; see `xattr`.
    pub const XATTR: u8 = 2;
    /// Part of a long attribute value or symbolic link.
    pub const CHUNK: u8 = 3;
    /// Byte range written since it was embedded.
    pub const STALE: u8 = 4;
    /// Copy on a volume.
    pub const COPY: u8 = 5;
    /// Checksums of the archived contents.
    pub const CHUNKSUM: u8 = 6;
    /// State of staging.
    pub const STAGING: u8 = 7;
    /// System inode: collection.
    pub const COLLECTION: u8 = 16;
    /// System inode: volume.
    pub const VOLUME: u8 = 17;
    /// Quota inode: what an owner has, periods of grace.
    pub const QUOTA: u8 = 32;
}

/// Returns the key of a record.
pub fn key(kind: u8, rest: u128) -> u128 {
    u128::from(kind) << KIND_SHIFT | (rest & REST_MAX)
}

impl<S: Store> Fs<S> {
    /// Finds a record and shows its value to `f`.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn attr_lookup<R>(
        &self,
        i: &Inode,
        kind: u8,
        rest: u128,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        self.tree_lookup(i.attr_root(), key(kind, rest), f)
    }

    /// Shows the first record of this kind from `rest` on to `f`, with its key less the kind.
    ///
    /// # Errors
    ///
    /// As [`Fs::attr_lookup`].
    pub fn attr_next<R>(
        &self,
        i: &Inode,
        kind: u8,
        rest: u128,
        f: impl FnOnce(u128, &[u8]) -> R,
    ) -> Result<Option<R>> {
        let last = key(kind, REST_MAX);
        let found = self.tree_next(i.attr_root(), key(kind, rest), |key, value| {
            (key <= last).then(|| f(key & REST_MAX, value))
        })?;
        Ok(found.flatten())
    }

    /// Shows all records of this kind from `from` on to `f` until it says false. The tree must not
    /// change meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Fs::attr_lookup`], and what `f` returns.
    pub fn attr_scan(
        &self,
        i: &Inode,
        kind: u8,
        from: u128,
        f: &mut dyn FnMut(u128, &[u8]) -> Result<bool>,
    ) -> Result {
        let last = key(kind, REST_MAX);
        self.tree_scan(i.attr_root(), key(kind, from), &mut |key, value| {
            if key > last {
                return Ok(false);
            }
            f(key & REST_MAX, value)
        })
    }

    /// Inserts a record that is not there yet. Does not log the inode.
    ///
    /// # Errors
    ///
    /// As [`Fs::tree_insert`].
    pub fn attr_insert(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        i: &mut Inode,
        kind: u8,
        rest: u128,
        value: &[u8],
    ) -> Result {
        self.tree_insert(t, space, i.attr_root_mut(), key(kind, rest), value)
    }

    /// Inserts a record or replaces the one that is there. Does not log the inode.
    ///
    /// # Errors
    ///
    /// As [`Fs::tree_insert`].
    pub fn attr_put(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        i: &mut Inode,
        kind: u8,
        rest: u128,
        value: &[u8],
    ) -> Result {
        match self.attr_lookup(i, kind, rest, |_| ())? {
            Some(()) => self.tree_replace(t, space, i.attr_root_mut(), key(kind, rest), value),
            None => self.attr_insert(t, space, i, kind, rest, value),
        }
    }

    /// Removes a record. Does not log the inode.
    ///
    /// # Errors
    ///
    /// `ENOENT` with nothing dirtied, and as [`Fs::tree_remove`].
    pub fn attr_remove(&self, t: &mut S::Trans, i: &mut Inode, kind: u8, rest: u128) -> Result {
        self.tree_remove(t, i.attr_root_mut(), key(kind, rest))
    }
}
