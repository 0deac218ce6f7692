// SPDX-License-Identifier: GPL-2.0

//! Whether a graph is what it should be: every record has its node, every node its record, and a
//! walk along the edges gets everywhere. What it does not get to is attached again.

use super::driver::{Driver, Source};
use super::insert::Work;
use super::node::Image;
use super::{Arithmetic, Graph, Pages, View};
use kernel::prelude::*;

/// Rounds of attaching: what has to make room for one may hang on nothing then.
const ROUNDS: usize = 8;

/// What a look at all of a graph came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records.
    pub records: u32,
    /// Nodes.
    pub nodes: u32,
    /// Records that have no node, or whose node is damaged.
    pub missing: u32,
    /// Nodes that no record stands for.
    pub stale: u32,
    /// Nodes whose vector is not the record's.
    pub wrong: u32,
    /// Nodes that a search cannot come to.
    pub unreachable: u32,
    /// Edges.
    pub edges: u64,
    /// Of these, edges to where there is no node.
    pub dangling: u64,
}

impl Report {
    /// Whether all is as it should be. Edges to nowhere cost a look, no more.
    pub fn is_clean(&self) -> bool {
        self.missing == 0 && self.stale == 0 && self.wrong == 0 && self.unreachable == 0
    }
}

/// Nothing is known of the slot yet.
const UNSEEN: u8 = 0;
/// There is a node.
const THERE: u8 = 1;
/// There is a node, and the walk got to it.
const REACHED: u8 = 2;

/// A walk along all edges.
struct Walk {
    /// What is known of each slot.
    state: KVVec<u8>,
    todo: KVVec<u32>,
}

impl Walk {
    fn new(end: u32) -> Result<Walk> {
        Ok(Walk {
            state: KVVec::from_elem(UNSEEN, end as usize, GFP_KERNEL)?,
            todo: KVVec::new(),
        })
    }

    fn state(&mut self, slot: u32) -> Option<&mut u8> {
        self.state.get_mut(slot as usize)
    }

    /// The walk got to a slot; true if there is a node that it had not got to.
    fn reach(&mut self, slot: u32) -> Result<bool> {
        match self.state(slot) {
            Some(state) if *state == THERE => *state = REACHED,
            _ => return Ok(false),
        }
        self.todo.push(slot, GFP_KERNEL)?;
        Ok(true)
    }

    /// Goes on from what there is to be done.
    fn go<P: Pages, A: Arithmetic<P::Block>>(
        &mut self,
        view: &View<'_, P, A>,
        image: &mut Image,
        pause: &mut dyn FnMut() -> Result,
    ) -> Result {
        while let Some(slot) = self.todo.pop() {
            if view.image(slot, image)? {
                for lane in 0..image.used() {
                    self.reach(image.neighbour(lane))?;
                }
            }
            pause()?;
        }
        Ok(())
    }

    /// How many nodes the walk did not get to.
    fn left(&self) -> u32 {
        let mut left = 0;
        for state in self.state.iter() {
            left += u32::from(*state == THERE);
        }
        left
    }

    /// The first node from `from` on that the walk did not get to.
    fn unreached(&self, from: u32) -> Option<u32> {
        let rest = self.state.get(from as usize..)?;
        let at = rest.iter().position(|state| *state == THERE)?;
        Some(from + at as u32)
    }
}

impl<P: Pages, A: Arithmetic<P::Block>> View<'_, P, A> {
    /// Copies a node's image out. False if there is none.
    ///
    /// # Errors
    ///
    /// What [`Pages::block`] returns.
    pub fn image(&self, slot: u32, image: &mut Image) -> Result<bool> {
        let Some(block) = self.pages.block(slot)? else {
            return Ok(false);
        };
        Ok(image.read(self.shape, slot, |at, to| self.pages.copy(&block, at, to)))
    }

    /// Begins a walk where searches do: at the first entry that is there. `walk` knows which nodes
    /// are.
    fn begin(&self, walk: &mut Walk) -> Result {
        for entry in self.entries.iter() {
            if walk.reach(*entry)? {
                break;
            }
        }
        Ok(())
    }

    /// Looks at all nodes and records. `waiting` says of a slot that an operation on it is still to
    /// be done: whatever it has is right. It takes a byte of memory for each slot, and five for each
    /// that is about to be looked at.
    ///
    /// # Errors
    ///
    /// What the source and the pages return; `ENOMEM`.
    pub fn verify(
        &self,
        source: &mut impl Source,
        mut waiting: impl FnMut(u32) -> bool,
    ) -> Result<Report> {
        let mut image = Image::new(self.shape)?;
        let mut vector = KVVec::from_elem(0u8, self.shape.vector(), GFP_KERNEL)?;
        let mut walk = Walk::new(self.end)?;
        let mut report = Report::default();
        let mut record = source.next(0)?;
        for slot in 0..self.end {
            let lives = record == Some(slot);
            let node = self.image(slot, &mut image)?;
            if let (true, Some(state)) = (node, walk.state(slot)) {
                *state = THERE;
            }
            report.records += u32::from(lives);
            report.nodes += u32::from(node);
            if lives {
                record = source.next(slot + 1)?;
            }
            if (lives || node) && !waiting(slot) {
                match (source.vector(slot, &mut vector)?, node) {
                    (Some(_), false) => report.missing += 1,
                    (None, true) => report.stale += 1,
                    (Some(sequence), true) if sequence != image.generation() => report.stale += 1,
                    (Some(_), true) if image.vector(self.shape) != &vector[..] => report.wrong += 1,
                    _ => {}
                }
            }
            source.pause()?;
        }
        while let Some(slot) = record {
            report.records += 1;
            report.missing += u32::from(!waiting(slot));
            let Some(next) = slot.checked_add(1) else {
                break;
            };
            record = source.next(next)?;
            source.pause()?;
        }
        for slot in 0..self.end {
            if matches!(walk.state(slot), Some(state) if *state == THERE)
                && self.image(slot, &mut image)?
            {
                report.edges += image.used() as u64;
                for lane in 0..image.used() {
                    let there = walk
                        .state(image.neighbour(lane))
                        .is_some_and(|s| *s == THERE);
                    report.dangling += u64::from(!there);
                }
            }
        }
        self.begin(&mut walk)?;
        walk.go(self, &mut image, &mut || source.pause())?;
        report.unreachable = walk.left();
        Ok(report)
    }
}

impl<P: Pages, A: Arithmetic<P::Block>> Graph<P, A> {
    /// How many nodes a walk along all edges reaches, of how many there are.
    ///
    /// # Errors
    ///
    /// What [`Pages`] returns; `ENOMEM`.
    pub fn reachable(&self, work: &mut Work) -> Result<(u32, u32)> {
        let (walk, there) = self.walk_all(work, &mut || Ok(()))?;
        Ok((there - walk.left(), there))
    }

    /// Walks along all edges; returns what that got to, and how many nodes there are.
    fn walk_all(&self, work: &mut Work, pause: &mut dyn FnMut() -> Result) -> Result<(Walk, u32)> {
        let view = self.view();
        let mut walk = Walk::new(self.end)?;
        let mut there = 0;
        for slot in 0..self.end {
            if let (true, Some(state)) = (view.image(slot, &mut work.image)?, walk.state(slot)) {
                *state = THERE;
                there += 1;
            }
            pause()?;
        }
        view.begin(&mut walk)?;
        walk.go(&view, &mut work.image, pause)?;
        Ok((walk, there))
    }
}

impl<P: Pages, A: Arithmetic<P::Block>> Driver<P, A> {
    /// Attaches all nodes that a search cannot come to, and returns how many there were. If no entry
    /// is left, others are chosen.
    ///
    /// # Errors
    ///
    /// What the source and the graph return; it is to be done again.
    pub fn reattach(&mut self, source: &mut impl Source) -> Result<u32> {
        let mut attached = 0;
        for _ in 0..ROUNDS {
            self.find_entry()?;
            let Driver { graph, work, .. } = self;
            let (mut walk, _) = graph.walk_all(work, &mut || source.pause())?;
            let mut from = 0;
            let before = attached;
            while let Some(slot) = walk.unreached(from) {
                from = slot.saturating_add(1);
                if graph.load_query(work, slot)? {
                    graph.candidates(work, slot)?;
                    graph.attach(work, slot)?;
                    attached += 1;
                }
                walk.reach(slot)?;
                walk.go(&graph.view(), &mut work.image, &mut || source.pause())?;
            }
            if attached == before {
                break;
            }
        }
        Ok(attached)
    }

    /// Sees to it that an entry is there, if any node is.
    fn find_entry(&mut self) -> Result {
        let Driver { graph, work, .. } = self;
        for i in 0..graph.entries.len() {
            let entry = graph.entries.get(i).copied().unwrap_or(u32::MAX);
            if entry < graph.end && graph.image(entry, &mut work.image)? {
                return Ok(());
            }
        }
        graph.entries.clear();
        for slot in 0..graph.end {
            if graph.image(slot, &mut work.image)? {
                graph.entries.push(slot);
                return self.choose_entries();
            }
        }
        Ok(())
    }
}
