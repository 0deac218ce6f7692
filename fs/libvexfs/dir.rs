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
use crate::libvexfs::tree::{self, node, node::Node};
use crate::libvexfs::{damaged, Fs};
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

/// Entries of a directory that were copied, to be shown with no lock held.
pub struct Listing {
    /// A node of the directory's tree; none at the end.
    page: KVec<u8>,
    /// Where the entries behind it begin.
    next: Option<u64>,
    /// The directory.
    dir: u64,
}

impl Listing {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        Ok(Listing {
            page: KVec::with_capacity(node::PAGE, GFP_KERNEL)?,
            next: None,
            dir: 0,
        })
    }

    /// Where to go on when all was shown; `None` at the end of the directory.
    pub fn next(&self) -> Option<u64> {
        self.next
    }

    /// Shows the entries from position `pos` on to `emit` until it says false.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`.
    pub fn show(&self, pos: u64, emit: &mut dyn FnMut(&DirEntryRef<'_>) -> bool) -> Result<bool> {
        if self.page.is_empty() {
            return Ok(true);
        }
        let bad = |_| damaged(self.dir, 0, "a tree node contradicts itself");
        let leaf = Node::open(&self.page).map_err(bad)?;
        for i in leaf.lower_bound(pos.into())..leaf.count() {
            let entry = parse(self.dir, leaf.key(i), leaf.value(i).map_err(bad)?)?;
            if !emit(&entry) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn parse(dir: u64, key: u128, value: &[u8]) -> Result<DirEntryRef<'_>> {
    DirEntryRef::parse(key, value).map_err(|_| damaged(dir, 0, "a directory entry makes no sense"))
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
        let mut listing = Listing::new()?;
        let mut next = Some(pos);
        while let Some(pos) = next {
            self.list(dir, pos, &mut listing)?;
            if !listing.show(pos, emit)? {
                return Ok(());
            }
            next = listing.next();
        }
        Ok(())
    }

    /// Copies the entries around position `pos`, as many as lie together.
    ///
    /// # Errors
    ///
    /// As for [`Fs::readdir`].
    pub fn list(&self, dir: &Inode, pos: u64, listing: &mut Listing) -> Result {
        if !dir.is_dir() {
            return Err(ENOTDIR);
        }
        listing.dir = dir.ino;
        listing.next = None;
        listing.page.clear();
        if pos <= COOKIE_MAX {
            let page = &mut listing.page;
            let upper = tree::copy_leaf(&self.store, dir.data_root(), pos.into(), page)?;
            // No cookie is above 64 bits, so no leaf behind such a bound has one.
            listing.next = upper.and_then(|upper| u64::try_from(upper).ok());
        }
        Ok(())
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
            let entry = parse(dir.ino, key, value)?;
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
            parse(dir.ino, cookie.into(), value).map(|e| f(&e))
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
}

fn format_head(value: &mut [u8], ino: u64, dtype: u8) {
    if let Some(head) = value.first_chunk_mut::<ENTRY_HEAD>() {
        let [i0, i1, i2, i3, i4, i5, i6, i7] = ino.to_le_bytes();
        *head = [i0, i1, i2, i3, i4, i5, i6, i7, dtype];
    }
}
