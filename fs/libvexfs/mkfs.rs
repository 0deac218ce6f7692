// SPDX-License-Identifier: GPL-2.0

//! Making a file system: the layout of a new volume, and its first contents.
//!
//! What needs a real disk (old signatures, the journal's own superblock) is the host's; this part works on any store,
//! so that tests in memory begin with the same file system as a disk.

use crate::libvexfs::alloc::Mode;
use crate::libvexfs::attr::kind;
use crate::libvexfs::format::geometry::Geometry;
use crate::libvexfs::format::inode::{STATE_INTERNAL, S_IFDIR, S_IFREG};
use crate::libvexfs::format::quota::{record_key, Record, TYPES};
use crate::libvexfs::format::superblock::{ErrorRecord, RO_COMPAT_QUOTA, STATE_CLEAN, VERSION};
use crate::libvexfs::format::{Superblock, Time};
use crate::libvexfs::journal::{BlockMut, Store, Trans};
use crate::libvexfs::{credits, group, Fs};
use kernel::prelude::*;

/// The smallest volume: 64 MiB.
pub const MIN_BLOCKS: u64 = 1 << 14;
/// The largest volume: 2^50 bytes.
pub const MAX_BLOCKS: u64 = 1 << 38;
/// The smallest journal: 4 MiB, which is also jbd2's limit.
pub const MIN_JOURNAL: u64 = 1 << 10;
/// The largest journal: 1 GiB.
pub const MAX_JOURNAL: u64 = 1 << 18;
/// The longest label in bytes.
pub const LABEL_MAX: usize = 63;

/// What a new file system is to be. All that is random in it comes from here, so that the same options make the same
/// bytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The label, at most [`LABEL_MAX`] bytes.
    pub label: [u8; 64],
    /// The volume's id; also the journal's.
    pub uuid: [u8; 16],
    /// Where all checksums start.
    pub csum_seed: u32,
    /// Key of the hash of names.
    pub hash_key: [u8; 16],
    /// Tells clones apart.
    pub staging_epoch: [u8; 16],
    /// Blocks in a group, if not the best choice.
    pub group_blocks: Option<u64>,
    /// Blocks of the journal, if not the best choice.
    pub journal_blocks: Option<u64>,
    /// Count what users, groups and projects have.
    pub quota: bool,
    /// The time.
    pub now: Time,
}

/// Why a volume cannot be laid out as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Fewer than [`MIN_BLOCKS`].
    TooSmall,
    /// More than [`MAX_BLOCKS`].
    TooLarge,
    /// The size of a group is no power of two between 16 MiB and 1 TiB, or larger than the volume.
    GroupSize,
    /// The journal is not between 4 MiB and 1 GiB, or does not leave half of the first group.
    JournalSize,
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Refused::TooSmall => "the volume is too small: VexFS needs 64 MiB",
            Refused::TooLarge => "the volume is too large: VexFS ends at 1 PiB (2^50 bytes)",
            Refused::GroupSize => {
                "a group is a power of two from 16 MiB to 1 TiB, and not larger than the volume"
            }
            Refused::JournalSize => {
                "the journal is 4 MiB to 1 GiB, and at most half of the first group"
            }
        })
    }
}

/// The journal that suits a volume: a thirty-second of it, within limits.
fn journal_for(g: &Geometry) -> u64 {
    let most = (g.group_len(0).saturating_sub(g.group_metadata()) / 2).max(MIN_JOURNAL);
    (g.block_count / 32)
        .clamp(MIN_JOURNAL, MAX_JOURNAL)
        .min(most)
}

/// Lays a volume of `blocks` blocks out. Nothing is written.
///
/// # Errors
///
/// Why not.
pub fn layout(blocks: u64, o: &Options) -> Result<Superblock, Refused> {
    if blocks < MIN_BLOCKS {
        return Err(Refused::TooSmall);
    }
    if blocks > MAX_BLOCKS {
        return Err(Refused::TooLarge);
    }
    let geometry = match o.group_blocks {
        None => Geometry::choose(blocks),
        Some(n) => Geometry::new(blocks, n),
    }
    .map_err(|_| Refused::GroupSize)?;
    let journal_len = o.journal_blocks.unwrap_or_else(|| journal_for(&geometry));
    let room = geometry
        .group_len(0)
        .saturating_sub(geometry.group_metadata());
    if !(MIN_JOURNAL..=MAX_JOURNAL).contains(&journal_len) || journal_len > room / 2 {
        return Err(Refused::JournalSize);
    }
    if !credits::fits_journal(journal_len, &geometry) {
        return Err(Refused::JournalSize);
    }
    Ok(Superblock {
        version: VERSION,
        state: 0,
        geometry,
        uuid: o.uuid,
        label: o.label,
        csum_seed: o.csum_seed,
        compat: 0,
        ro_compat: if o.quota { RO_COMPAT_QUOTA } else { 0 },
        incompat: 0,
        journal_start: geometry.group_metadata(),
        journal_len,
        journal_uuid: o.uuid,
        root_ino: 0,
        system_ino: 0,
        hash_key: o.hash_key,
        created: o.now.sec,
        mounted: 0,
        written: o.now.sec,
        mount_count: 0,
        first_error: ErrorRecord::default(),
        staging_epoch: o.staging_epoch,
        reserved_blocks: geometry.default_reserve(),
        next_collection: 1,
        next_volume: 1,
        quota_ino: 0,
    })
}

/// Writes the first contents of the volume that [`layout`] laid out: groups, the root directory, the system inode, the
/// superblock and its copies. Returns the superblock as it is now. The caller commits.
///
/// # Errors
///
/// What the store returns.
pub fn populate<S: Store>(store: S, sb: &Superblock, now: Time) -> Result<(Fs<S>, Superblock)> {
    let mut t = store.begin(credits::SUPERBLOCK)?;
    sb.format(&mut t.create(0)?.data_mut());
    t.stop()?;
    for group in 0..sb.geometry.group_count {
        let extra = if group == 0 { sb.journal_len } else { 0 };
        let mut t = store.begin(group::create_credits(&sb.geometry, extra))?;
        group::create_group::<S>(&mut t, &sb.geometry, group, extra)?;
        t.stop()?;
    }
    let fs = Fs::open(store, sb.clone())?;
    let root_ino = make_inode(&fs, S_IFDIR | 0o755, now, |inode| inode.nlink = 2)?;
    let system_ino = make_inode(&fs, S_IFREG | 0o600, now, |inode| {
        inode.nlink = 1;
        inode.state |= STATE_INTERNAL;
    })?;
    let quota_ino = match sb.has_quota() {
        true => make_quota(&fs, now)?,
        false => 0,
    };
    let mut t = fs.store.begin(credits::SUPERBLOCK)?;
    let sb = fs.update_superblock(&mut t, |sb| {
        sb.quota_ino = quota_ino;
        sb.root_ino = root_ino;
        sb.system_ino = system_ino;
        sb.state = STATE_CLEAN;
        sb.clone()
    })?;
    t.stop()?;
    for group in sb.geometry.super_copies() {
        let mut t = fs.store.begin(credits::SUPERBLOCK)?;
        sb.format(&mut t.create(sb.geometry.group_start(group))?.data_mut());
        t.stop()?;
    }
    Ok((fs, sb))
}

fn make_inode<S: Store>(
    fs: &Fs<S>,
    mode: u16,
    now: Time,
    set: impl FnOnce(&mut crate::libvexfs::Inode),
) -> Result<u64> {
    let mut t = fs.store.begin(credits::INODE_ALLOC)?;
    let mut inode = fs.alloc_inode(&mut t, None, mode, now)?;
    set(&mut inode);
    fs.log_inode(&mut t, &inode)?;
    t.stop()?;
    Ok(inode.ino)
}

/// Makes the quota inode. Somebody has something already: the root directory, which takes no blocks.
fn make_quota<S: Store>(fs: &Fs<S>, now: Time) -> Result<u64> {
    let ino = make_inode(fs, S_IFREG | 0o600, now, |inode| {
        inode.nlink = 1;
        inode.state |= STATE_INTERNAL;
    })?;
    let mut inode = fs.read_inode(ino)?;
    let mut record = Record::default();
    record.inodes.used = 1;
    for qtype in 0..TYPES {
        let mut t = fs.store.begin(credits::INSERT + credits::INODE)?;
        let mut space = fs.space(ino >> 3, credits::blocks::INSERT, Mode::Normal)?;
        let (rest, value) = (record_key(qtype, 0), record.format());
        fs.attr_insert(&mut t, &mut space, &mut inode, kind::QUOTA, rest, &value)?;
        drop(space);
        fs.log_inode(&mut t, &inode)?;
        t.stop()?;
    }
    Ok(ino)
}

/// Options for tests: everything that would be random is fixed.
pub fn test_options() -> Options {
    let mut label = [0; 64];
    if let Some(to) = label.get_mut(..4) {
        to.copy_from_slice(b"test");
    }
    Options {
        label,
        uuid: *b"\x10\x21\x32\x43\x54\x65\x46\x87\x98\xa9\xba\xcb\xdc\xed\xfe\x0f",
        csum_seed: 0x1234_5678,
        hash_key: *b"a key for hashes",
        staging_epoch: *b"the first epoch.",
        group_blocks: None,
        journal_blocks: None,
        quota: true,
        now: Time {
            sec: 1_700_000_000,
            nsec: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_gets_a_layout_that_parses() {
        for shift in 14..=38 {
            for odd in [0, 1, 999] {
                let blocks = (1u64 << shift) + odd;
                if blocks > MAX_BLOCKS {
                    continue;
                }
                let sb = layout(blocks, &test_options()).unwrap();
                let mut b = [0; crate::libvexfs::journal::BODY_SIZE];
                sb.format(&mut b);
                assert_eq!(Superblock::parse(&b).unwrap(), sb);
                assert!(sb.journal_len <= sb.geometry.group_len(0) / 2);
                assert!(
                    sb.reserved_blocks < blocks / 20,
                    "{blocks}: {}",
                    sb.reserved_blocks
                );
            }
        }
    }

    #[test]
    fn impossible_layouts_are_refused() {
        let o = test_options();
        assert_eq!(layout(MIN_BLOCKS - 1, &o), Err(Refused::TooSmall));
        assert_eq!(layout(MAX_BLOCKS + 1, &o), Err(Refused::TooLarge));
        let with = |group, journal| Options {
            group_blocks: group,
            journal_blocks: journal,
            ..test_options()
        };
        assert_eq!(
            layout(MIN_BLOCKS, &with(Some(5000), None)),
            Err(Refused::GroupSize)
        );
        assert_eq!(
            layout(MIN_BLOCKS, &with(Some(1 << 20), None)),
            Err(Refused::GroupSize)
        );
        assert_eq!(
            layout(MIN_BLOCKS, &with(None, Some(1023))),
            Err(Refused::JournalSize)
        );
        assert_eq!(
            layout(MIN_BLOCKS, &with(None, Some(3000))),
            Err(Refused::JournalSize)
        );
        assert!(layout(MIN_BLOCKS, &with(Some(4096), Some(1500))).is_ok());
    }
}
