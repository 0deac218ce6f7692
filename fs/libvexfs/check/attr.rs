// SPDX-License-Identifier: GPL-2.0

//! The attribute tree: parent pointers, extended attributes, long values. Other kinds of records have files of their own.

use super::tree::{walk, Event};
use super::{Checker, Claimant, Fix};
use crate::libvexfs::attr::{key, kind, KIND_SHIFT, REST_MAX};
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::parent::record::ParentRef;
use crate::libvexfs::tree::KIND_ATTR;
use crate::libvexfs::xattr::record::{
    chunk_key, hash, index, Value, XattrRef, CHUNK_LEN, CHUNK_LINK, COUNTER_BITS,
};
use kernel::prelude::*;
use std::collections::BTreeMap;

/// What the attribute tree came to.
#[derive(Default)]
pub(super) struct Attrs {
    /// Blocks of nodes.
    pub(super) blocks: u64,
    /// Parent pointers.
    pub(super) parents: u64,
    /// Something in it is bad: counts mean nothing.
    pub(super) damaged: bool,
    /// How many records of each kind there are.
    pub(super) kinds: BTreeMap<u8, u64>,
    /// Long values: chunk id to the length that its attribute says, and that one's key.
    long: BTreeMap<u32, (usize, u128)>,
    /// The chunks seen: id to the number of the next and the bytes so far.
    chunks: BTreeMap<u32, (u32, usize)>,
}

impl Attrs {
    /// How many records of a kind there are.
    pub(super) fn count(&self, kind: u8) -> u64 {
        self.kinds.get(&kind).copied().unwrap_or(0)
    }
}

impl<S: Store> Checker<'_, S> {
    pub(super) fn attributes(&mut self, i: &Inode) -> Result<Attrs> {
        let store = self.store;
        let mut attrs = Attrs::default();
        walk(store, i.attr_root(), &mut |event| {
            match event {
                Event::Node(bno) => {
                    attrs.blocks += 1;
                    let ours = self.claim(i.ino, bno, 1, Claimant::Node("attribute tree"));
                    attrs.damaged |= !ours;
                    return Ok(ours && !self.stopped);
                }
                Event::Bad { bno, what } => {
                    attrs.damaged = true;
                    let fix = Fix::Tree {
                        ino: i.ino,
                        kind: KIND_ATTR,
                    };
                    self.wrong(i.ino, bno, format!("attributes: {what}"), fix);
                }
                Event::Record { bno, key, value } => {
                    let record = (key >> KIND_SHIFT) as u8;
                    *attrs.kinds.entry(record).or_default() += 1;
                    self.attribute(i, bno, record, key & REST_MAX, value, &mut attrs)?;
                }
            }
            Ok(true)
        })?;
        if !attrs.damaged {
            self.long_values(i, &mut attrs);
        }
        Ok(attrs)
    }

    fn attribute(
        &mut self,
        i: &Inode,
        bno: u64,
        record: u8,
        rest: u128,
        value: &[u8],
        attrs: &mut Attrs,
    ) -> Result {
        let remove = Fix::drop_record(i.ino, KIND_ATTR, key(record, rest));
        match record {
            kind::PARENT => match ParentRef::parse(rest, value) {
                Ok(parent) => {
                    attrs.parents += 1;
                    if self.first_pass {
                        self.parent(i, bno, &parent, attrs.parents == 1);
                    }
                }
                Err(_) => {
                    attrs.damaged = true;
                    self.wrong(i.ino, bno, "impossible parent pointer", remove);
                }
            },
            kind::XATTR => self.xattr(i, bno, rest, value, attrs),
            kind::CHUNK => self.chunk_of_value(i, bno, rest, value, attrs),
            _ if self.vector_record(i, bno, record, rest, value)? => {}
            _ if self.staging_record(i, bno, record, rest, value)? => {}
            _ if self.quota_record(i, bno, record, rest, value) => {}
            _ => {
                let what = format!("attributes: a record of unknown kind {record}");
                self.wrong(i.ino, bno, what, remove);
            }
        }
        Ok(())
    }

    fn xattr(&mut self, i: &Inode, bno: u64, rest: u128, value: &[u8], attrs: &mut Attrs) {
        let key = key(kind::XATTR, rest);
        let remove = || Fix::drop_record(i.ino, KIND_ATTR, key);
        let Ok(xattr) = XattrRef::parse(value) else {
            attrs.damaged = true;
            return self.wrong(i.ino, bno, "impossible extended attribute", remove());
        };
        let name = String::from_utf8_lossy(xattr.name).into_owned();
        if !(index::USER..=index::SYSTEM).contains(&xattr.index) {
            let what = format!("extended attribute '{name}' has an unknown prefix");
            return self.wrong(i.ino, bno, what, remove());
        }
        let right = u128::from(hash(&self.sb.hash_key, xattr.index, xattr.name));
        if rest >> COUNTER_BITS != right {
            let what = format!("extended attribute '{name}' is in the wrong place");
            return self.wrong(i.ino, bno, what, remove());
        }
        if let Value::Chunks(id) = xattr.value {
            if attrs.long.insert(id, (xattr.len, key)).is_some() {
                let what = format!("extended attribute '{name}' shares its value with another");
                self.wrong(i.ino, bno, what, remove());
            }
        }
    }

    fn chunk_of_value(&mut self, i: &Inode, bno: u64, rest: u128, value: &[u8], attrs: &mut Attrs) {
        let (id, n) = ((rest >> 32) as u32, rest as u32);
        let (next, bytes) = attrs.chunks.entry(id).or_insert((0, 0));
        let whole = *bytes == *next as usize * CHUNK_LEN;
        let right =
            rest >> 64 == 0 && n == *next && whole && (1..=CHUNK_LEN).contains(&value.len());
        if id == CHUNK_LINK && i.is_link() && value.contains(&0) {
            let what = "the target of the symbolic link has a zero byte";
            self.wrong(i.ino, bno, what, Fix::Free { ino: i.ino });
        }
        if right {
            *next = next.saturating_add(1);
            *bytes = bytes.saturating_add(value.len());
            return;
        }
        let what = format!("a long value has missing or wrong pieces (id {id}, piece {n})");
        let remove = Fix::drop_record(i.ino, KIND_ATTR, key(kind::CHUNK, rest));
        self.wrong(i.ino, bno, what, remove);
    }

    fn long_values(&mut self, i: &Inode, attrs: &mut Attrs) {
        // What is being freed loses its records leaf by leaf, a long value and what names it apart.
        if i.nlink == 0 {
            return;
        }
        let mut wanted = core::mem::take(&mut attrs.long);
        for (id, (next, bytes)) in &attrs.chunks {
            if *id == CHUNK_LINK && i.is_link() && !i.has_inline_link() {
                if i.size != *bytes as u64 {
                    let what = format!(
                        "a long value (the target) has {bytes} bytes, rightly {}",
                        i.size
                    );
                    self.wrong(i.ino, 0, what, Fix::Link { ino: i.ino });
                }
                continue;
            }
            let mut fixes: Vec<Fix> = (0..*next)
                .map(|n| key(kind::CHUNK, chunk_key(*id, n)))
                .map(|key| Fix::drop_record(i.ino, KIND_ATTR, key))
                .collect();
            match wanted.remove(id) {
                Some((len, _)) if len == *bytes => {}
                Some((len, xattr)) => {
                    let what = format!("a long value (id {id}) has {bytes} bytes, rightly {len}");
                    fixes.push(Fix::drop_record(i.ino, KIND_ATTR, xattr));
                    self.wrong_by(i.ino, 0, what, fixes);
                }
                // Nothing but wrong pieces, which were said to be.
                None if fixes.is_empty() => {}
                None => {
                    let what = format!("a long value (id {id}) that belongs to nothing");
                    self.wrong_by(i.ino, 0, what, fixes);
                }
            }
        }
        for (id, (len, xattr)) in wanted {
            let what = format!("a long value (id {id}) of {len} bytes is missing");
            let remove = Fix::drop_record(i.ino, KIND_ATTR, xattr);
            self.wrong(i.ino, 0, what, remove);
        }
        if i.is_link() && !i.has_inline_link() && !attrs.chunks.contains_key(&CHUNK_LINK) {
            let what = format!("a long value (the target) of {} bytes is missing", i.size);
            self.wrong(i.ino, 0, what, Fix::Link { ino: i.ino });
        }
    }
}
