// SPDX-License-Identifier: GPL-2.0

//! Quota: what is booked, and where limits stop whom.

use super::{file, fresh, with, TestFs, NOW};
use crate::libvexfs::alloc::Mode;
use crate::libvexfs::credits;
use crate::libvexfs::errno::edquot;
use crate::libvexfs::format::inode::{S_IFDIR, S_IFREG};
use crate::libvexfs::format::quota::{Record, GRACE_DEFAULT};
use crate::libvexfs::journal::Store;
use crate::libvexfs::namespace::NewInode;
use crate::libvexfs::quota::{qtype, Caller, Owners};
use crate::libvexfs::{Fs, Inode};
use kernel::prelude::*;

const START: i64 = 1_000_000;

fn caller(fs: &TestFs, now: i64) {
    fs.store.set_caller(Caller { exempt: false, now });
}

/// A file system on which limits hold.
fn limited() -> TestFs {
    let fs = fresh(1 << 14);
    fs.quota_enforce(7);
    caller(&fs, START);
    fs
}

fn has(fs: &TestFs, qtype: usize, id: u32) -> (u64, u64) {
    let r = fs.quota_get(qtype, id).unwrap().unwrap_or_default();
    (r.blocks.used, r.inodes.used)
}

fn limit(fs: &TestFs, qtype: usize, id: u32, set: impl FnOnce(&mut Record)) {
    fs.quota_set(qtype, id, |r, _| set(r)).unwrap();
}

fn create(fs: &TestFs, name: &[u8], owners: [u32; 3], mode: u16) -> Result<Inode> {
    fs.quota_open(&Owners(owners))?;
    let mut root = fs.read_inode(fs.sb.root_ino)?;
    let new = NewInode {
        mode,
        uid: owners[0],
        gid: owners[1],
        projid: owners[2],
        now: NOW,
        ..NewInode::default()
    };
    with(fs, credits::CREATE, |t| fs.create(t, &mut root, name, &new))
}

fn grow(fs: &TestFs, i: &mut Inode, at: u64, len: u64) -> Result<u64> {
    with(fs, credits::EXTENT_ALLOC, |t| {
        Ok(fs.allocate(t, i, at, len, 0, Mode::Normal)?.len())
    })
}

/// Everything, counted anew by who checks.
fn assert_adds_up(fs: &TestFs) {
    struct Said(Vec<String>);
    impl crate::libvexfs::check::Reporter for Said {
        fn problem(&mut self, problem: &crate::libvexfs::check::Problem) {
            self.0.push(problem.to_string());
        }
    }
    fs.store.commit().unwrap();
    let mut said = Said(Vec::new());
    let sb = fs.superblock();
    crate::libvexfs::check::check(&fs.store, &sb, &mut said, Default::default()).unwrap();
    said.0.retain(|what| what.contains("quota"));
    assert!(said.0.is_empty(), "{:#?}", said.0);
}

#[test]
fn what_inodes_say_is_booked() {
    let fs = limited();
    assert_eq!(has(&fs, qtype::USER, 0), (0, 1));
    let mut i = create(&fs, b"f", [5, 6, 7], S_IFREG | 0o600).unwrap();
    assert_eq!(has(&fs, qtype::USER, 0), (0, 1));
    for (q, id) in [(0, 5), (1, 6), (2, 7)] {
        assert_eq!(has(&fs, q, id), (0, 1));
    }
    let got = grow(&fs, &mut i, 0, 100).unwrap();
    assert_eq!(has(&fs, qtype::USER, 5), (got, 1));
    // Tree nodes count, too.
    for n in 0..40 {
        grow(&fs, &mut i, 1000 + 2 * n, 1).unwrap();
    }
    assert!(i.blocks > got + 40);
    assert_eq!(has(&fs, qtype::GROUP, 6), (i.blocks, 1));

    // A new user, and another project at a time; the group stays.
    fs.quota_open(&Owners([50, 6, 70])).unwrap();
    with(&fs, credits::INODE + credits::QUOTA, |t| {
        (i.uid, i.projid) = (50, 70);
        fs.log_inode(t, &i)
    })
    .unwrap();
    assert_eq!(has(&fs, qtype::USER, 5), (0, 0));
    assert_eq!(has(&fs, qtype::USER, 50), (i.blocks, 1));
    assert_eq!(has(&fs, qtype::GROUP, 6), (i.blocks, 1));
    assert_eq!(has(&fs, qtype::PROJECT, 7), (0, 0));
    assert_eq!(has(&fs, qtype::PROJECT, 70), (i.blocks, 1));
    assert_adds_up(&fs);

    let mut root = fs.read_inode(fs.sb.root_ino).unwrap();
    with(&fs, credits::UNLINK, |t| {
        fs.unlink(t, &mut root, b"f", &mut i, NOW)
    })
    .unwrap();
    assert_eq!(has(&fs, qtype::USER, 50), (i.blocks, 1));
    while !with(&fs, credits::REAP_STEP, |t| fs.reap_step(t, &mut i)).unwrap() {}
    assert_eq!(has(&fs, qtype::USER, 50), (0, 0));
    assert_eq!(has(&fs, qtype::GROUP, 6), (0, 0));
    assert_adds_up(&fs);
}

#[test]
fn many_owners_fill_a_tree() {
    let fs = limited();
    for n in 0..200u32 {
        let kind = if n % 3 == 0 { S_IFDIR } else { S_IFREG };
        let owners = [n * 7_919 % 1000, n, u32::MAX - 1 - n];
        create(&fs, format!("f{n}").as_bytes(), owners, kind | 0o700).unwrap();
    }
    assert!(fs.quota_inode().unwrap().1 > 3);
    let (mut at, mut seen) = (0, 0);
    while let Some((id, r)) = fs.quota_next(qtype::PROJECT, at).unwrap() {
        seen += r.inodes.used;
        match id.checked_add(1) {
            Some(next) => at = next,
            None => break,
        }
    }
    assert_eq!(seen, 201);
    assert_adds_up(&fs);
    // And is read again.
    fs.store.commit().unwrap();
    let again = Fs::open(fs.store.clone(), fs.superblock()).unwrap();
    assert_eq!(has(&again, qtype::GROUP, 100), (0, 1));
}

#[test]
fn hard_limits_give_what_is_left() {
    let fs = limited();
    let mut i = create(&fs, b"f", [5, 6, 0], S_IFREG | 0o600).unwrap();
    limit(&fs, qtype::USER, 5, |r| r.blocks.hard = 10);
    limit(&fs, qtype::GROUP, 6, |r| r.blocks.hard = 8);
    assert_eq!(grow(&fs, &mut i, 0, 100).unwrap(), 8);
    assert_eq!(grow(&fs, &mut i, 8, 1).err(), Some(edquot()));
    // Nobody checks what is not enforced, or one who is exempt.
    fs.quota_enforce(1 << qtype::USER);
    assert_eq!(grow(&fs, &mut i, 8, 100).unwrap(), 2);
    fs.store.set_caller(Caller {
        exempt: true,
        now: START,
    });
    assert_eq!(grow(&fs, &mut i, 10, 5).unwrap(), 5);
    caller(&fs, START);
    assert_eq!(has(&fs, qtype::USER, 5), (15, 1));

    limit(&fs, qtype::USER, 9, |r| r.inodes.hard = 1);
    create(&fs, b"g", [9, 6, 0], S_IFREG | 0o600).unwrap();
    let refused = create(&fs, b"h", [9, 6, 0], S_IFREG | 0o600);
    assert_eq!(refused.err(), Some(edquot()));
    assert!(!fs.store.aborted());
    let to = |ids| fs.quota_may_move(&i, &Owners(ids)).err();
    assert_eq!(to([9, 6, 0]), Some(edquot()));
    assert_eq!(to([8, 7, 1]), None);
    // It stays whose it is, limits or not.
    assert_eq!(to([5, 6, 0]), None);
    assert_adds_up(&fs);
}

#[test]
fn what_is_claimed_is_not_there_for_others() {
    let fs = limited();
    fs.quota_open(&Owners([5, 6, 7])).unwrap();
    limit(&fs, qtype::USER, 5, |r| {
        (r.blocks.hard, r.inodes.hard) = (10, 2);
    });
    let owners = Owners([5, 6, 7]);
    let first = fs.quota_claim(&owners, 7, 1).unwrap();
    let second = fs.quota_claim(&owners, 7, 1).unwrap();
    assert_eq!((first.blocks(), second.blocks()), (7, 3));
    assert_eq!(fs.quota_claim(&owners, 1, 0).err(), Some(edquot()));
    assert_eq!(fs.quota_claim(&owners, 0, 1).err(), Some(edquot()));
    drop(first);
    let third = fs.quota_claim(&owners, 100, 1).unwrap();
    assert_eq!(third.blocks(), 7);
    drop((second, third));
    assert_eq!(fs.quota_claim(&owners, 100, 2).unwrap().blocks(), 10);
}

#[test]
fn soft_limits_hold_when_time_is_up() {
    let fs = limited();
    let mut i = create(&fs, b"f", [5, 6, 7], S_IFREG | 0o600).unwrap();
    limit(&fs, qtype::PROJECT, 7, |r| r.blocks.soft = 4);
    assert_eq!(grow(&fs, &mut i, 0, 4).unwrap(), 4);
    let deadline = || {
        let r = fs.quota_get(qtype::PROJECT, 7).unwrap().unwrap();
        r.blocks.deadline
    };
    assert_eq!(deadline(), 0);
    assert_eq!(grow(&fs, &mut i, 4, 4).unwrap(), 4);
    let end = START + GRACE_DEFAULT as i64;
    assert_eq!(deadline(), end);
    caller(&fs, end);
    assert_eq!(grow(&fs, &mut i, 8, 1).unwrap(), 1);
    caller(&fs, end + 1);
    assert_eq!(grow(&fs, &mut i, 9, 1).err(), Some(edquot()));
    while !with(&fs, credits::TRUNCATE, |t| fs.truncate_step(t, &mut i, 3)).unwrap() {}
    assert_eq!(deadline(), 0);
    assert_eq!(grow(&fs, &mut i, 3, 1).unwrap(), 1);
    fs.quota_set_grace(qtype::PROJECT, |g| g.blocks = 10)
        .unwrap();
    assert_eq!(grow(&fs, &mut i, 4, 1).unwrap(), 1);
    assert_eq!(deadline(), end + 11);
}

#[test]
fn inodes_that_nobody_sees_are_nobodys() {
    let fs = limited();
    let before = has(&fs, qtype::USER, 0);
    limit(&fs, qtype::USER, 0, |r| r.blocks.hard = 1);
    let mut i = file(&fs);
    assert_eq!(has(&fs, qtype::USER, 0).1, before.1 + 1);
    with(&fs, credits::INODE, |t| {
        i.state |= crate::libvexfs::format::inode::STATE_INTERNAL;
        fs.log_inode(t, &i)
    })
    .unwrap();
    assert_eq!(has(&fs, qtype::USER, 0), before);
    assert!(grow(&fs, &mut i, 0, 20).unwrap() > 1);
    assert_eq!(has(&fs, qtype::USER, 0), before);
}
