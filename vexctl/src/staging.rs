// SPDX-License-Identifier: GPL-2.0
//! `vexctl archive`, `release`, `recall`, `state`: where the bytes of files are.

mod files;

use crate::abi::staging as abi;
use crate::error::{not_found, HintExt};
use crate::exit::Exit;
use crate::output::Output;
use crate::volume::label::hex;
use anyhow::{Context, Result};
use files::{Files, Target};
use nix::errno::Errno;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What the commands that queue files have in common.
#[derive(clap::Args)]
pub struct QueueArgs {
    /// Files, or with -r directories
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Directories with all that is below them
    #[arg(short, long)]
    recursive: bool,
    /// Return when the files are queued
    #[arg(long)]
    no_wait: bool,
    /// Give up after so many seconds without progress [default: never]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

#[derive(clap::Args)]
pub struct ReleaseArgs {
    /// Files, or with -r directories
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Directories with all that is below them
    #[arg(short, long)]
    recursive: bool,
}

#[derive(clap::Args)]
pub struct StateArgs {
    /// Files, or with -r directories
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Directories with all that is below them
    #[arg(short, long)]
    recursive: bool,
}

/// What became of the files of a command.
#[derive(Serialize, Default)]
struct Summary {
    command: &'static str,
    files: usize,
    /// Those that were what the command makes them before it began.
    already: usize,
    bytes: u64,
    failed: usize,
}

impl Summary {
    fn exit(&self) -> Exit {
        match self.failed {
            0 => Exit::Ok,
            n if n < self.files => Exit::Partial,
            _ => Exit::Failed,
        }
    }
}

/// A file that a command could not do its work on.
#[derive(Serialize)]
struct Failed<'a> {
    path: String,
    error: String,
    hint: &'a str,
}

fn report(out: &Output, target: &Target, errno: Errno, hint: &str) -> Result<()> {
    let failed = Failed {
        path: target.path.display().to_string(),
        error: errno.desc().to_owned(),
        hint,
    };
    if out.json() {
        return out.result(&failed, |_| String::new());
    }
    let hint = if hint.is_empty() {
        String::new()
    } else {
        format!(" ({hint})")
    };
    out.warn(&format!("{}: {}{hint}", failed.path, failed.error));
    Ok(())
}

/// A command that queues files for agents and waits until they are what it makes them.
struct Queued {
    command: &'static str,
    request: libc::c_ulong,
    doing: &'static str,
    done: &'static str,
    /// What is said of files that were so before.
    already: &'static str,
    /// Whether a file that was queued is what it is to be, or cannot become it any more.
    ended: fn(&abi::State) -> Option<Result<(), Errno>>,
    hint: fn(Errno) -> &'static str,
}

impl Queued {
    fn run(&self, args: QueueArgs, out: &Output) -> Result<Exit> {
        let files = Files::find(&args.paths, args.recursive, out)?;
        let mut sum = Summary {
            command: self.command,
            files: files.targets.len(),
            ..Summary::default()
        };
        let mut queued = Vec::new();
        for batch in files.batches() {
            files.run(self.request, batch, |target, result| {
                match result {
                    Ok(0) => sum.already += 1,
                    Ok(_) => queued.push(target),
                    Err(e) => {
                        sum.failed += 1;
                        report(out, target, e, (self.hint)(e))?;
                    }
                }
                Ok(())
            })?;
        }
        if !args.no_wait {
            let mut wait = Wait::new(&files, out, self.doing, args.timeout);
            for target in queued {
                match wait.until(target, self.ended)? {
                    Ok(s) => sum.bytes += s.file_size,
                    Err(e) => {
                        sum.failed += 1;
                        wait.pause(|| report(out, target, e, (self.hint)(e)))?;
                    }
                }
            }
            wait.end();
        }
        let verb = if args.no_wait { "queued" } else { self.done };
        out.result(&sum, |s| {
            let done = s.files - s.failed - s.already;
            format!(
                "{done} file(s) {verb}, {} bytes; {} {}; {} failed",
                s.bytes, s.already, self.already, s.failed
            )
        })?;
        Ok(sum.exit())
    }
}

/// `vexctl archive`.
pub fn archive(args: QueueArgs, out: &Output) -> Result<Exit> {
    let archive = Queued {
        command: "archive",
        request: abi::IOC_STAGE_ARCHIVE,
        doing: "archiving",
        done: "archived",
        already: "were already",
        ended: |s| match s.state {
            st if st & abi::STATE_ARCHIVED != 0 => Some(Ok(())),
            st if st & abi::STATE_ARCHIVING != 0 => None,
            _ if s.last_error != 0 => Some(Err(Errno::from_raw(-s.last_error))),
            // It was archived, and changed since.
            _ if s.count > 0 => Some(Err(Errno::ESTALE)),
            _ => Some(Err(Errno::EIO)),
        },
        hint: archive_hint,
    };
    archive.run(args, out)
}

fn archive_hint(e: Errno) -> &'static str {
    match e {
        Errno::EBUSY => {
            "parts of it are offline at an older version (vexctl recall it first), or a device uses its pages"
        }
        Errno::ESTALE => "it changed while it was copied: archive it again",
        Errno::EPERM => "archiving takes root",
        Errno::ENOSPC => "the volume is full",
        _ => "",
    }
}

/// `vexctl release`.
pub fn release(args: ReleaseArgs, out: &Output) -> Result<Exit> {
    let files = Files::find(&args.paths, args.recursive, out)?;
    let mut sum = Summary {
        command: "release",
        files: files.targets.len(),
        ..Summary::default()
    };
    let bar = out.progress("releasing", files.targets.len() as u64);
    for batch in files.batches() {
        files.run(abi::IOC_STAGE_RELEASE, batch, |target, result| {
            bar.inc(1);
            match result {
                Ok(0) => sum.already += 1,
                Ok(bytes) => sum.bytes += bytes,
                Err(e) => {
                    sum.failed += 1;
                    let hint = match e {
                        Errno::EAGAIN => "no copy of it as it is now: vexctl archive it first",
                        Errno::EBUSY => "it is in use: a recall, a writer, or a swap file",
                        Errno::EPERM => "releasing takes root",
                        _ => "",
                    };
                    bar.suspend(|| report(out, target, e, hint))?;
                }
            }
            Ok(())
        })?;
    }
    bar.finish_and_clear();
    out.result(&sum, |s| {
        let done = s.files - s.failed - s.already;
        format!(
            "{done} file(s) released, {} bytes freed; {} had nothing to free; {} failed",
            s.bytes, s.already, s.failed
        )
    })?;
    Ok(sum.exit())
}

/// `vexctl recall`.
pub fn recall(args: QueueArgs, out: &Output) -> Result<Exit> {
    let recall = Queued {
        command: "recall",
        request: abi::IOC_STAGE_PREFETCH,
        doing: "recalling",
        done: "recalled",
        already: "were online already",
        ended: |s| match s.state {
            st if st & abi::STATE_OFFLINE == 0 => Some(Ok(())),
            st if st & abi::STATE_RECALLING != 0 => None,
            _ if s.last_error != 0 => Some(Err(Errno::from_raw(-s.last_error))),
            _ => Some(Err(Errno::EIO)),
        },
        hint: recall_hint,
    };
    recall.run(args, out)
}

fn recall_hint(e: Errno) -> &'static str {
    match e {
        Errno::EIO => "no copy can be read: see the kernel's log, and vexctl volume verify",
        Errno::ENOSPC => "there is no room: release other files first",
        Errno::EROFS => "a recall writes: remount it rw",
        _ => "",
    }
}

/// Waits for files to reach a state, in the order in which they were queued.
struct Wait<'a> {
    files: &'a Files,
    bar: indicatif::ProgressBar,
    out: &'a Output,
    timeout: Option<Duration>,
    told: bool,
}

impl<'a> Wait<'a> {
    fn new(files: &'a Files, out: &'a Output, what: &'static str, timeout: Option<u64>) -> Self {
        let bar = out.progress(what, files.targets.len() as u64);
        Wait {
            files,
            bar,
            out,
            timeout: timeout.map(Duration::from_secs),
            told: false,
        }
    }

    /// Looks at a file until `done` says how it ended.
    fn until(
        &mut self,
        target: &Target,
        done: impl Fn(&abi::State) -> Option<Result<(), Errno>>,
    ) -> Result<Result<abi::State, Errno>> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(5);
        loop {
            let state = match self.files.state(target, &mut []) {
                Ok(state) => state,
                // Removed meanwhile.
                Err(e @ Errno::ESTALE) => return Ok(Err(e)),
                Err(e) => {
                    return Err(e)
                        .with_context(|| format!("cannot look at {}", target.path.display()))
                }
            };
            if let Some(end) = done(&state) {
                self.bar.inc(1);
                return Ok(end.map(|()| state));
            }
            if state.agents == 0 && !self.told && begun.elapsed() > Duration::from_millis(500) {
                self.told = true;
                let hint = "waiting: no agent is attached; start one with: vexctl agent MOUNT --volumes DIR";
                self.pause(|| {
                    self.out.note(hint);
                    Ok(())
                })?;
            }
            if self.timeout.is_some_and(|t| begun.elapsed() > t) {
                return Ok(Err(Errno::ETIMEDOUT));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    fn pause(&self, f: impl FnOnce() -> Result<()>) -> Result<()> {
        self.bar.suspend(f)
    }

    fn end(self) {
        self.bar.finish_and_clear();
    }
}

/// A copy in JSON.
#[derive(Serialize)]
struct Copy {
    copy: u8,
    state: &'static str,
    volume: u32,
    bundle: u32,
    offset: u64,
    version: u64,
    bytes: u64,
    time: i64,
    blake3: String,
}

impl Copy {
    fn new(c: &abi::Copy, version: u64) -> Copy {
        Copy {
            copy: c.copy,
            state: match c.state {
                abi::COPY_BAD => "bad",
                _ if c.version != version => "stale",
                _ => "valid",
            },
            volume: c.volume,
            bundle: c.bundle,
            offset: c.object_off,
            version: c.version,
            bytes: c.len,
            time: c.time_sec,
            blake3: if c.algorithm == abi::DIGEST_BLAKE3 {
                hex(&c.digest)
            } else {
                String::new()
            },
        }
    }
}

/// The state of a file in JSON.
#[derive(Serialize)]
struct Shown {
    path: String,
    ino: u64,
    generation: u32,
    version: u64,
    size: u64,
    /// online, partial, offline or empty.
    residency: &'static str,
    /// new, archived or dirty.
    archive: &'static str,
    offline_bytes: u64,
    online_bytes: u64,
    recalling: bool,
    archiving: bool,
    waiters: u32,
    /// Agents that are attached to the file system.
    agents: u32,
    last_error: Option<String>,
    copies: Vec<Copy>,
}

impl Shown {
    fn new(path: String, s: &abi::State, copies: &[abi::Copy]) -> Shown {
        let is = |flag| s.state & flag != 0;
        Shown {
            path,
            ino: s.ino,
            generation: s.generation,
            version: s.version,
            size: s.file_size,
            residency: match (is(abi::STATE_OFFLINE), is(abi::STATE_ONLINE)) {
                (true, true) => "partial",
                (true, false) => "offline",
                (false, true) => "online",
                (false, false) => "empty",
            },
            archive: match (is(abi::STATE_ARCHIVED), s.count) {
                (true, _) => "archived",
                (false, 0) => "new",
                (false, _) => "dirty",
            },
            offline_bytes: s.offline_bytes,
            online_bytes: s.online_bytes,
            recalling: is(abi::STATE_RECALLING),
            archiving: is(abi::STATE_ARCHIVING),
            waiters: s.waiters,
            agents: s.agents,
            last_error: (s.last_error != 0)
                .then(|| format!("{:?}", Errno::from_raw(-s.last_error))),
            copies: copies.iter().map(|c| Copy::new(c, s.version)).collect(),
        }
    }

    fn text(&self) -> String {
        let good = self.copies.iter().filter(|c| c.state == "valid").count();
        let doing = match (self.recalling, self.archiving) {
            (true, _) if self.agents == 0 => "  (recalling; no agent is attached)",
            (true, _) => "  (recalling)",
            (_, true) => "  (archiving)",
            _ => "",
        };
        format!(
            "{:<8} {:<8} {good} {}  {:>14}  {}{doing}",
            self.residency,
            self.archive,
            if good == 1 { "copy  " } else { "copies" },
            self.size,
            self.path
        )
    }
}

/// `vexctl state`.
pub fn state(args: StateArgs, out: &Output) -> Result<Exit> {
    let files = Files::find(&args.paths, args.recursive, out)?;
    if files.targets.is_empty() {
        return Err(not_found("no regular files there").hint("-r looks into directories"));
    }
    for target in &files.targets {
        let mut room = [abi::Copy::default(); abi::MAX_COPIES];
        match files.state(target, &mut room) {
            Ok(s) => {
                let n = (s.count as usize).min(room.len());
                let shown = Shown::new(target.path.display().to_string(), &s, &room[..n]);
                out.result(&shown, Shown::text)?;
            }
            Err(Errno::ESTALE) => {}
            Err(e) => {
                return Err(e).with_context(|| format!("cannot look at {}", target.path.display()))
            }
        }
    }
    Ok(Exit::Ok)
}
