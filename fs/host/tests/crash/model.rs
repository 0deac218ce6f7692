// SPDX-License-Identifier: GPL-2.0

//! What there should be. The model knows nothing of blocks on disk, trees or the journal: it is what the operations say
//! of themselves. It changes with each transaction, so that its state at a commit is what that commit promised.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use vexfs::crash::SECTOR;
use vexfs::libvexfs::journal::BLOCK_SIZE;
use vexfs::libvexfs::vector::index::{Index, Op};
use vexfs::libvexfs::vector::Record;

/// Sectors of a block.
pub const SECTORS: usize = BLOCK_SIZE / SECTOR;

/// What a block of a file holds: a tag for each sector, which stands in all of its words.
pub type Content = [u64; SECTORS];

/// A block that reads as zeros.
pub const ZEROS: Content = [0; SECTORS];

/// What is at a block of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On disk; what it holds is in [`Cells`] under this number.
    Cell(usize),
    /// In the copies of this version, at the block of the same number, with these bytes.
    Offline(u64, Content),
}

/// An inode.
#[derive(Clone, Debug, Default)]
pub struct Node {
    pub generation: u32,
    pub mode: u16,
    /// Names, unless it is a directory.
    pub links: u32,
    /// Of a directory.
    pub entries: BTreeMap<Vec<u8>, u64>,
    /// Of a symbolic link.
    pub target: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub size: u64,
    pub blocks: BTreeMap<u64, Place>,
    /// Its orphan record.
    pub orphan: Option<u8>,
    pub data_version: u64,
    pub marked_version: u64,
    /// The version that each copy is of.
    pub copies: BTreeMap<u8, u64>,
    /// Its size is set, but blocks behind it may be left.
    pub cutting: bool,
    /// Nothing is done to it.
    pub kept: bool,
    /// Taken apart so far that only the orphan record is certain.
    pub reaped: bool,
}

impl Node {
    /// Blocks that the size covers.
    pub fn end(&self) -> u64 {
        self.size.div_ceil(BLOCK_SIZE as u64)
    }
}

/// What a record described when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub size: u64,
    pub blocks: BTreeMap<u64, Content>,
}

/// A record of a collection.
#[derive(Clone, Debug)]
pub struct Vector {
    pub slot: u32,
    pub record: Record,
    /// The tag that its bytes repeat.
    pub tag: u64,
    pub described: Rc<Described>,
}

/// A collection.
#[derive(Clone, Debug, Default)]
pub struct Collection {
    pub ino: u64,
    pub generation: u32,
    /// Bytes of a vector.
    pub stride: u32,
    pub name: Vec<u8>,
    pub vectors: BTreeMap<u64, Vector>,
    /// What the records say of its index.
    pub index: Option<Index>,
    /// The operations that are listed.
    pub ops: Vec<(u64, Op)>,
}

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub nodes: BTreeMap<u64, Rc<Node>>,
    pub collections: BTreeMap<u32, Rc<Collection>>,
    /// Internal inodes of collections that were dropped.
    pub dropped: BTreeSet<u64>,
}

impl State {
    pub fn node(&self, ino: u64) -> &Node {
        &self.nodes[&ino]
    }

    pub fn node_mut(&mut self, ino: u64) -> &mut Node {
        Rc::make_mut(self.nodes.get_mut(&ino).expect("a node of the model"))
    }

    pub fn collection_mut(&mut self, id: u32) -> &mut Collection {
        Rc::make_mut(self.collections.get_mut(&id).expect("a collection"))
    }

    /// Whether directory `ino` is `above` or lies below it.
    pub fn is_below(&self, ino: u64, above: u64) -> bool {
        let within = |dir: &Node| dir.entries.values().any(|child| self.is_below(ino, *child));
        ino == above || self.nodes.get(&above).is_some_and(|n| within(n))
    }

    /// Links of a node, as the disk counts them.
    pub fn links(&self, node: &Node, is_root: bool) -> u32 {
        if !is_dir(node.mode) {
            return node.links;
        }
        let dirs = |n: &&u64| is_dir(self.node(**n).mode);
        match node.links != 0 || is_root {
            true => 2 + node.entries.values().filter(dirs).count() as u32,
            false => 0,
        }
    }
}

pub fn is_dir(mode: u16) -> bool {
    mode & 0o170_000 == 0o040_000
}

pub fn is_reg(mode: u16) -> bool {
    mode & 0o170_000 == 0o100_000
}

/// What was written to each block of each file, and when: data are no part of transactions.
#[derive(Default)]
pub struct Cells(Vec<Vec<(usize, Content)>>);

impl Cells {
    /// A block that held `content` when operation `at` was done.
    pub fn add(&mut self, at: usize, content: Content) -> usize {
        self.0.push(vec![(at, content)]);
        self.0.len() - 1
    }

    /// The block was written again.
    pub fn write(&mut self, cell: usize, at: usize, content: Content) {
        self.0[cell].push((at, content));
    }

    /// What it holds while the power is on.
    pub fn now(&self, cell: usize) -> Content {
        self.0[cell].last().expect("cells begin with something").1
    }

    /// All that it held, and since when.
    pub fn history(&self, cell: usize) -> &[(usize, Content)] {
        &self.0[cell]
    }

    /// Whether it may hold `found` after a cut: what the last flush covered, or in each sector something newer.
    pub fn allows(&self, cell: usize, found: &Content, flushed: usize, cut: usize) -> bool {
        let history = &self.0[cell];
        let durable = history.iter().rposition(|(at, _)| *at <= flushed);
        let may: Vec<_> = history[durable.unwrap_or(0)..]
            .iter()
            .take_while(|(at, _)| *at <= cut)
            .collect();
        durable.is_some()
            && (0..SECTORS).all(|n| may.iter().any(|(_, content)| content[n] == found[n]))
    }
}
