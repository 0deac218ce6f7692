// SPDX-License-Identifier: GPL-2.0

//! Directories: finding names and reading them in order.
//!
//! The data tree of a directory holds its entries, keyed by cookie. Names of equal hash have
//! neighbouring cookies, so a lookup is one descent and, as good as always, one comparison. "." and
//! ".." are not stored: the parent pointer of a directory says where it is.

pub mod entry;

pub use entry::{DirEntry, DirEntryRef, NAME_MAX};

use crate::libvexfs::alloc::Space;
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::siphash::siphash24;
use crate::libvexfs::Fs;
use entry::{check_name, COOKIE_FIRST, COOKIE_MAX, COUNTER_BITS, ENTRY_HEAD, ENTRY_MAX};
use kernel::prelude::*;

/// What a search for a name tells: where it is, or where it could be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// The entry of that name.
    pub(crate) found: Option<DirEntry>,
    /// The lowest free cookie for the name, if all of the same hash were looked at.
    pub(crate) free: Option<u64>,
}

/// Returns the lowest cookie that a name can have.
fn first_cookie(key: &[u8; 16], name: &[u8]) -> u64 {
    siphash24(key, name) >> 16 << COUNTER_BITS
}

impl<S: Store> Fs<S> {
    /// Finds a name in a directory.
    ///
    /// # Errors
    ///
    /// `ENOTDIR`, `ENAMETOOLONG`, `EINVAL` for a name that cannot be; `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn lookup(&self, dir: &Inode, name: &[u8]) -> Result<Option<DirEntry>> {
        Ok(self.dir_probe(dir, name)?.found)
    }

    /// Shows the entries from position `pos` on to `emit`, in order of their cookies, until it
    /// says false. To go on behind an entry, start at its cookie + 1. Entries that are neither
    /// removed nor inserted meanwhile are shown exactly once.
    ///
    /// # Errors
    ///
    /// `ENOTDIR`, `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn readdir(
        &self,
        dir: &Inode,
        pos: u64,
        emit: &mut dyn FnMut(&DirEntryRef<'_>) -> bool,
    ) -> Result {
        if !dir.is_dir() {
            return Err(ENOTDIR);
        }
        if pos > COOKIE_MAX {
            return Ok(());
        }
        self.tree_scan(dir.data_root(), pos.into(), &mut |key, value| {
            let entry = self.dir_parse(dir, key, value)?;
            Ok(emit(&entry))
        })
    }

    /// Finds a name, or the place for it.
    pub(crate) fn dir_probe(&self, dir: &Inode, name: &[u8]) -> Result<Probe> {
        if !dir.is_dir() {
            return Err(ENOTDIR);
        }
        check_name(name)?;
        let base = first_cookie(&self.sb.hash_key, name);
        let last = (base | ((1 << COUNTER_BITS) - 1)).min(COOKIE_MAX);
        let mut free = base.max(COOKIE_FIRST);
        let mut found = None;
        self.tree_scan(dir.data_root(), base.into(), &mut |key, value| {
            if key > u128::from(last) {
                return Ok(false);
            }
            let entry = self.dir_parse(dir, key, value)?;
            if entry.name == name {
                found = Some(entry.entry());
                return Ok(false);
            }
            // Keys come in ascending order, so this stops at the first gap.
            if entry.cookie == free {
                free += 1;
            }
            Ok(true)
        })?;
        Ok(Probe {
            found,
            free: (found.is_none() && free <= last).then_some(free),
        })
    }

    /// Finds an entry by its cookie and shows it to `f`.
    pub(crate) fn dir_at<R>(
        &self,
        dir: &Inode,
        cookie: u64,
        f: impl FnOnce(&DirEntryRef<'_>) -> R,
    ) -> Result<Option<R>> {
        if !dir.is_dir() {
            return Err(ENOTDIR);
        }
        self.tree_lookup(dir.data_root(), cookie.into(), |value| {
            self.dir_parse(dir, cookie.into(), value).map(|e| f(&e))
        })?
        .transpose()
    }

    /// Inserts an entry at a free cookie. Counts it, but does not log the directory.
    pub(crate) fn dir_insert(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        dir: &mut Inode,
        entry: &DirEntryRef<'_>,
    ) -> Result {
        let mut buf = [0; ENTRY_MAX];
        let len = ENTRY_HEAD + entry.name.len();
        let value = buf.get_mut(..len).ok_or(EINVAL)?;
        format_head(value, entry.ino, entry.dtype);
        value
            .get_mut(ENTRY_HEAD..)
            .ok_or(EINVAL)?
            .copy_from_slice(entry.name);
        self.tree_insert(t, space, dir.data_root_mut(), entry.cookie.into(), value)?;
        dir.entries = dir.entries.saturating_add(1);
        dir.size = dir.size.saturating_add(len as u64);
        Ok(())
    }

    /// Removes the entry of a name of `name_len` bytes. Counts it, but does not log the directory.
    pub(crate) fn dir_remove(
        &self,
        t: &mut S::Trans,
        dir: &mut Inode,
        cookie: u64,
        name_len: usize,
    ) -> Result {
        self.tree_remove(t, dir.data_root_mut(), cookie.into())?;
        dir.entries = dir.entries.saturating_sub(1);
        dir.size = dir.size.saturating_sub((ENTRY_HEAD + name_len) as u64);
        Ok(())
    }

    /// Lets an entry name another inode.
    pub(crate) fn dir_update(
        &self,
        t: &mut S::Trans,
        dir: &mut Inode,
        cookie: u64,
        ino: u64,
        dtype: u8,
    ) -> Result {
        self.tree_update(t, dir.data_root_mut(), cookie.into(), |value| {
            format_head(value, ino, dtype);
        })
    }

    fn dir_parse<'a>(&self, dir: &Inode, key: u128, value: &'a [u8]) -> Result<DirEntryRef<'a>> {
        DirEntryRef::parse(key, value)
            .map_err(|_| self.damaged(dir.ino, 0, "a directory entry makes no sense"))
    }
}

fn format_head(value: &mut [u8], ino: u64, dtype: u8) {
    if let Some(head) = value.first_chunk_mut::<ENTRY_HEAD>() {
        let [i0, i1, i2, i3, i4, i5, i6, i7] = ino.to_le_bytes();
        *head = [i0, i1, i2, i3, i4, i5, i6, i7, dtype];
    }
}
