// SPDX-License-Identifier: GPL-2.0

//! Tests of the vectors' truth.

mod beam;
mod lists;
mod log;
mod records;
mod staleness;
