// SPDX-License-Identifier: GPL-2.0

//! What VexFS does when the VFS calls: written against `vfs` and `libvexfs`, without `unsafe`.
//!
//! Lock order (all of it: see `Documentation/design.md`): the VFS's locks -> folio -> transaction
//! -> cores of inodes, directories first, then by number -> quota -> allocation group -> buffer. With a
//! transaction or a core held nothing copies from or to user space, drops the last reference to an
//! inode, locks a folio, or waits for anything but metadata I/O.

pub(crate) mod acl;
pub(crate) mod aops;
pub(crate) mod attr;
pub(crate) mod delay;
pub(crate) mod dir;
pub(crate) mod evict;
pub(crate) mod export;
pub(crate) mod fallocate;
pub(crate) mod file;
pub(crate) mod fileattr;
pub(crate) mod ioctl;
mod label;
pub(crate) mod mount;
pub(crate) mod namei;
pub(crate) mod quota;
pub(crate) mod rename;
mod resize;
pub(crate) mod room;
pub(crate) mod staging;
pub(crate) mod trim;
pub(crate) mod truncate;
pub(crate) mod vector;
mod version;
pub(crate) mod xattr;
