// SPDX-License-Identifier: GPL-2.0

//! What the quota inode says is counted again, and put right.

use crate::mend::{mend, open_store};
use crate::sample::sample;
use crate::workload::describe;
use crate::{assert_clean, check_store};
use vexfs::libvexfs::attr::kind;
use vexfs::libvexfs::credits;
use vexfs::libvexfs::format::quota::{record_key, Record};
use vexfs::libvexfs::journal::{Store, Trans};
use vexfs::libvexfs::quota::qtype;
use vexfs::volume;

#[test]
fn what_owners_have_is_put_right() {
    let s = sample(31);
    let disk = s.disk.clone();
    let fs = volume::open(&disk).unwrap();
    let right = fs.quota_get(qtype::USER, 0).unwrap().unwrap();
    assert!(right.inodes.used > 1 && right.blocks.used > 0);
    fs.quota_set(qtype::USER, 0, |r, _| {
        r.blocks.used += 3;
        r.inodes.hard = 77;
    })
    .unwrap();
    // Nobody has anything, but has a limit.
    fs.quota_set(qtype::GROUP, 40, |r, _| {
        (r.inodes.used, r.inodes.hard) = (5, 9);
    })
    .unwrap();
    // Somebody has something, and no record.
    let mut inode = fs.read_inode(s.sb.quota_ino).unwrap();
    let mut t = fs.store.begin(credits::REMOVE + credits::INODE).unwrap();
    let key = record_key(qtype::PROJECT, 0);
    fs.attr_remove(&mut t, &mut inode, kind::QUOTA, key)
        .unwrap();
    fs.log_inode(&mut t, &inode).unwrap();
    t.stop().unwrap();
    fs.store.close().unwrap();
    drop(fs);

    let store = open_store(&disk, &s.sb);
    let (outcome, problems) = check_store(&store, &s.sb);
    let quota = |what: &&String| what.contains("quota: ");
    assert_eq!(problems.iter().filter(quota).count(), 3, "{problems:#?}");
    assert_eq!((outcome.problems, outcome.damage), (3, 0), "{problems:#?}");
    let (done, _) = mend(&store, &s.sb);
    assert!(done.changed && done.outcome.problems == 0);
    assert_clean(&store, &s.sb, "after the repair");
    store.close().unwrap();
    let fs = volume::open(&disk).unwrap();
    let user = fs.quota_get(qtype::USER, 0).unwrap().unwrap();
    assert_eq!(
        (user.blocks, user.inodes.used),
        (right.blocks, right.inodes.used)
    );
    assert_eq!(user.inodes.hard, 77);
    let group = fs.quota_get(qtype::GROUP, 40).unwrap().unwrap();
    assert_eq!((group.inodes.used, group.inodes.hard), (0, 9));
    let project = fs.quota_get(qtype::PROJECT, 0).unwrap();
    let have = Record {
        blocks: right.blocks,
        inodes: right.inodes,
    };
    assert_eq!(project, Some(have));
    assert_eq!(describe(&fs), s.state);
}

#[test]
fn a_volume_whose_quota_inode_is_lost_goes_on_without() {
    let s = sample(32);
    let disk = s.with_inode(s.sb.quota_ino, |b| b[112] = 0);
    let store = open_store(&disk, &s.sb);
    let (_, problems) = check_store(&store, &s.sb);
    let lost = |what: &&String| what.contains("limits are lost");
    assert_eq!(problems.iter().filter(lost).count(), 1, "{problems:#?}");
    let (done, _) = mend(&store, &s.sb);
    assert_eq!(done.outcome.problems, 0);
    assert!(!done.sb.has_quota() && done.sb.quota_ino == 0);
    store.close().unwrap();
    assert!(!volume::open(&disk).unwrap().has_quota());
}
