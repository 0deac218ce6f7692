// SPDX-License-Identifier: GPL-2.0

//! The candidates of a search of the graph, against a sorted list; nodes and their pages.

use crate::libvexfs::vector::index::beam::{Beam, Seen};
use crate::libvexfs::vector::index::node::{Edge, Image};
use crate::libvexfs::vector::index::{rotation, Shape, DEGREE};
use crate::libvexfs::vector::{Element, Metric};
use proptest::prelude::*;
use std::collections::HashMap;

const ELEMENTS: [Element; 4] = [Element::F32, Element::F16, Element::Int8, Element::Binary];

fn shape_of(collection: u32, seed: u32, dim: u32, element: Element) -> Shape {
    let metric = match element {
        Element::Binary => Metric::Hamming,
        _ => Metric::L2,
    };
    Shape::new(collection, 1, seed, dim, element, metric)
}

proptest! {
    #[test]
    fn a_beam_keeps_the_best(
        room in 1usize..20,
        steps in prop::collection::vec((any::<bool>(), 0u32..40, 0u32..8), 0..200),
    ) {
        let mut beam = Beam::new(room).unwrap();
        // Key, slot, taken.
        let mut model: Vec<(u32, u32, bool)> = Vec::new();
        for (take, key, slot) in steps {
            // The lowest bit of a key is not kept; the order of equal keys is nobody's.
            let key = (key * 8 + slot) * 2;
            if take {
                let best = model.iter_mut().find(|c| !c.2);
                let want = best.map(|c| { c.2 = true; (c.0, c.1) });
                prop_assert_eq!(beam.take().map(|(k, s)| (k & !1, s)), want);
            } else {
                let full = model.len() == room;
                let limit = model.last().map_or(0, |c| c.0);
                prop_assert_eq!(beam.limit() & !1, if full { limit } else { !1 });
                beam.add(key, slot);
                if !model.iter().any(|c| (c.0, c.1) == (key, slot)) {
                    model.push((key, slot, false));
                    model.sort_by_key(|c| c.0);
                    model.truncate(room);
                }
            }
            let held: Vec<_> = beam.iter().map(|(k, s)| (k & !1, s)).collect();
            let want: Vec<_> = model.iter().map(|c| (c.0, c.1)).collect();
            prop_assert_eq!(&held, &want);
            prop_assert_eq!(beam.len(), want.len());
            let ahead: Vec<_> = beam.ahead(2).collect();
            let want: Vec<_> = model.iter().filter(|c| !c.2).map(|c| c.1).take(2).collect();
            prop_assert_eq!(ahead, want);
        }
    }

    #[test]
    fn what_was_seen_is_remembered(
        steps in prop::collection::vec((0u32..3000, 0u32..50, 0u8..3), 0..4000),
    ) {
        let mut seen = Seen::new().unwrap();
        for _ in 0..2 {
            // Slot to best key; none if it was expanded.
            let mut model: HashMap<u32, Option<u32>> = HashMap::new();
            for (slot, key, expand) in &steps {
                let (slot, key) = (u32::MAX - 1 - slot, key + 1);
                let old = model.get(&slot).copied();
                prop_assert_eq!(seen.expanded(slot), old == Some(None));
                if *expand == 0 {
                    prop_assert_eq!(seen.expand(slot).unwrap(), old != Some(None));
                    model.insert(slot, None);
                } else {
                    let better = old.is_none_or(|old| old.is_some_and(|old| key < old));
                    prop_assert_eq!(seen.improves(slot, key).unwrap(), better);
                    if better {
                        model.insert(slot, Some(key));
                    }
                }
            }
            seen.clear();
        }
    }

    #[test]
    fn an_image_holds_its_edges(
        dim in 1u32..1500,
        element in prop::sample::select(ELEMENTS.to_vec()),
        steps in prop::collection::vec((any::<bool>(), 0usize..DEGREE, any::<u32>()), 0..60),
    ) {
        let shape = shape_of(3, 77, dim, element);
        let mut image = Image::new(&shape).unwrap();
        let vector: Vec<u8> = (0..shape.vector()).map(|i| (i * 7) as u8).collect();
        image.begin(&shape, 5, 2, &vector, 9);
        let mut edge = Edge::new(&shape).unwrap();
        let mut model: Vec<u32> = Vec::new();
        let fill = |edge: &mut Edge, of: u32| {
            (edge.length, edge.a, edge.b) = (of ^ 1, of ^ 2, of ^ 3);
            for (i, byte) in edge.code.iter_mut().enumerate() {
                *byte = (of >> (i % 25)) as u8;
            }
        };
        for (add, lane, slot) in steps {
            if add {
                let lane = lane.min(model.len());
                fill(&mut edge, slot);
                image.set_edge(&shape, lane, slot, &edge);
                if lane == model.len() {
                    model.push(slot);
                } else {
                    model[lane] = slot;
                }
            } else {
                image.remove_edge(&shape, lane);
                if lane < model.len() {
                    model.swap_remove(lane);
                }
            }
            // What was written comes back, and is checked.
            let stored = image.seal(&shape).to_vec();
            prop_assert!(shape.verify(5, &stored));
            prop_assert!(!shape.verify(6, &stored));
            let copy = |at: usize, to: &mut [u8]| {
                let n = to.len().min(stored.len() - at);
                to[..n].copy_from_slice(&stored[at..at + n]);
            };
            prop_assert!(!image.read(&shape, 4, copy));
            prop_assert!(image.read(&shape, 5, copy));
            prop_assert_eq!(image.vector(&shape), &vector[..]);
            prop_assert_eq!((image.generation(), image.scale()), (2, 9));
            let slots: Vec<u32> = (0..image.used()).map(|lane| image.neighbour(lane)).collect();
            prop_assert_eq!(&slots, &model);
            // The codes, as the lookup reads them: 16 bytes for four dimensions of 32 lanes.
            let codes = &image.bytes()[576..576 + DEGREE * shape.code()];
            for (lane, slot) in model.iter().enumerate() {
                fill(&mut edge, *slot);
                prop_assert_eq!(image.lengths()[lane], slot ^ 1);
                for (i, byte) in edge.code.iter().enumerate() {
                    let nibble = |group: usize| codes[group * 16 + lane % 16] >> (lane / 16 * 4) & 15;
                    prop_assert_eq!(nibble(2 * i) | nibble(2 * i + 1) << 4, *byte);
                }
            }
        }
    }

    #[test]
    fn a_changed_byte_is_noticed(dim in 1u32..1500, at in any::<usize>(), bit in 0u32..8) {
        let shape = shape_of(3, 77, dim, Element::F32);
        let mut image = Image::new(&shape).unwrap();
        image.begin(&shape, 5, 2, &vec![1; shape.vector()], 9);
        let mut stored = image.seal(&shape).to_vec();
        let at = at % stored.len();
        stored[at] ^= 1 << bit;
        prop_assert!(!shape.verify(5, &stored));
    }
}

#[test]
fn pages_of_two_versions_are_no_node() {
    let shape = shape_of(3, 77, 1024, Element::F32);
    assert_eq!(shape.pages(), 3);
    let mut image = Image::new(&shape).unwrap();
    image.begin(&shape, 5, 2, &vec![1; shape.vector()], 9);
    let old = image.seal(&shape).to_vec();
    let new = image.seal(&shape).to_vec();
    for torn in 1..8u32 {
        let stored: Vec<u8> = old
            .chunks(4096)
            .zip(new.chunks(4096))
            .enumerate()
            .flat_map(|(i, (old, new))| if torn >> i & 1 == 1 { new } else { old }.to_vec())
            .collect();
        let copy = |at: usize, to: &mut [u8]| to.copy_from_slice(&stored[at..at + to.len()]);
        assert_eq!(image.read(&shape, 5, copy), torn == 7, "pages {torn:b}");
    }
}

#[test]
fn regions_do_not_overlap_and_common_shapes_are_one_page() {
    for element in ELEMENTS {
        for dim in 1..=4096 {
            let shape = shape_of(1, 0, dim, element);
            assert!(shape.bits == 1 || shape.pages() == 1);
            if shape.pages() == 1 {
                assert!(shape.image() <= shape.stored());
                assert!(shape.stored() * shape.per_page() <= 4096);
            } else {
                assert!(shape.image() <= shape.pages() * 4032 + 64);
            }
            for slot in [0, 1, 2, 7, u32::MAX - 1] {
                let end = shape.offset(slot) + shape.stored() as u64;
                assert!(end <= shape.offset(slot + 1));
                // A region of less than a page lies in one page.
                let last = end - 1;
                assert!(shape.pages() > 1 || shape.offset(slot) / 4096 == last / 4096);
            }
        }
    }
    // What the design promises.
    let text = shape_of(1, 0, 384, Element::F32);
    assert_eq!((text.pages(), text.per_page(), text.bits), (1, 1, 1));
    let words = shape_of(1, 0, 100, Element::F32);
    assert_eq!((words.pages(), words.per_page(), words.bits), (1, 2, 2));
}

#[test]
fn signs_are_as_many_as_rounds_take() {
    for (dim, rounds) in [(1, 3), (100, 3), (384, 4), (512, 3), (4096, 3)] {
        let shape = shape_of(1, 0, dim, Element::F32);
        let signs = rotation::signs(&shape, 5).unwrap();
        assert_eq!(signs.len(), shape.padded() * rounds);
        assert!(signs.iter().all(|s| *s == 0 || *s == 1 << 31));
        let set = signs.iter().filter(|s| **s != 0).count();
        assert!(set * 3 > signs.len() && set * 3 < signs.len() * 2);
    }
}
