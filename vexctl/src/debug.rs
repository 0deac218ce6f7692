// SPDX-License-Identifier: GPL-2.0
//! `vexctl debug`: shows any structure of a volume, damaged or not. Nothing is written.

mod block;
mod image;
mod journal;
mod records;
mod show;
mod structures;
mod tree;

use crate::exit::Exit;
use crate::output::Output;
use anyhow::Result;
use clap::Subcommand;
use image::Image;
use show::Map;
use std::path::PathBuf;
use vexfs::libvexfs::tree::{KIND_ATTR, KIND_CHUNK, KIND_DATA, KIND_ORPHAN};

const AFTER_HELP: &str = "\
INODE is the number of an inode, or a path from the root of the volume, such as /docs/a.txt.

Exit status:
  0  shown
  1  what was asked for cannot be read
  3  shown, but something in it cannot be read or is wrong: the messages say what (with --json, \"problems\")
  4  the path is not there";

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Show blocks as they are in place, not as the journal will make them
    #[arg(long)]
    no_replay: bool,
    /// Go by the superblock in this block (see superblock --all)
    #[arg(long, value_name = "BLOCK")]
    superblock: Option<u64>,
    /// The device or image
    image: PathBuf,
    #[command(subcommand)]
    what: What,
}

/// What to show.
#[derive(Subcommand)]
enum What {
    /// The superblock
    Superblock {
        /// All copies of it, too
        #[arg(long)]
        all: bool,
    },
    /// All groups, a line for each
    Groups,
    /// A group: header, regions, inode chunks, orphans
    Group {
        /// Its number
        number: u32,
    },
    /// An inode
    Inode {
        /// Number or path
        inode: String,
    },
    /// The extents of a file
    Extents {
        /// Number or path
        inode: String,
    },
    /// The entries of a directory
    Dir {
        /// Number or path
        inode: String,
    },
    /// Names, extended attributes and all other records of an inode
    Attributes {
        /// Number or path
        inode: String,
    },
    /// The nodes of a tree
    Tree {
        /// Number or path of the inode; for --chunks and --orphans the number of the group
        owner: String,
        /// The tree of attributes, not that of data
        #[arg(long, group = "kind")]
        attributes: bool,
        /// The tree of a group's inode chunks
        #[arg(long, group = "kind")]
        chunks: bool,
        /// The tree of a group's orphans
        #[arg(long, group = "kind")]
        orphans: bool,
    },
    /// A block, whatever it holds
    Block {
        /// Its number
        number: u64,
    },
    /// The journal: its superblock and the transactions in it
    Journal {
        /// Each block of each transaction, too
        #[arg(long)]
        blocks: bool,
    },
}

/// Shows what is asked for.
pub fn run(args: Args, out: &Output) -> Result<Exit> {
    // What the file system would tell the kernel's log is told here as problems.
    kernel::print::set_level(0);
    let image = Image::open(&args.image, args.superblock, !args.no_replay)?;
    let shown = show(&image, args.what);
    let problems = image.problems();
    if !out.json() || shown.is_err() {
        for problem in &problems {
            out.warn(problem);
        }
    }
    let mut map = shown?;
    let exit = if problems.is_empty() {
        Exit::Ok
    } else {
        Exit::Partial
    };
    if out.json() {
        map.put("problems", problems);
    }
    out.result(&map, Map::text)?;
    Ok(exit)
}

fn show(image: &Image, what: What) -> Result<Map> {
    match what {
        What::Superblock { all } => structures::superblocks(image, all),
        What::Groups => structures::groups(image),
        What::Group { number } => structures::group(image, number),
        What::Inode { inode } => structures::inode(image, tree::find(image, &inode)?),
        What::Extents { inode } => tree::extents(image, tree::find(image, &inode)?),
        What::Dir { inode } => tree::directory(image, tree::find(image, &inode)?),
        What::Attributes { inode } => tree::attributes(image, tree::find(image, &inode)?),
        What::Tree {
            owner,
            attributes,
            chunks,
            orphans,
        } => {
            if chunks || orphans {
                let group = owner
                    .parse()
                    .map_err(|_| crate::error::usage(format!("'{owner}' is no group's number")))?;
                let header = structures::group_header(image, group)?;
                let kind = if chunks { KIND_CHUNK } else { KIND_ORPHAN };
                return tree::nodes(image, structures::group_root(&header, kind));
            }
            let inode = structures::used_inode(image, tree::find(image, &owner)?)?;
            let kind = if attributes { KIND_ATTR } else { KIND_DATA };
            tree::nodes(image, tree::tree_of(&inode, kind)?)
        }
        What::Block { number } => block::block(image, number),
        What::Journal { blocks } => journal::journal(image, blocks),
    }
}
