// SPDX-License-Identifier: GPL-2.0
//! Telling what was found.

use crate::output::Output;
use indicatif::ProgressBar;
use vexfs::libvexfs::check::{Problem, Reporter};

/// How many problems are printed; all are counted.
const SHOWN: u64 = 200;

/// Prints problems as they come.
pub struct Printer<'a> {
    out: &'a Output,
    bar: ProgressBar,
    shown: u64,
}

impl<'a> Printer<'a> {
    pub fn new(out: &'a Output) -> Printer<'a> {
        Printer {
            out,
            bar: out.progress("checking", 1),
            shown: 0,
        }
    }

    /// Says something that is wrong with something else than what the checker checks.
    pub fn other(&mut self, inode: u64, block: u64, problem: &str, fixable: bool) {
        if self.out.json() {
            let line = serde_json::json!({ "inode": inode, "block": block, "problem": problem, "fixable": fixable });
            let _ = self.out.line(&line.to_string());
        } else {
            self.bar.suspend(|| self.out.line(problem).unwrap_or(()));
        }
    }

    /// Ends the progress bar, and says how much was left out.
    pub fn finish(self, problems: u64) {
        self.bar.finish_and_clear();
        if problems > self.shown {
            self.out.warn(&format!(
                "{} more problems are not shown",
                problems - self.shown
            ));
        }
    }
}

impl Reporter for Printer<'_> {
    fn problem(&mut self, problem: &Problem) {
        if self.shown >= SHOWN {
            return;
        }
        self.shown += 1;
        if self.out.json() {
            self.other(
                problem.ino,
                problem.bno,
                &problem.what,
                problem.fix.is_some(),
            );
        } else {
            self.other(
                problem.ino,
                problem.bno,
                &problem.to_string(),
                problem.fix.is_some(),
            );
        }
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}
