// SPDX-License-Identifier: GPL-2.0

//! Tests of this library over a store in memory.
