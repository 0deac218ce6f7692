// SPDX-License-Identifier: GPL-2.0
//! Trees: nodes, records, and what files and directories have in them.

use super::image::Image;
use super::records;
use super::show::{key as show_key, name, Map, Show};
use super::structures::{type_name, used_inode};
use anyhow::{anyhow, bail, Context, Result};
use vexfs::libvexfs::check::{walk, Event};
use vexfs::libvexfs::dir::entry::DirEntryRef;
use vexfs::libvexfs::format::extent::{Extent, State};
use vexfs::libvexfs::format::Inode;
use vexfs::libvexfs::tree::node::{self, Node};
use vexfs::libvexfs::tree::{Root, KIND_ATTR, KIND_CHUNK, KIND_DATA, KIND_ORPHAN};

/// The name of a kind of tree.
pub fn kind_name(kind: u32) -> Show {
    match kind {
        KIND_DATA => "data".into(),
        KIND_ATTR => "attributes".into(),
        KIND_CHUNK => "chunks".into(),
        KIND_ORPHAN => "orphans".into(),
        other => other.into(),
    }
}

/// Visits a tree, whatever is damaged in it; that is noted.
fn visit(image: &Image, root: Root<'_>, f: &mut dyn FnMut(Event<'_>)) -> Result<()> {
    let store = image.store()?;
    walk(&store, root, &mut |event| {
        if let Event::Bad { bno, what } = &event {
            image.problem(format!("block {bno}: {what}"));
        }
        f(event);
        Ok(true)
    })?;
    Ok(())
}

/// Shows all records that can be reached: block, key, value.
pub fn records(image: &Image, root: Root<'_>, f: &mut dyn FnMut(u64, u128, &[u8])) -> Result<()> {
    visit(image, root, &mut |event| {
        if let Event::Record { bno, key, value } = event {
            f(bno, key, value);
        }
    })
}

/// One page of a tree.
fn page_map(image: &Image, bno: u64, page: &[u8]) -> Map {
    let Ok(node) = Node::open(page) else {
        image.problem(format!("block {bno}: a tree node contradicts itself"));
        return Map::new();
    };
    if node.check().is_err() {
        image.problem(format!(
            "block {bno}: a tree node contradicts itself, or its keys are out of order"
        ));
    }
    let ends = |i: Option<usize>| {
        i.filter(|i| *i < node.count())
            .map(|i| show_key(node.key(i)))
    };
    Map::new()
        .with("level", node.level())
        .with("entries", node.count())
        .with("used_bytes", node.used())
        .with("free_bytes", node.free())
        .with("first_key", ends(Some(0)))
        .with("last_key", ends(node.count().checked_sub(1)))
}

/// The root in an inode or header, in short.
pub fn root_summary(image: &Image, root: Root<'_>) -> Map {
    page_map(image, root.owner.home, root.bytes)
}

/// All nodes of a tree.
pub fn nodes(image: &Image, root: Root<'_>) -> Result<Map> {
    let mut list = vec![Map::new().with("block", root.owner.home).with("root", true)];
    list[0].append(page_map(image, root.owner.home, root.bytes));
    let mut found = Vec::new();
    let mut count = 0u64;
    visit(image, root, &mut |event| match event {
        Event::Node(bno) => found.push(bno),
        Event::Record { .. } => count += 1,
        Event::Bad { .. } => {}
    })?;
    for bno in found {
        let raw = image.block(bno)?;
        let mut map = Map::new().with("block", bno).with("root", false);
        map.append(page_map(image, bno, node::page(raw.body())));
        list.push(map);
    }
    Ok(Map::new()
        .with("owner", root.owner.id)
        .with("kind", kind_name(root.owner.kind))
        .with("records", count)
        .with("nodes", list))
}

/// A node in a block of its own, with its entries.
pub fn node_block(image: &Image, bno: u64, body: &[u8]) -> Map {
    use vexfs::libvexfs::format::{le32, le64};
    let kind = le32(body, 4);
    let mut map = Map::new()
        .with("kind", kind_name(kind))
        .with("owner", le64(body, 16))
        .with("generation", le32(body, 24));
    if le64(body, 8) != bno {
        image.problem(format!(
            "block {bno}: this tree node belongs to block {}",
            le64(body, 8)
        ));
    }
    let page = node::page(body);
    map.append(page_map(image, bno, page));
    if let Ok(node) = Node::open(page) {
        map.put("list", entries(image, bno, &node, kind, le64(body, 16)));
    }
    map
}

fn entries(image: &Image, bno: u64, node: &Node<'_>, kind: u32, owner: u64) -> Vec<Map> {
    // A data tree has extents or names; the inode says which. It is asked quietly: it may be long gone.
    let dir = kind == KIND_DATA && is_dir(image, owner);
    let mut list = Vec::new();
    for i in 0..node.count() {
        let key = node.key(i);
        let value = match node.value(i) {
            Ok(value) => value,
            Err(_) => {
                image.problem(format!("block {bno}: entry {i} lies outside of the node"));
                continue;
            }
        };
        if node.level() > 0 {
            let child = node.child(i).ok();
            if child.is_none() {
                image.problem(format!("block {bno}: entry {i} leads to no block"));
            }
            list.push(Map::new().with("key", show_key(key)).with("child", child));
            continue;
        }
        list.push(match kind {
            KIND_DATA if dir => entry_map(image, bno, key, value),
            KIND_DATA => extent_map(image, bno, key, value),
            KIND_ATTR => records::attribute(image, bno, key, value),
            _ => records::unknown(key, value),
        });
    }
    list
}

fn is_dir(image: &Image, ino: u64) -> bool {
    use vexfs::libvexfs::format::inode::{place, INODE_SIZE};
    let Ok((bno, at)) = place(ino) else {
        return false;
    };
    image
        .block(bno)
        .is_ok_and(|raw| Inode::decode(&raw.body()[at..at + INODE_SIZE], ino).is_dir())
}

fn extent_map(image: &Image, bno: u64, key: u128, value: &[u8]) -> Map {
    let blocks = image.sb().map_or(u64::MAX, |sb| sb.geometry.block_count);
    let Ok(e) = Extent::parse(key, value, blocks) else {
        image.problem(format!("block {bno}: impossible extent {key:#x}"));
        return records::unknown(key, value);
    };
    let (state, version) = match e.state {
        State::Written(_) => ("written", None),
        State::Unwritten(_) => ("unwritten", None),
        State::Offline { src_version, .. } => ("offline", Some(src_version)),
    };
    let from = match e.state {
        State::Written(bno) | State::Unwritten(bno) => bno,
        State::Offline { src_block, .. } => src_block,
    };
    Map::new()
        .with("logical", e.lblk)
        .with("blocks", e.len)
        .with("state", state)
        .with("from", from)
        .with("version", version)
}

fn entry_map(image: &Image, bno: u64, key: u128, value: &[u8]) -> Map {
    let Ok(e) = DirEntryRef::parse(key, value) else {
        image.problem(format!("block {bno}: impossible directory entry {key:#x}"));
        return records::unknown(key, value);
    };
    Map::new()
        .with("cookie", format!("{:#x}", e.cookie))
        .with("inode", e.ino)
        .with("type", type_name(u16::from(e.dtype) << 12))
        .with("name", name(e.name))
}

/// The extents of a file.
pub fn extents(image: &Image, ino: u64) -> Result<Map> {
    let i = used_inode(image, ino)?;
    if !i.is_reg() {
        bail!("inode {ino} is no regular file");
    }
    let mut list = Vec::new();
    records(image, i.data_root(), &mut |bno, key, value| {
        list.push(extent_map(image, bno, key, value));
    })?;
    Ok(Map::new()
        .with("inode", ino)
        .with("size", i.size)
        .with("extents", list))
}

/// The entries of a directory.
pub fn directory(image: &Image, ino: u64) -> Result<Map> {
    let i = used_inode(image, ino)?;
    if !i.is_dir() {
        bail!("inode {ino} is no directory");
    }
    let mut list = Vec::new();
    records(image, i.data_root(), &mut |bno, key, value| {
        list.push(entry_map(image, bno, key, value));
    })?;
    Ok(Map::new()
        .with("inode", ino)
        .with("entries", i.entries)
        .with("list", list))
}

/// The records of an inode's attribute tree.
pub fn attributes(image: &Image, ino: u64) -> Result<Map> {
    let i = used_inode(image, ino)?;
    let mut list = Vec::new();
    records(image, i.attr_root(), &mut |bno, key, value| {
        list.push(records::attribute(image, bno, key, value));
    })?;
    Ok(Map::new().with("inode", ino).with("records", list))
}

/// The inode that a number or an absolute path names.
pub fn find(image: &Image, what: &str) -> Result<u64> {
    if let Ok(ino) = what.parse() {
        return Ok(ino);
    }
    if !what.starts_with('/') {
        bail!("'{what}' is neither the number of an inode nor a path from the root, which begins with /");
    }
    let mut ino = image.sb()?.root_ino;
    let mut at = String::new();
    for part in what.split('/').filter(|part| !part.is_empty()) {
        let here = if at.is_empty() { "/" } else { &at };
        let dir = used_inode(image, ino).with_context(|| format!("cannot look into {here}"))?;
        if !dir.is_dir() {
            bail!("{here} (inode {ino}) is no directory");
        }
        let before = image.problems().len();
        let mut found = None;
        records(
            image,
            dir.data_root(),
            &mut |_, key, value| match DirEntryRef::parse(key, value) {
                Ok(e) if e.name == part.as_bytes() => found = Some(e.ino),
                _ => {}
            },
        )?;
        let damaged = image.problems().len() > before;
        ino = found.ok_or_else(|| {
            let why = if damaged {
                "; some of the directory cannot be read"
            } else {
                ""
            };
            crate::error::not_found(format!("{here} (inode {ino}) has no entry '{part}'{why}"))
        })?;
        at = format!("{at}/{part}");
    }
    Ok(ino)
}

/// One of an inode's trees.
pub fn tree_of(inode: &Inode, kind: u32) -> Result<Root<'_>> {
    match kind {
        KIND_DATA if !(inode.is_reg() || inode.is_dir()) => {
            Err(anyhow!("inode {} has no data tree", inode.ino))
        }
        KIND_DATA => Ok(inode.data_root()),
        _ => Ok(inode.attr_root()),
    }
}
