// SPDX-License-Identifier: GPL-2.0

//! Moving names: plain, onto another name, exchanged, and with a whiteout left behind.

use super::{near, touch, NewInode, LINK_MAX};
use crate::libvexfs::alloc::{Mode, Space};
use crate::libvexfs::credits::blocks;
use crate::libvexfs::dir::entry::dtype_of;
use crate::libvexfs::dir::{DirEntry, DirEntryRef};
use crate::libvexfs::errno::enotempty;
use crate::libvexfs::format::inode::S_IFCHR;
use crate::libvexfs::format::{Inode, Time};
use crate::libvexfs::journal::Store;
use crate::libvexfs::Fs;
use kernel::prelude::*;

/// Fail with `EEXIST` rather than replace something.
pub const RENAME_NOREPLACE: u32 = 1;
/// Exchange both names; both must exist.
pub const RENAME_EXCHANGE: u32 = 2;
/// Leave a whiteout (a character device of number 0) in the old place.
pub const RENAME_WHITEOUT: u32 = 4;

/// Arguments of [`Fs::rename`]. The caller holds all of these inodes for writing.
pub struct Rename<'a> {
    /// The directory that has the name.
    pub old_dir: &'a mut Inode,
    /// The name.
    pub old_name: &'a [u8],
    /// What it names.
    pub old: &'a mut Inode,
    /// The directory that gets the name; `None`: the same.
    pub new_dir: Option<&'a mut Inode>,
    /// The new name.
    pub new_name: &'a [u8],
    /// What the new name names so far.
    pub new: Option<&'a mut Inode>,
    /// `RENAME_*`.
    pub flags: u32,
    /// Owner, flags, attributes and times of the whiteout, with [`RENAME_WHITEOUT`]; its mode and number are given.
    pub whiteout: NewInode<'a>,
    /// The time of it all.
    pub now: Time,
}

/// What the plan of a rename found out.
struct Plan {
    old: DirEntry,
    /// The entry that is there under the new name.
    new: Option<DirEntry>,
    /// The cookie that the new name has or gets.
    cookie: u64,
}

impl Rename<'_> {
    fn new_dir(&self) -> &Inode {
        self.new_dir.as_deref().unwrap_or(self.old_dir)
    }

    fn new_dir_mut(&mut self) -> &mut Inode {
        match self.new_dir.as_deref_mut() {
            Some(dir) => dir,
            None => self.old_dir,
        }
    }

    /// Checks what needs no look at the disk.
    fn check(&self) -> Result {
        let known = RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
        let exchange = self.flags & RENAME_EXCHANGE != 0;
        if self.flags & !known != 0 || exchange && self.flags != RENAME_EXCHANGE {
            return Err(EINVAL);
        }
        // A directory cannot become its own parent.
        if self.old.ino == self.new_dir().ino {
            return Err(EINVAL);
        }
        match self.new.as_deref() {
            Some(new) if new.ino == self.old_dir.ino => {
                Err(if exchange { EINVAL } else { enotempty() })
            }
            _ => Ok(()),
        }
    }
}

impl<S: Store> Fs<S> {
    /// Moves a name. Returns the whiteout that it left, if one was asked for. That the old inode is
    /// no ancestor of the new directory is the caller's concern ([`Fs::is_below`] tells; in the
    /// kernel the VFS knows). Credits: [`credits::RENAME`](crate::libvexfs::credits::RENAME).
    ///
    /// # Errors
    ///
    /// `ENOENT`, `EEXIST`, `EISDIR`, `ENOTDIR`, `ENOTEMPTY`, `EMLINK`, `EINVAL`, `ENAMETOOLONG`,
    /// `ENOSPC`, `ESTALE` (a name belongs to another inode than was given); `EUCLEAN`, `EIO`,
    /// `ENOMEM`.
    pub fn rename(&self, t: &mut S::Trans, mut r: Rename<'_>) -> Result<Option<Inode>> {
        r.check()?;
        let old = self.plan_entry(r.old_dir, r.old_name, r.old)?;
        if r.new_dir().nlink == 0 {
            return Err(ENOENT);
        }
        let probe = self.dir_probe(r.new_dir(), r.new_name)?;
        if r.flags & RENAME_NOREPLACE != 0 && probe.found.is_some() {
            return Err(EEXIST);
        }
        if let Some(there) = probe.found {
            if there.ino == r.old.ino {
                // Two names of one inode: POSIX says that nothing happens.
                return Ok(None);
            }
        }
        // The place of the old name is not free for the new one: both exist for a moment.
        let cookie = match (probe.found, probe.free) {
            (Some(there), _) => there.cookie,
            (None, Some(free)) => free,
            (None, None) => return Err(ENOSPC),
        };
        let plan = Plan {
            old,
            new: probe.found,
            cookie,
        };
        match (plan.new, r.new.as_deref()) {
            (Some(_), Some(new)) => {
                self.plan_entry(r.new_dir(), r.new_name, new)?;
            }
            (None, None) if r.flags & RENAME_EXCHANGE != 0 => return Err(ENOENT),
            (None, None) => {}
            // The caller's view of the new name is out of date.
            _ => return Err(crate::libvexfs::errno::estale()),
        }
        self.parent_absent(r.old, r.new_dir(), plan.cookie)?;
        self.plan_homes(t, &[r.old_dir, r.old, r.new_dir()])?;
        if let Some(new) = r.new.as_deref() {
            self.plan_homes(t, &[new])?;
        }
        if r.flags & RENAME_EXCHANGE != 0 {
            self.plan_exchange(&r, &plan)?;
            self.exchange(t, &mut r, &plan)?;
            return Ok(None);
        }
        self.plan_replace(&r)?;
        self.move_name(t, &mut r, &plan)
    }

    /// Plan: what is under the new name may be replaced, and link counts stay in their limits.
    fn plan_replace(&self, r: &Rename<'_>) -> Result {
        let is_dir = r.old.is_dir();
        if let Some(new) = r.new.as_deref() {
            match (is_dir, new.is_dir()) {
                (true, false) => return Err(ENOTDIR),
                (false, true) => return Err(EISDIR),
                (true, true) => self.plan_empty(new)?,
                (false, false) => {}
            }
        } else if is_dir && r.new_dir.is_some() && r.new_dir().nlink >= LINK_MAX {
            return Err(EMLINK);
        }
        if is_dir {
            self.plan_subdirectory(r.old_dir)?;
        }
        Ok(())
    }

    /// Plan: an exchange leaves no stale pointer, and link counts stay in their limits.
    fn plan_exchange(&self, r: &Rename<'_>, plan: &Plan) -> Result {
        let new = r.new.as_deref().ok_or(ENOENT)?;
        self.parent_absent(new, r.old_dir, plan.old.cookie)?;
        if r.new_dir.is_none() {
            return Ok(());
        }
        if r.old.is_dir() {
            self.plan_subdirectory(r.old_dir)?;
        }
        if new.is_dir() {
            self.plan_subdirectory(r.new_dir())?;
        }
        let grows = match (r.old.is_dir(), new.is_dir()) {
            (true, false) => r.new_dir(),
            (false, true) => &*r.old_dir,
            _ => return Ok(()),
        };
        if grows.nlink >= LINK_MAX {
            return Err(EMLINK);
        }
        Ok(())
    }

    /// Plan: a directory with a directory in it counts it.
    fn plan_subdirectory(&self, dir: &Inode) -> Result {
        if dir.nlink < 3 {
            return Err(self.damaged(dir.ino, 0, "the link count of a directory is too low"));
        }
        Ok(())
    }

    /// Apply: moves the name, replacing what is there.
    fn move_name(
        &self,
        t: &mut S::Trans,
        r: &mut Rename<'_>,
        plan: &Plan,
    ) -> Result<Option<Inode>> {
        let is_dir = r.old.is_dir();
        let leaves_whiteout = r.flags & RENAME_WHITEOUT != 0;
        // Replacing a file, which saving one often ends with, works on a full volume: the directory
        // does not grow.
        let mode = match plan.new {
            Some(_) => Mode::Privileged,
            None => Mode::Normal,
        };
        let attrs = self.xattr_plan_initial(match leaves_whiteout {
            true => r.whiteout.attrs,
            false => &[],
        })?;
        let blocks = blocks::RENAME + attrs.blocks;
        let _claim = match leaves_whiteout {
            true => Some(self.quota_claim(&r.whiteout.owners(), 0, 1)?),
            false => None,
        };
        let mut space = self.space(near(r.new_dir()), blocks, mode)?;
        // What can still run out of space comes first: inodes, then the orphan record.
        let mut whiteout = match leaves_whiteout {
            true => Some(self.new_whiteout(t, r)?),
            false => None,
        };
        if let Some(w) = &mut whiteout {
            self.xattr_store_initial(t, &mut space, w, &attrs)?;
        }
        let new_dir = (r.new_dir().ino, r.new_dir().generation);
        if let Some(new) = r.new.as_deref_mut() {
            self.drop_link(t, new_dir.0, plan.cookie, new, r.now)?;
        }

        // The new name.
        let (ino, dtype) = (r.old.ino, dtype_of(r.old.mode));
        if plan.new.is_some() {
            self.dir_update(t, r.new_dir_mut(), plan.cookie, ino, dtype)?;
        } else {
            let entry = DirEntryRef {
                ino,
                dtype,
                cookie: plan.cookie,
                name: r.new_name,
            };
            self.dir_insert(t, &mut space, r.new_dir_mut(), &entry)?;
        }
        self.parent_remove(t, r.old, r.old_dir.ino, plan.old.cookie)?;
        self.parent_insert(t, &mut space, r.old, new_dir, plan.cookie, r.new_name)?;

        // The old name.
        match whiteout.as_mut() {
            Some(w) => self.put_whiteout(t, &mut space, r, plan, w)?,
            None => self.dir_remove(t, r.old_dir, plan.old.cookie, r.old_name.len())?,
        }

        // A directory that moves takes its ".." along; one that is replaced is gone.
        if is_dir {
            if r.new.is_some() {
                let dir = r.new_dir_mut();
                dir.nlink = dir.nlink.saturating_sub(1);
            }
            move_dotdot(r, true);
        }
        self.finish(t, r)?;
        Ok(whiteout)
    }

    /// Apply: exchanges what two names name.
    fn exchange(&self, t: &mut S::Trans, r: &mut Rename<'_>, plan: &Plan) -> Result {
        let old_is_dir = r.old.is_dir();
        let new_is_dir = r.new.as_deref().is_some_and(Inode::is_dir);
        let mut space = self.space(near(r.new_dir()), blocks::RENAME, Mode::Normal)?;
        let old_dir = (r.old_dir.ino, r.old_dir.generation);
        let new_dir = (r.new_dir().ino, r.new_dir().generation);
        let (old_cookie, new_cookie) = (plan.old.cookie, plan.cookie);
        let Some(new) = r.new.as_deref_mut() else {
            return Err(ENOENT);
        };
        let (new_ino, new_dtype) = (new.ino, dtype_of(new.mode));
        let (old_ino, old_dtype) = (r.old.ino, dtype_of(r.old.mode));

        self.parent_remove(t, new, new_dir.0, new_cookie)?;
        self.parent_insert(t, &mut space, new, old_dir, old_cookie, r.old_name)?;
        new.ctime = r.now;
        self.log_inode(t, new)?;
        self.parent_remove(t, r.old, old_dir.0, old_cookie)?;
        self.parent_insert(t, &mut space, r.old, new_dir, new_cookie, r.new_name)?;
        self.dir_update(t, r.old_dir, old_cookie, new_ino, new_dtype)?;
        self.dir_update(t, r.new_dir_mut(), new_cookie, old_ino, old_dtype)?;
        if old_is_dir {
            move_dotdot(r, true);
        }
        if new_is_dir {
            move_dotdot(r, false);
        }
        self.finish(t, r)
    }

    /// Apply: makes the inode of a whiteout.
    fn new_whiteout(&self, t: &mut S::Trans, r: &Rename<'_>) -> Result<Inode> {
        let mut w = self.alloc_inode(t, Some(r.old_dir), S_IFCHR, r.now)?;
        w.uid = r.whiteout.uid;
        w.gid = r.whiteout.gid;
        w.projid = r.whiteout.projid;
        w.flags = r.whiteout.flags;
        w.nlink = 1;
        Ok(w)
    }

    /// Apply: lets the old name name the whiteout.
    fn put_whiteout(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        r: &mut Rename<'_>,
        plan: &Plan,
        w: &mut Inode,
    ) -> Result {
        let cookie = plan.old.cookie;
        let dir = (r.old_dir.ino, r.old_dir.generation);
        self.dir_update(t, r.old_dir, cookie, w.ino, dtype_of(w.mode))?;
        self.parent_insert(t, space, w, dir, cookie, r.old_name)?;
        self.log_inode(t, w)
    }

    /// Apply: times, and the directories and the moved inode go to disk.
    fn finish(&self, t: &mut S::Trans, r: &mut Rename<'_>) -> Result {
        r.old.ctime = r.now;
        touch(r.old_dir, r.now);
        self.log_inode(t, r.old)?;
        self.log_inode(t, r.old_dir)?;
        if let Some(dir) = r.new_dir.as_deref_mut() {
            touch(dir, r.now);
            self.log_inode(t, dir)?;
        }
        Ok(())
    }
}

/// Counts a directory that moves from the old directory to the new one (or back). Limits were
/// checked by the plan.
fn move_dotdot(r: &mut Rename<'_>, forward: bool) {
    let Some(new_dir) = r.new_dir.as_deref_mut() else {
        return;
    };
    let (from, to) = match forward {
        true => (&mut *r.old_dir, new_dir),
        false => (new_dir, &mut *r.old_dir),
    };
    from.nlink = from.nlink.saturating_sub(1);
    to.nlink = to.nlink.saturating_add(1);
}
