// SPDX-License-Identifier: GPL-2.0

//! The log macros. Lines go to standard error, prefixed as the module's are.

use std::sync::atomic::{AtomicU8, Ordering};

/// Kernel log levels that the macros know.
pub const ERR: u8 = 3;
/// Warnings.
pub const WARN: u8 = 4;
/// Normal but significant.
pub const NOTICE: u8 = 5;
/// Information.
pub const INFO: u8 = 6;
/// Debugging.
pub const DEBUG: u8 = 7;

static LEVEL: AtomicU8 = AtomicU8::new(WARN);

/// Shows lines up to `level`. Fuzzers pass 0, or they would drown in messages.
pub fn set_level(level: u8) {
    LEVEL.store(level, Ordering::Relaxed);
}

#[doc(hidden)]
pub fn print(level: u8, args: core::fmt::Arguments<'_>) {
    if level <= LEVEL.load(Ordering::Relaxed) {
        eprint!("vexfs: {args}");
    }
}

/// Logs an error.
#[macro_export]
macro_rules! pr_err { ($($arg:tt)*) => { $crate::print::print($crate::print::ERR, ::core::format_args!($($arg)*)) }; }
/// Logs a warning.
#[macro_export]
macro_rules! pr_warn { ($($arg:tt)*) => { $crate::print::print($crate::print::WARN, ::core::format_args!($($arg)*)) }; }
/// Logs a notice.
#[macro_export]
macro_rules! pr_notice { ($($arg:tt)*) => { $crate::print::print($crate::print::NOTICE, ::core::format_args!($($arg)*)) }; }
/// Logs information.
#[macro_export]
macro_rules! pr_info { ($($arg:tt)*) => { $crate::print::print($crate::print::INFO, ::core::format_args!($($arg)*)) }; }
/// Logs for debugging.
#[macro_export]
macro_rules! pr_debug { ($($arg:tt)*) => { $crate::print::print($crate::print::DEBUG, ::core::format_args!($($arg)*)) }; }
