// SPDX-License-Identifier: GPL-2.0
//! `vexctl import`: many vectors from one file.

use crate::error::not_yet;
use crate::exit::Exit;
use crate::output::Output;

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args, _out: &Output) -> anyhow::Result<Exit> {
    Err(not_yet("import"))
}
