// SPDX-License-Identifier: GPL-2.0
/*
 * The jobs of `make bench`: jobs PHASE FOLDER
 *
 * Each phase is one measurement on the file system that FOLDER is on. It prints one line,
 * "JOB RATE UNIT SECONDS": higher rates are better. What a phase works on was left by the phases before
 * it in its group (see guest.sh), which mounts the volume afresh between phases, so
 * everything that is read comes from the disk. Phases that change something end with
 * syncfs(), inside the time that counts.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1L << 20)
#define FILE_SIZE (384 * MIB)
#define FILES 50000
#define SMALL 1000
#define THREADS 4
#define PASSES 100

static void die(const char *format, ...)
{
	va_list args;
	int error = errno;

	va_start(args, format);
	fprintf(stderr, "jobs: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, ": %s\n", strerror(error));
	va_end(args);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* The same numbers for every file system. */
static uint64_t random_state;
static uint64_t next_random(void)
{
	uint64_t z = (random_state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags, 0644);

	if (fd < 0)
		die("%s", path);
	return fd;
}

static void sync_or_die(int fd)
{
	if (syncfs(fd))
		die("syncfs");
}

static void sync_folder(void)
{
	int fd = open_or_die(".", O_RDONLY | O_DIRECTORY);

	sync_or_die(fd);
	close(fd);
}

static void *buffer(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		die("memory");
	memset(p, 0x5a, size);
	return p;
}

static void report(const char *job, double amount, double begin, const char *unit)
{
	double seconds = now() - begin;

	printf("%s %.3f %s %.6f\n", job, amount / seconds, unit, seconds);
}

/* --- One large file -------------------------------------------------------- */

/* From end to end in steps of SIZE. */
static void sequential(const char *job, const char *path, int flags, size_t size)
{
	int writing = (flags & O_ACCMODE) != O_RDONLY;
	char *p = buffer(size);
	double begin = now();
	int fd = open_or_die(path, flags);
	long done;

	for (done = 0; done < FILE_SIZE; done += size) {
		ssize_t n = writing ? write(fd, p, size) : read(fd, p, size);

		if (n != (ssize_t)size)
			die("%s: %zd of %zu bytes", path, n, size);
	}
	if (writing)
		sync_or_die(fd);
	close(fd);
	report(job, (double)FILE_SIZE / MIB, begin, "MiB/s");
}

/* COUNT blocks of 4 KiB, anywhere in the file. */
static void scattered(const char *job, int flags, long count)
{
	int writing = (flags & O_ACCMODE) != O_RDONLY;
	char *p = buffer(4096);
	double begin = now();
	int fd = open_or_die("large", flags);
	long i;

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	for (i = 0; i < count; i++) {
		off_t at = (off_t)(next_random() % (FILE_SIZE / 4096)) * 4096;
		ssize_t n = writing ? pwrite(fd, p, 4096, at) : pread(fd, p, 4096, at);

		if (n != 4096)
			die("large: %zd bytes at %lld", n, (long long)at);
	}
	if (writing)
		sync_or_die(fd);
	close(fd);
	report(job, count, begin, "op/s");
}

static void mapped(const char *job, int writing)
{
	double begin = now();
	int fd = open_or_die("large", O_RDWR);
	volatile char *p = mmap(NULL, FILE_SIZE, PROT_READ | (writing ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
	long i, sum = 0;

	if (p == MAP_FAILED)
		die("mmap");
	for (i = 0; i < FILE_SIZE; i += 4096) {
		if (writing)
			p[i] = (char)i;
		else
			sum += p[i];
	}
	if (writing && msync((void *)p, FILE_SIZE, MS_SYNC))
		die("msync");
	munmap((void *)p, FILE_SIZE);
	if (writing)
		sync_or_die(fd);
	close(fd);
	report(job, (double)FILE_SIZE / MIB, begin, "MiB/s");
}

/* A log file: each record is on the disk before the next one. */
static void append_fsync(const char *job)
{
	const long count = 4000;
	char *p = buffer(4096);
	double begin = now();
	int fd = open_or_die("log", O_WRONLY | O_CREAT | O_APPEND);
	long i;

	for (i = 0; i < count; i++)
		if (write(fd, p, 4096) != 4096 || fsync(fd))
			die("log");
	close(fd);
	report(job, count, begin, "op/s");
}

/* Small files, each of them fsynced: a mail spool. */
static void create_fsync(const char *job)
{
	const long count = 2000;
	char *p = buffer(4096), name[64];
	double begin;
	long i;

	if (mkdir("spool", 0755) && errno != EEXIST)
		die("spool");
	begin = now();
	for (i = 0; i < count; i++) {
		int fd;

		sprintf(name, "spool/message.%ld", i);
		fd = open_or_die(name, O_WRONLY | O_CREAT | O_EXCL);
		if (write(fd, p, 4096) != 4096 || fsync(fd))
			die("%s", name);
		close(fd);
	}
	report(job, count, begin, "op/s");
}

/* --- Many small files ------------------------------------------------------ */

struct part {
	pthread_t thread;
	void (*work)(struct part *part);
	char folder[32];
	long files;
	uint64_t seed;
	long seen;
};

static void name_of(char *name, const struct part *part, long i)
{
	sprintf(name, "%s/file-%06ld.dat", part->folder, i);
}

static void create_work(struct part *part)
{
	static char content[SMALL];
	char name[80];
	long i;

	for (i = 0; i < part->files; i++) {
		int fd;

		name_of(name, part, i);
		fd = open_or_die(name, O_WRONLY | O_CREAT | O_EXCL);
		if (write(fd, content, SMALL) != SMALL)
			die("%s", name);
		close(fd);
	}
}

/* Each once, in an order that is neither theirs nor the disk's. */
static void stat_work(struct part *part)
{
	/* Coprime to the number of files. */
	const long step = 7919;
	struct stat s;
	char name[80];
	long i;

	for (i = 0; i < part->files; i++) {
		name_of(name, part, i * step % part->files);
		if (lstat(name, &s))
			die("%s", name);
		part->seen++;
	}
}

static void read_work(struct part *part)
{
	char name[80], content[SMALL];
	long i;

	for (i = 0; i < part->files; i++) {
		int fd;

		name_of(name, part, i);
		fd = open_or_die(name, O_RDONLY);
		if (read(fd, content, SMALL) != SMALL)
			die("%s", name);
		close(fd);
	}
}

/* Listed once from the disk, then from memory. */
static void readdir_work(struct part *part)
{
	struct dirent *e;
	int pass;

	for (pass = 0; pass < PASSES; pass++) {
		DIR *d = opendir(part->folder);

		if (!d)
			die("%s", part->folder);
		while ((e = readdir(d)))
			part->seen += e->d_name[0] != '.';
		closedir(d);
	}
	if (part->seen != PASSES * part->files)
		die("%s: %ld entries, not %ld", part->folder, part->seen, PASSES * part->files);
}

static void unlink_work(struct part *part)
{
	char name[80];
	long i;

	for (i = 0; i < part->files; i++) {
		name_of(name, part, i);
		if (unlink(name))
			die("%s", name);
	}
}

static void *part_thread(void *argument)
{
	struct part *part = argument;

	part->work(part);
	return NULL;
}

static void many(const char *job, void (*work)(struct part *), int threads, int changes)
{
	struct part part[THREADS] = { 0 };
	double begin;
	int i;

	for (i = 0; i < threads; i++) {
		part[i].work = work;
		part[i].files = FILES / threads;
		sprintf(part[i].folder, "t%d-%d", threads, i);
		if (work == create_work && mkdir(part[i].folder, 0755))
			die("%s", part[i].folder);
	}
	begin = now();
	if (threads == 1)
		work(&part[0]);
	for (i = 0; threads > 1 && i < threads; i++)
		if (pthread_create(&part[i].thread, NULL, part_thread, &part[i]))
			die("thread");
	for (i = 0; threads > 1 && i < threads; i++)
		pthread_join(part[i].thread, NULL);
	if (changes)
		sync_folder();
	report(job, work == readdir_work ? PASSES * FILES : FILES, begin, "op/s");
}

/* --- Names ----------------------------------------------------------------- */

/* Within a folder, to another folder, over an existing name. */
static void rename_storm(const char *job)
{
	const long files = 2000, count = 40000;
	char from[64], to[64];
	char (*where)[64] = calloc(files, sizeof(*where));
	double begin;
	long i;

	if (!where || mkdir("a", 0755) || mkdir("b", 0755))
		die("rename");
	for (i = 0; i < files; i++) {
		sprintf(where[i], "%c/file-%ld.0", i % 2 ? 'a' : 'b', i);
		close(open_or_die(where[i], O_WRONLY | O_CREAT | O_EXCL));
		/* The one that is renamed over. */
		sprintf(to, "a/over-%ld", i);
		close(open_or_die(to, O_WRONLY | O_CREAT | O_EXCL));
	}
	sync_folder();
	begin = now();
	for (i = 0; i < count; i++) {
		long f = i % files, turn = i / files;

		strcpy(from, where[f]);
		if (turn == 3)
			sprintf(to, "a/over-%ld", f);
		else
			sprintf(to, "%c/file-%ld.%ld", (f + turn / 2) % 2 ? 'a' : 'b', f, turn + 1);
		if (rename(from, to))
			die("%s to %s", from, to);
		strcpy(where[f], to);
	}
	sync_folder();
	report(job, count, begin, "op/s");
}

/* A command in the folder, and the sync after it. */
static void command(const char *job, double amount, char *const argv[])
{
	double begin = now();
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (!pid) {
		execvp(argv[0], argv);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid || status) {
		errno = ECHILD;
		die("%s: status %d", argv[0], status);
	}
	sync_folder();
	report(job, amount, begin, "op/s");
}

/* --------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
	const char *phase = argc > 2 ? argv[1] : "";
	/* Of untar and rm: how many files the archive holds. */
	double files = argc > 4 ? atof(argv[4]) : 0;

	if (argc < 3) {
		fprintf(stderr, "jobs PHASE FOLDER [ARCHIVE FILES]\n");
		return 2;
	}
	if (chdir(argv[2]))
		die("%s", argv[2]);
	for (const char *c = phase; *c; c++)
		random_state = random_state * 31 + *c;
	setvbuf(stdout, NULL, _IOLBF, 0);
#define IS(name) (!strcmp(phase, name))
	if (IS("seq_write"))
		sequential(phase, "large", O_WRONLY | O_CREAT | O_EXCL, MIB);
	else if (IS("seq_overwrite"))
		sequential(phase, "large", O_WRONLY, MIB);
	else if (IS("seq_write_direct"))
		sequential(phase, "direct", O_WRONLY | O_CREAT | O_EXCL | O_DIRECT, MIB);
	else if (IS("seq_read"))
		sequential(phase, "large", O_RDONLY, 128 << 10);
	else if (IS("seq_read_direct"))
		sequential(phase, "large", O_RDONLY | O_DIRECT, MIB);
	else if (IS("rand_read"))
		scattered(phase, O_RDONLY, 20000);
	else if (IS("rand_read_direct"))
		scattered(phase, O_RDONLY | O_DIRECT, 20000);
	else if (IS("rand_write"))
		scattered(phase, O_WRONLY, 30000);
	else if (IS("rand_write_direct"))
		scattered(phase, O_WRONLY | O_DIRECT, 20000);
	else if (IS("mmap_read"))
		mapped(phase, 0);
	else if (IS("mmap_write"))
		mapped(phase, 1);
	else if (IS("append_fsync"))
		append_fsync(phase);
	else if (IS("create_fsync"))
		create_fsync(phase);
	else if (IS("create"))
		many(phase, create_work, 1, 1);
	else if (IS("stat"))
		many(phase, stat_work, 1, 0);
	else if (IS("read_small"))
		many(phase, read_work, 1, 0);
	else if (IS("readdir"))
		many(phase, readdir_work, 1, 0);
	else if (IS("unlink"))
		many(phase, unlink_work, 1, 1);
	else if (IS("create_t4"))
		many(phase, create_work, THREADS, 1);
	else if (IS("stat_t4"))
		many(phase, stat_work, THREADS, 0);
	else if (IS("readdir_t4"))
		many(phase, readdir_work, THREADS, 0);
	else if (IS("unlink_t4"))
		many(phase, unlink_work, THREADS, 1);
	else if (IS("rename"))
		rename_storm(phase);
	else if (IS("untar") && argc > 4)
		command(phase, files, (char *[]){ "tar", "-xf", argv[3], NULL });
	else if (IS("rm") && argc > 4)
		command(phase, files, (char *[]){ "rm", "-rf", "tree", NULL });
	else {
		fprintf(stderr, "jobs: no phase %s\n", phase);
		return 2;
	}
	return 0;
}
