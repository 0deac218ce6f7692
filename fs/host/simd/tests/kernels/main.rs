// SPDX-License-Identifier: GPL-2.0
//! The kernels: all instruction sets give the same, and what they give is what it should be.

use vexfs_simd::vexfs_simd_rounds;

mod bytes;
mod graph;
mod lift;
mod prune;
mod reference;

/// Random numbers and vectors: a failure's seed says it all.
pub struct Random(vexfs::crash::Random);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(vexfs::crash::Random::new(seed))
    }

    pub fn number(&mut self) -> u64 {
        self.0.number()
    }

    pub fn unit(&mut self) -> f32 {
        (self.number() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// Nearly normal.
    pub fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.unit()).sum::<f32>() / 1.414
    }

    pub fn vector(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }

    /// Zeroes, the smallest and the largest numbers among ordinary ones.
    pub fn extreme(&mut self, n: usize) -> Vec<f32> {
        let kind = self.number() % 6;
        (0..n)
            .map(|_| match (kind, self.number() % 4) {
                (0, _) => 0.0,
                (1, _) => f32::from_bits(self.number() as u32 & 0x807f_ffff),
                (2, _) => self.unit() * 1e18,
                (3, 0) => self.unit() * 3e17,
                (4, 0) => -0.0,
                (5, _) => f32::from_bits(self.number() as u32),
                _ => self.unit(),
            })
            .collect()
    }

    pub fn signs(&mut self, padded: usize) -> Vec<u32> {
        (0..padded * vexfs_simd_rounds(padded as u32) as usize)
            .map(|_| self.number() as u32 & 0x8000_0000)
            .collect()
    }
}

/// Whether the processor has what the quick kernels need.
pub fn avx2() -> bool {
    let has = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    if !has {
        eprintln!("skipped: this processor has no AVX2");
    }
    has
}
