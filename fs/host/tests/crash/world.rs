// SPDX-License-Identifier: GPL-2.0

//! A file system over a recording disk, the model of it, and what each commit promised.

use crate::model::{Cells, Node, Place, State};
use kernel::prelude::*;
use std::collections::BTreeMap;
use std::rc::Rc;
use vexfs::crash::{Random, Recorder};
use vexfs::file_store::{FileStore, FileTrans};
use vexfs::libvexfs::credits;
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::{Store, Trans};
use vexfs::libvexfs::{Fs, Inode, Time};
use vexfs::volume;

pub type Trans1<'a> = FileTrans<&'a Recorder>;

pub const NOW: Time = Time {
    sec: 1_700_000_000,
    nsec: 5,
};

/// What a commit made durable.
pub struct Promise {
    /// Operations recorded before it began: a cut before this cannot show it.
    pub begun: usize,
    /// Operations recorded when it was done: from this cut on it, or a later one, must be there.
    pub done: usize,
    pub state: State,
}

/// Data that were written to blocks which are not yet known to be written.
#[derive(Clone, Debug)]
pub struct Pending {
    pub ino: u64,
    pub lblk: u64,
    /// Cells of the blocks from `lblk` on.
    pub cells: Vec<usize>,
}

/// Everything.
pub struct World<'a> {
    pub fs: Fs<FileStore<&'a Recorder>>,
    pub disk: &'a Recorder,
    pub random: Random,
    pub state: State,
    pub promises: Vec<Promise>,
    pub cells: Cells,
    pub pending: Vec<Pending>,
    /// Counts names, tags and keys.
    pub count: u64,
    committed: u32,
}

impl<'a> World<'a> {
    /// Mounts what is on the disk, of which `state` is known.
    pub fn mount(disk: &'a Recorder, state: State, cells: Cells, seed: u64) -> World<'a> {
        let fs = volume::open(disk).expect("it was opened before");
        let committed = fs.store.committed();
        let promise = Promise {
            begun: 0,
            done: 0,
            state: state.clone(),
        };
        let mut world = World {
            fs,
            disk,
            random: Random::new(seed),
            state,
            promises: vec![promise],
            cells,
            pending: Vec::new(),
            count: seed << 32,
            committed,
        };
        world
            .run(credits::SUPERBLOCK, |fs, t| {
                fs.update_superblock(t, |sb| sb.mount_count = sb.mount_count.wrapping_add(1))
            })
            .expect("the superblock can be changed");
        world
    }

    /// One transaction. Without space it is tried again when freed blocks may be used. What it changes in the model is
    /// up to the caller, after this: commits before it do not have that yet.
    pub fn run<R>(
        &mut self,
        credits: usize,
        mut f: impl FnMut(&Fs<FileStore<&'a Recorder>>, &mut Trans1<'a>) -> Result<R>,
    ) -> Result<R> {
        for again in [true, false] {
            let before = self.disk.len();
            let mut t = self.fs.store.begin(credits)?;
            self.note_commit(before);
            match f(&self.fs, &mut t) {
                Ok(r) => {
                    t.stop()?;
                    return Ok(r);
                }
                Err(e) => {
                    assert!(!t.dirtied(), "{e:?} in the middle of a change");
                    drop(t);
                    let before = self.disk.len();
                    let settled = e == ENOSPC && again && self.fs.settle()?;
                    self.note_commit(before);
                    if !settled {
                        return Err(e);
                    }
                }
            }
        }
        Err(ENOSPC)
    }

    /// If something was committed since operation `begun`, it was the state as it is.
    fn note_commit(&mut self, begun: usize) {
        let committed = self.fs.store.committed();
        if committed != self.committed {
            self.committed = committed;
            self.promises.push(Promise {
                begun,
                done: self.disk.len(),
                state: self.state.clone(),
            });
        }
    }

    /// Makes everything durable.
    pub fn commit(&mut self) {
        let (before, committed) = (self.disk.len(), self.committed);
        self.fs.store.commit().expect("the journal takes it");
        self.note_commit(before);
        if self.committed == committed {
            // There was nothing to commit, but data may be in the disk's cache.
            self.disk.flush().expect("it is memory");
        }
    }

    /// Makes the volume larger, little if it is to stay full.
    pub fn grow(&mut self) {
        let most = if self.fs.available_blocks() < 2 * crate::sweep::LEFT {
            200
        } else {
            6000
        };
        let more = self.below(most);
        let blocks = self.fs.geometry().block_count + more;
        let to = self
            .fs
            .grown(blocks.min(self.disk.block_count()))
            .expect("the journal is long enough");
        let credits = self.fs.grow_credits(&to);
        while !self
            .run(credits, |fs, t| fs.grow_step(t, &to))
            .expect("it is memory")
        {}
    }

    /// Unmounts.
    pub fn close(&mut self) {
        self.commit();
        volume::close(&self.fs).expect("it is memory");
    }

    pub fn inode(&self, ino: u64) -> Inode {
        self.fs.read_inode(ino).expect("an inode of the model")
    }

    pub fn root(&self) -> u64 {
        self.fs.sb.root_ino
    }

    /// A number that was not used before.
    pub fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.random.below(n)
    }

    /// Any inode that the filter likes.
    pub fn pick(&mut self, filter: impl Fn(u64, &Node) -> bool) -> Option<u64> {
        let all: Vec<u64> = self
            .state
            .nodes
            .iter()
            .filter(|(ino, node)| !node.kept && filter(**ino, node))
            .map(|(ino, _)| *ino)
            .collect();
        match all.len() as u64 {
            0 => None,
            n => Some(all[self.below(n) as usize]),
        }
    }

    /// Puts a new inode into the model.
    pub fn add_node(&mut self, made: &Inode, node: Node) {
        let node = Node {
            generation: made.generation,
            mode: made.mode,
            data_version: made.data_version,
            marked_version: made.marked_version,
            ..node
        };
        let old = self.state.nodes.insert(made.ino, Rc::new(node));
        assert!(old.is_none(), "inode {} was given away twice", made.ino);
    }

    /// What a file's blocks hold now.
    pub fn contents(&self, ino: u64) -> BTreeMap<u64, crate::model::Content> {
        let node = self.state.node(ino);
        let content = |place: &Place| match place {
            Place::Cell(cell) => self.cells.now(*cell),
            Place::Offline(_, content) => *content,
        };
        let blocks = node.blocks.iter();
        blocks
            .map(|(lblk, place)| (*lblk, content(place)))
            .collect()
    }
}
