// SPDX-License-Identifier: GPL-2.0
//! A single block: what it is, and all that can be said of it.

use super::image::Image;
use super::show::Map;
use super::{structures, tree};
use anyhow::Result;
use vexfs::libvexfs::format::group::{
    GroupHeader, BITMAP_BYTES, BITMAP_HEADER, BITMAP_MAGIC, INODE_BLOCK_MAGIC,
    MAGIC as GROUP_MAGIC, SUMMARY_FREE, SUMMARY_INIT,
};
use vexfs::libvexfs::format::superblock::MAGIC as SUPER_MAGIC;
use vexfs::libvexfs::format::{le32, le64, Geometry};
use vexfs::libvexfs::journal::host::jbd2;
use vexfs::libvexfs::journal::{BLOCK_SIZE, SEAL_SIZE};
use vexfs::libvexfs::tree::node::MAGIC as NODE_MAGIC;

/// What a block looks like.
pub fn kind(block: &[u8; BLOCK_SIZE]) -> &'static str {
    let body = &block[SEAL_SIZE..];
    if body.starts_with(&SUPER_MAGIC) {
        return "superblock";
    }
    match le32(body, 0) {
        GROUP_MAGIC => "group header",
        BITMAP_MAGIC => "bitmap",
        INODE_BLOCK_MAGIC => "inodes",
        NODE_MAGIC => "tree node",
        _ if jbd2::header(block).is_some() => "journal",
        _ if block.iter().all(|b| *b == 0) => "zeros",
        _ => "something else",
    }
}

/// The group whose summaries a block has, with the number of the first region in it.
fn summaries_of(g: &Geometry, bno: u64) -> Option<(u32, u64)> {
    let group = g.group_of(bno)?;
    let at = bno.checked_sub(g.group_start(group))?.checked_sub(2)?;
    (at < g.summary_blocks()).then_some((group, at))
}

/// A block.
pub fn block(image: &Image, bno: u64) -> Result<Map> {
    let raw = image.block(bno)?;
    let mut map = Map::new().with("block", bno);
    let place = image.any_superblock().map(|sb| sb.geometry);
    let summaries = place.and_then(|g| summaries_of(&g, bno));
    let looks = match (summaries, kind(&raw.bytes)) {
        (Some(_), "zeros" | "something else") => "region summaries",
        (_, kind) => kind,
    };
    map.put("looks_like", looks)
        .put("checksum", raw.sealed)
        .put("in_journal", in_journal(image, bno));
    if let (Some(g), Some(group)) = (place, place.and_then(|g| g.group_of(bno))) {
        let (region, bit) = g.region_of(group, bno);
        map.put("group", group)
            .put("region", region)
            .put("in_use", in_use(image, &g, group, region, bit));
    }
    let body = raw.body();
    let metadata = !matches!(looks, "zeros" | "something else" | "journal");
    if metadata && raw.sealed == Some(false) {
        image.problem(format!("block {bno} ({looks}): wrong checksum"));
    }
    match looks {
        "superblock" => map.append(structures::superblock_body(image, bno, body)),
        "group header" => map.append(header(image, bno, body)),
        "bitmap" => map.append(bitmap(image, bno, body)),
        "inodes" => map.append(structures::inode_block(image, bno, body)),
        "tree node" => map.append(tree::node_block(image, bno, body)),
        "region summaries" => map.append(summaries_map(place, summaries, body)),
        "journal" => {
            let (kind, tid) = jbd2::header(&raw.bytes[..]).unwrap_or_default();
            map.put("journal_type", kind).put("transaction", tid)
        }
        _ => map.put("dump", dump(&raw.bytes)),
    };
    Ok(map)
}

/// Whether what is shown of a block comes from the journal.
fn in_journal(image: &Image, bno: u64) -> Option<bool> {
    let mut buf = [0; BLOCK_SIZE];
    image.replay()?.read(image.disk(), bno, &mut buf).ok()
}

/// What the bitmap says of a block. None: there is no bitmap to ask.
fn in_use(image: &Image, g: &Geometry, group: u32, region: u32, bit: u32) -> Option<bool> {
    let (bno, at) = g.summary(group, region);
    let entry = le32(image.block(bno).ok()?.body(), at);
    if entry & SUMMARY_INIT == 0 {
        return Some(false);
    }
    let raw = image.block(g.bitmap(group, region)).ok()?;
    let byte = raw.body().get(BITMAP_HEADER + bit as usize / 8)?;
    (le32(raw.body(), 0) == BITMAP_MAGIC).then_some(byte >> (bit % 8) & 1 == 1)
}

fn header(image: &Image, bno: u64, body: &[u8]) -> Map {
    let (group, own) = (le32(body, 4), le64(body, 8));
    let Ok(h) = GroupHeader::parse(body, group, bno) else {
        image.problem(format!(
            "block {bno}: this group header belongs to block {own}"
        ));
        return Map::new().with("header_of", group).with("own_block", own);
    };
    Map::new()
        .with("header_of", group)
        .with("own_block", own)
        .with("free_blocks", h.free_blocks)
        .with("free_inodes", h.free_inodes)
        .with("directories", h.dirs)
        .with("chunks", h.chunks)
        .with("chunk_tree_blocks", h.chunk_blocks)
        .with("orphan_tree_blocks", h.orphan_blocks)
}

/// Runs of blocks in use.
fn bitmap(image: &Image, bno: u64, body: &[u8]) -> Map {
    let own = le64(body, 8);
    if own != bno {
        image.problem(format!("block {bno}: this bitmap belongs to block {own}"));
    }
    let bits = &body[BITMAP_HEADER..BITMAP_HEADER + BITMAP_BYTES];
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for bit in 0..BITMAP_BYTES as u64 * 8 {
        if bits[(bit / 8) as usize] >> (bit % 8) & 1 == 1 {
            match runs.last_mut() {
                Some((start, len)) if *start + *len == bit => *len += 1,
                _ => runs.push((bit, 1)),
            }
        }
    }
    let used: u64 = runs.iter().map(|(_, len)| len).sum();
    let runs = runs.into_iter();
    let runs = runs.map(|(first, len)| Map::new().with("first_bit", first).with("bits", len));
    Map::new()
        .with("bitmap_of_group", le32(body, 4))
        .with("bitmap_of_region", le32(body, 16))
        .with("own_block", own)
        .with("bits_set", used)
        .with("runs_set", runs.collect::<Vec<_>>())
}

fn summaries_map(g: Option<Geometry>, place: Option<(u32, u64)>, body: &[u8]) -> Map {
    let (Some(g), Some((group, first))) = (g, place) else {
        return Map::new();
    };
    let per_block = body.len() as u64 / 4;
    let from = first * per_block;
    let to = (from + per_block).min(g.regions(group).into());
    let entries = (from..to).map(|region| {
        let entry = le32(body, 4 * (region - from) as usize);
        Map::new()
            .with("region", region)
            .with("free", entry & SUMMARY_FREE)
            .with("bitmap_written", entry & SUMMARY_INIT != 0)
    });
    Map::new().with("summaries", entries.collect::<Vec<_>>())
}

/// The block in hexadecimal, equal lines once.
fn dump(block: &[u8; BLOCK_SIZE]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut last: Option<&[u8]> = None;
    let mut skipped = false;
    for (n, line) in block.chunks(32).enumerate() {
        if last == Some(line) {
            skipped = true;
            continue;
        }
        if std::mem::take(&mut skipped) {
            lines.push("*".to_owned());
        }
        let hex: String = line.iter().map(|b| format!("{b:02x}")).collect();
        let show = |b: &u8| {
            if b.is_ascii_graphic() || *b == b' ' {
                char::from(*b)
            } else {
                '.'
            }
        };
        let text: String = line.iter().map(show).collect();
        lines.push(format!("{:04x}  {hex}  {text}", n * 32));
        last = Some(line);
    }
    lines
}
