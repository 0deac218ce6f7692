// SPDX-License-Identifier: GPL-2.0
//! `vexctl collection`: create, list, show and drop collections of vectors.

use crate::abi::vector as abi;
use crate::error::usage;
use crate::exit::Exit;
use crate::mounted::{self, Mounted};
use crate::output::Output;
use indicatif::HumanBytes;
use serde::Serialize;
use std::path::PathBuf;

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
    mount: PathBuf,
    /// The collection's name
    name: String,
    /// Numbers in a vector
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(abi::MAX_DIM)))]
    dim: u32,
    /// How the distance of two vectors is measured [default: cosine, of binary vectors hamming]
    #[arg(long, value_enum)]
    metric: Option<Metric>,
    /// How the numbers are stored
    #[arg(long = "type", value_enum, default_value_t = Element::F32)]
    element: Element,
    /// What makes the vectors; a remark that is kept with the collection
    #[arg(long, default_value = "")]
    model: String,
}

/// Distance measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// Squared Euclidean distance: lower is better
    L2,
    /// Cosine similarity: higher is better
    Cosine,
    /// Inner product: higher is better
    Ip,
    /// Bits that differ: lower is better. Of binary vectors, and only those
    Hamming,
}

impl Metric {
    /// The name that users type.
    pub fn name(raw: u32) -> &'static str {
        match raw {
            abi::METRIC_L2 => "l2",
            abi::METRIC_COSINE => "cosine",
            abi::METRIC_IP => "ip",
            abi::METRIC_HAMMING => "hamming",
            _ => "unknown",
        }
    }

    /// Its number in the ABI.
    pub fn raw(self) -> u32 {
        match self {
            Metric::L2 => abi::METRIC_L2,
            Metric::Cosine => abi::METRIC_COSINE,
            Metric::Ip => abi::METRIC_IP,
            Metric::Hamming => abi::METRIC_HAMMING,
        }
    }
}

/// Element types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Element {
    /// 4 bytes a number
    F32,
    /// 2 bytes a number
    F16,
    /// Integers from -128 to 127, a byte each
    Int8,
    /// Zeroes and ones, a bit each
    Binary,
}

impl Element {
    /// The name that users type.
    fn name(raw: u32) -> &'static str {
        match raw {
            abi::TYPE_F32 => "f32",
            abi::TYPE_F16 => "f16",
            abi::TYPE_INT8 => "int8",
            abi::TYPE_BINARY => "binary",
            _ => "unknown",
        }
    }

    fn raw(self) -> u32 {
        match self {
            Element::F32 => abi::TYPE_F32,
            Element::F16 => abi::TYPE_F16,
            Element::Int8 => abi::TYPE_INT8,
            Element::Binary => abi::TYPE_BINARY,
        }
    }
}

#[derive(clap::Args)]
struct ListArgs {
    /// The mount point, or any path on the file system
    mount: PathBuf,
}

#[derive(clap::Args)]
struct NameArgs {
    /// The mount point, or any path on the file system
    mount: PathBuf,
    /// The collection's name
    name: String,
}

/// A collection in JSON.
#[derive(Serialize)]
struct Shown {
    name: String,
    id: u32,
    dim: u32,
    metric: &'static str,
    r#type: &'static str,
    records: u64,
    bytes: u64,
    created: i64,
    uid: u32,
    model: String,
}

impl From<mounted::Collection> for Shown {
    fn from(c: mounted::Collection) -> Shown {
        Shown {
            id: c.raw.id,
            dim: c.raw.dim,
            metric: Metric::name(c.raw.metric),
            r#type: Element::name(c.raw.r#type),
            records: c.raw.records,
            bytes: c.raw.bytes,
            created: c.raw.created_sec,
            uid: c.raw.uid,
            name: c.name,
            model: c.model,
        }
    }
}

impl Shown {
    fn line(&self) -> String {
        format!(
            "{:<20} {:>5} x {} {:<7} {:>10} records {:>12}{}{}",
            self.name,
            self.dim,
            self.r#type,
            self.metric,
            self.records,
            HumanBytes(self.bytes).to_string(),
            if self.model.is_empty() { "" } else { "  " },
            self.model
        )
    }
}

pub fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    match args.command {
        Command::Create(a) => {
            let metric = a.metric.unwrap_or(match a.element {
                Element::Binary => Metric::Hamming,
                _ => Metric::Cosine,
            });
            if (a.element == Element::Binary) != (metric == Metric::Hamming) {
                return Err(usage(match a.element {
                    Element::Binary => "binary vectors are compared by --metric hamming only",
                    _ => "--metric hamming is for --type binary only",
                }));
            }
            let mounted = Mounted::open(&a.mount)?;
            let made = mounted.create_collection(
                &a.name,
                &a.model,
                a.dim,
                a.element.raw(),
                metric.raw(),
            )?;
            out.result(&Shown::from(made), |c| {
                format!(
                    "created collection {}: {} x {}, {}",
                    c.name, c.dim, c.r#type, c.metric
                )
            })?;
        }
        Command::List(a) => {
            for collection in Mounted::open(&a.mount)?.collections()? {
                out.result(&Shown::from(collection), Shown::line)?;
            }
        }
        Command::Show(a) => {
            let collection = Mounted::open(&a.mount)?.collection(&a.name)?;
            out.result(&Shown::from(collection), Shown::line)?;
        }
        Command::Drop(a) => {
            let mounted = Mounted::open(&a.mount)?;
            let collection = mounted.collection(&a.name)?;
            mounted.drop_collection(&collection)?;
            out.result(&Shown::from(collection), |c| {
                format!("dropped collection {} with {} records", c.name, c.records)
            })?;
        }
    }
    Ok(Exit::Ok)
}
