// SPDX-License-Identifier: GPL-2.0

//! Allocation groups in memory.

use crate::libvexfs::alloc::bitmap;
use crate::libvexfs::alloc::busy::Busy;
use crate::libvexfs::credits::blocks;
use crate::libvexfs::damaged;
use crate::libvexfs::errno::euclean;
use crate::libvexfs::format::geometry::{Geometry, REGION_BLOCKS};
use crate::libvexfs::format::group::{format_bitmap_header, GroupHeader, ROOT_LEN, SUMMARY_INIT};
use crate::libvexfs::format::put32;
use crate::libvexfs::journal::{Block, BlockMut, Store, Trans};
use crate::libvexfs::tree::{self, Blocks, Owner, Root, RootMut, KIND_CHUNK, KIND_ORPHAN};
use crate::libvexfs::{Fs, Inode};
use crate::sync::{Mutex, SetOnce};
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::prelude::*;

/// A group.
pub struct Group {
    pub(crate) core: Mutex<GroupCore>,
    /// Free blocks, for a look from outside of the lock.
    pub(crate) free: AtomicU64,
}

/// What a group's lock protects: the header, and by ownership every summary, bitmap and
/// tree block of the group.
pub(crate) struct GroupCore {
    pub(crate) header: GroupHeader,
    /// Freed, but not committed.
    pub(crate) busy: Busy,
    /// Blocks set aside for metadata: region and how many. Few at a time.
    pub(crate) held: KVec<(u32, u32)>,
    /// Where the last allocation of data ended: the next one goes on from there.
    pub(crate) cursor: u64,
    /// A chunk that was kept though none of its inodes is in use.
    pub(crate) spare_chunk: Option<u64>,
}

impl Group {
    pub(crate) fn new(g: &Geometry, header: GroupHeader) -> Result<Self> {
        let free = AtomicU64::new(header.free_blocks);
        let core = GroupCore {
            busy: Busy::new(),
            held: KVec::new(),
            cursor: g.group_start(header.group),
            spare_chunk: None,
            header,
        };
        Ok(Group {
            core: Mutex::new(core)?,
            free,
        })
    }
}

/// All groups, by number. More may come, none goes: so whoever looks needs no lock.
///
/// Chunk *i* has room for 2^*i* groups: those from 2^*i* - 1 on.
pub(crate) struct Groups(KVec<SetOnce<KVVec<SetOnce<Group>>>>);

impl Groups {
    const CHUNKS: usize = 32;

    /// None so far.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let mut chunks = KVec::with_capacity(Self::CHUNKS, GFP_KERNEL)?;
        for _ in 0..Self::CHUNKS {
            chunks.push(SetOnce::new(), GFP_KERNEL)?;
        }
        Ok(Groups(chunks))
    }

    /// The chunk of a group, and its index there.
    fn place(number: u32) -> (usize, usize) {
        let n = u64::from(number) + 1;
        let chunk = n.ilog2();
        (chunk as usize, (n - (1 << chunk)) as usize)
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Group> {
        let (chunk, index) = Self::place(number);
        self.0.get(chunk)?.as_ref()?.get(index)?.as_ref()
    }

    /// Makes room for group `number`. One caller at a time.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn reserve(&self, number: u32) -> Result {
        let (chunk, _) = Self::place(number);
        let slot = self.0.get(chunk).ok_or_else(euclean)?;
        if slot.as_ref().is_none() {
            let room = 1 << chunk;
            let mut groups = KVVec::with_capacity(room, GFP_KERNEL)?;
            for _ in 0..room {
                groups.push(SetOnce::new(), GFP_KERNEL)?;
            }
            slot.populate(groups);
        }
        Ok(())
    }

    /// Adds group `number`. One caller at a time.
    ///
    /// # Errors
    ///
    /// `ENOMEM` unless there is room for it; `EUCLEAN` if it is there.
    pub(crate) fn add(&self, number: u32, group: Group) -> Result {
        self.reserve(number)?;
        let (chunk, index) = Self::place(number);
        let place = self
            .0
            .get(chunk)
            .and_then(|groups| groups.as_ref()?.get(index));
        match place {
            Some(place) if place.populate(group) => Ok(()),
            _ => Err(euclean()),
        }
    }
}

/// Which tree of a group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupTree {
    Chunks,
    Orphans,
}

impl GroupCore {
    fn owner(&self, which: GroupTree) -> Owner {
        let kind = match which {
            GroupTree::Chunks => KIND_CHUNK,
            GroupTree::Orphans => KIND_ORPHAN,
        };
        Owner {
            id: self.header.group.into(),
            generation: 0,
            kind,
            home: self.header.bno,
        }
    }

    /// A tree of the group, to be read.
    pub(crate) fn root(&self, which: GroupTree) -> Root<'_> {
        let bytes = match which {
            GroupTree::Chunks => &self.header.chunk_root,
            GroupTree::Orphans => &self.header.orphan_root,
        };
        Root {
            bytes,
            owner: self.owner(which),
        }
    }

    /// Blocks set aside in a region.
    pub(crate) fn held_in(&self, region: u32) -> u32 {
        self.held
            .iter()
            .filter(|(r, _)| *r == region)
            .map(|(_, n)| *n)
            .sum()
    }
}

/// What [`create_group`] dirties: header, summaries, and a bitmap for each region that is not all
/// free.
pub(crate) fn create_credits(g: &Geometry, extra: u64) -> usize {
    let taken = g.group_metadata() + extra;
    (g.summary_blocks() + taken / REGION_BLOCKS) as usize + 4
}

/// Makes a group on disk: header, summaries, and the bitmaps of the regions in which
/// the group's own metadata and `extra` blocks behind it lie. The superblock copy is the
/// caller's. Dirties the header, the summary blocks and those bitmaps.
///
/// # Errors
///
/// What storage returns.
pub fn create_group<S: Store>(
    t: &mut S::Trans,
    g: &Geometry,
    group: u32,
    extra: u64,
) -> Result<GroupHeader> {
    let taken = g.group_metadata().checked_add(extra).ok_or(EINVAL)?;
    if taken > g.group_len(group) {
        return Err(EINVAL);
    }
    let bno = g.header(group);
    let mut header = GroupHeader {
        group,
        bno,
        free_blocks: g.group_len(group) - taken,
        free_inodes: 0,
        dirs: 0,
        chunks: 0,
        chunk_blocks: 0,
        orphan_blocks: 0,
        chunk_root: [0; ROOT_LEN],
        orphan_root: [0; ROOT_LEN],
    };
    tree::init_root(&mut header.chunk_root);
    tree::init_root(&mut header.orphan_root);
    header.format(&mut t.create(bno)?.data_mut());

    let mut summary: Option<<S::Trans as Trans>::BlockMut> = None;
    for region in 0..g.regions(group) {
        let start = g.region_start(group, region) - g.group_start(group);
        let len = g.region_len(group, region) as u32;
        let used = taken.saturating_sub(start).min(len.into()) as u32;
        let mut entry = len - used;
        if used != 0 {
            let bitmap_bno = g.bitmap(group, region);
            let mut block = t.create(bitmap_bno)?;
            init_bitmap(&mut block.data_mut(), group, bitmap_bno, region, len);
            bitmap::fill(&mut block.data_mut(), 0, used, true);
            entry |= SUMMARY_INIT;
        }
        let (summary_bno, at) = g.summary(group, region);
        match &mut summary {
            Some(block) if block.bno() == summary_bno => {}
            other => *other = Some(t.create(summary_bno)?),
        }
        if let Some(block) = &mut summary {
            put32(&mut block.data_mut(), at, entry);
        }
    }
    Ok(header)
}

/// Writes an empty bitmap; bits behind the region's end are set.
pub(crate) fn init_bitmap(body: &mut [u8], group: u32, bno: u64, region: u32, len: u32) {
    format_bitmap_header(body, group, bno, region);
    bitmap::fill(body, len, 64 * bitmap::WORDS as u32 - len, true);
}

/// Tree nodes for a group's own trees come from the group itself, whose lock is held.
pub(crate) struct OwnBlocks<'a, S: Store> {
    fs: &'a Fs<S>,
    core: &'a mut GroupCore,
    left: usize,
}

impl<S: Store> Blocks<S> for OwnBlocks<'_, S> {
    fn left(&self) -> usize {
        self.left
    }

    fn take(&mut self, t: &mut S::Trans) -> Result<u64> {
        let left = self.left.checked_sub(1).ok_or(ENOSPC)?;
        let bno = self.fs.take_in_group(t, self.core, None)?;
        self.left = left;
        Ok(bno)
    }

    fn give(&mut self, t: &mut S::Trans, bno: u64) -> Result {
        t.forget(bno)?;
        self.fs.free_in_group(t, self.core, bno, 1)
    }
}

impl<S: Store> Fs<S> {
    pub(crate) fn load_groups(&mut self) -> Result {
        const AHEAD: u32 = 64;
        let g = self.geometry();
        let count = g.group_count;
        let (mut free, mut free_inodes, mut chunks) = (0, 0, 0);
        for group in 0..count {
            if group % AHEAD == 0 {
                let next = group..count.min(group + AHEAD);
                self.store.readahead(next.map(|group| g.header(group)));
            }
            let bno = g.header(group);
            let block = self.store.read(bno)?;
            let header = GroupHeader::parse(&block.data(), group, bno)
                .map_err(|_| damaged(0, bno, "not the header of its group"))?;
            let most = g.group_len(group) - g.group_metadata();
            if header.free_blocks > most || header.chunks > most {
                return Err(damaged(0, bno, "a group with more free blocks than blocks"));
            }
            free += header.free_blocks;
            free_inodes += header.free_inodes;
            chunks += header.chunks;
            self.groups.add(group, Group::new(&g, header)?)?;
        }
        self.counters.free = AtomicU64::new(free);
        self.counters.free_inodes = AtomicU64::new(free_inodes);
        self.counters.chunks = AtomicU64::new(chunks);
        Ok(())
    }

    /// A group, by number.
    pub(crate) fn group(&self, group: u32) -> Result<&Group> {
        self.groups.get(group).ok_or_else(euclean)
    }

    /// The number of groups.
    pub fn group_count(&self) -> u32 {
        self.geometry().group_count
    }

    /// Writes a group's counts to its header block, or all of it.
    pub(crate) fn log_group(&self, t: &mut S::Trans, core: &GroupCore, roots: bool) -> Result {
        let mut block = t.modify(core.header.bno)?;
        let mut data = block.data_mut();
        if roots {
            core.header.format(&mut data);
        } else {
            core.header.format_counts(&mut data);
        }
        Ok(())
    }

    /// Inserts a record in a group's tree, or replaces its value by one of the same length.
    /// Fails with `ENOSPC`, before anything is dirtied, if the group has no room for nodes.
    pub(crate) fn group_tree_set(
        &self,
        t: &mut S::Trans,
        core: &mut GroupCore,
        which: GroupTree,
        key: u128,
        value: &[u8],
        replace: bool,
    ) -> Result {
        self.settle_group(core);
        let owner = core.owner(which);
        let mut header = GroupRoot::take(core, which);
        let root = RootMut {
            bytes: &mut header.bytes,
            blocks: &mut header.blocks,
            owner,
        };
        let left = self.free_for_metadata(core).min(blocks::INSERT as u64) as usize;
        let mut own = OwnBlocks {
            fs: self,
            core,
            left,
        };
        tree::insert(t, &mut own, root, key, value, replace)?;
        header.put_back(core, which);
        self.log_group(t, core, true)
    }

    /// Removes a record from a group's tree.
    pub(crate) fn group_tree_remove(
        &self,
        t: &mut S::Trans,
        core: &mut GroupCore,
        which: GroupTree,
        key: u128,
    ) -> Result {
        let owner = core.owner(which);
        let mut header = GroupRoot::take(core, which);
        let root = RootMut {
            bytes: &mut header.bytes,
            blocks: &mut header.blocks,
            owner,
        };
        let mut own = OwnBlocks {
            fs: self,
            core,
            left: 0,
        };
        tree::remove(t, &mut own, root, key)?;
        header.put_back(core, which);
        self.log_group(t, core, true)
    }

    /// The group in which an inode lies.
    pub(crate) fn group_of_ino(&self, ino: u64) -> Result<u32> {
        self.geometry().group_of(ino >> 3).ok_or_else(euclean)
    }

    /// Puts an inode into the orphan tree of its group, with a state byte that means something
    /// to the caller (replaced if it is there already). Credits:
    /// [`credits::ORPHAN`](crate::libvexfs::credits::ORPHAN).
    ///
    /// # Errors
    ///
    /// `ENOSPC`, with nothing dirtied.
    pub fn orphan_record_set(&self, t: &mut S::Trans, ino: u64, state: u8) -> Result {
        let group = self.group(self.group_of_ino(ino)?)?;
        let mut core = group.core.lock();
        let known = tree::lookup(
            &self.store,
            core.root(GroupTree::Orphans),
            ino.into(),
            |v| v.len() == 1,
        )?;
        match known {
            Some(false) => Err(damaged(
                ino,
                core.header.bno,
                "an orphan record of wrong size",
            )),
            known => {
                let replace = known.is_some();
                let which = GroupTree::Orphans;
                self.group_tree_set(t, &mut core, which, ino.into(), &[state], replace)
            }
        }
    }

    /// Takes an inode out of the orphan tree of its group.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not there.
    pub fn orphan_record_remove(&self, t: &mut S::Trans, ino: u64) -> Result {
        let group = self.group(self.group_of_ino(ino)?)?;
        let mut core = group.core.lock();
        self.group_tree_remove(t, &mut core, GroupTree::Orphans, ino.into())
    }

    /// The first orphan of `group` whose number is at least `from`, and its state.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`.
    pub fn orphan_record_next(&self, group: u32, from: u64) -> Result<Option<(u64, u8)>> {
        let group = self.group(group)?;
        let core = group.core.lock();
        let found = tree::next(
            &self.store,
            core.root(GroupTree::Orphans),
            from.into(),
            |key, v| (u64::try_from(key), v.first().copied()),
        )?;
        match found {
            None => Ok(None),
            Some((Ok(ino), Some(state))) => Ok(Some((ino, state))),
            Some(_) => Err(damaged(
                0,
                core.header.bno,
                "an orphan record of wrong size",
            )),
        }
    }

    /// Shows the header of a group to `f`: counts and roots as they are in memory.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if there is no such group.
    pub fn with_group_header<R>(&self, group: u32, f: impl FnOnce(&GroupHeader) -> R) -> Result<R> {
        Ok(f(&self.group(group)?.core.lock().header))
    }

    /// Free inodes in chunks that exist, over all groups.
    pub fn free_inodes(&self) -> u64 {
        self.counters.free_inodes.load(Ordering::Relaxed)
    }

    /// All inodes in chunks that exist, over all groups.
    pub fn inode_count(&self) -> u64 {
        let chunks = self.counters.chunks.load(Ordering::Relaxed);
        chunks.saturating_mul(crate::libvexfs::inode::CHUNK_INODES.into())
    }

    /// The block near which a file's blocks should go when nothing else is known: the
    /// start of its group.
    pub(crate) fn goal_of(&self, inode: &Inode) -> u64 {
        let g = self.geometry();
        g.group_of(inode.ino >> 3)
            .map_or(0, |group| g.group_start(group))
    }
}

/// A group's root, copied out while the group also serves as the source of its nodes.
struct GroupRoot {
    bytes: [u8; ROOT_LEN],
    blocks: u64,
}

impl GroupRoot {
    fn take(core: &GroupCore, which: GroupTree) -> Self {
        let h = &core.header;
        match which {
            GroupTree::Chunks => GroupRoot {
                bytes: h.chunk_root,
                blocks: h.chunk_blocks,
            },
            GroupTree::Orphans => GroupRoot {
                bytes: h.orphan_root,
                blocks: h.orphan_blocks,
            },
        }
    }

    fn put_back(self, core: &mut GroupCore, which: GroupTree) {
        let h = &mut core.header;
        match which {
            GroupTree::Chunks => (h.chunk_root, h.chunk_blocks) = (self.bytes, self.blocks),
            GroupTree::Orphans => (h.orphan_root, h.orphan_blocks) = (self.bytes, self.blocks),
        }
    }
}
