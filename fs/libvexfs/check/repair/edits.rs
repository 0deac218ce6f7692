// SPDX-License-Identifier: GPL-2.0

//! Changes of one tree, to be made together.

use std::collections::BTreeMap;

/// What is to be changed in a tree.
#[derive(Default)]
pub(super) struct Edits {
    /// Key -> the value to put; none: the record goes.
    pub(super) hard: BTreeMap<u128, Option<Box<[u8]>>>,
    /// The tree itself is damaged: it is made anew, and leaves that nothing leads to are looked for.
    pub(super) damaged: bool,
}

impl Edits {
    /// For a tree that is made anew, of nothing but what is put.
    pub(super) fn anew() -> Edits {
        Edits {
            damaged: true,
            ..Edits::default()
        }
    }

    /// Puts a record or takes it out. What is put by one stays, though another would take it out: it was wrong only as
    /// it was.
    pub(super) fn set(&mut self, key: u128, value: Option<Box<[u8]>>) {
        if value.is_some() || !self.hard.contains_key(&key) {
            self.hard.insert(key, value);
        }
    }
}
