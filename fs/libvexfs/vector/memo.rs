// SPDX-License-Identifier: GPL-2.0

//! A bounded memory of verdicts on inodes: may the caller read this file, search
//! this directory? One lives for one call.

use kernel::prelude::*;

/// Entries of a memo. What hashes to the same one is forgotten.
const SIZE: usize = 2048;

#[derive(Clone, Copy)]
struct Entry<V> {
    ino: u64,
    generation: u32,
    verdict: Option<V>,
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
        let nothing = Entry {
            ino: 0,
            generation: 0,
            verdict: None,
        };
        Ok(Memo {
            entries: KVec::from_elem(nothing, SIZE, GFP_KERNEL)?,
        })
    }

    fn place(ino: u64) -> usize {
        // The low bits of inode numbers are dense, the rest comes from few groups.
        (ino.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % SIZE
    }

    /// The verdict, if it is remembered.
    pub fn get(&self, ino: u64, generation: u32) -> Option<V> {
        let entry = self.entries.get(Self::place(ino))?;
        if entry.ino == ino && entry.generation == generation {
            entry.verdict
        } else {
            None
        }
    }

    /// Remembers a verdict.
    pub fn set(&mut self, ino: u64, generation: u32, verdict: V) {
        if let Some(entry) = self.entries.get_mut(Self::place(ino)) {
            *entry = Entry {
                ino,
                generation,
                verdict: Some(verdict),
            };
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        for entry in self.entries.iter_mut() {
            entry.verdict = None;
        }
    }
}
