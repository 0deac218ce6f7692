// SPDX-License-Identifier: GPL-2.0

//! Collections and records over a store in memory, against a model. The store panics
//! when a transaction dirties more blocks than it asked for.

use crate::libvexfs::credits;
use crate::libvexfs::journal::Store;
use crate::libvexfs::tests::{file, fresh, taken, with, TestFs, NOW};
use crate::libvexfs::vector::collection::{Collection, Element, Metric, NewCollection};
use crate::libvexfs::vector::record::{
    Publish, Record, BASE_CREDITS, DROP_CREDITS, PUT_CREDITS, STEP,
};
use crate::libvexfs::vector::{key, MAX_DIM};
use crate::libvexfs::{Fs, Inode, Mode};
use crate::memory::MemoryStore;
use kernel::prelude::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn new(name: &[u8]) -> NewCollection<'_> {
    NewCollection {
        name,
        model: b"test",
        dim: 4,
        element: Element::F32,
        metric: Metric::L2,
        uid: 7,
        now: NOW,
    }
}

pub(super) fn create(fs: &TestFs, new: &NewCollection<'_>) -> Result<(Collection, Inode)> {
    let mut system = fs.read_inode(fs.sb.system_ino)?;
    let credits = Fs::<MemoryStore>::CREATE_COLLECTION;
    with(fs, credits, |t| fs.create_collection(t, &mut system, new))
}

pub(super) fn put(fs: &TestFs, inode: &mut Inode, items: &[Publish]) -> usize {
    with(fs, BASE_CREDITS + PUT_CREDITS, |t| {
        fs.publish_step(t, inode, items)
    })
    .unwrap()
}

pub(super) fn remove(fs: &TestFs, inode: &mut Inode, slots: &[u32]) -> usize {
    with(fs, BASE_CREDITS + DROP_CREDITS, |t| {
        fs.remove_step(t, inode, slots)
    })
    .unwrap()
}

pub(super) fn slots(fs: &TestFs, inode: &Inode, n: usize) -> KVec<u32> {
    let mut slots = KVec::new();
    fs.free_slots(inode, n, &mut slots).unwrap();
    assert_eq!(slots.len(), n);
    slots
}

pub(super) fn record(key: u64, ino: u64) -> Record {
    Record {
        key,
        ino,
        generation: 1,
        off: key * 10,
        len: 10,
        version: 1,
        ..Record::default()
    }
}

/// Compares all that the trees say with the model: key to owner.
fn compare(fs: &TestFs, inode: &Inode, model: &BTreeMap<u64, u64>) {
    let read = fs.read_inode(inode.ino).unwrap();
    assert_eq!(
        (read.attr, read.blocks),
        (inode.attr, inode.blocks),
        "not logged"
    );
    let counts = fs.vector_counts(inode).unwrap();
    assert_eq!(counts.live, model.len() as u64);
    let mut records = KVec::new();
    fs.records_from(inode, 0, usize::MAX, &mut records).unwrap();
    assert_eq!(records.len(), model.len());
    assert!(records.windows(2).all(|w| w[0].0 < w[1].0));
    for (slot, record) in &records {
        assert_eq!(model.get(&record.key), Some(&record.ino));
        assert_eq!(fs.slot_of_key(inode, record.key).unwrap(), Some(*slot));
        assert_eq!(fs.record(inode, *slot).unwrap(), Some(*record));
        assert_eq!(fs.free_slot(inode, *slot).unwrap(), None);
        assert_eq!(record.off, record.key * 10);
    }
    let mut keys = KVec::new();
    fs.slots_by_key(inode, 0, usize::MAX, &mut keys).unwrap();
    assert!(keys.iter().map(|k| k.0).eq(model.keys().copied()));
    for owner in model.values().collect::<BTreeSet<_>>() {
        let mut of_owner = KVec::new();
        fs.slots_by_owner(inode, *owner, 0, usize::MAX, &mut of_owner)
            .unwrap();
        let wanted = records.iter().filter(|r| r.1.ino == *owner).map(|r| r.0);
        assert!(of_owner.iter().copied().eq(wanted));
    }
    let mut free = 0;
    fs.tree_scan(inode.attr_root(), key::free(0), &mut |k, _| {
        free += u64::from(key::kind(k) == key::FREE);
        Ok(key::kind(k) == key::FREE)
    })
    .unwrap();
    assert_eq!(counts.free, free);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 24 }))]

    #[test]
    fn records_are_what_was_put_last(
        steps in prop::collection::vec((0u8..5, 0u64..60, 1usize..40), 1..40)
    ) {
        let fs = fresh(1 << 14);
        let (_, mut inode) = create(&fs, &new(b"c")).unwrap();
        let mut model = BTreeMap::new();
        for (what, first, n) in steps {
            match what {
                0 => fs.store.commit().unwrap(),
                1 => {
                    let keys: Vec<u64> = (first..first + n as u64 / 4).collect();
                    let gone: Vec<u32> = keys
                        .iter()
                        .filter_map(|k| fs.slot_of_key(&inode, *k).unwrap())
                        .chain([1 << 30])
                        .collect();
                    let mut done = 0;
                    while done < gone.len() {
                        done += remove(&fs, &mut inode, &gone[done..]);
                    }
                    keys.iter().for_each(|k| { model.remove(k); });
                }
                _ => {
                    let owner = 1000 + u64::from(what);
                    let items: Vec<Publish> = slots(&fs, &inode, n)
                        .iter()
                        .zip(first..)
                        .map(|(&slot, k)| Publish { slot, record: record(k % 70, owner) })
                        .collect();
                    let mut done = 0;
                    while done < items.len() {
                        let n = put(&fs, &mut inode, &items[done..]);
                        prop_assert!((1..=STEP).contains(&n));
                        done += n;
                    }
                    items.iter().for_each(|i| { model.insert(i.record.key, owner); });
                }
            }
            compare(&fs, &inode, &model);
        }
        prop_assert!(!fs.store.aborted());
    }
}

#[test]
fn a_freed_slot_waits_for_the_commit_of_what_freed_it() {
    let fs = fresh(1 << 14);
    let (_, mut inode) = create(&fs, &new(b"c")).unwrap();
    let first = slots(&fs, &inode, 3);
    assert_eq!(&first[..], &[0, 1, 2]);
    for slot in [0, 1, 2] {
        put(
            &fs,
            &mut inode,
            &[Publish {
                slot,
                record: record(slot.into(), 300),
            }],
        );
    }
    fs.store.commit().unwrap();
    assert_eq!(remove(&fs, &mut inode, &[1]), 1);
    assert_eq!(
        &slots(&fs, &inode, 2)[..],
        &[3, 4],
        "a crash now brings record 1 back"
    );
    fs.store.commit().unwrap();
    assert_eq!(&slots(&fs, &inode, 2)[..], &[1, 3]);
    put(
        &fs,
        &mut inode,
        &[Publish {
            slot: 1,
            record: record(9, 300),
        }],
    );
    let again = fs.record(&inode, 1).unwrap().unwrap();
    assert_eq!(
        (again.key, again.sequence),
        (9, 2),
        "the slot counts its records"
    );
}

#[test]
fn a_slot_that_is_in_use_is_not_taken() {
    let fs = fresh(1 << 14);
    let (_, mut inode) = create(&fs, &new(b"c")).unwrap();
    put(
        &fs,
        &mut inode,
        &[Publish {
            slot: 0,
            record: record(1, 300),
        }],
    );
    for slot in [0, 2] {
        let item = [Publish {
            slot,
            record: record(2, 300),
        }];
        let refused = with(&fs, BASE_CREDITS + PUT_CREDITS, |t| {
            fs.publish_step(t, &mut inode, &item)
        });
        assert!(refused.is_err(), "slot {slot}");
    }
    assert!(!fs.store.aborted(), "nothing was dirtied");
    compare(&fs, &inode, &[(1, 300)].into());
}

#[test]
fn a_full_disk_refuses_records_and_loses_none() {
    let fs = fresh(1 << 14);
    let (_, mut inode) = create(&fs, &new(b"c")).unwrap();
    // Somebody else takes most of it.
    while fs.available_blocks() > 400 {
        let want = fs.available_blocks() - 300;
        with(&fs, credits::REGION, |t| {
            fs.alloc_blocks(t, 0, want, Mode::Normal)
        })
        .unwrap();
    }
    let mut model = BTreeMap::new();
    let mut failure = None;
    for k in 0..1_000_000 {
        let slot = slots(&fs, &inode, 1)[0];
        let item = [Publish {
            slot,
            record: record(k, 300),
        }];
        match with(&fs, BASE_CREDITS + PUT_CREDITS, |t| {
            fs.publish_step(t, &mut inode, &item)
        }) {
            Ok(n) => assert_eq!(n, 1),
            Err(e) => {
                failure = Some(e);
                break;
            }
        }
        model.insert(k, 300);
    }
    assert_eq!(failure, Some(ENOSPC));
    assert!(!fs.store.aborted());
    assert!(model.len() > 1000);
    compare(&fs, &inode, &model);
    // Deleting works on a full disk.
    assert!(remove(&fs, &mut inode, &[0, 1, 2]) > 0);
}

#[test]
fn collections_have_names_and_ids_of_their_own() {
    let fs = fresh(1 << 14);
    let before = taken(&fs);
    let (a, inode) = create(&fs, &new(b"a")).unwrap();
    let (b, _) = create(
        &fs,
        &NewCollection {
            dim: MAX_DIM,
            ..new("b ü".as_bytes())
        },
    )
    .unwrap();
    assert_ne!(a.id, b.id);
    assert_eq!(
        (a.name.as_bytes(), a.dim, a.uid, a.created),
        (&b"a"[..], 4, 7, NOW)
    );
    assert_eq!(inode.state & crate::libvexfs::inode::STATE_INTERNAL, 1);
    assert_eq!(create(&fs, &new(b"a")).unwrap_err(), EEXIST);
    for (name, dim) in [(&b""[..], 4), (b"x/y", 4), (b"z", 0), (b"z", MAX_DIM + 1)] {
        assert_eq!(
            create(&fs, &NewCollection { dim, ..new(name) }).unwrap_err(),
            EINVAL
        );
    }
    let mut system = fs.read_inode(fs.sb.system_ino).unwrap();
    assert_eq!(fs.collection_named(&system, b"a").unwrap(), Some(a));
    assert_eq!(fs.collection_after(&system, 0).unwrap(), Some(a));
    assert_eq!(fs.collection_after(&system, a.id).unwrap(), Some(b));
    assert_eq!(fs.collection_after(&system, b.id).unwrap(), None);
    with(&fs, credits::REMOVE + credits::INODE, |t| {
        fs.remove_collection(t, &mut system, b.id)
    })
    .unwrap();
    assert_eq!(fs.collection(&system, b.id).unwrap(), None);
    let (c, _) = create(&fs, &new(b"c")).unwrap();
    assert!(c.id > b.id, "ids are not used again");
    assert!(before.len() <= taken(&fs).len());
}

#[test]
fn an_owner_knows_the_collections_that_describe_it() {
    use crate::libvexfs::vector::stale::EMBED_CREDITS;
    let fs = fresh(1 << 14);
    let mut owner = file(&fs);
    for id in [5, 2, 9] {
        with(&fs, EMBED_CREDITS, |t| fs.embed_into(t, &mut owner, id, 1)).unwrap();
    }
    let mut ids = vec![];
    while let Some(id) = fs
        .embedded_in_after(&owner, ids.last().copied().unwrap_or(0))
        .unwrap()
    {
        ids.push(id);
    }
    assert_eq!(ids, [2, 5, 9]);
    assert!(fs.is_embedded_in(&owner, 5).unwrap() && !fs.is_embedded_in(&owner, 6).unwrap());
    assert_eq!(
        with(&fs, EMBED_CREDITS, |t| fs.embed_into(t, &mut owner, 7, 2)).unwrap_err(),
        EINVAL,
        "a version that it never had"
    );
}

/// What fsck goes by: a record whose type is not compared by its metric is none.
#[test]
fn types_go_with_their_metrics() {
    for element in 0..7u8 {
        for metric in 0..7u8 {
            let mut value = vec![0; 48];
            value[..8].copy_from_slice(&[16, 0, 0, 0, element, metric, 4, 0]);
            value.extend(b"name");
            let known = (1..=4).contains(&element) && (1..=4).contains(&metric);
            let fits = known && (element == 4) == (metric == 4);
            let parsed = Collection::parse(7, &value);
            assert_eq!(parsed.is_ok(), fits, "type {element} metric {metric}");
            if let Ok(collection) = parsed {
                let stride = [0, 64, 32, 16, 2][usize::from(element)];
                assert_eq!(collection.stride(), stride);
                assert_eq!(collection.offset(3), 3 * stride);
            }
        }
    }
}
