// SPDX-License-Identifier: GPL-2.0

//! Calls for several files at once: archive, release, prefetch.

use super::{check_file, file_by_number, recall, release, Shared};
use crate::libvexfs::staging::queue::{priority, Hint, Want};
use crate::vfs::{
    bindings,
    inode::VexInode,
    ioctl::{capable, File},
    sched,
    staging::{current_pid, current_uid, monotonic_ns},
    uapi,
};
use kernel::prelude::*;

type Item = bindings::vexfs_stage_item;

/// What is done to each file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Queue it to be archived.
    Archive,
    /// Give its blocks back.
    Release,
    /// Queue a recall.
    Prefetch,
}

/// Does it to all files of a batch.
pub(super) fn run(file: &File, what: What, arg: usize) -> Result<isize> {
    let admin = capable(bindings::CAP_SYS_ADMIN);
    if !admin && what != What::Prefetch {
        return Err(EPERM);
    }
    let (mut b, size) = uapi::get::<bindings::vexfs_stage_batch>(arg, 40)?;
    if b.flags != 0 || b.reserved0 != 0 || b.reserved != [0] {
        return Err(EINVAL);
    }
    if b.count > bindings::VEXFS_STAGE_MAX_ITEMS {
        return Err(E2BIG);
    }
    uapi::check_item_size(b.item_size, 64)?;
    b.done = 0;
    for n in 0..b.count as usize {
        if sched::killed() {
            break;
        }
        let mut item = uapi::get_item::<Item>(b.items, b.item_size, n)?;
        (item.status, item.result) = match one(file, what, admin, &item) {
            Ok(result) => (0, result),
            Err(e) => (e.to_errno(), 0),
        };
        uapi::put_item(b.items, b.item_size, n, &item)?;
        b.done += 1;
    }
    uapi::put(arg, size, &b)?;
    Ok(0)
}

fn one(file: &File, what: What, admin: bool, item: &Item) -> Result<u64> {
    if item.reserved != [0] || item.keep_head != 0 {
        return Err(EINVAL);
    }
    // Parts of files come later.
    if item.off != 0 || (item.len != 0 && item.len != u64::MAX) {
        return Err(EINVAL);
    }
    if item.ino == 0 {
        // Whoever may read a file's bytes may have them fetched.
        if !admin && !file.readable() {
            return Err(EPERM);
        }
        check_file(file.inode())?;
        return act(file.inode(), what, item.version);
    }
    if !admin {
        return Err(EPERM);
    }
    let inode = file_by_number(file.inode().sb(), item.ino, item.generation)?;
    act(&inode, what, item.version)
}

fn act(vi: &VexInode, what: What, version: u64) -> Result<u64> {
    let result = match what {
        What::Release => release::release(vi, version),
        What::Archive => archive(&vi.mount().staging, vi),
        What::Prefetch => prefetch(&vi.mount().staging, vi),
    };
    vi.mount().judge(result)
}

/// Queues a file to be archived, unless it is. Returns the request's cookie, or 0.
fn archive(shared: &Shared, vi: &VexInode) -> Result<u64> {
    if vi.read_only() {
        return Err(EROFS);
    }
    {
        let core = vi.core().read();
        let good = vi.fs().good_copies(&core)?;
        if good > 0 && core.marked_version >= core.data_version {
            return Ok(0);
        }
        if vi.fs().first_offline(&core, 0, u64::MAX)?.is_some() {
            return Err(EBUSY);
        }
    }
    let size = vi.size();
    let want = Want {
        ino: vi.ino(),
        generation: vi.generation(),
        off: 0,
        len: size,
        file_size: size,
        version: 0,
        hint: Hint::default(),
        uid: current_uid(),
        pid: current_pid(),
        priority: priority::WRITE,
        now_ns: monotonic_ns(),
    };
    let cookie = shared.queue.lock().archive(&want)?;
    shared.requests.wake_all();
    Ok(cookie)
}

/// Queues the recall of all that is offline. Returns the request's cookie, or 0.
fn prefetch(shared: &Shared, vi: &VexInode) -> Result<u64> {
    let part = {
        let core = vi.core().read();
        vi.fs().first_offline(&core, 0, u64::MAX)?
    };
    let Some(part) = part else { return Ok(0) };
    if vi.read_only() {
        return Err(EROFS);
    }
    let want = recall::want_all(vi, &part, priority::MANAGE)?;
    let cookie = shared.queue.lock().prefetch(&want)?;
    shared.requests.wake_all();
    Ok(cookie)
}
