/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The ioctl ABI of VexFS. This file is the one source of truth: the module's
 * bindings and vexctl's are both generated from it.
 *
 * Rules that every call follows:
 *
 * - The argument is a pointer to a struct that begins with `size` and `flags`.
 *   The caller sets `size` to the sizeof of the struct as it was compiled with.
 *   A later kernel takes a shorter struct and reads what is missing as zeroes;
 *   an older kernel takes a longer one if all bytes that it does not know are
 *   zero, and answers E2BIG otherwise. A size below that of ABI version 1 is
 *   EINVAL. The kernel writes back at most `size` bytes.
 * - Unknown flags and non-zero reserved fields are EINVAL.
 * - Integers have a fixed width and the machine's byte order, pointers are
 *   carried as __u64, nothing has holes: 32-bit programs use the same layout.
 * - Arrays carry the size of one element (`*_size`) where the element may grow;
 *   it must be a multiple of 8 and at least that of ABI version 1.
 * - Vectors cross the boundary as `dim` little-endian f32, whatever type the
 *   collection stores. Scores are the bits of an f32.
 * - A descriptor may be any of the mount: opened with O_RDONLY, but not with
 *   O_PATH (EBADF). On other file systems the calls do not exist (ENOTTY).
 *
 * Errors that every call may give: EFAULT (bad pointer), EINVAL, E2BIG (see
 * above), ENOMEM, EINTR (a fatal signal came), EIO, EUCLEAN (damaged metadata),
 * and those that change something EROFS and ENOSPC.
 */
#ifndef _UAPI_VEXFS_H
#define _UAPI_VEXFS_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Raised when a call changes in a way that `size` cannot tell. */
#define VEXFS_ABI_VERSION		1

/*
 * All numbers are _IO(VEXFS_IOC_MAGIC, nr): the struct's own `size` says how
 * long it is, so the number does not change when a struct grows.
 *
 *	0x00 - 0x0f	general
 *	0x10 - 0x2f	vectors
 *	0x40 - 0x5f	staging
 */
#define VEXFS_IOC_MAGIC			0xf7

/* --- Limits ------------------------------------------------------------- */

#define VEXFS_NAME_LEN			64	/* with the final NUL */
#define VEXFS_MODEL_LEN			192	/* with the final NUL */
#define VEXFS_MAX_DIM			4096
#define VEXFS_MAX_K			4096	/* hits per query */
#define VEXFS_MAX_QUERIES		256	/* queries per call */
#define VEXFS_MAX_HITS			65536	/* queries * k per call */
#define VEXFS_MAX_PUT			4096	/* items per call */
#define VEXFS_MAX_PUT_BYTES		67108864	/* vector bytes per call */
#define VEXFS_MAX_DELETE		65536	/* keys per call */
#define VEXFS_MAX_LIST			65536	/* records per call */
#define VEXFS_MAX_PATH			65536	/* bytes of a path */

/* --- General ------------------------------------------------------------ */

/*
 * VEXFS_IOC_ABI: what this kernel speaks. Any user. `size` is set to the size
 * that the kernel knows, whatever the caller gave (at least 16).
 */
struct vexfs_abi {
	__u32	size;
	__u32	flags;		/* in: 0 */
	__u32	version;	/* out: VEXFS_ABI_VERSION */
	__u32	reserved;
	__u64	features;	/* out: VEXFS_FEATURE_* */
	__u64	root_ino;	/* out: the root directory of the file system */
	__u8	uuid[16];	/* out */
};

#define VEXFS_FEATURE_VECTORS		0x1	/* collections, records, exact search */
#define VEXFS_FEATURE_STAGING		0x2	/* archive, release, recall */

/*
 * VEXFS_IOC_PATH: the path of an inode, from the root of the mount that the
 * descriptor belongs to, without a leading slash; the root itself is ".".
 * Of several links any one that the caller may reach is given.
 *
 * ESTALE: no such inode, or it is of another generation.
 * ENOENT: the caller may not see it: the file is not readable, or no path
 *	leads to it that stays below the root of the mount and inside the
 *	caller's root, with search permission in each directory of it.
 * ENAMETOOLONG: buf_len is too short; path_len says what it takes.
 */
struct vexfs_path {
	__u32	size;
	__u32	flags;		/* in: 0 */
	__u64	ino;		/* in */
	__u32	generation;	/* in */
	__u32	buf_len;	/* in: room at buf, at most VEXFS_MAX_PATH */
	__u64	buf;		/* in: char *, not NUL-terminated by the kernel */
	__u32	path_len;	/* out: bytes of the path */
	__u32	reserved;
};

/* --- Vectors: collections ------------------------------------------------ */

/* Element types, as stored. */
#define VEXFS_TYPE_F32			1
#define VEXFS_TYPE_F16			2

/* Metrics, and what a score is. */
#define VEXFS_METRIC_L2			1	/* squared distance, lower is better */
#define VEXFS_METRIC_COSINE		2	/* similarity, higher is better */
#define VEXFS_METRIC_IP			3	/* inner product, higher is better */

/*
 * One collection. Names are 1 to 63 bytes of anything but control characters,
 * '/' and NUL. Ids are never used again.
 *
 * VEXFS_IOC_COLLECTION_CREATE: in: name, dim, type, metric, model; out: all.
 *	Needs write permission on the root directory of the file system.
 *	EEXIST: the name is taken. EACCES.
 * VEXFS_IOC_COLLECTION_GET: in: id, or if that is 0 name; or with flag
 *	VEXFS_COLLECTION_NEXT the lowest id above `id`. Any user.
 *	ENOENT: there is none (or no more).
 * VEXFS_IOC_COLLECTION_DROP: in: id, or if that is 0 name. Needs to be the
 *	collection's owner or CAP_FOWNER. All its records are gone at return;
 *	their space is freed in the background. ENOENT, EPERM.
 */
struct vexfs_collection {
	__u32	size;
	__u32	flags;		/* in: VEXFS_COLLECTION_* */
	__u32	id;
	__u32	dim;
	__u32	type;		/* VEXFS_TYPE_* */
	__u32	metric;		/* VEXFS_METRIC_* */
	__u64	records;	/* out: live records */
	__u64	slots;		/* out: slots in use or free */
	__u64	bytes;		/* out: space taken, metadata too */
	__s64	created_sec;	/* out */
	__u32	created_nsec;	/* out */
	__u32	uid;		/* out: who created it */
	__u8	name[VEXFS_NAME_LEN];	/* NUL-terminated */
	__u8	model[VEXFS_MODEL_LEN];	/* NUL-terminated; free text */
};

#define VEXFS_COLLECTION_NEXT		0x1

/* --- Vectors: records ---------------------------------------------------- */

/*
 * VEXFS_IOC_MARK: names the version of a file's content, to be given with the
 * vectors made from it: ask, read the file, embed, put. Whatever is written to
 * the file after this call makes a record of this version stale. The descriptor
 * is the file's. Needs what a put needs.
 */
struct vexfs_mark {
	__u32	size;
	__u32	flags;		/* in: 0 */
	__u64	version;	/* out */
	__u64	ino;		/* out */
	__u64	file_size;	/* out */
	__u32	generation;	/* out */
	__u32	reserved;
};

/*
 * VEXFS_IOC_PUT: puts records, replacing those of the same key. Each item has a
 * status of its own, 0 or a negative errno; the call fails as a whole only when
 * it could not look at the items. Items are applied in order; of two items with
 * the same key the later one stays.
 *
 * At return the records are visible to every search. They are durable after
 * fsync of the descriptor used here, fsync of the owner, syncfs, or at return
 * if VEXFS_PUT_SYNC is set.
 *
 * The owner is a regular file of the same mount: the caller must have it open
 * for writing or be permitted to write it; to replace a record, also to write
 * the file that owns it now.
 *
 * Status: EINVAL: vector_len is not dim * 4; a NaN, an infinity; a sum of
 *	squares over 2^125; a zero vector where the metric is cosine; off + len
 *	beyond 2^63; a value that the element type cannot hold; a version that
 *	the file never had; a flag. EBADF: fd. EXDEV: fd is of another mount.
 *	EACCES, EPERM: see above. EEXIST: VEXFS_PUT_NEW and the key is there.
 *	EFAULT: vector. ENOSPC. EFBIG: the collection has 2^32 - 1 slots.
 * Call: ENOENT: no such collection. E2BIG: more than VEXFS_MAX_PUT items or
 *	VEXFS_MAX_PUT_BYTES.
 */
struct vexfs_put_item {
	__u64	key;
	__u64	vector;		/* const float * */
	__u32	vector_len;	/* in bytes */
	__s32	fd;		/* the owner; -1: the descriptor of the call */
	__u64	off;		/* byte range; 0,0: the whole file */
	__u64	len;
	__u64	version;	/* from VEXFS_IOC_MARK; 0: as it is now */
	__s32	status;		/* out */
	__u32	flags;		/* in: 0 */
};

struct vexfs_put {
	__u32	size;
	__u32	flags;		/* in: VEXFS_PUT_* */
	__u32	collection;	/* in: id */
	__u32	count;		/* in: items, at most VEXFS_MAX_PUT */
	__u64	items;		/* in: struct vexfs_put_item * */
	__u32	item_size;	/* in: sizeof(struct vexfs_put_item) */
	__u32	done;		/* out: items with status 0 */
};

#define VEXFS_PUT_SYNC			0x1	/* durable at return */
#define VEXFS_PUT_NEW			0x2	/* do not replace */

/* A record as get, list and search tell it. */
struct vexfs_record {
	__u64	key;
	__u64	ino;		/* owner */
	__u64	off;		/* 0,0: the whole file */
	__u64	len;
	__u64	version;	/* of the file's content */
	__u32	generation;	/* of the owner */
	__u32	flags;		/* VEXFS_RECORD_* */
	__u32	score;		/* bits of an f32, search only */
	__u32	slot;
};

#define VEXFS_RECORD_STALE		0x1	/* the range was written since */
#define VEXFS_RECORD_OFFLINE		0x2	/* (part of) the file is on tape */

/*
 * VEXFS_IOC_GET: the record of a key, and its vector unless vector_len is 0.
 * The owner must be readable and reachable, as for a search.
 *
 * ENOENT: no such collection, key, or not for this caller.
 * EINVAL: vector_len is neither 0 nor dim * 4.
 */
struct vexfs_get {
	__u32	size;
	__u32	flags;		/* in: 0 */
	__u32	collection;	/* in: id */
	__u32	vector_len;	/* in: bytes at vector */
	__u64	key;		/* in */
	__u64	vector;		/* in: float * */
	struct vexfs_record record;	/* out */
};

/*
 * VEXFS_IOC_DELETE: deletes records by key, or with VEXFS_DELETE_OWNER those of
 * the file that the descriptor is of (then count is 0). Needs to be permitted
 * to write the owners.
 *
 * Status of a key: 0, ENOENT, EACCES, EPERM. Call: ENOENT: no such collection.
 * E2BIG: count is above VEXFS_MAX_DELETE.
 */
struct vexfs_delete {
	__u32	size;
	__u32	flags;		/* in: VEXFS_DELETE_* */
	__u32	collection;	/* in: id */
	__u32	count;		/* in: keys */
	__u64	keys;		/* in: const __u64 * */
	__u64	status;		/* in: __s32 *, one for each key; may be 0 */
	__u64	deleted;	/* out */
};

#define VEXFS_DELETE_OWNER		0x1	/* all records of this file */
#define VEXFS_DELETE_SYNC		0x2	/* durable at return */

/*
 * VEXFS_IOC_LIST: lists records in the order of their keys, or with
 * VEXFS_LIST_OWNER those of the descriptor's file in the order of their slots.
 * Only those are listed that a search could find for this caller.
 * Begin with cursor 0 and call again until VEXFS_LIST_END is set in flags.
 *
 * ENOENT: no such collection. E2BIG: count is above VEXFS_MAX_LIST.
 */
struct vexfs_list {
	__u32	size;
	__u32	flags;		/* in, out: VEXFS_LIST_* */
	__u32	collection;	/* in: id */
	__u32	count;		/* in: room at records; out: filled in */
	__u64	cursor;		/* in, out */
	__u64	records;	/* in: struct vexfs_record * */
	__u32	record_size;	/* in: sizeof(struct vexfs_record) */
	__u32	reserved;
};

#define VEXFS_LIST_OWNER		0x1	/* in */
#define VEXFS_LIST_END			0x2	/* out */

/* --- Vectors: search ----------------------------------------------------- */

/*
 * VEXFS_IOC_SEARCH: the k best records for each of `queries` vectors, best
 * first; equal scores by slot. The search is exact.
 *
 * A hit is a record whose file exists, that the caller may read, and that a
 * path leads to from the root of the descriptor's mount (see VEXFS_IOC_PATH).
 * With VEXFS_SEARCH_SUBTREE it must lie below the directory that the descriptor
 * is of, or be the very file. Files on tape are found, and never recalled.
 *
 * ENOENT: no such collection. EINVAL: dim is not the collection's; k or queries
 *	is 0; a query is not a vector that a put would take. E2BIG: k above
 *	VEXFS_MAX_K, queries above VEXFS_MAX_QUERIES, or queries * k above
 *	VEXFS_MAX_HITS.
 */
struct vexfs_search {
	__u32	size;
	__u32	flags;		/* in: VEXFS_SEARCH_* */
	__u32	collection;	/* in: id */
	__u32	dim;		/* in */
	__u32	queries;	/* in: number of queries */
	__u32	k;		/* in: hits for each */
	__u64	vectors;	/* in: const float *, queries * dim */
	__u64	hits;		/* in: struct vexfs_record *, queries * k: query q's at q * k */
	__u64	counts;		/* in: __u32 *, hits found for each query */
	__u32	hit_size;	/* in: sizeof(struct vexfs_record) */
	__u32	reserved;
};

#define VEXFS_SEARCH_SUBTREE		0x1
#define VEXFS_SEARCH_EXACT		0x2	/* what it does in any case, for now */

/* --- Staging -------------------------------------------------------------- */


/*
 * Staging: the tape tier.
 *
 * One or more agents (`vexctl agent`) attach to a mounted file system and get a
 * queue descriptor. The kernel hands out requests on it; the agent moves the
 * bytes and tells the kernel what it did. The kernel believes an agent about
 * where a copy lies, never about what the bytes are: it checksums each MiB of
 * a file itself when a copy is committed, and checks exactly these checksums
 * before a staged byte can be seen by anyone.
 *
 * Calls on any descriptor of the file system:
 *   VEXFS_IOC_STAGE_ATTACH, STAGE_ARCHIVE, STAGE_RELEASE, STAGE_PREFETCH,
 *   STAGE_STATE, VOLUME_UPSERT, VOLUME_LIST
 * Calls on the queue descriptor:
 *   read(2), poll(2), VEXFS_IOC_ARCHIVE_BEGIN, ARCHIVE_READ, COPY_COMMIT,
 *   STAGE_DATA, STAGE_COMPLETE, VOLUME_UPSERT, VOLUME_LIST
 *
 * All need CAP_SYS_ADMIN (EPERM) in the initial user namespace, except
 * STAGE_STATE and STAGE_PREFETCH of the very file that the descriptor has open.
 *
 * Errors besides the common ones: ENODEV (the file system was unmounted while
 * the queue descriptor was open), ESTALE (no such inode, or another generation
 * of it), EISDIR or EINVAL (a directory; some other thing that is not a regular
 * file), EPERM.
 */
#define VEXFS_STAGE_ABI		1

/* A file is checksummed and staged in chunks of this size. */
#define VEXFS_STAGE_CHUNK	(1U << 20)
/* Positions on a volume (`block`) count in these, as drives do. */
#define VEXFS_STAGE_BLOCK	(256U << 10)
/* Copies of a file are numbered 0 .. VEXFS_MAX_COPIES - 1. */
#define VEXFS_MAX_COPIES	16
/* Items in one batch. */
#define VEXFS_STAGE_MAX_ITEMS	1024
/* Bytes in one ARCHIVE_READ or STAGE_DATA. */
#define VEXFS_STAGE_MAX_BYTES	(64U << 20)

/*
 * ATTACH: returns a queue descriptor (O_CLOEXEC). It does not keep the file
 * system mounted: after an unmount every call on it fails with ENODEV, and
 * poll(2) reports POLLERR | POLLHUP. Closing it puts the requests that it was
 * working on back into the queue.
 *
 * EOPNOTSUPP: the kernel does not speak `abi`; it has written the one it does
 * speak there.
 */
struct vexfs_stage_attach {
	__u32 size;
	__u32 flags;
	__u32 abi;		/* VEXFS_STAGE_ABI */
	__u32 max_in_flight;	/* handed out and not completed; 0: 1024 */
	__u64 pools;		/* reserved for pools of volumes */
	__u8  fsuuid[16];	/* out */
	__u8  epoch[16];	/* out: volumes of another epoch are read-only */
	__u64 reserved[2];
};

/* What a request asks for. */
#define VEXFS_OP_RECALL		1	/* stage [off, off + len), then complete */
#define VEXFS_OP_ARCHIVE	2	/* make a copy, commit it, complete */
#define VEXFS_OP_REMOVE		3	/* a copy is dead (not sent yet) */
#define VEXFS_OP_VERIFY		4	/* read a copy and check it (not sent yet) */
#define VEXFS_OP_CANCEL		5	/* nobody waits for `cookie` any more */
#define VEXFS_OP_PRESSURE	6	/* space is short (not sent yet) */

/* Higher goes first. */
#define VEXFS_PRIO_DELETE	0
#define VEXFS_PRIO_AUDIT	1
#define VEXFS_PRIO_DIAGNOSE	2
#define VEXFS_PRIO_READAHEAD	3
#define VEXFS_PRIO_WRITE	4	/* archiving */
#define VEXFS_PRIO_MANAGE	5	/* asked for by hand */
#define VEXFS_PRIO_READ		6	/* somebody waits */
#define VEXFS_PRIO_CLEAN	7

/*
 * What read(2) on the queue descriptor returns: as many whole requests as fit
 * and are there, highest priority first, those of one priority in the order in
 * which their copies lie on the volumes. It blocks while there is none (EAGAIN
 * with O_NONBLOCK), EINVAL if the buffer is smaller than one request.
 *
 * `off` and `len` of a recall are positions in the version that was archived
 * (`version`), which is where its copies have them. `len` is a multiple of
 * VEXFS_STAGE_CHUNK or reaches the archived version's end.
 */
struct vexfs_stage_request {
	__u32 size;		/* 128 */
	__u16 op;		/* VEXFS_OP_* */
	__u16 priority;		/* VEXFS_PRIO_* */
	__u64 cookie;
	__u64 ino;
	__u32 generation;
	__u32 uid;		/* of whoever asked first */
	__u64 off;
	__u64 len;
	__u64 file_size;	/* of the archived version; ARCHIVE: now */
	__u64 version;		/* ARCHIVE: 0 */
	__u64 queued_ns;	/* CLOCK_MONOTONIC */
	__u64 deadline_ns;	/* 0: none */
	__u32 pid;
	__u32 waiters;
	__u32 volume;		/* where the copy lies (id of VOLUME_LIST) */
	__u32 bundle;
	__u64 block;		/* in units of VEXFS_STAGE_BLOCK, of the member */
	__u64 object_off;	/* byte in the bundle at which the file's data start */
	__u16 copy;		/* which copy the hint is about */
	__u16 flags;		/* 0 */
	__u32 attempt;		/* 0 the first time */
	__u64 reserved;
};

/*
 * ARCHIVE_BEGIN: writes the file back, and says which version a copy made from
 * now on is a copy of. Any change after this makes another version.
 * EBUSY: parts of the file are offline at an older version: recall it first.
 */
struct vexfs_archive_begin {
	__u32 size;
	__u32 flags;
	__u64 ino;
	__u32 generation;
	__u32 path_size;	/* of the buffer at `path`; 0: not wanted */
	__u64 path;		/* in: address; filled with the path below the root, without a NUL */
	__u32 path_len;		/* out; 0: the file has no name now */
	__u32 mode;		/* out */
	__u64 version;		/* out */
	__u64 file_size;	/* out */
	__s64 mtime_sec;	/* out */
	__u32 mtime_nsec;	/* out */
	__u32 uid;		/* out */
	__u32 gid;		/* out */
	__u32 copies;		/* out: valid copies of exactly this version */
	__u64 reserved[2];
};

/*
 * ARCHIVE_READ: reads bytes of the version that ARCHIVE_BEGIN returned.
 * Returns the number of bytes, 0 at the end. ESTALE: the file has changed.
 */
struct vexfs_archive_read {
	__u32 size;
	__u32 flags;
	__u64 ino;
	__u32 generation;
	__u32 reserved0;
	__u64 version;
	__u64 off;
	__u64 buf;		/* address */
	__u64 len;		/* at most VEXFS_STAGE_MAX_BYTES */
	__u64 reserved[1];
};

/* State of a copy. */
#define VEXFS_COPY_VALID	1
#define VEXFS_COPY_BAD		2	/* did not have the bytes it should have */

/* Algorithms of `digest`. */
#define VEXFS_DIGEST_NONE	0
#define VEXFS_DIGEST_BLAKE3	1

/* One copy of one file. */
struct vexfs_copy {
	__u8  copy;		/* number of the copy */
	__u8  state;		/* VEXFS_COPY_*; in COPY_COMMIT: 0 or VALID */
	__u8  algorithm;	/* VEXFS_DIGEST_* */
	__u8  pool;
	__u32 volume;		/* id of VOLUME_UPSERT */
	__u64 version;		/* of the file's content */
	__u64 off;		/* 0: segments come later */
	__u64 len;		/* the whole file */
	__u32 bundle;
	__u32 reserved0;
	__u64 block;
	__u64 object_off;
	__s64 time_sec;		/* out: when it was committed */
	__u8  digest[32];
};

/* Flags of COPY_COMMIT. */
#define VEXFS_COMMIT_LATER	0x1	/* durable with the next call that makes something durable */

/*
 * COPY_COMMIT: records copies that are durable on their volumes. The kernel
 * reads the file and keeps its checksums; when the call returns, the records
 * are durable, unless VEXFS_COMMIT_LATER is given: then they are when a later
 * COPY_COMMIT without it, or a VOLUME_UPSERT, returns. ESTALE: the file has changed since ARCHIVE_BEGIN, the copy is
 * dead. ENOENT: no such volume. EBADMSG: the file's bytes are no longer those
 * that were checksummed for an earlier copy of the same version.
 */
struct vexfs_copy_commit {
	__u32 size;
	__u32 flags;
	__u64 ino;
	__u32 generation;
	__u32 count;		/* of copies, 1 .. VEXFS_MAX_COPIES */
	__u64 version;
	__u64 copies;		/* address of struct vexfs_copy [] */
	__u32 copy_size;	/* sizeof(struct vexfs_copy) */
	__u32 reserved0;
	__u64 reserved[1];
};

/*
 * STAGE_DATA: bytes of a recall. `off` is a multiple of VEXFS_STAGE_CHUNK; so is
 * `len`, unless it reaches the end of the archived version. Chunks are checked,
 * written and published one by one; `done` says how many bytes were. Chunks that
 * are online already are passed over.
 * EBADMSG: the chunk at off + done is not what was archived (complete with
 * NEXTCOPY). ECANCELED: nobody waits any more. ESTALE: the file is gone, or no
 * longer refers to that version. ENOENT: no such request. ENOSPC.
 */
struct vexfs_stage_data {
	__u32 size;
	__u32 flags;
	__u64 cookie;
	__u64 version;
	__u64 off;
	__u64 len;		/* at most VEXFS_STAGE_MAX_BYTES */
	__u64 buf;		/* address */
	__u64 done;		/* out */
	__u64 reserved[1];
};

/* How a request ended. */
#define VEXFS_DONE_OK		0
#define VEXFS_DONE_RETRY	1	/* put it back (at most 3 times) */
#define VEXFS_DONE_NEXTCOPY	2	/* this copy cannot be read; try the next */
#define VEXFS_DONE_LOST		3	/* no copy can be read: waiters get EIO */
#define VEXFS_DONE_CANCELLED	4

/*
 * STAGE_COMPLETE: ends a request. An OK recall that leaves blocks of its range
 * offline counts as LOST. ENOENT: no such request.
 */
struct vexfs_stage_complete {
	__u32 size;
	__u32 flags;
	__u64 cookie;
	__u64 off;
	__u64 len;
	__u32 status;		/* VEXFS_DONE_* */
	__u32 error;		/* positive errno for the file's last_error, or 0 */
	__u64 reserved[2];
};

/* One file of a batch. */
struct vexfs_stage_item {
	__u64 ino;		/* 0: the descriptor's own file */
	__u32 generation;
	__s32 status;		/* out: 0 or a negative errno */
	__u64 version;		/* 0: whichever is current */
	__u64 off;
	__u64 len;		/* 0: to the end */
	__u64 keep_head;	/* RELEASE: bytes at the start that stay (reserved, 0) */
	__u64 result;		/* out: RELEASE bytes freed; ARCHIVE, PREFETCH the cookie, 0 if nothing was to do */
	__u64 reserved[1];
};

/*
 * A batch of files. The call fails as a whole only when the batch cannot be
 * read; otherwise each item has its status, and `done` says how many were
 * tried (fewer than `count` after a fatal signal).
 *
 * STAGE_ARCHIVE queues files to be archived. Item errors: EAGAIN (the queue is
 * full: try again later), EBUSY (parts are offline at an older version: recall
 * it first).
 *
 * STAGE_RELEASE gives a file's blocks back; what was there is read from its
 * copies on the next access. Item errors: EAGAIN (the current version has
 * fewer durable copies than the file system wants: archive it first), EBUSY
 * (changed while it was released, swap file, or a recall is running),
 * ESTALE (`version` is not the current one).
 *
 * STAGE_PREFETCH queues a recall and does not wait. Item errors: EAGAIN (the
 * queue is full).
 */
struct vexfs_stage_batch {
	__u32 size;
	__u32 flags;
	__u32 count;		/* at most VEXFS_STAGE_MAX_ITEMS */
	__u32 item_size;	/* sizeof(struct vexfs_stage_item) */
	__u64 items;		/* address of struct vexfs_stage_item [] */
	__u32 done;		/* out */
	__u32 reserved0;
	__u64 reserved[1];
};

/* What STAGE_STATE says of a file. */
#define VEXFS_STATE_DIRTY	0x01	/* changed since its copies were made, or never copied */
#define VEXFS_STATE_ARCHIVED	0x02	/* enough copies of the current version */
#define VEXFS_STATE_OFFLINE	0x04	/* some or all of it is offline */
#define VEXFS_STATE_ONLINE	0x08	/* some or all of it is online */
#define VEXFS_STATE_RECALLING	0x10	/* a recall is queued or running */
#define VEXFS_STATE_ARCHIVING	0x20	/* queued to be archived, or being archived */

/*
 * STAGE_STATE: never recalls anything and never waits for an agent.
 */
struct vexfs_stage_state {
	__u32 size;
	__u32 flags;
	__u64 ino;		/* in, 0: the descriptor's own file; out */
	__u32 generation;	/* in; out */
	__u32 state;		/* out: VEXFS_STATE_* */
	__u64 version;		/* out: of the content now */
	__u64 file_size;	/* out */
	__u64 offline_bytes;	/* out */
	__u64 online_bytes;	/* out: allocated, without holes */
	__u64 copies;		/* address of struct vexfs_copy []; 0: not wanted */
	__u32 copy_size;	/* sizeof(struct vexfs_copy) */
	__u32 max_copies;	/* room at `copies` */
	__u32 count;		/* out: copies that the file has */
	__u32 waiters;		/* out: tasks waiting for its recall */
	__s32 last_error;	/* out: how its last request failed (negative errno), or 0 */
	__u32 agents;		/* out: agents attached to the file system */
	__u64 reserved[2];
};

/* State of a volume. */
#define VEXFS_VOLUME_OPEN	1	/* takes more bundles */
#define VEXFS_VOLUME_FULL	2
#define VEXFS_VOLUME_READONLY	3
#define VEXFS_VOLUME_LOST	4

/* One volume: a tape, or a directory that stands for one. */
struct vexfs_volume {
	__u32 id;		/* UPSERT: 0 makes a new one */
	__u8  state;		/* VEXFS_VOLUME_* */
	__u8  pool;
	__u16 reserved0;
	__u8  uuid[16];
	__u8  label[32];	/* padded with NULs */
	__s64 created_sec;
	__u32 next_bundle;	/* number of the next bundle */
	__u32 reserved1;
	__u64 capacity;		/* bytes; 0: unknown */
	__u64 end_of_data;	/* bytes */
	__u64 live_bytes;
	__u64 dead_bytes;
	__u64 reserved2;
};

/*
 * VOLUME_UPSERT: `volume` is written back with its id. A volume of the same
 * uuid is the same volume. EEXIST: `id` belongs to another uuid. ENOSPC: more
 * than 65,535 volumes.
 */
struct vexfs_volume_upsert {
	__u32 size;
	__u32 flags;
	struct vexfs_volume volume;
	__u64 reserved[1];
};

/* VOLUME_LIST: the volumes with ids from `first` on, ascending. */
struct vexfs_volume_list {
	__u32 size;
	__u32 flags;
	__u64 volumes;		/* address of struct vexfs_volume [] */
	__u32 volume_size;	/* sizeof(struct vexfs_volume) */
	__u32 count;		/* in: room; out: written */
	__u32 first;
	__u32 reserved0;
	__u64 reserved[1];
};

/* --- Numbers --------------------------------------------------------------- */

#define VEXFS_NR_ABI			0x00
#define VEXFS_NR_PATH			0x01
#define VEXFS_NR_COLLECTION_CREATE	0x10
#define VEXFS_NR_COLLECTION_GET		0x11
#define VEXFS_NR_COLLECTION_DROP	0x12
#define VEXFS_NR_MARK			0x18
#define VEXFS_NR_PUT			0x19
#define VEXFS_NR_GET			0x1a
#define VEXFS_NR_DELETE			0x1b
#define VEXFS_NR_LIST			0x1c
#define VEXFS_NR_SEARCH			0x20
#define VEXFS_NR_STAGE_ATTACH		0x40
#define VEXFS_NR_STAGE_ARCHIVE		0x41
#define VEXFS_NR_STAGE_RELEASE		0x42
#define VEXFS_NR_STAGE_PREFETCH		0x43
#define VEXFS_NR_STAGE_STATE		0x44
#define VEXFS_NR_VOLUME_UPSERT		0x48
#define VEXFS_NR_VOLUME_LIST		0x49
#define VEXFS_NR_ARCHIVE_BEGIN		0x50
#define VEXFS_NR_ARCHIVE_READ		0x51
#define VEXFS_NR_COPY_COMMIT		0x52
#define VEXFS_NR_STAGE_DATA		0x53
#define VEXFS_NR_STAGE_COMPLETE		0x54

#define VEXFS_IOC_ABI			_IO(VEXFS_IOC_MAGIC, VEXFS_NR_ABI)
#define VEXFS_IOC_PATH			_IO(VEXFS_IOC_MAGIC, VEXFS_NR_PATH)
#define VEXFS_IOC_COLLECTION_CREATE	_IO(VEXFS_IOC_MAGIC, VEXFS_NR_COLLECTION_CREATE)
#define VEXFS_IOC_COLLECTION_GET	_IO(VEXFS_IOC_MAGIC, VEXFS_NR_COLLECTION_GET)
#define VEXFS_IOC_COLLECTION_DROP	_IO(VEXFS_IOC_MAGIC, VEXFS_NR_COLLECTION_DROP)
#define VEXFS_IOC_MARK			_IO(VEXFS_IOC_MAGIC, VEXFS_NR_MARK)
#define VEXFS_IOC_PUT			_IO(VEXFS_IOC_MAGIC, VEXFS_NR_PUT)
#define VEXFS_IOC_GET			_IO(VEXFS_IOC_MAGIC, VEXFS_NR_GET)
#define VEXFS_IOC_DELETE		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_DELETE)
#define VEXFS_IOC_LIST			_IO(VEXFS_IOC_MAGIC, VEXFS_NR_LIST)
#define VEXFS_IOC_SEARCH		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_SEARCH)
#define VEXFS_IOC_STAGE_ATTACH		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_STAGE_ATTACH)
#define VEXFS_IOC_STAGE_ARCHIVE		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_STAGE_ARCHIVE)
#define VEXFS_IOC_STAGE_RELEASE		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_STAGE_RELEASE)
#define VEXFS_IOC_STAGE_PREFETCH	_IO(VEXFS_IOC_MAGIC, VEXFS_NR_STAGE_PREFETCH)
#define VEXFS_IOC_STAGE_STATE		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_STAGE_STATE)
#define VEXFS_IOC_VOLUME_UPSERT		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_VOLUME_UPSERT)
#define VEXFS_IOC_VOLUME_LIST		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_VOLUME_LIST)
#define VEXFS_IOC_ARCHIVE_BEGIN		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_ARCHIVE_BEGIN)
#define VEXFS_IOC_ARCHIVE_READ		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_ARCHIVE_READ)
#define VEXFS_IOC_COPY_COMMIT		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_COPY_COMMIT)
#define VEXFS_IOC_STAGE_DATA		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_STAGE_DATA)
#define VEXFS_IOC_STAGE_COMPLETE	_IO(VEXFS_IOC_MAGIC, VEXFS_NR_STAGE_COMPLETE)

#endif /* _UAPI_VEXFS_H */
