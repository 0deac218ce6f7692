// SPDX-License-Identifier: GPL-2.0

//! What the bytes on disk mean. One file per structure; `Documentation/format.md`
//! says the same in prose. Everything is little endian.

pub mod extent;
pub mod geometry;
pub mod group;
pub mod inode;
pub mod quota;
pub mod superblock;

pub use geometry::Geometry;
pub use inode::{Inode, Time};
pub use superblock::Superblock;

// The accessors below never panic: a range that leaves the slice reads as zero
// and is not written. Callers check lengths; this is what keeps a forgotten check
// from becoming a BUG in the kernel.

/// Reads a u16 at `off`.
#[inline]
pub fn le16(b: &[u8], off: usize) -> u16 {
    match b.get(off..).and_then(|b| b.first_chunk()) {
        Some(c) => u16::from_le_bytes(*c),
        None => 0,
    }
}

/// Reads a u32 at `off`.
#[inline]
pub fn le32(b: &[u8], off: usize) -> u32 {
    match b.get(off..).and_then(|b| b.first_chunk()) {
        Some(c) => u32::from_le_bytes(*c),
        None => 0,
    }
}

/// Reads a u64 at `off`.
#[inline]
pub fn le64(b: &[u8], off: usize) -> u64 {
    match b.get(off..).and_then(|b| b.first_chunk()) {
        Some(c) => u64::from_le_bytes(*c),
        None => 0,
    }
}

/// Reads a u128 at `off`.
#[inline]
pub fn le128(b: &[u8], off: usize) -> u128 {
    match b.get(off..).and_then(|b| b.first_chunk()) {
        Some(c) => u128::from_le_bytes(*c),
        None => 0,
    }
}

/// Copies `N` bytes out from `off`.
#[inline]
pub fn bytes<const N: usize>(b: &[u8], off: usize) -> [u8; N] {
    match b.get(off..).and_then(|b| b.first_chunk()) {
        Some(c) => *c,
        None => [0; N],
    }
}

/// Writes `bytes` at `off`.
#[inline]
pub fn put(b: &mut [u8], off: usize, bytes: &[u8]) {
    if let Some(to) = b.get_mut(off..).and_then(|b| b.get_mut(..bytes.len())) {
        to.copy_from_slice(bytes);
    } else {
        debug_assert!(false, "a field lies outside of its structure");
    }
}

/// Writes a u16 at `off`.
#[inline]
pub fn put16(b: &mut [u8], off: usize, v: u16) {
    put(b, off, &v.to_le_bytes());
}

/// Writes a u32 at `off`.
#[inline]
pub fn put32(b: &mut [u8], off: usize, v: u32) {
    put(b, off, &v.to_le_bytes());
}

/// Writes a u64 at `off`.
#[inline]
pub fn put64(b: &mut [u8], off: usize, v: u64) {
    put(b, off, &v.to_le_bytes());
}

/// Writes a u128 at `off`.
#[inline]
pub fn put128(b: &mut [u8], off: usize, v: u128) {
    put(b, off, &v.to_le_bytes());
}
