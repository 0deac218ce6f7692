// SPDX-License-Identifier: GPL-2.0
//! Signed bytes and bits with AVX-512: VNNI and VPOPCNTDQ.
//!
//! In assembly: the compiler that the kernel is built with has no stable intrinsics for these. The functions are never
//! inlined, so that what they change is what any call may change: all vector and mask registers. They take steps of 64
//! bytes; of the last one, what is behind the end is masked: neither read nor counted.

// Iterators bring landing pads along, and with them unwind tables.
#![allow(clippy::needless_range_loop)]

use core::arch::asm;
use core::mem::MaybeUninit;

/// Sixteen sums for each query.
type Lanes = [[i32; 16]; 4];

/// Which bytes of the last step there are.
#[inline(always)]
fn rest(len: usize) -> u64 {
    let last = (len - 1) % 64;
    u64::MAX >> (63 - last)
}

#[inline(always)]
fn add_up(lanes: &[i32; 16]) -> i32 {
    let mut sum = 0;
    for i in 0..16 {
        sum += lanes[i];
    }
    sum
}

/// A loop over a vector and one query or four. `$load` makes of zmm5, a piece of the vector, what the steps add up:
/// each with a piece of a query in zmm6, into zmm0 to zmm3. zmm7 has `$constant` in all its bytes.
macro_rules! tile {
    ($queries:ident, $vector:ident, $len:ident, $products:ident, $constant:literal, $load:literal,
     $first:expr, $second:expr, $third:expr, $fourth:expr) => {{
        let query = |q: usize| $queries[q % N];
        let mut lanes = MaybeUninit::<Lanes>::uninit();
        // SAFETY: All bytes that are read are below `len`, or masked; `lanes` has room for four registers. What
        // registers are changed: see the head of this file.
        let lanes = unsafe {
            asm!(
                "vpbroadcastb zmm7, {c:e}",
                "vpxord zmm0, zmm0, zmm0",
                "vpxord zmm1, zmm1, zmm1",
                "vpxord zmm2, zmm2, zmm2",
                "vpxord zmm3, zmm3, zmm3",
                "kxnorq k1, k1, k1",
                "2:",
                "cmp {n}, 64",
                "jge 3f",
                "kmovq k1, {mask}",
                "3:",
                "vmovdqu8 zmm5{{k1}}{{z}}, [{v} + {i}]",
                $load,
                "vmovdqu8 zmm6{{k1}}{{z}}, [{q0} + {i}]",
                $first,
                "test {more:e}, {more:e}",
                "jz 4f",
                "vmovdqu8 zmm6{{k1}}{{z}}, [{q1} + {i}]",
                $second,
                "vmovdqu8 zmm6{{k1}}{{z}}, [{q2} + {i}]",
                $third,
                "vmovdqu8 zmm6{{k1}}{{z}}, [{q3} + {i}]",
                $fourth,
                "4:",
                "add {i}, 64",
                "sub {n}, 64",
                "jg 2b",
                "vmovdqu64 [{to}], zmm0",
                "vmovdqu64 [{to} + 64], zmm1",
                "vmovdqu64 [{to} + 128], zmm2",
                "vmovdqu64 [{to} + 192], zmm3",
                "vzeroupper",
                v = in(reg) $vector,
                q0 = in(reg) query(0),
                q1 = in(reg) query(1),
                q2 = in(reg) query(2),
                q3 = in(reg) query(3),
                c = in(reg) $constant as u32,
                more = in(reg) (N > 1) as u32,
                i = inout(reg) 0usize => _,
                n = inout(reg) $len => _,
                mask = in(reg) rest($len),
                to = in(reg) lanes.as_mut_ptr(),
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                out("xmm5") _, out("xmm6") _, out("xmm7") _,
                options(nostack),
            );
            lanes.assume_init()
        };
        for q in 0..N {
            $products[q] = add_up(&lanes[q % 4]);
        }
    }};
}

/// The products of a vector, whose elements get 128 added, with some queries.
///
/// # Safety
///
/// All have `len` bytes, one at least. The processor has AVX-512 F, BW and VNNI.
#[inline(never)]
pub(crate) unsafe fn signed<const N: usize>(
    queries: &[*const u8; N],
    vector: *const u8,
    len: usize,
    products: &mut [i32; N],
) {
    tile!(
        queries,
        vector,
        len,
        products,
        0x80,
        "vpxord zmm5, zmm5, zmm7",
        "vpdpbusd zmm0, zmm5, zmm6",
        "vpdpbusd zmm1, zmm5, zmm6",
        "vpdpbusd zmm2, zmm5, zmm6",
        "vpdpbusd zmm3, zmm5, zmm6"
    );
}

/// The bits in which a vector differs from some queries.
///
/// # Safety
///
/// All have `len` bytes, one at least. The processor has AVX-512 F, BW and VPOPCNTDQ.
#[inline(never)]
pub(crate) unsafe fn bits<const N: usize>(
    queries: &[*const u8; N],
    vector: *const u8,
    len: usize,
    products: &mut [i32; N],
) {
    macro_rules! step {
        ($sum:literal) => {
            concat!(
                "vpxord zmm6, zmm5, zmm6\n",
                "vpopcntd zmm6, zmm6\n",
                "vpaddd ",
                $sum,
                ", ",
                $sum,
                ", zmm6"
            )
        };
    }
    tile!(
        queries,
        vector,
        len,
        products,
        0,
        "",
        step!("zmm0"),
        step!("zmm1"),
        step!("zmm2"),
        step!("zmm3")
    );
}

/// The sum of squares of signed bytes.
///
/// # Safety
///
/// There are `len` bytes, one at least. The processor has AVX-512 F, BW and VNNI.
#[inline(never)]
pub(crate) unsafe fn squares(vector: *const u8, len: usize) -> i32 {
    // With 128 added to one side, and taken off again: the sum of all bytes is in the second register.
    let mut lanes = MaybeUninit::<[[i32; 16]; 2]>::uninit();
    // SAFETY: All bytes that are read are below `len`, or masked; `lanes` has room for two registers. What registers are
    // changed: see the head of this file.
    let lanes = unsafe {
        asm!(
            "vpbroadcastb zmm7, {c:e}",
            "mov {c:e}, 1",
            "vpbroadcastb zmm6, {c:e}",
            "vpxord zmm0, zmm0, zmm0",
            "vpxord zmm1, zmm1, zmm1",
            "kxnorq k1, k1, k1",
            "2:",
            "cmp {n}, 64",
            "jge 3f",
            "kmovq k1, {mask}",
            "3:",
            "vmovdqu8 zmm5{{k1}}{{z}}, [{v} + {i}]",
            "vpdpbusd zmm1, zmm6, zmm5",
            "vpxord zmm4, zmm5, zmm7",
            "vpdpbusd zmm0, zmm4, zmm5",
            "add {i}, 64",
            "sub {n}, 64",
            "jg 2b",
            "vmovdqu64 [{to}], zmm0",
            "vmovdqu64 [{to} + 64], zmm1",
            "vzeroupper",
            v = in(reg) vector,
            c = inout(reg) 0x80u32 => _,
            i = inout(reg) 0usize => _,
            n = inout(reg) len => _,
            mask = in(reg) rest(len),
            to = in(reg) lanes.as_mut_ptr(),
            out("xmm0") _, out("xmm1") _, out("xmm4") _,
            out("xmm5") _, out("xmm6") _, out("xmm7") _,
            options(nostack),
        );
        lanes.assume_init()
    };
    add_up(&lanes[0]) - 128 * add_up(&lanes[1])
}
