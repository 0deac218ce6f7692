// SPDX-License-Identifier: GPL-2.0

//! Groups: headers, inode chunks, orphans.

use super::space::Summaries;
use super::tree::{unreadable, walk, Event};
use super::{Checker, Claimant, Counts, Field, Fix};
use crate::libvexfs::format::group::{GroupHeader, SUMMARY_FREE};
use crate::libvexfs::format::inode::{
    chunk_index, chunk_ino, parse_block_header, parse_free, place, BLOCK_HEADER, CHUNK_ALL_FREE,
    CHUNK_BLOCKS, INODES_PER_BLOCK, INODE_SIZE, STATE_ORPHAN,
};
use crate::libvexfs::format::{le64, Geometry, Inode};
use crate::libvexfs::journal::{Block, Store};
use crate::libvexfs::orphan::{DELETE, TRUNCATE};
use crate::libvexfs::tree::{Owner, Root, KIND_CHUNK, KIND_ORPHAN};
use kernel::prelude::*;

impl<S: Store> Checker<'_, S> {
    /// Visits all groups, and with them all that there is.
    pub(super) fn all_groups(&mut self) -> Result {
        for group in 0..self.sb.geometry.group_count {
            if self.stopped {
                break;
            }
            self.group(group)?;
            self.step();
        }
        Ok(())
    }

    /// Learns which inodes there are. What is wrong on the way is said when groups are visited.
    pub(super) fn load_chunks(&mut self) -> Result {
        let g = self.sb.geometry;
        self.chunks.clear();
        for group in 0..g.group_count {
            let bno = g.header(group);
            let Ok(block) = self.store.read(bno) else {
                continue;
            };
            let Ok(header) = GroupHeader::parse(&block.data(), group, bno) else {
                continue;
            };
            let mut found = Vec::new();
            walk(self.store, chunk_root(&header), &mut |event| {
                if let Event::Record { key, value, .. } = event {
                    if let Some(chunk) = parse_chunk(&g, group, key, value) {
                        found.push(chunk);
                    }
                }
                Ok(true)
            })?;
            found.sort_unstable();
            self.chunks.append(&mut found);
        }
        Ok(())
    }

    /// Whether a chunk has blocks of another.
    fn overlaps(&self, chunk: u64) -> bool {
        let first = chunk.saturating_sub(CHUNK_BLOCKS - 1);
        let from = self.chunks.partition_point(|(start, _)| *start < first);
        let near = self.chunks.iter().skip(from);
        near.take_while(|(start, _)| *start < chunk + CHUNK_BLOCKS)
            .count()
            > 1
    }

    /// Whether an inode is in use, as its chunk says.
    pub(super) fn is_in_use(&self, ino: u64) -> bool {
        let bno = ino >> 3;
        let at = self.chunks.partition_point(|(start, _)| *start <= bno);
        at.checked_sub(1)
            .and_then(|at| self.chunks.get(at))
            .and_then(|(start, mask)| Some(mask >> chunk_index(*start, ino)? & 1 == 0))
            .unwrap_or(false)
    }

    fn group(&mut self, group: u32) -> Result {
        let g = self.sb.geometry;
        let by = Claimant::Fixed("group");
        self.claim(0, g.group_start(group), g.group_metadata(), by);
        if group == 0 {
            let by = Claimant::Fixed("journal");
            self.claim(0, self.sb.journal_start, self.sb.journal_len, by);
        }
        let bno = g.header(group);
        let header = match self.store.read(bno) {
            Ok(block) => GroupHeader::parse(&block.data(), group, bno),
            Err(e) => {
                let what = format!("header of group {group}: {}", unreadable(e));
                self.wrong(0, bno, what, Fix::Group { group });
                return Ok(());
            }
        };
        let Ok(header) = header else {
            let what = format!("not the header of group {group}");
            self.wrong(0, bno, what, Fix::Group { group });
            return Ok(());
        };
        let mut counts = Counts::default();
        self.chunks(&header, &mut counts)?;
        self.orphans(&header, &mut counts)?;
        if !self.first_pass {
            return Ok(());
        }
        self.count_free(group, &mut counts);
        let said = Counts {
            free_blocks: header.free_blocks,
            free_inodes: header.free_inodes,
            dirs: header.dirs,
            chunks: header.chunks,
            chunk_blocks: header.chunk_blocks,
            orphan_blocks: header.orphan_blocks,
        };
        self.outcome.totals.free_blocks += counts.free_blocks;
        if said != counts {
            let what = format!("header of group {group}: counts are {said:?}, rightly {counts:?}");
            self.wrong(0, bno, what, Fix::Counts { group, counts });
        }
        Ok(())
    }

    /// The free blocks of a group as its summaries have them; those are compared with what is in use later.
    fn count_free(&mut self, group: u32, counts: &mut Counts) {
        let g = self.sb.geometry;
        let mut summaries = Summaries::new();
        for region in 0..g.regions(group) {
            let entry = summaries.entry(self.store, g.summary(group, region));
            counts.free_blocks += u64::from(entry.unwrap_or(0) & SUMMARY_FREE);
        }
    }

    fn chunks(&mut self, header: &GroupHeader, counts: &mut Counts) -> Result {
        let group = header.group;
        let geometry = self.sb.geometry;
        let store = self.store;
        walk(store, chunk_root(header), &mut |event| {
            match event {
                Event::Node(bno) => {
                    counts.chunk_blocks += 1;
                    let by = Claimant::Node("inode chunk tree");
                    return Ok(self.claim(0, bno, 1, by) && !self.stopped);
                }
                Event::Bad { bno, what } => {
                    let what = format!("chunks of group {group}: {what}");
                    self.wrong(0, bno, what, Fix::Group { group });
                }
                Event::Record { bno, key, value } => {
                    counts.chunks += 1;
                    let Some((chunk, mask)) = parse_chunk(&geometry, group, key, value) else {
                        let what = format!("chunks of group {group}: an impossible record");
                        self.wrong(0, bno, what, Fix::Group { group });
                        return Ok(true);
                    };
                    if self.overlaps(chunk) {
                        // Two records of one chunk: its inodes would be visited twice.
                        let what = format!("chunks of group {group}: two overlap");
                        self.wrong(0, bno, what, Fix::Group { group });
                        return Ok(true);
                    }
                    self.claim(0, chunk, CHUNK_BLOCKS, Claimant::Fixed("inode chunk"));
                    if !self.stopped {
                        self.chunk(header, chunk, mask, counts)?;
                    }
                }
            }
            Ok(true)
        })
    }

    /// Visits a chunk that the group's own tree does not lead to.
    pub(super) fn found_chunk(&mut self, header: &GroupHeader, chunk: u64, mask: u64) -> Result {
        self.claim(0, chunk, CHUNK_BLOCKS, Claimant::Fixed("inode chunk"));
        self.chunk(header, chunk, mask, &mut Counts::default())
    }

    fn chunk(
        &mut self,
        header: &GroupHeader,
        chunk: u64,
        mask: u64,
        counts: &mut Counts,
    ) -> Result {
        let store = self.store;
        let fix = Fix::Group {
            group: header.group,
        };
        counts.free_inodes += u64::from(mask.count_ones());
        for n in 0..CHUNK_BLOCKS {
            let bno = chunk + n;
            let block = match store.read(bno) {
                Ok(block) => block,
                Err(e) => {
                    let what = format!("inodes: {}", unreadable(e));
                    self.wrong(0, bno, what, fix.clone());
                    continue;
                }
            };
            // A copy: inodes are looked at while this block may be asked for again.
            let body = block.data().to_vec();
            if parse_block_header(&body, bno) != Ok(chunk) {
                let what = "not the inode block that belongs here";
                self.wrong(0, bno, what, fix.clone());
                continue;
            }
            for slot in 0..INODES_PER_BLOCK {
                let index = (n * INODES_PER_BLOCK + slot) as u32;
                let at = BLOCK_HEADER + slot as usize * INODE_SIZE;
                let bytes = body.get(at..at + INODE_SIZE).unwrap_or_default();
                let ino = chunk_ino(chunk, index);
                if mask >> index & 1 == 1 {
                    if parse_free(bytes).is_err() {
                        let what = "the inode is in use, its chunk says it is free";
                        self.wrong(ino, bno, what, fix.clone());
                    }
                    continue;
                }
                match Inode::parse(bytes, ino) {
                    Ok(inode) => {
                        counts.dirs += u64::from(inode.is_dir());
                        self.inode(header, &inode)?;
                    }
                    Err(_) if parse_free(bytes).is_ok() => {
                        let what = "the inode is free, its chunk says it is in use";
                        self.wrong(ino, bno, what, fix.clone());
                    }
                    Err(_) => {
                        let what = "not an inode, or one with impossible fields";
                        self.wrong(ino, bno, what, fix.clone());
                    }
                }
                if self.stopped {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn orphans(&mut self, header: &GroupHeader, counts: &mut Counts) -> Result {
        let store = self.store;
        let group = header.group;
        walk(store, orphan_root(header), &mut |event| {
            match event {
                Event::Node(bno) => {
                    counts.orphan_blocks += 1;
                    let by = Claimant::Node("orphan tree");
                    return Ok(self.claim(0, bno, 1, by) && !self.stopped);
                }
                Event::Bad { bno, what } => {
                    let what = format!("orphans of group {group}: {what}");
                    self.wrong(0, bno, what, Fix::Orphans { group });
                }
                Event::Record { bno, key, value } => self.orphan(group, bno, key, value),
            }
            Ok(true)
        })
    }

    fn orphan(&mut self, group: u32, bno: u64, key: u128, value: &[u8]) {
        let fix = Fix::Orphans { group };
        let ino = u64::try_from(key).unwrap_or(0);
        let here = place(ino).is_ok_and(|(bno, _)| self.sb.geometry.group_of(bno) == Some(group));
        if !here || !matches!(value, [DELETE | TRUNCATE]) {
            let what = format!("orphans of group {group}: an impossible record");
            return self.wrong(0, bno, what, fix);
        }
        self.outcome.orphans += u64::from(self.first_pass);
        match self.read_inode(ino) {
            None => self.wrong(ino, bno, "an orphan that is no inode in use", fix),
            Some(i) if i.state & STATE_ORPHAN == 0 => {
                let what = "an orphan that does not say so";
                // One without links is one; one with links has nothing left to be done.
                if i.nlink == 0 {
                    let field = Field::StateSet(STATE_ORPHAN);
                    self.wrong(ino, bno, what, Fix::field(ino, field));
                } else {
                    self.wrong(ino, bno, what, fix);
                }
            }
            Some(i) if (i.nlink == 0) != (value == [DELETE]) => {
                let what = format!("an orphan with {} links, for the wrong reason", i.nlink);
                self.wrong(ino, bno, what, fix);
            }
            Some(_) => {}
        }
    }

    /// Reads an inode; none if it is free, damaged or cannot be read, which is reported where its chunk is visited.
    pub(super) fn read_inode(&self, ino: u64) -> Option<Inode> {
        let (bno, at) = place(ino).ok()?;
        if !self.is_in_use(ino) {
            return None;
        }
        let block = self.store.read(bno).ok()?;
        let data = block.data();
        let chunk = parse_block_header(&data, bno).ok()?;
        chunk_index(chunk, ino)?;
        Inode::parse(data.get(at..at + INODE_SIZE)?, ino).ok()
    }
}

/// Reads a chunk's record: its first block and the mask of its free inodes.
pub fn parse_chunk(g: &Geometry, group: u32, key: u128, value: &[u8]) -> Option<(u64, u64)> {
    let (chunk, mask) = (key as u64, le64(value, 0));
    let fits = value.len() == 8
        && mask & !CHUNK_ALL_FREE == 0
        && key >> 64 == u128::from(mask == 0)
        && is_chunk_place(g, group, chunk);
    fits.then_some((chunk, mask))
}

/// Whether a group can have a chunk there.
pub(super) fn is_chunk_place(g: &Geometry, group: u32, chunk: u64) -> bool {
    let first = g.group_start(group) + g.group_metadata();
    let end = g.group_start(group) + g.group_len(group);
    chunk >= first
        && end
            .checked_sub(CHUNK_BLOCKS)
            .is_some_and(|last| chunk <= last)
}

/// A group's tree of chunks.
pub(super) fn chunk_root(header: &GroupHeader) -> Root<'_> {
    let owner = Owner {
        id: header.group.into(),
        generation: 0,
        kind: KIND_CHUNK,
        home: header.bno,
    };
    Root {
        bytes: &header.chunk_root,
        owner,
    }
}

/// A group's orphan tree.
pub(super) fn orphan_root(header: &GroupHeader) -> Root<'_> {
    let owner = Owner {
        id: header.group.into(),
        generation: 0,
        kind: KIND_ORPHAN,
        home: header.bno,
    };
    Root {
        bytes: &header.orphan_root,
        owner,
    }
}
