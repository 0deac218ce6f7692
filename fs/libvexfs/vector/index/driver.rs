// SPDX-License-Identifier: GPL-2.0

//! What keeps a graph in step with the records: the build, operations, what a crash left.
//!
//! One thread drives a graph. In the order in which things are done:
//!
//! 1. Operations from [`Marks::applied`] on: [`Driver::apply`].
//! 2. While the index is being built: [`Driver::build_step`] between operations until it says that it
//!    is through, then [`Driver::choose_entries`], a checkpoint, and the index is ready.
//! 3. [`Driver::refine_step`], when there is nothing else to do, until it says that it is through.
//! 4. After an unclean mount, when the operations that there were are done:
//!    [`Driver::scrub_step`] for each MiB that [`super::intent::Intents`] tells of, then
//!    [`Driver::reattach`](super::verify), then the next checkpoint is a clean one.
//!
//! Each step may be done again, so a crash anywhere costs no more than time.

use super::insert::Work;
use super::record::{Action, Marks, Op, ENTRIES_MAX};
use super::{Arithmetic, Graph, Index, Pages, Shape};
use crate::libvexfs::vector::MAX_SLOTS;
use core::ops::Range;
use kernel::prelude::*;

/// Nodes that are refined for each one that was taken out: recall stays then, however often all of
/// them change.
const REFINES: u32 = 6;

/// What a driver asks about the records.
pub trait Source {
    /// Copies the stored vector of a slot out, if there is a record in it; returns that one's
    /// sequence.
    ///
    /// # Errors
    ///
    /// What reading returns. A vector that is damaged is as if there were no record: `Ok(None)`.
    fn vector(&mut self, slot: u32, to: &mut [u8]) -> Result<Option<u32>>;

    /// The sequence of the record in a slot.
    ///
    /// # Errors
    ///
    /// What reading returns.
    fn sequence(&mut self, slot: u32) -> Result<Option<u32>>;

    /// The first slot from `from` on that has a record.
    ///
    /// # Errors
    ///
    /// What reading returns.
    fn next(&mut self, from: u32) -> Result<Option<u32>>;

    /// Is called between two nodes, with nothing held: lets others run.
    ///
    /// # Errors
    ///
    /// `EINTR` and others end what is being done.
    fn pause(&mut self) -> Result;
}

/// What a scrub did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Nodes that no record stands for, taken out.
    pub removed: u32,
    /// Records that had no node, put in.
    pub inserted: u32,
}

/// A graph, and how far it is.
pub struct Driver<P: Pages, A: Arithmetic<P::Block>> {
    /// The graph.
    pub graph: Graph<P, A>,
    pub(super) work: Work,
    pub(super) vector: KVVec<u8>,
    applied: u64,
    built: u32,
    refined: u32,
    cursor: u32,
    chosen: u32,
    bound: u32,
}

impl<P: Pages, A: Arithmetic<P::Block>> Driver<P, A> {
    /// For the graph that `index` tells of, as it is on the medium.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(pages: P, arithmetic: A, shape: Shape, index: &Index) -> Result<Self> {
        let marks = &index.marks;
        let mut graph = Graph::new(pages, arithmetic, shape, index.params);
        (graph.entries, graph.end) = (marks.entries, marks.end);
        graph.arithmetic.bound().raise(marks.bound);
        Ok(Driver {
            graph,
            work: Work::new(&shape)?,
            vector: KVVec::from_elem(0, shape.vector(), GFP_KERNEL)?,
            applied: marks.applied,
            built: marks.built,
            refined: marks.refined,
            cursor: marks.cursor,
            chosen: marks.chosen,
            bound: marks.bound,
        })
    }

    /// How far it is: what a checkpoint notes once all that was written is on the medium.
    pub fn marks(&self) -> Marks {
        Marks {
            applied: self.applied,
            built: self.built,
            refined: self.refined.min(self.graph.end),
            cursor: self.cursor.min(self.graph.end),
            end: self.graph.end,
            chosen: self.chosen.min(self.graph.end),
            bound: self.bound,
            entries: self.graph.entries,
        }
    }

    /// Puts in what the next slots have, `room` of them. False: there is more.
    ///
    /// # Errors
    ///
    /// What the source and the graph return; what was done is done.
    pub fn build_step(&mut self, source: &mut impl Source, room: u32) -> Result<bool> {
        for _ in 0..room {
            let Some(slot) = source.next(self.built)? else {
                self.built = MAX_SLOTS;
                return Ok(true);
            };
            if self.generation(slot)?.is_none() {
                self.insert(source, slot, None)?;
            }
            self.built = slot.saturating_add(1);
            source.pause()?;
        }
        Ok(false)
    }

    /// Does an operation. They are done in order.
    ///
    /// # Errors
    ///
    /// What the source and the graph return: it is to be done again.
    pub fn apply(&mut self, source: &mut impl Source, sequence: u64, op: &Op) -> Result {
        match op.action {
            Action::Insert => self.insert(source, op.slot, Some(op.generation))?,
            Action::Remove => {
                if self.generation(op.slot)? == Some(op.generation) {
                    self.graph.remove(&mut self.work, op.slot)?;
                    self.refined = self.refined.saturating_sub(REFINES);
                }
            }
        }
        self.applied = self.applied.max(sequence.saturating_add(1));
        // Entries should lie well in what the graph has become.
        if self.graph.end / 2 > self.chosen.max(512) {
            self.choose_entries()?;
        }
        Ok(())
    }

    /// Puts in what a slot has, if its record has this sequence, or any.
    pub(super) fn insert(
        &mut self,
        source: &mut impl Source,
        slot: u32,
        generation: Option<u32>,
    ) -> Result {
        let Some(sequence) = source.vector(slot, &mut self.vector)? else {
            return Ok(());
        };
        if generation.is_some_and(|generation| generation != sequence) {
            return Ok(());
        }
        let Driver {
            graph,
            work,
            vector,
            ..
        } = self;
        if graph.image(slot, &mut work.image)?
            && work.image.generation() == sequence
            && work.image.vector(&graph.shape) == vector.as_slice()
        {
            // It was done before a crash; not all of its neighbours may know.
            graph.end = graph.end.max(slot.saturating_add(1));
            if graph.entries.is_empty() {
                graph.entries.push(slot);
            }
            graph.refine(work, slot)?;
        } else {
            graph.insert(work, slot, sequence, vector)?;
        }
        self.look_at_bound();
        Ok(())
    }

    /// All nodes moved if the bound was raised: their neighbours are to be picked anew.
    fn look_at_bound(&mut self) {
        let bound = self.graph.arithmetic.bound().get();
        if bound != self.bound {
            (self.bound, self.refined) = (bound, 0);
        }
    }

    /// The generation of a node.
    pub(super) fn generation(&mut self, slot: u32) -> Result<Option<u32>> {
        let image = &mut self.work.image;
        let there = self.graph.image(slot, image)?;
        Ok(there.then(|| image.generation()))
    }

    /// Chooses where searches begin.
    ///
    /// # Errors
    ///
    /// What the graph returns.
    pub fn choose_entries(&mut self) -> Result {
        self.graph.choose_entries(&mut self.work, ENTRIES_MAX)?;
        self.chosen = self.graph.end;
        Ok(())
    }

    /// Refines the next nodes, `room` slots, in turn. False: there is more: a slot for each that
    /// there is, and some more for each node that was taken out.
    ///
    /// # Errors
    ///
    /// What the source and the graph return; what was done is done.
    pub fn refine_step(&mut self, source: &mut impl Source, room: u32) -> Result<bool> {
        let end = self.refined.saturating_add(room).min(self.graph.end);
        while self.refined < end {
            if self.cursor >= self.graph.end {
                self.cursor = 0;
            }
            self.graph.refine(&mut self.work, self.cursor)?;
            self.cursor += 1;
            self.refined += 1;
            self.look_at_bound();
            source.pause()?;
        }
        Ok(self.refined >= self.graph.end)
    }

    /// Puts right what some slots have: nodes that no record stands for go, records without a node
    /// get one.
    ///
    /// # Errors
    ///
    /// What the source and the graph return; it is to be done again.
    pub fn scrub_step(&mut self, source: &mut impl Source, slots: Range<u32>) -> Result<Scrubbed> {
        let mut done = Scrubbed::default();
        for slot in slots {
            let (node, record) = (self.generation(slot)?, source.sequence(slot)?);
            if slot >= self.graph.end && node.is_none() && record.is_none() {
                continue;
            }
            if node.is_some() && node != record {
                self.graph.remove(&mut self.work, slot)?;
                done.removed += 1;
            }
            if record.is_some() && node != record && slot < self.built {
                self.insert(source, slot, None)?;
                done.inserted += 1;
            }
            source.pause()?;
        }
        Ok(done)
    }
}
