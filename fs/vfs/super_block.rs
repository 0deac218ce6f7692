// SPDX-License-Identifier: GPL-2.0

//! Super blocks, and what a mounted VexFS keeps with them.

use super::{
    bindings,
    bio::IoendQueue,
    buffer::Block,
    jbd2::Journal,
    log,
    store::{Layout, Store},
    work::Work,
};
use crate::libvexfs::{
    errno::euclean,
    journal::{Store as _, BLOCK_SIZE},
    Fs,
};
use crate::ops::{
    mount,
    room::{self, Rooms},
    staging::Staging,
    trim,
    vector::Vectors,
};
use core::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};
use kernel::{
    prelude::*,
    types::{Opaque, ScopeGuard},
};

/// What to do when damage is found on disk.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum OnError {
    /// Fail the operation and go on, if nothing was changed yet.
    Continue = 0,
    /// Write nothing any more; reading goes on.
    RemountRo = 1,
    /// Fail every operation from now on.
    Shutdown = 2,
    /// Stop the machine.
    Panic = 3,
}

impl OnError {
    /// All of them, with the names that the mount option has for them.
    pub(crate) const NAMES: [(&'static str, OnError); 4] = [
        ("continue", OnError::Continue),
        ("remount-ro", OnError::RemountRo),
        ("shutdown", OnError::Shutdown),
        ("panic", OnError::Panic),
    ];

    fn from_u32(n: u32) -> Self {
        Self::NAMES
            .iter()
            .find(|(_, e)| *e as u32 == n)
            .map_or(OnError::RemountRo, |(_, e)| *e)
    }

    /// The name that the mount option has for it.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, e)| *e == self)
            .map_or("", |(name, _)| name)
    }
}

/// The mount options of our own.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// `errors=`.
    pub(crate) errors: OnError,
    /// `norecovery`: do not replay the journal (read-only mounts only).
    pub(crate) norecovery: bool,
    /// `usrquota`, `grpquota`, `prjquota`: bits `1 << type`.
    pub(crate) quota: u32,
    /// `discard`: the device learns what is freed.
    pub(crate) discard: bool,
    /// `index`: records from which on collections get indexes of themselves.
    pub(crate) index: Option<u64>,
}

/// A mounted VexFS. Lives from the mount until after the last inode is gone.
pub(crate) struct Mount {
    // Dropped first: what it still completes needs the journal.
    /// Where writes are completed.
    pub(crate) ioends: IoendQueue,
    /// The file system.
    pub(crate) fs: Fs<Store>,
    /// Tells the device what was freed. The journal asks for it, to its end.
    pub(crate) discards: Work,
    /// Recalls and archive requests, for agents.
    pub(crate) staging: Staging,
    /// Collections of vectors.
    pub(crate) vectors: Vectors,
    /// Files with room behind their end.
    pub(crate) rooms: Rooms,
    /// Mounted with `norecovery`.
    pub(crate) norecovery: bool,
    // The superblock on disk says that the volume is in use.
    writing: AtomicBool,
    // It says, or was to say, that the volume is damaged.
    damage_noted: AtomicBool,
    errors: AtomicU32,
    // Somebody makes the volume larger.
    resizing: AtomicBool,
    sb: *mut bindings::super_block,
}

// SAFETY: The super block has its own locks.
unsafe impl Send for Mount {}
// SAFETY: As above.
unsafe impl Sync for Mount {}

impl Mount {
    /// Puts a mount together.
    pub(crate) fn new(sb: &SuperBlock, fs: Fs<Store>, options: &Options) -> Result<Self> {
        Ok(Mount {
            ioends: IoendQueue::new()?,
            fs,
            discards: Work::new(sb, trim::discard_freed)?,
            staging: Staging::new(sb)?,
            vectors: Vectors::new()?,
            rooms: Rooms::new()?,
            norecovery: options.norecovery,
            writing: AtomicBool::new(false),
            damage_noted: AtomicBool::new(false),
            errors: AtomicU32::new(options.errors as u32),
            resizing: AtomicBool::new(false),
            sb: sb.as_ptr(),
        })
    }

    /// The super block.
    pub(crate) fn sb(&self) -> &SuperBlock {
        // SAFETY: The super block outlives what is mounted on it.
        unsafe { SuperBlock::from_raw(self.sb) }
    }

    /// Notes whether the superblock on disk says that the volume is in use; returns the old note.
    pub(crate) fn set_writing(&self, writing: bool) -> bool {
        self.writing.swap(writing, Ordering::Relaxed)
    }

    /// Keeps others from resizing the volume until the result is dropped.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody is at it.
    pub(crate) fn resize_alone(&self) -> Result<impl Drop + '_> {
        if self.resizing.swap(true, Ordering::Acquire) {
            return Err(EBUSY);
        }
        let done = |()| self.resizing.store(false, Ordering::Release);
        Ok(ScopeGuard::new_with_data((), done))
    }

    /// Whether damage is found for the first time, on a volume that is written to.
    pub(crate) fn first_damage(&self) -> bool {
        self.writing.load(Ordering::Relaxed) && !self.damage_noted.swap(true, Ordering::Relaxed)
    }

    /// What to do when damage is found.
    pub(crate) fn on_error(&self) -> OnError {
        OnError::from_u32(self.errors.load(Ordering::Relaxed))
    }

    /// Changes what to do when damage is found.
    pub(crate) fn set_on_error(&self, errors: OnError) {
        self.errors.store(errors as u32, Ordering::Relaxed);
    }

    /// Fails with `EIO` when the file system was shut down.
    pub(crate) fn check_running(&self) -> Result {
        if self.fs.store.is_shut_down() {
            return Err(EIO);
        }
        Ok(())
    }

    /// Shuts the file system down: every operation fails from now on, those that wait for an agent
    /// too.
    pub(crate) fn shut_down(&self) {
        self.fs.store.shut_down();
        self.staging.look_again();
        self.vectors.look_again();
    }

    /// Looks at an operation's result: damage is answered as the mount option says. Call it with
    /// no transaction open.
    pub(crate) fn judge<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(e) = &result {
            if *e == euclean() {
                self.damaged();
            }
        }
        result
    }

    /// Damage was found, and logged with the inode and the block.
    #[cold]
    fn damaged(&self) {
        mount::note_damage(self);
        match self.on_error() {
            OnError::Continue => {}
            OnError::RemountRo => {
                if self.fs.store.set_read_only() {
                    self.sb().log(
                        log::ERR,
                        format_args!("damage found: writing stops, run fsck"),
                    );
                    self.staging.look_again();
                }
            }
            OnError::Shutdown => {
                if !self.fs.store.is_shut_down() {
                    self.sb().log(
                        log::ERR,
                        format_args!("damage found: shutting down, run fsck"),
                    );
                    self.shut_down();
                }
            }
            // SAFETY: The text is a C string without directives.
            OnError::Panic => unsafe {
                bindings::panic(c"vexfs: damage found, errors=panic".as_char_ptr())
            },
        }
    }

    /// Gives what is delayed its place: the nodes that were promised beside, for the worst case, are
    /// free then. False if nothing is delayed.
    ///
    /// # Context
    ///
    /// No transaction open, no folio lock.
    pub(crate) fn place_delayed(&self) -> bool {
        if self.fs.promised_blocks() == 0 {
            return false;
        }
        // SAFETY: The super block is valid and active: somebody is writing to it.
        unsafe { bindings::vexfs_helper_write_back_for_space(self.sb().as_ptr()) };
        true
    }

    /// Runs an operation that needs space. If there seems to be none, files may have room that they
    /// do not need, more may be promised than delayed blocks take, and blocks that were freed may
    /// still be waiting for the commit of what freed them: takes that back, commits, and tries once
    /// more.
    ///
    /// # Context
    ///
    /// No transaction open, no folio lock.
    pub(crate) fn with_space<T>(&self, mut f: impl FnMut() -> Result<T>) -> Result<T> {
        let first = f();
        match &first {
            Err(e) if *e == ENOSPC => {}
            _ => return first,
        }
        room::reclaim(self);
        self.place_delayed();
        self.fs.store.commit()?;
        f()
    }
}

/// A super block.
#[repr(transparent)]
pub(crate) struct SuperBlock(Opaque<bindings::super_block>);

impl SuperBlock {
    /// The super block at a C pointer.
    ///
    /// # Safety
    ///
    /// It is one of VexFS's and valid as long as the result is used.
    pub(crate) unsafe fn from_raw<'a>(sb: *mut bindings::super_block) -> &'a Self {
        // SAFETY: By this function's own requirement; the type is transparent.
        unsafe { &*Opaque::cast_from(sb).cast() }
    }

    /// The VFS's super block.
    pub(crate) fn as_ptr(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    /// What is mounted.
    pub(crate) fn mount(&self) -> &Mount {
        // SAFETY: `fill_super` sets the pointer before there are inodes, dentries or calls that
        // come here; it is dropped after all of them.
        unsafe { &*(*self.as_ptr()).s_fs_info.cast::<Mount>() }
    }

    /// Logs a line about this file system.
    pub(crate) fn log(&self, level: i32, text: fmt::Arguments<'_>) {
        log::line(self.as_ptr(), level, text);
    }

    /// Whether it is not to be written to: mounted read-only, or writing stopped.
    pub(crate) fn read_only(&self) -> bool {
        // SAFETY: The super block is valid.
        let ro = unsafe { bindings::vexfs_helper_sb_rdonly(self.as_ptr()) };
        ro || self.stopped_writing()
    }

    /// Whether the mount is, or is going to be, read-only.
    pub(crate) fn mounted_read_only(&self) -> bool {
        // SAFETY: The super block is valid.
        unsafe { bindings::vexfs_helper_sb_rdonly(self.as_ptr()) }
    }

    /// Whether times may be newer in core than what was logged, and nobody is told.
    pub(crate) fn updates_times_lazily(&self) -> bool {
        // SAFETY: The super block is valid.
        unsafe { bindings::vexfs_helper_sb_lazytime(self.as_ptr()) }
    }

    /// Whether access control lists are to be used. Only for who mounts.
    pub(super) fn set_acls(&self, on: bool) {
        let bit = bindings::VEXFS_SB_POSIXACL;
        // SAFETY: The super block is valid, and locked by who mounts or remounts it.
        unsafe {
            let flags = &raw mut (*self.as_ptr()).s_flags;
            flags.write_volatile(match on {
                true => *flags | bit,
                false => *flags & !bit,
            });
        }
    }

    /// Whether access control lists are in use.
    pub(crate) fn has_acls(&self) -> bool {
        // SAFETY: The super block is valid.
        unsafe { (*self.as_ptr()).s_flags & bindings::VEXFS_SB_POSIXACL != 0 }
    }

    /// Whether it is read-only for those whom the VFS does not count as writers: a remount that is
    /// under way counts.
    pub(crate) fn closed_to_writers(&self) -> bool {
        // SAFETY: The super block is valid.
        let changes = unsafe { bindings::vexfs_helper_sb_ro_changes(self.as_ptr()) };
        changes || self.read_only()
    }

    /// Whether damage stopped all writing.
    pub(crate) fn stopped_writing(&self) -> bool {
        self.mount().fs.store.is_read_only()
    }

    /// Whether the device refuses writes.
    pub(crate) fn device_read_only(&self) -> bool {
        // SAFETY: The super block is valid, its device open.
        unsafe { bindings::vexfs_helper_bdev_read_only((*self.as_ptr()).s_bdev) }
    }

    /// The size of the device in blocks.
    pub(crate) fn device_blocks(&self) -> u64 {
        // SAFETY: The super block is valid, its device open.
        let bytes = unsafe { bindings::vexfs_helper_bdev_nr_bytes((*self.as_ptr()).s_bdev) };
        bytes / BLOCK_SIZE as u64
    }

    /// The pieces, in bytes, in which the device discards; nothing if it cannot.
    pub(crate) fn discard_granularity(&self) -> Option<u64> {
        // SAFETY: The super block is valid, its device open.
        unsafe {
            let bdev = (*self.as_ptr()).s_bdev;
            (bindings::vexfs_helper_bdev_max_discard_sectors(bdev) != 0)
                .then(|| bindings::vexfs_helper_bdev_discard_granularity(bdev).into())
        }
    }

    /// Tells the device that blocks hold nothing any more, and waits until it has taken note.
    ///
    /// # Errors
    ///
    /// `EIO` and others of the device.
    pub(crate) fn discard(&self, bno: u64, len: u64) -> Result {
        // SAFETY: The super block is valid, its device open.
        kernel::error::to_result(unsafe {
            bindings::blkdev_issue_discard(
                (*self.as_ptr()).s_bdev,
                bno.saturating_mul(8),
                len.saturating_mul(8),
                bindings::VEXFS_GFP_NOFS,
            )
        })
    }

    /// The most bytes that a file can have.
    pub(crate) fn max_bytes(&self) -> u64 {
        // SAFETY: The super block is valid.
        unsafe { (*self.as_ptr()).s_maxbytes as u64 }
    }

    /// The number of the device.
    pub(crate) fn device_id(&self) -> u64 {
        // SAFETY: The super block is valid.
        unsafe { bindings::vexfs_helper_new_encode_dev((*self.as_ptr()).s_dev) }.into()
    }

    /// Reads block 0 and, once `seed` has found the checksums' seed in its body, verifies it.
    ///
    /// # Errors
    ///
    /// `EIO`, `EUCLEAN` for a wrong checksum, and what `seed` returns.
    pub(crate) fn read_first(&self, seed: impl FnOnce(&[u8]) -> Result<u32>) -> Result<Block> {
        use crate::libvexfs::journal::Block as _;
        // SAFETY: The super block is valid, its device open, its block size set by `fill_super`.
        let block = unsafe { Block::read(self.as_ptr(), 0) }?;
        let seed = seed(block.data())?;
        if !block.verify(seed) {
            self.log(
                log::ERR,
                format_args!("the superblock has a wrong checksum, run fsck"),
            );
            return Err(euclean());
        }
        Ok(block)
    }

    /// Whether the journal at `start` must be replayed.
    pub(crate) fn journal_is_dirty(&self, start: u64) -> Result<bool> {
        // SAFETY: As in `read_first`.
        unsafe { Journal::is_dirty(self.as_ptr(), start) }
    }

    /// Opens the device's blocks and journal.
    pub(crate) fn open_store(&self, layout: &Layout) -> Result<Store> {
        // SAFETY: The store lives in the mount, which is dropped before the device is closed.
        unsafe { Store::open(self.as_ptr(), layout) }
    }
}
