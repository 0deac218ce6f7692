// SPDX-License-Identifier: GPL-2.0

//! The journal on a host: the format of jbd2, its replay, and a writer.
//!
//! The kernel has jbd2 itself. Everything else that touches a volume (mkfs, fsck, tests, FUSE) uses these, so that a
//! volume can go back and forth between them at any moment, crash included.

pub mod disk;
pub mod jbd2;
pub mod log;
pub mod replay;

pub use disk::Disk;
pub use log::Log;
pub use replay::Replay;
