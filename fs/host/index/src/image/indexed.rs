// SPDX-License-Identifier: GPL-2.0

//! A collection in an image with its index: build, changes, searches, checkpoints, recovery.

use super::{Image, ImagePages};
use crate::Kernels;
use kernel::prelude::*;
use std::collections::VecDeque;
use vexfs::libvexfs::credits;
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::vector::index::log::{
    NewIndex, CHECKPOINT_CREDITS, DROP_INDEX_CREDITS, INTENT_SHIFT, TUNE_CREDITS,
};
use vexfs::libvexfs::vector::index::verify::Report;
use vexfs::libvexfs::vector::index::{
    Action, Arithmetic, Driver, Found, Index, Op, Params, Query, Scratch, Shape, Source, State,
};
use vexfs::libvexfs::vector::Collection;
use vexfs::libvexfs::{Fs, Inode, Time};

/// Slots of a step of the build.
const STEP: u32 = 256;
/// Steps of the build between two checkpoints.
const CHECKPOINT_STEPS: u32 = 64;
/// Records that are read at a time.
const READ: usize = 4096;

/// What a search came to.
#[derive(Debug, Default)]
pub struct Answer {
    /// Slots and the keys of their distances, best first.
    pub hits: Vec<(u32, u32)>,
    /// What the walk through the graph looked at.
    pub found: Found,
    /// Units of pages that were read from the image.
    pub reads: u64,
    /// Records that are not in the graph yet and were looked at one by one.
    pub tail: usize,
}

/// What a recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Operations that were done, some of them again.
    pub ops: usize,
    /// MiBs that were scrubbed.
    pub scrubbed: u32,
    /// Nodes that were taken out, and records that were put in.
    pub removed: u32,
    /// Records that had no node.
    pub inserted: u32,
    /// Nodes that a search did not come to.
    pub attached: u32,
}

/// A collection and its index.
pub struct Indexed<'a, D: Disk> {
    image: &'a Image<D>,
    /// The collection.
    pub collection: Collection,
    /// The graph.
    pub driver: Driver<ImagePages<'a, D>, Kernels>,
    /// The collection's inode as it was when records changed last.
    inode: Inode,
    /// The sequence of the record in each slot; 0: none.
    live: Vec<u32>,
    /// Operations that the graph is still to see.
    tail: VecDeque<(u64, Op)>,
    /// Sequence of the next operation.
    next: u64,
    query: Query,
    scratch: Scratch,
}

impl<'a, D: Disk> Indexed<'a, D> {
    /// Makes an index; [`Indexed::build`] fills it.
    ///
    /// # Errors
    ///
    /// As [`Fs::create_index`]; `EINVAL` if the metric has no graph.
    pub fn create(
        image: &'a Image<D>,
        collection: &Collection,
        params: Params,
        seed: u64,
    ) -> Result<Self> {
        let mut inode = image.fs.read_inode(collection.ino)?;
        let new = NewIndex {
            automatic: false,
            bits: 0,
            params,
            seed,
            now: Time::now(),
        };
        let credits = Fs::<vexfs::file_store::FileStore<D>>::CREATE_INDEX;
        image.change(credits, |fs, t| {
            fs.create_index(t, collection, &mut inode, &new)
        })?;
        Self::open(image, collection)
    }

    /// Opens an index with room for twice the slots that there are, and some.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none, and what the disk returns.
    pub fn open(image: &'a Image<D>, collection: &Collection) -> Result<Self> {
        let inode = image.fs.read_inode(collection.ino)?;
        let slots = image.fs.vector_counts(&inode)?.next;
        Self::with_room(image, collection, slots.saturating_mul(2).max(1 << 20))
    }

    /// Opens an index with room for so many slots.
    ///
    /// # Errors
    ///
    /// As [`Indexed::open`].
    pub fn with_room(image: &'a Image<D>, collection: &Collection, slots: u32) -> Result<Self> {
        let inode = image.fs.read_inode(collection.ino)?;
        let index = image.fs.index(&inode)?.ok_or(ENOENT)?;
        if !index.state.has_graph() {
            return Err(ENOENT);
        }
        let shape = index.shape(collection);
        let pages = ImagePages::new(image, collection, &shape, index.ino, slots)?;
        let kernels = Kernels::new(&shape, index.seed)?;
        let mut this = Indexed {
            image,
            collection: *collection,
            driver: Driver::new(pages, kernels, shape, &index)?,
            inode,
            live: Vec::new(),
            tail: VecDeque::new(),
            next: index.marks.applied,
            query: Query::new(&shape)?,
            scratch: Scratch::new(&shape)?,
        };
        let mut records = KVec::new();
        let mut from = 0;
        loop {
            records.clear();
            let fs = &image.fs;
            fs.records_from(&this.inode, from, READ, &mut records)?;
            let Some((last, _)) = records.last() else {
                break;
            };
            from = last + 1;
            this.live.resize(from as usize, 0);
            for (slot, record) in &records {
                this.live[*slot as usize] = record.sequence;
            }
        }
        this.refresh()?;
        Ok(this)
    }

    /// What the records say of the index.
    ///
    /// # Errors
    ///
    /// What the disk returns.
    pub fn index(&self) -> Result<Index> {
        let inode = self.image.fs.read_inode(self.collection.ino)?;
        self.image.fs.index(&inode)?.ok_or(ENOENT)
    }

    fn shape(&self) -> &Shape {
        &self.driver.graph.shape
    }

    /// Learns what happened to the records.
    fn refresh(&mut self) -> Result {
        self.inode = self.image.fs.read_inode(self.collection.ino)?;
        let mut ops = KVec::new();
        let fs = &self.image.fs;
        fs.index_ops(&self.inode, self.next, usize::MAX, &mut ops)?;
        for (sequence, op) in &ops {
            let slot = op.slot as usize;
            if self.live.len() <= slot {
                self.live.resize(slot + 1, 0);
            }
            let now = fs.record(&self.inode, op.slot)?;
            self.live[slot] = now.map_or(0, |record| record.sequence);
            self.tail.push_back((*sequence, *op));
            self.next = sequence + 1;
        }
        Ok(())
    }

    /// [`Image::put`]; a search finds them from now on.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn put(&mut self, items: &[(u64, &[u8])]) -> Result {
        let done = self.image.put(&self.collection, items);
        self.refresh()?;
        done
    }

    /// [`Image::delete`]; no search finds them from now on.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn delete(&mut self, keys: &[u64]) -> Result<usize> {
        let done = self.image.delete(&self.collection, keys);
        self.refresh()?;
        done
    }

    fn records(&self) -> Records<'a, D> {
        Records {
            image: self.image,
            inode: self.inode.clone(),
            collection: self.collection,
        }
    }

    /// Operations that the graph is still to see.
    pub fn tail(&self) -> usize {
        self.tail.len()
    }

    /// Does some of the operations that there are; returns how many.
    ///
    /// # Errors
    ///
    /// What the graph returns; those before are done.
    pub fn catch_up(&mut self, most: usize) -> Result<usize> {
        let records = self.records();
        let mut source = records.source(&self.live);
        let mut done = 0;
        while let Some((sequence, op)) = self.tail.front().filter(|_| done < most) {
            self.driver.apply(&mut source, *sequence, op)?;
            self.tail.pop_front();
            done += 1;
        }
        Ok(done)
    }

    /// One step of the build, with the operations that came meanwhile. True: it is through, and
    /// searches may use the graph.
    ///
    /// # Errors
    ///
    /// What the graph and the disk return.
    pub fn build_step(&mut self, room: u32) -> Result<bool> {
        self.catch_up(usize::MAX)?;
        if self.index()?.state != State::Building {
            return Ok(true);
        }
        let records = self.records();
        let through = {
            let mut source = records.source(&self.live);
            let through = self.driver.build_step(&mut source, room)?;
            if through {
                self.driver.choose_entries()?;
                self.driver.reattach(&mut source)?;
            }
            through
        };
        if through {
            self.checkpoint()?;
            let mut inode = self.image.fs.read_inode(self.collection.ino)?;
            self.image
                .change(TUNE_CREDITS, |fs, t| fs.mark_built(t, &mut inode))?;
        }
        Ok(through)
    }

    /// One step of refining. True: it is through.
    ///
    /// # Errors
    ///
    /// What the graph returns.
    pub fn refine_step(&mut self, room: u32) -> Result<bool> {
        let records = self.records();
        let mut source = records.source(&self.live);
        self.driver.refine_step(&mut source, room)
    }

    /// Builds, refines and writes all of it; `progress` is told how far of how much it is.
    ///
    /// # Errors
    ///
    /// What the graph and the disk return: it goes on where the last checkpoint was.
    pub fn build(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result {
        let total = 2 * self.live.len() as u64;
        let mut steps = 0;
        while !self.build_step(STEP)? {
            steps += 1;
            if steps % CHECKPOINT_STEPS == 0 {
                self.checkpoint()?;
            }
            progress(u64::from(self.driver.marks().built), total);
        }
        while !self.refine_step(STEP)? {
            let refined = u64::from(self.driver.marks().refined);
            progress(total / 2 + refined, total);
        }
        let records = self.records();
        let mut source = records.source(&self.live);
        self.driver.reattach(&mut source)?;
        self.checkpoint()
    }

    /// Writes all nodes, then notes how far they are.
    ///
    /// # Errors
    ///
    /// What the disk returns: nothing is noted then.
    pub fn checkpoint(&mut self) -> Result {
        let pages = &self.driver.graph.pages;
        pages.write_back(|_| true)?;
        self.image.commit()?;
        self.image.fs.store.disk().flush()?;
        let clean = pages.intents().borrow().is_clean();
        pages.intents().borrow_mut().checkpoint();
        let marks = self.driver.marks();
        let mut inode = self.image.fs.read_inode(self.collection.ino)?;
        while !self.image.change(CHECKPOINT_CREDITS, |fs, t| {
            fs.checkpoint_step(t, &mut inode, &marks, clean)
        })? {}
        self.inode = inode;
        self.image.commit()
    }

    /// What a mount does in the background: operations that were lost with the memory, and what a
    /// crash may have torn.
    ///
    /// # Errors
    ///
    /// What the graph and the disk return: it is to be done again.
    pub fn recover(&mut self) -> Result<Recovered> {
        let mut done = Recovered {
            ops: self.catch_up(usize::MAX)?,
            ..Recovered::default()
        };
        if self.driver.graph.pages.intents().borrow().is_clean() {
            return Ok(done);
        }
        let records = self.records();
        let mut source = records.source(&self.live);
        let mut from = 0;
        loop {
            let mib = self.driver.graph.pages.intents().borrow().to_scrub(from);
            let Some(mib) = mib.filter(|mib| *mib << INTENT_SHIFT < self.bytes()) else {
                break;
            };
            from = mib + 1;
            let slots = self
                .shape()
                .slots_at(mib << INTENT_SHIFT, (mib + 1) << INTENT_SHIFT);
            let end = self.driver.graph.pages.slots();
            let slots = slots.start.min(end)..slots.end.min(end);
            let scrubbed = self.driver.scrub_step(&mut source, slots)?;
            done.scrubbed += 1;
            done.removed += scrubbed.removed;
            done.inserted += scrubbed.inserted;
        }
        done.attached = self.driver.reattach(&mut source)?;
        self.driver.graph.pages.intents().borrow_mut().scrubbed();
        self.checkpoint()?;
        Ok(done)
    }

    /// Bytes up to where nodes may be.
    pub fn bytes(&self) -> u64 {
        let slots = self.driver.graph.end.max(self.live.len() as u32);
        self.shape().offset(slots) + self.shape().stored() as u64
    }

    /// Looks at all records and nodes.
    ///
    /// # Errors
    ///
    /// What the disk returns.
    pub fn verify(&self) -> Result<Report> {
        let records = self.records();
        let mut source = records.source(&self.live);
        let view = self.driver.graph.view();
        let waiting = |slot| self.tail.iter().any(|(_, op)| op.slot == slot);
        view.verify(&mut source, waiting)
    }

    /// The `k` nearest to a vector, f32 in little endian: from the graph, which keeps `ef` candidates
    /// on the way, and from the records that are not in it yet.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a vector that a search does not take; what the disk returns.
    pub fn search(&mut self, vector: &[u8], ef: usize, k: usize) -> Result<Answer> {
        let records = self.records();
        let Indexed {
            driver,
            live,
            tail,
            query,
            scratch,
            ..
        } = self;
        let graph = &driver.graph;
        let before = graph.pages.reads();
        graph.arithmetic.prepare(vector, &mut query.prepared)?;
        query.finish(&graph.arithmetic);
        let lives = |slot: u32, generation: u32| live.get(slot as usize) == Some(&generation);
        let found = graph.search(query, ef, k, scratch, |slot, generation| {
            Ok(lives(slot, generation))
        })?;
        let mut hits: Vec<(u32, u32)> = scratch.found().map(|(key, slot)| (slot, key)).collect();
        let mut looked = 0;
        let mut source = records.source(live);
        let mut stored = vec![0; graph.shape.vector()];
        let mut row = vec![0; graph.shape.prepared()];
        for (_, op) in tail.iter() {
            let new = op.action == Action::Insert && lives(op.slot, op.generation);
            if new && source.vector(op.slot, &mut stored)?.is_some() {
                let scale = graph.arithmetic.scale(&stored);
                graph.arithmetic.unpack(&stored, scale, &mut row);
                let key = graph.arithmetic.distance(&query.prepared, &row) & !1;
                if hits.iter().all(|hit| hit.0 != op.slot) {
                    hits.push((op.slot, key));
                }
                looked += 1;
            }
        }
        hits.sort_by_key(|hit| (hit.1, hit.0));
        hits.truncate(k);
        Ok(Answer {
            hits,
            found,
            reads: graph.pages.reads() - before,
            tail: looked,
        })
    }

    /// The `k` nearest of all records: what a search is compared with.
    ///
    /// # Errors
    ///
    /// As [`Indexed::search`].
    pub fn exact(&mut self, vector: &[u8], k: usize) -> Result<Vec<(u32, u32)>> {
        let records = self.records();
        let arithmetic = &self.driver.graph.arithmetic;
        arithmetic.prepare(vector, &mut self.query.prepared)?;
        let mut source = records.source(&self.live);
        let mut stored = vec![0; self.driver.graph.shape.vector()];
        let mut row = vec![0; self.driver.graph.shape.prepared()];
        let mut hits = Vec::new();
        for slot in 0..self.live.len() as u32 {
            if source.vector(slot, &mut stored)?.is_some() {
                let scale = arithmetic.scale(&stored);
                arithmetic.unpack(&stored, scale, &mut row);
                hits.push((slot, arithmetic.distance(&self.query.prepared, &row)));
            }
        }
        hits.sort_by_key(|hit| (hit.1, hit.0));
        hits.truncate(k);
        Ok(hits)
    }

    /// Drops the index.
    ///
    /// # Errors
    ///
    /// What the disk returns.
    pub fn drop_index(self) -> Result {
        let fs = &self.image.fs;
        let mut inode = fs.read_inode(self.collection.ino)?;
        let mut nodes = fs.read_inode(self.index()?.ino)?;
        self.image.change(DROP_INDEX_CREDITS, |fs, t| {
            fs.drop_index(t, &mut inode, Some(&mut nodes), State::None)
        })?;
        let marks = self.driver.marks();
        while !self.image.change(CHECKPOINT_CREDITS, |fs, t| {
            fs.checkpoint_step(t, &mut inode, &marks, true)
        })? {}
        while !self
            .image
            .change(credits::REAP_STEP, |fs, t| fs.reap_step(t, &mut nodes))?
        {}
        self.image.commit()
    }
}

/// Where records are read.
struct Records<'a, D: Disk> {
    image: &'a Image<D>,
    inode: Inode,
    collection: Collection,
}

impl<D: Disk> Records<'_, D> {
    fn source<'b>(&'b self, live: &'b [u32]) -> RecordSource<'b, D> {
        RecordSource {
            records: self,
            live,
        }
    }
}

struct RecordSource<'b, D: Disk> {
    records: &'b Records<'b, D>,
    live: &'b [u32],
}

impl<D: Disk> Source for RecordSource<'_, D> {
    fn vector(&mut self, slot: u32, to: &mut [u8]) -> Result<Option<u32>> {
        let sequence = self.sequence(slot)?;
        if sequence.is_some() {
            let offset = self.records.collection.offset(slot);
            self.records.image.read(&self.records.inode, offset, to)?;
        }
        Ok(sequence)
    }

    fn sequence(&mut self, slot: u32) -> Result<Option<u32>> {
        let sequence = self.live.get(slot as usize).copied();
        Ok(sequence.filter(|sequence| *sequence != 0))
    }

    fn next(&mut self, from: u32) -> Result<Option<u32>> {
        let rest = self.live.get(from as usize..).unwrap_or(&[]);
        let at = rest.iter().position(|sequence| *sequence != 0);
        Ok(at.map(|at| from + at as u32))
    }

    fn pause(&mut self) -> Result {
        Ok(())
    }
}
