// SPDX-License-Identifier: GPL-2.0

//! Cached blocks and views of them.

use crate::libvexfs::journal::{Block, BlockMut, BLOCK_SIZE, SEAL_SIZE};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

/// A block in memory.
pub(super) struct Buffer {
    bno: u64,
    data: RwLock<Box<[u8; BLOCK_SIZE]>>,
}

impl Buffer {
    pub(super) fn new(bno: u64, data: Box<[u8; BLOCK_SIZE]>) -> Buffer {
        Buffer {
            bno,
            data: RwLock::new(data),
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Box<[u8; BLOCK_SIZE]>> {
        self.data.read().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Box<[u8; BLOCK_SIZE]>> {
        self.data.write().unwrap_or_else(|e| e.into_inner())
    }

    /// For owners: nobody else may look at the block while it changes, and waiting for such a view would hide the bug.
    fn write_alone(&self) -> RwLockWriteGuard<'_, Box<[u8; BLOCK_SIZE]>> {
        match self.data.try_write() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) => {
                panic!("a view of block {} is held while it is changed", self.bno)
            }
        }
    }
}

/// A counted handle to a cached block.
#[derive(Clone)]
pub struct FileBlock(Arc<Buffer>);

impl FileBlock {
    pub(super) fn new(buffer: Arc<Buffer>) -> FileBlock {
        FileBlock(buffer)
    }

    /// The body.
    pub fn body(&self) -> Read<'_> {
        Read(self.0.read())
    }

    /// Overwrites a range of the body, waiting for other views of it: how shared blocks are written.
    pub(super) fn write_at(&self, off: usize, bytes: &[u8]) -> bool {
        let mut data = self.0.write();
        let range = data[SEAL_SIZE..]
            .get_mut(off..)
            .and_then(|body| body.get_mut(..bytes.len()));
        range.map(|range| range.copy_from_slice(bytes)).is_some()
    }

    pub(super) fn buffer(&self) -> &Arc<Buffer> {
        &self.0
    }
}

/// A view of a body.
pub struct Read<'a>(RwLockReadGuard<'a, Box<[u8; BLOCK_SIZE]>>);

impl Deref for Read<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0[SEAL_SIZE..]
    }
}

/// A view of a body, to write to.
pub struct Write<'a>(RwLockWriteGuard<'a, Box<[u8; BLOCK_SIZE]>>);

impl Deref for Write<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0[SEAL_SIZE..]
    }
}

impl DerefMut for Write<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0[SEAL_SIZE..]
    }
}

impl Block for FileBlock {
    type Ref<'a> = Read<'a>;

    fn bno(&self) -> u64 {
        self.0.bno
    }

    fn data(&self) -> Read<'_> {
        self.body()
    }
}

impl BlockMut for FileBlock {
    type Mut<'a> = Write<'a>;

    fn data_mut(&mut self) -> Write<'_> {
        Write(self.0.write_alone())
    }
}
