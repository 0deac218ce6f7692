// SPDX-License-Identifier: GPL-2.0

//! The table of volumes.

use crate::libvexfs::credits;
use crate::libvexfs::journal::{Store as _, Trans as _};
use crate::libvexfs::staging::volume::{Volume, UPSERT_CREDITS};
use crate::libvexfs::Mode;
use crate::vfs::{bindings, inode::VexInode, super_block::SuperBlock, uapi};
use kernel::prelude::*;

/// Volumes that one call lists at most.
const MAX_LIST: usize = 65536;

/// VOLUME_UPSERT.
pub(super) fn upsert(sb: &SuperBlock, arg: usize) -> Result<isize> {
    let (mut a, size) = uapi::get::<bindings::vexfs_volume_upsert>(arg, 128)?;
    let v = &a.volume;
    if a.flags != 0 || a.reserved != [0] || (v.reserved0, v.reserved1, v.reserved2) != (0, 0, 0) {
        return Err(EINVAL);
    }
    let volume = Volume {
        id: v.id,
        state: v.state,
        pool: v.pool,
        uuid: v.uuid,
        label: v.label,
        created: v.created_sec,
        next_bundle: v.next_bundle,
        capacity: v.capacity,
        end_of_data: v.end_of_data,
        live: v.live_bytes,
        dead: v.dead_bytes,
    };
    let mount = sb.mount();
    let fs = &mount.fs;
    if sb.read_only() {
        return Err(EROFS);
    }
    let system = VexInode::get(sb, fs.sb.system_ino, None)?;
    a.volume.id = mount.with_space(|| {
        let mut t = fs.store.begin(UPSERT_CREDITS)?;
        let mut core = system.core().write();
        let id = fs
            .space(core.ino >> 3, credits::blocks::INSERT, Mode::Privileged)
            .and_then(|mut space| fs.upsert_volume(&mut t, &mut space, &mut core, &volume));
        system.data().note(t.tid(), true);
        drop(core);
        let id = id?;
        t.stop()?;
        Ok(id)
    })?;
    fs.store.commit()?;
    uapi::put(arg, size, &a)?;
    Ok(0)
}

/// VOLUME_LIST.
pub(super) fn list(sb: &SuperBlock, arg: usize) -> Result<isize> {
    let (mut a, size) = uapi::get::<bindings::vexfs_volume_list>(arg, 40)?;
    if a.flags != 0 || a.reserved0 != 0 || a.reserved != [0] {
        return Err(EINVAL);
    }
    uapi::check_item_size(a.volume_size, 112)?;
    let fs = &sb.mount().fs;
    let system = VexInode::get(sb, fs.sb.system_ino, None)?;
    let room = (a.count as usize).min(MAX_LIST);
    // No user memory is touched with the table's lock held.
    let mut found = KVVec::new();
    if room > 0 {
        let core = system.core().read();
        fs.volumes(&core, a.first, &mut |v| {
            found.push(*v, GFP_KERNEL)?;
            Ok(found.len() < room)
        })?;
    }
    for (n, v) in found.iter().enumerate() {
        uapi::put_item(a.volumes, a.volume_size, n, &told(v))?;
    }
    a.count = found.len() as u32;
    uapi::put(arg, size, &a)?;
    Ok(0)
}

/// A volume in the ABI's form.
fn told(v: &Volume) -> bindings::vexfs_volume {
    bindings::vexfs_volume {
        id: v.id,
        state: v.state,
        pool: v.pool,
        reserved0: 0,
        uuid: v.uuid,
        label: v.label,
        created_sec: v.created,
        next_bundle: v.next_bundle,
        reserved1: 0,
        capacity: v.capacity,
        end_of_data: v.end_of_data,
        live_bytes: v.live,
        dead_bytes: v.dead,
        reserved2: 0,
    }
}
