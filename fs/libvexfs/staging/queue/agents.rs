// SPDX-License-Identifier: GPL-2.0

//! The agents' side of the queue: what is handed out, and how it ends.

use super::{Done, Entry, Hint, Op, Queue, Request, State, ERRORS, MAX_ATTEMPTS, NIL};
use crate::libvexfs::errno::ecanceled;
use crate::libvexfs::staging::request::priority;
use kernel::prelude::*;

impl Queue {
    fn request(&self, n: u32, op: Op) -> Option<Request> {
        let e = self.entries.get(n)?;
        Some(Request {
            op,
            cookie: self.cookie(n),
            want: e.want,
            waiters: e.waiters,
            attempt: e.attempt,
        })
    }

    /// Hands at most `max` requests out to `agent`: cancellations first, then up to `room` new ones by priority; those
    /// of one priority that are taken at once are put into the order of the volumes. Returns how many are new.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: nothing was handed out.
    pub fn take(
        &mut self,
        agent: u32,
        max: usize,
        room: usize,
        out: &mut KVVec<Request>,
    ) -> Result<usize> {
        let max = max.min(self.len());
        out.clear();
        out.reserve(max, GFP_KERNEL)?;
        let mut at = self.cancels.head;
        while out.len() < max && at != NIL {
            let next = self.entries.get(at).map_or(NIL, |e| e.next);
            let mine = matches!(self.entries.get(at), Some(Entry { state: State::Handed { agent: a, .. }, .. }) if *a == agent);
            if mine {
                self.unlist(at);
                if let Some(r) = self.request(at, Op::Cancel) {
                    out.push(r, GFP_KERNEL)?;
                }
            }
            at = next;
        }
        let cancels = out.len();
        let max = max.min(cancels.saturating_add(room));
        for p in (0..priority::END).rev() {
            let first = out.len();
            while out.len() < max {
                let n = self.ready[p].head;
                let Some(op) = self.entries.get(n).map(|e| e.op) else {
                    break;
                };
                self.unlist(n);
                if let Some(e) = self.entries.get_mut(n) {
                    e.state = State::Handed {
                        agent,
                        cancelled: false,
                    };
                }
                if let Some(r) = self.request(n, op) {
                    out.push(r, GFP_KERNEL)?;
                }
            }
            out[first..].sort_unstable_by_key(|r| {
                let h = &r.want.hint;
                (
                    r.op as u16,
                    h.volume,
                    h.bundle,
                    h.object_off,
                    r.cookie as u32,
                )
            });
        }
        Ok(out.len() - cancels)
    }

    /// What was taken could not be told to `agent`: it is as if it had not been taken.
    pub fn untake(&mut self, agent: u32, r: &Request) {
        let n = r.cookie as u32;
        match self.entry(r.cookie) {
            Some(Entry {
                state:
                    State::Handed {
                        agent: a,
                        cancelled,
                    },
                listed,
                ..
            }) if *a == agent => {
                if r.op != Op::Cancel {
                    self.put_back(n);
                } else if *cancelled && !listed {
                    self.append(n);
                }
            }
            _ => {}
        }
    }

    /// Whether [`Queue::take`] would give `agent` something now.
    pub fn has_ready_for(&self, agent: u32, room: usize) -> bool {
        let mut at = self.cancels.head;
        while let Some(e) = self.entries.get(at) {
            if matches!(e.state, State::Handed { agent: a, .. } if a == agent) {
                return true;
            }
            at = e.next;
        }
        room > 0 && self.ready.iter().any(|l| l.head != NIL)
    }

    /// A request that `agent` has, whether somebody still waits for it or not.
    ///
    /// # Errors
    ///
    /// `ENOENT`: it has no such request.
    pub fn held(&self, agent: u32, cookie: u64) -> Result<Request> {
        let e = self.entry(cookie).ok_or(ENOENT)?;
        match e.state {
            State::Handed { agent: a, .. } if a == agent => {
                self.request(cookie as u32, e.op).ok_or(ENOENT)
            }
            _ => Err(ENOENT),
        }
    }

    /// A request that `agent` has.
    ///
    /// # Errors
    ///
    /// `ENOENT`: it has no such request. `ECANCELED`: nobody waits for it any more.
    pub fn handed(&self, agent: u32, cookie: u64) -> Result<Request> {
        let e = self.entry(cookie).ok_or(ENOENT)?;
        match e.state {
            State::Handed { agent: a, .. } if a != agent => Err(ENOENT),
            State::Handed {
                cancelled: true, ..
            } => Err(ecanceled()),
            State::Handed { .. } => self.request(cookie as u32, e.op).ok_or(ENOENT),
            _ => Err(ENOENT),
        }
    }

    /// Notes that the copy of the present hint is no good. Returns the request and the copies that were tried, one bit
    /// each: the caller looks for another and calls [`Queue::next_copy`], or completes it with an error.
    ///
    /// # Errors
    ///
    /// `ENOENT`: the agent has no such request, or it is no recall.
    pub fn bad_copy(&mut self, agent: u32, cookie: u64) -> Result<(Request, u16)> {
        let n = cookie as u32;
        let e = self.entry_mut(cookie).ok_or(ENOENT)?;
        match e.state {
            State::Handed { agent: a, .. } if a == agent && e.op == Op::Recall => {}
            _ => return Err(ENOENT),
        }
        e.tried |= 1u16.checked_shl(e.want.hint.copy.into()).unwrap_or(0);
        let tried = e.tried;
        Ok((self.request(n, Op::Recall).ok_or(ENOENT)?, tried))
    }

    /// Puts a recall back, to be read from another copy.
    ///
    /// # Errors
    ///
    /// `ENOENT`: the agent has no such request.
    pub fn next_copy(&mut self, agent: u32, cookie: u64, hint: Hint) -> Result {
        let e = self.entry_mut(cookie).ok_or(ENOENT)?;
        match e.state {
            State::Handed { agent: a, .. } if a == agent => {}
            _ => return Err(ENOENT),
        }
        e.want.hint = hint;
        self.put_back(cookie as u32);
        Ok(())
    }

    /// Makes a handed-out request ready again, or drops it if nobody wants it.
    fn put_back(&mut self, n: u32) {
        self.unlist(n);
        let Some(e) = self.entries.get_mut(n) else {
            return;
        };
        if e.waiters == 0 && !e.unattended {
            self.unindex(n);
            self.free(n);
            return;
        }
        e.state = State::Ready;
        self.append(n);
    }

    /// Ends a request.
    ///
    /// # Errors
    ///
    /// `ENOENT`: the agent has no such request.
    pub fn complete(&mut self, agent: u32, cookie: u64, done: Done) -> Result {
        let n = cookie as u32;
        let e = self.entry_mut(cookie).ok_or(ENOENT)?;
        match e.state {
            State::Handed { agent: a, .. } if a == agent => {}
            _ => return Err(ENOENT),
        }
        e.attempt = e.attempt.saturating_add(1);
        let wanted = e.waiters > 0 || e.unattended;
        let result = match done {
            Done::Ok => Ok(()),
            Done::Retry if e.attempt <= MAX_ATTEMPTS => {
                self.put_back(n);
                return Ok(());
            }
            Done::Retry => Err(EIO),
            Done::Failed(e) => Err(e),
            // Somebody came while the agent was told that nobody waits.
            Done::Cancelled if wanted => {
                self.put_back(n);
                return Ok(());
            }
            Done::Cancelled => Err(ecanceled()),
        };
        self.finish(n, result);
        Ok(())
    }

    fn finish(&mut self, n: u32, result: Result) {
        self.unlist(n);
        self.unindex(n);
        let Some(e) = self.entries.get_mut(n) else {
            return;
        };
        e.state = State::Done(result);
        let (ino, waiters) = (e.want.ino, e.waiters);
        if let Err(error) = result {
            self.errors[ino as usize % ERRORS] = (ino, error.to_errno());
        }
        if waiters == 0 {
            self.free(n);
        }
    }

    /// An agent is gone: what it had is ready again.
    pub fn agent_gone(&mut self, agent: u32) {
        for n in 0..self.entries.end() {
            let Some(e) = self.entries.get(n) else {
                continue;
            };
            match e.state {
                State::Handed { agent: a, .. } if a == agent => self.put_back(n),
                _ => {}
            }
        }
    }

    /// Ends everything with `error`: the file system goes.
    pub fn fail_all(&mut self, error: Error) {
        for n in 0..self.entries.end() {
            let Some(e) = self.entries.get(n) else {
                continue;
            };
            if !matches!(e.state, State::Done(_)) {
                self.finish(n, Err(error));
            }
        }
    }
}
