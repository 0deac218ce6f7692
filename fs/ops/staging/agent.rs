// SPDX-License-Identifier: GPL-2.0

//! Agents: the queue descriptor, which requests are read from, and the calls on it.

use super::{
    archive,
    recall::{self, Delivery},
    volume, Shared,
};
use crate::libvexfs::errno::{edquot, estale};
use crate::libvexfs::staging::queue::{Done, Op, Request};
use crate::vfs::{
    anon_file, bindings, ioctl,
    super_block::SuperBlock,
    uapi,
    wait::{Event, Signals},
};
use core::sync::atomic::{AtomicU32, Ordering};
use kernel::{
    ioctl::{_IOC_NR, _IOC_TYPE},
    prelude::*,
    sync::Arc,
    uaccess::{UserSlice, UserSliceWriter},
};

const ABI: u32 = bindings::VEXFS_STAGE_ABI;
/// Requests that one agent may have at a time, unless it says otherwise.
const DEFAULT_IN_FLIGHT: u32 = 1024;
/// Requests handed out by one read.
const MAX_READ: usize = 256;

/// Bytes of a request.
const ONE: usize = size_of::<bindings::vexfs_stage_request>();

/// What a queue descriptor refers to. When it goes, its requests go back into the queue.
pub(crate) struct Agent {
    shared: Arc<Shared>,
    id: u32,
    max_in_flight: u32,
    // What it was told of and has not completed. It grows under the queue's lock only, so that the
    // limit holds.
    in_flight: AtomicU32,
}

/// ATTACH: makes the caller an agent; returns its descriptor.
///
/// # Errors
///
/// `EOPNOTSUPP` for an ABI that is not this one, and the common ones.
pub(super) fn attach(sb: &SuperBlock, arg: usize) -> Result<isize> {
    let (mut a, size) = uapi::get::<bindings::vexfs_stage_attach>(arg, 72)?;
    if a.flags != 0 || a.reserved != [0; 2] {
        return Err(EINVAL);
    }
    let asked = core::mem::replace(&mut a.abi, ABI);
    let mount = sb.mount();
    a.fsuuid = mount.fs.sb.uuid;
    a.epoch = mount.fs.superblock().staging_epoch;
    uapi::put(arg, size, &a)?;
    if asked != ABI {
        return Err(crate::libvexfs::errno::eopnotsupp());
    }
    let shared: Arc<Shared> = (*mount.staging).clone();
    let id = shared
        .last_agent
        .fetch_add(1, Ordering::Relaxed)
        .wrapping_add(1);
    shared.agents.fetch_add(1, Ordering::Relaxed);
    let agent = Agent {
        shared,
        id,
        max_in_flight: if a.max_in_flight == 0 {
            DEFAULT_IN_FLIGHT
        } else {
            a.max_in_flight
        },
        in_flight: AtomicU32::new(0),
    };
    Ok(anon_file::open_queue(KBox::new(agent, GFP_KERNEL)?)? as isize)
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shared.queue.lock().agent_gone(self.id);
        self.shared.agents.fetch_sub(1, Ordering::Relaxed);
        self.shared.requests.wake_all();
    }
}

impl Agent {
    /// What to poll for.
    pub(crate) fn requests(&self) -> &Event {
        &self.shared.requests
    }

    /// Whether the file system is gone.
    pub(crate) fn is_cut(&self) -> bool {
        self.shared.link.is_cut()
    }

    /// Whether a read would return something.
    pub(crate) fn is_ready(&self) -> bool {
        let queue = self.shared.queue.lock();
        queue.has_ready_for(self.id, self.room())
    }

    fn room(&self) -> usize {
        self.max_in_flight
            .saturating_sub(self.in_flight.load(Ordering::Relaxed)) as usize
    }

    /// read(2): as many requests as fit and are there.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a buffer that is too short for one, `EAGAIN`, `ENODEV`, `EFAULT`: nothing was
    /// taken out of the queue then.
    ///
    /// # Context
    ///
    /// No lock is held while the user's memory is written to, which may take as long as the user
    /// likes.
    pub(crate) fn read(&self, to: UserSlice, nonblock: bool) -> Result<usize> {
        let mut to = to.writer();
        let fit = (to.len() / ONE).min(MAX_READ);
        if fit == 0 {
            return Err(EINVAL);
        }
        let mut taken = KVVec::with_capacity(fit, GFP_KERNEL)?;
        loop {
            if self.is_cut() {
                return Err(ENODEV);
            }
            let seen = self.shared.requests.count();
            {
                let mut queue = self.shared.queue.lock();
                let new = queue.take(self.id, fit, self.room(), &mut taken)?;
                self.in_flight.fetch_add(new as u32, Ordering::Relaxed);
            }
            if !taken.is_empty() {
                return self.tell(&taken, &mut to);
            }
            if nonblock {
                return Err(EAGAIN);
            }
            self.shared.requests.wait(seen, Signals::Any, None)?;
        }
    }

    /// Writes requests to the user; returns how many bytes. Those that cannot be told go back.
    fn tell(&self, taken: &[Request], to: &mut UserSliceWriter) -> Result<usize> {
        for (n, r) in taken.iter().enumerate() {
            if let Err(e) = to.write_slice(uapi::as_bytes(&told(r))) {
                self.give_back(taken.get(n..).unwrap_or_default());
                // What was told before is the agent's: it must learn of that, not of the error.
                return if n > 0 { Ok(n * ONE) } else { Err(e) };
            }
        }
        Ok(taken.len() * ONE)
    }

    fn give_back(&self, requests: &[Request]) {
        {
            let mut queue = self.shared.queue.lock();
            for r in requests {
                queue.untake(self.id, r);
            }
        }
        for _ in requests.iter().filter(|r| r.op != Op::Cancel) {
            self.one_less();
        }
        self.shared.requests.wake_all();
    }

    /// A request is not this agent's any more.
    fn one_less(&self) {
        let _ = self
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    }

    /// ioctl(2) on the descriptor.
    ///
    /// # Errors
    ///
    /// `ENOTTY`, `ENODEV`, and each call's own.
    pub(crate) fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize> {
        if _IOC_TYPE(cmd) != bindings::VEXFS_IOC_MAGIC {
            return Err(ENOTTY);
        }
        if !ioctl::capable(bindings::CAP_SYS_ADMIN) {
            return Err(EPERM);
        }
        if _IOC_NR(cmd) == bindings::VEXFS_NR_STAGE_DATA {
            return self.stage(arg);
        }
        self.on_mount(
            _IOC_NR(cmd) != bindings::VEXFS_NR_VOLUME_LIST,
            |sb| match _IOC_NR(cmd) {
                bindings::VEXFS_NR_ARCHIVE_BEGIN => archive::begin(sb, arg),
                bindings::VEXFS_NR_ARCHIVE_READ => archive::read(&self.shared, sb, arg),
                bindings::VEXFS_NR_COPY_COMMIT => archive::commit(&self.shared, sb, arg),
                bindings::VEXFS_NR_STAGE_COMPLETE => self.complete(sb, arg),
                bindings::VEXFS_NR_VOLUME_UPSERT => volume::upsert(sb, arg),
                bindings::VEXFS_NR_VOLUME_LIST => volume::list(sb, arg),
                _ => Err(ENOTTY),
            },
        )
    }

    /// Lets `f` use the mount, for a call that `writes` or does not.
    fn on_mount<T>(&self, writes: bool, f: impl FnOnce(&SuperBlock) -> Result<T>) -> Result<T> {
        self.shared.link.with(|sb| {
            sb.mount().check_running()?;
            // Whoever remounts read-only first says so, and then waits for those that are in here.
            if writes && sb.closed_to_writers() {
                return Err(EROFS);
            }
            sb.mount().judge(f(sb))
        })
    }

    /// STAGE_DATA.
    fn stage(&self, arg: usize) -> Result<isize> {
        let (mut d, size) = uapi::get::<bindings::vexfs_stage_data>(arg, 64)?;
        if d.flags != 0 || d.reserved != [0] || d.len > bindings::VEXFS_STAGE_MAX_BYTES.into() {
            return Err(EINVAL);
        }
        d.done = 0;
        let result = loop {
            let delivered = self.on_mount(true, |sb| {
                let request = self.shared.queue.lock().handed(self.id, d.cookie)?;
                if request.op != Op::Recall || request.want.version != d.version {
                    return Err(EINVAL);
                }
                let range = (d.off, d.len);
                recall::deliver(&self.shared, sb, &request, range, d.buf, &mut d.done)
            });
            match delivered {
                Ok(Delivery::Whole) => break Ok(0),
                Ok(Delivery::Frozen) => {}
                Err(e) => break Err(e),
            }
            if let Err(e) = self.shared.link.wait_for_thaw() {
                break Err(e);
            }
        };
        uapi::put(arg, size, &d)?;
        result
    }

    /// STAGE_COMPLETE.
    fn complete(&self, sb: &SuperBlock, arg: usize) -> Result<isize> {
        let (c, _) = uapi::get::<bindings::vexfs_stage_complete>(arg, 56)?;
        if c.flags != 0 || c.reserved != [0; 2] || c.error > 4095 {
            return Err(EINVAL);
        }
        let request = self.shared.queue.lock().held(self.id, c.cookie)?;
        let done = match c.status {
            bindings::VEXFS_DONE_OK => self.well(sb, &request),
            bindings::VEXFS_DONE_RETRY => Some(Done::Retry),
            bindings::VEXFS_DONE_NEXTCOPY if request.op == Op::Recall => {
                self.next_copy(sb, &request)?
            }
            bindings::VEXFS_DONE_LOST => {
                self.say_lost(sb, &request, c.error);
                Some(Done::Failed(failure(request.op, c.error)))
            }
            bindings::VEXFS_DONE_CANCELLED => Some(Done::Cancelled),
            _ => return Err(EINVAL),
        };
        if let Some(done) = done {
            self.shared.queue.lock().complete(self.id, c.cookie, done)?;
        }
        self.one_less();
        self.shared.requests.wake_all();
        self.shared.arrived(request.want.ino);
        Ok(0)
    }

    /// An agent says that it did what it was asked for.
    fn well(&self, sb: &SuperBlock, request: &Request) -> Option<Done> {
        if request.op != Op::Recall {
            return Some(Done::Ok);
        }
        let want = &request.want;
        let left = super::file_by_number(sb, want.ino, want.generation)
            .and_then(|vi| recall::settle(&vi, request));
        Some(match left {
            Ok(false) => Done::Ok,
            Ok(true) => {
                self.say_lost(sb, request, 0);
                Done::Failed(EIO)
            }
            Err(e) => Done::Failed(e),
        })
    }

    /// The copy that a recall was told of is no good: puts the request back with the next one's
    /// place. Without a next one it has failed.
    fn next_copy(&self, sb: &SuperBlock, request: &Request) -> Result<Option<Done>> {
        let (request, tried) = self.shared.queue.lock().bad_copy(self.id, request.cookie)?;
        let want = &request.want;
        let next = super::file_by_number(sb, want.ino, want.generation).and_then(|vi| {
            let core = vi.core().read();
            vi.fs().source(&core, want.version, tried)
        });
        match next {
            Ok(Some(copy)) => {
                let hint = recall::hint_of(&copy);
                self.shared
                    .queue
                    .lock()
                    .next_copy(self.id, request.cookie, hint)?;
                Ok(None)
            }
            Ok(None) => {
                self.say_lost(sb, &request, 0);
                Ok(Some(Done::Failed(EIO)))
            }
            Err(e) => Ok(Some(Done::Failed(e))),
        }
    }

    fn say_lost(&self, sb: &SuperBlock, request: &Request, error: u32) {
        let want = &request.want;
        // Only what was there before can be lost; and running out of space loses nothing.
        if request.op != Op::Recall || error != 0 {
            return;
        }
        if let Ok(vi) = super::file_by_number(sb, want.ino, want.generation) {
            recall::lost(&vi, want.version);
        }
    }
}

/// What the waiters of a failed request get: of what an agent may say, that which means to them
/// what it means to it.
fn failure(op: Op, errno: u32) -> Error {
    if errno == 0 {
        return EIO;
    }
    let said = Error::from_errno(-(errno as i32));
    let known: &[Error] = match op {
        Op::Recall => &[ENOSPC, edquot(), ENOMEM, EROFS],
        // Nobody waits in a system call: this is what the state of the file tells.
        _ => &[ENOSPC, edquot(), ENOMEM, EROFS, EBUSY, estale()],
    };
    if known.contains(&said) {
        said
    } else {
        EIO
    }
}

/// A request in the ABI's form.
fn told(r: &Request) -> bindings::vexfs_stage_request {
    let w = &r.want;
    bindings::vexfs_stage_request {
        size: size_of::<bindings::vexfs_stage_request>() as u32,
        op: r.op as u16,
        priority: w.priority.into(),
        cookie: r.cookie,
        ino: w.ino,
        generation: w.generation,
        uid: w.uid,
        off: w.off,
        len: w.len,
        file_size: w.file_size,
        version: w.version,
        queued_ns: w.now_ns,
        deadline_ns: 0,
        pid: w.pid,
        waiters: r.waiters,
        volume: w.hint.volume,
        bundle: w.hint.bundle,
        block: w.hint.block,
        object_off: w.hint.object_off,
        copy: w.hint.copy.into(),
        flags: 0,
        attempt: r.attempt,
        reserved: 0,
    }
}
