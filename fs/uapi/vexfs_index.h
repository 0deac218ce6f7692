/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The index of a collection; the rules are those of vexfs.h, which includes this.
 */
#ifndef _UAPI_VEXFS_INDEX_H
#define _UAPI_VEXFS_INDEX_H

#include <linux/types.h>

/*
 * VEXFS_IOC_INDEX: the index of a collection. Searches give the same hits with
 * and without one, but for those that it misses (see VEXFS_IOC_SEARCH); records
 * that are put are found at once, whether the index has them yet or not.
 *
 * VEXFS_INDEX_CREATE: makes one; it is built in the background. EEXIST.
 * VEXFS_INDEX_DROP: drops it, and keeps one from being made of itself. ENOENT.
 * VEXFS_INDEX_REBUILD: drops it, if there is one, and makes another.
 * VEXFS_INDEX_STATS: tells about it.
 * VEXFS_INDEX_WAIT: waits until it is built and has all records that were put
 *	before the call. ENOENT: there is none. ETIMEDOUT: timeout_ms are over;
 *	the structure is filled all the same. ECANCELED: it was dropped.
 * VEXFS_INDEX_VERIFY: looks at every node and walks along all edges. What is
 *	wrong is told, and corrected by the next scrub or rebuild; nodes that no
 *	path leads to are attached soon after. The call itself changes nothing.
 *	Records that come and go meanwhile are not counted as wrong.
 *	EAGAIN: it is being built, or changes all the time.
 *
 * CREATE, DROP and REBUILD need to be the collection's owner or CAP_FOWNER;
 * the others any user. All tell what STATS tells.
 *
 * ENOENT: no such collection. EPERM. EOPNOTSUPP: the collection's metric has no
 * index. EINTR, ERESTARTSYS: a signal came while it waited or verified.
 */
struct vexfs_index {
	__u32	size;
	__u32	flags;		/* in: 0; out: VEXFS_INDEX_AUTOMATIC */
	__u32	collection;	/* in: id */
	__u32	op;		/* in: VEXFS_INDEX_CREATE... */
	__u32	timeout_ms;	/* in: with WAIT; 0: none */
	__u32	state;		/* out: VEXFS_INDEX_STATE_* */
	__u32	build;		/* out: number of the build */
	__u32	ef;		/* out: candidates of a search that does not say how many */
	__u64	records;	/* out: live records of the collection */
	__u64	slots;		/* out: slots of the collection */
	__u64	built;		/* out: slots that the build is past */
	__u64	refined;	/* out: slots that were looked at once more after it */
	__u64	next;		/* out: sequence of the next change of the records */
	__u64	applied;	/* out: changes below this are in the index */
	__u64	checkpoint;	/* out: and below this on the medium */
	__u64	bytes;		/* out: space taken */
	__u64	cached;		/* out: of it, in the page cache */
	__u64	pinned;		/* out: memory that it keeps for itself */
	__u64	fpu_longest_ns;	/* out: the longest time that the FPU was held, of all mounts */
	__u64	fpu_too_long;	/* out: how often that was more than 50 us */
	/* Of VEXFS_INDEX_VERIFY. */
	__u64	nodes;		/* out: nodes that are what they should be */
	__u64	missing;	/* out: live records without a node */
	__u64	wrong;		/* out: nodes without a live record, or of another one */
	__u64	damaged;	/* out: regions with wrong checksums */
	__u64	unreachable;	/* out: nodes that no path leads to */
};

#define VEXFS_INDEX_CREATE		1
#define VEXFS_INDEX_DROP		2
#define VEXFS_INDEX_REBUILD		3
#define VEXFS_INDEX_STATS		4
#define VEXFS_INDEX_WAIT		5
#define VEXFS_INDEX_VERIFY		6

#define VEXFS_INDEX_AUTOMATIC		0x1	/* made because the collection grew large */

#define VEXFS_INDEX_STATE_NONE		0
#define VEXFS_INDEX_STATE_WANTED	1	/* to be made soon */
#define VEXFS_INDEX_STATE_BUILDING	2
#define VEXFS_INDEX_STATE_READY		3

#endif /* _UAPI_VEXFS_INDEX_H */
