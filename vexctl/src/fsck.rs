// SPDX-License-Identifier: GPL-2.0
//! `fsck.vexfs`: replays the journal, checks everything, and puts right what can be put right.

mod report;
mod run;

use crate::exit::Exit;
use crate::finish;
use crate::output::Output;
use clap::Parser;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

mod signals;

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
/// Interrupted; what was done is done.
pub const CANCELLED: u8 = 32;

const AFTER_HELP: &str = "\
Exit status, as fsck(8) has it:
  0   nothing is wrong
  1   something was wrong and was put right
  4   something is wrong still
  8   the check could not be made
  16  wrong usage
  32  interrupted by a signal; it can be run again
Never 2 (nothing of a mounted file system is changed).";

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
    /// Write progress to this file descriptor, as fsck(8) wants it; 0: show it, which happens on terminals anyway
    #[arg(short = 'C', value_name = "FD")]
    progress: Option<u32>,
    /// The type, which fsck(8) looks at
    #[arg(short = 't', value_name = "TYPE", hide = true)]
    kind: Option<String>,
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
    match Cli::try_parse_from(bare_progress(args)) {
        Ok(cli) => {
            let out = Output::new(cli.json, cli.quiet);
            if cli.kind.as_deref().is_some_and(|kind| kind != "vexfs") {
                out.error(&anyhow::anyhow!(
                    "only file systems of type vexfs are checked"
                ));
                return Exit::Fsck(USAGE).into();
            }
            finish::finish(check(cli.args, cli.progress, &out), &out)
        }
        Err(e) => finish::usage(&e, Exit::Fsck(USAGE)),
    }
}

/// `-C` may stand without a number, and a device after it is none.
fn bare_progress(args: Vec<OsString>) -> Vec<OsString> {
    let is_number = |arg: &OsString| {
        let text = arg.to_str().unwrap_or("");
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
    };
    let mut all = Vec::with_capacity(args.len());
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        let bare = arg == "-C" && !args.peek().is_some_and(is_number);
        all.push(if bare { "-C0".into() } else { arg });
    }
    all
}

/// Checks a file system. All errors end in a code of fsck(8).
pub fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    check(args, None, out)
}

fn check(args: Args, progress: Option<u32>, out: &Output) -> anyhow::Result<Exit> {
    match run::run(&args, progress, out) {
        Ok(code) => Ok(Exit::Fsck(code)),
        Err(e) => {
            out.error(&e);
            Ok(Exit::Fsck(FAILED))
        }
    }
}
