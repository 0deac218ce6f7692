// SPDX-License-Identifier: GPL-2.0
//! Exit statuses and their meaning; `vexctl --help` lists them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok,
    /// The operation failed.
    Failed,
    /// Wrong usage.
    Usage,
    /// Some items failed.
    Partial,
    /// Nothing found, or not there.
    NotFound,
    /// A code with the meaning that fsck(8) gives it.
    Fsck(u8),
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Partial => 3,
            Exit::NotFound => 4,
            Exit::Fsck(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
