// SPDX-License-Identifier: GPL-2.0

//! The vectors that a search looks for: the caller's, or those of a record or file.

use super::record::{check_vector, read_by_key, read_vector};
use super::request::Request;
use super::sight::Sight;
use super::{unless_dropped, Open};
use crate::libvexfs::errno::enodata;
use crate::libvexfs::vector::room::zeroes;
use crate::vfs::{access::FileRef, bindings, ioctl::File, sched, uapi};
use kernel::prelude::*;

/// Queries, and where they came from.
pub(super) struct Query {
    /// As users see vectors: f32, one after the other.
    pub(super) vectors: KVVec<u8>,
    /// The file whose vectors they are.
    pub(super) like: Option<(u64, u32)>,
}

/// Reads the queries.
///
/// # Errors
///
/// `EFAULT`, `EINVAL`, `ENOENT`, `ENODATA`, `EBADF`, `EXDEV`; `EUCLEAN`, `EIO`, `ENOMEM`, `EINTR`.
pub(super) fn read(file: &File, open: &Open, request: &Request) -> Result<Query> {
    if request.has(bindings::VEXFS_SEARCH_LIKE_KEY) {
        return like_key(file, open, request.raw.like_key);
    }
    if request.has(bindings::VEXFS_SEARCH_LIKE_FILE) {
        return like_file(file, open, request);
    }
    let mut vectors = zeroes(request.queries() * open.wide())?;
    if request.has(bindings::VEXFS_SEARCH_STORED) {
        let mut stored = zeroes(open.stored())?;
        let from = uapi::slice(request.raw.vectors, request.queries() * stored.len());
        let mut from = from.reader();
        for query in 0..request.queries() {
            from.read_slice(&mut stored)?;
            let wide = vectors.get_mut(query * open.wide()..(query + 1) * open.wide());
            open.kernels.admit(&mut stored, wide.ok_or(EINVAL)?)?;
        }
        return Ok(Query {
            vectors,
            like: None,
        });
    }
    uapi::slice(request.raw.vectors, vectors.len())
        .reader()
        .read_slice(&mut vectors)?;
    Ok(Query {
        vectors,
        like: None,
    })
}

fn like_key(file: &File, open: &Open, key: u64) -> Result<Query> {
    let (_, record, vector) = read_by_key(file, open, key)?;
    let mut vectors = zeroes(open.wide())?;
    open.kernels.decode(&vector, &mut vectors)?;
    Ok(Query {
        vectors,
        like: Some((record.ino, record.generation)),
    })
}

fn like_file(file: &File, open: &Open, request: &Request) -> Result<Query> {
    let like = FileRef::get(request.raw.like_fd, file)?;
    let (ino, generation) = (like.inode().ino(), like.inode().generation());
    if !Sight::new(file, false)?.sees(ino, generation)? {
        return Err(ENOENT);
    }
    let mut slots = KVec::with_capacity(request.queries(), GFP_KERNEL)?;
    let found = {
        let core = open.inode().core().read();
        let fs = open.inode().fs();
        fs.slots_by_owner(&core, ino, 0, request.queries(), &mut slots)
    };
    unless_dropped(open, found)?;
    let mut vectors = zeroes(slots.len() * open.wide())?;
    let mut vector = zeroes(open.stored())?;
    let mut count = 0;
    let record = |slot| {
        let core = open.inode().core().read();
        open.inode().fs().record(&core, slot)
    };
    for &slot in slots.iter() {
        if sched::killed() {
            return Err(EINTR);
        }
        let before = unless_dropped(open, record(slot))?;
        let read = read_vector(open, slot, &mut vector)?;
        let Some(known) = before.filter(|r| (r.ino, r.generation) == (ino, generation)) else {
            continue;
        };
        // What is replaced at this moment is left out.
        if unless_dropped(open, record(slot))? != Some(known) {
            continue;
        }
        check_vector(open, read, &vector, &known)?;
        let at = count * open.wide();
        let to = vectors.get_mut(at..at + open.wide()).ok_or(EINVAL)?;
        open.kernels.decode(&vector, to)?;
        count += 1;
    }
    if count == 0 {
        return Err(enodata());
    }
    vectors.truncate(count * open.wide());
    Ok(Query {
        vectors,
        like: Some((ino, generation)),
    })
}
