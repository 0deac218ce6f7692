// SPDX-License-Identifier: GPL-2.0

//! Volumes with some of everything in them, whole and damaged, under the tools as people call them.

mod debug;
mod dump;
mod killed;
#[path = "../../../fs/host/tests/volume/workload.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "what the tests of the library share"
)]
mod workload;

use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use vexfs::crash::Random;
use vexfs::disk::FileDisk;
use vexfs::file_store::seal_in_place;
use vexfs::libvexfs::format::{le64, Superblock};
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::{BLOCK_SIZE, SEAL_SIZE};
use vexfs::volume;

/// An image in a directory of its own.
pub struct Lab {
    pub dir: TempDir,
}

impl Lab {
    /// A volume with some of everything.
    pub fn new(seed: u64) -> Lab {
        let lab = Lab {
            dir: tempfile::tempdir().unwrap(),
        };
        let file = File::create(lab.image()).unwrap();
        file.set_len(64 << 20).unwrap();
        lab.ok(&["mkfs", "-q", lab.path()]);
        let mut work = workload::Work::new(volume::open(lab.disk()).unwrap(), seed);
        for _ in 0..700 {
            work.step();
        }
        work.fill();
        volume::close(&work.fs).unwrap();
        lab
    }

    pub fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// The image's path, as an argument.
    pub fn path(&self) -> &'static str {
        // Arguments outlive each test anyway.
        Box::leak(self.image().to_str().unwrap().to_owned().into_boxed_str())
    }

    pub fn disk(&self) -> FileDisk {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.image())
            .unwrap();
        FileDisk::new(file).unwrap()
    }

    pub fn sb(&self) -> Superblock {
        volume::superblock(&self.disk()).unwrap()
    }

    /// Changes a block; its checksum is right again.
    pub fn edit(&self, seed: u32, bno: u64, change: impl FnOnce(&mut [u8])) {
        let disk = self.disk();
        let mut block = [0; BLOCK_SIZE];
        disk.read(bno, &mut block).unwrap();
        change(&mut block[SEAL_SIZE..]);
        seal_in_place(seed, bno, &mut block);
        disk.write(bno, &block).unwrap();
    }

    /// Writes over some bytes, checksum or not.
    pub fn smash(&self, at: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(self.image()).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }

    /// Damages some metadata, at random, so that fsck has something to say.
    pub fn damage(&self, seed: u64, csum_seed: u32, used: &[u64]) {
        let mut random = Random::new(seed);
        for _ in 0..3 + random.below(5) {
            let bno = used[random.below(used.len() as u64) as usize];
            let at = random.below(4_000) as usize;
            match random.below(3) {
                0 => self.smash(bno * BLOCK_SIZE as u64, &[0; BLOCK_SIZE]),
                1 => self.smash(bno * BLOCK_SIZE as u64 + at as u64, &[0x5a; 16]),
                _ => self.edit(csum_seed, bno, |body| {
                    for byte in &mut body[at..at + 8] {
                        *byte = random.below(256) as u8;
                    }
                }),
            }
        }
    }

    /// Blocks that say that they are metadata and lie where they lie.
    pub fn metadata(&self, sb: &Superblock) -> Vec<u64> {
        let journal = volume::region(sb).unwrap();
        let magics = [*b"VXGH", *b"VXBM", *b"VXIB", *b"VXTN"];
        let image = std::fs::read(self.image()).unwrap();
        let is_metadata = |bno: &u64| {
            let body = &image[*bno as usize * BLOCK_SIZE + SEAL_SIZE..];
            le64(body, 8) == *bno && magics.iter().any(|magic| body.starts_with(magic))
        };
        (1..sb.geometry.block_count)
            .filter(|bno| !journal.contains(*bno))
            .filter(is_metadata)
            .collect()
    }

    /// Runs vexctl.
    pub fn run(&self, args: &[&str]) -> (i32, Output) {
        let output = Command::new(Path::new(env!("CARGO_BIN_EXE_vexctl")))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let code = output.status.code();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains("panicked"), "{args:?}: {text}");
        (code.unwrap_or(-1), output)
    }

    /// Runs vexctl, which has to succeed.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let (code, output) = self.run(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(code, 0, "{args:?}: {text}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `vexctl debug` says, as JSON, with its exit code.
    #[track_caller]
    pub fn debug(&self, args: &[&str]) -> (i32, Value) {
        let all = [&["--json", "debug", self.path()], args].concat();
        let (code, output) = self.run(&all);
        let text = String::from_utf8(output.stdout).unwrap();
        let value = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{args:?}: {e}: {code} '{text}'"));
        (code, value)
    }

    /// What fsck says.
    pub fn fsck(&self, image: &Path, mode: &str) -> (i32, Vec<Value>) {
        let args = ["--json", "fsck", mode, image.to_str().unwrap()];
        let (code, output) = self.run(&args);
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        (code, lines.collect())
    }
}
