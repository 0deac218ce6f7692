// SPDX-License-Identifier: GPL-2.0

//! One inode: its fields, its trees, its extents.

use super::attr::Attrs;
use super::group::orphan_root;
use super::tree::{find, walk, Event};
use super::{Checker, Claimant, Field, Fix};
use crate::libvexfs::format::extent::{Extent, State};
use crate::libvexfs::format::group::GroupHeader;
use crate::libvexfs::format::inode::{
    INLINE_LINK_MAX, STATE_ARCHIVED, STATE_EMBEDDED, STATE_INTERNAL, STATE_OFFLINE, STATE_ORPHAN,
    S_IFBLK, S_IFCHR, S_IFDIR, S_IFREG,
};
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::{Store, BLOCK_SIZE};
use crate::libvexfs::symlink::TARGET_MAX;
use crate::libvexfs::tree::KIND_DATA;
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
    /// The last extent, and the block that it stands in.
    last: Option<(u64, Extent)>,
    /// Records that look like another type's: extents in a directory, entries in a file.
    pub(super) strange: u64,
    /// Records that look as they should.
    pub(super) fitting: u64,
}

/// Versions beyond this were not counted up to: something else overwrote them.
pub(super) const VERSION_SANE: u64 = 1 << 48;

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
                let what = "the target of the symbolic link has a zero byte";
                self.wrong(i.ino, 0, what, Fix::Link { ino: i.ino });
            }
        } else if i.data.get(2..4) != Some(&[0, 0]) {
            let what = "an inode without data has a data tree";
            let fix = Fix::Tree {
                ino: i.ino,
                kind: KIND_DATA,
            };
            self.wrong(i.ino, 0, what, fix);
        }
        self.strange_type(i, &data);
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
        let sound = !data.damaged && !attrs.damaged;
        self.quota_count(i, if sound { blocks } else { i.blocks });
        self.links(i, &data, &attrs);
        self.vector_inode(i, &attrs);
        self.internal_inode(i, &attrs);
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
        let ino = i.ino;
        let mut say = |bad: bool, what: &str, fix: Fix| {
            if bad {
                self.wrong(ino, 0, what, fix);
            }
        };
        say(
            i.is_link() && !(1..=TARGET_MAX as u64).contains(&i.size),
            "a symbolic link of impossible length",
            Fix::Link { ino },
        );
        say(
            i.rdev != 0 && !matches!(i.kind(), S_IFCHR | S_IFBLK),
            "a device number, but no device",
            Fix::field(ino, Field::Rdev(0)),
        );
        say(
            i.data_version == 0,
            "version 0 of the contents",
            Fix::field(ino, Field::DataVersionAtLeast(1)),
        );
        say(
            i.marked_version > i.data_version,
            "a version was marked that there was not yet",
            Fix::field(
                ino,
                if i.marked_version < VERSION_SANE {
                    Field::DataVersionAtLeast(i.marked_version)
                } else {
                    Field::MarkedVersion(i.data_version)
                },
            ),
        );
        let file_state = STATE_EMBEDDED | STATE_OFFLINE | STATE_ARCHIVED;
        say(
            !i.is_reg() && i.state & file_state != 0,
            "not a file, but embedded or archived",
            Fix::field(ino, Field::StateClear(file_state)),
        );
        say(
            !i.is_dir() && i.entries != 0,
            "not a directory, but with entries",
            Fix::field(ino, Field::Entries(0)),
        );
        say(
            i.is_link()
                && i.nlink > 0
                && i.size > INLINE_LINK_MAX as u64
                && i.attr_in_core()
                && i.attr.get(2..4) == Some(&[0, 0]),
            "a long symbolic link without a target",
            Fix::Link { ino },
        );
        let recorded = find(self.store, orphan_root(header), ino.into(), |_| ()).is_some();
        let orphans = Fix::Orphans {
            group: header.group,
        };
        match (recorded, i.state & STATE_ORPHAN != 0) {
            (true, false) if i.nlink == 0 => {
                let fix = Fix::field(ino, Field::StateSet(STATE_ORPHAN));
                self.wrong(ino, 0, "an orphan that does not say so", fix);
            }
            (true, false) => self.wrong(ino, 0, "an orphan that does not say so", orphans),
            (false, true) => self.wrong(ino, 0, "says it is an orphan, but is not listed", orphans),
            (false, false) if i.nlink == 0 => {
                let fix = if i.state & STATE_INTERNAL != 0 {
                    Fix::field(ino, Field::Links(1))
                } else {
                    Fix::Adopt { ino }
                };
                self.wrong(ino, 0, "no links, and not an orphan", fix);
            }
            _ => {}
        }
    }

    /// When all that an inode holds belongs into one of another type, its type is what is wrong.
    fn strange_type(&mut self, i: &Inode, data: &Data) {
        if data.strange == 0 || data.fitting != 0 {
            return;
        }
        let kind = if i.is_dir() { S_IFREG } else { S_IFDIR };
        let what = "its contents are those of another type";
        self.wrong(i.ino, 0, what, Fix::field(i.ino, Field::Kind(kind)));
    }

    fn extents(&mut self, i: &Inode, data: &mut Data) -> Result {
        let store = self.store;
        walk(store, i.data_root(), &mut |event| {
            match event {
                Event::Node(bno) => {
                    data.blocks += 1;
                    let ours = self.claim(i.ino, bno, 1, Claimant::Node("extent tree"));
                    data.damaged |= !ours;
                    return Ok(ours && !self.stopped);
                }
                Event::Bad { bno, what } => {
                    data.damaged = true;
                    let fix = Fix::Tree {
                        ino: i.ino,
                        kind: KIND_DATA,
                    };
                    self.wrong(i.ino, bno, format!("extents: {what}"), fix);
                }
                Event::Record { bno, key, value } => {
                    match Extent::parse(key, value, self.sb.geometry.block_count) {
                        Ok(extent) => {
                            data.fitting += 1;
                            self.extent(i, data, Some(extent.lblk));
                            data.last = Some((bno, extent));
                        }
                        Err(_) => {
                            data.damaged = true;
                            data.strange += u64::from(self.is_entry(key, value));
                            let what = format!("impossible extent at logical block {key}");
                            let fix = Fix::drop_record(i.ino, KIND_DATA, key);
                            self.wrong(i.ino, bno, what, fix);
                        }
                    }
                }
            }
            Ok(true)
        })?;
        self.extent(i, data, None);
        Ok(())
    }

    /// Checks the last extent seen, when it is known where the next one begins.
    fn extent(&mut self, i: &Inode, data: &mut Data, next: Option<u64>) {
        let Some((bno, whole)) = data.last.take() else {
            return;
        };
        let ino = i.ino;
        let mut e = whole;
        if let Some(next) = next.filter(|next| *next < e.end()) {
            // Its length is wrong rather than the place of the next one: it is cut.
            let what = format!("extents overlap at logical block {next}");
            e = e.part(e.lblk, next);
            self.wrong(ino, bno, what, Fix::put_extent(ino, &e));
        }
        if let Some(len) = e.phys().and_then(|phys| self.crossing(phys, e.len)) {
            // Nothing is ever allocated across: its length is wrong.
            let what = format!("the extent at logical block {} crosses regions", e.lblk);
            e = e.part(e.lblk, e.lblk + len);
            self.wrong(ino, bno, what, Fix::put_extent(ino, &e));
        }
        let eof = i.size.div_ceil(BLOCK_SIZE as u64);
        // A crash may leave unwritten blocks behind the end, but bytes only while a truncation is under way.
        let beyond = e.end() > eof && i.state & STATE_ORPHAN == 0;
        if beyond && matches!(e.state, State::Written(_) | State::Offline { .. }) {
            let what = format!(
                "written blocks behind the end of the file, up to {}",
                e.end()
            );
            // The last byte of all is beyond what a file can have.
            let size = e.end().saturating_mul(BLOCK_SIZE as u64);
            let field = Field::SizeAtLeast(size.min(i64::MAX as u64));
            self.wrong(ino, bno, what, Fix::field(ino, field));
        }
        match e.phys() {
            Some(phys) => {
                data.blocks += e.len;
                data.damaged |= !self.claim(ino, phys, e.len, Claimant::Extent(e.lblk));
            }
            None => {
                data.offline = true;
                if i.state & STATE_OFFLINE == 0 {
                    let what = "an offline extent, but the inode does not say so";
                    let fix = Fix::field(ino, Field::StateSet(STATE_OFFLINE));
                    self.wrong(ino, bno, what, fix);
                }
            }
        }
    }

    /// After how many of `len` blocks a region ends, if it does.
    fn crossing(&self, phys: u64, len: u64) -> Option<u64> {
        let g = &self.sb.geometry;
        let group = g.group_of(phys)?;
        let (region, _) = g.region_of(group, phys);
        let end = g.region_start(group, region) + g.region_len(group, region);
        (end < phys + len).then(|| end - phys)
    }

    /// The link count, from the directory's own entries and from the parent pointers.
    fn links(&mut self, i: &Inode, data: &Data, attrs: &Attrs) {
        if data.damaged || attrs.damaged || i.nlink == 0 || i.state & STATE_INTERNAL != 0 {
            if i.nlink == 0 && !attrs.damaged && attrs.parents != 0 {
                // Names that stand are links: those that do not were said to be wrong, and go first.
                let links = u32::try_from(attrs.parents).unwrap_or(u32::MAX);
                let links = links.max(1 + u32::from(i.is_dir()));
                let fix = Fix::field(i.ino, Field::Revive(links));
                self.wrong(i.ino, 0, "no links, but parent pointers", fix);
            }
            return;
        }
        let rightly = if i.is_dir() {
            data.subdirs.saturating_add(2)
        } else {
            attrs.parents
        };
        if i.is_dir() && attrs.parents != u64::from(i.ino != self.sb.root_ino) {
            let what = format!("a directory with {} parents", attrs.parents);
            let fixes = self.one_parent(i);
            self.wrong_by(i.ino, 0, what, fixes);
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
            _ => self.wrong(i.ino, 0, what, Fix::Adopt { ino: i.ino }),
        }
    }
}
