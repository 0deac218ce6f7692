// SPDX-License-Identifier: GPL-2.0

//! How many blocks each operation dirties at worst.
//!
//! These are bounds, not guesses: a transaction that needs more than it asked for
//! takes the journal down. Every bound is derived from the height limit of the tree.

use crate::libvexfs::format::geometry::Geometry;
use crate::libvexfs::tree::MAX_HEIGHT;

/// Booking what an inode has: a record each of a user, a group and a project. Once more when these
/// change.
pub const QUOTA: usize = 3;
/// Logging an inode, with what it is booked as.
pub const INODE: usize = 1 + QUOTA;
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
pub const DESTROY: usize =
    (DESTROY_LEAVES + MAX_HEIGHT) * REGION + DESTROY_LEAVES + MAX_HEIGHT + HOME;
/// An insertion in a tree of a group: all its blocks lie in the group, whose header is the
/// home of the tree.
const GROUP_INSERT: usize = INSERT_NODES + 2 + HOME;
/// A removal from a tree of a group.
const GROUP_REMOVE: usize = REMOVE_NODES + 2 * MAX_HEIGHT + HOME;
/// [`Fs::quota_open`](crate::libvexfs::Fs::quota_open).
pub const QUOTA_OPEN: usize = 3 * INSERT_NODES + SPACE + HOME;
/// Orphan record of an inode, set or removed.
pub const ORPHAN: usize = max(GROUP_INSERT, GROUP_REMOVE);
/// The record of a chunk moves: insertion and removal.
const CHUNK_MOVE: usize = GROUP_INSERT + GROUP_REMOVE;
/// A chunk: its eight blocks, bitmap and summary, and its record.
const CHUNK: usize = 8 + 2 + GROUP_REMOVE;
/// A new inode, perhaps with a new chunk.
pub const INODE_ALLOC: usize = max(CHUNK_MOVE, CHUNK) + INODE;
/// Freeing an inode, perhaps with its chunk.
pub const INODE_FREE: usize = max(CHUNK_MOVE, CHUNK) + INODE;
/// Allocation of one extent.
pub const EXTENT_ALLOC: usize = REGION + INSERT + INODE;
/// Extents that one step of a conversion touches.
pub(crate) const CONVERT_EXTENTS: usize = 8;
/// One step of a conversion: the ends of the range may be split, one record may go, each
/// extent and the one before it change in place.
pub const CONVERT: usize = 2 * INSERT + REMOVE + 2 * CONVERT_EXTENTS * UPDATE + INODE;
/// What removing and freeing one extent dirties in a tree of a given height (the home of the
/// tree, the inode, comes once for all).
const fn free_extent(height: usize) -> usize {
    2 * height + height * REGION + REGION
}
/// What one step of a truncation or a replacement may spend on removals.
const FREE_BUDGET: usize = 4 * free_extent(MAX_HEIGHT);
/// Extents that fit into that budget.
pub(crate) const fn extents_per_step(height: usize) -> usize {
    max(FREE_BUDGET / free_extent(height), 1)
}
/// The most extents that one step of a replacement looks at, however low the tree.
pub(crate) const STEP_EXTENTS: usize = 16;
/// One step of a replacement: two insertions, the border to the extent before.
pub const REPLACE_RANGE: usize = 2 * INSERT + FREE_BUDGET + UPDATE + INODE;
/// One step of zeroing: of a conversion, or of a replacement by a hole.
pub const ZERO: usize = max(CONVERT, REPLACE_RANGE);
/// Extents that one step of a shift takes out of one leaf and puts into another.
pub(crate) const SHIFT_MOVES: usize = 2;
/// Extents that one step of a shift moves within their leaf.
pub(crate) const SHIFT_IN_PLACE: usize = 64;
/// One step of a shift: its moves, leaves in which records change, an extent that is split.
pub const SHIFT: usize = SHIFT_MOVES * (REMOVE + INSERT) + SHIFT_IN_PLACE + INSERT + INODE;
/// One step of a truncation.
pub const TRUNCATE: usize = FREE_BUDGET + UPDATE + INODE;

// Names and attributes. Inodes that an operation logs come on top of its trees.

/// [`Fs::create`](crate::libvexfs::Fs::create) of anything but a symbolic link: inode, entry,
/// parent pointer.
pub const CREATE: usize = INODE_ALLOC + 2 * INSERT + 2 * INODE;
/// [`Fs::create`](crate::libvexfs::Fs::create) of a symbolic link: the target in chunks, too.
pub const SYMLINK: usize = CREATE + inserts(crate::libvexfs::symlink::CHUNKS_MAX);
/// [`Fs::tmpfile`](crate::libvexfs::Fs::tmpfile), even of a symbolic link.
pub const TMPFILE: usize =
    INODE_ALLOC + ORPHAN + INODE + inserts(crate::libvexfs::symlink::CHUNKS_MAX);
/// [`Fs::link`](crate::libvexfs::Fs::link).
pub const LINK: usize = 2 * INSERT + ORPHAN + 2 * INODE;
/// [`Fs::unlink`](crate::libvexfs::Fs::unlink) and [`Fs::rmdir`](crate::libvexfs::Fs::rmdir).
pub const UNLINK: usize = 2 * REMOVE + ORPHAN + 2 * INODE;
/// A plain rename: entries, pointers of what moves and of what is replaced.
const RENAME_MOVE: usize = 3 * REMOVE + 2 * INSERT + ORPHAN + 4 * INODE;
/// A rename that leaves a whiteout: a new inode, but the old entry stays.
const RENAME_WHITEOUT: usize = INODE_ALLOC + 2 * REMOVE + 3 * INSERT + UPDATE + ORPHAN + 5 * INODE;
/// An exchange: both entries stay.
const RENAME_EXCHANGE: usize = 2 * REMOVE + 2 * INSERT + 2 * UPDATE + 4 * INODE;
/// [`Fs::rename`](crate::libvexfs::Fs::rename).
pub const RENAME: usize = max(RENAME_MOVE, max(RENAME_WHITEOUT, RENAME_EXCHANGE));
/// [`Fs::xattr_set`](crate::libvexfs::Fs::xattr_set) without long values.
pub const XATTR_SET: usize = REMOVE + INSERT + INODE;
/// [`Fs::reap_step`](crate::libvexfs::Fs::reap_step) and
/// [`Fs::trim_step`](crate::libvexfs::Fs::trim_step).
pub const REAP_STEP: usize = max(TRUNCATE + ORPHAN, max(DESTROY, ORPHAN + INODE_FREE)) + INODE;

/// [`Fs::xattr_set`](crate::libvexfs::Fs::xattr_set) with values in chunks: so many new ones, so
/// many old ones that go, on a volume of so many regions.
pub const fn xattr_set(new: usize, old: usize, regions: usize) -> usize {
    XATTR_SET + inserts(new) + removes(old, regions)
}

/// The most that any operation asks for on a volume of so many regions. A journal must take it.
const fn largest(regions: usize) -> usize {
    let chunks = crate::libvexfs::xattr::record::CHUNKS_MAX;
    // A directory with two lists as long as can be, and a few labels.
    let create = CREATE + blocks::initial(2 * (chunks + 1) + 8);
    max(
        max(RENAME, create),
        max(
            max(REPLACE_RANGE, SHIFT),
            max(REAP_STEP, xattr_set(chunks, chunks, regions)),
        ),
    )
}

/// Whether a journal of `blocks` will do for a volume of this geometry: a transaction may use a
/// third of it, less what jbd2 needs for itself.
pub(crate) fn fits_journal(blocks: u64, geometry: &Geometry) -> bool {
    let regions = usize::try_from(geometry.regions_at_most()).unwrap_or(usize::MAX);
    (blocks / 3).saturating_sub(20) >= largest(regions) as u64
}

/// Nodes that inserting `n` chunks dirties: one path with its siblings, and what is new.
const fn inserts(n: usize) -> usize {
    match n {
        0 => 0,
        _ => INSERT + blocks::chunks(n),
    }
}

/// Blocks that `n` removals of neighbouring keys dirty: the nodes that they empty or merge, with
/// the regions that these lie in, and one path with its siblings. Chunks lie two to a leaf at
/// least, but whoever makes an image by hand need not do so.
const fn removes(n: usize, regions: usize) -> usize {
    match n {
        0 => 0,
        _ => REMOVE + n + MAX_HEIGHT + REGION * min(n + MAX_HEIGHT, regions),
    }
}

/// Removals of `n` records that are neighbours in their tree.
pub const fn remove_neighbours(n: usize) -> usize {
    removes(n, usize::MAX)
}

const fn min(a: usize, b: usize) -> usize {
    if a < b {
        a
    } else {
        b
    }
}

const fn max(a: usize, b: usize) -> usize {
    if a > b {
        a
    } else {
        b
    }
}

/// Blocks to ask [`Fs::space`](crate::libvexfs::Fs::space) for.
pub mod blocks {
    use crate::libvexfs::tree::MAX_HEIGHT;

    /// For one insertion: a sibling at each level.
    pub const INSERT: usize = MAX_HEIGHT;

    /// For inserting `n` chunks of a long value, one after the other, with ascending keys. A
    /// leaf that was split for one of them keeps half of its bytes at least, two chunks; the
    /// first and the last leaf are shared with others. A node above the leaves has room for
    /// over 60 more entries once it was split.
    pub const fn chunks(n: usize) -> usize {
        match n {
            0 => 0,
            _ => {
                let leaves = n / 2 + 2;
                leaves + MAX_HEIGHT * (leaves / 60 + 1)
            }
        }
    }
    /// For `n` records of the attribute tree of a new inode. Whatever they look like, each
    /// split leaves a record in both leaves at least.
    pub const fn initial(n: usize) -> usize {
        match n {
            0 => 0,
            _ => n + MAX_HEIGHT,
        }
    }

    /// For a new name: its entry and the pointer to it.
    pub const CREATE: usize = 2 * INSERT;
    /// For a rename: an entry, and the pointers of two inodes or an inode and a whiteout.
    pub const RENAME: usize = 3 * INSERT;
}

/// The smallest journal, 4 MiB, takes transactions of a third of its blocks, less what jbd2
/// needs for itself.
pub(crate) const MOST: usize = 1024 / 3 - 20;
const _: () = assert!(SHIFT <= MOST && ZERO <= MOST);
const _: () = assert!(TRUNCATE <= MOST && REPLACE_RANGE <= MOST && CONVERT <= MOST);
const _: () = assert!(CREATE <= MOST && SYMLINK <= MOST && TMPFILE <= MOST && LINK <= MOST);
const _: () = assert!(UNLINK <= MOST && RENAME <= MOST && XATTR_SET <= MOST);
const _: () = assert!(REAP_STEP <= MOST && DESTROY <= MOST && EXTENT_ALLOC <= MOST);
