// SPDX-License-Identifier: GPL-2.0

//! Whole volumes on disks: mkfs, power cuts, fsck.

mod cuts;
mod damage;
mod interrupted;
mod making;
mod mend;
mod quota;
mod repair;
mod sample;
mod workload;

use vexfs::libvexfs::check::{check, Options, Outcome, Problem, Reporter};
use vexfs::libvexfs::format::Superblock;
use vexfs::libvexfs::journal::Store;

/// Keeps what is reported.
#[derive(Default)]
pub struct Found(pub Vec<String>);

impl Reporter for Found {
    fn problem(&mut self, problem: &Problem) {
        self.0.push(problem.to_string());
    }
}

/// Runs the checker.
pub fn check_store<S: Store>(store: &S, sb: &Superblock) -> (Outcome, Vec<String>) {
    let mut found = Found::default();
    let outcome = check(store, sb, &mut found, Options::default()).unwrap();
    (outcome, found.0)
}

/// Checks a store that must be in order.
#[track_caller]
pub fn assert_clean<S: Store>(store: &S, sb: &Superblock, when: &str) -> Outcome {
    let (outcome, found) = check_store(store, sb);
    assert!(found.is_empty(), "{when}: {found:#?}");
    outcome
}
