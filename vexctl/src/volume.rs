// SPDX-License-Identifier: GPL-2.0
//! `vexctl volume`: make, list and verify volumes. None of these needs a mounted file system.

pub mod bundle;
pub mod label;
pub mod pax;

use crate::error::{not_found, HintExt};
use crate::exit::Exit;
use crate::output::Output;
use anyhow::{Context, Result};
use label::Volume;
use serde::Serialize;
use std::fs::File;
use std::path::PathBuf;

/// Arguments of `vexctl volume`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a volume: a folder in DIR
    Init {
        /// The directory that holds the volumes
        dir: PathBuf,
        /// Its label, and the folder's name [default: the next free one of V00001, V00002, ...]
        #[arg(long)]
        label: Option<String>,
    },
    /// List the volumes in DIR
    List {
        /// The directory that holds the volumes, or one volume
        dir: PathBuf,
    },
    /// Read every file on the volumes in DIR again and compare its digest
    Verify {
        /// The directory that holds the volumes, or one volume
        dir: PathBuf,
    },
}

/// `vexctl volume`.
pub fn run(args: Args, out: &Output) -> Result<Exit> {
    match args.command {
        Command::Init { dir, label } => {
            let label = match label {
                Some(label) => label,
                None => free_label(&Volume::find(&dir).unwrap_or_default()),
            };
            let v = Volume::create(&dir, &label, None, None)?;
            out.result(&Listed::of(&v)?, |l| {
                format!("{}: volume {} ({})", l.path, l.label, l.uuid)
            })?;
            Ok(Exit::Ok)
        }
        Command::List { dir } => {
            let all = Volume::find(&dir)?;
            if all.is_empty() {
                return Err(not_found(format!("no volumes in {}", dir.display()))
                    .hint("`vexctl agent MOUNT --volumes DIR` makes the first one itself"));
            }
            for v in &all {
                out.result(&Listed::of(v)?, |l| {
                    format!(
                        "{:<12} {:>5} bundles {:>15} bytes  {}  {}",
                        l.label, l.bundles, l.bytes, l.uuid, l.path
                    )
                })?;
            }
            Ok(Exit::Ok)
        }
        Command::Verify { dir } => verify(&Volume::find(&dir)?, out),
    }
}

/// The first label of V00001, V00002, ... that none of the volumes has.
pub fn free_label(volumes: &[Volume]) -> String {
    let taken = |l: &String| volumes.iter().any(|v| v.label.label == *l);
    (1..)
        .map(|n: u32| format!("V{n:05}"))
        .find(|l| !taken(l))
        .unwrap_or_default()
}

#[derive(Serialize)]
struct Listed {
    label: String,
    uuid: String,
    fs: Option<String>,
    bundles: usize,
    bytes: u64,
    path: String,
}

impl Listed {
    fn of(v: &Volume) -> Result<Listed> {
        Ok(Listed {
            label: v.label.label.clone(),
            uuid: v.label.uuid.clone(),
            fs: v.label.fs.clone(),
            bundles: v.bundles()?.len(),
            bytes: v.bytes()?,
            path: v.dir.display().to_string(),
        })
    }
}

#[derive(Serialize, Default)]
struct Verified {
    volumes: usize,
    bundles: usize,
    files: u64,
    bytes: u64,
    bad: u64,
}

/// A file or bundle that is not what was written.
#[derive(Serialize)]
struct Bad {
    bad: String,
    bundle: String,
    ino: Option<String>,
    error: String,
}

fn verify(volumes: &[Volume], out: &Output) -> Result<Exit> {
    let mut sum = Verified {
        volumes: volumes.len(),
        ..Verified::default()
    };
    let mut total = 0;
    for v in volumes {
        total += v.bytes()?;
    }
    let bar = out.progress_bytes("verify", total);
    for v in volumes {
        for n in v.bundles()? {
            let path = v.bundle(n);
            sum.bundles += 1;
            let bad = |name: String, ino: Option<String>, error: String| -> Result<()> {
                let b = Bad {
                    bad: name,
                    bundle: path.display().to_string(),
                    ino,
                    error,
                };
                bar.suspend(|| {
                    out.result(&b, |b| {
                        format!("BAD {} in {}: {}", b.bad, b.bundle, b.error)
                    })
                })
            };
            let members = match bundle::members(&path) {
                Ok(members) => members,
                Err(e) => {
                    sum.bad += 1;
                    bad(format!("bundle {n}"), None, format!("{e:#}"))?;
                    continue;
                }
            };
            let file =
                File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            for m in &members {
                let ino = m
                    .meta
                    .records
                    .get("VEXFS.ino")
                    .map(|v| String::from_utf8_lossy(v).into_owned());
                let name = String::from_utf8_lossy(&m.meta.path).into_owned();
                sum.files += 1;
                sum.bytes += m.meta.size;
                match bundle::verify(&file, m) {
                    Ok(true) => {}
                    Ok(false) => {
                        sum.bad += 1;
                        bad(name, ino, "the digest does not match".into())?;
                    }
                    Err(e) => {
                        sum.bad += 1;
                        bad(name, ino, format!("{e:#}"))?;
                    }
                }
                bar.inc(m.meta.size);
            }
        }
    }
    bar.finish_and_clear();
    out.result(&sum, |s| {
        format!(
            "{} volumes, {} bundles, {} files, {} bytes verified, {} bad",
            s.volumes, s.bundles, s.files, s.bytes, s.bad
        )
    })?;
    Ok(if sum.bad == 0 {
        Exit::Ok
    } else {
        Exit::Partial
    })
}
