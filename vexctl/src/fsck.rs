// SPDX-License-Identifier: GPL-2.0
//! `fsck.vexfs`: replays the journal, checks everything, and puts right what can be without loss.

mod report;
mod run;

use crate::cli;
use crate::exit::Exit;
use crate::output::Output;
use clap::Parser;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Nothing is wrong.
pub const CLEAN: u8 = 0;
/// Something was wrong and was put right.
pub const FIXED: u8 = 1;
/// Something is wrong still.
pub const LEFT: u8 = 4;
/// The check could not be made.
pub const FAILED: u8 = 8;
/// Wrong usage.
pub const USAGE: u8 = 16;

const AFTER_HELP: &str = "\
Exit status, as fsck(8) has it:
  0   nothing is wrong
  1   something was wrong and was put right
  4   something is wrong still
  8   the check could not be made
  16  wrong usage";

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Change nothing: the journal is replayed in memory, nothing is put right
    #[arg(short = 'n', long, group = "mode")]
    no_changes: bool,
    /// Put right what loses nothing, without asking; do nothing if the volume was unmounted in good order
    #[arg(short = 'p', long, visible_short_alias = 'a', group = "mode")]
    preen: bool,
    /// Put right whatever can be, without asking
    #[arg(short = 'y', long, group = "mode")]
    yes: bool,
    /// Check even if the volume was unmounted in good order
    #[arg(short, long)]
    force: bool,
    /// Tell more
    #[arg(short, long)]
    verbose: bool,
    /// Bytes for the table of blocks in use, in MiB; huge volumes take more passes with less
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    memory: u64,
    /// The device or image
    device: PathBuf,
}

/// What may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Look,
    /// What loses nothing.
    Preen,
    /// All that can be.
    Yes,
    /// What somebody says yes to.
    Ask,
}

impl Args {
    fn mode(&self) -> Mode {
        if self.no_changes {
            Mode::Look
        } else if self.yes {
            Mode::Yes
        } else if self.preen {
            Mode::Preen
        } else {
            Mode::Ask
        }
    }
}

/// Checks a VexFS file system.
#[derive(Parser)]
#[command(name = "fsck.vexfs", version, disable_version_flag = true)]
struct Cli {
    #[command(flatten)]
    args: Args,
    /// Print problems and the result as JSON, one object per line
    #[arg(long)]
    json: bool,
    /// Print problems only
    #[arg(short, long)]
    quiet: bool,
    /// fsck(8) passes this to ask for progress; it is shown on terminals anyway
    #[arg(short = 'C', value_name = "FD", num_args = 0..=1, hide = true)]
    progress: Option<Option<i32>>,
    /// fsck(8) may pass this; there is nothing to confirm one by one
    #[arg(short = 'r', hide = true)]
    interactive: bool,
    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// The command line under its own name, for the manual.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// The tool under its own name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    match Cli::try_parse_from(args) {
        Ok(cli) => cli::finish(
            run(cli.args, &Output::new(cli.json, cli.quiet)),
            &Output::new(cli.json, cli.quiet),
        ),
        Err(e) => cli::usage(&e, Exit::Fsck(USAGE)),
    }
}

/// Checks a file system. All errors end in a code of fsck(8).
pub fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    match run::run(&args, out) {
        Ok(code) => Ok(Exit::Fsck(code)),
        Err(e) => {
            out.error(&e);
            Ok(Exit::Fsck(FAILED))
        }
    }
}
