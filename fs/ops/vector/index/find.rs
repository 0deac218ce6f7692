// SPDX-License-Identifier: GPL-2.0

//! Searches through an index: the graph gives candidates, the records say which of them are hits,
//! and what the graph has not seen yet is compared one by one.

use super::Index;
use crate::crc32c::crc32c;
use crate::libvexfs::vector::index::node::Image;
use crate::libvexfs::vector::index::search::View;
use crate::libvexfs::vector::index::{Action, Arithmetic as _, Pages as _, Query, Scratch};
use crate::libvexfs::vector::list::List;
use crate::libvexfs::vector::search::{self, Scan as _};
use crate::libvexfs::vector::top::{sort_by_key, Hit};
use crate::ops::vector::request::Request;
use crate::ops::vector::scan::Pass;
use crate::ops::vector::{search::SEED, Open};
use crate::vfs::{
    bindings, graph::GraphKernels, index_pages::IndexPages, sched, super_block::Mount,
};
use kernel::prelude::*;
use kernel::sync::Arc;

/// To expand a node costs about as much as to compare so many bytes of vectors in a row.
const EXPANSION: u64 = 8192;
/// Candidates beyond those that are wanted: some may be dead, and the last ones may change places
/// when they are compared exactly.
const SPARE: usize = 8;
/// Changes that are read together.
const BATCH: usize = 256;

/// An index that a search is to go through.
pub(in crate::ops::vector) struct Plan {
    index: Arc<Index>,
    /// Candidates on the way.
    ef: usize,
    /// Hits that are wanted for each query.
    depth: usize,
    /// The slots of records that the graph may not have yet, in order.
    tail: KVVec<u32>,
    snapshot: super::Snapshot,
}

/// The index that a search should go through, if that is better than to compare all.
///
/// # Errors
///
/// `EUCLEAN`, `EIO`, `ENOMEM`, `EINTR`.
pub(in crate::ops::vector) fn plan(
    mount: &Mount,
    open: &Open,
    request: &Request,
) -> Result<Option<Plan>> {
    // What goes through a list in pages, or by distance, must not miss anything.
    let complete = bindings::VEXFS_SEARCH_EXACT | bindings::VEXFS_SEARCH_WITHIN;
    if request.raw.flags & complete != 0 || request.raw.cursors != 0 || request.files() {
        return Ok(None);
    }
    let index = match mount.vectors.indexes.get(mount, open) {
        Ok(Some(index)) => index,
        Err(e) if e == ENOMEM || e == EINTR => return Err(e),
        // Whatever is wrong with an index, the vectors are there.
        _ => return Ok(None),
    };
    let snapshot = index.snapshot();
    if !snapshot.ready {
        return Ok(None);
    }
    let depth = request.want(0, None).k;
    let ef = match request.raw.ef as usize {
        0 => super::default_ef(&index.record),
        ef => ef,
    };
    let ef = ef.max(depth + SPARE);
    let live = {
        let core = open.inode().core().read();
        mount.fs.vector_counts(&core)?.live
    };
    let all = live.saturating_mul(open.collection.stride());
    if all <= ef as u64 * EXPANSION {
        return Ok(None);
    }
    let Some(tail) = tail(open, snapshot.applied, live / 4)? else {
        return Ok(None);
    };
    Ok(Some(Plan {
        index,
        ef,
        depth,
        tail,
        snapshot,
    }))
}

/// The slots of records that came since the change `from`; none if they are more than `most`.
fn tail(open: &Open, mut from: u64, most: u64) -> Result<Option<KVVec<u32>>> {
    let mut slots = KVVec::new();
    let mut ops = KVec::with_capacity(BATCH, GFP_KERNEL)?;
    loop {
        ops.clear();
        {
            let core = open.inode().core().read();
            open.inode().fs().index_ops(&core, from, BATCH, &mut ops)?;
        }
        let Some((last, _)) = ops.last() else { break };
        from = last + 1;
        for (_, op) in ops.iter().filter(|(_, op)| op.action == Action::Insert) {
            slots.push(op.slot, GFP_KERNEL)?;
        }
        if slots.len() as u64 > most {
            return Ok(None);
        }
        if sched::killed() {
            return Err(EINTR);
        }
        sched::yield_if_needed();
    }
    sort_by_key(&mut slots, |slot| *slot);
    let mut last = None;
    slots.retain(|slot| last.replace(*slot) != Some(*slot));
    Ok(Some(slots))
}

/// What came of a search through an index.
pub(in crate::ops::vector) enum Outcome {
    /// The lists are filled.
    Done,
    /// A budget was used up before.
    Cut,
    /// The graph gave too few hits.
    TooFew,
}

impl Plan {
    /// Fills a list for each query.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`, `EINTR`.
    pub(in crate::ops::vector) fn run(
        &self,
        pass: &mut Pass<'_>,
        lists: &mut [List],
    ) -> Result<Outcome> {
        let told = &mut pass.trace().told;
        told.plan = bindings::VEXFS_PLAN_GRAPH;
        told.ef = self.ef as u32;
        told.tail = self.tail.len() as u64;
        let index = &*self.index;
        let pages = IndexPages::new(&index.file, &index.shape);
        let mut finder = Finder {
            plan: self,
            view: View {
                pages: &pages,
                arithmetic: &&index.kernels,
                shape: &index.shape,
                entries: self.snapshot.entries,
                end: self.snapshot.end,
            },
            query: Query::new(&index.shape)?,
            scratch: Scratch::new(&index.shape)?,
            image: Image::new(&index.shape)?,
            hits: KVVec::with_capacity(self.depth + SPARE, GFP_KERNEL)?,
        };
        let mut outcome = Outcome::Done;
        for (query, list) in lists.iter_mut().enumerate() {
            if !pass.pause()? {
                outcome = Outcome::Cut;
                break;
            }
            if !finder.find(pass, query, list)? {
                outcome = Outcome::TooFew;
                break;
            }
        }
        let counts = pages.counts();
        let per_node = index.shape.pages() as u64;
        pass.count_pages(counts.read * per_node, counts.missed);
        if matches!(outcome, Outcome::Done) && !search::some(pass, &self.tail, lists)? {
            outcome = Outcome::Cut;
        }
        Ok(outcome)
    }

    fn is_in_tail(&self, slot: u32) -> bool {
        self.tail.binary_search(&slot).is_ok()
    }
}

/// Who searches a graph for the queries of a call.
struct Finder<'a> {
    plan: &'a Plan,
    view: View<'a, IndexPages<'a>, &'a GraphKernels>,
    query: Query,
    scratch: Scratch,
    image: Image,
    hits: KVVec<Hit>,
}

impl Finder<'_> {
    /// Fills the list of a query from the graph. False: there may be hits that it did not give.
    fn find(&mut self, pass: &mut Pass<'_>, query: usize, list: &mut List) -> Result<bool> {
        let part = pass.trace().part();
        let arithmetic = self.view.arithmetic;
        arithmetic.prepare(pass.query(query)?, &mut self.query.prepared)?;
        self.query.finish(arithmetic);
        part.end(&mut pass.trace().told.graph_ns);
        let depth = self.plan.depth;
        // Mostly all that is found may be seen. To ask for each node that comes by costs more than
        // to ask for the best in the end.
        let mut enough = false;
        if !pass.restricted() {
            self.walk(pass, depth + SPARE, |_, _, _| Ok(true))?;
            self.judge(pass, query, false)?;
            enough = self.hits.len() >= depth;
        }
        if !enough {
            self.walk(pass, depth, |pass, slot, generation| {
                let record = pass.record(slot)?;
                match record.filter(|record| record.sequence == generation) {
                    Some(record) => pass.admits(&record),
                    None => Ok(false),
                }
            })?;
            self.judge(pass, query, true)?;
            enough = self.hits.len() >= depth;
        }
        for hit in self.hits.iter() {
            if list.wants(hit, |key| pass.bound(key)) {
                list.add(*hit, |key| pass.bound(key))?;
            }
        }
        Ok(enough)
    }

    fn walk(
        &mut self,
        pass: &mut Pass<'_>,
        k: usize,
        mut admit: impl FnMut(&mut Pass<'_>, u32, u32) -> Result<bool>,
    ) -> Result {
        let part = pass.trace().part();
        let plan = self.plan;
        let found = self.view.search(
            &self.query,
            plan.ef,
            k,
            &mut self.scratch,
            |slot, generation| Ok(!plan.is_in_tail(slot) && admit(pass, slot, generation)?),
        )?;
        let told = &mut pass.trace().told;
        told.nodes += found.expanded as u64;
        told.nodes_missing += found.missing as u64;
        part.end(&mut told.graph_ns);
        Ok(())
    }

    /// Makes hits of what was found; `admitted`: it was asked for already.
    fn judge(&mut self, pass: &mut Pass<'_>, query: usize, admitted: bool) -> Result {
        self.hits.clear();
        for (_, slot) in self.scratch.found() {
            let Some(hit) = compare(&self.view, &mut self.image, pass, query, slot)? else {
                continue;
            };
            if admitted || pass.admits(&hit.record)? {
                self.hits.push(hit, GFP_KERNEL)?;
            }
        }
        Ok(())
    }
}

/// Compares the record in a slot exactly. The node has its vector, too: nothing else is read. None:
/// the record is gone.
fn compare(
    view: &View<'_, IndexPages<'_>, &GraphKernels>,
    image: &mut Image,
    pass: &mut Pass<'_>,
    query: usize,
    slot: u32,
) -> Result<Option<Hit>> {
    let Some(block) = view.pages.block(slot)? else {
        return Ok(None);
    };
    let there = image.read_vector(view.shape, slot, |at, to| view.pages.copy(&block, at, to));
    let Some(record) = pass.record(slot)? else {
        return Ok(None);
    };
    if !there || record.sequence != image.generation() {
        return Ok(None);
    }
    // The record came after the vector: if they fit together, the vector is the record's.
    let vector = image.vector(view.shape);
    let key = if crc32c(SEED, vector) == record.crc {
        pass.exact_of(query, vector)?
    } else {
        let key = pass.exact(query, slot)?;
        if !pass.unchanged(slot, &record)? {
            return Ok(None);
        }
        key
    };
    Ok(Some(Hit { key, slot, record }))
}
