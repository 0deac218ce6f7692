// SPDX-License-Identifier: GPL-2.0

//! The signs of a collection's rotation.

use super::Shape;
use kernel::prelude::*;

/// Signs for all rounds of a rotation, each 0 or the sign bit of an f32: the same for the same
/// seed, anywhere.
///
/// # Errors
///
/// `ENOMEM`.
pub fn signs(shape: &Shape, seed: u64) -> Result<KVVec<u32>> {
    let padded = shape.padded();
    // A transform of a part at a time needs one round more to reach everything.
    let rounds = 3 + usize::from(!padded.is_power_of_two());
    let mut signs = KVVec::with_capacity(rounds * padded, GFP_KERNEL)?;
    let mut state = seed;
    while signs.len() < rounds * padded {
        // SplitMix64; `padded` is a multiple of 64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        for bit in 0..64 {
            signs.push(((z >> bit & 1) as u32) << 31, GFP_KERNEL)?;
        }
    }
    Ok(signs)
}
