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
    /// The filter lets none of its records in.
    Refused,
    /// The filter lets some of its records in.
    Depends,
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
    /// Verdicts on files. Those on directories are in the kernel's own caches.
    pub(super) memo: Memo<Verdict>,
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

    /// Whether the caller may see this file, where the search is to look. Remembers the answer.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    ///
    /// # Context
    ///
    /// May sleep; no lock held.
    pub(super) fn sees(&mut self, ino: u64, generation: u32) -> Result<bool> {
        let verdict = match self.memo.get(ino, generation) {
            Some(verdict) => verdict,
            None => {
                let verdict = match self.readable(ino, generation)? {
                    Some(_) => self.place(ino, generation)?,
                    None => Verdict::Hidden,
                };
                self.memo.set(ino, generation, verdict);
                verdict
            }
        };
        Ok(verdict == Verdict::Seen)
    }

    /// The inode, if the caller may read it.
    ///
    /// # Errors
    ///
    /// As [`Sight::sees`].
    pub(super) fn readable(&self, ino: u64, generation: u32) -> Result<Option<InodeRef>> {
        let found = get(self.file.inode().sb(), ino, generation)?;
        Ok(found.filter(|i| access::permission(self.file.idmap(), i, MAY_READ).is_ok()))
    }

    /// The verdict by the places where an inode lies, which the caller may read.
    ///
    /// # Errors
    ///
    /// As [`Sight::sees`].
    pub(super) fn place(&mut self, ino: u64, generation: u32) -> Result<Verdict> {
        if !self.find_path(ino, generation)? {
            return Ok(Verdict::Hidden);
        }
        let inside = match &self.scope {
            Scope::All => true,
            Scope::Only(only, of) => (*only, *of) == (ino, generation),
            Scope::Below(dir) => self.below(ino, generation, dir.ino())?,
        };
        Ok(if inside {
            Verdict::Seen
        } else {
            Verdict::Elsewhere
        })
    }

    /// Whether the caller gets from directory `from` to an inode.
    ///
    /// # Errors
    ///
    /// As [`Sight::sees`].
    pub(super) fn below(&self, ino: u64, generation: u32, from: u64) -> Result<bool> {
        let mut path = KVec::new();
        self.walk(ino, generation, from, &mut path, &mut |_| Ok(true))
    }

    /// Shows the paths from the root to an inode to `found` until that says true.
    ///
    /// # Errors
    ///
    /// As [`Sight::sees`], and what `found` returns.
    pub(super) fn each_path(
        &self,
        ino: u64,
        generation: u32,
        found: &mut dyn FnMut(&[u8]) -> Result<bool>,
    ) -> Result<bool> {
        let mut path = KVec::new();
        self.walk(ino, generation, self.root.ino(), &mut path, found)
    }

    /// The file or directory that hits must be or lie below, if it is not everything.
    pub(super) fn scope(&self) -> Option<(u64, u32)> {
        match &self.scope {
            Scope::All => None,
            Scope::Only(ino, generation) => Some((*ino, *generation)),
            Scope::Below(dir) => Some((dir.ino(), dir.generation())),
        }
    }

    /// Finds a path from the root to an inode and leaves it in `self.path`.
    fn find_path(&mut self, ino: u64, generation: u32) -> Result<bool> {
        let mut path = core::mem::take(&mut self.path);
        let root = self.root.ino();
        let found = self.walk(ino, generation, root, &mut path, &mut |_| Ok(true));
        self.path = path;
        found
    }

    /// Shows the paths from a directory to an inode to `found` until that says true to one, which
    /// is in `path` then.
    fn walk(
        &self,
        ino: u64,
        generation: u32,
        from: u64,
        path: &mut KVec<u8>,
        found: &mut dyn FnMut(&[u8]) -> Result<bool>,
    ) -> Result<bool> {
        let way = Way {
            sb: self.file.inode().sb(),
            idmap: Some(self.file.idmap()),
            start: ino,
            links: None,
            changed: false,
        };
        Ok(way.walk(generation, from, path, found)? == Some(true))
    }

    /// The path of a file that the caller may see, or of a directory.
    fn path_to(&mut self, ino: u64, generation: u32) -> Result<Option<&[u8]>> {
        let sb = self.file.inode().sb();
        let Some(inode) = get(sb, ino, generation)? else {
            return Err(estale());
        };
        if access::permission(self.file.idmap(), &inode, MAY_READ).is_err()
            || !self.find_path(ino, generation)?
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

/// Whether any path leads from a directory to an inode, whoever may walk it; or that cannot be told.
///
/// # Errors
///
/// As [`Sight::sees`].
pub(super) fn leads_to(from: u64, inode: &VexInode) -> Result<bool> {
    let way = Way {
        sb: inode.sb(),
        idmap: None,
        start: inode.ino(),
        links: None,
        changed: false,
    };
    let mut path = KVec::new();
    let found = way.walk(inode.generation(), from, &mut path, &mut |_| Ok(true))?;
    Ok(found != Some(false))
}

/// The way up from a file: each directory must be one that the caller may search.
struct Way<'a> {
    sb: &'a SuperBlock,
    /// The caller's; none if it does not matter who searches.
    idmap: Option<IdMap>,
    // Where the walk starts, and how often its links had changed when they were looked at first.
    start: u64,
    links: Option<u32>,
    // They have changed since: one that was made may have been passed over.
    changed: bool,
}

impl Way<'_> {
    /// Shows the paths from a directory to the inode, which is of this generation, to `found` until
    /// that says true to one. None: there was no end of renames, or paths are too long for any
    /// program to open by name.
    fn walk(
        mut self,
        generation: u32,
        from: u64,
        path: &mut KVec<u8>,
        found: &mut dyn FnMut(&[u8]) -> Result<bool>,
    ) -> Result<Option<bool>> {
        let fs = &self.sb.mount().fs;
        for _ in 0..RETRIES {
            let moment = RenameMoment::now();
            (self.links, self.changed) = (None, false);
            let start = (self.start, generation);
            match fs.each_path(&mut self, start, from, path, found) {
                Err(e) if e == enametoolong() => break,
                Ok(false) if moment.passed() || self.changed => {}
                other => return other.map(Some),
            }
        }
        Ok(None)
    }
}

impl Ancestors for Way<'_> {
    fn with(&mut self, ino: u64, f: &mut dyn FnMut(&Inode) -> Result) -> Result {
        let inode = VexInode::get(self.sb, ino, None)?;
        if let Some(idmap) = self.idmap.filter(|_| inode.is_dir()) {
            access::permission(idmap, &inode, MAY_SEARCH)?;
        }
        let core = inode.core().read();
        // Links change under the lock that is held, so what is seen goes with the count.
        if ino == self.start {
            let now = inode.link_changes();
            self.changed |= *self.links.get_or_insert(now) != now;
        }
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
