// SPDX-License-Identifier: GPL-2.0

//! How many hits a search through a graph has to ask for, so that a list gets what it wants: each
//! file once, those within a radius, those behind a place.

use crate::libvexfs::vector::list::{List, Want};

/// Candidates beyond those that are wanted: some may be dead, and the last ones may change places
/// when they are compared exactly.
pub const SPARE: usize = 8;
/// Hits that are asked for first if there is a radius: mostly few are inside.
const WITHIN: usize = 32;

/// What to do after a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The list has what it wants, as far as the graph knows.
    Enough,
    /// To search again, deeper.
    Deeper,
    /// The graph does not give enough, or to compare all would cost less.
    TooFew,
}

/// How deep a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    hits: usize,
    ef: usize,
    most: usize,
    within: bool,
}

impl Depth {
    /// For a list. `ef` candidates are kept on the way if that is enough, and not more than `most`.
    pub fn new(want: &Want, ef: usize, most: usize) -> Depth {
        let first = match want.within {
            Some(_) => WITHIN,
            None => want.k,
        };
        Depth {
            hits: want.told.saturating_add(first),
            ef,
            most,
            within: want.within.is_some(),
        }
    }

    /// Hits to ask for.
    pub fn hits(&self) -> usize {
        self.hits
    }

    /// Candidates to keep on the way: the last ones of them are far from all that there are at
    /// their distance.
    pub fn ef(&self) -> usize {
        let twice = self.hits.saturating_mul(2);
        self.ef.max(twice).max(self.hits.saturating_add(SPARE))
    }

    /// Candidates to keep if of `asked` nodes that were come by only some are let in: so many that among
    /// them are as many of those as there would be of all. None: to compare all would cost less.
    pub fn ef_among(&self, asked: usize, admitted: usize) -> Option<usize> {
        let all = self.ef().saturating_mul(asked);
        let ef = all.checked_div(admitted).unwrap_or(usize::MAX);
        (ef <= self.most).then_some(ef)
    }

    /// Whether to begin at all.
    pub fn fits(&self) -> bool {
        self.ef() <= self.most
    }

    /// What to do when a search found so many hits, of which so many are `inside` the radius, and
    /// all were offered to the list.
    pub fn judge(&mut self, list: &List, found: usize, inside: usize) -> Next {
        if list.full() {
            return Next::Enough;
        }
        if found < self.hits {
            return Next::TooFew;
        }
        // The search went far beyond the radius: what is inside, it has passed.
        if self.within && inside <= found / 2 {
            return Next::Enough;
        }
        self.hits = self.hits.saturating_mul(2);
        match self.fits() {
            true => Next::Deeper,
            false => Next::TooFew,
        }
    }
}
