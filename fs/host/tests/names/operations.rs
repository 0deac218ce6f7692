// SPDX-License-Identifier: GPL-2.0

//! Random operations on a name space.

use proptest::prelude::*;
use vexfs::libvexfs::namespace::*;

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    File,
    Dir,
    ShortLink,
    LongLink,
    Device,
    Fifo,
    Socket,
}

/// An operation; numbers choose among what there is.
#[derive(Clone, Debug)]
pub enum Op {
    Create(usize, usize, Kind),
    Tmpfile(usize, Kind),
    Link(usize, usize, usize),
    Remove(usize, usize),
    Rename {
        from: usize,
        old: usize,
        to: usize,
        new: usize,
        flags: u32,
    },
    SetXattr(usize, usize, usize, u8),
    RemoveXattr(usize, usize),
    /// Many at once, so that trees grow and shrink by levels.
    Fill(usize, usize, usize),
    Clear(usize, usize, usize),
    Reap(usize),
    Remount,
    Commit,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::File),
        4 => Just(Kind::Dir),
        1 => Just(Kind::ShortLink),
        1 => Just(Kind::LongLink),
        1 => Just(Kind::Device),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Socket),
    ]
}

fn flags() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => Just(0),
        2 => Just(RENAME_NOREPLACE),
        4 => Just(RENAME_EXCHANGE),
        3 => Just(RENAME_WHITEOUT),
        1 => Just(RENAME_WHITEOUT | RENAME_NOREPLACE),
        1 => 0..16u32,
    ]
}

pub fn op() -> impl Strategy<Value = Op> {
    let n = || 0..1000usize;
    prop_oneof![
        12 => (n(), n(), kind()).prop_map(|(d, n, k)| Op::Create(d, n, k)),
        2 => (n(), kind()).prop_map(|(d, k)| Op::Tmpfile(d, k)),
        6 => (n(), n(), n()).prop_map(|(d, n, t)| Op::Link(d, n, t)),
        8 => (n(), n()).prop_map(|(d, n)| Op::Remove(d, n)),
        12 => (n(), n(), n(), n(), flags())
            .prop_map(|(from, old, to, new, flags)| Op::Rename { from, old, to, new, flags }),
        5 => (n(), n(), prop_oneof![0..1200usize, 0..70_000usize], 0..3u8)
            .prop_map(|(i, n, len, mode)| Op::SetXattr(i, n, len, mode)),
        2 => (n(), n()).prop_map(|(i, n)| Op::RemoveXattr(i, n)),
        2 => (n(), n(), 1..120usize).prop_map(|(d, n, count)| Op::Fill(d, n, count)),
        1 => (n(), n(), 1..200usize).prop_map(|(d, n, count)| Op::Clear(d, n, count)),
        3 => n().prop_map(Op::Reap),
        1 => Just(Op::Remount),
        1 => Just(Op::Commit),
    ]
}
