// SPDX-License-Identifier: GPL-2.0

//! The journal's log against power cuts and damage.

use proptest::prelude::*;
use std::collections::BTreeMap;
use vexfs::crash::{Random, Recorder};
use vexfs::disk::MemoryDisk;
use vexfs::libvexfs::journal::host::jbd2::{self, Region, Super};
use vexfs::libvexfs::journal::host::log::Change;
use vexfs::libvexfs::journal::host::replay::{Damage, Overlay};
use vexfs::libvexfs::journal::host::{Disk, Log, Replay};
use vexfs::libvexfs::journal::BLOCK_SIZE;

const BLOCKS: u64 = 4096;
/// The blocks that the tests journal lie behind the journal.
const FIRST: u64 = 2048;
const UUID: [u8; 16] = *b"a journal's uuid";

fn region() -> Region {
    Region::new(7, jbd2::MIN_BLOCKS, BLOCKS).unwrap()
}

fn formatted() -> MemoryDisk {
    let disk = MemoryDisk::new(BLOCKS);
    disk.write(region().start, &Super::new(region(), UUID).encode())
        .unwrap();
    disk
}

/// A block whose contents tell its version; some begin with jbd2's magic and must be escaped.
fn block(version: u64) -> [u8; BLOCK_SIZE] {
    let mut b = [version as u8; BLOCK_SIZE];
    b[8..16].copy_from_slice(&version.to_le_bytes());
    if version % 3 == 0 {
        b[..4].copy_from_slice(&jbd2::MAGIC.to_be_bytes());
    }
    b
}

fn read(disk: &impl Disk, bno: u64) -> [u8; BLOCK_SIZE] {
    let mut b = [0; BLOCK_SIZE];
    disk.read(bno, &mut b).unwrap();
    b
}

#[derive(Clone, Debug)]
struct Transaction {
    changed: Vec<u64>,
    /// Freed metadata; data is written there as soon as the transaction is durable.
    freed: Vec<u64>,
    checkpoint: bool,
    close: bool,
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let bno = || FIRST..FIRST + 300;
    (
        proptest::collection::vec(bno(), 0..260),
        proptest::collection::vec(bno(), 0..20),
        proptest::bool::weighted(0.1),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(mut changed, mut freed, checkpoint, close)| {
            changed.sort_unstable();
            changed.dedup();
            freed.sort_unstable();
            freed.dedup();
            freed.retain(|bno| changed.binary_search(bno).is_err());
            Transaction {
                changed,
                freed,
                checkpoint,
                close,
            }
        })
}

/// What must be found: for each block the version that the newest durable transaction gave it. Blocks that were freed
/// are data, whose contents the journal does not answer for except that it must not write over them.
#[derive(Clone, Default)]
struct Model {
    metadata: BTreeMap<u64, u64>,
    data: BTreeMap<u64, u64>,
}

/// Runs transactions; returns with how many operations each of them began and was durable, and the model after it.
fn run(disk: &Recorder, transactions: &[Transaction]) -> Vec<(usize, usize, Model)> {
    let mut log = Log::new(
        Replay::open(disk, region())
            .unwrap()
            .apply(disk, false)
            .unwrap(),
    )
    .unwrap();
    let mut model = Model::default();
    let mut version = 1;
    let mut history = vec![(0, 0, model.clone())];
    for t in transactions {
        let begun = disk.len();
        let blocks: Vec<_> = t
            .changed
            .iter()
            .map(|bno| (*bno, block(version + bno)))
            .collect();
        let changes: Vec<_> = blocks
            .iter()
            .map(|(bno, data)| Change { bno: *bno, data })
            .collect();
        log.append(disk, &changes, &t.freed, (version, 0)).unwrap();
        for bno in &t.changed {
            model.metadata.insert(*bno, version + bno);
            model.data.remove(bno);
        }
        for bno in &t.freed {
            model.metadata.remove(bno);
            model.data.remove(bno);
        }
        history.push((begun, disk.len(), model.clone()));
        // The new owner writes its data and flushes it: from then on it has to stay.
        for bno in &t.freed {
            disk.write(*bno, &block(version + 10_000 + bno)).unwrap();
            model.data.insert(*bno, version + 10_000 + bno);
        }
        disk.flush().unwrap();
        history.push((disk.len(), disk.len(), model.clone()));
        if t.checkpoint {
            log.checkpoint(disk).unwrap();
        }
        if t.close {
            log.close(disk).unwrap();
        }
        version += 1000;
    }
    history
}

fn matches(disk: &impl Disk, model: &Model) -> bool {
    model
        .metadata
        .iter()
        .chain(&model.data)
        .all(|(bno, version)| read(disk, *bno) == block(*version))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_power_cut_leaves_a_committed_state(
        transactions in proptest::collection::vec(transaction(), 1..14),
        seed in any::<u64>(),
    ) {
        let recorder = Recorder::new(formatted());
        let history = run(&recorder, &transactions);
        let mut random = Random::new(seed);
        for _ in 0..60 {
            let at = random.below(recorder.len() as u64 + 1) as usize;
            let disk = recorder.cut(at, &mut random);
            let replay = Replay::open(&disk, region()).unwrap();
            prop_assert_eq!(replay.damage(), &[], "cut at {}", at);
            // Durable is what was finished; what was begun may be there or not, but not by halves.
            let durable = history.iter().rposition(|(_, end, _)| *end <= at).unwrap();
            let begun = history.iter().rposition(|(start, _, _)| *start <= at).unwrap();
            let overlay = Overlay::new(disk.clone(), replay);
            let found = (durable..=begun).find(|n| matches(&overlay, &history[*n].2));
            prop_assert!(found.is_some(), "cut at {}: none of the states {} to {}", at, durable, begun);
            let sb = Replay::open(&disk, region()).unwrap().apply(&disk, false).unwrap();
            prop_assert!(matches(&disk, &history[found.unwrap()].2));
            // Once more, and a new transaction on top: old log blocks must not come back.
            let again = Replay::open(&disk, region()).unwrap();
            prop_assert!(again.is_clean() && again.is_empty());
            let mut log = Log::new(sb).unwrap();
            let data = block(77);
            log.append(&disk, &[Change { bno: FIRST, data: &data }], &[], (1 << 40, 0)).unwrap();
            let replay = Replay::open(&disk, region()).unwrap();
            prop_assert_eq!(replay.len(), 1);
            prop_assert_eq!(replay.damage(), &[]);
        }
    }

    #[test]
    fn any_damage_is_survived(
        transactions in proptest::collection::vec(transaction(), 1..4),
        hits in proptest::collection::vec((7u64..7 + 900, 0usize..BLOCK_SIZE, any::<u8>()), 1..8),
    ) {
        let recorder = Recorder::new(formatted());
        run(&recorder, &transactions);
        for (bno, at, value) in hits {
            let mut b = read(&recorder, bno);
            b[at] = value;
            recorder.write(bno, &b).unwrap();
        }
        if let Ok(replay) = Replay::open(&recorder, region()) {
            let bad = !replay.damage().is_empty();
            prop_assert_eq!(replay.apply(&recorder, false).is_err(), bad);
        }
    }
}

/// One transaction of two blocks; the log is: descriptor, two blocks, commit.
fn small() -> (MemoryDisk, Super) {
    let disk = formatted();
    let sb = Super::new(region(), UUID);
    let mut log = Log::new(sb.clone()).unwrap();
    let (a, b) = (block(1), block(3));
    let changes = [
        Change {
            bno: FIRST,
            data: &a,
        },
        Change {
            bno: FIRST + 1,
            data: &b,
        },
    ];
    log.append(&disk, &changes, &[], (1, 0)).unwrap();
    (disk, sb)
}

fn flip(disk: &MemoryDisk, bno: u64, at: usize) {
    let mut b = read(disk, bno);
    b[at] ^= 1;
    disk.write(bno, &b).unwrap();
}

#[test]
fn damage_is_named() {
    let first = region().first();
    for (bno, at, what) in [
        (first, 20, Damage::Control { tid: 2 }),
        (
            first + 2,
            100,
            Damage::Data {
                tid: 2,
                log_block: first + 2,
                bno: FIRST + 1,
            },
        ),
        (
            first + 3,
            20,
            Damage::Commit {
                tid: 2,
                log_block: first + 3,
            },
        ),
    ] {
        let (disk, _) = small();
        flip(&disk, bno, at);
        let replay = Replay::open(&disk, region()).unwrap();
        assert_eq!(replay.damage(), &[what]);
        assert!(replay.apply(&disk, false).is_err());
    }
}

#[test]
fn a_forced_replay_takes_what_is_whole() {
    let (disk, _) = small();
    flip(&disk, region().first() + 2, 100);
    Replay::open(&disk, region())
        .unwrap()
        .apply(&disk, true)
        .unwrap();
    assert_eq!(read(&disk, FIRST), block(1));
    assert_eq!(read(&disk, FIRST + 1), [0; BLOCK_SIZE]);
    assert!(Replay::open(&disk, region()).unwrap().is_clean());
}

#[test]
fn a_commit_block_torn_behind_its_first_sector_counts() {
    let (disk, _) = small();
    let commit = region().first() + 3;
    let mut b = read(&disk, commit);
    b[512..].fill(0xa5);
    disk.write(commit, &b).unwrap();
    let replay = Replay::open(&disk, region()).unwrap();
    assert_eq!((replay.len(), replay.damage()), (2, &[][..]));
}

#[test]
fn blocks_of_an_older_journal_are_not_replayed() {
    let (disk, _) = small();
    // A new file system with another UUID in the same place, without wiping the log.
    let mut sb = Super::new(region(), *b"another's uuid..");
    sb.sequence = 2;
    sb.start = region().first();
    disk.write(region().start, &sb.encode()).unwrap();
    let replay = Replay::open(&disk, region()).unwrap();
    assert!(replay.is_empty());
}

#[test]
fn a_tag_cannot_point_into_the_journal_or_out_of_the_volume() {
    for bno in [region().start, region().end() - 1, BLOCKS, u64::MAX] {
        let disk = formatted();
        let mut log = Log::new(Super::new(region(), UUID)).unwrap();
        let data = block(1);
        log.append(&disk, &[Change { bno, data: &data }], &[], (1, 0))
            .unwrap();
        let replay = Replay::open(&disk, region()).unwrap();
        assert_eq!(replay.damage(), &[Damage::Target { tid: 2, bno }]);
    }
}

#[test]
fn a_superblock_that_is_not_ours_is_refused() {
    let sb = Super::new(region(), UUID);
    assert_eq!(Super::parse(&sb.encode(), region()).unwrap(), sb);
    for at in [0, 4, 12, 16, 20, 0x1c, 0x28, 0x30, 0x50, 0xfc, 0x3ff] {
        let mut b = sb.encode();
        b[at] ^= 0x40;
        assert!(Super::parse(&b, region()).is_err(), "byte {at}");
    }
}
