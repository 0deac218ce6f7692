// SPDX-License-Identifier: GPL-2.0

//! Collections: vectors of one dimension, type and metric.

use super::slots::Counts;
use super::{key, MAX_DIM};
use crate::libvexfs::credits::{self, blocks};
use crate::libvexfs::errno::{eopnotsupp, euclean};
use crate::libvexfs::format::inode::{STATE_INTERNAL, S_IFREG};
use crate::libvexfs::format::{le32, le64, put, put32, put64, Inode, Time};
use crate::libvexfs::journal::Store;
use crate::libvexfs::{Fs, Mode};
use kernel::prelude::*;

/// The longest name, in bytes.
pub const NAME_MAX: usize = 63;
/// The longest model text, in bytes.
pub const MODEL_MAX: usize = 191;
/// Collections that there can be at once.
pub const COLLECTIONS_MAX: usize = 4096;

const FIXED_LEN: usize = 48;
const VALUE_MAX: usize = FIXED_LEN + NAME_MAX + MODEL_MAX;

/// How elements are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// IEEE 754 binary32.
    F32 = 1,
    /// IEEE 754 binary16.
    F16 = 2,
    /// Signed bytes.
    Int8 = 3,
    /// Bits: a byte has eight of them, the first one highest.
    Binary = 4,
}

impl Element {
    /// From its number in the ABI and on disk.
    pub fn from_raw(raw: u32) -> Option<Element> {
        match raw {
            1 => Some(Element::F32),
            2 => Some(Element::F16),
            3 => Some(Element::Int8),
            4 => Some(Element::Binary),
            _ => None,
        }
    }

    /// Bytes of so many, at most [`MAX_DIM`] rounded up a little.
    pub fn bytes(self, count: u32) -> u32 {
        match self {
            Element::F32 => 4 * count,
            Element::F16 => 2 * count,
            Element::Int8 => count,
            Element::Binary => count.div_ceil(8),
        }
    }
}

/// How far two vectors are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Squared Euclidean distance.
    L2 = 1,
    /// Cosine similarity.
    Cosine = 2,
    /// Inner product.
    Ip = 3,
    /// Bits that differ.
    Hamming = 4,
}

impl Metric {
    /// From its number in the ABI and on disk.
    pub fn from_raw(raw: u32) -> Option<Metric> {
        match raw {
            1 => Some(Metric::L2),
            2 => Some(Metric::Cosine),
            3 => Some(Metric::Ip),
            4 => Some(Metric::Hamming),
            _ => None,
        }
    }

    /// Whether vectors of this type are compared so: bits by how many differ, all others by
    /// arithmetic.
    pub fn compares(self, element: Element) -> bool {
        (self == Metric::Hamming) == (element == Element::Binary)
    }
}

/// A text of at most `N` bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Text<N> {
    /// From bytes; `None` if they are too many.
    pub fn new(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; N];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Text {
            bytes,
            len: u8::try_from(text.len()).ok()?,
        })
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or(&[])
    }
}

impl<const N: usize> core::fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for chunk in self.as_bytes().utf8_chunks() {
            f.write_str(chunk.valid())?;
        }
        Ok(())
    }
}

/// A collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Its number, never used again.
    pub id: u32,
    /// Elements of a vector.
    pub dim: u32,
    /// Type of the elements.
    pub element: Element,
    /// Distance.
    pub metric: Metric,
    /// The internal inode with vectors and records.
    pub ino: u64,
    /// That inode's generation.
    pub generation: u32,
    /// Who created it.
    pub uid: u32,
    /// When.
    pub created: Time,
    /// Its name, unique.
    pub name: Text<NAME_MAX>,
    /// What made the vectors; free text.
    pub model: Text<MODEL_MAX>,
}

/// Whether a name is one that a collection may have.
pub fn valid_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name != b"."
        && name != b".."
        && name.iter().all(|&c| c >= b' ' && c != b'/' && c != 0x7f)
}

impl Collection {
    /// Bytes from one slot to the next.
    pub fn stride(&self) -> u64 {
        self.element.bytes(self.dim).into()
    }

    /// Where the vector of `slot` is in the collection's inode.
    pub fn offset(&self, slot: u32) -> u64 {
        // Both are bounded: 2^32 slots of 2^14 bytes.
        u64::from(slot) * self.stride()
    }

    fn format<'a>(&self, b: &'a mut [u8; VALUE_MAX]) -> &'a [u8] {
        let (name, model) = (self.name.as_bytes(), self.model.as_bytes());
        b.fill(0);
        put32(b, 0, self.dim);
        put(
            b,
            4,
            &[
                self.element as u8,
                self.metric as u8,
                self.name.len,
                self.model.len,
            ],
        );
        put64(b, 8, self.ino);
        put32(b, 16, self.generation);
        put32(b, 20, self.uid);
        put64(b, 24, self.created.sec as u64);
        put32(b, 32, self.created.nsec);
        put(b, FIXED_LEN, name);
        put(b, FIXED_LEN + name.len(), model);
        b.get(..FIXED_LEN + name.len() + model.len()).unwrap_or(&[])
    }

    /// Reads a collection from its record.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it is none.
    pub fn parse(id: u32, b: &[u8]) -> Result<Collection> {
        let kinds = b.get(4..8).ok_or_else(euclean)?;
        let (name_len, model_len) = (usize::from(kinds[2]), usize::from(kinds[3]));
        let rest = b.get(FIXED_LEN..).ok_or_else(euclean)?;
        if rest.len() != name_len + model_len {
            return Err(euclean());
        }
        let (name, model) = rest.split_at(name_len);
        let collection = Collection {
            id,
            dim: le32(b, 0),
            element: Element::from_raw(kinds[0].into()).ok_or_else(euclean)?,
            metric: Metric::from_raw(kinds[1].into()).ok_or_else(euclean)?,
            ino: le64(b, 8),
            generation: le32(b, 16),
            uid: le32(b, 20),
            created: Time {
                sec: le64(b, 24) as i64,
                nsec: le32(b, 32),
            },
            name: Text::new(name).ok_or_else(euclean)?,
            model: Text::new(model).ok_or_else(euclean)?,
        };
        let dim_fits = (1..=MAX_DIM).contains(&collection.dim);
        let kinds_fit = collection.metric.compares(collection.element);
        if !dim_fits || !kinds_fit || !valid_name(name) || collection.created.nsec >= 1_000_000_000
        {
            return Err(euclean());
        }
        Ok(collection)
    }
}

/// What a new collection is to be.
#[derive(Clone, Copy, Debug)]
pub struct NewCollection<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// What makes the vectors.
    pub model: &'a [u8],
    /// Elements of a vector.
    pub dim: u32,
    /// Type of the elements.
    pub element: Element,
    /// Distance.
    pub metric: Metric,
    /// Who creates it.
    pub uid: u32,
    /// When.
    pub now: Time,
}

impl<S: Store> Fs<S> {
    /// Credits of [`Fs::create_collection`].
    pub const CREATE_COLLECTION: usize =
        credits::INODE_ALLOC + 2 * credits::INSERT + credits::SUPERBLOCK + 2 * credits::INODE;

    /// The collection with this id.
    pub fn collection(&self, system: &Inode, id: u32) -> Result<Option<Collection>> {
        self.tree_lookup(system.attr_root(), key::collection(id), |b| {
            Collection::parse(id, b)
        })?
        .transpose()
        .map_err(|_| self.damaged(system.ino, 0, "a collection has a bad record"))
    }

    /// The collection with the lowest id above `id`.
    pub fn collection_after(&self, system: &Inode, id: u32) -> Result<Option<Collection>> {
        let Some(from) = id.checked_add(1) else {
            return Ok(None);
        };
        let found = self.tree_next(system.attr_root(), key::collection(from), |k, b| {
            (key::kind(k) == key::COLLECTION).then(|| Collection::parse(k as u32, b))
        })?;
        found
            .flatten()
            .transpose()
            .map_err(|_| self.damaged(system.ino, 0, "a collection has a bad record"))
    }

    /// The collection with this name. There are few, so they are looked through.
    pub fn collection_named(&self, system: &Inode, name: &[u8]) -> Result<Option<Collection>> {
        let mut id = 0;
        while let Some(collection) = self.collection_after(system, id)? {
            if collection.name.as_bytes() == name {
                return Ok(Some(collection));
            }
            id = collection.id;
        }
        Ok(None)
    }

    /// Creates a collection and its inode, which is returned, logged. Credits:
    /// [`Fs::CREATE_COLLECTION`].
    ///
    /// # Errors
    ///
    /// `EEXIST`, `EINVAL` (name, dimension, text), `EOPNOTSUPP` (vectors of this type are not
    /// compared by this metric), `ENOSPC`, `EMFILE` (too many), each with nothing dirtied.
    pub fn create_collection(
        &self,
        t: &mut S::Trans,
        system: &mut Inode,
        new: &NewCollection<'_>,
    ) -> Result<(Collection, Inode)> {
        let name = Text::new(new.name)
            .filter(|_| valid_name(new.name))
            .ok_or(EINVAL)?;
        let model = Text::new(new.model).ok_or(EINVAL)?;
        if !(1..=MAX_DIM).contains(&new.dim) || model.as_bytes().contains(&0) {
            return Err(EINVAL);
        }
        if !new.metric.compares(new.element) {
            return Err(eopnotsupp());
        }
        let mut count = 0;
        let mut last = 0;
        while let Some(other) = self.collection_after(system, last)? {
            if other.name == name {
                return Err(EEXIST);
            }
            last = other.id;
            count += 1;
        }
        let id = self.superblock().next_collection;
        let Some(next) = id.checked_add(1) else {
            return Err(EMFILE);
        };
        if count >= COLLECTIONS_MAX {
            return Err(EMFILE);
        }
        if id == 0 || id <= last {
            return Err(self.damaged(system.ino, 0, "the superblock's next collection is taken"));
        }
        // Everything that can fail for lack of space comes before the first change.
        let mut space = self.space(system.ino >> 3, 2 * blocks::INSERT, Mode::Normal)?;
        let mut inode = self.alloc_inode(t, None, S_IFREG | 0o600, new.now)?;
        inode.state |= STATE_INTERNAL;
        inode.nlink = 1;
        let collection = Collection {
            id,
            dim: new.dim,
            element: new.element,
            metric: new.metric,
            ino: inode.ino,
            generation: inode.generation,
            uid: new.uid,
            created: new.now,
            name,
            model,
        };
        let counts = Counts::default().format();
        self.tree_insert(t, &mut space, inode.attr_root_mut(), key::counts(), &counts)?;
        let mut room = [0; VALUE_MAX];
        let value = collection.format(&mut room);
        self.tree_insert(
            t,
            &mut space,
            system.attr_root_mut(),
            key::collection(id),
            value,
        )?;
        self.update_superblock(t, |sb| sb.next_collection = next)?;
        self.log_inode(t, &inode)?;
        self.log_inode(t, system)?;
        Ok((collection, inode))
    }

    /// Takes a collection out of the table. What becomes of its inode (no links, an
    /// orphan) is the caller's, in the same transaction; its index was dropped before
    /// ([`Fs::drop_index`]): nothing would lead to the index's inode. Credits:
    /// [`credits::REMOVE`] + [`credits::INODE`].
    ///
    /// # Errors
    ///
    /// `ENOENT` with nothing dirtied.
    pub fn remove_collection(&self, t: &mut S::Trans, system: &mut Inode, id: u32) -> Result {
        self.tree_remove(t, system.attr_root_mut(), key::collection(id))?;
        self.log_inode(t, system)
    }
}
