// SPDX-License-Identifier: GPL-2.0
//! What an agent says while it works: a line for people, or one JSON object a line.

use crate::abi::staging as abi;
use crate::output::Output;
use serde::Serialize;

/// Something happened.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Attached {
        mount: String,
        volumes: usize,
    },
    Remark {
        text: String,
    },
    Archived {
        volume: String,
        bundle: u32,
        files: usize,
        bytes: u64,
    },
    Recalled {
        ino: u64,
        bytes: u64,
        volume: u32,
        bundle: u32,
    },
    BadCopy {
        ino: u64,
        copy: u16,
        volume: u32,
        bundle: u32,
        error: String,
    },
    Failed {
        what: &'static str,
        ino: u64,
        error: String,
    },
    Stopped {
        why: &'static str,
    },
}

impl Event {
    /// A request could not be served.
    pub fn failed(request: &abi::Request, what: &'static str, error: &str) -> Event {
        Event::Failed {
            what,
            ino: request.ino,
            error: error.to_owned(),
        }
    }

    fn text(&self) -> String {
        match self {
            Event::Attached { mount, volumes } => {
                format!("serving {mount} with {volumes} volume(s)")
            }
            Event::Remark { text } => text.clone(),
            Event::Archived {
                volume,
                bundle,
                files,
                bytes,
            } => {
                format!("archived {files} file(s), {bytes} bytes into {volume}/{bundle:06}.tar")
            }
            Event::Recalled {
                ino,
                bytes,
                volume,
                bundle,
            } => {
                format!("recalled inode {ino}, {bytes} bytes from volume {volume}, bundle {bundle}")
            }
            Event::BadCopy {
                ino,
                copy,
                volume,
                bundle,
                error,
            } => {
                format!("copy {copy} of inode {ino} on volume {volume}, bundle {bundle} is bad: {error}")
            }
            Event::Failed { what, ino, error } => format!("cannot {what} inode {ino}: {error}"),
            Event::Stopped { why } => format!("stopped: {why}"),
        }
    }
}

/// Where events go.
pub struct Events<'a>(pub &'a Output);

impl Events<'_> {
    /// Says it.
    pub fn emit(&self, event: &Event) {
        // An agent whose reader has gone still has work to do.
        let _ = self.0.result(event, Event::text);
    }
}
