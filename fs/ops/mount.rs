// SPDX-License-Identifier: GPL-2.0

//! Mounting, remounting, syncing, freezing and unmounting.
//!
//! The journal is replayed by every mount that may write to the device, read-only ones too. A
//! mount that may not (a read-only device, `norecovery`) reads what is there, and has no journal.

use super::{evict, room, trim};
use crate::libvexfs::{
    credits,
    dir::NAME_MAX,
    errno::euclean,
    format::{
        le32,
        superblock::{OFF_CSUM_SEED, STATE_CLEAN, STATE_ERROR},
    },
    journal::{Block as _, Store as _, Trans as _},
    orphan, Fs, Superblock,
};
use crate::vfs::{
    inode::VexInode,
    log, sched,
    store::Layout,
    super_block::{Mount, Options, SuperBlock},
};
use kernel::prelude::*;

/// Opens the volume on the device of `sb`; replays the journal.
///
/// # Errors
///
/// `EINVAL` if there is none, or one that this code does not know; `EROFS` if the journal would
/// have to be replayed on a read-only device; `EUCLEAN`, `EIO`, `ENOMEM`.
pub(crate) fn open(sb: &SuperBlock, options: &Options) -> Result<Mount> {
    let read_only = sb.mounted_read_only();
    if options.norecovery && !read_only {
        sb.log(log::ERR, format_args!("norecovery needs a read-only mount"));
        return Err(EINVAL);
    }
    let found = read_superblock(sb)?;
    let with_journal = check_journal(sb, &found, options)?;
    let layout = Layout {
        seed: found.csum_seed,
        journal: with_journal.then_some((found.journal_start, found.journal_len)),
    };
    let store = sb.open_store(&layout)?;
    // The replay may have brought a newer one.
    let found = read_superblock(sb)?;
    if !read_only && !found.writable() {
        sb.log(
            log::ERR,
            format_args!("unknown features allow read-only mounts alone"),
        );
        return Err(EROFS);
    }
    let fs = Fs::open(store, found)?;
    let mount = Mount::new(sb, fs, options)?;
    check_quota(&mount, options.quota)?;
    mount.fs.quota_enforce(options.quota);
    set_discards(&mount, options.discard);
    if let Some(index) = options.index {
        mount.vectors.set_automatic(index);
    }
    Ok(mount)
}

/// Whether the device is to learn what is freed.
pub(crate) fn set_discards(mount: &Mount, on: bool) {
    let can = mount.sb().discard_granularity().is_some();
    if on && !can {
        mount.sb().log(
            log::WARN,
            format_args!("the device cannot discard, option discard does nothing"),
        );
    }
    mount.fs.set_discards(on && can);
}

/// A transaction has committed. Called by the journal's own thread, which must not be held up.
pub(crate) fn committed(mount: &Mount) {
    if mount.fs.discards() {
        mount.discards.queue();
    }
}

/// Whether limits can hold for some types of owners (bits `1 << type`).
///
/// # Errors
///
/// `EINVAL` if the volume does not count what owners have.
pub(crate) fn check_quota(mount: &Mount, types: u32) -> Result {
    if types == 0 || mount.fs.has_quota() {
        return Ok(());
    }
    mount.sb().log(
        log::ERR,
        format_args!("the volume was made without quota (mkfs.vexfs -O quota)"),
    );
    Err(EINVAL)
}

/// Reads and checks the superblock.
fn read_superblock(sb: &SuperBlock) -> Result<Superblock> {
    let block = sb.read_first(|body| {
        // Whether it is one, first: the seed of something else would only give a wrong checksum.
        Superblock::parse(body).inspect_err(|e| {
            if *e == EINVAL {
                sb.log(
                    log::ERR,
                    format_args!("no VexFS of a version and with features known here"),
                );
            }
        })?;
        Ok(le32(body, OFF_CSUM_SEED))
    })?;
    let found = Superblock::parse(block.data())?;
    let (want, have) = (found.geometry.block_count, sb.device_blocks());
    if want > have {
        sb.log(
            log::ERR,
            format_args!("the volume has {want} blocks, the device {have}"),
        );
        return Err(EINVAL);
    }
    Ok(found)
}

/// Whether to open the journal.
fn check_journal(sb: &SuperBlock, found: &Superblock, options: &Options) -> Result<bool> {
    if found.journal_len == 0 {
        sb.log(log::ERR, format_args!("the volume has no journal"));
        return Err(euclean());
    }
    if options.norecovery {
        return Ok(false);
    }
    if !sb.device_read_only() {
        return Ok(true);
    }
    if sb.journal_is_dirty(found.journal_start)? {
        sb.log(
            log::ERR,
            format_args!(
                "the journal must be replayed, but the device is read-only (see norecovery)"
            ),
        );
        return Err(EROFS);
    }
    Ok(false)
}

/// Starts a mount: if it may write, says so in the superblock and finishes what a crash left.
///
/// # Errors
///
/// What the journal says.
pub(crate) fn start(mount: &Mount) -> Result {
    if mount.fs.store.take_journal_error() {
        mount.sb().log(
            log::WARN,
            format_args!("an earlier mount was aborted, run fsck"),
        );
        let mut t = mount.fs.store.begin(credits::SUPERBLOCK)?;
        mount
            .fs
            .update_superblock(&mut t, |s| s.state |= STATE_ERROR)?;
        t.stop()?;
    }
    if mount.fs.superblock().state & STATE_ERROR != 0 {
        mount.sb().log(
            log::WARN,
            format_args!("the volume is known to be damaged, run fsck"),
        );
    }
    if mount.sb().mounted_read_only() {
        return Ok(());
    }
    start_writing(mount, true)
}

/// The mount writes from now on.
fn start_writing(mount: &Mount, count: bool) -> Result {
    let fs = &mount.fs;
    let mut t = fs.store.begin(credits::SUPERBLOCK)?;
    fs.update_superblock(&mut t, |s| {
        s.state &= !STATE_CLEAN;
        s.mounted = sched::real_seconds();
        s.written = s.mounted;
        if count {
            s.mount_count = s.mount_count.wrapping_add(1);
        }
    })?;
    t.stop()?;
    mount.set_writing(true);
    finish_orphans(mount);
    mount.vectors.start(mount)
}

/// Nothing is written any more: the volume is clean.
fn stop_writing(mount: &Mount) -> Result {
    if !mount.set_writing(false) || mount.sb().stopped_writing() {
        return Ok(());
    }
    let fs = &mount.fs;
    let mut t = fs.store.begin(credits::SUPERBLOCK)?;
    fs.update_superblock(&mut t, |s| {
        s.state |= STATE_CLEAN;
        s.written = sched::real_seconds();
    })?;
    t.stop()?;
    fs.store.commit()
}

/// Damage was found: says so in the superblock, so that the next fsck is not put off.
pub(crate) fn note_damage(mount: &Mount) {
    if !mount.first_damage() {
        return;
    }
    let noted = mount.fs.store.begin(credits::SUPERBLOCK).and_then(|mut t| {
        mount.fs.update_superblock(&mut t, |s| {
            s.state |= STATE_ERROR;
            if s.first_error.time == 0 {
                s.first_error.time = sched::real_seconds();
                s.first_error.code = euclean().to_errno().unsigned_abs();
            }
        })?;
        t.stop()
    });
    if let Err(e) = noted {
        mount.sb().log(
            log::WARN,
            format_args!("the damage could not be noted: error {}", -e.to_errno()),
        );
    }
}

/// Frees what was unlinked, and cuts what was being cut, when an earlier mount ended. What fails
/// is logged and left: it harms nobody.
fn finish_orphans(mount: &Mount) {
    let mut done = 0u64;
    for group in 0..mount.fs.group_count() {
        let mut from = 0;
        loop {
            let mut next = None;
            let listed = mount.fs.orphans(group, from, &mut |ino, why| {
                next = Some((ino, why));
                false
            });
            let Some((ino, why)) = next else {
                let _ = mount.judge(listed);
                break;
            };
            match mount.judge(finish_orphan(mount, ino, why)) {
                Ok(()) => done += 1,
                Err(e) => mount.sb().log(
                    log::WARN,
                    format_args!("orphan {ino} stays: error {}", -e.to_errno()),
                ),
            }
            let Some(after) = ino.checked_add(1) else {
                break;
            };
            from = after;
            sched::yield_if_needed();
        }
    }
    if done != 0 {
        mount
            .sb()
            .log(log::INFO, format_args!("{done} orphaned inodes finished"));
    }
}

/// Finishes one orphan.
fn finish_orphan(mount: &Mount, ino: u64, why: u8) -> Result {
    let inode = VexInode::get(mount.sb(), ino, None)?;
    match (why, inode.nlink()) {
        (orphan::TRUNCATE, n) if n != 0 => evict::cut(&inode),
        // Dropping the reference frees it.
        (_, 0) => Ok(()),
        _ => Err(mount.fs.damaged(ino, 0, "an orphan has links")),
    }
}

/// Ends a mount. All inodes are gone.
pub(crate) fn stop(mount: &Mount) {
    if let Err(e) = stop_writing(mount) {
        mount.sb().log(
            log::WARN,
            format_args!("not unmounted cleanly: error {}", -e.to_errno()),
        );
    }
    // What the last commit freed.
    trim::discard_freed(mount);
}

/// Changes a mount between read-only and writable. `thaw` lets the super block be written to.
///
/// # Errors
///
/// `EROFS` if the volume cannot be written to; `EINVAL` for a change of `norecovery`.
pub(crate) fn reconfigure(
    mount: &Mount,
    read_only: bool,
    norecovery: bool,
    thaw: &dyn Fn(),
) -> Result {
    if norecovery && !mount.norecovery {
        return Err(EINVAL);
    }
    // The VFS's flag is not set where damage is found: that takes a lock that whoever finds damage
    // may have. But it does not become writable again either.
    if !read_only && mount.sb().stopped_writing() {
        mount.sb().log(
            log::ERR,
            format_args!("damage stopped all writing: run fsck first"),
        );
        return Err(EROFS);
    }
    let was_read_only = mount.sb().mounted_read_only();
    if read_only == was_read_only {
        return Ok(());
    }
    if read_only {
        mount.staging.read_only();
        mount.vectors.stop();
        if mount.sb().stopped_writing() {
            return Ok(());
        }
        if let Err(e) = stop_writing(mount) {
            mount.set_writing(true);
            let _ = mount.judge(mount.vectors.start(mount));
            return Err(e);
        }
        return mount.fs.store.flush_journal();
    }
    mount.check_running()?;
    let writable = mount.fs.store.has_journal() && mount.fs.superblock().writable();
    if !writable {
        return Err(EROFS);
    }
    thaw();
    start_writing(mount, false).inspect_err(|_| {
        mount.vectors.stop();
        mount.set_writing(false);
    })
}

/// Makes everything durable that was changed before; without `wait` only starts to.
///
/// # Errors
///
/// `EIO`.
pub(crate) fn sync(mount: &Mount, wait: bool) -> Result {
    mount.check_running()?;
    if !wait {
        mount.fs.store.start_commit();
        return Ok(());
    }
    if !mount.fs.store.has_journal() {
        return Ok(());
    }
    room::reclaim_closed(mount);
    // What statfs says afterwards does not depend on which inodes there were meanwhile.
    mount.judge(mount.fs.free_spare_chunks())?;
    mount.fs.store.sync_tid(mount.fs.store.newest_tid())
}

/// Brings the volume into a state that a copy of the device can be mounted from. Writers wait.
///
/// # Errors
///
/// `EIO`.
pub(crate) fn freeze(mount: &Mount) -> Result {
    mount.check_running()?;
    mount.fs.store.flush_journal()
}

/// Lets writers go on after [`freeze`].
pub(crate) fn thaw(mount: &Mount) -> Result {
    // Writers were stopped by the VFS alone; the journal was never locked.
    mount.vectors.look_again();
    Ok(())
}

/// What statfs says.
pub(crate) struct Stat {
    /// Size of the volume.
    pub(crate) blocks: u64,
    /// Free, the reserve included.
    pub(crate) free: u64,
    /// Free for users.
    pub(crate) available: u64,
    /// Inodes that there are, and could be.
    pub(crate) files: u64,
    /// Inodes that could be made.
    pub(crate) free_files: u64,
    /// Longest name.
    pub(crate) name_max: usize,
}

/// Counts space.
pub(crate) fn statfs(mount: &Mount) -> Stat {
    let fs = &mount.fs;
    let available = fs.available_blocks();
    // Inodes are made of free blocks: seven of each.
    let free_files = fs.free_inodes().saturating_add(available.saturating_mul(7));
    let used = fs.inode_count().saturating_sub(fs.free_inodes());
    Stat {
        blocks: fs.geometry().block_count,
        free: fs.unpromised_blocks(),
        available,
        files: used.saturating_add(free_files),
        free_files,
        name_max: NAME_MAX,
    }
}

/// Shows the options that a mount has beside the VFS's.
pub(crate) fn show_options(mount: &Mount, show: &mut dyn FnMut(&str)) {
    show(",errors=");
    show(mount.on_error().name());
    if mount.sb().stopped_writing() {
        show(",emergency_ro");
    }
    for (qtype, option) in [",usrquota", ",grpquota", ",prjquota"].iter().enumerate() {
        if mount.fs.quota_enforced() & 1 << qtype != 0 {
            show(option);
        }
    }
    if mount.fs.discards() {
        show(",discard");
    }
    mount.vectors.show_automatic(show);
    if !mount.sb().has_acls() {
        show(",noacl");
    }
    if mount.norecovery {
        show(",norecovery");
    }
}
