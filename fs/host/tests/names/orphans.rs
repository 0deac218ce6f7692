// SPDX-License-Identifier: GPL-2.0

//! What is half freed, and what else is done to it.

use crate::volume::{Volume, SMALL};
use vexfs::libvexfs::credits;
use vexfs::libvexfs::format::inode::{STATE_ORPHAN, S_IFLNK, S_IFREG};
use vexfs::libvexfs::namespace::NewInode;
use vexfs::libvexfs::orphan;

#[test]
fn a_long_symbolic_link_that_is_half_freed_is_in_order() {
    let mut volume = Volume::new(SMALL);
    let target = [b't'; 2500];
    let new = NewInode {
        mode: S_IFLNK | 0o777,
        target: &target,
        ..NewInode::default()
    };
    let root = volume.root();
    let ino = volume.create(root, b"link", new).unwrap();
    volume.unlink(root, b"link", ino).unwrap();
    let mut steps = 0;
    loop {
        volume.fsck();
        let step = volume.run(credits::REAP_STEP, &[ino], &mut |fs, t, i| {
            fs.reap_step(t, &mut i[0])
        });
        steps += 1;
        if step.unwrap() {
            break;
        }
    }
    assert!(steps > 1, "it was freed in one transaction");
    volume.inodes.remove(&ino);
    volume.fsck();
}

#[test]
fn a_new_name_does_not_end_the_cutting_of_a_file() {
    let mut volume = Volume::new(SMALL);
    let new = NewInode {
        mode: S_IFREG | 0o644,
        ..NewInode::default()
    };
    let root = volume.root();
    let ino = volume.create(root, b"file", new).unwrap();
    volume
        .run(credits::ORPHAN + credits::INODE, &[ino], &mut |fs, t, i| {
            fs.orphan_add(t, &mut i[0], orphan::TRUNCATE)?;
            fs.log_inode(t, &i[0])
        })
        .unwrap();
    volume.link(root, b"other", ino).unwrap();
    assert!(volume.get(ino).state & STATE_ORPHAN != 0);
    let group = (0..volume.fs.group_count()).find(|g| {
        let next = volume.fs.orphan_record_next(*g, ino).unwrap();
        next == Some((ino, orphan::TRUNCATE))
    });
    assert!(group.is_some(), "its orphan record is gone");
    volume.fsck();
}
