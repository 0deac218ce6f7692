// SPDX-License-Identifier: GPL-2.0

//! The search: plan, run, tell.

use super::admission::Admission;
use super::request::Request;
use super::scan::Pass;
use super::trace::Trace;
use super::{sight, unless_dropped, Open};
use crate::libvexfs::format::inode::STATE_OFFLINE;
use crate::libvexfs::vector::search::{self, Scan as _};
use crate::libvexfs::vector::top::Hit;
use crate::libvexfs::vector::Record;
use crate::vfs::{bindings, ioctl::File, uapi};
use kernel::prelude::*;

/// Checksums of vectors begin with this.
pub(super) const SEED: u32 = !0;

/// `VEXFS_IOC_SEARCH`.
pub(super) fn search(file: &File, arg: usize) -> Result<isize> {
    let request = Request::read(arg)?;
    let mut trace = Trace::new(request.raw.explain != 0);
    let part = trace.part();
    let open = Open::new(file.inode().mount(), request.raw.collection)?;
    if request.raw.dim != open.collection.dim {
        return Err(EINVAL);
    }
    let mut queries = KVVec::from_elem(0u8, request.queries() * open.wide(), GFP_KERNEL)?;
    uapi::slice(request.raw.vectors, queries.len())
        .reader()
        .read_slice(&mut queries)?;
    let admission = Admission::new(file, &open, &request)?;
    part.end(&mut trace.told.plan_ns);
    trace.told.plan = bindings::VEXFS_PLAN_SCAN;
    let mut pass = Pass::new(&open, &queries, admission, &mut trace)?;
    let results = search::exact(&mut pass, request.queries(), request.k());
    let results = unless_dropped(&open, results)?;
    tell_all(file, &open, &request, &mut pass, &results)?;
    drop(pass);
    if request.raw.explain != 0 {
        trace.tell(file, request.raw.explain)?;
    }
    request.answer(arg)?;
    Ok(0)
}

/// Tells the user all hits.
fn tell_all(
    file: &File,
    open: &Open,
    request: &Request,
    pass: &mut Pass<'_>,
    results: &[KVVec<Hit>],
) -> Result {
    let raw = &request.raw;
    for (q, hits) in results.iter().enumerate() {
        let mut count = 0;
        for hit in hits.iter() {
            // What was let in may be gone by now.
            let Some(told) = tell(file, open, hit)? else {
                continue;
            };
            uapi::put_item(raw.hits, raw.hit_size, q * request.k() + count, &told)?;
            count += 1;
        }
        let at = raw.counts.checked_add(4 * q as u64).ok_or(EFAULT)?;
        uapi::slice(at, 4)
            .writer()
            .write_slice(&(count as u32).to_ne_bytes())?;
        pass.pause()?;
    }
    Ok(())
}

/// What a user is told of a hit; `None` if its file is gone.
fn tell(file: &File, open: &Open, hit: &Hit) -> Result<Option<bindings::vexfs_record>> {
    let told = describe(file, hit.slot, &hit.record)?;
    Ok(told.map(|r| bindings::vexfs_record {
        score: open.kernels.score(hit.key),
        ..r
    }))
}

/// What a user is told of a record; `None` if its file is gone.
pub(super) fn describe(
    file: &File,
    slot: u32,
    record: &Record,
) -> Result<Option<bindings::vexfs_record>> {
    let Some(owner) = sight::get(file.inode().sb(), record.ino, record.generation)? else {
        return Ok(None);
    };
    let core = owner.core().read();
    let mut flags = 0;
    if file.inode().fs().is_stale(&core, record)? {
        flags |= bindings::VEXFS_RECORD_STALE;
    }
    if core.state & STATE_OFFLINE != 0 {
        flags |= bindings::VEXFS_RECORD_OFFLINE;
    }
    Ok(Some(bindings::vexfs_record {
        key: record.key,
        ino: record.ino,
        off: record.off,
        len: record.len,
        version: record.version,
        generation: record.generation,
        flags,
        score: 0,
        slot,
    }))
}
