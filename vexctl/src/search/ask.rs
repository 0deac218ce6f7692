// SPDX-License-Identifier: GPL-2.0
//! The call that searches.

use super::program::Program;
use crate::abi::{ioctl, vector as abi};
use crate::mounted::{Collection, Mounted};
use anyhow::{anyhow, bail, Result};
use nix::errno::Errno;
use serde::Serialize;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Queries from which on it is worth to have the kernel find out once what a filter lets in.
const PREPARE: usize = 64;

/// What is asked for.
#[derive(Default)]
pub struct Ask<'a> {
    /// Rows of the collection's dimension; not looked at if `like` is given.
    pub queries: &'a [f32],
    /// All vectors of this file are queries.
    pub like: Option<&'a File>,
    pub k: u32,
    /// `abi::SEARCH_*`, but for those that the other fields imply.
    pub flags: u32,
    pub ef: u32,
    pub within: Option<f32>,
    pub filter: Option<&'a Program>,
    pub budget_ns: u64,
    pub budget_pages: u64,
    pub cursor: Option<abi::Cursor>,
    pub explain: bool,
}

/// What is found.
#[derive(Default)]
pub struct Answer {
    /// Hits of each query; of all queries together if they were fused.
    pub lists: Vec<Vec<abi::Record>>,
    pub result: u32,
    pub cursor: Option<abi::Cursor>,
    pub explain: Option<abi::Explain>,
}

impl Ask<'_> {
    /// Asks the kernel, in as many calls as it takes.
    pub fn ask(&self, mounted: &Mounted, collection: &Collection) -> Result<Answer, Errno> {
        let dim = collection.dim().max(1);
        if self.flags & abi::SEARCH_FUSE != 0 || self.like.is_some() {
            return self.call(mounted, collection, self.queries, None);
        }
        let prepared = match self.filter {
            Some(program) if self.queries.len() / dim >= PREPARE => prepare(mounted, program)?,
            _ => None,
        };
        let at_once = (abi::MAX_HITS / self.k.max(1)).clamp(1, abi::MAX_QUERIES) as usize;
        let mut all = Answer::default();
        for queries in self.queries.chunks(at_once * dim) {
            let answer = self.call(mounted, collection, queries, prepared.as_ref())?;
            all.lists.extend(answer.lists);
            all.result |= answer.result;
            all.cursor = answer.cursor;
            all.explain = answer.explain;
        }
        Ok(all)
    }

    fn call(
        &self,
        mounted: &Mounted,
        collection: &Collection,
        queries: &[f32],
        prepared: Option<&OwnedFd>,
    ) -> Result<Answer, Errno> {
        let fused = self.flags & abi::SEARCH_FUSE != 0;
        let n = match self.like {
            Some(_) => abi::MAX_QUERIES as usize,
            None => queries.len() / collection.dim().max(1),
        };
        let lists = if fused { 1 } else { n };
        let mut hits = vec![abi::Record::default(); lists * self.k as usize];
        let mut counts = vec![0u32; lists];
        let mut cursor = self.cursor;
        let mut explain = abi::Explain::default();
        let here = self.filter.filter(|_| prepared.is_none());
        let insns = here.map(instructions);
        let filter = here
            .zip(insns.as_deref())
            .map(|(program, insns)| abi::Filter::new(insns, &program.data));
        let mut arg = abi::Search {
            flags: self.flags
                | self.within.map_or(0, |_| abi::SEARCH_WITHIN)
                | self.like.map_or(0, |_| abi::SEARCH_LIKE_FILE)
                | prepared.map_or(0, |_| abi::SEARCH_PREPARED),
            collection: collection.raw.id,
            dim: collection.raw.dim,
            queries: n as u32,
            k: self.k,
            vectors: queries.as_ptr() as u64,
            hits: hits.as_mut_ptr() as u64,
            counts: counts.as_mut_ptr() as u64,
            hit_size: size_of::<abi::Record>() as u32,
            ef: self.ef,
            radius: self.within.map_or(0, f32::to_bits),
            like_fd: self.like.map_or(0, |f| f.as_raw_fd()),
            filter_fd: prepared.map_or(0, |f| f.as_raw_fd()),
            filter: filter.as_ref().map_or(0, |f| std::ptr::from_ref(f) as u64),
            cursors: cursor.as_mut().map_or(0, |c| std::ptr::from_mut(c) as u64),
            budget_ns: self.budget_ns,
            budget_pages: self.budget_pages,
            explain: match self.explain {
                true => std::ptr::from_mut(&mut explain) as u64,
                false => 0,
            },
            ..Default::default()
        };
        ioctl(mounted, abi::IOC_SEARCH, &mut arg)?;
        let found = if fused { 1 } else { arg.queries as usize };
        let lists = hits
            .chunks(self.k.max(1) as usize)
            .zip(counts)
            .take(found)
            .map(|(hits, count)| hits.iter().take(count as usize).copied().collect())
            .collect();
        Ok(Answer {
            lists,
            result: arg.result,
            cursor,
            explain: self.explain.then_some(explain),
        })
    }
}

/// The instructions of a program as the kernel takes them.
fn instructions(program: &Program) -> Vec<abi::FilterInsn> {
    program.insns.iter().map(abi::FilterInsn::from).collect()
}

/// Has the kernel prepare a filter. None: it does not know how to.
pub fn prepare(mounted: &Mounted, program: &Program) -> Result<Option<OwnedFd>, Errno> {
    let insns = instructions(program);
    match ioctl(
        mounted,
        abi::IOC_FILTER,
        &mut abi::Filter::new(&insns, &program.data),
    ) {
        // SAFETY: The kernel just made the descriptor for us.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(Errno::ENOTTY | Errno::EOPNOTSUPP) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A cursor as users see it; none at the end.
pub fn token(cursor: &abi::Cursor) -> Option<String> {
    (cursor.flags & abi::CURSOR_END == 0)
        .then(|| format!("{:016x}-{:08x}-{:x}", cursor.key, cursor.slot, cursor.told))
}

/// The cursor of a token; `start` is the first page.
pub fn cursor(token: &str) -> Result<abi::Cursor> {
    if token == "start" {
        return Ok(abi::Cursor::default());
    }
    let bad = || anyhow!("{token} is no cursor: take `start`, or what the page before told");
    let parts: Vec<&str> = token.split('-').collect();
    let [key, slot, told] = parts[..] else {
        bail!(bad());
    };
    Ok(abi::Cursor {
        key: u64::from_str_radix(key, 16).map_err(|_| bad())?,
        slot: u32::from_str_radix(slot, 16).map_err(|_| bad())?,
        flags: abi::CURSOR_BEGUN,
        told: u64::from_str_radix(told, 16).map_err(|_| bad())?,
    })
}

/// How a search went, for people and programs. What the caller may not know is not there.
#[derive(Serialize)]
pub struct Explained {
    pub plan: &'static str,
    pub ef: u32,
    pub total_us: f64,
    #[serde(flatten)]
    pub counts: Option<Counts>,
}

/// Counts, and times of the parts.
#[derive(Serialize)]
pub struct Counts {
    known: u64,
    nodes: u64,
    nodes_missing: u64,
    tail: u64,
    scanned: u64,
    scored: u64,
    pages: u64,
    pages_missed: u64,
    asked: u64,
    refused_dead: u64,
    refused_sight: u64,
    refused_scope: u64,
    refused_filter: u64,
    filter_runs: u64,
    remembered: u64,
    plan_us: f64,
    graph_us: f64,
    scan_us: f64,
    score_us: f64,
    admit_us: f64,
    tell_us: f64,
}

impl Explained {
    pub fn new(raw: &abi::Explain) -> Explained {
        let us = |ns: u64| ns as f64 / 1000.0;
        Explained {
            plan: match raw.plan {
                abi::PLAN_SCAN => "scan of all vectors",
                abi::PLAN_SLOTS => "scan of the vectors that can match",
                abi::PLAN_GRAPH => "index",
                abi::PLAN_PREPARED => "scan of the vectors that the filter was found to let in",
                abi::PLAN_GRAPH_SCAN => "index, then a scan of all vectors",
                _ => "unknown",
            },
            ef: raw.ef,
            total_us: us(raw.total_ns),
            counts: (raw.flags & abi::EXPLAIN_ALL != 0).then(|| Counts {
                known: raw.known,
                nodes: raw.nodes,
                nodes_missing: raw.nodes_missing,
                tail: raw.tail,
                scanned: raw.scanned,
                scored: raw.scored,
                pages: raw.pages,
                pages_missed: raw.pages_missed,
                asked: raw.asked,
                refused_dead: raw.refused_dead,
                refused_sight: raw.refused_sight,
                refused_scope: raw.refused_scope,
                refused_filter: raw.refused_filter,
                filter_runs: raw.filter_runs,
                remembered: raw.remembered,
                plan_us: us(raw.plan_ns),
                graph_us: us(raw.graph_ns),
                scan_us: us(raw.scan_ns),
                score_us: us(raw.score_ns),
                admit_us: us(raw.admit_ns),
                tell_us: us(raw.tell_ns),
            }),
        }
    }

    /// Lines for people.
    pub fn text(&self) -> String {
        let mut lines = vec![format!(
            "plan: {}, {:.1} us in all",
            self.plan, self.total_us
        )];
        if let Some(c) = &self.counts {
            lines.push(format!(
                "compared: {} roughly, {} exactly; {} pages, {} of them read from the device",
                c.scanned, c.scored, c.pages, c.pages_missed
            ));
            lines.push(format!(
                "index: {} nodes, {} not there, {} behind it, ef {}",
                c.nodes, c.nodes_missing, c.tail, self.ef
            ));
            lines.push(format!(
                "candidates: {}; refused: {} gone, {} not visible, {} elsewhere, {} by the filter ({} runs, {} remembered)",
                c.asked, c.refused_dead, c.refused_sight, c.refused_scope, c.refused_filter, c.filter_runs, c.remembered
            ));
            lines.push(format!(
                "time in us: plan {:.1}, index {:.1}, compare {:.1}, exactly {:.1}, admit {:.1}, tell {:.1}",
                c.plan_us, c.graph_us, c.scan_us, c.score_us, c.admit_us, c.tell_us
            ));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        let c = abi::Cursor {
            key: u64::MAX - 5,
            slot: 7,
            flags: abi::CURSOR_BEGUN,
            told: 20,
        };
        let back = cursor(&token(&c).unwrap()).unwrap();
        assert_eq!(
            (back.key, back.slot, back.flags, back.told),
            (c.key, c.slot, c.flags, c.told)
        );
        let start = cursor("start").unwrap();
        assert_eq!(
            (start.key, start.slot, start.flags, start.told),
            (0, 0, 0, 0)
        );
        assert_eq!(
            token(&abi::Cursor {
                flags: abi::CURSOR_END,
                ..c
            }),
            None
        );
        for bad in ["", "x", "1-2", "1-2-3-4", "g-1-1"] {
            assert!(cursor(bad).is_err(), "{bad}");
        }
    }
}
