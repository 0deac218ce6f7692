// SPDX-License-Identifier: GPL-2.0

//! A block store in memory, for tests of everything above the journal.
//!
//! It is strict where a real one is lenient: a transaction that dirties more blocks
//! than it asked for panics, a block that was freed cannot be read, a transaction
//! that is dropped after it dirtied something makes the store refuse further ones.

use crate::libvexfs::errno::euclean;
use crate::libvexfs::journal::{Block, BlockMut, Store, Tid, Trans, BODY_SIZE};
use crate::libvexfs::quota::Caller;
use kernel::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

type Body = Box<[u8]>;

struct State {
    blocks: BTreeMap<u64, Arc<RwLock<Body>>>,
    /// The running transaction.
    tid: Tid,
    open: usize,
    /// Somebody waits for the open transactions to end: no new ones until then, or there
    /// would never be none.
    committing: usize,
    aborted: bool,
    fail_read: Option<usize>,
    /// Most blocks that one transaction dirtied since this was last asked for.
    most_dirtied: usize,
    caller: Caller,
}

struct Inner {
    count: u64,
    state: Mutex<State>,
    idle: Condvar,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The store. A clone is another handle of the same.
#[derive(Clone)]
pub struct MemoryStore(Arc<Inner>);

/// A block of it.
pub struct MemoryBlock {
    bno: u64,
    body: Arc<RwLock<Body>>,
}

/// A view of a block.
pub struct Ref<'a>(RwLockReadGuard<'a, Body>);
/// A view of a block to write to.
pub struct RefMut<'a>(RwLockWriteGuard<'a, Body>);

impl Deref for Ref<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for RefMut<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for RefMut<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Block for MemoryBlock {
    type Ref<'a> = Ref<'a>;

    fn bno(&self) -> u64 {
        self.bno
    }

    fn data(&self) -> Ref<'_> {
        Ref(self.body.read().unwrap_or_else(|e| e.into_inner()))
    }
}

impl BlockMut for MemoryBlock {
    type Mut<'a> = RefMut<'a>;

    fn data_mut(&mut self) -> RefMut<'_> {
        RefMut(self.body.write().unwrap_or_else(|e| e.into_inner()))
    }
}

impl MemoryStore {
    /// A store of `count` blocks, none of which was ever written.
    pub fn new(count: u64) -> Self {
        let state = State {
            blocks: BTreeMap::new(),
            tid: 1,
            open: 0,
            committing: 0,
            aborted: false,
            fail_read: None,
            most_dirtied: 0,
            caller: Caller {
                exempt: true,
                now: 0,
            },
        };
        MemoryStore(Arc::new(Inner {
            count,
            state: Mutex::new(state),
            idle: Condvar::new(),
        }))
    }

    /// Whether a transaction was dropped half-way.
    pub fn aborted(&self) -> bool {
        self.0.state().aborted
    }

    /// Lets `n` more reads succeed and fails the next with `EIO`. `None` ends it.
    pub fn fail_read_after(&self, n: Option<usize>) {
        self.0.state().fail_read = n;
    }

    /// Says who calls from now on.
    pub fn set_caller(&self, caller: Caller) {
        self.0.state().caller = caller;
    }

    /// The most blocks that one transaction dirtied since the last call.
    pub fn most_dirtied(&self) -> usize {
        std::mem::take(&mut self.0.state().most_dirtied)
    }

    /// A copy of the whole store as it is now; no transaction may be open.
    pub fn snapshot(&self) -> MemoryStore {
        let copy = MemoryStore::new(self.0.count);
        let from = self.0.state();
        let mut to = copy.0.state();
        to.tid = from.tid;
        for (bno, body) in &from.blocks {
            let body = body.read().unwrap_or_else(|e| e.into_inner()).clone();
            to.blocks.insert(*bno, Arc::new(RwLock::new(body)));
        }
        drop(to);
        drop(from);
        copy
    }

    /// Whether both hold the same blocks with the same bytes.
    pub fn same_as(&self, other: &MemoryStore) -> bool {
        let a = self.contents();
        a == other.contents()
    }

    /// All metadata blocks and their bodies.
    pub fn contents(&self) -> BTreeMap<u64, Vec<u8>> {
        let state = self.0.state();
        state
            .blocks
            .iter()
            .map(|(bno, b)| (*bno, b.read().unwrap_or_else(|e| e.into_inner()).to_vec()))
            .collect()
    }

    /// Changes a block behind the file system's back: for tests of damage.
    pub fn corrupt(&self, bno: u64, f: impl FnOnce(&mut [u8])) {
        let state = self.0.state();
        if let Some(b) = state.blocks.get(&bno) {
            f(&mut b.write().unwrap_or_else(|e| e.into_inner()));
        }
    }

    // Reading asks for no memory that could be refused: so it is in the kernel, whose
    // buffer cache waits rather than fail.
    fn get(&self, bno: u64) -> Result<MemoryBlock> {
        let mut state = self.0.state();
        match &mut state.fail_read {
            Some(0) => {
                state.fail_read = None;
                return Err(EIO);
            }
            Some(n) => *n -= 1,
            None => {}
        }
        if bno >= self.0.count {
            return Err(EIO);
        }
        match state.blocks.get(&bno) {
            Some(body) => Ok(MemoryBlock {
                bno,
                body: body.clone(),
            }),
            None => Err(euclean()),
        }
    }
}

impl Store for MemoryStore {
    type Block = MemoryBlock;
    type Trans = MemoryTrans;

    fn read(&self, bno: u64) -> Result<MemoryBlock> {
        self.get(bno)
    }

    fn read_shared(
        &self,
        bno: u64,
        ranges: &mut [(usize, &mut [u8])],
        _missing: impl FnOnce(),
    ) -> Result {
        let block = self.get(bno)?;
        let data = block.data();
        for (off, buf) in ranges {
            buf.copy_from_slice(data.get(*off..*off + buf.len()).ok_or(EINVAL)?);
        }
        Ok(())
    }

    fn readahead(&self, _bnos: impl Iterator<Item = u64>) {}

    fn is_cached(&self, _bno: u64) -> bool {
        true
    }

    fn begin(&self, credits: usize) -> Result<MemoryTrans> {
        kernel::alloc::check()?;
        let mut state = self.0.state();
        while state.committing != 0 {
            state = self.0.idle.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        if state.aborted {
            return Err(EROFS);
        }
        state.open += 1;
        Ok(MemoryTrans {
            store: self.clone(),
            tid: state.tid,
            credits,
            dirty: BTreeSet::new(),
            read: BTreeSet::new(),
            dirtied: false,
            stopped: false,
        })
    }

    fn committed(&self) -> Tid {
        self.0.state().tid.wrapping_sub(1)
    }

    fn commit(&self) -> Result {
        let mut state = self.0.state();
        state.committing += 1;
        while state.open != 0 {
            state = self.0.idle.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        state.committing -= 1;
        self.0.idle.notify_all();
        if state.aborted {
            return Err(EIO);
        }
        state.tid = state.tid.wrapping_add(1);
        Ok(())
    }

    fn block_count(&self) -> u64 {
        self.0.count
    }

    fn caller(&self) -> Caller {
        self.0.state().caller
    }
}

/// A transaction on it.
pub struct MemoryTrans {
    store: MemoryStore,
    tid: Tid,
    credits: usize,
    dirty: BTreeSet<u64>,
    read: BTreeSet<u64>,
    dirtied: bool,
    stopped: bool,
}

impl MemoryTrans {
    fn dirty(&mut self, bno: u64) {
        self.dirtied = true;
        self.dirty.insert(bno);
        assert!(
            self.dirty.len() <= self.credits,
            "{} blocks dirtied with {} credits: {:?}",
            self.dirty.len(),
            self.credits,
            self.dirty
        );
    }

    /// Once a block was read, changing it cannot fail: that is what the trait promises.
    fn get(&mut self, bno: u64) -> Result<MemoryBlock> {
        if self.read.contains(&bno) || self.dirty.contains(&bno) {
            if let Some(body) = self.store.0.state().blocks.get(&bno) {
                return Ok(MemoryBlock {
                    bno,
                    body: body.clone(),
                });
            }
        }
        let block = self.store.get(bno)?;
        self.read.insert(bno);
        Ok(block)
    }
}

impl Trans for MemoryTrans {
    type Store = MemoryStore;
    type BlockMut = MemoryBlock;

    fn tid(&self) -> Tid {
        self.tid
    }

    fn read(&mut self, bno: u64) -> Result<MemoryBlock> {
        self.get(bno)
    }

    fn modify(&mut self, bno: u64) -> Result<MemoryBlock> {
        let block = self.get(bno)?;
        self.dirty(bno);
        Ok(block)
    }

    fn create(&mut self, bno: u64) -> Result<MemoryBlock> {
        if bno >= self.store.0.count {
            return Err(EIO);
        }
        self.dirty(bno);
        let body = Arc::new(RwLock::new(vec![0; BODY_SIZE].into_boxed_slice()));
        self.store.0.state().blocks.insert(bno, body.clone());
        Ok(MemoryBlock { bno, body })
    }

    fn forget(&mut self, bno: u64) -> Result {
        self.dirtied = true;
        match self.store.0.state().blocks.remove(&bno) {
            Some(_) => Ok(()),
            None => Err(euclean()),
        }
    }

    fn write_at(&mut self, bno: u64, off: usize, bytes: &[u8]) -> Result {
        let mut block = self.get(bno)?;
        self.dirty(bno);
        let mut data = block.data_mut();
        data.get_mut(off..off + bytes.len())
            .ok_or(EINVAL)?
            .copy_from_slice(bytes);
        Ok(())
    }

    fn extend(&mut self, credits: usize) -> Result<bool> {
        self.credits += credits;
        Ok(true)
    }

    fn dirtied(&self) -> bool {
        self.dirtied
    }

    fn stop(mut self) -> Result {
        self.stopped = true;
        Ok(())
    }
}

impl Drop for MemoryTrans {
    fn drop(&mut self) {
        let mut state = self.store.0.state();
        state.open -= 1;
        state.most_dirtied = state.most_dirtied.max(self.dirty.len());
        if self.dirtied && !self.stopped {
            state.aborted = true;
        }
        self.store.0.idle.notify_all();
    }
}
