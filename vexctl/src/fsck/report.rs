// SPDX-License-Identifier: GPL-2.0
//! Telling what was found.

use super::signals::Signals;
use crate::output::Output;
use indicatif::ProgressBar;
use std::fs::{File, OpenOptions};
use std::io::Write;
use vexfs::libvexfs::check::{Problem, Reporter};

/// How many problems are printed; all are counted.
const SHOWN: u64 = 200;

/// Where progress goes for other programs: lines of pass, work done, all work and device, as fsck(8) and systemd know
/// them.
pub struct Progress {
    file: File,
    device: String,
    last: Option<u64>,
}

impl Progress {
    /// To a file descriptor that the caller left open. None if it cannot be written.
    pub fn to(fd: u32, device: &str) -> Option<Progress> {
        let path = format!("/proc/self/fd/{fd}");
        let file = OpenOptions::new().write(true).open(path).ok()?;
        Some(Progress {
            file,
            device: device.to_owned(),
            last: None,
        })
    }

    fn tell(&mut self, done: u64, total: u64) {
        let percent = done.saturating_mul(100).checked_div(total.max(1));
        if percent != self.last {
            self.last = percent;
            // Whoever listened may have gone: the check goes on.
            let _ = writeln!(self.file, "1 {done} {total} {}", self.device);
        }
    }
}

/// Prints problems as they come.
pub struct Printer<'a> {
    out: &'a Output,
    bar: ProgressBar,
    shown: u64,
    signals: Option<&'a Signals>,
    progress: Option<&'a mut Progress>,
}

impl<'a> Printer<'a> {
    pub fn new(out: &'a Output) -> Printer<'a> {
        Printer {
            out,
            bar: out.progress("checking", 1),
            shown: 0,
            signals: None,
            progress: None,
        }
    }

    /// One that can be interrupted.
    pub fn for_check(
        out: &'a Output,
        signals: &'a Signals,
        progress: Option<&'a mut Progress>,
    ) -> Printer<'a> {
        Printer {
            signals: Some(signals),
            progress,
            ..Printer::new(out)
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
                !problem.fixes.is_empty(),
            );
        } else {
            self.other(
                problem.ino,
                problem.bno,
                &problem.to_string(),
                !problem.fixes.is_empty(),
            );
        }
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        if let Some(progress) = &mut self.progress {
            progress.tell(done, total);
        }
    }

    fn interrupted(&self) -> bool {
        self.signals.is_some_and(Signals::came)
    }
}
