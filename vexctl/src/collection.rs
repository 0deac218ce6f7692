// SPDX-License-Identifier: GPL-2.0
//! `vexctl collection`: create, list, show and drop collections of vectors.

use crate::error::not_yet;
use crate::exit::Exit;
use crate::output::Output;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Create a collection
    Create(CreateArgs),
    /// List the collections
    List(ListArgs),
    /// Show one collection
    Show(NameArgs),
    /// Drop a collection and all its vectors
    Drop(NameArgs),
}

#[derive(clap::Args)]
struct CreateArgs {
    /// The mount point, or any path on the file system
    mount: std::path::PathBuf,
    /// The collection's name
    name: String,
    /// Numbers in a vector, 1 to 4096
    #[arg(long)]
    dim: u32,
    /// How the distance of two vectors is measured
    #[arg(long, value_enum, default_value_t = Metric::Cosine)]
    metric: Metric,
    /// How the numbers are stored
    #[arg(long = "type", value_enum, default_value_t = Element::F32)]
    element: Element,
}

/// Distance measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    L2,
    Cosine,
    Ip,
}

/// Element types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Element {
    F32,
    F16,
}

#[derive(clap::Args)]
struct ListArgs {
    /// The mount point, or any path on the file system
    mount: std::path::PathBuf,
}

#[derive(clap::Args)]
struct NameArgs {
    /// The mount point, or any path on the file system
    mount: std::path::PathBuf,
    /// The collection's name
    name: String,
}

pub fn run(_args: Args, _out: &Output) -> anyhow::Result<Exit> {
    Err(not_yet("collection"))
}
