// SPDX-License-Identifier: GPL-2.0

//! Which records may be hits of a search. Whatever finds candidates, the scan or an index, asks
//! here, so that there is one answer: a hit lives, the caller may see its file, it lies where the
//! search is to look, and the filter lets it in.

use super::filter::View;
use super::request::Request;
use super::sight::{self, Sight, Verdict};
use super::trace::Trace;
use super::Open;
use crate::libvexfs::vector::filter::{Filter, Need};
use crate::libvexfs::vector::Record;
use crate::vfs::{bindings, ioctl::File};
use kernel::prelude::*;

/// Who lets records in, for the length of one search.
pub(super) struct Admission<'a> {
    file: &'a File,
    open: &'a Open,
    sight: Sight<'a>,
    filter: Option<&'a Filter>,
    /// A file whose records are no hits.
    not: Option<(u64, u32)>,
}

impl<'a> Admission<'a> {
    /// For what is asked for, through `file`. `not`: a file whose records are to be left out.
    ///
    /// # Errors
    ///
    /// `ENOENT` if a directory of the filter is not there for the caller; `ENOMEM`, `EIO`,
    /// `EUCLEAN`.
    pub(super) fn new(
        file: &'a File,
        open: &'a Open,
        request: &Request,
        filter: Option<&'a Filter>,
        not: Option<(u64, u32)>,
    ) -> Result<Self> {
        let sight = Sight::new(file, request.subtree())?;
        for &(ino, generation) in filter.map_or(&[][..], Filter::dirs) {
            let there = sight::get(file.inode().sb(), ino, generation)?.is_some();
            if !there || !sight.each_path(ino, generation, &mut |_| Ok(true))? {
                return Err(ENOENT);
            }
        }
        Ok(Admission {
            file,
            open,
            sight,
            filter,
            not,
        })
    }

    /// The record that lives in a slot.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    pub(super) fn record(&self, slot: u32) -> Result<Option<Record>> {
        let core = self.open.inode().core().read();
        self.open.inode().fs().record(&core, slot)
    }

    /// Whether the very record still lives in the slot.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    pub(super) fn lives(&self, slot: u32, record: &Record) -> Result<bool> {
        Ok(self.record(slot)?.as_ref() == Some(record))
    }

    /// The file or directory that hits must be or lie below, if it is not everything.
    pub(super) fn scope(&self) -> Option<(u64, u32)> {
        self.sight.scope()
    }

    /// Whether it is asked for less than all that the caller may see.
    pub(super) fn restricts(&self) -> bool {
        self.filter.is_some() || self.not.is_some() || self.scope().is_some()
    }

    /// What is true of all records that the filter lets in, if that is known.
    pub(super) fn need(&self) -> Option<(&'a Filter, Need)> {
        let filter = self.filter?;
        Some((filter, filter.need()?))
    }

    /// Whether a record may be a hit, if it lives. Verdicts on files are remembered, so that to ask
    /// again for another record of a file costs little.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`: only what must end the search.
    ///
    /// # Context
    ///
    /// May sleep; no lock held.
    pub(super) fn admits(&mut self, record: &Record, trace: &mut Trace) -> Result<bool> {
        let part = trace.part();
        let verdict = self.judge(record, &mut trace.told);
        part.end(&mut trace.told.admit_ns);
        let told = &mut trace.told;
        told.asked += 1;
        match verdict? {
            Verdict::Seen => return Ok(true),
            Verdict::Hidden => told.refused_sight += 1,
            Verdict::Elsewhere => told.refused_scope += 1,
            Verdict::Refused | Verdict::Depends => told.refused_filter += 1,
        }
        Ok(false)
    }

    fn judge(&mut self, record: &Record, told: &mut bindings::vexfs_explain) -> Result<Verdict> {
        let (ino, generation) = (record.ino, record.generation);
        if self.not == Some((ino, generation)) {
            return Ok(Verdict::Elsewhere);
        }
        // What the record says is there already: it may spare the look at the file.
        let by_record = self.filter.filter(|filter| filter.uses().record);
        if let Some(filter) = by_record {
            told.filter_runs += 1;
            if filter.run(&mut View::of_record(record))? == Some(false) {
                return Ok(Verdict::Refused);
            }
        }
        let verdict = match self.sight.memo.get(ino, generation) {
            Some(verdict) => {
                told.remembered += 1;
                verdict
            }
            None => {
                let verdict = self.look(ino, generation, told)?;
                self.sight.memo.set(ino, generation, verdict);
                verdict
            }
        };
        match (verdict, self.filter) {
            (Verdict::Depends, Some(filter)) => {
                let Some(inode) = self.sight.readable(ino, generation)? else {
                    return Ok(Verdict::Hidden);
                };
                told.filter_runs += 1;
                let view = View::of_file(&inode, self.file.idmap(), Some(record));
                Ok(match self.run_far(filter, view, (ino, generation))? {
                    Some(true) => Verdict::Seen,
                    _ => Verdict::Refused,
                })
            }
            _ => Ok(verdict),
        }
    }

    /// The verdict on a file, with the filter as far as the file decides it. What costs least comes
    /// first.
    fn look(
        &mut self,
        ino: u64,
        generation: u32,
        told: &mut bindings::vexfs_explain,
    ) -> Result<Verdict> {
        let Some(inode) = self.sight.readable(ino, generation)? else {
            return Ok(Verdict::Hidden);
        };
        let Some(filter) = self.filter else {
            return self.sight.place(ino, generation);
        };
        let mut view = View::of_file(&inode, self.file.idmap(), None);
        told.filter_runs += 1;
        let near = filter.run(&mut view)?;
        if near == Some(false) {
            return Ok(Verdict::Refused);
        }
        let place = self.sight.place(ino, generation)?;
        if place != Verdict::Seen || near == Some(true) {
            return Ok(place);
        }
        told.filter_runs += 1;
        Ok(match self.run_far(filter, view, (ino, generation))? {
            Some(true) => Verdict::Seen,
            Some(false) => Verdict::Refused,
            None => Verdict::Depends,
        })
    }

    /// Runs the filter with all that there is to know of a file: at each of its paths until it is
    /// true, if it asks for the path.
    fn run_far(
        &self,
        filter: &Filter,
        view: View<'_>,
        (ino, generation): (u64, u32),
    ) -> Result<Option<bool>> {
        let mut view = view.with_far(&self.sight, filter);
        if !filter.uses().path {
            return filter.run(&mut view);
        }
        let mut said = Some(false);
        self.sight.each_path(ino, generation, &mut |path| {
            match view.run_at(filter, path)? {
                Some(false) => {}
                other => said = other,
            }
            Ok(said == Some(true))
        })?;
        Ok(said)
    }
}
