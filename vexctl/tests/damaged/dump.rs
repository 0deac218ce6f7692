// SPDX-License-Identifier: GPL-2.0

//! `vexctl dump` and `undump`: fsck says of the copy what it says of the volume, and no file's contents are in it.

use crate::Lab;
use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use vexfs::libvexfs::journal::BLOCK_SIZE;

impl Lab {
    fn copy(&self) -> PathBuf {
        let (file, copy) = (self.dir.path().join("dump"), self.dir.path().join("copy"));
        let (file, to) = (file.to_str().unwrap(), copy.to_str().unwrap());
        self.ok(&["dump", "-f", self.path(), file]);
        self.ok(&["undump", "-f", file, to]);
        copy
    }

    /// What fsck -n says, but for the name of the image.
    fn verdict(&self, image: &std::path::Path) -> (i32, Vec<Value>) {
        let (code, mut lines) = self.fsck(image, "-n");
        for line in &mut lines {
            if let Some(map) = line.as_object_mut() {
                map.remove("device");
            }
        }
        (code, lines)
    }
}

#[test]
fn the_copy_of_a_whole_volume_is_clean_and_small() {
    let lab = Lab::new(31);
    let copy = lab.copy();
    let verdict = lab.verdict(&copy);
    assert_eq!(verdict.0, 0, "{verdict:?}");
    assert_eq!(verdict, lab.verdict(&lab.image()));
    let (of_copy, of_image) = (copy.metadata().unwrap(), lab.image().metadata().unwrap());
    assert_eq!(of_copy.len(), of_image.len());
    assert!(of_copy.blocks() < of_image.blocks(), "not sparse");

    // Each extent of each file reads as zeros.
    let whole = std::fs::read(&copy).unwrap();
    let (_, root) = lab.debug(&["dir", "/"]);
    let mut data = 0;
    for entry in root["list"].as_array().unwrap() {
        if entry["type"] != "file" {
            continue;
        }
        let (_, extents) = lab.debug(&["extents", &entry["inode"].to_string()]);
        for e in extents["extents"].as_array().unwrap() {
            let (from, len) = (e["from"].as_u64().unwrap(), e["blocks"].as_u64().unwrap());
            if e["state"] == "written" {
                let range = from as usize * BLOCK_SIZE..(from + len) as usize * BLOCK_SIZE;
                assert!(whole[range].iter().all(|b| *b == 0), "{e}");
                data += len;
            }
        }
    }
    assert!(data > 0, "the sample has file data");
}

#[test]
fn the_copy_of_a_damaged_volume_is_as_damaged() {
    let lab = Lab::new(32);
    let whole = std::fs::read(lab.image()).unwrap();
    let sb = lab.sb();
    let used = lab.metadata(&sb);
    let mut bad = 0;
    for seed in 1..=25 {
        lab.smash(0, &whole);
        lab.damage(seed, sb.csum_seed, &used);
        if seed % 5 == 0 {
            lab.smash(sb.journal_start * BLOCK_SIZE as u64, &[1; 64]);
        }
        if seed % 7 == 0 {
            lab.smash(0, &[0; BLOCK_SIZE]);
        }
        let copy = lab.copy();
        let (before, after) = (lab.verdict(&lab.image()), lab.verdict(&copy));
        assert_eq!(before, after, "seed {seed}");
        bad += i32::from(before.0 == 4);
        // A repair finds in the copy what it finds in the volume.
        let (mended, of_copy) = (lab.fsck(&lab.image(), "-y"), lab.fsck(&copy, "-y"));
        assert_eq!(mended.0, of_copy.0, "seed {seed}");
        assert_eq!(
            lab.verdict(&lab.image())
                .1
                .last()
                .map(|l| l["files"].clone()),
            lab.verdict(&copy).1.last().map(|l| l["files"].clone()),
            "seed {seed}"
        );
    }
    assert!(bad > 15, "only {bad} were damaged");
}

#[test]
fn nothing_is_written_over_and_nothing_half_made_stays() {
    let lab = Lab::new(33);
    let file = lab.dir.path().join("dump");
    let copy = lab.dir.path().join("copy");
    let (dump, to) = (file.to_str().unwrap(), copy.to_str().unwrap());
    lab.ok(&["dump", lab.path(), dump]);
    assert_eq!(lab.run(&["dump", lab.path(), dump]).0, 1);
    assert_eq!(lab.run(&["undump", dump, lab.path()]).0, 1);
    assert_eq!(lab.run(&["dump", "-f", lab.path(), "/dev/null"]).0, 1);
    assert_eq!(lab.run(&["undump", lab.path(), to]).0, 1);
    assert!(!copy.exists());
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let (code, output) = lab.run(&["undump", dump, to]);
    assert_eq!(code, 1);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("ends too early or is damaged"), "{text}");
    assert!(!copy.exists());
}
