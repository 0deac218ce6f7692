// SPDX-License-Identifier: GPL-2.0

//! The search for a query's neighbours.

use super::beam::{Beam, Seen};
use super::node::Image;
use super::{Arithmetic, Entries, Expansion, Graph, Pages, Query, Shape, FARTHEST};
use kernel::prelude::*;

/// What a search of the graph came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Nodes that were expanded.
    pub expanded: usize,
    /// Nodes that were to be, but are not there.
    pub missing: usize,
}

/// What a search needs besides its query. Made once, used again.
pub struct Scratch {
    /// Candidates.
    pub(super) beam: Beam,
    /// Nodes that were expanded.
    pub(super) seen: Seen,
    /// The best nodes that were let in.
    pub(super) best: Beam,
    expansion: KVBox<Expansion>,
    image: Image,
}

impl Scratch {
    /// A new one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(shape: &Shape) -> Result<Scratch> {
        Ok(Scratch {
            beam: Beam::new(1)?,
            seen: Seen::new()?,
            best: Beam::new(1)?,
            expansion: KVBox::new(Expansion::new(), GFP_KERNEL)?,
            image: Image::to_read(shape)?,
        })
    }

    /// Whether the last search came to a node.
    pub fn has_seen(&self, slot: u32) -> bool {
        self.seen.expanded(slot)
    }

    /// What the last search found (key, slot), best first.
    pub fn found(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.best.iter()
    }

    /// The same, and room to read a node in.
    pub fn found_and_room(&mut self) -> (impl Iterator<Item = (u32, u32)> + '_, &mut Image) {
        (self.best.iter(), &mut self.image)
    }
}

/// Nodes that are fetched ahead of their expansion.
const AHEAD: usize = 3;

/// How much farther than the worst of the best a candidate may be estimated to be and still be expanded, for `ef`
/// candidates: a tenth and more. Queries that lie among close neighbours end early by this, the others go on to the
/// last candidate, so the same recall takes a fifth of the expansions less. It grows with `ef`, or more candidates
/// would be of no use in the end.
///
/// It is added to a key, which are the bits of an f32: so many steps of the 2^23 from one power of two to the next.
fn margin(ef: usize) -> u32 {
    const TENTH: u32 = (1 << 23) / 10;
    let more = u32::try_from(ef)
        .unwrap_or(u32::MAX)
        .saturating_mul((1 << 23) / 2560);
    TENTH.saturating_add(more)
}

/// A graph as searches see it. Any number of them go on beside the one writer, each with what
/// [`Graph::view`] said when it began: a node that came later is not missed by the caller, who
/// looked at the operations before, and one that went is not there.
pub struct View<'a, P: Pages, A: Arithmetic<P::Block>> {
    /// Where the nodes are.
    pub pages: &'a P,
    /// What computes.
    pub arithmetic: &'a A,
    /// What nodes look like.
    pub shape: &'a Shape,
    /// Where to begin.
    pub entries: Entries,
    /// No slot is as high as this.
    pub end: u32,
}

impl<P: Pages, A: Arithmetic<P::Block>> Graph<P, A> {
    /// The graph as it is now.
    pub fn view(&self) -> View<'_, P, A> {
        View {
            pages: &self.pages,
            arithmetic: &self.arithmetic,
            shape: &self.shape,
            entries: self.entries,
            end: self.end,
        }
    }

    /// [`View::search`] in the graph as it is now.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn search(
        &self,
        query: &Query,
        ef: usize,
        k: usize,
        scratch: &mut Scratch,
        admit: impl FnMut(u32, u32) -> Result<bool>,
    ) -> Result<Found> {
        self.view().search(query, ef, k, scratch, admit)
    }

    /// [`View::walk`] in the graph as it is now.
    pub(super) fn walk(
        &self,
        query: &Query,
        ef: usize,
        k: usize,
        scratch: &mut Scratch,
        visit: impl FnMut(u32, &Expansion) -> Result<bool>,
    ) -> Result<Found> {
        self.view().walk(query, ef, k, scratch, visit)
    }
}

impl<P: Pages, A: Arithmetic<P::Block>> View<'_, P, A> {
    /// Searches for the `k` nearest nodes that `admit` lets in, and keeps `ef` candidates on
    /// the way. `scratch` has what was found. `admit` gets the slot and generation of a node
    /// that would be among the best: it says whether that record lives and may be seen.
    ///
    /// # Errors
    ///
    /// What `admit` and [`Pages::block`] return; `ENOMEM`.
    pub fn search(
        &self,
        query: &Query,
        ef: usize,
        k: usize,
        scratch: &mut Scratch,
        mut admit: impl FnMut(u32, u32) -> Result<bool>,
    ) -> Result<Found> {
        self.walk(query, ef.max(k), k, scratch, |slot, expansion| {
            admit(slot, expansion.generation)
        })
    }

    /// The same, and `scratch` has the next best nodes that were come by, too: at most `spare`. They
    /// cost nothing; there may be nearer ones than these.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn search_and_spare(
        &self,
        query: &Query,
        ef: usize,
        k: usize,
        spare: usize,
        scratch: &mut Scratch,
        mut admit: impl FnMut(u32, u32) -> Result<bool>,
    ) -> Result<Found> {
        let room = k.saturating_add(spare);
        self.walk_with(query, ef.max(room), k, room, scratch, |slot, expansion| {
            admit(slot, expansion.generation)
        })
    }

    /// [`View::walk_with`] without spare nodes.
    pub(super) fn walk(
        &self,
        query: &Query,
        ef: usize,
        k: usize,
        scratch: &mut Scratch,
        visit: impl FnMut(u32, &Expansion) -> Result<bool>,
    ) -> Result<Found> {
        self.walk_with(query, ef, k, k, scratch, visit)
    }

    /// The walk behind every search. `visit` is told of each node that would be among the
    /// best `room` and says whether it is let in. It ends when the best `k` are found.
    fn walk_with(
        &self,
        query: &Query,
        ef: usize,
        k: usize,
        room: usize,
        scratch: &mut Scratch,
        mut visit: impl FnMut(u32, &Expansion) -> Result<bool>,
    ) -> Result<Found> {
        let Scratch {
            beam,
            seen,
            best,
            expansion,
            image,
        } = scratch;
        beam.reset(ef)?;
        best.reset(room)?;
        seen.clear();
        let mut found = Found::default();
        let single = self.shape.pages() == 1;
        let margin = margin(ef);
        // Those that were fetched last need not be again.
        let mut fetched = [u32::MAX; 2 * AHEAD];
        let mut sought = fetched;
        for entry in self.entries.iter() {
            beam.reset(ef)?;
            beam.add(FARTHEST, *entry);
            while let Some((estimate, slot)) = beam.take() {
                // All that are left are estimated to be farther still.
                if estimate > best.nth(k).saturating_add(margin) {
                    break;
                }
                if slot >= self.end || !seen.expand(slot)? {
                    continue;
                }
                // What is farther than where this search ends is never expanded.
                let end = best.nth(k).saturating_add(margin).saturating_add(1);
                let limit = beam.limit().min(end);
                let there = match self.pages.block(slot)? {
                    None => false,
                    Some(block) if single => self
                        .arithmetic
                        .expand(query, slot, limit, &block, expansion),
                    Some(block) => {
                        image.read(self.shape, slot, |at, to| self.pages.copy(&block, at, to))
                            && self.arithmetic.expand_image(
                                query,
                                slot,
                                limit,
                                image.bytes(),
                                expansion,
                            )
                    }
                };
                if !there {
                    found.missing += 1;
                    continue;
                }
                found.expanded += 1;
                let mut mask = expansion.mask;
                while mask != 0 {
                    let lane = mask.trailing_zeros() as usize;
                    mask &= mask - 1;
                    if let (Some(key), Some(slot)) =
                        (expansion.keys.get(lane), expansion.slots.get(lane))
                    {
                        // A node is estimated once for each that has an edge to it. Only the
                        // best of these counts, and none once it was expanded.
                        if seen.improves(*slot, *key)? {
                            beam.add(*key, *slot);
                        }
                    }
                }
                let (mut new, mut later) = (0, 0);
                for (i, slot) in beam.ahead(2 * AHEAD).enumerate() {
                    let (list, count) = match i < AHEAD {
                        true => (&mut fetched, &mut new),
                        false => (&mut sought, &mut later),
                    };
                    if slot < self.end && !list.contains(&slot) {
                        list.rotate_right(1);
                        list[0] = slot;
                        *count += 1;
                    }
                }
                let some = fetched.get(..new).unwrap_or(&[]);
                self.pages
                    .prefetch_some(some, sought.get(..later).unwrap_or(&[]));
                if expansion.key < best.limit() && visit(slot, expansion)? {
                    best.add(expansion.key, slot);
                }
            }
            // One entry reaches everything; others are for when something was lost.
            if best.len() >= k {
                break;
            }
        }
        Ok(found)
    }
}
