// SPDX-License-Identifier: GPL-2.0

//! Indexes in images of file systems: what they find, what a mount after them finds, what fsck says.

mod changes;
mod crash;
mod world;
