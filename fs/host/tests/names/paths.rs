// SPDX-License-Identifier: GPL-2.0

//! From inodes to paths, and what happens when both sides of a link disagree.

use crate::volume::{All, Volume, SMALL};
use kernel::prelude::*;
use std::collections::BTreeSet;
use vexfs::libvexfs::attr::kind;
use vexfs::libvexfs::errno::{enametoolong, euclean};
use vexfs::libvexfs::format::inode::{S_IFDIR, S_IFREG};
use vexfs::libvexfs::journal::{Store, Trans};
use vexfs::libvexfs::namespace::{NewInode, Rename, RENAME_EXCHANGE};
use vexfs::libvexfs::parent::{record, Ancestors};
use vexfs::libvexfs::{credits, Inode, Mode};

fn new(mode: u16) -> NewInode<'static> {
    NewInode {
        mode,
        ..NewInode::default()
    }
}

const DIR: u16 = S_IFDIR | 0o755;
const FILE: u16 = S_IFREG | 0o644;

/// Ancestors some of which may not be searched.
struct Guarded<'a>(All<'a>, BTreeSet<u64>);

impl Ancestors for Guarded<'_> {
    fn with(&mut self, ino: u64, f: &mut dyn FnMut(&Inode) -> Result) -> Result {
        match self.1.contains(&ino) {
            true => Err(EACCES),
            false => self.0.with(ino, f),
        }
    }
}

fn path(volume: &Volume, forbidden: &[u64], ino: u64, root: u64) -> Result<Option<String>> {
    let generation = volume.fs.read_inode(ino)?.generation;
    let mut ancestors = Guarded(All(&volume.fs), forbidden.iter().copied().collect());
    let mut path = KVec::new();
    let found = volume
        .fs
        .path_of(&mut ancestors, ino, generation, root, &mut path)?;
    Ok(found.then(|| String::from_utf8(path.to_vec()).unwrap()))
}

#[test]
fn every_link_that_may_be_walked_is_a_way() {
    let mut volume = Volume::new(SMALL);
    let root = volume.root();
    let a = volume.create(root, b"a", new(DIR)).unwrap();
    let b = volume.create(root, b"b", new(DIR)).unwrap();
    let c = volume.create(b, b"c", new(DIR)).unwrap();
    let file = volume.create(a, b"one", new(FILE)).unwrap();
    volume.link(c, b"two", file).unwrap();
    let both = ["a/one", "b/c/two"].map(|p| Ok(Some(p.to_string())));
    assert!(both.contains(&path(&volume, &[], file, root)));
    assert_eq!(path(&volume, &[a], file, root), both[1]);
    assert_eq!(path(&volume, &[c], file, root), both[0]);
    assert_eq!(path(&volume, &[b], file, root), both[0]);
    assert_eq!(path(&volume, &[a, b], file, root), Ok(None));
    assert_eq!(path(&volume, &[root], file, root), Ok(None));
    // Below a directory, only what is there counts.
    assert_eq!(path(&volume, &[], file, b), Ok(Some("c/two".into())));
    assert_eq!(path(&volume, &[], a, b), Ok(None));
    assert_eq!(path(&volume, &[], b, b), Ok(Some(String::new())));
    assert_eq!(path(&volume, &[], root, b), Ok(None));
    // Nobody is below a file.
    assert_eq!(path(&volume, &[], c, file), Ok(None));
}

#[test]
fn an_inode_that_is_another_now_has_no_path() {
    let mut volume = Volume::new(SMALL);
    let root = volume.root();
    let dir = volume.create(root, b"dir", new(DIR)).unwrap();
    let file = volume.create(dir, b"file", new(FILE)).unwrap();
    let generation = volume.get(file).generation;
    let ask = |volume: &Volume| {
        let mut path = KVec::new();
        volume
            .fs
            .path_of(&mut All(&volume.fs), file, generation, root, &mut path)
    };
    assert_eq!(ask(&volume), Ok(true));
    volume.unlink(dir, b"file", file).unwrap();
    assert_eq!(ask(&volume), Ok(false));
    volume.reap(file).unwrap();
    assert_eq!(ask(&volume), Ok(false));
    let again = volume.create(dir, b"file", new(FILE)).unwrap();
    assert_eq!(again, file, "the number is reused");
    assert_eq!(ask(&volume), Ok(false));
}

#[test]
fn a_path_longer_than_can_be_is_an_error() {
    let mut volume = Volume::new(SMALL);
    let root = volume.root();
    let mut dir = root;
    let mut deep = Vec::new();
    for _ in 0..16 {
        dir = volume.create(dir, &[b'd'; 255], new(DIR)).unwrap();
        deep.push(dir);
    }
    // Sixteen names and fifteen slashes make 4,095 bytes.
    let longest = path(&volume, &[], deep[15], root).unwrap().unwrap();
    assert_eq!(longest.len(), 4095);
    let file = volume.create(dir, b"f", new(FILE)).unwrap();
    assert_eq!(path(&volume, &[], file, root), Err(enametoolong()));
    assert_eq!(path(&volume, &[], file, deep[15]), Ok(Some("f".into())));
    // A shorter one is as good.
    volume.link(deep[3], b"f", file).unwrap();
    let shorter = path(&volume, &[], file, root).unwrap().unwrap();
    assert_eq!(shorter.len(), 4 * 256 + 1);
    let leaf = volume.get(deep[15]).clone();
    assert_eq!(volume.fs.is_below(&leaf, deep[0]), Ok(true));
    let top = volume.get(deep[0]).clone();
    assert_eq!(volume.fs.is_below(&top, deep[15]), Ok(false));
}

/// Puts a parent pointer in, or takes it out, behind everybody's back.
fn pointer(volume: &mut Volume, ino: u64, dir: (u64, u32), cookie: u64, name: Option<&[u8]>) {
    let mut i = volume.get(ino).clone();
    let key = record::key(dir.0, cookie).unwrap();
    let fs = &volume.fs;
    let mut t = volume
        .store
        .begin(credits::INSERT + credits::REMOVE + 1)
        .unwrap();
    let mut space = fs.space(0, credits::blocks::INSERT, Mode::Normal).unwrap();
    match name {
        Some(name) => {
            let value = [&dir.1.to_le_bytes()[..], name].concat();
            fs.attr_put(&mut t, &mut space, &mut i, kind::PARENT, key, &value)
        }
        None => fs.attr_remove(&mut t, &mut i, kind::PARENT, key),
    }
    .unwrap();
    fs.log_inode(&mut t, &i).unwrap();
    t.stop().unwrap();
    drop(space);
    volume.inodes.insert(ino, i);
}

#[test]
fn pointers_that_no_entry_confirms_lead_nowhere() {
    let mut volume = Volume::new(SMALL);
    let root = volume.root();
    let generation = volume.get(root).generation;
    let file = volume.create(root, b"file", new(FILE)).unwrap();
    let other = volume.create(root, b"other", new(FILE)).unwrap();
    let cookie = |volume: &mut Volume, name: &[u8]| {
        let i = volume.get(root).clone();
        volume.fs.lookup(&i, name).unwrap().unwrap().cookie
    };
    let file_cookie = cookie(&mut volume, b"file");
    let other_cookie = cookie(&mut volume, b"other");
    // The entry of another inode.
    pointer(&mut volume, file, (root, generation), file_cookie, None);
    pointer(
        &mut volume,
        file,
        (root, generation),
        other_cookie,
        Some(b"other"),
    );
    assert_eq!(path(&volume, &[], file, root), Ok(None));
    pointer(&mut volume, file, (root, generation), other_cookie, None);
    // Another name, another generation of the directory, no entry at all.
    for (generation, at, name) in [
        (generation, file_cookie, &b"other"[..]),
        (generation ^ 1, file_cookie, b"file"),
        (generation, file_cookie + 1, b"file"),
    ] {
        pointer(&mut volume, file, (root, generation), at, Some(name));
        assert_eq!(path(&volume, &[], file, root), Ok(None));
        pointer(&mut volume, file, (root, generation), at, None);
    }
    // In the middle of it all, one that is right.
    pointer(&mut volume, file, (root, generation), 5, Some(b"file"));
    pointer(
        &mut volume,
        file,
        (root, generation),
        file_cookie,
        Some(b"file"),
    );
    assert_eq!(path(&volume, &[], file, root), Ok(Some("file".into())));
    assert_eq!(path(&volume, &[], other, root), Ok(Some("other".into())));
}

#[test]
fn a_loop_of_pointers_ends() {
    let mut volume = Volume::new(SMALL);
    let root = volume.root();
    let a = volume.create(root, b"a", new(DIR)).unwrap();
    let b = volume.create(a, b"b", new(DIR)).unwrap();
    let root_entry = volume.entries(root)[0].0;
    let root_generation = volume.get(root).generation;
    // What a rename that nobody guarded would do: a into b.
    pointer(&mut volume, a, (root, root_generation), root_entry, None);
    let entry = volume.entries(a)[0].0;
    let b_generation = volume.get(b).generation;
    pointer(&mut volume, a, (b, b_generation), entry, Some(b"b"));
    assert_eq!(path(&volume, &[], b, root), Ok(None));
    let i = volume.get(b).clone();
    assert!(volume.fs.is_below(&i, root).is_err());
}

#[test]
fn damaged_links_are_reported_before_anything_changes() {
    let mut volume = Volume::new(SMALL);
    let root = volume.root();
    let generation = volume.get(root).generation;
    let dir = volume.create(root, b"dir", new(DIR)).unwrap();
    let one = volume.create(root, b"one", new(FILE)).unwrap();
    let two = volume.create(root, b"two", new(FILE)).unwrap();
    let cookie = |volume: &mut Volume, name: &[u8]| {
        let i = volume.get(root).clone();
        volume.fs.lookup(&i, name).unwrap().unwrap().cookie
    };
    let one_cookie = cookie(&mut volume, b"one");
    let exchange = |volume: &mut Volume| {
        let now = volume.now();
        volume.run(credits::RENAME, &[root, one, two], &mut |fs, t, i| {
            let mut i = i.iter_mut();
            let rename = Rename {
                old_dir: i.next().unwrap(),
                old_name: b"one",
                old: i.next().unwrap(),
                new_dir: None,
                new_name: b"two",
                new: i.next(),
                flags: RENAME_EXCHANGE,
                whiteout: NewInode::default(),
                now,
            };
            fs.rename(t, rename).map(drop)
        })
    };
    let before = volume.save();
    // An entry without its pointer.
    pointer(&mut volume, one, (root, generation), one_cookie, None);
    assert_eq!(volume.unlink(root, b"one", one), Err(euclean()));
    assert_eq!(exchange(&mut volume), Err(euclean()));
    // A pointer where one is to be made.
    volume = Volume::restore(&before);
    pointer(
        &mut volume,
        two,
        (root, generation),
        one_cookie,
        Some(b"one"),
    );
    assert_eq!(exchange(&mut volume), Err(euclean()));
    volume = Volume::restore(&before);
    volume.link(dir, b"three", one).unwrap();
    let three = volume.entries(dir)[0].0;
    volume.unlink(dir, b"three", one).unwrap();
    let dir_generation = volume.get(dir).generation;
    pointer(
        &mut volume,
        one,
        (dir, dir_generation),
        three,
        Some(b"three"),
    );
    assert_eq!(volume.link(dir, b"three", one), Err(euclean()));
    // An orphan that is not in the list.
    volume = Volume::restore(&before);
    let tmp = volume.tmpfile(root, new(FILE)).unwrap();
    let mut t = volume.store.begin(credits::ORPHAN).unwrap();
    volume.fs.orphan_record_remove(&mut t, tmp).unwrap();
    t.stop().unwrap();
    assert_eq!(volume.link(dir, b"tmp", tmp), Err(euclean()));
    assert_eq!(volume.reap(tmp), Err(euclean()));
    // A name that belongs to somebody else meanwhile.
    assert!(volume.unlink(root, b"one", two).is_err());
    assert!(!volume.store.aborted());
}
