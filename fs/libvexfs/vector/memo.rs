// SPDX-License-Identifier: GPL-2.0

//! A bounded memory of verdicts on inodes: may the caller read this file, search
//! this directory? One lives for one call.

use kernel::prelude::*;

/// Entries of a memo at most. What hashes to the same one is forgotten.
const SIZE: usize = 2048;
/// Entries of a new one: mostly few files are asked for. Both are powers of two.
const FIRST: usize = 64;

#[derive(Clone, Copy)]
struct Entry<V> {
    ino: u64,
    generation: u32,
    verdict: Option<V>,
}

impl<V: Copy> Entry<V> {
    const NOTHING: Self = Entry {
        ino: 0,
        generation: 0,
        verdict: None,
    };
}

/// Remembers a verdict for some recently seen inodes.
pub struct Memo<V: Copy> {
    entries: KVec<Entry<V>>,
}

impl<V: Copy> Memo<V> {
    /// An empty memo.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        Ok(Memo {
            entries: KVec::from_elem(Entry::NOTHING, FIRST, GFP_KERNEL)?,
        })
    }

    fn place(&self, ino: u64) -> usize {
        // The low bits of inode numbers are dense, the rest comes from few groups.
        let hash = ino.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        hash as usize & self.entries.len().saturating_sub(1)
    }

    /// The verdict, if it is remembered.
    pub fn get(&self, ino: u64, generation: u32) -> Option<V> {
        let entry = self.entries.get(self.place(ino))?;
        if entry.ino == ino && entry.generation == generation {
            entry.verdict
        } else {
            None
        }
    }

    /// Remembers a verdict.
    pub fn set(&mut self, ino: u64, generation: u32, verdict: V) {
        let another = |entry: &Entry<V>| entry.verdict.is_some() && entry.ino != ino;
        let taken = self.entries.get(self.place(ino)).is_some_and(another);
        if taken && self.entries.len() < SIZE {
            self.grow();
        }
        self.put(Entry {
            ino,
            generation,
            verdict: Some(verdict),
        });
    }

    fn put(&mut self, new: Entry<V>) {
        let place = self.place(new.ino);
        if let Some(entry) = self.entries.get_mut(place) {
            *entry = new;
        }
    }

    /// Gets as large as it may. Without memory for that it forgets earlier.
    fn grow(&mut self) {
        let Ok(larger) = KVec::from_elem(Entry::NOTHING, SIZE, GFP_KERNEL) else {
            return;
        };
        for entry in core::mem::replace(&mut self.entries, larger) {
            if entry.verdict.is_some() {
                self.put(entry);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        for entry in self.entries.iter_mut() {
            entry.verdict = None;
        }
    }
}
