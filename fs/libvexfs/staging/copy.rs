// SPDX-License-Identifier: GPL-2.0

//! Which copies of a file exist, and the checksums of the contents that they hold.
//!
//! Both are records of the inode's attribute tree. A COPY record, keyed (copy,
//! offset in the source), says where on which volume a version of the contents
//! lies. CHUNKSUM records hold CRC32C of each MiB of one version, the newest that
//! a copy was committed of; 128 chunks in a record. While extents are offline the
//! sums are of the version that they refer to: copies of another version cannot be
//! committed before everything is online again.

use super::{CHUNK, MAX_COPIES};
use crate::libvexfs::alloc::{Mode, Space};
use crate::libvexfs::credits;
use crate::libvexfs::errno::{estale, euclean};
use crate::libvexfs::format::inode::{Inode, STATE_ARCHIVED};
use crate::libvexfs::format::{bytes, le32, le64, put, put32, put64};
use crate::libvexfs::journal::Store;
use crate::libvexfs::{damaged, Fs};
use kernel::prelude::*;

/// Type of copy records in an attribute tree.
pub const TYPE_COPY: u8 = 5;
/// Type of checksum records in an attribute tree.
pub const TYPE_CHUNKSUM: u8 = 6;
/// Bytes of a copy record's value.
pub const COPY_LEN: usize = 88;
/// Chunks in a checksum record.
pub const SUMS: usize = 128;
/// Bytes of a checksum record's value, when full: the version, then the sums.
pub const SUMS_LEN: usize = 8 + 4 * SUMS;

/// The copy can be read, as far as is known.
pub const STATE_VALID: u8 = 1;
/// The copy did not have the bytes that it should have.
pub const STATE_BAD: u8 = 2;

const FORMAT: u8 = 1;

/// Credits for putting one record: it may have to grow.
pub const PUT_CREDITS: usize = credits::INSERT + credits::INODE;
/// Credits for removing one.
pub const REMOVE_CREDITS: usize = credits::REMOVE + credits::INODE;

/// One copy of a file's contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// Its number, below [`MAX_COPIES`].
    pub copy: u8,
    /// `STATE_*`.
    pub state: u8,
    /// Which digest; as the ABI has it.
    pub algorithm: u8,
    /// Pool of volumes.
    pub pool: u8,
    /// Id of the volume.
    pub volume: u32,
    /// The version of the contents.
    pub version: u64,
    /// Bytes.
    pub len: u64,
    /// Bundle on the volume.
    pub bundle: u32,
    /// 256 KiB block at which the member begins.
    pub block: u64,
    /// Byte of the bundle at which the member's data begin.
    pub object_off: u64,
    /// When it was committed, in seconds.
    pub time: i64,
    /// Of the whole contents.
    pub digest: [u8; 32],
}

impl Copy {
    /// The record's key.
    pub fn key(&self) -> u128 {
        copy_key(self.copy)
    }

    /// Writes the record's value.
    pub fn format(&self) -> [u8; COPY_LEN] {
        let mut b = [0; COPY_LEN];
        b[0] = FORMAT;
        b[1] = self.state;
        b[2] = self.algorithm;
        b[3] = self.pool;
        put32(&mut b, 4, self.volume);
        put64(&mut b, 8, self.version);
        put64(&mut b, 16, self.len);
        put32(&mut b, 24, self.bundle);
        put64(&mut b, 32, self.block);
        put64(&mut b, 40, self.object_off);
        put64(&mut b, 48, self.time as u64);
        put(&mut b, 56, &self.digest);
        b
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it is none.
    pub fn parse(key: u128, b: &[u8]) -> Result<Copy> {
        let copy = (key >> 64) as u8;
        let shaped = b.len() == COPY_LEN && b.first() == Some(&FORMAT) && key == copy_key(copy);
        let c = Copy {
            copy,
            state: b.get(1).copied().unwrap_or(0),
            algorithm: b.get(2).copied().unwrap_or(0),
            pool: b.get(3).copied().unwrap_or(0),
            volume: le32(b, 4),
            version: le64(b, 8),
            len: le64(b, 16),
            bundle: le32(b, 24),
            block: le64(b, 32),
            object_off: le64(b, 40),
            time: le64(b, 48) as i64,
            digest: bytes(b, 56),
        };
        let sane = usize::from(copy) < MAX_COPIES
            && matches!(c.state, STATE_VALID | STATE_BAD)
            && c.volume != 0
            && c.len <= i64::MAX as u64;
        if shaped && sane {
            Ok(c)
        } else {
            Err(euclean())
        }
    }
}

/// Key of the record of copy number `copy`. The low 64 bits are for segments.
pub fn copy_key(copy: u8) -> u128 {
    u128::from(TYPE_COPY) << 120 | u128::from(copy) << 64
}

/// Key of the checksum record with chunk `chunk`.
pub fn sums_key(chunk: u64) -> u128 {
    u128::from(TYPE_CHUNKSUM) << 120 | u128::from(chunk / SUMS as u64)
}

/// How many chunks `len` bytes make.
pub fn chunks(len: u64) -> u64 {
    len.div_ceil(CHUNK)
}

impl<S: Store> Fs<S> {
    /// All copies of a file, by number.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn copies(&self, i: &Inode) -> Result<KVec<Copy>> {
        let mut all = KVec::new();
        if i.state & STATE_ARCHIVED == 0 {
            return Ok(all);
        }
        self.tree_scan(i.attr_root(), copy_key(0), &mut |key, value| {
            if (key >> 120) as u8 != TYPE_COPY {
                return Ok(false);
            }
            let c = Copy::parse(key, value)
                .map_err(|_| damaged(i.ino, i.ino >> 3, "a copy record makes no sense"))?;
            all.push(c, GFP_KERNEL)?;
            Ok(true)
        })?;
        Ok(all)
    }

    /// How many valid copies there are of the contents as they are now.
    ///
    /// # Errors
    ///
    /// As [`Fs::copies`].
    pub fn good_copies(&self, i: &Inode) -> Result<usize> {
        let good = |c: &&Copy| c.state == STATE_VALID && c.version == i.data_version;
        Ok(self.copies(i)?.iter().filter(good).count())
    }

    /// A copy from which `version` may be read, other than those in the mask `tried`.
    ///
    /// # Errors
    ///
    /// As [`Fs::copies`].
    pub fn source(&self, i: &Inode, version: u64, tried: u16) -> Result<Option<Copy>> {
        let usable = |c: &&Copy| {
            let bit = 1u16.checked_shl(c.copy.into()).unwrap_or(0);
            c.version == version && tried & bit == 0
        };
        let all = self.copies(i)?;
        let mut found = all.iter().filter(usable);
        let best = found
            .clone()
            .find(|c| c.state == STATE_VALID)
            .or_else(|| found.next());
        Ok(best.copied())
    }

    /// Puts a record of the attribute tree in place, new or again.
    fn staging_put(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        i: &mut Inode,
        key: u128,
        value: &[u8],
    ) -> Result {
        if self.tree_lookup(i.attr_root(), key, |_| ())?.is_some() {
            self.tree_replace(t, space, i.attr_root_mut(), key, value)
        } else {
            self.tree_insert(t, space, i.attr_root_mut(), key, value)
        }
    }

    /// Space that [`Fs::put_sums`] and [`Fs::put_copy`] need.
    ///
    /// # Errors
    ///
    /// `ENOSPC`.
    pub fn staging_space(&self, i: &Inode) -> Result<Space<'_, S>> {
        self.space(i.ino >> 3, credits::blocks::INSERT, Mode::Privileged)
    }

    /// Records the checksums of the chunks from `chunk` (a multiple of [`SUMS`]) on, of
    /// `version`. Those that were there for the same version must be the same. Logs the
    /// inode. Credits: [`PUT_CREDITS`].
    ///
    /// # Errors
    ///
    /// `ESTALE` if the contents are of another version now. `EBADMSG` if they changed
    /// without anybody having written. Nothing is dirtied then.
    pub fn put_sums(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        i: &mut Inode,
        version: u64,
        chunk: u64,
        sums: &[u32],
    ) -> Result {
        if i.data_version != version {
            return Err(estale());
        }
        if sums.len() > SUMS || chunk % SUMS as u64 != 0 {
            return Err(EINVAL);
        }
        let mut value = [0; SUMS_LEN];
        put64(&mut value, 0, version);
        for (n, sum) in sums.iter().enumerate() {
            put32(&mut value, 8 + 4 * n, *sum);
        }
        let value = value.get(..8 + 4 * sums.len()).ok_or(EINVAL)?;
        let key = sums_key(chunk);
        let known = self.tree_lookup(i.attr_root(), key, |old| {
            (le64(old, 0) == version).then_some(old == value)
        })?;
        match known.flatten() {
            Some(true) => return Ok(()),
            Some(false) => {
                pr_err!(
                    "inode {}: the bytes of version {} are not what they were\n",
                    i.ino,
                    version
                );
                return Err(super::ebadmsg());
            }
            None => {}
        }
        self.staging_put(t, space, i, key, value)?;
        self.log_inode(t, i)
    }

    /// Removes one checksum record that lies behind the last of `chunks` chunks; true
    /// when there is none. Logs the inode. Credits: [`REMOVE_CREDITS`].
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    pub fn trim_sums(&self, t: &mut S::Trans, i: &mut Inode, chunks: u64) -> Result<bool> {
        let from = sums_key(chunks.saturating_add(SUMS as u64 - 1));
        let next = self.tree_next(i.attr_root(), from, |key, _| key)?;
        match next {
            Some(key) if (key >> 120) as u8 == TYPE_CHUNKSUM => {
                self.tree_remove(t, i.attr_root_mut(), key)?;
                self.log_inode(t, i)?;
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// The checksum of chunk `chunk` of `version`.
    ///
    /// # Errors
    ///
    /// `ESTALE` if the sums there are of another version, or there are none.
    pub fn chunk_sum(&self, i: &Inode, version: u64, chunk: u64) -> Result<u32> {
        let at = 8 + 4 * (chunk as usize % SUMS);
        let sum = self.tree_lookup(i.attr_root(), sums_key(chunk), |value| {
            (le64(value, 0) == version && value.len() >= at + 4).then(|| le32(value, at))
        })?;
        sum.flatten().ok_or_else(estale)
    }

    /// Records a copy of the present contents. Its checksums must be there. Logs the
    /// inode. Credits: [`PUT_CREDITS`].
    ///
    /// # Errors
    ///
    /// `ESTALE` if the contents are of another version now, `EINVAL` for a copy that
    /// contradicts itself; nothing is dirtied then.
    pub fn put_copy(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        i: &mut Inode,
        copy: &Copy,
    ) -> Result {
        if i.data_version != copy.version {
            return Err(estale());
        }
        let value = copy.format();
        Copy::parse(copy.key(), &value).map_err(|_| EINVAL)?;
        self.staging_put(t, space, i, copy.key(), &value)?;
        i.state |= STATE_ARCHIVED;
        // Any change from now on makes another version.
        i.marked_version = i.marked_version.max(copy.version);
        self.log_inode(t, i)
    }
}

/// The checksum of a chunk's bytes: CRC32C as everybody has it. `crc32c` is the kernel's, which
/// inverts nothing.
pub fn chunk_sum(crc32c: impl Fn(u32, &[u8]) -> u32, bytes: &[u8]) -> u32 {
    !crc32c(!0, bytes)
}
