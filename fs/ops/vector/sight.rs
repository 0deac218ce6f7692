// SPDX-License-Identifier: GPL-2.0

//! Which files the caller may see, and what their paths are: a file is seen by those who may read
//! it and search every directory on some path that leads to it from the root of the mount.

use crate::libvexfs::errno::{enametoolong, estale};
use crate::libvexfs::format::inode::STATE_INTERNAL;
use crate::libvexfs::parent::path::Ancestors;
use crate::libvexfs::vector::memo::Memo;
use crate::libvexfs::vector::top::sort_by_key;
use crate::libvexfs::Inode;
use crate::vfs::{
    access::{self, RenameMoment, MAY_READ, MAY_SEARCH, MAY_WRITE},
    bindings,
    dentry::IdMap,
    inode::{InodeRef, VexInode},
    ioctl::File,
    sched,
    super_block::SuperBlock,
    uapi,
};
use kernel::prelude::*;

/// How often a search for a path that something was renamed under is begun anew.
const RETRIES: usize = 4;

/// What a caller may know of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is gone, or the caller may not read it, or reaches it by no path.
    Hidden,
    /// It is not where the search is to look.
    Elsewhere,
    /// The caller may see it.
    Seen,
}

/// Where hits may lie.
enum Scope {
    /// Anywhere in reach.
    All,
    /// Below this directory.
    Below(InodeRef),
    /// This very file.
    Only(u64, u32),
}

/// What one caller sees through one descriptor, for the length of one call.
pub(super) struct Sight<'a> {
    file: &'a File,
    root: InodeRef,
    scope: Scope,
    // Verdicts on files. Those on directories are in the kernel's own caches.
    memo: Memo<Verdict>,
    path: KVec<u8>,
}

impl<'a> Sight<'a> {
    /// Through `file`; with `subtree` only what lies below it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EIO`.
    pub(super) fn new(file: &'a File, subtree: bool) -> Result<Self> {
        let root = access::reach(file);
        let inode = file.inode();
        let scope = if !subtree || inode.ino() == root.ino() {
            Scope::All
        } else if inode.is_dir() {
            Scope::Below(inode.hold())
        } else {
            Scope::Only(inode.ino(), inode.generation())
        };
        Ok(Sight {
            file,
            root,
            scope,
            memo: Memo::new()?,
            path: KVec::new(),
        })
    }

    /// Whether the caller may see this file, where the search is to look.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    ///
    /// # Context
    ///
    /// May sleep; no lock held.
    pub(super) fn sees(&mut self, ino: u64, generation: u32) -> Result<bool> {
        Ok(self.judge(ino, generation)?.0 == Verdict::Seen)
    }

    /// The verdict on a file, and whether it was known already. Remembers it.
    ///
    /// # Errors
    ///
    /// As [`Sight::sees`].
    pub(super) fn judge(&mut self, ino: u64, generation: u32) -> Result<(Verdict, bool)> {
        if let Some(verdict) = self.memo.get(ino, generation) {
            return Ok((verdict, true));
        }
        let verdict = self.look(ino, generation)?;
        self.memo.set(ino, generation, verdict);
        Ok((verdict, false))
    }

    fn look(&mut self, ino: u64, generation: u32) -> Result<Verdict> {
        let Some(inode) = get(self.file.inode().sb(), ino, generation)? else {
            return Ok(Verdict::Hidden);
        };
        if access::permission(self.file.idmap(), &inode, MAY_READ).is_err()
            || !self.find_path(ino, generation, None)?
        {
            return Ok(Verdict::Hidden);
        }
        let inside = match &self.scope {
            Scope::All => true,
            Scope::Only(only, of) => (*only, *of) == (ino, generation),
            Scope::Below(dir) => {
                let dir = dir.hold();
                self.find_path(ino, generation, Some(&dir))?
            }
        };
        Ok(if inside {
            Verdict::Seen
        } else {
            Verdict::Elsewhere
        })
    }

    /// Finds a path to an inode from a directory (none: the root) and leaves it in `self.path`.
    fn find_path(&mut self, ino: u64, generation: u32, from: Option<&VexInode>) -> Result<bool> {
        let sb = self.file.inode().sb();
        let fs = self.file.inode().fs();
        let from = from.unwrap_or(&self.root).ino();
        let mut way = Way {
            sb,
            idmap: self.file.idmap(),
        };
        for _ in 0..RETRIES {
            let moment = RenameMoment::now();
            match fs.path_of(&mut way, ino, generation, from, &mut self.path) {
                Ok(true) => return Ok(true),
                // Too long for any program to open by name.
                Err(e) if e == enametoolong() => return Ok(false),
                Err(e) => return Err(e),
                Ok(false) if moment.passed() => {}
                Ok(false) => return Ok(false),
            }
        }
        Ok(false)
    }

    /// The path of a file that the caller may see, or of a directory.
    fn path_to(&mut self, ino: u64, generation: u32) -> Result<Option<&[u8]>> {
        let sb = self.file.inode().sb();
        let Some(inode) = get(sb, ino, generation)? else {
            return Err(estale());
        };
        if access::permission(self.file.idmap(), &inode, MAY_READ).is_err()
            || !self.find_path(ino, generation, None)?
        {
            return Ok(None);
        }
        Ok(Some(if self.path.is_empty() {
            b"."
        } else {
            &self.path
        }))
    }
}

/// The inode, if it is there, has links and is one that users know.
pub(super) fn get(sb: &SuperBlock, ino: u64, generation: u32) -> Result<Option<InodeRef>> {
    // A number from outside, or from a record that is just being removed: what is no inode (any
    // more) must not be read as one and taken for damage.
    if !sb.mount().fs.inode_in_use(ino)? {
        return Ok(None);
    }
    match VexInode::get(sb, ino, Some(generation)) {
        Ok(inode) => {
            let internal = inode.core().read().state & STATE_INTERNAL != 0;
            Ok((!internal && inode.nlink() != 0).then_some(inode))
        }
        Err(e) if e == estale() => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether the caller may change the records that files have, by file.
///
/// Files are looked at with no lock of a collection held: to get an inode may mean to wait until it
/// is freed, to let go of it may mean to free it, and whoever frees an inode takes these locks to
/// remove its records.
pub(super) struct Verdicts {
    /// In order of number and generation.
    known: KVVec<(u64, u32, Result)>,
    asked: KVVec<(u64, u32)>,
}

impl Verdicts {
    /// None yet.
    pub(super) fn new() -> Self {
        Verdicts {
            known: KVVec::new(),
            asked: KVVec::new(),
        }
    }

    /// The verdict on a file. Without one the answer means nothing, and [`Verdicts::look`] will
    /// find it out.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn get(&mut self, ino: u64, generation: u32) -> Result<Result> {
        let found = self
            .known
            .binary_search_by_key(&(ino, generation), |k| (k.0, k.1));
        if let Some(known) = found.ok().and_then(|at| self.known.get(at)) {
            return Ok(known.2);
        }
        self.asked.push((ino, generation), GFP_KERNEL)?;
        Ok(Ok(()))
    }

    /// Whether files were asked for on which there is no verdict.
    pub(super) fn missing(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Looks at the files that were asked for.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EINTR`.
    ///
    /// # Context
    ///
    /// May sleep; no lock held.
    pub(super) fn look(&mut self, file: &File) -> Result {
        sort_by_key(&mut self.asked, |a| *a);
        let mut last = None;
        for &(ino, generation) in self.asked.iter() {
            if last == Some((ino, generation)) {
                continue;
            }
            last = Some((ino, generation));
            if sched::killed() {
                return Err(EINTR);
            }
            let verdict = match get(file.inode().sb(), ino, generation) {
                Ok(Some(inode)) => access::permission(file.idmap(), &inode, MAY_WRITE),
                // It is gone, and its records soon will be.
                Ok(None) => Ok(()),
                Err(e) if e == ENOMEM => return Err(e),
                Err(e) => Err(e),
            };
            self.known.push((ino, generation, verdict), GFP_KERNEL)?;
        }
        self.asked.clear();
        sort_by_key(&mut self.known, |k| (k.0, k.1));
        Ok(())
    }
}

/// The way up from a file: each directory must be one that the caller may search.
struct Way<'a> {
    sb: &'a SuperBlock,
    idmap: IdMap,
}

impl Ancestors for Way<'_> {
    fn with(&mut self, ino: u64, f: &mut dyn FnMut(&Inode) -> Result) -> Result {
        let inode = VexInode::get(self.sb, ino, None)?;
        if inode.is_dir() {
            access::permission(self.idmap, &inode, MAY_SEARCH)?;
        }
        let core = inode.core().read();
        f(&core)
    }
}

/// `VEXFS_IOC_PATH`.
pub(super) fn path(file: &File, arg: usize) -> Result<isize> {
    let (mut raw, size) = uapi::get::<bindings::vexfs_path>(arg, 40)?;
    if raw.flags != 0 || raw.reserved != 0 || raw.buf_len > bindings::VEXFS_MAX_PATH {
        return Err(EINVAL);
    }
    let mut sight = Sight::new(file, false)?;
    let path = sight.path_to(raw.ino, raw.generation)?.ok_or(ENOENT)?;
    raw.path_len = path.len() as u32;
    let fits = raw.path_len <= raw.buf_len;
    if fits {
        uapi::slice(raw.buf, path.len())
            .writer()
            .write_slice(path)?;
    }
    uapi::put(arg, size, &raw)?;
    if fits {
        Ok(0)
    } else {
        Err(enametoolong())
    }
}
