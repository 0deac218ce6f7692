// SPDX-License-Identifier: GPL-2.0

//! The kernel's C interface: the kernel crate's bindings, and what these leave out.
//!
//! A name of our own shadows the kernel crate's of the same name; everything else is the kernel
//! crate's own type, so that its functions and ours take the same pointers.

#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]

pub use kernel::bindings::*;
use kernel::ffi;
use pin_init::{MaybeZeroable, Zeroable};

type __kernel_size_t = usize;
type __kernel_ssize_t = isize;
type __kernel_ptrdiff_t = isize;

include!("../generated/bindings.rs");
