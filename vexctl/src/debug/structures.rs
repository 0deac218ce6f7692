// SPDX-License-Identifier: GPL-2.0
//! Superblocks, groups and inodes.

use super::image::Image;
use super::show::{bits, hex, name, time, Map, Show};
use super::tree::root_summary;
use crate::device;
use anyhow::{anyhow, bail, Result};
use vexfs::libvexfs::check::parse_chunk;
use vexfs::libvexfs::format::geometry::MIN_GROUP_BLOCKS;
use vexfs::libvexfs::format::group::{
    is_bitmap, GroupHeader, BITMAP_HEADER, SUMMARY_FREE, SUMMARY_INIT,
};
use vexfs::libvexfs::format::inode::{
    chunk_index, parse_block_header, place, Inode, BLOCK_HEADER, INODES_PER_BLOCK, INODE_SIZE,
    MAGIC as MAGIC_OF_INODE, STATE_ARCHIVED, STATE_EMBEDDED, STATE_INTERNAL, STATE_OFFLINE,
    STATE_ORPHAN, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK,
};
use vexfs::libvexfs::format::superblock::{MAGIC, STATE_CLEAN, STATE_ERROR, SUPERBLOCK_LEN};
use vexfs::libvexfs::format::{le16, le32, Superblock};
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::tree::{Owner, Root, KIND_CHUNK, KIND_ORPHAN};

/// The superblock that everything goes by, or every one that there is.
pub fn superblocks(image: &Image, all: bool) -> Result<Map> {
    if !all {
        let mut map = Map::new();
        let raw = image.metadata(0, "superblock")?;
        map.append(superblock_body(image, 0, raw.body()));
        return Ok(map);
    }
    let mut places = vec![0];
    match image.any_superblock() {
        Some(sb) => {
            let g = sb.geometry;
            let copies = (0..g.group_count).filter(|group| g.has_super_copy(*group));
            places.extend(copies.map(|group| g.group_start(group)));
        }
        // Where group 1 begins, whatever the size of groups is.
        None => {
            let sizes = (0..17).map(|shift| MIN_GROUP_BLOCKS << shift);
            places.extend(sizes.filter(|bno| *bno < image.block_count()));
        }
    }
    let mut list = Vec::new();
    for bno in places {
        match image.block(bno) {
            Ok(raw) => {
                let there = raw.body().starts_with(&MAGIC);
                let mut map = Map::new().with("block", bno).with("checksum", raw.sealed);
                if there {
                    map.append(superblock_body(image, bno, raw.body()));
                } else {
                    map.put("magic", "wrong");
                }
                if !(there && raw.sealed == Some(true)) && (bno == 0 || image.sb().is_ok()) {
                    image.problem(format!("block {bno}: no superblock, or a damaged one"));
                }
                list.push(map);
            }
            Err(e) => image.problem(format!("{e:#}")),
        }
    }
    Ok(Map::new().with("superblocks", list))
}

/// The fields of a superblock, whatever they say.
pub fn superblock_body(image: &Image, bno: u64, body: &[u8]) -> Map {
    if !body.starts_with(&MAGIC) || body.len() < SUPERBLOCK_LEN {
        image.problem(format!("block {bno}: not a superblock: its magic is wrong"));
        return Map::new().with("first_bytes", hex(&body[..body.len().min(16)]));
    }
    if let Err(e) = Superblock::parse(body) {
        image.problem(format!(
            "block {bno}: the superblock contradicts itself, or is of another version ({e})"
        ));
    }
    let sb = Superblock::decode(body);
    let label = sb.label.split(|b| *b == 0).next().unwrap_or(&[]);
    let mut map = Map::new()
        .with("version", sb.version)
        .with(
            "state",
            bits(
                sb.state.into(),
                &[
                    (STATE_CLEAN.into(), "clean"),
                    (STATE_ERROR.into(), "damage"),
                ],
            ),
        )
        .with("uuid", device::uuid_text(&sb.uuid))
        .with("label", name(label))
        .with("blocks", sb.geometry.block_count)
        .with("group_blocks", sb.geometry.group_blocks)
        .with("groups", sb.geometry.group_count)
        .with("reserved_blocks", sb.reserved_blocks)
        .with("checksum_seed", format!("{:#010x}", sb.csum_seed))
        .with("hash_key", hex(&sb.hash_key))
        .with("compat", format!("{:#x}", sb.compat))
        .with("ro_compat", format!("{:#x}", sb.ro_compat))
        .with("incompat", format!("{:#x}", sb.incompat))
        .with("journal_start", sb.journal_start)
        .with("journal_blocks", sb.journal_len)
        .with("journal_uuid", device::uuid_text(&sb.journal_uuid))
        .with("root_inode", sb.root_ino)
        .with("system_inode", sb.system_ino)
        .with("quota_inode", (sb.quota_ino != 0).then_some(sb.quota_ino))
        .with("staging_epoch", hex(&sb.staging_epoch))
        .with("next_collection", sb.next_collection)
        .with("next_volume", sb.next_volume)
        .with("created", time(sb.created, None))
        .with("mounted", (sb.mounted != 0).then(|| time(sb.mounted, None)))
        .with("written", time(sb.written, None))
        .with("mounts", sb.mount_count);
    let e = sb.first_error;
    if e.code != 0 || e.time != 0 {
        let first = Map::new()
            .with("time", time(e.time, None))
            .with("errno", e.code)
            .with("inode", e.ino)
            .with("block", e.bno);
        map.put("first_damage", first);
    }
    map
}

/// One line for each group.
pub fn groups(image: &Image) -> Result<Map> {
    let g = image.sb()?.geometry;
    let mut list = Vec::new();
    for group in 0..g.group_count {
        if g.header(group) >= image.block_count() {
            image.problem(format!("group {group} and those behind it are not there"));
            break;
        }
        let bno = g.header(group);
        let header = image
            .metadata(bno, "group header")
            .map(|raw| GroupHeader::parse(raw.body(), group, bno));
        let mut map = Map::new()
            .with("group", group)
            .with("start", g.group_start(group));
        match header {
            Ok(Ok(h)) => map
                .put("free_blocks", h.free_blocks)
                .put("free_inodes", h.free_inodes)
                .put("directories", h.dirs)
                .put("chunks", h.chunks)
                .put("chunk_tree_blocks", h.chunk_blocks)
                .put("orphan_tree_blocks", h.orphan_blocks),
            Ok(Err(_)) => {
                image.problem(format!("block {bno}: not the header of group {group}"));
                continue;
            }
            Err(e) => {
                image.problem(format!("{e:#}"));
                continue;
            }
        };
        list.push(map);
    }
    Ok(Map::new().with("groups", list))
}

/// The header of a group.
pub fn group_header(image: &Image, group: u32) -> Result<GroupHeader> {
    let g = image.sb()?.geometry;
    if group >= g.group_count {
        bail!("there is no group {group}: there are {}", g.group_count);
    }
    let bno = g.header(group);
    let raw = image.metadata(bno, "group header")?;
    GroupHeader::parse(raw.body(), group, bno)
        .map_err(|_| anyhow!("block {bno}: not the header of group {group}"))
}

/// The tree of a group's chunks or orphans.
pub fn group_root(header: &GroupHeader, kind: u32) -> Root<'_> {
    let owner = Owner {
        id: header.group.into(),
        generation: 0,
        kind,
        home: header.bno,
    };
    let bytes = match kind {
        KIND_CHUNK => &header.chunk_root[..],
        _ => &header.orphan_root[..],
    };
    Root { bytes, owner }
}

/// A group: header, regions, chunks, orphans.
pub fn group(image: &Image, group: u32) -> Result<Map> {
    let sb = image.sb()?;
    let g = sb.geometry;
    let header = group_header(image, group);
    let mut map = Map::new()
        .with("group", group)
        .with("start", g.group_start(group))
        .with("blocks", g.group_len(group))
        .with("superblock_copy", g.has_super_copy(group))
        .with("header", g.header(group));
    let header = match header {
        Ok(header) => Some(header),
        Err(e) if group >= g.group_count => return Err(e),
        Err(e) => {
            image.problem(format!("{e:#}"));
            None
        }
    };
    if let Some(h) = &header {
        map.put("free_blocks", h.free_blocks)
            .put("free_inodes", h.free_inodes)
            .put("directories", h.dirs)
            .put("chunk_count", h.chunks)
            .put("chunk_tree_blocks", h.chunk_blocks)
            .put("orphan_tree_blocks", h.orphan_blocks);
    }
    let mut regions = Vec::new();
    for region in 0..g.regions(group) {
        match region_map(image, group, region) {
            Ok(region) => regions.push(region),
            Err(e) => image.problem(format!("{e:#}")),
        }
    }
    map.put("regions", regions);
    let Some(h) = header else {
        return Ok(map);
    };
    let mut chunks = Vec::new();
    super::tree::records(
        image,
        group_root(&h, KIND_CHUNK),
        &mut |bno, key, value| match parse_chunk(&g, group, key, value) {
            Some((chunk, mask)) => chunks.push(
                Map::new()
                    .with("chunk", chunk)
                    .with("free_inodes", mask.count_ones())
                    .with("free_mask", format!("{mask:#016x}")),
            ),
            None => image.problem(format!("block {bno}: impossible record of a chunk")),
        },
    )?;
    map.put("chunks", chunks);
    let mut orphans = Vec::new();
    super::tree::records(image, group_root(&h, KIND_ORPHAN), &mut |_, key, value| {
        let why = match value {
            [1] => Show::from("delete"),
            [2] => Show::from("truncate"),
            other => hex(other),
        };
        orphans.push(Map::new().with("inode", key as u64).with("why", why));
    })?;
    map.put("orphans", orphans);
    Ok(map)
}

fn region_map(image: &Image, group: u32, region: u32) -> Result<Map> {
    let g = image.sb()?.geometry;
    let (bno, at) = g.summary(group, region);
    let raw = image.metadata(bno, "region summaries")?;
    let entry = le32(raw.body(), at);
    let written = entry & SUMMARY_INIT != 0;
    let mut map = Map::new()
        .with("region", region)
        .with("start", g.region_start(group, region))
        .with("blocks", g.region_len(group, region))
        .with("free", entry & SUMMARY_FREE)
        .with("bitmap", g.bitmap(group, region))
        .with("bitmap_written", written);
    let mut counted = None;
    if written {
        let bitmap = g.bitmap(group, region);
        let raw = image.metadata(bitmap, "bitmap")?;
        if is_bitmap(raw.body(), group, bitmap, region) {
            let bits = &raw.body()[BITMAP_HEADER..];
            let len = g.region_len(group, region);
            let free = (0..len).filter(|bit| bits[(bit / 8) as usize] >> (bit % 8) & 1 == 0);
            counted = Some(free.count());
        } else {
            image.problem(format!(
                "block {bitmap}: not the bitmap of group {group}, region {region}"
            ));
        }
    }
    map.put("free_in_bitmap", counted);
    Ok(map)
}

/// The type of an inode in one word.
pub fn type_name(mode: u16) -> Show {
    match mode & S_IFMT {
        S_IFREG => "file".into(),
        S_IFDIR => "directory".into(),
        S_IFLNK => "link".into(),
        S_IFIFO => "pipe".into(),
        S_IFSOCK => "socket".into(),
        S_IFCHR => "character device".into(),
        S_IFBLK => "block device".into(),
        other => format!("{other:#o}").into(),
    }
}

/// Reads an inode, with what its block says of it. Fields that are impossible are problems, not errors.
pub fn read_inode(image: &Image, ino: u64) -> Result<(Inode, Option<u64>)> {
    let (bno, at) = place(ino).map_err(|_| anyhow!("{ino} is no number that an inode can have"))?;
    let raw = image.metadata(bno, "inodes")?;
    let chunk = match parse_block_header(raw.body(), bno) {
        Ok(chunk) => Some(chunk),
        Err(_) => {
            image.problem(format!("block {bno}: not a block of inodes"));
            None
        }
    };
    let bytes = &raw.body()[at..at + INODE_SIZE];
    if le16(bytes, 0) != MAGIC_OF_INODE {
        bail!("inode {ino}: block {bno} has no inode at offset {at}");
    }
    if le16(bytes, 2) != 0 && Inode::parse(bytes, ino).is_err() {
        image.problem(format!("inode {ino}: impossible fields"));
    }
    Ok((Inode::decode(bytes, ino), chunk))
}

/// An inode that is in use.
pub fn used_inode(image: &Image, ino: u64) -> Result<Inode> {
    let (inode, _) = read_inode(image, ino)?;
    if inode.mode == 0 {
        bail!("inode {ino} is free");
    }
    Ok(inode)
}

/// An inode.
pub fn inode(image: &Image, ino: u64) -> Result<Map> {
    let (i, chunk) = read_inode(image, ino)?;
    let mut map = Map::new()
        .with("inode", ino)
        .with("block", ino >> 3)
        .with("slot", ino & 7)
        .with("chunk", chunk);
    if let Some(chunk) = chunk {
        map.put("free_in_chunk", free_in_chunk(image, chunk, ino));
    }
    map.append(inode_fields(&i));
    if i.mode == 0 {
        return Ok(map);
    }
    if i.has_inline_link() {
        let len = (i.size as usize).min(i.data.len());
        map.put("target", name(&i.data[..len]));
    } else {
        map.put("data_root", root_summary(image, i.data_root()));
    }
    map.put("attribute_root", root_summary(image, i.attr_root()));
    Ok(map)
}

/// What the group's tree of chunks says of an inode. None: it does not know the chunk.
fn free_in_chunk(image: &Image, chunk: u64, ino: u64) -> Option<bool> {
    let g = image.sb().ok()?.geometry;
    let group = g.group_of(chunk)?;
    let header = group_header(image, group).ok()?;
    let mut free = None;
    let index = chunk_index(chunk, ino)?;
    super::tree::records(
        image,
        group_root(&header, KIND_CHUNK),
        &mut |_, key, value| {
            if let Some((start, mask)) = parse_chunk(&g, group, key, value) {
                if start == chunk {
                    free = Some(mask >> index & 1 == 1);
                }
            }
        },
    )
    .ok()?;
    free
}

fn inode_fields(i: &Inode) -> Map {
    let mut map = Map::new();
    if i.mode == 0 {
        return map.with("type", "free").with("generation", i.generation);
    }
    map.put("type", type_name(i.mode))
        .put("mode", format!("{:04o}", i.mode & 0o7777))
        .put("generation", i.generation)
        .put("owner", i.uid)
        .put("group", i.gid)
        .put("links", i.nlink)
        .put("size", i.size)
        .put("blocks", i.blocks)
        .put("flags", format!("{:#x}", i.flags))
        .put(
            "state",
            bits(
                i.state.into(),
                &[
                    (STATE_INTERNAL.into(), "internal"),
                    (STATE_EMBEDDED.into(), "embedded"),
                    (STATE_OFFLINE.into(), "offline"),
                    (STATE_ARCHIVED.into(), "archived"),
                    (STATE_ORPHAN.into(), "orphan"),
                ],
            ),
        )
        .put("accessed", i.atime)
        .put("modified", i.mtime)
        .put("changed", i.ctime)
        .put("born", i.btime)
        .put("data_version", i.data_version)
        .put("marked_version", i.marked_version)
        .put("project", i.projid);
    if i.is_dir() {
        map.put("entries", i.entries);
    }
    if matches!(i.kind(), S_IFCHR | S_IFBLK) {
        map.put("device", format!("{:#x}", i.rdev));
    }
    map
}

/// The seven inodes of a block.
pub fn inode_block(image: &Image, bno: u64, body: &[u8]) -> Map {
    let chunk = parse_block_header(body, bno).ok();
    if chunk.is_none() {
        image.problem(format!(
            "block {bno}: not a block of inodes that belongs here"
        ));
    }
    let mut list = Vec::new();
    for slot in 0..INODES_PER_BLOCK {
        let ino = bno << 3 | (slot + 1);
        let at = BLOCK_HEADER + slot as usize * INODE_SIZE;
        let bytes = &body[at..at + INODE_SIZE];
        let i = Inode::decode(bytes, ino);
        if le16(bytes, 0) != MAGIC_OF_INODE {
            image.problem(format!("inode {ino}: not an inode"));
        } else if i.mode != 0 && Inode::parse(bytes, ino).is_err() {
            image.problem(format!("inode {ino}: impossible fields"));
        }
        let mut map = Map::new().with("inode", ino);
        let kind = match i.mode {
            0 => "free".into(),
            mode => type_name(mode),
        };
        map.put("type", kind)
            .put("generation", i.generation)
            .put("links", i.nlink)
            .put("size", i.size)
            .put("blocks", i.blocks);
        list.push(map);
    }
    Map::new().with("chunk", chunk).with("inodes", list)
}
