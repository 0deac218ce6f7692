// SPDX-License-Identifier: GPL-2.0
//! How a program ends: what it says then, and its exit status.

use crate::error::exit_of;
use crate::exit::Exit;
use crate::output::Output;
use std::process::ExitCode;

/// Prints what clap has to say (help and version to stdout with 0, errors to stderr with `bad`).
pub fn usage(e: &clap::Error, bad: Exit) -> ExitCode {
    // The reader of a closed pipe has gone: there is nobody left to tell.
    let _ = e.print();
    if e.use_stderr() {
        bad.into()
    } else {
        Exit::Ok.into()
    }
}

/// Turns a command's result into the exit status, and prints its error if it has one.
pub fn finish(result: anyhow::Result<Exit>, out: &Output) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(e) => {
            out.error(&e);
            exit_of(&e).into()
        }
    }
}
