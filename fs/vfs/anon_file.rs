// SPDX-License-Identifier: GPL-2.0

//! Descriptors without a file system behind them: the queue of an agent, and prepared filters.

use kernel::bindings::{file_operations, poll_table_struct};
use kernel::ffi::c_char;
use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};

use super::bindings;
use super::table::Table;
use crate::ops::staging::agent::Agent;
use crate::ops::vector::Prepared;
use core::ops::Deref;
use core::ptr::NonNull;

static QUEUE_OPS: Table<file_operations> = Table::new(file_operations {
    owner: super::mount::this_module(),
    read: Some(read),
    poll: Some(poll),
    unlocked_ioctl: Some(ioctl),
    // Pointers in the structures are 64 bits wide: only the argument itself differs.
    compat_ioctl: Some(compat_ioctl),
    release: Some(release::<Agent>),
    ..pin_init::zeroed()
});

static FILTER_OPS: Table<file_operations> = Table::new(file_operations {
    owner: super::mount::this_module(),
    release: Some(release::<Prepared>),
    ..pin_init::zeroed()
});

/// Gives `what` a descriptor of its own in the current process.
///
/// # Safety
///
/// The table's `release` is [`release`] of this type, and its other functions take the files'
/// private data for such a value.
unsafe fn open<T>(
    what: KBox<T>,
    name: &'static CStr,
    ops: &'static Table<file_operations>,
    access: u32,
) -> Result<c_int> {
    let raw = KBox::into_raw(what);
    let flags = (access | bindings::O_CLOEXEC) as c_int;
    // SAFETY: The table is static and keeps the module loaded; the file owns the value from here
    // on, and `release` frees it.
    let fd = unsafe {
        bindings::anon_inode_getfd(name.as_ptr().cast(), ops.as_ptr(), raw.cast(), flags)
    };
    if fd < 0 {
        // SAFETY: The file was not made, so the value is ours still.
        drop(unsafe { KBox::from_raw(raw) });
        return Err(Error::from_errno(fd));
    }
    Ok(fd)
}

/// Gives `agent` a descriptor of its own in the current process.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub(crate) fn open_queue(agent: KBox<Agent>) -> Result<c_int> {
    // SAFETY: The functions of this table take the data for an agent.
    unsafe { open(agent, c"[vexfs-queue]", &QUEUE_OPS, bindings::O_RDWR) }
}

/// Gives a filter a descriptor of its own in the current process.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub(crate) fn open_filter(filter: KBox<Prepared>) -> Result<c_int> {
    // SAFETY: This table has no function but the one that frees it.
    unsafe { open(filter, c"[vexfs-filter]", &FILTER_OPS, bindings::O_RDONLY) }
}

/// A filter that the caller named by a descriptor.
///
/// # Invariants
///
/// The file is one that [`open_filter`] made, and one reference is ours.
pub(crate) struct FilterRef(NonNull<bindings::file>);

impl FilterRef {
    /// The filter of descriptor `fd`.
    ///
    /// # Errors
    ///
    /// `EBADF` if there is none.
    pub(crate) fn get(fd: i32) -> Result<Self> {
        let fd = u32::try_from(fd).map_err(|_| EBADF)?;
        // SAFETY: It takes a reference, or returns null.
        let file = NonNull::new(unsafe { bindings::fget(fd) }).ok_or(EBADF)?;
        // SAFETY: The file is referenced; what its functions are does not change.
        let ours = unsafe { core::ptr::eq((*file.as_ptr()).f_op, FILTER_OPS.as_ptr()) };
        if !ours {
            // SAFETY: The reference is ours and not used any more.
            unsafe { bindings::fput(file.as_ptr()) };
            return Err(EBADF);
        }
        // INVARIANT: Only `open_filter` makes files with these functions.
        Ok(FilterRef(file))
    }
}

impl Deref for FilterRef {
    type Target = Prepared;

    fn deref(&self) -> &Prepared {
        // SAFETY: By the type invariant the data is a filter, which lives as long as the file.
        unsafe { &*(*self.0.as_ptr()).private_data.cast::<Prepared>() }
    }
}

impl Drop for FilterRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::fput(self.0.as_ptr()) };
    }
}

/// The agent of a queue descriptor.
///
/// # Safety
///
/// `file` is one that [`open_queue`] made, and stays open as long as the result is used.
unsafe fn agent<'a>(file: *mut bindings::file) -> &'a Agent {
    // SAFETY: By this function's own requirement.
    unsafe { &*(*file).private_data.cast::<Agent>() }
}

/// # Safety
///
/// Called by the VFS with a queue descriptor.
unsafe extern "C" fn read(
    file: *mut bindings::file,
    buf: *mut c_char,
    len: usize,
    _pos: *mut bindings::loff_t,
) -> isize {
    // SAFETY: By this function's own requirement.
    let (agent, flags) = unsafe { (agent(file), (*file).f_flags) };
    let nonblock = flags & bindings::O_NONBLOCK != 0;
    let to = UserSlice::new(UserPtr::from_ptr(buf.cast()), len);
    match agent.read(to, nonblock) {
        Ok(n) => n as isize,
        Err(e) => e.to_errno() as isize,
    }
}

/// # Safety
///
/// Called by the VFS with a queue descriptor.
unsafe extern "C" fn poll(
    file: *mut bindings::file,
    table: *mut poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: By this function's own requirement.
    let agent = unsafe { agent(file) };
    // SAFETY: As above; the agent, and with it the event, lives as long as the file.
    unsafe { agent.requests().poll(file, table.cast()) };
    if agent.is_cut() {
        return bindings::VEXFS_EPOLLERR | bindings::VEXFS_EPOLLHUP;
    }
    if agent.is_ready() {
        return bindings::VEXFS_EPOLLIN | bindings::VEXFS_EPOLLRDNORM;
    }
    0
}

/// # Safety
///
/// Called by the VFS with a queue descriptor.
unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
    // SAFETY: By this function's own requirement.
    match unsafe { agent(file) }.ioctl(cmd, arg) {
        Ok(n) => n as c_long,
        Err(e) => e.to_errno() as c_long,
    }
}

/// # Safety
///
/// As [`ioctl`].
unsafe extern "C" fn compat_ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
    // SAFETY: By this function's own requirement. A user's address has 32 bits.
    unsafe { ioctl(file, cmd, arg & 0xffff_ffff) }
}

/// # Safety
///
/// Called by the VFS, once, when nobody has the file open any more; its private data is a `T`.
unsafe extern "C" fn release<T>(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: `open` put the box there, and nobody uses the file any more.
    drop(unsafe { KBox::from_raw((*file).private_data.cast::<T>()) });
    0
}
