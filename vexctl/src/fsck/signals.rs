// SPDX-License-Identifier: GPL-2.0
//! Signals during a check: noted, and looked at where it is safe to stop.

use anyhow::{Context, Result};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;

/// SIGINT and SIGTERM, which do not end the program by themselves any more.
pub struct Signals {
    fd: SignalFd,
    seen: Cell<bool>,
}

impl Signals {
    /// Catches them from now on.
    pub fn catch() -> Result<Signals> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block().context("cannot block signals")?;
        let fd = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context("cannot wait for signals")?;
        Ok(Signals {
            fd,
            seen: Cell::new(false),
        })
    }

    /// Whether one came.
    pub fn came(&self) -> bool {
        if !self.seen.get() && matches!(self.fd.read_signal(), Ok(Some(_))) {
            self.seen.set(true);
        }
        self.seen.get()
    }

    /// Waits for input, or a signal; says whether there is input.
    pub fn wait_for_input(&self) -> Result<bool> {
        let stdin = io::stdin();
        let mut fds = [
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.fd.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut fds, PollTimeout::NONE).context("cannot wait for an answer")?;
        Ok(!self.came())
    }
}
