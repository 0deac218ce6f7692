// SPDX-License-Identifier: GPL-2.0

//! How many blocks each operation dirties at worst.
//!
//! These are bounds, not guesses: a transaction that needs more than it asked for
//! takes the journal down. Every bound is derived from the height limit of the tree.

use crate::libvexfs::tree::MAX_HEIGHT;

/// Logging an inode.
pub const INODE: usize = 1;
/// Changing the superblock.
pub const SUPERBLOCK: usize = 1;
/// Allocating or freeing blocks of one region: bitmap, summary, group header.
pub const REGION: usize = 3;
/// The block in which a tree's root lives.
const HOME: usize = 1;
/// Using a [`Space`](crate::libvexfs::Space), however many blocks: all lie in one region.
pub const SPACE: usize = REGION;
/// Nodes that an insertion dirties: those on the path, a sibling each, a new level.
const INSERT_NODES: usize = 2 * MAX_HEIGHT;
/// An insertion, with the space it takes.
pub const INSERT: usize = INSERT_NODES + SPACE + HOME;
/// A change in place.
pub const UPDATE: usize = 1;
/// Nodes that a removal dirties: those on the path and a sibling each; one of the two
/// is freed at each level.
const REMOVE_NODES: usize = 2 * MAX_HEIGHT;
/// A removal, with the nodes it frees in as many regions.
pub const REMOVE: usize = REMOVE_NODES + MAX_HEIGHT * REGION + HOME;
/// Leaves that one step of destroying a tree frees.
pub(crate) const DESTROY_LEAVES: usize = 8;
/// One step of destroying a tree.
pub const DESTROY: usize = (DESTROY_LEAVES + MAX_HEIGHT) * REGION + DESTROY_LEAVES + MAX_HEIGHT + HOME;
/// Orphan record of an inode, set or removed; the tree is the group's own.
pub const ORPHAN: usize = REMOVE + INSERT;
/// A new inode: the record of its chunk moves (removal, insertion), or a new chunk.
pub const INODE_ALLOC: usize = REMOVE + INSERT + REGION + 8 + INODE;
/// Freeing an inode, perhaps with its chunk.
pub const INODE_FREE: usize = REMOVE + INSERT + REGION + 8 + INODE;
/// Allocation of one extent.
pub const EXTENT_ALLOC: usize = REGION + INSERT + INODE;
/// Extents that one step of a conversion touches.
pub(crate) const CONVERT_EXTENTS: usize = 8;
/// One step of a conversion.
pub const CONVERT: usize = 2 * INSERT + REMOVE + CONVERT_EXTENTS + INODE;
/// Extents that one step of a truncation or replacement frees.
pub(crate) const FREE_EXTENTS: usize = 8;
/// One step of a replacement.
pub const REPLACE_RANGE: usize = 2 * INSERT + 2 * REMOVE + FREE_EXTENTS * REGION + INODE;
/// One step of a truncation.
pub const TRUNCATE: usize = INSERT + 2 * REMOVE + FREE_EXTENTS * REGION + INODE;

/// Blocks to ask [`Fs::space`](crate::libvexfs::Fs::space) for.
pub mod blocks {
    use crate::libvexfs::tree::MAX_HEIGHT;

    /// For one insertion: a sibling at each level.
    pub const INSERT: usize = MAX_HEIGHT;
}
