// SPDX-License-Identifier: GPL-2.0

//! `fsck -y` that is killed in the middle, and called again.

use crate::Lab;
use std::process::{Command, Stdio};
use std::time::Instant;
use vexfs::crash::Random;

#[test]
fn a_killed_fsck_is_called_again_and_ends_clean() {
    let lab = Lab::new(41);
    let whole = std::fs::read(lab.image()).unwrap();
    let sb = lab.sb();
    let used = lab.metadata(&sb);
    let mut killed = 0;
    for seed in 1..=12 {
        let mut random = Random::new(seed);
        lab.smash(0, &whole);
        for n in 0..4 {
            lab.damage(10 * seed + n, sb.csum_seed, &used);
        }
        let damaged = std::fs::read(lab.image()).unwrap();
        // How long it takes when it is left alone says when to kill it.
        let begin = Instant::now();
        let (code, said) = lab.fsck(&lab.image(), "-y");
        assert!(code <= 1, "seed {seed}: {said:?}");
        let length = begin.elapsed();
        lab.smash(0, &damaged);
        for _ in 0..4 {
            let mut fsck = Command::new(env!("CARGO_BIN_EXE_vexctl"))
                .args(["fsck", "-y", lab.path()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(length * random.below(1_000) as u32 / 1_000);
            killed += i32::from(fsck.try_wait().unwrap().is_none());
            fsck.kill().unwrap();
            fsck.wait().unwrap();
        }
        let (code, said) = lab.fsck(&lab.image(), "-y");
        assert!(code <= 1, "seed {seed}: {said:?}");
        let (code, said) = lab.fsck(&lab.image(), "-n");
        assert_eq!(code, 0, "seed {seed}: {said:?}");
    }
    assert!(killed > 5, "{killed} were killed before their end");
}
