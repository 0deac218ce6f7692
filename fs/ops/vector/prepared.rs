// SPDX-License-Identifier: GPL-2.0

//! Prepared filters: a filter behind a descriptor, which remembers the records that it may let in,
//! with their vectors.
//!
//! What is remembered holds for every caller: whatever depends on who asks (rights, paths from
//! somebody's root, maps of owners) counts as unknown, and what is unknown may match. Would-be hits
//! are judged for the caller as those of any search, so a record too many costs time and nothing
//! else. None is missing: [`Watcher`] tells which records and files changed since, and these
//! are looked at again.
//!
//! It holds neither inodes nor the mount, so it is in nobody's way.

mod build;

pub(super) use build::{Cached, Held};

use super::watch::Watcher;
use super::{filter, Open};
use crate::libvexfs::vector::filter::Filter;
use crate::vfs::{
    anon_file::{self, FilterRef},
    bindings,
    ioctl::File,
    sync::SpinLock,
    wait::{Event, Signals},
};
use kernel::time::{Instant, Monotonic};
use kernel::{prelude::*, sync::Arc};

/// Milliseconds that a search waits for another one that brings the filter up to date, before it
/// goes without.
const PATIENCE: u32 = 50;
/// Times as long as it took to find out which records match must pass before that is done anew.
const REST: i64 = 8;

/// A filter behind a descriptor.
pub(crate) struct Prepared {
    filter: Filter,
    watcher: Watcher,
    state: SpinLock<State>,
    /// A search is through with bringing it up to date.
    done: Event,
}

struct State {
    cached: Option<Arc<Cached>>,
    /// Somebody brings it up to date.
    busy: bool,
}

/// `VEXFS_IOC_FILTER`.
pub(super) fn prepare(file: &File, arg: usize) -> Result<isize> {
    let filter = filter::read(arg as u64)?;
    let prepared = Prepared {
        filter,
        watcher: Watcher::new(&file.inode().mount().vectors.watch)?,
        state: SpinLock::new(State {
            cached: None,
            busy: false,
        })?,
        done: Event::new()?,
    };
    let fd = anon_file::open_filter(KBox::new(prepared, GFP_KERNEL_ACCOUNT)?)?;
    Ok(fd as isize)
}

/// The prepared filter of a descriptor.
///
/// # Errors
///
/// `EBADF` if it is none, `EXDEV` if it is of another file system.
pub(super) fn get(file: &File, fd: i32) -> Result<FilterRef> {
    let prepared = FilterRef::get(fd)?;
    match prepared
        .watcher
        .watches(&file.inode().mount().vectors.watch)
    {
        true => Ok(prepared),
        false => Err(EXDEV),
    }
}

/// Who brings a filter up to date.
struct Busy<'a>(&'a Prepared);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.state.lock().busy = false;
        self.0.done.wake_all();
    }
}

impl Prepared {
    /// The program.
    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The records that may match, if they are few, and it is known which.
    ///
    /// # Errors
    ///
    /// `EINTR`; `EUCLEAN`, `EIO`.
    pub(super) fn matches(&self, file: &File, open: &Open) -> Result<Option<Arc<Cached>>> {
        // The filter sees owners through a map here that nothing is remembered for.
        let uses = self.filter.uses();
        if uses.inode && !file.idmap().is_identity() {
            return Ok(None);
        }
        let now = self.watcher.now();
        let old = loop {
            let seen = self.done.count();
            {
                let mut state = self.state.lock();
                let cached = state.cached.as_ref();
                let current = cached.filter(|c| c.is_of(open) && self.is_current(c, now));
                if current.is_some() || !state.busy {
                    state.busy |= current.is_none();
                    break state.cached.clone();
                }
            }
            // It is better to compare all than to wait long.
            self.done.wait(seen, Signals::Fatal, Some(PATIENCE))?;
            if self.done.count() == seen {
                return Ok(None);
            }
        };
        let old = match old {
            Some(old) if old.is_of(open) && self.is_current(&old, now) => {
                return Ok(Some(old).filter(|cached| cached.is_useful()));
            }
            old => old,
        };
        let _busy = Busy(self);
        match self.renew(file, open, old.as_deref()) {
            Ok(Some(new)) => {
                let new = Arc::new(new, GFP_KERNEL_ACCOUNT)?;
                let old = self.state.lock().cached.replace(new.clone());
                // Not under a spinning lock: it may be large.
                drop(old);
                Ok(Some(new).filter(|cached| cached.is_useful()))
            }
            // Without, it works as well.
            Err(e) if e == ENOMEM => Ok(None),
            other => other.map(|_| None),
        }
    }

    /// Whether nothing happened since that matters. `now`: how many changes there were when the
    /// search began.
    fn is_current(&self, cached: &Cached, now: u64) -> bool {
        if !cached.is_useful() {
            // To look again costs as much as the first time.
            return cached.rests(8 * REST);
        }
        cached.through() >= now
            && (self.filter.dirs().is_empty() || cached.moves() == self.watcher.moves())
    }

    /// Brings what is remembered up to date, or finds out everything anew. None: that was done not
    /// long ago.
    fn renew(&self, file: &File, open: &Open, old: Option<&Cached>) -> Result<Option<Cached>> {
        if let Some(old) = old.filter(|old| old.is_of(open)) {
            if let Some(new) = build::catch_up(self, file, open, old)? {
                return Ok(Some(new));
            }
            if old.rests(REST) {
                return Ok(None);
            }
        }
        let begun = Instant::<Monotonic>::now();
        let built = build::build(self, file, open)?;
        Ok(Some(built.took(begun)))
    }
}

/// The filter of a search, wherever it comes from.
pub(super) enum Given {
    /// None: all that the caller may see.
    Nothing,
    /// With the call.
    Here(Filter),
    /// By descriptor.
    Prepared(FilterRef),
}

impl Given {
    /// Reads the filter of a search.
    ///
    /// # Errors
    ///
    /// As [`filter::read`] and [`get`].
    pub(super) fn read(file: &File, raw: &bindings::vexfs_search) -> Result<Self> {
        if raw.flags & bindings::VEXFS_SEARCH_PREPARED != 0 {
            return Ok(Given::Prepared(get(file, raw.filter_fd)?));
        }
        Ok(match raw.filter {
            0 => Given::Nothing,
            address => Given::Here(filter::read(address)?),
        })
    }

    /// The program.
    pub(super) fn filter(&self) -> Option<&Filter> {
        match self {
            Given::Nothing => None,
            Given::Here(filter) => Some(filter),
            Given::Prepared(prepared) => Some(prepared.filter()),
        }
    }

    /// See [`Prepared::matches`].
    pub(super) fn matches(&self, file: &File, open: &Open) -> Result<Option<Arc<Cached>>> {
        match self {
            Given::Prepared(prepared) => prepared.matches(file, open),
            _ => Ok(None),
        }
    }
}
