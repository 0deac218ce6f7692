/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads for vexfs: the kernel headers that fs/vfs/ needs, our own
 * helpers, and the ioctl ABI. Kbuild says which of these headers' items are
 * generated; the rest comes from the kernel crate.
 */
#ifndef VEXFS_BINDINGS_H
#define VEXFS_BINDINGS_H

#include "helpers_attr.h"

#if __has_include("uapi/vexfs.h")
#include "uapi/vexfs.h"
#endif

#endif /* VEXFS_BINDINGS_H */
