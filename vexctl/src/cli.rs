// SPDX-License-Identifier: GPL-2.0
//! The command line: which names and commands there are, and the way from a command's result to the exit status.

use crate::exit::Exit;
use crate::finish::{finish, usage};
use crate::output::Output;
use crate::{
    agent, bench, collection, debug, dump, embed, fsck, import, index, info, mkfs, record, resize,
    search, shell, staging, volume,
};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Exit status:
  0  done
  1  the operation failed; the message says why and what to do next
  2  wrong usage
  3  partly done: some items failed, each with its own message
  4  nothing found, or not there
mkfs.vexfs and fsck.vexfs use the codes of mkfs(8) and fsck(8).";

/// Makes, checks, searches and stages VexFS file systems.
#[derive(Parser)]
#[command(name = "vexctl", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Cli {
    /// Print results as JSON: one document, or one line per result
    #[arg(long, global = true)]
    pub json: bool,
    /// Print results only: no progress, no remarks
    #[arg(long, short, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// What `vexctl` can do.
#[derive(Subcommand)]
pub enum Command {
    /// Show a file system: a mount point, a device or an image
    Info(info::Args),
    /// Make a mounted file system larger
    Resize(resize::Args),
    /// Create, list, show and drop collections of vectors
    Collection(collection::Args),
    /// Make, drop, watch and verify the index of a collection
    Index(index::Args),
    /// Attach vectors to files
    Put(record::PutArgs),
    /// Read vectors back
    Get(record::GetArgs),
    /// Delete vectors
    Delete(record::DeleteArgs),
    /// Load many vectors from a file
    Import(import::Args),
    /// Find files by meaning
    Search(search::Args),
    /// Compute and attach the vectors of files
    Embed(embed::Args),
    /// Copy files to volumes
    Archive(staging::QueueArgs),
    /// Free the blocks of archived files
    Release(staging::ReleaseArgs),
    /// Bring released files back
    Recall(staging::QueueArgs),
    /// Show where the bytes of files are
    State(staging::StateArgs),
    /// Serve archive and recall requests of a mounted file system
    Agent(agent::Args),
    /// Make, list and verify volumes
    Volume(volume::Args),
    /// Make a file system (as mkfs.vexfs)
    Mkfs(mkfs::Args),
    /// Check a file system (as fsck.vexfs)
    Fsck(fsck::Args),
    /// Measure searches, on vectors with known neighbours
    Bench(bench::Args),
    /// Show the structures of an unmounted file system, damaged or not
    Debug(debug::Args),
    /// Write the metadata of an unmounted file system to a file, without the contents of its files
    Dump(dump::DumpArgs),
    /// Make an image from what dump wrote
    Undump(dump::UndumpArgs),
    /// Print a completion script for a shell
    Completions(shell::CompletionsArgs),
    /// Print or install the manual pages
    Man(shell::ManArgs),
}

/// Runs the tool that `argv[0]` names.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let name = args
        .first()
        .map(Path::new)
        .and_then(Path::file_name)
        .and_then(|n| n.to_str())
        .unwrap_or("");
    match name {
        "mkfs.vexfs" => mkfs::main(args),
        "fsck.vexfs" => fsck::main(args),
        _ => vexctl(args),
    }
}

fn vexctl(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => return usage(&e, Exit::Usage),
    };
    let out = Output::new(cli.json, cli.quiet);
    let result = match cli.command {
        Command::Info(a) => info::run(a, &out),
        Command::Resize(a) => resize::run(a, &out),
        Command::Collection(a) => collection::run(a, &out),
        Command::Index(a) => index::run(a, &out),
        Command::Put(a) => record::put(a, &out),
        Command::Get(a) => record::get(a, &out),
        Command::Delete(a) => record::delete(a, &out),
        Command::Import(a) => import::run(a, &out),
        Command::Search(a) => search::run(a, &out),
        Command::Embed(a) => embed::run(a, &out),
        Command::Archive(a) => staging::archive(a, &out),
        Command::Release(a) => staging::release(a, &out),
        Command::Recall(a) => staging::recall(a, &out),
        Command::State(a) => staging::state(a, &out),
        Command::Agent(a) => agent::run(a, &out),
        Command::Volume(a) => volume::run(a, &out),
        Command::Mkfs(a) => mkfs::run(a, &out),
        Command::Fsck(a) => fsck::run(a, &out),
        Command::Bench(a) => bench::run(a, &out),
        Command::Debug(a) => debug::run(a, &out),
        Command::Dump(a) => dump::dump(a, &out),
        Command::Undump(a) => dump::undump(a, &out),
        Command::Completions(a) => shell::completions(a),
        Command::Man(a) => shell::man(a, &out),
    };
    finish(result, &out)
}
