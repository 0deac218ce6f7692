// SPDX-License-Identifier: GPL-2.0

//! Replay: what a journal holds that is not in place yet, as jbd2's recovery would find it.
//!
//! A scan finds where the log ends, the descriptors tell which blocks have a newer copy in the log, the revoke blocks
//! strike out what was freed since. The result is a map from block to log block, so that a reader can look through it
//! (`fsck -n`, read-only tools) and a writer can put everything in its place. Memory is bounded by the journal's size,
//! whatever the log says.

use super::disk::Disk;
use super::jbd2::{self, Buf, Super, Tag};
use crate::libvexfs::errno::euclean;
use crate::libvexfs::journal::{Tid, BLOCK_SIZE};
use core::fmt;
use kernel::prelude::*;
use std::collections::BTreeMap;

/// What is wrong with a log. A torn end is not: it is how every crash looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A descriptor or revoke block of a transaction that has a commit block.
    Control { tid: Tid },
    /// A commit block whose checksum is wrong.
    Commit { tid: Tid, log_block: u64 },
    /// A data block that is not what its tag says.
    Data { tid: Tid, log_block: u64, bno: u64 },
    /// A tag that points out of the volume or into the journal.
    Target { tid: Tid, bno: u64 },
    /// A revoke block whose count is impossible.
    Revoke { tid: Tid, log_block: u64 },
    /// The transaction is longer than the log.
    Endless { tid: Tid },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Control { tid } => write!(
                f,
                "transaction {tid}: wrong checksum of a descriptor or revoke block"
            ),
            Damage::Commit { tid, log_block } => {
                write!(
                    f,
                    "transaction {tid}: wrong checksum of the commit block at {log_block}"
                )
            }
            Damage::Data {
                tid,
                log_block,
                bno,
            } => {
                write!(
                    f,
                    "transaction {tid}: wrong checksum of the copy of block {bno} at {log_block}"
                )
            }
            Damage::Target { tid, bno } => {
                write!(f, "transaction {tid}: block {bno} cannot be journalled")
            }
            Damage::Revoke { tid, log_block } => write!(
                f,
                "transaction {tid}: impossible revoke block at {log_block}"
            ),
            Damage::Endless { tid } => write!(f, "transaction {tid} does not end"),
        }
    }
}

/// The newest copy of a block in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copy {
    log_block: u64,
    tid: Tid,
    tag: Tag,
}

/// What a log holds.
#[derive(Debug)]
pub struct Replay {
    sb: Super,
    end: Tid,
    head: u64,
    copies: BTreeMap<u64, Copy>,
    revoked: u64,
    damage: Vec<Damage>,
}

/// A control block that a walk through the log came across.
enum Step<'a> {
    Descriptor {
        tid: Tid,
        buf: &'a Buf,
        data: u64,
    },
    Revoke {
        tid: Tid,
        buf: &'a Buf,
        log_block: u64,
    },
    Commit {
        tid: Tid,
        buf: &'a Buf,
        log_block: u64,
    },
}

impl Replay {
    /// Reads the whole log and finds what to replay.
    ///
    /// # Errors
    /// EIO. Damage is not an error here: see [`Replay::damage`].
    pub fn scan<D: Disk>(disk: &D, sb: Super) -> Result<Replay> {
        let (end, head) = (sb.sequence, sb.start);
        let mut replay = Replay {
            sb,
            end,
            head,
            copies: BTreeMap::new(),
            revoked: 0,
            damage: Vec::new(),
        };
        if replay.sb.start == 0 {
            return Ok(replay);
        }
        replay.find_end(disk)?;
        replay.collect_copies(disk)?;
        replay.strike_revoked(disk)?;
        replay.verify(disk)?;
        Ok(replay)
    }

    /// Reads the journal's superblock of `region` and scans the log.
    ///
    /// # Errors
    /// EIO, or EUCLEAN for a journal superblock that is none.
    pub fn open<D: Disk>(disk: &D, region: jbd2::Region) -> Result<Replay> {
        let mut buf = [0; BLOCK_SIZE];
        disk.read(region.start, &mut buf)?;
        Replay::scan(disk, Super::parse(&buf, region)?)
    }

    /// Steps through the control blocks from the log's start, transaction by transaction, until `see` has seen enough
    /// or something comes that does not belong to the log.
    fn walk<D: Disk>(&self, disk: &D, mut see: impl FnMut(Step<'_>) -> bool) -> Result<()> {
        let region = self.sb.region;
        let mut buf = [0; BLOCK_SIZE];
        let (mut at, mut tid, mut left) = (self.sb.start, self.sb.sequence, region.log_blocks());
        while left > 0 {
            disk.read(at, &mut buf)?;
            let log_block = at;
            at = region.advance(at, 1);
            left -= 1;
            let more = match jbd2::header(&buf) {
                Some((jbd2::DESCRIPTOR, t)) if t == tid => {
                    let data = jbd2::tags(&buf).count() as u64;
                    if data > left {
                        return Ok(());
                    }
                    let more = see(Step::Descriptor {
                        tid,
                        buf: &buf,
                        data: at,
                    });
                    at = region.advance(at, data);
                    left -= data;
                    more
                }
                Some((jbd2::REVOKE, t)) if t == tid => see(Step::Revoke {
                    tid,
                    buf: &buf,
                    log_block,
                }),
                Some((jbd2::COMMIT, t)) if t == tid => {
                    let more = see(Step::Commit {
                        tid,
                        buf: &buf,
                        log_block,
                    });
                    tid = tid.wrapping_add(1);
                    more
                }
                _ => false,
            };
            if !more {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Finds the first transaction that is not whole. Blocks of an older journal at the same place look like the log's
    /// own, but for checksum and time: their commit is older than the newest good one.
    fn find_end<D: Disk>(&mut self, disk: &D) -> Result<()> {
        let (seed, region) = (self.sb.seed(), self.sb.region);
        let (mut end, mut head, mut last_time, mut suspect) = (self.end, self.head, 0, false);
        let mut damage = None;
        self.walk(disk, |step| match step {
            Step::Descriptor { buf, .. } | Step::Revoke { buf, .. } => {
                suspect |= !jbd2::tail_ok(seed, buf);
                true
            }
            Step::Commit {
                tid,
                buf,
                log_block,
            } => {
                let time = jbd2::commit_time(buf);
                if suspect || !jbd2::commit_ok(seed, buf) {
                    if time >= last_time {
                        damage = Some(if suspect {
                            Damage::Control { tid }
                        } else {
                            Damage::Commit { tid, log_block }
                        });
                    }
                    return false;
                }
                last_time = time;
                end = tid.wrapping_add(1);
                head = region.advance(log_block, 1);
                true
            }
        })?;
        self.end = end;
        self.head = head;
        self.damage.extend(damage);
        Ok(())
    }

    fn collect_copies<D: Disk>(&mut self, disk: &D) -> Result<()> {
        let (end, region, blocks) = (self.end, self.sb.region, disk.block_count());
        let mut copies = BTreeMap::new();
        let mut damage = Vec::new();
        self.walk(disk, |step| {
            match step {
                Step::Descriptor { tid, .. } if tid == end => return false,
                Step::Descriptor { tid, buf, data } => {
                    for (n, tag) in jbd2::tags(buf).enumerate() {
                        if tag.bno >= blocks || region.contains(tag.bno) {
                            damage.push(Damage::Target { tid, bno: tag.bno });
                        } else {
                            copies.insert(
                                tag.bno,
                                Copy {
                                    log_block: region.advance(data, n as u64),
                                    tid,
                                    tag,
                                },
                            );
                        }
                    }
                }
                Step::Commit { tid, .. } => return tid.wrapping_add(1) != end,
                Step::Revoke { .. } => {}
            }
            true
        })?;
        self.copies = copies;
        self.damage.append(&mut damage);
        Ok(())
    }

    /// A revoke strikes out the copies in its own transaction and all before it.
    fn strike_revoked<D: Disk>(&mut self, disk: &D) -> Result<()> {
        let end = self.end;
        let mut copies = core::mem::take(&mut self.copies);
        let mut damage = Vec::new();
        let mut revoked = 0;
        self.walk(disk, |step| {
            match step {
                Step::Revoke { tid, .. } if tid == end => return false,
                Step::Revoke {
                    tid,
                    buf,
                    log_block,
                } => match jbd2::revokes(buf) {
                    Err(_) => damage.push(Damage::Revoke { tid, log_block }),
                    Ok(blocks) => {
                        for bno in blocks {
                            if copies
                                .get(&bno)
                                .is_some_and(|copy| !jbd2::tid_gt(copy.tid, tid))
                            {
                                copies.remove(&bno);
                                revoked += 1;
                            }
                        }
                    }
                },
                Step::Commit { tid, .. } => return tid.wrapping_add(1) != end,
                Step::Descriptor { .. } => {}
            }
            true
        })?;
        self.copies = copies;
        self.revoked = revoked;
        self.damage.append(&mut damage);
        Ok(())
    }

    /// Checks every copy that would be replayed; the bad ones are dropped from the map.
    fn verify<D: Disk>(&mut self, disk: &D) -> Result<()> {
        let mut order: Vec<Copy> = self.copies.values().copied().collect();
        order.sort_by_key(|copy| copy.log_block);
        let seed = self.sb.seed();
        let mut buf = [0; BLOCK_SIZE];
        for copy in order {
            disk.read(copy.log_block, &mut buf)?;
            if jbd2::data_checksum(seed, copy.tid, &buf) != copy.tag.checksum {
                self.damage.push(Damage::Data {
                    tid: copy.tid,
                    log_block: copy.log_block,
                    bno: copy.tag.bno,
                });
                self.copies.remove(&copy.tag.bno);
            }
        }
        Ok(())
    }

    /// Whether there is nothing to replay and nothing to clean up: the volume was unmounted.
    pub fn is_clean(&self) -> bool {
        self.sb.start == 0
    }

    /// The first transaction of the log, and the one after its last whole one.
    pub fn transactions(&self) -> (Tid, Tid) {
        (self.sb.sequence, self.end)
    }

    /// How many blocks have a newer copy in the log.
    pub fn len(&self) -> usize {
        self.copies.len()
    }

    /// Whether no block has a newer copy in the log.
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    /// How many copies were struck out by revokes.
    pub fn revoked(&self) -> u64 {
        self.revoked
    }

    /// What is wrong with the log. The kernel refuses to mount while this is not empty.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// The journal's superblock as it was found.
    pub fn superblock(&self) -> &Super {
        &self.sb
    }

    /// Where the log ends: one past the newest whole transaction.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Reads the log's copy of `bno`, if there is one.
    ///
    /// # Errors
    /// EIO.
    pub fn read<D: Disk>(&self, disk: &D, bno: u64, buf: &mut [u8]) -> Result<bool> {
        let Some(copy) = self.copies.get(&bno) else {
            return Ok(false);
        };
        disk.read(copy.log_block, buf)?;
        if copy.tag.escaped {
            jbd2::unescape(buf);
        }
        Ok(true)
    }

    /// Puts every block in its place and marks the log empty. Interrupted at any moment it can be done again.
    ///
    /// # Errors
    /// EIO, EROFS; EUCLEAN if the log is damaged and `force` does not say to take what is whole.
    pub fn apply<D: Disk>(mut self, disk: &D, force: bool) -> Result<Super> {
        if !self.damage.is_empty() && !force {
            return Err(euclean());
        }
        if self.sb.start == 0 {
            return Ok(self.sb);
        }
        let mut buf = [0; BLOCK_SIZE];
        for bno in self.copies.keys() {
            if self.read(disk, *bno, &mut buf)? {
                disk.write(*bno, &buf)?;
            }
        }
        disk.flush()?;
        // Not `end` itself: what lies there may be a half-written transaction of that number.
        self.sb.sequence = self.end.wrapping_add(1);
        self.sb.start = 0;
        self.sb.head = 0;
        disk.write(self.sb.region.start, &self.sb.encode())?;
        disk.flush()?;
        Ok(self.sb)
    }
}

/// A disk seen through a log: reads give what replay would put there, writes are refused.
pub struct Overlay<D> {
    disk: D,
    replay: Replay,
}

impl<D: Disk> Overlay<D> {
    /// Looks at `disk` through `replay`.
    pub fn new(disk: D, replay: Replay) -> Overlay<D> {
        Overlay { disk, replay }
    }
}

impl<D: Disk> Disk for Overlay<D> {
    fn read(&self, bno: u64, buf: &mut [u8]) -> Result<()> {
        self.disk.read(bno, buf)?;
        if self.replay.is_empty() {
            return Ok(());
        }
        for (n, block) in buf.chunks_exact_mut(BLOCK_SIZE).enumerate() {
            self.replay
                .read(&self.disk, bno.saturating_add(n as u64), block)?;
        }
        Ok(())
    }

    fn write(&self, _bno: u64, _buf: &[u8]) -> Result<()> {
        Err(EROFS)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn block_count(&self) -> u64 {
        self.disk.block_count()
    }
}
