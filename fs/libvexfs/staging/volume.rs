// SPDX-License-Identifier: GPL-2.0

//! The table of volumes: records of the system inode's attribute tree.

use crate::libvexfs::alloc::Space;
use crate::libvexfs::credits;
use crate::libvexfs::errno::euclean;
use crate::libvexfs::format::inode::Inode;
use crate::libvexfs::format::{bytes, le32, le64, put, put32, put64};
use crate::libvexfs::journal::Store;
use crate::libvexfs::{damaged, Fs};
use kernel::prelude::*;

/// Type of volume records in the system inode's attribute tree.
pub const TYPE_VOLUME: u8 = 17;
/// Bytes of a volume record's value.
pub const VOLUME_LEN: usize = 96;
/// The highest id.
pub const MAX_ID: u32 = 65535;
/// Credits of [`Fs::upsert_volume`].
pub const UPSERT_CREDITS: usize = credits::INSERT + credits::INODE + credits::SUPERBLOCK;

/// It takes more bundles.
pub const STATE_OPEN: u8 = 1;
/// The last state that is known: lost.
pub const STATE_LAST: u8 = 4;

const FORMAT: u8 = 1;

/// A volume: a tape, or a directory that stands for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Names it in copy records.
    pub id: u32,
    /// As the ABI has it.
    pub state: u8,
    /// Pool of volumes.
    pub pool: u8,
    /// On its label.
    pub uuid: [u8; 16],
    /// For people.
    pub label: [u8; 32],
    /// When it was made, in seconds.
    pub created: i64,
    /// Number of the next bundle.
    pub next_bundle: u32,
    /// Bytes; 0: unknown.
    pub capacity: u64,
    /// Bytes.
    pub end_of_data: u64,
    /// Bytes that files still refer to.
    pub live: u64,
    /// Bytes that nothing refers to.
    pub dead: u64,
}

/// Key of the record of volume `id`.
pub fn volume_key(id: u32) -> u128 {
    u128::from(TYPE_VOLUME) << 120 | u128::from(id)
}

impl Volume {
    /// Writes the record's value.
    pub fn format(&self) -> [u8; VOLUME_LEN] {
        let mut b = [0; VOLUME_LEN];
        b[0] = FORMAT;
        b[1] = self.state;
        b[2] = self.pool;
        put32(&mut b, 4, self.next_bundle);
        put(&mut b, 8, &self.uuid);
        put(&mut b, 24, &self.label);
        put64(&mut b, 56, self.created as u64);
        put64(&mut b, 64, self.capacity);
        put64(&mut b, 72, self.end_of_data);
        put64(&mut b, 80, self.live);
        put64(&mut b, 88, self.dead);
        b
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it is none.
    pub fn parse(key: u128, b: &[u8]) -> Result<Volume> {
        let id = key as u32;
        let v = Volume {
            id,
            state: b.get(1).copied().unwrap_or(0),
            pool: b.get(2).copied().unwrap_or(0),
            next_bundle: le32(b, 4),
            uuid: bytes(b, 8),
            label: bytes(b, 24),
            created: le64(b, 56) as i64,
            capacity: le64(b, 64),
            end_of_data: le64(b, 72),
            live: le64(b, 80),
            dead: le64(b, 88),
        };
        let shaped = b.len() == VOLUME_LEN && b.first() == Some(&FORMAT) && key == volume_key(id);
        if !shaped || id == 0 || id > MAX_ID || !v.is_sane() {
            return Err(euclean());
        }
        Ok(v)
    }

    fn is_sane(&self) -> bool {
        (STATE_OPEN..=STATE_LAST).contains(&self.state) && self.uuid != [0; 16]
    }
}

impl<S: Store> Fs<S> {
    /// Shows the volumes with ids from `first` on, ascending, to `f` until it says false.
    /// `system` is the system inode.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, and what `f` returns.
    pub fn volumes(
        &self,
        system: &Inode,
        first: u32,
        f: &mut dyn FnMut(&Volume) -> Result<bool>,
    ) -> Result {
        self.tree_scan(system.attr_root(), volume_key(first), &mut |key, value| {
            if (key >> 120) as u8 != TYPE_VOLUME {
                return Ok(false);
            }
            let v = Volume::parse(key, value)
                .map_err(|_| damaged(system.ino, system.ino >> 3, "a volume makes no sense"))?;
            f(&v)
        })
    }

    /// Whether there is a volume with this id.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    pub fn has_volume(&self, system: &Inode, id: u32) -> Result<bool> {
        Ok(self
            .tree_lookup(system.attr_root(), volume_key(id), |_| ())?
            .is_some())
    }

    /// Adds a volume, or changes the one of the same uuid; returns its id. Logs the system
    /// inode. Credits: [`UPSERT_CREDITS`]; space: as for an insertion.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a volume that makes no sense, `EEXIST` if `v.id` is not 0 and not that
    /// of the volume with this uuid, `ENOSPC` when the ids are used up.
    pub fn upsert_volume(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        system: &mut Inode,
        v: &Volume,
    ) -> Result<u32> {
        if !v.is_sane() {
            return Err(EINVAL);
        }
        let mut known = None;
        self.volumes(system, 0, &mut |old| {
            if old.uuid == v.uuid {
                known = Some(old.id);
            }
            Ok(known.is_none())
        })?;
        if v.id != 0 && known != Some(v.id) {
            return Err(EEXIST);
        }
        if let Some(id) = known {
            let value = v.format();
            self.tree_replace(t, space, system.attr_root_mut(), volume_key(id), &value)?;
            self.log_inode(t, system)?;
            return Ok(id);
        }
        let id = self.superblock().next_volume.max(1);
        if id > MAX_ID {
            return Err(ENOSPC);
        }
        let value = v.format();
        self.tree_insert(t, space, system.attr_root_mut(), volume_key(id), &value)?;
        self.update_superblock(t, |sb| sb.next_volume = id + 1)?;
        self.log_inode(t, system)?;
        Ok(id)
    }
}
