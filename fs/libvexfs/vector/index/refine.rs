// SPDX-License-Identifier: GPL-2.0

//! Making a graph better: each node is searched for once more in what the graph has become,
//! and its neighbours are picked anew, from exact distances.

use super::insert::Work;
use super::{Arithmetic, Graph, Pages};
use kernel::prelude::*;

/// Nodes that the mean of a graph is taken from, at most.
const SAMPLE: u32 = 4096;

impl<P: Pages, A: Arithmetic<P::Block>> Graph<P, A> {
    /// Picks the neighbours of a node anew. False if there is no such node.
    ///
    /// # Errors
    ///
    /// What [`Pages`] returns; `ENOMEM`.
    pub fn refine(&mut self, work: &mut Work, slot: u32) -> Result<bool> {
        if !self.load_query(work, slot)? {
            return Ok(false);
        }
        self.candidates(work, slot)?;
        let reached = work.scratch.has_seen(slot);
        // What it has already may be better than what the search came by.
        if !self.image(slot, &mut work.image)? {
            return Ok(false);
        }
        for lane in 0..work.image.used() {
            let neighbour = work.image.neighbour(lane);
            let known = neighbour >= self.end || neighbour == slot;
            if !known && work.pool.iter().all(|c| c.1 != neighbour) {
                work.pool.push((0, neighbour), GFP_KERNEL)?;
            }
        }
        self.load(work, |_| true)?;
        self.sort_pool(work)?;
        self.prune(work)?;
        self.keep_products(work, slot)?;
        if !self.image(slot, &mut work.image)? {
            return Ok(false);
        }
        self.set_edges(work);
        self.store(slot, &mut work.image)?;
        if !reached {
            self.attach(work, slot)?;
        }
        self.connect_back(work, slot)?;
        Ok(true)
    }

    /// Makes the vector of a node the query. False if there is no such node.
    pub(super) fn load_query(&self, work: &mut Work, slot: u32) -> Result<bool> {
        let Work { image, query, .. } = work;
        if !self.row(slot, image, &mut query.prepared)? {
            return Ok(false);
        }
        query.finish(&self.arithmetic);
        Ok(true)
    }

    /// Gives the whole pool its exact keys and puts it in order. Rows follow.
    pub(super) fn sort_pool(&self, work: &mut Work) -> Result {
        let width = self.shape.prepared();
        let Work {
            pool, rows, query, ..
        } = work;
        for ((key, _), row) in pool.iter_mut().zip(rows.chunks_exact(width)) {
            *key = self.arithmetic.distance(&query.prepared, row);
        }
        // It is nearly in order: a candidate moves by what came after the search.
        for i in 1..pool.len() {
            let mut at = i;
            while at > 0 && pool[at - 1] > pool[at] {
                pool.swap(at - 1, at);
                let (before, after) = rows.split_at_mut(at * width);
                let before = before.get_mut((at - 1) * width..).unwrap_or(&mut []);
                let after = after.get_mut(..width).unwrap_or(&mut []);
                if before.len() == after.len() {
                    before.swap_with_slice(after);
                }
                at -= 1;
            }
        }
        Ok(())
    }

    /// Makes the node nearest to the mean of all the first entry, and some others the next.
    ///
    /// # Errors
    ///
    /// What [`Pages`] returns; `ENOMEM`.
    pub fn choose_entries(&mut self, work: &mut Work, count: usize) -> Result {
        let step = self.end.div_ceil(SAMPLE).max(1);
        let mut mean = KVVec::from_elem(0u32, self.shape.prepared(), GFP_KERNEL)?;
        let mut others = KVec::with_capacity(count, GFP_KERNEL)?;
        let sample = (0..self.end).step_by(step as usize);
        let total = sample.len() as u32;
        let apart = (sample.len() / count.max(1)).max(1);
        for (i, slot) in sample.enumerate() {
            let Work { image, query, .. } = &mut *work;
            if self.row(slot, image, &mut query.prepared)? {
                self.arithmetic.mean(&query.prepared, total, &mut mean);
                if i % apart == 0 && others.len() + 1 < count {
                    others.push(slot, GFP_KERNEL)?;
                }
            }
        }
        work.query.prepared.copy_from_slice(&mean);
        work.query.finish(&self.arithmetic);
        self.candidates(work, u32::MAX)?;
        let Some((_, middle)) = work.pool.first().copied() else {
            return Ok(());
        };
        self.entries.clear();
        self.entries.push(middle);
        for slot in others {
            self.entries.push(slot);
        }
        Ok(())
    }
}
