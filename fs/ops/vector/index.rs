// SPDX-License-Identifier: GPL-2.0

//! Indexes in core: the graphs of collections, who changes them, and who searches them.
//!
//! - [`worker`]: one thread for each mount builds graphs and keeps them up with the records.
//! - [`store`]: checkpoints and write intents. [`source`]: the records and vectors that are put in.
//! - [`ioctl`]: `VEXFS_IOC_INDEX`. [`find`]: searches.
//!
//! An index is in the table from its first use until it is dropped or the file system goes. The
//! worker alone changes a graph. What a search may rely on is its [`Snapshot`]: the graph has all
//! changes of the records below [`Snapshot::applied`], so that a search looks at those from there on
//! itself.
//!
//! Locks: the table's comes behind a collection's lock, and before cores. It is not taken inside of
//! a transaction.

mod find;
mod ioctl;
mod source;
mod store;
mod worker;

pub(super) use find::{plan, Outcome, Plan};
pub(super) use ioctl::index as ioctl;
pub(super) use source::Source;

use super::{change, Open};
use crate::libvexfs::vector::index::intent::Intents;
use crate::libvexfs::vector::index::log::NewIndex;
use crate::libvexfs::vector::index::walks::Walks;
use crate::libvexfs::vector::index::{self, Entries, Marks, Params, Shape, State};
use crate::libvexfs::vector::Collection;
use crate::libvexfs::Fs;
use crate::vfs::{
    graph::GraphKernels,
    inode::VexInode,
    internal_file::InternalFile,
    kthread::Thread,
    log,
    sched::random,
    store::Store,
    super_block::Mount,
    sync::{Mutex, SpinLock},
    wait::{Event, Signals},
};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use kernel::time::{Instant, Monotonic};
use kernel::{prelude::*, sync::Arc};

/// Changes that an index may be behind before puts wait for it, and bytes of their vectors.
const TAIL_MAX: u64 = 65_536;
const TAIL_BYTES: u64 = 64 << 20;

/// Records from which on a collection gets an index of itself, unless the mount says otherwise.
const AUTOMATIC: u64 = 20_000;

/// What searches may rely on.
#[derive(Clone, Copy)]
pub(super) struct Snapshot {
    /// All records are in the graph or among the changes from `applied` on.
    pub(super) ready: bool,
    /// The graph has all changes below this sequence.
    pub(super) applied: u64,
    /// Where searches begin.
    pub(super) entries: Entries,
    /// No node has a slot as high as this.
    pub(super) end: u32,
}

/// An index.
pub(super) struct Index {
    /// The collection that it is of.
    pub(super) collection: Collection,
    /// Its record as it was when it came into core.
    pub(super) record: index::Index,
    /// Its nodes.
    pub(super) file: InternalFile,
    /// What they look like.
    pub(super) shape: Shape,
    /// What computes.
    pub(super) kernels: GraphKernels,
    view: SpinLock<Snapshot>,
    /// How far the graph is, for those who look.
    marks: SpinLock<Marks>,
    dropped: AtomicBool,
    /// Changes below this are on the medium, as are the slots of a build.
    saved: AtomicU64,
    saved_slots: AtomicU64,
    saved_at: SpinLock<Instant<Monotonic>>,
    /// Which parts of its inode are being written; none while nobody has looked.
    intents: Mutex<Option<Intents>>,
    scrubbed_to: AtomicU64,
    /// When all edges are to be walked along.
    walks: Walks,
    /// The worker cannot go on: there is no space, or something failed.
    stuck: AtomicBool,
}

impl Index {
    fn new(open: &Open, record: &index::Index, nodes: InternalFile) -> Result<Index> {
        let shape = record.shape(&open.collection);
        let marks = record.marks;
        Ok(Index {
            collection: open.collection,
            record: *record,
            file: nodes,
            shape,
            kernels: GraphKernels::new(&shape, record.seed, marks.bound)?,
            view: SpinLock::new(Snapshot {
                ready: record.state == State::Ready,
                applied: marks.applied,
                entries: marks.entries,
                end: marks.end,
            })?,
            marks: SpinLock::new(marks)?,
            dropped: AtomicBool::new(false),
            saved: AtomicU64::new(marks.applied),
            saved_slots: AtomicU64::new(slots_of(&marks)),
            saved_at: SpinLock::new(Instant::now())?,
            intents: Mutex::new(None)?,
            scrubbed_to: AtomicU64::new(0),
            walks: Walks::new(),
            stuck: AtomicBool::new(false),
        })
    }

    /// What searches may rely on now.
    pub(super) fn snapshot(&self) -> Snapshot {
        *self.view.lock()
    }

    /// How far the graph is.
    fn marks(&self) -> Marks {
        *self.marks.lock()
    }

    /// The graph is farther: tells those who look, and those who search.
    fn show(&self, marks: &Marks, ready: bool) {
        *self.marks.lock() = *marks;
        *self.view.lock() = Snapshot {
            ready,
            applied: marks.applied,
            entries: marks.entries,
            end: marks.end,
        };
    }

    /// It came to the medium.
    fn saved(&self, marks: &Marks) {
        self.saved.store(marks.applied, Ordering::Relaxed);
        self.saved_slots.store(slots_of(marks), Ordering::Relaxed);
        *self.saved_at.lock() = Instant::now();
    }

    /// How many changes, or slots of a build, are not on the medium.
    fn unsaved(&self) -> u64 {
        let marks = self.marks();
        let changes = marks.applied - self.saved.load(Ordering::Relaxed).min(marks.applied);
        changes + slots_of(&marks).abs_diff(self.saved_slots.load(Ordering::Relaxed))
    }

    /// Whether it should come to the medium: there are so many changes, or it is so long ago.
    fn save_is_due(&self, changes: u64, ms: u32) -> bool {
        let unsaved = self.unsaved();
        let ago = self.saved_at.lock().elapsed().as_millis();
        unsaved >= changes || unsaved > 0 && ago >= i64::from(ms)
    }

    /// Whether the worker cannot go on for now. Nobody should wait for it then.
    fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Whether it is none any more.
    pub(super) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    /// Reads which parts of it a crash may have torn, if that was not done.
    fn load_intents(&self, open: &Open) -> Result {
        let mut intents = self.intents.lock();
        if intents.is_none() {
            let core = open.inode().core().read();
            *intents = Some(Intents::load(open.inode().fs(), &core)?);
        }
        Ok(())
    }

    /// Whether nothing is left to be looked at after a crash.
    fn is_clean(&self) -> bool {
        let intents = self.intents.lock();
        intents.as_ref().is_some_and(Intents::is_clean)
    }

    /// The MiB up to which it was looked through after a crash.
    fn scrubbed_to(&self) -> u64 {
        self.scrubbed_to.load(Ordering::Relaxed)
    }

    fn set_scrubbed_to(&self, mib: u64) {
        self.scrubbed_to.store(mib, Ordering::Relaxed);
    }

    /// A node was found that no path leads to: the worker is to look for such.
    fn found_lost(&self) {
        self.walks.found_lost();
    }

    /// Whether all edges should be walked along.
    fn walk_is_due(&self) -> bool {
        self.walks.is_due(self.snapshot().end)
    }

    /// Logs what became of it.
    fn tell(&self, text: fmt::Arguments<'_>) {
        let name = self.collection.name;
        let sb = self.file.inode().sb();
        sb.log(
            log::INFO,
            format_args!("index of collection {name:?}: {text}"),
        );
    }

    /// Memory that it keeps for itself.
    fn pinned(&self) -> usize {
        size_of::<Index>() + self.kernels.pinned()
    }
}

/// Slots that a build is past, the second time too.
fn slots_of(marks: &Marks) -> u64 {
    u64::from(marks.built) + u64::from(marks.refined)
}

/// What a mount keeps for indexes.
pub(super) struct Indexes {
    table: Mutex<KVec<Arc<Index>>>,
    thread: Mutex<Option<Thread>>,
    stop: AtomicBool,
    /// Records from which on a collection gets an index of itself; 0: never.
    automatic: AtomicU64,
    /// There may be work to do.
    work: Event,
    /// A graph is farther, or gone.
    progress: Event,
}

impl Indexes {
    /// For a file system that is being mounted.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        Ok(Indexes {
            table: Mutex::new(KVec::new())?,
            thread: Mutex::new(None)?,
            stop: AtomicBool::new(true),
            automatic: AtomicU64::new(AUTOMATIC),
            work: Event::new()?,
            progress: Event::new()?,
        })
    }

    /// The index of a collection that is in the table.
    fn known(&self, id: u32) -> Option<Arc<Index>> {
        let table = self.table.lock();
        let found = table.iter().find(|index| index.collection.id == id);
        found.cloned()
    }

    /// The index of a collection; none if it has no graph.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EIO`, `ENOMEM`.
    ///
    /// # Context
    ///
    /// May sleep; no core, no transaction.
    pub(super) fn get(&self, mount: &Mount, open: &Open) -> Result<Option<Arc<Index>>> {
        if let Some(index) = self.known(open.collection.id) {
            return Ok(Some(index));
        }
        // With the table locked nobody drops what is about to enter it.
        let mut table = self.table.lock();
        let record = mount.fs.index(&open.inode().core().read())?;
        let Some(record) = record.filter(|record| record.state.has_graph()) else {
            return Ok(None);
        };
        if open.dropped() {
            return Ok(None);
        }
        let found = table.iter().find(|i| i.collection.id == open.collection.id);
        if let Some(index) = found {
            return Ok(Some(index.clone()));
        }
        let nodes = VexInode::get(mount.sb(), record.ino, Some(record.generation))?;
        let index = Index::new(open, &record, InternalFile::new(nodes))?;
        let index = Arc::new(index, GFP_KERNEL)?;
        table.push(index.clone(), GFP_KERNEL)?;
        Ok(Some(index))
    }

    /// Takes the index of a collection, which was dropped, out of the table. The result is let go
    /// with no lock held.
    pub(super) fn forget(&self, id: u32) -> Option<Arc<Index>> {
        let mut table = self.table.lock();
        let at = table.iter().position(|index| index.collection.id == id)?;
        let index = table.remove(at).ok()?;
        index.dropped.store(true, Ordering::Release);
        self.work.wake_all();
        self.progress.wake_all();
        Some(index)
    }

    /// Records of a collection changed.
    pub(super) fn changed(&self) {
        self.work.wake_all();
    }

    /// Waits while so many changes of collection `id` are still to come that searches would have too
    /// much to compare.
    ///
    /// # Errors
    ///
    /// `EINTR` when killed; `EAGAIN` if it would wait and must not.
    ///
    /// # Context
    ///
    /// No lock held, and not inside of `sb_start_write`: the worker must get there.
    pub(super) fn wait_for_room(&self, mount: &Mount, id: u32, nowait: bool) -> Result {
        let Some(index) = self.known(id) else {
            return Ok(());
        };
        let by_bytes = TAIL_BYTES.checked_div(index.collection.stride());
        let most = TAIL_MAX.min(by_bytes.unwrap_or(TAIL_MAX));
        let open = Open::new(mount, id)?;
        loop {
            let seen = self.progress.count();
            let now = index.snapshot();
            let record = mount.fs.index(&open.inode().core().read())?;
            let next = record.map_or(0, |record| record.next);
            let fits = next.saturating_sub(now.applied) < most;
            if fits || self.stopping() || index.is_dropped() || index.is_stuck() {
                return Ok(());
            }
            mount.check_running()?;
            if mount.sb().stopped_writing() {
                return Err(EROFS);
            }
            if nowait {
                return Err(EAGAIN);
            }
            self.progress.wait(seen, Signals::Fatal, Some(1000))?;
        }
    }

    /// Who waits looks again.
    pub(super) fn look_again(&self) {
        self.work.wake_all();
        self.progress.wake_all();
    }

    /// Starts the worker, unless it runs.
    pub(super) fn start_worker(&self, mount: &Mount) -> Result {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            self.stop.store(false, Ordering::Release);
            *thread = Some(Thread::start(mount.sb(), c"vexfs-index", worker::run)?);
        }
        Ok(())
    }

    /// Ends the worker, if it runs; it saves what it has.
    pub(super) fn stop_worker(&self) {
        self.stop.store(true, Ordering::Release);
        self.work.wake_all();
        self.progress.wake_all();
        let thread = self.thread.lock().take();
        drop(thread);
    }

    /// The file system goes: no inode is held any more.
    pub(super) fn clear(&self) {
        let table = core::mem::take(&mut *self.table.lock());
        drop(table);
    }

    /// Records from which on a collection gets an index of itself.
    fn automatic(&self) -> Option<u64> {
        match self.automatic.load(Ordering::Relaxed) {
            0 => None,
            least => Some(least),
        }
    }

    /// Changes what [`Indexes::automatic`] says; 0: never.
    pub(super) fn set_automatic(&self, least: u64) {
        self.automatic.store(least, Ordering::Relaxed);
        self.work.wake_all();
    }

    /// Shows the option of the mount, if it is not the default.
    pub(super) fn show_automatic(&self, show: &mut dyn FnMut(&str)) {
        let least = self.automatic.load(Ordering::Relaxed);
        if least == AUTOMATIC {
            return;
        }
        let mut text = [0u8; 20];
        let mut at = text.len();
        let mut rest = least;
        while at == text.len() || rest != 0 {
            at -= 1;
            text[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        show(",index=");
        show(core::str::from_utf8(&text[at..]).unwrap_or(""));
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// Changes that are read together.
const BATCH: usize = 256;

/// Candidates of a search through an index that does not say how many.
fn default_ef(collection: &Collection, record: &index::Index) -> usize {
    match record.ef {
        0 => index::default_ef(collection.metric),
        ef => ef.into(),
    }
}

/// Makes an index of a collection.
///
/// # Errors
///
/// `EEXIST`, `ENOENT` if the collection was dropped, what libvexfs returns.
///
/// # Context
///
/// No lock held.
fn create(mount: &Mount, open: &Open, automatic: bool) -> Result {
    let new = NewIndex {
        automatic,
        bits: 0,
        params: Params::default(),
        seed: random(),
        now: open.inode().now(),
    };
    let vi = open.inode();
    {
        let _lock = mount.vectors.lock(open.collection.id)?;
        if open.dropped() {
            return Err(ENOENT);
        }
        mount.with_space(|| {
            change(vi, Fs::<Store>::CREATE_INDEX, |t, core| {
                mount.fs.create_index(t, &open.collection, core, &new)
            })
        })?;
    }
    mount.vectors.indexes.changed();
    Ok(())
}

/// Gives the changes of a collection from `from` on to `each`, some at a time, in order, until it
/// says `false`.
///
/// # Errors
///
/// `EUCLEAN`, `EIO`, `ENOMEM`; what `each` returns.
fn changes(
    open: &Open,
    mut from: u64,
    mut each: impl FnMut(&[(u64, index::Op)]) -> Result<bool>,
) -> Result {
    let mut ops = KVec::with_capacity(BATCH, GFP_KERNEL)?;
    loop {
        ops.clear();
        {
            let core = open.inode().core().read();
            open.inode().fs().index_ops(&core, from, BATCH, &mut ops)?;
        }
        let Some((last, _)) = ops.last() else {
            return Ok(());
        };
        from = last + 1;
        if !each(&ops)? {
            return Ok(());
        }
    }
}
