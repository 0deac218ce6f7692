// SPDX-License-Identifier: GPL-2.0

//! Inodes, and the blocks and chunks that hold them.
//!
//! An inode is 576 bytes: 192 of fields, the data root, the attribute root. Seven
//! make a block, behind a header of 56 bytes; eight blocks in a row make a chunk.
//! The number of an inode is its place: block number times 8, plus the slot (1 to 7).

use super::group::INODE_BLOCK_MAGIC;
use super::{bytes, le16, le32, le64, put, put16, put32, put64};
use crate::libvexfs::errno::{estale, euclean};
use crate::libvexfs::journal::BODY_SIZE;
use kernel::prelude::*;

/// Bytes of an inode.
pub const INODE_SIZE: usize = 576;
/// Bytes of each of its two roots.
pub const ROOT_LEN: usize = 192;
/// Inodes in a block.
pub const INODES_PER_BLOCK: u64 = 7;
/// Blocks in a chunk.
pub const CHUNK_BLOCKS: u64 = 8;
/// Inodes in a chunk.
pub const CHUNK_INODES: u32 = 56;
/// A chunk's mask when all of its inodes are free.
pub const CHUNK_ALL_FREE: u64 = (1 << CHUNK_INODES) - 1;
/// Bytes before the first inode in a block's body.
pub const BLOCK_HEADER: usize = 56;
const _: () = assert!(BLOCK_HEADER + INODES_PER_BLOCK as usize * INODE_SIZE == BODY_SIZE);
/// Numbers below are never handed out.
pub const FIRST_INO: u64 = 256;
/// "XI", at the start of every inode, free or not.
pub const MAGIC: u16 = u16::from_le_bytes(*b"XI");
/// The longest symbolic link that is kept in the data root.
pub const INLINE_LINK_MAX: usize = 180;

/// Not visible to users: vectors, the system inode.
pub const STATE_INTERNAL: u32 = 1;
/// Vectors describe this file.
pub const STATE_EMBEDDED: u32 = 2;
/// Some extents are offline.
pub const STATE_OFFLINE: u32 = 4;
/// Copies exist on tape.
pub const STATE_ARCHIVED: u32 = 8;
/// In the orphan tree of its group.
pub const STATE_ORPHAN: u32 = 16;
/// All that are known.
pub const STATE_KNOWN: u32 = 31;

/// The file type bits of a mode.
pub const S_IFMT: u16 = 0o170000;
/// A named pipe.
pub const S_IFIFO: u16 = 0o010000;
/// A character device.
pub const S_IFCHR: u16 = 0o020000;
/// A directory.
pub const S_IFDIR: u16 = 0o040000;
/// A block device.
pub const S_IFBLK: u16 = 0o060000;
/// A regular file.
pub const S_IFREG: u16 = 0o100000;
/// A symbolic link.
pub const S_IFLNK: u16 = 0o120000;
/// A socket.
pub const S_IFSOCK: u16 = 0o140000;

/// A second has so many nanoseconds.
const NSEC_END: u32 = 1_000_000_000;

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970.
    pub sec: i64,
    /// Nanoseconds, below 10^9.
    pub nsec: u32,
}

#[cfg(not(vexfs_kernel))]
impl Time {
    /// What the clock says. 1970 if it is before.
    pub fn now() -> Time {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let since = since.unwrap_or_default();
        Time {
            sec: since.as_secs() as i64,
            nsec: since.subsec_nanos(),
        }
    }
}

/// An inode in memory. Nothing on disk that it describes is newer than it.
#[derive(Clone, Debug)]
pub struct Inode {
    /// Its number.
    pub ino: u64,
    /// Type and permissions; 0: free.
    pub mode: u16,
    /// Tells it from earlier inodes of the same number.
    pub generation: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Links.
    pub nlink: u32,
    /// `FS_*_FL`.
    pub flags: u32,
    /// Bytes (of a regular file: as far as the disk is concerned).
    pub size: u64,
    /// Blocks of 4 KiB that belong to it, tree nodes included.
    pub blocks: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of the contents.
    pub mtime: Time,
    /// Last change of anything.
    pub ctime: Time,
    /// Creation.
    pub btime: Time,
    /// The version of the contents; starts at 1.
    pub data_version: u64,
    /// The newest version that an embedding or a copy describes; 0: none.
    pub marked_version: u64,
    /// Project.
    pub projid: u32,
    /// Device number, as the kernel's `new_encode_dev` has it.
    pub rdev: u32,
    /// `STATE_*`.
    pub state: u32,
    /// Entries of a directory.
    pub entries: u64,
    /// Root of the data tree: extents, directory entries, or a symbolic link's target.
    pub data: [u8; ROOT_LEN],
    /// Root of the attribute tree.
    pub attr: [u8; ROOT_LEN],
}

const OFF_MAGIC: usize = 0;
const OFF_MODE: usize = 2;
const OFF_GENERATION: usize = 4;
const OFF_UID: usize = 8;
const OFF_GID: usize = 12;
const OFF_NLINK: usize = 16;
const OFF_FLAGS: usize = 20;
const OFF_SIZE: usize = 24;
const OFF_BLOCKS: usize = 32;
const OFF_ATIME: usize = 40;
const OFF_MTIME: usize = 48;
const OFF_CTIME: usize = 56;
const OFF_BTIME: usize = 64;
const OFF_NSECS: usize = 72;
const OFF_DATA_VERSION: usize = 88;
const OFF_MARKED_VERSION: usize = 96;
const OFF_PROJID: usize = 104;
const OFF_RDEV: usize = 108;
const OFF_STATE: usize = 112;
const OFF_ENTRIES: usize = 120;
/// 128 to 191 are zero.
const OFF_DATA: usize = 192;
const OFF_ATTR: usize = OFF_DATA + ROOT_LEN;
const _: () = assert!(OFF_ATTR + ROOT_LEN == INODE_SIZE);

/// The block of inode `ino` and the offset of the inode in the block's body.
///
/// # Errors
///
/// `ESTALE` for a number that no inode can have.
pub fn place(ino: u64) -> Result<(u64, usize)> {
    let slot = ino & 7;
    if slot == 0 || ino < FIRST_INO {
        return Err(estale());
    }
    Ok((ino >> 3, BLOCK_HEADER + (slot as usize - 1) * INODE_SIZE))
}

/// The number of the `index`th inode of a chunk.
pub fn chunk_ino(chunk: u64, index: u32) -> u64 {
    let index = u64::from(index);
    ((chunk + index / INODES_PER_BLOCK) << 3) | (index % INODES_PER_BLOCK + 1)
}

/// The index in its chunk of inode `ino`, if it lies there.
pub fn chunk_index(chunk: u64, ino: u64) -> Option<u32> {
    let block = (ino >> 3).checked_sub(chunk)?;
    let slot = (ino & 7).checked_sub(1)?;
    (block < CHUNK_BLOCKS).then(|| (block * INODES_PER_BLOCK + slot) as u32)
}

/// Writes the header of an inode block: magic u32, pad u32, own number u64, chunk u64.
pub fn format_block_header(b: &mut [u8], bno: u64, chunk: u64) {
    put32(b, 0, INODE_BLOCK_MAGIC);
    put64(b, 8, bno);
    put64(b, 16, chunk);
}

/// Checks the header of inode block `bno` and returns its chunk.
///
/// # Errors
///
/// `EUCLEAN` if it is none.
pub fn parse_block_header(b: &[u8], bno: u64) -> Result<u64> {
    let chunk = le64(b, 16);
    let inside = matches!(bno.checked_sub(chunk), Some(d) if d < CHUNK_BLOCKS);
    if b.len() < BLOCK_HEADER || le32(b, 0) != INODE_BLOCK_MAGIC || le64(b, 8) != bno || !inside {
        return Err(euclean());
    }
    Ok(chunk)
}

fn time(b: &[u8], sec: usize, index: usize) -> Time {
    Time {
        sec: le64(b, sec) as i64,
        nsec: le32(b, OFF_NSECS + 4 * index),
    }
}

impl Inode {
    /// Reads inode `ino` from its 576 bytes. The roots are checked where they are used.
    ///
    /// # Errors
    ///
    /// `ESTALE` if it is free, `EUCLEAN` if it is none or contradicts itself.
    pub fn parse(b: &[u8], ino: u64) -> Result<Self> {
        if b.len() < INODE_SIZE || le16(b, OFF_MAGIC) != MAGIC {
            return Err(euclean());
        }
        let mode = le16(b, OFF_MODE);
        if mode == 0 {
            return Err(estale());
        }
        let known_type = matches!(
            mode & S_IFMT,
            S_IFIFO | S_IFCHR | S_IFDIR | S_IFBLK | S_IFREG | S_IFLNK | S_IFSOCK
        );
        let size = le64(b, OFF_SIZE);
        let state = le32(b, OFF_STATE);
        if !known_type || size > i64::MAX as u64 || state & !STATE_KNOWN != 0 {
            return Err(euclean());
        }
        let inode = Self::decode(b, ino);
        let times = [inode.atime, inode.mtime, inode.ctime, inode.btime];
        if times.iter().any(|t| t.nsec >= NSEC_END) {
            return Err(euclean());
        }
        Ok(inode)
    }

    /// Reads the fields as they are, whatever they say: for those who show damage.
    #[inline]
    pub fn decode(b: &[u8], ino: u64) -> Self {
        Inode {
            ino,
            mode: le16(b, OFF_MODE),
            generation: le32(b, OFF_GENERATION),
            uid: le32(b, OFF_UID),
            gid: le32(b, OFF_GID),
            nlink: le32(b, OFF_NLINK),
            flags: le32(b, OFF_FLAGS),
            size: le64(b, OFF_SIZE),
            blocks: le64(b, OFF_BLOCKS),
            atime: time(b, OFF_ATIME, 0),
            mtime: time(b, OFF_MTIME, 1),
            ctime: time(b, OFF_CTIME, 2),
            btime: time(b, OFF_BTIME, 3),
            data_version: le64(b, OFF_DATA_VERSION),
            marked_version: le64(b, OFF_MARKED_VERSION),
            projid: le32(b, OFF_PROJID),
            rdev: le32(b, OFF_RDEV),
            state: le32(b, OFF_STATE),
            entries: le64(b, OFF_ENTRIES),
            data: bytes(b, OFF_DATA),
            attr: bytes(b, OFF_ATTR),
        }
    }

    /// Writes its 576 bytes.
    pub fn format(&self, b: &mut [u8; INODE_SIZE]) {
        b.fill(0);
        put16(b, OFF_MAGIC, MAGIC);
        put16(b, OFF_MODE, self.mode);
        put32(b, OFF_GENERATION, self.generation);
        put32(b, OFF_UID, self.uid);
        put32(b, OFF_GID, self.gid);
        put32(b, OFF_NLINK, self.nlink);
        put32(b, OFF_FLAGS, self.flags);
        put64(b, OFF_SIZE, self.size);
        put64(b, OFF_BLOCKS, self.blocks);
        put64(b, OFF_ATIME, self.atime.sec as u64);
        put64(b, OFF_MTIME, self.mtime.sec as u64);
        put64(b, OFF_CTIME, self.ctime.sec as u64);
        put64(b, OFF_BTIME, self.btime.sec as u64);
        for (i, t) in [self.atime, self.mtime, self.ctime, self.btime]
            .iter()
            .enumerate()
        {
            put32(b, OFF_NSECS + 4 * i, t.nsec);
        }
        put64(b, OFF_DATA_VERSION, self.data_version);
        put64(b, OFF_MARKED_VERSION, self.marked_version);
        put32(b, OFF_PROJID, self.projid);
        put32(b, OFF_RDEV, self.rdev);
        put32(b, OFF_STATE, self.state);
        put64(b, OFF_ENTRIES, self.entries);
        put(b, OFF_DATA, &self.data);
        put(b, OFF_ATTR, &self.attr);
    }

    /// The file type bits.
    pub fn kind(&self) -> u16 {
        self.mode & S_IFMT
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == S_IFDIR
    }

    /// Whether it is a regular file.
    pub fn is_reg(&self) -> bool {
        self.kind() == S_IFREG
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        self.kind() == S_IFLNK
    }

    /// Whether its data root holds the target of a symbolic link rather than a tree.
    pub fn has_inline_link(&self) -> bool {
        self.is_link() && self.size <= INLINE_LINK_MAX as u64
    }
}

/// Bytes of an inode that [`parse_booked`] looks at.
pub const BOOKED_LEN: usize = 192;

/// What the head of an inode's place is booked as: user, group and project, and blocks. Nothing if
/// it is free, or nobody's to see.
pub fn parse_booked(b: &[u8; BOOKED_LEN]) -> Option<([u32; 3], u64)> {
    let taken = le16(b, OFF_MAGIC) == MAGIC && le16(b, OFF_MODE) != 0;
    if !taken || le32(b, OFF_STATE) & STATE_INTERNAL != 0 {
        return None;
    }
    let owners = [le32(b, OFF_UID), le32(b, OFF_GID), le32(b, OFF_PROJID)];
    Some((owners, le64(b, OFF_BLOCKS)))
}

/// Writes a free slot, or the head of one: only the generation survives.
pub fn format_free(b: &mut [u8], generation: u32) {
    b.fill(0);
    put16(b, OFF_MAGIC, MAGIC);
    put32(b, OFF_GENERATION, generation);
}

/// Reads the generation of a free slot from its first eight bytes.
///
/// # Errors
///
/// `EUCLEAN` if the slot is no inode or in use.
pub fn parse_free(b: &[u8]) -> Result<u32> {
    if b.len() < 8 || le16(b, OFF_MAGIC) != MAGIC || le16(b, OFF_MODE) != 0 {
        return Err(euclean());
    }
    Ok(le32(b, OFF_GENERATION))
}
