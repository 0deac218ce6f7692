// SPDX-License-Identifier: GPL-2.0
//! Errors: a chain of contexts (anyhow), with an optional hint of what to do next and an optional exit status.
//!
//! ```ignore
//! let file = File::open(&path)
//!     .with_context(|| format!("cannot open {}", path.display()))
//!     .hint("is the file system mounted?")?;
//! return Err(not_found(format!("no collection {name}")).hint_with("vexctl collection list MOUNT shows what there is"));
//! ```

use crate::exit::Exit;
use std::fmt;

/// A sentence that tells the user what to do next. It is kept in the error chain and printed on a line of its own.
#[derive(Debug)]
struct Hint(String);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An exit status other than [`Exit::Failed`], with the message that goes with it.
#[derive(Debug)]
struct Status {
    exit: Exit,
    message: String,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

/// Adds hints to errors.
pub trait HintExt {
    /// What this becomes.
    type Output;
    /// Adds what the user can do next.
    fn hint(self, text: impl Into<String>) -> Self::Output;
}

impl HintExt for anyhow::Error {
    type Output = anyhow::Error;
    fn hint(self, text: impl Into<String>) -> anyhow::Error {
        self.context(Hint(text.into()))
    }
}

impl<T, E: Into<anyhow::Error>> HintExt for Result<T, E> {
    type Output = anyhow::Result<T>;
    fn hint(self, text: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|e| e.into().hint(text))
    }
}

/// An error that ends the program with `exit`.
pub fn with_exit(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    Status {
        exit,
        message: message.into(),
    }
    .into()
}

/// "Wrong usage" found after the command line was parsed.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    with_exit(Exit::Usage, message)
}

/// "Nothing found, or not there".
pub fn not_found(message: impl Into<String>) -> anyhow::Error {
    with_exit(Exit::NotFound, message)
}

/// The exit status that an error asks for.
pub fn exit_of(e: &anyhow::Error) -> Exit {
    e.downcast_ref::<Status>().map_or(Exit::Failed, |s| s.exit)
}

/// The message without hints (outermost context first), and the hints.
pub fn describe(e: &anyhow::Error) -> (String, Vec<String>) {
    let mut hints = Vec::new();
    // anyhow keeps the hint as a context of its own type: as text it is one of the links of the chain.
    let newest = e.downcast_ref::<Hint>().map(|h| h.0.clone());
    let mut parts: Vec<String> = Vec::new();
    for cause in e.chain() {
        let text = cause.to_string();
        if hints.is_empty() && newest.as_deref() == Some(text.as_str()) {
            hints.push(text);
        } else if parts.last() != Some(&text) {
            parts.push(text);
        }
    }
    (parts.join(": "), hints)
}

/// The errno inside an error, if a system call is at its root.
pub fn errno_of(e: &anyhow::Error) -> Option<nix::errno::Errno> {
    e.chain().find_map(|cause| {
        cause
            .downcast_ref::<nix::errno::Errno>()
            .copied()
            .or_else(|| {
                let io = cause.downcast_ref::<std::io::Error>()?;
                io.raw_os_error().map(nix::errno::Errno::from_raw)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_hint_is_told_apart_from_the_message() {
        let e = Err::<(), _>(nix::errno::Errno::ENOENT)
            .context("cannot open x")
            .hint("mount it first")
            .unwrap_err();
        let (message, hints) = describe(&e);
        assert_eq!(message, "cannot open x: ENOENT: No such file or directory");
        assert_eq!(hints, ["mount it first"]);
        assert_eq!(errno_of(&e), Some(nix::errno::Errno::ENOENT));
    }

    #[test]
    fn an_exit_status_survives_context_and_hint() {
        let e = not_found("no collection x")
            .hint("list them")
            .context("search");
        assert_eq!(
            describe(&e),
            (
                "search: no collection x".to_owned(),
                vec!["list them".to_owned()]
            )
        );
        assert_eq!(exit_of(&e), Exit::NotFound);
        assert_eq!(exit_of(&anyhow::anyhow!("x")), Exit::Failed);
    }
}
