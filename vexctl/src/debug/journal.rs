// SPDX-License-Identifier: GPL-2.0
//! The journal: its superblock, and the transactions in the log.

use super::image::Image;
use super::show::{hex, time, Map};
use crate::device;
use anyhow::{Context, Result};
use vexfs::libvexfs::journal::host::jbd2::{self, Super};
use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::BLOCK_SIZE;
use vexfs::volume;

/// A transaction as it is being read.
#[derive(Default)]
struct Transaction {
    first: u64,
    descriptors: u64,
    copies: Vec<Map>,
    blocks: u64,
    revokes: Vec<u64>,
    revoked: u64,
    right: bool,
}

/// The journal. `blocks`: with the place of every block in it.
pub fn journal(image: &Image, blocks: bool) -> Result<Map> {
    let sb = image.sb()?;
    let region = volume::region(sb).context("the superblock has no place for a journal")?;
    let disk = image.disk();
    let mut buf = [0; BLOCK_SIZE];
    disk.read(region.start, &mut buf)
        .context("the journal's superblock cannot be read")?;
    let mut map = Map::new()
        .with("first_block", region.start)
        .with("blocks", region.len);
    let journal = match Super::parse(&buf, region) {
        Ok(journal) => journal,
        Err(_) => {
            image.problem(format!(
                "block {}: not the superblock of a journal that lies here, or its checksum is wrong",
                region.start
            ));
            map.put("first_bytes", hex(&buf[..64]));
            return Ok(map);
        }
    };
    map.put("uuid", device::uuid_text(&journal.uuid))
        .put("sequence", journal.sequence)
        .put("log_start", journal.start)
        .put("head", journal.head)
        .put("errno", journal.errno)
        .put("empty", journal.start == 0);
    if journal.uuid != sb.journal_uuid {
        image.problem("the journal has another UUID than the superblock says");
    }
    if journal.start != 0 {
        map.append(transactions(image, &journal, blocks)?);
    }
    if let Some(replay) = image.replay() {
        map.put("blocks_to_replay", replay.len())
            .put("blocks_revoked", replay.revoked());
    }
    Ok(map)
}

/// Steps through the log from its start to where it ends.
fn transactions(image: &Image, journal: &Super, blocks: bool) -> Result<Map> {
    let (disk, region, seed) = (image.disk(), journal.region, journal.seed());
    let mut list = Vec::new();
    let mut buf = [0; BLOCK_SIZE];
    let (mut at, mut tid, mut left) = (journal.start, journal.sequence, region.log_blocks());
    let mut now = Transaction {
        first: at,
        right: true,
        ..Transaction::default()
    };
    let end = loop {
        if left == 0 {
            break "the log is full".to_owned();
        }
        if let Err(e) = disk.read(at, &mut buf) {
            image.problem(format!("block {at}: cannot read the log: {e}"));
            break format!("block {at} cannot be read");
        }
        let here = at;
        at = region.advance(at, 1);
        left -= 1;
        match jbd2::header(&buf) {
            Some((jbd2::DESCRIPTOR, t)) if t == tid => {
                now.right &= jbd2::tail_ok(seed, &buf);
                now.descriptors += 1;
                let mut count = 0;
                for tag in jbd2::tags(&buf) {
                    if blocks {
                        now.copies
                            .push(copy(image, journal, tid, region.advance(at, count), &tag));
                    }
                    count += 1;
                }
                now.blocks += count;
                if count > left {
                    break format!("the descriptor in block {here} is longer than the log");
                }
                at = region.advance(at, count);
                left -= count;
            }
            Some((jbd2::REVOKE, t)) if t == tid => {
                now.right &= jbd2::tail_ok(seed, &buf);
                match jbd2::revokes(&buf) {
                    Ok(list) => {
                        for bno in list {
                            now.revoked += 1;
                            if blocks {
                                now.revokes.push(bno);
                            }
                        }
                    }
                    Err(_) => now.right = false,
                }
            }
            Some((jbd2::COMMIT, t)) if t == tid => {
                now.right &= jbd2::commit_ok(seed, &buf);
                let done = std::mem::take(&mut now);
                let right = done.right;
                list.push(transaction(tid, done, blocks, here, &buf));
                tid = tid.wrapping_add(1);
                now.first = at;
                now.right = true;
                if !right {
                    break format!("transaction {} has a wrong checksum", tid.wrapping_sub(1));
                }
            }
            Some((kind, t)) => {
                break format!("block {here} is of type {kind} and of transaction {t}");
            }
            None => break format!("block {here} is none of the log's"),
        }
    };
    let mut map = Map::new()
        .with("transactions", list)
        .with("end_of_log", end);
    if now.descriptors > 0 {
        map.put("uncommitted", tid);
    }
    Ok(map)
}

fn transaction(tid: u32, t: Transaction, blocks: bool, commit: u64, buf: &[u8; BLOCK_SIZE]) -> Map {
    let seconds = i64::try_from(jbd2::commit_time(buf)).unwrap_or(i64::MAX);
    let mut map = Map::new()
        .with("transaction", tid)
        .with("first_block", t.first)
        .with("commit_block", commit)
        .with("descriptors", t.descriptors)
        .with("block_count", t.blocks)
        .with("revoked", t.revoked)
        .with("committed", time(seconds, None))
        .with("checksum", t.right);
    if blocks {
        map.put("copies", t.copies).put("revokes", t.revokes);
    }
    map
}

/// A block that the log has a copy of.
fn copy(image: &Image, journal: &Super, tid: u32, log: u64, tag: &jbd2::Tag) -> Map {
    let mut data = [0; BLOCK_SIZE];
    let right = match image.disk().read(log, &mut data) {
        Ok(()) => jbd2::data_checksum(journal.seed(), tid, &data) == tag.checksum,
        Err(_) => false,
    };
    Map::new()
        .with("block", tag.bno)
        .with("in_log", log)
        .with("is", super::block::kind(&data))
        .with("escaped", tag.escaped)
        .with("checksum", right)
}
