// SPDX-License-Identifier: GPL-2.0

//! Error numbers that file systems return and the kernel crate does not name.

pub use kernel::error::code::*;
use kernel::prelude::*;

macro_rules! errno {
    ($($name:ident = $number:literal, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            #[inline]
            pub fn $name() -> Error {
                Error::from_errno(-$number)
            }
        )*
    };
}

errno! {
    exdev = 18, "Cross-device link: the name would leave its project.";
    enametoolong = 36, "File name too long.";
    enotempty = 39, "Directory not empty.";
    eloop = 40, "Too many levels of symbolic links.";
    enodata = 61, "No data available: the attribute does not exist.";
    eproto = 71, "Protocol error.";
    eilseq = 84, "Illegal byte sequence.";
    eopnotsupp = 95, "Operation not supported.";
    etimedout = 110, "Timed out.";
    estale = 116, "Stale file handle: the inode is free.";
    euclean = 117, "Structure needs cleaning: damage on disk.";
    edquot = 122, "Quota exceeded.";
    ecanceled = 125, "Operation cancelled.";
}
