// SPDX-License-Identifier: GPL-2.0

//! Putting a vector into the graph.
//!
//! A search finds the candidates, a prune picks the neighbours, and each of them gets an edge
//! back. Which edges back are worth their lane is decided from the neighbour's page alone:
//! the estimates of that page for the new vector, and the lengths of the edges, are all that
//! a prune needs. So an insert reads what its search reads, and writes one page for itself
//! and one for each neighbour.
//!
//! Lanes cost nothing to look up, so all are filled: *spare* neighbours are those that a prune
//! would have dropped. They are the first to make room.

use super::node::{Edge, Image};
use super::search::Scratch;
use super::{Arithmetic, Expansion, Graph, Pages, Params, Query, Shape, DEGREE};
use kernel::prelude::*;

/// Of vectors equal to one that is put in, how many are looked at.
const COPIES: usize = 4;

/// Candidates that are looked at from the far end when the near ones fill all lanes.
const FAR: usize = 8;
/// How many of them may be kept.
const FAR_LANES: usize = 4;

/// What a change of the graph needs. Made once, used again.
pub struct Work {
    /// The vector that is put in, refined or taken out.
    pub(super) query: Query,
    /// For the search.
    pub(super) scratch: Scratch,
    /// Candidates (key, slot), best first.
    pub(super) pool: KVec<(u32, u32)>,
    /// Their vectors, prepared.
    pub(super) rows: KVVec<u32>,
    /// Places of the neighbours in the pool: those that were chosen, then spare ones.
    pub(super) chosen: KVec<u32>,
    /// How many were chosen.
    pub(super) strong: usize,
    pub(super) image: Image,
    pub(super) edge: Edge,
    /// The vector of the node that gets an edge back.
    pub(super) near: KVVec<u32>,
    pub(super) near_rotated: KVVec<u32>,
    pub(super) expansion: KVBox<Expansion>,
    /// The neighbour that made room in the last offer.
    pub(super) displaced: Option<u32>,
    /// Nodes that had an edge to the one that was taken out last.
    pub(super) touched: KVec<u32>,
}

impl Work {
    /// A new one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(shape: &Shape) -> Result<Work> {
        Ok(Work {
            query: Query::new(shape)?,
            scratch: Scratch::new(shape)?,
            pool: KVec::new(),
            rows: KVVec::new(),
            chosen: KVec::new(),
            strong: 0,
            image: Image::new(shape)?,
            edge: Edge::new(shape)?,
            near: KVVec::from_elem(0, shape.prepared(), GFP_KERNEL)?,
            near_rotated: KVVec::from_elem(0, shape.padded(), GFP_KERNEL)?,
            expansion: KVBox::new(Expansion::new(), GFP_KERNEL)?,
            displaced: None,
            touched: KVec::new(),
        })
    }

    /// The nodes that had an edge to the one that was taken out last, as far as it came by them: to
    /// refine them makes good what the removal cost.
    pub fn touched(&self) -> &[u32] {
        &self.touched
    }
}

impl<P: Pages, A: Arithmetic<P::Block>> Graph<P, A> {
    /// Puts a stored vector in. The slot must not be in the graph.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the vector has a wrong length; what [`Pages`] returns; `ENOMEM`. Should it
    /// fail, the node may be there with a part of its edges: it can be taken out or put in again.
    pub fn insert(&mut self, work: &mut Work, slot: u32, generation: u32, vector: &[u8]) -> Result {
        if vector.len() != self.shape.vector() || slot == u32::MAX {
            return Err(EINVAL);
        }
        let scale = self.arithmetic.scale(vector);
        self.arithmetic
            .unpack(vector, scale, &mut work.query.prepared);
        work.query.finish(&self.arithmetic);
        self.candidates(work, slot)?;
        self.load(work, |_| true)?;
        self.prune(work)?;
        work.image
            .begin(&self.shape, slot, generation, vector, scale);
        self.set_edges(work);
        self.store(slot, &mut work.image)?;
        self.end = self.end.max(slot + 1);
        if self.entries.is_empty() {
            self.entries.push(slot);
        }
        self.connect_back(work, slot)
    }

    /// Searches for the nodes near `work.query`, other than `slot`, into the pool.
    pub(super) fn candidates(&self, work: &mut Work, slot: u32) -> Result {
        let Work {
            query,
            scratch,
            pool,
            ..
        } = work;
        let Params { ef, pool: most, .. } = self.params;
        self.walk(query, ef, most.min(ef), scratch, |found, _| {
            Ok(found != slot)
        })?;
        pool.clear();
        for candidate in scratch.best.iter() {
            pool.push(candidate, GFP_KERNEL)?;
        }
        self.thin_copies(work, slot)
    }

    /// Of vectors that are equal to this one only some stay in the pool, and their neighbours come in:
    /// with nothing but copies in it the node would lead nowhere else, and thousands of such nodes
    /// would be an island.
    fn thin_copies(&self, work: &mut Work, slot: u32) -> Result {
        let Work { pool, image, .. } = work;
        let copies = pool.iter().take_while(|c| c.0 == 0).count();
        if copies <= COPIES {
            return Ok(());
        }
        // Which ones differs from node to node, so that they do not all hang on the same few.
        for i in 0..COPIES {
            let left = copies - i;
            let at = i + (slot.wrapping_mul(0x9e37_79b1) >> 8) as usize % left.max(1);
            pool.swap(i, at);
        }
        let beyond = pool.len() - copies;
        for i in 0..beyond {
            pool[COPIES + i] = pool[copies + i];
        }
        pool.truncate(COPIES + beyond);
        for i in 0..COPIES {
            if !self.image(pool[i].1, image)? {
                continue;
            }
            let lengths = image.lengths();
            for (lane, length) in lengths.iter().enumerate().take(image.used()) {
                let neighbour = image.neighbour(lane);
                let known = pool.iter().any(|c| c.1 == neighbour);
                if *length != 0 && neighbour != slot && neighbour < self.end && !known {
                    // As far from the copy as from this one.
                    pool.push((*length & !1, neighbour), GFP_KERNEL)?;
                }
            }
        }
        // A few dozen; no two have the same slot.
        for i in 1..pool.len() {
            let mut at = i;
            while at > 0 && pool[at - 1] > pool[at] {
                pool.swap(at - 1, at);
                at -= 1;
            }
        }
        Ok(())
    }

    /// Loads the vectors of the pool. What is not there any more, or `wanted` says no to,
    /// leaves the pool.
    pub(super) fn load(&self, work: &mut Work, mut wanted: impl FnMut(u32) -> bool) -> Result {
        let width = self.shape.prepared();
        let Work {
            pool, rows, image, ..
        } = work;
        if rows.len() < pool.len() * width {
            rows.resize(pool.len() * width, 0, GFP_KERNEL)?;
        }
        let mut kept = 0;
        for i in 0..pool.len() {
            let (key, slot) = pool[i];
            let row = rows.get_mut(kept * width..(kept + 1) * width);
            if wanted(slot) && self.row(slot, image, row.unwrap_or(&mut []))? {
                pool[kept] = (key, slot);
                kept += 1;
            }
        }
        pool.truncate(kept);
        Ok(())
    }

    /// Picks neighbours from the pool: those that no nearer one hides, then spare ones.
    pub(super) fn prune(&self, work: &mut Work) -> Result {
        let Work {
            pool,
            rows,
            chosen,
            strong,
            ..
        } = work;
        chosen.clear();
        chosen.reserve(DEGREE, GFP_KERNEL)?;
        let mut spare = [0u32; DEGREE];
        let mut spares = 0;
        for (i, (key, _)) in pool.iter().enumerate() {
            if chosen.len() == DEGREE {
                break;
            }
            let i = i as u32;
            let alpha = self.params.alpha;
            if !self.arithmetic.hidden(rows, i, chosen, *key, alpha) {
                chosen.push(i, GFP_KERNEL)?;
            } else if let Some(place) = spare.get_mut(spares) {
                *place = i;
                spares += 1;
            }
        }
        if chosen.len() == DEGREE {
            self.keep_far_ones(pool, rows, chosen);
        }
        *strong = chosen.len();
        for i in spare.iter().take(spares.min(DEGREE - *strong)) {
            chosen.push(*i, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// In a cluster where all are about equally far from each other nobody hides anybody: were all
    /// lanes for the nearest, no edge would lead out of it. The last lanes go to the farthest
    /// candidates that are not hidden.
    fn keep_far_ones(&self, pool: &[(u32, u32)], rows: &[u32], chosen: &mut [u32]) {
        let from = chosen.last().map_or(0, |last| *last as usize + 1);
        let mut far = [0u32; FAR_LANES];
        let mut kept = 0;
        for (i, (key, _)) in pool.iter().enumerate().skip(from).rev().take(FAR) {
            let i = i as u32;
            let hidden = |by| self.arithmetic.hidden(rows, i, by, *key, self.params.alpha);
            let near = chosen.get(..DEGREE - 1 - kept).unwrap_or(&[]);
            let Some((others, place)) = far.split_at_mut_checked(kept) else {
                break;
            };
            if let (false, false, Some(place)) = (hidden(near), hidden(others), place.first_mut()) {
                *place = i;
                kept += 1;
            }
        }
        for (lane, i) in chosen.iter_mut().rev().zip(far.iter().take(kept)) {
            *lane = *i;
        }
    }

    /// Gives the image the edges that were picked, seen from `work.query`.
    pub(super) fn set_edges(&self, work: &mut Work) {
        let width = self.shape.prepared();
        let Query {
            prepared, rotated, ..
        } = &work.query;
        work.image.clear_edges();
        for (lane, i) in work.chosen.iter().enumerate() {
            let i = *i as usize;
            let row = work.rows.get(i * width..(i + 1) * width).unwrap_or(&[]);
            self.arithmetic.edge(prepared, rotated, row, &mut work.edge);
            let slot = work.pool.get(i).map_or(u32::MAX, |c| c.1);
            work.image.set_edge(&self.shape, lane, slot, &work.edge);
        }
        let strong = work.strong as u32;
        work.image
            .set_spare(u32::MAX.checked_shl(strong).unwrap_or(0));
    }

    /// Offers the node of `slot`, whose vector is `work.query`, to its neighbours, the spare
    /// ones too: whom they are hidden from differs with the side. If none of them has it, the
    /// nearest must take it.
    pub(super) fn connect_back(&self, work: &mut Work, slot: u32) -> Result {
        let mut taken = false;
        // Others have edges to a few of equal vectors only, and to any of them: each must hang on
        // another one of them.
        let copy = work.pool.first().is_some_and(|c| c.0 == 0);
        for i in 0..work.chosen.len() {
            let Some((key, near)) = work.chosen.get(i).and_then(|i| work.pool.get(*i as usize))
            else {
                break;
            };
            let (near, counts) = (*near, !copy || *key == 0);
            if !self.image(near, &mut work.image)? {
                continue;
            }
            if work.image.lane_of(slot).is_some() {
                taken |= counts;
            } else if self.offer(work, near, slot, false) {
                self.store(near, &mut work.image)?;
                taken |= counts;
            }
        }
        if taken {
            return Ok(());
        }
        self.attach(work, slot)
    }

    /// Makes the nearest neighbour of a node take it. What had to make room there hangs on the
    /// node itself then, so that it stays reachable.
    pub(super) fn attach(&self, work: &mut Work, slot: u32) -> Result {
        for i in 0..work.pool.len() {
            let near = work.pool.get(i).map_or(slot, |c| c.1);
            if !self.image(near, &mut work.image)? || !self.offer(work, near, slot, true) {
                continue;
            }
            self.store(near, &mut work.image)?;
            return match work.displaced {
                Some(other) if other != slot => self.hang_on(work, slot, other),
                _ => Ok(()),
            };
        }
        Ok(())
    }

    /// Gives the node of `slot`, whose vector is `work.query`, an edge to another one.
    fn hang_on(&self, work: &mut Work, slot: u32, other: u32) -> Result {
        let Work {
            query,
            image,
            edge,
            near: vector,
            ..
        } = work;
        if !self.row(other, image, vector)?
            || !self.image(slot, image)?
            || image.lane_of(other).is_some()
        {
            return Ok(());
        }
        let used = image.used();
        let lanes = u32::MAX.checked_shl(used as u32).map_or(u32::MAX, |m| !m);
        let spare = image.spare() & lanes;
        // The last spare one is the farthest.
        let lane = match spare.checked_ilog2() {
            _ if used < DEGREE => used,
            Some(lane) => lane as usize,
            None => DEGREE - 1,
        };
        self.arithmetic
            .edge(&query.prepared, &query.rotated, vector, edge);
        image.set_edge(&self.shape, lane, other, edge);
        image.set_spare(spare & !(1 << lane));
        self.store(slot, image)
    }

    /// Offers `slot`, whose vector is prepared in `other`, to the node `near`.
    pub(super) fn offer_other(
        &self,
        work: &mut Work,
        other: &mut Query,
        slot: u32,
        near: u32,
    ) -> Result {
        if !self.image(near, &mut work.image)? || work.image.lane_of(slot).is_some() {
            return Ok(());
        }
        other.finish(&self.arithmetic);
        core::mem::swap(&mut work.query, other);
        let taken = self.offer(work, near, slot, false);
        core::mem::swap(&mut work.query, other);
        match taken {
            true => self.store(near, &mut work.image),
            false => Ok(()),
        }
    }

    /// Offers `slot`, whose vector is `work.query`, to the node `near`, whose image is
    /// `work.image`. True if it took it. If it `must`, its farthest neighbour makes room.
    pub(super) fn offer(&self, work: &mut Work, near: u32, slot: u32, must: bool) -> bool {
        let Work {
            query,
            image,
            edge,
            near: vector,
            near_rotated: rotated,
            expansion,
            displaced,
            ..
        } = work;
        let bytes = image.bytes();
        if near == slot
            || image.lane_of(slot).is_some()
            || !self
                .arithmetic
                .expand_image(query, near, 0, bytes, expansion)
        {
            return false;
        }
        let used = image.used();
        let lanes = u32::MAX.checked_shl(used as u32).map_or(u32::MAX, |m| !m);
        let spare = image.spare() & lanes;
        let lengths = image.lengths();
        let (keys, key) = (&expansion.keys, expansion.key);
        let (hiding, hidden) = self
            .arithmetic
            .compare(&lengths, keys, key, self.params.alpha);
        // Spare neighbours hide nobody, and are hidden already.
        let (hiding, hidden) = (hiding & lanes & !spare, hidden & lanes & !spare);
        let weak = hiding != 0 && !must;
        let farthest = |lanes: u32| {
            let some = (0..DEGREE).filter(|lane| lanes >> lane & 1 == 1);
            some.max_by_key(|lane| lengths.get(*lane).copied())
        };
        // An edge between equal vectors may be the only one to its node, and goes only if that gets
        // another.
        let room = farthest(spare).filter(|lane| must || lengths.get(*lane) != Some(&0));
        let lane = if used < DEGREE {
            used
        } else if let Some(lane) = room {
            // Spare ones make room, but not for one that is spare and farther.
            if weak && lengths.get(lane).is_none_or(|length| *length <= key) {
                return false;
            }
            lane
        } else if weak {
            return false;
        } else {
            let Some(lane) = farthest(if hidden != 0 { hidden } else { lanes }) else {
                return false;
            };
            if !must && lengths.get(lane).is_none_or(|length| *length <= key) {
                return false;
            }
            lane
        };
        *displaced = (lane < used).then(|| image.neighbour(lane));
        let stored = image.vector(&self.shape);
        self.arithmetic.unpack(stored, image.scale(), vector);
        self.arithmetic.rotate(vector, rotated);
        self.arithmetic.edge(vector, rotated, &query.prepared, edge);
        image.set_edge(&self.shape, lane, slot, edge);
        let mine = 1u32 << lane;
        let spare = if weak {
            spare | mine
        } else {
            (spare | hidden) & !mine
        };
        image.set_spare(spare);
        true
    }
}
