// SPDX-License-Identifier: GPL-2.0

//! Filters: small programs that say of a record whether it may be a hit.
//!
//! The machine has a stack of numbers and truths and no jumps, so that a program ends after
//! as many steps as it has. [`Filter::verify`] checks what a caller gave, [`Filter::run`]
//! runs what was checked, over a [`Subject`] that knows a record and its file.
//!
//! A subject need not know everything: what it does not know (yet) makes a result unknown
//! only where it matters. So a filter is run with what is cheap first, and what one file
//! decides is decided once for all its records.

pub mod glob;
mod run;
mod verify;

pub use run::{time, Looked, Number, Subject};
pub use verify::{Need, Span};

use kernel::prelude::*;
use verify::Step;

/// Instructions of a program.
pub const INSNS_MAX: usize = 256;
/// Values on the stack.
pub const STACK_MAX: usize = 16;
/// Bytes of data beside the instructions.
pub const DATA_MAX: usize = 8 << 20;
/// Bytes of all patterns together, so that the time that one record takes is bounded.
pub const GLOBS_MAX: usize = glob::PATTERN_MAX;
/// Directories that a filter asks to lie below.
pub const DIRS_MAX: usize = 16;
/// Longer values of attributes match no pattern.
pub const MATCHED_MAX: usize = 4096;

/// The numbers of instructions.
pub mod op {
    /// A number: `value`.
    pub const UINT: u16 = 1;
    /// A number: `value`, signed.
    pub const SINT: u16 = 2;
    /// A time: `value` seconds and `len` nanoseconds.
    pub const TIME: u16 = 3;
    /// A number: a field.
    pub const FIELD: u16 = 4;
    /// A truth: a flag.
    pub const FLAG: u16 = 5;
    /// A number: an attribute's value.
    pub const XATTR_NUMBER: u16 = 6;
    /// A truth: there is an attribute.
    pub const XATTR: u16 = 7;
    /// A truth: an attribute has this value.
    pub const XATTR_EQ: u16 = 8;
    /// A truth: an attribute's value matches.
    pub const XATTR_GLOB: u16 = 9;
    /// A truth: the path matches.
    pub const PATH_GLOB: u16 = 10;
    /// A truth: the last part of the path matches.
    pub const NAME_GLOB: u16 = 11;
    /// A truth: the file lies below a directory.
    pub const UNDER: u16 = 12;
    /// Two numbers are equal.
    pub const EQ: u16 = 16;
    /// They are not.
    pub const NE: u16 = 17;
    /// The first is smaller.
    pub const LT: u16 = 18;
    /// The first is not larger.
    pub const LE: u16 = 19;
    /// The first is larger.
    pub const GT: u16 = 20;
    /// The first is not smaller.
    pub const GE: u16 = 21;
    /// The bits that two numbers share.
    pub const BITS: u16 = 22;
    /// A number is in a sorted array.
    pub const IN: u16 = 23;
    /// Both.
    pub const AND: u16 = 32;
    /// One at least.
    pub const OR: u16 = 33;
    /// The reverse.
    pub const NOT: u16 = 34;
}

/// An instruction as callers give it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insn {
    /// One of [`op`].
    pub op: u16,
    /// Number of a field or flag.
    pub field: u16,
    /// Length of an argument.
    pub len: u32,
    /// The argument, or its place in the data.
    pub value: u64,
}

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$item])* $variant = $number,)* }

        impl $name {
            /// All there are.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// From its number.
            pub fn from_raw(raw: u16) -> Option<$name> {
                match raw {
                    $($number => Some($name::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

numbered! {
    /// A number that a record or its file has.
    Field {
        /// The record's key.
        Key = 1,
        /// First byte that it describes.
        Off = 2,
        /// Bytes that it describes.
        Len = 3,
        /// Version of the contents that it describes.
        Version = 4,
        /// The file.
        Ino = 5,
        /// Owner of the file.
        Uid = 16,
        /// Group of the file.
        Gid = 17,
        /// Permissions.
        Mode = 18,
        /// Type, as in a mode.
        Type = 19,
        /// Bytes.
        Size = 20,
        /// Blocks of 512 bytes.
        Blocks = 21,
        /// Names.
        Nlink = 22,
        /// Project.
        Project = 23,
        /// Last access, in nanoseconds.
        Atime = 24,
        /// Last change of the contents.
        Mtime = 25,
        /// Last change of anything.
        Ctime = 26,
        /// Creation.
        Btime = 27,
    }
}

numbered! {
    /// A truth of a record or its file.
    Flag {
        /// What it describes was changed since.
        Stale = 1,
        /// Some of the file is offline.
        Offline = 2,
        /// Copies are on volumes.
        Archived = 3,
        /// The record describes the whole file.
        Whole = 4,
    }
}

impl Field {
    /// Whether records of one file may differ in it.
    pub fn of_record(self) -> bool {
        matches!(self, Field::Key | Field::Off | Field::Len | Field::Version)
    }
}

impl Flag {
    /// Whether records of one file may differ in it.
    pub fn of_record(self) -> bool {
        matches!(self, Flag::Stale | Flag::Whole)
    }
}

/// What a program looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// What records of one file may differ in.
    pub record: bool,
    /// Attributes of the inode.
    pub inode: bool,
    /// Extended attributes, and directories that the file lies below.
    pub far: bool,
    /// The path.
    pub path: bool,
}

/// A program that was verified.
pub struct Filter {
    steps: KVVec<Step>,
    data: KVVec<u8>,
    dirs: KVec<(u64, u32)>,
    uses: Uses,
    need: Option<Need>,
}

impl Filter {
    /// What it looks at.
    pub fn uses(&self) -> Uses {
        self.uses
    }

    /// What is true of every record that it lets in, if that was found out: a way to find
    /// them.
    pub fn need(&self) -> Option<Need> {
        self.need
    }

    /// Inode and generation of the directories that it asks to lie below.
    pub fn dirs(&self) -> &[(u64, u32)] {
        &self.dirs
    }

    /// The numbers of an array in the data.
    pub fn numbers(&self, span: Span) -> impl Iterator<Item = u64> + '_ {
        numbers(&self.data, span)
    }
}

/// The bytes of a span of the data.
fn bytes(data: &[u8], span: Span) -> &[u8] {
    data.get(span.from..span.to).unwrap_or(&[])
}

fn numbers(data: &[u8], span: Span) -> impl Iterator<Item = u64> + '_ {
    bytes(data, span)
        .chunks_exact(8)
        .map(|chunk| chunk.try_into().map_or(0, u64::from_ne_bytes))
}
