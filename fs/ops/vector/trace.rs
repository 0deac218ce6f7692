// SPDX-License-Identifier: GPL-2.0

//! How a search went, for those who ask.

use crate::vfs::{access, bindings, ioctl::File, uapi};
use kernel::prelude::*;
use kernel::time::{Instant, Monotonic};

/// Counts and times of one search.
pub(super) struct Trace {
    /// What is told in the end.
    pub(super) told: bindings::vexfs_explain,
    begun: Instant<Monotonic>,
    /// Somebody asked.
    wanted: bool,
}

/// A part of the search that began; none if nobody asks how long it takes.
pub(super) struct Part(Option<Instant<Monotonic>>);

impl Part {
    /// Ends the part: adds its time to `total`.
    pub(super) fn end(self, total: &mut u64) {
        if let Some(begun) = self.0 {
            *total = total.saturating_add(nanoseconds(begun));
        }
    }
}

fn nanoseconds(since: Instant<Monotonic>) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(0)
}

impl Trace {
    /// Begins now.
    pub(super) fn new(wanted: bool) -> Self {
        Trace {
            told: uapi::zeroed(),
            begun: Instant::now(),
            wanted,
        }
    }

    /// Nanoseconds since the beginning.
    pub(super) fn elapsed(&self) -> u64 {
        nanoseconds(self.begun)
    }

    /// Begins a part.
    pub(super) fn part(&self) -> Part {
        Part(self.wanted.then(Instant::now))
    }

    /// Tells the caller who gave `struct vexfs_explain` at this address.
    ///
    /// # Errors
    ///
    /// `EFAULT`, `EINVAL`, `E2BIG`.
    pub(super) fn tell(&mut self, file: &File, address: u64) -> Result {
        let address = usize::try_from(address).map_err(|_| EFAULT)?;
        let (_, size) = uapi::get::<bindings::vexfs_explain>(address, 32)?;
        let all = access::capable_over(file.inode().sb(), bindings::CAP_SYS_ADMIN);
        let public = bindings::vexfs_explain {
            size,
            flags: 0,
            plan: self.told.plan,
            ef: self.told.ef,
            total_ns: self.elapsed(),
            ..uapi::zeroed()
        };
        let told = match all {
            true => bindings::vexfs_explain {
                size,
                flags: bindings::VEXFS_EXPLAIN_ALL,
                total_ns: public.total_ns,
                ..self.told
            },
            false => public,
        };
        uapi::put(address, size, &told)
    }
}
