// SPDX-License-Identifier: GPL-2.0

//! Names: looking them up, making, linking, moving and removing them.
//!
//! Lock order: the VFS holds the `i_rwsem` of every directory and victim that an operation
//! changes, so of two operations on one name only one is here. Inside: transaction, then the cores
//! of the directories by number, then those of the other inodes by number. The depth that lockdep
//! is told counts up in that order.

use super::{fileattr, room, truncate};
use crate::libvexfs::{
    credits,
    dir::NAME_MAX,
    errno::{enametoolong, estale},
    format::inode::{STATE_INTERNAL, S_IFLNK, S_IFMT},
    journal::{Store as _, Tid, Trans as _},
    namespace::NewInode as Spec,
    xattr::{index, initial_cost, Initial},
};
use crate::vfs::{
    acl::Acl,
    dentry::{Dentry, IdMap},
    inode::{InodeRef, LockedInode, NewInode, VexInode},
    security,
};
use kernel::prelude::*;

/// What is to be made.
pub(crate) struct What<'a> {
    /// Type and permissions.
    pub(crate) mode: u16,
    /// Number of a device node.
    pub(crate) rdev: u32,
    /// Target of a symbolic link.
    pub(crate) target: &'a [u8],
}

impl What<'_> {
    fn credits(&self, named: bool) -> usize {
        match self.mode & S_IFMT {
            _ if !named => credits::TMPFILE,
            S_IFLNK => credits::SYMLINK,
            _ => credits::CREATE,
        }
    }

    /// What libvexfs is told about it.
    fn spec<'a>(
        &'a self,
        dir: &VexInode,
        new: &NewInode,
        attrs: &'a [Initial<'a>],
        announce: &'a dyn Fn(u64) -> Result,
    ) -> Spec<'a> {
        let inherited = fileattr::inherited(dir, self.mode);
        Spec {
            mode: new.mode(),
            uid: new.uid(),
            gid: new.gid(),
            projid: inherited.projid,
            flags: inherited.flags,
            rdev: self.rdev,
            target: self.target,
            attrs,
            now: dir.now(),
            announce: Some(announce),
        }
    }
}

/// The attributes that a new inode has from the beginning: the access control lists that it
/// inherits, and the labels of security modules.
pub(super) struct FirstAttrs {
    access: Option<KVec<u8>>,
    default: Option<KVec<u8>>,
    labels: security::Labels,
}

impl FirstAttrs {
    /// Those of `new` in `dir`. Call it before the transaction.
    pub(super) fn new(new: &NewInode, dir: &VexInode, dentry: Option<&Dentry>) -> Result<Self> {
        let acls = new.acls();
        Ok(FirstAttrs {
            access: acls.access.as_ref().map(Acl::format).transpose()?,
            default: acls.default.as_ref().map(Acl::format).transpose()?,
            labels: security::labels(new.inode(), dir, dentry)?,
        })
    }

    /// As libvexfs takes them.
    pub(super) fn list(&self) -> Result<KVec<Initial<'_>>> {
        let mut list = KVec::new();
        for (default, acl) in [(false, &self.access), (true, &self.default)] {
            if let Some(value) = acl {
                let (index, name) = (index::SYSTEM, super::acl::name(default));
                list.push(Initial { index, name, value }, GFP_KERNEL)?;
            }
        }
        for (name, value) in self.labels.iter() {
            let index = index::SECURITY;
            list.push(Initial { index, name, value }, GFP_KERNEL)?;
        }
        Ok(list)
    }
}

/// Finds a name.
///
/// # Errors
///
/// `ENAMETOOLONG`; `EUCLEAN` if the name leads nowhere; `EIO`, `ENOMEM`.
pub(crate) fn lookup(dir: &VexInode, dentry: &Dentry) -> Result<Option<InodeRef>> {
    dir.check_running()?;
    if dentry.name().len() > NAME_MAX {
        return Err(enametoolong());
    }
    let mount = dir.mount();
    mount.judge(find(dir, dentry.name()))
}

fn find(dir: &VexInode, name: &[u8]) -> Result<Option<InodeRef>> {
    let fs = dir.fs();
    let entry = fs.lookup(&dir.core().read(), name)?;
    let Some(entry) = entry else {
        return Ok(None);
    };
    let inode = VexInode::get(dir.sb(), entry.ino, None).map_err(|e| {
        if e == estale() {
            return fs.damaged(dir.ino(), 0, "a name leads to a free inode");
        }
        e
    })?;
    let sound = {
        let core = inode.core().read();
        core.state & STATE_INTERNAL == 0 && u16::from(entry.dtype) == core.mode >> 12
    };
    if !sound {
        return Err(fs.damaged(inode.ino(), 0, "a name leads to an inode of another kind"));
    }
    Ok(Some(inode))
}

/// Makes an inode with a name.
///
/// # Errors
///
/// As `libvexfs::Fs::create`.
pub(crate) fn create(idmap: &IdMap, dir: &VexInode, dentry: &Dentry, what: &What<'_>) -> Result {
    let (inode, tid) = make(idmap, dir, Some(dentry), what)?;
    dentry.instantiate_new(inode);
    dir.sync_if_asked(tid)
}

/// Makes an inode without a name.
///
/// # Errors
///
/// As `libvexfs::Fs::tmpfile`.
pub(crate) fn tmpfile(idmap: &IdMap, dir: &VexInode, mode: u16) -> Result<LockedInode> {
    let what = What {
        mode,
        rdev: 0,
        target: &[],
    };
    Ok(make(idmap, dir, None, &what)?.0)
}

/// Makes an inode, with the name of `dentry` or without one, and the transaction that did it.
fn make(
    idmap: &IdMap,
    dir: &VexInode,
    dentry: Option<&Dentry>,
    what: &What<'_>,
) -> Result<(LockedInode, Tid)> {
    dir.check_running()?;
    let (mount, fs) = (dir.mount(), dir.fs());
    let new = NewInode::new(idmap, dir, what.mode)?;
    let first = FirstAttrs::new(&new, dir, dentry)?;
    let attrs = first.list()?;
    let announce = |ino| {
        new.announce(ino)
            .map_err(|_| fs.damaged(ino, 0, "an inode in use was given out as new"))
    };
    let spec = what.spec(dir, &new, &attrs, &announce);
    mount.judge(mount.with_space(|| fs.quota_open(&spec.owners())))?;
    let made = mount.with_space(|| {
        let mut t = fs
            .store
            .begin(what.credits(dentry.is_some()) + initial_cost(&attrs))?;
        let core = if let Some(dentry) = dentry {
            let mut parent = dir.core().write();
            dir.store_attributes(&mut parent);
            let core = fs.create(&mut t, &mut parent, dentry.name(), &spec)?;
            dir.show(&parent);
            dir.data().note(t.tid(), true);
            core
        } else {
            fs.tmpfile(&mut t, &dir.core().read(), &spec)?
        };
        let tid = t.tid();
        t.stop()?;
        Ok((core, tid))
    });
    let (core, tid) = mount.judge(made)?;
    Ok((new.complete(core, tid), tid))
}

/// Gives an inode one more name.
///
/// # Errors
///
/// As `libvexfs::Fs::link`.
pub(crate) fn link(old: &Dentry, dir: &VexInode, dentry: &Dentry) -> Result {
    dir.check_running()?;
    let target = old.inode().ok_or(ENOENT)?;
    fileattr::check_project(dir, target)?;
    let (mount, fs) = (dir.mount(), dir.fs());
    if target.nlink() == 0 {
        // The record that goes with the first link stands for the room, and for what a cut left, too.
        mount.judge(room::give_back(target))?;
        if target.data().needs_trim() {
            mount.judge(truncate::finish(target))?;
        }
    }
    let done = mount.with_space(|| {
        let now = dir.now().max(target.now());
        let mut t = fs.store.begin(credits::LINK)?;
        let mut parent = dir.core().write();
        let mut child = target.core().write_nested(1);
        dir.store_attributes(&mut parent);
        target.store_attributes(&mut child);
        fs.link(&mut t, &mut parent, dentry.name(), &mut child, now)?;
        let tid = t.tid();
        dir.show(&parent);
        target.show(&child);
        dir.data().note(tid, true);
        target.data().note(tid, true);
        drop((child, parent));
        t.stop()?;
        Ok(tid)
    });
    let tid = mount.judge(done)?;
    dentry.instantiate(target.hold());
    dir.sync_if_asked(tid)
}

/// Removes a name.
///
/// # Errors
///
/// As `libvexfs::Fs::unlink`.
pub(crate) fn unlink(dir: &VexInode, dentry: &Dentry) -> Result {
    let target = dentry.inode().ok_or(ENOENT)?;
    if target.is_dir() {
        return Err(EISDIR);
    }
    take_name(dir, dentry.name(), target)
}

/// Removes an empty directory.
///
/// # Errors
///
/// As `libvexfs::Fs::rmdir`.
pub(crate) fn rmdir(dir: &VexInode, dentry: &Dentry) -> Result {
    let target = dentry.inode().ok_or(ENOENT)?;
    if !target.is_dir() {
        return Err(ENOTDIR);
    }
    take_name(dir, dentry.name(), target)
}

fn take_name(dir: &VexInode, name: &[u8], target: &VexInode) -> Result {
    dir.check_running()?;
    let (mount, fs) = (dir.mount(), dir.fs());
    let done = mount.with_space(|| {
        let now = dir.now().max(target.now());
        let mut t = fs.store.begin(credits::UNLINK)?;
        let mut parent = dir.core().write();
        let mut child = target.core().write_nested(1);
        dir.store_attributes(&mut parent);
        target.store_attributes(&mut child);
        if child.is_dir() {
            fs.rmdir(&mut t, &mut parent, name, &mut child, now)?;
        } else {
            fs.unlink(&mut t, &mut parent, name, &mut child, now)?;
        }
        let tid = t.tid();
        dir.show(&parent);
        target.show(&child);
        dir.data().note(tid, true);
        target.data().note(tid, true);
        drop((child, parent));
        t.stop()?;
        Ok(tid)
    });
    let tid = mount.judge(done)?;
    dir.sync_if_asked(tid)
}

/// The target of a symbolic link, terminated.
///
/// # Errors
///
/// `EUCLEAN`, `EIO`, `ENOMEM`.
pub(crate) fn read_link(inode: &VexInode) -> Result<KVec<u8>> {
    inode.check_running()?;
    let mut target = KVec::new();
    let read = inode.fs().read_symlink(&inode.core().read(), &mut target);
    inode.mount().judge(read)?;
    target.push(0, GFP_KERNEL)?;
    Ok(target)
}
