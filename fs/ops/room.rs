// SPDX-License-Identifier: GPL-2.0

//! Room behind the end of a file that grows.
//!
//! Files that grow side by side, a little between one sync and the next, would be cut to pieces if each
//! piece got blocks for itself alone. So a write that goes on where the file ends, behind blocks that
//! have their places on disk, takes more than it needs, as much again as the file has there without a
//! gap. (Behind blocks that are delayed, see [`super::delay`], it is delayed as well.) What is taken
//! is unwritten, as all that was not written is, and counts as used. It is given back when the last
//! descriptor that can write is closed, before the size is changed otherwise, and when somebody
//! finds no space.
//!
//! An inode is entered into the orphan tree of its group before it gets room, to be cut to its size:
//! a mount after a crash gives the room back. The entry is made once for all that a file gets until
//! it is closed, and jbd2 makes one commit of it and what follows.

use kernel::prelude::*;

use crate::libvexfs::journal::{Store as _, Trans as _};
use crate::libvexfs::{credits, orphan};
use crate::ops::aops::Want;
use crate::ops::truncate;
use crate::vfs::file::{Mode, RwLocked};
use crate::vfs::inode::VexInode;
use crate::vfs::iomap::BLOCK_SHIFT;
use crate::vfs::super_block::Mount;
use crate::vfs::sync::Mutex;

/// Files of a mount that may have room at a time. More grow without.
const MOST_FILES: usize = 1024;
/// Who wrote fewer blocks in a row than these was probably done with that: 64 KiB.
const LEAST: u64 = 16;
/// The most room that a file gets at once: 8 MiB.
const MOST: u64 = 2048;
/// The part of the free space that a file gets at most.
const SHARE: u64 = 64;
/// A file that was closed so often with most of its room unused is one that is opened for each
/// write: it gets none.
const WASTED: u32 = 3;

/// The files of a mount that have room, by number.
pub(crate) struct Rooms(Mutex<KVec<u64>>);

impl Rooms {
    /// None yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Rooms(Mutex::new(KVec::with_capacity(
            MOST_FILES, GFP_KERNEL,
        )?)?))
    }

    /// Enters a file; false: there are too many.
    fn enter(&self, ino: u64) -> bool {
        let mut files = self.0.lock();
        files.len() < files.capacity() && files.push(ino, GFP_ATOMIC).is_ok()
    }

    /// Strikes a file out.
    fn strike(&self, ino: u64) {
        let mut files = self.0.lock();
        if let Some(at) = files.iter().position(|&file| file == ino) {
            // Cannot fail: it is there.
            let _ = files.remove(at);
        }
    }

    /// The `i`th of them.
    fn get(&self, i: usize) -> Option<u64> {
        self.0.lock().get(i).copied()
    }
}

/// How many blocks behind those that `want` asks for are to be taken, if nothing is mapped there.
///
/// # Context
///
/// No transaction open.
pub(crate) fn wish(vi: &VexInode, want: &Want) -> u64 {
    let size = vi.size();
    if !want.ahead || want.end <= size || want.first < LEAST {
        return 0;
    }
    let fs = vi.fs();
    let ahead = match fs.mapped_before(&vi.core().read(), want.first) {
        Ok(run) if run >= LEAST => run.min(MOST),
        // Who allocates will meet the error, too.
        _ => return 0,
    };
    let last = vi.sb().max_bytes() >> BLOCK_SHIFT;
    let ahead = ahead.min(last.saturating_sub(want.first.saturating_add(want.count)));
    let ahead = ahead.min(fs.available_blocks() / SHARE);
    // Near its limit an owner would be refused for blocks that nobody uses.
    let limited = fs.quota_enforced() != 0;
    if ahead < LEAST || limited || vi.data().room_wasted() >= WASTED {
        return 0;
    }
    if vi.data().has_room() || matches!(announce(vi, size), Ok(true)) {
        ahead
    } else {
        // It is not needed.
        0
    }
}

/// Makes sure that a crash will not leave room behind. False: it cannot be done.
fn announce(vi: &VexInode, size: u64) -> Result<bool> {
    let (fs, rooms) = (vi.fs(), &vi.mount().rooms);
    if !rooms.enter(vi.ino()) {
        return Ok(false);
    }
    let announced = || {
        let mut t = fs.store.begin(credits::ORPHAN + credits::INODE)?;
        let mut core = vi.core().write();
        match fs.orphan_add(&mut t, &mut core, orphan::TRUNCATE) {
            Ok(()) => fs.log_inode(&mut t, &core)?,
            // The group is full.
            Err(e) if e == ENOSPC && !t.dirtied() => {
                drop(core);
                t.stop()?;
                return Ok(false);
            }
            Err(e) => return Err(e),
        }
        vi.data().note(t.tid(), true);
        drop(core);
        t.stop()?;
        Ok(true)
    };
    let result = announced();
    if matches!(result, Ok(true)) {
        vi.data().set_room(Some(size));
    } else {
        rooms.strike(vi.ino());
    }
    result
}

/// Frees the room behind the end of a file.
///
/// # Errors
///
/// What the journal and the tree return. Mount will give back what is left.
///
/// # Context
///
/// `i_rwsem` held exclusively, no transaction open.
pub(crate) fn give_back(vi: &VexInode) -> Result {
    if !vi.data().has_room() {
        return Ok(());
    }
    truncate::finish(vi)?;
    vi.data().set_room(None);
    vi.mount().rooms.strike(vi.ino());
    Ok(())
}

/// The last descriptor that could write is closed. On a frozen file system, where closing must not
/// wait, the room stays until the next sync.
///
/// # Context
///
/// No lock held, no transaction open.
pub(crate) fn closed(vi: &VexInode) {
    if !vi.data().has_room() || vi.read_only() || vi.check_running().is_err() {
        return;
    }
    let Some(_not_frozen) = vi.sb().try_hold_write() else {
        return;
    };
    // Bytes that came since the file got room, and bytes of room that are left.
    let used = vi.size().saturating_sub(vi.data().room_since());
    if let Ok(_lock) = RwLocked::take(vi, Mode::Exclusive, false) {
        // Somebody may have opened it again: then it gets room again.
        let left = truncate::room_left(vi).map(|blocks| blocks << BLOCK_SHIFT);
        vi.data().note_room(matches!(left, Ok(left) if left > used));
        let given = give_back(vi);
        // Nobody is there to be told.
        let _ = vi.mount().judge(given);
    }
}

/// The inode leaves core.
pub(crate) fn forgotten(vi: &VexInode) {
    if vi.data().has_room() {
        vi.mount().rooms.strike(vi.ino());
    }
}

/// Space is needed: takes all room back that nobody is just writing to. True if there was some,
/// which is free when its transaction has committed.
///
/// # Context
///
/// No transaction open. Locks of other inodes may be held: those are passed over.
pub(crate) fn reclaim(mount: &Mount) -> bool {
    reclaim_if(mount, |_| true)
}

/// Takes room back that was left when files were closed.
///
/// # Context
///
/// As for [`reclaim`].
pub(crate) fn reclaim_closed(mount: &Mount) {
    reclaim_if(mount, |vi| !vi.data().has_writers());
}

fn reclaim_if(mount: &Mount, which: impl Fn(&VexInode) -> bool) -> bool {
    let mut any = false;
    let mut i = 0;
    while let Some(ino) = mount.rooms.get(i) {
        match reclaim_from(mount, ino, &which) {
            // Struck out: another one has its place now.
            Ok(true) => any = true,
            _ => i += 1,
        }
    }
    any
}

fn reclaim_from(mount: &Mount, ino: u64, which: impl Fn(&VexInode) -> bool) -> Result<bool> {
    let Some(vi) = VexInode::in_core(mount.sb(), ino) else {
        return Ok(false);
    };
    let _lock = RwLocked::take(&vi, Mode::Exclusive, true)?;
    // Who waits for space must not wait for direct I/O.
    if vi.has_direct_io() || vi.read_only() || !vi.data().has_room() || !which(&vi) {
        return Ok(false);
    }
    give_back(&vi)?;
    Ok(true)
}
