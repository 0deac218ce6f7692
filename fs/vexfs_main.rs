// SPDX-License-Identifier: GPL-2.0

//! VexFS: a file system whose files can be found by meaning and whose cold files live on tape.

use kernel::prelude::*;

// The room is shared with hosts: not all of it is used here, and its `pub` is for them.
#[allow(dead_code, unreachable_pub, unused_imports)]
mod libvexfs;
mod ops;
mod vfs;

// libvexfs says `crate::sync` and `crate::crc32c`; on hosts they are modules of its own crate.
use vfs::{crc32c, sync};

module! {
    type: VexFs,
    name: "vexfs",
    authors: ["The VexFS authors"],
    description: "VexFS file system",
    license: "GPL",
    alias: ["fs-vexfs"],
}

struct VexFs {
    _registration: vfs::mount::Registration,
}

impl kernel::Module for VexFs {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        vfs::fpu::start();
        Ok(VexFs {
            _registration: vfs::mount::Registration::new()?,
        })
    }
}
