// SPDX-License-Identifier: GPL-2.0

//! Staging's calls on files and directories of the mount.

use super::{agent, batch, check_file, file_by_number, volume};
use crate::libvexfs::format::inode::Inode;
use crate::libvexfs::staging::copy::Copy;
use crate::libvexfs::staging::MIN_COPIES;
use crate::vfs::{
    bindings,
    inode::VexInode,
    ioctl::{capable, File},
    sched::apart,
    uapi,
};
use kernel::prelude::*;

type State = bindings::vexfs_stage_state;

/// Answers an ioctl of staging's range of numbers.
///
/// # Errors
///
/// `ENOTTY` for numbers that are not in use, and each call's own.
pub(crate) fn ioctl(file: &File, nr: u32, arg: usize) -> Result<isize> {
    let mount = file.inode().mount();
    let admin = || {
        if capable(bindings::CAP_SYS_ADMIN) {
            Ok(())
        } else {
            Err(EPERM)
        }
    };
    let result = match nr {
        bindings::VEXFS_NR_STAGE_ATTACH => {
            admin().and_then(|()| apart(|| agent::attach(mount.sb(), arg)))
        }
        bindings::VEXFS_NR_STAGE_ARCHIVE => apart(|| batch::run(file, batch::What::Archive, arg)),
        bindings::VEXFS_NR_STAGE_RELEASE => admin().and_then(|()| {
            apart(|| file.with_write_access(|| batch::run(file, batch::What::Release, arg)))
        }),
        bindings::VEXFS_NR_STAGE_PREFETCH => apart(|| batch::run(file, batch::What::Prefetch, arg)),
        bindings::VEXFS_NR_STAGE_STATE => apart(|| state(file, arg)),
        bindings::VEXFS_NR_VOLUME_UPSERT => admin()
            .and_then(|()| apart(|| file.with_write_access(|| volume::upsert(mount.sb(), arg)))),
        bindings::VEXFS_NR_VOLUME_LIST => {
            admin().and_then(|()| apart(|| volume::list(mount.sb(), arg)))
        }
        _ => Err(ENOTTY),
    };
    mount.judge(result)
}

/// STAGE_STATE.
fn state(file: &File, arg: usize) -> Result<isize> {
    let (mut s, size) = uapi::get::<State>(arg, 104)?;
    if s.flags != 0 || s.reserved != [0; 2] {
        return Err(EINVAL);
    }
    if s.max_copies > 0 {
        uapi::check_item_size(s.copy_size, 96)?;
    }
    let copies = if s.ino == 0 {
        check_file(file.inode())?;
        fill(file.inode(), &mut s)?
    } else {
        if !capable(bindings::CAP_SYS_ADMIN) {
            return Err(EPERM);
        }
        let inode = file_by_number(file.inode().sb(), s.ino, s.generation)?;
        fill(&inode, &mut s)?
    };
    let room = if s.copies == 0 {
        0
    } else {
        s.max_copies as usize
    };
    for (n, c) in copies.iter().take(room).enumerate() {
        uapi::put_item(s.copies, s.copy_size, n, &told(c))?;
    }
    uapi::put(arg, size, &s)?;
    Ok(0)
}

/// Fills in what is known of a file; returns its copies.
fn fill(vi: &VexInode, s: &mut State) -> Result<KVec<Copy>> {
    let fs = vi.fs();
    let shared = &vi.mount().staging;
    let activity = shared.queue.lock().activity(vi.ino(), vi.generation());
    s.ino = vi.ino();
    s.generation = vi.generation();
    s.file_size = vi.size();
    s.waiters = activity.waiters;
    s.last_error = activity.last_error.map_or(0, Error::to_errno);
    s.agents = shared.agents();

    let core = vi.core().read();
    let residency = fs.residency(&core)?;
    let copies = fs.copies(&core)?;
    s.version = core.data_version;
    s.offline_bytes = residency.offline.saturating_mul(4096);
    s.online_bytes = residency.online.saturating_mul(4096);
    s.count = copies.len() as u32;
    s.state = flags(&core, fs.good_copies(&core)?);
    for (set, flag) in [
        (residency.offline > 0, bindings::VEXFS_STATE_OFFLINE),
        (residency.online > 0, bindings::VEXFS_STATE_ONLINE),
        (activity.recalling, bindings::VEXFS_STATE_RECALLING),
        (activity.archiving, bindings::VEXFS_STATE_ARCHIVING),
    ] {
        if set {
            s.state |= flag;
        }
    }
    Ok(copies)
}

fn flags(core: &Inode, good_copies: usize) -> u32 {
    let current = core.marked_version >= core.data_version;
    if current && good_copies >= MIN_COPIES {
        bindings::VEXFS_STATE_ARCHIVED
    } else {
        bindings::VEXFS_STATE_DIRTY
    }
}

/// A copy in the ABI's form.
fn told(c: &Copy) -> bindings::vexfs_copy {
    bindings::vexfs_copy {
        copy: c.copy,
        state: c.state,
        algorithm: c.algorithm,
        pool: c.pool,
        volume: c.volume,
        version: c.version,
        off: 0,
        len: c.len,
        bundle: c.bundle,
        reserved0: 0,
        block: c.block,
        object_off: c.object_off,
        time_sec: c.time,
        digest: c.digest,
    }
}
