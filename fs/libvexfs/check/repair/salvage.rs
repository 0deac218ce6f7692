// SPDX-License-Identifier: GPL-2.0

//! Trees of inodes: edited, and made anew where they are damaged.

use super::leaves::Plausible;
use super::tree::Site;
use super::{Edits, Repair};
use crate::libvexfs::attr::{kind, KIND_SHIFT, REST_MAX};
use crate::libvexfs::check::dir::is_place_of;
use crate::libvexfs::check::fix::Field;
use crate::libvexfs::dir::entry::DirEntryRef;
use crate::libvexfs::errno::estale;
use crate::libvexfs::format::extent::Extent;
use crate::libvexfs::format::inode::{format_free, place, INLINE_LINK_MAX, INODE_SIZE, ROOT_LEN};
use crate::libvexfs::format::{le32, le64, Inode};
use crate::libvexfs::journal::{Block, Store, Trans};
use crate::libvexfs::parent::record::ParentRef;
use crate::libvexfs::staging::copy::{Copy, SUMS_LEN};
use crate::libvexfs::staging::volume::Volume;
use crate::libvexfs::symlink::TARGET_MAX;
use crate::libvexfs::tree::node::{HEADER, MAGIC};
use crate::libvexfs::tree::KIND_DATA;
use crate::libvexfs::vector::stale::Range;
use crate::libvexfs::vector::{self, Collection, Record};
use crate::libvexfs::xattr::record::{
    hash, XattrRef, CHUNK_LINK, COUNTER_BITS as XATTR_COUNTER_BITS,
};
use kernel::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Whose node: number, generation, kind.
type Whose = (u64, u32, u32);

impl<S: Store> Repair<'_, S> {
    /// Changes trees, each in one go.
    pub(super) fn edit_trees(&mut self, edits: BTreeMap<(u64, u32), Edits>) -> Result {
        let mut damaged = BTreeSet::new();
        for ((ino, kind), edits) in &edits {
            if let (true, Ok(inode)) = (edits.damaged, self.inode(*ino)) {
                damaged.insert((*ino, inode.generation, *kind));
            }
        }
        let lost = self.lost_leaves(&damaged)?;
        for ((ino, kind), edits) in edits {
            match self.inode(ino) {
                Ok(inode) => {
                    let whose = (ino, inode.generation, kind);
                    let lost = lost.get(&whose).map_or(&[][..], |l| &l[..]);
                    self.edit_tree(inode, kind, &edits, lost)?;
                }
                // It was freed in the meantime.
                Err(e) if e == estale() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn edit_tree(&mut self, mut inode: Inode, kind: u32, edits: &Edits, lost: &[u64]) -> Result {
        let mut root = [0; ROOT_LEN];
        let key = self.sb.hash_key;
        let blocks = self.sb.geometry.block_count;
        let (of_dir, of_file) = (inode.is_dir(), inode.is_reg());
        let owner = if kind == KIND_DATA {
            // What has no data has no tree of them.
            if !of_dir && !of_file {
                if !inode.has_inline_link() {
                    crate::libvexfs::tree::init_root(&mut inode.data);
                }
                return self.write_inode(&inode);
            }
            root.copy_from_slice(&inode.data);
            inode.data_root().owner
        } else {
            root.copy_from_slice(&inode.attr);
            inode.attr_root().owner
        };
        let extents = |key: u128, value: &[u8]| Extent::parse(key, value, blocks).is_ok();
        let entries = |at: u128, value: &[u8]| {
            DirEntryRef::parse(at, value).is_ok_and(|e| is_place_of(&key, e.cookie, e.name))
        };
        let attributes = |at: u128, value: &[u8]| is_attribute(&key, at, value);
        let plausible: Plausible<'_> = match kind {
            KIND_DATA if of_dir => &entries,
            KIND_DATA => &extents,
            _ => &attributes,
        };
        // An extent makes sense wherever it leads to; names and attributes vouch for themselves.
        let unsealed = kind != KIND_DATA || of_dir;
        let harvest = self.harvest(&root, &owner, lost, unsealed, plausible)?;
        let site = Site {
            owner,
            within: None,
        };
        self.build(&mut root, site, harvest, edits)?;
        if kind == KIND_DATA {
            inode.data = root;
        } else {
            inode.attr = root;
        }
        self.write_inode(&inode)
    }

    /// Leaves of damaged trees that nothing leads to any more: among the blocks that the bitmaps say are in use and that
    /// nobody claims.
    fn lost_leaves(&self, damaged: &BTreeSet<Whose>) -> Result<BTreeMap<Whose, Vec<u64>>> {
        let mut lost: BTreeMap<Whose, Vec<u64>> = BTreeMap::new();
        if damaged.is_empty() {
            return Ok(lost);
        }
        self.for_unclaimed(0..self.sb.geometry.group_count, &mut |bno| {
            let Ok(block) = self.store.read(bno) else {
                return;
            };
            let data = block.data();
            let whose = (le64(&data, 16), le32(&data, 24), le32(&data, 4));
            let leaf = le32(&data, 0) == MAGIC && le64(&data, 8) == bno && data[HEADER] == 0;
            if leaf && damaged.contains(&whose) {
                lost.entry(whose).or_default().push(bno);
            }
        });
        Ok(lost)
    }

    /// Shows blocks that the bitmaps say are in use and that nobody claims.
    pub(super) fn for_unclaimed(&self, groups: core::ops::Range<u32>, f: &mut dyn FnMut(u64)) {
        let g = &self.sb.geometry;
        for group in groups {
            for region in 0..g.regions(group) {
                let bits = self.bits_on_disk(group, region);
                for bit in 0..g.region_len(group, region) {
                    let bno = g.region_start(group, region) + bit;
                    let used = bits[bit as usize / 8] >> (bit % 8) & 1 == 1;
                    if used && self.blocks.is_free(g, bno) {
                        f(bno);
                    }
                }
            }
        }
    }

    /// Gives a symbolic link the length of its target. Says false if there is no target.
    pub(super) fn measure_link(&mut self, ino: u64) -> Result<bool> {
        let inode = match self.inode(ino) {
            Ok(inode) => inode,
            Err(e) if e == estale() => return Ok(true),
            Err(e) => return Err(e),
        };
        if !inode.is_link() {
            return Ok(true);
        }
        let mut long = 0;
        super::super::tree::walk(self.store, inode.attr_root(), &mut |event| {
            if let super::super::tree::Event::Record { key, value, .. } = event {
                let rest = key & REST_MAX;
                if (key >> KIND_SHIFT) as u8 == kind::CHUNK && (rest >> 32) as u32 == CHUNK_LINK {
                    long += value.len();
                }
            }
            Ok(true)
        })?;
        let short = inode.data.iter().position(|b| *b == 0);
        let short = short.unwrap_or(INLINE_LINK_MAX).min(INLINE_LINK_MAX);
        let size = match (long, short) {
            (n, _) if n > INLINE_LINK_MAX && n <= TARGET_MAX => n,
            (0, n) if n > 0 => n,
            _ => return Ok(false),
        };
        self.write_field(ino, Field::Size(size as u64))?;
        Ok(true)
    }

    /// Frees an inode. Its blocks and names follow when it is seen to be free.
    pub(super) fn free_inode(&self, ino: u64) -> Result {
        let generation = match self.inode(ino) {
            Ok(inode) => inode.generation.wrapping_add(1),
            Err(_) => return Ok(()),
        };
        let (bno, at) = place(ino)?;
        let mut bytes = [0; INODE_SIZE];
        format_free(&mut bytes, generation);
        let mut t = self.store.begin(1)?;
        t.write_at(bno, at, &bytes)?;
        t.stop()
    }
}

/// Whether a record of an attribute tree is in itself what it should be: only those whose keys follow from their values
/// can be told from noise.
fn is_attribute(hash_key: &[u8; 16], key: u128, value: &[u8]) -> bool {
    let rest = key & REST_MAX;
    match (key >> KIND_SHIFT) as u8 {
        kind::PARENT => {
            ParentRef::parse(rest, value).is_ok_and(|p| is_place_of(hash_key, p.cookie, p.name))
        }
        kind::XATTR => XattrRef::parse(value).is_ok_and(|x| {
            rest >> XATTR_COUNTER_BITS == u128::from(hash(hash_key, x.index, x.name))
        }),
        kind::CHUNK => rest >> 64 == 0 && !value.is_empty(),
        kind::COPY => Copy::parse(key, value).is_ok(),
        kind::CHUNKSUM => value.len() >= 12 && value.len() <= SUMS_LEN && value.len() % 4 == 0,
        kind::VOLUME => Volume::parse(key, value).is_ok(),
        kind::COLLECTION => {
            u32::try_from(rest).is_ok_and(|id| Collection::parse(id, value).is_ok())
        }
        vector::key::SLOT => rest <= u128::from(u32::MAX) && Record::parse(value).is_ok(),
        vector::key::EMBEDDED_IN => rest <= u128::from(u32::MAX) && value.is_empty(),
        kind::STALE => Range::parse(rest, value).is_ok(),
        _ => false,
    }
}
