// SPDX-License-Identifier: GPL-2.0

//! The on-disk format of jbd2, as Linux writes it with the features 64BIT, CSUM_V3 and REVOKE.
//!
//! Everything is big-endian. A log block is a *descriptor* (tags that say where the data blocks behind it belong), a
//! *revoke* block (block numbers whose older copies must not be replayed), a *commit* block, or a data block. VexFS
//! keeps the journal inside the volume and uses absolute block numbers: `s_first`, `s_start` and `s_maxlen` count from
//! the start of the device, so the kernel opens it with `jbd2_journal_init_dev(start, start + len)` and no block map.

use crate::crc32c::crc32c;
use crate::libvexfs::errno::euclean;
use crate::libvexfs::journal::{Tid, BLOCK_SIZE};
use kernel::prelude::*;

/// The first four bytes of every jbd2 control block.
pub const MAGIC: u32 = 0xc03b_3998;
/// Block types.
pub const DESCRIPTOR: u32 = 1;
/// A commit block ends a transaction.
pub const COMMIT: u32 = 2;
/// The journal's superblock (version 2).
pub const SUPERBLOCK_V2: u32 = 4;
/// A revoke block.
pub const REVOKE: u32 = 5;

/// Revoke blocks may be present.
pub const INCOMPAT_REVOKE: u32 = 1;
/// Block numbers have 64 bits.
pub const INCOMPAT_64BIT: u32 = 2;
/// Every block has a CRC32C; tags hold 32 bits of it.
pub const INCOMPAT_CSUM_V3: u32 = 0x10;
/// The features of every VexFS journal.
pub const INCOMPAT: u32 = INCOMPAT_REVOKE | INCOMPAT_64BIT | INCOMPAT_CSUM_V3;

/// The smallest journal that jbd2 accepts.
pub const MIN_BLOCKS: u64 = 1024;
/// The largest journal of VexFS: 1 GiB. It bounds the memory of replay.
pub const MAX_BLOCKS: u64 = 262_144;

const CHECKSUM_CRC32C: u8 = 4;
const HEADER: usize = 12;
const SUPER_SIZE: usize = 1024;
const SUPER_CHECKSUM: usize = 0xfc;
const TAG: usize = 16;
const UUID: usize = 16;
const TAIL: usize = 4;
const REVOKE_HEADER: usize = 16;
const COMMIT_CHECKSUM: usize = 16;
const COMMIT_SEC: usize = 48;
const COMMIT_NSEC: usize = 56;
const COMMIT_SIZE: usize = 60;

const FLAG_ESCAPE: u32 = 1;
const FLAG_SAME_UUID: u32 = 2;
const FLAG_LAST: u32 = 8;

/// How many tags a descriptor holds: jbd2 stops when fewer than a tag, 16 bytes of slack and the tail are left.
pub const TAGS_PER_DESCRIPTOR: usize = (BLOCK_SIZE - HEADER - UUID - TAIL - 16) / TAG;
/// How many numbers a revoke block holds.
pub const REVOKES_PER_BLOCK: usize = (BLOCK_SIZE - REVOKE_HEADER - TAIL) / 8;

/// A buffer of one block.
pub type Buf = [u8; BLOCK_SIZE];

fn be32(buf: &[u8], at: usize) -> u32 {
    let mut b = [0; 4];
    if let Some(s) = at.checked_add(4).and_then(|end| buf.get(at..end)) {
        b.copy_from_slice(s);
    }
    u32::from_be_bytes(b)
}

fn be64(buf: &[u8], at: usize) -> u64 {
    (u64::from(be32(buf, at)) << 32) | u64::from(be32(buf, at + 4))
}

fn put32(buf: &mut [u8], at: usize, value: u32) {
    buf[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn put64(buf: &mut [u8], at: usize, value: u64) {
    buf[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

/// The CRC32C of `buf` as if the four bytes at `at` were zero.
fn crc_without(seed: u32, buf: &[u8], at: usize) -> u32 {
    let crc = crc32c(seed, &buf[..at]);
    crc32c(crc32c(crc, &[0; 4]), &buf[at + 4..])
}

/// Whether transaction `a` is newer than `b`; the numbers wrap.
pub fn tid_gt(a: Tid, b: Tid) -> bool {
    a.wrapping_sub(b) as i32 > 0
}

/// Where the journal lies in the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The block of the journal's superblock.
    pub start: u64,
    /// The length with that block.
    pub len: u64,
}

impl Region {
    /// Checks what a superblock says against the volume's size and jbd2's limits.
    ///
    /// # Errors
    /// EUCLEAN.
    pub fn new(start: u64, len: u64, block_count: u64) -> Result<Region> {
        let end = start.checked_add(len).ok_or_else(euclean)?;
        // jbd2 takes the end as a C int.
        if start == 0
            || !(MIN_BLOCKS..=MAX_BLOCKS).contains(&len)
            || end > block_count
            || end > i32::MAX as u64
        {
            return Err(euclean());
        }
        Ok(Region { start, len })
    }

    /// The first block of the log.
    pub fn first(&self) -> u64 {
        self.start + 1
    }

    /// One past the last block of the log.
    pub fn end(&self) -> u64 {
        self.start + self.len
    }

    /// The blocks of the log itself.
    pub fn log_blocks(&self) -> u64 {
        self.len - 1
    }

    /// Whether a block belongs to the journal.
    pub fn contains(&self, bno: u64) -> bool {
        (self.start..self.end()).contains(&bno)
    }

    /// The log block `n` behind `at`, round the end.
    pub fn advance(&self, at: u64, n: u64) -> u64 {
        self.first() + (at - self.first() + n) % self.log_blocks()
    }
}

/// The journal's superblock: the fields that VexFS reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Super {
    /// Where the journal lies.
    pub region: Region,
    /// The first transaction that the log may hold.
    pub sequence: Tid,
    /// Where that transaction begins; 0: the log is empty.
    pub start: u64,
    /// The errno with which the journal was aborted, or 0.
    pub errno: u32,
    /// The journal's UUID; its CRC32C seeds all checksums of the log.
    pub uuid: [u8; 16],
    /// Where the kernel stopped writing, valid while the log is empty.
    pub head: u32,
}

impl Super {
    /// An empty journal.
    pub fn new(region: Region, uuid: [u8; 16]) -> Super {
        Super {
            region,
            sequence: 1,
            start: 0,
            errno: 0,
            uuid,
            head: 0,
        }
    }

    /// The seed of all checksums in this log.
    pub fn seed(&self) -> u32 {
        crc32c(!0, &self.uuid)
    }

    /// Checks and takes apart a superblock that was read from `region.start`.
    ///
    /// # Errors
    /// EUCLEAN for anything that is not a VexFS journal there.
    pub fn parse(buf: &[u8], region: Region) -> Result<Super> {
        let buf = buf.get(..SUPER_SIZE).ok_or_else(euclean)?;
        if be32(buf, 0) != MAGIC
            || be32(buf, 4) != SUPERBLOCK_V2
            || be32(buf, 12) != BLOCK_SIZE as u32
        {
            return Err(euclean());
        }
        // CSUM_V3 is checked first, for without it there would be no checksum to trust the rest by.
        if be32(buf, 0x28) != INCOMPAT || be32(buf, 0x2c) != 0 || buf[0x50] != CHECKSUM_CRC32C {
            return Err(euclean());
        }
        if be32(buf, SUPER_CHECKSUM) != crc_without(!0, buf, SUPER_CHECKSUM) {
            return Err(euclean());
        }
        let start = u64::from(be32(buf, 0x1c));
        let in_log = start == 0 || (region.first()..region.end()).contains(&start);
        if u64::from(be32(buf, 0x10)) != region.end()
            || u64::from(be32(buf, 0x14)) != region.first()
            || !in_log
        {
            return Err(euclean());
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&buf[0x30..0x40]);
        Ok(Super {
            region,
            sequence: be32(buf, 0x18),
            start,
            errno: be32(buf, 0x20),
            uuid,
            head: be32(buf, 0x58),
        })
    }

    /// The block as jbd2 wants it.
    pub fn encode(&self) -> Buf {
        let mut b = [0; BLOCK_SIZE];
        put32(&mut b, 0, MAGIC);
        put32(&mut b, 4, SUPERBLOCK_V2);
        put32(&mut b, 0x0c, BLOCK_SIZE as u32);
        put32(&mut b, 0x10, self.region.end() as u32);
        put32(&mut b, 0x14, self.region.first() as u32);
        put32(&mut b, 0x18, self.sequence);
        put32(&mut b, 0x1c, self.start as u32);
        put32(&mut b, 0x20, self.errno);
        put32(&mut b, 0x28, INCOMPAT);
        b[0x30..0x40].copy_from_slice(&self.uuid);
        put32(&mut b, 0x40, 1);
        b[0x50] = CHECKSUM_CRC32C;
        put32(&mut b, 0x58, self.head);
        b[0x100..0x110].copy_from_slice(&self.uuid);
        let crc = crc_without(!0, &b[..SUPER_SIZE], SUPER_CHECKSUM);
        put32(&mut b, SUPER_CHECKSUM, crc);
        b
    }
}

/// The type and transaction of a control block, if it is one.
pub fn header(buf: &[u8]) -> Option<(u32, Tid)> {
    (be32(buf, 0) == MAGIC).then(|| (be32(buf, 4), be32(buf, 8)))
}

fn control(kind: u32, tid: Tid) -> Buf {
    let mut b = [0; BLOCK_SIZE];
    put32(&mut b, 0, MAGIC);
    put32(&mut b, 4, kind);
    put32(&mut b, 8, tid);
    b
}

/// Whether the checksum in the tail of a descriptor or revoke block is right.
pub fn tail_ok(seed: u32, buf: &Buf) -> bool {
    be32(buf, BLOCK_SIZE - TAIL) == crc_without(seed, buf, BLOCK_SIZE - TAIL)
}

fn seal_tail(seed: u32, buf: &mut Buf) {
    let crc = crc_without(seed, buf, BLOCK_SIZE - TAIL);
    put32(buf, BLOCK_SIZE - TAIL, crc);
}

/// What a descriptor says of one data block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Where the block belongs.
    pub bno: u64,
    /// Its first four bytes were the magic and are stored as zeros.
    pub escaped: bool,
    /// The checksum of the block as it lies in the log.
    pub checksum: u32,
}

/// The checksum of a data block in the log of transaction `tid`.
pub fn data_checksum(seed: u32, tid: Tid, data: &[u8]) -> u32 {
    crc32c(crc32c(seed, &tid.to_be_bytes()), data)
}

/// Whether a data block must be escaped, because its beginning would make it look like a control block.
pub fn needs_escape(data: &[u8]) -> bool {
    be32(data, 0) == MAGIC
}

/// Undoes the escaping.
pub fn unescape(data: &mut [u8]) {
    put32(data, 0, MAGIC);
}

/// Replaces the magic by zeros.
pub fn escape(data: &mut [u8]) {
    put32(data, 0, 0);
}

/// The tags of a descriptor, read exactly as jbd2's `count_tags` steps through them.
pub struct Tags<'a> {
    buf: &'a [u8],
    at: usize,
}

/// Iterates over a descriptor's tags; also right for a torn descriptor, whose tags mean nothing.
pub fn tags(buf: &Buf) -> Tags<'_> {
    Tags { buf, at: HEADER }
}

impl Iterator for Tags<'_> {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        if self.at + TAG > BLOCK_SIZE - TAIL {
            return None;
        }
        let at = self.at;
        let flags = be32(self.buf, at + 4);
        let tag = Tag {
            bno: (u64::from(be32(self.buf, at + 8)) << 32) | u64::from(be32(self.buf, at)),
            escaped: flags & FLAG_ESCAPE != 0,
            checksum: be32(self.buf, at + 12),
        };
        self.at += if flags & FLAG_SAME_UUID == 0 {
            TAG + UUID
        } else {
            TAG
        };
        if flags & FLAG_LAST != 0 {
            self.at = BLOCK_SIZE;
        }
        Some(tag)
    }
}

/// Builds a descriptor of at most [`TAGS_PER_DESCRIPTOR`] tags.
pub fn descriptor(sb: &Super, tid: Tid, tags: &[Tag]) -> Buf {
    let mut b = control(DESCRIPTOR, tid);
    let mut at = HEADER;
    for (n, tag) in tags.iter().enumerate() {
        let mut flags = 0;
        if tag.escaped {
            flags |= FLAG_ESCAPE;
        }
        if n != 0 {
            flags |= FLAG_SAME_UUID;
        }
        if n + 1 == tags.len() {
            flags |= FLAG_LAST;
        }
        put32(&mut b, at, tag.bno as u32);
        put32(&mut b, at + 4, flags);
        put32(&mut b, at + 8, (tag.bno >> 32) as u32);
        put32(&mut b, at + 12, tag.checksum);
        at += TAG;
        if n == 0 {
            // The kernel writes `j_uuid` here, which it never sets; nobody reads it. It is left zero here too.
            at += UUID;
        }
    }
    seal_tail(sb.seed(), &mut b);
    b
}

/// The block numbers of a revoke block.
///
/// # Errors
/// EUCLEAN if its count does not fit a block.
pub fn revokes(buf: &Buf) -> Result<impl Iterator<Item = u64> + '_> {
    let count = be32(buf, HEADER) as usize;
    if !(REVOKE_HEADER..=BLOCK_SIZE - TAIL).contains(&count) {
        return Err(euclean());
    }
    Ok(buf[REVOKE_HEADER..count]
        .chunks_exact(8)
        .map(|c| be64(c, 0)))
}

/// Builds a revoke block of at most [`REVOKES_PER_BLOCK`] numbers.
pub fn revoke(sb: &Super, tid: Tid, blocks: &[u64]) -> Buf {
    let mut b = control(REVOKE, tid);
    put32(&mut b, HEADER, (REVOKE_HEADER + blocks.len() * 8) as u32);
    for (n, bno) in blocks.iter().enumerate() {
        put64(&mut b, REVOKE_HEADER + n * 8, *bno);
    }
    seal_tail(sb.seed(), &mut b);
    b
}

/// Builds a commit block.
pub fn commit(sb: &Super, tid: Tid, sec: u64, nsec: u32) -> Buf {
    let mut b = control(COMMIT, tid);
    put64(&mut b, COMMIT_SEC, sec);
    put32(&mut b, COMMIT_NSEC, nsec);
    let crc = crc_without(sb.seed(), &b, COMMIT_CHECKSUM);
    put32(&mut b, COMMIT_CHECKSUM, crc);
    b
}

/// The time in a commit block; recovery uses it to tell old blocks from damaged ones.
pub fn commit_time(buf: &Buf) -> u64 {
    be64(buf, COMMIT_SEC)
}

/// Whether a commit block is whole. As in Linux, it is enough that its first sector was written: everything behind the
/// header is zero, whatever a torn write left there.
pub fn commit_ok(seed: u32, buf: &Buf) -> bool {
    let sum = be32(buf, COMMIT_CHECKSUM);
    if sum == crc_without(seed, buf, COMMIT_CHECKSUM) {
        return true;
    }
    let mut clean = [0; BLOCK_SIZE];
    clean[..COMMIT_SIZE].copy_from_slice(&buf[..COMMIT_SIZE]);
    sum == crc_without(seed, &clean, COMMIT_CHECKSUM)
}
