// SPDX-License-Identifier: GPL-2.0

//! Orphans: inodes with something left to free.
//!
//! Freeing all of a large file does not fit into one transaction. So the inode first gets a record
//! in the orphan tree of its group, then transactions of bounded size take it apart, and the last
//! one removes the record. After a crash, mount finds the record and goes on where that ended.

use crate::libvexfs::format::inode::STATE_ORPHAN;
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::tree::init_root;
use crate::libvexfs::Fs;
use kernel::prelude::*;

/// The inode has no links and is to be freed.
pub const DELETE: u8 = 1;
/// The file is to be cut to its size: blocks beyond it are to be freed.
pub const TRUNCATE: u8 = 2;

impl<S: Store> Fs<S> {
    /// Makes an inode an orphan for the reason `why`. Does not log it. Credits:
    /// [`credits::ORPHAN`](crate::libvexfs::credits::ORPHAN).
    ///
    /// # Errors
    ///
    /// `ENOSPC` and others, with nothing dirtied and the inode as it was.
    pub fn orphan_add(&self, t: &mut S::Trans, i: &mut Inode, why: u8) -> Result {
        if i.state & STATE_ORPHAN != 0 && why != DELETE {
            // A record is there, and its reason is the same or the stronger one.
            return Ok(());
        }
        self.orphan_record_set(t, i.ino, why)?;
        i.state |= STATE_ORPHAN;
        Ok(())
    }

    /// Ends it: the file was cut, or has a link now. An inode without links stays an orphan. Does
    /// not log it. Credits: [`credits::ORPHAN`](crate::libvexfs::credits::ORPHAN).
    ///
    /// # Errors
    ///
    /// What the tree returns.
    pub fn orphan_remove(&self, t: &mut S::Trans, i: &mut Inode) -> Result {
        if i.state & STATE_ORPHAN == 0 || i.nlink == 0 {
            return Ok(());
        }
        self.orphan_record_remove(t, i.ino)?;
        i.state &= !STATE_ORPHAN;
        Ok(())
    }

    /// Checks, before anything changes, that an orphan has its record.
    pub(crate) fn orphan_verify(&self, i: &Inode) -> Result {
        if i.state & STATE_ORPHAN == 0 {
            return Ok(());
        }
        match self.orphan_record_next(self.group_of_ino(i.ino)?, i.ino)? {
            Some((ino, _)) if ino == i.ino => Ok(()),
            _ => Err(self.damaged(i.ino, 0, "an orphan is not in the list of orphans")),
        }
    }

    /// Shows the orphans of a group from inode number `from` on to `f` until it says false.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn orphans(&self, group: u32, mut from: u64, f: &mut dyn FnMut(u64, u8) -> bool) -> Result {
        while let Some((ino, why)) = self.orphan_record_next(group, from)? {
            if !f(ino, why) {
                break;
            }
            match ino.checked_add(1) {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Frees a bounded part of an inode without links: its data, its records, then itself. True
    /// when nothing is left of it. Logs the inode. Credits:
    /// [`credits::REAP_STEP`](crate::libvexfs::credits::REAP_STEP).
    ///
    /// # Errors
    ///
    /// `EINVAL` for an inode that has links or is no orphan; `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn reap_step(&self, t: &mut S::Trans, i: &mut Inode) -> Result<bool> {
        if i.nlink != 0 || i.state & STATE_ORPHAN == 0 {
            return Err(EINVAL);
        }
        // One thing at a time, which keeps the bound of each transaction low.
        if !self.has_no_data(i)? {
            self.reap_data(t, i)?;
            self.log_inode(t, i)?;
            return Ok(false);
        }
        if !i.attr_in_core() {
            self.tree_destroy_step(t, i.attr_root_mut())?;
            self.log_inode(t, i)?;
            return Ok(false);
        }
        self.orphan_verify(i)?;
        // Attribute records that are left lie in the inode and go with it.
        self.free_inode(t, i)?;
        self.orphan_record_remove(t, i.ino)?;
        i.state &= !STATE_ORPHAN;
        init_root(&mut i.attr);
        Ok(true)
    }

    /// Cuts a bounded part off a file that a crash left longer than its size says; true when it is
    /// done and no orphan any more. Logs the inode. Credits:
    /// [`credits::REAP_STEP`](crate::libvexfs::credits::REAP_STEP).
    ///
    /// # Errors
    ///
    /// `EINVAL` for an inode without links: it is to be reaped; `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn trim_step(&self, t: &mut S::Trans, i: &mut Inode) -> Result<bool> {
        if i.nlink == 0 {
            return Err(EINVAL);
        }
        self.orphan_verify(i)?;
        let end = i.size.div_ceil(crate::libvexfs::journal::BLOCK_SIZE as u64);
        if i.is_reg() && !self.truncate_step(t, i, end)? {
            self.log_inode(t, i)?;
            return Ok(false);
        }
        self.orphan_remove(t, i)?;
        self.log_inode(t, i)?;
        Ok(true)
    }

    fn has_no_data(&self, i: &Inode) -> Result<bool> {
        // The root of a short symbolic link is no tree but the target.
        Ok(i.has_inline_link() || self.tree_next(i.data_root(), 0, |_, _| ())?.is_none())
    }

    /// One step of freeing what the data root holds.
    fn reap_data(&self, t: &mut S::Trans, i: &mut Inode) -> Result {
        if i.is_reg() {
            self.truncate_step(t, i, 0)?;
        } else {
            self.tree_destroy_step(t, i.data_root_mut())?;
        }
        Ok(())
    }
}
