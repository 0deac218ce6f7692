// SPDX-License-Identifier: GPL-2.0
//! `vexctl info`: what a file system is and how full it is.

use crate::error::not_yet;
use crate::exit::Exit;
use crate::output::Output;

#[derive(clap::Args)]
pub struct Args {
    /// A path on a mounted VexFS, a device or an image
    path: std::path::PathBuf,
}

pub fn run(_args: Args, _out: &Output) -> anyhow::Result<Exit> {
    Err(not_yet("info"))
}
