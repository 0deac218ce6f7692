// SPDX-License-Identifier: GPL-2.0
//! The alignment of the stack.

/// Something that must lie at a multiple of 32 on the stack.
#[repr(C, align(32))]
pub(crate) struct Aligned([u8; 32]);

/// Every function that the kernel calls begins with this. The kernel keeps its stack aligned to 8 bytes, code for the
/// ordinary target expects 16 and moves whole vectors to and from the stack. A variable with a higher alignment, whose
/// address gets out of the compiler's sight, makes the function align its frame itself, and with it those it calls.
macro_rules! align_stack {
    () => {
        let mut aligned = core::mem::MaybeUninit::<crate::stack::Aligned>::uninit();
        // SAFETY: It is no instruction at all.
        unsafe { core::arch::asm!("/* {0} */", in(reg) aligned.as_mut_ptr(), options(nostack, preserves_flags)) };
    };
}
