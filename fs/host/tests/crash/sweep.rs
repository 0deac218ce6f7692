// SPDX-License-Identifier: GPL-2.0

//! Crashing at every point of a run, and going on from some of them.

use crate::compare::{compare, Cut, Verdict};
use crate::model::{Cells, Content, Node, Place, State};
use crate::world::{Promise, World};
use crate::Focus;
use std::collections::BTreeMap;
use vexfs::crash::{Random, Recorder};
use vexfs::disk::MemoryDisk;
use vexfs::libvexfs::alloc::Mode;
use vexfs::libvexfs::check::{check, Options, Problem, Reporter};
use vexfs::libvexfs::credits;
use vexfs::libvexfs::format::inode::S_IFREG;
use vexfs::libvexfs::mkfs::{layout, test_options, MIN_BLOCKS};
use vexfs::libvexfs::namespace::NewInode;
use vexfs::libvexfs::staging::volume::{Volume, STATE_OPEN, UPSERT_CREDITS};
use vexfs::volume;

/// How often the power goes in one seed.
const LIVES: usize = 3;
/// Operations in each of them.
const STEPS: usize = 220;

/// Blocks that are left free on a full volume, where what was freed is soon taken again.
pub const LEFT: u64 = 400;

/// A disk with a file system and what is in it.
struct Begin {
    disk: MemoryDisk,
    state: State,
    cells: Cells,
}

/// Collects what the checker says.
#[derive(Default)]
struct Report(Vec<String>);

impl Reporter for Report {
    fn problem(&mut self, problem: &Problem) {
        self.0.push(problem.to_string());
    }
}

/// Makes a file system: nearly full or nearly empty.
fn make(full: bool) -> Begin {
    let options = vexfs::libvexfs::mkfs::Options {
        journal_blocks: Some(1024),
        ..test_options()
    };
    // The volume has room to grow.
    let disk = MemoryDisk::new(MIN_BLOCKS + MIN_BLOCKS / 2);
    let sb = layout(MIN_BLOCKS, &options).expect("the smallest volume");
    volume::format(&disk, &sb, &options).expect("it is memory");
    let recorder = Recorder::new(disk);
    let mut world = World::mount(&recorder, State::default(), Cells::default(), 0);
    let root = world.inode(world.root());
    world.add_node(
        &root,
        Node {
            links: 1,
            ..Node::default()
        },
    );
    let volume = Volume {
        state: STATE_OPEN,
        uuid: [1; 16],
        ..Volume::default()
    };
    let mut system = world.inode(world.fs.sb.system_ino);
    world
        .run(UPSERT_CREDITS, |fs, t| {
            let mut space = fs.staging_space(&system)?;
            fs.upsert_volume(t, &mut space, &mut system, &volume)
        })
        .expect("there is space");
    if full {
        fill(&mut world);
    }
    world.close();
    let (state, cells) = (world.state, world.cells);
    let disk = recorder.cut(recorder.len(), &mut Random::new(0));
    Begin { disk, state, cells }
}

/// Takes nearly all blocks with a file that nothing was written to.
fn fill(world: &mut World<'_>) {
    let mut root = world.inode(world.root());
    let new = NewInode {
        mode: S_IFREG | 0o600,
        ..NewInode::default()
    };
    let mut i = world
        .run(credits::CREATE, |fs, t| {
            fs.create(t, &mut root, b"full", &new)
        })
        .expect("there is space");
    let node = Node {
        links: 1,
        kept: true,
        ..Node::default()
    };
    world.add_node(&i, node);
    let (dir, ino) = (root.ino, i.ino);
    world
        .state
        .node_mut(dir)
        .entries
        .insert(b"full".to_vec(), ino);
    // Far behind what other operations reach.
    let mut lblk = 1 << 20;
    while world.fs.available_blocks() > LEFT {
        let want = (world.fs.available_blocks() - LEFT).min(64);
        lblk += world
            .run(credits::EXTENT_ALLOC, |fs, t| {
                fs.allocate(t, &mut i, lblk, want, 0, Mode::Normal)
            })
            .expect("there is space")
            .len()
            // Every extent by itself, so that all groups have some space left.
            + 1;
    }
}

/// Works for a while, and says what was promised.
fn live(world: &mut World<'_>, focus: Focus) {
    // What a mount does.
    while world.state.nodes.values().any(|n| n.orphan.is_some()) || !world.state.dropped.is_empty()
    {
        world.reap();
        world.trim();
    }
    for _ in 0..STEPS {
        world.step(focus);
    }
}

/// Runs one seed; returns how many crashes it had.
pub fn run(seed: u64, full: bool, focus: Focus) -> usize {
    let mut random = Random::new(seed);
    let mut begin = make(full);
    let mut points = 0;
    for life in 0..LIVES {
        let what = format!(
            "seed {seed}{}, life {life}",
            if full { ", full" } else { "" }
        );
        let recorder = Recorder::new(begin.disk);
        let mut world = World::mount(&recorder, begin.state, begin.cells, random.number() >> 33);
        live(&mut world, focus);
        if life == 0 {
            world.close();
        }
        let World {
            promises, cells, ..
        } = world;
        let (n, next) = sweep(&recorder, &promises, &cells, &mut random, &what);
        points += n;
        begin = next;
    }
    points
}

/// Crashes after each operation. One of the disks that are left is where the next life begins.
fn sweep(
    recorder: &Recorder,
    promises: &[Promise],
    cells: &Cells,
    random: &mut Random,
    what: &str,
) -> (usize, Begin) {
    let mut cuts = recorder.cuts();
    let next_at = recorder.len() / 2 + random.below(recorder.len() as u64 / 2) as usize;
    let (mut points, mut next) = (0, None);
    loop {
        let cut = Cut {
            at: cuts.at(),
            flushed: cuts.flushed(),
        };
        let arrived = Cut {
            flushed: cut.at,
            ..cut
        };
        for (n, (disk, cut)) in [(cuts.in_order(), arrived), (cuts.scrambled(random), cut)]
            .into_iter()
            .enumerate()
        {
            let kept = disk.clone();
            let again = random.below(8) == 0;
            let found = crash(disk, promises, cells, cut, again, random);
            let (promise, contents) = found.unwrap_or_else(|why| {
                panic!(
                    "{what}: crash {} after operation {} of {}:\n{why}",
                    ["in order", "with the cache in part"][n],
                    cut.at,
                    recorder.len()
                )
            });
            points += 1;
            if n == 1 && cut.at == next_at {
                next = Some(begin(kept, &promises[promise].state, &contents));
            }
        }
        if !cuts.advance() {
            break;
        }
    }
    (points, next.expect("every cut was tried"))
}

/// A new life on what a crash left.
fn begin(disk: MemoryDisk, state: &State, contents: &BTreeMap<usize, Content>) -> Begin {
    let (mut state, mut cells) = (state.clone(), Cells::default());
    let inos: Vec<u64> = state.nodes.keys().copied().collect();
    for ino in inos {
        for place in state.node_mut(ino).blocks.values_mut() {
            if let Place::Cell(cell) = place {
                // What was not compared is of a file that is being taken apart.
                let content = contents.get(cell).copied().unwrap_or_default();
                *cell = cells.add(0, content);
            }
        }
    }
    Begin { disk, state, cells }
}

/// Mounts what is left, checks it, and finds the promise that was kept.
fn crash(
    disk: MemoryDisk,
    promises: &[Promise],
    cells: &Cells,
    cut: Cut,
    again: bool,
    random: &mut Random,
) -> Verdict<(usize, BTreeMap<usize, Content>)> {
    let disk = match again {
        // The power goes once more, during the replay.
        true => {
            let recorder = Recorder::new(disk);
            volume::open(&recorder).map_err(|e| format!("no mount: {e}"))?;
            let at = random.below(recorder.len() as u64 + 1) as usize;
            recorder.cut(at, random)
        }
        false => disk,
    };
    let fs = volume::open(&disk).map_err(|e| format!("no mount: {e}"))?;
    let mut report = Report::default();
    check(&fs.store, &fs.sb, &mut report, Options::default())
        .map_err(|e| format!("no check: {e}"))?;
    let durable = promises.iter().rposition(|p| p.done <= cut.at).unwrap_or(0);
    let begun = promises
        .iter()
        .rposition(|p| p.begun <= cut.at)
        .unwrap_or(0);
    let mut why = format!("promises {durable} to {begun}");
    for n in (durable..=begun).rev() {
        match compare(&fs, &promises[n].state, cells, cut) {
            Ok(contents) if report.0.is_empty() => return Ok((n, contents)),
            Ok(_) => {}
            Err(e) => why += &format!("\nnot promise {n}: {e}"),
        }
    }
    for problem in &report.0 {
        why += &format!("\nfsck: {problem}");
    }
    Err(why)
}
