/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The staging section of the ioctl ABI of VexFS. Include vexfs.h, which has the
 * rules that every call follows, and the calls' numbers.
 */
#ifndef _UAPI_VEXFS_STAGING_H
#define _UAPI_VEXFS_STAGING_H

#include <linux/types.h>

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
 * EBUSY: parts of the file are offline at an older version: recall it first; or
 * pages of it are pinned: a device may be about to change them.
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
 * COPY_COMMIT without it, or a VOLUME_UPSERT, returns. ESTALE: the file has
 * changed since ARCHIVE_BEGIN, the copy is dead. ENOENT: no such volume.
 * EBADMSG: the file's bytes are no longer those that were checksummed for an
 * earlier copy of the same version.
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
#define VEXFS_DONE_LOST		3	/* no copy can be read: waiters get `error` */
#define VEXFS_DONE_CANCELLED	4

/*
 * STAGE_COMPLETE: ends a request. An OK recall that leaves blocks of its range
 * offline counts as LOST. Of `error` waiters get ENOSPC, EDQUOT, ENOMEM and
 * EROFS as they are and EIO for anything else (`last_error` of a file that was
 * to be archived also keeps EBUSY and ESTALE). ENOENT: no such request.
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
 * (changed while it was released, swap file, pages pinned for a device, or a
 * recall is running),
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

#endif /* _UAPI_VEXFS_STAGING_H */
