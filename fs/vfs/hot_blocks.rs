// SPDX-License-Identifier: GPL-2.0

//! Metadata blocks that most searches go through.
//!
//! The kernel finds a block of the device by its last sixteen ones, or else in a tree as large as
//! what is cached of the device: that takes as long as the search inside of the block. Interior
//! nodes of trees are few, and each leads to a hundred leaves, so some are held here, as other file
//! systems hold their group descriptors.

use super::{buffer::Block, sync::SpinLock};
use kernel::prelude::*;

/// Blocks that are held at most; a power of two. They stay in memory, 256 KiB for a mount.
const SLOTS: usize = 64;

/// Blocks by number: each has one slot where it may be.
pub(super) struct HotBlocks(KVec<SpinLock<Option<Block>>>);

impl HotBlocks {
    /// Holds none yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        let mut slots = KVec::with_capacity(SLOTS, GFP_KERNEL)?;
        for _ in 0..SLOTS {
            slots.push(SpinLock::new(None)?, GFP_KERNEL)?;
        }
        Ok(HotBlocks(slots))
    }

    fn slot(&self, bno: u64) -> Option<&SpinLock<Option<Block>>> {
        self.0.get(bno as usize % SLOTS)
    }

    /// The block, if it is held and what the medium has, or something newer.
    pub(super) fn get(&self, bno: u64) -> Option<Block> {
        let held = self.slot(bno)?.lock();
        let block = held.as_ref().filter(|block| block.number() == bno)?;
        block.is_read().then(|| block.clone())
    }

    /// Holds a block, in the place of another.
    pub(super) fn hold(&self, block: &Block) {
        if let Some(slot) = self.slot(block.number()) {
            let old = slot.lock().replace(block.clone());
            drop(old);
        }
    }

    /// Lets a block go that is no metadata any more.
    pub(super) fn forget(&self, bno: u64) {
        if let Some(slot) = self.slot(bno) {
            let mut held = slot.lock();
            if held.as_ref().is_some_and(|block| block.number() == bno) {
                *held = None;
            }
        }
    }
}
