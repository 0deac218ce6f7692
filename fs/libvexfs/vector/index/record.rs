// SPDX-License-Identifier: GPL-2.0

//! What a collection's records say of its index: where it is, how far it got, what it has still to do.

use super::bound::NORM_MAX;
use super::node::Shape;
use super::Params;
use crate::libvexfs::errno::euclean;
use crate::libvexfs::format::{le16, le32, le64, put, put16, put32, put64};
use crate::libvexfs::vector::{Collection, MAX_SLOTS};
use core::ops::Deref;
use kernel::prelude::*;

/// Slots at most where a search may begin.
pub const ENTRIES_MAX: usize = 16;
/// Points at most of the table of measured recall.
pub const RECALL_MAX: usize = 8;
/// Bytes of the value of an index.
pub const INDEX_LEN: usize = 176;
/// Bytes of the value of an operation.
pub const OP_LEN: usize = 12;

const ENTRIES: usize = 80;
const RECALL: usize = ENTRIES + 4 * ENTRIES_MAX;
const _: () = assert!(RECALL + 4 * RECALL_MAX == INDEX_LEN);

/// The largest number of candidates that a parameter may say.
const EF_LIMIT: usize = 4096;

/// Slots where a search begins: the first of them that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    slots: [u32; ENTRIES_MAX],
    len: usize,
}

impl Entries {
    /// None.
    pub const fn new() -> Entries {
        Entries {
            slots: [0; ENTRIES_MAX],
            len: 0,
        }
    }

    /// Adds a slot. False if there is no room, or it is there already.
    pub fn push(&mut self, slot: u32) -> bool {
        if self.contains(&slot) {
            return false;
        }
        let Some(place) = self.slots.get_mut(self.len) else {
            return false;
        };
        *place = slot;
        self.len += 1;
        true
    }

    /// Puts another slot into the place of one, or takes that one out.
    pub fn replace(&mut self, slot: u32, other: Option<u32>) {
        let Some(at) = self.iter().position(|entry| *entry == slot) else {
            return;
        };
        let other = other.filter(|other| !self.contains(other));
        match (other, self.slots.get_mut(at)) {
            (Some(other), Some(place)) => *place = other,
            _ => {
                let len = self.len;
                if let Some(rest) = self.slots.get_mut(at..len) {
                    rest.rotate_left(1);
                }
                self.len -= 1;
            }
        }
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl Deref for Entries {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        self.slots.get(..self.len).unwrap_or(&[])
    }
}

/// What there is of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// None: it was dropped.
    None = 0,
    /// None, but there is to be one: it was damaged, or is to be made anew.
    Wanted = 1,
    /// Not all of the records that there were when it was made are in the graph.
    Building = 2,
    /// All records are in the graph or among the operations.
    Ready = 3,
}

impl State {
    /// Whether there is a graph, and operations are logged for it.
    pub fn has_graph(self) -> bool {
        matches!(self, State::Building | State::Ready)
    }

    fn from_raw(raw: u8) -> Option<State> {
        match raw {
            0 => Some(State::None),
            1 => Some(State::Wanted),
            2 => Some(State::Building),
            3 => Some(State::Ready),
            _ => None,
        }
    }
}

/// How far the graph on the medium got. A checkpoint writes it when all pages are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// All operations below this sequence are in the graph.
    pub applied: u64,
    /// All live slots below this were looked at by the build.
    pub built: u32,
    /// How many slots were looked at to refine their nodes. What changes takes some off.
    pub refined: u32,
    /// The slot at which refining goes on.
    pub cursor: u32,
    /// No node has a slot as high as this.
    pub end: u32,
    /// What `end` was when the entries were chosen.
    pub chosen: u32,
    /// How long vectors are at most, for inner products: what [`super::Bound`] keeps.
    pub bound: u32,
    /// Where searches begin.
    pub entries: Entries,
}

/// A point of the table of recall: what a number of candidates came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recall {
    /// Candidates; 0: no point.
    pub ef: u16,
    /// Share of the ten nearest that was found, of 10,000.
    pub share: u16,
}

/// The index of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// What there is of it.
    pub state: State,
    /// It was made because the collection got large, not because somebody asked for it.
    pub automatic: bool,
    /// Bits of a code for each dimension.
    pub bits: u8,
    /// Counts the builds of this collection.
    pub build: u32,
    /// What the rotation and the checksums begin with.
    pub seed: u64,
    /// The inode that has the nodes; 0 without a graph.
    pub ino: u64,
    /// That inode's generation.
    pub generation: u32,
    /// How the graph is made.
    pub params: Params,
    /// Candidates of a search that does not say how many; 0: the default.
    pub ef: u16,
    /// Sequence of the next operation. Never goes back, not even when the index is dropped.
    pub next: u64,
    /// How far the graph got. Operations from [`Marks::applied`] on are still to be done.
    pub marks: Marks,
    /// Recall that was measured.
    pub recall: [Recall; RECALL_MAX],
}

impl Params {
    /// Whether a graph can be made like this.
    pub fn valid(&self) -> bool {
        let some = |n: usize| (1..=EF_LIMIT).contains(&n);
        some(self.ef)
            && some(self.pool)
            && some(self.ef_remove)
            && (1000..=4000).contains(&self.alpha)
    }
}

impl Index {
    /// One of a collection that never had any.
    pub fn none() -> Index {
        Index {
            state: State::None,
            automatic: false,
            bits: 0,
            build: 0,
            seed: 0,
            ino: 0,
            generation: 0,
            params: Params::default(),
            ef: 0,
            next: 1,
            marks: Marks {
                applied: 1,
                ..Marks::default()
            },
            recall: [Recall::default(); RECALL_MAX],
        }
    }

    /// As it is when its nodes are gone and nothing waits for it.
    pub fn without_graph(self, state: State) -> Index {
        Index {
            state,
            ino: 0,
            generation: 0,
            marks: Marks {
                applied: self.next,
                ..Marks::default()
            },
            ..self
        }
    }

    /// What the nodes look like.
    pub fn shape(&self, collection: &Collection) -> Shape {
        let Collection {
            id,
            dim,
            element,
            metric,
            ..
        } = *collection;
        let seed = self.seed as u32;
        Shape::new(id, self.build, seed, dim, element, metric).with_bits(self.bits.into())
    }

    /// Operations that are still to be done.
    pub fn tail(&self) -> u64 {
        self.next.saturating_sub(self.marks.applied)
    }

    /// Writes its value.
    pub fn format(&self) -> [u8; INDEX_LEN] {
        let mut b = [0; INDEX_LEN];
        let Marks { entries, .. } = &self.marks;
        let kinds = [
            self.state as u8,
            self.automatic.into(),
            self.bits,
            entries.len() as u8,
        ];
        put(&mut b, 0, &kinds);
        put32(&mut b, 4, self.build);
        put64(&mut b, 8, self.seed);
        put64(&mut b, 16, self.ino);
        put32(&mut b, 24, self.generation);
        put32(&mut b, 28, self.params.alpha);
        put16(&mut b, 32, self.params.ef as u16);
        put16(&mut b, 34, self.params.pool as u16);
        put16(&mut b, 36, self.params.ef_remove as u16);
        put16(&mut b, 38, self.ef);
        put64(&mut b, 40, self.marks.applied);
        put64(&mut b, 48, self.next);
        put32(&mut b, 56, self.marks.built);
        put32(&mut b, 60, self.marks.refined);
        put32(&mut b, 64, self.marks.end);
        put32(&mut b, 68, self.marks.chosen);
        put32(&mut b, 72, self.marks.cursor);
        put32(&mut b, 76, self.marks.bound);
        for (i, slot) in entries.iter().enumerate() {
            put32(&mut b, ENTRIES + 4 * i, *slot);
        }
        for (i, point) in self.recall.iter().enumerate() {
            put16(&mut b, RECALL + 4 * i, point.ef);
            put16(&mut b, RECALL + 4 * i + 2, point.share);
        }
        b
    }

    /// Reads its value.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it is none.
    pub fn parse(b: &[u8]) -> Result<Index> {
        let b: &[u8; INDEX_LEN] = b.try_into().map_err(|_| euclean())?;
        let mut entries = Entries::new();
        for i in 0..usize::from(b[3]) {
            if i >= ENTRIES_MAX || !entries.push(le32(b, ENTRIES + 4 * i)) {
                return Err(euclean());
            }
        }
        let recall = core::array::from_fn(|i| Recall {
            ef: le16(b, RECALL + 4 * i),
            share: le16(b, RECALL + 4 * i + 2),
        });
        let index = Index {
            state: State::from_raw(b[0]).ok_or_else(euclean)?,
            automatic: b[1] == 1,
            bits: b[2],
            build: le32(b, 4),
            seed: le64(b, 8),
            ino: le64(b, 16),
            generation: le32(b, 24),
            params: Params {
                alpha: le32(b, 28),
                ef: le16(b, 32).into(),
                pool: le16(b, 34).into(),
                ef_remove: le16(b, 36).into(),
            },
            ef: le16(b, 38),
            next: le64(b, 48),
            marks: Marks {
                applied: le64(b, 40),
                built: le32(b, 56),
                refined: le32(b, 60),
                cursor: le32(b, 72),
                end: le32(b, 64),
                chosen: le32(b, 68),
                bound: le32(b, 76),
                entries,
            },
            recall,
        };
        let graph = index.state.has_graph();
        let possible = b[1] <= 1
            && graph == (index.ino != 0)
            && (!graph || (1..=2).contains(&index.bits))
            && index.params.valid()
            && index.marks_fit();
        if !possible {
            return Err(euclean());
        }
        Ok(index)
    }

    /// Writes the sequence of the next operation into a value.
    pub(super) fn set_next(b: &mut [u8], next: u64) {
        put64(b, 48, next);
    }

    fn marks_fit(&self) -> bool {
        let Marks {
            applied,
            built,
            refined,
            cursor,
            end,
            chosen,
            bound,
            entries,
        } = &self.marks;
        (1..=self.next).contains(applied)
            && *end <= MAX_SLOTS
            && *built <= MAX_SLOTS
            && refined <= end
            && cursor <= end
            && chosen <= end
            && *bound <= NORM_MAX
            && entries.iter().all(|slot| slot < end)
    }
}

/// What is to be done with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A record was published: its vector is to be put in.
    Insert = 1,
    /// A record went: its node is to be taken out.
    Remove = 2,
}

/// An operation that the graph is still to see, or has seen since the last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// The slot.
    pub slot: u32,
    /// The sequence of the record in it: the node's generation.
    pub generation: u32,
    /// What is to be done.
    pub action: Action,
}

impl Op {
    /// Writes its value.
    pub fn format(&self) -> [u8; OP_LEN] {
        let mut b = [0; OP_LEN];
        put32(&mut b, 0, self.slot);
        put32(&mut b, 4, self.generation);
        put32(&mut b, 8, self.action as u32);
        b
    }

    /// Reads its value.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it is none.
    pub fn parse(b: &[u8]) -> Result<Op> {
        let action = match le32(b, 8) {
            1 => Action::Insert,
            2 => Action::Remove,
            _ => return Err(euclean()),
        };
        let op = Op {
            slot: le32(b, 0),
            generation: le32(b, 4),
            action,
        };
        if b.len() != OP_LEN || op.slot >= MAX_SLOTS {
            return Err(euclean());
        }
        Ok(op)
    }
}
