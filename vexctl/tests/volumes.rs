// SPDX-License-Identifier: GPL-2.0

//! mkfs.vexfs, fsck.vexfs and info on images, as scripts call them.

use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;
use std::os::unix::fs::symlink;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const BLOCK: u64 = 4096;

/// A directory with the tools under their names, and an image.
struct Lab {
    dir: TempDir,
}

impl Lab {
    fn new(size: u64) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        for name in ["mkfs.vexfs", "fsck.vexfs"] {
            symlink(env!("CARGO_BIN_EXE_vexctl"), dir.path().join(name)).unwrap();
        }
        let lab = Lab { dir };
        std::fs::File::create(lab.image())
            .unwrap()
            .set_len(size)
            .unwrap();
        lab
    }

    /// The same, with a file system in it.
    fn made() -> Lab {
        let lab = Lab::new(64 << 20);
        assert_eq!(lab.mkfs(&[]).0, 0);
        lab
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn run(&self, name: &str, args: &[&str]) -> (i32, Output) {
        let program = match name {
            "vexctl" => Path::new(env!("CARGO_BIN_EXE_vexctl")).to_owned(),
            _ => self.dir.path().join(name),
        };
        let output = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.code().unwrap(), output)
    }

    fn tool(&self, name: &str, options: &[&str]) -> (i32, String) {
        let image = self.image();
        let args = [options, &[image.to_str().unwrap()]].concat();
        let (code, output) = self.run(name, &args);
        let text = [output.stdout, output.stderr].concat();
        (code, String::from_utf8(text).unwrap())
    }

    fn mkfs(&self, options: &[&str]) -> (i32, String) {
        self.tool("mkfs.vexfs", options)
    }

    fn fsck(&self, options: &[&str]) -> (i32, String) {
        self.tool("fsck.vexfs", options)
    }

    fn json(&self, name: &str, options: &[&str]) -> Vec<Value> {
        let (_, text) = self.tool(name, options);
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.image()).unwrap()
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let image = std::fs::OpenOptions::new()
            .write(true)
            .open(self.image())
            .unwrap();
        image.write_all_at(bytes, at).unwrap();
    }

    fn info(&self) -> Value {
        let image = self.image();
        let (code, output) = self.run("vexctl", &["--json", "info", image.to_str().unwrap()]);
        assert_eq!(code, 0);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

#[test]
fn what_was_asked_for_is_made() {
    let lab = Lab::new(300 << 20);
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    let options = [
        "-L", "cold", "-U", uuid, "-b", "4096", "-J", "size=8", "-g", "16384", "--json",
    ];
    let made = &lab.json("mkfs.vexfs", &options)[0];
    assert_eq!(made["uuid"], uuid);
    let info = lab.info();
    assert_eq!(
        (&info["uuid"], &info["label"]),
        (&made["uuid"], &made["label"])
    );
    assert_eq!(info["label"], "cold");
    assert_eq!(info["journal_blocks"], 2048);
    assert_eq!(info["group_blocks"], 16384);
    assert_eq!(info["blocks"].as_u64().unwrap(), (300 << 20) / BLOCK);
    assert_eq!(lab.fsck(&["-f", "-n"]).0, 0);
}

#[test]
fn a_smaller_file_system_than_the_device_can_be_made() {
    let lab = Lab::new(200 << 20);
    let image = lab.image();
    let (code, _) = lab.run(
        "mkfs.vexfs",
        &["-q", "-b", "4096", image.to_str().unwrap(), "20480"],
    );
    assert_eq!(code, 0);
    assert_eq!(lab.info()["blocks"], 20480);
    let (code, output) = lab.run("mkfs.vexfs", &[image.to_str().unwrap(), "1000000"]);
    assert_eq!(code, 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("51200 blocks"));
}

#[test]
fn what_is_there_is_overwritten_in_scripts() {
    let lab = Lab::made();
    let first = lab.info()["uuid"].clone();
    assert_eq!(lab.mkfs(&[]).0, 0);
    assert_ne!(lab.info()["uuid"], first);
    assert_eq!(lab.mkfs(&["-f", "-q"]), (0, String::new()));
    assert_eq!(lab.fsck(&["-n"]).0, 0);
}

#[test]
fn impossible_wishes_are_refused_and_nothing_is_written() {
    let lab = Lab::new(64 << 20);
    for options in [
        &["-b", "1024"][..],
        &["-J", "size=2"],
        &["-J", "8"],
        &["-g", "5000"],
        &["-U", "nonsense"],
        &["-L", &"x".repeat(64)],
        &["--no-such-option"],
    ] {
        let (code, text) = lab.mkfs(options);
        assert!(code == 1 || code == 2, "{options:?}: {code} {text}");
        assert!(text.contains("error"), "{options:?}: {text}");
    }
    assert!(lab.bytes().iter().all(|b| *b == 0));
    let small = Lab::new(63 << 20);
    let (code, text) = small.mkfs(&[]);
    assert!(code == 1 && text.contains("64 MiB"), "{code} {text}");
    assert_eq!(lab.mkfs(&["-n"]).0, 0);
    assert!(lab.bytes().iter().all(|b| *b == 0));
}

#[test]
fn an_image_in_use_is_refused() {
    let lab = Lab::made();
    let file = std::fs::File::open(lab.image()).unwrap();
    let _lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
    for (name, code) in [("mkfs.vexfs", 1), ("fsck.vexfs", 8)] {
        let (got, text) = lab.tool(name, &[]);
        assert!(
            got == code && text.contains("in use"),
            "{name}: {got} {text}"
        );
    }
}

#[test]
fn looking_changes_nothing() {
    let lab = Lab::made();
    // Damage that would be put right.
    lab.write(2 * BLOCK + 8, &[1]);
    let before = lab.bytes();
    let (code, text) = lab.fsck(&["-n"]);
    assert!(code == 4 && text.contains("checksum"), "{code} {text}");
    assert!(lab.bytes() == before);
}

#[test]
fn exit_codes_are_those_of_fsck() {
    let lab = Lab::made();
    for options in [
        &["-n"][..],
        &["-p"],
        &["-a"],
        &["-y"],
        &["-f", "-y"],
        &["-C0", "-p"],
    ] {
        let (code, text) = lab.fsck(options);
        assert!(
            code == 0 && text.contains("clean"),
            "{options:?}: {code} {text}"
        );
    }
    assert_eq!(lab.fsck(&["-n", "-y"]).0, 16);
    assert_eq!(lab.run("fsck.vexfs", &["/nonexistent"]).0, 8);
    assert_eq!(lab.run("fsck.vexfs", &[]).0, 16);
    assert_eq!(lab.run("fsck.vexfs", &["--help"]).0, 0);
    let empty = Lab::new(64 << 20);
    assert_eq!(empty.fsck(&["-n"]).0, 8);
    // A count is put right by -y, and only there is nobody asked.
    lab.write(2 * BLOCK + 8, &[1]);
    assert_eq!(lab.fsck(&["-f"]).0, 4);
    assert_eq!(lab.fsck(&["-y"]).0, 1);
    assert_eq!(lab.fsck(&["-f", "-n"]).0, 0);
}

#[test]
fn a_lost_superblock_comes_back_from_a_copy() {
    let lab = Lab::made();
    let before = lab.info();
    lab.write(0, &[0; BLOCK as usize]);
    let (code, text) = lab.fsck(&["-n"]);
    assert!(code == 4 && text.contains("copy"), "{code} {text}");
    let image = lab.image();
    let (code, output) = lab.run("vexctl", &["info", image.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(!output.stderr.is_empty());
    assert_eq!(lab.fsck(&["-y"]).0, 1);
    assert_eq!(lab.info(), before);
    assert_eq!(lab.fsck(&["-f", "-n"]).0, 0);
}

#[test]
fn a_lost_journal_is_made_anew_when_that_is_asked_for() {
    let lab = Lab::made();
    let start = lab.info()["journal_start"].as_u64().unwrap();
    lab.write(start * BLOCK, &[0; 4096]);
    let (code, text) = lab.fsck(&["-n"]);
    assert!(code == 4 && text.contains("journal"), "{code} {text}");
    assert_eq!(lab.fsck(&["-p"]).0, 4);
    assert_eq!(lab.fsck(&["-y"]).0, 1);
    assert_eq!(lab.fsck(&["-f", "-n"]).0, 0);
}

#[test]
fn problems_are_objects_in_json() {
    let lab = Lab::made();
    lab.write(2 * BLOCK + 8, &[1]);
    let lines = lab.json("fsck.vexfs", &["-n", "--json"]);
    let (last, problems) = lines.split_last().unwrap();
    assert_eq!(last["exit"], 4);
    assert_eq!(last["problems"], problems.len());
    assert!(problems
        .iter()
        .all(|p| p["fixable"].is_boolean() && p["problem"].is_string()));
}

#[test]
fn manuals_and_completions_are_there() {
    let lab = Lab::new(0);
    let dir = lab.dir.path().join("man");
    let (code, _) = lab.run("vexctl", &["man", "--dir", dir.to_str().unwrap()]);
    assert_eq!(code, 0);
    for page in ["vexctl.8", "vexctl-info.8", "mkfs.vexfs.8", "fsck.vexfs.8"] {
        assert!(dir.join(page).exists(), "{page}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let (code, output) = lab.run("vexctl", &["completions", shell]);
        assert!(code == 0 && !output.stdout.is_empty());
    }
}
