// SPDX-License-Identifier: GPL-2.0

//! Quota: whether the quota inode says what the inodes say.

use super::{Checker, Fix, SuperField};
use crate::libvexfs::attr::{key, kind};
use crate::libvexfs::format::inode::{place, STATE_INTERNAL};
use crate::libvexfs::format::quota::{parse_key, record_key, Grace, Record};
use crate::libvexfs::format::Inode;
use crate::libvexfs::journal::Store;
use crate::libvexfs::quota::Owners;
use crate::libvexfs::tree::KIND_ATTR;
use std::collections::BTreeMap;

/// What owners have, by type and number.
#[derive(Default)]
pub(super) struct Quota {
    /// Blocks and inodes, by the inodes.
    used: BTreeMap<(usize, u32), (u64, u64)>,
    /// By the quota inode.
    records: BTreeMap<(usize, u32), Record>,
}

impl<S: Store> Checker<'_, S> {
    /// Whether the superblock names a quota inode if, and only if, there is to be one.
    pub(super) fn quota_inode(&mut self) {
        let sb = self.sb;
        let right = match sb.has_quota() {
            true => {
                place(sb.quota_ino).is_ok()
                    && self
                        .read_inode(sb.quota_ino)
                        .is_some_and(|i| i.is_reg() && i.state & STATE_INTERNAL != 0)
            }
            false => sb.quota_ino == 0,
        };
        if !right {
            let what = "the quota inode is not an internal file: limits are lost";
            self.wrong(sb.quota_ino, 0, what, Fix::Super(SuperField::NoQuota));
        }
    }

    /// Counts an inode that rightly has so many blocks.
    pub(super) fn quota_count(&mut self, i: &Inode, blocks: u64) {
        if !self.sb.has_quota() || !self.first_pass || i.state & STATE_INTERNAL != 0 {
            return;
        }
        for owner in Owners::of(i).0.into_iter().enumerate() {
            let used = self.quota.used.entry(owner).or_default();
            *used = (used.0.saturating_add(blocks), used.1.saturating_add(1));
        }
    }

    /// Takes a record of the quota inode in; false if it is of another kind.
    pub(super) fn quota_record(
        &mut self,
        i: &Inode,
        bno: u64,
        record: u8,
        rest: u128,
        value: &[u8],
    ) -> bool {
        if record != kind::QUOTA {
            return false;
        }
        let ours = self.sb.has_quota() && i.ino == self.sb.quota_ino;
        let right = match parse_key(rest) {
            _ if !ours => false,
            Some((qtype, Some(id))) => match Record::parse(value) {
                Ok(r) => {
                    self.quota.records.insert((qtype, id), r);
                    true
                }
                Err(_) => false,
            },
            Some((_, None)) => Grace::parse(value).is_ok(),
            None => false,
        };
        if !right {
            let remove = Fix::drop_record(i.ino, KIND_ATTR, key(record, rest));
            self.wrong(i.ino, bno, "an impossible quota record", remove);
        }
        true
    }

    /// Compares, when all inodes were seen.
    pub(super) fn compare_quota(&mut self) {
        if !self.sb.has_quota() || !self.first_pass {
            return;
        }
        let quota = core::mem::take(&mut self.quota);
        let owners = quota.used.keys().chain(quota.records.keys());
        let owners: std::collections::BTreeSet<_> = owners.copied().collect();
        for owner in owners {
            let used = quota.used.get(&owner).copied().unwrap_or_default();
            let record = quota.records.get(&owner);
            let booked = record.map(|r| (r.blocks.used, r.inodes.used));
            if booked == Some(used) {
                continue;
            }
            let (qtype, id) = owner;
            let name = ["user", "group", "project"].get(qtype).unwrap_or(&"owner");
            let says = match booked {
                Some((blocks, inodes)) => format!("{blocks} blocks and {inodes} inodes"),
                None => "nothing".to_owned(),
            };
            let what = format!(
                "quota: {says} for {name} {id}, rightly {} blocks and {} inodes",
                used.0, used.1
            );
            let mut record = record.copied().unwrap_or_default();
            (record.blocks.used, record.inodes.used) = used;
            let fix = Fix::Record {
                ino: self.sb.quota_ino,
                kind: KIND_ATTR,
                key: key(kind::QUOTA, record_key(qtype, id)),
                value: Some(record.format().into()),
                name: false,
            };
            self.wrong(self.sb.quota_ino, 0, what, fix);
        }
    }
}
