// SPDX-License-Identifier: GPL-2.0
//! `mkfs.vexfs`.

mod probe;

use crate::device::{self, label_text, parse_blocks, Access};
use crate::error::{usage, HintExt};
use crate::exit::Exit;
use crate::finish;
use crate::output::Output;
use anyhow::{Context, Result};
use clap::Parser;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use vexfs::libvexfs::format::{Superblock, Time};
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::BLOCK_SIZE;
use vexfs::libvexfs::mkfs::{self, Options, Refused, LABEL_MAX};

/// What not every file system has.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Feature {
    /// Count what users, groups and projects have
    Quota,
}

#[derive(clap::Args)]
pub struct Args {
    /// Overwrite what is there without asking
    #[arg(short, long, visible_short_alias = 'F')]
    force: bool,
    /// The label, at most 63 bytes
    #[arg(short = 'L', long, value_parser = parse_label)]
    label: Option<[u8; 64]>,
    /// The UUID; a random one if not given
    #[arg(short = 'U', long, value_parser = device::parse_uuid)]
    uuid: Option<[u8; 16]>,
    /// The block size: 4096 is the only one
    #[arg(short, long, default_value_t = 4096)]
    block_size: u32,
    /// The journal: size=MIB, from 4 to 1024
    #[arg(short = 'J', long, value_name = "size=MIB", value_parser = parse_journal)]
    journal: Option<u64>,
    /// Blocks in an allocation group: a power of two, 4096 or more; a suffix (K, M, G, T) makes it bytes
    #[arg(short = 'g', long, visible_short_alias = 'N', value_name = "BLOCKS", value_parser = parse_blocks)]
    group_size: Option<u64>,
    /// What the file system is to have beyond the ordinary: quota counts what users, groups and
    /// projects have, for limits
    #[arg(short = 'O', long, value_name = "FEATURE", value_delimiter = ',')]
    features: Vec<Feature>,
    /// Show what would be made, and make nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// The device or image
    device: PathBuf,
    /// Use only so many blocks of it; a suffix (K, M, G, T) makes it bytes
    #[arg(value_parser = parse_blocks)]
    blocks: Option<u64>,
}

/// Makes a VexFS file system.
#[derive(Parser)]
#[command(name = "mkfs.vexfs", version, disable_version_flag = true)]
struct Cli {
    #[command(flatten)]
    args: Args,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
    /// Say more; there is no more to say, but mkfs(8) may ask
    #[arg(short, long)]
    verbose: bool,
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
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => return finish::usage(&e, Exit::Failed),
    };
    let out = Output::new(cli.json, cli.quiet);
    finish::finish(run(cli.args, &out), &out)
}

/// Makes a file system.
pub fn run(args: Args, out: &Output) -> Result<Exit> {
    if args.block_size as usize != BLOCK_SIZE {
        return Err(usage(format!(
            "blocks of {} bytes are not supported",
            args.block_size
        ))
        .hint("leave -b out, or say -b 4096"));
    }
    let access = if args.dry_run {
        Access::Look
    } else {
        Access::WriteAlone
    };
    let disk = device::open(&args.device, access)?;
    let blocks = match args.blocks {
        Some(blocks) if blocks > disk.block_count() => {
            return Err(usage(format!(
                "{} has {} blocks, not {blocks}",
                args.device.display(),
                disk.block_count()
            )));
        }
        Some(blocks) => blocks,
        None => disk.block_count().min(mkfs::MAX_BLOCKS),
    };
    let options = Options {
        label: args.label.unwrap_or([0; 64]),
        uuid: args.uuid.map_or_else(device::new_uuid, Ok)?,
        csum_seed: u32::from_le_bytes(device::random()?),
        hash_key: device::random()?,
        staging_epoch: device::random()?,
        group_blocks: args.group_size,
        journal_blocks: args.journal,
        quota: args.features.contains(&Feature::Quota),
        now: Time::now(),
    };
    let sb = mkfs::layout(blocks, &options).map_err(|why| refused(why, &args))?;
    if !args.dry_run {
        if let Some(found) = probe::probe(&disk) {
            if !args.force && !confirmed(&args, found, out)? {
                return Err(anyhow::anyhow!("nothing was changed"));
            }
        }
        vexfs::volume::format(&disk, &sb, &options)
            .with_context(|| format!("cannot make a file system on {}", args.device.display()))?;
    }
    report(&args, &sb, out)?;
    Ok(Exit::Ok)
}

/// Asks before something is overwritten, if there is somebody to ask. Scripts (`yes | mkfs`) are not held up.
fn confirmed(args: &Args, found: &str, out: &Output) -> Result<bool> {
    out.note(&format!("{} holds {found}", args.device.display()));
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(true);
    }
    eprint!("Overwrite it? (y/N) ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn refused(why: Refused, args: &Args) -> anyhow::Error {
    let e = anyhow::anyhow!("{}: {why}", args.device.display());
    match why {
        Refused::TooSmall => e.hint("truncate -s 64M FILE makes an image that is large enough"),
        Refused::GroupSize => e.hint("leave -g out for the best choice"),
        Refused::JournalSize => e.hint("leave -J out for the best choice"),
        Refused::TooLarge => e,
    }
}

#[derive(serde::Serialize)]
struct Report {
    device: PathBuf,
    uuid: String,
    label: String,
    block_size: usize,
    blocks: u64,
    groups: u32,
    group_blocks: u64,
    journal_blocks: u64,
    made: bool,
}

fn report(args: &Args, sb: &Superblock, out: &Output) -> Result<()> {
    let report = Report {
        device: args.device.clone(),
        uuid: device::uuid_text(&sb.uuid),
        label: label_text(&sb.label),
        block_size: BLOCK_SIZE,
        blocks: sb.geometry.block_count,
        groups: sb.geometry.group_count,
        group_blocks: sb.geometry.group_blocks,
        journal_blocks: sb.journal_len,
        made: !args.dry_run,
    };
    if out.json() {
        return out.result(&report, |_| String::new());
    }
    let bytes = |blocks: u64| device::size_text(blocks * BLOCK_SIZE as u64);
    out.note(&format!(
        "{}: VexFS, {}, {} groups of {}, journal of {}\nUUID {}{}",
        args.device.display(),
        bytes(report.blocks),
        report.groups,
        bytes(report.group_blocks),
        bytes(report.journal_blocks),
        report.uuid,
        if report.label.is_empty() {
            String::new()
        } else {
            format!(", label {}", report.label)
        },
    ));
    Ok(())
}

fn parse_label(text: &str) -> Result<[u8; 64], String> {
    let mut label = [0; 64];
    if text.len() > LABEL_MAX || text.contains('\0') {
        return Err(format!("a label has at most {LABEL_MAX} bytes"));
    }
    label[..text.len()].copy_from_slice(text.as_bytes());
    Ok(label)
}

fn parse_journal(text: &str) -> Result<u64, String> {
    let mib: u64 = text
        .strip_prefix("size=")
        .and_then(|n| n.parse().ok())
        .ok_or_else(|| format!("'{text}' is not of the form size=MIB"))?;
    mib.checked_mul((1 << 20) / BLOCK_SIZE as u64)
        .ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_has_a_size() {
        assert_eq!(parse_journal("size=4"), Ok(1024));
        assert!(parse_journal("4").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
        <crate::cli::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
