// SPDX-License-Identifier: GPL-2.0
//! `vexctl index`: make, drop, watch and verify the index of a collection.

use crate::abi::{ioctl, vector as abi};
use crate::error::{not_found, HintExt};
use crate::exit::Exit;
use crate::mounted::{Collection, Mounted};
use crate::output::Output;
use anyhow::{anyhow, Context, Result};
use indicatif::{HumanBytes, HumanCount};
use nix::errno::Errno;
use serde::Serialize;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
The kernel builds an index in the background: interrupting `create` or `rebuild` does not stop it, and
`drop` does. Searches are exact until it is ready. Exit status 3 of `verify`: something is not as it should
be. Damage in an index costs hits, never files or vectors; `rebuild` makes another.";

/// How long the kernel is waited for between two looks at how far it is, in milliseconds.
const TICK: u32 = 300;

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make an index, and wait until it is built
    Create(MakeArgs),
    /// Drop the index; none is made by itself then
    Drop(NameArgs),
    /// Make the index anew, and wait until it is built
    Rebuild(MakeArgs),
    /// Wait until it is built and has all that was put before
    Wait(NameArgs),
    /// Look at every node and every edge
    Verify(NameArgs),
    /// Show how large it is and how far
    Stats(NameArgs),
}

#[derive(clap::Args)]
struct NameArgs {
    /// The mount point, or any path on the file system
    mount: PathBuf,
    /// The collection's name
    #[arg(long)]
    collection: String,
}

#[derive(clap::Args)]
struct MakeArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Do not wait
    #[arg(long)]
    no_wait: bool,
}

/// An index in JSON.
#[derive(Serialize)]
struct Shown {
    collection: String,
    state: &'static str,
    automatic: bool,
    build: u32,
    ef: u32,
    records: u64,
    slots: u64,
    built: u64,
    refined: u64,
    tail: u64,
    unsaved: u64,
    bytes: u64,
    cached: u64,
    pinned: u64,
    fpu_longest_ns: u64,
    fpu_too_long: u64,
}

impl Shown {
    fn new(collection: &Collection, raw: &abi::Index) -> Shown {
        Shown {
            collection: collection.name.clone(),
            state: state(raw.state),
            automatic: raw.flags & abi::INDEX_AUTOMATIC != 0,
            build: raw.build,
            ef: raw.ef,
            records: raw.records,
            slots: raw.slots,
            built: raw.built,
            refined: raw.refined,
            tail: raw.next.saturating_sub(raw.applied),
            unsaved: raw.applied.saturating_sub(raw.checkpoint),
            bytes: raw.bytes,
            cached: raw.cached,
            pinned: raw.pinned,
            fpu_longest_ns: raw.fpu_longest_ns,
            fpu_too_long: raw.fpu_too_long,
        }
    }

    fn text(&self) -> String {
        let how = if self.automatic {
            ", made by itself"
        } else {
            ""
        };
        let mut text = format!(
            "{}: {}{how}, build {}\n  {} records in {} slots, {} past the build, {} refined\n  {} changes to come, {} not saved",
            self.collection,
            self.state,
            self.build,
            HumanCount(self.records),
            HumanCount(self.slots),
            HumanCount(self.built),
            HumanCount(self.refined),
            HumanCount(self.tail),
            HumanCount(self.unsaved),
        );
        text += &format!(
            "\n  {} on disk, {} of it cached, {} pinned\n  {} candidates by default; FPU held for {:.1} us at most, {} times too long",
            HumanBytes(self.bytes),
            HumanBytes(self.cached),
            HumanBytes(self.pinned),
            self.ef,
            self.fpu_longest_ns as f64 / 1000.0,
            self.fpu_too_long,
        );
        text
    }
}

/// What a verification found, in JSON.
#[derive(Serialize)]
struct Verified {
    collection: String,
    nodes: u64,
    missing: u64,
    wrong: u64,
    damaged: u64,
    unreachable: u64,
}

fn state(raw: u32) -> &'static str {
    match raw {
        abi::INDEX_STATE_NONE => "none",
        abi::INDEX_STATE_WANTED => "wanted",
        abi::INDEX_STATE_BUILDING => "building",
        abi::INDEX_STATE_READY => "ready",
        _ => "unknown",
    }
}

/// Calls the kernel.
pub fn call(
    mounted: &Mounted,
    collection: &Collection,
    op: u32,
    ms: u32,
) -> (abi::Index, Option<Errno>) {
    let mut arg = abi::Index {
        collection: collection.raw.id,
        op,
        timeout_ms: ms,
        ..abi::Index::default()
    };
    let result = ioctl(mounted, abi::IOC_INDEX, &mut arg);
    (arg, result.err())
}

/// The same, with a message that says what to do if it fails.
fn ask(mounted: &Mounted, collection: &Collection, op: u32, what: &str) -> Result<abi::Index> {
    let (arg, error) = call(mounted, collection, op, 0);
    let Some(error) = error else { return Ok(arg) };
    let name = &collection.name;
    if error == Errno::ENOENT {
        return Err(not_found(format!("collection {name} has no index"))
            .hint("vexctl index create MOUNT --collection NAME makes one"));
    }
    Err(error)
        .with_context(|| format!("cannot {what} the index of collection {name}"))
        .hint(match error {
            Errno::EEXIST => "it has one already: see `vexctl index stats`, or `rebuild` it",
            Errno::EPERM => "only the collection's owner and root may do that",
            Errno::EROFS => "the file system is mounted read-only",
            Errno::ENOSPC => "the file system is full",
            Errno::EAGAIN => {
                "it is being built: wait until `vexctl index stats` says that it is ready"
            }
            Errno::ENOTTY => "the module in the kernel is older than this vexctl",
            _ => "see the kernel's log",
        })
}

fn open(args: &NameArgs) -> Result<(Mounted, Collection)> {
    let mounted = Mounted::open(&args.mount)?;
    let collection = mounted.collection(&args.collection)?;
    Ok((mounted, collection))
}

/// Waits until an index is built, and shows how far it is.
fn show(mounted: &Mounted, collection: &Collection, out: &Output) -> Result<abi::Index> {
    let bar = out.progress("indexing", 0);
    let built = wait(mounted, collection, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    built
}

/// Waits until an index is built; `progress` is told how far of how much it is.
pub fn wait(
    mounted: &Mounted,
    collection: &Collection,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<abi::Index> {
    loop {
        let (raw, error) = call(mounted, collection, abi::INDEX_WAIT, TICK);
        // Each slot is gone over twice; changes come on top.
        let tail = raw.next.saturating_sub(raw.applied);
        progress(raw.built + raw.refined, 2 * raw.slots + tail);
        match error {
            None => return Ok(raw),
            Some(Errno::ETIMEDOUT | Errno::EINTR) => {}
            Some(Errno::ECANCELED | Errno::ENOENT) => {
                return Err(anyhow!("the index was dropped meanwhile"))
                    .hint("vexctl index create MOUNT --collection NAME makes another");
            }
            Some(e) => {
                return Err(e)
                    .context("the index is not being built any more")
                    .hint("see the kernel's log");
            }
        }
    }
}

fn make(args: &MakeArgs, op: u32, what: &str, out: &Output) -> Result<Exit> {
    let (mounted, collection) = open(&args.name)?;
    let mut raw = ask(&mounted, &collection, op, what)?;
    if !args.no_wait {
        raw = show(&mounted, &collection, out)?;
    }
    out.result(&Shown::new(&collection, &raw), Shown::text)?;
    Ok(Exit::Ok)
}

/// `vexctl index`.
pub fn run(args: Args, out: &Output) -> Result<Exit> {
    match args.command {
        Command::Create(a) => make(&a, abi::INDEX_CREATE, "create", out),
        Command::Rebuild(a) => make(&a, abi::INDEX_REBUILD, "rebuild", out),
        Command::Wait(a) => {
            let (mounted, collection) = open(&a)?;
            ask(&mounted, &collection, abi::INDEX_STATS, "look at")?;
            let raw = show(&mounted, &collection, out)?;
            out.result(&Shown::new(&collection, &raw), Shown::text)?;
            Ok(Exit::Ok)
        }
        Command::Drop(a) => {
            let (mounted, collection) = open(&a)?;
            let raw = ask(&mounted, &collection, abi::INDEX_DROP, "drop")?;
            out.result(&Shown::new(&collection, &raw), |s| {
                format!("dropped the index of collection {}", s.collection)
            })?;
            Ok(Exit::Ok)
        }
        Command::Stats(a) => {
            let (mounted, collection) = open(&a)?;
            let raw = ask(&mounted, &collection, abi::INDEX_STATS, "look at")?;
            let shown = Shown::new(&collection, &raw);
            out.result(&shown, Shown::text)?;
            Ok(match raw.state {
                abi::INDEX_STATE_NONE => Exit::NotFound,
                _ => Exit::Ok,
            })
        }
        Command::Verify(a) => {
            let (mounted, collection) = open(&a)?;
            let bar = out.spinner("verifying");
            let raw = ask(&mounted, &collection, abi::INDEX_VERIFY, "verify");
            bar.finish_and_clear();
            let raw = raw?;
            let verified = Verified {
                collection: collection.name.clone(),
                nodes: raw.nodes,
                missing: raw.missing,
                wrong: raw.wrong,
                damaged: raw.damaged,
                unreachable: raw.unreachable,
            };
            out.result(&verified, |v| {
                format!(
                    "{}: {} nodes; {} records without a node, {} wrong nodes, {} damaged, {} unreachable",
                    v.collection,
                    HumanCount(v.nodes),
                    v.missing,
                    v.wrong,
                    v.damaged,
                    v.unreachable
                )
            })?;
            // What no path leads to is not found; a few such nodes are the nature of a graph.
            let bad = raw.missing + raw.wrong + raw.damaged;
            Ok(if bad == 0 { Exit::Ok } else { Exit::Partial })
        }
    }
}
