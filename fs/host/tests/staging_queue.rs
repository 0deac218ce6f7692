// SPDX-License-Identifier: GPL-2.0

//! The request queue of the tape tier.

use kernel::prelude::*;
use vexfs::libvexfs::staging::queue::*;

fn want(ino: u64) -> Want {
    Want {
        ino,
        generation: 7,
        len: 100,
        file_size: 100,
        version: 1,
        priority: priority::READ,
        ..Want::default()
    }
}

fn take(q: &mut Queue, agent: u32, max: usize) -> Vec<Request> {
    let mut out = KVVec::new();
    let new = q.take(agent, max, usize::MAX, &mut out).unwrap();
    assert_eq!(new, out.iter().filter(|r| r.op != Op::Cancel).count());
    out.iter().copied().collect()
}

#[test]
fn readers_of_one_file_share_a_request() {
    let mut q = Queue::new().unwrap();
    let a = q.recall(&want(1)).unwrap();
    let b = q.recall(&want(1)).unwrap();
    let other = q.recall(&want(2)).unwrap();
    assert_eq!(a, b);
    assert_ne!(a, other);
    let got = take(&mut q, 1, 10);
    assert_eq!(got.len(), 2);
    assert_eq!(got.iter().find(|r| r.cookie == a).unwrap().waiters, 2);
    assert!(!q.has_ready());
    assert_eq!(q.outcome(a), Outcome::Pending);
    q.complete(1, a, Done::Ok).unwrap();
    assert_eq!(q.outcome(a), Outcome::Done(Ok(())));
    q.leave(a);
    assert_eq!(q.len(), 2);
    q.leave(b);
    assert_eq!(q.len(), 1);
    assert_eq!(q.complete(1, a, Done::Ok), Err(ENOENT));
}

#[test]
fn a_reader_that_goes_leaves_no_trace() {
    let mut q = Queue::new().unwrap();
    let a = q.recall(&want(1)).unwrap();
    assert!(!q.leave(a));
    assert!(q.is_empty() && !q.has_ready());

    // Handed out: the agent is told, and the request goes when it says so.
    let a = q.recall(&want(1)).unwrap();
    assert_eq!(take(&mut q, 1, 10).len(), 1);
    assert!(q.leave(a));
    assert!(q.handed(1, a).is_err());
    assert!(
        take(&mut q, 2, 10).is_empty(),
        "another agent must not be told"
    );
    let told = take(&mut q, 1, 10);
    assert_eq!((told.len(), told[0].op, told[0].cookie), (1, Op::Cancel, a));
    q.complete(1, a, Done::Cancelled).unwrap();
    assert!(q.is_empty());
}

#[test]
fn a_reader_that_comes_back_in_time_is_served() {
    let mut q = Queue::new().unwrap();
    let a = q.recall(&want(1)).unwrap();
    take(&mut q, 1, 10);
    q.leave(a);
    // Before the agent is told.
    assert_eq!(q.recall(&want(1)).unwrap(), a);
    assert!(take(&mut q, 1, 10).is_empty());
    assert!(q.handed(1, a).is_ok());
    // After the agent was told, and before it answers.
    q.leave(a);
    assert_eq!(take(&mut q, 1, 10)[0].op, Op::Cancel);
    assert_eq!(q.recall(&want(1)).unwrap(), a);
    q.complete(1, a, Done::Cancelled).unwrap();
    assert_eq!(q.outcome(a), Outcome::Pending);
    let again = take(&mut q, 1, 10);
    assert_eq!((again[0].op, again[0].cookie), (Op::Recall, a));
}

#[test]
fn higher_priorities_go_first_and_a_batch_is_in_the_order_of_the_volume() {
    let mut q = Queue::new().unwrap();
    for (ino, volume, bundle, prio) in [
        (1, 2, 1, 6),
        (2, 1, 9, 6),
        (3, 1, 2, 6),
        (4, 0, 0, 4),
        (5, 0, 0, 5),
    ] {
        let mut w = want(ino);
        w.priority = prio;
        w.hint.volume = volume;
        w.hint.bundle = bundle;
        q.recall(&w).unwrap();
    }
    let inos: Vec<u64> = take(&mut q, 1, 10).iter().map(|r| r.want.ino).collect();
    assert_eq!(inos, [3, 2, 1, 5, 4]);
}

#[test]
fn joining_raises_the_priority() {
    let mut q = Queue::new().unwrap();
    let mut low = want(1);
    low.priority = priority::READAHEAD;
    q.prefetch(&low).unwrap();
    let mut other = want(2);
    other.priority = priority::MANAGE;
    q.prefetch(&other).unwrap();
    q.recall(&want(1)).unwrap();
    let inos: Vec<u64> = take(&mut q, 1, 10).iter().map(|r| r.want.ino).collect();
    assert_eq!(inos, [1, 2]);
}

#[test]
fn an_agent_that_dies_gives_its_requests_back() {
    let mut q = Queue::new().unwrap();
    let a = q.recall(&want(1)).unwrap();
    q.archive(&want(2)).unwrap();
    let gone = q.recall(&want(3)).unwrap();
    assert_eq!(take(&mut q, 1, 10).len(), 3);
    q.leave(gone);
    q.agent_gone(1);
    assert_eq!(q.handed(1, a), Err(ENOENT));
    let got = take(&mut q, 2, 10);
    assert_eq!(got.iter().map(|r| r.want.ino).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(q.len(), 2);
}

#[test]
fn bad_copies_are_tried_once_each() {
    let mut q = Queue::new().unwrap();
    let a = q.recall(&want(1)).unwrap();
    take(&mut q, 1, 10);
    let (r, tried) = q.bad_copy(1, a).unwrap();
    assert_eq!((r.want.ino, tried), (1, 1));
    q.next_copy(
        1,
        a,
        Hint {
            copy: 3,
            ..Hint::default()
        },
    )
    .unwrap();
    assert_eq!(take(&mut q, 1, 10)[0].want.hint.copy, 3);
    assert_eq!(q.bad_copy(1, a).unwrap().1, 0b1001);
    q.complete(1, a, Done::Failed(EIO)).unwrap();
    assert_eq!(q.outcome(a), Outcome::Done(Err(EIO)));
    q.leave(a);
    assert_eq!(q.activity(1, 7).last_error, Some(EIO));
    // The next reader starts anew.
    q.recall(&want(1)).unwrap();
    assert_eq!(q.activity(1, 7).last_error, None);
}

#[test]
fn retries_end() {
    let mut q = Queue::new().unwrap();
    let a = q.archive(&want(1)).unwrap();
    let mut tries = 0;
    while let Some(r) = take(&mut q, 1, 10).first() {
        tries += 1;
        q.complete(1, r.cookie, Done::Retry).unwrap();
    }
    assert_eq!(tries, 4);
    assert_eq!(q.outcome(a), Outcome::Done(Err(EIO)));
    assert!(q.is_empty());
}

#[test]
fn a_full_queue_still_takes_readers() {
    let mut q = Queue::new().unwrap();
    let mut n = 0;
    while q
        .archive(&Want {
            priority: priority::WRITE,
            ..want(n)
        })
        .is_ok()
    {
        n += 1;
    }
    assert!(n >= 10_000 && (n as usize) < MAX_REQUESTS);
    let reader = q.recall(&want(1 << 40)).unwrap();
    assert_eq!(take(&mut q, 1, 1)[0].cookie, reader);
    q.complete(1, reader, Done::Ok).unwrap();
    q.leave(reader);
    q.fail_all(ENODEV);
    assert!(q.is_empty() && !q.has_ready());
}

#[test]
fn memory_that_runs_out_leaves_the_queue_as_it_was() {
    for n in 0..8 {
        let mut q = Queue::new().unwrap();
        let a = q.recall(&want(1)).unwrap();
        kernel::alloc::fail_after(Some(n));
        let more: Vec<_> = (2..100).map(|i| q.recall(&want(i))).collect();
        let mut out = KVVec::new();
        let _ = q.take(1, 1000, 1000, &mut out);
        kernel::alloc::fail_after(None);
        let taken = out.len();
        let made = 1 + more.iter().filter(|r| r.is_ok()).count();
        assert_eq!(q.len(), made);
        assert_eq!(take(&mut q, 1, 1000).len() + taken, made);
        q.complete(1, a, Done::Ok).unwrap();
    }
}

#[test]
fn cancellations_need_no_room() {
    let mut q = Queue::new().unwrap();
    let a = q.recall(&want(1)).unwrap();
    let mut out = KVVec::new();
    assert_eq!(q.take(1, 10, 1, &mut out), Ok(1));
    q.recall(&want(2)).unwrap();
    assert!(!q.has_ready_for(1, 0) && q.has_ready_for(1, 1));
    assert!(q.leave(a));
    assert!(q.has_ready_for(1, 0));
    assert_eq!(q.take(1, 10, 0, &mut out), Ok(0));
    assert_eq!(
        out.iter().map(|r| (r.op, r.cookie)).collect::<Vec<_>>(),
        [(Op::Cancel, a)]
    );
    // It is told once; unless it could not be.
    assert!(!q.has_ready_for(1, 0));
    q.untake(1, &out[0]);
    assert!(q.has_ready_for(1, 0) && !q.has_ready_for(2, 0));
    assert_eq!(q.take(1, 10, 0, &mut out), Ok(0));
    assert_eq!(out.len(), 1);
    // Nobody is told of the end of a request that is wanted again.
    let again = q.recall(&want(1)).unwrap();
    assert_eq!(again, a);
    q.untake(1, &out[0]);
    assert!(!q.has_ready_for(1, 0));
}

#[test]
fn what_could_not_be_told_is_handed_out_again() {
    let mut q = Queue::new().unwrap();
    let a = q.recall(&want(1)).unwrap();
    // However often: it is no attempt.
    for _ in 0..10 {
        let got = take(&mut q, 1, 10);
        assert_eq!((got.len(), got[0].cookie, got[0].attempt), (1, a, 0));
        q.untake(2, &got[0]);
        assert!(!q.has_ready());
        q.untake(1, &got[0]);
        assert!(q.has_ready());
    }
    // The reader goes while it is with the agent: then it is gone.
    let got = take(&mut q, 1, 10);
    assert!(q.leave(a));
    q.untake(1, &got[0]);
    assert!(q.is_empty() && !q.has_ready());
}

/// Random calls against a model that only counts: no request is lost or served twice.
#[test]
fn random_calls_lose_nothing() {
    let mut seed = 0x1234_5678_9abc_def0u64;
    let mut random = move |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    let mut q = Queue::new().unwrap();
    let mut waiting: Vec<u64> = Vec::new();
    let mut handed: Vec<(u32, u64)> = Vec::new();
    for _ in 0..200_000 {
        match random(7) {
            0 | 1 => {
                let mut w = want(random(40));
                w.priority = random(8) as u8;
                waiting.push(q.recall(&w).unwrap());
            }
            2 if !waiting.is_empty() => {
                let cookie = waiting.swap_remove(random(waiting.len() as u64) as usize);
                q.leave(cookie);
            }
            3 => {
                let agent = random(2) as u32;
                for r in take(&mut q, agent, 3) {
                    if r.op == Op::Recall {
                        assert!(!handed.iter().any(|h| h.1 == r.cookie), "handed out twice");
                        handed.push((agent, r.cookie));
                    }
                }
            }
            4 if !handed.is_empty() => {
                let (agent, cookie) = handed.swap_remove(random(handed.len() as u64) as usize);
                let done =
                    [Done::Ok, Done::Retry, Done::Cancelled, Done::Failed(EIO)][random(4) as usize];
                q.complete(agent, cookie, done).unwrap();
            }
            5 if random(50) == 0 => {
                let agent = random(2) as u32;
                q.agent_gone(agent);
                handed.retain(|h| h.0 != agent);
            }
            _ => {
                waiting.retain(|&c| {
                    let pending = q.outcome(c) == Outcome::Pending;
                    if !pending {
                        q.leave(c);
                    }
                    pending
                });
            }
        }
    }
    while let Some(cookie) = waiting.pop() {
        q.leave(cookie);
    }
    for (agent, cookie) in handed {
        q.complete(agent, cookie, Done::Ok).unwrap();
    }
    assert!(q.is_empty(), "{} left", q.len());
}
