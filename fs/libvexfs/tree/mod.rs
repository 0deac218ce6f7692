// SPDX-License-Identifier: GPL-2.0

//! The B+tree. Every index on disk is one of these.
//!
//! The root is embedded in its owner (an inode, a group header); nodes below it are
//! blocks. Keys are 128 bits, values up to 1,000 bytes. Records lie in leaves only.
//! The key of an interior node's entry is the lower bound of what belongs below it,
//! 0 at the left edge. Nodes have no links to their neighbours: a scan walks down
//! again for each leaf. No node but a root is empty.
//!
//! Nothing here allocates memory.

mod change;
pub mod node;
mod search;
#[cfg(test)]
mod tests;

pub(crate) use change::{destroy_step, insert, remove, update, Blocks};
pub(crate) use search::{around, copy_leaf, lookup, next};

use crate::libvexfs::alloc::Space;
use crate::libvexfs::journal::Store;
use crate::libvexfs::Fs;
use kernel::prelude::*;

/// Tree kinds, as node headers name them: an inode's data.
pub const KIND_DATA: u32 = 1;
/// An inode's attributes.
pub const KIND_ATTR: u32 = 2;
/// A group's inode chunks.
pub const KIND_CHUNK: u32 = 3;
/// A group's orphans.
pub const KIND_ORPHAN: u32 = 4;

/// The longest value.
pub const MAX_VALUE: usize = 1000;
/// Levels of blocks below a root, at most.
pub const MAX_HEIGHT: usize = 6;

/// Whose tree it is: what the header of each node must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Inode or group number.
    pub id: u64,
    /// Inode generation; 0 for groups.
    pub generation: u32,
    /// `KIND_*`.
    pub kind: u32,
    /// The block that the root is embedded in.
    pub home: u64,
}

/// A tree to be read.
#[derive(Clone, Copy)]
pub struct Root<'a> {
    /// The embedded root node.
    pub bytes: &'a [u8],
    /// Whose it is.
    pub owner: Owner,
}

/// A tree to be changed.
pub struct RootMut<'a> {
    /// The embedded root node.
    pub bytes: &'a mut [u8],
    /// Count of blocks that the owner has; tree nodes are added and taken off.
    pub blocks: &'a mut u64,
    /// Whose it is.
    pub owner: Owner,
}

impl RootMut<'_> {
    /// The same tree, to be read.
    pub fn root(&self) -> Root<'_> {
        Root {
            bytes: self.bytes,
            owner: self.owner,
        }
    }

    /// The same tree, for one of several changes.
    pub fn again(&mut self) -> RootMut<'_> {
        RootMut {
            bytes: self.bytes,
            blocks: self.blocks,
            owner: self.owner,
        }
    }
}

/// Makes `root` an empty tree.
pub fn init_root(root: &mut [u8]) {
    node::init_page(root, 0);
}

/// Blocks that inserting a record with a value of `len` bytes takes at most.
pub fn blocks_to_insert(root: &[u8], len: usize) -> usize {
    match node::Node::open(root) {
        Ok(node) if node.level() == 0 && node.fits(len) => 0,
        _ => (height(root) + 1).min(MAX_HEIGHT),
    }
}

/// Levels of blocks below the root.
pub fn height(root: &[u8]) -> usize {
    root.first().copied().unwrap_or(0).into()
}

impl<S: Store> Fs<S> {
    /// Finds a record and shows its value to `f`.
    pub fn tree_lookup<R>(
        &self,
        root: Root<'_>,
        key: u128,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        search::lookup(&self.store, root, key, f)
    }

    /// Shows the values of keys that are in ascending order, the `n`-th of which is `key(n)`, with their
    /// numbers to `f`.
    pub fn tree_lookup_some(
        &self,
        root: Root<'_>,
        key: impl Fn(usize) -> Option<u128>,
        f: impl FnMut(usize, &[u8]) -> Result,
    ) -> Result {
        search::lookup_some(&self.store, root, key, f)
    }

    /// Shows the first record whose key is at least `key` to `f`.
    pub fn tree_next<R>(
        &self,
        root: Root<'_>,
        key: u128,
        f: impl FnOnce(u128, &[u8]) -> R,
    ) -> Result<Option<R>> {
        search::next(&self.store, root, key, f)
    }

    /// Shows the last record whose key is at most `key` to `f`.
    pub fn tree_prev<R>(
        &self,
        root: Root<'_>,
        key: u128,
        f: impl FnOnce(u128, &[u8]) -> R,
    ) -> Result<Option<R>> {
        search::prev(&self.store, root, key, f)
    }

    /// Shows all records from `from` on, in order, to `f` until it says false. Do not
    /// change the same tree from within `f`.
    pub fn tree_scan(
        &self,
        root: Root<'_>,
        from: u128,
        f: &mut dyn FnMut(u128, &[u8]) -> Result<bool>,
    ) -> Result {
        search::scan(&self.store, root, from, f)
    }

    /// Inserts a record. Credits: [`credits::INSERT`](crate::libvexfs::credits::INSERT);
    /// space: [`credits::blocks::INSERT`](crate::libvexfs::credits::blocks::INSERT).
    ///
    /// # Errors
    ///
    /// `EEXIST`, `EINVAL` (value too long), `EFBIG` (tree too high), `ENOSPC` (`space`
    /// is too small), each with nothing dirtied.
    pub fn tree_insert(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        root: RootMut<'_>,
        key: u128,
        value: &[u8],
    ) -> Result {
        insert(t, space, root, key, value, false)
    }

    /// Replaces the value of a record by one of any length. Credits and space as for
    /// an insertion; with the same length one credit (and no space) is enough.
    ///
    /// # Errors
    ///
    /// `ENOENT`, and as for [`Fs::tree_insert`].
    pub fn tree_replace(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        root: RootMut<'_>,
        key: u128,
        value: &[u8],
    ) -> Result {
        insert(t, space, root, key, value, true)
    }

    /// Changes the value of a record in place. One credit.
    ///
    /// # Errors
    ///
    /// `ENOENT`, with nothing dirtied.
    pub fn tree_update<R>(
        &self,
        t: &mut S::Trans,
        root: RootMut<'_>,
        key: u128,
        f: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R> {
        update::<S, R>(t, root, key, key, |value| Ok(f(value)))
    }

    /// Gives a record a new key between those of its neighbours and a new value of the same
    /// length, in the leaf that it is in. One credit.
    ///
    /// # Errors
    ///
    /// `ENOENT`; `EINVAL` if the key belongs into another leaf, as one below the old key may
    /// (one up to the next record's old key never does); each with nothing dirtied.
    pub fn tree_rekey(
        &self,
        t: &mut S::Trans,
        root: RootMut<'_>,
        old: u128,
        new: u128,
        value: &[u8],
    ) -> Result {
        update::<S, ()>(t, root, old, new, |to| {
            if to.len() != value.len() {
                return Err(EINVAL);
            }
            to.copy_from_slice(value);
            Ok(())
        })
    }

    /// Removes a record. Credits: [`credits::REMOVE`](crate::libvexfs::credits::REMOVE).
    ///
    /// # Errors
    ///
    /// `ENOENT`, with nothing dirtied.
    pub fn tree_remove(&self, t: &mut S::Trans, root: RootMut<'_>, key: u128) -> Result {
        remove(t, &mut &*self, root, key)
    }

    /// Frees a part of a whole tree, records and all; true when it is empty. Credits:
    /// [`credits::DESTROY`](crate::libvexfs::credits::DESTROY).
    pub fn tree_destroy_step(&self, t: &mut S::Trans, root: RootMut<'_>) -> Result<bool> {
        destroy_step(t, &mut &*self, root)
    }
}
