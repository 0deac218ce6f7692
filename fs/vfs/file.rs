// SPDX-License-Identifier: GPL-2.0

//! Regular files: the tables that the VFS calls, and typed views of what it passes.

use core::ffi::{c_int, c_uint};
use core::marker::PhantomData;
use kernel::ffi::c_long;

use kernel::bindings::{address_space_operations, file_operations};
use kernel::prelude::*;

use crate::ops::{fallocate, file, room, staging::Patience};
use crate::vfs::bindings;
use crate::vfs::fault::VM_OPS;
use crate::vfs::inode::VexInode;
use crate::vfs::ioctl::{self, File};
use crate::vfs::iomap::{self, DIRECT_WRITE, READ_OPS, WRITE_CHECKS, WRITE_OPS};
use crate::vfs::mount::this_module;
use crate::vfs::table::Table;

static AOPS: Table<address_space_operations> = Table::new(address_space_operations {
    read_folio: Some(iomap::read_folio),
    readahead: Some(iomap::readahead),
    writepages: Some(iomap::writepages),
    dirty_folio: Some(bindings::iomap_dirty_folio),
    release_folio: Some(bindings::iomap_release_folio),
    invalidate_folio: Some(bindings::iomap_invalidate_folio),
    bmap: Some(iomap::bmap),
    swap_activate: Some(iomap::swap_activate),
    migrate_folio: Some(bindings::filemap_migrate_folio),
    is_partially_uptodate: Some(bindings::iomap_is_partially_uptodate),
    error_remove_folio: Some(bindings::generic_error_remove_folio),
    ..pin_init::zeroed()
});

/// Leases and delegations: the VFS's own.
///
/// # Safety
///
/// Called by the VFS with an open file or directory of ours, and the lease.
pub(super) unsafe extern "C" fn setlease(
    file: *mut bindings::file,
    kind: c_int,
    lease: *mut *mut kernel::bindings::file_lease,
    private: *mut *mut c_void,
) -> c_int {
    // SAFETY: By this function's own requirement.
    unsafe { bindings::generic_setlease(file, kind, lease.cast(), private) }
}

static FOPS: Table<file_operations> = Table::new(file_operations {
    owner: this_module(),
    fop_flags: bindings::VEXFS_FOP_BUFFER_RASYNC
        | bindings::VEXFS_FOP_BUFFER_WASYNC
        | bindings::VEXFS_FOP_DIO_PARALLEL_WRITE
        | bindings::VEXFS_FOP_DONTCACHE,
    open: Some(open),
    release: Some(release),
    llseek: Some(llseek),
    read_iter: Some(read_iter),
    write_iter: Some(write_iter),
    iopoll: Some(bindings::iocb_bio_iopoll),
    splice_read: Some(splice_read),
    splice_write: Some(bindings::iter_file_splice_write),
    mmap_prepare: Some(mmap_prepare),
    // Without transparent huge pages it is a macro, for none.
    #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
    get_unmapped_area: Some(bindings::thp_get_unmapped_area),
    fsync: Some(fsync),
    setlease: Some(setlease),
    fallocate: Some(fallocate),
    unlocked_ioctl: Some(ioctl::unlocked_ioctl),
    compat_ioctl: Some(ioctl::compat_ioctl),
    ..pin_init::zeroed()
});

/// Makes a new or just read in-core inode a regular file.
///
/// # Safety
///
/// `inode` must be one of ours that nobody else sees yet.
pub(crate) unsafe fn set_ops(inode: *mut bindings::inode) {
    // SAFETY: The caller has the inode for itself.
    unsafe {
        bindings::vexfs_helper_set_i_fop(inode, FOPS.as_ptr());
        (*(*inode).i_mapping).a_ops = AOPS.as_ptr();
        bindings::vexfs_helper_mapping_set_large_folios((*inode).i_mapping);
    }
}

/// A byte count, or the negative errno.
fn count_or_errno(r: Result<usize>) -> isize {
    match r {
        Ok(n) => n as isize,
        Err(e) => e.to_errno() as isize,
    }
}

/// A byte count from C.
fn to_count(r: isize) -> Result<usize> {
    if r < 0 {
        Err(Error::from_errno(r as c_int))
    } else {
        Ok(r as usize)
    }
}

/// What those wait for who read and write an open file.
///
/// # Safety
///
/// The file is open.
unsafe fn patience_of(file: *const bindings::file) -> Patience {
    // SAFETY: By this function's own requirement.
    if unsafe { (*file).f_flags } & bindings::O_NONBLOCK != 0 {
        Patience::Brief
    } else {
        Patience::Full
    }
}

/// How an inode's `i_rwsem` is held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
}

/// The held `i_rwsem` of an inode.
pub(crate) struct RwLocked<'a> {
    inode: &'a VexInode,
    mode: Mode,
}

impl<'a> RwLocked<'a> {
    /// Takes the lock exclusively, unless the task is killed first.
    pub(crate) fn take_killable(inode: &'a VexInode) -> Result<Self> {
        // SAFETY: The inode lives as long as the reference.
        let r = unsafe { bindings::vexfs_helper_inode_lock_killable(inode.as_ptr()) };
        kernel::error::to_result(r)?;
        Ok(Self {
            inode,
            mode: Mode::Exclusive,
        })
    }

    /// Takes the lock; with `nowait`, fails with EAGAIN if that would sleep.
    pub(crate) fn take(inode: &'a VexInode, mode: Mode, nowait: bool) -> Result<Self> {
        let raw = inode.as_ptr();
        // SAFETY: The inode lives as long as the reference.
        let taken = unsafe {
            match (mode, nowait) {
                (Mode::Shared, true) => bindings::vexfs_helper_inode_trylock_shared(raw),
                (Mode::Exclusive, true) => bindings::vexfs_helper_inode_trylock(raw),
                (Mode::Shared, false) => {
                    bindings::vexfs_helper_inode_lock_shared(raw);
                    true
                }
                (Mode::Exclusive, false) => {
                    bindings::vexfs_helper_inode_lock(raw);
                    true
                }
            }
        };
        if taken {
            Ok(Self { inode, mode })
        } else {
            Err(EAGAIN)
        }
    }

    /// Lets other shared holders in.
    pub(crate) fn downgrade(&mut self) {
        if self.mode == Mode::Exclusive {
            // SAFETY: We hold the lock exclusively.
            unsafe { bindings::vexfs_helper_inode_lock_downgrade(self.inode.as_ptr()) };
            self.mode = Mode::Shared;
        }
    }
}

impl Drop for RwLocked<'_> {
    fn drop(&mut self) {
        // SAFETY: We hold the lock in this mode.
        unsafe {
            match self.mode {
                Mode::Shared => bindings::vexfs_helper_inode_unlock_shared(self.inode.as_ptr()),
                Mode::Exclusive => bindings::vexfs_helper_inode_unlock(self.inode.as_ptr()),
            }
        }
    }
}

/// A read or write request: the file, the position, the flags, and the memory.
pub(crate) struct Request<'a> {
    iocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
    _life: PhantomData<&'a ()>,
}

impl<'a> Request<'a> {
    /// # Safety
    ///
    /// Both must be the VFS's, for a file of ours, and live for `'a`.
    unsafe fn new(iocb: *mut bindings::kiocb, iter: *mut bindings::iov_iter) -> Self {
        Self {
            iocb,
            iter,
            _life: PhantomData,
        }
    }

    /// The inode of the file.
    pub(crate) fn inode(&self) -> &'a VexInode {
        // SAFETY: The request holds the file, the file the inode.
        unsafe { VexInode::from_raw(bindings::vexfs_helper_file_inode((*self.iocb).ki_filp)) }
    }

    /// Where it starts.
    pub(crate) fn pos(&self) -> u64 {
        // SAFETY: The request lives.
        unsafe { (*self.iocb).ki_pos }.max(0) as u64
    }

    /// How many bytes are left.
    pub(crate) fn count(&self) -> u64 {
        // SAFETY: The request lives.
        unsafe { bindings::vexfs_helper_iov_iter_count(self.iter) as u64 }
    }

    /// Makes the iterator `count` bytes long again after checks have shortened it.
    pub(crate) fn reexpand(&mut self, count: u64) {
        // SAFETY: The iterator was at least that long before.
        unsafe { bindings::vexfs_helper_iov_iter_reexpand(self.iter, count as usize) };
    }

    fn flag(&self, flag: c_int) -> bool {
        // SAFETY: The request lives.
        unsafe { (*self.iocb).ki_flags & flag != 0 }
    }

    /// It must not sleep.
    pub(crate) fn nowait(&self) -> bool {
        self.flag(bindings::VEXFS_IOCB_NOWAIT)
    }

    /// What it waits for.
    pub(crate) fn patience(&self) -> Patience {
        if self.nowait() {
            return Patience::Never;
        }
        // SAFETY: The request holds its file.
        unsafe { patience_of((*self.iocb).ki_filp) }
    }

    /// It goes to the end of file, wherever its position is.
    pub(crate) fn append(&self) -> bool {
        self.flag(bindings::VEXFS_IOCB_APPEND)
    }

    /// It bypasses the page cache.
    pub(crate) fn direct(&self) -> bool {
        self.flag(bindings::VEXFS_IOCB_DIRECT)
    }

    /// Whether writing to the inode removes set-id bits or capabilities.
    pub(crate) fn may_remove_privs(&self) -> bool {
        // SAFETY: The inode lives.
        unsafe { !bindings::vexfs_helper_is_nosec(self.inode().as_ptr()) }
    }

    /// The VFS's checks of a write: limits, O_APPEND. 0: nothing to write.
    ///
    /// # Errors
    ///
    /// The VFS's; `EPERM` if the file was made immutable after it was opened, which the VFS leaves
    /// to file systems.
    pub(crate) fn generic_checks(&mut self) -> Result<usize> {
        if self.inode().is_immutable() {
            return Err(EPERM);
        }
        // SAFETY: The request lives and its inode is locked.
        to_count(unsafe { bindings::generic_write_checks(self.iocb, self.iter) })
    }

    /// Removes privileges and updates times, as a write must before it changes anything.
    pub(crate) fn modified(&mut self) -> Result {
        // SAFETY: The request lives and its inode is locked.
        kernel::error::to_result(unsafe { bindings::kiocb_modified(self.iocb) })
    }

    /// Updates the access time.
    pub(crate) fn accessed(&mut self) {
        // SAFETY: The request holds its file.
        unsafe { bindings::vexfs_helper_file_accessed((*self.iocb).ki_filp) };
    }

    /// Reads through the page cache.
    pub(crate) fn buffered_read(&mut self) -> Result<usize> {
        // SAFETY: The request lives.
        to_count(unsafe { bindings::generic_file_read_iter(self.iocb, self.iter) })
    }

    /// Writes to the page cache.
    pub(crate) fn buffered_write(&mut self) -> Result<usize> {
        // SAFETY: The request lives, its inode is locked exclusively, the tables are static.
        to_count(unsafe {
            bindings::iomap_file_buffered_write(
                self.iocb,
                self.iter,
                WRITE_OPS.as_ptr(),
                WRITE_CHECKS.as_ptr(),
                core::ptr::null_mut(),
            )
        })
    }

    /// Reads from the device.
    pub(crate) fn direct_read(&mut self) -> Result<usize> {
        // SAFETY: The request lives, its inode is locked, the table is static.
        to_count(unsafe {
            bindings::iomap_dio_rw(
                self.iocb,
                self.iter,
                READ_OPS.as_ptr(),
                core::ptr::null(),
                0,
                core::ptr::null_mut(),
                0,
            )
        })
    }

    /// Writes to the device. ENOTBLK: the page cache is in the way.
    pub(crate) fn direct_write(&mut self, flags: u32) -> Result<usize> {
        // SAFETY: The request lives, its inode is locked, the tables are static.
        to_count(unsafe {
            bindings::iomap_dio_rw(
                self.iocb,
                self.iter,
                WRITE_OPS.as_ptr(),
                DIRECT_WRITE.as_ptr(),
                flags,
                core::ptr::null_mut(),
                0,
            )
        })
    }

    /// Makes `count` written bytes durable if the file is opened for that.
    pub(crate) fn sync(&mut self, count: usize) -> Result<usize> {
        // SAFETY: The request lives; no lock is held.
        to_count(unsafe { bindings::vexfs_helper_generic_write_sync(self.iocb, count as isize) })
    }

    /// Writes the page cache of `[pos, pos + count)` back, waits, and drops it: after a direct
    /// write that fell back to the page cache nobody must find stale data on the device.
    pub(crate) fn flush_and_drop(&mut self, pos: u64, count: usize) -> Result {
        if count == 0 {
            return Ok(());
        }
        let end = pos.saturating_add(count as u64 - 1);
        // SAFETY: The inode lives.
        unsafe {
            let mapping = (*self.inode().as_ptr()).i_mapping;
            kernel::error::to_result(bindings::filemap_write_and_wait_range(
                mapping, pos as i64, end as i64,
            ))?;
            bindings::invalidate_mapping_pages(
                mapping,
                (pos >> iomap::BLOCK_SHIFT) as usize,
                (end >> iomap::BLOCK_SHIFT) as usize,
            );
        }
        Ok(())
    }
}

/// # Safety
///
/// The functions below are called by the VFS with files of ours, which hold their inodes.
unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: The VFS passes a live inode and a file that is being opened.
    unsafe {
        if let Err(e) = VexInode::from_raw(inode).check_running() {
            return e.to_errno();
        }
        (*file).f_mode |= bindings::VEXFS_FMODE_NOWAIT | bindings::VEXFS_FMODE_CAN_ODIRECT;
        let result = bindings::generic_file_open(inode, file);
        if result == 0 && (*file).f_mode & bindings::VEXFS_FMODE_WRITE != 0 {
            VexInode::from_raw(inode).data().writer_came();
        }
        result
    }
}

unsafe extern "C" fn release(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: The VFS passes a live inode and a file that was opened and is being closed.
    let (inode, writer) = unsafe {
        let writer = (*file).f_mode & bindings::VEXFS_FMODE_WRITE != 0;
        (VexInode::from_raw(inode), writer)
    };
    if writer && inode.data().writer_went() {
        room::closed(inode);
    }
    0
}

unsafe extern "C" fn read_iter(iocb: *mut bindings::kiocb, iter: *mut bindings::iov_iter) -> isize {
    // SAFETY: The VFS's request, for the call.
    count_or_errno(file::read(&mut unsafe { Request::new(iocb, iter) }))
}

unsafe extern "C" fn write_iter(
    iocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: The VFS's request, for the call.
    count_or_errno(file::write(&mut unsafe { Request::new(iocb, iter) }))
}

unsafe extern "C" fn splice_read(
    file: *mut bindings::file,
    pos: *mut i64,
    pipe: *mut bindings::pipe_inode_info,
    len: usize,
    flags: c_uint,
) -> isize {
    // SAFETY: The VFS passes a live file, which holds its inode, and its own position.
    let (inode, start, patience) = unsafe {
        let inode = VexInode::from_raw(bindings::vexfs_helper_file_inode(file));
        (inode, (*pos).max(0) as u64, patience_of(file))
    };
    count_or_errno(file::splice(inode, start, len as u64, patience, || {
        // SAFETY: As above; the pipe is the VFS's, locked.
        to_count(unsafe { bindings::filemap_splice_read(file, pos, pipe, len, flags) })
    }))
}

unsafe extern "C" fn llseek(file: *mut bindings::file, offset: i64, whence: c_int) -> i64 {
    // SAFETY: The VFS passes a live file.
    unsafe {
        let inode = bindings::vexfs_helper_file_inode(file);
        let found = match whence as u32 {
            bindings::SEEK_HOLE => bindings::iomap_seek_hole(inode, offset, READ_OPS.as_ptr()),
            bindings::SEEK_DATA => bindings::iomap_seek_data(inode, offset, READ_OPS.as_ptr()),
            _ => return bindings::generic_file_llseek(file, offset, whence),
        };
        if found < 0 {
            return found;
        }
        bindings::vfs_setpos(file, found, (*(*inode).i_sb).s_maxbytes)
    }
}

unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
    // SAFETY: The memory management passes the description of a mapping of a live file.
    unsafe {
        let file = (*desc).file;
        if let Err(e) = VexInode::from_raw(bindings::vexfs_helper_file_inode(file)).check_running()
        {
            return e.to_errno();
        }
        bindings::vexfs_helper_file_accessed(file);
        (*desc).vm_ops = VM_OPS.as_ptr();
    }
    0
}

unsafe extern "C" fn fallocate(
    file: *mut bindings::file,
    mode: c_int,
    start: i64,
    len: i64,
) -> c_long {
    // SAFETY: The VFS passes a live file.
    let file = unsafe { File::from_raw(file) };
    match fallocate::fallocate(file, mode as u32, start.max(0) as u64, len.max(0) as u64) {
        Ok(()) => 0,
        Err(e) => e.to_errno() as c_long,
    }
}

unsafe extern "C" fn fsync(
    file: *mut bindings::file,
    start: i64,
    end: i64,
    datasync: c_int,
) -> c_int {
    // SAFETY: The VFS passes a live file. This waits for the ioends of the range, transactions
    // included.
    let inode = unsafe {
        let error = bindings::file_write_and_wait_range(file, start, end);
        if error != 0 {
            return error;
        }
        VexInode::from_raw(bindings::vexfs_helper_file_inode(file))
    };
    match file::sync_metadata(inode, datasync != 0) {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}
