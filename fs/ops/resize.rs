// SPDX-License-Identifier: GPL-2.0

//! Making a mounted volume larger.

use crate::libvexfs::journal::{Store as _, Trans as _};
use crate::vfs::{
    bindings,
    ioctl::{capable, File},
    sched, uapi,
};
use kernel::prelude::*;

/// `VEXFS_IOC_RESIZE`. Each step is whole by itself: what is interrupted has grown a part of the
/// way.
///
/// # Errors
///
/// `EPERM`; `EINVAL` for less than there is, or more than the device has; `EFBIG`, `ENOSPC` as
/// [`Fs::grown`](crate::libvexfs::Fs::grown); `EBUSY` if another caller is at it; `EROFS`,
/// `EINTR`, the journal's.
pub(super) fn resize(file: &File, arg: usize) -> Result<isize> {
    let (mut resize, size) = uapi::get::<bindings::vexfs_resize>(arg, 16)?;
    if resize.flags != 0 {
        return Err(EINVAL);
    }
    if !capable(bindings::CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    let mount = file.inode().mount();
    let device = mount.fs.store.block_count();
    let wanted = match resize.blocks {
        0 => device,
        blocks => blocks,
    };
    if wanted > device {
        return Err(EINVAL);
    }
    let grown = file.with_write_access(|| {
        let _alone = mount.resize_alone()?;
        let to = mount.fs.grown(wanted)?;
        let credits = mount.fs.grow_credits(&to);
        loop {
            if sched::killed() {
                return Err(EINTR);
            }
            let mut t = mount.fs.store.begin(credits)?;
            let done = mount.fs.grow_step(&mut t, &to)?;
            t.stop()?;
            if done {
                // Who is told so may rely on it.
                return mount.fs.store.commit();
            }
        }
    });
    mount.judge(grown)?;
    resize.blocks = mount.fs.geometry().block_count;
    uapi::put(arg, size, &resize)?;
    Ok(0)
}
