// SPDX-License-Identifier: GPL-2.0

//! Places for requests that stay where they are: memory comes in small pieces,
//! so that a long queue needs no large allocation.

use kernel::prelude::*;

/// Items in a piece.
const PIECE: usize = 32;
/// No item.
pub const NIL: u32 = u32::MAX;

enum Place<T> {
    Used(T),
    Free(u32),
}

/// Items with small numbers.
pub struct Slab<T> {
    pieces: KVec<KVec<Place<T>>>,
    free: u32,
    used: usize,
    limit: usize,
}

impl<T> Slab<T> {
    /// An empty slab of at most `limit` items.
    pub fn new(limit: usize) -> Self {
        Slab {
            pieces: KVec::new(),
            free: NIL,
            used: 0,
            limit,
        }
    }

    /// Items in it.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Makes sure that the next [`Slab::insert`] finds a place.
    ///
    /// # Errors
    ///
    /// `EAGAIN` at the limit, `ENOMEM`.
    pub fn reserve(&mut self) -> Result {
        if self.used >= self.limit {
            return Err(EAGAIN);
        }
        if self.free != NIL {
            return Ok(());
        }
        let mut piece = KVec::with_capacity(PIECE, GFP_KERNEL)?;
        self.pieces.reserve(1, GFP_KERNEL)?;
        let first = self.pieces.len() * PIECE;
        for i in 0..PIECE {
            let next = if i + 1 < PIECE {
                (first + i + 1) as u32
            } else {
                NIL
            };
            piece.push(Place::Free(next), GFP_KERNEL)?;
        }
        self.pieces.push(piece, GFP_KERNEL)?;
        self.free = first as u32;
        Ok(())
    }

    fn place(&mut self, n: u32) -> Option<&mut Place<T>> {
        self.pieces
            .get_mut(n as usize / PIECE)?
            .get_mut(n as usize % PIECE)
    }

    /// Puts `item` into the place that [`Slab::reserve`] made sure of.
    pub fn insert(&mut self, item: T) -> Option<u32> {
        let n = self.free;
        let place = self.place(n)?;
        let Place::Free(next) = *place else {
            return None;
        };
        *place = Place::Used(item);
        self.free = next;
        self.used += 1;
        Some(n)
    }

    /// Takes the item `n` out.
    pub fn remove(&mut self, n: u32) -> Option<T> {
        let free = self.free;
        let place = self.place(n)?;
        if matches!(place, Place::Free(_)) {
            return None;
        }
        let old = core::mem::replace(place, Place::Free(free));
        self.free = n;
        self.used -= 1;
        match old {
            Place::Used(item) => Some(item),
            Place::Free(_) => None,
        }
    }

    /// The item `n`.
    pub fn get(&self, n: u32) -> Option<&T> {
        match self
            .pieces
            .get(n as usize / PIECE)?
            .get(n as usize % PIECE)?
        {
            Place::Used(item) => Some(item),
            Place::Free(_) => None,
        }
    }

    /// The item `n`, to be changed.
    pub fn get_mut(&mut self, n: u32) -> Option<&mut T> {
        match self.place(n)? {
            Place::Used(item) => Some(item),
            Place::Free(_) => None,
        }
    }

    /// One past the highest number that an item may have now.
    pub fn end(&self) -> u32 {
        (self.pieces.len() * PIECE) as u32
    }
}
