// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctl ABI, from C and from nothing but its headers: the layout of all structures, what
 * every call refuses, and each call used as it is meant.
 *
 *	vexfs_abi MOUNT-POINT
 *
 * As root, on an empty volume. Prints KTAP; exits 0, 1 when something failed, 4 when it cannot
 * run (as the kernel's selftests do).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vexfs.h"
#include "layout.h"

#define SKIPPED 4
#define DIM 8
#define MIB (1u << 20)

static unsigned int count, failures;
static char mnt[4096];

static void result(bool good, const char *format, ...)
{
	va_list args;

	count++;
	failures += !good;
	printf("%sok %u ", good ? "" : "not ", count);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* What a call answers: 0 or more, or a negative errno. */
static int call(int fd, unsigned long request, void *arg)
{
	int n = ioctl(fd, request, arg);

	return n < 0 ? -errno : n;
}

static void expect(int want, int got, const char *name, const char *what)
{
	if (want != got)
		printf("# %s, %s: %d (%s), not %d\n", name, what, got, got < 0 ? strerror(-got) : "-", want);
	result(want == got, "%s: %s", name, what);
}

static int open_at(const char *name, int flags)
{
	char path[sizeof(mnt) + 64];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", mnt, name);
	fd = open(path, flags | O_CLOEXEC, 0644);
	if (fd < 0) {
		printf("Bail out! %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return fd;
}

static __u64 at(const void *p)
{
	return (__u64)(unsigned long)p;
}

/* --- What every call refuses ------------------------------------------------------------- */

enum needs { ANYBODY, ADMIN };

/* A call: its structure, how long that was in version 1, and a field that must be zero. */
struct one {
	const char *name;
	unsigned long request;
	size_t least, size;
	int reserved;		/* offset, -1: none */
	enum needs needs;
	bool queue;		/* on the queue descriptor */
	bool any_size;		/* ABI answers whoever knows more than it */
};

#define CALL(name, type, least, reserved, ...) \
	{ #name, VEXFS_IOC_##name, least, sizeof(struct type), reserved, __VA_ARGS__ }
#define R(type, field) ((int)offsetof(struct type, field))

static const struct one calls[] = {
	CALL(ABI, vexfs_abi, 16, -1, .any_size = true),
	CALL(PATH, vexfs_path, 40, R(vexfs_path, reserved)),
	CALL(RESIZE, vexfs_resize, 16, -1, ADMIN),
	CALL(COLLECTION_CREATE, vexfs_collection, 320, -1),
	CALL(COLLECTION_GET, vexfs_collection, 320, -1),
	CALL(COLLECTION_DROP, vexfs_collection, 320, -1),
	CALL(MARK, vexfs_mark, 40, R(vexfs_mark, reserved)),
	CALL(PUT, vexfs_put, 32, -1),
	CALL(GET, vexfs_get, 88, -1),
	CALL(DELETE, vexfs_delete, 40, -1),
	CALL(LIST, vexfs_list, 40, R(vexfs_list, reserved)),
	CALL(SEARCH, vexfs_search, 56, R(vexfs_search, reserved)),
	CALL(INDEX, vexfs_index, 168, -1),
	CALL(STAGE_ATTACH, vexfs_stage_attach, 72, R(vexfs_stage_attach, reserved), ADMIN),
	CALL(STAGE_ARCHIVE, vexfs_stage_batch, 40, R(vexfs_stage_batch, reserved)),
	CALL(STAGE_RELEASE, vexfs_stage_batch, 40, R(vexfs_stage_batch, reserved), ADMIN),
	CALL(STAGE_PREFETCH, vexfs_stage_batch, 40, R(vexfs_stage_batch, reserved)),
	CALL(STAGE_STATE, vexfs_stage_state, 104, R(vexfs_stage_state, reserved)),
	CALL(VOLUME_UPSERT, vexfs_volume_upsert, 128, R(vexfs_volume_upsert, reserved), ADMIN),
	CALL(VOLUME_LIST, vexfs_volume_list, 40, R(vexfs_volume_list, reserved), ADMIN),
	CALL(ARCHIVE_BEGIN, vexfs_archive_begin, 96, R(vexfs_archive_begin, reserved), ADMIN, true),
	CALL(ARCHIVE_READ, vexfs_archive_read, 64, R(vexfs_archive_read, reserved), ADMIN, true),
	CALL(COPY_COMMIT, vexfs_copy_commit, 56, R(vexfs_copy_commit, reserved), ADMIN, true),
	CALL(STAGE_DATA, vexfs_stage_data, 64, R(vexfs_stage_data, reserved), ADMIN, true),
	CALL(STAGE_COMPLETE, vexfs_stage_complete, 56, R(vexfs_stage_complete, reserved), ADMIN, true),
};

/* What a user without rights gets. */
static int as_nobody(int fd, unsigned long request, void *arg)
{
	int status, got;
	pid_t pid = fork();

	if (pid == 0) {
		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			_exit(255);
		got = call(fd, request, arg);
		_exit(got < 0 ? -got : 0);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -ECHILD;
	return -WEXITSTATUS(status);
}

static void refuses(const struct one *c, int fd, int path_fd, int other_fd)
{
	static __u64 page[512];	/* the structure, and zeroes that no kernel knows */
	__u32 *word = (__u32 *)page;

	memset(page, 0, sizeof(page));
	expect(-EFAULT, call(fd, c->request, NULL), c->name, "no structure");
	expect(-EFAULT, call(fd, c->request, (void *)~0xffful), c->name, "an address of the kernel");
	expect(-EINVAL, call(fd, c->request, page), c->name, "size 0");
	word[0] = c->least - 1;
	expect(-EINVAL, call(fd, c->request, page), c->name, "shorter than ever");
	if (!c->any_size) {
		word[0] = sizeof(page) + 1;
		expect(-E2BIG, call(fd, c->request, page), c->name, "longer than anything");
		word[0] = c->size + 16;
		page[c->size / 8 + 1] = 1;
		expect(-E2BIG, call(fd, c->request, page), c->name, "fields that are not known");
		page[c->size / 8 + 1] = 0;
	}
	word[0] = c->size;
	word[1] = 1u << 31;
	expect(-EINVAL, call(fd, c->request, page), c->name, "an unknown flag");
	word[1] = 0;
	if (c->reserved >= 0) {
		word[c->reserved / 4] = 1;
		expect(-EINVAL, call(fd, c->request, page), c->name, "a reserved field");
		word[c->reserved / 4] = 0;
	}
	if (c->needs == ADMIN)
		expect(-EPERM, as_nobody(fd, c->request, page), c->name, "without CAP_SYS_ADMIN");
	if (!c->queue) {
		expect(-EBADF, call(path_fd, c->request, page), c->name, "O_PATH");
		expect(-ENOTTY, call(other_fd, c->request, page), c->name, "another file system");
	}
}

/* --- General ----------------------------------------------------------------------------- */

static void general(int fd)
{
	struct vexfs_abi abi = { .size = sizeof(abi) };
	struct vexfs_mark mark = { .size = sizeof(mark) };
	struct vexfs_resize resize = { .size = sizeof(resize), .blocks = 1 };
	struct vexfs_path path;
	char buf[256];
	struct stat st;
	int got;

	expect(0, call(fd, VEXFS_IOC_ABI, &abi), "ABI", "answers");
	result(abi.version == VEXFS_ABI_VERSION && abi.size >= 48 && abi.root_ino != 0,
	       "ABI: version %u, %u bytes", abi.version, abi.size);
	result((abi.features & 7) == (VEXFS_FEATURE_VECTORS | VEXFS_FEATURE_STAGING | VEXFS_FEATURE_INDEX),
	       "ABI: vectors, staging, indexes");

	expect(0, call(fd, VEXFS_IOC_MARK, &mark), "MARK", "answers");
	fstat(fd, &st);
	result(mark.ino == st.st_ino && mark.file_size == (__u64)st.st_size, "MARK: the file's");

	path = (struct vexfs_path){ .size = sizeof(path), .ino = mark.ino, .generation = mark.generation,
				    .buf_len = sizeof(buf), .buf = at(buf) };
	expect(0, call(fd, VEXFS_IOC_PATH, &path), "PATH", "answers");
	result(path.path_len == 4 && !memcmp(buf, "file", 4), "PATH: is the name");
	path.buf_len = 2;
	expect(-ENAMETOOLONG, call(fd, VEXFS_IOC_PATH, &path), "PATH", "no room");
	result(path.path_len == 4, "PATH: says how much room");
	path.buf_len = sizeof(buf);
	path.generation++;
	expect(-ESTALE, call(fd, VEXFS_IOC_PATH, &path), "PATH", "another generation");
	path.ino = abi.root_ino;
	path.generation = 0;
	got = call(fd, VEXFS_IOC_PATH, &path);
	result(got == 0 || got == -ESTALE, "PATH: the root needs its generation too");

	expect(-EINVAL, call(fd, VEXFS_IOC_RESIZE, &resize), "RESIZE", "fewer blocks");
	resize.blocks = 1ull << 60;
	expect(-EINVAL, call(fd, VEXFS_IOC_RESIZE, &resize), "RESIZE", "more than the device has");
	resize.blocks = 0;
	expect(0, call(fd, VEXFS_IOC_RESIZE, &resize), "RESIZE", "all that there is");
	result(resize.blocks > 1000, "RESIZE: says how many blocks");
}

/* --- Vectors ------------------------------------------------------------------------------ */

static void vector(float *v, int direction)
{
	for (int i = 0; i < DIM; i++)
		v[i] = i == direction;
}

static int put(int fd, __u32 collection, __u64 key, const float *v, __u32 flags, int *status)
{
	struct vexfs_put_item item = { .key = key, .vector = at(v), .vector_len = DIM * sizeof(*v), .fd = -1 };
	struct vexfs_put arg = { .size = sizeof(arg), .flags = flags, .collection = collection, .count = 1,
				 .items = at(&item), .item_size = sizeof(item) };
	int got = call(fd, VEXFS_IOC_PUT, &arg);

	*status = item.status;
	return got;
}

static void vectors(int fd, int dir)
{
	struct vexfs_collection c = { .size = sizeof(c), .dim = DIM, .type = VEXFS_TYPE_F32,
				      .metric = VEXFS_METRIC_L2, .name = "abi", .model = "by hand" };
	struct vexfs_collection next = { .size = sizeof(next), .flags = VEXFS_COLLECTION_NEXT };
	struct vexfs_record hits[4], listed[4];
	float v[DIM], got_v[DIM], query[2 * DIM];
	__u32 counts[2], words;
	struct vexfs_get get;
	struct vexfs_list list;
	struct vexfs_search s;
	struct vexfs_delete del;
	struct vexfs_filter_insn program[3];
	struct vexfs_filter filter;
	struct vexfs_index index;
	__s32 statuses[2];
	__u64 keys[2];
	int status, n;
	float score;

	expect(0, call(dir, VEXFS_IOC_COLLECTION_CREATE, &c), "COLLECTION_CREATE", "answers");
	result(c.id != 0 && c.uid == 0 && c.records == 0, "COLLECTION_CREATE: fills in");
	expect(-EEXIST, call(dir, VEXFS_IOC_COLLECTION_CREATE, &c), "COLLECTION_CREATE", "a name twice");
	c.dim = VEXFS_MAX_DIM + 1;
	memcpy(c.name, "abi2", 5);
	expect(-EINVAL, call(dir, VEXFS_IOC_COLLECTION_CREATE, &c), "COLLECTION_CREATE", "too many dimensions");
	memset(&c.name, 'x', sizeof(c.name));
	c.dim = DIM;
	expect(-EINVAL, call(dir, VEXFS_IOC_COLLECTION_CREATE, &c), "COLLECTION_CREATE", "a name without end");
	expect(0, call(fd, VEXFS_IOC_COLLECTION_GET, &next), "COLLECTION_GET", "the first");
	result(next.dim == DIM && !strcmp((char *)next.model, "by hand"), "COLLECTION_GET: says what was given");
	c = next;
	next.flags = VEXFS_COLLECTION_NEXT;
	expect(-ENOENT, call(fd, VEXFS_IOC_COLLECTION_GET, &next), "COLLECTION_GET", "no more");

	for (n = 0; n < 3; n++) {
		vector(v, n);
		expect(0, put(fd, c.id, 10 + n, v, 0, &status), "PUT", "a record");
		expect(0, status, "PUT", "its status");
	}
	put(fd, c.id, 10, v, VEXFS_PUT_NEW, &status);
	expect(-EEXIST, status, "PUT", "a key that is taken");
	v[0] = __builtin_nanf("");
	put(fd, c.id, 13, v, 0, &status);
	expect(-EINVAL, status, "PUT", "no number");
	expect(-ENOENT, put(fd, 9999, 13, v, 0, &status), "PUT", "no such collection");

	get = (struct vexfs_get){ .size = sizeof(get), .collection = c.id, .key = 11, .vector = at(got_v), .vector_len = sizeof(got_v) };
	expect(0, call(fd, VEXFS_IOC_GET, &get), "GET", "answers");
	vector(v, 1);
	result(get.record.key == 11 && !memcmp(v, got_v, sizeof(v)), "GET: the vector");
	get.vector_len = 4;
	expect(-EINVAL, call(fd, VEXFS_IOC_GET, &get), "GET", "a vector of another length");
	get.key = 99;
	get.vector_len = 0;
	expect(-ENOENT, call(fd, VEXFS_IOC_GET, &get), "GET", "no such key");

	list = (struct vexfs_list){ .size = sizeof(list), .collection = c.id, .count = 2, .records = at(listed), .record_size = sizeof(*listed) };
	expect(0, call(fd, VEXFS_IOC_LIST, &list), "LIST", "two of three");
	result(list.count == 2 && listed[0].key == 10 && listed[1].key == 11, "LIST: by key");
	list.count = 4;
	list.flags = 0;
	expect(0, call(fd, VEXFS_IOC_LIST, &list), "LIST", "the rest");
	result(list.count == 1 && listed[0].key == 12 && list.flags & VEXFS_LIST_END, "LIST: the end");

	vector(query, 1);
	vector(query + DIM, 2);
	s = (struct vexfs_search){ .size = sizeof(s), .collection = c.id, .dim = DIM, .queries = 2, .k = 2,
				   .vectors = at(query), .hits = at(hits), .counts = at(counts), .hit_size = sizeof(*hits) };
	expect(0, call(dir, VEXFS_IOC_SEARCH, &s), "SEARCH", "two queries");
	memcpy(&score, &hits[0].score, sizeof(score));
	result(counts[0] == 2 && hits[0].key == 11 && hits[2].key == 12 && score == 0, "SEARCH: the best ones");
	s.size = 56;
	expect(0, call(dir, VEXFS_IOC_SEARCH, &s), "SEARCH", "as of version 1");
	s.size = sizeof(s);
	s.k = 0;
	expect(-EINVAL, call(dir, VEXFS_IOC_SEARCH, &s), "SEARCH", "no hits wanted");
	s.k = VEXFS_MAX_K + 1;
	expect(-E2BIG, call(dir, VEXFS_IOC_SEARCH, &s), "SEARCH", "too many hits wanted");
	s.k = 2;
	s.dim = DIM - 1;
	expect(-EINVAL, call(dir, VEXFS_IOC_SEARCH, &s), "SEARCH", "another dimension");
	s.dim = DIM;
	s.hit_size = 60;
	expect(-EINVAL, call(dir, VEXFS_IOC_SEARCH, &s), "SEARCH", "odd size of hits");
	s.hit_size = sizeof(*hits);

	/* key == 12 */
	program[0] = (struct vexfs_filter_insn){ .op = VEXFS_FILTER_FIELD, .field = VEXFS_FIELD_KEY };
	program[1] = (struct vexfs_filter_insn){ .op = VEXFS_FILTER_UINT, .value = 12 };
	program[2] = (struct vexfs_filter_insn){ .op = VEXFS_FILTER_EQ };
	filter = (struct vexfs_filter){ .size = sizeof(filter), .count = 3, .insn_size = sizeof(*program), .insns = at(program) };
	s.filter = at(&filter);
	s.queries = 1;
	expect(0, call(dir, VEXFS_IOC_SEARCH, &s), "SEARCH", "with a filter");
	result(counts[0] == 1 && hits[0].key == 12, "SEARCH: what the filter leaves");
	filter.count = 2;
	expect(-EINVAL, call(dir, VEXFS_IOC_SEARCH, &s), "SEARCH", "a filter that leaves two values");
	filter.count = 3;
	n = call(dir, VEXFS_IOC_FILTER, &filter);
	if (n == -ENOTTY)
		result(true, "FILTER: a descriptor # SKIP not in this kernel");
	else
		result(n >= 0 && close(n) == 0, "FILTER: a descriptor");

	index = (struct vexfs_index){ .size = sizeof(index), .collection = c.id, .op = VEXFS_INDEX_STATS };
	expect(0, call(dir, VEXFS_IOC_INDEX, &index), "INDEX", "stats");
	result(index.state == VEXFS_INDEX_STATE_NONE && index.records == 3, "INDEX: none yet");
	index.op = VEXFS_INDEX_DROP;
	index.flags = 0;
	expect(-ENOENT, call(dir, VEXFS_IOC_INDEX, &index), "INDEX", "drop of none");
	index.op = VEXFS_INDEX_CREATE;
	index.flags = 0;
	expect(0, call(dir, VEXFS_IOC_INDEX, &index), "INDEX", "create");
	index.op = VEXFS_INDEX_WAIT;
	index.flags = 0;
	index.timeout_ms = 60000;
	expect(0, call(dir, VEXFS_IOC_INDEX, &index), "INDEX", "wait");
	result(index.state == VEXFS_INDEX_STATE_READY, "INDEX: ready");
	index.op = 99;
	index.flags = 0;
	expect(-EINVAL, call(dir, VEXFS_IOC_INDEX, &index), "INDEX", "an unknown operation");

	keys[0] = 12;
	keys[1] = 77;
	del = (struct vexfs_delete){ .size = sizeof(del), .collection = c.id, .count = 2, .keys = at(keys), .status = at(statuses) };
	expect(0, call(fd, VEXFS_IOC_DELETE, &del), "DELETE", "answers");
	result(del.deleted == 1 && statuses[0] == 0 && statuses[1] == -ENOENT, "DELETE: a status for each");
	words = VEXFS_DELETE_OWNER;
	del = (struct vexfs_delete){ .size = sizeof(del), .flags = words, .collection = c.id };
	expect(0, call(fd, VEXFS_IOC_DELETE, &del), "DELETE", "all of a file");
	result(del.deleted == 2, "DELETE: both");
	c.flags = 0;
	expect(-EPERM, as_nobody(dir, VEXFS_IOC_COLLECTION_DROP, &c), "COLLECTION_DROP", "another's");
	expect(0, call(dir, VEXFS_IOC_COLLECTION_DROP, &c), "COLLECTION_DROP", "answers");
	expect(-ENOENT, call(dir, VEXFS_IOC_COLLECTION_DROP, &c), "COLLECTION_DROP", "once more");
}

/* --- Staging ------------------------------------------------------------------------------ */

static unsigned char *contents(size_t n)
{
	unsigned char *p = malloc(n);

	for (size_t i = 0; p && i < n; i++)
		p[i] = i * 2654435761u >> 13;
	return p;
}

/* A file that is archived, released, and read by somebody who waits for it. */
static void staging(int dir, int q, int fd)
{
	const size_t size = MIB + 4321;
	unsigned char *data = contents(size), *back = calloc(1, size);
	struct vexfs_volume_upsert up = { .size = sizeof(up), .volume = { .state = VEXFS_VOLUME_OPEN, .uuid = "abi test", .label = "A00001" } };
	struct vexfs_volume volumes[4];
	struct vexfs_volume_list vl = { .size = sizeof(vl), .volumes = at(volumes), .volume_size = sizeof(*volumes), .count = 4 };
	struct vexfs_stage_item item = { 0 };
	struct vexfs_stage_batch batch = { .size = sizeof(batch), .count = 1, .item_size = sizeof(item), .items = at(&item) };
	struct vexfs_stage_state state = { .size = sizeof(state) };
	struct vexfs_stage_request rq;
	struct vexfs_archive_begin begin;
	struct vexfs_archive_read rd;
	struct vexfs_copy copy;
	struct vexfs_copy_commit commit;
	struct vexfs_stage_complete done;
	struct vexfs_stage_data sd;
	struct pollfd p = { .fd = q, .events = POLLIN };
	char path[64];
	pid_t reader;
	int status;

	if (!data || !back || pwrite(fd, data, size, 0) != (ssize_t)size || fsync(fd)) {
		result(false, "staging: a file to archive");
		return;
	}
	expect(0, call(dir, VEXFS_IOC_VOLUME_UPSERT, &up), "VOLUME_UPSERT", "a new one");
	result(up.volume.id != 0, "VOLUME_UPSERT: its id");
	expect(0, call(q, VEXFS_IOC_VOLUME_LIST, &vl), "VOLUME_LIST", "answers");
	result(vl.count == 1 && !memcmp(volumes[0].label, "A00001", 6), "VOLUME_LIST: it is there");

	expect(0, call(fd, VEXFS_IOC_STAGE_RELEASE, &batch), "STAGE_RELEASE", "of what was never archived");
	expect(-EAGAIN, item.status, "STAGE_RELEASE", "its status");
	expect(0, call(fd, VEXFS_IOC_STAGE_ARCHIVE, &batch), "STAGE_ARCHIVE", "answers");
	result(item.status == 0 && item.result != 0, "STAGE_ARCHIVE: a cookie");
	result(poll(&p, 1, 10000) == 1 && p.revents == POLLIN, "poll: a request");
	expect(-EINVAL, read(q, &rq, sizeof(rq) - 1) < 0 ? -errno : 0, "read", "half a request");
	result(read(q, &rq, sizeof(rq)) == sizeof(rq) && rq.op == VEXFS_OP_ARCHIVE && rq.cookie == item.result,
	       "read: the request");

	begin = (struct vexfs_archive_begin){ .size = sizeof(begin), .ino = rq.ino, .generation = rq.generation,
					      .path = at(path), .path_size = sizeof(path) };
	expect(0, call(q, VEXFS_IOC_ARCHIVE_BEGIN, &begin), "ARCHIVE_BEGIN", "answers");
	result(begin.file_size == size && begin.path_len == 6 && !memcmp(path, "staged", 6), "ARCHIVE_BEGIN: size and path");
	begin.generation++;
	expect(-ESTALE, call(q, VEXFS_IOC_ARCHIVE_BEGIN, &begin), "ARCHIVE_BEGIN", "another generation");
	rd = (struct vexfs_archive_read){ .size = sizeof(rd), .ino = rq.ino, .generation = rq.generation,
					  .version = begin.version, .buf = at(back), .len = size };
	expect((int)size, call(q, VEXFS_IOC_ARCHIVE_READ, &rd), "ARCHIVE_READ", "all bytes");
	result(!memcmp(data, back, size), "ARCHIVE_READ: the right ones");
	rd.off = size;
	expect(0, call(q, VEXFS_IOC_ARCHIVE_READ, &rd), "ARCHIVE_READ", "at the end");
	rd.version++;
	expect(-ESTALE, call(q, VEXFS_IOC_ARCHIVE_READ, &rd), "ARCHIVE_READ", "another version");

	copy = (struct vexfs_copy){ .volume = up.volume.id, .version = begin.version, .len = size, .bundle = 1 };
	commit = (struct vexfs_copy_commit){ .size = sizeof(commit), .ino = rq.ino, .generation = rq.generation,
					     .count = 1, .version = begin.version, .copies = at(&copy), .copy_size = sizeof(copy) };
	copy.volume++;
	expect(-ENOENT, call(q, VEXFS_IOC_COPY_COMMIT, &commit), "COPY_COMMIT", "no such volume");
	copy.volume--;
	copy.len--;
	expect(-ESTALE, call(q, VEXFS_IOC_COPY_COMMIT, &commit), "COPY_COMMIT", "another length");
	copy.len++;
	expect(0, call(q, VEXFS_IOC_COPY_COMMIT, &commit), "COPY_COMMIT", "answers");
	done = (struct vexfs_stage_complete){ .size = sizeof(done), .cookie = rq.cookie, .status = 99 };
	expect(-EINVAL, call(q, VEXFS_IOC_STAGE_COMPLETE, &done), "STAGE_COMPLETE", "an unknown status");
	done.status = VEXFS_DONE_OK;
	expect(0, call(q, VEXFS_IOC_STAGE_COMPLETE, &done), "STAGE_COMPLETE", "of archiving");
	expect(-ENOENT, call(q, VEXFS_IOC_STAGE_COMPLETE, &done), "STAGE_COMPLETE", "twice");

	item = (struct vexfs_stage_item){ 0 };
	expect(0, call(fd, VEXFS_IOC_STAGE_RELEASE, &batch), "STAGE_RELEASE", "answers");
	result(item.status == 0 && item.result >= size, "STAGE_RELEASE: bytes are free");
	expect(0, call(fd, VEXFS_IOC_STAGE_STATE, &state), "STAGE_STATE", "answers");
	result(state.state == (VEXFS_STATE_ARCHIVED | VEXFS_STATE_OFFLINE) && state.count == 1 && state.agents == 1,
	       "STAGE_STATE: archived, offline");

	reader = fork();
	if (reader == 0)
		_exit(pread(fd, back, size, 0) == (ssize_t)size && !memcmp(data, back, size) ? 0 : 1);
	result(poll(&p, 1, 10000) == 1, "poll: a recall");
	result(read(q, &rq, sizeof(rq)) == sizeof(rq) && rq.op == VEXFS_OP_RECALL && rq.version == begin.version &&
	       rq.volume == up.volume.id && rq.waiters == 1, "read: the recall");
	sd = (struct vexfs_stage_data){ .size = sizeof(sd), .cookie = rq.cookie + 1, .version = rq.version,
					.len = MIB, .buf = at(data) };
	expect(-ENOENT, call(q, VEXFS_IOC_STAGE_DATA, &sd), "STAGE_DATA", "no such request");
	sd.cookie = rq.cookie;
	sd.off = 512;
	expect(-EINVAL, call(q, VEXFS_IOC_STAGE_DATA, &sd), "STAGE_DATA", "at an odd place");
	sd.off = 0;
	data[5]++;
	expect(-EBADMSG, call(q, VEXFS_IOC_STAGE_DATA, &sd), "STAGE_DATA", "wrong bytes");
	result(sd.done == 0, "STAGE_DATA: nothing was taken");
	data[5]--;
	expect(0, call(q, VEXFS_IOC_STAGE_DATA, &sd), "STAGE_DATA", "the first MiB");
	result(sd.done == MIB, "STAGE_DATA: all of it");
	sd.off = MIB;
	sd.len = size - MIB;
	sd.buf = at(data + MIB);
	expect(0, call(q, VEXFS_IOC_STAGE_DATA, &sd), "STAGE_DATA", "the rest");
	done.cookie = rq.cookie;
	expect(0, call(q, VEXFS_IOC_STAGE_COMPLETE, &done), "STAGE_COMPLETE", "of a recall");
	result(waitpid(reader, &status, 0) == reader && status == 0, "a reader waited and got the right bytes");

	item = (struct vexfs_stage_item){ 0 };
	expect(0, call(fd, VEXFS_IOC_STAGE_PREFETCH, &batch), "STAGE_PREFETCH", "of what is here");
	result(item.status == 0 && item.result == 0, "STAGE_PREFETCH: nothing to do");
	batch.count = VEXFS_STAGE_MAX_ITEMS + 1;
	result(call(fd, VEXFS_IOC_STAGE_PREFETCH, &batch) < 0, "STAGE_PREFETCH: too many items");
	free(data);
	free(back);
}

int main(int argc, char **argv)
{
	struct vexfs_stage_attach attach = { .size = sizeof(attach), .abi = VEXFS_STAGE_ABI + 1 };
	int dir, fd, staged, path_fd, other_fd, q;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("KTAP version 1\n");
	if (argc != 2 || geteuid() != 0) {
		printf("1..0 # SKIP usage, as root: vexfs_abi MOUNT-POINT\n");
		return SKIPPED;
	}
	snprintf(mnt, sizeof(mnt), "%s", argv[1]);
	dir = open_at(".", O_RDONLY | O_DIRECTORY);
	fd = open_at("file", O_RDWR | O_CREAT);
	staged = open_at("staged", O_RDWR | O_CREAT);
	path_fd = open_at("file", O_PATH);
	other_fd = memfd_create("other", MFD_CLOEXEC);

	expect(-EOPNOTSUPP, call(dir, VEXFS_IOC_STAGE_ATTACH, &attach), "STAGE_ATTACH", "another ABI");
	result(attach.abi == VEXFS_STAGE_ABI, "STAGE_ATTACH: says which one");
	q = call(dir, VEXFS_IOC_STAGE_ATTACH, &attach);
	result(q >= 0, "STAGE_ATTACH: a descriptor");
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		refuses(&calls[i], calls[i].queue ? q : fd, path_fd, other_fd);
	expect(-ENOTTY, call(fd, _IO(VEXFS_IOC_MAGIC, 0xff), &attach), "0xff", "no such call");
	expect(-ENOTTY, call(q, VEXFS_IOC_SEARCH, &attach), "SEARCH", "on a queue");
	expect(-ENOTTY, call(fd, VEXFS_IOC_STAGE_DATA, &attach), "STAGE_DATA", "not on a queue");

	general(fd);
	vectors(fd, dir);
	staging(dir, q, staged);

	printf("1..%u\n# %u passed, %u failed\n", count, count - failures, failures);
	return failures ? 1 : 0;
}
