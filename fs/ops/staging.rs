// SPDX-License-Identifier: GPL-2.0

//! Staging: files whose bytes lie on volumes, and the agents that fetch them.
//!
//! - [`recall`]: readers and writers wait here for bytes that are offline; agents deliver them.
//! - [`archive`]: agents read files and say where copies are.
//! - [`release`]: blocks of archived files are given back.
//! - [`agent`]: the queue descriptor. [`ioctl`]: calls on files of the mount. [`volume`]: the table.
//!
//! Locks: the queue's mutex is innermost but for memory. Nobody waits for an agent with a lock held
//! that agents need; these take the link to the mount (shared), and then what a transaction takes,
//! but no `i_rwsem` to deliver bytes.

pub(crate) mod agent;
mod archive;
mod batch;
pub(crate) mod ioctl;
mod recall;
mod release;
mod volume;

pub(crate) use recall::{before_fault, before_read, before_resize, before_write, Patience};

use crate::libvexfs::staging::queue::Queue;
use crate::vfs::{
    inode::{InodeRef, VexInode},
    staging::MountLink,
    super_block::SuperBlock,
    sync::Mutex,
    wait::Event,
};
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use kernel::{prelude::*, sync::Arc};

/// Events that waiting tasks share, by inode.
const ARRIVALS: usize = 16;

/// What a mount keeps for staging. Agents keep it too, longer than the mount lives.
pub(crate) struct Staging(Arc<Shared>);

/// What mount and agents share.
pub(crate) struct Shared {
    link: MountLink,
    queue: Mutex<Queue>,
    // There is something to do for agents.
    requests: Event,
    // Bytes have arrived, or a request ended.
    arrivals: KVec<Event>,
    // How many are attached.
    agents: AtomicU32,
    // The number that the last one got.
    last_agent: AtomicU32,
    // The log says already that offline files cannot be read.
    told_read_only: AtomicBool,
}

impl Staging {
    /// An empty queue for a file system that is being mounted.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(sb: &SuperBlock) -> Result<Self> {
        let mut arrivals = KVec::with_capacity(ARRIVALS, GFP_KERNEL)?;
        for _ in 0..ARRIVALS {
            arrivals.push(Event::new()?, GFP_KERNEL)?;
        }
        let shared = Shared {
            link: MountLink::new(sb)?,
            queue: Mutex::new(Queue::new()?)?,
            requests: Event::new()?,
            arrivals,
            agents: AtomicU32::new(0),
            last_agent: AtomicU32::new(0),
            told_read_only: AtomicBool::new(false),
        };
        Ok(Staging(Arc::new(shared, GFP_KERNEL)?))
    }

    /// The file system goes: waits for the calls of agents that are running, and fails all that
    /// come. To be called before inodes are evicted.
    pub(crate) fn detach(&self) {
        self.0.link.cut();
        self.0.queue.lock().fail_all(ENODEV);
        self.0.requests.wake_all();
    }
}

impl Shared {
    /// The file system is being remounted read-only: no call of an agent changes anything from now
    /// on, and nobody waits for bytes that cannot come.
    pub(crate) fn read_only(&self) {
        self.link.wait_for_all();
        self.look_again();
    }

    /// Tells all that wait to look whether it is worth it.
    pub(crate) fn look_again(&self) {
        for event in &self.arrivals {
            event.wake_all();
        }
        self.requests.wake_all();
    }
}

impl Deref for Staging {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Shared {
    /// What tasks that wait for inode `ino` wait for.
    fn arrivals(&self, ino: u64) -> Result<&Event> {
        self.arrivals.get(ino as usize % ARRIVALS).ok_or(EINVAL)
    }

    /// Tells the tasks that wait for inode `ino` to look again.
    fn arrived(&self, ino: u64) {
        if let Some(event) = self.arrivals.get(ino as usize % ARRIVALS) {
            event.wake_all();
        }
    }

    /// How many agents are attached.
    fn agents(&self) -> u32 {
        self.agents.load(Ordering::Relaxed)
    }
}

/// The regular file that an agent or an administrator names by number.
///
/// # Errors
///
/// `ESTALE`, `EISDIR`, `EINVAL` if it is something else or the file system's own.
fn file_by_number(sb: &SuperBlock, ino: u64, generation: u32) -> Result<InodeRef> {
    // The number comes from outside: what is no inode must not be read as one.
    if !sb.mount().fs.inode_in_use(ino)? {
        return Err(crate::libvexfs::errno::estale());
    }
    let inode = VexInode::get(sb, ino, Some(generation))?;
    check_file(&inode)?;
    Ok(inode)
}

/// Whether an inode can be staged at all.
fn check_file(inode: &VexInode) -> Result {
    use crate::libvexfs::format::inode::STATE_INTERNAL;
    if inode.is_dir() {
        return Err(EISDIR);
    }
    if !inode.is_regular() || inode.core().read().state & STATE_INTERNAL != 0 {
        return Err(EINVAL);
    }
    Ok(())
}
