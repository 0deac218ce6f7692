// SPDX-License-Identifier: GPL-2.0

//! The queue of requests to agents: which there are, who has them, who waits.
//!
//! This is the bookkeeping only. Whoever owns the queue keeps it under one lock,
//! puts tasks to sleep and wakes them, and looks up where copies lie.
//!
//! A request is *ready* (waits for an agent), *handed out*, or *done* (kept until
//! its last waiter has seen how it ended). Waiters of overlapping ranges share
//! one request; when the last one leaves, the request goes too.

mod agents;

pub use super::request::*;
use super::slab::{Slab, NIL};
use kernel::prelude::*;

/// Requests that may exist at a time.
pub const MAX_REQUESTS: usize = 16384;
/// How many of them may be ones that nobody waits for.
const MAX_UNATTENDED: usize = MAX_REQUESTS / 4 * 3;
/// How often an agent may put a request back.
const MAX_ATTEMPTS: u32 = 3;
/// Chains of the index by inode.
const CHAINS: usize = 512;
/// How many files' last errors are remembered.
const ERRORS: usize = 512;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Handed { agent: u32, cancelled: bool },
    Done(Result),
}

struct Entry {
    op: Op,
    serial: u32,
    state: State,
    want: Want,
    waiters: u32,
    /// Goes on without waiters.
    unattended: bool,
    attempt: u32,
    /// Copies that were tried, one bit each.
    tried: u16,
    /// The list of its priority, or the list of cancellations to tell.
    listed: bool,
    next: u32,
    prev: u32,
    /// Next of the same chain of the index.
    chain: u32,
}

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

const EMPTY: List = List {
    head: NIL,
    tail: NIL,
};

/// All requests of one file system.
pub struct Queue {
    entries: Slab<Entry>,
    index: KVec<u32>,
    ready: [List; priority::END],
    cancels: List,
    unattended: usize,
    serial: u32,
    errors: KVec<(u64, i32)>,
}

fn chain_of(ino: u64) -> usize {
    (ino.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % CHAINS
}

impl Queue {
    /// An empty queue.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Queue> {
        Ok(Queue {
            entries: Slab::new(MAX_REQUESTS),
            index: KVec::from_elem(NIL, CHAINS, GFP_KERNEL)?,
            ready: [EMPTY; priority::END],
            cancels: EMPTY,
            unattended: 0,
            serial: 0,
            errors: KVec::from_elem((0, 0), ERRORS, GFP_KERNEL)?,
        })
    }

    /// Requests in it, those that are done and still have waiters too.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an agent would get something now.
    pub fn has_ready(&self) -> bool {
        self.cancels.head != NIL || self.ready.iter().any(|l| l.head != NIL)
    }

    fn cookie(&self, n: u32) -> u64 {
        let serial = self.entries.get(n).map_or(0, |e| e.serial);
        u64::from(serial) << 32 | u64::from(n)
    }

    fn entry(&self, cookie: u64) -> Option<&Entry> {
        let e = self.entries.get(cookie as u32)?;
        (u64::from(e.serial) == cookie >> 32).then_some(e)
    }

    fn entry_mut(&mut self, cookie: u64) -> Option<&mut Entry> {
        let e = self.entries.get_mut(cookie as u32)?;
        (u64::from(e.serial) == cookie >> 32).then_some(e)
    }

    // --- Lists ---

    fn list(&mut self, n: u32) -> Option<&mut List> {
        let e = self.entries.get(n)?;
        match e.state {
            State::Ready => self.ready.get_mut(usize::from(e.want.priority)),
            _ => Some(&mut self.cancels),
        }
    }

    fn append(&mut self, n: u32) {
        let Some(list) = self.list(n) else { return };
        let tail = core::mem::replace(&mut list.tail, n);
        if tail == NIL {
            list.head = n;
        }
        if let Some(before) = self.entries.get_mut(tail) {
            before.next = n;
        }
        if let Some(e) = self.entries.get_mut(n) {
            (e.prev, e.next, e.listed) = (tail, NIL, true);
        }
    }

    fn unlist(&mut self, n: u32) {
        let Some(e) = self.entries.get_mut(n) else {
            return;
        };
        if !core::mem::take(&mut e.listed) {
            return;
        }
        let (prev, next) = (e.prev, e.next);
        match self.entries.get_mut(prev) {
            Some(p) => p.next = next,
            None => {
                if let Some(list) = self.list(n) {
                    list.head = next;
                }
            }
        }
        match self.entries.get_mut(next) {
            Some(x) => x.prev = prev,
            None => {
                if let Some(list) = self.list(n) {
                    list.tail = prev;
                }
            }
        }
    }

    /// Takes a request out of the index: nobody joins it any more.
    fn unindex(&mut self, n: u32) {
        let Some(e) = self.entries.get(n) else { return };
        let (chain, after) = (chain_of(e.want.ino), e.chain);
        let mut at = self.index[chain];
        if at == n {
            self.index[chain] = after;
            return;
        }
        while let Some(e) = self.entries.get_mut(at) {
            if e.chain == n {
                e.chain = after;
                return;
            }
            at = e.chain;
        }
    }

    fn free(&mut self, n: u32) {
        self.unlist(n);
        if let Some(e) = self.entries.remove(n) {
            self.unattended -= usize::from(e.unattended);
        }
    }

    fn find(&self, op: Op, want: &Want) -> Option<u32> {
        let mut at = self.index[chain_of(want.ino)];
        while let Some(e) = self.entries.get(at) {
            let w = &e.want;
            let covers = w.off <= want.off
                && w.off.saturating_add(w.len) >= want.off.saturating_add(want.len)
                && w.version == want.version;
            if e.op == op
                && w.ino == want.ino
                && w.generation == want.generation
                && (op == Op::Archive || covers)
            {
                return Some(at);
            }
            at = e.chain;
        }
        None
    }

    fn add(&mut self, op: Op, want: &Want, unattended: bool) -> Result<u32> {
        if unattended && self.unattended >= MAX_UNATTENDED {
            return Err(EAGAIN);
        }
        if usize::from(want.priority) >= priority::END {
            return Err(EINVAL);
        }
        self.entries.reserve()?;
        self.serial = self.serial.wrapping_add(1).max(1);
        let chain = chain_of(want.ino);
        let entry = Entry {
            op,
            serial: self.serial,
            state: State::Ready,
            want: *want,
            waiters: 0,
            unattended,
            attempt: 0,
            tried: 0,
            listed: false,
            next: NIL,
            prev: NIL,
            chain: self.index[chain],
        };
        let n = self.entries.insert(entry).ok_or(ENOMEM)?;
        self.index[chain] = n;
        self.unattended += usize::from(unattended);
        self.append(n);
        self.forget_error(want.ino);
        Ok(n)
    }

    /// Joins or makes a request; `wait` says whether the caller will wait for it.
    fn ask(&mut self, op: Op, want: &Want, wait: bool) -> Result<u64> {
        let n = match self.find(op, want) {
            Some(n) => n,
            None => self.add(op, want, !wait)?,
        };
        let cookie = self.cookie(n);
        let Some(e) = self.entries.get_mut(n) else {
            return Err(EINVAL);
        };
        if wait {
            e.waiters = e.waiters.saturating_add(1);
        } else if !e.unattended {
            e.unattended = true;
            self.unattended += 1;
        }
        let raise = want.priority > e.want.priority;
        if let State::Handed { cancelled, .. } = &mut e.state {
            // Somebody is interested again.
            let told = core::mem::take(cancelled);
            if told {
                self.unlist(n);
            }
            if raise {
                if let Some(e) = self.entries.get_mut(n) {
                    e.want.priority = want.priority;
                }
            }
        } else if raise {
            self.unlist(n);
            if let Some(e) = self.entries.get_mut(n) {
                e.want.priority = want.priority;
            }
            self.append(n);
        }
        Ok(cookie)
    }

    // --- Those who ask ---

    /// Joins or makes a recall; the caller waits until [`Queue::outcome`] says that it is done and then calls
    /// [`Queue::leave`], in any case.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: the queue is full. `ENOMEM`.
    pub fn recall(&mut self, want: &Want) -> Result<u64> {
        self.ask(Op::Recall, want, true)
    }

    /// Makes sure that there is a recall; nobody waits for it.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: the queue is full. `ENOMEM`.
    pub fn prefetch(&mut self, want: &Want) -> Result<u64> {
        self.ask(Op::Recall, want, false)
    }

    /// Makes sure that the file will be archived.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: the queue is full. `ENOMEM`.
    pub fn archive(&mut self, want: &Want) -> Result<u64> {
        self.ask(Op::Archive, want, false)
    }

    /// How a request stands.
    pub fn outcome(&self, cookie: u64) -> Outcome {
        match self.entry(cookie) {
            Some(Entry {
                state: State::Done(r),
                ..
            }) => Outcome::Done(*r),
            Some(_) => Outcome::Pending,
            None => Outcome::Done(Err(EIO)),
        }
    }

    /// A waiter goes. True: an agent is to be told that nobody waits any more.
    pub fn leave(&mut self, cookie: u64) -> bool {
        let n = cookie as u32;
        let Some(e) = self.entry_mut(cookie) else {
            return false;
        };
        e.waiters = e.waiters.saturating_sub(1);
        if e.waiters > 0 {
            return false;
        }
        match &mut e.state {
            State::Done(_) => {
                self.free(n);
                false
            }
            _ if e.unattended => false,
            State::Ready => {
                self.unindex(n);
                self.free(n);
                false
            }
            State::Handed { cancelled, .. } => {
                if core::mem::replace(cancelled, true) {
                    return false;
                }
                self.append(n);
                true
            }
        }
    }

    /// A waiter goes because its part of the range has arrived; the rest is still fetched.
    pub fn served(&mut self, cookie: u64) {
        if let Some(e) = self.entry_mut(cookie) {
            if !matches!(e.state, State::Done(_)) && !e.unattended {
                e.unattended = true;
                self.unattended += 1;
            }
        }
        self.leave(cookie);
    }

    /// What goes on with a file.
    pub fn activity(&self, ino: u64, generation: u32) -> Activity {
        let mut a = Activity::default();
        let mut at = self.index[chain_of(ino)];
        while let Some(e) = self.entries.get(at) {
            if e.want.ino == ino && e.want.generation == generation {
                match e.op {
                    Op::Recall => a.recalling = true,
                    Op::Archive => a.archiving = true,
                    Op::Cancel => {}
                }
                a.waiters = a.waiters.saturating_add(e.waiters);
            }
            at = e.chain;
        }
        let (of, errno) = self.errors[ino as usize % ERRORS];
        if of == ino && errno != 0 {
            a.last_error = Some(Error::from_errno(errno));
        }
        a
    }

    fn forget_error(&mut self, ino: u64) {
        let slot = &mut self.errors[ino as usize % ERRORS];
        if slot.0 == ino {
            *slot = (0, 0);
        }
    }
}
