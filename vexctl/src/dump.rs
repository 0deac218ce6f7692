// SPDX-License-Identifier: GPL-2.0
//! `vexctl dump` and `undump`: the metadata of a volume in a file, to be looked at elsewhere. No contents of files go with it.

mod collect;
mod file;

use crate::device::{self, Access};
use crate::error::HintExt;
use crate::exit::Exit;
use crate::output::Output;
use anyhow::{anyhow, bail, Context, Result};
use file::{Reader, Writer};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use vexfs::disk::FileDisk;
use vexfs::file_store::sealed;
use vexfs::libvexfs::format::group::{BITMAP_MAGIC, INODE_BLOCK_MAGIC, MAGIC as GROUP_MAGIC};
use vexfs::libvexfs::format::superblock::MAGIC as SUPER_MAGIC;
use vexfs::libvexfs::format::{le32, le64, Geometry, Superblock};
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::{BLOCK_SIZE, SEAL_SIZE};
use vexfs::libvexfs::tree::node::MAGIC as NODE_MAGIC;
use vexfs::volume;

#[derive(clap::Args)]
pub struct DumpArgs {
    /// Write over FILE if it exists
    #[arg(long, short)]
    force: bool,
    /// The device or image, unmounted
    image: PathBuf,
    /// The file to write (gzip)
    file: PathBuf,
}

#[derive(clap::Args)]
pub struct UndumpArgs {
    /// Write over IMAGE if it exists
    #[arg(long, short)]
    force: bool,
    /// The file that dump wrote
    file: PathBuf,
    /// The image to make: a sparse file as large as the device was
    image: PathBuf,
}

/// Writes a dump.
pub fn dump(args: DumpArgs, out: &Output) -> Result<Exit> {
    kernel::print::set_level(0);
    let disk = device::open(&args.image, Access::ReadAlone)?;
    let name = args.image.display();
    let none = || anyhow!("{name}: no VexFS superblock here, and no copy of it");
    let sb = volume::best_superblock(&disk).ok_or_else(none)?.sb;
    let found = collect::collect(&disk)?.ok_or_else(none)?;
    let file = create(&args.file, args.force)?;
    let result = write(&disk, &sb, &found, &file);
    let written = result.inspect_err(|_| remove(&args.file))?;
    let size = file.metadata().map_or(0, |meta| meta.len());
    if out.json() {
        out.line(
            &serde_json::json!({
                "file": args.file, "blocks": written.blocks, "bytes": size,
                "left_out": written.left_out, "unreadable": written.unreadable, "problems": found.problems,
            })
            .to_string(),
        )?;
    } else {
        out.note(&format!(
            "{}: {} blocks of metadata in {}",
            args.file.display(),
            written.blocks,
            device::size_text(size)
        ));
    }
    if written.unreadable > 0 {
        out.warn(&format!(
            "{} blocks could not be read: they are zeros in the dump",
            written.unreadable
        ));
        return Ok(Exit::Partial);
    }
    Ok(Exit::Ok)
}

/// What went into a dump.
#[derive(Default)]
struct Written {
    blocks: u64,
    /// Blocks that something takes for metadata and that are none: perhaps contents of files.
    left_out: u64,
    unreadable: u64,
}

fn write(disk: &FileDisk, sb: &Superblock, found: &collect::Found, file: &File) -> Result<Written> {
    let journal = volume::region(sb)?;
    let mut writer = Writer::new(BufWriter::new(file), 0, disk.block_count())?;
    let mut done = Written::default();
    let mut block = [0; BLOCK_SIZE];
    let wanted = found.wanted.iter().filter(|bno| *bno < disk.block_count());
    for bno in wanted {
        if disk.read(bno, &mut block).is_err() {
            done.unreadable += 1;
            continue;
        }
        if block.iter().all(|b| *b == 0) {
            continue;
        }
        // What has neither the right checksum nor says that it is metadata of this place may be anything, also contents
        // of a file that a damaged pointer leads to. As zeros its checksum is wrong all the same.
        let ours = is_fixed(&sb.geometry, bno) || journal.contains(bno) || says_so(bno, &block);
        if !ours && !sealed(sb.csum_seed, bno, &block) {
            done.left_out += 1;
            continue;
        }
        writer.block(bno, &block)?;
        done.blocks += 1;
    }
    let (_, mut to) = writer.finish()?;
    to.flush()?;
    drop(to);
    file.sync_all()?;
    Ok(done)
}

/// Whether a block is metadata by its place: superblocks, headers, summaries, bitmaps.
fn is_fixed(g: &Geometry, bno: u64) -> bool {
    g.group_of(bno).is_some_and(|group| {
        let at = bno - g.group_start(group);
        let first = u64::from(group != 0 && !g.has_super_copy(group));
        (first..g.group_metadata()).contains(&at)
    })
}

/// Whether a block says that it is metadata, and of this place.
fn says_so(bno: u64, block: &[u8; BLOCK_SIZE]) -> bool {
    let body = &block[SEAL_SIZE..];
    let known = matches!(
        le32(body, 0),
        GROUP_MAGIC | BITMAP_MAGIC | INODE_BLOCK_MAGIC | NODE_MAGIC
    );
    body.starts_with(&SUPER_MAGIC) || known && le64(body, 8) == bno
}

/// Makes an image from a dump.
pub fn undump(args: UndumpArgs, out: &Output) -> Result<Exit> {
    let from =
        File::open(&args.file).with_context(|| format!("cannot open {}", args.file.display()))?;
    let name = args.file.display();
    let mut reader =
        Reader::new(BufReader::new(from)).with_context(|| format!("cannot read {name}"))?;
    let image = create(&args.image, args.force)?;
    let mut restore = || -> Result<u64> {
        let len = reader.device_blocks * BLOCK_SIZE as u64;
        image
            .set_len(len)
            .with_context(|| format!("cannot make {}", args.image.display()))?;
        let mut blocks = 0;
        while let Some((first, data)) = reader
            .run()
            .with_context(|| format!("cannot read {name}"))?
        {
            image
                .write_all_at(&data, first * BLOCK_SIZE as u64)
                .with_context(|| format!("cannot write {}", args.image.display()))?;
            blocks += (data.len() / BLOCK_SIZE) as u64;
        }
        image.sync_all()?;
        Ok(blocks)
    };
    // Half of an image would look like a damaged volume.
    let blocks = restore().inspect_err(|_| remove(&args.image))?;
    if out.json() {
        let line = serde_json::json!({ "image": args.image, "blocks": blocks });
        out.line(&line.to_string())?;
    } else {
        let name = args.image.display();
        out.note(&format!(
            "{name}: {blocks} blocks of metadata, no contents of files"
        ));
    }
    Ok(Exit::Ok)
}

/// A new file; with `force` one that exists is written over, if it is a file.
fn create(path: &Path, force: bool) -> Result<File> {
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        bail!("{} is there and no regular file", path.display());
    }
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))
        .hint("--force writes over a file that exists")
}

/// Takes away what was begun; that this fails too adds nothing to the error that there is.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}
