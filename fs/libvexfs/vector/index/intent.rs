// SPDX-License-Identifier: GPL-2.0

//! Which MiBs of an index's inode may be torn by a crash: what is journalled of that, in memory.
//!
//! Whoever writes nodes asks before each write ([`Intents::wanted`]) and gets the MiBs that must be
//! noted first, durably. An index that grows dirties one after the other, one that changes dirties
//! them all over: a commit for each would be most of the work. So the more were noted since the last
//! checkpoint, the more of their neighbours go with the next one.

use super::log::{INTENT_BITS, INTENT_SHIFT};
use crate::libvexfs::journal::Store;
use crate::libvexfs::{Fs, Inode};
use core::ops::Range;
use kernel::prelude::*;

/// Of each size that many are noted before the next larger one.
const EACH: u32 = 8;
/// log2 of sizes in MiB, up to that of a record.
const SIZES: [u32; 3] = [0, 5, INTENT_BITS.ilog2()];

/// The MiBs that are noted.
pub struct Intents {
    /// Noted on disk.
    noted: KVVec<u64>,
    /// Noted by an earlier mount: to be scrubbed.
    old: KVVec<u64>,
    /// Times that something was noted since the last checkpoint.
    times: u32,
}

impl Intents {
    /// What a collection's records say: all of it is to be scrubbed.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    pub fn load<S: Store>(fs: &Fs<S>, collection: &Inode) -> Result<Intents> {
        let mut old = KVVec::new();
        fs.intents(collection, &mut |first, bits| {
            for (word, bytes) in (first / 64..).zip(bits.chunks_exact(8)) {
                let bytes = bytes.first_chunk().copied().unwrap_or_default();
                let bits = u64::from_le_bytes(bytes);
                if bits != 0 {
                    *word_of(&mut old, word)? |= bits;
                }
            }
            Ok(())
        })?;
        let mut noted = KVVec::with_capacity(old.len(), GFP_KERNEL)?;
        noted.extend_from_slice(&old, GFP_KERNEL)?;
        Ok(Intents {
            noted,
            old,
            times: 0,
        })
    }

    /// The MiBs to note ([`Fs::set_intents`], and a commit) before `len` bytes from `offset` on are
    /// written; none if that was done.
    pub fn wanted(&self, offset: u64, len: u64) -> Option<Range<u64>> {
        let first = offset >> INTENT_SHIFT;
        let last = offset.saturating_add(len.max(1) - 1) >> INTENT_SHIFT;
        if (first..=last).all(|mib| is_set(&self.noted, mib)) {
            return None;
        }
        let step = (self.times / EACH) as usize;
        let shift = SIZES.get(step).copied().unwrap_or(INTENT_BITS.ilog2());
        let end = ((last >> shift) + 1) << shift;
        Some(first >> shift << shift..end)
    }

    /// They are noted.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: they will be asked for again.
    pub fn note(&mut self, range: Range<u64>) -> Result {
        self.times = self.times.saturating_add(1);
        for mib in range {
            *word_of(&mut self.noted, mib / 64)? |= 1 << (mib % 64);
        }
        Ok(())
    }

    /// The first MiB from `from` on that is to be scrubbed.
    pub fn to_scrub(&self, from: u64) -> Option<u64> {
        let end = self.old.len() as u64 * 64;
        (from..end).find(|mib| is_set(&self.old, *mib))
    }

    /// All of them were: the next checkpoint may say that nothing is torn.
    pub fn scrubbed(&mut self) {
        self.old.clear();
    }

    /// Whether nothing is left to be scrubbed: `clean` of [`Fs::checkpoint_step`].
    pub fn is_clean(&self) -> bool {
        self.old.is_empty()
    }

    /// A checkpoint begins to take the notes out. Writes from now on are asked for anew.
    pub fn checkpoint(&mut self) {
        if self.is_clean() {
            self.noted.clear();
            self.times = 0;
        }
    }
}

fn is_set(words: &[u64], mib: u64) -> bool {
    let word = words.get((mib / 64) as usize);
    word.is_some_and(|word| word >> (mib % 64) & 1 == 1)
}

fn word_of(words: &mut KVVec<u64>, at: u64) -> Result<&mut u64> {
    let at = usize::try_from(at).map_err(|_| EFBIG)?;
    if words.len() <= at {
        words.resize(at + 1, 0, GFP_KERNEL)?;
    }
    words.get_mut(at).ok_or(ENOMEM)
}
