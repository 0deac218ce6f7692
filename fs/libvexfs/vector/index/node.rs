// SPDX-License-Identifier: GPL-2.0

//! Nodes: what the bytes of a graph's pages mean.
//!
//! An *image* is a node in one piece:
//!
//! | at | |
//! |---|---|
//! | 0 | CRC32C of all that follows, seeded with the collection's seed |
//! | 4, 8 | collection, build |
//! | 12, 16 | slot, generation of the record |
//! | 20 | sequence, odd while the node is being written |
//! | 24, 26 | neighbours in use, number of the page (u16) |
//! | 28 | which neighbours are spare: others hide them |
//! | 32 | what the vector is multiplied by (f32); with the inner product its squared norm |
//! | 64 | 32 slots of neighbours |
//! | 192 | 32 squared lengths of edges (f32) |
//! | 320, 448 | 32 factors A, 32 factors B (f32) |
//! | 576 | codes: for each plane of bits, for each four rotated dimensions, 16 bytes: neighbour `j` in the low half of byte `j`, neighbour `j + 16` in the high half |
//! | then | the vector in the collection's type, filled up with zeroes to a multiple of 8 |
//!
//! Everything is little endian. Small nodes share a page. A node that does not fit into one
//! has several: the image's first page, then pages that begin with a copy of the header,
//! with their own number and checksum, and go on with the image behind it. They are valid
//! only together.

use crate::crc32c::crc32c;
use crate::libvexfs::format::{le16, le32, put, put16, put32};
use crate::libvexfs::vector::room::zeroes;
use crate::libvexfs::vector::{Element, Metric};
use kernel::prelude::*;

/// Neighbours of a node at most.
pub const DEGREE: usize = 32;
/// Bytes of a page.
pub const PAGE: usize = 4096;

/// Bytes of a page's header.
pub const HEADER: usize = 64;
/// Where the sequence is in a header, a word of four bytes.
pub const SEQUENCE: usize = 20;
const SLOTS: usize = 64;
const LENGTHS: usize = 192;
const A: usize = 320;
const B: usize = 448;
const CODES: usize = 576;

/// What nodes of a graph look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The collection.
    pub collection: u32,
    /// Number of the build: nodes of an earlier one are none.
    pub build: u32,
    /// Checksums begin with this.
    pub seed: u32,
    /// Elements of a vector.
    pub dim: u32,
    /// Type of the elements.
    pub element: Element,
    /// How vectors are compared.
    pub metric: Metric,
    /// Bits of a code for each rotated dimension.
    pub bits: u32,
    /// Pages of a node.
    pub pages: u32,
    /// Nodes of a page.
    pub per_page: u32,
    /// Bytes of a node's region.
    pub stored: u32,
}

impl Shape {
    /// The shape of the nodes of a collection. Codes have two bits where they fit into a page;
    /// of bits they are the neighbours themselves.
    pub fn new(
        collection: u32,
        build: u32,
        seed: u32,
        dim: u32,
        element: Element,
        metric: Metric,
    ) -> Shape {
        let mut shape = Shape {
            collection,
            build,
            seed,
            dim,
            element,
            metric,
            bits: 2,
            pages: 1,
            per_page: 1,
            stored: 0,
        };
        if element == Element::Binary || shape.image() > PAGE {
            shape.bits = 1;
        }
        shape.lay_out();
        shape
    }

    /// The same with codes of so many bits.
    pub fn with_bits(mut self, bits: u32) -> Shape {
        self.bits = bits;
        self.lay_out();
        self
    }

    /// Finds out where regions are.
    fn lay_out(&mut self) {
        let shape = &*self;
        // Divisions that a search would make for each node.
        let image = shape.image();
        let pages = 1 + image.saturating_sub(PAGE).div_ceil(PAGE - HEADER);
        let aligned = image.next_multiple_of(HEADER);
        let per_page = PAGE.checked_div(aligned).unwrap_or(0).max(1);
        let stored = match pages {
            1 => PAGE.checked_div(per_page).unwrap_or(PAGE) & !(HEADER - 1),
            n => n * PAGE,
        };
        (self.pages, self.per_page, self.stored) = (pages as u32, per_page as u32, stored as u32);
    }

    /// Elements of a prepared vector.
    pub fn prepared(&self) -> usize {
        let filled_up = (self.dim as usize).next_multiple_of(8);
        // Inner products are compared as distances, in one coordinate more.
        match self.metric {
            Metric::Ip => filled_up + 8,
            _ => filled_up,
        }
    }

    /// Elements of a rotated vector.
    pub fn padded(&self) -> usize {
        self.prepared().next_multiple_of(64)
    }

    /// Bytes of a stored vector.
    pub fn vector(&self) -> usize {
        self.element.bytes(self.dim) as usize
    }

    /// Bytes of one plane of one code.
    fn plane(&self) -> usize {
        self.padded() / 8
    }

    /// Bytes of a code.
    pub fn code(&self) -> usize {
        self.plane() * self.bits as usize
    }

    fn vector_at(&self) -> usize {
        CODES + DEGREE * self.code()
    }

    /// Bytes at the front of a region that are worth fetching ahead of an expansion: it begins with the
    /// codes, and fetches the vector while it looks these up.
    pub fn ahead(&self) -> usize {
        match self.pages() {
            1 => self.vector_at(),
            _ => self.stored(),
        }
    }

    /// Bytes of an image.
    pub fn image(&self) -> usize {
        let filled_up = self.dim.next_multiple_of(8);
        self.vector_at() + self.element.bytes(filled_up) as usize
    }

    /// Pages of a node; 1 if several nodes share one.
    pub fn pages(&self) -> usize {
        self.pages as usize
    }

    /// Nodes of a page.
    pub fn per_page(&self) -> usize {
        self.per_page as usize
    }

    /// Bytes of a node's region.
    pub fn stored(&self) -> usize {
        self.stored as usize
    }

    /// Where a slot's region begins in the index's inode.
    pub fn offset(&self, slot: u32) -> u64 {
        if self.per_page <= 1 {
            return u64::from(slot) * u64::from(self.stored);
        }
        let page = slot.checked_div(self.per_page).unwrap_or(0);
        let within = slot - page * self.per_page;
        u64::from(page) * PAGE as u64 + u64::from(within) * u64::from(self.stored)
    }

    /// The slots whose regions touch the bytes from `start` to `end`.
    pub fn slots_at(&self, start: u64, end: u64) -> core::ops::Range<u32> {
        let per_page = self.per_page() as u64;
        let size = (self.pages() * PAGE) as u64;
        let first = start.checked_div(size).unwrap_or(0);
        let last = end.div_ceil(size.max(1));
        let slot = |page: u64| u32::try_from(page.saturating_mul(per_page)).unwrap_or(u32::MAX);
        slot(first)..slot(last)
    }

    /// Whether a region that was read holds what was written there.
    pub fn verify(&self, slot: u32, stored: &[u8]) -> bool {
        stored.len() == self.stored()
            && stored.chunks(PAGE).enumerate().all(|(number, page)| {
                self.is_ours(page, slot, number)
                    && le32(page, 0) == crc32c(self.seed, page.get(4..).unwrap_or(&[]))
            })
    }

    /// Looks at whole pages that were just read from a medium, from byte `at` of the index's inode
    /// on. What pretends to be a node and was damaged is none afterwards. Returns how many such
    /// pages or regions there were.
    pub fn cleanse(&self, at: u64, bytes: &mut [u8]) -> usize {
        let (pages, per_page) = (self.pages() as u64, self.per_page() as u64);
        let mut damaged = 0;
        for (i, page) in bytes.chunks_exact_mut(PAGE).enumerate() {
            let page_number = at / PAGE as u64 + i as u64;
            let node = page_number.checked_div(pages).unwrap_or(0);
            let number = (page_number - node * pages) as usize;
            let length = if pages == 1 { self.stored() } else { PAGE };
            // The length is a constant or more.
            for (slot, region) in (node * per_page..).zip(page.chunks_exact_mut(length)) {
                let Ok(slot) = u32::try_from(slot) else {
                    continue;
                };
                if self.is_ours(region, slot, number)
                    && le32(region, 0) != crc32c(self.seed, region.get(4..).unwrap_or(&[]))
                {
                    region.get_mut(..HEADER).unwrap_or(&mut []).fill(0);
                    damaged += 1;
                }
            }
        }
        damaged
    }

    /// Whether a header is that of a slot's page.
    fn is_ours(&self, page: &[u8], slot: u32, number: usize) -> bool {
        le32(page, 4) == self.collection
            && le32(page, 8) == self.build
            && le32(page, 12) == slot
            && le32(page, SEQUENCE) & 1 == 0
            && usize::from(le16(page, 24)) <= DEGREE
            && usize::from(le16(page, 26)) == number
    }
}

/// An edge.
pub struct Edge {
    /// Key of its squared length.
    pub length: u32,
    /// Factor A.
    pub a: u32,
    /// Factor B.
    pub b: u32,
    /// The code: planes, lowest bit first.
    pub code: KVVec<u8>,
    /// Room to compute in: two rotated vectors.
    pub room: KVVec<u32>,
}

impl Edge {
    /// Room for one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(shape: &Shape) -> Result<Edge> {
        Ok(Edge {
            length: 0,
            a: 0,
            b: 0,
            code: zeroes(shape.code())?,
            room: zeroes(2 * shape.padded())?,
        })
    }
}

/// A node in one piece, our own copy of it.
pub struct Image {
    bytes: KVVec<u8>,
    /// Its pages, as they are stored.
    stored: KVVec<u8>,
}

impl Image {
    /// Room for one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(shape: &Shape) -> Result<Image> {
        // The tail of the last page belongs to the image too.
        let length = match shape.pages() {
            1 => shape.stored(),
            n => PAGE + (n - 1) * (PAGE - HEADER),
        };
        Ok(Image {
            bytes: zeroes(length)?,
            stored: zeroes(shape.stored())?,
        })
    }

    /// Room for one that is read and never written.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn to_read(shape: &Shape) -> Result<Image> {
        match shape.pages() {
            1 => Ok(Image {
                bytes: zeroes(shape.stored())?,
                stored: KVVec::new(),
            }),
            _ => Image::new(shape),
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads a node by `copy`. False if it is not the node of this slot.
    pub fn read(&mut self, shape: &Shape, slot: u32, copy: impl Fn(usize, &mut [u8])) -> bool {
        if shape.pages() == 1 {
            copy(0, &mut self.bytes);
            return shape.is_ours(&self.bytes, slot, 0);
        }
        copy(0, &mut self.stored);
        let Some(first) = self.stored.first_chunk::<PAGE>() else {
            return false;
        };
        let (generation, sequence) = (le32(first, 16), le32(first, SEQUENCE));
        for (number, page) in self.stored.chunks(PAGE).enumerate() {
            let agrees = le32(page, 16) == generation && le32(page, SEQUENCE) == sequence;
            if !agrees || !shape.is_ours(page, slot, number) {
                return false;
            }
            let (from, at) = match number {
                0 => (page, 0),
                n => (
                    page.get(HEADER..).unwrap_or(&[]),
                    PAGE + (n - 1) * (PAGE - HEADER),
                ),
            };
            put(&mut self.bytes, at, from);
        }
        true
    }

    /// Reads so much of a node that [`Image::vector`] and [`Image::scale`] are there.
    pub fn read_vector(
        &mut self,
        shape: &Shape,
        slot: u32,
        copy: impl Fn(usize, &mut [u8]),
    ) -> bool {
        if shape.pages() > 1 {
            return self.read(shape, slot, copy);
        }
        copy(0, self.bytes.get_mut(..HEADER).unwrap_or(&mut []));
        let at = shape.vector_at();
        let vector = self.bytes.get_mut(at..at + shape.vector());
        copy(at, vector.unwrap_or(&mut []));
        shape.is_ours(&self.bytes, slot, 0)
    }

    /// Begins a new node without neighbours.
    pub fn begin(&mut self, shape: &Shape, slot: u32, generation: u32, vector: &[u8], scale: u32) {
        self.bytes.fill(0);
        put32(&mut self.bytes, 4, shape.collection);
        put32(&mut self.bytes, 8, shape.build);
        put32(&mut self.bytes, 12, slot);
        put32(&mut self.bytes, 16, generation);
        put32(&mut self.bytes, 32, scale);
        put(&mut self.bytes, shape.vector_at(), vector);
    }

    /// Takes all neighbours away.
    pub fn clear_edges(&mut self) {
        self.set_used(0);
        self.set_spare(0);
    }

    /// Makes it a region without a node. It needs no checksum: nobody takes it for one.
    pub fn erase(&mut self) -> &[u8] {
        self.bytes.fill(0);
        self.stored.fill(0);
        &self.stored
    }

    /// Checksums it and cuts it into pages.
    pub fn seal(&mut self, shape: &Shape) -> &[u8] {
        let sequence = le32(&self.bytes, SEQUENCE).wrapping_add(2);
        put32(&mut self.bytes, SEQUENCE, sequence);
        if shape.pages() == 1 {
            put(&mut self.stored, 0, &self.bytes);
        } else {
            let mut rest = self.bytes.as_slice();
            for (number, page) in self.stored.chunks_mut(PAGE).enumerate() {
                let at = if number == 0 { 0 } else { HEADER };
                let (some, more) = rest.split_at_checked(PAGE - at).unwrap_or((rest, &[]));
                put(page, 0, self.bytes.get(..HEADER).unwrap_or(&[]));
                put(page, at, some);
                put16(page, 26, number as u16);
                rest = more;
            }
        }
        for page in self.stored.chunks_mut(PAGE) {
            let crc = crc32c(shape.seed, page.get(4..).unwrap_or(&[]));
            put32(page, 0, crc);
        }
        &self.stored
    }

    /// Generation of the record.
    pub fn generation(&self) -> u32 {
        le32(&self.bytes, 16)
    }

    /// Neighbours in use.
    pub fn used(&self) -> usize {
        usize::from(le16(&self.bytes, 24)).min(DEGREE)
    }

    fn set_used(&mut self, used: usize) {
        put16(&mut self.bytes, 24, used as u16);
    }

    /// Which neighbours are spare.
    pub fn spare(&self) -> u32 {
        le32(&self.bytes, 28)
    }

    /// Says which neighbours are spare.
    pub fn set_spare(&mut self, spare: u32) {
        put32(&mut self.bytes, 28, spare);
    }

    /// What the vector is multiplied by.
    pub fn scale(&self) -> u32 {
        le32(&self.bytes, 32)
    }

    /// The vector.
    pub fn vector(&self, shape: &Shape) -> &[u8] {
        let at = shape.vector_at();
        self.bytes.get(at..at + shape.vector()).unwrap_or(&[])
    }

    /// A neighbour.
    pub fn neighbour(&self, lane: usize) -> u32 {
        le32(&self.bytes, SLOTS + 4 * lane)
    }

    /// The lane of a neighbour.
    pub fn lane_of(&self, slot: u32) -> Option<usize> {
        (0..self.used()).find(|lane| self.neighbour(*lane) == slot)
    }

    /// Keys of the lengths of the edges.
    pub fn lengths(&self) -> [u32; DEGREE] {
        core::array::from_fn(|lane| le32(&self.bytes, LENGTHS + 4 * lane))
    }

    /// Puts an edge into a lane; the lane behind the last one is taken into use.
    pub fn set_edge(&mut self, shape: &Shape, lane: usize, slot: u32, edge: &Edge) {
        if lane >= DEGREE {
            return;
        }
        self.set_used(self.used().max(lane + 1));
        put32(&mut self.bytes, SLOTS + 4 * lane, slot);
        put32(&mut self.bytes, LENGTHS + 4 * lane, edge.length);
        put32(&mut self.bytes, A + 4 * lane, edge.a);
        put32(&mut self.bytes, B + 4 * lane, edge.b);
        // Each byte of the code has eight dimensions, so two groups.
        let groups = self.bytes.get_mut(CODES..shape.vector_at());
        let groups = groups.unwrap_or(&mut []).chunks_exact_mut(2 * 16);
        for (pair, byte) in groups.zip(edge.code.iter()) {
            set_nibble(pair, lane, byte & 15);
            set_nibble(pair.get_mut(16..).unwrap_or(&mut []), lane, byte >> 4);
        }
    }

    /// Takes an edge out; the last one takes its lane.
    pub fn remove_edge(&mut self, shape: &Shape, lane: usize) {
        let Some(last) = self.used().checked_sub(1) else {
            return;
        };
        if lane > last {
            return;
        }
        for at in [SLOTS, LENGTHS, A, B] {
            let value = le32(&self.bytes, at + 4 * last);
            put32(&mut self.bytes, at + 4 * lane, value);
        }
        let groups = self.bytes.get_mut(CODES..shape.vector_at());
        for group in groups.unwrap_or(&mut []).chunks_exact_mut(16) {
            let byte = group.get(last & 15).copied().unwrap_or(0);
            let nibble = if last < 16 { byte & 15 } else { byte >> 4 };
            set_nibble(group, lane, nibble);
        }
        let spare = self.spare();
        let moved = (spare >> last & 1) << lane;
        self.set_spare((spare & !(1 << lane) & !(1 << last)) | if lane < last { moved } else { 0 });
        self.set_used(last);
    }
}

fn set_nibble(group: &mut [u8], lane: usize, nibble: u8) {
    if let Some(byte) = group.get_mut(lane & 15) {
        *byte = if lane < 16 {
            *byte & 0xf0 | nibble
        } else {
            *byte & 0x0f | nibble << 4
        };
    }
}
