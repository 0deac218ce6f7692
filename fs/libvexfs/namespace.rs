// SPDX-License-Identifier: GPL-2.0

//! Names: making them, linking and removing them. `rename` has a file of its own.
//!
//! Each operation first finds out whether it can succeed: names, limits, the records that it will
//! change, space. Only then does it change the first block, because nothing can be taken back. An
//! error before that leaves inodes in memory as they were.
//!
//! Directories count links as in ext4 and XFS: two, and one more for each directory in them.

mod rename;

pub use rename::{Rename, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};

use crate::libvexfs::alloc::{Mode, Space};
use crate::libvexfs::credits::blocks;
use crate::libvexfs::dir::entry::dtype_of;
use crate::libvexfs::dir::{DirEntry, DirEntryRef};
use crate::libvexfs::errno::{enotempty, estale};
use crate::libvexfs::format::inode::{
    INLINE_LINK_MAX, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK,
};
use crate::libvexfs::format::{Inode, Time};
use crate::libvexfs::journal::{Store, Trans};
use crate::libvexfs::quota::Owners;
use crate::libvexfs::xattr::Initial;
use crate::libvexfs::{orphan, symlink, Fs};
use kernel::prelude::*;

/// Most links of an inode, as in XFS.
pub const LINK_MAX: u32 = i32::MAX as u32;

/// What a new inode is to be.
#[derive(Clone, Copy, Default)]
pub struct NewInode<'a> {
    /// Type and permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Project.
    pub projid: u32,
    /// `FS_*_FL`, as inherited.
    pub flags: u32,
    /// Device number of a device node.
    pub rdev: u32,
    /// Target of a symbolic link; empty for all others.
    pub target: &'a [u8],
    /// Extended attributes. Each operation that makes an inode takes
    /// [`initial_cost`](crate::libvexfs::xattr::initial_cost) more credits for them.
    pub attrs: &'a [Initial<'a>],
    /// All of its times.
    pub now: Time,
    /// Is told the number before anything on disk says that there is an inode: where inodes are
    /// found by number, who asks from then on must wait until the new one is complete.
    pub announce: Option<&'a dyn Fn(u64) -> Result>,
}

impl NewInode<'_> {
    /// Whose it will be.
    pub fn owners(&self) -> Owners {
        Owners([self.uid, self.gid, self.projid])
    }

    /// Checks that it describes something, and returns how many chunk records it takes.
    fn check(&self) -> Result<usize> {
        match self.mode & S_IFMT {
            S_IFLNK => return symlink::check_target(self.target),
            S_IFREG | S_IFDIR | S_IFCHR | S_IFBLK | S_IFIFO | S_IFSOCK => {}
            _ => return Err(EINVAL),
        }
        if !self.target.is_empty() {
            return Err(EINVAL);
        }
        Ok(0)
    }
}

impl<S: Store> Fs<S> {
    /// Makes an inode of any type with one name. Credits:
    /// [`credits::CREATE`](crate::libvexfs::credits::CREATE), for symbolic links
    /// [`credits::SYMLINK`](crate::libvexfs::credits::SYMLINK).
    ///
    /// # Errors
    ///
    /// `EEXIST`, `ENOTDIR`, `ENOENT` (the directory was removed), `ENAMETOOLONG`, `EMLINK`,
    /// `EINVAL`, `ENOSPC`, `EDQUOT`; `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn create(
        &self,
        t: &mut S::Trans,
        dir: &mut Inode,
        name: &[u8],
        new: &NewInode<'_>,
    ) -> Result<Inode> {
        let chunks = new.check()?;
        let cookie = self.plan_name(dir, name)?;
        let is_dir = new.mode & S_IFMT == S_IFDIR;
        if is_dir && dir.nlink >= LINK_MAX {
            return Err(EMLINK);
        }
        self.plan_homes(t, &[dir])?;
        let attrs = self.xattr_plan_initial(new.attrs)?;
        let blocks = blocks::CREATE + chunks + attrs.blocks;
        let _grows = self.quota_claim(&Owners::of(dir), 0, 0)?;
        let _claim = self.quota_claim(&new.owners(), 0, 1)?;
        let mut space = self.space(near(dir), blocks, Mode::Normal)?;
        let mut i = self.new_inode(t, &mut space, dir, new)?;
        self.xattr_store_initial(t, &mut space, &mut i, &attrs)?;
        i.nlink = if is_dir { 2 } else { 1 };
        self.add_name(t, &mut space, dir, name, cookie, &mut i)?;
        if is_dir {
            dir.nlink += 1;
        }
        touch(dir, new.now);
        self.log_inode(t, dir)?;
        self.log_inode(t, &i)?;
        Ok(i)
    }

    /// Makes an inode without a name, an orphan until [`Fs::link`] gives it one. Credits:
    /// [`credits::TMPFILE`](crate::libvexfs::credits::TMPFILE).
    ///
    /// # Errors
    ///
    /// `EINVAL` for a directory, `ENOSPC`; `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn tmpfile(&self, t: &mut S::Trans, near_to: &Inode, new: &NewInode<'_>) -> Result<Inode> {
        let chunks = new.check()?;
        if new.mode & S_IFMT == S_IFDIR {
            return Err(EINVAL);
        }
        let attrs = self.xattr_plan_initial(new.attrs)?;
        let blocks = blocks::CREATE + chunks + attrs.blocks;
        let _claim = self.quota_claim(&new.owners(), 0, 1)?;
        let mut space = self.space(near(near_to), blocks, Mode::Normal)?;
        let mut i = self.new_inode(t, &mut space, near_to, new)?;
        self.xattr_store_initial(t, &mut space, &mut i, &attrs)?;
        i.nlink = 0;
        self.orphan_add(t, &mut i, orphan::DELETE)?;
        self.log_inode(t, &i)?;
        Ok(i)
    }

    /// Gives an inode one more name, or a temporary file its first. Credits:
    /// [`credits::LINK`](crate::libvexfs::credits::LINK).
    ///
    /// # Errors
    ///
    /// `EPERM` for directories, `EEXIST`, `EMLINK`, `ENOTDIR`, `ENOENT`, `ENAMETOOLONG`, `EINVAL`,
    /// `ENOSPC`; `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn link(
        &self,
        t: &mut S::Trans,
        dir: &mut Inode,
        name: &[u8],
        target: &mut Inode,
        now: Time,
    ) -> Result {
        if target.is_dir() {
            return Err(EPERM);
        }
        if target.nlink >= LINK_MAX {
            return Err(EMLINK);
        }
        let cookie = self.plan_name(dir, name)?;
        self.parent_absent(target, dir, cookie)?;
        self.orphan_verify(target)?;
        self.plan_homes(t, &[dir, target])?;
        let _grows = self.quota_claim(&Owners::of(dir), 0, 0)?;
        let mut space = self.space(near(dir), blocks::CREATE, Mode::Normal)?;
        self.add_name(t, &mut space, dir, name, cookie, target)?;
        target.nlink += 1;
        // A file that had links already is an orphan because it is being cut, and stays one.
        if target.nlink == 1 {
            self.orphan_remove(t, target)?;
        }
        target.ctime = now;
        touch(dir, now);
        self.log_inode(t, dir)?;
        self.log_inode(t, target)
    }

    /// Removes a name of anything but a directory; an inode that had no other becomes an orphan.
    /// Credits: [`credits::UNLINK`](crate::libvexfs::credits::UNLINK).
    ///
    /// # Errors
    ///
    /// `ENOENT`, `EISDIR`, `ESTALE` (the name belongs to another inode); `EUCLEAN`, `EIO`,
    /// `ENOMEM`.
    pub fn unlink(
        &self,
        t: &mut S::Trans,
        dir: &mut Inode,
        name: &[u8],
        target: &mut Inode,
        now: Time,
    ) -> Result {
        let entry = self.plan_entry(dir, name, target)?;
        if target.is_dir() {
            return Err(EISDIR);
        }
        self.plan_homes(t, &[dir, target])?;
        self.remove_name(t, dir, name, entry.cookie, target, now)
    }

    /// Removes an empty directory, which becomes an orphan. Credits:
    /// [`credits::UNLINK`](crate::libvexfs::credits::UNLINK).
    ///
    /// # Errors
    ///
    /// `ENOENT`, `ENOTDIR`, `ENOTEMPTY`, `ESTALE`; `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn rmdir(
        &self,
        t: &mut S::Trans,
        dir: &mut Inode,
        name: &[u8],
        target: &mut Inode,
        now: Time,
    ) -> Result {
        let entry = self.plan_entry(dir, name, target)?;
        if !target.is_dir() {
            return Err(ENOTDIR);
        }
        self.plan_empty(target)?;
        if dir.nlink < 3 {
            return Err(self.damaged(dir.ino, 0, "the link count of a directory is too low"));
        }
        self.plan_homes(t, &[dir, target])?;
        self.remove_name(t, dir, name, entry.cookie, target, now)?;
        dir.nlink -= 1;
        self.log_inode(t, dir)
    }

    /// Plan: a new name may be put into `dir`; returns the cookie for it.
    fn plan_name(&self, dir: &Inode, name: &[u8]) -> Result<u64> {
        let probe = self.dir_probe(dir, name)?;
        if dir.nlink == 0 {
            return Err(ENOENT);
        }
        if probe.found.is_some() {
            return Err(EEXIST);
        }
        probe.free.ok_or(ENOSPC)
    }

    /// Plan: `name` is an entry of `dir` for `target`, and `target` agrees.
    fn plan_entry(&self, dir: &Inode, name: &[u8], target: &Inode) -> Result<DirEntry> {
        let entry = self.dir_probe(dir, name)?.found.ok_or(ENOENT)?;
        if entry.ino != target.ino {
            return Err(estale());
        }
        if entry.dtype != dtype_of(target.mode) {
            return Err(self.damaged(target.ino, 0, "a directory entry says another type"));
        }
        if target.nlink == 0 || dir.entries == 0 {
            return Err(self.damaged(target.ino, 0, "something with a name has no links"));
        }
        self.parent_verify(target, dir, entry.cookie, name)?;
        Ok(entry)
    }

    /// Plan: the blocks of inodes that will be logged can be read.
    fn plan_homes(&self, t: &mut S::Trans, inodes: &[&Inode]) -> Result {
        for i in inodes {
            t.read(near(i))?;
        }
        Ok(())
    }

    /// Plan: a directory is empty, by its count and by its tree.
    fn plan_empty(&self, dir: &Inode) -> Result {
        if dir.entries != 0 {
            return Err(enotempty());
        }
        if self.tree_next(dir.data_root(), 0, |_, _| ())?.is_some() || dir.nlink != 2 {
            return Err(self.damaged(dir.ino, 0, "an empty directory has entries or links"));
        }
        Ok(())
    }

    /// Apply: allocates an inode and fills it in, without a link. The first change of its
    /// transaction, so that running out of inodes is no disaster.
    fn new_inode(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        parent: &Inode,
        new: &NewInode<'_>,
    ) -> Result<Inode> {
        let mut i = self.alloc_inode(t, Some(parent), new.mode, new.now)?;
        if let Some(announce) = new.announce {
            announce(i.ino)?;
        }
        i.uid = new.uid;
        i.gid = new.gid;
        i.projid = new.projid;
        i.flags = new.flags;
        if matches!(i.kind(), S_IFCHR | S_IFBLK) {
            i.rdev = new.rdev;
        }
        if i.is_link() {
            self.write_symlink(t, space, &mut i, new.target)?;
        }
        Ok(i)
    }

    /// Apply: inserts an entry and the pointer to it.
    fn add_name(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        dir: &mut Inode,
        name: &[u8],
        cookie: u64,
        i: &mut Inode,
    ) -> Result {
        let entry = DirEntryRef {
            ino: i.ino,
            dtype: dtype_of(i.mode),
            cookie,
            name,
        };
        self.dir_insert(t, space, dir, &entry)?;
        self.parent_insert(t, space, i, (dir.ino, dir.generation), cookie, name)
    }

    /// Apply: removes an entry, the pointer to it, and the link that it was.
    fn remove_name(
        &self,
        t: &mut S::Trans,
        dir: &mut Inode,
        name: &[u8],
        cookie: u64,
        target: &mut Inode,
        now: Time,
    ) -> Result {
        self.drop_link(t, dir.ino, cookie, target, now)?;
        self.dir_remove(t, dir, cookie, name.len())?;
        touch(dir, now);
        self.log_inode(t, dir)
    }

    /// Apply: takes one link, or all of an empty directory, from an inode and logs it. What can
    /// fail for want of space, the orphan record, comes first.
    fn drop_link(
        &self,
        t: &mut S::Trans,
        dir: u64,
        cookie: u64,
        target: &mut Inode,
        now: Time,
    ) -> Result {
        let nlink = if target.is_dir() {
            0
        } else {
            target.nlink.saturating_sub(1)
        };
        if nlink == 0 {
            self.orphan_add(t, target, orphan::DELETE)?;
        }
        self.parent_remove(t, target, dir, cookie)?;
        target.nlink = nlink;
        target.ctime = now;
        self.log_inode(t, target)
    }
}

/// Where metadata of an inode had best be.
fn near(i: &Inode) -> u64 {
    i.ino >> 3
}

/// The contents of a directory changed.
fn touch(dir: &mut Inode, now: Time) {
    dir.mtime = now;
    dir.ctime = now;
}

// A target that is not in the inode takes at least one chunk.
const _: () = assert!(INLINE_LINK_MAX < crate::libvexfs::xattr::record::CHUNK_LEN);
