// SPDX-License-Identifier: GPL-2.0
//! What commands print: results as text or JSON on stdout, remarks, progress and errors on stderr.

use crate::error::{describe, errno_of};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// How this run prints.
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// `json`: results as JSON. `quiet`: no progress and no remarks.
    pub fn new(json: bool, quiet: bool) -> Output {
        Output { json, quiet }
    }

    /// Whether results are printed as JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Prints one result: `value` as one line of JSON, or the text that `text` makes of it.
    pub fn result<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            self.line(&serde_json::to_string(value)?)
        } else {
            self.line(&text(value))
        }
    }

    /// Prints a line on stdout. A reader who has gone away (`| head`) ends the program quietly.
    pub fn line(&self, text: &str) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        match stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.write_all(b"\n"))
        {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            other => Ok(other?),
        }
    }

    /// Prints a remark for people, on stderr.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Prints a warning, also when quiet.
    pub fn warn(&self, text: &str) {
        let _ = writeln!(io::stderr(), "warning: {text}");
    }

    /// Prints an error with its hints; as JSON `{"error":..,"errno":..,"hint":..}` on stdout, so that scripts have one stream to read.
    pub fn error(&self, e: &anyhow::Error) {
        let (message, hints) = describe(e);
        if self.json {
            let errno = errno_of(e).map(|n| format!("{n:?}"));
            let value =
                serde_json::json!({ "error": message, "errno": errno, "hint": hints.first() });
            let _ = self.line(&value.to_string());
            return;
        }
        let _ = writeln!(io::stderr(), "error: {message}");
        for hint in hints {
            let _ = writeln!(io::stderr(), "  {hint}");
        }
    }

    /// A progress bar over `len` items (files, vectors), shown only on a terminal.
    pub fn progress(&self, what: &'static str, len: u64) -> ProgressBar {
        self.bar(
            what,
            len,
            "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
        )
    }

    /// A progress bar over `len` bytes.
    pub fn progress_bytes(&self, what: &'static str, len: u64) -> ProgressBar {
        self.bar(
            what,
            len,
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
        )
    }

    /// A spinner, for work whose length nobody knows.
    pub fn spinner(&self, what: &'static str) -> ProgressBar {
        let bar = self.bar(what, 0, "{spinner} {msg} {human_pos} {per_sec}");
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    fn bar(&self, what: &'static str, len: u64, template: &str) -> ProgressBar {
        let bar = if self.quiet || self.json || !io::stderr().is_terminal() {
            ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::hidden())
        } else {
            ProgressBar::new(len)
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.with_message(what)
    }
}
