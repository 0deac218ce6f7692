// SPDX-License-Identifier: GPL-2.0

//! Which of a superblock and its copies is right.
//!
//! A checksum only says that a superblock is as it was written. Whether it describes this volume is seen from what it
//! says of the rest: where groups and journal are, how they are sealed, how names are hashed.

use super::{find_copy, region, superblock, superblock_at};
use crate::file_store::sealed;
use crate::libvexfs::dir::entry::{DirEntryRef, COUNTER_BITS};
use crate::libvexfs::format::group::GroupHeader;
use crate::libvexfs::format::inode::{parse_block_header, place, INODE_SIZE};
use crate::libvexfs::format::{Inode, Superblock};
use crate::libvexfs::journal::host::{Disk, Replay};
use crate::libvexfs::journal::{BLOCK_SIZE, SEAL_SIZE};
use crate::libvexfs::siphash::siphash24;
use crate::libvexfs::tree::node::{self, Node};

/// Groups whose headers are looked at.
const GROUPS: u32 = 16;

/// The superblock to go by.
#[derive(Debug)]
pub struct Best {
    /// It, with what changes all the time taken from the one at the start, if that can be read.
    pub sb: Superblock,
    /// The block of the copy that it comes from; 0: it is the one at the start.
    pub from: u64,
}

/// Finds the superblock that fits the volume best. None: there is none.
pub fn best_superblock<D: Disk>(disk: &D) -> Option<Best> {
    let main = superblock(disk).ok();
    let mut best = main.as_ref().map(|sb| (score(disk, sb), 0, sb.clone()));
    let mut consider = |bno: u64, copy: Superblock| {
        let fits = score(disk, &copy);
        if best.as_ref().is_none_or(|(most, _, _)| fits > *most) {
            best = Some((fits, bno, copy));
        }
    };
    if let Some(sb) = &main {
        let g = sb.geometry;
        let groups = (0..g.group_count).filter(|group| g.has_super_copy(*group));
        for bno in groups.map(|group| g.group_start(group)) {
            if let Ok(copy) = superblock_at(disk, bno) {
                consider(bno, copy);
            }
        }
    }
    if let Some((bno, copy)) = find_copy(disk) {
        consider(bno, copy);
    }
    let (_, from, mut sb) = best?;
    if let (true, Some(main)) = (from != 0, main) {
        sb.state = main.state;
        sb.label = main.label;
        sb.mounted = main.mounted;
        sb.written = main.written;
        sb.mount_count = main.mount_count;
        sb.first_error = main.first_error;
        sb.next_collection = main.next_collection;
        sb.next_volume = main.next_volume;
    }
    Some(Best { sb, from })
}

/// How much of the volume is as a superblock says.
fn score<D: Disk>(disk: &D, sb: &Superblock) -> u32 {
    let g = &sb.geometry;
    let mut score = 0;
    if g.block_count > disk.block_count() {
        return 0;
    }
    let spread = (0..GROUPS.min(g.group_count)).chain([g.group_count - 1]);
    for group in spread {
        let bno = g.header(group);
        let body = body(disk, sb, bno);
        score += u32::from(body.is_some_and(|b| GroupHeader::parse(&b, group, bno).is_ok()));
    }
    let journal = region(sb).and_then(|region| Replay::open(disk, region).map(drop));
    score += 4 * u32::from(journal.is_ok());
    let root = inode(disk, sb, sb.root_ino).filter(Inode::is_dir);
    score += 4 * u32::from(root.is_some());
    score += 2 * u32::from(inode(disk, sb, sb.system_ino).is_some());
    let hashed = root.and_then(|root| first_name_fits(disk, sb, &root));
    score += 4 * u32::from(hashed == Some(true));
    // Features that nobody knows forbid writing; a copy without them is the better one.
    score + u32::from(sb.writable())
}

/// The body of a block with the right checksum.
fn body<D: Disk>(disk: &D, sb: &Superblock, bno: u64) -> Option<Vec<u8>> {
    let mut block = [0; BLOCK_SIZE];
    disk.read(bno, &mut block).ok()?;
    sealed(sb.csum_seed, bno, &block).then(|| block[SEAL_SIZE..].to_vec())
}

fn inode<D: Disk>(disk: &D, sb: &Superblock, ino: u64) -> Option<Inode> {
    let (bno, at) = place(ino).ok()?;
    let body = body(disk, sb, bno)?;
    parse_block_header(&body, bno).ok()?;
    Inode::parse(body.get(at..at + INODE_SIZE)?, ino).ok()
}

/// Whether the first name in a directory lies where its hash says. None: there is no name to be found.
fn first_name_fits<D: Disk>(disk: &D, sb: &Superblock, dir: &Inode) -> Option<bool> {
    let mut page = dir.data.to_vec();
    loop {
        let node = Node::open(&page).ok()?;
        if node.level() == 0 {
            let (key, value) = (
                (node.count() > 0).then(|| node.key(0))?,
                node.value(0).ok()?,
            );
            let entry = DirEntryRef::parse(key, value).ok()?;
            let hash = siphash24(&sb.hash_key, entry.name) >> 16;
            return Some(entry.cookie >> COUNTER_BITS == hash);
        }
        let (level, child) = (node.level(), node.child(0).ok()?);
        let body = body(disk, sb, child)?;
        node::block_is_bad(&body, child, &dir.data_root().owner)
            .is_none()
            .then_some(())?;
        page = node::page(&body).to_vec();
        if page.first().is_none_or(|below| *below >= level) {
            return None;
        }
    }
}
