// SPDX-License-Identifier: GPL-2.0

//! The journalled part of an index: its record, the operations that its graph is still to see, and
//! which parts of its inode were written since the last checkpoint.
//!
//! Whoever publishes or removes a record adds an operation in the same transaction
//! (`super::super::record`). A worker takes operations in their order and changes the graph, whose
//! pages are not journalled. Before it dirties the first page of a MiB it says so, durably
//! ([`Fs::set_intents`]). A checkpoint: all dirty pages are written and their conversion has ended,
//! the device is flushed, then [`Fs::checkpoint_step`] until that says that nothing is left.
//!
//! After a crash the graph on the medium is anything between the last checkpoint and what was
//! written since. The worker goes on at [`Marks::applied`]: doing an operation again does no harm.

use super::record::{Index, Marks, Op, Recall, State, RECALL_MAX};
use super::Params;
use crate::libvexfs::alloc::Space;
use crate::libvexfs::credits::{self, blocks};
use crate::libvexfs::errno::euclean;
use crate::libvexfs::format::inode::{STATE_INTERNAL, S_IFREG};
use crate::libvexfs::format::{Inode, Time};
use crate::libvexfs::journal::Store;
use crate::libvexfs::orphan;
use crate::libvexfs::vector::key;
use crate::libvexfs::{Fs, Mode};
use kernel::prelude::*;

/// Records that one step of a checkpoint takes out at most.
const TRIM: usize = 48;
/// Credits of [`Fs::checkpoint_step`].
pub const CHECKPOINT_CREDITS: usize =
    credits::remove_neighbours(TRIM) + credits::UPDATE + credits::INODE;
/// Credits of [`Fs::set_intents`].
pub const INTENT_CREDITS: usize = credits::INSERT + credits::INODE;
/// Credits of [`Fs::drop_index`].
pub const DROP_INDEX_CREDITS: usize = credits::UPDATE + credits::ORPHAN + 2 * credits::INODE;
/// Credits of [`Fs::tune_index`].
pub const TUNE_CREDITS: usize = credits::UPDATE + credits::INODE;
const _: () = assert!(CHECKPOINT_CREDITS <= credits::MOST);

/// Bits of one record of write intents, each of a MiB of the index's inode.
pub const INTENT_BITS: u64 = 1024;
/// Bytes of the value of such a record.
pub const INTENT_LEN: usize = INTENT_BITS as usize / 8;
/// log2 of the bytes that one bit stands for.
pub const INTENT_SHIFT: u32 = 20;

/// What a new index is to be.
#[derive(Clone, Copy, Debug)]
pub struct NewIndex {
    /// It is made because the collection got large.
    pub automatic: bool,
    /// Bits of a code for each dimension; 0: as many as fit into a page.
    pub bits: u8,
    /// How the graph is made.
    pub params: Params,
    /// A random number.
    pub seed: u64,
    /// When.
    pub now: Time,
}

/// The operations that a transaction adds.
pub(in crate::libvexfs::vector) struct Log {
    /// The sequence of the next one; none if there is nobody to tell.
    next: Option<u64>,
    first: u64,
}

impl<S: Store> Fs<S> {
    /// Credits of [`Fs::create_index`].
    pub const CREATE_INDEX: usize = credits::INODE_ALLOC + credits::INSERT + 2 * credits::INODE;

    /// What a collection's records say of its index.
    pub fn index(&self, collection: &Inode) -> Result<Option<Index>> {
        self.tree_lookup(collection.attr_root(), key::index(), Index::parse)?
            .transpose()
            .map_err(|_| self.damaged(collection.ino, 0, "the record of an index has a bad value"))
    }

    /// Makes an index and its inode, which is returned, logged. The build takes the records that
    /// there are; others that come or go from now on are operations. Credits:
    /// [`Fs::CREATE_INDEX`].
    ///
    /// # Errors
    ///
    /// `EEXIST`, `EINVAL` (parameters), `ENOSPC`, each with nothing dirtied.
    pub fn create_index(
        &self,
        t: &mut S::Trans,
        collection: &super::super::Collection,
        inode: &mut Inode,
        new: &NewIndex,
    ) -> Result<(Index, Inode)> {
        let old = self.index(inode)?.unwrap_or_else(Index::none);
        if old.state.has_graph() {
            return Err(EEXIST);
        }
        if !new.params.valid() || new.bits > 2 {
            return Err(EINVAL);
        }
        let mut space = self.space(inode.ino >> 3, blocks::INSERT, Mode::Normal)?;
        let mut nodes = self.alloc_inode(t, None, S_IFREG | 0o600, new.now)?;
        nodes.state |= STATE_INTERNAL;
        nodes.nlink = 1;
        let mut index = Index {
            state: State::Building,
            automatic: new.automatic,
            build: old.build.wrapping_add(1),
            seed: new.seed,
            ino: nodes.ino,
            generation: nodes.generation,
            params: new.params,
            ef: 0,
            next: old.next,
            marks: Marks {
                applied: old.next,
                ..Marks::default()
            },
            recall: [Recall::default(); RECALL_MAX],
            bits: 0,
        };
        let (dim, element, metric) = (collection.dim, collection.element, collection.metric);
        let fitting = super::Shape::new(0, 0, 0, dim, element, metric);
        index.bits = match new.bits {
            0 => fitting.bits as u8,
            bits => bits,
        };
        self.tree_put(t, &mut space, inode, key::index(), &index.format())?;
        self.log_inode(t, &nodes)?;
        self.log_inode(t, inode)?;
        Ok((index, nodes))
    }

    /// Drops the index of a collection: its inode (none if that cannot be read) becomes an orphan,
    /// which the last reference to it frees. Operations and intents that are left go with
    /// [`Fs::checkpoint_step`]. `to` is [`State::None`] or [`State::Wanted`]. Logs both inodes.
    /// Credits: [`DROP_INDEX_CREDITS`].
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none, `EINVAL` if `nodes` is not its inode; with nothing dirtied.
    pub fn drop_index(
        &self,
        t: &mut S::Trans,
        inode: &mut Inode,
        nodes: Option<&mut Inode>,
        to: State,
    ) -> Result {
        let old = self.index(inode)?.ok_or(ENOENT)?;
        if !old.state.has_graph() {
            return Err(ENOENT);
        }
        let is_ours = |i: &Inode| i.ino == old.ino && i.generation == old.generation;
        if to.has_graph() || !nodes.as_deref().is_none_or(is_ours) {
            return Err(EINVAL);
        }
        if let Some(nodes) = nodes.filter(|i| i.nlink != 0) {
            self.orphan_add(t, nodes, orphan::DELETE)?;
            nodes.nlink = 0;
            self.log_inode(t, nodes)?;
        }
        let index = old.without_graph(to);
        self.set_index(t, inode, &index)
    }

    /// Sets what searches go by: candidates, and the recall that was measured. Credits:
    /// [`TUNE_CREDITS`].
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no index.
    pub fn tune_index(
        &self,
        t: &mut S::Trans,
        inode: &mut Inode,
        ef: u16,
        recall: [Recall; RECALL_MAX],
    ) -> Result {
        let old = self.index(inode)?.ok_or(ENOENT)?;
        self.set_index(t, inode, &Index { ef, recall, ..old })
    }

    /// Writes the record of an index that has one.
    fn set_index(&self, t: &mut S::Trans, inode: &mut Inode, index: &Index) -> Result {
        let value = index.format();
        self.tree_update(t, inode.attr_root_mut(), key::index(), |b| {
            if b.len() == value.len() {
                b.copy_from_slice(&value);
            }
        })?;
        self.log_inode(t, inode)
    }

    /// Appends operations from sequence `from` on, in their order, at most `room`.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn index_ops(
        &self,
        collection: &Inode,
        from: u64,
        room: usize,
        out: &mut KVec<(u64, Op)>,
    ) -> Result {
        let mut left = room;
        self.tree_scan(collection.attr_root(), key::op(from), &mut |k, b| {
            if key::kind(k) != key::OP || left == 0 {
                return Ok(false);
            }
            out.push((k as u64, Op::parse(b)?), GFP_KERNEL)?;
            left -= 1;
            Ok(left > 0)
        })
    }

    /// A step of a checkpoint: notes how far the pages on the medium are, then takes out some of the
    /// operations that are done, then intents if `clean` says that nothing is left to be scrubbed.
    /// False: there is more to do, in another transaction. Credits: [`CHECKPOINT_CREDITS`].
    ///
    /// It takes out what a dropped index left, too; `marks` do not matter then.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no record of an index, `EINVAL` for marks that cannot be, with nothing
    /// dirtied; `EUCLEAN`, `EIO`.
    pub fn checkpoint_step(
        &self,
        t: &mut S::Trans,
        inode: &mut Inode,
        marks: &Marks,
        clean: bool,
    ) -> Result<bool> {
        let old = self.index(inode)?.ok_or(ENOENT)?;
        let graph = old.state.has_graph();
        let marks = if graph { *marks } else { old.marks };
        let index = Index { marks, ..old };
        if marks.applied < old.marks.applied || Index::parse(&index.format()).is_err() {
            return Err(EINVAL);
        }
        let mut done = [0u128; TRIM];
        let mut count = self.trim_scan(inode, key::OP, marks.applied, &mut done)?;
        let ops = count;
        if ops == 0 && (clean || !graph) {
            count = self.trim_scan(inode, key::INTENT, u64::MAX, &mut done)?;
        }
        if index != old {
            self.set_index(t, inode, &index)?;
        }
        for k in done.iter().take(count) {
            self.tree_remove(t, inode.attr_root_mut(), *k)?;
        }
        if count != 0 {
            self.log_inode(t, inode)?;
        }
        Ok(ops == 0 && count < TRIM)
    }

    /// Lists the first records of a kind below `end`, as many as there is room for.
    fn trim_scan(&self, inode: &Inode, kind: u8, end: u64, out: &mut [u128]) -> Result<usize> {
        let mut count = 0;
        self.tree_scan(inode.attr_root(), key::first(kind), &mut |k, _| {
            match out.get_mut(count) {
                Some(place) if key::kind(k) == kind && (k as u64) < end => *place = k,
                _ => return Ok(false),
            }
            count += 1;
            Ok(true)
        })?;
        Ok(count)
    }

    /// Says that all live slots are in the graph or among the operations: searches may use it.
    /// Credits: [`TUNE_CREDITS`]. It belongs behind a checkpoint.
    ///
    /// # Errors
    ///
    /// `ENOENT` if nothing is being built.
    pub fn mark_built(&self, t: &mut S::Trans, inode: &mut Inode) -> Result {
        let old = self.index(inode)?.filter(|i| i.state == State::Building);
        let index = Index {
            state: State::Ready,
            ..old.ok_or(ENOENT)?
        };
        self.set_index(t, inode, &index)
    }

    /// Notes that the MiBs from `first` on, `count` of them, are going to be written. The caller
    /// commits before it dirties them. Does what one transaction can, and returns how many from the
    /// first on are noted. Credits: [`INTENT_CREDITS`].
    ///
    /// # Errors
    ///
    /// `ENOSPC` with nothing dirtied; `EUCLEAN`, `EIO`.
    pub fn set_intents(
        &self,
        t: &mut S::Trans,
        inode: &mut Inode,
        first: u64,
        count: u64,
    ) -> Result<u64> {
        let (chunk, bit) = (first / INTENT_BITS, first % INTENT_BITS);
        let count = count.min(INTENT_BITS - bit);
        let mut bits = [0; INTENT_LEN];
        let at = key::intent(chunk);
        self.tree_lookup(inode.attr_root(), at, |b| {
            if b.len() == INTENT_LEN {
                bits.copy_from_slice(b);
            }
        })?;
        for bit in bit..bit + count {
            if let Some(byte) = bits.get_mut(bit as usize / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
        let mut space = self.space(inode.ino >> 3, blocks::INSERT, Mode::Privileged)?;
        self.tree_put(t, &mut space, inode, at, &bits)?;
        self.log_inode(t, inode)?;
        Ok(count)
    }

    /// Shows the MiBs that are noted, one record at a time: the number of the first, their bits.
    ///
    /// # Errors
    ///
    /// What `f` returns; `EUCLEAN`, `EIO`.
    pub fn intents(
        &self,
        collection: &Inode,
        f: &mut dyn FnMut(u64, &[u8; INTENT_LEN]) -> Result,
    ) -> Result {
        self.tree_scan(collection.attr_root(), key::intent(0), &mut |k, b| {
            if key::kind(k) != key::INTENT {
                return Ok(false);
            }
            let bits = b.try_into().map_err(|_| euclean())?;
            f((k as u64).saturating_mul(INTENT_BITS), bits)?;
            Ok(true)
        })
    }

    /// Puts a record, whether it is there already or not.
    fn tree_put(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        inode: &mut Inode,
        at: u128,
        value: &[u8],
    ) -> Result {
        let there = self.tree_lookup(inode.attr_root(), at, |_| ())?;
        match there {
            Some(()) => self.tree_replace(t, space, inode.attr_root_mut(), at, value),
            None => self.tree_insert(t, space, inode.attr_root_mut(), at, value),
        }
    }

    /// Begins adding operations.
    pub(in crate::libvexfs::vector) fn op_log(&self, collection: &Inode) -> Result<Log> {
        let index = self.index(collection)?.filter(|i| i.state.has_graph());
        let next = index.map(|i| i.next);
        Ok(Log {
            next,
            first: next.unwrap_or(0),
        })
    }

    /// Adds an operation and returns its sequence; 0 if nobody is to be told.
    pub(in crate::libvexfs::vector) fn log_op(
        &self,
        t: &mut S::Trans,
        space: &mut Space<'_, S>,
        collection: &mut Inode,
        log: &mut Log,
        op: &Op,
    ) -> Result<u64> {
        let Some(next) = &mut log.next else {
            return Ok(0);
        };
        let sequence = *next;
        *next = sequence.checked_add(1).ok_or(EFBIG)?;
        let at = key::op(sequence);
        self.tree_insert(t, space, collection.attr_root_mut(), at, &op.format())?;
        Ok(sequence)
    }

    /// Ends adding operations. The inode is logged by the caller.
    pub(in crate::libvexfs::vector) fn end_log(
        &self,
        t: &mut S::Trans,
        collection: &mut Inode,
        log: &Log,
    ) -> Result {
        match log.next {
            Some(next) if next != log.first => {
                let root = collection.attr_root_mut();
                self.tree_update(t, root, key::index(), |b| Index::set_next(b, next))
            }
            _ => Ok(()),
        }
    }
}
