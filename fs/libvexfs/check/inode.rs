// SPDX-License-Identifier: GPL-2.0

//! One inode: its fields, its trees, its extents.

use super::attr::Attrs;
use super::group::orphan_root;
use super::tree::{find, walk, Event};
use super::{Checker, Field, Fix};
use crate::libvexfs::format::extent::{Extent, State};
use crate::libvexfs::format::group::GroupHeader;
use crate::libvexfs::format::inode::{
    INLINE_LINK_MAX, STATE_ARCHIVED, STATE_EMBEDDED, STATE_INTERNAL, STATE_OFFLINE, STATE_ORPHAN,
    S_IFBLK, S_IFCHR,
};
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::{Store, BLOCK_SIZE};
use crate::libvexfs::symlink::TARGET_MAX;
use kernel::prelude::*;

/// What the data tree came to.
#[derive(Default)]
pub(super) struct Data {
    /// Blocks of nodes and extents.
    pub(super) blocks: u64,
    /// Entries of a directory.
    pub(super) entries: u64,
    /// Those that are directories.
    pub(super) subdirs: u64,
    /// Bytes of the entries.
    pub(super) bytes: u64,
    /// Something in it is bad: counts mean nothing.
    pub(super) damaged: bool,
    /// An offline extent was seen.
    offline: bool,
    /// Where the last extent ended.
    end: u64,
}

impl<S: Store> Checker<'_, S> {
    pub(super) fn inode(&mut self, header: &GroupHeader, i: &Inode) -> Result {
        self.count(i);
        self.fields(header, i);
        let mut data = Data::default();
        if i.is_dir() {
            self.directory(i, &mut data)?;
        } else if i.is_reg() {
            self.extents(i, &mut data)?;
        } else if i.has_inline_link() {
            let len = i.size as usize;
            if i.data.get(..len).is_some_and(|target| target.contains(&0)) {
                self.bad(i.ino, 0, "the target of the symbolic link has a zero byte");
            }
        } else if i.data.get(2..4) != Some(&[0, 0]) {
            self.bad(i.ino, 0, "an inode without data has a data tree");
        }
        let attrs = self.attributes(i)?;
        let blocks = data.blocks + attrs.blocks;
        if !data.damaged && !attrs.damaged && blocks != i.blocks {
            let what = format!("{} blocks, rightly {blocks}", i.blocks);
            self.wrong(
                i.ino,
                0,
                what,
                Fix::Inode {
                    ino: i.ino,
                    field: Field::Blocks(blocks),
                },
            );
        }
        self.links(i, &data, &attrs);
        self.vector_inode(i, &attrs);
        self.staging_inode(i, &attrs, data.offline);
        Ok(())
    }

    fn count(&mut self, i: &Inode) {
        if !self.first_pass {
            return;
        }
        let totals = &mut self.outcome.totals;
        let n = if i.state & STATE_INTERNAL != 0 {
            &mut totals.internal
        } else if i.is_dir() {
            &mut totals.dirs
        } else if i.is_reg() {
            &mut totals.files
        } else if i.is_link() {
            &mut totals.links
        } else {
            &mut totals.others
        };
        *n += 1;
    }

    fn fields(&mut self, header: &GroupHeader, i: &Inode) {
        let mut say = |bad: bool, what: &str| {
            if bad {
                self.bad(i.ino, 0, what);
            }
        };
        say(
            i.is_link() && !(1..=TARGET_MAX as u64).contains(&i.size),
            "a symbolic link of impossible length",
        );
        say(
            i.rdev != 0 && !matches!(i.kind(), S_IFCHR | S_IFBLK),
            "a device number, but no device",
        );
        say(i.data_version == 0, "version 0 of the contents");
        say(
            i.marked_version > i.data_version,
            "a version was marked that there was not yet",
        );
        let file_state = STATE_EMBEDDED | STATE_OFFLINE | STATE_ARCHIVED;
        say(
            !i.is_reg() && i.state & file_state != 0,
            "not a file, but embedded or archived",
        );
        say(
            !i.is_dir() && i.entries != 0,
            "not a directory, but with entries",
        );
        say(
            i.is_link()
                && i.nlink > 0
                && i.size > INLINE_LINK_MAX as u64
                && i.attr_in_core()
                && i.attr.get(2..4) == Some(&[0, 0]),
            "a long symbolic link without a target",
        );
        let recorded = find(self.store, orphan_root(header), i.ino.into(), |_| ()).is_some();
        if recorded != (i.state & STATE_ORPHAN != 0) {
            let what = if recorded {
                "an orphan that does not say so"
            } else {
                "says it is an orphan, but is not listed"
            };
            self.bad(i.ino, 0, what);
        }
        if i.nlink == 0 && i.state & STATE_ORPHAN == 0 {
            self.bad(i.ino, 0, "no links, and not an orphan");
        }
    }

    fn extents(&mut self, i: &Inode, data: &mut Data) -> Result {
        let store = self.store;
        walk(store, i.data_root(), &mut |event| {
            match event {
                Event::Node(bno) => {
                    data.blocks += 1;
                    let ours = self.claim(i.ino, bno, 1, "extent tree");
                    data.damaged |= !ours;
                    return Ok(ours && !self.stopped);
                }
                Event::Bad { bno, what } => {
                    data.damaged = true;
                    self.bad(i.ino, bno, format!("extents: {what}"));
                }
                Event::Record { bno, key, value } => {
                    match Extent::parse(key, value, self.sb.geometry.block_count) {
                        Ok(extent) => self.extent(i, bno, extent, data),
                        Err(_) => {
                            data.damaged = true;
                            self.bad(
                                i.ino,
                                bno,
                                format!("impossible extent at logical block {key}"),
                            );
                        }
                    }
                }
            }
            Ok(true)
        })
    }

    fn extent(&mut self, i: &Inode, bno: u64, e: Extent, data: &mut Data) {
        if e.lblk < data.end {
            self.bad(
                i.ino,
                bno,
                format!("extents overlap at logical block {}", e.lblk),
            );
        }
        data.end = data.end.max(e.end());
        let eof = i.size.div_ceil(BLOCK_SIZE as u64);
        // A crash may leave unwritten blocks behind the end, but bytes only while a truncation is under way.
        let beyond = e.end() > eof && i.state & STATE_ORPHAN == 0;
        if beyond && matches!(e.state, State::Written(_) | State::Offline { .. }) {
            self.bad(
                i.ino,
                bno,
                format!(
                    "written blocks behind the end of the file, up to {}",
                    e.end()
                ),
            );
        }
        match e.phys() {
            Some(phys) => {
                data.blocks += e.len;
                if self.sb.geometry.group_of(phys).is_some_and(|group| {
                    let g = &self.sb.geometry;
                    let end = g.region_of(group, phys).0;
                    g.region_start(group, end) + g.region_len(group, end) < phys + e.len
                }) {
                    let what = format!("the extent at logical block {} crosses regions", e.lblk);
                    self.bad(i.ino, bno, what);
                }
                let what = format!("extent at logical block {}", e.lblk);
                data.damaged |= !self.claim(i.ino, phys, e.len, &what);
            }
            None => {
                data.offline = true;
                if i.state & STATE_OFFLINE == 0 {
                    self.bad(
                        i.ino,
                        bno,
                        "an offline extent, but the inode does not say so",
                    );
                }
            }
        }
    }

    /// The link count, from the directory's own entries and from the parent pointers.
    fn links(&mut self, i: &Inode, data: &Data, attrs: &Attrs) {
        if data.damaged || attrs.damaged || i.nlink == 0 || i.state & STATE_INTERNAL != 0 {
            if i.nlink == 0 && !attrs.damaged && attrs.parents != 0 {
                self.bad(i.ino, 0, "no links, but parent pointers");
            }
            return;
        }
        let rightly = if i.is_dir() {
            data.subdirs.saturating_add(2)
        } else {
            attrs.parents
        };
        if i.is_dir() && attrs.parents != u64::from(i.ino != self.sb.root_ino) {
            self.bad(
                i.ino,
                0,
                format!("a directory with {} parents", attrs.parents),
            );
        }
        if u64::from(i.nlink) == rightly {
            return;
        }
        let what = format!("{} links, rightly {rightly}", i.nlink);
        match u32::try_from(rightly) {
            Ok(n) if n > 0 => self.wrong(
                i.ino,
                0,
                what,
                Fix::Inode {
                    ino: i.ino,
                    field: Field::Links(n),
                },
            ),
            _ => self.bad(i.ino, 0, what),
        }
    }
}
