// SPDX-License-Identifier: GPL-2.0

//! Pages in memory.

use core::cell::Cell;
use core::ptr::NonNull;
use kernel::prelude::*;
use nix::sys::mman::{madvise, mmap_anonymous, munmap, MapFlags, MmapAdvise, ProtFlags};
use std::num::NonZeroUsize;
use vexfs::libvexfs::vector::index::{Pages, Shape};

/// The regions of a graph, in one piece of anonymous memory.
pub struct Memory {
    shape: Shape,
    base: NonNull<u8>,
    length: NonZeroUsize,
    slots: u32,
    /// Whether a region was verified, as it is once after a read from a medium.
    verified: Vec<Cell<bool>>,
}

/// A region: where it begins.
#[derive(Clone, Copy)]
pub struct Region(NonNull<u8>);

impl Region {
    /// The address of its first byte. The region lives as long as the [`Memory`] it is of.
    pub(crate) fn address(self) -> *const u8 {
        self.0.as_ptr()
    }
}

impl Memory {
    /// Room for so many slots; it takes memory when it is written to.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(shape: &Shape, slots: u32) -> Result<Memory> {
        // Whole pages, though the last one may have room for more.
        let length = (shape.offset(slots) as usize + shape.stored()).next_multiple_of(4096);
        let length = NonZeroUsize::new(length).ok_or(EINVAL)?;
        let (prot, flags) = (
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE,
        );
        // SAFETY: A new anonymous mapping touches nobody else's memory.
        let base = unsafe { mmap_anonymous(None, length, prot, flags) }.map_err(|_| ENOMEM)?;
        // SAFETY: The mapping is ours. The kernel's own memory has large pages too; without them it
        // is slower, no more.
        let _ = unsafe { madvise(base, length.get(), MmapAdvise::MADV_HUGEPAGE) };
        Ok(Memory {
            shape: *shape,
            base: base.cast(),
            length,
            slots,
            verified: vec![Cell::new(false); slots as usize],
        })
    }

    fn at(&self, slot: u32) -> Option<Region> {
        if slot >= self.slots {
            return None;
        }
        // SAFETY: The mapping reaches to the end of the last slot's region.
        Some(Region(unsafe {
            self.base.add(self.shape.offset(slot) as usize)
        }))
    }

    /// How many slots there is room for.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Puts bytes that were read from a medium in; their slots will be verified.
    pub(crate) fn fill(&self, offset: u64, bytes: &[u8]) {
        let n = self.within(offset, bytes.len());
        // SAFETY: So many bytes from there on lie in the mapping; `Memory` is not shared between
        // threads, and nobody gets a slice of it that lasts.
        unsafe {
            let to = self.base.as_ptr().add(offset as usize);
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, n);
        }
        for slot in self.shape.slots_at(offset, offset + n as u64) {
            if let Some(verified) = self.verified.get(slot as usize) {
                verified.set(false);
            }
        }
    }

    /// Copies bytes out that are to be written to a medium.
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) {
        let n = self.within(offset, bytes.len());
        // SAFETY: As in `fill`.
        unsafe {
            let from = self.base.as_ptr().add(offset as usize);
            core::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), n);
        }
    }

    /// How many of `len` bytes from `offset` on there are.
    fn within(&self, offset: u64, len: usize) -> usize {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.length.get().checked_sub(offset);
        rest.map_or(0, |rest| rest.min(len))
    }

    /// Replaces a region behind the graph's back, as a power cut might: it will be verified when it is
    /// read.
    pub fn overwrite(&self, slot: u32, bytes: &[u8]) {
        if self.write(slot, bytes).is_ok() {
            self.verified[slot as usize].set(false);
        }
    }

    /// Changes bytes behind the graph's back, as a medium might: the region will be verified again
    /// when it is read.
    pub fn damage(&mut self, slot: u32, change: impl FnOnce(&mut [u8])) {
        if let Some(region) = self.at(slot) {
            // SAFETY: The region is ours alone: `&mut self`.
            change(unsafe {
                core::slice::from_raw_parts_mut(region.0.as_ptr(), self.shape.stored())
            });
            self.verified[slot as usize].set(false);
        }
    }

    /// The same, but nobody verifies: what a search does with bytes that were changed after that.
    pub fn damage_unseen(&mut self, slot: u32, change: impl FnOnce(&mut [u8])) {
        let before = self.verified.get(slot as usize).map(Cell::get);
        self.damage(slot, change);
        if let Some(before) = before {
            self.verified[slot as usize].set(before);
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: The mapping was made in `new` and nothing refers to it any more.
        let _ = unsafe { munmap(self.base.cast(), self.length.get()) };
    }
}

impl Pages for Memory {
    type Block = Region;

    fn block(&self, slot: u32) -> Result<Option<Region>> {
        let Some(region) = self.at(slot) else {
            return Ok(None);
        };
        if !self.verified[slot as usize].get() {
            // SAFETY: `Memory` is not shared between threads; the slice ends here.
            let stored =
                unsafe { core::slice::from_raw_parts(region.address(), self.shape.stored()) };
            if !self.shape.verify(slot, stored) {
                return Ok(None);
            }
            self.verified[slot as usize].set(true);
        }
        Ok(Some(region))
    }

    fn prefetch(&self, slot: u32) {
        use core::arch::x86_64::{_mm_prefetch, _MM_HINT_T1};
        if let Some(region) = self.at(slot) {
            // The second cache has more room for what is on its way than the first one.
            for line in (0..self.shape.ahead()).step_by(64) {
                // SAFETY: A prefetch may be of any address.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(region.address().add(line).cast()) };
            }
        }
    }

    fn copy(&self, block: &Region, at: usize, to: &mut [u8]) {
        let whole = self.shape.stored();
        let n = whole.saturating_sub(at).min(to.len());
        let (from, rest) = to.split_at_mut(n);
        // SAFETY: `n` bytes from `at` on lie in the region.
        unsafe {
            core::ptr::copy_nonoverlapping(block.address().add(at.min(whole)), from.as_mut_ptr(), n)
        };
        rest.fill(0);
    }

    fn write(&self, slot: u32, stored: &[u8]) -> Result {
        let region = self.at(slot).ok_or(ENOSPC)?;
        if stored.len() != self.shape.stored() {
            return Err(EINVAL);
        }
        // SAFETY: The region has that length, `Memory` is not shared between threads, and `stored`
        // is no part of it: nobody gets a slice of it that lasts.
        unsafe { core::ptr::copy_nonoverlapping(stored.as_ptr(), region.0.as_ptr(), stored.len()) };
        // An empty region is verified when it is read, and found to be none.
        self.verified[slot as usize].set(stored.iter().take(16).any(|b| *b != 0));
        Ok(())
    }
}
