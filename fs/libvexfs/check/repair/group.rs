// SPDX-License-Identifier: GPL-2.0

//! Groups: header, chunks of inodes, orphans, made anew from what can be read.

use super::leaves::Harvest;
use super::tree::Site;
use super::{Edits, Nobody, Repair};
use crate::libvexfs::check::group::{chunk_root, is_chunk_place, orphan_root, parse_chunk};
use crate::libvexfs::check::tree::{walk, Event};
use crate::libvexfs::dir::entry::DirEntryRef;
use crate::libvexfs::format::extent::Extent;
use crate::libvexfs::format::group::{GroupHeader, ROOT_LEN};
use crate::libvexfs::format::inode::{
    chunk_ino, format_block_header, format_free, parse_block_header, parse_free, BLOCK_HEADER,
    CHUNK_ALL_FREE, CHUNK_BLOCKS, CHUNK_INODES, INODES_PER_BLOCK, INODE_SIZE, MAGIC, STATE_KNOWN,
    STATE_ORPHAN, S_IFDIR, S_IFMT, S_IFREG,
};
use crate::libvexfs::format::{le16, le32, le64, put16, put32, put64, Inode};
use crate::libvexfs::journal::{Block, BlockMut, Store, Trans, BLOCK_SIZE, SEAL_SIZE};
use crate::libvexfs::orphan::{DELETE, TRUNCATE};
use crate::libvexfs::tree::init_root;
use crate::libvexfs::tree::node::Node;
use kernel::prelude::*;
use std::collections::BTreeMap;

/// A chunk of inodes as it is to be.
struct Chunk {
    start: u64,
    /// Blocks that are what they should be.
    good: u32,
    mask: u64,
}

/// A group as it is to be.
struct Found {
    header: GroupHeader,
    /// Sorted, and apart.
    chunks: Vec<Chunk>,
    /// Whether its own tree led to all of them.
    whole: bool,
}

impl<S: Store> Repair<'_, S> {
    /// The header of a group; an empty one if it cannot be read, which is told, too.
    fn header(&self, group: u32) -> (GroupHeader, bool) {
        let bno = self.sb.geometry.header(group);
        let read = self.store.read(bno);
        if let Ok(header) = read.and_then(|b| GroupHeader::parse(&b.data(), group, bno)) {
            return (header, true);
        }
        let mut header = GroupHeader {
            group,
            bno,
            free_blocks: 0,
            free_inodes: 0,
            dirs: 0,
            chunks: 0,
            chunk_blocks: 0,
            orphan_blocks: 0,
            chunk_root: [0; ROOT_LEN],
            orphan_root: [0; ROOT_LEN],
        };
        init_root(&mut header.chunk_root);
        init_root(&mut header.orphan_root);
        (header, false)
    }

    /// Makes header, chunk tree, masks and inode blocks of groups anew.
    pub(super) fn rebuild_groups(&mut self, groups: impl IntoIterator<Item = u32>) -> Result {
        let mut found = Vec::new();
        for group in groups {
            found.push(self.find_group(group)?);
        }
        // What the inodes of lost chunks have, nobody has claimed yet, and the new trees need room.
        self.claim_found(&found)?;
        for found in found {
            self.rebuild_group(found, None)?;
        }
        Ok(())
    }

    /// What there is of a group's inodes. Their blocks are made what they should be.
    fn find_group(&self, group: u32) -> Result<Found> {
        let g = self.sb.geometry;
        let (header, readable) = self.header(group);
        // What the tree says, if it is whole, and what lies around, if it is not.
        let mut known: BTreeMap<u64, Option<u64>> = BTreeMap::new();
        let mut whole = readable;
        walk(self.store, chunk_root(&header), &mut |event| {
            match event {
                Event::Node(_) => {}
                Event::Bad { .. } => whole = false,
                Event::Record { key, value, .. } => match parse_chunk(&g, group, key, value) {
                    Some((start, mask)) => whole &= known.insert(start, Some(mask)).is_none(),
                    None => whole = false,
                },
            }
            Ok(true)
        })?;
        let mut chunks = Vec::new();
        for round in 0..2 {
            chunks = Vec::new();
            for (start, mask) in &known {
                chunks.extend(self.measure_chunk(*start, *mask));
            }
            whole &= chunks.len() == known.len();
            if whole || round == 1 {
                break;
            }
            self.find_chunks(group, &mut known);
        }
        let mut kept: Vec<Chunk> = Vec::new();
        for chunk in chunks {
            match kept.last_mut() {
                Some(last) if chunk.start < last.start + CHUNK_BLOCKS => {
                    if chunk.good > last.good {
                        *last = chunk;
                    }
                }
                _ => kept.push(chunk),
            }
        }
        for chunk in &mut kept {
            let known = known.get(&chunk.start).copied().flatten();
            chunk.mask = self.remake_chunk(chunk.start, known)?;
        }
        Ok(Found {
            header,
            chunks: kept,
            whole,
        })
    }

    /// Claims all that the inodes of chunks have which the check did not know of.
    fn claim_found(&mut self, found: &[Found]) -> Result {
        if found.iter().all(|found| found.whole) {
            return Ok(());
        }
        let mut nobody = Nobody;
        let mut checker = self.checker(&mut nobody);
        checker.chunks = found
            .iter()
            .flat_map(|found| &found.chunks)
            .map(|chunk| (chunk.start, chunk.mask))
            .collect();
        checker.chunks.sort_unstable();
        for found in found.iter().filter(|found| !found.whole) {
            for chunk in &found.chunks {
                checker.found_chunk(&found.header, chunk.start, chunk.mask)?;
            }
        }
        let usage = checker.usage;
        self.blocks.also(&usage);
        Ok(())
    }

    /// Writes header and chunk tree of a group; `more` is a new chunk, whose blocks are written.
    fn rebuild_group(&mut self, found: Found, more: Option<u64>) -> Result {
        let Found {
            mut header, chunks, ..
        } = found;
        let mut edits = Edits::anew();
        for chunk in &chunks {
            let full = u128::from(chunk.mask == 0) << 64;
            let key = full | u128::from(chunk.start);
            edits.set(key, Some(chunk.mask.to_le_bytes().into()));
        }
        if let Some(start) = more {
            edits.set(start.into(), Some(CHUNK_ALL_FREE.to_le_bytes().into()));
        }
        let site = Site {
            owner: chunk_root(&header).owner,
            within: Some(header.group),
        };
        let mut root = header.chunk_root;
        self.build(&mut root, site, Harvest::default(), &edits)?;
        header.chunk_root = root;
        self.write_header(&header)?;
        self.chunks = self.look().chunks;
        Ok(())
    }

    fn write_header(&self, header: &GroupHeader) -> Result {
        let mut t = self.store.begin(1)?;
        header.format(&mut t.create(header.bno)?.data_mut());
        t.stop()
    }

    /// How many blocks of a chunk are what they should be; none if it is no chunk.
    fn measure_chunk(&self, start: u64, mask: Option<u64>) -> Option<Chunk> {
        let mut chunk = Chunk {
            start,
            good: 0,
            mask: 0,
        };
        let mut used = false;
        for bno in start..start + CHUNK_BLOCKS {
            let Ok(block) = self.store.read(bno) else {
                continue;
            };
            let data = block.data();
            if parse_block_header(&data, bno) == Ok(start) {
                chunk.good += 1;
                used |= data[BLOCK_HEADER..]
                    .chunks_exact(INODE_SIZE)
                    .any(|bytes| parse_free(bytes).is_err());
            }
        }
        // One that the tree does not know and that has nothing in it was freed.
        (chunk.good > 0 && (mask.is_some() || used)).then_some(chunk)
    }

    /// Looks for inode blocks that no chunk is known of.
    fn find_chunks(&self, group: u32, known: &mut BTreeMap<u64, Option<u64>>) {
        let g = self.sb.geometry;
        let mut found = Vec::new();
        self.for_unclaimed(group..group + 1, &mut |bno| {
            if let Ok(block) = self.store.read(bno) {
                if let Ok(start) = parse_block_header(&block.data(), bno) {
                    found.push(start);
                }
            }
        });
        for start in found {
            if is_chunk_place(&g, group, start) {
                known.entry(start).or_insert(None);
            }
        }
    }

    /// Makes the inode blocks of a chunk what they should be, and returns the mask of the free inodes. `known` is the
    /// mask that the tree has.
    fn remake_chunk(&self, start: u64, known: Option<u64>) -> Result<u64> {
        let mut mask = 0;
        for n in 0..CHUNK_BLOCKS {
            let bno = start + n;
            let (mut body, good) = self.inode_block(bno, start);
            let mut changed = !good;
            for slot in 0..INODES_PER_BLOCK {
                let index = (n * INODES_PER_BLOCK + slot) as u32;
                let at = BLOCK_HEADER + slot as usize * INODE_SIZE;
                let Some(bytes) = body.get_mut(at..at + INODE_SIZE) else {
                    continue;
                };
                let said_free = known.map(|mask| mask >> index & 1 == 1);
                changed |= self.mend(bytes, chunk_ino(start, index), good, said_free);
                mask |= u64::from(parse_free(bytes).is_ok()) << index;
            }
            if changed {
                format_block_header(&mut body, bno, start);
                let mut t = self.store.begin(1)?;
                t.create(bno)?.data_mut().copy_from_slice(&body);
                t.stop()?;
            }
        }
        Ok(mask)
    }

    /// The body of an inode block, whatever its checksum; whether it is in order.
    fn inode_block(&self, bno: u64, start: u64) -> (Vec<u8>, bool) {
        if let Ok(block) = self.store.read(bno) {
            let body = block.data().to_vec();
            let good = parse_block_header(&body, bno) == Ok(start);
            return (body, good);
        }
        let mut raw = vec![0; BLOCK_SIZE];
        if self.disk.read(bno, &mut raw).is_err() {
            raw.fill(0);
        }
        (raw.split_off(SEAL_SIZE), false)
    }

    /// Makes one slot an inode, or free. `good`: the block as such was in order. Says whether it changed.
    fn mend(&self, bytes: &mut [u8], ino: u64, good: bool, said_free: Option<bool>) -> bool {
        let known = Inode::parse(bytes, ino);
        match known {
            Ok(inode) if good || self.is_rooted(&inode) => return false,
            Err(_) if parse_free(bytes).is_ok() => return false,
            _ => {}
        }
        if said_free != Some(true) {
            // One field that cannot be does not make all the others worthless.
            sanitise(bytes, self.sb.geometry.block_count);
            let inode = Inode::parse(bytes, ino);
            if inode.is_ok_and(|inode| self.is_rooted(&inode)) {
                return true;
            }
        }
        let generation = le32(bytes, 4).wrapping_add(1);
        format_free(bytes, generation);
        true
    }

    /// Whether the roots of an inode that was found in a damaged block hold together: noise does not.
    fn is_rooted(&self, inode: &Inode) -> bool {
        let attr = Node::open(&inode.attr).is_ok_and(|node| node.check().is_ok());
        let data = inode.has_inline_link()
            || Node::open(&inode.data).is_ok_and(|node| node.check().is_ok());
        attr && data
    }

    /// Makes a group's orphan tree anew.
    pub(super) fn rebuild_orphans(&mut self, group: u32) -> Result {
        let g = self.sb.geometry;
        let (mut header, _) = self.header(group);
        let mut edits = Edits::anew();
        let start = g.group_start(group);
        let end = start + g.group_len(group);
        for (chunk, mask) in &self.chunks {
            if !(start..end).contains(chunk) {
                continue;
            }
            for index in (0..CHUNK_INODES).filter(|index| mask >> index & 1 == 0) {
                let ino = chunk_ino(*chunk, index);
                if let Ok(inode) = self.inode(ino) {
                    if inode.state & STATE_ORPHAN != 0 {
                        let why = if inode.nlink == 0 { DELETE } else { TRUNCATE };
                        edits.set(ino.into(), Some([why].into()));
                    }
                }
            }
        }
        let site = Site {
            owner: orphan_root(&header).owner,
            within: Some(group),
        };
        let mut root = header.orphan_root;
        self.build(&mut root, site, Harvest::default(), &edits)?;
        header.orphan_root = root;
        self.write_header(&header)
    }

    /// Makes a chunk of free inodes.
    pub(super) fn new_chunk(&mut self) -> Result {
        let start = self.take(self.sb.root_ino >> 3, CHUNK_BLOCKS, None)?;
        let group = self.sb.geometry.group_of(start).ok_or(EIO)?;
        let mut t = self.store.begin(CHUNK_BLOCKS as usize)?;
        for bno in start..start + CHUNK_BLOCKS {
            let mut block = t.create(bno)?;
            let mut body = block.data_mut();
            format_block_header(&mut body, bno, start);
            for slot in 0..INODES_PER_BLOCK as usize {
                let at = BLOCK_HEADER + slot * INODE_SIZE;
                format_free(&mut body[at..at + INODE_SIZE], bno as u32);
            }
        }
        t.stop()?;
        let found = self.find_group(group)?;
        self.rebuild_group(found, Some(start))
    }

    /// Marks inodes of a group as what they are now.
    pub(super) fn refresh_masks(&mut self, ino: u64) -> Result {
        match self.sb.geometry.group_of(ino >> 3) {
            Some(group) => self.rebuild_groups([group]),
            None => Ok(()),
        }
    }
}

/// Puts something possible into fields that cannot be.
fn sanitise(bytes: &mut [u8], blocks: u64) {
    put16(bytes, 0, MAGIC);
    for nsec in [72, 76, 80, 84] {
        if le32(bytes, nsec) >= 1_000_000_000 {
            put32(bytes, nsec, 0);
        }
    }
    if le64(bytes, 24) > i64::MAX as u64 {
        put64(bytes, 24, 0);
    }
    let state = le32(bytes, 112);
    put32(bytes, 112, state & STATE_KNOWN);
    let mode = le16(bytes, 2);
    let known = Inode::parse(bytes, 0).is_ok();
    if !known {
        // Records tell what they are; an empty tree is an empty file's.
        let first = Node::open(bytes.get(192..384).unwrap_or_default()).ok();
        let first = first.filter(|n| n.level() == 0 && n.count() > 0);
        let is_entry = first.is_some_and(|node| {
            let value = node.value(0).unwrap_or_default();
            DirEntryRef::parse(node.key(0), value).is_ok()
                && Extent::parse(node.key(0), value, blocks).is_err()
        });
        let kind = if is_entry { S_IFDIR } else { S_IFREG };
        put16(bytes, 2, mode & !S_IFMT | kind);
    }
}
