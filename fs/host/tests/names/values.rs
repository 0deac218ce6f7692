// SPDX-License-Identifier: GPL-2.0

//! Extended attributes and symbolic links: sizes, hash collisions, damage.

use crate::volume::{Volume, SMALL};
use kernel::prelude::*;
use vexfs::libvexfs::attr::kind;
use vexfs::libvexfs::errno::{enametoolong, enodata, euclean};
use vexfs::libvexfs::format::inode::{S_IFLNK, S_IFREG};
use vexfs::libvexfs::journal::{Store, Trans};
use vexfs::libvexfs::namespace::NewInode;
use vexfs::libvexfs::xattr::{record, Initial, SetMode};
use vexfs::libvexfs::{credits, Mode};

fn new_file(volume: &mut Volume, name: &[u8]) -> u64 {
    let new = NewInode {
        mode: S_IFREG | 0o644,
        ..NewInode::default()
    };
    volume.create(volume.root(), name, new).unwrap()
}

fn set(volume: &mut Volume, ino: u64, name: &[u8], value: Option<&[u8]>) -> Result {
    let now = volume.now();
    let i = volume.get(ino).clone();
    let credits = volume
        .fs
        .xattr_credits(&i, 1, name, value.map(<[u8]>::len))?;
    volume.run(credits, &[ino], &mut |fs, t, i| {
        fs.xattr_set(t, &mut i[0], 1, name, value, SetMode::Any, now)
    })
}

fn get(volume: &mut Volume, ino: u64, name: &[u8]) -> Result<Vec<u8>> {
    let i = volume.get(ino).clone();
    let len = volume.fs.xattr_get(&i, 1, name, &mut [])?;
    let mut buf = vec![0; len];
    assert_eq!(volume.fs.xattr_get(&i, 1, name, &mut buf), Ok(len));
    Ok(buf)
}

/// Changes the attribute tree by hand.
fn raw(volume: &mut Volume, ino: u64, kind: u8, key: u128, value: Option<&[u8]>) {
    let mut i = volume.get(ino).clone();
    let credits = credits::INSERT + credits::REMOVE + 1;
    let mut t = volume.store.begin(credits).unwrap();
    let fs = &volume.fs;
    let mut space = fs.space(0, credits::blocks::INSERT, Mode::Normal).unwrap();
    match value {
        Some(value) => fs.attr_put(&mut t, &mut space, &mut i, kind, key, value),
        None => fs.attr_remove(&mut t, &mut i, kind, key),
    }
    .unwrap();
    fs.log_inode(&mut t, &i).unwrap();
    t.stop().unwrap();
    drop(space);
    volume.inodes.insert(ino, i);
}

#[test]
fn values_of_every_size_come_back() {
    let mut volume = Volume::new(SMALL);
    let ino = new_file(&mut volume, b"file");
    let free = volume.fs.free_blocks();
    let fill = |len: usize| (0..len).map(|i| (i ^ len) as u8).collect::<Vec<u8>>();
    let sizes = [0, 1, 500, 990, 991, 1000, 1001, 2000, 5000, 65_535, 65_536];
    for &a in &sizes {
        for &b in &sizes {
            set(&mut volume, ino, b"name", Some(&fill(a))).unwrap();
            set(&mut volume, ino, b"other", Some(&fill(b))).unwrap();
            set(&mut volume, ino, b"name", Some(&fill(b))).unwrap();
            assert_eq!(get(&mut volume, ino, b"name").unwrap(), fill(b));
            assert_eq!(get(&mut volume, ino, b"other").unwrap(), fill(b));
        }
        volume.fsck();
    }
    assert_eq!(
        set(&mut volume, ino, b"name", Some(&fill(65_537))),
        Err(E2BIG)
    );
    set(&mut volume, ino, b"name", None).unwrap();
    set(&mut volume, ino, b"other", None).unwrap();
    assert_eq!(get(&mut volume, ino, b"name"), Err(enodata()));
    assert_eq!(volume.get(ino).blocks, 0);
    assert_eq!(volume.fs.free_blocks(), free);
}

#[test]
fn impossible_attributes_are_refused() {
    let mut volume = Volume::new(SMALL);
    let ino = new_file(&mut volume, b"file");
    for name in [&b""[..], &[b'n'; 256], b"a\0b"] {
        assert_eq!(set(&mut volume, ino, name, Some(b"v")), Err(EINVAL));
        assert_eq!(get(&mut volume, ino, name), Err(EINVAL));
    }
    assert_eq!(set(&mut volume, ino, b"none", None), Err(enodata()));
}

#[test]
fn attributes_of_equal_hash_live_side_by_side() {
    let mut volume = Volume::new(SMALL);
    let ino = new_file(&mut volume, b"file");
    let hash = record::hash(&volume.fs.sb.hash_key, 1, b"name");
    let key = |n: u128| u128::from(hash) << record::COUNTER_BITS | n;
    let other = [&record::format_head(1, b"other", 2)[..], b"otherxx"].concat();
    raw(&mut volume, ino, kind::XATTR, key(0), Some(&other));
    raw(&mut volume, ino, kind::XATTR, key(2), Some(&other));
    assert_eq!(get(&mut volume, ino, b"name"), Err(enodata()));
    set(&mut volume, ino, b"name", Some(b"value")).unwrap();
    assert_eq!(get(&mut volume, ino, b"name").unwrap(), b"value");
    let i = volume.get(ino).clone();
    let there = volume.fs.attr_lookup(&i, kind::XATTR, key(1), |_| ());
    assert_eq!(there, Ok(Some(())));
    set(&mut volume, ino, b"name", None).unwrap();
    assert_eq!(get(&mut volume, ino, b"name"), Err(enodata()));
}

#[test]
fn a_used_chunk_id_is_passed_over() {
    let mut volume = Volume::new(SMALL);
    let ino = new_file(&mut volume, b"file");
    let id = record::hash(&volume.fs.sb.hash_key, 1, b"name") as u32;
    raw(
        &mut volume,
        ino,
        kind::CHUNK,
        record::chunk_key(id, 5),
        Some(b"mine"),
    );
    set(&mut volume, ino, b"name", Some(&[7; 3000])).unwrap();
    assert_eq!(get(&mut volume, ino, b"name").unwrap(), [7; 3000]);
    set(&mut volume, ino, b"name", Some(&[8; 4000])).unwrap();
    assert_eq!(get(&mut volume, ino, b"name").unwrap(), [8; 4000]);
    let i = volume.get(ino).clone();
    let mine = volume
        .fs
        .attr_lookup(&i, kind::CHUNK, record::chunk_key(id, 5), <[u8]>::to_vec);
    assert_eq!(mine, Ok(Some(b"mine".to_vec())));
}

#[test]
fn damaged_values_are_reported_and_nothing_is_changed() {
    let mut volume = Volume::new(SMALL);
    let ino = new_file(&mut volume, b"file");
    set(&mut volume, ino, b"name", Some(&[7; 3000])).unwrap();
    let id = record::hash(&volume.fs.sb.hash_key, 1, b"name") as u32;
    for wrong in [None, Some(&[1u8; 999][..])] {
        raw(
            &mut volume,
            ino,
            kind::CHUNK,
            record::chunk_key(id, 1),
            wrong,
        );
        let i = volume.get(ino).clone();
        let mut buf = [0; 3000];
        assert_eq!(
            volume.fs.xattr_get(&i, 1, b"name", &mut buf),
            Err(euclean())
        );
    }
    raw(
        &mut volume,
        ino,
        kind::CHUNK,
        record::chunk_key(id, 1),
        None,
    );
    assert_eq!(set(&mut volume, ino, b"name", None), Err(euclean()));
    assert_eq!(set(&mut volume, ino, b"name", Some(b"v")), Err(euclean()));
    assert!(!volume.store.aborted());
}

#[test]
fn targets_of_every_size_come_back() {
    let mut volume = Volume::new(SMALL);
    let root = volume.root();
    fn link(target: &[u8]) -> NewInode<'_> {
        NewInode {
            mode: S_IFLNK | 0o777,
            target,
            ..NewInode::default()
        }
    }
    let mut links = Vec::new();
    for len in [1, 179, 180, 181, 192, 999, 1000, 1001, 2000, 4094, 4095] {
        let target = vec![b't'; len];
        let name = format!("link {len}").into_bytes();
        links.push((
            volume.create(root, &name, link(&target)).unwrap(),
            name,
            len,
        ));
    }
    assert_eq!(
        volume.create(root, b"x", link(&[b't'; 4096])),
        Err(enametoolong())
    );
    assert_eq!(volume.create(root, b"x", link(b"")), Err(EINVAL));
    assert_eq!(volume.create(root, b"x", link(b"a\0b")), Err(EINVAL));
    volume.remount();
    volume.fsck();
    for (ino, name, len) in links {
        let i = volume.get(ino).clone();
        let mut target = KVec::new();
        volume.fs.read_symlink(&i, &mut target).unwrap();
        assert_eq!(&target[..], &vec![b't'; len][..]);
        volume.unlink(root, &name, ino).unwrap();
        volume.reap(ino).unwrap();
    }
    volume.fsck();
    let i = volume.get(root).clone();
    assert_eq!(volume.fs.read_symlink(&i, &mut KVec::new()), Err(EINVAL));
}

#[test]
fn a_new_inode_has_its_first_attributes() {
    let mut volume = Volume::new(SMALL);
    let free = volume.fs.free_blocks();
    let root = volume.root();
    let long: Vec<u8> = (0..record::VALUE_MAX).map(|i| (i * 7) as u8).collect();
    for (n, lengths) in [
        vec![0],
        vec![40, 900, 1],
        vec![65_536, 65_536, 2_000, 30, 990],
    ]
    .into_iter()
    .enumerate()
    {
        let names: Vec<Vec<u8>> = (0..lengths.len())
            .map(|n| format!("name{n}").into_bytes())
            .collect();
        let attrs: Vec<Initial<'_>> = names
            .iter()
            .zip(&lengths)
            .map(|(name, &len)| Initial {
                index: 1,
                name,
                value: &long[..len],
            })
            .collect();
        let target = vec![b't'; 4_000];
        for (kind, target) in [(S_IFREG, &[][..]), (S_IFLNK, &target)] {
            let new = NewInode {
                mode: kind | 0o600,
                target,
                attrs: &attrs,
                ..NewInode::default()
            };
            let name = format!("{n}-{kind:o}").into_bytes();
            let ino = volume.create(root, &name, new).unwrap();
            for (a, len) in attrs.iter().zip(&lengths) {
                assert_eq!(get(&mut volume, ino, a.name).unwrap(), long[..*len]);
                let too = set(&mut volume, ino, a.name, Some(b"short"));
                assert_eq!(too, Ok(()));
            }
        }
        volume.fsck();
    }
    let too_long = [Initial {
        index: 1,
        name: b"n",
        value: &vec![0; record::VALUE_MAX + 1],
    }];
    let new = NewInode {
        mode: S_IFREG | 0o600,
        attrs: &too_long,
        ..NewInode::default()
    };
    assert_eq!(volume.create(root, b"no", new), Err(E2BIG));
    assert!(volume.fs.free_blocks() < free);
}
