// SPDX-License-Identifier: GPL-2.0

//! Tests of the vectors' truth.

mod beam;
mod filters;
mod held;
mod hits;
mod lists;
mod log;
mod records;
mod staleness;
