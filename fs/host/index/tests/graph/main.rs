// SPDX-License-Identifier: GPL-2.0

//! The graph index over memory: what it finds, against looking at everything.

mod changes;
mod damage;
mod driver;
mod lists;
mod recall;
mod types;
mod world;
