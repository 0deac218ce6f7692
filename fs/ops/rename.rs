// SPDX-License-Identifier: GPL-2.0

//! Moving names. The lock order is that of `namei`.

use super::{fileattr, namei::FirstAttrs};
use crate::libvexfs::{
    credits,
    format::inode::S_IFCHR,
    journal::{Store as _, Trans as _},
    namespace::{NewInode as Spec, Rename, RENAME_EXCHANGE, RENAME_WHITEOUT},
    xattr::initial_cost,
};
use crate::vfs::{
    core_lock::CoreGuard,
    dentry::{Dentry, IdMap},
    inode::{NewInode, VexInode},
};
use kernel::prelude::*;

/// A core that is held for writing.
type Held<'a> = CoreGuard<'a>;

/// Takes the cores of one or two inodes in order of their numbers.
fn hold_both<'a>(
    a: &'a VexInode,
    b: Option<&'a VexInode>,
    depth: i32,
) -> (Held<'a>, Option<Held<'a>>) {
    match b {
        Some(b) if b.ino() < a.ino() => {
            let b = b.core().write_nested(depth);
            (a.core().write_nested(depth + 1), Some(b))
        }
        Some(b) => {
            let a = a.core().write_nested(depth);
            (a, Some(b.core().write_nested(depth + 1)))
        }
        None => (a.core().write_nested(depth), None),
    }
}

/// Moves a name: from one directory and dentry to another.
///
/// # Errors
///
/// As `libvexfs::Fs::rename`.
pub(crate) fn rename(
    idmap: &IdMap,
    (old_dir, old_name): (&VexInode, &Dentry),
    (new_dir, new_name): (&VexInode, &Dentry),
    flags: u32,
) -> Result {
    old_dir.check_running()?;
    let (mount, fs) = (old_dir.mount(), old_dir.fs());
    let old = old_name.inode().ok_or(ENOENT)?;
    let new = new_name.inode();
    fileattr::check_project(new_dir, old)?;
    if let (true, Some(new)) = (flags & RENAME_EXCHANGE != 0, new) {
        fileattr::check_project(old_dir, new)?;
    }
    let other_dir = (new_dir.ino() != old_dir.ino()).then_some(new_dir);
    // Later than what anybody has seen of any of them.
    let now = [Some(new_dir), Some(old), new];
    let now = now
        .into_iter()
        .flatten()
        .fold(old_dir.now(), |now, inode| now.max(inode.now()));
    let mut whiteout = Spec::default();
    let mut first = None;
    if flags & RENAME_WHITEOUT != 0 {
        // Only asked what it would be like; the inode is thrown away.
        let like = NewInode::new(idmap, old_dir, S_IFCHR)?;
        whiteout.uid = like.uid();
        whiteout.gid = like.gid();
        whiteout.now = now;
        let inherited = fileattr::inherited(old_dir, S_IFCHR);
        (whiteout.flags, whiteout.projid) = (inherited.flags, inherited.projid);
        first = Some(FirstAttrs::new(&like, old_dir, Some(old_name))?);
    }
    let attrs = match &first {
        Some(first) => first.list()?,
        None => KVec::new(),
    };
    whiteout.attrs = &attrs;
    if flags & RENAME_WHITEOUT != 0 {
        mount.judge(mount.with_space(|| fs.quota_open(&whiteout.owners())))?;
    }

    let done = mount.with_space(|| {
        let mut t = fs.store.begin(credits::RENAME + initial_cost(&attrs))?;
        let (mut from, mut to) = hold_both(old_dir, other_dir, 0);
        let (mut moved, mut there) = hold_both(old, new, 2);
        old_dir.store_attributes(&mut from);
        old.store_attributes(&mut moved);
        if let (Some(dir), Some(core)) = (other_dir, &mut to) {
            dir.store_attributes(core);
        }
        if let (Some(inode), Some(core)) = (new, &mut there) {
            inode.store_attributes(core);
        }
        let request = Rename {
            old_dir: &mut from,
            old_name: old_name.name(),
            old: &mut moved,
            new_dir: to.as_deref_mut(),
            new_name: new_name.name(),
            new: there.as_deref_mut(),
            flags,
            whiteout,
            now,
        };
        // The whiteout has no dentry: whoever looks the old name up will read it.
        fs.rename(&mut t, request)?;
        let tid = t.tid();
        let held = [
            (old_dir, Some(&from)),
            (new_dir, to.as_ref()),
            (old, Some(&moved)),
            (new.unwrap_or(old), there.as_ref()),
        ];
        for (inode, core) in held {
            if let Some(core) = core {
                inode.show(core);
                inode.data().note(tid, true);
            }
        }
        drop((there, moved, to, from));
        t.stop()?;
        Ok(tid)
    });
    let tid = mount.judge(done)?;
    if old.is_dir() || new.is_some_and(VexInode::is_dir) {
        // All that lies below lies elsewhere now.
        mount.vectors.watch().moved();
    }
    old_dir.sync_if_asked(tid)?;
    new_dir.sync_if_asked(tid)
}
