// SPDX-License-Identifier: GPL-2.0

//! From an inode to a path, by parent pointers.
//!
//! Locks go from directories to children, and this walk goes the other way. So it never holds two
//! inodes at once: it copies what one says, lets it go, and asks the next one to confirm. Whoever
//! must exclude that a rename came between (the VFS has a sequence count for it) walks again.

use super::record;
use crate::libvexfs::attr::kind;
use crate::libvexfs::errno::{eloop, enametoolong, estale};
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::Fs;
use kernel::prelude::*;

/// Longest path that is resolved, as `PATH_MAX` less its final zero.
pub const PATH_LEN_MAX: usize = 4095;
/// Each component takes two bytes of the path at least, so no path is deeper.
pub const DEPTH_MAX: usize = PATH_LEN_MAX.div_ceil(2);
/// Links of one file that are tried before it counts as out of reach.
pub const LINKS_MAX: usize = 1024;

/// Gives a path walk the inodes on its way.
pub trait Ancestors {
    /// Shows inode `ino` to `f` while it cannot change. For a directory, checks first that the
    /// caller may search it.
    ///
    /// # Errors
    ///
    /// What `f` returns. `EACCES`, `EPERM`, `ENOENT` and `ESTALE` mean that there is no way through
    /// this inode; any other error ends the walk.
    fn with(&mut self, ino: u64, f: &mut dyn FnMut(&Inode) -> Result) -> Result;
}

/// One step up: what a child says about the entry that names it.
#[derive(Clone, Copy)]
struct Step {
    dir: u64,
    generation: u32,
    cookie: u64,
    /// Start of the entry's name in the path buffer, backwards.
    name: usize,
}

impl<S: Store> Fs<S> {
    /// Finds a path from directory `root` to inode `ino` of `generation`, without a slash at the
    /// start, and puts it in `path`; empty for the root itself. `Ok(false)`: there is none that the
    /// caller may walk.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG` if all that there are have over 4,095 bytes; `EUCLEAN`, `EIO`, `ENOMEM`; what `ancestors` returns.
    pub fn path_of(
        &self,
        ancestors: &mut dyn Ancestors,
        ino: u64,
        generation: u32,
        root: u64,
        path: &mut KVec<u8>,
    ) -> Result<bool> {
        self.each_path(ancestors, (ino, generation), root, path, &mut |_| Ok(true))
    }

    /// The same for each link of inode `start` (number and generation) that leads to `root`, until
    /// `found` says true to one; then that is in `path`. `Ok(false)`: it never did.
    ///
    /// # Errors
    ///
    /// As [`Fs::path_of`], and what `found` returns.
    pub fn each_path(
        &self,
        ancestors: &mut dyn Ancestors,
        start: (u64, u32),
        root: u64,
        path: &mut KVec<u8>,
        found: &mut dyn FnMut(&[u8]) -> Result<bool>,
    ) -> Result<bool> {
        let mut from = 0;
        let mut too_long = false;
        for _ in 0..LINKS_MAX {
            path.clear();
            let mut key = None;
            match self.walk_up(ancestors, start, root, path, from, &mut key) {
                Ok(()) => {
                    path.reverse();
                    if found(path)? {
                        return Ok(true);
                    }
                }
                Err(e) if is_no_way(e) => {}
                Err(e) if e == enametoolong() => too_long = true,
                Err(e) => return Err(e),
            }
            // The next link of the same file, if it has one.
            match key {
                Some(key) => from = key + 1,
                None => break,
            }
        }
        match too_long {
            true => Err(enametoolong()),
            false => Ok(false),
        }
    }

    /// Walks up from the link of inode `start` whose key is the first from `from` on, and tells
    /// that key. The path is built backwards, byte by byte.
    fn walk_up(
        &self,
        ancestors: &mut dyn Ancestors,
        start: (u64, u32),
        root: u64,
        path: &mut KVec<u8>,
        from: u128,
        tried: &mut Option<u128>,
    ) -> Result {
        let (mut child, generation) = start;
        let mut step = None;
        let mut is_root = false;
        ancestors.with(child, &mut |i| {
            if i.generation != generation || i.nlink == 0 {
                return Err(estale());
            }
            is_root = i.ino == root;
            if !is_root {
                let (key, first) = self.step_from(i, from, path)?;
                *tried = Some(key);
                step = Some(first);
            }
            Ok(())
        })?;
        for _ in 0..DEPTH_MAX {
            if is_root {
                return Ok(());
            }
            let Some(up) = step.take() else {
                return Err(ENOENT);
            };
            ancestors.with(up.dir, &mut |i| {
                self.confirm(i, &up, child, path)?;
                is_root = i.ino == root;
                if !is_root {
                    path.push(b'/', GFP_KERNEL)?;
                    step = Some(self.step_from(i, 0, path)?.1);
                }
                Ok(())
            })?;
            child = up.dir;
        }
        // Deeper than a path can be long, or a loop on a damaged volume.
        Err(eloop())
    }

    /// Copies the first link of `i` from `from` on.
    fn step_from(&self, i: &Inode, from: u128, path: &mut KVec<u8>) -> Result<(u128, Step)> {
        if i.ino == self.sb.root_ino {
            return Err(ENOENT);
        }
        let name = path.len();
        self.attr_next(i, kind::PARENT, from, |key, value| {
            let parent = self.parent_parse(i, key, value)?;
            if name + parent.name.len() > PATH_LEN_MAX {
                return Err(enametoolong());
            }
            path.reserve(parent.name.len(), GFP_KERNEL)?;
            for &byte in parent.name.iter().rev() {
                path.push(byte, GFP_KERNEL)?;
            }
            let step = Step {
                dir: parent.ino,
                generation: parent.generation,
                cookie: parent.cookie,
                name,
            };
            Ok((key, step))
        })?
        .unwrap_or(Err(ENOENT))
    }

    /// Asks the directory whether the entry is there and names the child.
    fn confirm(&self, dir: &Inode, step: &Step, child: u64, path: &[u8]) -> Result {
        if dir.generation != step.generation || dir.nlink == 0 {
            return Err(estale());
        }
        let name = path.get(step.name..).unwrap_or_default();
        let same = self.dir_at(dir, step.cookie, |entry| {
            entry.ino == child && entry.name.iter().rev().eq(name.iter())
        })?;
        match same {
            Some(true) => Ok(()),
            _ => Err(ENOENT),
        }
    }

    /// Tells whether directory `dir` is `ancestor` or lies below it. In the kernel the VFS makes
    /// sure that no rename makes a loop; others ask here.
    ///
    /// # Errors
    ///
    /// `ELOOP` on a damaged volume; `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn is_below(&self, dir: &Inode, ancestor: u64) -> Result<bool> {
        let mut ino = dir.ino;
        let (mut up, mut generation) = self.parent_of(dir)?;
        for _ in 0..DEPTH_LIMIT {
            if ino == ancestor {
                return Ok(true);
            }
            if ino == self.sb.root_ino {
                return Ok(false);
            }
            let parent = self.read_inode(up)?;
            if parent.generation != generation || !parent.is_dir() {
                return Err(self.damaged(ino, 0, "the parent of a directory is none"));
            }
            ino = up;
            (up, generation) = self.parent_of(&parent)?;
        }
        Err(eloop())
    }
}

/// Directories can be nested deeper than a path can say, with relative names; somewhere it ends.
const DEPTH_LIMIT: usize = 1 << 20;

fn is_no_way(e: Error) -> bool {
    e == EACCES || e == EPERM || e == ENOENT || e == ENOTDIR || e == estale() || e == eloop()
}

// A key of the last link has a successor, because no inode number has all bits set.
const _: () = assert!(record::INO_MAX < u64::MAX);
