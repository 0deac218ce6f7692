// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.

use crate::libvexfs::{
    journal::{Store as _, Tid, Trans as _},
    xattr::{index, SetMode, VALUE_MAX},
};
use crate::vfs::{inode::VexInode, ioctl::capable};
use kernel::prelude::*;

pub(crate) use crate::libvexfs::xattr::index::{SECURITY, TRUSTED, USER};

/// `CAP_SYS_ADMIN`: trusted attributes do not exist for others.
const CAP_SYS_ADMIN: u32 = crate::vfs::bindings::CAP_SYS_ADMIN;

/// The value of an attribute.
///
/// # Errors
///
/// `ENODATA`; `EUCLEAN`, `EIO`, `ENOMEM`.
pub(crate) fn get(inode: &VexInode, space: u8, name: &[u8]) -> Result<KVVec<u8>> {
    inode.check_running()?;
    let got = read(inode, space, name);
    inode.mount().judge(got)
}

fn read(inode: &VexInode, space: u8, name: &[u8]) -> Result<KVVec<u8>> {
    let (fs, core) = (inode.fs(), inode.core().read());
    let mut value = KVVec::new();
    let len = fs.xattr_get(&core, space, name, &mut [])?;
    if len > VALUE_MAX {
        return Err(fs.damaged(inode.ino(), 0, "the value of an attribute is too long"));
    }
    value.resize(len, 0, GFP_KERNEL)?;
    fs.xattr_get(&core, space, name, &mut value)?;
    Ok(value)
}

/// Sets an attribute, or removes it. The inode is locked.
///
/// # Errors
///
/// As `libvexfs::Fs::xattr_set`.
pub(crate) fn set(
    inode: &VexInode,
    space: u8,
    name: &[u8],
    value: Option<&[u8]>,
    mode: SetMode,
) -> Result {
    inode.check_running()?;
    let mount = inode.mount();
    let done = mount.with_space(|| write(inode, space, name, value, mode));
    let tid = mount.judge(done)?;
    inode.sync_if_asked(tid)
}

fn write(
    inode: &VexInode,
    space: u8,
    name: &[u8],
    value: Option<&[u8]>,
    mode: SetMode,
) -> Result<Tid> {
    let fs = inode.fs();
    // The inode is locked, so the value that is there stays until it is replaced.
    let credits = fs.xattr_credits(&inode.core().read(), space, name, value.map(<[u8]>::len))?;
    let now = inode.now();
    let mut t = fs.store.begin(credits)?;
    let mut core = inode.core().write();
    inode.store_attributes(&mut core);
    fs.xattr_set(&mut t, &mut core, space, name, value, mode, now)?;
    let tid = t.tid();
    inode.show(&core);
    inode.data().note(tid, false);
    drop(core);
    t.stop()?;
    Ok(tid)
}

/// The names of all attributes that the caller may know of, each with its prefix and terminated.
///
/// # Errors
///
/// `EUCLEAN`, `EIO`, `ENOMEM`.
pub(crate) fn list(inode: &VexInode) -> Result<KVVec<u8>> {
    inode.check_running()?;
    let trusted = capable(CAP_SYS_ADMIN);
    let mut names = KVVec::new();
    let listed = inode
        .fs()
        .xattr_list(&inode.core().read(), &mut |space, name, _| {
            let prefix: &[u8] = match space {
                index::USER => b"user.",
                index::TRUSTED if trusted => b"trusted.",
                index::SECURITY => b"security.",
                // Lists are there for who may use them: see `acl`.
                index::SYSTEM if inode.sb().has_acls() => b"system.",
                _ => return Ok(true),
            };
            for part in [prefix, name, b"\0"] {
                names.extend_from_slice(part, GFP_KERNEL)?;
            }
            Ok(true)
        });
    inode.mount().judge(listed)?;
    Ok(names)
}
