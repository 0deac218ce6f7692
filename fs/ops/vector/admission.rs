// SPDX-License-Identifier: GPL-2.0

//! Which records may be hits of a search. Whatever finds candidates, the scan or an index, asks
//! here, so that there is one answer: a hit lives, the caller may see its file, and it is what the
//! search is restricted to.

use super::request::Request;
use super::sight::{Sight, Verdict};
use super::trace::Trace;
use super::Open;
use crate::libvexfs::vector::Record;
use crate::vfs::ioctl::File;
use kernel::prelude::*;

/// Who lets records in, for the length of one search.
pub(super) struct Admission<'a> {
    open: &'a Open,
    sight: Sight<'a>,
}

impl<'a> Admission<'a> {
    /// For what is asked for, through `file`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EIO`.
    pub(super) fn new(file: &'a File, open: &'a Open, request: &Request) -> Result<Self> {
        Ok(Admission {
            open,
            sight: Sight::new(file, request.subtree())?,
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
        let verdict = self.judge(record, trace);
        part.end(&mut trace.told.admit_ns);
        verdict
    }

    fn judge(&mut self, record: &Record, trace: &mut Trace) -> Result<bool> {
        let told = &mut trace.told;
        told.asked += 1;
        let (verdict, remembered) = self.sight.judge(record.ino, record.generation)?;
        told.remembered += u64::from(remembered);
        match verdict {
            Verdict::Hidden => told.refused_sight += 1,
            Verdict::Elsewhere => told.refused_scope += 1,
            Verdict::Seen => return Ok(true),
        }
        Ok(false)
    }
}
