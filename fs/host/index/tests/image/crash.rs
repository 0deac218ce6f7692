// SPDX-License-Identifier: GPL-2.0

//! Power cuts during builds, insertions, removals and checkpoints.
//!
//! Records and graph change over a disk that remembers every write and flush; some dirty pages are
//! written between checkpoints, as memory pressure would have it. Then the power goes after some of
//! these writes: with everything arrived, or with any part of what was written since the last flush,
//! torn at 512 bytes. What is left is mounted: fsck must find nothing, every record must have a vector
//! that it had when it was last durable or later, exact search must find it, and when the graph was put
//! right, it must be in order, and its recall what it was.
//!
//! `VEXFS_SEED` is the first seed, `VEXFS_INDEX_CRASH_POINTS` how many cuts there are at least.

use crate::world::{disk, point, problems};
use std::collections::BTreeMap;
use vexfs::crash::{setting, Random, Recorder};
use vexfs::disk::MemoryDisk;
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::vector::index::{Arithmetic, Params};
use vexfs::libvexfs::vector::{Collection, Element, Metric};
use vexfs_index::encode;
use vexfs_index::image::{Image, Indexed};
use vexfs_simd::vexfs_simd_decode;

const CLUSTERS: u64 = 15;
const QUERIES: usize = 24;
/// Lives of a file system: each begins with what a cut left of the one before.
const LIVES: usize = 3;
/// Cuts of each life, of two kinds each.
const CUTS: usize = 60;
/// Candidates of a search.
const EF: usize = 128;

/// What a file system's collection is like.
#[derive(Clone, Copy)]
struct Kind {
    dim: u32,
    element: Element,
    metric: Metric,
}

const fn kind(dim: u32, element: Element, metric: Metric) -> Kind {
    Kind {
        dim,
        element,
        metric,
    }
}

/// Small nodes that share a page, nodes of one page, nodes of two; all types.
const KINDS: [Kind; 9] = [
    kind(320, Element::F32, Metric::L2),
    kind(24, Element::F32, Metric::L2),
    kind(200, Element::Binary, Metric::Hamming),
    kind(500, Element::F32, Metric::L2),
    kind(24, Element::Int8, Metric::L2),
    kind(40, Element::F16, Metric::Cosine),
    kind(300, Element::Int8, Metric::Cosine),
    kind(60, Element::F32, Metric::Ip),
    kind(120, Element::Int8, Metric::Ip),
];

impl Kind {
    fn of(collection: &Collection) -> Kind {
        kind(collection.dim, collection.element, collection.metric)
    }

    /// A vector that such a collection takes, as a caller gives it.
    fn point(&self, random: &mut Random) -> Vec<u8> {
        let mut point = point(random, self.dim, CLUSTERS);
        for bytes in point.chunks_exact_mut(4) {
            let x = f32::from_le_bytes(bytes.try_into().unwrap());
            let x = match self.element {
                Element::F32 | Element::F16 => x,
                Element::Int8 => (x * 20.0).round().clamp(-128.0, 127.0),
                Element::Binary => (x > 0.0) as u8 as f32,
            };
            bytes.copy_from_slice(&x.to_le_bytes());
        }
        point
    }

    /// The same as it is stored.
    fn stored(&self, vector: &[u8]) -> Vec<u8> {
        let mut stored = vec![0; self.element.bytes(self.dim) as usize];
        encode(vector, self.element, self.metric, &mut stored).unwrap();
        stored
    }

    /// And as a caller gets it back.
    fn wide(&self, stored: &[u8]) -> Vec<u8> {
        let mut wide = vec![0f32; self.dim as usize];
        let (element, to) = (self.element as u32, wide.as_mut_ptr());
        // SAFETY: A stored vector of this type; room for as many numbers.
        unsafe { vexfs_simd_decode(stored.as_ptr(), self.dim, element, to) };
        wide.iter().flat_map(|x| x.to_le_bytes()).collect()
    }
}

/// What a key had, and from which operation of the disk on it may be seen.
type History = BTreeMap<u64, Vec<(usize, Option<Vec<u8>>)>>;

/// Operations of the disk when a commit was done, and how much of the history it had.
type Commits = Vec<(usize, BTreeMap<u64, usize>)>;

struct Life<'a> {
    image: &'a Image<&'a Recorder>,
    disk: &'a Recorder,
    index: Indexed<'a, &'a Recorder>,
    history: History,
    commits: Commits,
    random: Random,
    kind: Kind,
}

impl Life<'_> {
    fn note(&mut self, key: u64, begun: usize, value: Option<Vec<u8>>) {
        self.history.entry(key).or_default().push((begun, value));
    }

    fn committed(&mut self) {
        let had = self.history.iter().map(|(k, h)| (*k, h.len())).collect();
        self.commits.push((self.disk.len(), had));
    }

    fn put(&mut self) {
        let n = 1 + self.random.below(16);
        let items: BTreeMap<u64, Vec<u8>> = (0..n)
            .map(|_| {
                let key = self.random.below(420);
                (key, self.kind.point(&mut self.random))
            })
            .collect();
        let begun = self.disk.len();
        let list: Vec<(u64, &[u8])> = items.iter().map(|(k, v)| (*k, &v[..])).collect();
        self.index.put(&list).unwrap();
        for (key, vector) in items {
            let stored = self.kind.stored(&vector);
            self.note(key, begun, Some(stored));
        }
    }

    fn delete(&mut self) {
        let first = self.random.below(420);
        let keys: Vec<u64> = (first..first + 1 + self.random.below(10)).collect();
        let begun = self.disk.len();
        self.index.delete(&keys).unwrap();
        for key in keys {
            if self.history.contains_key(&key) {
                self.note(key, begun, None);
            }
        }
    }

    fn step(&mut self) {
        match self.random.below(16) {
            0..=4 => self.put(),
            5..=7 => self.delete(),
            8..=9 => {
                let most = self.random.below(40) as usize;
                self.index.catch_up(most).unwrap();
            }
            10..=11 => drop(self.index.build_step(40).unwrap()),
            12 => drop(self.index.refine_step(20).unwrap()),
            13 => {
                let random = &mut self.random;
                let pages = &self.index.driver.graph.pages;
                pages.write_back(|_| random.below(4) == 0).unwrap();
            }
            14 => {
                self.image.commit().unwrap();
                self.committed();
            }
            _ => {
                self.index.checkpoint().unwrap();
                self.committed();
            }
        }
    }
}

/// What the records that were found say: key to vector.
type State = BTreeMap<u64, Vec<u8>>;

/// Reads all records, with their vectors.
fn state<D: Disk>(image: &Image<D>, collection: &Collection) -> State {
    let inode = image.fs.read_inode(collection.ino).unwrap();
    let mut records = kernel::alloc::KVec::new();
    image
        .fs
        .records_from(&inode, 0, usize::MAX, &mut records)
        .unwrap();
    let mut found = State::new();
    for (slot, record) in &records {
        let mut bytes = vec![0; collection.stride() as usize];
        image
            .read(&inode, collection.offset(*slot), &mut bytes)
            .unwrap();
        assert_eq!(
            vexfs::crc32c::crc32c(!0, &bytes),
            record.crc,
            "slot {slot} has another vector than its record says"
        );
        found.insert(record.key, bytes);
    }
    found
}

/// Whether what a cut left is possible; `at` and `flushed` are operations of the disk.
fn compare(found: &State, history: &History, commits: &Commits, at: usize) {
    let durable = commits.iter().rev().find(|c| c.0 <= at);
    for (key, had) in history {
        let from = durable.and_then(|d| d.1.get(key)).copied().unwrap_or(0);
        // What it had then, or anything that came after it and before the cut.
        let first = from.saturating_sub(1);
        let possible = |value: Option<&Vec<u8>>| {
            let later = had[first..].iter().filter(|h| h.0 <= at);
            (from == 0 && value.is_none()) || later.into_iter().any(|h| h.1.as_ref() == value)
        };
        assert!(
            possible(found.get(key)),
            "key {key} has what it cannot have: {} of {} values were durable",
            from,
            had.len()
        );
    }
    assert!(found.keys().all(|key| history.contains_key(key)));
}

/// The share of the ten nearest records that searches find, and that exact search finds records.
fn recall<D: Disk>(
    image: &Image<D>,
    index: &mut Indexed<'_, D>,
    found: &State,
    queries: &[Vec<u8>],
) -> f64 {
    let shape = index.driver.graph.shape;
    let (mut hits, mut wanted) = (0, 0);
    let slots: Vec<(u32, &Vec<u8>)> = found
        .iter()
        .map(|(key, vector)| {
            (
                image.slot(&index.collection, *key).unwrap().unwrap(),
                vector,
            )
        })
        .collect();
    for query in queries {
        let answer = index.search(query, EF, 10).unwrap().hits;
        let arithmetic = &index.driver.graph.arithmetic;
        let mut prepared = vec![0; shape.prepared()];
        arithmetic.prepare(query, &mut prepared).unwrap();
        let mut row = vec![0; shape.prepared()];
        let mut all: Vec<(u32, u32)> = slots
            .iter()
            .map(|(slot, stored)| {
                arithmetic.unpack(stored, arithmetic.scale(stored), &mut row);
                (arithmetic.distance(&prepared, &row), *slot)
            })
            .collect();
        all.sort_unstable();
        all.truncate(10);
        wanted += all.len();
        // Of those that are equally far any is right.
        let far = all.last().map_or(0, |a| a.0);
        hits += answer
            .iter()
            .filter(|h| {
                let stored = slots.iter().find(|s| s.0 == h.0).unwrap().1;
                arithmetic.unpack(stored, arithmetic.scale(stored), &mut row);
                arithmetic.distance(&prepared, &row) <= far
            })
            .count();
    }
    hits as f64 / wanted.max(1) as f64
}

/// Mounts what a cut left and puts it right.
fn crash(
    left: &MemoryDisk,
    life: (&History, &Commits),
    at: usize,
    queries: &[Vec<u8>],
    random: &mut Random,
) -> Option<State> {
    let image = Image::open(left).unwrap();
    let wrong = problems(&image.fs);
    assert!(wrong.is_empty(), "fsck: {wrong:#?}");
    let collection = image.collection(b"c").unwrap();
    let found = state(&image, &collection);
    compare(&found, life.0, life.1, at);
    // The index may not be there yet.
    let mut index = match Indexed::with_room(&image, &collection, 4096) {
        Ok(index) => index,
        Err(e) => {
            assert_eq!(e, kernel::prelude::ENOENT);
            return None;
        }
    };
    for (key, vector) in found.iter().filter(|_| random.below(60) == 0) {
        let slot = image.slot(&collection, *key).unwrap();
        let wide = Kind::of(&collection).wide(vector);
        let hit = index.exact(&wide, 1).unwrap();
        assert_eq!(hit.first().map(|h| h.0), slot, "key {key} by exact search");
    }
    index.recover().unwrap();
    while !index.build_step(1000).unwrap() {}
    let report = index.verify().unwrap();
    assert!(
        report.is_clean() && report.nodes as usize == found.len(),
        "{report:?}, {} records",
        found.len()
    );
    while !index.refine_step(1000).unwrap() {}
    let share = recall(&image, &mut index, &found, queries);
    if share < 0.995 {
        // As good as one that never saw a cut, then.
        index.drop_index().unwrap();
        index = Indexed::create(&image, &collection, params(), 5).unwrap();
        index.build(&mut |_, _| ()).unwrap();
        let whole = recall(&image, &mut index, &found, queries);
        assert!(share >= whole - 0.005, "recall {share}, built anew {whole}");
    }
    assert_eq!(index.tail(), 0);
    if random.below(8) == 0 {
        index.checkpoint().unwrap();
        let wrong = problems(&image.fs);
        assert!(wrong.is_empty(), "fsck after recovery: {wrong:#?}");
    }
    Some(found)
}

fn params() -> Params {
    Params {
        ef: 96,
        pool: 64,
        ef_remove: 96,
        ..Params::default()
    }
}

/// Runs one seed; returns how many cuts it had.
fn run(seed: u64) -> usize {
    let mut random = Random::new(seed);
    let kind = KINDS[seed as usize % KINDS.len()];
    let Kind {
        dim,
        element,
        metric,
    } = kind;
    let queries: Vec<Vec<u8>> = (0..QUERIES).map(|_| kind.point(&mut random)).collect();
    let mut begin = disk(1 << 14);
    {
        let image = Image::open(&begin).unwrap();
        let made = image.create_collection(b"c", dim, element, metric).unwrap();
        for n in 0..10 {
            let some: Vec<Vec<u8>> = (0..30).map(|_| kind.point(&mut random)).collect();
            let items: Vec<(u64, &[u8])> = (30 * n..).zip(some.iter().map(|v| &v[..])).collect();
            image.put(&made, &items).unwrap();
        }
        image.close().unwrap();
    }
    let mut points = 0;
    for number in 0..LIVES {
        let recorder = Recorder::new(begin.clone());
        let image = Image::open(&recorder).unwrap();
        let collection = image.collection(b"c").unwrap();
        let history = state(&image, &collection)
            .into_iter()
            .map(|(k, v)| (k, vec![(0, Some(v))]))
            .collect();
        let index = match Indexed::with_room(&image, &collection, 4096) {
            Ok(index) => index,
            Err(_) => Indexed::create(&image, &collection, params(), seed).unwrap(),
        };
        let mut life = Life {
            image: &image,
            disk: &recorder,
            index,
            history,
            commits: Vec::new(),
            random: Random::new(random.number()),
            kind,
        };
        let had = life.history.keys().map(|k| (*k, 1)).collect();
        life.commits.push((0, had));
        // What a mount does; the power may go here as well.
        life.index.recover().unwrap();
        life.committed();
        for _ in 0..70 {
            life.step();
        }
        let Life {
            history, commits, ..
        } = life;
        let total = recorder.len();
        let next = total / 2 + random.below(total as u64 / 2) as usize;
        let mut wanted: Vec<usize> = (0..CUTS)
            .map(|_| random.below(total as u64 + 1) as usize)
            .collect();
        wanted.push(next);
        wanted.sort_unstable();
        let mut cuts = recorder.cuts();
        for at in wanted {
            while cuts.at() < at && cuts.advance() {}
            for (kind, left) in [cuts.in_order(), cuts.scrambled(&mut random)]
                .into_iter()
                .enumerate()
            {
                let kept = left.clone();
                let mut again = Random::new(random.number());
                let life = (&history, &commits);
                let done = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
                    crash(&left, life, at, &queries, &mut again)
                }));
                assert!(
                    done.is_ok(),
                    "seed {seed}, life {number}: cut {} after operation {at} of {total}",
                    ["in order", "with the cache in part"][kind]
                );
                points += 1;
                if kind == 1 && at == next {
                    begin = kept;
                }
            }
        }
    }
    points
}

#[test]
fn every_cut_leaves_an_index_that_can_be_put_right() {
    let first = setting("VEXFS_SEED", 1);
    let wanted = setting("VEXFS_INDEX_CRASH_POINTS", 200) as usize;
    let (mut points, mut seed) = (0, first);
    while points < wanted {
        points += run(seed);
        seed += 1;
    }
    println!("{points} cuts, seeds {first} to {}", seed - 1);
}
