// SPDX-License-Identifier: GPL-2.0

//! Inodes: reading, logging, allocating and freeing them.

mod chunk;

pub use crate::libvexfs::format::inode::*;

use crate::libvexfs::errno::estale;
use crate::libvexfs::journal::{Store, Trans};
use crate::libvexfs::tree::{height, Owner, Root, RootMut, KIND_ATTR, KIND_DATA};
use crate::libvexfs::{damaged, Fs};
use kernel::prelude::*;

impl Inode {
    fn owner(&self, kind: u32) -> Owner {
        Owner {
            id: self.ino,
            generation: self.generation,
            kind,
            home: self.ino >> 3,
        }
    }

    /// The data tree, to be read.
    pub fn data_root(&self) -> Root<'_> {
        Root {
            bytes: &self.data,
            owner: self.owner(KIND_DATA),
        }
    }

    /// The data tree, to be changed.
    pub fn data_root_mut(&mut self) -> RootMut<'_> {
        let owner = self.owner(KIND_DATA);
        RootMut {
            bytes: &mut self.data,
            blocks: &mut self.blocks,
            owner,
        }
    }

    /// The attribute tree, to be read.
    pub fn attr_root(&self) -> Root<'_> {
        Root {
            bytes: &self.attr,
            owner: self.owner(KIND_ATTR),
        }
    }

    /// The attribute tree, to be changed.
    pub fn attr_root_mut(&mut self) -> RootMut<'_> {
        let owner = self.owner(KIND_ATTR);
        RootMut {
            bytes: &mut self.attr,
            blocks: &mut self.blocks,
            owner,
        }
    }

    /// Whether all extents (or entries) are in the inode itself, so that finding one
    /// reads no block.
    pub fn data_in_core(&self) -> bool {
        height(&self.data) == 0
    }

    /// Whether all attribute records are in the inode itself.
    pub fn attr_in_core(&self) -> bool {
        height(&self.attr) == 0
    }
}

impl<S: Store> Fs<S> {
    /// Reads an inode from disk. While it is in use the in-core one is the truth.
    ///
    /// # Errors
    ///
    /// `ESTALE` if it is free or its number impossible, `EUCLEAN` if it is damaged.
    pub fn read_inode(&self, ino: u64) -> Result<Inode> {
        let (bno, at) = place(ino)?;
        if self.geometry().group_of(bno).is_none() {
            return Err(estale());
        }
        let (mut header, mut slot) = ([0; BLOCK_HEADER], [0; INODE_SIZE]);
        let ranges = &mut [(0, &mut header[..]), (at, &mut slot[..])];
        let mut cached = true;
        self.store.read_shared(bno, ranges, || {
            // Inodes of one chunk were made together, and are looked at together; mostly the first
            // of them first, and then this is all of the chunk, in one go.
            cached = false;
            self.store.readahead(bno..bno + CHUNK_BLOCKS);
        })?;
        // A handle from outside may name any block: that it is no inode block is no damage.
        let chunk = parse_block_header(&header, bno).map_err(|_| estale())?;
        if !cached {
            self.store.readahead(chunk..bno);
        }
        Inode::parse(&slot, ino).map_err(|e| match e {
            e if e == estale() => e,
            _ => damaged(ino, bno, "an inode contradicts itself"),
        })
    }

    /// Writes the in-core inode to its block, and books what it has. Credits:
    /// [`credits::INODE`](crate::libvexfs::credits::INODE).
    ///
    /// # Errors
    ///
    /// What storage returns.
    pub fn log_inode(&self, t: &mut S::Trans, inode: &Inode) -> Result {
        self.quota_book(t, inode.ino, Some(inode))?;
        let (bno, at) = place(inode.ino)?;
        let mut slot = [0; INODE_SIZE];
        inode.format(&mut slot);
        t.write_at(bno, at, &slot)
    }

    /// Announces that an in-core inode is about to change: takes write access to its
    /// block, so that an error after this aborts instead of leaving memory and disk
    /// apart. Tree operations do it by themselves.
    ///
    /// # Errors
    ///
    /// What storage returns.
    pub fn touch_inode(&self, t: &mut S::Trans, inode: &Inode) -> Result {
        t.write_at(place(inode.ino)?.0, 0, &[])
    }
}
