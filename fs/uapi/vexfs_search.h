/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Search and its filters; the rules are those of vexfs.h, which includes this.
 */
#ifndef _UAPI_VEXFS_SEARCH_H
#define _UAPI_VEXFS_SEARCH_H

#include <linux/types.h>

#define VEXFS_MAX_EF			65536
#define VEXFS_MAX_WINDOW		4096	/* hits of one query that are fused */
#define VEXFS_MAX_FILTER_INSNS		256
#define VEXFS_MAX_FILTER_STACK		16
#define VEXFS_MAX_FILTER_DATA		8388608	/* bytes beside the instructions */
#define VEXFS_MAX_FILTER_GLOBS		1024	/* bytes of all patterns together */
#define VEXFS_MAX_FILTER_DIRS		16	/* VEXFS_FILTER_UNDER in one filter */

/*
 * VEXFS_IOC_SEARCH: the k best records for each of `queries` vectors, best
 * first; equal scores by slot.
 *
 * A hit is a record whose file exists, that the caller may read, and that a
 * path leads to from the root of the descriptor's mount (see VEXFS_IOC_PATH).
 * With VEXFS_SEARCH_SUBTREE it must lie below the directory that the descriptor
 * is of, or be the very file. Files on tape are found, and never recalled.
 *
 * Each query gives a list of hits: that of query q is at hits[q * k]. With
 * VEXFS_SEARCH_FUSE there is one list for all queries, at hits[0] and counts[0]:
 * a record that is the r-th best (from 1) of a query, and among its `window`
 * best, gets 1 / (60 + r) for it. The sum is the score, and higher is better.
 * With VEXFS_SEARCH_GROUP a file is in a list once, with its best record.
 * With VEXFS_SEARCH_WITHIN a hit's score (of the query, not the fused one) is
 * `radius` or better.
 *
 * With VEXFS_SEARCH_STORED queries are given as the collection stores vectors
 * (see vexfs.h), one after the other.
 *
 * With VEXFS_SEARCH_LIKE_KEY the query is the vector of the record `like_key`,
 * with VEXFS_SEARCH_LIKE_FILE queries are those of the file `like_fd`, in the
 * order of their slots and as many as `queries` says; `vectors` is not read, and
 * `queries` tells how many there are. Needs what VEXFS_IOC_GET needs. With
 * VEXFS_SEARCH_OTHERS the file itself is no hit.
 *
 * Cursors go through a list in pages: one for each list, all zero for the first
 * page; what a call writes there is given to the next one, with all else the
 * same. Records that are put or deleted meanwhile may be in it or not.
 *
 * A search that has used up a budget ends with what it has and says so by
 * VEXFS_RESULT_TRUNCATED: better hits may exist. It stops at the next batch, not
 * to the nanosecond; cursors are left as they were.
 *
 * ENOENT: no such collection, like_key, directory of the filter, or not for this
 *	caller. ENODATA: like_fd has no record. EBADF, EXDEV: like_fd, filter_fd.
 * EINVAL: dim is not the collection's; k or queries is 0; a query is not a
 *	vector that a put would take; radius is NaN; a filter that does not
 *	verify; flags that exclude each other.
 * E2BIG: k above VEXFS_MAX_K, queries above VEXFS_MAX_QUERIES, ef, window;
 *	queries * k (or window), or a cursor's place with VEXFS_SEARCH_GROUP,
 *	above VEXFS_MAX_HITS; a filter above its limits.
 */
struct vexfs_search {
	__u32	size;
	__u32	flags;		/* in: VEXFS_SEARCH_* */
	__u32	collection;	/* in: id */
	__u32	dim;		/* in */
	__u32	queries;	/* in: number of queries; out with LIKE_FILE */
	__u32	k;		/* in: hits for each list */
	__u64	vectors;	/* in: const float *, queries * dim */
	__u64	hits;		/* in: struct vexfs_record *, lists * k */
	__u64	counts;		/* in: __u32 *, hits found for each list */
	__u32	hit_size;	/* in: sizeof(struct vexfs_record) */
	__u32	reserved;
	/* The first 56 bytes are ABI version 1; what follows may be missing. */
	__u32	ef;		/* in: candidates on the way through an index; 0: default */
	__u32	radius;		/* in: bits of an f32 */
	__u32	window;		/* in: with FUSE; 0: the larger of k and 100 */
	__u32	result;		/* out: VEXFS_RESULT_* */
	__s32	like_fd;	/* in: with LIKE_FILE */
	__s32	filter_fd;	/* in: with PREPARED, from VEXFS_IOC_FILTER */
	__u64	like_key;	/* in: with LIKE_KEY */
	__u64	filter;		/* in: const struct vexfs_filter *; 0: none */
	__u64	cursors;	/* in: struct vexfs_cursor *, one for each list; 0: none */
	__u64	budget_ns;	/* in: time that it may take; 0: any */
	__u64	budget_pages;	/* in: pages of 4 KiB that it may read from the device; 0: any */
	__u64	explain;	/* in: struct vexfs_explain *; 0: none */
};

#define VEXFS_SEARCH_SUBTREE		0x1
#define VEXFS_SEARCH_EXACT		0x2	/* compare with every vector */
#define VEXFS_SEARCH_FUSE		0x4
#define VEXFS_SEARCH_GROUP		0x8
#define VEXFS_SEARCH_WITHIN		0x10
#define VEXFS_SEARCH_LIKE_KEY		0x20
#define VEXFS_SEARCH_LIKE_FILE		0x40
#define VEXFS_SEARCH_OTHERS		0x80
#define VEXFS_SEARCH_PREPARED		0x100
#define VEXFS_SEARCH_STORED		0x200	/* queries are as the collection stores vectors */

#define VEXFS_RESULT_TRUNCATED		0x1	/* a budget was used up */
#define VEXFS_RESULT_APPROXIMATE	0x2	/* an index chose what was compared */

/* A place in a list, between two pages of it. Opaque, but for zeroes and END. */
struct vexfs_cursor {
	__u64	key;
	__u32	slot;
	__u32	flags;		/* VEXFS_CURSOR_* */
	__u64	told;		/* hits before it */
};

#define VEXFS_CURSOR_BEGUN		0x1	/* not at the start */
#define VEXFS_CURSOR_END		0x2	/* there are no more */

/*
 * How a search went. It begins with its own size, as the structure of a call does.
 * `plan`, `ef` and `total_ns` are told to every caller. The rest is zero without
 * CAP_SYS_ADMIN over the file system (VEXFS_EXPLAIN_ALL is not set then): counts
 * tell of files that the caller may not see.
 */
struct vexfs_explain {
	__u32	size;
	__u32	flags;		/* out: VEXFS_EXPLAIN_* */
	__u32	plan;		/* out: VEXFS_PLAN_* */
	__u32	ef;		/* out: what was used; 0: no index was */
	__u64	total_ns;	/* time of the whole call so far */
	__u64	known;		/* slots that the plan SLOTS knew to be enough */
	__u64	nodes;		/* of the index, expanded */
	__u64	nodes_missing;	/* to be expanded, but not there or damaged */
	__u64	tail;		/* vectors compared that are not in the index yet */
	__u64	scanned;	/* vectors compared roughly, the tail too */
	__u64	scored;		/* of them, compared exactly */
	__u64	pages;		/* of 4 KiB, of vectors and index, looked at */
	__u64	pages_missed;	/* of them, read from the device */
	__u64	asked;		/* records that were candidates for a hit */
	__u64	refused_dead;	/* of them: replaced or deleted meanwhile */
	__u64	refused_sight;	/* the file is gone, not readable, out of reach */
	__u64	refused_scope;	/* not in the subtree, or the very file */
	__u64	refused_filter;
	__u64	filter_runs;	/* times that the filter ran */
	__u64	remembered;	/* candidates whose file had been judged before */
	__u64	plan_ns;	/* filter, queries, choice of the plan */
	__u64	graph_ns;
	__u64	scan_ns;	/* comparing roughly */
	__u64	score_ns;	/* comparing exactly */
	__u64	admit_ns;	/* sight, scope, filter */
	__u64	tell_ns;	/* making hits of records */
};

#define VEXFS_EXPLAIN_ALL		0x1

#define VEXFS_PLAN_SCAN			1	/* all vectors */
#define VEXFS_PLAN_SLOTS		2	/* the vectors of slots that were known to be enough */
#define VEXFS_PLAN_GRAPH		3	/* the index, and what is not in it yet */
#define VEXFS_PLAN_GRAPH_SCAN		4	/* the same, then all: the index gave too few */
#define VEXFS_PLAN_PREPARED		5	/* the vectors that a prepared filter may let in */

/*
 * VEXFS_IOC_FILTER: verifies a filter and gives a descriptor for it, which can be
 * used on the same file system in place of the filter (VEXFS_SEARCH_PREPARED)
 * until it is closed. Any user. The result of the call is the descriptor. It
 * remembers what it may let in, and is kept up to date: the hits are those of
 * the filter itself, for whoever searches with it.
 *
 * EINVAL, E2BIG, EMFILE.
 *
 * A filter is a program for a machine with a stack: no jumps, each instruction
 * runs once. Values are numbers (wider than 64 bits, so that none overflows) and
 * truths. One truth must be left in the end: whether the record is a candidate.
 * The kernel verifies types, depth, ranges and limits before it runs.
 *
 * Of a file with several names a filter sees one at a time, those that the caller
 * can reach; the record is a candidate if the filter is true for one of them.
 * Paths are as VEXFS_IOC_PATH gives them.
 *
 * What an instruction takes from the stack, and what it puts there:
 *
 *	UINT		- number	value
 *	SINT		- number	value, signed
 *	TIME		- number	value (signed) seconds and len nanoseconds since 1970,
 *					in nanoseconds
 *	FIELD		- number	field `field`: VEXFS_FIELD_*
 *	FLAG		- truth		field `field`: VEXFS_FLAG_*
 *	XATTR_NUMBER	- number	the value of an attribute, decimal; nothing if it is none
 *	XATTR		- truth		the attribute exists
 *	XATTR_EQ	- truth		the attribute exists and has this value
 *	XATTR_GLOB	- truth		the attribute exists and its value matches the pattern
 *	PATH_GLOB	- truth		the path matches the pattern
 *	NAME_GLOB	- truth		the last part of the path matches the pattern
 *	UNDER		- truth		the file lies below, or is, inode `value` of generation `len`
 *	EQ NE LT LE GT GE  number number - truth
 *	BITS		number number - number	those bits that both have
 *	IN		number - truth	it is in an array of __u64, in ascending order
 *	AND OR		truth truth - truth
 *	NOT		truth - truth
 *
 * The last argument of IN, globs and XATTRs is `len` bytes of the data from byte
 * `value` on. For XATTR_EQ and XATTR_GLOB that is the attribute's name, a NUL,
 * and the value or pattern. IN takes an offset and a length that are multiples
 * of 8. Names of attributes begin with "user." or, for CAP_SYS_ADMIN (others do
 * not find any), "trusted.". A comparison with nothing is false.
 *
 * Patterns: ? and [...] ([!...], ranges) match one byte, * any number, none of
 * them a slash; ** any number of any bytes; ** and a slash behind it, at the
 * start of a part, also nothing; a backslash takes the next byte as it is.
 * Values of attributes have no parts: * matches slashes there, too.
 */
struct vexfs_filter_insn {
	__u16	op;		/* VEXFS_FILTER_* */
	__u16	field;
	__u32	len;
	__u64	value;
};

struct vexfs_filter {
	__u32	size;
	__u32	flags;		/* in: 0 */
	__u32	count;		/* in: instructions */
	__u32	insn_size;	/* in: sizeof(struct vexfs_filter_insn) */
	__u64	insns;		/* in: const struct vexfs_filter_insn * */
	__u64	data;		/* in: const void * */
	__u32	data_len;
	__u32	reserved;
};

#define VEXFS_FILTER_UINT		1
#define VEXFS_FILTER_SINT		2
#define VEXFS_FILTER_TIME		3
#define VEXFS_FILTER_FIELD		4
#define VEXFS_FILTER_FLAG		5
#define VEXFS_FILTER_XATTR_NUMBER	6
#define VEXFS_FILTER_XATTR		7
#define VEXFS_FILTER_XATTR_EQ		8
#define VEXFS_FILTER_XATTR_GLOB		9
#define VEXFS_FILTER_PATH_GLOB		10
#define VEXFS_FILTER_NAME_GLOB		11
#define VEXFS_FILTER_UNDER		12
#define VEXFS_FILTER_EQ			16
#define VEXFS_FILTER_NE			17
#define VEXFS_FILTER_LT			18
#define VEXFS_FILTER_LE			19
#define VEXFS_FILTER_GT			20
#define VEXFS_FILTER_GE			21
#define VEXFS_FILTER_BITS		22
#define VEXFS_FILTER_IN			23
#define VEXFS_FILTER_AND		32
#define VEXFS_FILTER_OR			33
#define VEXFS_FILTER_NOT		34

/* Of the record. */
#define VEXFS_FIELD_KEY			1
#define VEXFS_FIELD_OFF			2
#define VEXFS_FIELD_LEN			3
#define VEXFS_FIELD_VERSION		4
#define VEXFS_FIELD_INO			5
/* Of its file, as stat(2) through the descriptor's mount has them. */
#define VEXFS_FIELD_UID			16
#define VEXFS_FIELD_GID			17
#define VEXFS_FIELD_MODE		18	/* 07777: without the type */
#define VEXFS_FIELD_TYPE		19	/* S_IFREG and so on: the type only */
#define VEXFS_FIELD_SIZE		20
#define VEXFS_FIELD_BLOCKS		21	/* of 512 bytes */
#define VEXFS_FIELD_NLINK		22
#define VEXFS_FIELD_PROJECT		23
#define VEXFS_FIELD_ATIME		24	/* nanoseconds */
#define VEXFS_FIELD_MTIME		25
#define VEXFS_FIELD_CTIME		26
#define VEXFS_FIELD_BTIME		27

#define VEXFS_FLAG_STALE		1	/* as VEXFS_RECORD_STALE */
#define VEXFS_FLAG_OFFLINE		2	/* as VEXFS_RECORD_OFFLINE */
#define VEXFS_FLAG_ARCHIVED		3	/* copies on volumes exist */
#define VEXFS_FLAG_WHOLE		4	/* the record describes the whole file */

#endif /* _UAPI_VEXFS_SEARCH_H */
