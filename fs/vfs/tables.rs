// SPDX-License-Identifier: GPL-2.0

//! The tables of each kind of inode.

use super::{acl, attr, bindings, directory, fiemap, file, fileattr, namei, table::Table, xattr};
use crate::libvexfs::format::inode::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};

static DIRECTORY: Table<bindings::inode_operations> = Table::new(bindings::inode_operations {
    lookup: Some(namei::lookup),
    create: Some(namei::create),
    link: Some(namei::link),
    unlink: Some(namei::unlink),
    symlink: Some(namei::symlink),
    mkdir: Some(namei::mkdir),
    rmdir: Some(namei::rmdir),
    mknod: Some(namei::mknod),
    rename: Some(namei::rename_name),
    tmpfile: Some(namei::tmpfile),
    setattr: Some(attr::setattr),
    getattr: Some(attr::getattr),
    listxattr: Some(xattr::list),
    get_inode_acl: Some(acl::get_inode_acl),
    set_acl: Some(acl::set_acl),
    fileattr_get: Some(fileattr::get),
    fileattr_set: Some(fileattr::set),
    ..pin_init::zeroed()
});

static REGULAR: Table<bindings::inode_operations> = Table::new(bindings::inode_operations {
    setattr: Some(attr::setattr),
    getattr: Some(attr::getattr),
    listxattr: Some(xattr::list),
    get_inode_acl: Some(acl::get_inode_acl),
    set_acl: Some(acl::set_acl),
    fiemap: Some(fiemap::fiemap),
    fileattr_get: Some(fileattr::get),
    fileattr_set: Some(fileattr::set),
    ..pin_init::zeroed()
});

static SYMLINK: Table<bindings::inode_operations> = Table::new(bindings::inode_operations {
    get_link: Some(namei::get_link),
    setattr: Some(attr::setattr),
    getattr: Some(attr::getattr),
    listxattr: Some(xattr::list),
    fileattr_get: Some(fileattr::get),
    fileattr_set: Some(fileattr::set),
    ..pin_init::zeroed()
});

static SPECIAL: Table<bindings::inode_operations> = Table::new(bindings::inode_operations {
    setattr: Some(attr::setattr),
    getattr: Some(attr::getattr),
    listxattr: Some(xattr::list),
    get_inode_acl: Some(acl::get_inode_acl),
    set_acl: Some(acl::set_acl),
    fileattr_get: Some(fileattr::get),
    fileattr_set: Some(fileattr::set),
    ..pin_init::zeroed()
});

/// Gives an inode the tables of its kind.
///
/// # Safety
///
/// `inode` is one of ours that nobody else sees yet.
pub(super) unsafe fn set_ops(inode: *mut bindings::inode, mode: u16, rdev: u32) {
    // SAFETY: The inode is the caller's alone.
    unsafe {
        match mode & S_IFMT {
            S_IFREG => {
                (*inode).i_op = REGULAR.as_ptr();
                file::set_ops(inode);
            }
            S_IFDIR => {
                (*inode).i_op = DIRECTORY.as_ptr();
                bindings::vexfs_helper_set_i_fop(inode, directory::FILE_OPS.as_ptr());
            }
            S_IFLNK => (*inode).i_op = SYMLINK.as_ptr(),
            _ => {
                (*inode).i_op = SPECIAL.as_ptr();
                let dev = bindings::vexfs_helper_new_decode_dev(rdev);
                bindings::init_special_inode(inode, mode, dev);
            }
        }
    }
}
