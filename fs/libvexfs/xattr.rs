// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.

mod initial;
pub mod record;

pub use initial::{cost as initial_cost, Initial};
pub use record::{index, NAME_MAX, VALUE_MAX};

use crate::libvexfs::alloc::Mode;
use crate::libvexfs::attr::kind;
use crate::libvexfs::credits;
use crate::libvexfs::format::{Inode, Time};
use crate::libvexfs::journal::Store;
use crate::libvexfs::quota::Owners;
use crate::libvexfs::Fs;
use kernel::prelude::*;
use record::{
    chunk_key, chunks, format_head, is_inline, Value, XattrRef, CHUNKS_MAX, COUNTER_BITS, HEAD,
};

/// Whether an attribute must, or must not, be there before it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetMode {
    /// Set it in any case.
    #[default]
    Any,
    /// `XATTR_CREATE`: `EEXIST` if it is there.
    Create,
    /// `XATTR_REPLACE`: `ENODATA` if it is not.
    Replace,
}

/// What is shown an attribute's index, name and length of value, and says whether it wants more.
pub type Visit<'a> = dyn FnMut(u8, &[u8], usize) -> Result<bool> + 'a;

/// An attribute that was found.
#[derive(Clone, Copy)]
struct Found {
    key: u128,
    len: usize,
    chunks: Option<u32>,
}

/// What a search for an attribute tells: where it is, or where it could be put.
#[derive(Clone, Copy)]
struct Probe {
    found: Option<Found>,
    free: Option<u128>,
}

/// Chunk ids that are tried before an inode counts as full of long values.
const IDS_MAX: u32 = 65_536;

impl<S: Store> Fs<S> {
    /// Reads an attribute and returns the length of its value, which is copied to `buf` if `buf` is
    /// long enough; else `buf` keeps what it has.
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is none, `EINVAL` for an impossible name; `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn xattr_get(&self, i: &Inode, index: u8, name: &[u8], buf: &mut [u8]) -> Result<usize> {
        check_name(index, name)?;
        let mut got = None;
        self.xattr_bucket(i, index, name, &mut |_, attr| {
            if !is_same(attr, index, name) {
                return Ok(true);
            }
            let id = match attr.value {
                Value::Chunks(id) => Some(id),
                Value::Inline(value) => {
                    if let Some(to) = buf.get_mut(..value.len()) {
                        to.copy_from_slice(value);
                    }
                    None
                }
            };
            got = Some((attr.len, id));
            Ok(false)
        })?;
        let (len, id) = got.ok_or_else(crate::libvexfs::errno::enodata)?;
        if let (Some(id), Some(to)) = (id, buf.get_mut(..len)) {
            self.chunks_read(i, id, to)?;
        }
        Ok(len)
    }

    /// Shows index, name and length of value of all attributes to `f`, in a fixed order, until it
    /// says false.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`, and what `f` returns.
    pub fn xattr_list(&self, i: &Inode, f: &mut Visit<'_>) -> Result {
        self.attr_scan(i, kind::XATTR, 0, &mut |_, value| {
            let attr = self.xattr_parse(i, value)?;
            f(attr.index, attr.name, attr.len)
        })
    }

    /// Returns the credits that setting an attribute to `len` bytes, or removing it (`None`), takes.
    /// It depends on the value that is there; ask with the inode locked, so that it stays.
    ///
    /// # Errors
    ///
    /// As [`Fs::xattr_get`], without `ENODATA`.
    pub fn xattr_credits(
        &self,
        i: &Inode,
        index: u8,
        name: &[u8],
        len: Option<usize>,
    ) -> Result<usize> {
        let long = |len: usize| match is_inline(name.len(), len) {
            true => 0,
            false => chunks(len.min(VALUE_MAX)),
        };
        check_name(index, name)?;
        let old = match self.xattr_probe(i, index, name)?.found {
            Some(found) => long(found.len),
            None => 0,
        };
        let regions = usize::try_from(self.geometry().regions_at_most())?;
        Ok(credits::xattr_set(len.map_or(0, long), old, regions))
    }

    /// Sets an attribute, or removes it with a value of `None`. Logs the inode. Credits:
    /// [`Fs::xattr_credits`]; without long values
    /// [`credits::XATTR_SET`].
    ///
    /// # Errors
    ///
    /// `EEXIST` and `ENODATA` as `mode` has it, `ENODATA` if there is nothing to remove, `E2BIG` for
    /// a value over 64 KiB, `EINVAL` for an impossible name, `ENOSPC`; `EUCLEAN`, `EIO`, `ENOMEM`.
    #[allow(clippy::too_many_arguments)]
    pub fn xattr_set(
        &self,
        t: &mut S::Trans,
        i: &mut Inode,
        index: u8,
        name: &[u8],
        value: Option<&[u8]>,
        mode: SetMode,
        now: Time,
    ) -> Result {
        check_name(index, name)?;
        let probe = self.xattr_probe(i, index, name)?;
        match (&probe.found, mode) {
            (Some(_), SetMode::Create) => return Err(EEXIST),
            (None, SetMode::Replace) => return Err(crate::libvexfs::errno::enodata()),
            _ => {}
        }
        match (value, probe.found) {
            (None, None) => return Err(crate::libvexfs::errno::enodata()),
            (None, Some(old)) => {
                // What cannot be read cannot be removed half-way either.
                self.xattr_verify(i, &old)?;
                self.attr_remove(t, i, kind::XATTR, old.key)?;
                self.xattr_drop_value(t, i, &old)?;
            }
            (Some(value), _) => {
                let _grows = self.quota_claim(&Owners::of(i), 0, 0)?;
                self.xattr_store(t, i, index, name, value, &probe)?;
            }
        }
        i.ctime = now;
        self.log_inode(t, i)
    }

    /// Plans and stores a value.
    fn xattr_store(
        &self,
        t: &mut S::Trans,
        i: &mut Inode,
        index: u8,
        name: &[u8],
        value: &[u8],
        probe: &Probe,
    ) -> Result {
        if value.len() > VALUE_MAX {
            return Err(E2BIG);
        }
        let is_long = !is_inline(name.len(), value.len());
        let mut record =
            KVec::with_capacity(HEAD + name.len() + value.len().min(1000), GFP_KERNEL)?;
        record.extend_from_slice(&format_head(index, name, value.len()), GFP_KERNEL)?;
        record.extend_from_slice(name, GFP_KERNEL)?;
        let mut count = 0;
        let mut id = 0;
        if is_long {
            count = chunks(value.len());
            id = self.chunk_id(i, index, name)?;
            record.extend_from_slice(&id.to_le_bytes(), GFP_KERNEL)?;
        } else {
            record.extend_from_slice(value, GFP_KERNEL)?;
        }
        let key = match (&probe.found, probe.free) {
            (Some(old), _) => {
                self.xattr_verify(i, old)?;
                old.key
            }
            (None, Some(free)) => free,
            (None, None) => return Err(ENOSPC),
        };
        let blocks = credits::blocks::chunks(count) + credits::blocks::INSERT;
        let mut space = self.space(i.ino >> 3, blocks, Mode::Normal)?;

        if is_long {
            self.chunks_write(t, &mut space, i, id, value)?;
        }
        match &probe.found {
            Some(old) => {
                let root = i.attr_root_mut();
                let key = crate::libvexfs::attr::key(kind::XATTR, key);
                self.tree_replace(t, &mut space, root, key, &record)?;
                self.xattr_drop_value(t, i, old)
            }
            None => self.attr_insert(t, &mut space, i, kind::XATTR, key, &record),
        }
    }

    /// Plan: all chunks of a long value are there, so that removing them cannot stop half-way.
    fn xattr_verify(&self, i: &Inode, old: &Found) -> Result {
        let Some(id) = old.chunks else {
            return Ok(());
        };
        let mut count = 0;
        let (first, last) = (chunk_key(id, 0), chunk_key(id, u32::MAX));
        self.attr_scan(i, kind::CHUNK, first, &mut |key, _| {
            if key > last {
                return Ok(false);
            }
            if key != first + count as u128 || count == CHUNKS_MAX {
                return Err(self.damaged(i.ino, 0, "a long value has wrong pieces"));
            }
            count += 1;
            Ok(true)
        })?;
        if count != chunks(old.len) {
            return Err(self.damaged(i.ino, 0, "a long value has missing or wrong pieces"));
        }
        Ok(())
    }

    /// Apply: removes the chunks of a value that is no more.
    fn xattr_drop_value(&self, t: &mut S::Trans, i: &mut Inode, old: &Found) -> Result {
        match old.chunks {
            Some(id) => self.chunks_remove(t, i, id, old.len),
            None => Ok(()),
        }
    }

    /// Finds a chunk id that the inode does not use.
    fn chunk_id(&self, i: &Inode, index: u8, name: &[u8]) -> Result<u32> {
        // Ids that follow from names are found at the first attempt nearly always, and need no
        // counter on disk.
        let mut id = record::hash(&self.sb.hash_key, index, name) as u32;
        for _ in 0..IDS_MAX {
            let first = chunk_key(id, 0);
            let last = chunk_key(id, u32::MAX);
            let used = self.attr_next(i, kind::CHUNK, first, |key, _| key <= last)?;
            if id != record::CHUNK_LINK && used != Some(true) {
                return Ok(id);
            }
            id = id.wrapping_add(1);
        }
        Err(ENOSPC)
    }

    /// Finds an attribute, or the place for it.
    fn xattr_probe(&self, i: &Inode, index: u8, name: &[u8]) -> Result<Probe> {
        let first = bucket(&self.sb.hash_key, index, name);
        let last = first | ((1 << COUNTER_BITS) - 1);
        let mut free = first;
        let mut found = None;
        self.xattr_bucket(i, index, name, &mut |key, attr| {
            if is_same(attr, index, name) {
                let chunks = match attr.value {
                    Value::Inline(_) => None,
                    Value::Chunks(id) => Some(id),
                };
                found = Some(Found {
                    key,
                    len: attr.len,
                    chunks,
                });
                return Ok(false);
            }
            // Keys come in ascending order, so this stops at the first gap.
            if key == free {
                free += 1;
            }
            Ok(true)
        })?;
        Ok(Probe {
            found,
            free: (found.is_none() && free <= last).then_some(free),
        })
    }

    /// Shows all attributes whose names have the hash of this one.
    fn xattr_bucket(
        &self,
        i: &Inode,
        index: u8,
        name: &[u8],
        f: &mut dyn FnMut(u128, &XattrRef<'_>) -> Result<bool>,
    ) -> Result {
        let first = bucket(&self.sb.hash_key, index, name);
        let last = first | ((1 << COUNTER_BITS) - 1);
        self.attr_scan(i, kind::XATTR, first, &mut |key, value| {
            if key > last {
                return Ok(false);
            }
            f(key, &self.xattr_parse(i, value)?)
        })
    }

    fn xattr_parse<'a>(&self, i: &Inode, value: &'a [u8]) -> Result<XattrRef<'a>> {
        XattrRef::parse(value)
            .map_err(|_| self.damaged(i.ino, 0, "an extended attribute makes no sense"))
    }
}

/// Returns the lowest key that an attribute of this name can have.
fn bucket(key: &[u8; 16], index: u8, name: &[u8]) -> u128 {
    u128::from(record::hash(key, index, name)) << COUNTER_BITS
}

fn is_same(attr: &XattrRef<'_>, index: u8, name: &[u8]) -> bool {
    attr.index == index && attr.name == name
}

fn check_name(index: u8, name: &[u8]) -> Result {
    if index == 0 || name.is_empty() || name.len() > NAME_MAX || name.contains(&0) {
        return Err(EINVAL);
    }
    Ok(())
}
