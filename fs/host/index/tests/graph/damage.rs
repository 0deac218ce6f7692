// SPDX-License-Identifier: GPL-2.0

//! Damage costs recall. It never gives a hit that is none, and never a panic.

use super::world::{bytes, Random, World};
use vexfs::libvexfs::vector::index::node::{Image, HEADER, PAGE};
use vexfs::libvexfs::vector::index::{Params, Shape};
use vexfs::libvexfs::vector::{Element, Metric};
use vexfs_index::Kernels;

fn params() -> Params {
    Params {
        ef: 64,
        pool: 48,
        ..Params::default()
    }
}

fn built(dim: usize, count: u32, random: &mut Random) -> (World, Vec<Vec<u8>>) {
    let mut world = World::new(dim, Element::F32, Metric::L2, count, params());
    for slot in 0..count {
        world
            .insert(slot, slot ^ 5, &bytes(&random.point(dim, 16)))
            .unwrap();
    }
    world.refine_all();
    let queries = (0..40).map(|_| bytes(&random.point(dim, 16))).collect();
    (world, queries)
}

/// Changes a few bytes, a stretch, or all of a region.
fn scribble(random: &mut Random, region: &mut [u8]) {
    let length = region.len() as u64;
    let (at, n) = match random.below(4) {
        // The header decides what is read.
        0 => (random.below(64), 4),
        1 => (random.below(length), 1),
        2 => (random.below(length), 400),
        _ => (0, length),
    };
    for byte in region.iter_mut().skip(at as usize).take(n as usize) {
        *byte = match random.below(3) {
            0 => 0xff,
            _ => random.next() as u8,
        };
    }
}

/// What a page cache does with what it read: only what was damaged goes, whatever part of the
/// index it begins with.
#[test]
fn cleansing_takes_the_damaged_alone() {
    for dim in [8, 100, 384, 700, 2000] {
        let shape = Shape::new(3, 9, 77, dim, Element::F32, Metric::L2);
        let mut image = Image::new(&shape).unwrap();
        let vector = vec![0x11; shape.vector()];
        let count = 12u32;
        let end = shape.offset(count) as usize + shape.stored();
        let mut bytes = vec![0u8; end.next_multiple_of(PAGE)];
        // Slot 5 is empty, slot 7 of another build.
        for slot in (0..count).filter(|slot| *slot != 5) {
            let other = Shape { build: 8, ..shape };
            let shape = if slot == 7 { &other } else { &shape };
            image.begin(shape, slot, slot + 1, &vector, 0);
            let at = shape.offset(slot) as usize;
            bytes[at..at + shape.stored()].copy_from_slice(image.seal(shape));
        }
        let good = bytes.clone();
        for first in 0..shape.pages() * 2 {
            assert_eq!(
                shape.cleanse((first * PAGE) as u64, &mut bytes[first * PAGE..]),
                0
            );
            assert!(bytes == good, "dim {dim}: nothing was damaged");
        }
        let at = shape.offset(4) as usize;
        // In the last page of the node.
        let last = (shape.pages() - 1) * PAGE;
        bytes[at + last + 70] ^= 4;
        let mut expected = bytes.clone();
        expected[at + last..at + last + HEADER].fill(0);
        assert_eq!(shape.cleanse(0, &mut bytes), 1, "dim {dim}");
        assert!(
            bytes == expected,
            "dim {dim}: more than the damaged page changed"
        );
        assert!(!shape.verify(4, &bytes[at..at + shape.stored()]));
        assert!(shape.verify(3, &bytes[shape.offset(3) as usize..][..shape.stored()]));
    }
}

#[test]
fn damaged_blocks_are_left_out() {
    for dim in [32, 700] {
        let mut random = Random(41);
        let count = if dim > 100 { 300 } else { 1200 };
        let (mut world, queries) = built(dim, count, &mut random);
        let whole = world.recall(&queries, 96, 10);
        assert!(whole >= 0.95, "dim {dim}: recall {whole}");
        // One in twenty.
        let mut hit: Vec<u32> = (0..count / 20)
            .map(|_| random.below(count.into()) as u32)
            .collect();
        hit.sort_unstable();
        hit.dedup();
        for slot in &hit {
            world
                .graph
                .pages
                .damage(*slot, |region| scribble(&mut random, region));
        }
        let (_, found) = world.search(&queries[0], 96, 10);
        assert!(found.missing <= hit.len());
        let lost = world.recall(&queries, 96, 10);
        assert!(
            (0.8..=1.0).contains(&lost),
            "dim {dim}: recall {lost} of {whole}"
        );
        // What was lost is put in again from the truth.
        for slot in hit {
            let (generation, stored) = world.live[&slot].clone();
            world
                .graph
                .insert(&mut world.work, slot, generation, &stored)
                .unwrap();
        }
        let mended = world.recall(&queries, 96, 10);
        assert!(
            mended >= whole - 0.03,
            "dim {dim}: recall {mended} of {whole}"
        );
    }
}

#[test]
fn bytes_that_nobody_verifies_do_no_harm() {
    for seed in 0..12 {
        let mut random = Random(50 + seed);
        let (mut world, queries) = built([20, 100, 450][seed as usize % 3], 300, &mut random);
        for round in 0..6 {
            for _ in 0..30 {
                let slot = random.below(300) as u32;
                world
                    .graph
                    .pages
                    .damage_unseen(slot, |region| scribble(&mut random, region));
            }
            // Every search asserts that its hits live; changes go on over the damage too.
            for q in &queries {
                world.search(q, 64, 10);
            }
            let slot = random.below(300) as u32;
            match round % 3 {
                0 => drop(world.remove(slot).unwrap()),
                1 => drop(world.graph.refine(&mut world.work, slot).unwrap()),
                _ => {
                    let point = bytes(&random.point(world.graph.shape.dim as usize, 16));
                    world.insert(slot, 1000 + round, &point).unwrap();
                }
            }
        }
        world.graph.reachable(&mut world.work).unwrap();
    }
}

#[test]
fn an_index_of_another_build_is_empty() {
    let mut random = Random(61);
    let (mut world, queries) = built(32, 200, &mut random);
    world.graph.shape.build += 1;
    let shape = world.graph.shape;
    world.graph.arithmetic = Kernels::new(&shape, 7).unwrap();
    let (found, counts) = world.search(&queries[0], 64, 10);
    assert_eq!((found.len(), counts.expanded), (0, 0));
    assert!(counts.missing > 0);
}
