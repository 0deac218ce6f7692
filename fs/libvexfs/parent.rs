// SPDX-License-Identifier: GPL-2.0

//! Parent pointers: every link of an inode has a record with the inode that says where the entry
//! is. It changes in the transaction that changes the entry, so an inode can always be named
//! without a scan of the volume.

pub mod path;
pub mod record;

pub use path::Ancestors;
pub use record::ParentRef;

use crate::libvexfs::alloc::Space;
use crate::libvexfs::attr::kind;
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::Fs;
use kernel::prelude::*;
use record::{HEAD, RECORD_MAX};

impl<S: Store> Fs<S> {
    /// Shows all links of an inode to `f`, in a fixed order, until it says false.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`, and what `f` returns.
    pub fn parents(&self, i: &Inode, f: &mut dyn FnMut(&ParentRef<'_>) -> Result<bool>) -> Result {
        self.attr_scan(i, kind::PARENT, 0, &mut |key, value| {
            f(&self.parent_parse(i, key, value)?)
        })
    }

    /// Returns number and generation of the directory that holds directory `i`; of the root, itself.
    ///
    /// # Errors
    ///
    /// `ENOTDIR`; `ENOENT` for a directory that was removed; `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn parent_of(&self, i: &Inode) -> Result<(u64, u32)> {
        if !i.is_dir() {
            return Err(ENOTDIR);
        }
        if i.ino == self.sb.root_ino {
            return Ok((i.ino, i.generation));
        }
        self.attr_next(i, kind::PARENT, 0, |key, value| {
            self.parent_parse(i, key, value)
                .map(|parent| (parent.ino, parent.generation))
        })?
        .unwrap_or(Err(ENOENT))
    }

    /// Checks, before anything changes, that the pointer for an entry is there and says the same.
    pub(crate) fn parent_verify(&self, i: &Inode, dir: &Inode, cookie: u64, name: &[u8]) -> Result {
        let key = record::key(dir.ino, cookie)?;
        let same = self.attr_lookup(i, kind::PARENT, key, |value| {
            self.parent_parse(i, key, value)
                .map(|p| p.generation == dir.generation && p.name == name)
        })?;
        match same.transpose()? {
            Some(true) => Ok(()),
            _ => Err(self.damaged(i.ino, 0, "an entry has no parent pointer, or a wrong one")),
        }
    }

    /// Checks, before anything changes, that there is no pointer yet for an entry that is to be.
    pub(crate) fn parent_absent(&self, i: &Inode, dir: &Inode, cookie: u64) -> Result {
        let key = record::key(dir.ino, cookie)?;
        match self.attr_lookup(i, kind::PARENT, key, |_| ())? {
            None => Ok(()),
            Some(()) => Err(self.damaged(i.ino, 0, "a parent pointer without an entry")),
        }
    }

    /// Inserts the pointer for an entry of `dir`. Does not log the inode.
    pub(crate) fn parent_insert(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        i: &mut Inode,
        dir: (u64, u32),
        cookie: u64,
        name: &[u8],
    ) -> Result {
        let mut buf = [0; RECORD_MAX];
        let value = buf.get_mut(..HEAD + name.len()).ok_or(EINVAL)?;
        let (head, rest) = value.split_at_mut(HEAD);
        head.copy_from_slice(&dir.1.to_le_bytes());
        rest.copy_from_slice(name);
        self.attr_insert(
            t,
            space,
            i,
            kind::PARENT,
            record::key(dir.0, cookie)?,
            value,
        )
    }

    /// Removes the pointer for an entry of directory number `dir`. Does not log the inode.
    pub(crate) fn parent_remove(
        &self,
        t: &mut S::Trans,
        i: &mut Inode,
        dir: u64,
        cookie: u64,
    ) -> Result {
        self.attr_remove(t, i, kind::PARENT, record::key(dir, cookie)?)
    }

    pub(crate) fn parent_parse<'a>(
        &self,
        i: &Inode,
        key: u128,
        value: &'a [u8],
    ) -> Result<ParentRef<'a>> {
        ParentRef::parse(key, value)
            .map_err(|_| self.damaged(i.ino, 0, "a parent pointer makes no sense"))
    }
}
