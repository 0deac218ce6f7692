// SPDX-License-Identifier: GPL-2.0

//! Searches through an index: the graph gives candidates, the records say which of them are hits,
//! and what the graph has not seen yet is compared one by one.

use super::{changes, Index};
use crate::crc32c::crc32c;
use crate::libvexfs::vector::index::depth::{Depth, Next, SPARE};
use crate::libvexfs::vector::index::node::Image;
use crate::libvexfs::vector::index::search::View;
use crate::libvexfs::vector::index::{Action, Arithmetic as _, Pages as _, Query, Scratch};
use crate::libvexfs::vector::list::List;
use crate::libvexfs::vector::search::{self, Scan as _};
use crate::libvexfs::vector::top::{sort_by_key, Hit};
use crate::libvexfs::vector::Record;
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

/// How much farther than the last hit a candidate may be, in f32, and still change places with it when
/// both are compared exactly: so many steps of the 2^23 from one power of two to the next. Sums of
/// 4,096 squares are not as far off.
const NEAR: u32 = 1 << 11;

/// Hits that there is room for at once.
const FEW: usize = 64;

/// An index that a search is to go through.
pub(in crate::ops::vector) struct Plan {
    index: Arc<Index>,
    /// Candidates on the way.
    ef: usize,
    /// With more of them it would be better to compare all.
    most: usize,
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
    if request.has(bindings::VEXFS_SEARCH_EXACT) {
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
    let ef = match request.raw.ef as usize {
        0 => super::default_ef(&index.collection, &index.record),
        ef => ef,
    };
    let live = {
        let core = open.inode().core().read();
        mount.fs.vector_counts(&core)?.live
    };
    let all = live.saturating_mul(open.collection.stride());
    let most = usize::try_from(all / EXPANSION).unwrap_or(usize::MAX);
    // The radius does not matter here, only that there is one.
    let within = request.radius();
    let fits = |query| Depth::new(&request.want(query, within), ef, most).fits();
    if !(0..request.queries()).all(fits) {
        return Ok(None);
    }
    let Some(tail) = tail(open, snapshot.applied, live / 4)? else {
        return Ok(None);
    };
    // Again, now that the list was read: what a checkpoint has struck off it meanwhile is in the graph.
    let snapshot = index.snapshot();
    Ok(Some(Plan {
        index,
        ef,
        most,
        tail,
        snapshot,
    }))
}

/// The slots of records that came since the change `from`; none if they are more than `most`.
fn tail(open: &Open, from: u64, most: u64) -> Result<Option<KVVec<u32>>> {
    let mut slots = KVVec::new();
    changes(open, from, |ops| {
        for (_, op) in ops.iter().filter(|(_, op)| op.action == Action::Insert) {
            slots.push(op.slot, GFP_KERNEL)?;
        }
        if sched::killed() {
            return Err(EINTR);
        }
        sched::yield_if_needed();
        Ok(slots.len() as u64 <= most)
    })?;
    if slots.len() as u64 > most {
        return Ok(None);
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
            hits: KVVec::new(),
            slots: KVVec::with_capacity(FEW, GFP_KERNEL)?,
            records: KVVec::with_capacity(FEW, GFP_KERNEL)?,
        };
        let mut outcome = Outcome::Done;
        for (query, list) in lists.iter_mut().enumerate() {
            if !pass.pause()? {
                outcome = Outcome::Cut;
                break;
            }
            outcome = finder.find(pass, query, list)?;
            if !matches!(outcome, Outcome::Done) {
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
    hits: KVVec<Hit>,
    /// What is looked up together.
    slots: KVVec<u32>,
    records: KVVec<Option<Record>>,
}

impl Finder<'_> {
    /// Fills the list of a query from the graph.
    fn find(&mut self, pass: &mut Pass<'_>, query: usize, list: &mut List) -> Result<Outcome> {
        let part = pass.trace().part();
        let arithmetic = self.view.arithmetic;
        arithmetic.prepare(pass.query(query)?, &mut self.query.prepared)?;
        self.query.finish(arithmetic);
        part.end(&mut pass.trace().told.graph_ns);
        let mut depth = Depth::new(list.want(), self.plan.ef, self.plan.most);
        loop {
            self.gather(pass, query, &depth)?;
            let mut tried = List::new(*list.want());
            let mut inside = 0;
            for hit in self.hits.iter() {
                inside += usize::from(list.inside(|| pass.bound(hit.key)));
                if tried.wants(hit, |key| pass.bound(key)) {
                    tried.add(*hit, |key| pass.bound(key))?;
                }
            }
            match depth.judge(&tried, self.hits.len(), inside) {
                Next::Deeper => {}
                Next::TooFew => return Ok(Outcome::TooFew),
                Next::Enough => {
                    *list = tried;
                    return Ok(Outcome::Done);
                }
            }
            if !pass.pause()? {
                *list = tried;
                return Ok(Outcome::Cut);
            }
        }
    }

    /// Searches for hits.
    fn gather(&mut self, pass: &mut Pass<'_>, query: usize, depth: &Depth) -> Result {
        pass.trace().told.ef = depth.ef() as u32;
        // Mostly all that is found may be seen. To ask for each node that comes by costs more than
        // to ask for the best in the end.
        if !pass.restricted() {
            self.walk(pass, depth, depth.ef(), SPARE, |_, _, _| Ok(true))?;
            self.judge(pass, query, depth.hits(), false)?;
            if self.hits.len() >= depth.hits() {
                return Ok(());
            }
        }
        let (asked, admitted) = self.walk_admitted(pass, depth, depth.ef())?;
        // What may be seen can lie far behind what lies nearest. Then more is to be kept on the way, or
        // what is found first would be taken for the best.
        match depth.ef_among(asked, admitted) {
            None => {
                self.hits.clear();
                return Ok(());
            }
            Some(ef) if ef > depth.ef() + depth.ef() / 8 => {
                pass.trace().told.ef = ef as u32;
                self.walk_admitted(pass, depth, ef)?;
            }
            Some(_) => {}
        }
        self.judge(pass, query, depth.hits(), true)
    }

    /// Walks to the best of those that live and may be seen. Returns for how many that was asked, and
    /// how many of them do.
    fn walk_admitted(
        &mut self,
        pass: &mut Pass<'_>,
        depth: &Depth,
        ef: usize,
    ) -> Result<(usize, usize)> {
        let (mut asked, mut admitted) = (0, 0);
        self.walk(pass, depth, ef, 0, |pass, slot, generation| {
            let record = pass.record(slot)?;
            let admits = match record.filter(|record| record.sequence == generation) {
                Some(record) => pass.admits(&record)?,
                None => false,
            };
            asked += 1;
            admitted += usize::from(admits);
            Ok(admits)
        })?;
        Ok((asked, admitted))
    }

    fn walk(
        &mut self,
        pass: &mut Pass<'_>,
        depth: &Depth,
        ef: usize,
        spare: usize,
        mut admit: impl FnMut(&mut Pass<'_>, u32, u32) -> Result<bool>,
    ) -> Result {
        let part = pass.trace().part();
        let plan = self.plan;
        let found = self.view.search_and_spare(
            &self.query,
            ef,
            depth.hits(),
            spare,
            &mut self.scratch,
            |slot, generation| Ok(!plan.is_in_tail(slot) && admit(pass, slot, generation)?),
        )?;
        let told = &mut pass.trace().told;
        told.nodes += found.expanded as u64;
        told.nodes_missing += found.missing as u64;
        part.end(&mut told.graph_ns);
        Ok(())
    }

    /// Makes hits of what was found, until there are so many; `admitted`: it was asked for already.
    fn judge(
        &mut self,
        pass: &mut Pass<'_>,
        query: usize,
        enough: usize,
        admitted: bool,
    ) -> Result {
        let Finder { view, .. } = self;
        self.hits.clear();
        self.hits.reserve(enough.min(FEW), GFP_KERNEL)?;
        let (found, image) = self.scratch.found_and_room();
        let mut found = found.peekable();
        while self.hits.len() < enough {
            // As many as there are to be yet, and those that may change places with the last.
            let missing = enough - self.hits.len();
            let mut farthest = u32::MAX;
            self.slots.clear();
            while let Some((key, slot)) = found.next_if(|(key, _)| *key <= farthest) {
                self.slots.push(slot, GFP_KERNEL)?;
                if self.slots.len() == missing {
                    farthest = key.saturating_add(NEAR);
                }
            }
            if self.slots.is_empty() {
                break;
            }
            sort_by_key(&mut self.slots, |slot| *slot);
            pass.records_of(&self.slots, &mut self.records)?;
            for (slot, record) in self.slots.iter().zip(self.records.iter()) {
                let Some(record) = record else {
                    continue;
                };
                let hit = compare(view, image, pass, query, *slot, record)?;
                let Some(hit) = hit else {
                    continue;
                };
                if admitted || pass.admits(record)? {
                    self.hits.push(hit, GFP_KERNEL)?;
                }
            }
        }
        Ok(())
    }
}

/// Compares the record in a slot exactly. The node has its vector, too: nothing else is read. None:
/// the node is another's.
fn compare(
    view: &View<'_, IndexPages<'_>, &GraphKernels>,
    image: &mut Image,
    pass: &mut Pass<'_>,
    query: usize,
    slot: u32,
    record: &Record,
) -> Result<Option<Hit>> {
    let Some(block) = view.pages.block(slot)? else {
        return Ok(None);
    };
    let there = image.read_vector(view.shape, slot, |at, to| view.pages.copy(&block, at, to));
    if !there || record.sequence != image.generation() {
        return Ok(None);
    }
    // If they fit together, the vector is that of the record, which lived when it was looked up.
    let vector = image.vector(view.shape);
    let key = if crc32c(SEED, vector) == record.crc {
        pass.exact_of(query, vector)?
    } else {
        let key = pass.exact(query, slot)?;
        if !pass.unchanged(slot, record)? {
            return Ok(None);
        }
        key
    };
    Ok(Some(Hit {
        key,
        slot,
        record: *record,
    }))
}
