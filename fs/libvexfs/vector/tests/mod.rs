// SPDX-License-Identifier: GPL-2.0

//! Tests of the vectors' truth.

mod beam;
mod lists;
mod records;
mod staleness;
