// SPDX-License-Identifier: GPL-2.0
//! The steps of a check: superblock, journal, structures, orphans, repair.

use super::report::{Printer, Progress};
use super::signals::Signals;
use super::{Args, Mode, CANCELLED, CLEAN, FIXED, LEFT};
use crate::device::{self, Access};
use crate::error::HintExt;
use crate::output::Output;
use anyhow::{anyhow, Context, Result};
use std::io::{self, IsTerminal, Write};
use vexfs::disk::FileDisk;
use vexfs::file_store::FileStore;
use vexfs::libvexfs::check::{self, Outcome};
use vexfs::libvexfs::format::superblock::{STATE_CLEAN, STATE_ERROR};
use vexfs::libvexfs::format::Superblock;
use vexfs::libvexfs::journal::host::jbd2::Super;
use vexfs::libvexfs::journal::host::replay::Overlay;
use vexfs::libvexfs::journal::host::{Disk, Log, Replay};
use vexfs::libvexfs::journal::Store;
use vexfs::volume;

/// Runs a check and returns its exit code.
pub fn run(args: &Args, progress: Option<u32>, out: &Output) -> Result<u8> {
    if !args.verbose {
        // What the file system would tell the kernel's log is told here as problems.
        kernel::print::set_level(0);
    }
    let mode = args.mode();
    let access = if mode == Mode::Look {
        Access::ReadAlone
    } else {
        Access::WriteAlone
    };
    let disk = device::open(&args.device, access)?;
    let name = args.device.display().to_string();
    let mut run = Run {
        args,
        out,
        mode,
        signals: Signals::catch()?,
        progress: progress
            .filter(|fd| *fd > 0)
            .and_then(|fd| Progress::to(fd, &name)),
        fixed: false,
        left: false,
    };
    let Some(sb) = run.superblock(&disk)? else {
        return Ok(LEFT);
    };
    let Some(replay) = run.journal(&disk, &sb)? else {
        return Ok(LEFT);
    };
    let in_order = replay.is_clean() && sb.state & (STATE_CLEAN | STATE_ERROR) == STATE_CLEAN;
    if mode == Mode::Preen && in_order && !args.force && !run.fixed {
        out.note(&format!("{}: clean", args.device.display()));
        return Ok(CLEAN);
    }
    let replayed = replay.len();
    if mode == Mode::Look {
        run.look(disk, replay, replayed)
    } else {
        run.write(disk, replay, replayed)
    }
}

struct Run<'a> {
    args: &'a Args,
    out: &'a Output,
    mode: Mode,
    signals: Signals,
    progress: Option<Progress>,
    fixed: bool,
    left: bool,
}

impl Run<'_> {
    /// Says something that is wrong outside of what the checker checks.
    fn say(&self, block: u64, problem: &str, fixable: bool) {
        Printer::new(self.out).other(0, block, problem, fixable);
    }

    /// Whether to change what `question` says. What is asked first has been told already.
    fn may(&self, question: &str, loses: bool) -> Result<bool> {
        match self.mode {
            Mode::Look => Ok(false),
            Mode::Preen => Ok(!loses),
            Mode::Yes => Ok(true),
            Mode::Ask if !io::stdin().is_terminal() => Ok(false),
            Mode::Ask => {
                eprint!("{question} (y/N) ");
                io::stderr().flush()?;
                if !self.signals.wait_for_input()? {
                    return Ok(false);
                }
                let mut answer = String::new();
                io::stdin().read_line(&mut answer)?;
                Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
            }
        }
    }

    /// The superblock, from a copy if need be and allowed.
    fn superblock(&mut self, disk: &FileDisk) -> Result<Option<Superblock>> {
        let best = match (volume::best_superblock(disk), volume::superblock(disk)) {
            (Some(best), _) => best,
            (None, e) => {
                let e = e.err().unwrap_or(kernel::error::code::EINVAL);
                return Err(anyhow!(
                    "{}: no VexFS superblock here ({e})",
                    self.args.device.display()
                ))
                .hint("is it the right device? wipefs DEVICE tells what is on it");
            }
        };
        if best.from == 0 {
            return Ok(Some(best.sb));
        }
        let from = best.from;
        let what = format!("the superblock is damaged; block {from} has a copy of it");
        self.say(0, &what, true);
        if !self.may("Write the copy over it?", false)? {
            return Ok(None);
        }
        volume::write_superblock(disk, &best.sb).context("cannot write the superblock")?;
        self.fixed = true;
        Ok(Some(best.sb))
    }

    /// What the journal holds.
    fn journal(&mut self, disk: &FileDisk, sb: &Superblock) -> Result<Option<Replay>> {
        let region = volume::region(sb).context("the superblock has no place for a journal")?;
        let replay = match Replay::open(disk, region) {
            Ok(replay) => replay,
            Err(e) if e == kernel::error::code::EIO => {
                return Err(e).context("the journal cannot be read")
            }
            Err(_) => {
                self.say(region.start, "the journal's superblock is damaged", true);
                if !self.may("Make the journal anew? What it holds is lost.", true)? {
                    return Ok(None);
                }
                disk.zero(region.start, region.len)?;
                disk.write(region.start, &Super::new(region, sb.journal_uuid).encode())?;
                disk.flush()?;
                self.fixed = true;
                Replay::open(disk, region)?
            }
        };
        for damage in replay.damage() {
            self.say(region.start, &format!("journal: {damage}"), true);
        }
        if !replay.damage().is_empty() {
            if !self.may("Replay what is whole? The rest is lost.", true)? {
                self.left = true;
                if self.mode != Mode::Look {
                    return Ok(None);
                }
            } else {
                self.fixed = true;
            }
        }
        Ok(Some(replay))
    }

    /// Checks without writing.
    fn look(&mut self, disk: FileDisk, replay: Replay, replayed: usize) -> Result<u8> {
        let overlay = Overlay::new(disk, replay);
        let sb =
            volume::superblock(&overlay).context("the superblock is damaged in the journal")?;
        let store = FileStore::read_only(overlay, sb.csum_seed);
        let outcome = self.check(&store, &sb)?;
        if self.signals.came() {
            return Ok(CANCELLED);
        }
        self.left |= outcome.problems > 0;
        self.finish(&sb, &outcome, replayed)
    }

    /// Replays, checks, frees orphans, repairs.
    fn write(&mut self, disk: FileDisk, replay: Replay, replayed: usize) -> Result<u8> {
        if !replay.is_clean() {
            let (first, end) = replay.transactions();
            let count = end.wrapping_sub(first);
            self.out.note(&format!(
                "{}: {count} transactions replayed",
                self.args.device.display()
            ));
        }
        let journal = replay
            .apply(&disk, true)
            .context("the journal cannot be replayed")?;
        let sb = volume::superblock(&disk).context("the superblock is damaged in the journal")?;
        let store = FileStore::new(disk, sb.csum_seed, Log::new(journal)?);
        let (sb, outcome) = self.repair(&store, &sb)?;
        if self.signals.came() {
            store.close()?;
            return Ok(CANCELLED);
        }
        if outcome.problems > 0 || outcome.incomplete {
            self.left = true;
            store.close()?;
            return self.finish(&sb, &outcome, replayed);
        }
        let fs = vexfs::libvexfs::Fs::open(store, sb)?;
        let freed = volume::finish_orphans(&fs).context("orphans cannot be freed")?;
        if freed > 0 {
            self.out.note(&format!("{freed} orphans freed"));
        }
        let sb = self.mark_clean(&fs)?;
        volume::close(&fs)?;
        self.finish(&sb, &outcome, replayed)
    }

    /// The volume is in order: its superblock says so, if it does not yet.
    fn mark_clean<D: Disk>(&self, fs: &vexfs::libvexfs::Fs<FileStore<D>>) -> Result<Superblock> {
        let sb = fs.superblock();
        if sb.state & (STATE_CLEAN | STATE_ERROR) == STATE_CLEAN {
            return Ok(sb);
        }
        volume::set_state(fs, STATE_CLEAN).context("cannot write the superblock")?;
        Ok(fs.superblock())
    }

    fn check<S: Store>(&mut self, store: &S, sb: &Superblock) -> Result<Outcome> {
        let options = check::Options {
            memory: self.args.memory.max(1) << 20,
            ..check::Options::default()
        };
        let mut printer = Printer::for_check(self.out, &self.signals, self.progress.as_mut());
        let outcome = check::check(store, sb, &mut printer, options)?;
        printer.finish(outcome.problems);
        Ok(outcome)
    }

    /// Checks, and puts right what may be.
    fn repair(
        &mut self,
        store: &FileStore<FileDisk>,
        sb: &Superblock,
    ) -> Result<(Superblock, Outcome)> {
        // Without the right to change anything, memory can be bounded.
        if self.mode == Mode::Ask && !io::stdin().is_terminal() {
            return Ok((sb.clone(), self.check(store, sb)?));
        }
        let mut progress = self.progress.take();
        let mut printer = Printer::for_check(self.out, &self.signals, progress.as_mut());
        let mut asked = Ok(true);
        let done = check::repair(
            store,
            store.disk(),
            sb,
            &mut printer,
            check::Options::default(),
            &mut |outcome| {
                let question = if outcome.damage > 0 {
                    "Put it right? What cannot be kept is cut."
                } else {
                    "Put it right?"
                };
                asked = self.may(question, outcome.damage > 0);
                Ok(matches!(asked, Ok(true)))
            },
        )
        .context("cannot write what is right")?;
        asked?;
        printer.finish(done.outcome.problems);
        self.fixed |= done.changed;
        Ok((done.sb, done.outcome))
    }

    /// The last line, and the code.
    fn finish(&self, sb: &Superblock, outcome: &Outcome, replayed: usize) -> Result<u8> {
        let code = match (self.fixed, self.left) {
            (false, false) => CLEAN,
            (true, false) => FIXED,
            (_, true) => LEFT,
        };
        let t = &outcome.totals;
        if self.out.json() {
            self.out.line(
                &serde_json::json!({
                    "device": self.args.device, "uuid": device::uuid_text(&sb.uuid), "exit": code,
                    "problems": outcome.problems, "damage": outcome.damage, "complete": !outcome.incomplete,
                    "replayed_blocks": replayed, "orphans": outcome.orphans, "files": t.files, "directories": t.dirs,
                    "links": t.links, "others": t.others, "internal": t.internal,
                    "blocks": sb.geometry.block_count, "free_blocks": t.free_blocks,
                })
                .to_string(),
            )?;
            return Ok(code);
        }
        let state = match code {
            CLEAN => "clean".to_owned(),
            FIXED => "was put right".to_owned(),
            _ => format!(
                "{} problems, {} of them damage",
                outcome.problems, outcome.damage
            ),
        };
        self.out.note(&format!(
            "{}: {state}: {} files, {} directories, {}/{} blocks free",
            self.args.device.display(),
            t.files + t.links + t.others,
            t.dirs,
            t.free_blocks,
            sb.geometry.block_count,
        ));
        if code == LEFT && self.mode != Mode::Yes && outcome.hopeless == 0 {
            self.out.note(&format!(
                "run fsck.vexfs -y {} to put it right",
                self.args.device.display()
            ));
        } else if code == LEFT {
            self.out
                .note("copy what can be read to another file system before anything else is tried");
        }
        Ok(code)
    }
}
