// SPDX-License-Identifier: GPL-2.0
//! `vexctl`: makes, checks, searches and stages VexFS file systems.
//!
//! One binary, several names: called as `mkfs.vexfs` or `fsck.vexfs` (by a link) it is that tool, with that tool's
//! conventional options and exit codes. The modules here are one per command family; what they share is `output`
//! (JSON or text, progress), `error` (context and hints), `exit` (codes) and `abi` (the ioctls of the module).

mod abi;
mod agent;
mod bench;
mod cli;
mod collection;
mod debug;
mod device;
mod dump;
mod embed;
mod embedder;
mod error;
mod exit;
mod finish;
mod fsck;
mod import;
mod index;
mod info;
mod mkfs;
mod mounted;
mod output;
mod record;
mod resize;
mod search;
mod shell;
mod staging;
mod text;
mod vectors_io;
mod volume;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
