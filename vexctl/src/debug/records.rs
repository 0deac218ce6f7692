// SPDX-License-Identifier: GPL-2.0
//! Records of attribute trees.

use super::image::Image;
use super::show::{hex, key as show_key, name, time, Map, Show};
use crate::device;
use vexfs::libvexfs::attr::{kind, KIND_SHIFT, REST_MAX};
use vexfs::libvexfs::format::quota::{parse_key, Amount, Grace, Record as Owner};
use vexfs::libvexfs::format::{le32, le64};
use vexfs::libvexfs::parent::record::ParentRef;
use vexfs::libvexfs::staging::copy::Copy;
use vexfs::libvexfs::staging::volume::Volume;
use vexfs::libvexfs::vector::slots::{Counts, FreeSlot};
use vexfs::libvexfs::vector::stale::Range;
use vexfs::libvexfs::vector::{key as vector, Collection, Record};
use vexfs::libvexfs::xattr::record::{index, Value, XattrRef};

/// Bytes of a value that are shown.
const SHOWN: usize = 64;

/// A record of which nothing more is known.
pub fn unknown(key: u128, value: &[u8]) -> Map {
    Map::new()
        .with("key", show_key(key))
        .with("bytes", value.len())
        .with("value", start(value))
}

/// The first bytes of a value.
fn start(value: &[u8]) -> Show {
    match (value.get(..SHOWN), hex(&value[..value.len().min(SHOWN)])) {
        (Some(_), Show::Text(text)) if value.len() > SHOWN => Show::Text(text + "..."),
        (_, all) => all,
    }
}

/// A record of an attribute tree; one that is not what its key says is a problem.
pub fn attribute(image: &Image, bno: u64, key: u128, value: &[u8]) -> Map {
    let record = (key >> KIND_SHIFT) as u8;
    let (what, fields) = fields(record, key, value);
    let mut map = Map::new().with("record", what);
    match fields {
        Some(fields) => {
            map.append(fields);
        }
        None => {
            image.problem(format!("block {bno}: impossible record {key:#x} ({what})"));
            map.append(unknown(key, value));
        }
    }
    map
}

/// The name of a kind of records, and the fields of one. Records of kinds that are not known here are shown as they are.
fn fields(record: u8, key: u128, value: &[u8]) -> (&'static str, Option<Map>) {
    let rest = key & REST_MAX;
    match record {
        kind::PARENT => ("parent", parent(rest, value)),
        kind::XATTR => ("xattr", xattr(value)),
        kind::CHUNK => (
            "chunk",
            (rest >> 64 == 0).then(|| {
                Map::new()
                    .with("id", (rest >> 32) as u32)
                    .with("number", rest as u32)
                    .with("bytes", value.len())
                    .with("value", start(value))
            }),
        ),
        kind::STALE => ("stale", stale(key, value)),
        kind::COPY => ("copy", Copy::parse(key, value).ok().map(|c| copy(&c))),
        kind::CHUNKSUM => (
            "checksums",
            (value.len() >= 8 && value.len() % 4 == 0).then(|| {
                Map::new()
                    .with("number", rest as u64)
                    .with("version", le64(value, 0))
                    .with("sums", (value.len() - 8) / 4)
            }),
        ),
        kind::COLLECTION => (
            "collection",
            u32::try_from(rest)
                .ok()
                .and_then(|id| Collection::parse(id, value).ok())
                .map(|c| collection(&c)),
        ),
        kind::VOLUME => ("volume", Volume::parse(key, value).ok().map(|v| volume(&v))),
        kind::QUOTA => ("quota", quota(rest, value)),
        vector::SLOT => ("slot", slot(rest, value)),
        vector::KEY => (
            "key",
            (value.len() == 4).then(|| {
                Map::new()
                    .with("user_key", rest as u64)
                    .with("slot", le32(value, 0))
            }),
        ),
        vector::OWNER => (
            "owner",
            value.is_empty().then(|| {
                Map::new()
                    .with("inode", (rest >> 32) as u64)
                    .with("slot", rest as u32)
            }),
        ),
        vector::FREE => ("free", free(rest, value)),
        vector::COUNTS => (
            "counts",
            Counts::parse(value).ok().map(|c| {
                Map::new()
                    .with("next", c.next)
                    .with("live", c.live)
                    .with("free", c.free)
            }),
        ),
        vector::EMBEDDED_IN => (
            "embedded in",
            value
                .is_empty()
                .then(|| Map::new().with("collection", rest as u64)),
        ),
        _ => ("of another kind", Some(unknown(key, value))),
    }
}

fn parent(rest: u128, value: &[u8]) -> Option<Map> {
    let p = ParentRef::parse(rest, value).ok()?;
    Some(
        Map::new()
            .with("inode", p.ino)
            .with("generation", p.generation)
            .with("cookie", format!("{:#x}", p.cookie))
            .with("name", name(p.name)),
    )
}

fn xattr(value: &[u8]) -> Option<Map> {
    let x = XattrRef::parse(value).ok()?;
    let space = match x.index {
        index::USER => "user.".into(),
        index::TRUSTED => "trusted.".into(),
        index::SECURITY => "security.".into(),
        index::SYSTEM => "system.".into(),
        other => Show::from(format!("{other}.")),
    };
    let mut map = Map::new()
        .with("space", space)
        .with("name", name(x.name))
        .with("bytes", x.len);
    match x.value {
        Value::Inline(bytes) => map.put("chunks", Show::None).put("value", start(bytes)),
        Value::Chunks(id) => map.put("chunks", id).put("value", Show::None),
    };
    Some(map)
}

fn stale(key: u128, value: &[u8]) -> Option<Map> {
    let range = Range::parse(key, value).ok()?;
    Some(
        Map::new()
            .with("start", range.start)
            .with("end", range.end)
            .with("version", range.version),
    )
}

fn copy(c: &Copy) -> Map {
    Map::new()
        .with("number", c.copy)
        .with("state", c.state)
        .with("pool", c.pool)
        .with("volume", c.volume)
        .with("bundle", c.bundle)
        .with("version", c.version)
        .with("bytes", c.len)
        .with("member_block", c.block)
        .with("data_offset", c.object_off)
        .with("time", time(c.time, None))
        .with("algorithm", c.algorithm)
        .with("digest", hex(&c.digest))
}

fn collection(c: &Collection) -> Map {
    Map::new()
        .with("id", c.id)
        .with("name", name(c.name.as_bytes()))
        .with("dimension", c.dim)
        .with("element", format!("{:?}", c.element).to_lowercase())
        .with("metric", format!("{:?}", c.metric).to_lowercase())
        .with("inode", c.ino)
        .with("generation", c.generation)
        .with("creator", c.uid)
        .with("created", c.created)
        .with("model", name(c.model.as_bytes()))
}

fn volume(v: &Volume) -> Map {
    let label = v.label.split(|b| *b == 0).next().unwrap_or(&[]);
    Map::new()
        .with("id", v.id)
        .with("state", v.state)
        .with("pool", v.pool)
        .with("uuid", device::uuid_text(&v.uuid))
        .with("label", name(label))
        .with("created", time(v.created, None))
        .with("next_bundle", v.next_bundle)
        .with("capacity", v.capacity)
        .with("end_of_data", v.end_of_data)
        .with("live", v.live)
        .with("dead", v.dead)
}

fn slot(rest: u128, value: &[u8]) -> Option<Map> {
    let r = Record::parse(value).ok()?;
    Some(
        Map::new()
            .with("slot", u32::try_from(rest).ok()?)
            .with("user_key", r.key)
            .with("inode", r.ino)
            .with("generation", r.generation)
            .with("offset", r.off)
            .with("length", r.len)
            .with("version", r.version)
            .with("checksum", format!("{:#010x}", r.crc))
            .with("sequence", r.sequence),
    )
}

fn free(rest: u128, value: &[u8]) -> Option<Map> {
    let f = FreeSlot::parse(value).ok()?;
    Some(
        Map::new()
            .with("slot", u32::try_from(rest).ok()?)
            .with("transaction", f.tid)
            .with("mount", f.mount)
            .with("sequence", f.sequence),
    )
}

/// What an owner has, or the periods of grace of a kind of owner.
fn quota(rest: u128, value: &[u8]) -> Option<Map> {
    let (qtype, id) = parse_key(rest)?;
    let map = Map::new().with("type", *["user", "group", "project"].get(qtype)?);
    let Some(id) = id else {
        let grace = Grace::parse(value).ok()?;
        return Some(
            map.with("grace_blocks", grace.blocks)
                .with("grace_inodes", grace.inodes),
        );
    };
    let r = Owner::parse(value).ok()?;
    let amount = |a: Amount| {
        Map::new()
            .with("used", a.used)
            .with("hard", a.hard)
            .with("soft", a.soft)
            .with(
                "deadline",
                (a.deadline != 0).then(|| time(a.deadline, None)),
            )
    };
    Some(
        map.with("id", id)
            .with("blocks", amount(r.blocks))
            .with("inodes", amount(r.inodes)),
    )
}
