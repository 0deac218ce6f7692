// SPDX-License-Identifier: GPL-2.0

//! Operations on file data, in the order in which the module does them: room first, then the bytes, then the record
//! that they are there; whatever describes the old bytes is told before.

use crate::model::{Content, Node, Place, SECTORS};
use crate::world::{Pending, World};
use kernel::prelude::*;
use vexfs::crash::SECTOR;
use vexfs::libvexfs::alloc::Mode;
use vexfs::libvexfs::credits;
use vexfs::libvexfs::extent::{Mapping, New};
use vexfs::libvexfs::format::inode::STATE_ORPHAN;
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::BLOCK_SIZE;
use vexfs::libvexfs::orphan;
use vexfs::libvexfs::staging::blocks::{RELEASE_CREDITS, STAGE_CREDITS};
use vexfs::libvexfs::staging::copy::{Copy, PUT_CREDITS, STATE_VALID};
use vexfs::libvexfs::vector::stale;

const BLOCK: u64 = BLOCK_SIZE as u64;
/// Files have this many blocks at most.
const MOST: u64 = 64;

/// The bytes of a block.
pub fn bytes_of(content: &Content) -> [u8; BLOCK_SIZE] {
    let mut bytes = [0; BLOCK_SIZE];
    for (sector, tag) in bytes.chunks_exact_mut(SECTOR).zip(content) {
        for word in sector.chunks_exact_mut(8) {
            word.copy_from_slice(&tag.to_le_bytes());
        }
    }
    bytes
}

impl World<'_> {
    /// Writes some blocks; tells when each was written, and what.
    fn write_blocks(&mut self, phys: u64, len: u64) -> Vec<(usize, Content)> {
        let content = [self.next(); SECTORS];
        let write = |bno| {
            self.disk
                .write(bno, &bytes_of(&content))
                .expect("a block of the disk");
            (self.disk.len(), content)
        };
        (phys..phys + len).map(write).collect()
    }

    /// Says that bytes are about to change, durably if somebody cares.
    fn before_change(&mut self, ino: u64, start: u64, end: u64) -> Result {
        let mut i = self.inode(ino);
        if !self.fs.needs_note(&i, start, end)? {
            return Ok(());
        }
        self.run(stale::CREDITS, |fs, t| {
            fs.note_change(t, &mut i, start, end)
        })?;
        self.state.node_mut(ino).data_version = i.data_version;
        self.commit();
        Ok(())
    }

    fn some_file(&mut self) -> Option<u64> {
        self.pick(|_, n| World::is_file(n))
    }

    pub fn write(&mut self) {
        let Some(ino) = self.some_file() else { return };
        let offline = |p: &Place| matches!(p, Place::Offline(..));
        if self.state.node(ino).blocks.values().any(offline) {
            return self.recall(ino);
        }
        let (first, len) = (self.below(MOST), 1 + self.below(10));
        let (start, end) = (first * BLOCK, (first + len) * BLOCK);
        // One write at a time to the same bytes.
        self.complete_all(ino);
        let size = self.state.node(ino).size;
        if self.before_change(ino, size.min(start), end).is_err() {
            return;
        }
        if start > size && size % BLOCK != 0 {
            self.zero_tail(ino);
        }
        let mut at = first;
        while at < first + len {
            match self.write_part(ino, at, first + len - at) {
                Some(done) => at += done,
                None => return,
            }
        }
    }

    /// Writes every other block of a long stretch: so many extents that freeing them takes several transactions.
    pub fn scatter(&mut self) {
        let Some(ino) = self.some_file() else { return };
        let node = self.state.node(ino);
        // Behind everything that is there, where nothing describes or covers it.
        let first = node
            .blocks
            .keys()
            .last()
            .map_or(0, |lblk| lblk + 1)
            .max(MOST);
        if first > 4 * MOST || node.marked_version != 0 {
            return;
        }
        self.complete_all(ino);
        if self.state.node(ino).size % BLOCK != 0 {
            self.zero_tail(ino);
        }
        for n in 0..40 {
            if self.write_part(ino, first + 2 * n, 1).is_none() {
                break;
            }
        }
        self.complete_all(ino);
    }

    /// What stands behind the end of a file in its last block must read as zeros when the file grows over it.
    fn zero_tail(&mut self, ino: u64) {
        let node = self.state.node(ino);
        let lblk = node.size / BLOCK;
        let Some(Place::Cell(cell)) = node.blocks.get(&lblk).copied() else {
            return;
        };
        let i = self.inode(ino);
        if let Mapping::Written { phys, .. } = self.fs.map(&i, lblk, 1).expect("it can be read") {
            let (at, content) = self.write_blocks(phys, 1)[0];
            self.cells.write(cell, at, content);
            self.disk.flush().expect("it is memory");
        }
    }

    /// Writes to what one mapping covers; how many blocks these were.
    fn write_part(&mut self, ino: u64, lblk: u64, max: u64) -> Option<u64> {
        let mut i = self.inode(ino);
        let map = self.fs.map(&i, lblk, max).expect("it can be read");
        let map = match map {
            Mapping::Hole { len } => self
                .run(credits::EXTENT_ALLOC, |fs, t| {
                    fs.allocate(t, &mut i, lblk, len.min(max), 0, Mode::Normal)
                })
                .ok()?,
            map => map,
        };
        let len = map.len().min(max);
        match map {
            Mapping::Unwritten { phys, .. } => {
                let contents = self.write_blocks(phys, len).into_iter();
                let cells = contents.map(|(at, c)| self.cells.add(at, c)).collect();
                self.pending.push(Pending { ino, lblk, cells });
            }
            Mapping::Written { phys, .. } => {
                let contents = self.write_blocks(phys, len);
                for (n, (at, content)) in (lblk..).zip(contents) {
                    let Some(Place::Cell(cell)) = self.state.node(ino).blocks.get(&n).copied()
                    else {
                        panic!("inode {ino} has something at block {n}")
                    };
                    self.cells.write(cell, at, content);
                }
                let end = (lblk + len) * BLOCK;
                if self.state.node(ino).size < end {
                    self.set_size(ino, end);
                }
            }
            map => panic!("{map:?}"),
        }
        Some(len)
    }

    /// The size on disk grows when the bytes are there.
    fn set_size(&mut self, ino: u64, size: u64) {
        let mut i = self.inode(ino);
        i.size = size;
        self.run(credits::INODE, |fs, t| fs.log_inode(t, &i))
            .expect("it needs no space");
        self.state.node_mut(ino).size = size;
    }

    /// Completes a write: what was unwritten is written.
    pub fn complete(&mut self, n: usize) {
        let Pending { ino, lblk, cells } = self.pending.remove(n);
        let (mut i, mut done) = (self.inode(ino), 0);
        while done < cells.len() as u64 {
            let (at, left) = (lblk + done, cells.len() as u64 - done);
            let n = self
                .run(credits::CONVERT + 1, |fs, t| {
                    let n = fs.convert(t, &mut i, at, left)?;
                    i.size = i.size.max((at + n) * BLOCK);
                    fs.log_inode(t, &i)?;
                    Ok(n)
                })
                .expect("converting needs no space that is not kept for it");
            let node = self.state.node_mut(ino);
            node.size = i.size;
            for k in done..done + n {
                node.blocks.insert(lblk + k, Place::Cell(cells[k as usize]));
            }
            done += n;
        }
    }

    /// Completes all writes to a file.
    pub fn complete_all(&mut self, ino: u64) {
        while let Some(n) = self.pending.iter().position(|p| p.ino == ino) {
            self.complete(n);
        }
    }

    /// Everything committed goes to its place, and the log begins anew.
    pub fn checkpoint(&mut self) {
        self.commit();
        self.fs.store.checkpoint().expect("it is memory");
    }

    pub fn complete_some(&mut self) {
        match self.pending.len() as u64 {
            0 => {}
            n => {
                let n = self.below(n) as usize;
                self.complete(n);
            }
        }
    }

    /// The promise that all of this is about: a file's bytes and everything that was done before are durable.
    pub fn fsync(&mut self) {
        if let Some(ino) = self.some_file() {
            self.complete_all(ino);
        }
        self.commit();
    }

    pub fn truncate(&mut self) {
        let Some(ino) = self.some_file() else { return };
        self.complete_all(ino);
        let old = self.state.node(ino).size;
        let size = match self.below(2) {
            0 => self.below(MOST * BLOCK).min(old),
            _ => self.below(old + 1),
        };
        if self.before_change(ino, size, u64::MAX).is_err() {
            return;
        }
        let first = size.div_ceil(BLOCK);
        let mut i = self.inode(ino);
        let credits = credits::TRUNCATE + credits::ORPHAN + credits::INODE;
        let done = self.run(credits, |fs, t| {
            i.size = size;
            if !i.data_in_core() {
                fs.orphan_add(t, &mut i, orphan::TRUNCATE)?;
            }
            fs.log_inode(t, &i)?;
            fs.truncate_step(t, &mut i, first)
        });
        let done = done.expect("cutting needs no space that is not kept for it");
        let marked = i.state & STATE_ORPHAN != 0;
        let node = self.state.node_mut(ino);
        node.size = size;
        node.blocks.retain(|lblk, _| *lblk < first);
        node.cutting = !done || (marked && node.orphan.is_none());
        if marked && node.orphan.is_none() {
            node.orphan = Some(orphan::TRUNCATE);
        }
    }

    /// One step of cutting a file whose size was set.
    pub fn trim(&mut self) {
        let Some(ino) = self.pick(|_, n| n.cutting && !n.reaped) else {
            return;
        };
        let mut i = self.inode(ino);
        let end = i.size.div_ceil(BLOCK);
        let done = self
            .run(credits::REAP_STEP, |fs, t| match i.nlink {
                0 => fs.truncate_step(t, &mut i, end),
                _ => fs.trim_step(t, &mut i),
            })
            .expect("cutting needs no space");
        let node = self.state.node_mut(ino);
        node.cutting = !done;
        if done && node.orphan == Some(orphan::TRUNCATE) {
            node.orphan = None;
        }
    }

    pub fn punch(&mut self) {
        let Some(ino) = self.some_file() else { return };
        self.complete_all(ino);
        let (first, len) = (self.below(MOST), 1 + self.below(16));
        let (start, end) = (first * BLOCK, (first + len) * BLOCK);
        if self.before_change(ino, start, end).is_err() {
            return;
        }
        let (mut i, mut at) = (self.inode(ino), first);
        while at < first + len {
            let left = first + len - at;
            let Ok(n) = self.run(credits::REPLACE_RANGE, |fs, t| {
                fs.replace_range(t, &mut i, at, left, New::Hole)
            }) else {
                return;
            };
            let blocks = &mut self.state.node_mut(ino).blocks;
            blocks.retain(|lblk, _| !(at..at + n).contains(lblk));
            at += n;
        }
    }

    /// Notes that the contents as they are get described; returns their version.
    pub fn mark(&mut self, ino: u64) -> Result<u64> {
        self.complete_all(ino);
        let mut i = self.inode(ino);
        let version = self.run(credits::INODE, |fs, t| fs.mark(t, &mut i))?;
        let node = self.state.node_mut(ino);
        node.marked_version = i.marked_version;
        assert_eq!(version, node.data_version);
        Ok(version)
    }

    /// A copy of a file is committed; sometimes the file's blocks are given back then.
    pub fn archive(&mut self) {
        let offline = |p: &Place| matches!(p, Place::Offline(..));
        let online = |n: &Node| !n.blocks.values().any(offline);
        let Some(ino) = self.pick(|_, n| World::is_file(n) && n.size != 0 && online(n)) else {
            return;
        };
        let Ok(version) = self.mark(ino) else { return };
        let copy = Copy {
            copy: self.below(3) as u8,
            state: STATE_VALID,
            volume: 1,
            version,
            len: self.state.node(ino).size,
            ..Copy::default()
        };
        let (mut i, sums) = (self.inode(ino), [version as u32]);
        let put = self.run(PUT_CREDITS, |fs, t| {
            let mut space = fs.staging_space(&i)?;
            fs.put_sums(t, &mut space, &mut i, version, 0, &sums)
        });
        let put = put.and_then(|()| {
            self.run(PUT_CREDITS, |fs, t| {
                let mut space = fs.staging_space(&i)?;
                fs.put_copy(t, &mut space, &mut i, &copy)
            })
        });
        if put.is_err() {
            return;
        }
        self.state.node_mut(ino).copies.insert(copy.copy, version);
        if self.below(2) == 0 {
            self.commit();
            self.release(ino, version);
        }
    }

    fn release(&mut self, ino: u64, version: u64) {
        let (mut i, mut from) = (self.inode(ino), 0);
        loop {
            let step = self.run(RELEASE_CREDITS, |fs, t| {
                fs.release_step(t, &mut i, version, from)
            });
            let Ok(Some((next, _))) = step else { return };
            let node = self.state.node_mut(ino);
            for (_, place) in node.blocks.range_mut(from..next) {
                if let Place::Cell(cell) = place {
                    *place = Place::Offline(version, self.cells.now(*cell));
                }
            }
            from = next;
            // Somebody may stop it here.
            if self.below(8) == 0 {
                return;
            }
        }
    }

    /// Brings a file's blocks back from its copies.
    fn recall(&mut self, ino: u64) {
        let mut i = self.inode(ino);
        let end = self.state.node(ino).end();
        let mut from = 0;
        while let Some(part) = self
            .fs
            .first_offline(&i, from, end)
            .expect("it can be read")
        {
            let blocks = self
                .state
                .node(ino)
                .blocks
                .range(part.lblk..)
                .map(|(_, p)| *p);
            let archived = |p| match p {
                Place::Offline(_, content) => content,
                Place::Cell(_) => panic!("inode {ino}: {part:?} is online"),
            };
            let bytes: Vec<Content> = blocks.take(part.len as usize).map(archived).collect();
            let disk = self.disk;
            let got = self.run(STAGE_CREDITS, |fs, t| {
                // The bytes go to blocks that are free still.
                let claim = fs.claim(0, part.len, Mode::Normal)?;
                for (bno, content) in (claim.bno()..claim.bno() + claim.blocks()).zip(&bytes) {
                    disk.write(bno, &bytes_of(content))?;
                }
                let (phys, len) = claim.allocate(t)?;
                let done = match fs.publish(t, &mut i, part, phys, len) {
                    Err(e) if e == ENOSPC => {
                        fs.free_data(t, phys, len)?;
                        return Ok(None);
                    }
                    done => done?,
                };
                Ok(Some(done))
            });
            let Ok(Some(done)) = got else { return };
            let at = disk.len();
            for (lblk, content) in (part.lblk..part.lblk + done).zip(bytes) {
                let cell = self.cells.add(at, content);
                self.state
                    .node_mut(ino)
                    .blocks
                    .insert(lblk, Place::Cell(cell));
            }
            from = part.lblk + done;
        }
        self.run(credits::INODE, |fs, t| fs.settle_offline(t, &mut i))
            .expect("it needs no space");
    }
}
