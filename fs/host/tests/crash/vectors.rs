// SPDX-License-Identifier: GPL-2.0

//! Operations on collections and their vectors, in the order in which the module does them.

use crate::model::{Collection, Described, Vector};
use crate::world::{World, NOW};
use kernel::prelude::*;
use std::rc::Rc;
use vexfs::libvexfs::alloc::Mode;
use vexfs::libvexfs::credits;
use vexfs::libvexfs::extent::Mapping;
use vexfs::libvexfs::format::inode::STATE_EMBEDDED;
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::{Trans, BLOCK_SIZE};
use vexfs::libvexfs::orphan;
use vexfs::libvexfs::vector::collection::NewCollection;
use vexfs::libvexfs::vector::index::log::{
    NewIndex, CHECKPOINT_CREDITS, DROP_INDEX_CREDITS, INTENT_CREDITS, TUNE_CREDITS,
};
use vexfs::libvexfs::vector::index::{Marks, Params, State};
use vexfs::libvexfs::vector::record::{Publish, BASE_CREDITS, DROP_CREDITS, PUT_CREDITS};
use vexfs::libvexfs::vector::stale::EMBED_CREDITS;
use vexfs::libvexfs::vector::{Element, Metric, Record};
use vexfs::libvexfs::{Fs, Inode};

const BLOCK: u64 = BLOCK_SIZE as u64;

/// The bytes of a vector.
pub fn bytes_of(tag: u64, stride: u32) -> Vec<u8> {
    let bytes = tag.to_le_bytes().into_iter().cycle();
    bytes.take(stride as usize).collect()
}

impl World<'_> {
    fn some_collection(&mut self) -> Option<u32> {
        let ids: Vec<u32> = self.state.collections.keys().copied().collect();
        match ids.len() as u64 {
            0 => None,
            n => Some(ids[self.below(n) as usize]),
        }
    }

    pub fn create_collection(&mut self) {
        if self.state.collections.len() >= 3 {
            return self.drop_collection();
        }
        let name = format!("collection {}", self.next()).into_bytes();
        let dim = [24, 100, 1026][self.below(3) as usize];
        let (element, metric) = [
            (Element::F32, Metric::L2),
            (Element::F16, Metric::Cosine),
            (Element::Int8, Metric::Ip),
            (Element::Binary, Metric::Hamming),
        ][self.below(4) as usize];
        let mut system = self.inode(self.fs.sb.system_ino);
        let new = NewCollection {
            name: &name,
            model: b"",
            dim,
            element,
            metric,
            uid: 0,
            now: NOW,
        };
        let credits =
            Fs::<vexfs::file_store::FileStore<&vexfs::crash::Recorder>>::CREATE_COLLECTION;
        let Ok((made, inode)) =
            self.run(credits, |fs, t| fs.create_collection(t, &mut system, &new))
        else {
            return;
        };
        let collection = Collection {
            ino: inode.ino,
            generation: inode.generation,
            stride: element.bytes(dim),
            name,
            ..Collection::default()
        };
        let old = self.state.collections.insert(made.id, Rc::new(collection));
        assert!(old.is_none(), "collection {} was there already", made.id);
    }

    fn drop_collection(&mut self) {
        let Some(id) = self.some_collection() else {
            return;
        };
        if self.drop_index(id) {
            return;
        }
        let ino = self.state.collections[&id].ino;
        let (mut system, mut i) = (self.inode(self.fs.sb.system_ino), self.inode(ino));
        let credits = credits::REMOVE + credits::ORPHAN + 2 * credits::INODE;
        let got = self.run(credits, |fs, t| {
            fs.orphan_add(t, &mut i, orphan::DELETE)?;
            i.nlink = 0;
            fs.log_inode(t, &i)?;
            fs.remove_collection(t, &mut system, id)
        });
        got.expect("dropping needs no space that is not kept for it");
        self.state.collections.remove(&id);
        self.state.dropped.insert(ino);
    }

    /// Records for a file, replacing some that have the same keys.
    pub fn put(&mut self) {
        let Some(id) = self.some_collection() else {
            return self.create_collection();
        };
        let Some(owner) =
            self.pick(|_, n| World::is_file(n) && n.links != 0 && n.copies.is_empty())
        else {
            return;
        };
        let Ok(version) = self.mark(owner) else {
            return;
        };
        let node = self.state.node(owner);
        let (size, generation) = (node.size, node.generation);
        let described = Rc::new(Described {
            size,
            blocks: self.contents(owner),
        });
        let mut i = self.inode(owner);
        if self
            .run(EMBED_CREDITS, |fs, t| fs.embed_into(t, &mut i, id, version))
            .is_err()
        {
            return;
        }
        let node = self.state.node_mut(owner);
        node.marked_version = i.marked_version;
        node.data_version = i.data_version;
        assert!(i.state & STATE_EMBEDDED != 0);

        let n = 1 + self.below(24) as usize;
        let (ino, stride) = (
            self.state.collections[&id].ino,
            self.state.collections[&id].stride,
        );
        let mut slots = KVec::new();
        let collection = self.inode(ino);
        self.fs
            .free_slots(&collection, n, &mut slots)
            .expect("there are slots");
        let mut items = Vec::new();
        let mut keys: Vec<u64> = (0..40).collect();
        for slot in &slots {
            let key = keys.swap_remove(self.below(keys.len() as u64) as usize);
            let tag = self.next();
            let bytes = bytes_of(tag, stride);
            if self
                .write_vector(ino, u64::from(*slot) * u64::from(stride), &bytes)
                .is_err()
            {
                return;
            }
            let record = Record {
                key,
                ino: owner,
                generation,
                version,
                crc: vexfs::crc32c::crc32c(!0, &bytes),
                ..Record::default()
            };
            items.push((
                Publish {
                    slot: *slot,
                    record,
                },
                tag,
            ));
        }
        self.publish(id, &items, &described);
    }

    fn publish(&mut self, id: u32, items: &[(Publish, u64)], described: &Rc<Described>) {
        let mut inode = self.inode(self.state.collections[&id].ino);
        let all: Vec<Publish> = items.iter().map(|(p, _)| *p).collect();
        let mut done = 0;
        while done < all.len() {
            let rest = &all[done..];
            let Ok(n) = self.run(BASE_CREDITS + PUT_CREDITS, |fs, t| {
                fs.publish_step(t, &mut inode, rest)
            }) else {
                return;
            };
            let vectors = &mut self.state.collection_mut(id).vectors;
            for (item, tag) in &items[done..done + n] {
                let vector = Vector {
                    slot: item.slot,
                    record: item.record,
                    tag: *tag,
                    described: described.clone(),
                };
                vectors.insert(item.record.key, vector);
            }
            done += n;
            self.look_at_index(id);
        }
    }

    /// Writes bytes of an internal file through to the disk.
    fn write_vector(&mut self, ino: u64, start: u64, bytes: &[u8]) -> Result {
        let end = start + bytes.len() as u64;
        for lblk in start / BLOCK..end.div_ceil(BLOCK) {
            let mut i = self.inode(ino);
            let mut map = self.fs.map(&i, lblk, 1)?;
            if let Mapping::Hole { .. } = map {
                map = self.run(credits::EXTENT_ALLOC, |fs, t| {
                    fs.allocate(t, &mut i, lblk, 1, 0, Mode::Normal)
                })?;
            }
            let mut block = [0; BLOCK_SIZE];
            let (phys, fresh) = match map {
                Mapping::Written { phys, .. } => (phys, false),
                Mapping::Unwritten { phys, .. } => (phys, true),
                map => panic!("{map:?}"),
            };
            if !fresh {
                self.disk.read(phys, &mut block)?;
            }
            let (from, to) = (start.max(lblk * BLOCK), end.min((lblk + 1) * BLOCK));
            block[(from - lblk * BLOCK) as usize..(to - lblk * BLOCK) as usize]
                .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
            self.disk.write(phys, &block)?;
            if fresh || i.size < to {
                self.run(credits::CONVERT + 1, |fs, t| {
                    fs.convert(t, &mut i, lblk, 1)?;
                    i.size = i.size.max(to);
                    fs.log_inode(t, &i)
                })?;
            }
        }
        Ok(())
    }

    /// Removes some records by their keys.
    pub fn delete_vectors(&mut self) {
        let Some(id) = self.some_collection() else {
            return;
        };
        let from = self.below(40);
        let slots: Vec<u32> = self.state.collections[&id]
            .vectors
            .range(from..from + 12)
            .map(|(_, v)| v.slot)
            .collect();
        if slots.is_empty() {
            return;
        }
        let mut i: Inode = self.inode(self.state.collections[&id].ino);
        let n = self
            .run(BASE_CREDITS + DROP_CREDITS, |fs, t| {
                let n = fs.remove_step(t, &mut i, &slots)?;
                assert!(t.dirtied());
                Ok(n)
            })
            .expect("removing needs no space that is not kept for it");
        let vectors = &mut self.state.collection_mut(id).vectors;
        vectors.retain(|_, v| !slots[..n].contains(&v.slot));
        self.look_at_index(id);
    }

    /// Takes what there is of an index, and must be there after a cut, into the model.
    pub fn look_at_index(&mut self, id: u32) {
        let i = self.inode(self.state.collections[&id].ino);
        let mut ops = KVec::new();
        self.fs
            .index_ops(&i, 0, usize::MAX, &mut ops)
            .expect("it can be read");
        let index = self.fs.index(&i).expect("it can be read");
        let collection = self.state.collection_mut(id);
        collection.index = index;
        collection.ops = ops.to_vec();
    }

    /// One of the things that are done with an index, apart from its nodes.
    pub fn index(&mut self) {
        let Some(id) = self.some_collection() else {
            return self.create_collection();
        };
        let known = &self.state.collections[&id];
        let index = known.index.filter(|index| index.state.has_graph());
        let mut i = self.inode(known.ino);
        let Some(index) = index else {
            return self.create_index(id);
        };
        match self.below(8) {
            0 => drop(self.drop_index(id)),
            1..=3 => {
                let (at, n) = (self.below(5000), 1 + self.below(2000));
                // Without space nothing is noted.
                let _ = self.run(INTENT_CREDITS, |fs, t| fs.set_intents(t, &mut i, at, n));
            }
            4 if index.state == State::Building => self
                .run(TUNE_CREDITS, |fs, t| fs.mark_built(t, &mut i))
                .expect("it needs no space"),
            _ => {
                let marks = Marks {
                    applied: index.marks.applied + self.below(index.tail() + 1),
                    ..index.marks
                };
                let clean = self.below(2) == 0;
                for _ in 0..1 + self.below(4) {
                    let done = self.run(CHECKPOINT_CREDITS, |fs, t| {
                        fs.checkpoint_step(t, &mut i, &marks, clean)
                    });
                    self.look_at_index(id);
                    if done.expect("it needs no space") {
                        break;
                    }
                }
            }
        }
        self.look_at_index(id);
    }

    fn create_index(&mut self, id: u32) {
        let system = self.inode(self.fs.sb.system_ino);
        let known = self.fs.collection(&system, id).expect("it can be read");
        let known = known.expect("a collection of the model");
        let mut i = self.inode(known.ino);
        let new = NewIndex {
            automatic: self.below(2) == 0,
            bits: 0,
            params: Params::default(),
            seed: self.next(),
            now: NOW,
        };
        let credits = Fs::<vexfs::file_store::FileStore<&vexfs::crash::Recorder>>::CREATE_INDEX;
        let made = self.run(credits, |fs, t| fs.create_index(t, &known, &mut i, &new));
        if made.is_ok() {
            self.look_at_index(id);
        }
    }

    /// Drops the index of a collection; false if there is none.
    fn drop_index(&mut self, id: u32) -> bool {
        let known = &self.state.collections[&id];
        let Some(index) = known.index.filter(|index| index.state.has_graph()) else {
            return false;
        };
        let (mut i, mut nodes) = (self.inode(known.ino), self.inode(index.ino));
        self.run(DROP_INDEX_CREDITS, |fs, t| {
            fs.drop_index(t, &mut i, Some(&mut nodes), State::Wanted)
        })
        .expect("dropping needs no space that is not kept for it");
        self.state.dropped.insert(index.ino);
        self.look_at_index(id);
        true
    }
}
