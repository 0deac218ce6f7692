// SPDX-License-Identifier: GPL-2.0
//! IEEE 754 binary16 in integer arithmetic, for processors without F16C. Bit for bit what F16C gives.

/// The f32 that a binary16 stands for; exact.
#[inline(always)]
pub(crate) fn widen(h: u16) -> f32 {
    let sign = (h as u32 & 0x8000) << 16;
    let rest = (h & 0x7fff) as u32;
    let bits = if rest >= 0x7c00 {
        // Infinity or NaN; a NaN is made quiet, as the instruction does.
        let quiet = if rest > 0x7c00 { 0x0040_0000 } else { 0 };
        0x7f80_0000 | (rest & 0x3ff) << 13 | quiet
    } else if rest >= 0x0400 {
        (rest << 13) + (112 << 23)
    } else {
        // Subnormal: the integer times 2^-24, which f32 holds exactly.
        (rest as f32 * (1.0 / (1u32 << 24) as f32)).to_bits()
    };
    f32::from_bits(sign | bits)
}

/// The nearest binary16, ties to even.
#[inline(always)]
pub(crate) fn narrow(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let rest = bits & 0x7fff_ffff;
    let magnitude = if rest > 0x7f80_0000 {
        0x7e00 | (rest >> 13) & 0x3ff
    } else if rest >= 0x477f_f000 {
        // 65520 and above round to infinity.
        0x7c00
    } else if rest >= 0x3880_0000 {
        // Normal: rebias the exponent, round the 13 bits that go.
        let odd = (rest >> 13) & 1;
        (rest - (112 << 23) + 0xfff + odd) >> 13
    } else if rest > 0x3300_0000 {
        // Subnormal: shift the mantissa with its leading one, round to even.
        let shift = 126 - (rest >> 23);
        let mantissa = rest & 0x007f_ffff | 0x0080_0000;
        let kept = mantissa >> shift;
        let lost = mantissa & ((1 << shift) - 1);
        let half = 1 << (shift - 1);
        kept + (lost > half || lost == half && kept & 1 == 1) as u32
    } else {
        // Up to 2^-25 rounds to zero.
        0
    };
    sign | magnitude as u16
}
