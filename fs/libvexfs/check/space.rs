// SPDX-License-Identifier: GPL-2.0

//! Free space: bitmaps and summaries against what is in use.

use super::tree::unreadable;
use super::usage::Bits;
use super::{clear_bits, Checker, Fix, Problem};
use crate::libvexfs::format::group::{
    is_bitmap, BITMAP_BYTES, BITMAP_HEADER, SUMMARY_FREE, SUMMARY_INIT,
};
use crate::libvexfs::format::{bytes, le32};
use crate::libvexfs::journal::{Block, Store};
use kernel::prelude::*;

/// The summary entries of a group, a block at a time.
pub(super) struct Summaries {
    bno: u64,
    body: Result<Vec<u8>, Error>,
}

impl Summaries {
    pub(super) fn new() -> Summaries {
        Summaries {
            bno: 0,
            body: Err(EIO),
        }
    }

    /// The entry of a region.
    pub(super) fn entry<S: Store>(&mut self, store: &S, (bno, off): (u64, usize)) -> Result<u32> {
        if self.bno != bno {
            *self = Summaries {
                bno,
                body: store.read(bno).map(|block| block.data().to_vec()),
            };
        }
        match &self.body {
            Ok(body) => Ok(le32(body, off)),
            Err(e) => Err(*e),
        }
    }
}

impl<S: Store> Checker<'_, S> {
    /// Compares the regions of the groups that this pass remembers.
    pub(super) fn compare_space(&mut self) {
        let mut summaries = Summaries::new();
        for group in self.usage.groups() {
            for region in 0..self.sb.geometry.regions(group) {
                if self.stopped {
                    return;
                }
                let entry = summaries.entry(self.store, self.sb.geometry.summary(group, region));
                if let Some(what) = self.region(group, region, entry) {
                    let bits = match self.usage.region(group, region) {
                        Some(bits) => bits[..].into(),
                        None => [0; BITMAP_BYTES][..].into(),
                    };
                    let bno = self.sb.geometry.bitmap(group, region);
                    let fixes = vec![Fix::Region {
                        group,
                        region,
                        bits,
                    }];
                    self.report(Problem {
                        ino: 0,
                        bno,
                        what,
                        fixes,
                    });
                }
            }
            self.step();
        }
    }

    /// What is wrong with a region, if anything is.
    fn region(&self, group: u32, region: u32, entry: Result<u32>) -> Option<String> {
        let g = &self.sb.geometry;
        let len = g.region_len(group, region);
        let start = g.region_start(group, region);
        let used = self.usage.region(group, region);
        let summary = match entry {
            Ok(entry) => entry,
            Err(e) => {
                return Some(format!(
                    "summary of region {region} of group {group}: {}",
                    unreadable(e)
                ))
            }
        };
        let free = used.map_or(len, |bits| clear_bits(bits, len));
        let said = u64::from(summary & SUMMARY_FREE);
        if summary & SUMMARY_INIT == 0 {
            if used.is_some() {
                return Some(format!(
                    "blocks from {start} on are in use, the summary knows of none"
                ));
            }
            if said != len {
                return Some(format!(
                    "summary of blocks from {start} on: {said} free, rightly {len}"
                ));
            }
            return None;
        }
        let bno = g.bitmap(group, region);
        let block = match self.store.read(bno) {
            Ok(block) => block,
            Err(e) => return Some(format!("bitmap: {}", unreadable(e))),
        };
        let data = block.data();
        if !is_bitmap(&data, group, bno, region) {
            return Some("not the bitmap that belongs here".to_owned());
        }
        let bits: Bits = bytes(&data, BITMAP_HEADER);
        let none = [0; BITMAP_BYTES];
        let (lost, doubled) = differences(&bits, used.unwrap_or(&none), len);
        match (lost, doubled) {
            (None, None) if said == free => None,
            (None, None) => Some(format!(
                "summary of blocks from {start} on: {said} free, rightly {free}"
            )),
            (Some(bit), None) => Some(format!(
                "bitmap: block {} is not in use and not free",
                start + bit
            )),
            (_, Some(bit)) => Some(format!("bitmap: block {} is in use and free", start + bit)),
        }
    }
}

/// The first of `len` bits that is set without being in use, and the first that is in use without being set.
fn differences(bits: &Bits, used: &Bits, len: u64) -> (Option<u64>, Option<u64>) {
    let mut first = (None, None);
    for (n, (a, b)) in bits.iter().zip(used).enumerate() {
        if a == b {
            continue;
        }
        for bit in (0..8)
            .map(|b| n as u64 * 8 + b)
            .take_while(|bit| *bit < len)
        {
            match (a >> (bit % 8) & 1, b >> (bit % 8) & 1) {
                (1, 0) => first.0 = first.0.or(Some(bit)),
                (0, 1) => first.1 = first.1.or(Some(bit)),
                _ => {}
            }
        }
    }
    first
}
