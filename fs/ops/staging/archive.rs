// SPDX-License-Identifier: GPL-2.0

//! Archiving: an agent learns which version it copies, reads it, and says where the copies are.

use super::{file_by_number, Shared};
use crate::crc32c::crc32c;
use crate::libvexfs::errno::{eloop, enametoolong, estale};
use crate::libvexfs::format::inode::{STATE_ARCHIVED, STATE_OFFLINE};
use crate::libvexfs::journal::{Store as _, Trans as _};
use crate::libvexfs::parent::path::Ancestors;
use crate::libvexfs::staging::copy::{self, chunk_sum, chunks, Copy, SUMS};
use crate::libvexfs::staging::{CHUNK, MAX_COPIES};
use crate::libvexfs::Inode;
use crate::ops::version;
use crate::vfs::{
    bindings,
    inode::VexInode,
    internal_file::{InternalFile, Reader},
    sched,
    super_block::SuperBlock,
    uapi,
};
use kernel::prelude::*;

/// ARCHIVE_BEGIN.
pub(super) fn begin(sb: &SuperBlock, arg: usize) -> Result<isize> {
    let (mut a, size) = uapi::get::<bindings::vexfs_archive_begin>(arg, 96)?;
    if a.flags != 0 || a.reserved != [0; 2] || a.path_size > bindings::VEXFS_MAX_PATH {
        return Err(EINVAL);
    }
    let vi = file_by_number(sb, a.ino, a.generation)?;
    if vi.read_only() {
        return Err(EROFS);
    }
    a.version = settle_version(&vi)?;
    {
        let core = vi.core().read();
        a.copies = vi.fs().good_copies(&core)? as u32;
        a.mode = core.mode.into();
        a.uid = core.uid;
        a.gid = core.gid;
        a.mtime_sec = core.mtime.sec;
        a.mtime_nsec = core.mtime.nsec;
    }
    a.file_size = vi.size();
    a.path_len = 0;
    if a.path_size > 0 {
        a.path_len = write_path(sb, &vi, a.path, a.path_size)?;
    }
    uapi::put(arg, size, &a)?;
    Ok(0)
}

/// Settles the file's version; its times too, which are part of what is archived.
fn settle_version(vi: &VexInode) -> Result<u64> {
    let version = version::settle(vi, |core| {
        if offline_elsewhere(vi, core, core.data_version)? {
            return Err(EBUSY);
        }
        Ok(())
    })?;
    vi.flush_attributes()?;
    Ok(version)
}

/// Whether parts of the file are offline whose bytes are those of another version.
fn offline_elsewhere(vi: &VexInode, core: &Inode, version: u64) -> Result<bool> {
    let mut at = 0;
    while let Some(part) = vi.fs().first_offline(core, at, u64::MAX)? {
        if part.src_version != version {
            return Ok(true);
        }
        at = part.lblk + part.len;
    }
    Ok(false)
}

/// Writes the file's path below the root to user memory; returns its length, 0 if it has none.
fn write_path(sb: &SuperBlock, vi: &VexInode, to: u64, room: u32) -> Result<u32> {
    let mut path = KVec::new();
    let root = vi.fs().sb.root_ino;
    let mut all = AllInodes(sb);
    match vi
        .fs()
        .path_of(&mut all, vi.ino(), vi.generation(), root, &mut path)
    {
        Ok(true) => {}
        Ok(false) => return Ok(0),
        Err(e) if e == enametoolong() || e == eloop() || e == estale() => return Ok(0),
        Err(e) => return Err(e),
    }
    if path.len() > room as usize {
        return Ok(0);
    }
    uapi::slice(to, path.len()).writer().write_slice(&path)?;
    Ok(path.len() as u32)
}

/// All inodes, for callers that may see everything.
struct AllInodes<'a>(&'a SuperBlock);

impl Ancestors for AllInodes<'_> {
    fn with(&mut self, ino: u64, f: &mut dyn FnMut(&Inode) -> Result) -> Result {
        let inode = VexInode::get(self.0, ino, None)?;
        let core = inode.core().read();
        f(&core)
    }
}

/// ARCHIVE_READ.
pub(super) fn read(shared: &Shared, sb: &SuperBlock, arg: usize) -> Result<isize> {
    let (a, _) = uapi::get::<bindings::vexfs_archive_read>(arg, 64)?;
    let most = u64::from(bindings::VEXFS_STAGE_MAX_BYTES);
    if a.flags != 0 || a.reserved0 != 0 || a.reserved != [0] || a.len > most {
        return Err(EINVAL);
    }
    let vi = file_by_number(sb, a.ino, a.generation)?;
    check_version(&vi, a.version)?;
    let file = InternalFile::new(vi);
    let vi = file.inode();
    let mut reader = file.reader();
    let mut bytes = KVVec::from_elem(0u8, CHUNK.min(a.len.max(1)) as usize, GFP_KERNEL)?;
    let mut done = 0;
    while done < a.len {
        if shared.link.is_cut() {
            return Err(ENODEV);
        }
        let pos = a.off.checked_add(done).ok_or(EINVAL)?;
        let want = (a.len - done).min(bytes.len() as u64) as usize;
        let n = copy_out(vi, &mut reader, pos, &mut bytes[..want])?;
        if n == 0 {
            break;
        }
        // What was copied is of the version if the version still is that one.
        check_version(vi, a.version)?;
        uapi::slice(a.buf.checked_add(done).ok_or(EFAULT)?, n)
            .writer()
            .write_slice(&bytes[..n])?;
        done += n as u64;
    }
    Ok(done as isize)
}

fn check_version(vi: &VexInode, version: u64) -> Result {
    let core = vi.core().read();
    if core.data_version != version {
        return Err(estale());
    }
    // Reading would wait for the very agent that reads.
    if core.state & STATE_OFFLINE != 0 && vi.fs().first_offline(&core, 0, u64::MAX)?.is_some() {
        return Err(EBUSY);
    }
    Ok(())
}

/// Copies bytes out of the page cache; returns how many there were before the end of the file.
fn copy_out(vi: &VexInode, reader: &mut Reader<'_>, pos: u64, to: &mut [u8]) -> Result<usize> {
    let want = (to.len() as u64).min(vi.size().saturating_sub(pos)) as usize;
    let mut done = 0;
    while done < want {
        if sched::killed() {
            return Err(EINTR);
        }
        let at = pos + done as u64;
        let folio = reader.folio(at, (want - done) as u64)?;
        let from = at.checked_sub(folio.pos()).ok_or(EIO)? as usize;
        let n = folio.copy_out(from, &mut to[done..want]);
        if n == 0 {
            return Err(EIO);
        }
        done += n;
    }
    Ok(done)
}

/// COPY_COMMIT.
pub(super) fn commit(shared: &Shared, sb: &SuperBlock, arg: usize) -> Result<isize> {
    let (a, _) = uapi::get::<bindings::vexfs_copy_commit>(arg, 56)?;
    if a.flags & !bindings::VEXFS_COMMIT_LATER != 0 || a.reserved0 != 0 || a.reserved != [0] {
        return Err(EINVAL);
    }
    if a.count == 0 || a.count as usize > MAX_COPIES {
        return Err(EINVAL);
    }
    uapi::check_item_size(a.copy_size, 96)?;
    let vi = file_by_number(sb, a.ino, a.generation)?;
    if vi.read_only() {
        return Err(EROFS);
    }
    let mut copies = KVec::with_capacity(a.count as usize, GFP_KERNEL)?;
    for n in 0..a.count as usize {
        let c = uapi::get_item::<bindings::vexfs_copy>(a.copies, a.copy_size, n)?;
        copies.push(checked(sb, &vi, &c, a.version)?, GFP_KERNEL)?;
    }
    let file = InternalFile::new(vi);
    sum_up(shared, &file, a.version)?;
    let vi = file.inode();
    for copy in &copies {
        vi.mount().with_space(|| record(vi, copy))?;
    }
    if a.flags & bindings::VEXFS_COMMIT_LATER == 0 {
        // Whoever releases the file makes sure of this himself.
        vi.commit_tid(vi.data().commit_tid(false))?;
    }
    Ok(0)
}

/// A copy as an agent describes it, if it can be one.
fn checked(sb: &SuperBlock, vi: &VexInode, c: &bindings::vexfs_copy, version: u64) -> Result<Copy> {
    let sane = usize::from(c.copy) < MAX_COPIES
        && u32::from(c.state) <= bindings::VEXFS_COPY_VALID
        && u32::from(c.algorithm) <= bindings::VEXFS_DIGEST_BLAKE3
        && c.version == version
        && c.off == 0
        && c.reserved0 == 0;
    if !sane {
        return Err(EINVAL);
    }
    if c.len != vi.size() {
        return Err(estale());
    }
    let system = VexInode::get(sb, vi.fs().sb.system_ino, None)?;
    let known = vi.fs().has_volume(&system.core().read(), c.volume)?;
    if !known {
        return Err(ENOENT);
    }
    Ok(Copy {
        copy: c.copy,
        state: copy::STATE_VALID,
        algorithm: c.algorithm,
        pool: c.pool,
        volume: c.volume,
        version,
        len: c.len,
        bundle: c.bundle,
        block: c.block,
        object_off: c.object_off,
        time: sched::real_seconds(),
        digest: c.digest,
    })
}

/// Checksums the file's contents and keeps the sums. They are the kernel's own: what an agent
/// brings back is measured by them.
fn sum_up(shared: &Shared, file: &InternalFile, version: u64) -> Result {
    let vi = file.inode();
    let size = vi.size();
    {
        let core = vi.core().read();
        if core.data_version != version {
            return Err(estale());
        }
        if offline_elsewhere(vi, &core, version)? {
            return Err(EBUSY);
        }
        let offline =
            core.state & STATE_OFFLINE != 0 && vi.fs().first_offline(&core, 0, u64::MAX)?.is_some();
        if offline && core.state & STATE_ARCHIVED != 0 {
            // The sums of this version are there, or it could not be offline.
            return Ok(());
        }
    }
    // Whether the agent said that it begins or not: from here on a change makes another version.
    if settle_version(vi)? != version {
        return Err(estale());
    }
    let mut reader = file.reader();
    let mut bytes = KVVec::from_elem(0u8, CHUNK.min(size.max(1)) as usize, GFP_KERNEL)?;
    let mut sums = KVec::with_capacity(SUMS, GFP_KERNEL)?;
    let all = chunks(size);
    for chunk in 0..all {
        if shared.link.is_cut() {
            return Err(ENODEV);
        }
        let n = copy_out(vi, &mut reader, chunk * CHUNK, &mut bytes)?;
        sums.push(chunk_sum(crc32c, &bytes[..n]), GFP_KERNEL)?;
        if sums.len() == SUMS || chunk + 1 == all {
            let first = chunk + 1 - sums.len() as u64;
            vi.mount()
                .with_space(|| put_sums(vi, version, first, &sums))?;
            sums.clear();
        }
    }
    trim_sums(vi, all)
}

fn put_sums(vi: &VexInode, version: u64, first: u64, sums: &[u32]) -> Result {
    let fs = vi.fs();
    let mut t = fs.store.begin(copy::PUT_CREDITS)?;
    let mut core = vi.core().write();
    let result = fs
        .staging_space(&core)
        .and_then(|mut space| fs.put_sums(&mut t, &mut space, &mut core, version, first, sums));
    vi.data().note(t.tid(), true);
    vi.show_blocks(&core);
    drop(core);
    result?;
    t.stop()
}

/// Removes the sums of chunks that an earlier, longer version had.
fn trim_sums(vi: &VexInode, chunks: u64) -> Result {
    let fs = vi.fs();
    loop {
        let mut t = fs.store.begin(copy::REMOVE_CREDITS)?;
        let mut core = vi.core().write();
        let done = fs.trim_sums(&mut t, &mut core, chunks);
        vi.data().note(t.tid(), true);
        vi.show_blocks(&core);
        drop(core);
        let done = done?;
        t.stop()?;
        if done {
            return Ok(());
        }
    }
}

/// One transaction: the record of a copy.
fn record(vi: &VexInode, copy: &Copy) -> Result {
    let fs = vi.fs();
    let mut t = fs.store.begin(copy::PUT_CREDITS)?;
    let mut core = vi.core().write();
    let result = fs
        .staging_space(&core)
        .and_then(|mut space| fs.put_copy(&mut t, &mut space, &mut core, copy));
    vi.data().note(t.tid(), true);
    vi.show_blocks(&core);
    drop(core);
    result?;
    t.stop()
}
