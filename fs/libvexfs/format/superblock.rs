// SPDX-License-Identifier: GPL-2.0

//! The superblock: block 0, and its copies at the start of some groups.

use super::{bytes, le32, le64, put, put32, put64, Geometry};
use crate::libvexfs::errno::euclean;
use crate::libvexfs::journal::BODY_SIZE;
use kernel::prelude::*;

/// "VEXFS", two zeros, and the format's generation.
pub const MAGIC: [u8; 8] = *b"VEXFS\0\0\x01";
/// The version of the format that this code writes.
pub const VERSION: u32 = 1;

/// State flag: unmounted in good order.
pub const STATE_CLEAN: u32 = 1;
/// State flag: damage was found; fsck is due.
pub const STATE_ERROR: u32 = 2;

/// Feature bits that this code knows. Unknown compat bits do not matter, unknown
/// ro_compat bits forbid writing, unknown incompat bits forbid mounting.
pub const KNOWN_COMPAT: u64 = 0;
/// Bit of `ro_compat`: what owners have is counted in the quota inode. Who does not know of it must
/// not write.
pub const RO_COMPAT_QUOTA: u64 = 1;
/// Known bits of `ro_compat`.
pub const KNOWN_RO_COMPAT: u64 = RO_COMPAT_QUOTA;
/// Known bits of `incompat`.
pub const KNOWN_INCOMPAT: u64 = 0;

/// When and where damage was seen first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorRecord {
    /// Seconds since 1970; 0: none.
    pub time: i64,
    /// The inode, 0 if unknown.
    pub ino: u64,
    /// The block, 0 if unknown.
    pub bno: u64,
    /// The positive error number.
    pub code: u32,
}

/// The superblock in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Format version.
    pub version: u32,
    /// [`STATE_CLEAN`] and [`STATE_ERROR`].
    pub state: u32,
    /// Sizes of volume and groups.
    pub geometry: Geometry,
    /// The volume's id.
    pub uuid: [u8; 16],
    /// Its label, padded with zeros.
    pub label: [u8; 64],
    /// What every checksum starts from; apart from the uuid, so that that can change.
    pub csum_seed: u32,
    /// Features that may be ignored.
    pub compat: u64,
    /// Features without which one may read.
    pub ro_compat: u64,
    /// Features without which one may not even read.
    pub incompat: u64,
    /// First block of the journal.
    pub journal_start: u64,
    /// Blocks of the journal; 0: none.
    pub journal_len: u64,
    /// The journal's id.
    pub journal_uuid: [u8; 16],
    /// The root directory.
    pub root_ino: u64,
    /// The inode whose attribute tree holds the volume's tables.
    pub system_ino: u64,
    /// Key of the hash of names.
    pub hash_key: [u8; 16],
    /// Seconds since 1970 of mkfs.
    pub created: i64,
    /// Of the last mount.
    pub mounted: i64,
    /// Of the last write of the superblock.
    pub written: i64,
    /// Mounts so far.
    pub mount_count: u32,
    /// First damage seen.
    pub first_error: ErrorRecord,
    /// Random, renewed by an explicit claim: tells clones apart.
    pub staging_epoch: [u8; 16],
    /// Blocks that ordinary allocation leaves free.
    pub reserved_blocks: u64,
    /// The id that the next collection gets.
    pub next_collection: u32,
    /// The id that the next tape volume gets.
    pub next_volume: u32,
    /// The quota inode, with [`RO_COMPAT_QUOTA`].
    pub quota_ino: u64,
}

// Offsets in the body (add 8 for the offset in the block).
/// Of `magic`.
pub const OFF_MAGIC: usize = 0;
const OFF_VERSION: usize = 8;
const OFF_STATE: usize = 12;
const OFF_BLOCK_COUNT: usize = 16;
const OFF_GROUP_BLOCKS: usize = 24;
const OFF_GROUP_COUNT: usize = 32;
/// Of `csum_seed`: needed before the seal can be verified.
pub const OFF_CSUM_SEED: usize = 36;
/// Of `uuid`.
pub const OFF_UUID: usize = 40;
/// Of `label`.
pub const OFF_LABEL: usize = 56;
const OFF_COMPAT: usize = 120;
const OFF_RO_COMPAT: usize = 128;
const OFF_INCOMPAT: usize = 136;
const OFF_JOURNAL_START: usize = 144;
const OFF_JOURNAL_LEN: usize = 152;
const OFF_JOURNAL_UUID: usize = 160;
const OFF_ROOT_INO: usize = 176;
const OFF_SYSTEM_INO: usize = 184;
const OFF_HASH_KEY: usize = 192;
const OFF_CREATED: usize = 208;
const OFF_MOUNTED: usize = 216;
const OFF_WRITTEN: usize = 224;
const OFF_MOUNT_COUNT: usize = 232;
const OFF_ERROR_CODE: usize = 236;
const OFF_ERROR_TIME: usize = 240;
const OFF_ERROR_INO: usize = 248;
const OFF_ERROR_BNO: usize = 256;
const OFF_STAGING_EPOCH: usize = 264;
const OFF_RESERVED_BLOCKS: usize = 280;
const OFF_NEXT_COLLECTION: usize = 288;
const OFF_NEXT_VOLUME: usize = 292;
const OFF_QUOTA_INO: usize = 296;
/// What follows up to the end of the body is zero.
pub const SUPERBLOCK_LEN: usize = 304;
const _: () = assert!(SUPERBLOCK_LEN <= BODY_SIZE);

impl Superblock {
    /// Reads a superblock from the body of its block, and checks what arithmetic
    /// elsewhere relies on.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is none (wrong magic) or of a version or with features that
    /// this code does not know, `EUCLEAN` if it contradicts itself.
    pub fn parse(b: &[u8]) -> Result<Self> {
        if b.len() < SUPERBLOCK_LEN || bytes::<8>(b, OFF_MAGIC) != MAGIC {
            return Err(EINVAL);
        }
        let sb = Self::decode(b);
        if sb.version != VERSION || sb.incompat & !KNOWN_INCOMPAT != 0 {
            return Err(EINVAL);
        }
        sb.geometry.verify()?;
        let g = &sb.geometry;
        let journal_end = sb
            .journal_start
            .checked_add(sb.journal_len)
            .ok_or_else(euclean)?;
        let journal_fits = sb.journal_len == 0
            || (sb.journal_start >= g.group_metadata() && journal_end <= g.group_len(0));
        if !journal_fits || sb.reserved_blocks > g.block_count {
            return Err(euclean());
        }
        Ok(sb)
    }

    /// Reads the fields as they are, whatever they say: for those who show damage.
    #[inline]
    pub fn decode(b: &[u8]) -> Self {
        Superblock {
            version: le32(b, OFF_VERSION),
            state: le32(b, OFF_STATE),
            geometry: Geometry {
                block_count: le64(b, OFF_BLOCK_COUNT),
                group_blocks: le64(b, OFF_GROUP_BLOCKS),
                group_count: le32(b, OFF_GROUP_COUNT),
            },
            uuid: bytes(b, OFF_UUID),
            label: bytes(b, OFF_LABEL),
            csum_seed: le32(b, OFF_CSUM_SEED),
            compat: le64(b, OFF_COMPAT),
            ro_compat: le64(b, OFF_RO_COMPAT),
            incompat: le64(b, OFF_INCOMPAT),
            journal_start: le64(b, OFF_JOURNAL_START),
            journal_len: le64(b, OFF_JOURNAL_LEN),
            journal_uuid: bytes(b, OFF_JOURNAL_UUID),
            root_ino: le64(b, OFF_ROOT_INO),
            system_ino: le64(b, OFF_SYSTEM_INO),
            hash_key: bytes(b, OFF_HASH_KEY),
            created: le64(b, OFF_CREATED) as i64,
            mounted: le64(b, OFF_MOUNTED) as i64,
            written: le64(b, OFF_WRITTEN) as i64,
            mount_count: le32(b, OFF_MOUNT_COUNT),
            first_error: ErrorRecord {
                time: le64(b, OFF_ERROR_TIME) as i64,
                ino: le64(b, OFF_ERROR_INO),
                bno: le64(b, OFF_ERROR_BNO),
                code: le32(b, OFF_ERROR_CODE),
            },
            staging_epoch: bytes(b, OFF_STAGING_EPOCH),
            reserved_blocks: le64(b, OFF_RESERVED_BLOCKS),
            next_collection: le32(b, OFF_NEXT_COLLECTION),
            next_volume: le32(b, OFF_NEXT_VOLUME),
            quota_ino: le64(b, OFF_QUOTA_INO),
        }
    }

    /// Writes it to the body of its block.
    pub fn format(&self, b: &mut [u8]) {
        b.fill(0);
        put(b, OFF_MAGIC, &MAGIC);
        put32(b, OFF_VERSION, self.version);
        put32(b, OFF_STATE, self.state);
        put64(b, OFF_BLOCK_COUNT, self.geometry.block_count);
        put64(b, OFF_GROUP_BLOCKS, self.geometry.group_blocks);
        put32(b, OFF_GROUP_COUNT, self.geometry.group_count);
        put(b, OFF_UUID, &self.uuid);
        put(b, OFF_LABEL, &self.label);
        put32(b, OFF_CSUM_SEED, self.csum_seed);
        put64(b, OFF_COMPAT, self.compat);
        put64(b, OFF_RO_COMPAT, self.ro_compat);
        put64(b, OFF_INCOMPAT, self.incompat);
        put64(b, OFF_JOURNAL_START, self.journal_start);
        put64(b, OFF_JOURNAL_LEN, self.journal_len);
        put(b, OFF_JOURNAL_UUID, &self.journal_uuid);
        put64(b, OFF_ROOT_INO, self.root_ino);
        put64(b, OFF_SYSTEM_INO, self.system_ino);
        put(b, OFF_HASH_KEY, &self.hash_key);
        put64(b, OFF_CREATED, self.created as u64);
        put64(b, OFF_MOUNTED, self.mounted as u64);
        put64(b, OFF_WRITTEN, self.written as u64);
        put32(b, OFF_MOUNT_COUNT, self.mount_count);
        put32(b, OFF_ERROR_CODE, self.first_error.code);
        put64(b, OFF_ERROR_TIME, self.first_error.time as u64);
        put64(b, OFF_ERROR_INO, self.first_error.ino);
        put64(b, OFF_ERROR_BNO, self.first_error.bno);
        put(b, OFF_STAGING_EPOCH, &self.staging_epoch);
        put64(b, OFF_RESERVED_BLOCKS, self.reserved_blocks);
        put32(b, OFF_NEXT_COLLECTION, self.next_collection);
        put32(b, OFF_NEXT_VOLUME, self.next_volume);
        put64(b, OFF_QUOTA_INO, self.quota_ino);
    }

    /// Whether what owners have is counted.
    pub fn has_quota(&self) -> bool {
        self.ro_compat & RO_COMPAT_QUOTA != 0
    }

    /// Whether this code may write to the volume.
    pub fn writable(&self) -> bool {
        self.ro_compat & !KNOWN_RO_COMPAT == 0
    }
}
