// SPDX-License-Identifier: GPL-2.0

//! The queue descriptor of an agent: a file without a file system behind it.

use kernel::bindings::{file_operations, poll_table_struct};
use kernel::ffi::c_char;
use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};

use super::bindings;
use super::table::Table;
use crate::ops::staging::agent::Agent;

static QUEUE_OPS: Table<file_operations> = Table::new(file_operations {
    owner: super::mount::this_module(),
    read: Some(read),
    poll: Some(poll),
    unlocked_ioctl: Some(ioctl),
    // Pointers in the structures are 64 bits wide: only the argument itself differs.
    compat_ioctl: Some(compat_ioctl),
    release: Some(release),
    ..pin_init::zeroed()
});

/// Gives `agent` a descriptor of its own in the current process.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub(crate) fn open_queue(agent: KBox<Agent>) -> Result<c_int> {
    let raw = KBox::into_raw(agent);
    let flags = (bindings::O_RDWR | bindings::O_CLOEXEC) as c_int;
    // SAFETY: The table is static and keeps the module loaded; the file owns the agent from here
    // on, and `release` frees it.
    let fd = unsafe {
        bindings::anon_inode_getfd(
            c"[vexfs-queue]".as_ptr().cast(),
            QUEUE_OPS.as_ptr(),
            raw.cast(),
            flags,
        )
    };
    if fd < 0 {
        // SAFETY: The file was not made, so the agent is ours still.
        drop(unsafe { KBox::from_raw(raw) });
        return Err(Error::from_errno(fd));
    }
    Ok(fd)
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
/// Called by the VFS, once, when nobody has the file open any more.
unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: `open_queue` put the box there, and nobody uses the file any more.
    drop(unsafe { KBox::from_raw((*file).private_data.cast::<Agent>()) });
    0
}
