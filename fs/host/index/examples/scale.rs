// SPDX-License-Identifier: GPL-2.0

//! What an index of very many vectors comes to: bytes, by the code that lays nodes out, and what a
//! checkpoint writes, by a simulation over the slots. Prints the rows of the tables in
//! Documentation/performance/scale.md.
//!
//! `scale [VECTORS]`, 1,000,000,000 if it is not said. It keeps a bit for each page of the index.

use vexfs::libvexfs::vector::index::log::INTENT_SHIFT;
use vexfs::libvexfs::vector::index::node::PAGE;
use vexfs::libvexfs::vector::index::Shape;
use vexfs::libvexfs::vector::{Element, Metric, MAX_SLOTS};

/// Pages that the checkpoint writes in one go if they lie beside each other.
const RUN: u64 = 256;
/// Pages that an insert dirties: its own, and those of its neighbours.
const DIRTIED: u64 = 33;
/// Changes between two checkpoints.
const CHANGES: [u64; 4] = [8_192, 65_536, 1_048_576, 16_777_216];

/// A small generator: the figures are to be the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        ((u128::from(z) * u128::from(n)) >> 64) as u64
    }
}

/// Which pages are dirty.
struct Pages {
    words: Vec<u64>,
    dirty: u64,
}

impl Pages {
    fn new(pages: u64) -> Pages {
        Pages {
            words: vec![0; (pages as usize).div_ceil(64)],
            dirty: 0,
        }
    }

    fn mark(&mut self, page: u64) {
        let word = &mut self.words[(page / 64) as usize];
        let bit = 1 << (page % 64);
        self.dirty += u64::from(*word & bit == 0);
        *word |= bit;
    }

    /// Writes that it takes, and MiBs that are touched.
    fn writes(&self) -> (u64, u64) {
        let per_mib = (1u64 << INTENT_SHIFT) / PAGE as u64;
        let (mut writes, mut mibs) = (0, 0);
        let (mut run, mut mib) = (0, u64::MAX);
        let mut last = u64::MAX - 1;
        for (i, word) in self.words.iter().enumerate() {
            let mut word = *word;
            while word != 0 {
                let page = i as u64 * 64 + u64::from(word.trailing_zeros());
                word &= word - 1;
                let goes_on = page == last + 1 && run < RUN;
                writes += u64::from(!goes_on);
                run = if goes_on { run + 1 } else { 1 };
                mibs += u64::from(page / per_mib != mib);
                (last, mib) = (page, page / per_mib);
            }
        }
        (writes, mibs)
    }
}

fn main() {
    let vectors: u64 = match std::env::args().nth(1).map(|text| text.parse()) {
        None => 1_000_000_000,
        Some(Ok(n)) if (1..=u64::from(MAX_SLOTS)).contains(&n) => n,
        Some(_) => panic!("VECTORS is a number up to {MAX_SLOTS}"),
    };
    let last = (vectors - 1) as u32;
    println!("| dimensions, type | bits of a code | bytes of a node | index, TB | vectors, TB |");
    println!("|---|---|---|---|---|");
    let shapes = [
        (100, Element::F32),
        (384, Element::F32),
        (384, Element::F16),
        (768, Element::F32),
        (1536, Element::F32),
        (4096, Element::F32),
    ];
    for (dim, element) in shapes {
        let shape = Shape::new(1, 1, 1, dim, element, Metric::L2);
        let end = shape.offset(last) + shape.stored() as u64;
        let stored = vectors * u64::from(element.bytes(dim));
        println!(
            "| {dim}, f{} | {} | {} | {:.2} | {:.2} |",
            element.bytes(8),
            shape.bits,
            end / vectors,
            end as f64 / 1e12,
            stored as f64 / 1e12
        );
    }
    let shape = Shape::new(1, 1, 1, 384, Element::F32, Metric::L2);
    println!("\n| changes | pages dirty | GB | writes | MiBs noted | bytes of notes |");
    println!("|---|---|---|---|---|---|");
    for changes in CHANGES {
        let mut random = Random(7);
        let mut pages = Pages::new(shape.offset(last) / PAGE as u64 + 1);
        for _ in 0..changes * DIRTIED {
            let slot = random.below(vectors) as u32;
            pages.mark(shape.offset(slot) / PAGE as u64);
        }
        let (writes, mibs) = pages.writes();
        let notes = (shape.offset(last) >> INTENT_SHIFT).div_ceil(8);
        println!(
            "| {changes} | {} | {:.1} | {writes} | {mibs} | {notes} |",
            pages.dirty,
            (pages.dirty * PAGE as u64) as f64 / 1e9
        );
    }
}
