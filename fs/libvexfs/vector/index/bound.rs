// SPDX-License-Identifier: GPL-2.0

//! How long the vectors of a graph are at most. With it inner products are compared as distances
//! (`fs/simd/lift.rs`): a longer vector than all before moves all nodes, whose edges were picked where
//! they had been, so they are to be refined again.

use core::sync::atomic::{AtomicU32, Ordering};

/// The largest squared norm that a collection takes: 2^125, as the bits of an f32.
pub const NORM_MAX: u32 = 0x7e00_0000;
/// Bounds grow by a quarter of a power of two at least, or each somewhat longer vector would move
/// the others.
const STEP: u32 = 1 << 21;

/// A squared norm that none is above, as the bits of an f32. Zero until there is a vector, and where
/// nobody asks.
pub struct Bound(AtomicU32);

impl Bound {
    /// For a graph whose bound is so far this one.
    pub const fn new(bound: u32) -> Bound {
        Bound(AtomicU32::new(bound))
    }

    /// What it is.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// There is a vector with this squared norm.
    pub fn raise(&self, norm2: u32) {
        // Bits of numbers that are not negative order like these. What is no norm is damage.
        if norm2 > self.get() && norm2 <= NORM_MAX {
            let bound = norm2.next_multiple_of(STEP);
            self.0.fetch_max(bound, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_never_below_and_moves_seldom() {
        let bound = Bound::new(0);
        let (mut moves, mut last) = (0, 0);
        for i in 1..100_000 {
            let norm2 = i as f32 * 0.001;
            bound.raise(norm2.to_bits());
            assert!(f32::from_bits(bound.get()) >= norm2);
            assert!(f32::from_bits(bound.get()) <= norm2 * 1.25);
            moves += u32::from(bound.get() != last);
            last = bound.get();
        }
        // From a thousandth to a hundred are 17 powers of two.
        assert!(moves <= 4 * 17, "{moves}");
        for damage in [f32::NAN, f32::INFINITY, -1.0, f32::MAX] {
            bound.raise(damage.to_bits());
            assert_eq!(bound.get(), last);
        }
        bound.raise(NORM_MAX);
        assert_eq!(bound.get(), NORM_MAX);
    }
}
