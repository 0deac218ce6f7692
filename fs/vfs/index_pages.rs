// SPDX-License-Identifier: GPL-2.0

//! The pages of an index: the page cache of its inode.
//!
//! Nodes are read while one task writes them. It does so under the folio's lock, and with an odd
//! sequence in the node meanwhile; who reads takes no lock, looks at the sequence before and
//! after, and does not believe what changed in between.
//!
//! Checksums are verified once after each read from the medium, by whoever comes first: it locks
//! the folio, takes away what is damaged, and marks the folio. A mark goes with the folio, so
//! what comes back from the medium is verified again.

use core::cell::Cell;
use core::sync::atomic::{fence, AtomicU32, Ordering};

use kernel::prelude::*;

use super::bindings;
use super::folio::FolioRef;
use super::internal_file::InternalFile;
use crate::libvexfs::errno::estale;
use crate::libvexfs::vector::index::node::{PAGE, SEQUENCE};
use crate::libvexfs::vector::index::{Pages, Shape};

/// A part of a node's memory: from a byte of a folio to its end.
struct Part {
    folio: FolioRef,
    at: usize,
}

impl Part {
    fn len(&self) -> usize {
        self.folio.len().saturating_sub(self.at)
    }
}

/// The memory of a node.
pub(crate) struct Region {
    first: Part,
    /// What is not in the first folio: of nodes with several pages only.
    rest: KVec<Part>,
}

impl Region {
    /// Where its image is, if that lies in one piece.
    pub(super) fn image(&self, shape: &Shape) -> Option<*const u8> {
        if shape.pages() != 1 || shape.image() > self.first.len() {
            return None;
        }
        // SAFETY: The offset lies in the folio.
        Some(unsafe { self.first.folio.address().add(self.first.at) })
    }

    /// Copies bytes out, from byte `at` on.
    fn copy(&self, at: usize, to: &mut [u8]) {
        let mut done = 0;
        let mut start = 0;
        for part in Iterator::chain(core::iter::once(&self.first), self.rest.iter()) {
            let end = start + part.len();
            while done < to.len() && at + done < end {
                // Page by page: each has a sequence of its own.
                let from = at + done;
                let n = (PAGE - from % PAGE).min(to.len() - done).min(end - from);
                let piece = to.get_mut(done..done + n).unwrap_or(&mut []);
                copy_page(&part.folio, part.at + from - start, from % PAGE, piece);
                done += n;
            }
            start = end;
        }
        to.get_mut(done..).unwrap_or(&mut []).fill(0);
    }
}

/// Copies bytes of a page of a node, those from byte `within` of it on, out of a folio. If the
/// page is being written, and its header is among them, the copy says so by an odd sequence.
fn copy_page(folio: &FolioRef, at: usize, within: usize, to: &mut [u8]) {
    if at + to.len() > folio.len() {
        return to.fill(0);
    }
    let sequence = (within == 0 && to.len() >= SEQUENCE + 4).then(|| {
        // SAFETY: The word lies in the folio, which is in the direct map; all who write to it while
        // it is shared write words like this one. Pages and regions are aligned to 64 bytes.
        unsafe { AtomicU32::from_ptr(folio.address().add(at + SEQUENCE).cast_mut().cast()) }
    });
    let before = sequence.map(|s| s.load(Ordering::Acquire));
    // SAFETY: The bytes lie in the folio. Others may write to them: it is a copy of raw memory.
    unsafe {
        let from = folio.address().add(at);
        bindings::vexfs_helper_copy(to.as_mut_ptr().cast(), from.cast(), to.len());
    }
    fence(Ordering::Acquire);
    let after = sequence.map(|s| s.load(Ordering::Relaxed));
    if before != after {
        if let Some(low) = to.get_mut(SEQUENCE) {
            *low |= 1;
        }
    }
}

/// Writes a page of a node, or a whole node that is smaller, over an old one that others may be
/// reading.
///
/// # Safety
///
/// `to` is valid for writes of so many bytes, more than [`SEQUENCE`] + 4, aligned to 4; the folio
/// there is locked.
unsafe fn publish_page(to: *mut u8, bytes: &[u8]) {
    let (head, tail) = (bytes.get(..SEQUENCE), bytes.get(SEQUENCE + 4..));
    let word = bytes
        .get(SEQUENCE..SEQUENCE + 4)
        .and_then(|w| w.try_into().ok());
    let (Some(head), Some(tail), Some(word)) = (head, tail, word) else {
        return;
    };
    let new = u32::from_ne_bytes(word);
    // SAFETY: The caller's promise; readers cope with the bytes changing.
    unsafe {
        let sequence = AtomicU32::from_ptr(to.add(SEQUENCE).cast());
        sequence.store(sequence.load(Ordering::Relaxed) | 1, Ordering::Relaxed);
        fence(Ordering::Release);
        bindings::vexfs_helper_copy(to.cast(), head.as_ptr().cast(), head.len());
        bindings::vexfs_helper_copy(
            to.add(SEQUENCE + 4).cast(),
            tail.as_ptr().cast(),
            tail.len(),
        );
        sequence.store(new, Ordering::Release);
    }
}

/// Writes pages of nodes; see [`publish_page`].
///
/// # Safety
///
/// As there, for each page.
pub(super) unsafe fn publish(to: *mut u8, bytes: &[u8]) {
    for (i, page) in bytes.chunks(PAGE).enumerate() {
        // SAFETY: The caller's promise.
        unsafe { publish_page(to.add(i * PAGE), page) };
    }
}

/// What a search or a change counts of the pages that it came by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PageCounts {
    /// Nodes looked at.
    pub(crate) read: u64,
    /// Of those, how many were not in the page cache, or not looked at since they came there.
    pub(crate) missed: u64,
    /// Pages or regions whose checksum was wrong.
    pub(crate) damaged: u64,
}

/// The pages of an index, for one task.
pub(crate) struct IndexPages<'a> {
    file: &'a InternalFile,
    shape: Shape,
    read: Cell<u64>,
    missed: Cell<u64>,
    damaged: Cell<u64>,
    /// Is told of bytes that are going to be written.
    note: Option<&'a Note<'a>>,
}

/// Who is told of so many bytes at a place that are going to be written.
pub(crate) type Note<'a> = dyn Fn(u64, u64) -> Result + 'a;

impl<'a> IndexPages<'a> {
    /// The pages in `file`.
    pub(crate) fn new(file: &'a InternalFile, shape: &Shape) -> Self {
        IndexPages {
            file,
            shape: *shape,
            read: Cell::new(0),
            missed: Cell::new(0),
            damaged: Cell::new(0),
            note: None,
        }
    }

    /// Has `note` told of what is going to be written.
    pub(crate) fn note_writes(&mut self, note: &'a Note<'a>) {
        self.note = Some(note);
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> PageCounts {
        PageCounts {
            read: self.read.get(),
            missed: self.missed.get(),
            damaged: self.damaged.get(),
        }
    }

    /// What there is of a folio from byte `pos` on, verified.
    fn part(&self, pos: u64) -> Result<Option<Part>> {
        Ok(self.folio(pos)?.map(|folio| Part {
            at: (pos - folio.pos()) as usize,
            folio,
        }))
    }

    /// The folio at byte `pos`, verified.
    fn folio(&self, pos: u64) -> Result<Option<FolioRef>> {
        if let Some(folio) = self.file.checked_folio(pos) {
            return Ok(Some(folio));
        }
        self.missed.set(self.missed.get() + 1);
        let folio = match self.file.folio(pos) {
            Ok(folio) => folio,
            Err(e) if e == EINTR || e == ENOMEM => return Err(e),
            // Behind the end, or not to be read: such a node is not there.
            Err(e) => {
                if e != estale() {
                    self.damaged.set(self.damaged.get() + 1);
                }
                return Ok(None);
            }
        };
        if !folio.checked() {
            let start = folio.pos();
            let damaged = folio.locked(|bytes| {
                // Somebody else may have been first, and nodes may have been written since.
                if folio.checked() {
                    return Ok(0);
                }
                let damaged = self.shape.cleanse(start, bytes);
                folio.set_checked();
                Ok(damaged)
            })?;
            self.damaged.set(self.damaged.get() + damaged as u64);
        }
        Ok(Some(folio))
    }
}

impl Pages for IndexPages<'_> {
    type Block = Region;

    fn block(&self, slot: u32) -> Result<Option<Region>> {
        self.read.set(self.read.get() + 1);
        let pos = self.shape.offset(slot);
        let Some(first) = self.part(pos)? else {
            return Ok(None);
        };
        let mut have = first.len();
        let mut rest = KVec::new();
        while have < self.shape.stored() {
            let Some(part) = self.part(pos + have as u64)? else {
                return Ok(None);
            };
            have += part.len();
            rest.push(part, GFP_KERNEL)?;
        }
        Ok(Some(Region { first, rest }))
    }

    fn prefetch(&self, slot: u32) {
        let (pos, length) = (self.shape.offset(slot), self.shape.ahead());
        self.file.prefetch(pos, length);
    }

    fn prefetch_some(&self, slots: &[u32], later: &[u32]) {
        // To find a page means to wait for memory, if it was not said before that it is looked for.
        let several = if slots.len() > 1 { slots } else { &[] };
        for slot in Iterator::chain(several.iter(), later) {
            self.file.prefetch_entry(self.shape.offset(*slot));
        }
        for slot in slots {
            self.prefetch(*slot);
        }
    }

    fn copy(&self, block: &Region, at: usize, to: &mut [u8]) {
        block.copy(at, to);
    }

    fn write(&self, slot: u32, stored: &[u8]) -> Result {
        if stored.len() != self.shape.stored() {
            return Err(EINVAL);
        }
        let pos = self.shape.offset(slot);
        // What is not verified yet must be before it is changed, or it never is.
        let mut at = pos;
        while at < pos + stored.len() as u64 {
            match self.folio(at)? {
                Some(folio) => at = folio.pos() + folio.len() as u64,
                None => at = (at | (PAGE as u64 - 1)) + 1,
            }
        }
        if let Some(note) = self.note {
            note(pos, stored.len() as u64)?;
        }
        self.file.publish_at(pos, stored)
    }
}
