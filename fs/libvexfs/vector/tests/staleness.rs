// SPDX-License-Identifier: GPL-2.0

//! What a change of a file makes stale.

use crate::libvexfs::credits;
use crate::libvexfs::tests::{file, fresh, with, TestFs};
use crate::libvexfs::vector::stale::{CREDITS, EMBED_CREDITS};
use crate::libvexfs::vector::Record;
use crate::libvexfs::Inode;
use proptest::prelude::*;

fn note(fs: &TestFs, i: &mut Inode, start: u64, end: u64) -> bool {
    let needed = fs.needs_note(i, start, end).unwrap();
    let noted = with(fs, CREDITS, |t| fs.note_change(t, i, start, end)).unwrap();
    assert_eq!(needed, noted);
    assert!(!fs.needs_note(i, start, end).unwrap(), "noted once");
    noted
}

fn mark(fs: &TestFs, i: &mut Inode) -> u64 {
    with(fs, credits::INODE, |t| fs.mark(t, i)).unwrap()
}

fn embed(fs: &TestFs, i: &mut Inode, version: u64) {
    with(fs, EMBED_CREDITS, |t| fs.embed_into(t, i, 1, version)).unwrap();
}

fn of(off: u64, len: u64, version: u64) -> Record {
    Record {
        off,
        len,
        version,
        ..Record::default()
    }
}

#[test]
fn a_file_that_nothing_describes_costs_nothing() {
    let fs = fresh(1 << 14);
    let mut i = file(&fs);
    assert!(!note(&fs, &mut i, 0, 100));
    assert_eq!(i.data_version, 1);
}

#[test]
fn the_first_change_makes_a_version_and_only_its_range_stale() {
    let fs = fresh(1 << 14);
    let mut i = file(&fs);
    i.size = 1000;
    let v = mark(&fs, &mut i);
    embed(&fs, &mut i, v);
    assert!(!fs.is_stale(&i, &of(0, 0, v)).unwrap());
    assert!(note(&fs, &mut i, 100, 200));
    assert_eq!(i.data_version, v + 1);
    assert!(fs.is_stale(&i, &of(150, 10, v)).unwrap());
    assert!(
        fs.is_stale(&i, &of(0, 0, v)).unwrap(),
        "the whole file changed, too"
    );
    assert!(!fs.is_stale(&i, &of(0, 100, v)).unwrap());
    assert!(!fs.is_stale(&i, &of(200, 10, v)).unwrap());
    assert!(
        !fs.is_stale(&i, &of(150, 10, v + 1)).unwrap(),
        "described anew"
    );
    // Inside of it nothing is to be noted, besides it there is; no new version for that.
    assert!(!note(&fs, &mut i, 120, 130));
    assert!(note(&fs, &mut i, 300, 310));
    assert_eq!(i.data_version, v + 1);
    // Growing is noted once.
    assert!(note(&fs, &mut i, 1000, 1001));
    assert!(!note(&fs, &mut i, 5000, 9000));
    assert_eq!(fs.read_inode(i.ino).unwrap().attr, i.attr);
}

#[test]
fn a_write_between_mark_and_put_is_not_missed() {
    let fs = fresh(1 << 14);
    let mut i = file(&fs);
    i.size = 100;
    let v = mark(&fs, &mut i);
    assert!(
        note(&fs, &mut i, 0, 10),
        "the version counts though there is no record yet"
    );
    embed(&fs, &mut i, v);
    assert!(
        fs.is_stale(&i, &of(50, 10, v)).unwrap(),
        "nobody knows what changed"
    );
    let v = mark(&fs, &mut i);
    assert!(!fs.is_stale(&i, &of(50, 10, v)).unwrap());
}

#[test]
fn an_archived_file_makes_versions_without_ranges() {
    let fs = fresh(1 << 14);
    let mut i = file(&fs);
    i.size = 100;
    let before = i.attr;
    mark(&fs, &mut i);
    assert!(note(&fs, &mut i, 0, 10));
    assert!(!note(&fs, &mut i, 20, 30));
    assert_eq!((i.data_version, i.attr), (2, before));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 32 }))]

    /// Never calls a description good whose bytes were changed after it, whatever is merged.
    #[test]
    fn no_change_is_forgotten(
        steps in prop::collection::vec((0u8..8, 0u64..2000, 1u64..30), 1..250)
    ) {
        let fs = fresh(1 << 14);
        let mut i = file(&fs);
        i.size = 2000;
        let v = mark(&fs, &mut i);
        embed(&fs, &mut i, v);
        let mut changed = vec![0u64; 2030];
        let mut records = vec![];
        for (what, at, len) in steps {
            if what == 0 {
                let v = mark(&fs, &mut i);
                records.push(of(at, len, v));
                records.push(of(0, 0, v));
            } else {
                note(&fs, &mut i, at, at + len);
                changed[at as usize..(at + len) as usize].fill(i.data_version);
            }
        }
        for r in &records {
            let range = if r.whole() { 0..2030 } else { r.off as usize..(r.off + r.len) as usize };
            if changed[range].iter().any(|&v| v > r.version) {
                prop_assert!(fs.is_stale(&i, r).unwrap(), "{r:?}");
            }
        }
    }
}
