/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The ioctl ABI of VexFS. This file, with vexfs_search.h and vexfs_staging.h, is
 * the one source of truth: the module's bindings are generated from it, and
 * vexctl's are compared with it by a test.
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
 *   collection stores; or, where the call says so, as they are stored: dim
 *   little-endian f32 or f16, dim signed bytes, or (dim + 7) / 8 bytes of
 *   bits, the first element highest in the first byte, and zeroes behind the
 *   last one (what numpy.packbits gives). Scores are the bits of an f32.
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
#define VEXFS_FEATURE_INDEX		0x4	/* indexes over collections */

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

/*
 * VEXFS_IOC_RESIZE: makes the mounted file system larger. A remainder of the
 * device that is not worth a group is left unused. What is interrupted has
 * grown a part of the way, and can be called again.
 *
 * EPERM: needs CAP_SYS_ADMIN.
 * EINVAL: fewer blocks than there are, or more than the device has.
 * EFBIG: more than a file system can have.
 * ENOSPC: the journal is too short for so large a file system.
 * EBUSY: somebody else resizes it. EROFS, EINTR.
 */
struct vexfs_resize {
	__u32	size;
	__u32	flags;		/* in: 0 */
	__u64	blocks;		/* in: of 4 KiB, 0: all that the device has; out: what it is */
};

/* --- Vectors: collections ------------------------------------------------ */

/* Element types, as stored. */
#define VEXFS_TYPE_F32			1
#define VEXFS_TYPE_F16			2
#define VEXFS_TYPE_INT8			3	/* integers from -128 to 127 */
#define VEXFS_TYPE_BINARY		4	/* 0 and 1, one bit for each */

/* Metrics, and what a score is. */
#define VEXFS_METRIC_L2			1	/* squared distance, lower is better */
#define VEXFS_METRIC_COSINE		2	/* similarity, higher is better */
#define VEXFS_METRIC_IP			3	/* inner product, higher is better */
#define VEXFS_METRIC_HAMMING		4	/* bits that differ, lower is better; binary, and only that */

/*
 * One collection. Names are 1 to 63 bytes of anything but control characters,
 * '/' and NUL. Ids are never used again.
 *
 * VEXFS_IOC_COLLECTION_CREATE: in: name, dim, type, metric, model; out: all.
 *	Needs write permission on the root directory of the file system.
 *	EEXIST: the name is taken. EACCES. EOPNOTSUPP: vectors of this type are
 *	not compared by this metric. EINVAL: name, dim, type, metric, model.
 * VEXFS_IOC_COLLECTION_GET: in: id, or if that is 0 name; or with flag
 *	VEXFS_COLLECTION_NEXT the lowest id above `id`. Any user.
 *	ENOENT: there is none (or no more).
 * VEXFS_IOC_COLLECTION_DROP: in: id, or if that is 0 name. Needs to be the
 *	collection's owner or CAP_FOWNER. All its records are gone and their space
 *	is freed at return. ENOENT, EPERM.
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
 * Status: EINVAL: vector_len is neither dim * 4 nor the length of a vector as
 *	it is stored, which tells the two forms apart; a NaN, an infinity; a sum of
 *	squares over 2^125; a zero vector where the metric is cosine; off + len
 *	beyond 2^63; a value that the element type cannot hold (f16 rounds to the
 *	nearest; int8 and binary take only what they hold exactly); a version that
 *	the file never had; a flag. EBADF: fd. EXDEV: fd is of another mount.
 *	EACCES, EPERM: see above. EEXIST: VEXFS_PUT_NEW and the key is there.
 *	EFAULT: vector. ENOSPC. EFBIG: the collection has 2^32 - 2 slots.
 * Call: ENOENT: no such collection. E2BIG: more than VEXFS_MAX_PUT items or
 *	VEXFS_MAX_PUT_BYTES. EAGAIN: the index is far behind, and the descriptor is
 *	O_NONBLOCK; others wait.
 */
struct vexfs_put_item {
	__u64	key;
	__u64	vector;		/* const float *, or as it is stored */
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
 * EINVAL: vector_len is neither 0 nor dim * 4 (f32) nor the length of a vector
 *	as it is stored.
 */
struct vexfs_get {
	__u32	size;
	__u32	flags;		/* in: 0 */
	__u32	collection;	/* in: id */
	__u32	vector_len;	/* in: bytes at vector */
	__u64	key;		/* in */
	__u64	vector;		/* in: float *, or as it is stored */
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

/* --- Vectors: search and filters ------------------------------------------ */

#include "vexfs_search.h"

/* --- Vectors: index ------------------------------------------------------ */

#include "vexfs_index.h"

/* --- Staging -------------------------------------------------------------- */

#include "vexfs_staging.h"

/* --- Numbers --------------------------------------------------------------- */

#define VEXFS_NR_ABI			0x00
#define VEXFS_NR_PATH			0x01
#define VEXFS_NR_RESIZE			0x02
#define VEXFS_NR_COLLECTION_CREATE	0x10
#define VEXFS_NR_COLLECTION_GET		0x11
#define VEXFS_NR_COLLECTION_DROP	0x12
#define VEXFS_NR_MARK			0x18
#define VEXFS_NR_PUT			0x19
#define VEXFS_NR_GET			0x1a
#define VEXFS_NR_DELETE			0x1b
#define VEXFS_NR_LIST			0x1c
#define VEXFS_NR_SEARCH			0x20
#define VEXFS_NR_FILTER			0x21
#define VEXFS_NR_INDEX			0x28
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
#define VEXFS_IOC_RESIZE		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_RESIZE)
#define VEXFS_IOC_COLLECTION_CREATE	_IO(VEXFS_IOC_MAGIC, VEXFS_NR_COLLECTION_CREATE)
#define VEXFS_IOC_COLLECTION_GET	_IO(VEXFS_IOC_MAGIC, VEXFS_NR_COLLECTION_GET)
#define VEXFS_IOC_COLLECTION_DROP	_IO(VEXFS_IOC_MAGIC, VEXFS_NR_COLLECTION_DROP)
#define VEXFS_IOC_MARK			_IO(VEXFS_IOC_MAGIC, VEXFS_NR_MARK)
#define VEXFS_IOC_PUT			_IO(VEXFS_IOC_MAGIC, VEXFS_NR_PUT)
#define VEXFS_IOC_GET			_IO(VEXFS_IOC_MAGIC, VEXFS_NR_GET)
#define VEXFS_IOC_DELETE		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_DELETE)
#define VEXFS_IOC_LIST			_IO(VEXFS_IOC_MAGIC, VEXFS_NR_LIST)
#define VEXFS_IOC_SEARCH		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_SEARCH)
#define VEXFS_IOC_FILTER		_IO(VEXFS_IOC_MAGIC, VEXFS_NR_FILTER)
#define VEXFS_IOC_INDEX			_IO(VEXFS_IOC_MAGIC, VEXFS_NR_INDEX)
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
