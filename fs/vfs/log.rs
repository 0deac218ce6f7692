// SPDX-License-Identifier: GPL-2.0

//! Log lines that say which file system they are about.

use super::bindings;
use core::fmt::{self, Write};

/// KERN_ERR.
pub(crate) const ERR: i32 = 3;
/// KERN_WARNING.
pub(crate) const WARN: i32 = 4;
/// KERN_INFO.
pub(crate) const INFO: i32 = 6;

/// A line on the stack; what does not fit is cut off.
struct Line {
    text: [u8; 200],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = &mut self.text[self.len..];
        let n = s.len().min(room.len());
        room[..n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        Ok(())
    }
}

/// Logs a line about the file system of `sb`, which is a valid super block or null.
pub(super) fn line(sb: *const bindings::super_block, level: i32, text: fmt::Arguments<'_>) {
    let mut line = Line {
        text: [0; 200],
        len: 0,
    };
    // A line that is too long is cut off, never an error.
    let _ = line.write_fmt(text);
    // SAFETY: The callers pass a super block that they hold; the text is a valid buffer.
    unsafe { bindings::vexfs_helper_log(sb, level, line.text.as_ptr().cast(), line.len) };
}
