// SPDX-License-Identifier: GPL-2.0

//! What a crash left, against what a commit promised.

use crate::data;
use crate::model::{is_dir, is_reg, Cells, Content, Node, Place, State, ZEROS};
use crate::vectors;
use kernel::prelude::*;
use std::collections::BTreeMap;
use vexfs::crash::SECTOR;
use vexfs::disk::MemoryDisk;
use vexfs::file_store::FileStore;
use vexfs::libvexfs::extent::Mapping;
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::BLOCK_SIZE;
use vexfs::libvexfs::{Fs, Inode};

/// What was expected, and what there is.
pub type Verdict<T = ()> = std::result::Result<T, String>;

pub type Found<'a> = Fs<FileStore<&'a MemoryDisk>>;

/// Where the power went: operations that the disk had got, and how many of them were durable.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub at: usize,
    pub flushed: usize,
}

macro_rules! same {
    ($found:expr, $wanted:expr, $($what:tt)+) => {
        if $found != $wanted {
            return Err(format!(
                "{}: {:?}, rightly {:?}", format_args!($($what)+), $found, $wanted
            ));
        }
    };
}

fn ok<T>(result: Result<T>, what: &str, ino: u64) -> Verdict<T> {
    result.map_err(|e| format!("{what} of inode {ino}: {e}"))
}

/// Maps have much in common: only where they differ is of interest.
fn same_map<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    found: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    what: &str,
    ino: u64,
) -> Verdict {
    for key in found.keys().chain(wanted.keys()) {
        if found.get(key) != wanted.get(key) {
            let (found, wanted) = (found.get(key), wanted.get(key));
            let text = format!("{what} {ino}: {key:.40?}: {found:?}, rightly {wanted:?}");
            return Err(text.chars().take(400).collect());
        }
    }
    Ok(())
}

/// Compares everything; returns what the blocks of files hold.
pub fn compare(
    fs: &Found<'_>,
    state: &State,
    cells: &Cells,
    cut: Cut,
) -> Verdict<BTreeMap<usize, Content>> {
    let mut contents = BTreeMap::new();
    let mut orphans = BTreeMap::new();
    for group in 0..fs.group_count() {
        let listed = fs.orphans(group, 0, &mut |ino, why| orphans.insert(ino, why).is_none());
        ok(listed, "orphans", group.into())?;
    }
    let marked = |(ino, node): (&u64, &std::rc::Rc<Node>)| Some((*ino, node.orphan?));
    let mut wanted: BTreeMap<u64, u8> = state.nodes.iter().filter_map(marked).collect();
    wanted.extend(
        state
            .dropped
            .iter()
            .map(|ino| (*ino, vexfs::libvexfs::orphan::DELETE)),
    );
    same!(orphans, wanted, "orphans");
    for (ino, node) in &state.nodes {
        if !node.reaped {
            compare_node(fs, state, *ino, node)?;
            compare_blocks(fs, *ino, node, cells, cut, &mut contents)?;
        }
    }
    compare_collections(fs, state, &contents)?;
    Ok(contents)
}

fn compare_node(fs: &Found<'_>, state: &State, ino: u64, node: &Node) -> Verdict {
    let i = ok(fs.read_inode(ino), "reading", ino)?;
    same!(
        (i.generation, i.mode),
        (node.generation, node.mode),
        "type of inode {ino}"
    );
    same!(
        i.nlink,
        state.links(node, ino == fs.sb.root_ino),
        "links of inode {ino}"
    );
    if is_dir(node.mode) {
        let mut found = BTreeMap::new();
        let listed = fs.readdir(&i, 0, &mut |e| {
            found.insert(e.name.to_vec(), e.ino).is_none()
        });
        ok(listed, "names", ino)?;
        same_map(&found, &node.entries, "directory", ino)?;
    } else {
        same!(i.size, node.size, "size of inode {ino}");
    }
    if !node.target.is_empty() {
        let mut target = KVec::new();
        ok(fs.read_symlink(&i, &mut target), "target", ino)?;
        same!(&target[..], &node.target[..], "target of inode {ino}");
    }
    if is_reg(node.mode) {
        let versions = (i.data_version, i.marked_version);
        same!(
            versions,
            (node.data_version, node.marked_version),
            "versions of inode {ino}"
        );
        let copies = ok(fs.copies(&i), "copies", ino)?;
        let found: BTreeMap<u8, u64> = copies.iter().map(|c| (c.copy, c.version)).collect();
        same!(found, node.copies, "copies of inode {ino}");
    }
    let mut found = BTreeMap::new();
    let listed = fs.xattr_list(&i, &mut |_, name, len| {
        found.insert(name.to_vec(), vec![0; len]);
        Ok(true)
    });
    ok(listed, "attributes", ino)?;
    for (name, value) in &mut found {
        ok(fs.xattr_get(&i, 1, name, value), "an attribute", ino)?;
    }
    same_map(&found, &node.xattrs, "attributes of inode", ino)
}

/// Reads the blocks of a file up to its size.
fn compare_blocks(
    fs: &Found<'_>,
    ino: u64,
    node: &Node,
    cells: &Cells,
    cut: Cut,
    contents: &mut BTreeMap<usize, Content>,
) -> Verdict {
    if !is_reg(node.mode) {
        return Ok(());
    }
    let i = ok(fs.read_inode(ino), "reading", ino)?;
    let mut at = 0;
    while at < node.end() {
        let map = ok(fs.map(&i, at, node.end() - at), "blocks", ino)?;
        for lblk in at..at + map.len() {
            match (node.blocks.get(&lblk), map) {
                (Some(Place::Cell(cell)), Mapping::Written { phys, .. }) => {
                    let content = read_content(fs.store.disk(), phys + lblk - at)
                        .ok_or_else(|| format!("block {lblk} of inode {ino} has other bytes"))?;
                    if !cells.allows(*cell, &content, cut.flushed, cut.at) {
                        return Err(format!(
                            "block {lblk} of inode {ino} at {} holds {content:x?}, written was {:x?}",
                            phys + lblk - at,
                            cells.history(*cell)
                        ));
                    }
                    contents.insert(*cell, content);
                }
                (
                    Some(Place::Offline(v, _)),
                    Mapping::Offline {
                        src_block,
                        src_version,
                        ..
                    },
                ) => {
                    same!(
                        (src_block + lblk - at, src_version),
                        (lblk, *v),
                        "block {lblk} of {ino}"
                    );
                }
                (None, Mapping::Hole { .. } | Mapping::Unwritten { .. }) => {}
                (place, map) => {
                    return Err(format!(
                        "block {lblk} of inode {ino}: {map:?}, rightly {place:?}"
                    ))
                }
            }
        }
        at += map.len();
    }
    Ok(())
}

/// The tags of a block; `None` if it holds something else.
fn read_content(disk: &MemoryDisk, phys: u64) -> Option<Content> {
    let mut bytes = [0; BLOCK_SIZE];
    disk.read(phys, &mut bytes).ok()?;
    let mut content = ZEROS;
    for (tag, sector) in content.iter_mut().zip(bytes.chunks_exact(SECTOR)) {
        *tag = u64::from_le_bytes(*sector.first_chunk()?);
    }
    (data::bytes_of(&content) == bytes).then_some(content)
}

fn compare_collections(
    fs: &Found<'_>,
    state: &State,
    contents: &BTreeMap<usize, Content>,
) -> Verdict {
    let system = ok(fs.read_inode(fs.sb.system_ino), "reading", 0)?;
    let (mut id, mut found) = (0, Vec::new());
    while let Some(c) = ok(fs.collection_after(&system, id), "collections", 0)? {
        id = c.id;
        found.push((id, c.ino, c.generation, c.name.as_bytes().to_vec()));
    }
    let listed = state.collections.iter();
    let wanted: Vec<_> = listed
        .map(|(id, c)| (*id, c.ino, c.generation, c.name.clone()))
        .collect();
    same!(found, wanted, "collections");
    for c in state.collections.values() {
        let i = ok(fs.read_inode(c.ino), "reading", c.ino)?;
        let mut records = KVec::new();
        ok(
            fs.records_from(&i, 0, usize::MAX, &mut records),
            "records",
            c.ino,
        )?;
        same!(
            records.len(),
            c.vectors.len(),
            "records of collection {}",
            c.ino
        );
        let index = ok(fs.index(&i), "the index", c.ino)?;
        same!(index, c.index, "the index of collection {}", c.ino);
        let mut ops = KVec::new();
        ok(
            fs.index_ops(&i, 0, usize::MAX, &mut ops),
            "operations",
            c.ino,
        )?;
        same!(&ops[..], &c.ops[..], "operations of collection {}", c.ino);
        for (slot, record) in &records {
            let Some(v) = c.vectors.get(&record.key) else {
                return Err(format!(
                    "collection {}: a record of key {}",
                    c.ino, record.key
                ));
            };
            let sequence = record.sequence;
            let wanted = vexfs::libvexfs::vector::Record {
                sequence,
                ..v.record
            };
            same!(
                (*slot, *record),
                (v.slot, wanted),
                "record {} of {}",
                record.key,
                c.ino
            );
            let bytes = vectors::bytes_of(v.tag, c.stride);
            let read = read_bytes(fs, &i, u64::from(*slot) * u64::from(c.stride), bytes.len())?;
            if read != bytes {
                return Err(format!("collection {}: other bytes in slot {slot}", c.ino));
            }
            compare_described(fs, state, v, contents)?;
        }
    }
    Ok(())
}

/// A record that is not stale describes the bytes that are there.
fn compare_described(
    fs: &Found<'_>,
    state: &State,
    v: &crate::model::Vector,
    contents: &BTreeMap<usize, Content>,
) -> Verdict {
    let ino = v.record.ino;
    let Some(node) = state.nodes.get(&ino).filter(|n| !n.reaped) else {
        // What describes an inode goes before the inode.
        return Err(format!("a record describes inode {ino}, which is gone"));
    };
    let owner = ok(fs.read_inode(ino), "reading", ino)?;
    if ok(fs.is_stale(&owner, &v.record), "staleness", ino)? {
        return Ok(());
    }
    same!(
        owner.size,
        v.described.size,
        "size of described inode {ino}"
    );
    for (lblk, place) in &node.blocks {
        let content = match place {
            Place::Cell(cell) => contents.get(cell),
            Place::Offline(_, content) => Some(content),
        };
        let wanted = v.described.blocks.get(lblk);
        same!(content, wanted, "block {lblk} of described inode {ino}");
    }
    Ok(())
}

fn read_bytes(fs: &Found<'_>, i: &Inode, start: u64, len: usize) -> Verdict<Vec<u8>> {
    let (mut bytes, mut block) = (Vec::with_capacity(len), [0; BLOCK_SIZE]);
    while bytes.len() < len {
        let at = start + bytes.len() as u64;
        let map = ok(fs.map(i, at / BLOCK_SIZE as u64, 1), "blocks", i.ino)?;
        let Mapping::Written { phys, .. } = map else {
            return Err(format!("collection {}: nothing at byte {at}", i.ino));
        };
        ok(fs.store.disk().read(phys, &mut block), "bytes", i.ino)?;
        let from = (at % BLOCK_SIZE as u64) as usize;
        let n = (BLOCK_SIZE - from).min(len - bytes.len());
        bytes.extend_from_slice(&block[from..from + n]);
    }
    Ok(bytes)
}
