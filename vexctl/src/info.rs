// SPDX-License-Identifier: GPL-2.0
//! `vexctl info`: what a file system is and how full it is.

use crate::device::{self, label_text, Access};
use crate::error::HintExt;
use crate::exit::Exit;
use crate::mounted::Mounted;
use crate::output::Output;
use anyhow::{anyhow, Context, Result};
use serde::Serialize;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use vexfs::libvexfs::format::superblock::{STATE_CLEAN, STATE_ERROR};
use vexfs::libvexfs::format::Superblock;
use vexfs::libvexfs::journal::host::replay::Overlay;
use vexfs::libvexfs::journal::host::{Disk, Replay};
use vexfs::libvexfs::journal::BLOCK_SIZE;
use vexfs::volume;

#[derive(clap::Args)]
pub struct Args {
    /// A path on a mounted VexFS, a device or an image
    path: PathBuf,
}

/// What is known; what is not is left out of the JSON.
#[derive(Default, Serialize)]
struct Info {
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    space: Option<Space>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    volume: Option<Volume>,
}

/// From statfs.
#[derive(Serialize)]
struct Space {
    total_bytes: u64,
    free_bytes: u64,
    available_bytes: u64,
    inodes: u64,
    free_inodes: u64,
}

/// From the superblock.
#[derive(Serialize)]
struct Volume {
    uuid: String,
    label: String,
    version: u32,
    block_size: usize,
    blocks: u64,
    groups: u32,
    group_blocks: u64,
    journal_start: u64,
    journal_blocks: u64,
    /// Transactions that wait for a replay; not known while it is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_transactions: Option<u32>,
    compat: u64,
    ro_compat: u64,
    incompat: u64,
    clean: bool,
    errors: bool,
    created: i64,
    mounted: i64,
    mount_count: u32,
    root_inode: u64,
    reserved_blocks: u64,
}

/// Shows a file system.
pub fn run(args: Args, out: &Output) -> Result<Exit> {
    kernel::print::set_level(0);
    let path = &args.path;
    let kind = std::fs::metadata(path)
        .with_context(|| format!("cannot find {}", path.display()))?
        .file_type();
    let mut info = Info::default();
    let is_image = kind.is_block_device() || kind.is_file() && image_of(path).is_some();
    if is_image {
        info.device = Some(path.clone());
        info.volume = Some(look(path, !device::is_mounted(path)?)?);
    } else {
        on_mount(path, &mut info)?;
    }
    out.result(&info, text)?;
    Ok(Exit::Ok)
}

/// The superblock of an image, if the file is one.
fn image_of(path: &Path) -> Option<Superblock> {
    volume::superblock(&device::open(path, Access::Look).ok()?).ok()
}

fn on_mount(path: &Path, info: &mut Info) -> Result<()> {
    Mounted::open(path).hint("give a mount point, a device or an image of a VexFS")?;
    let stat = nix::sys::statvfs::statvfs(path)
        .with_context(|| format!("cannot ask for space on {}", path.display()))?;
    let unit = stat.fragment_size();
    info.space = Some(Space {
        total_bytes: stat.blocks() * unit,
        free_bytes: stat.blocks_free() * unit,
        available_bytes: stat.blocks_available() * unit,
        inodes: stat.files(),
        free_inodes: stat.files_free(),
    });
    let Some((mount, source)) = device::mount_of(path)? else {
        return Ok(());
    };
    // Only root may read the device; everybody may see the rest.
    if let Ok(volume) = look(&source, false) {
        info.volume = Some(volume);
    }
    info.mount = Some(mount);
    info.device = Some(source);
    Ok(())
}

/// Reads the superblock, through the journal if the volume is not mounted.
fn look(path: &Path, alone: bool) -> Result<Volume> {
    let disk = device::open(path, Access::Look)?;
    if !alone {
        return Ok(describe(&volume::superblock_in_use(&disk)?, None));
    }
    let raw = match volume::superblock(&disk) {
        Ok(sb) => sb,
        Err(e) if volume::find_copy(&disk).is_some() => {
            return Err(anyhow!(
                "{}: the superblock is damaged ({e})",
                path.display()
            ))
            .hint(format!(
                "fsck.vexfs -y {} restores it from a copy",
                path.display()
            ));
        }
        Err(_) => {
            return Err(anyhow!("{} holds no VexFS", path.display()))
                .hint("wipefs DEVICE tells what is on it")
        }
    };
    let replay = Replay::open(&disk, volume::region(&raw)?).ok();
    let waiting = replay.as_ref().map(|replay| {
        let (first, end) = replay.transactions();
        end.wrapping_sub(first)
    });
    let sb = match replay {
        Some(replay) => superblock(Overlay::new(disk, replay)).unwrap_or(raw),
        None => raw,
    };
    Ok(describe(&sb, waiting))
}

fn superblock(disk: impl Disk) -> Option<Superblock> {
    volume::superblock(&disk).ok()
}

fn describe(sb: &Superblock, waiting: Option<u32>) -> Volume {
    Volume {
        uuid: device::uuid_text(&sb.uuid),
        label: label_text(&sb.label),
        version: sb.version,
        block_size: BLOCK_SIZE,
        blocks: sb.geometry.block_count,
        groups: sb.geometry.group_count,
        group_blocks: sb.geometry.group_blocks,
        journal_start: sb.journal_start,
        journal_blocks: sb.journal_len,
        journal_transactions: waiting,
        compat: sb.compat,
        ro_compat: sb.ro_compat,
        incompat: sb.incompat,
        clean: sb.state & STATE_CLEAN != 0,
        errors: sb.state & STATE_ERROR != 0,
        created: sb.created,
        mounted: sb.mounted,
        mount_count: sb.mount_count,
        root_inode: sb.root_ino,
        reserved_blocks: sb.reserved_blocks,
    }
}

fn text(info: &Info) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(format!("{name:<12} {value}"));
    if let Some(mount) = &info.mount {
        line("mounted on", mount.display().to_string());
    }
    if let Some(device) = &info.device {
        line("device", device.display().to_string());
    }
    if let Some(v) = &info.volume {
        let bytes = |blocks: u64| device::size_text(blocks * BLOCK_SIZE as u64);
        line("uuid", v.uuid.clone());
        if !v.label.is_empty() {
            line("label", v.label.clone());
        }
        line(
            "size",
            format!(
                "{} ({} blocks of {})",
                bytes(v.blocks),
                v.blocks,
                v.block_size
            ),
        );
        line(
            "groups",
            format!("{} of {}", v.groups, bytes(v.group_blocks)),
        );
        let waiting = match v.journal_transactions {
            Some(n) if n > 0 => format!(", {n} transactions to replay"),
            _ => String::new(),
        };
        line(
            "journal",
            format!(
                "{} at block {}{waiting}",
                bytes(v.journal_blocks),
                v.journal_start
            ),
        );
        let state = match (v.errors, v.clean) {
            (true, _) => "has errors: run fsck.vexfs",
            (false, true) => "unmounted in good order",
            (false, false) => "mounted, or not unmounted in good order",
        };
        line("state", format!("{state}; {} mounts", v.mount_count));
        line(
            "features",
            format!(
                "{:#x} compat, {:#x} ro_compat, {:#x} incompat",
                v.compat, v.ro_compat, v.incompat
            ),
        );
    }
    if let Some(s) = &info.space {
        let used = s.total_bytes.saturating_sub(s.free_bytes);
        line(
            "used",
            format!(
                "{} of {}",
                device::size_text(used),
                device::size_text(s.total_bytes)
            ),
        );
        line("available", device::size_text(s.available_bytes));
        line("inodes", format!("{} ({} free)", s.inodes, s.free_inodes));
    }
    lines.join("\n")
}
