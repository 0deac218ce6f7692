// SPDX-License-Identifier: GPL-2.0
//! `vexctl archive`, `release`, `recall`, `state`: where the bytes of files are.

use crate::error::not_yet;
use crate::exit::Exit;
use crate::output::Output;

#[derive(clap::Args)]
pub struct ArchiveArgs {
    /// Files, or with -r directories
    #[arg(required = true)]
    paths: Vec<std::path::PathBuf>,
    /// Directories with all that is below them
    #[arg(short, long)]
    recursive: bool,
}

#[derive(clap::Args)]
pub struct ReleaseArgs {
    /// Files, or with -r directories
    #[arg(required = true)]
    paths: Vec<std::path::PathBuf>,
    /// Directories with all that is below them
    #[arg(short, long)]
    recursive: bool,
}

#[derive(clap::Args)]
pub struct RecallArgs {
    /// Files, or with -r directories
    #[arg(required = true)]
    paths: Vec<std::path::PathBuf>,
    /// Directories with all that is below them
    #[arg(short, long)]
    recursive: bool,
}

#[derive(clap::Args)]
pub struct StateArgs {
    /// Files, or with -r directories
    #[arg(required = true)]
    paths: Vec<std::path::PathBuf>,
    /// Directories with all that is below them
    #[arg(short, long)]
    recursive: bool,
}

pub fn archive(_args: ArchiveArgs, _out: &Output) -> anyhow::Result<Exit> {
    Err(not_yet("archive"))
}

pub fn release(_args: ReleaseArgs, _out: &Output) -> anyhow::Result<Exit> {
    Err(not_yet("release"))
}

pub fn recall(_args: RecallArgs, _out: &Output) -> anyhow::Result<Exit> {
    Err(not_yet("recall"))
}

pub fn state(_args: StateArgs, _out: &Output) -> anyhow::Result<Exit> {
    Err(not_yet("state"))
}
