// SPDX-License-Identifier: GPL-2.0

//! What can be done about a problem.

use crate::libvexfs::attr::{kind, KIND_SHIFT};
use crate::libvexfs::tree::{KIND_ATTR, KIND_DATA};

/// How to put something right. Those that lose nothing follow from structures that were found good; the others cut what
/// cannot be kept.
#[derive(Clone, Debug)]
pub enum Fix {
    /// Write the superblock over a copy of it.
    Copy {
        /// Where the copy lies.
        bno: u64,
    },
    /// Change the superblock.
    Super(SuperField),
    /// Write a region's bitmap and summary.
    Region {
        /// The group.
        group: u32,
        /// The region.
        region: u32,
        /// What is in use.
        bits: Box<[u8]>,
    },
    /// Write the counts in a group's header.
    Counts {
        /// The group.
        group: u32,
        /// The right ones.
        counts: Counts,
    },
    /// Make a group's header, its tree of chunks and the blocks of its inodes anew, from what can be read of them.
    Group {
        /// The group.
        group: u32,
    },
    /// Make a group's tree of orphans anew, from what its inodes say.
    Orphans {
        /// The group.
        group: u32,
    },
    /// Write a field of an inode.
    Inode {
        /// The inode.
        ino: u64,
        /// Which field, and the right value.
        field: Field,
    },
    /// Put a record into a tree of an inode, or take it out.
    Record {
        /// The inode.
        ino: u64,
        /// Which tree: `KIND_DATA` or `KIND_ATTR`.
        kind: u32,
        /// The record's key.
        key: u128,
        /// Its value; none: it goes.
        value: Option<Box<[u8]>>,
        /// It is about names: those wait until inodes are sound.
        name: bool,
    },
    /// Build a tree of an inode anew, from the leaves that can be read.
    Tree {
        /// The inode.
        ino: u64,
        /// Which tree.
        kind: u32,
    },
    /// Put a directory entry where the hash of its name says.
    Move {
        /// The directory.
        dir: u64,
        /// The entry's key now.
        key: u128,
    },
    /// Find the length of a symbolic link from its target; free it if there is none.
    Link {
        /// The inode.
        ino: u64,
    },
    /// Free an inode of which nothing can be made.
    Free {
        /// The inode.
        ino: u64,
    },
    /// Give blocks that several claim to one of them, and the others copies.
    Shared {
        /// The first.
        bno: u64,
        /// How many.
        len: u64,
    },
    /// Give an inode that no directory names a name in lost+found.
    Adopt {
        /// The inode.
        ino: u64,
    },
    /// Make a collection's indices and totals anew, from its records.
    Collection {
        /// The collection's inode.
        ino: u64,
    },
    /// Take the index of a collection down; it is wanted then.
    Index {
        /// The collection's inode.
        ino: u64,
    },
    /// Find or make a root directory.
    Root,
    /// Find or make a system inode.
    System,
}

/// A field of an inode, and what it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Blocks that belong to it.
    Blocks(u64),
    /// Links.
    Links(u32),
    /// Links of one that was about to be deleted.
    Revive(u32),
    /// Entries of a directory.
    Entries(u64),
    /// Bytes of a directory's entries.
    Size(u64),
    /// Bytes of a file, if it has fewer: there are blocks behind its end.
    SizeAtLeast(u64),
    /// The type, as its contents tell.
    Kind(u16),
    /// Bits of the state that are missing.
    StateSet(u32),
    /// Bits of the state that are there wrongly.
    StateClear(u32),
    /// The device number.
    Rdev(u32),
    /// The version of the contents, at least.
    DataVersionAtLeast(u64),
    /// The version that something describes.
    MarkedVersion(u64),
}

/// A counter of the superblock, and what it must be at least; or what it is to do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuperField {
    /// The id of the next collection.
    NextCollection(u32),
    /// The id of the next volume of the archive.
    NextVolume(u32),
    /// Nothing counts what owners have.
    NoQuota,
}

/// The counts of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Free blocks.
    pub free_blocks: u64,
    /// Free inodes.
    pub free_inodes: u64,
    /// Directories.
    pub dirs: u64,
    /// Chunks.
    pub chunks: u64,
    /// Blocks of the chunk tree.
    pub chunk_blocks: u64,
    /// Blocks of the orphan tree.
    pub orphan_blocks: u64,
}

/// When a fix is made. What a stage relies on was put right by those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Which inodes there are.
    Structures,
    /// Each inode by itself.
    Inodes,
    /// What several have.
    Shared,
    /// Entries and parent pointers.
    Names,
    /// What has no name.
    Lost,
    /// The trees of orphans.
    Orphans,
    /// What is counted.
    Counts,
}

impl Fix {
    /// Whether nothing is lost by it.
    pub fn is_lossless(&self) -> bool {
        match self {
            // The limits go.
            Fix::Super(SuperField::NoQuota) => false,
            // What an owner has, counted anew.
            Fix::Record {
                kind: KIND_ATTR,
                key,
                value: Some(_),
                ..
            } if (key >> KIND_SHIFT) as u8 == kind::QUOTA => true,
            // An index is made anew from the records.
            Fix::Index { .. } | Fix::Orphans { .. } | Fix::Super(_) => true,
            _ => self.stage() == Stage::Counts,
        }
    }

    pub(super) fn stage(&self) -> Stage {
        match self {
            Fix::Super(_) | Fix::Group { .. } => Stage::Structures,
            Fix::Tree { .. } | Fix::Link { .. } | Fix::Free { .. } | Fix::System => Stage::Inodes,
            Fix::Shared { .. } => Stage::Shared,
            Fix::Record { name: false, .. } => Stage::Inodes,
            Fix::Record { .. } | Fix::Move { .. } | Fix::Root => Stage::Names,
            Fix::Adopt { .. } | Fix::Collection { .. } | Fix::Index { .. } => Stage::Lost,
            Fix::Orphans { .. } => Stage::Orphans,
            Fix::Copy { .. } | Fix::Region { .. } | Fix::Counts { .. } => Stage::Counts,
            Fix::Inode { field, .. } => match field {
                Field::Blocks(_) | Field::Links(_) | Field::Entries(_) | Field::Size(_) => {
                    Stage::Counts
                }
                Field::Revive(_) => Stage::Names,
                _ => Stage::Inodes,
            },
        }
    }

    /// Takes a record of an inode's own out of a tree.
    pub(super) fn drop_record(ino: u64, kind: u32, key: u128) -> Fix {
        Fix::Record {
            ino,
            kind,
            key,
            value: None,
            name: false,
        }
    }

    /// Puts an extent into a tree.
    pub(super) fn put_extent(ino: u64, e: &crate::libvexfs::format::extent::Extent) -> Fix {
        let mut value = [0; crate::libvexfs::format::extent::OFFLINE_LEN];
        let len = e.format(&mut value);
        Fix::Record {
            ino,
            kind: KIND_DATA,
            key: e.key(),
            value: Some(value[..len].into()),
            name: false,
        }
    }

    /// Changes a record that is about a name.
    pub(super) fn name(ino: u64, kind: u32, key: u128, value: Option<Box<[u8]>>) -> Fix {
        Fix::Record {
            ino,
            kind,
            key,
            value,
            name: true,
        }
    }

    /// Writes a field.
    pub(super) fn field(ino: u64, field: Field) -> Fix {
        Fix::Inode { ino, field }
    }
}
