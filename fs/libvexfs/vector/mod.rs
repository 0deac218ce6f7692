// SPDX-License-Identifier: GPL-2.0

//! Vectors: collections, the records in them, which of those are stale, and the
//! exact search. This is the truth; the [`index`] over it is derived.
//!
//! Where things are:
//!
//! - the *system inode* has a record [`key::COLLECTION`] for each collection, which
//!   names the collection's own internal inode;
//! - that *collection inode* has the vectors as its data, in slots of one size, so
//!   that a slot's place is arithmetic; and in its attribute tree the records:
//!   [`key::SLOT`] is the record itself, [`key::KEY`] and [`key::OWNER`] find it by
//!   the caller's key and by the file it belongs to, [`key::FREE`] lists free slots,
//!   [`key::COUNTS`] has the totals; [`key::INDEX`] tells of the index, if there is one,
//!   [`key::OP`] what its graph is still to see, [`key::INTENT`] where that may be torn;
//! - the *owner*, an ordinary file, has [`key::EMBEDDED_IN`] for each collection that
//!   may have records of it, and [`key::STALE`] for what was written since.
//!
//! Locks: whoever changes a collection holds that collection's lock (in the kernel
//! its inode's `i_rwsem`) from finding free slots to publishing the records, besides
//! what `&mut Inode` means. A scan holds neither while it computes: it reads records
//! in batches and looks again before it lets a hit in.

pub mod changes;
pub mod collection;
pub mod files;
pub mod filter;
pub mod fuse;
pub mod held;
pub mod index;
pub mod list;
pub mod memo;
pub mod record;
pub mod room;
pub mod search;
pub mod slots;
pub mod stale;
pub mod top;

#[cfg(test)]
mod tests;

pub use collection::{Collection, Element, Metric};
pub use record::Record;

/// The largest dimension of a vector.
pub const MAX_DIM: u32 = 4096;
/// The largest number of slots of a collection.
pub const MAX_SLOTS: u32 = u32::MAX - 1;

/// Keys of the records, in the attribute trees of the inodes that the module's head
/// tells of.
pub mod key {
    /// An owner: `start` of a range -> its end and version.
    pub const STALE: u8 = 4;
    /// System inode: collection id -> [`super::Collection`].
    pub const COLLECTION: u8 = 16;
    /// Collection inode: slot -> [`super::Record`].
    pub const SLOT: u8 = 18;
    /// Collection inode: the caller's key -> slot, le32.
    pub const KEY: u8 = 19;
    /// Collection inode: owner ino and slot -> nothing.
    pub const OWNER: u8 = 20;
    /// Collection inode: free slot -> when it was freed.
    pub const FREE: u8 = 21;
    /// Collection inode: the totals.
    pub const COUNTS: u8 = 22;
    /// Collection inode: its [`super::index::Index`].
    pub const INDEX: u8 = 23;
    /// An owner: collection id -> nothing. There while the collection may have
    /// records of this file; never too late, perhaps too long.
    pub const EMBEDDED_IN: u8 = 24;
    /// Collection inode: sequence -> [`super::index::Op`].
    pub const OP: u8 = 25;
    /// Collection inode: number of a chunk -> which of its MiBs of the index's inode were
    /// written since the last checkpoint.
    pub const INTENT: u8 = 26;

    fn of(kind: u8, low: u128) -> u128 {
        u128::from(kind) << 120 | low
    }

    /// The kind of a key.
    pub fn kind(key: u128) -> u8 {
        (key >> 120) as u8
    }

    /// The lowest key of a kind.
    pub fn first(kind: u8) -> u128 {
        of(kind, 0)
    }

    /// Key of a collection.
    pub fn collection(id: u32) -> u128 {
        of(COLLECTION, u128::from(id))
    }

    /// Key of a record.
    pub fn slot(slot: u32) -> u128 {
        of(SLOT, u128::from(slot))
    }

    /// Key of the caller's key.
    pub fn by_key(key: u64) -> u128 {
        of(KEY, u128::from(key))
    }

    /// Key of a record's place among those of its owner.
    pub fn owner(ino: u64, slot: u32) -> u128 {
        of(OWNER, u128::from(ino) << 32 | u128::from(slot))
    }

    /// Key of a free slot.
    pub fn free(slot: u32) -> u128 {
        of(FREE, u128::from(slot))
    }

    /// Key of the totals.
    pub fn counts() -> u128 {
        of(COUNTS, 0)
    }

    /// Key of the record of the index.
    pub fn index() -> u128 {
        of(INDEX, 0)
    }

    /// Key of an operation.
    pub fn op(sequence: u64) -> u128 {
        of(OP, u128::from(sequence))
    }

    /// Key of a chunk of write intents.
    pub fn intent(chunk: u64) -> u128 {
        of(INTENT, u128::from(chunk))
    }

    /// Key of a stale range.
    pub fn stale(start: u64) -> u128 {
        of(STALE, u128::from(start))
    }

    /// Key of a collection among those that an owner has records in.
    pub fn embedded_in(id: u32) -> u128 {
        of(EMBEDDED_IN, u128::from(id))
    }
}
