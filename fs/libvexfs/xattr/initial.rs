// SPDX-License-Identifier: GPL-2.0

//! Extended attributes that an inode has from its first moment: access control lists that it
//! inherits, labels of security modules. They are stored in the transaction that makes it, so
//! that it is never there without them.

use super::record::{self, chunks, format_head, is_inline, CHUNK_LINK, HEAD, VALUE_MAX};
use super::{bucket, check_name};
use crate::libvexfs::alloc::Space;
use crate::libvexfs::attr::kind;
use crate::libvexfs::credits::blocks;
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::Fs;
use kernel::prelude::*;

/// An attribute of an inode that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Initial<'a> {
    /// Name space.
    pub index: u8,
    /// Name without its prefix.
    pub name: &'a [u8],
    /// Value.
    pub value: &'a [u8],
}

/// Returns how many records some attributes take.
fn records(attrs: &[Initial<'_>]) -> usize {
    attrs.iter().fold(0usize, |n, a| {
        let long = match is_inline(a.name.len(), a.value.len()) {
            true => 0,
            false => chunks(a.value.len().min(VALUE_MAX)),
        };
        n.saturating_add(long).saturating_add(1)
    })
}

/// Returns the blocks that some attributes of a new inode take, which are the credits on top of
/// those that making the inode takes: its tree has no blocks yet, so they dirty no others.
pub fn cost(attrs: &[Initial<'_>]) -> usize {
    blocks::initial(records(attrs))
}

/// The record of an attribute: key and value, and the number and bytes of a long value's chunks.
type Record<'a> = (u128, KVec<u8>, Option<(u32, &'a [u8])>);

/// Attributes that are ready to be stored.
pub(crate) struct Planned<'a> {
    attrs: KVec<Record<'a>>,
    pub(crate) blocks: usize,
}

impl<S: Store> Fs<S> {
    /// Plan: works out the records of an inode's first attributes.
    pub(crate) fn xattr_plan_initial<'a>(&self, attrs: &[Initial<'a>]) -> Result<Planned<'a>> {
        let mut planned = Planned {
            attrs: KVec::with_capacity(attrs.len(), GFP_KERNEL)?,
            blocks: cost(attrs),
        };
        for a in attrs {
            check_name(a.index, a.name)?;
            if a.value.len() > VALUE_MAX {
                return Err(E2BIG);
            }
            let len = a.value.len().min(record::RECORD_MAX);
            let mut bytes = KVec::with_capacity(HEAD + a.name.len() + len, GFP_KERNEL)?;
            bytes.extend_from_slice(&format_head(a.index, a.name, a.value.len()), GFP_KERNEL)?;
            bytes.extend_from_slice(a.name, GFP_KERNEL)?;
            let mut long = None;
            if is_inline(a.name.len(), a.value.len()) {
                bytes.extend_from_slice(a.value, GFP_KERNEL)?;
            } else {
                let id = self.first_free_id(a, &planned);
                bytes.extend_from_slice(&id.to_le_bytes(), GFP_KERNEL)?;
                long = Some((id, a.value));
            }
            let mut key = bucket(&self.sb.hash_key, a.index, a.name);
            while planned.attrs.iter().any(|(k, _, _)| *k == key) {
                key += 1;
            }
            planned.attrs.push((key, bytes, long), GFP_KERNEL)?;
        }
        Ok(planned)
    }

    /// A chunk id that neither a link's target nor an earlier attribute has.
    fn first_free_id(&self, a: &Initial<'_>, planned: &Planned<'_>) -> u32 {
        let mut id = record::hash(&self.sb.hash_key, a.index, a.name) as u32;
        let used = |id| {
            let mut ids = planned.attrs.iter().filter_map(|(_, _, long)| *long);
            id == CHUNK_LINK || ids.any(|(other, _)| other == id)
        };
        while used(id) {
            id = id.wrapping_add(1);
        }
        id
    }

    /// Apply: stores them in a new inode, whose tree holds at most a link's target. Does not log
    /// it.
    pub(crate) fn xattr_store_initial(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        i: &mut Inode,
        planned: &Planned<'_>,
    ) -> Result {
        for (key, bytes, long) in planned.attrs.iter() {
            if let Some((id, value)) = long {
                self.chunks_write(t, space, i, *id, value)?;
            }
            self.attr_insert(t, space, i, kind::XATTR, *key, bytes)?;
        }
        Ok(())
    }
}
