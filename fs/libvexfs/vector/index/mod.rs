// SPDX-License-Identifier: GPL-2.0

//! The index over a collection: a graph of nodes, each in a page with its neighbours' codes.
//!
//! It is derived: whatever is damaged, stale or missing here costs recall, never a wrong
//! answer, since every hit is checked against the records (`super::record`). Vamana's graph
//! (DiskANN, NeurIPS 2019) with the codes of the neighbours in the node (NGT-QG; SymphonyQG,
//! arXiv 2411.12229): one page gives one exact distance and 32 estimates, and nothing has to
//! stay in memory.
//!
//! - [`node`]: what the bytes of a node mean;
//! - [`bits`]: codes and tables of vectors of bits;
//! - [`bound`]: how long vectors are at most;
//! - [`beam`]: the candidates of a search, and which nodes it has seen;
//! - [`depth`]: how far a search must go;
//! - [`search`], [`insert`], [`refine`], [`remove`]: what is done with the graph;
//! - [`product`]: where inner products are large;
//! - [`record`], [`log`], [`intent`]: what is journalled of it;
//! - [`driver`], [`verify`], [`walks`]: what keeps a graph and the records together.
//!
//! All numbers here are integers. Vectors are bits of f32, distances are keys: squared, as
//! the bits of an f32 that is not negative, so that they order like what they stand for.
//! [`Arithmetic`] computes, [`Pages`] keeps; the kernel and a host have their own of both.
//!
//! One writer at a time changes a graph (`&mut Graph`). A search reads nodes that are being
//! written; [`Arithmetic::expand`] notices and says so.

use super::{room::zeroes, Metric};
use kernel::prelude::*;

pub mod beam;
pub mod bits;
pub mod bound;
pub mod depth;
pub mod driver;
pub mod insert;
pub mod intent;
pub mod log;
pub mod node;
pub mod product;
pub mod record;
pub mod refine;
pub mod remove;
pub mod rotation;
pub mod search;
pub mod verify;
pub mod walks;

pub use bound::Bound;
pub use driver::{Driver, Source};
pub use node::{Edge, Shape, DEGREE};
pub use record::{Action, Entries, Index, Marks, Op, State};
pub use search::{Found, Scratch, View};

/// A key that nothing is farther than: infinity.
pub const FARTHEST: u32 = 0x7f80_0000;

/// Candidates that a search keeps unless it is told otherwise. For inner products the answers lie
/// far from the queries, and it takes more.
pub fn default_ef(metric: Metric) -> usize {
    match metric {
        Metric::Ip => 512,
        _ => 256,
    }
}

/// Where nodes are kept: one region of [`Shape::stored`] bytes for each slot.
///
/// In the kernel a block is a folio of the index's inode. An implementation checks what it
/// reads from a medium by [`Shape::verify`], once.
pub trait Pages {
    /// A reference to the memory of a node. Others may write to that memory.
    type Block;

    /// The region of a slot. None if there is no such thing, or it is damaged.
    ///
    /// # Errors
    ///
    /// Only what must end a search: `ENOMEM`, `EINTR`.
    fn block(&self, slot: u32) -> Result<Option<Self::Block>>;

    /// Says that the region of a slot will be wanted soon.
    fn prefetch(&self, slot: u32);

    /// The same of some slots, where they are being found out at once; `later` are those whose regions
    /// may be wanted after these.
    fn prefetch_some(&self, slots: &[u32], _later: &[u32]) {
        for slot in slots {
            self.prefetch(*slot);
        }
    }

    /// Copies bytes of a region out, from `at` on; zeroes where it has none.
    fn copy(&self, block: &Self::Block, at: usize, to: &mut [u8]);

    /// Writes the region of a slot.
    ///
    /// # Errors
    ///
    /// `ENOSPC`, `EIO`, `ENOMEM`.
    fn write(&self, slot: u32, stored: &[u8]) -> Result;
}

/// What is shared: the writer and searches use the same pages.
impl<P: Pages> Pages for &P {
    type Block = P::Block;

    fn block(&self, slot: u32) -> Result<Option<Self::Block>> {
        (**self).block(slot)
    }

    fn prefetch(&self, slot: u32) {
        (**self).prefetch(slot);
    }

    fn prefetch_some(&self, slots: &[u32], later: &[u32]) {
        (**self).prefetch_some(slots, later);
    }

    fn copy(&self, block: &Self::Block, at: usize, to: &mut [u8]) {
        (**self).copy(block, at, to);
    }

    fn write(&self, slot: u32, stored: &[u8]) -> Result {
        (**self).write(slot, stored)
    }
}

/// A query, or a vector that others are compared with.
pub struct Query {
    /// As it is compared: normalised for cosine, filled up with zeroes.
    pub prepared: KVVec<u32>,
    /// Rotated.
    pub rotated: KVVec<u32>,
    /// Sixteen sums for each four rotated dimensions.
    pub table: KVVec<u8>,
    /// One step of the table.
    pub delta: u32,
    /// What is added to a sum from the table.
    pub bias: u32,
    /// How long vectors were at most when it was made.
    pub bound: u32,
}

impl Query {
    /// Room for one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(shape: &Shape) -> Result<Query> {
        Ok(Query {
            prepared: zeroes(shape.prepared())?,
            rotated: zeroes(shape.padded())?,
            table: zeroes(shape.padded() * 4)?,
            delta: 0,
            bias: 0,
            bound: 0,
        })
    }

    /// Makes it ready for a search once `prepared` is there.
    pub fn finish<B>(&mut self, arithmetic: &impl Arithmetic<B>) {
        arithmetic.rotate(&self.prepared, &mut self.rotated);
        (self.delta, self.bias) = arithmetic.table(&self.rotated, &mut self.table);
        self.bound = arithmetic.bound().get();
    }
}

/// What an expansion gives: the node, and estimates for its neighbours.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Expansion {
    /// Key of the node's distance.
    pub key: u32,
    /// Generation of its record.
    pub generation: u32,
    /// Which neighbours have a key below the limit.
    pub mask: u32,
    /// How many neighbours it has.
    pub used: u32,
    /// Keys of the neighbours, estimated.
    pub keys: [u32; DEGREE],
    /// Slots of the neighbours.
    pub slots: [u32; DEGREE],
}

impl Expansion {
    /// Room for one.
    pub const fn new() -> Expansion {
        Expansion {
            key: FARTHEST,
            generation: 0,
            mask: 0,
            used: 0,
            keys: [FARTHEST; DEGREE],
            slots: [0; DEGREE],
        }
    }
}

impl Default for Expansion {
    fn default() -> Self {
        Self::new()
    }
}

/// What computes. In the kernel each call is an FPU section of a few microseconds.
///
/// The lengths of slices are those that the [`Shape`] says; an implementation that computes
/// with pointers checks them.
pub trait Arithmetic<B> {
    /// Checks a vector, f32 in little endian, and prepares it for comparisons.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is none that a search takes.
    fn prepare(&self, vector: &[u8], prepared: &mut [u32]) -> Result;

    /// What a stored vector is multiplied by, so that it is prepared; for inner products its squared
    /// norm.
    fn scale(&self, stored: &[u8]) -> u32;

    /// Makes a prepared vector a query for inner products with it.
    fn aim(&self, prepared: &mut [u32]);

    /// How long vectors are at most. [`Arithmetic::unpack`] raises it for inner products.
    fn bound(&self) -> &Bound;

    /// Prepares a stored vector; `scale` is what [`Arithmetic::scale`] said.
    fn unpack(&self, stored: &[u8], scale: u32, prepared: &mut [u32]);

    /// Rotates a prepared vector.
    fn rotate(&self, prepared: &[u32], rotated: &mut [u32]);

    /// Makes a query's table; returns its step and what is added.
    fn table(&self, rotated: &[u32], table: &mut [u8]) -> (u32, u32);

    /// Expands a node for a query; `limit` is the key that estimates must be below to be in
    /// the mask. False: this is not the node of `slot`, or it was written meanwhile.
    fn expand(&self, query: &Query, slot: u32, limit: u32, block: &B, out: &mut Expansion) -> bool;

    /// The same for an image of our own.
    fn expand_image(
        &self,
        query: &Query,
        slot: u32,
        limit: u32,
        image: &[u8],
        out: &mut Expansion,
    ) -> bool;

    /// Codes the edge between two prepared vectors, of which the first is rotated as well.
    fn edge(&self, from: &[u32], rotated: &[u32], to: &[u32], edge: &mut Edge);

    /// The key of the distance between two prepared vectors.
    fn distance(&self, a: &[u32], b: &[u32]) -> u32;

    /// Whether one of the chosen rows hides `row`, whose distance has the key `key`: is closer
    /// to it, by `alpha` thousandths.
    fn hidden(&self, rows: &[u32], row: u32, chosen: &[u32], key: u32, alpha: u32) -> bool;

    /// Compares a new neighbour at a distance of `key` with those there are, whose distances to
    /// the node are `lengths` and to the new one `keys`. Returns which of them hide the new one
    /// and which of them it hides.
    fn compare(
        &self,
        lengths: &[u32; DEGREE],
        keys: &[u32; DEGREE],
        key: u32,
        alpha: u32,
    ) -> (u32, u32);

    /// Adds a prepared vector, divided by `count`, to `mean`.
    fn mean(&self, prepared: &[u32], count: u32, mean: &mut [u32]);
}

impl<B, A: Arithmetic<B>> Arithmetic<B> for &A {
    fn prepare(&self, vector: &[u8], prepared: &mut [u32]) -> Result {
        (**self).prepare(vector, prepared)
    }

    fn scale(&self, stored: &[u8]) -> u32 {
        (**self).scale(stored)
    }

    fn aim(&self, prepared: &mut [u32]) {
        (**self).aim(prepared);
    }

    fn bound(&self) -> &Bound {
        (**self).bound()
    }

    fn unpack(&self, stored: &[u8], scale: u32, prepared: &mut [u32]) {
        (**self).unpack(stored, scale, prepared);
    }

    fn rotate(&self, prepared: &[u32], rotated: &mut [u32]) {
        (**self).rotate(prepared, rotated);
    }

    fn table(&self, rotated: &[u32], table: &mut [u8]) -> (u32, u32) {
        (**self).table(rotated, table)
    }

    fn expand(&self, query: &Query, slot: u32, limit: u32, block: &B, out: &mut Expansion) -> bool {
        (**self).expand(query, slot, limit, block, out)
    }

    fn expand_image(
        &self,
        query: &Query,
        slot: u32,
        limit: u32,
        image: &[u8],
        out: &mut Expansion,
    ) -> bool {
        (**self).expand_image(query, slot, limit, image, out)
    }

    fn edge(&self, from: &[u32], rotated: &[u32], to: &[u32], edge: &mut Edge) {
        (**self).edge(from, rotated, to, edge);
    }

    fn distance(&self, a: &[u32], b: &[u32]) -> u32 {
        (**self).distance(a, b)
    }

    fn hidden(&self, rows: &[u32], row: u32, chosen: &[u32], key: u32, alpha: u32) -> bool {
        (**self).hidden(rows, row, chosen, key, alpha)
    }

    fn compare(
        &self,
        lengths: &[u32; DEGREE],
        keys: &[u32; DEGREE],
        key: u32,
        alpha: u32,
    ) -> (u32, u32) {
        (**self).compare(lengths, keys, key, alpha)
    }

    fn mean(&self, prepared: &[u32], count: u32, mean: &mut [u32]) {
        (**self).mean(prepared, count, mean);
    }
}

/// How a graph is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Candidates that are kept while a place for a node is searched.
    pub ef: usize,
    /// Of those, how many are looked at closely.
    pub pool: usize,
    /// A neighbour hides what is closer to it than to the node by so many thousandths.
    pub alpha: u32,
    /// Candidates that are kept when a node is taken out.
    pub ef_remove: usize,
}

impl Default for Params {
    fn default() -> Self {
        Params {
            ef: 80,
            pool: 64,
            alpha: 1050,
            ef_remove: 128,
        }
    }
}

/// A graph.
pub struct Graph<P: Pages, A: Arithmetic<P::Block>> {
    /// Where it is.
    pub pages: P,
    /// What computes for it.
    pub arithmetic: A,
    /// What its nodes look like.
    pub shape: Shape,
    /// How it is made.
    pub params: Params,
    /// Slots where a search begins: the first of them that is there.
    pub entries: Entries,
    /// No slot is as high as this.
    pub end: u32,
}

impl<P: Pages, A: Arithmetic<P::Block>> Graph<P, A> {
    /// An empty graph.
    pub fn new(pages: P, arithmetic: A, shape: Shape, params: Params) -> Self {
        Graph {
            pages,
            arithmetic,
            shape,
            params,
            entries: Entries::new(),
            end: 0,
        }
    }

    /// Copies a node's image out. False if there is none.
    ///
    /// # Errors
    ///
    /// What [`Pages::block`] returns.
    pub(super) fn image(&self, slot: u32, image: &mut node::Image) -> Result<bool> {
        self.view().image(slot, image)
    }

    /// Prepares the vector of a node into `row`. False if there is no such node.
    pub(super) fn row(&self, slot: u32, image: &mut node::Image, row: &mut [u32]) -> Result<bool> {
        let Some(block) = self.pages.block(slot)? else {
            return Ok(false);
        };
        let there = image.read_vector(&self.shape, slot, |at, to| self.pages.copy(&block, at, to));
        if there {
            self.arithmetic
                .unpack(image.vector(&self.shape), image.scale(), row);
        }
        Ok(there)
    }

    /// Writes a node.
    pub(super) fn store(&self, slot: u32, image: &mut node::Image) -> Result {
        self.pages.write(slot, image.seal(&self.shape))
    }
}
