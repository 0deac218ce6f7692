// SPDX-License-Identifier: GPL-2.0

//! Allocating and freeing inodes: chunks of 56 and the tree that knows them.
//!
//! Key of a chunk's record: its first block, with bit 64 set if it has no free inode, so
//! that those that have come first. Value: the mask of its free inodes.

use super::{
    chunk_index, chunk_ino, format_block_header, format_free, parse_free, place, BLOCK_HEADER,
    CHUNK_ALL_FREE, CHUNK_BLOCKS, CHUNK_INODES, INODES_PER_BLOCK, INODE_SIZE,
};
use crate::libvexfs::alloc::{add, turn};
use crate::libvexfs::format::inode::{ROOT_LEN, S_IFDIR, S_IFMT};
use crate::libvexfs::format::{le64, put};
use crate::libvexfs::group::{GroupCore, GroupTree};
use crate::libvexfs::journal::{BlockMut, Store, Trans};
use crate::libvexfs::siphash::siphash24;
use crate::libvexfs::{credits, damaged, tree, Fs, Inode, Time};
use core::sync::atomic::Ordering;
use kernel::prelude::*;

const FULL: u128 = 1 << 64;

fn chunk_key(chunk: u64, free: u64) -> u128 {
    u128::from(chunk) | if free == 0 { FULL } else { 0 }
}

/// A chunk's record: first block and mask of free inodes.
#[derive(Clone, Copy)]
struct Chunk {
    start: u64,
    free: u64,
}

impl<S: Store> Fs<S> {
    /// The first chunk whose key is at least `key`.
    fn next_chunk(&self, core: &GroupCore, key: u128) -> Result<Option<Chunk>> {
        let root = core.root(GroupTree::Chunks);
        let found = tree::next(&self.store, root, key, |key, v| (key, v.len(), le64(v, 0)))?;
        let Some((key, len, free)) = found else {
            return Ok(None);
        };
        let start = key as u64;
        let g = self.geometry();
        let group = core.header.group;
        let inside = g.group_of(start) == Some(group)
            && start >= g.group_start(group) + g.group_metadata()
            && start + CHUNK_BLOCKS <= g.group_start(group) + g.group_len(group);
        if len != 8 || !inside || free & !CHUNK_ALL_FREE != 0 || key != chunk_key(start, free) {
            return Err(damaged(
                0,
                core.header.bno,
                "a chunk of inodes that cannot be",
            ));
        }
        Ok(Some(Chunk { start, free }))
    }

    /// The chunk of an inode, and its index there.
    fn chunk_of(&self, core: &GroupCore, ino: u64) -> Result<Option<(Chunk, u32)>> {
        let first = (ino >> 3).saturating_sub(CHUNK_BLOCKS - 1);
        for full in [0, FULL] {
            if let Some(chunk) = self.next_chunk(core, u128::from(first) | full)? {
                if let Some(index) = chunk_index(chunk.start, ino) {
                    return Ok(Some((chunk, index)));
                }
            }
        }
        Ok(None)
    }

    /// Whether `ino` is the number of an inode in use, by what the chunks say. To be asked
    /// before reading an inode whose number came from outside (a file handle): any other
    /// block would look damaged.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    pub fn inode_in_use(&self, ino: u64) -> Result<bool> {
        if place(ino).is_err() {
            return Ok(false);
        }
        let Some(group) = self.geometry().group_of(ino >> 3) else {
            return Ok(false);
        };
        let core = self.group(group)?.core.lock();
        let found = self.chunk_of(&core, ino)?;
        Ok(found.is_some_and(|(chunk, index)| chunk.free & (1 << index) == 0))
    }

    /// Writes a new mask; the record moves if it is the first or last free inode.
    fn set_chunk(&self, t: &mut S::Trans, core: &mut GroupCore, chunk: Chunk, free: u64) -> Result {
        let (old, new) = (
            chunk_key(chunk.start, chunk.free),
            chunk_key(chunk.start, free),
        );
        let value = free.to_le_bytes();
        if old == new {
            return self.group_tree_set(t, core, GroupTree::Chunks, old, &value, true);
        }
        // First the insertion: it is the one that may find no space.
        self.group_tree_set(t, core, GroupTree::Chunks, new, &value, false)?;
        self.group_tree_remove(t, core, GroupTree::Chunks, old)
    }

    /// Allocates an inode near `parent` (directories are spread) and returns it with
    /// empty trees, no links, all times `now`. The caller fills in the rest and logs it.
    /// Credits: [`credits::INODE_ALLOC`].
    ///
    /// # Errors
    ///
    /// `ENOSPC`, with nothing dirtied.
    pub fn alloc_inode(
        &self,
        t: &mut S::Trans,
        parent: Option<&Inode>,
        mode: u16,
        now: Time,
    ) -> Result<Inode> {
        let is_dir = mode & S_IFMT == S_IFDIR;
        let first = self.inode_group(parent, is_dir)?;
        let near = parent.map_or(0, |p| p.ino >> 3);
        let count = self.group_count();
        for i in 0..count {
            let number = turn(first, i, count);
            let mut core = self.group(number)?.core.lock();
            match self.alloc_inode_in(t, &mut core, near, is_dir, now) {
                Err(e) if e == ENOSPC && !t.dirtied() => continue,
                Err(e) => return Err(e),
                Ok((ino, generation)) => return Ok(new_inode(ino, generation, mode, now)),
            }
        }
        Err(ENOSPC)
    }

    /// The group in which a new inode is looked for first.
    fn inode_group(&self, parent: Option<&Inode>, is_dir: bool) -> Result<u32> {
        let Some(parent) = parent else { return Ok(0) };
        let home = self.group_of_ino(parent.ino)?;
        let count = self.group_count();
        if !is_dir || count < 2 {
            return Ok(home);
        }
        // Directories of the root are strangers to each other: each goes where there is
        // most room. Others stay with their parents while there is about as much room as
        // elsewhere.
        let average = self.free_blocks().checked_div(count.into()).unwrap_or(0);
        let free = |g: u32| self.group(g).map(|g| g.free.load(Ordering::Relaxed));
        if parent.ino != self.sb.root_ino && free(home)? >= average / 2 {
            return Ok(home);
        }
        let mut best = home;
        // Of equals the first behind the last one that was chosen: a walk round all groups.
        let start = parent.entries.checked_rem(count.into()).unwrap_or(0) as u32;
        for i in 0..count {
            let g = turn(start, i, count);
            if free(g)? > free(best)? {
                best = g;
            }
            // As good as it gets: more than the others have on average.
            if free(g)? > average {
                return Ok(g);
            }
        }
        Ok(best)
    }

    fn alloc_inode_in(
        &self,
        t: &mut S::Trans,
        core: &mut GroupCore,
        near: u64,
        is_dir: bool,
        now: Time,
    ) -> Result<(u64, u32)> {
        let mut chunk = None;
        if core.header.free_inodes != 0 {
            // The parent's chunk or one behind it, else any.
            let from = near.saturating_sub(CHUNK_BLOCKS - 1);
            chunk = self.next_chunk(core, from.into())?.filter(|c| c.free != 0);
            if chunk.is_none() {
                chunk = self.next_chunk(core, 0)?.filter(|c| c.free != 0);
            }
        }
        let (chunk, new) = match chunk {
            Some(chunk) => (chunk, false),
            None => (self.new_chunk(t, core, now)?, true),
        };
        let index = chunk.free.trailing_zeros();
        let ino = chunk_ino(chunk.start, index);
        let (bno, at) = place(ino)?;
        let generation = if new {
            self.random_generation(ino, now)
        } else {
            let mut old = [0; 8];
            self.store.read_at(bno, at, &mut old)?;
            parse_free(&old).map_err(|_| damaged(ino, bno, "an inode in use counts as free"))?
        };
        // The record of the chunk is written when all that can fail has been done, and
        // counts follow.
        self.set_chunk(t, core, chunk, chunk.free & !(1 << index))?;
        if core.spare_chunk == Some(chunk.start) {
            core.spare_chunk = None;
            add(&self.counters.spare_chunks, -1);
        }
        core.header.free_inodes = core.header.free_inodes.saturating_sub(1);
        core.header.dirs += u64::from(is_dir);
        self.log_group(t, core, false)?;
        add(&self.counters.free_inodes, -1);
        Ok((ino, generation.wrapping_add(1)))
    }

    /// Makes a chunk of free inodes.
    fn new_chunk(&self, t: &mut S::Trans, core: &mut GroupCore, now: Time) -> Result<Chunk> {
        // The chunk and the nodes that its record may need, now and when it moves.
        self.settle_group(core);
        let nodes = 2 * crate::libvexfs::credits::blocks::INSERT as u64;
        if self.spare_blocks(core) < CHUNK_BLOCKS + nodes
            || self.available_blocks() < CHUNK_BLOCKS + nodes
        {
            return Err(ENOSPC);
        }
        let start = self
            .take_run_in_group(t, core, None, CHUNK_BLOCKS as u32)?
            .ok_or(ENOSPC)?;
        for i in 0..CHUNK_BLOCKS {
            let bno = start + i;
            let mut block = t.create(bno)?;
            let mut data = block.data_mut();
            format_block_header(&mut data, bno, start);
            for slot in 1..=INODES_PER_BLOCK {
                let at = BLOCK_HEADER + (slot as usize - 1) * INODE_SIZE;
                let mut head = [0; 8];
                format_free(&mut head, self.random_generation(bno << 3 | slot, now));
                put(&mut data, at, &head);
            }
        }
        let chunk = Chunk {
            start,
            free: CHUNK_ALL_FREE,
        };
        let key = chunk_key(start, chunk.free);
        let value = chunk.free.to_le_bytes();
        core.header.free_inodes += u64::from(CHUNK_INODES);
        core.header.chunks += 1;
        self.group_tree_set(t, core, GroupTree::Chunks, key, &value, false)?;
        add(&self.counters.free_inodes, CHUNK_INODES.into());
        add(&self.counters.chunks, 1);
        Ok(chunk)
    }

    /// A number that nobody outside can foresee.
    fn random_generation(&self, ino: u64, now: Time) -> u32 {
        let mut seed = [0; 20];
        put(&mut seed, 0, &ino.to_le_bytes());
        put(&mut seed, 8, &now.sec.to_le_bytes());
        put(&mut seed, 16, &now.nsec.to_le_bytes());
        siphash24(&self.sb.hash_key, &seed) as u32
    }

    /// Frees an inode that has no blocks and no records any more. Credits:
    /// [`credits::INODE_FREE`].
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if the chunk tree disagrees.
    pub fn free_inode(&self, t: &mut S::Trans, inode: &Inode) -> Result {
        let ino = inode.ino;
        let (bno, at) = place(ino)?;
        let group = self.group(self.group_of_ino(ino)?)?;
        self.quota_book(t, ino, None)?;
        let mut core = group.core.lock();
        let Some((chunk, index)) = self.chunk_of(&core, ino)? else {
            return Err(damaged(ino, bno, "an inode that belongs to no chunk"));
        };
        if chunk.free & (1 << index) != 0 {
            return Err(damaged(ino, bno, "a free inode is to be freed"));
        }
        let free = chunk.free | 1 << index;
        // Readers of the slot come to know at once that it is free.
        t.write_at(bno, at, &[])?;
        let others = core.header.free_inodes >= u64::from(CHUNK_INODES);
        core.header.dirs = core.header.dirs.saturating_sub(inode.is_dir().into());
        core.header.free_inodes += 1;
        add(&self.counters.free_inodes, 1);
        if free == CHUNK_ALL_FREE && others {
            return self.free_chunk(t, &mut core, chunk);
        }
        self.set_chunk(t, &mut core, chunk, free)?;
        // The next inode would need a new chunk: this one is kept until the next sync.
        if free == CHUNK_ALL_FREE && core.spare_chunk.is_none() {
            core.spare_chunk = Some(chunk.start);
            add(&self.counters.spare_chunks, 1);
        }
        let mut slot = [0; INODE_SIZE];
        format_free(&mut slot, inode.generation);
        t.write_at(bno, at, &slot)
    }

    /// Gives the blocks of a chunk back of which no inode is in use; its record is as `chunk`
    /// has it.
    fn free_chunk(&self, t: &mut S::Trans, core: &mut GroupCore, chunk: Chunk) -> Result {
        core.header.free_inodes = core
            .header
            .free_inodes
            .saturating_sub(u64::from(CHUNK_INODES));
        core.header.chunks = core.header.chunks.saturating_sub(1);
        let key = chunk_key(chunk.start, chunk.free);
        self.group_tree_remove(t, core, GroupTree::Chunks, key)?;
        for i in 0..CHUNK_BLOCKS {
            t.forget(chunk.start + i)?;
        }
        self.free_in_group(t, core, chunk.start, CHUNK_BLOCKS)?;
        add(&self.counters.free_inodes, -i64::from(CHUNK_INODES));
        add(&self.counters.chunks, -1);
        Ok(())
    }

    /// Frees the chunks that were kept without an inode in use, in a transaction each.
    ///
    /// # Errors
    ///
    /// What `begin` returns, `EUCLEAN`, `EIO`.
    pub fn free_spare_chunks(&self) -> Result {
        for group in 0..self.group_count() {
            if self.counters.spare_chunks.load(Ordering::Relaxed) == 0 {
                break;
            }
            let group = self.group(group)?;
            if group.core.lock().spare_chunk.is_none() {
                continue;
            }
            let mut t = self.store.begin(credits::INODE_FREE)?;
            let mut core = group.core.lock();
            // Perhaps it is in use again.
            if let Some(start) = core.spare_chunk.take() {
                add(&self.counters.spare_chunks, -1);
                let kept = self.next_chunk(&core, start.into())?;
                if let Some(chunk) = kept.filter(|c| c.start == start && c.free == CHUNK_ALL_FREE) {
                    self.free_chunk(&mut t, &mut core, chunk)?;
                }
            }
            drop(core);
            t.stop()?;
        }
        Ok(())
    }

    /// Shows all chunks of a group to `f`: first block and mask of free inodes. The group is
    /// locked meanwhile: `f` must not ask this file system for anything.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, and what `f` returns.
    pub fn for_chunks(&self, group: u32, mut f: impl FnMut(u64, u64) -> Result) -> Result {
        let core = self.group(group)?.core.lock();
        let mut key = 0;
        while let Some(chunk) = self.next_chunk(&core, key)? {
            f(chunk.start, chunk.free)?;
            key = chunk_key(chunk.start, chunk.free) + 1;
        }
        Ok(())
    }
}

fn new_inode(ino: u64, generation: u32, mode: u16, now: Time) -> Inode {
    let mut inode = Inode {
        ino,
        mode,
        generation,
        uid: 0,
        gid: 0,
        nlink: 0,
        flags: 0,
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        data_version: 1,
        marked_version: 0,
        projid: 0,
        rdev: 0,
        state: 0,
        entries: 0,
        data: [0; ROOT_LEN],
        attr: [0; ROOT_LEN],
    };
    tree::init_root(&mut inode.data);
    tree::init_root(&mut inode.attr);
    inode
}
