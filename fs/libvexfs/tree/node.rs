// SPDX-License-Identifier: GPL-2.0

//! A node: a page of slots, sorted by key, and a heap of values behind them.
//!
//! ```text
//! 0   level u8, pad u8, count u16, heap u16, pad u16
//! 8   slots: key u128, offset u16, length u16; count of them
//!     free
//! heap .. end: the values, without gaps, in any order
//! ```
//!
//! The page is a root embedded in an inode or a group header, or what follows the
//! [`HEADER`] of a block. Nothing here trusts the page beyond what [`Node::open`]
//! checked: a lying slot makes an operation fail, not panic.

use super::Owner;
use crate::libvexfs::format::{le128, le16, le32, le64, put, put128, put16, put32, put64};
use crate::libvexfs::journal::BODY_SIZE;

/// "VXTN".
pub const MAGIC: u32 = u32::from_le_bytes(*b"VXTN");
/// Block header: magic u32, kind u32, own number u64, owner u64, generation u32, pad u32.
pub const HEADER: usize = 32;
/// Bytes of the page in a block.
pub const PAGE: usize = BODY_SIZE - HEADER;
/// Bytes of a page that are not slots or values.
pub const PAGE_HEADER: usize = 8;
/// Bytes of a slot.
pub const SLOT: usize = 20;
/// Bytes that the page of a block has for slots and values.
pub const PAYLOAD: usize = PAGE - PAGE_HEADER;
/// Bytes of an interior node's entry: a slot and a block number.
pub const INTERIOR_ENTRY: usize = SLOT + 8;

/// The page contradicts itself.
#[derive(Debug)]
pub struct Bad;

/// Why a block is not the node that it should be.
pub fn block_is_bad(b: &[u8], bno: u64, owner: &Owner) -> Option<&'static str> {
    if b.len() != BODY_SIZE || le32(b, 0) != MAGIC {
        Some("not a tree node")
    } else if le64(b, 8) != bno {
        Some("a tree node of another place")
    } else if le32(b, 4) != owner.kind || le64(b, 16) != owner.id || le32(b, 24) != owner.generation
    {
        Some("a tree node of another tree")
    } else {
        None
    }
}

/// Writes the header of a new node and makes it empty.
pub fn init_block(b: &mut [u8], bno: u64, owner: &Owner, level: u8) {
    put32(b, 0, MAGIC);
    put32(b, 4, owner.kind);
    put64(b, 8, bno);
    put64(b, 16, owner.id);
    put32(b, 24, owner.generation);
    init_page(page_mut(b), level);
}

/// Makes a page an empty node.
pub fn init_page(page: &mut [u8], level: u8) {
    let len = page.len() as u16;
    put(page, 0, &[level, 0, 0, 0]);
    put16(page, 4, len);
    put16(page, 6, 0);
}

/// The page of a block.
pub fn page(b: &[u8]) -> &[u8] {
    b.get(HEADER..).unwrap_or(&[])
}

/// The page of a block, to be changed.
pub fn page_mut(b: &mut [u8]) -> &mut [u8] {
    b.get_mut(HEADER..).unwrap_or(&mut [])
}

/// A node to be read.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    page: &'a [u8],
    count: usize,
    heap: usize,
}

impl<'a> Node<'a> {
    /// Checks the page's header.
    pub fn open(page: &'a [u8]) -> Result<Self, Bad> {
        let count = usize::from(le16(page, 2));
        let heap = usize::from(le16(page, 4));
        if page.len() < PAGE_HEADER
            || heap > page.len()
            || PAGE_HEADER + count * SLOT > heap
            || page.len() > usize::from(u16::MAX)
        {
            return Err(Bad);
        }
        Ok(Node { page, count, heap })
    }

    /// Levels below it.
    pub fn level(&self) -> u8 {
        self.page.first().copied().unwrap_or(0)
    }

    /// Its bytes.
    pub fn page(&self) -> &'a [u8] {
        self.page
    }

    /// Its entries.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes for new slots and values.
    pub fn free(&self) -> usize {
        self.heap - PAGE_HEADER - self.count * SLOT
    }

    /// Bytes of slots and values.
    pub fn used(&self) -> usize {
        self.page.len() - PAGE_HEADER - self.free()
    }

    /// Whether an entry with a value of `len` bytes fits.
    pub fn fits(&self, len: usize) -> bool {
        SLOT + len <= self.free()
    }

    /// The key of entry `i`, which must be below the count.
    pub fn key(&self, i: usize) -> u128 {
        le128(self.page, PAGE_HEADER + i * SLOT)
    }

    fn place(&self, i: usize) -> Result<(usize, usize), Bad> {
        if i >= self.count {
            return Err(Bad);
        }
        let slot = PAGE_HEADER + i * SLOT;
        let off = usize::from(le16(self.page, slot + 16));
        let len = usize::from(le16(self.page, slot + 18));
        if len == 0 {
            return Ok((self.page.len(), 0));
        }
        if off < self.heap || off + len > self.page.len() {
            return Err(Bad);
        }
        Ok((off, len))
    }

    /// The value of entry `i`.
    pub fn value(&self, i: usize) -> Result<&'a [u8], Bad> {
        let (off, len) = self.place(i)?;
        self.page.get(off..off + len).ok_or(Bad)
    }

    /// The block that entry `i` of an interior node leads to.
    pub fn child(&self, i: usize) -> Result<u64, Bad> {
        let value = self.value(i)?;
        if value.len() != 8 {
            return Err(Bad);
        }
        Ok(le64(value, 0))
    }

    /// The first entry whose key is at least `key`.
    pub fn lower_bound(&self, key: u128) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let mid = (low + high) / 2;
            if self.key(mid) < key {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        low
    }

    /// The entry of a key.
    pub fn find(&self, key: u128) -> Option<usize> {
        if self.count == 0 {
            return None;
        }
        // Keys are often numbers in a row: then the place is known, and only it is looked at.
        let from_first = key.wrapping_sub(self.key(0));
        let guess = usize::try_from(from_first).unwrap_or(usize::MAX);
        if guess < self.count && self.key(guess) == key {
            return Some(guess);
        }
        let i = self.lower_bound(key);
        (i < self.count && self.key(i) == key).then_some(i)
    }

    /// The entry of an interior node below which `key` belongs.
    pub fn child_index(&self, key: u128) -> usize {
        let i = self.lower_bound(key);
        if i < self.count && self.key(i) == key {
            i
        } else {
            i.saturating_sub(1)
        }
    }

    /// Checks all of the page: before it is taken apart, and in fsck.
    pub fn check(&self) -> Result<(), Bad> {
        let mut values = 0;
        for i in 0..self.count {
            let (_, len) = self.place(i)?;
            values += len;
            let sorted = i == 0 || self.key(i - 1) < self.key(i);
            if !sorted || (self.level() > 0 && len != 8) || len > super::MAX_VALUE {
                return Err(Bad);
            }
        }
        if values != self.page.len() - self.heap {
            return Err(Bad);
        }
        Ok(())
    }
}

/// A node to be changed.
pub struct NodeMut<'a> {
    page: &'a mut [u8],
}

impl<'a> NodeMut<'a> {
    /// Checks the page's header.
    pub fn open(page: &'a mut [u8]) -> Result<Self, Bad> {
        Node::open(page)?;
        Ok(NodeMut { page })
    }

    /// The node to be read.
    pub fn node(&self) -> Node<'_> {
        Node {
            page: self.page,
            count: usize::from(le16(self.page, 2)),
            heap: usize::from(le16(self.page, 4)),
        }
    }

    /// Makes it an empty node.
    pub fn reset(&mut self, level: u8) {
        init_page(self.page, level);
    }

    fn set_counts(&mut self, count: usize, heap: usize) {
        put16(self.page, 2, count as u16);
        put16(self.page, 4, heap as u16);
    }

    /// Inserts an entry before entry `i`.
    pub fn insert(&mut self, i: usize, key: u128, value: &[u8]) -> Result<(), Bad> {
        let node = self.node();
        let (count, heap) = (node.count, node.heap);
        if i > count || !node.fits(value.len()) {
            return Err(Bad);
        }
        let off = heap - value.len();
        put(self.page, off, value);
        let slot = PAGE_HEADER + i * SLOT;
        self.page
            .copy_within(slot..PAGE_HEADER + count * SLOT, slot + SLOT);
        put128(self.page, slot, key);
        put16(self.page, slot + 16, off as u16);
        put16(self.page, slot + 18, value.len() as u16);
        self.set_counts(count + 1, off);
        Ok(())
    }

    /// Removes entry `i` and closes the gap it leaves.
    pub fn remove(&mut self, i: usize) -> Result<(), Bad> {
        let node = self.node();
        let (count, heap) = (node.count, node.heap);
        let (off, len) = node.place(i)?;
        // The values that lie below move up, unless this is the lowest: so it is
        // when the last entries of a node that grew in order are removed in turn.
        if len != 0 && off != heap {
            self.page.copy_within(heap..off, heap + len);
            for j in 0..count {
                let at = PAGE_HEADER + j * SLOT + 16;
                let other = usize::from(le16(self.page, at));
                if other < off && le16(self.page, at + 2) != 0 {
                    put16(self.page, at, (other + len) as u16);
                }
            }
        }
        let slot = PAGE_HEADER + i * SLOT;
        self.page
            .copy_within(slot + SLOT..PAGE_HEADER + count * SLOT, slot);
        self.set_counts(count - 1, heap + len);
        Ok(())
    }

    /// Removes entry `i` of an interior node. The first entry's key is the lower bound
    /// of all that belongs below the node; the entry that becomes the first inherits it.
    pub fn remove_child(&mut self, i: usize) -> Result<(), Bad> {
        let first = self.node().key(0);
        self.remove(i)?;
        if i == 0 && self.node().count > 0 {
            self.set_key(0, first);
        }
        Ok(())
    }

    /// Changes the key of entry `i`.
    pub fn set_key(&mut self, i: usize, key: u128) {
        put128(self.page, PAGE_HEADER + i * SLOT, key);
    }

    /// The value of entry `i`, to be changed in place.
    pub fn value_mut(&mut self, i: usize) -> Result<&mut [u8], Bad> {
        let (off, len) = self.node().place(i)?;
        self.page.get_mut(off..off + len).ok_or(Bad)
    }

    /// Moves all entries from `from` on behind the last of `to`.
    pub fn move_tail(&mut self, from: usize, to: &mut NodeMut<'_>) -> Result<(), Bad> {
        let count = self.node().count;
        for i in from..count {
            let node = self.node();
            to.insert(to.node().count, node.key(i), node.value(i)?)?;
        }
        if from == 0 {
            let level = self.node().level();
            self.reset(level);
            return Ok(());
        }
        for i in (from..count).rev() {
            self.remove(i)?;
        }
        Ok(())
    }

    /// Inserts an entry for which there is no room: moves the upper entries to `right`,
    /// which is empty, so that both halves hold about as much.
    pub fn split_insert(
        &mut self,
        right: &mut NodeMut<'_>,
        i: usize,
        key: u128,
        value: &[u8],
    ) -> Result<(), Bad> {
        let node = self.node();
        let count = node.count;
        if i > count || count == 0 {
            return Err(Bad);
        }
        // Keys that come in order fill nodes: what is left behind gets no more.
        if i == count {
            return right.insert(0, key, value);
        }
        // `keep` entries of the sequence with the new one in it stay: the fewest
        // that make up half of the bytes.
        let total = node.used() + SLOT + value.len();
        let mut keep = 0;
        let mut bytes = 0;
        while keep < count && bytes < total / 2 {
            bytes += SLOT
                + match keep.cmp(&i) {
                    core::cmp::Ordering::Less => node.place(keep)?.1,
                    core::cmp::Ordering::Equal => value.len(),
                    core::cmp::Ordering::Greater => node.place(keep - 1)?.1,
                };
            keep += 1;
        }
        let keep = keep.max(1);
        if i < keep {
            self.move_tail(keep - 1, right)?;
            self.insert(i, key, value)
        } else {
            self.move_tail(keep, right)?;
            right.insert(i - keep, key, value)
        }
    }
}
