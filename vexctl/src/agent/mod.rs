// SPDX-License-Identifier: GPL-2.0
//! `vexctl agent`: serves the archive and recall requests of a mounted file system.

use crate::error::not_yet;
use crate::exit::Exit;
use crate::output::Output;

#[derive(clap::Args)]
pub struct Args {
    /// The mount point
    mount: std::path::PathBuf,
    /// The directory that holds the volumes
    #[arg(long)]
    volumes: std::path::PathBuf,
}

pub fn run(_args: Args, _out: &Output) -> anyhow::Result<Exit> {
    Err(not_yet("agent"))
}
