// SPDX-License-Identifier: GPL-2.0

//! VexFS on a host: libvexfs, the very source that the kernel module is built
//! from, over block stores in memory and in files.

#![forbid(unsafe_code)]

pub mod crash;
pub mod crc32c;
pub mod disk;
pub mod file_store;
#[path = "../../libvexfs/mod.rs"]
pub mod libvexfs;
pub mod memory;
pub mod sync;
pub mod volume;
