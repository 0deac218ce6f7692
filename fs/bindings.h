/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads for vexfs: the kernel headers that fs/vfs/ needs, and our
 * own helpers. Kbuild says which of these headers' items are generated; the
 * rest comes from the kernel crate.
 */
#ifndef VEXFS_BINDINGS_H
#define VEXFS_BINDINGS_H

#include "helpers.h"

#endif
