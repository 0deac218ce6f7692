// SPDX-License-Identifier: GPL-2.0

//! The header of an allocation group.
//!
//! | body offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic |
//! | 4 | 4 | group number |
//! | 8 | 8 | own block number |
//! | 16 | 8 | free blocks |
//! | 24 | 8 | free inodes (in chunks that exist) |
//! | 32 | 8 | directories |
//! | 40 | 8 | inode chunks |
//! | 48 | 8 | blocks of the chunk tree |
//! | 56 | 8 | blocks of the orphan tree |
//! | 64 | 512 | root of the chunk tree |
//! | 576 | 512 | root of the orphan tree |

use super::{bytes, le32, le64, put, put32, put64};
use crate::libvexfs::errno::euclean;
use crate::libvexfs::journal::BODY_SIZE;
use kernel::prelude::*;

/// "VXGH".
pub const MAGIC: u32 = u32::from_le_bytes(*b"VXGH");
/// "VXBM", at the start of a bitmap block.
pub const BITMAP_MAGIC: u32 = u32::from_le_bytes(*b"VXBM");
/// "VXIB", at the start of an inode block.
pub const INODE_BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"VXIB");
/// Bytes of each root in the header.
pub const ROOT_LEN: usize = 512;

/// Bitmap block: magic u32, group u32, bno u64, region u32, pad u32; then the bits.
pub const BITMAP_HEADER: usize = 24;
/// Bytes of bits.
pub const BITMAP_BYTES: usize = 4_032;
const _: () = assert!(BITMAP_HEADER + BITMAP_BYTES <= BODY_SIZE);
const _: () = assert!(BITMAP_BYTES as u64 * 8 == super::geometry::REGION_BLOCKS);

/// Summary entry: the free blocks of the region.
pub const SUMMARY_FREE: u32 = 0xffff;
/// Summary entry: the bitmap block was written. Otherwise it holds garbage and all
/// of the region is free.
pub const SUMMARY_INIT: u32 = 1 << 31;

const OFF_CHUNK_ROOT: usize = 64;
const OFF_ORPHAN_ROOT: usize = OFF_CHUNK_ROOT + ROOT_LEN;
const _: () = assert!(OFF_ORPHAN_ROOT + ROOT_LEN <= BODY_SIZE);

/// The header's fields in memory.
#[derive(Clone)]
pub struct GroupHeader {
    /// Which group.
    pub group: u32,
    /// Its block.
    pub bno: u64,
    /// Free blocks: the sum of its regions'.
    pub free_blocks: u64,
    /// Free inodes in its chunks.
    pub free_inodes: u64,
    /// Directories among its inodes.
    pub dirs: u64,
    /// Inode chunks.
    pub chunks: u64,
    /// Blocks of the chunk tree.
    pub chunk_blocks: u64,
    /// Blocks of the orphan tree.
    pub orphan_blocks: u64,
    /// Root of the chunk tree.
    pub chunk_root: [u8; ROOT_LEN],
    /// Root of the orphan tree.
    pub orphan_root: [u8; ROOT_LEN],
}

impl GroupHeader {
    /// Reads the header of `group` from the body of block `bno`.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it is another's or none.
    pub fn parse(b: &[u8], group: u32, bno: u64) -> Result<Self> {
        if b.len() < BODY_SIZE || le32(b, 0) != MAGIC || le32(b, 4) != group || le64(b, 8) != bno {
            return Err(euclean());
        }
        Ok(GroupHeader {
            group,
            bno,
            free_blocks: le64(b, 16),
            free_inodes: le64(b, 24),
            dirs: le64(b, 32),
            chunks: le64(b, 40),
            chunk_blocks: le64(b, 48),
            orphan_blocks: le64(b, 56),
            chunk_root: bytes(b, OFF_CHUNK_ROOT),
            orphan_root: bytes(b, OFF_ORPHAN_ROOT),
        })
    }

    /// Writes it to the body of its block.
    pub fn format(&self, b: &mut [u8]) {
        put32(b, 0, MAGIC);
        put32(b, 4, self.group);
        put64(b, 8, self.bno);
        self.format_counts(b);
        put(b, OFF_CHUNK_ROOT, &self.chunk_root);
        put(b, OFF_ORPHAN_ROOT, &self.orphan_root);
    }

    /// Writes the counts only, which is what most changes come to.
    pub fn format_counts(&self, b: &mut [u8]) {
        put64(b, 16, self.free_blocks);
        put64(b, 24, self.free_inodes);
        put64(b, 32, self.dirs);
        put64(b, 40, self.chunks);
        put64(b, 48, self.chunk_blocks);
        put64(b, 56, self.orphan_blocks);
    }
}

/// Writes the header of the bitmap block of `region`.
pub fn format_bitmap_header(b: &mut [u8], group: u32, bno: u64, region: u32) {
    put32(b, 0, BITMAP_MAGIC);
    put32(b, 4, group);
    put64(b, 8, bno);
    put32(b, 16, region);
}

/// Whether `b` is the bitmap block of `region`.
pub fn is_bitmap(b: &[u8], group: u32, bno: u64, region: u32) -> bool {
    b.len() == BODY_SIZE
        && le32(b, 0) == BITMAP_MAGIC
        && le32(b, 4) == group
        && le64(b, 8) == bno
        && le32(b, 16) == region
}
