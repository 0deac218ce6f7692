// SPDX-License-Identifier: GPL-2.0

//! Changing the size of a file.
//!
//! Down: the page cache goes first, then one transaction sets the size on disk and frees as many
//! blocks as it may. If more are left, the same transaction enters the inode into its group's
//! orphan tree, and further transactions go on; the last one takes it out again. A crash in between
//! leaves an orphan with links, which mount cuts to its size. Blocks with data beyond the end of
//! file exist only with such a record: a file that grew over them would show what was cut off.
//!
//! Up: what the file grows over must read as zeroes, on disk before the size is.

use kernel::prelude::*;

use crate::libvexfs::credits;
use crate::libvexfs::extent::Mapping;
use crate::libvexfs::format::extent::MAX_LBLK;
use crate::libvexfs::format::inode::{STATE_OFFLINE, STATE_ORPHAN};
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::{Store as _, Trans};
use crate::libvexfs::orphan;
use crate::ops::aops::settled;
use crate::ops::file::before_change;
use crate::ops::{delay, room};
use crate::vfs::inode::VexInode;
use crate::vfs::iomap::{self, BLOCK};
use crate::vfs::store::Handle;

/// What one transaction of a change of size dirties at worst.
const CREDITS: usize = credits::TRUNCATE + credits::ORPHAN + credits::INODE;

/// Makes the file `new` bytes long. Times are the caller's business.
///
/// # Errors
///
/// ENOSPC cannot happen on the way down. After EIO or ENOMEM on the way down the file has its new
/// size, but not all blocks may be free: the next growth, unlink or mount finishes. A cut that could
/// not even begin is begun by the next growth; unless the inode is dropped first, and has its old
/// size again.
///
/// # Context
///
/// `i_rwsem` held exclusively, no transaction open. If the file grows, the block with its end is not
/// offline (`staging::before_resize`).
pub(crate) fn setsize(vi: &VexInode, new: u64) -> Result {
    vi.check_running()?;
    vi.wait_for_direct_io();
    room::give_back(vi)?;
    let old = vi.size();
    if vi.data().needs_trim() {
        finish(vi)?;
    }
    if new != old {
        before_change(vi, new.min(old), if new < old { u64::MAX } else { new })?;
    }

    // No fault may bring folios back until the blocks are gone.
    let _invalidate = vi.invalidate_lock();
    let zeroed = if new > old {
        iomap::zero_range(vi, old, new - old)?
    } else if new % BLOCK != 0 {
        // The rest of the last block: it must be zero if the file grows again. On disk it is zero
        // when that happens, not now: a crash must not show the old size with zeroes.
        vi.data().set_tail_clean(false);
        iomap::zero_range(vi, new, BLOCK - new % BLOCK)?;
        false
    } else {
        false
    };
    if new < old {
        vi.data().set_trim(true);
    }
    // Sets the size in core and drops the folios behind it. Folio locks come before handles, so
    // this is done outside of any transaction; from here on nobody sees the old size.
    vi.truncate_pagecache(new);
    delay::forget_from(vi, new.div_ceil(BLOCK));

    // The size on disk may only pass over data and zeroes that are on disk: a crash must neither
    // show a block's old tail nor a file full of holes where bytes were.
    let disk = vi.disk_size();
    if new > disk && (zeroed || old != disk) {
        vi.write_and_wait(disk, new - 1)?;
    }
    if !settled(vi, || cut(vi, old, new))? {
        finish(vi)?;
    }
    if new < old {
        settle_offline(vi)?;
    }
    Ok(())
}

/// Blocks of a file have gone: takes the mark off if nothing of it is offline any more.
///
/// # Errors
///
/// As a change of the inode; the mark that stays then costs time and nothing else.
///
/// # Context
///
/// No transaction open.
pub(crate) fn settle_offline(vi: &VexInode) -> Result {
    if vi.core().read().state & STATE_OFFLINE == 0 {
        return Ok(());
    }
    settled(vi, || {
        let mut t = vi.fs().store.begin(credits::INODE)?;
        let mut core = vi.core().write();
        let left = vi.fs().settle_offline(&mut t, &mut core);
        if t.dirtied() {
            vi.data().note(t.tid(), true);
        }
        drop(core);
        left?;
        t.stop()
    })
}

/// The first transaction of a change of size from `old` to `new`: the size on disk, and as many of the blocks behind it
/// as it may free. True: nothing is left to do.
fn cut(vi: &VexInode, old: u64, new: u64) -> Result<bool> {
    let fs = vi.fs();
    let first = new.div_ceil(BLOCK);
    let mut t = fs.store.begin(CREDITS)?;
    let mut core = vi.core().write();
    // What is allocated behind the end of a file stays when it grows: somebody wanted that.
    let beyond = new <= old && blocks_beyond(vi, &core, first)?;
    if core.size == new && !beyond {
        drop(core);
        t.stop()?;
        return Ok(true);
    }
    let disk = core.size;
    core.size = new;
    let result = begin_cut(vi, &mut t, &mut core, beyond.then_some(first));
    if beyond {
        vi.data().changed();
        vi.data().set_trim(true);
        vi.show_blocks(&core);
    }
    vi.data().note(t.tid(), true);
    if result.is_err() && !t.dirtied() {
        core.size = disk;
    }
    drop(core);
    // After a failure the handle is only dropped: that aborts the journal if something was changed
    // already.
    let done = result?;
    t.stop()?;
    vi.data().set_trim(!done);
    Ok(done)
}

/// Logs the new size, and does the first step of freeing from block `beyond` on. True: nothing is
/// left to do.
fn begin_cut(vi: &VexInode, t: &mut Handle, core: &mut Inode, beyond: Option<u64>) -> Result<bool> {
    let fs = vi.fs();
    let Some(first) = beyond else {
        fs.log_inode(t, core)?;
        return Ok(true);
    };
    // Extents that fit in the root go in one step. For more, the record comes first: whatever
    // happens behind it, the rest is found.
    if !core.data_in_core() {
        fs.orphan_add(t, core, orphan::TRUNCATE)?;
    }
    fs.log_inode(t, core)?;
    let done = fs.truncate_step(t, core, first)?;
    Ok(done && (core.state & STATE_ORPHAN == 0 || core.nlink == 0))
}

/// Frees the blocks beyond the end of file that an earlier change of size left, and takes the
/// orphan record out.
///
/// # Context
///
/// `i_rwsem` held exclusively, no transaction open.
pub(crate) fn finish(vi: &VexInode) -> Result {
    // Whose completion would make blocks beyond the end part of the file.
    vi.wait_for_direct_io();
    let (size, disk) = (vi.size(), vi.disk_size());
    let first = size.div_ceil(BLOCK);
    delay::forget_from(vi, first);
    if disk > size && settled(vi, || cut(vi, disk, size))? {
        return Ok(());
    }
    while !settled(vi, || finish_step(vi, first))? {}
    vi.data().set_trim(false);
    Ok(())
}

/// One transaction of [`finish`]; true: it was the last.
fn finish_step(vi: &VexInode, first: u64) -> Result<bool> {
    let fs = vi.fs();
    let mut t = fs.store.begin(CREDITS)?;
    let mut core = vi.core().write();
    let mut done = !blocks_beyond(vi, &core, first)?;
    if !done {
        let step = fs.truncate_step(&mut t, &mut core, first);
        vi.data().changed();
        vi.show_blocks(&core);
        done = step?;
    }
    if done && core.state & STATE_ORPHAN != 0 && core.nlink != 0 {
        fs.orphan_remove(&mut t, &mut core)?;
        fs.log_inode(&mut t, &core)?;
    }
    if t.dirtied() {
        vi.data().note(t.tid(), true);
    }
    drop(core);
    t.stop()?;
    Ok(done)
}

/// Frees what a write allocated beyond the end of file and did not use. Errors are left for the
/// next change of size: the blocks are unwritten, and nobody sees them.
///
/// # Context
///
/// `i_rwsem` held exclusively, no transaction open.
pub(crate) fn trim(vi: &VexInode) {
    vi.data().set_trim(true);
    if finish(vi).is_err() {
        // They stay marked.
        vi.data().set_trim(true);
    }
}

/// Blocks beyond the end of file, if they lie together there.
pub(super) fn room_left(vi: &VexInode) -> Result<u64> {
    let first = vi.size().div_ceil(BLOCK);
    let rest = MAX_LBLK.saturating_sub(first);
    if rest == 0 {
        return Ok(0);
    }
    Ok(match vi.fs().map(&vi.core().read(), first, rest)? {
        Mapping::Hole { .. } => 0,
        other => other.len(),
    })
}

/// Whether anything is mapped from block `first` on.
fn blocks_beyond(vi: &VexInode, core: &Inode, first: u64) -> Result<bool> {
    let rest = MAX_LBLK.saturating_sub(first);
    if rest == 0 {
        return Ok(false);
    }
    Ok(!matches!(vi.fs().map(core, first, rest)?, Mapping::Hole { len } if len >= rest))
}
