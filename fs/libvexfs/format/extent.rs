// SPDX-License-Identifier: GPL-2.0

//! Extents: records of a regular file's data tree. The key is the logical block.

use super::{le32, le64, put32, put64};
use crate::libvexfs::errno::euclean;
use kernel::prelude::*;

/// The longest extent.
pub const MAX_LEN: u64 = (1 << 24) - 1;
/// One more than the largest logical block: files end at 2^63 bytes.
pub const MAX_LBLK: u64 = 1 << 51;
/// Bytes of a written or unwritten extent's value: block u64, length 24 bits, state 8 bits.
pub const VALUE_LEN: usize = 12;
/// Bytes of an offline extent's value: the same, then source block u64 and version u64.
pub const OFFLINE_LEN: usize = 28;

/// Where an extent's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// On disk, from this block on.
    Written(u64),
    /// On disk there is room from this block on; it reads as zeros.
    Unwritten(u64),
    /// In the archived copies.
    Offline {
        /// The block in the archived contents that the extent starts with.
        src_block: u64,
        /// The version of the contents that was archived.
        src_version: u64,
    },
}

/// An extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First logical block.
    pub lblk: u64,
    /// Blocks, at least 1.
    pub len: u64,
    /// Where the bytes are.
    pub state: State,
}

impl Extent {
    /// Reads an extent from its record.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it is none, or leaves the file's or the volume's (`block_count`) bounds.
    pub fn parse(key: u128, b: &[u8], block_count: u64) -> Result<Self> {
        let lblk = u64::try_from(key).map_err(|_| euclean())?;
        let len_state = le32(b, 8);
        let len = u64::from(len_state & 0xff_ffff);
        let phys = le64(b, 0);
        let (state, size) = match len_state >> 24 {
            0 => (State::Written(phys), VALUE_LEN),
            1 => (State::Unwritten(phys), VALUE_LEN),
            2 => (
                State::Offline {
                    src_block: le64(b, 12),
                    src_version: le64(b, 20),
                },
                OFFLINE_LEN,
            ),
            _ => return Err(euclean()),
        };
        let place_fits = match state {
            State::Offline { src_block, .. } => phys == 0 && src_block < MAX_LBLK,
            // Block 0 is the superblock.
            _ => phys != 0 && matches!(phys.checked_add(len), Some(end) if end <= block_count),
        };
        let key_fits = matches!(lblk.checked_add(len), Some(end) if end <= MAX_LBLK);
        if b.len() != size || len == 0 || !place_fits || !key_fits {
            return Err(euclean());
        }
        Ok(Extent { lblk, len, state })
    }

    /// The record's key.
    pub fn key(&self) -> u128 {
        u128::from(self.lblk)
    }

    /// Writes the record's value; returns its length.
    pub fn format(&self, b: &mut [u8; OFFLINE_LEN]) -> usize {
        let (phys, state, size) = match self.state {
            State::Written(phys) => (phys, 0, VALUE_LEN),
            State::Unwritten(phys) => (phys, 1, VALUE_LEN),
            State::Offline {
                src_block,
                src_version,
            } => {
                put64(b, 12, src_block);
                put64(b, 20, src_version);
                (0, 2, OFFLINE_LEN)
            }
        };
        debug_assert!(self.len >= 1 && self.len <= MAX_LEN);
        put64(b, 0, phys);
        put32(b, 8, (self.len as u32 & 0xff_ffff) | state << 24);
        size
    }

    /// One more than the last logical block.
    pub fn end(&self) -> u64 {
        self.lblk + self.len
    }

    /// Where it lies on disk, if it does.
    pub fn phys(&self) -> Option<u64> {
        match self.state {
            State::Written(p) | State::Unwritten(p) => Some(p),
            State::Offline { .. } => None,
        }
    }

    /// The same blocks in another state.
    pub fn with_state(&self, state: State) -> Extent {
        Extent { state, ..*self }
    }

    /// The same extent, beginning at another logical block.
    pub fn at(&self, lblk: u64) -> Extent {
        Extent { lblk, ..*self }
    }

    /// The part from logical block `from` to `to`, both within the extent.
    pub fn part(&self, from: u64, to: u64) -> Extent {
        let skip = from - self.lblk;
        let state = match self.state {
            State::Written(p) => State::Written(p + skip),
            State::Unwritten(p) => State::Unwritten(p + skip),
            State::Offline {
                src_block,
                src_version,
            } => State::Offline {
                src_block: src_block + skip,
                src_version,
            },
        };
        Extent {
            lblk: from,
            len: to - from,
            state,
        }
    }

    /// Whether `next` goes on exactly where this one ends, logically and in place.
    pub fn continues(&self, next: &Extent) -> bool {
        let same_place = match (self.state, next.state) {
            (State::Written(a), State::Written(b)) => a + self.len == b,
            (State::Unwritten(a), State::Unwritten(b)) => a + self.len == b,
            (
                State::Offline {
                    src_block: a,
                    src_version: v,
                },
                State::Offline {
                    src_block: b,
                    src_version: w,
                },
            ) => v == w && a + self.len == b,
            _ => false,
        };
        same_place && self.end() == next.lblk && self.len + next.len <= MAX_LEN
    }
}
