// SPDX-License-Identifier: GPL-2.0

//! The last stage: what is counted, bitmaps, copies of the superblock.

use super::Repair;
use crate::libvexfs::check::{clear_bits, Fix};
use crate::libvexfs::format::geometry::REGION_BLOCKS;
use crate::libvexfs::format::group::{
    format_bitmap_header, GroupHeader, BITMAP_BYTES, BITMAP_HEADER, SUMMARY_INIT,
};
use crate::libvexfs::format::{put, put32};
use crate::libvexfs::journal::{Block, BlockMut, Store, Trans};
use kernel::prelude::*;

impl<S: Store> Repair<'_, S> {
    pub(super) fn counts(&mut self, fixes: &[Fix]) -> Result {
        for fix in fixes {
            match fix {
                Fix::Copy { bno } => {
                    let mut t = self.store.begin(1)?;
                    self.sb.format(&mut t.create(*bno)?.data_mut());
                    t.stop()?;
                }
                Fix::Region {
                    group,
                    region,
                    bits,
                } => self.write_region(*group, *region, bits)?,
                Fix::Counts { group, counts } => {
                    let bno = self.sb.geometry.header(*group);
                    let block = self.store.read(bno)?;
                    let mut header = GroupHeader::parse(&block.data(), *group, bno)?;
                    header.free_blocks = counts.free_blocks;
                    header.free_inodes = counts.free_inodes;
                    header.dirs = counts.dirs;
                    header.chunks = counts.chunks;
                    header.chunk_blocks = counts.chunk_blocks;
                    header.orphan_blocks = counts.orphan_blocks;
                    let mut t = self.store.begin(1)?;
                    header.format_counts(&mut t.modify(bno)?.data_mut());
                    t.stop()?;
                }
                Fix::Inode { ino, field } => self.write_field(*ino, *field)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn write_region(&mut self, group: u32, region: u32, bits: &[u8]) -> Result {
        let g = self.sb.geometry;
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
        let mut t = self.store.begin(2)?;
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
}
