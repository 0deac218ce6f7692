// SPDX-License-Identifier: GPL-2.0

//! VexFS on a host: libvexfs, the very source that the kernel module is built
//! from, over block stores in memory and in files.

#![forbid(unsafe_code)]

pub mod crc32c;
#[path = "../../libvexfs/mod.rs"]
pub mod libvexfs;
pub mod memory;
pub mod sync;
