// SPDX-License-Identifier: GPL-2.0

//! Which slots a search has to look at. When few records can be hits, and it is cheap to find out
//! which, only they are compared.

use super::admission::Admission;
use super::{sight, Open};
use crate::libvexfs::errno::estale;
use crate::libvexfs::vector::filter::{Filter, Need};
use crate::libvexfs::vector::top::sort_by_key;
use crate::ops::dir;
use crate::vfs::{access::RenameMoment, bindings, inode::VexInode, ioctl::File, sched};
use kernel::prelude::*;

/// To find a record by key or file costs about as much as to compare so many vectors in a row.
const LOOKUP: u64 = 16;
/// Records that are always worth looking up.
const FEW: u64 = 64;
/// Entries of directories that are looked through at most.
const ENTRIES: usize = 1024;
/// Slots of an owner that are looked up together.
const BATCH: usize = 256;

/// Slots, in ascending order.
type Slots = KVVec<u32>;

/// The slots that are enough, if they are known to be few.
///
/// # Errors
///
/// `EUCLEAN`, `EIO`, `ENOMEM`, `EINTR`.
pub(super) fn slots(file: &File, open: &Open, admission: &Admission<'_>) -> Result<Option<Slots>> {
    let live = {
        let core = open.inode().core().read();
        open.inode().fs().vector_counts(&core)?.live
    };
    let worth = (live / LOOKUP).max(FEW) as usize;
    let need = admission.need();
    if let Some((filter, need)) = need {
        if let Some(slots) = needed(open, filter, Some(need), worth)? {
            return Ok(Some(slots));
        }
    }
    let mut found = Finder {
        open,
        slots: KVVec::new(),
        worth,
    };
    let under = match need {
        Some((filter, Need::Under(dir))) => filter.dirs().get(dir).copied(),
        _ => None,
    };
    for (ino, generation) in [admission.scope(), under].into_iter().flatten() {
        found.slots.clear();
        if found.tree(file, ino, generation)? {
            return Ok(Some(found.sorted()));
        }
    }
    Ok(None)
}

/// The slots of the records that a filter needs, if it names them or their files, and they are not
/// more than `worth`.
///
/// # Errors
///
/// As [`slots`].
pub(super) fn needed(
    open: &Open,
    filter: &Filter,
    need: Option<Need>,
    worth: usize,
) -> Result<Option<Slots>> {
    let mut found = Finder {
        open,
        slots: KVVec::new(),
        worth,
    };
    let enough = match need {
        Some(Need::Key(key)) => found.key(key)?,
        Some(Need::File(ino)) => found.owner(ino)?,
        Some(Need::Keys(span)) if span.numbers() <= worth => {
            found.each(filter.numbers(span), Finder::key)?
        }
        Some(Need::Files(span)) if span.numbers() <= worth => {
            found.each(filter.numbers(span), Finder::owner)?
        }
        _ => false,
    };
    Ok(enough.then(|| found.sorted()))
}

struct Finder<'a> {
    open: &'a Open,
    slots: Slots,
    /// More slots than this are no gain.
    worth: usize,
}

// Each of these says whether it found all, and they were not too many.
impl Finder<'_> {
    fn sorted(mut self) -> Slots {
        sort_by_key(&mut self.slots, |slot| *slot);
        let mut last = None;
        self.slots.retain(|slot| last.replace(*slot) != Some(*slot));
        self.slots
    }

    fn each(
        &mut self,
        numbers: impl Iterator<Item = u64>,
        find: fn(&mut Self, u64) -> Result<bool>,
    ) -> Result<bool> {
        for (n, number) in numbers.enumerate() {
            if n % BATCH == 0 {
                pause()?;
            }
            if !find(self, number)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn key(&mut self, key: u64) -> Result<bool> {
        let slot = {
            let core = self.open.inode().core().read();
            self.open.inode().fs().slot_of_key(&core, key)?
        };
        if let Some(slot) = slot {
            self.slots.push(slot, GFP_KERNEL)?;
        }
        Ok(self.slots.len() <= self.worth)
    }

    fn owner(&mut self, ino: u64) -> Result<bool> {
        let mut some = KVec::with_capacity(BATCH, GFP_KERNEL)?;
        let mut from = 0;
        loop {
            some.clear();
            {
                let core = self.open.inode().core().read();
                let fs = self.open.inode().fs();
                fs.slots_by_owner(&core, ino, from, BATCH, &mut some)?;
            }
            self.slots.extend_from_slice(&some, GFP_KERNEL)?;
            if self.slots.len() > self.worth {
                return Ok(false);
            }
            match some.last() {
                Some(last) if some.len() == BATCH => from = last + 1,
                _ => return Ok(true),
            }
            pause()?;
        }
    }

    /// All below a directory, or of a file. What is renamed meanwhile may be missed, so then the
    /// answer is no.
    fn tree(&mut self, file: &File, ino: u64, generation: u32) -> Result<bool> {
        let moment = RenameMoment::now();
        let sb = file.inode().sb();
        let most = ENTRIES.min(self.worth);
        let mut files = KVVec::new();
        let mut dirs = KVVec::new();
        let Some(top) = sight::get(sb, ino, generation)? else {
            return Ok(true);
        };
        if !top.is_dir() {
            return self.owner(ino);
        }
        dirs.push(ino, GFP_KERNEL)?;
        let mut next = 0;
        while let Some(&dir) = dirs.get(next) {
            next += 1;
            // What was removed meanwhile had nothing in it.
            if !file.inode().fs().inode_in_use(dir)? {
                continue;
            }
            let inode = match VexInode::get(sb, dir, None) {
                Ok(inode) if inode.is_dir() => inode,
                Ok(_) => continue,
                Err(e) if e == estale() => continue,
                Err(e) => return Err(e),
            };
            let mut failed = None;
            let mut pos = 0;
            dir::read(&inode, &mut pos, &mut |entry| {
                let list = match u32::from(entry.dtype) {
                    bindings::DT_DIR => &mut dirs,
                    bindings::DT_REG => &mut files,
                    _ => return true,
                };
                failed = list.push(entry.ino, GFP_KERNEL).err();
                failed.is_none() && files.len() + dirs.len() <= most
            })?;
            if failed.is_some() {
                return Err(ENOMEM);
            }
            if files.len() + dirs.len() > most {
                return Ok(false);
            }
            pause()?;
        }
        sort_by_key(&mut files, |ino| *ino);
        let mut last = None;
        files.retain(|ino| last.replace(*ino) != Some(*ino));
        Ok(self.each(files.iter().copied(), Finder::owner)? && !moment.passed())
    }
}

fn pause() -> Result {
    if sched::killed() {
        return Err(EINTR);
    }
    sched::yield_if_needed();
    Ok(())
}
