// SPDX-License-Identifier: GPL-2.0

//! A host's stand-in for the Linux `kernel` crate.
//!
//! libvexfs is built into the module and into user-space programs from the same
//! source. This crate gives it, on a host, the names that it uses of the kernel
//! crate, with the kernel's signatures and nothing more: what compiles here and
//! not there is a bug of this crate.

#![forbid(unsafe_code)]

pub mod alloc;
pub mod error;
pub mod prelude;
pub mod print;
