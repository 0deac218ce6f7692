// SPDX-License-Identifier: GPL-2.0

//! Staging: files whose bytes lie on volumes (tapes, or directories that stand
//! for them).
//!
//! - [`queue`]: what is to be recalled and archived, and who waits for it.
//! - [`copy`]: which copies of a file exist, and the checksums of its content.
//! - [`blocks`]: giving blocks back, and putting recalled bytes in their place.
//! - [`volume`]: the table of volumes.
//!
//! Nothing here waits, copies user memory or does I/O on file data; the module
//! does that between the steps.

pub mod blocks;
pub mod copy;
pub mod queue;
mod request;
mod slab;
pub mod volume;

use kernel::prelude::*;

/// A file is checksummed, staged and published in chunks of this many bytes.
pub const CHUNK: u64 = 1 << 20;
/// Blocks in a chunk.
pub const CHUNK_BLOCKS: u64 = CHUNK / crate::libvexfs::journal::BLOCK_SIZE as u64;
/// Copies of a file are numbered 0 to this less one.
pub const MAX_COPIES: usize = 16;
/// Copies that a file must have before its blocks may be given back.
pub const MIN_COPIES: usize = 1;

/// Staged bytes are not those that were archived.
pub fn ebadmsg() -> Error {
    Error::from_errno(-74)
}
