// SPDX-License-Identifier: GPL-2.0

//! The pages of an index in an image: read when they are wanted, kept in memory, written by a
//! checkpoint.

use super::Image;
use crate::memory::{Memory, Region};
use core::cell::{Cell, RefCell};
use kernel::prelude::*;
use std::collections::BTreeSet;
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::vector::index::intent::Intents;
use vexfs::libvexfs::vector::index::log::INTENT_CREDITS;
use vexfs::libvexfs::vector::index::node::PAGE;
use vexfs::libvexfs::vector::index::{Pages, Shape};
use vexfs::libvexfs::vector::Collection;
use vexfs::libvexfs::Inode;

/// Pages that one write takes at most.
const RUN: usize = 256;

/// The pages of an index's inode. A *unit* is what is read and written at once: the pages of a node,
/// or the page that several nodes share.
pub struct ImagePages<'a, D: Disk> {
    image: &'a Image<D>,
    collection: Collection,
    shape: Shape,
    /// The inode that has the nodes.
    inode: RefCell<Inode>,
    memory: Memory,
    present: Vec<Cell<bool>>,
    dirty: RefCell<BTreeSet<u64>>,
    intents: RefCell<Intents>,
    /// Units that were read from the image.
    reads: Cell<u64>,
}

impl<'a, D: Disk> ImagePages<'a, D> {
    /// For so many slots at most.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what the disk returns.
    pub fn new(
        image: &'a Image<D>,
        collection: &Collection,
        shape: &Shape,
        ino: u64,
        slots: u32,
    ) -> Result<Self> {
        let inode = image.fs.read_inode(ino)?;
        let owner = image.fs.read_inode(collection.ino)?;
        let units = slots as usize / shape.per_page() + 1;
        Ok(ImagePages {
            image,
            collection: *collection,
            shape: *shape,
            inode: RefCell::new(inode),
            memory: Memory::new(shape, slots)?,
            present: vec![Cell::new(false); units],
            dirty: RefCell::default(),
            intents: RefCell::new(Intents::load(&image.fs, &owner)?),
            reads: Cell::new(0),
        })
    }

    /// Bytes of a unit.
    fn unit_size(&self) -> usize {
        self.shape.pages() * PAGE
    }

    fn unit_of(&self, slot: u32) -> u64 {
        u64::from(slot) / self.shape.per_page() as u64
    }

    /// Slots that there is room for.
    pub fn slots(&self) -> u32 {
        self.memory.slots()
    }

    /// Brings a unit into memory.
    fn load(&self, unit: u64) -> Result {
        let Some(present) = self.present.get(unit as usize) else {
            return Err(ENOSPC);
        };
        if present.get() {
            return Ok(());
        }
        let mut bytes = vec![0; self.unit_size()];
        let offset = unit * bytes.len() as u64;
        if offset < self.inode.borrow().size {
            let lblk = offset / PAGE as u64;
            self.image
                .read_blocks(&self.inode.borrow(), lblk, &mut bytes)?;
            self.reads.set(self.reads.get() + 1);
        }
        self.memory.fill(offset, &bytes);
        present.set(true);
        Ok(())
    }

    /// Units that were read from the image since it was opened.
    pub fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Forgets what was read, as if memory had been wanted for something else. What was not written
    /// yet stays.
    pub fn forget(&self) {
        let dirty = self.dirty.borrow();
        for (unit, present) in self.present.iter().enumerate() {
            present.set(present.get() && dirty.contains(&(unit as u64)));
        }
    }

    /// Notes what is about to be written, durably.
    fn intend(&self, slot: u32) -> Result {
        let (offset, len) = (self.shape.offset(slot), self.shape.stored() as u64);
        let wanted = self.intents.borrow().wanted(offset, len);
        let Some(range) = wanted else {
            return Ok(());
        };
        let mut owner = self.image.fs.read_inode(self.collection.ino)?;
        let mut at = range.start;
        while at < range.end {
            at += self.image.change(INTENT_CREDITS, |fs, t| {
                fs.set_intents(t, &mut owner, at, range.end - at)
            })?;
        }
        self.image.commit()?;
        self.intents.borrow_mut().note(range)
    }

    /// Writes what is dirty, some of it if `some` says which units.
    ///
    /// # Errors
    ///
    /// What the disk returns; it is dirty still then.
    pub fn write_back(&self, mut some: impl FnMut(u64) -> bool) -> Result {
        let units: Vec<u64> = self.dirty.borrow().iter().copied().collect();
        let units: Vec<u64> = units.into_iter().filter(|unit| some(*unit)).collect();
        let size = self.unit_size();
        let mut from = 0;
        while from < units.len() {
            let mut end = from + 1;
            while end < units.len() && units[end] == units[end - 1] + 1 && end - from < RUN {
                end += 1;
            }
            let mut bytes = vec![0; (end - from) * size];
            let offset = units[from] * size as u64;
            self.memory.read(offset, &mut bytes);
            let ino = self.inode.borrow().ino;
            let until = offset + bytes.len() as u64;
            self.image
                .write_blocks(ino, offset / PAGE as u64, &bytes, until)?;
            for unit in &units[from..end] {
                self.dirty.borrow_mut().remove(unit);
            }
            from = end;
        }
        let ino = self.inode.borrow().ino;
        *self.inode.borrow_mut() = self.image.fs.read_inode(ino)?;
        Ok(())
    }

    /// What may be torn.
    pub(super) fn intents(&self) -> &RefCell<Intents> {
        &self.intents
    }
}

impl<D: Disk> Pages for ImagePages<'_, D> {
    type Block = Region;

    fn block(&self, slot: u32) -> Result<Option<Region>> {
        if slot >= self.memory.slots() {
            return Ok(None);
        }
        self.load(self.unit_of(slot))?;
        self.memory.block(slot)
    }

    fn prefetch(&self, slot: u32) {
        if self
            .present
            .get(self.unit_of(slot) as usize)
            .is_some_and(Cell::get)
        {
            self.memory.prefetch(slot);
        }
    }

    fn copy(&self, block: &Region, at: usize, to: &mut [u8]) {
        self.memory.copy(block, at, to);
    }

    fn write(&self, slot: u32, stored: &[u8]) -> Result {
        let unit = self.unit_of(slot);
        self.load(unit)?;
        self.intend(slot)?;
        self.memory.write(slot, stored)?;
        self.dirty.borrow_mut().insert(unit);
        Ok(())
    }
}
