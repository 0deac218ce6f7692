// SPDX-License-Identifier: GPL-2.0

//! Requests: what is asked of an agent, and how it may end.

use kernel::prelude::*;

/// What an agent is asked for; the numbers are the ABI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Op {
    /// Bring bytes back.
    Recall = 1,
    /// Make a copy.
    Archive = 2,
    /// Nobody waits for this request any more.
    Cancel = 5,
}

/// Priorities of the ABI, those that the kernel itself gives.
pub mod priority {
    /// Read ahead of somebody.
    pub const READAHEAD: u8 = 3;
    /// Archiving.
    pub const WRITE: u8 = 4;
    /// Asked for by hand.
    pub const MANAGE: u8 = 5;
    /// Somebody waits.
    pub const READ: u8 = 6;
    /// One past the highest.
    pub const END: usize = 8;
}

/// Where the bytes of a recall lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// Number of the copy.
    pub copy: u8,
    /// Id in the volume table.
    pub volume: u32,
    /// Number of the bundle on it.
    pub bundle: u32,
    /// 256 KiB block at which the member begins.
    pub block: u64,
    /// Byte of the bundle at which the member's data begin.
    pub object_off: u64,
}

/// A file, or what is wanted of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// Inode number.
    pub ino: u64,
    /// Its generation.
    pub generation: u32,
    /// First byte, in the archived version.
    pub off: u64,
    /// Bytes.
    pub len: u64,
    /// Size of the archived version (of the file, for an archive request).
    pub file_size: u64,
    /// The archived version.
    pub version: u64,
    /// The copy to try first.
    pub hint: Hint,
    /// Who asks.
    pub uid: u32,
    /// Its process.
    pub pid: u32,
    /// How urgent it is.
    pub priority: u8,
    /// Now, in nanoseconds.
    pub now_ns: u64,
}

/// A request as an agent sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub op: Op,
    /// Names it in later calls.
    pub cookie: u64,
    /// The file and the range.
    pub want: Want,
    /// Tasks that wait for it.
    pub waiters: u32,
    /// How often it was put back.
    pub attempt: u32,
}

/// How an agent ended a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It did it.
    Ok,
    /// Put it back.
    Retry,
    /// It failed, with this error.
    Failed(Error),
    /// It stopped because nobody waited.
    Cancelled,
}

/// What a waiter finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not done yet.
    Pending,
    /// It ended this way.
    Done(Result),
}

/// What is going on with a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// A recall is ready or handed out.
    pub recalling: bool,
    /// An archive request is ready or handed out.
    pub archiving: bool,
    /// Tasks that wait.
    pub waiters: u32,
    /// How the last request failed.
    pub last_error: Option<Error>,
}
