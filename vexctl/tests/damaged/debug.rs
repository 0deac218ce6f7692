// SPDX-License-Identifier: GPL-2.0

//! `vexctl debug`: what it shows is what is there, and damage is named, not stumbled over.

use crate::Lab;
use serde_json::Value;
use vexfs::crash::Random;
use vexfs::libvexfs::format::inode::place;
use vexfs::libvexfs::journal::{Store, Trans, BLOCK_SIZE};

fn list<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    value[name]
        .as_array()
        .unwrap_or_else(|| panic!("no list {name} in {value}"))
}

fn problems(value: &Value) -> String {
    value["problems"].to_string()
}

/// The root's entries: name, inode, type.
fn root_entries(lab: &Lab) -> Vec<(String, u64, String)> {
    let (_, dir) = lab.debug(&["dir", "/"]);
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    list(&dir, "list")
        .iter()
        .map(|e| {
            (
                text(&e["name"]),
                e["inode"].as_u64().unwrap(),
                text(&e["type"]),
            )
        })
        .collect()
}

#[test]
fn a_whole_volume_is_shown_as_it_is() {
    let lab = Lab::new(1);
    let sb = lab.sb();
    let (code, shown) = lab.debug(&["superblock"]);
    assert_eq!(
        (code, &shown["root_inode"]),
        (0, &Value::from(sb.root_ino)),
        "{shown}"
    );
    let (code, all) = lab.debug(&["superblock", "--all"]);
    assert_eq!(code, 0);
    assert!(list(&all, "superblocks").len() > 2, "{all}");

    let (code, groups) = lab.debug(&["groups"]);
    let count = sb.geometry.group_count as usize;
    assert_eq!((code, list(&groups, "groups").len()), (0, count));
    let mut chunks = 0;
    for number in 0..count {
        let (code, group) = lab.debug(&["group", &number.to_string()]);
        assert_eq!(code, 0, "{group}");
        for region in list(&group, "regions") {
            if region["bitmap_written"] == true {
                assert_eq!(region["free"], region["free_in_bitmap"], "{region}");
            }
        }
        chunks += list(&group, "chunks").len();
    }
    assert!(chunks > 0);

    let entries = root_entries(&lab);
    let (_, root) = lab.debug(&["inode", "/"]);
    assert_eq!(root["entries"], Value::from(entries.len()));
    assert_eq!(root["inode"], Value::from(sb.root_ino));
    for (name, ino, kind) in &entries {
        let (code, inode) = lab.debug(&["inode", &format!("/{name}")]);
        assert_eq!(code, 0, "{inode}");
        assert_eq!(
            (
                &inode["inode"],
                inode["type"].as_str(),
                &inode["free_in_chunk"]
            ),
            (&Value::from(*ino), Some(&kind[..]), &Value::from(false))
        );
        let number = ino.to_string();
        let (code, records) = lab.debug(&["attributes", &number]);
        assert_eq!(code, 0, "{records}");
        let named = list(&records, "records")
            .iter()
            .any(|r| r["record"] == "parent" && r["name"] == **name && r["inode"] == sb.root_ino);
        assert!(named, "{records}");
        if kind == "file" {
            let (code, extents) = lab.debug(&["extents", &number]);
            assert_eq!(code, 0, "{extents}");
            let (code, tree) = lab.debug(&["tree", &number]);
            assert_eq!(code, 0);
            let count = list(&extents, "extents").len();
            assert_eq!(tree["records"], Value::from(count), "{tree}");
            for node in list(&tree, "nodes").iter().filter(|n| n["root"] == false) {
                let (code, block) = lab.debug(&["block", &node["block"].to_string()]);
                assert_eq!(
                    (code, &block["owner"], &block["entries"]),
                    (0, &Value::from(*ino), &node["entries"]),
                    "{block}"
                );
            }
        }
    }
    let (code, journal) = lab.debug(&["journal"]);
    assert_eq!((code, &journal["empty"]), (0, &Value::from(true)));
    // People get text, and errors that say what is not there.
    let text = lab.ok(&["debug", lab.path(), "dir", "/"]);
    assert!(text.contains(&entries[0].0), "{text}");
    let (code, missing) = lab.debug(&["inode", "/no/such"]);
    assert_eq!(code, 4);
    assert!(
        missing["error"].as_str().unwrap().contains("'no'"),
        "{missing}"
    );
}

#[test]
fn each_damage_is_named() {
    let lab = Lab::new(2);
    let sb = lab.sb();
    let size = BLOCK_SIZE as u64;
    let entries = root_entries(&lab);
    let (name, ino, _) = entries.iter().find(|e| e.2 == "file").unwrap();

    // The superblock: there are copies, and one can be asked for by its block.
    lab.smash(0, &[0; BLOCK_SIZE]);
    let (code, root) = lab.debug(&["inode", "/"]);
    assert_eq!(code, 3);
    assert!(problems(&root).contains("copy in block"), "{root}");
    let (code, first) = lab.debug(&["superblock"]);
    assert_eq!(code, 3);
    assert!(problems(&first).contains("magic is wrong"), "{first}");
    let copy = sb.geometry.group_start(1).to_string();
    let (code, root) = lab.debug(&["--superblock", &copy, "inode", "/"]);
    assert_eq!((code, &root["type"]), (0, &Value::from("directory")));
    vexfs::volume::write_superblock(&lab.disk(), &sb).unwrap();

    // An inode with impossible fields is shown with them.
    let (bno, at) = place(*ino).unwrap();
    lab.edit(sb.csum_seed, bno, |body| body[at + 112] = 0xff);
    let (code, inode) = lab.debug(&["inode", &ino.to_string()]);
    assert_eq!(code, 3);
    assert!(problems(&inode).contains("impossible fields"), "{inode}");
    assert!(inode["state"].to_string().contains("0xe0"), "{inode}");

    // A block whose checksum is wrong: what it says is shown all the same.
    lab.smash(bno * size + 3_000, &[7; 3]);
    let (code, block) = lab.debug(&["block", &bno.to_string()]);
    assert_eq!((code, &block["checksum"]), (3, &Value::from(false)));
    assert_eq!(list(&block, "inodes").len(), 7);

    // A directory of which a leaf is gone still has the others.
    let (_, tree) = lab.debug(&["tree", "/"]);
    if let Some(leaf) = list(&tree, "nodes").iter().find(|n| n["root"] == false) {
        let leaf = leaf["block"].as_u64().unwrap();
        lab.smash(leaf * size, &[0; BLOCK_SIZE]);
        let (code, dir) = lab.debug(&["dir", "/"]);
        assert_eq!(code, 3);
        assert!(problems(&dir).contains(&leaf.to_string()), "{dir}");
    }
    let (code, _) = lab.debug(&["inode", &format!("/{name}/deeper")]);
    assert!(code == 1 || code == 4);

    // The journal.
    lab.smash(sb.journal_start * size, &[1; 512]);
    let (code, journal) = lab.debug(&["journal"]);
    assert_eq!(code, 3);
    assert!(
        problems(&journal).contains("superblock of a journal"),
        "{journal}"
    );

    for beyond in ["999999999", "18446744073709551615"] {
        assert_eq!(lab.debug(&["block", beyond]).0, 1);
        assert_eq!(lab.debug(&["inode", beyond]).0, 1);
    }
    assert_eq!(lab.debug(&["group", "4000000000"]).0, 1);
    assert_eq!(lab.debug(&["inode", "7"]).0, 1);
    lab.smash(0, &vec![0; 64 << 20]);
    let (code, nothing) = lab.debug(&["inode", "/"]);
    assert_eq!(code, 1);
    assert!(
        nothing["error"].as_str().unwrap().contains("no superblock"),
        "{nothing}"
    );
    assert_eq!(lab.debug(&["block", "5"]).1["looks_like"], "zeros");
}

/// The log of a volume that was not unmounted: the kernel's words in ours.
#[test]
fn transactions_are_shown_with_their_blocks() {
    let lab = Lab::new(3);
    {
        let fs = vexfs::volume::open(lab.disk()).unwrap();
        for label in [b'a', b'b'] {
            let mut t = fs
                .store
                .begin(vexfs::libvexfs::credits::SUPERBLOCK)
                .unwrap();
            fs.update_superblock(&mut t, |sb| sb.label[0] = label)
                .unwrap();
            t.stop().unwrap();
            fs.store.commit().unwrap();
        }
    }
    let (code, journal) = lab.debug(&["journal", "--blocks"]);
    assert_eq!(code, 0, "{journal}");
    let all = list(&journal, "transactions");
    assert_eq!(all.len(), 2, "{journal}");
    for transaction in all {
        let copies = list(transaction, "copies");
        assert_eq!(transaction["checksum"], true);
        assert_eq!(
            (
                &copies[0]["block"],
                &copies[0]["is"],
                &copies[0]["checksum"]
            ),
            (
                &Value::from(0),
                &Value::from("superblock"),
                &Value::from(true)
            ),
            "{copies:?}"
        );
    }
    // Through the journal, and as it is in place.
    let label = |args: &[&str]| lab.debug(args).1["label"].as_str().unwrap().to_owned();
    assert!(label(&["superblock"]).starts_with('b'));
    assert!(!label(&["--no-replay", "superblock"]).starts_with('b'));
    // A copy in the log that went bad.
    let at = all[1]["copies"][0]["in_log"].as_u64().unwrap() * BLOCK_SIZE as u64;
    lab.smash(at + 100, &[0xee]);
    let (_, journal) = lab.debug(&["journal", "--blocks"]);
    let copy = &list(&journal, "transactions")[1]["copies"][0];
    assert_eq!(copy["checksum"], false, "{journal}");
    assert!(
        problems(&journal).contains("wrong checksum of the copy"),
        "{journal}"
    );
}

/// Whatever is on the disk, it ends, and does not panic (`Lab::run` looks for that).
#[test]
fn no_damage_makes_it_fall() {
    let lab = Lab::new(4);
    let whole = std::fs::read(lab.image()).unwrap();
    let sb = lab.sb();
    let used = lab.metadata(&sb);
    for seed in 1..=12 {
        lab.smash(0, &whole);
        for n in 0..12 {
            lab.damage(100 * seed + n, sb.csum_seed, &used);
        }
        let mut random = Random::new(seed);
        let bno = used[random.below(used.len() as u64) as usize].to_string();
        let block = used[random.below(used.len() as u64) as usize];
        let ino = ((block << 3) | (1 + random.below(7))).to_string();
        let all: [&[&str]; 10] = [
            &["superblock", "--all"],
            &["groups"],
            &["group", "0"],
            &["dir", "/"],
            &["inode", &ino],
            &["extents", &ino],
            &["attributes", &ino],
            &["tree", &ino],
            &["tree", "--chunks", "0"],
            &["block", &bno],
        ];
        for args in all {
            let (code, shown) = lab.debug(args);
            assert!(
                (0..=4).contains(&code),
                "seed {seed}: {args:?}: {code} {shown}"
            );
        }
    }
}
