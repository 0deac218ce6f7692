// SPDX-License-Identifier: GPL-2.0

//! The two inodes that the superblock names, and making inodes.

use super::Repair;
use crate::libvexfs::errno::euclean;
use crate::libvexfs::format::inode::{
    chunk_index, chunk_ino, parse_free, place, CHUNK_INODES, INODE_SIZE, ROOT_LEN, STATE_INTERNAL,
    S_IFDIR, S_IFMT, S_IFREG,
};
use crate::libvexfs::format::{Inode, Superblock, Time};
use crate::libvexfs::journal::{Block, Store};
use crate::libvexfs::tree::init_root;
use kernel::prelude::*;

impl<S: Store> Repair<'_, S> {
    /// The copies of the superblock that can be read.
    fn super_copies(&self) -> Vec<Superblock> {
        let g = &self.sb.geometry;
        let copies = (0..g.group_count).filter(|group| g.has_super_copy(*group));
        copies
            .filter_map(|group| {
                let block = self.store.read(g.group_start(group)).ok()?;
                let copy = Superblock::parse(&block.data()).ok();
                copy
            })
            .filter(|copy| copy.uuid == self.sb.uuid)
            .collect()
    }

    /// Finds the system inode, or makes one: then there are no collections and volumes any more.
    pub(super) fn find_system(&mut self) -> Result {
        let fits = |i: &Inode| i.is_reg() && i.state & STATE_INTERNAL != 0;
        let copies = self.super_copies();
        let known = copies.iter().map(|copy| copy.system_ino);
        let known: Vec<u64> = known.filter(|ino| *ino != self.sb.root_ino).collect();
        for &ino in &known {
            if self.used_inode(ino).is_some_and(|i| fits(&i)) {
                self.sb.system_ino = ino;
                return self.write_superblock();
            }
        }
        // The right place with the wrong inode in it: its fields were hit.
        let right = known.iter().all(|ino| *ino == self.sb.system_ino) && !known.is_empty();
        let mut system = match self.used_inode(self.sb.system_ino) {
            Some(inode) if right => inode,
            _ => self.make_inode(S_IFREG | 0o600)?,
        };
        system.mode = system.mode & !S_IFMT | S_IFREG;
        system.state = STATE_INTERNAL;
        system.nlink = 1;
        system.entries = 0;
        system.rdev = 0;
        self.write_inode(&system)?;
        self.sb.system_ino = system.ino;
        self.write_superblock()?;
        self.refresh_masks(system.ino)
    }

    /// Finds the root directory, or makes one; what was in it still knows its names.
    pub(super) fn find_root(&mut self) -> Result {
        let copies = self.super_copies();
        let known: Vec<u64> = copies.iter().map(|copy| copy.root_ino).collect();
        for &ino in &known {
            let found = self.used_inode(ino);
            if found.is_some_and(|i| i.is_dir() && i.state & STATE_INTERNAL == 0) {
                self.sb.root_ino = ino;
                return self.write_superblock();
            }
        }
        let ino = known.first().copied().unwrap_or(self.sb.root_ino);
        let mut root = match self.used_inode(ino) {
            Some(mut inode) if inode.state & STATE_INTERNAL == 0 => {
                init_root(&mut inode.data);
                inode
            }
            _ => match self.make_inode_at(ino, S_IFDIR | 0o755) {
                Ok(inode) => inode,
                Err(_) => self.make_inode(S_IFDIR | 0o755)?,
            },
        };
        root.mode = root.mode & !S_IFMT | S_IFDIR;
        root.nlink = 2;
        root.state = 0;
        root.rdev = 0;
        self.write_inode(&root)?;
        self.sb.root_ino = root.ino;
        self.write_superblock()?;
        self.refresh_masks(root.ino)
    }

    /// An inode in a given place, which must be free; it is the caller's to write it.
    fn make_inode_at(&self, ino: u64, mode: u16) -> Result<Inode> {
        let known = self
            .chunks
            .iter()
            .any(|(chunk, _)| chunk_index(*chunk, ino).is_some());
        if !known {
            return Err(euclean());
        }
        let (bno, at) = place(ino)?;
        let mut bytes = [0; INODE_SIZE];
        self.store.read_at(bno, at, &mut bytes)?;
        let generation = parse_free(&bytes)?;
        let mut inode = Inode {
            ino,
            mode,
            generation: generation.wrapping_add(1),
            uid: 0,
            gid: 0,
            nlink: 1,
            flags: 0,
            size: 0,
            blocks: 0,
            atime: Time::default(),
            mtime: Time::default(),
            ctime: Time::default(),
            btime: Time::default(),
            data_version: 1,
            marked_version: 0,
            projid: 0,
            rdev: 0,
            state: 0,
            entries: 0,
            data: [0; ROOT_LEN],
            attr: [0; ROOT_LEN],
        };
        let now = Time::now();
        (inode.atime, inode.mtime, inode.ctime, inode.btime) = (now, now, now, now);
        init_root(&mut inode.data);
        init_root(&mut inode.attr);
        Ok(inode)
    }

    /// An inode in any free place; it is the caller's to write it, and its chunk's mask afterwards.
    pub(super) fn make_inode(&mut self, mode: u16) -> Result<Inode> {
        for fresh in [false, true] {
            if fresh {
                self.new_chunk()?;
            }
            let free = self.chunks.iter().find(|(_, mask)| *mask != 0).copied();
            let Some((chunk, mask)) = free else {
                continue;
            };
            for index in (0..CHUNK_INODES).filter(|index| mask >> index & 1 == 1) {
                if let Ok(inode) = self.make_inode_at(chunk_ino(chunk, index), mode) {
                    return Ok(inode);
                }
            }
        }
        Err(ENOSPC)
    }
}
