// SPDX-License-Identifier: GPL-2.0

//! Targets of symbolic links: in the data root of the inode where it has room, else in chunk
//! records of the attribute tree.

use crate::libvexfs::alloc::Space;
use crate::libvexfs::attr::kind;
use crate::libvexfs::errno::enametoolong;
use crate::libvexfs::format::inode::INLINE_LINK_MAX;
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::xattr::record::{chunk_key, chunks, CHUNK_LEN, CHUNK_LINK};
use crate::libvexfs::Fs;
use kernel::prelude::*;

/// Longest target.
pub const TARGET_MAX: usize = 4095;
/// Chunk records that the longest target takes.
pub const CHUNKS_MAX: usize = TARGET_MAX.div_ceil(CHUNK_LEN);

/// Checks a target and returns how many chunk records it will take.
///
/// # Errors
///
/// `ENAMETOOLONG` over 4,095 bytes; `EINVAL` for an empty one and one with a zero byte.
pub(crate) fn check_target(target: &[u8]) -> Result<usize> {
    if target.len() > TARGET_MAX {
        return Err(enametoolong());
    }
    if target.is_empty() || target.contains(&0) {
        return Err(EINVAL);
    }
    if target.len() <= INLINE_LINK_MAX {
        return Ok(0);
    }
    Ok(chunks(target.len()))
}

impl<S: Store> Fs<S> {
    /// Puts the target of a symbolic link in `buf`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for anything else than a symbolic link; `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn read_symlink(&self, i: &Inode, buf: &mut KVec<u8>) -> Result {
        buf.clear();
        if !i.is_link() {
            return Err(EINVAL);
        }
        let len = usize::try_from(i.size).unwrap_or(usize::MAX);
        if len == 0 || len > TARGET_MAX {
            return Err(self.damaged(i.ino, 0, "a symbolic link has an impossible length"));
        }
        if i.has_inline_link() {
            buf.extend_from_slice(i.data.get(..len).unwrap_or_default(), GFP_KERNEL)?;
        } else {
            buf.resize(len, 0, GFP_KERNEL)?;
            self.chunks_read(i, CHUNK_LINK, buf)?;
        }
        if buf.contains(&0) {
            return Err(self.damaged(i.ino, 0, "the target of a symbolic link has a zero byte"));
        }
        Ok(())
    }

    /// Stores the target in a new inode. Does not log it.
    pub(crate) fn write_symlink(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        i: &mut Inode,
        target: &[u8],
    ) -> Result {
        i.size = target.len() as u64;
        if let (true, Some(room)) = (i.has_inline_link(), i.data.get_mut(..target.len())) {
            room.copy_from_slice(target);
            return Ok(());
        }
        self.chunks_write(t, space, i, CHUNK_LINK, target)
    }

    /// Fills `buf` from the chunks of `id`, which must have exactly its length.
    pub(crate) fn chunks_read(&self, i: &Inode, id: u32, buf: &mut [u8]) -> Result {
        let mut pieces = buf.chunks_mut(CHUNK_LEN);
        let mut next = chunk_key(id, 0);
        let end = chunk_key(id, u32::MAX);
        let mut whole = true;
        self.attr_scan(i, kind::CHUNK, next, &mut |key, value| {
            if key > end {
                return Ok(false);
            }
            match pieces.next() {
                Some(piece) if key == next && piece.len() == value.len() => {
                    piece.copy_from_slice(value);
                }
                _ => {
                    whole = false;
                    return Ok(false);
                }
            }
            next += 1;
            Ok(true)
        })?;
        if !whole || pieces.next().is_some() {
            return Err(self.damaged(i.ino, 0, "a long value has missing or wrong pieces"));
        }
        Ok(())
    }

    /// Inserts the chunks of `id`. Does not log the inode.
    pub(crate) fn chunks_write(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        i: &mut Inode,
        id: u32,
        value: &[u8],
    ) -> Result {
        for (n, piece) in (0u32..).zip(value.chunks(CHUNK_LEN)) {
            self.attr_insert(t, space, i, kind::CHUNK, chunk_key(id, n), piece)?;
        }
        Ok(())
    }

    /// Removes the chunks of `id` that a value of `len` bytes has. Does not log the inode.
    pub(crate) fn chunks_remove(
        &self,
        t: &mut S::Trans,
        i: &mut Inode,
        id: u32,
        len: usize,
    ) -> Result {
        for n in (0u32..).take(chunks(len)) {
            self.attr_remove(t, i, kind::CHUNK, chunk_key(id, n))?;
        }
        Ok(())
    }
}
