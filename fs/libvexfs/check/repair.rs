// SPDX-License-Identifier: GPL-2.0

//! Putting right what can be put right without loss.

use super::{clear_bits, Field, Fix};
use crate::libvexfs::format::geometry::REGION_BLOCKS;
use crate::libvexfs::format::group::{
    format_bitmap_header, GroupHeader, BITMAP_BYTES, BITMAP_HEADER, SUMMARY_INIT,
};
use crate::libvexfs::format::inode::{place, INODE_SIZE};
use crate::libvexfs::format::{put, put32, Inode, Superblock};
use crate::libvexfs::journal::{Block, BlockMut, Store, Trans};
use kernel::prelude::*;

/// Applies `fixes`, each in a transaction of its own, and commits. Check again afterwards: counts depend on each other.
///
/// # Errors
///
/// What the store returns.
pub fn repair<S: Store>(store: &S, sb: &Superblock, fixes: &[Fix]) -> Result {
    for fix in fixes {
        match fix {
            Fix::Copy { bno } => {
                let mut t = store.begin(1)?;
                sb.format(&mut t.create(*bno)?.data_mut());
                t.stop()?;
            }
            Fix::Region {
                group,
                region,
                bits,
            } => write_region(store, sb, *group, *region, bits)?,
            Fix::Counts { group, counts } => {
                let bno = sb.geometry.header(*group);
                let mut header = GroupHeader::parse(&store.read(bno)?.data(), *group, bno)?;
                header.free_blocks = counts.free_blocks;
                header.free_inodes = counts.free_inodes;
                header.dirs = counts.dirs;
                header.chunks = counts.chunks;
                header.chunk_blocks = counts.chunk_blocks;
                header.orphan_blocks = counts.orphan_blocks;
                let mut t = store.begin(1)?;
                header.format_counts(&mut t.modify(bno)?.data_mut());
                t.stop()?;
            }
            Fix::Inode { ino, field } => write_field(store, *ino, *field)?,
        }
    }
    store.commit()
}

fn write_region<S: Store>(
    store: &S,
    sb: &Superblock,
    group: u32,
    region: u32,
    bits: &[u8],
) -> Result {
    let g = &sb.geometry;
    let len = g.region_len(group, region);
    let bno = g.bitmap(group, region);
    let (summary, off) = g.summary(group, region);
    let mut set = [0; BITMAP_BYTES];
    put(&mut set, 0, bits);
    let free = clear_bits(&set, len);
    // What lies beyond the end is not free.
    for bit in len..REGION_BLOCKS {
        set[bit as usize / 8] |= 1 << (bit % 8);
    }
    let mut t = store.begin(2)?;
    let mut bitmap = t.create(bno)?;
    let mut body = bitmap.data_mut();
    format_bitmap_header(&mut body, group, bno, region);
    put(&mut body, BITMAP_HEADER, &set);
    drop(body);
    // A summary that cannot be read has nothing worth keeping; its other regions are fixed in their turn.
    let mut block = match t.modify(summary) {
        Ok(block) => block,
        Err(_) => t.create(summary)?,
    };
    put32(&mut block.data_mut(), off, SUMMARY_INIT | free as u32);
    t.stop()
}

fn write_field<S: Store>(store: &S, ino: u64, field: Field) -> Result {
    let (bno, at) = place(ino)?;
    let mut bytes = [0; INODE_SIZE];
    store.read_at(bno, at, &mut bytes)?;
    let mut inode = Inode::parse(&bytes, ino)?;
    match field {
        Field::Blocks(n) => inode.blocks = n,
        Field::Links(n) => inode.nlink = n,
        Field::Entries(n) => inode.entries = n,
        Field::Size(n) => inode.size = n,
    }
    inode.format(&mut bytes);
    let mut t = store.begin(1)?;
    t.write_at(bno, at, &bytes)?;
    t.stop()
}
