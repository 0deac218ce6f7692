// SPDX-License-Identifier: GPL-2.0

//! Quota: what users, groups and projects have, and limits to it.
//!
//! The attribute tree of one internal inode holds a record for each owner that ever had something.
//! An owner has what the inodes on disk say that it has: [`Fs::log_inode`] and [`Fs::free_inode`]
//! compare what an inode says with what its place on disk said before, and book the difference in
//! the same transaction. So usage is as crash-safe as the inodes, whatever it was that changed:
//! extents, tree nodes, the owner, the project. Inodes that nobody sees belong to nobody.
//!
//! Booking changes records in place and cannot run out of space: [`Fs::quota_open`] makes the
//! records of an owner before it gets its first inode. Limits are looked at in the plan of an
//! operation, by a `Claim`, which counts until it is dropped: two operations that run at a time
//! cannot both have what is left. Nodes of trees are booked, but not claimed; by these an owner can
//! get over its limit, and then has to stop.
//!
//! The lock is taken behind those of inodes and before those of groups.

use crate::libvexfs::alloc::Mode;
use crate::libvexfs::attr::{key, kind};
use crate::libvexfs::credits;
use crate::libvexfs::errno::{edquot, estale};
use crate::libvexfs::format::inode::{place, INODE_SIZE, STATE_INTERNAL};
use crate::libvexfs::format::quota::{grace_key, parse_key, record_key, Grace, Record, TYPES};
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::{Store, Trans};
use crate::libvexfs::Fs;
use crate::sync::Mutex;
use core::sync::atomic::{AtomicU32, Ordering};
use kernel::prelude::*;

mod warning;
pub use warning::{Passing, Warning};

/// Numbers of the types of owners.
pub mod qtype {
    /// Users.
    pub const USER: usize = 0;
    /// Groups.
    pub const GROUP: usize = 1;
    /// Projects.
    pub const PROJECT: usize = 2;
}

/// User, group and project that something belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owners(pub [u32; TYPES]);

impl Owners {
    /// Those of an inode.
    pub fn of(i: &Inode) -> Self {
        Owners([i.uid, i.gid, i.projid])
    }

    fn each(&self) -> impl Iterator<Item = (usize, u32)> {
        self.0.into_iter().enumerate()
    }
}

/// What an inode on disk is booked as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Booked {
    pub(crate) owners: Owners,
    pub(crate) blocks: u64,
}

impl Booked {
    fn of(i: &Inode) -> Option<Self> {
        (i.state & STATE_INTERNAL == 0).then(|| Booked {
            owners: Owners::of(i),
            blocks: i.blocks,
        })
    }
}

/// Who asks for space, as far as limits go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// Limits do not hold for it.
    pub exempt: bool,
    /// Seconds since 1970.
    pub now: i64,
}

/// What is claimed of an owner's limits.
struct Claimed {
    qtype: usize,
    id: u32,
    blocks: u64,
    inodes: u64,
}

struct State {
    /// The quota inode. Nobody else has it in memory.
    inode: Inode,
    claims: KVec<Claimed>,
}

/// Quota of a mounted volume that has it.
pub(crate) struct Quota {
    state: Mutex<State>,
    /// Bit `1 << type`: limits hold.
    enforced: AtomicU32,
}

impl Quota {
    /// For the quota inode that was read.
    pub(crate) fn new(inode: Inode) -> Result<Self> {
        Ok(Quota {
            state: Mutex::new(State {
                inode,
                claims: KVec::new(),
            })?,
            enforced: AtomicU32::new(0),
        })
    }

    fn claimed(state: &State, qtype: usize, id: u32) -> (u64, u64) {
        state
            .claims
            .iter()
            .find(|c| c.qtype == qtype && c.id == id)
            .map_or((0, 0), |c| (c.blocks, c.inodes))
    }

    /// Adds to what is claimed. The entries of all owners must be there.
    fn change_claims(state: &mut State, owners: &Owners, blocks: i64, inodes: i64) {
        for (qtype, id) in owners.each() {
            let mut all = state.claims.iter_mut();
            if let Some(c) = all.find(|c| c.qtype == qtype && c.id == id) {
                c.blocks = c.blocks.saturating_add_signed(blocks);
                c.inodes = c.inodes.saturating_add_signed(inodes);
            }
        }
        state.claims.retain(|c| c.blocks != 0 || c.inodes != 0);
    }
}

/// A part of what an owner may still have, for an operation that is about to book it.
#[must_use]
pub(crate) struct Claim<'a> {
    quota: Option<&'a Quota>,
    owners: Owners,
    blocks: u64,
    inodes: u64,
}

impl Claim<'_> {
    /// Blocks that may be had.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(quota) = self.quota {
            let (blocks, inodes) = (self.blocks as i64, self.inodes as i64);
            Quota::change_claims(&mut quota.state.lock(), &self.owners, -blocks, -inodes);
        }
    }
}

impl<S: Store> Fs<S> {
    /// Reads the quota inode of a volume that has one.
    pub(crate) fn load_quota(&mut self) -> Result {
        let ino = self.sb.quota_ino;
        // While mkfs is at work there is none yet.
        if !self.sb.has_quota() || ino == 0 {
            return Ok(());
        }
        let inode = match self.read_inode(ino) {
            Ok(inode) if inode.state & STATE_INTERNAL != 0 => inode,
            Ok(_) => return Err(self.damaged(ino, 0, "the quota inode is somebody's file")),
            Err(e) if e == estale() => return Err(self.damaged(ino, 0, "the quota inode is free")),
            Err(e) => return Err(e),
        };
        self.quota = Some(Quota::new(inode)?);
        Ok(())
    }

    /// Whether the volume counts what owners have.
    pub fn has_quota(&self) -> bool {
        self.quota.is_some()
    }

    /// Says for which types (bits `1 << type`) limits hold.
    pub fn quota_enforce(&self, types: u32) {
        if let Some(quota) = &self.quota {
            quota.enforced.store(types, Ordering::Relaxed);
        }
    }

    /// For which types limits hold.
    pub fn quota_enforced(&self) -> u32 {
        self.quota
            .as_ref()
            .map_or(0, |q| q.enforced.load(Ordering::Relaxed))
    }

    /// Number and blocks of the quota inode.
    pub fn quota_inode(&self) -> Option<(u64, u64)> {
        let state = self.quota.as_ref()?.state.lock();
        Some((state.inode.ino, state.inode.blocks))
    }

    /// Makes sure that owners have records. Call it before each operation that gives them an inode,
    /// with no transaction open.
    ///
    /// # Errors
    ///
    /// `ENOSPC`, `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn quota_open(&self, owners: &Owners) -> Result {
        let [user, group, project] = owners.0;
        self.quota_open_each(&[
            (qtype::USER, user),
            (qtype::GROUP, group),
            (qtype::PROJECT, project),
        ])
    }

    /// Makes sure that at most three owners have records.
    fn quota_open_each(&self, owners: &[(usize, u32)]) -> Result {
        let Some(quota) = &self.quota else {
            return Ok(());
        };
        {
            let state = quota.state.lock();
            let mut all = true;
            for (qtype, id) in owners.iter().copied() {
                all &= self.quota_record(&state.inode, qtype, id)?.is_some();
            }
            if all {
                return Ok(());
            }
        }
        let mut t = self.store.begin(credits::QUOTA_OPEN)?;
        let mut state = quota.state.lock();
        let blocks = TYPES * credits::blocks::INSERT;
        let near = state.inode.ino >> 3;
        let mut space = self.space(near, blocks, Mode::Normal)?;
        for (qtype, id) in owners.iter().copied() {
            if self.quota_record(&state.inode, qtype, id)?.is_none() {
                let (rest, value) = (record_key(qtype, id), Record::default().format());
                self.attr_insert(
                    &mut t,
                    &mut space,
                    &mut state.inode,
                    kind::QUOTA,
                    rest,
                    &value,
                )?;
            }
        }
        self.quota_log(&mut t, &state.inode)?;
        drop(space);
        drop(state);
        t.stop()
    }

    /// An owner's record.
    fn quota_record(&self, inode: &Inode, qtype: usize, id: u32) -> Result<Option<Record>> {
        self.attr_lookup(inode, kind::QUOTA, record_key(qtype, id), Record::parse)?
            .transpose()
    }

    fn quota_grace(&self, inode: &Inode, qtype: usize) -> Result<Grace> {
        let found = self.attr_lookup(inode, kind::QUOTA, grace_key(qtype), Grace::parse)?;
        Ok(found.transpose()?.unwrap_or_default())
    }

    /// Writes the quota inode to its block.
    fn quota_log(&self, t: &mut S::Trans, inode: &Inode) -> Result {
        let (bno, at) = place(inode.ino)?;
        let mut slot = [0; INODE_SIZE];
        inode.format(&mut slot);
        t.write_at(bno, at, &slot)
    }

    /// What place `ino` on disk is booked as.
    fn quota_booked(&self, ino: u64) -> Result<Option<Booked>> {
        let (bno, at) = place(ino)?;
        let mut head = [0; crate::libvexfs::format::inode::BOOKED_LEN];
        self.store.read_at(bno, at, &mut head)?;
        Ok(
            crate::libvexfs::format::inode::parse_booked(&head).map(|(owners, blocks)| Booked {
                owners: Owners(owners),
                blocks,
            }),
        )
    }

    /// Apply: books the difference between what an inode's place on disk says and what it is about
    /// to say. Credits: [`credits::QUOTA`], twice if the owner changes.
    pub(crate) fn quota_book(&self, t: &mut S::Trans, ino: u64, new: Option<&Inode>) -> Result {
        let Some(quota) = &self.quota else {
            return Ok(());
        };
        let new = new.and_then(Booked::of);
        let old = self.quota_booked(ino)?;
        if old == new {
            return Ok(());
        }
        let mut state = quota.state.lock();
        let now = self.store.caller().now;
        for qtype in 0..TYPES {
            let part = |b: &Option<Booked>| b.map(|b| (b.owners.0[qtype], b.blocks));
            let (old, new) = (part(&old), part(&new));
            match (old, new) {
                (Some((a, had)), Some((b, has))) if a == b => {
                    if had != has {
                        self.quota_add(t, &mut state, (qtype, a), (had, has), (0, 0), now)?;
                    }
                }
                _ => {
                    if let Some((id, had)) = old {
                        self.quota_add(t, &mut state, (qtype, id), (had, 0), (1, 0), now)?;
                    }
                    if let Some((id, has)) = new {
                        self.quota_add(t, &mut state, (qtype, id), (0, has), (0, 1), now)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Changes what an owner has, in place: blocks and inodes, each from something to something.
    fn quota_add(
        &self,
        t: &mut S::Trans,
        state: &mut State,
        (qtype, id): (usize, u32),
        blocks: (u64, u64),
        inodes: (u64, u64),
        now: i64,
    ) -> Result {
        let grace = self.quota_grace(&state.inode, qtype)?;
        let mut change = None;
        self.quota_update(t, &mut state.inode, qtype, id, |r| {
            let old = *r;
            let add =
                |used: u64, (from, to): (u64, u64)| used.saturating_add(to).saturating_sub(from);
            r.blocks.used = add(r.blocks.used, blocks);
            r.inodes.used = add(r.inodes.used, inodes);
            r.blocks.settle(now, grace.blocks);
            r.inodes.settle(now, grace.inodes);
            change = Some((old, *r));
        })?;
        if let Some((old, new)) = change.filter(|_| self.quota_enforced() & 1 << qtype != 0) {
            self.quota_changed((qtype, id), &old, &new);
        }
        Ok(())
    }

    fn quota_update(
        &self,
        t: &mut S::Trans,
        inode: &mut Inode,
        qtype: usize,
        id: u32,
        change: impl FnOnce(&mut Record),
    ) -> Result {
        let in_core = inode.attr_in_core();
        let ino = inode.ino;
        let key = key(kind::QUOTA, record_key(qtype, id));
        let done = self.tree_update(t, inode.attr_root_mut(), key, |value| {
            let mut r = Record::parse(value)?;
            change(&mut r);
            value.copy_from_slice(&r.format());
            Ok::<(), Error>(())
        });
        match done {
            Ok(parsed) => parsed?,
            Err(e) if e == ENOENT => {
                return Err(self.damaged(ino, 0, "an owner of files has no quota record"))
            }
            Err(e) => return Err(e),
        }
        if in_core {
            self.quota_log(t, inode)?;
        }
        Ok(())
    }

    /// Plan: claims inodes, and up to so many blocks (one at least, unless none are asked for), for
    /// owners that have records.
    ///
    /// # Errors
    ///
    /// `EDQUOT` with nothing claimed; `EUCLEAN` if an owner has no record.
    pub(crate) fn quota_claim(
        &self,
        owners: &Owners,
        blocks: u64,
        inodes: u64,
    ) -> Result<Claim<'_>> {
        let mut claim = Claim {
            quota: None,
            owners: *owners,
            blocks,
            inodes,
        };
        let Some(quota) = &self.quota else {
            return Ok(claim);
        };
        let enforced = quota.enforced.load(Ordering::Relaxed);
        if enforced == 0 {
            return Ok(claim);
        }
        let caller = self.store.caller();
        if caller.exempt {
            return Ok(claim);
        }
        let mut state = quota.state.lock();
        for (qtype, id) in owners.each().filter(|(q, _)| enforced & 1 << q != 0) {
            let Some(r) = self.quota_record(&state.inode, qtype, id)? else {
                let ino = state.inode.ino;
                return Err(self.damaged(ino, 0, "an owner of files has no quota record"));
            };
            let claimed = Quota::claimed(&state, qtype, id);
            let room = r.blocks.left(claimed.0, caller.now);
            let no_inode = r.inodes.left(claimed.1, caller.now) < inodes;
            // Nodes of trees may have brought the owner over its limit: it gets no more of them.
            if no_inode || (blocks != 0 && room == 0) || (blocks == 0 && r.blocks.over(caller.now))
            {
                self.quota_refused((qtype, id), &r, claimed, (1, inodes), no_inode);
                return Err(edquot());
            }
            claim.blocks = claim.blocks.min(room);
        }
        if claim.blocks == 0 && inodes == 0 {
            return Ok(claim);
        }
        for (qtype, id) in owners.each() {
            let known = state.claims.iter().any(|c| c.qtype == qtype && c.id == id);
            if !known {
                let new = Claimed {
                    qtype,
                    id,
                    blocks: 0,
                    inodes: 0,
                };
                state.claims.push(new, GFP_KERNEL)?;
            }
        }
        let (blocks, inodes) = (claim.blocks as i64, inodes as i64);
        Quota::change_claims(&mut state, owners, blocks, inodes);
        claim.quota = Some(quota);
        Ok(claim)
    }

    /// Plan: claims up to so many blocks for an inode's data. What must not fail is not held up.
    pub(crate) fn quota_claim_data(&self, i: &Inode, most: u64, mode: Mode) -> Result<Claim<'_>> {
        if i.state & STATE_INTERNAL != 0 || mode != Mode::Normal {
            return Ok(Claim {
                quota: None,
                owners: Owners::of(i),
                blocks: most,
                inodes: 0,
            });
        }
        self.quota_claim(&Owners::of(i), most, 0)
    }

    /// Plan: an inode may get other owners. Only those that change are asked.
    ///
    /// # Errors
    ///
    /// `EDQUOT`.
    pub fn quota_may_move(&self, i: &Inode, to: &Owners) -> Result {
        let Some(quota) = &self.quota else {
            return Ok(());
        };
        let enforced = quota.enforced.load(Ordering::Relaxed);
        let caller = self.store.caller();
        if enforced == 0 || caller.exempt || i.state & STATE_INTERNAL != 0 {
            return Ok(());
        }
        let from = Owners::of(i);
        let state = quota.state.lock();
        for (qtype, id) in to.each() {
            if enforced & 1 << qtype == 0 || from.0[qtype] == id {
                continue;
            }
            let r = self
                .quota_record(&state.inode, qtype, id)?
                .unwrap_or_default();
            let claimed = Quota::claimed(&state, qtype, id);
            let no_inode = r.inodes.left(claimed.1, caller.now) < 1;
            if no_inode || r.blocks.left(claimed.0, caller.now) < i.blocks {
                self.quota_refused((qtype, id), &r, claimed, (i.blocks, 1), no_inode);
                return Err(edquot());
            }
        }
        Ok(())
    }

    /// What an owner has and may have; nothing if it never had anything.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn quota_get(&self, qtype: usize, id: u32) -> Result<Option<Record>> {
        let Some(quota) = &self.quota else {
            return Ok(None);
        };
        let state = quota.state.lock();
        self.quota_record(&state.inode, qtype, id)
    }

    /// The first owner of a type from number `id` on, and what it has.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn quota_next(&self, qtype: usize, id: u32) -> Result<Option<(u32, Record)>> {
        let Some(quota) = &self.quota else {
            return Ok(None);
        };
        let state = quota.state.lock();
        let from = record_key(qtype, id);
        let found = self.attr_next(
            &state.inode,
            kind::QUOTA,
            from,
            |key, value| match parse_key(key) {
                Some((q, Some(id))) if q == qtype => Some((id, Record::parse(value))),
                _ => None,
            },
        )?;
        match found.flatten() {
            Some((id, record)) => Ok(Some((id, record?))),
            None => Ok(None),
        }
    }

    /// Changes an owner's limits and deadlines.
    ///
    /// # Errors
    ///
    /// As [`Fs::quota_open`].
    pub fn quota_set(
        &self,
        qtype: usize,
        id: u32,
        change: impl FnOnce(&mut Record, &Grace),
    ) -> Result {
        let quota = self.quota.as_ref().ok_or(EINVAL)?;
        self.quota_open_each(&[(qtype, id)])?;
        let mut t = self.store.begin(credits::QUOTA)?;
        let mut state = quota.state.lock();
        let grace = self.quota_grace(&state.inode, qtype)?;
        self.quota_update(&mut t, &mut state.inode, qtype, id, |r| change(r, &grace))?;
        drop(state);
        t.stop()
    }

    /// A type's periods of grace.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn quota_get_grace(&self, qtype: usize) -> Result<Grace> {
        match &self.quota {
            Some(quota) => self.quota_grace(&quota.state.lock().inode, qtype),
            None => Ok(Grace::default()),
        }
    }

    /// Changes a type's periods of grace.
    ///
    /// # Errors
    ///
    /// `ENOSPC`, `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn quota_set_grace(&self, qtype: usize, change: impl FnOnce(&mut Grace)) -> Result {
        let quota = self.quota.as_ref().ok_or(EINVAL)?;
        let mut t = self.store.begin(credits::INSERT + credits::SPACE)?;
        let mut state = quota.state.lock();
        let mut grace = self.quota_grace(&state.inode, qtype)?;
        change(&mut grace);
        let near = state.inode.ino >> 3;
        let mut space = self.space(near, credits::blocks::INSERT, Mode::Normal)?;
        let (rest, value) = (grace_key(qtype), grace.format());
        self.attr_put(
            &mut t,
            &mut space,
            &mut state.inode,
            kind::QUOTA,
            rest,
            &value,
        )?;
        self.quota_log(&mut t, &state.inode)?;
        drop(space);
        drop(state);
        t.stop()
    }
}
