// SPDX-License-Identifier: GPL-2.0

//! Ioctls, by number. Those of VexFS are told apart by type and number alone: their structures may
//! grow, so each carries its own size.

use super::{label, resize, staging, vector};
use crate::vfs::{
    bindings,
    ioctl::{capable, while_frozen, File},
    sched::apart,
    user,
};
use kernel::{ioctl::*, prelude::*};

/// The type of VexFS's own ioctls.
const VEXFS: u32 = 0xf7;

/// `FS_IOC_GETVERSION`: the generation.
const GETVERSION: u32 = _IOR::<c_long>(b'v' as u32, 1);
/// The same, from 32-bit programs.
const GETVERSION_32: u32 = _IOR::<i32>(b'v' as u32, 1);
/// `FS_IOC_GETFSLABEL`.
const GETFSLABEL: u32 = _IOR::<[u8; FSLABEL_MAX]>(0x94, 49);
/// `FS_IOC_SETFSLABEL`.
const SETFSLABEL: u32 = _IOW::<[u8; FSLABEL_MAX]>(0x94, 50);
/// What user space has room for in a label.
pub(super) const FSLABEL_MAX: usize = 256;
/// `FS_IOC_SHUTDOWN`, which XFS brought up and ext4 has too.
const SHUTDOWN: u32 = _IOR::<u32>(b'X' as u32, 125);

/// `FITRIM`: start, length and shortest run, in bytes; the length that was trimmed comes back.
const TRIM: u32 = _IOWR::<[u64; 3]>(b'X' as u32, 121);

/// Write everything, then shut down.
const SHUTDOWN_DEFAULT: u32 = 0;
/// Commit the journal, then shut down.
const SHUTDOWN_LOGFLUSH: u32 = 1;
/// Shut down at once.
const SHUTDOWN_NOLOGFLUSH: u32 = 2;

/// Translates the number of an ioctl from a 32-bit program.
pub(crate) fn from_compat(cmd: u32) -> u32 {
    if cmd == GETVERSION_32 {
        GETVERSION
    } else {
        cmd
    }
}

/// Answers an ioctl on an open file or directory.
///
/// # Errors
///
/// `ENOTTY` for unknown numbers, `EIO` when the file system is shut down, and each one's own.
pub(crate) fn dispatch(file: &File, cmd: u32, arg: usize) -> Result<isize> {
    file.inode().check_running()?;
    if _IOC_TYPE(cmd) == VEXFS {
        return own(file, _IOC_NR(cmd), arg);
    }
    match cmd {
        GETVERSION => user::write(arg, &file.inode().generation().to_ne_bytes())?,
        GETFSLABEL => apart(|| label::get(file, arg))?,
        SETFSLABEL => apart(|| label::set(file, arg))?,
        SHUTDOWN => apart(|| shut_down(file, user::read_u32(arg)?))?,
        TRIM => apart(|| trim(file, arg))?,
        _ => return Err(ENOTTY),
    }
    Ok(0)
}

/// Answers one of VexFS's own.
fn own(file: &File, nr: u32, arg: usize) -> Result<isize> {
    match nr {
        bindings::VEXFS_NR_RESIZE => apart(|| resize::resize(file, arg)),
        0x00..=0x2f => vector::ioctl(file, nr, arg),
        0x40..=0x5f => staging::ioctl::ioctl(file, nr, arg),
        _ => Err(ENOTTY),
    }
}

/// Discards free blocks.
fn trim(file: &File, arg: usize) -> Result {
    let [start, len, least] = user::read_u64s(arg)?;
    let trimmed = super::trim::trim(file.inode(), super::trim::Range { start, len, least })?;
    // The length is the second field.
    let to = arg.checked_add(8).ok_or(EFAULT)?;
    user::write(to, &trimmed.to_ne_bytes())
}

/// Shuts the file system down, as a test of what a crash leaves, or because its device is ill.
fn shut_down(file: &File, how: u32) -> Result {
    if !capable(bindings::CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    let inode = file.inode();
    let mount = inode.mount();
    match how {
        SHUTDOWN_DEFAULT => while_frozen(inode, || mount.shut_down()),
        SHUTDOWN_LOGFLUSH => {
            // Whether it works or not, nothing is written afterwards.
            let _ = crate::libvexfs::journal::Store::commit(&mount.fs.store);
            mount.shut_down();
            Ok(())
        }
        SHUTDOWN_NOLOGFLUSH => {
            mount.shut_down();
            Ok(())
        }
        _ => Err(EINVAL),
    }
}
