// SPDX-License-Identifier: GPL-2.0

//! A list of hits that a search fills: the best records, or files; within a radius; behind a
//! place where an earlier list ended.

use super::files::Files;
use super::top::{Hit, Top};
use kernel::prelude::*;

/// A place in a list: key and slot of the last hit before it.
pub type Place = (u64, u32);

/// What a list takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Want {
    /// Hits.
    pub k: usize,
    /// Each file once.
    pub files: bool,
    /// The 32-bit key that no hit's bound may be above, if the list has a radius.
    pub within: Option<u32>,
    /// Only what lies behind this place.
    pub after: Option<Place>,
    /// How many hits the lists before this one had, if files are counted: a file may come
    /// back by another record.
    pub told: usize,
}

enum Kind {
    Records(Top),
    Files(Files),
}

/// A list that is being filled.
pub struct List {
    want: Want,
    kind: Kind,
    /// No optimistic key of a hit is above it.
    limit: u32,
}

impl List {
    /// An empty one.
    pub fn new(want: Want) -> List {
        List {
            want,
            kind: match want.files {
                // What an earlier list told is found again, and dropped in the end.
                true => Kind::Files(Files::new(want.k.saturating_add(want.told))),
                false => Kind::Records(Top::new(want.k)),
            },
            limit: want.within.unwrap_or(u32::MAX),
        }
    }

    /// What it takes.
    pub fn want(&self) -> &Want {
        &self.want
    }

    /// Whether a hit with this 32-bit bound of its key lies within the radius, if there is one.
    pub fn inside(&self, bound: impl FnOnce() -> u32) -> bool {
        self.want.within.is_none_or(|within| bound() <= within)
    }

    /// The optimistic key that a candidate must not be above.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether a hit would be let in. `bound` is [`super::search::Scan::bound`].
    pub fn wants(&self, hit: &Hit, bound: impl FnOnce(u64) -> u32) -> bool {
        self.inside(|| bound(hit.key))
            && match &self.kind {
                Kind::Records(top) => {
                    let behind = self
                        .want
                        .after
                        .is_none_or(|after| (hit.key, hit.slot) > after);
                    behind && top.wants(hit.key, hit.slot)
                }
                Kind::Files(files) => files.wants(hit),
            }
    }

    /// Adds a hit that is wanted.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn add(&mut self, hit: Hit, bound: impl FnOnce(u64) -> u32) -> Result {
        let worst = match &mut self.kind {
            Kind::Records(top) => {
                top.add(hit)?;
                top.worst()
            }
            Kind::Files(files) => {
                files.add(hit)?;
                files.worst()
            }
        };
        if let Some(worst) = worst {
            self.limit = self.limit.min(bound(worst));
        }
        Ok(())
    }

    /// Whether it has as many hits as it takes: there may be more then, behind it.
    pub fn full(&self) -> bool {
        match &self.kind {
            Kind::Records(top) => top.worst().is_some(),
            Kind::Files(files) => files.full(),
        }
    }

    /// The hits, best first.
    pub fn into_sorted(self) -> KVVec<Hit> {
        match self.kind {
            Kind::Records(top) => top.into_sorted(),
            Kind::Files(files) => {
                let mut hits = files.into_sorted();
                behind(&mut hits, self.want.after, self.want.k);
                hits
            }
        }
    }
}

/// Leaves the first `k` hits behind a place in a sorted list.
pub fn behind(hits: &mut KVVec<Hit>, after: Option<Place>, k: usize) {
    if let Some(after) = after {
        hits.retain(|hit| (hit.key, hit.slot) > after);
    }
    hits.truncate(k);
}
