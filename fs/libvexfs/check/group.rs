// SPDX-License-Identifier: GPL-2.0

//! Groups: headers, inode chunks, orphans.

use super::space::Summaries;
use super::tree::{unreadable, walk, Event};
use super::{Checker, Counts, Fix};
use crate::libvexfs::format::group::{GroupHeader, SUMMARY_FREE};
use crate::libvexfs::format::inode::{
    chunk_index, chunk_ino, parse_block_header, parse_free, place, BLOCK_HEADER, CHUNK_ALL_FREE,
    CHUNK_BLOCKS, INODES_PER_BLOCK, INODE_SIZE, STATE_ORPHAN,
};
use crate::libvexfs::format::{le64, Inode};
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

    fn group(&mut self, group: u32) -> Result {
        let g = self.sb.geometry;
        self.claim(0, g.group_start(group), g.group_metadata(group), "group");
        if group == 0 {
            self.claim(0, self.sb.journal_start, self.sb.journal_len, "journal");
        }
        let bno = g.header(group);
        let header = match self.store.read(bno) {
            Ok(block) => GroupHeader::parse(&block.data(), group, bno),
            Err(e) => {
                self.bad(
                    0,
                    bno,
                    format!("header of group {group}: {}", unreadable(e)),
                );
                return Ok(());
            }
        };
        let Ok(header) = header else {
            self.bad(0, bno, format!("not the header of group {group}"));
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
        let owner = Owner {
            id: header.group.into(),
            generation: 0,
            kind: KIND_CHUNK,
            home: header.bno,
        };
        let root = Root {
            bytes: &header.chunk_root,
            owner,
        };
        let store = self.store;
        let mut last = None;
        walk(store, root, &mut |event| {
            match event {
                Event::Node(bno) => {
                    counts.chunk_blocks += 1;
                    return Ok(self.claim(0, bno, 1, "inode chunk tree") && !self.stopped);
                }
                Event::Bad { bno, what } => {
                    self.bad(0, bno, format!("chunks of group {}: {what}", header.group))
                }
                Event::Record { bno, key, value } => {
                    counts.chunks += 1;
                    let chunk = key as u64;
                    let mask = le64(value, 0);
                    let full = key >> 64;
                    let fits = value.len() == 8
                        && mask & !CHUNK_ALL_FREE == 0
                        && full == u128::from(mask == 0);
                    let inside = self.sb.geometry.group_of(chunk) == Some(header.group);
                    if !fits || !inside {
                        self.bad(
                            0,
                            bno,
                            format!("chunks of group {}: an impossible record", header.group),
                        );
                    } else if last == Some(chunk)
                        || !self.claim(0, chunk, CHUNK_BLOCKS, "inode chunk")
                    {
                        // Two records of one chunk: its inodes would be visited twice.
                    } else if !self.stopped {
                        last = Some(chunk);
                        self.chunk(header, chunk, mask, counts)?;
                    }
                }
            }
            Ok(true)
        })
    }

    fn chunk(
        &mut self,
        header: &GroupHeader,
        chunk: u64,
        mask: u64,
        counts: &mut Counts,
    ) -> Result {
        let store = self.store;
        counts.free_inodes += u64::from(mask.count_ones());
        for n in 0..CHUNK_BLOCKS {
            let bno = chunk + n;
            let block = match store.read(bno) {
                Ok(block) => block,
                Err(e) => {
                    self.bad(0, bno, format!("inodes: {}", unreadable(e)));
                    continue;
                }
            };
            // A copy: inodes are looked at while this block may be asked for again.
            let body = block.data().to_vec();
            if parse_block_header(&body, bno) != Ok(chunk) {
                self.bad(0, bno, "not the inode block that belongs here");
                continue;
            }
            for slot in 0..INODES_PER_BLOCK {
                let index = (n * INODES_PER_BLOCK + slot) as u32;
                let at = BLOCK_HEADER + slot as usize * INODE_SIZE;
                let bytes = body.get(at..at + INODE_SIZE).unwrap_or_default();
                let ino = chunk_ino(chunk, index);
                if mask >> index & 1 == 1 {
                    if parse_free(bytes).is_err() {
                        self.bad(ino, bno, "the inode is in use, its chunk says it is free");
                    }
                    continue;
                }
                match Inode::parse(bytes, ino) {
                    Ok(inode) => {
                        counts.dirs += u64::from(inode.is_dir());
                        self.inode(header, &inode)?;
                    }
                    Err(_) if parse_free(bytes).is_ok() => {
                        self.bad(ino, bno, "the inode is free, its chunk says it is in use");
                    }
                    Err(_) => self.bad(ino, bno, "not an inode, or one with impossible fields"),
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
        walk(store, orphan_root(header), &mut |event| {
            match event {
                Event::Node(bno) => {
                    counts.orphan_blocks += 1;
                    return Ok(self.claim(0, bno, 1, "orphan tree") && !self.stopped);
                }
                Event::Bad { bno, what } => {
                    self.bad(0, bno, format!("orphans of group {}: {what}", header.group))
                }
                Event::Record { bno, key, value } => self.orphan(header.group, bno, key, value),
            }
            Ok(true)
        })
    }

    fn orphan(&mut self, group: u32, bno: u64, key: u128, value: &[u8]) {
        let ino = u64::try_from(key).unwrap_or(0);
        let here = place(ino).is_ok_and(|(bno, _)| self.sb.geometry.group_of(bno) == Some(group));
        if !here || !matches!(value, [DELETE | TRUNCATE]) {
            return self.bad(
                0,
                bno,
                format!("orphans of group {group}: an impossible record"),
            );
        }
        self.outcome.orphans += u64::from(self.first_pass);
        match self.read_inode(ino) {
            None => self.bad(ino, bno, "an orphan that is no inode in use"),
            Some(i) if i.state & STATE_ORPHAN == 0 => {
                self.bad(ino, bno, "an orphan that does not say so")
            }
            Some(i) if (i.nlink == 0) != (value == [DELETE]) => {
                self.bad(
                    ino,
                    bno,
                    format!("an orphan with {} links, for the wrong reason", i.nlink),
                );
            }
            Some(_) => {}
        }
    }

    /// Reads an inode; none if it is free, damaged or cannot be read, which is reported where its chunk is visited.
    pub(super) fn read_inode(&self, ino: u64) -> Option<Inode> {
        let (bno, at) = place(ino).ok()?;
        let block = self.store.read(bno).ok()?;
        let data = block.data();
        let chunk = parse_block_header(&data, bno).ok()?;
        chunk_index(chunk, ino)?;
        Inode::parse(data.get(at..at + INODE_SIZE)?, ino).ok()
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
