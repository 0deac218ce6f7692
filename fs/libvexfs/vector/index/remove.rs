// SPDX-License-Identifier: GPL-2.0

//! Taking a node out in place (IP-DiskANN, arXiv 2502.13826).
//!
//! Nothing tells who has an edge to a node. A search for its vector comes by nearly all of
//! them; those drop the edge and are offered the nearest of the candidates instead. An edge
//! that stays behind leads to a region that is empty, or to another node, whose distance is
//! computed as that of any other.

use super::insert::Work;
use super::{Arithmetic, Expansion, Graph, Pages, Query};
use kernel::prelude::*;

/// Candidates that the ones left behind are offered.
const CANDIDATES: usize = 50;
/// How many each of them is offered.
const OFFERS: usize = 3;

impl<P: Pages, A: Arithmetic<P::Block>> Graph<P, A> {
    /// Takes a node out. False if there is none.
    ///
    /// # Errors
    ///
    /// What [`Pages`] returns; `ENOMEM`. Should it fail, the node is there still, with fewer
    /// edges to it: it can be taken out again.
    pub fn remove(&mut self, work: &mut Work, slot: u32) -> Result<bool> {
        if !self.load_query(work, slot)? {
            return Ok(false);
        }
        let mut behind = core::mem::replace(&mut work.touched, KVec::new());
        behind.clear();
        let Work { query, scratch, .. } = &mut *work;
        let ef = self.params.ef_remove;
        self.walk(query, ef, ef, scratch, |found, expansion: &Expansion| {
            let used = expansion.used as usize;
            if expansion.slots.iter().take(used).any(|s| *s == slot) {
                behind.push(found, GFP_KERNEL)?;
            }
            Ok(found != slot)
        })?;
        work.pool.clear();
        for candidate in work.scratch.best.iter().take(CANDIDATES) {
            work.pool.push(candidate, GFP_KERNEL)?;
        }
        self.load(work, |_| true)?;
        // It is no place for a search to begin at any more.
        self.entries
            .replace(slot, work.pool.first().map(|near| near.1));
        // Those that it led to, and that others do not hide from it.
        let mut led_to = KVec::<u32>::new();
        if self.image(slot, &mut work.image)? {
            let spare = work.image.spare();
            for lane in (0..work.image.used()).filter(|lane| spare >> lane & 1 == 0) {
                led_to.push(work.image.neighbour(lane), GFP_KERNEL)?;
            }
        }
        let mut other = Query::new(&self.shape)?;
        for node in behind.iter() {
            self.reconnect(work, *node, slot, &mut other)?;
        }
        self.pages.write(slot, work.image.erase())?;
        for node in led_to.iter() {
            self.lead_to(work, *node, &mut other)?;
        }
        work.touched = behind;
        Ok(true)
    }

    /// Offers `node`, which has one edge to it less, to the nearest of the candidates.
    fn lead_to(&self, work: &mut Work, node: u32, other: &mut Query) -> Result {
        if node >= self.end || !self.row(node, &mut work.image, &mut other.prepared)? {
            return Ok(());
        }
        let width = self.shape.prepared();
        let rows = work.rows.chunks_exact(width);
        let near = work.pool.iter().zip(rows).filter(|(c, _)| c.1 != node);
        let near = near.map(|(c, row)| (self.arithmetic.distance(&other.prepared, row), c.1));
        let Some((_, near)) = near.min() else {
            return Ok(());
        };
        self.offer_other(work, other, node, near)
    }

    /// Takes the edge to `slot` from `node`, and offers others for it.
    fn reconnect(&self, work: &mut Work, node: u32, slot: u32, other: &mut Query) -> Result {
        if !self.image(node, &mut work.image)? {
            return Ok(());
        }
        let Some(lane) = work.image.lane_of(slot) else {
            return Ok(());
        };
        work.image.remove_edge(&self.shape, lane);
        let width = self.shape.prepared();
        let stored = work.image.vector(&self.shape);
        self.arithmetic
            .unpack(stored, work.image.scale(), &mut work.near);
        let mut nearest = [(u32::MAX, 0usize); OFFERS];
        for (i, row) in work
            .rows
            .chunks_exact(width)
            .take(work.pool.len())
            .enumerate()
        {
            let candidate = work.pool.get(i).map_or(node, |c| c.1);
            if candidate == node || work.image.lane_of(candidate).is_some() {
                continue;
            }
            let mut one = (self.arithmetic.distance(&work.near, row), i);
            for place in nearest.iter_mut() {
                if one < *place {
                    core::mem::swap(&mut one, place);
                }
            }
        }
        for (key, i) in nearest {
            let row = work.rows.get(i * width..(i + 1) * width);
            let (Some(row), Some((_, candidate))) = (row, work.pool.get(i).copied()) else {
                continue;
            };
            if key == u32::MAX {
                continue;
            }
            other.prepared.copy_from_slice(row);
            other.finish(&self.arithmetic);
            core::mem::swap(&mut work.query, other);
            self.offer(work, node, candidate, false);
            core::mem::swap(&mut work.query, other);
        }
        self.store(node, &mut work.image)
    }
}
