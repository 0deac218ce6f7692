// SPDX-License-Identifier: GPL-2.0

//! Names, links, attributes and orphans against a model, over a store in memory.
//!
//! `PROPTEST_CASES=n` and `PROPTEST_RNG_SEED=n` choose how much is tried and where it starts.

#![forbid(unsafe_code)]

mod compare;
mod directories;
mod failures;
mod hostile;
mod model;
mod operations;
mod orphans;
mod paths;
mod space;
mod threads;
mod values;
mod volume;

use model::Model;
use operations::op;
use proptest::prelude::*;

/// A seed is printed, so that a run can be repeated.
fn config(cases: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(cases);
    let seed = std::env::var("PROPTEST_RNG_SEED")
        .ok()
        .and_then(|n| n.parse::<u64>().ok())
        .unwrap_or_else(|| {
            let time = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
            time.as_nanos() as u64
        });
    println!("PROPTEST_RNG_SEED={seed}");
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(seed),
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    }
}

#[test]
fn random_operations_do_what_the_model_does() {
    proptest!(config(60), |(ops in prop::collection::vec(op(), 1..250))| {
        let mut model = Model::new();
        for op in &ops {
            model.apply(op);
        }
        model.volume.remount();
        model.check();
    });
}
