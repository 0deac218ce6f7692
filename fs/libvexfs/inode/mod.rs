// SPDX-License-Identifier: GPL-2.0

//! Inodes: reading, logging, allocating and freeing them.

pub use crate::libvexfs::format::inode::*;

use crate::libvexfs::journal::Store;
use crate::libvexfs::tree::{Owner, Root, RootMut};
use crate::libvexfs::Fs;
use kernel::prelude::*;

impl Inode {
    fn owner(&self, kind: u32) -> Owner {
        Owner { id: self.ino, generation: self.generation, kind, home: self.ino >> 3 }
    }

    /// The data tree, to be read.
    pub fn data_root(&self) -> Root<'_> {
        Root { bytes: &self.data, owner: self.owner(crate::libvexfs::tree::KIND_DATA) }
    }

    /// The data tree, to be changed.
    pub fn data_root_mut(&mut self) -> RootMut<'_> {
        let owner = self.owner(crate::libvexfs::tree::KIND_DATA);
        RootMut { bytes: &mut self.data, blocks: &mut self.blocks, owner }
    }

    /// The attribute tree, to be read.
    pub fn attr_root(&self) -> Root<'_> {
        Root { bytes: &self.attr, owner: self.owner(crate::libvexfs::tree::KIND_ATTR) }
    }

    /// The attribute tree, to be changed.
    pub fn attr_root_mut(&mut self) -> RootMut<'_> {
        let owner = self.owner(crate::libvexfs::tree::KIND_ATTR);
        RootMut { bytes: &mut self.attr, blocks: &mut self.blocks, owner }
    }

    /// Whether all extents (or entries) are in the inode itself, so that finding one
    /// reads no block.
    pub fn data_in_core(&self) -> bool {
        crate::libvexfs::tree::height(&self.data) == 0
    }

    /// Whether all attribute records are in the inode itself.
    pub fn attr_in_core(&self) -> bool {
        crate::libvexfs::tree::height(&self.attr) == 0
    }
}

impl<S: Store> Fs<S> {
    /// Reads an inode from disk. While it is in use the in-core one is the truth.
    ///
    /// # Errors
    ///
    /// `ESTALE` if it is free or its number impossible, `EUCLEAN` if it is damaged.
    pub fn read_inode(&self, _ino: u64) -> Result<Inode> {
        todo!()
    }

    /// Writes the in-core inode to its block. One credit.
    ///
    /// # Errors
    ///
    /// What storage returns.
    pub fn log_inode(&self, _t: &mut S::Trans, _inode: &Inode) -> Result {
        todo!()
    }

    /// Announces that an in-core inode is about to change: takes write access to its
    /// block, so that an error after this aborts instead of leaving memory and disk
    /// apart. Tree operations do it by themselves.
    ///
    /// # Errors
    ///
    /// What storage returns.
    pub fn touch_inode(&self, _t: &mut S::Trans, _inode: &Inode) -> Result {
        todo!()
    }

    /// Allocates an inode near `parent` (directories are spread) and returns it with
    /// empty trees, no links, all times `now`. The caller fills in the rest and logs it.
    /// Credits: [`credits::INODE_ALLOC`](crate::libvexfs::credits::INODE_ALLOC).
    ///
    /// # Errors
    ///
    /// `ENOSPC`, with nothing dirtied.
    pub fn alloc_inode(
        &self,
        _t: &mut S::Trans,
        _parent: Option<&Inode>,
        _mode: u16,
        _now: Time,
    ) -> Result<Inode> {
        todo!()
    }

    /// Frees an inode that has no blocks and no records any more. Credits:
    /// [`credits::INODE_FREE`](crate::libvexfs::credits::INODE_FREE).
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if the chunk tree disagrees.
    pub fn free_inode(&self, _t: &mut S::Trans, _inode: &Inode) -> Result {
        todo!()
    }
}
