// SPDX-License-Identifier: GPL-2.0

//! Giving blocks back, and putting recalled bytes in their place.
//!
//! Each step is one transaction of a bounded size. A file is at any time whole: a
//! block is either here, or its extent names the version and the block of it that
//! the copies have.

use super::{CHUNK, CHUNK_BLOCKS};
use crate::libvexfs::credits;
use crate::libvexfs::errno::estale;
use crate::libvexfs::extent::{New, State};
use crate::libvexfs::format::inode::{Inode, STATE_OFFLINE};
use crate::libvexfs::journal::{Store, BLOCK_SIZE};
use crate::libvexfs::Fs;
use kernel::prelude::*;

/// Credits of [`Fs::release_step`].
pub const RELEASE_CREDITS: usize = credits::REPLACE_RANGE + credits::INODE;
/// Credits of allocating blocks, [`Fs::publish`], and giving back what did not fit.
pub const STAGE_CREDITS: usize = 2 * credits::REGION + credits::REPLACE_RANGE + credits::INODE;

/// Blocks of a file that are offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First logical block.
    pub lblk: u64,
    /// Blocks.
    pub len: u64,
    /// The block of the archived contents that the first one is.
    pub src_block: u64,
    /// The archived version.
    pub src_version: u64,
}

/// How much of a file is where, in blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residency {
    /// Offline.
    pub offline: u64,
    /// On disk.
    pub online: u64,
}

impl<S: Store> Fs<S> {
    /// The first offline part of a file within the logical blocks `[from, to)`.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    pub fn first_offline(&self, i: &Inode, from: u64, to: u64) -> Result<Option<Part>> {
        if i.state & STATE_OFFLINE == 0 {
            return Ok(None);
        }
        let mut at = from;
        while at < to {
            let Some(e) = self.next_extent(i, at)? else {
                break;
            };
            if e.lblk >= to {
                break;
            }
            if let State::Offline { .. } = e.state {
                let e = e.part(e.lblk.max(at), e.end().min(to));
                if let State::Offline {
                    src_block,
                    src_version,
                } = e.state
                {
                    return Ok(Some(Part {
                        lblk: e.lblk,
                        len: e.len,
                        src_block,
                        src_version,
                    }));
                }
            }
            at = e.end();
        }
        Ok(None)
    }

    /// How much of a file is where.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    pub fn residency(&self, i: &Inode) -> Result<Residency> {
        let mut r = Residency::default();
        let mut at = 0;
        while let Some(e) = self.next_extent(i, at)? {
            match e.state {
                State::Offline { .. } => r.offline = r.offline.saturating_add(e.len),
                State::Written(_) => r.online = r.online.saturating_add(e.len),
                State::Unwritten(_) => {}
            }
            at = e.end();
        }
        Ok(r)
    }

    /// Gives a bounded number of blocks from logical block `from` on back. Returns where
    /// to go on and how many blocks were freed; `None` when nothing is left. The caller
    /// has made sure that there are durable copies of `version`, and that no page of the
    /// file is cached. Logs the inode. Credits: [`RELEASE_CREDITS`].
    ///
    /// # Errors
    ///
    /// `ESTALE` if the contents are of another version now; `ENOSPC`, `EUCLEAN`, `EIO`.
    pub fn release_step(
        &self,
        t: &mut S::Trans,
        i: &mut Inode,
        version: u64,
        from: u64,
    ) -> Result<Option<(u64, u64)>> {
        if i.data_version != version {
            return Err(estale());
        }
        let mut at = from;
        while let Some(e) = self.next_extent(i, at)? {
            let e = e.part(e.lblk.max(at), e.end());
            let new = match e.state {
                State::Offline { .. } => {
                    at = e.end();
                    continue;
                }
                // Room that was never written reads as zeros, as a hole does.
                State::Unwritten(_) => New::Hole,
                State::Written(_) => New::Offline {
                    src_block: e.lblk,
                    src_version: version,
                },
            };
            let done = self.replace_range(t, i, e.lblk, e.len, new)?.min(e.len);
            if i.state & STATE_OFFLINE == 0 && new != New::Hole {
                i.state |= STATE_OFFLINE;
                self.log_inode(t, i)?;
            }
            return Ok(Some((e.lblk.saturating_add(done), done)));
        }
        Ok(None)
    }

    /// The next part that is offline and refers to blocks of the archived chunk `chunk`
    /// of `version`, from source block `from` on.
    ///
    /// Nothing moves extents within a file yet, so a source block is at the logical
    /// block of the same number; what is elsewhere is not found.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    pub fn offline_in_chunk(
        &self,
        i: &Inode,
        version: u64,
        chunk: u64,
        from: u64,
    ) -> Result<Option<Part>> {
        let first = chunk.saturating_mul(CHUNK_BLOCKS);
        let end = first.saturating_add(CHUNK_BLOCKS);
        let mut at = from.max(first);
        while let Some(p) = self.first_offline(i, at, end)? {
            if p.src_version == version && p.src_block == p.lblk {
                return Ok(Some(p));
            }
            at = p.lblk.saturating_add(p.len);
        }
        Ok(None)
    }

    /// Makes `len` blocks at `phys`, which were allocated in this transaction and hold
    /// the archived bytes, part of the file in place of what is offline from `part.lblk`
    /// on. Blocks that are not needed are freed. Returns how many were published: none if
    /// the part is not offline any more. Logs the inode. Credits: [`STAGE_CREDITS`],
    /// with the allocation.
    ///
    /// # Errors
    ///
    /// `ENOSPC`: there is no room for the tree to grow; nothing was changed, and the blocks
    /// are the caller's still. `EUCLEAN`, `EIO`.
    pub fn publish(
        &self,
        t: &mut S::Trans,
        i: &mut Inode,
        part: Part,
        phys: u64,
        len: u64,
    ) -> Result<u64> {
        let end = part.lblk.saturating_add(len.min(part.len));
        let now = self.first_offline(i, part.lblk, end)?;
        let fits = match now {
            Some(p)
                if p.lblk == part.lblk
                    && p.src_block == part.src_block
                    && p.src_version == part.src_version =>
            {
                p.len
            }
            _ => 0,
        };
        let mut done = 0;
        if fits > 0 {
            done = self.replace_range(t, i, part.lblk, fits, New::Written { phys })?;
            done = done.min(fits);
        }
        if done < len {
            self.free_data(t, phys.saturating_add(done), len - done)?;
        }
        Ok(done)
    }

    /// Takes the mark off a file that has nothing offline any more; says whether it has.
    /// Logs the inode if that changed it. Credits: [`credits::INODE`].
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    pub fn settle_offline(&self, t: &mut S::Trans, i: &mut Inode) -> Result<bool> {
        if i.state & STATE_OFFLINE == 0 {
            return Ok(false);
        }
        if self.first_offline(i, 0, u64::MAX)?.is_some() {
            return Ok(true);
        }
        self.touch_inode(t, i)?;
        i.state &= !STATE_OFFLINE;
        self.log_inode(t, i)?;
        Ok(false)
    }

    /// The range of the archived contents that a recall of all that is offline reads:
    /// first byte and length. `size` is the file's, `archived` the archived contents'.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    pub fn recall_range(&self, i: &Inode, size: u64, archived: u64) -> Result<Option<(u64, u64)>> {
        let Some(first) = self.first_offline(i, 0, u64::MAX)? else {
            return Ok(None);
        };
        let off = first.src_block.saturating_mul(BLOCK_SIZE as u64) / CHUNK * CHUNK;
        let end = size.div_ceil(CHUNK).saturating_mul(CHUNK).min(archived);
        Ok(Some((off, end.saturating_sub(off))))
    }
}
