// SPDX-License-Identifier: GPL-2.0

//! Quota: what an owner has and may have, as the attribute tree of the quota inode keeps it.

use super::{le64, put64};
use crate::libvexfs::errno::euclean;
use kernel::prelude::*;

/// Kinds of owners: users, groups, projects, by number as the kernel has them.
pub const TYPES: usize = 3;
/// Bytes of a record.
pub const RECORD_LEN: usize = 64;
/// Bytes of the record of a type's periods of grace.
pub const GRACE_LEN: usize = 16;
/// The period of grace unless somebody says otherwise: a week, in seconds.
pub const GRACE_DEFAULT: u64 = 7 * 24 * 3600;

/// The key of an owner's record, without its kind.
pub fn record_key(qtype: usize, id: u32) -> u128 {
    ((qtype as u128) << 32) | u128::from(id)
}

/// The key of the record of a type's periods of grace, without its kind.
pub fn grace_key(qtype: usize) -> u128 {
    record_key(qtype, 0) | 1 << 64
}

/// What a key names: a type, and the owner or, for the periods of grace, nobody.
pub fn parse_key(key: u128) -> Option<(usize, Option<u32>)> {
    let qtype = usize::try_from((key >> 32) & 0xffff_ffff).ok()?;
    if qtype >= TYPES {
        return None;
    }
    match key >> 64 {
        0 => Some((qtype, Some(key as u32))),
        1 if key as u32 == 0 => Some((qtype, None)),
        _ => None,
    }
}

/// One thing that is counted: blocks, or inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// What the owner has.
    pub used: u64,
    /// What it may have; 0: as much as it likes.
    pub hard: u64,
    /// What it may have for longer than the period of grace; 0: no such limit.
    pub soft: u64,
    /// When the period of grace ends, in seconds since 1970; 0: it does not run.
    pub deadline: i64,
}

/// What an owner has and may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Blocks of 4 KiB, tree nodes included.
    pub blocks: Amount,
    /// Inodes.
    pub inodes: Amount,
}

impl Amount {
    fn parse(b: &[u8], at: usize) -> Self {
        Amount {
            used: le64(b, at),
            hard: le64(b, at + 8),
            soft: le64(b, at + 16),
            deadline: le64(b, at + 24) as i64,
        }
    }

    fn format(&self, b: &mut [u8], at: usize) {
        put64(b, at, self.used);
        put64(b, at + 8, self.hard);
        put64(b, at + 16, self.soft);
        put64(b, at + 24, self.deadline as u64);
    }

    /// How much more the owner may have, with `claimed` on the way.
    pub fn left(&self, claimed: u64, now: i64) -> u64 {
        let have = self.used.saturating_add(claimed);
        let hard = match self.hard {
            0 => u64::MAX,
            hard => hard.saturating_sub(have),
        };
        let soft = match self.soft {
            soft if soft != 0 && self.deadline != 0 && now > self.deadline => {
                soft.saturating_sub(have)
            }
            _ => u64::MAX,
        };
        hard.min(soft)
    }

    /// Whether the owner has more than it may.
    pub fn over(&self, now: i64) -> bool {
        let past = self.deadline != 0 && now > self.deadline;
        (self.hard != 0 && self.used > self.hard) || (self.soft != 0 && past)
    }

    /// Starts or stops the period of grace after a change.
    pub fn settle(&mut self, now: i64, grace: u64) {
        if self.soft == 0 || self.used <= self.soft {
            self.deadline = 0;
        } else if self.deadline == 0 {
            let grace = i64::try_from(grace).unwrap_or(i64::MAX);
            self.deadline = now.saturating_add(grace).max(1);
        }
    }
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it has another length.
    pub fn parse(b: &[u8]) -> Result<Self> {
        if b.len() != RECORD_LEN {
            return Err(euclean());
        }
        Ok(Record {
            blocks: Amount::parse(b, 0),
            inodes: Amount::parse(b, 32),
        })
    }

    /// The bytes of a record.
    pub fn format(&self) -> [u8; RECORD_LEN] {
        let mut b = [0; RECORD_LEN];
        self.blocks.format(&mut b, 0);
        self.inodes.format(&mut b, 32);
        b
    }
}

/// The periods of grace of a type, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace {
    /// For blocks.
    pub blocks: u64,
    /// For inodes.
    pub inodes: u64,
}

impl Default for Grace {
    fn default() -> Self {
        Grace {
            blocks: GRACE_DEFAULT,
            inodes: GRACE_DEFAULT,
        }
    }
}

impl Grace {
    /// Reads a record.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it has another length.
    pub fn parse(b: &[u8]) -> Result<Self> {
        if b.len() != GRACE_LEN {
            return Err(euclean());
        }
        Ok(Grace {
            blocks: le64(b, 0),
            inodes: le64(b, 8),
        })
    }

    /// The bytes of a record.
    pub fn format(&self) -> [u8; GRACE_LEN] {
        let mut b = [0; GRACE_LEN];
        put64(&mut b, 0, self.blocks);
        put64(&mut b, 8, self.inodes);
        b
    }
}
