// SPDX-License-Identifier: GPL-2.0

//! The search: plan, run, tell.

use super::admission::Admission;
use super::index::{self, Outcome};
use super::prepared::{Cached, Given};
use super::request::Request;
use super::scan::{Budget, Pass};
use super::trace::Trace;
use super::{plan, query, sight, unless_dropped, Open};
use crate::libvexfs::format::inode::STATE_OFFLINE;
use crate::libvexfs::vector::fuse;
use crate::libvexfs::vector::held;
use crate::libvexfs::vector::list::{behind, List};
use crate::libvexfs::vector::search::{self, Scan as _};
use crate::libvexfs::vector::top::Hit;
use crate::libvexfs::vector::Record;
use crate::vfs::{bindings, ioctl::File, sched::apart, uapi};
use kernel::{prelude::*, sync::Arc};

/// Checksums of vectors begin with this.
pub(super) const SEED: u32 = !0;

/// A list of hits as it is told.
struct Told {
    hits: KVVec<Hit>,
    /// There are no more behind it.
    ended: bool,
}

/// `VEXFS_IOC_SEARCH`.
pub(super) fn search(file: &File, arg: usize) -> Result<isize> {
    let mut request = Request::read(arg)?;
    let mut trace = Trace::new(request.raw.explain != 0);
    let part = trace.part();
    let open = Open::new(file.inode().mount(), request.raw.collection)?;
    if request.raw.dim != open.collection.dim {
        return Err(EINVAL);
    }
    let given = Given::read(file, &request.raw)?;
    let filter = given.filter();
    let query = query::read(file, &open, &request)?;
    request.raw.queries = (query.vectors.len() / open.wide()) as u32;
    let others = request.has(bindings::VEXFS_SEARCH_OTHERS);
    let not = query.like.filter(|_| others);
    let admission = Admission::new(file, &open, &request, filter, not)?;
    let cached = unless_dropped(&open, given.matches(file, &open))?;
    let slots = match &cached {
        Some(_) => None,
        None => unless_dropped(&open, plan::slots(file, &open, &admission))?,
    };
    part.end(&mut trace.told.plan_ns);
    let budget = Budget {
        time: Some(request.raw.budget_ns).filter(|time| *time != 0),
        pages: Some(request.raw.budget_pages).filter(|pages| *pages != 0),
    };
    let mut pass = Pass::new(&open, &query.vectors, admission, &mut trace, budget)?;
    let plan = match (slots, cached) {
        (_, Some(cached)) => Plan::Prepared(cached),
        (Some(slots), None) => Plan::Slots(slots),
        (None, None) => unless_dropped(&open, index::plan(file.inode().mount(), &open, &request))?
            .map_or(Plan::All, Plan::Index),
    };
    let found = run(&mut request, &mut pass, &plan);
    let (lists, complete) = unless_dropped(&open, found)?;
    if !complete {
        request.raw.result |= bindings::VEXFS_RESULT_TRUNCATED;
    }
    tell_all(file, &open, &request, &mut pass, &lists)?;
    drop(pass);
    if request.raw.explain != 0 {
        trace.tell(file, request.raw.explain)?;
    }
    request.answer(arg)?;
    Ok(0)
}

/// What a search compares.
enum Plan {
    /// All vectors.
    All,
    /// Those of some slots, which are known to be enough.
    Slots(KVVec<u32>),
    /// Those that a prepared filter was found to let in.
    Prepared(Arc<Cached>),
    /// What an index finds.
    Index(index::Plan),
}

/// An empty list for each query.
fn empty(request: &Request, pass: &Pass<'_>) -> Result<KVec<List>> {
    let within = match request.radius() {
        Some(radius) => Some(pass.within(radius)?),
        None => None,
    };
    let mut lists = KVec::with_capacity(request.queries(), GFP_KERNEL)?;
    for query in 0..request.queries() {
        lists.push(List::new(request.want(query, within)), GFP_KERNEL)?;
    }
    Ok(lists)
}

/// Finds the hits. False: a budget was used up.
fn run(request: &mut Request, pass: &mut Pass<'_>, plan: &Plan) -> Result<(KVec<Told>, bool)> {
    let mut lists = empty(request, pass)?;
    let told = &mut pass.trace().told;
    let complete = match plan {
        Plan::Slots(slots) => {
            told.plan = bindings::VEXFS_PLAN_SLOTS;
            told.known = slots.len() as u64;
            search::some(pass, slots, &mut lists)?
        }
        Plan::Prepared(cached) => {
            told.plan = bindings::VEXFS_PLAN_PREPARED;
            told.known = (cached.held().len() + cached.slots().len()) as u64;
            pass.hold(cached.held());
            held::held(pass, &mut lists)? && search::some(pass, cached.slots(), &mut lists)?
        }
        Plan::All => {
            told.plan = bindings::VEXFS_PLAN_SCAN;
            search::all(pass, &mut lists)?
        }
        Plan::Index(plan) => match apart(|| plan.run(pass, &mut lists))? {
            Outcome::TooFew => {
                pass.trace().told.plan = bindings::VEXFS_PLAN_GRAPH_SCAN;
                lists = empty(request, pass)?;
                search::all(pass, &mut lists)?
            }
            outcome => {
                request.raw.result |= bindings::VEXFS_RESULT_APPROXIMATE;
                matches!(outcome, Outcome::Done)
            }
        },
    };
    let mut found = KVec::with_capacity(request.lists(), GFP_KERNEL)?;
    if request.fused() {
        let mut sorted = KVec::with_capacity(lists.len(), GFP_KERNEL)?;
        for list in lists {
            sorted.push(list.into_sorted(), GFP_KERNEL)?;
        }
        let mut hits = fuse::fuse(&sorted, request.files())?;
        behind(&mut hits, request.after(0), usize::MAX);
        let ended = hits.len() <= request.k();
        hits.truncate(request.k());
        found.push(Told { hits, ended }, GFP_KERNEL)?;
    } else {
        for list in lists {
            let ended = !list.full();
            let hits = list.into_sorted();
            found.push(Told { hits, ended }, GFP_KERNEL)?;
        }
    }
    Ok((found, complete))
}

/// Tells the user all hits.
fn tell_all(
    file: &File,
    open: &Open,
    request: &Request,
    pass: &mut Pass<'_>,
    lists: &[Told],
) -> Result {
    let part = pass.trace().part();
    let raw = &request.raw;
    let complete = raw.result & bindings::VEXFS_RESULT_TRUNCATED == 0;
    for (at, list) in lists.iter().enumerate() {
        let mut count = 0;
        let hits = match request.ended(at) {
            true => &[],
            false => list.hits.as_slice(),
        };
        for hit in hits {
            let score = match request.fused() {
                true => fuse::score(hit.key),
                false => open.kernels.score(hit.key),
            };
            // What was let in may be gone by now.
            let Some(told) = describe(file, hit.slot, &hit.record)? else {
                continue;
            };
            let told = bindings::vexfs_record { score, ..told };
            uapi::put_item(raw.hits, raw.hit_size, at * request.k() + count, &told)?;
            count += 1;
        }
        let to = raw.counts.checked_add(4 * at as u64).ok_or(EFAULT)?;
        uapi::slice(to, 4)
            .writer()
            .write_slice(&(count as u32).to_ne_bytes())?;
        if complete {
            let last = hits.last().map(|hit| (hit.key, hit.slot));
            request.move_cursor(at, last, hits.len(), list.ended)?;
        }
        pass.pause()?;
    }
    part.end(&mut pass.trace().told.tell_ns);
    Ok(())
}

/// What a user is told of a record; `None` if its file is gone.
pub(super) fn describe(
    file: &File,
    slot: u32,
    record: &Record,
) -> Result<Option<bindings::vexfs_record>> {
    let Some(owner) = sight::get(file.inode().sb(), record.ino, record.generation)? else {
        return Ok(None);
    };
    let core = owner.core().read();
    let mut flags = 0;
    if file.inode().fs().is_stale(&core, record)? {
        flags |= bindings::VEXFS_RECORD_STALE;
    }
    if core.state & STATE_OFFLINE != 0 {
        flags |= bindings::VEXFS_RECORD_OFFLINE;
    }
    Ok(Some(bindings::vexfs_record {
        key: record.key,
        ino: record.ino,
        off: record.off,
        len: record.len,
        version: record.version,
        generation: record.generation,
        flags,
        score: 0,
        slot,
    }))
}
