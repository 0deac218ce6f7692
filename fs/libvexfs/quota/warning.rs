// SPDX-License-Identifier: GPL-2.0

//! What owners are told when they pass a limit.

use crate::libvexfs::format::quota::{Amount, Record};
use crate::libvexfs::journal::Store;
use crate::libvexfs::Fs;

/// How a limit was passed, or met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// The hard limit: the operation is refused.
    Hard,
    /// The period of grace is over: the operation is refused.
    GraceOver,
    /// The soft limit: the period of grace begins.
    Soft,
    /// Down, to less than the hard limit.
    BelowHard,
    /// Down, to no more than the soft limit.
    BelowSoft,
}

/// A warning about what one owner has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning {
    /// User, group or project.
    pub qtype: usize,
    /// Which one.
    pub id: u32,
    /// Inodes; otherwise blocks.
    pub inodes: bool,
    /// What happened.
    pub passing: Passing,
}

impl Passing {
    /// Why an owner who has this much, with `claimed` on the way, may not have `more`.
    fn refusal(have: &Amount, claimed: u64, more: u64) -> Self {
        let wanted = have.used.saturating_add(claimed).saturating_add(more);
        match have.hard {
            hard if hard != 0 && wanted > hard => Passing::Hard,
            _ => Passing::GraceOver,
        }
    }

    /// What a change of what an owner has brings with it.
    fn of(old: &Amount, new: &Amount) -> Option<Self> {
        if new.used > old.used {
            return (old.deadline == 0 && new.deadline != 0).then_some(Passing::Soft);
        }
        if new.soft != 0 && old.used > new.soft && new.used <= new.soft {
            return Some(Passing::BelowSoft);
        }
        (new.hard != 0 && old.used >= new.hard && new.used < new.hard).then_some(Passing::BelowHard)
    }
}

impl<S: Store> Fs<S> {
    /// An operation is refused: it wanted this many more blocks and inodes, with those `claimed` on
    /// the way.
    pub(super) fn quota_refused(
        &self,
        (qtype, id): (usize, u32),
        r: &Record,
        claimed: (u64, u64),
        more: (u64, u64),
        inodes: bool,
    ) {
        let passing = match inodes {
            true => Passing::refusal(&r.inodes, claimed.1, more.1),
            false => Passing::refusal(&r.blocks, claimed.0, more.0),
        };
        self.store.quota_warn(Warning {
            qtype,
            id,
            inodes,
            passing,
        });
    }

    /// What an owner has was changed.
    pub(super) fn quota_changed(&self, (qtype, id): (usize, u32), old: &Record, new: &Record) {
        for (inodes, passing) in [
            (false, Passing::of(&old.blocks, &new.blocks)),
            (true, Passing::of(&old.inodes, &new.inodes)),
        ] {
            if let Some(passing) = passing {
                self.store.quota_warn(Warning {
                    qtype,
                    id,
                    inodes,
                    passing,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(used: u64) -> Amount {
        let mut a = Amount {
            used,
            hard: 100,
            soft: 50,
            deadline: 0,
        };
        a.settle(1000, 10);
        a
    }

    #[test]
    fn passing_is_told_once_each_way() {
        let of = |from, to| {
            let mut new = amount(from);
            new.used = to;
            new.settle(1001, 10);
            Passing::of(&amount(from), &new)
        };
        assert_eq!(of(0, 50), None);
        assert_eq!(of(50, 51), Some(Passing::Soft));
        assert_eq!(of(51, 100), None);
        assert_eq!(of(100, 99), Some(Passing::BelowHard));
        assert_eq!(of(99, 51), None);
        assert_eq!(of(51, 50), Some(Passing::BelowSoft));
        assert_eq!(of(100, 0), Some(Passing::BelowSoft));
        assert_eq!(of(7, 7), None);
    }

    #[test]
    fn refusals_say_why() {
        assert_eq!(Passing::refusal(&amount(100), 0, 1), Passing::Hard);
        assert_eq!(Passing::refusal(&amount(60), 40, 1), Passing::Hard);
        assert_eq!(Passing::refusal(&amount(60), 0, 1), Passing::GraceOver);
        let free = Amount::default();
        assert_eq!(Passing::refusal(&free, 5, 5), Passing::GraceOver);
    }
}
