// SPDX-License-Identifier: GPL-2.0
//! Bringing bytes back: from bundles to the kernel, which checks them.

use super::event::{Event, Events};
use super::kernel::Kernel;
use super::library::Library;
use crate::abi::staging as abi;
use nix::errno::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Bytes given to the kernel at a time: whole chunks.
const PIECE: u64 = 4 * abi::STAGE_CHUNK;

/// What the recall worker needs.
pub struct Recaller<'a> {
    pub kernel: &'a dyn Kernel,
    pub library: &'a Library,
    pub events: &'a Events<'a>,
    /// Set when the agent is to end; what is not done then is left to the next agent.
    pub stop: &'a AtomicBool,
}

/// How a recall ended.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Done,
    /// The volume cannot be read there, or has other bytes.
    BadCopy(String),
    Cancelled,
    /// The agent ends.
    Stopped,
    Failed(Errno),
}

impl Recaller<'_> {
    /// Works until the requests end or the agent does.
    ///
    /// # Errors
    ///
    /// `ENODEV` when the file system is gone.
    pub fn run(&self, requests: &Receiver<abi::Request>) -> Result<(), Errno> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            match requests.recv_timeout(Duration::from_millis(200)) {
                Ok(request) => self.one(&request)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn one(&self, request: &abi::Request) -> Result<(), Errno> {
        let (status, errno) = match self.fetch(request) {
            Ending::Done => {
                self.events.emit(&Event::Recalled {
                    ino: request.ino,
                    bytes: request.len,
                    volume: request.volume,
                    bundle: request.bundle,
                });
                (abi::DONE_OK, None)
            }
            Ending::BadCopy(why) => {
                self.events.emit(&Event::BadCopy {
                    ino: request.ino,
                    copy: request.copy,
                    volume: request.volume,
                    bundle: request.bundle,
                    error: why,
                });
                (abi::DONE_NEXTCOPY, None)
            }
            Ending::Cancelled => (abi::DONE_CANCELLED, None),
            Ending::Stopped => return Ok(()),
            Ending::Failed(Errno::ENODEV) => return Err(Errno::ENODEV),
            Ending::Failed(e) => {
                self.events
                    .emit(&Event::failed(request, "recall", &e.to_string()));
                (abi::DONE_LOST, Some(e))
            }
        };
        match self.kernel.complete(request.cookie, status, errno) {
            Err(Errno::ENOENT) => Ok(()),
            other => other,
        }
    }

    fn fetch(&self, request: &abi::Request) -> Ending {
        let Some(path) = self.library.bundle(request.volume, request.bundle) else {
            return Ending::BadCopy(format!("volume {} is not here", request.volume));
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) => return Ending::BadCopy(format!("{}: {e}", path.display())),
        };
        let end = request.off + request.len;
        let mut off = request.off;
        let mut buf = vec![0; PIECE.min(request.len.max(1)) as usize];
        while off < end {
            if self.stop.load(Ordering::Relaxed) {
                return Ending::Stopped;
            }
            let n = PIECE.min(end - off) as usize;
            if let Err(e) = file.read_exact_at(&mut buf[..n], request.object_off + off) {
                return Ending::BadCopy(format!("{}: {e}", path.display()));
            }
            match self
                .kernel
                .stage(request.cookie, request.version, off, &buf[..n])
            {
                Ok(()) => off += n as u64,
                Err(Errno::EBADMSG) => {
                    return Ending::BadCopy(format!(
                        "{}: the bytes are not those that were archived",
                        path.display()
                    ))
                }
                Err(Errno::ECANCELED | Errno::ENOENT) => return Ending::Cancelled,
                Err(e) => return Ending::Failed(e),
            }
        }
        Ending::Done
    }
}
