// SPDX-License-Identifier: GPL-2.0
//! `vexctl agent`: serves the archive and recall requests of a mounted file system.
//!
//! One thread reads requests, one archives, one recalls: a reader does not wait behind a bundle. An agent keeps nothing
//! that is not on the volumes or in the file system. It may be killed at any moment: the kernel gives its requests to
//! the next one, and bundles that were not completed are removed then.

mod archive;
mod event;
mod kernel;
mod library;
mod recall;
#[cfg(test)]
mod tests;

use crate::abi::staging as abi;
use crate::exit::Exit;
use crate::output::Output;
use anyhow::{Context, Result};
use event::{Event, Events};
use kernel::Queue;
use library::Library;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, Sender};

/// Arguments of `vexctl agent`.
#[derive(clap::Args)]
pub struct Args {
    /// The mount point
    mount: PathBuf,
    /// The directory that holds the volumes; the first one is made if there is none
    #[arg(long)]
    volumes: PathBuf,
    /// A bundle ends when it has this many bytes
    #[arg(long, default_value_t = 1 << 30)]
    bundle_size: u64,
}

/// Why the agent ends.
enum Reason {
    Signal,
    Unmounted,
}

/// `vexctl agent`.
pub fn run(args: Args, out: &Output) -> Result<Exit> {
    // Before there are threads: these get the mask too, so that the signals come to the descriptor alone.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().context("cannot block signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;

    let root =
        File::open(&args.mount).with_context(|| format!("cannot open {}", args.mount.display()))?;
    let queue =
        Queue::attach(&root).with_context(|| format!("{} is not served", args.mount.display()))?;
    drop(root);
    let known = queue
        .volumes()
        .context("cannot read the table of volumes")?;
    let (library, remarks) =
        Library::open(&queue, &args.volumes, (queue.fsuuid, queue.epoch), &known)?;
    let events = Events(out);
    events.emit(&Event::Attached {
        mount: args.mount.display().to_string(),
        volumes: library.len(),
    });
    for text in remarks {
        events.emit(&Event::Remark { text });
    }

    let stop = AtomicBool::new(false);
    let archiver = archive::Archiver {
        kernel: &queue,
        library: &library,
        events: &events,
        fsuuid: queue.fsuuid,
        bundle_size: args.bundle_size,
        stop: &stop,
    };
    let recaller = recall::Recaller {
        kernel: &queue,
        library: &library,
        events: &events,
        stop: &stop,
    };
    let (archives, archive_requests) = channel();
    let (recalls, recall_requests) = channel();
    let (reason, ended) = std::thread::scope(|threads| {
        let workers = [
            threads.spawn(move || archiver.run(&archive_requests)),
            threads.spawn(move || recaller.run(&recall_requests)),
        ];
        let reason = serve(&queue, &signals, &archives, &recalls);
        stop.store(true, Ordering::Relaxed);
        drop((archives, recalls));
        let ended = workers.map(|w| w.join().unwrap_or(Err(Errno::EIO)));
        (reason, ended)
    });
    let why = match reason? {
        Reason::Signal => "asked to",
        Reason::Unmounted => "the file system was unmounted",
    };
    for result in ended {
        if let Err(e) = result {
            if e != Errno::ENODEV {
                return Err(e).context("a worker failed");
            }
        }
    }
    events.emit(&Event::Stopped { why });
    Ok(Exit::Ok)
}

/// Gives requests to the workers until a signal comes or the file system goes.
fn serve(
    queue: &Queue,
    signals: &SignalFd,
    archives: &Sender<abi::Request>,
    recalls: &Sender<abi::Request>,
) -> Result<Reason> {
    loop {
        let mut fds = [
            PollFd::new(queue.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other.context("poll")?,
        };
        if fds[1].any() == Some(true) {
            return Ok(Reason::Signal);
        }
        if fds[0].any() != Some(true) {
            continue;
        }
        let requests = match queue.requests() {
            Ok(requests) => requests,
            Err(Errno::EINTR | Errno::EAGAIN) => continue,
            Err(Errno::ENODEV) => return Ok(Reason::Unmounted),
            Err(e) => return Err(e).context("cannot read requests"),
        };
        for request in requests {
            let worker = match request.op {
                abi::OP_ARCHIVE => archives,
                abi::OP_RECALL => recalls,
                // The kernel refuses the bytes of a recall that nobody waits for: the worker finds out by itself.
                _ => continue,
            };
            if worker.send(request).is_err() {
                return Ok(Reason::Unmounted);
            }
        }
    }
}
