// SPDX-License-Identifier: GPL-2.0
//! `vexctl resize`: makes a mounted file system larger.

use crate::abi::{ioctl, vector as abi};
use crate::device::{parse_blocks, size_text};
use crate::error::HintExt;
use crate::exit::Exit;
use crate::mounted::Mounted;
use crate::output::Output;
use anyhow::{Context, Result};
use nix::errno::Errno;
use serde::Serialize;
use std::path::PathBuf;
use vexfs::libvexfs::journal::BLOCK_SIZE;

#[derive(clap::Args)]
pub struct Args {
    /// A path on the mounted VexFS
    path: PathBuf,
    /// The new size in blocks of 4 KiB; a suffix (K, M, G, T) makes it bytes [default: all of the device]
    #[arg(value_parser = parse_blocks)]
    blocks: Option<u64>,
}

#[derive(Serialize)]
struct Resized {
    blocks_before: u64,
    blocks: u64,
    bytes: u64,
}

/// Makes it larger.
pub fn run(args: Args, out: &Output) -> Result<Exit> {
    let mounted = Mounted::open(&args.path)?;
    let size = || -> Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&args.path)
            .with_context(|| format!("cannot ask for space on {}", args.path.display()))?;
        Ok(stat.blocks() * stat.fragment_size() / BLOCK_SIZE as u64)
    };
    let blocks_before = size()?;
    let mut arg = abi::Resize {
        blocks: args.blocks.unwrap_or(0),
        ..abi::Resize::default()
    };
    let bar = out.spinner("growing");
    let grown = ioctl(&mounted, abi::IOC_RESIZE, &mut arg);
    bar.finish_and_clear();
    grown
        .with_context(|| format!("cannot resize the file system of {}", args.path.display()))
        .hint(match grown.err() {
            Some(Errno::EPERM) => "it takes root",
            Some(Errno::EINVAL) => {
                "the new size must be at least the present one, and the device must have it; VexFS does not shrink"
            }
            Some(Errno::EFBIG) => "VexFS ends at 1 PiB (2^50 bytes)",
            Some(Errno::ENOSPC) => {
                "the journal is too short for that size: it was made with the file system (mkfs.vexfs -J)"
            }
            Some(Errno::EBUSY) => "it is being resized already",
            Some(Errno::ENOTTY) => "the module in the kernel is older than this vexctl",
            _ => "see the kernel's log",
        })?;
    let resized = Resized {
        blocks_before,
        blocks: arg.blocks,
        bytes: arg.blocks * BLOCK_SIZE as u64,
    };
    out.result(&resized, |r| {
        if r.blocks == r.blocks_before {
            format!("nothing to do: it has {} already", size_text(r.bytes))
        } else {
            format!(
                "from {} to {}",
                size_text(r.blocks_before * BLOCK_SIZE as u64),
                size_text(r.bytes)
            )
        }
    })?;
    Ok(Exit::Ok)
}
