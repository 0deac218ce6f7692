// SPDX-License-Identifier: GPL-2.0

//! The volume's label.

use crate::libvexfs::{
    journal::{Store as _, Trans as _},
    Fs,
};
use crate::vfs::{
    bindings,
    ioctl::{capable, File},
    store::Store,
    user,
};
use kernel::prelude::*;

/// Room for a label in the superblock, with its end.
const ROOM: usize = 64;

/// `FS_IOC_GETFSLABEL`: writes the label, with zeros behind it.
///
/// # Errors
///
/// `EFAULT`.
pub(super) fn get(file: &File, arg: usize) -> Result {
    let mut label = [0; super::ioctl::FSLABEL_MAX];
    let sb = file.inode().fs().superblock();
    for (to, from) in label.iter_mut().zip(sb.label) {
        *to = from;
    }
    user::write(arg, &label)
}

/// `FS_IOC_SETFSLABEL`.
///
/// # Errors
///
/// `EPERM`, `EROFS`, `EFAULT`, `EINVAL` for a label that is too long; the journal's.
pub(super) fn set(file: &File, arg: usize) -> Result {
    if !capable(bindings::CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    let mut label = [0; super::ioctl::FSLABEL_MAX];
    user::read(arg, &mut label)?;
    let len = label.iter().position(|b| *b == 0).unwrap_or(label.len());
    let mut stored = [0; ROOM];
    match (stored.get_mut(..len), label.get(..len)) {
        (Some(to), Some(from)) if len < ROOM => to.copy_from_slice(from),
        _ => return Err(EINVAL),
    }
    file.with_write_access(|| {
        let mount = file.inode().mount();
        let credits = Fs::<Store>::superblocks_credits(&mount.fs.geometry());
        let logged = mount.fs.store.begin(credits).and_then(|mut t| {
            mount.fs.update_superblocks(&mut t, |s| s.label = stored)?;
            let tid = t.tid();
            t.stop()?;
            Ok(tid)
        });
        // Whoever looks at the device from outside is to see it at once.
        let tid = mount.judge(logged)?;
        mount.fs.store.sync_tid(tid)
    })
}
