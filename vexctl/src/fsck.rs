// SPDX-License-Identifier: GPL-2.0
//! `fsck.vexfs`.

use crate::error::not_yet;
use crate::exit::Exit;
use crate::output::Output;

use crate::cli;
use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    /// The device or image
    device: std::path::PathBuf,
}

#[derive(Parser)]
#[command(name = "fsck.vexfs", version)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// The command line under its own name, for the manual.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// The tool under its own name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => return cli::usage(&e, Exit::Failed),
    };
    let out = Output::new(false, false);
    cli::finish(run(cli.args, &out), &out)
}

pub fn run(_args: Args, _out: &Output) -> anyhow::Result<Exit> {
    Err(not_yet("fsck"))
}
