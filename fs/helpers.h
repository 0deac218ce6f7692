/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen cannot reach: static inlines and function-like macros as plain
 * functions (bodies in helpers.c, helpers_inode.c and helpers_mm.c), and
 * constants that are expressions.
 *
 * Every function is vexfs_helper_NAME, NAME being the kernel's own; every
 * constant VEXFS_NAME. Fields inside anonymous unions are numbered by bindgen,
 * so they have accessors here too. bindgen and gcc both read this file, with
 * the same -D flags.
 */
#ifndef VEXFS_HELPERS_H
#define VEXFS_HELPERS_H

#include <linux/anon_inodes.h>
#include <linux/backing-dev.h>
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/buffer_head.h>
#include <linux/crc32c.h>
#include <linux/exportfs.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fileattr.h>
#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/fs_struct.h>
#include <linux/fserror.h>
#include <linux/highmem.h>
#include <linux/iomap.h>
#include <linux/iversion.h>
#include <linux/jbd2.h>
#include <linux/kobject.h>
#include <linux/kthread.h>
#include <linux/list_lru.h>
#include <linux/magic.h>
#include <linux/mempool.h>
#include <linux/mount.h>
#include <linux/mpage.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/poll.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/quotaops.h>
#include <linux/random.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/seq_file.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/statfs.h>
#include <linux/swap.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/writeback.h>
#include <linux/xattr.h>

/* --- Constants ----------------------------------------------------------- */

static const gfp_t VEXFS_GFP_NOFS __maybe_unused = GFP_NOFS;

static const u32 VEXFS_FMODE_READ __maybe_unused = (__force u32)FMODE_READ;
static const u32 VEXFS_FMODE_WRITE __maybe_unused = (__force u32)FMODE_WRITE;
static const u32 VEXFS_FMODE_NOWAIT __maybe_unused = (__force u32)FMODE_NOWAIT;
static const u32 VEXFS_FMODE_CAN_ODIRECT __maybe_unused =
	(__force u32)FMODE_CAN_ODIRECT;

static const int VEXFS_IOCB_APPEND __maybe_unused = IOCB_APPEND;
static const int VEXFS_IOCB_DIRECT __maybe_unused = IOCB_DIRECT;
static const int VEXFS_IOCB_NOWAIT __maybe_unused = IOCB_NOWAIT;

static const u32 VEXFS_FOP_BUFFER_RASYNC __maybe_unused =
	(__force u32)FOP_BUFFER_RASYNC;
static const u32 VEXFS_FOP_BUFFER_WASYNC __maybe_unused =
	(__force u32)FOP_BUFFER_WASYNC;
static const u32 VEXFS_FOP_DONTCACHE __maybe_unused =
	(__force u32)FOP_DONTCACHE;
static const u32 VEXFS_FOP_DIO_PARALLEL_WRITE __maybe_unused =
	(__force u32)FOP_DIO_PARALLEL_WRITE;

/* Since 7.3 the block layer sees to it that such a bio ends in a task. */
#ifdef IOMAP_IOEND_DONTCACHE
static const u32 VEXFS_IOMAP_IOEND_DONTCACHE __maybe_unused =
	IOMAP_IOEND_DONTCACHE;
#else
static const u32 VEXFS_IOMAP_IOEND_DONTCACHE __maybe_unused = 0;
#endif

static const u32 VEXFS_WQ_UNBOUND __maybe_unused = WQ_UNBOUND;
static const u32 VEXFS_WQ_MEM_RECLAIM __maybe_unused = WQ_MEM_RECLAIM;

static const u32 VEXFS_SLAB_RECLAIM_ACCOUNT __maybe_unused =
	(__force u32)SLAB_RECLAIM_ACCOUNT;
static const u32 VEXFS_SLAB_ACCOUNT __maybe_unused = (__force u32)SLAB_ACCOUNT;

static const u32 VEXFS_EPOLLIN __maybe_unused = (__force u32)EPOLLIN;
static const u32 VEXFS_EPOLLRDNORM __maybe_unused = (__force u32)EPOLLRDNORM;
static const u32 VEXFS_EPOLLERR __maybe_unused = (__force u32)EPOLLERR;
static const u32 VEXFS_EPOLLHUP __maybe_unused = (__force u32)EPOLLHUP;

/* --- Buffer heads -------------------------------------------------------- */

void vexfs_helper_set_buffer_uptodate(struct buffer_head *bh);
bool vexfs_helper_buffer_uptodate(const struct buffer_head *bh);
/* A bit for ourselves: "checked" means that the block's checksum was verified. */
bool vexfs_helper_buffer_checked(const struct buffer_head *bh);
void vexfs_helper_set_buffer_checked(struct buffer_head *bh);
void vexfs_helper_lock_buffer(struct buffer_head *bh);
void vexfs_helper_unlock_buffer(struct buffer_head *bh);
void vexfs_helper_get_bh(struct buffer_head *bh);
void vexfs_helper_brelse(struct buffer_head *bh);
struct buffer_head *vexfs_helper_sb_bread(struct super_block *sb, u64 block);
struct buffer_head *vexfs_helper_sb_getblk(struct super_block *sb, u64 block);
struct buffer_head *vexfs_helper_sb_find_get_block(struct super_block *sb,
						   u64 block);
/* Several blocks: neighbours become one request. */
void vexfs_helper_sb_breadahead(struct super_block *sb, const u64 *blocks,
				size_t count);
void *vexfs_helper_bh_data(const struct buffer_head *bh);
u64 vexfs_helper_bh_blocknr(const struct buffer_head *bh);

/* --- jbd2 ---------------------------------------------------------------- */

bool vexfs_helper_is_journal_aborted(journal_t *journal);
handle_t *vexfs_helper_journal_current_handle(void);
tid_t vexfs_helper_handle_tid(handle_t *handle);

/* --- Inodes -------------------------------------------------------------- */

struct inode *vexfs_helper_file_inode(const struct file *file);
/* Also while the file is being opened and has no inode yet. */
struct dentry *vexfs_helper_file_path_dentry(const struct file *file);
struct vfsmount *vexfs_helper_file_mnt(const struct file *file);
loff_t vexfs_helper_i_size_read(const struct inode *inode);
void vexfs_helper_i_size_write(struct inode *inode, loff_t size);
uid_t vexfs_helper_i_uid_read(const struct inode *inode);
/* Who owns the inode, as stat(2) tells the current task. */
void vexfs_helper_stat_owner(struct mnt_idmap *idmap, const struct inode *inode,
			     uid_t *uid, gid_t *gid);
gid_t vexfs_helper_i_gid_read(const struct inode *inode);
void vexfs_helper_i_uid_write(struct inode *inode, uid_t uid);
void vexfs_helper_i_gid_write(struct inode *inode, gid_t gid);
unsigned int vexfs_helper_i_nlink(const struct inode *inode);
time64_t vexfs_helper_inode_get_atime_sec(const struct inode *inode);
long vexfs_helper_inode_get_atime_nsec(const struct inode *inode);
time64_t vexfs_helper_inode_get_mtime_sec(const struct inode *inode);
long vexfs_helper_inode_get_mtime_nsec(const struct inode *inode);
time64_t vexfs_helper_inode_get_ctime_sec(const struct inode *inode);
long vexfs_helper_inode_get_ctime_nsec(const struct inode *inode);
void vexfs_helper_inode_set_atime(struct inode *inode, time64_t sec, long nsec);
void vexfs_helper_inode_set_mtime(struct inode *inode, time64_t sec, long nsec);
void vexfs_helper_inode_set_ctime(struct inode *inode, time64_t sec, long nsec);
/*
 * The time of a change to the inode: later than its ctime, if anybody has seen
 * that. The inode keeps its ctime, since the change may fail.
 */
struct timespec64 vexfs_helper_inode_change_time(struct inode *inode);
void vexfs_helper_set_i_fop(struct inode *inode,
			    const struct file_operations *fop);
void vexfs_helper_inode_lock(struct inode *inode);
int vexfs_helper_inode_lock_killable(struct inode *inode);
void vexfs_helper_inode_unlock(struct inode *inode);
bool vexfs_helper_inode_trylock(struct inode *inode);
void vexfs_helper_inode_lock_shared(struct inode *inode);
void vexfs_helper_inode_unlock_shared(struct inode *inode);
bool vexfs_helper_inode_trylock_shared(struct inode *inode);
bool vexfs_helper_inode_has_dio(struct inode *inode);
/* A counted inode, if it is in core and not being freed. */
struct inode *vexfs_helper_grab_inode(struct super_block *sb, u64 ino);
bool vexfs_helper_is_sync(const struct inode *inode);
bool vexfs_helper_is_dirsync(const struct inode *inode);
bool vexfs_helper_is_swapfile(const struct inode *inode);
bool vexfs_helper_inode_is_new(struct inode *inode);
u32 vexfs_helper_new_encode_dev(dev_t dev);
dev_t vexfs_helper_new_decode_dev(u32 dev);
struct inode *vexfs_helper_alloc_inode_sb(struct super_block *sb,
					  struct kmem_cache *cache, gfp_t gfp);
bool vexfs_helper_capable(int cap);

/* --- Dentries and names -------------------------------------------------- */

struct inode *vexfs_helper_d_inode(const struct dentry *dentry);
const unsigned char *vexfs_helper_d_name(const struct dentry *dentry);
u32 vexfs_helper_d_name_len(const struct dentry *dentry);
const struct qstr *vexfs_helper_d_qstr(const struct dentry *dentry);
int vexfs_helper_security_inode_init_security(struct inode *inode,
					      struct inode *dir,
					      const struct qstr *name,
					      initxattrs initxattrs,
					      void *fs_data);
bool vexfs_helper_dir_emit(struct dir_context *ctx, const char *name,
			   int len, u64 ino, unsigned int type);
bool vexfs_helper_dir_emit_dots(struct file *file, struct dir_context *ctx);

/* --- Super blocks -------------------------------------------------------- */

bool vexfs_helper_sb_rdonly(const struct super_block *sb);
/* Between read-only and writable, one way or the other. */
bool vexfs_helper_sb_ro_changes(const struct super_block *sb);
/* An active reference, unless the file system is being unmounted for good. */
bool vexfs_helper_sb_hold_active(struct super_block *sb);
void vexfs_helper_sb_start_write(struct super_block *sb);
bool vexfs_helper_sb_start_write_trylock(struct super_block *sb);
void vexfs_helper_sb_end_write(struct super_block *sb);
void vexfs_helper_sb_start_intwrite(struct super_block *sb);
void vexfs_helper_sb_end_intwrite(struct super_block *sb);
void vexfs_helper_sb_start_pagefault(struct super_block *sb);
void vexfs_helper_sb_end_pagefault(struct super_block *sb);
u64 vexfs_helper_bdev_nr_bytes(struct block_device *bdev);
u32 vexfs_helper_bdev_logical_block_size(struct block_device *bdev);
bool vexfs_helper_bdev_read_only(struct block_device *bdev);
u64 vexfs_helper_bdev_max_discard_sectors(struct block_device *bdev);
u32 vexfs_helper_bdev_discard_granularity(struct block_device *bdev);
u32 vexfs_helper_bdev_dma_alignment(struct block_device *bdev);
void vexfs_helper_set_swap_bdev(struct swap_info_struct *info,
				struct block_device *bdev);
__kernel_fsid_t vexfs_helper_u64_to_fsid(u64 v);
void vexfs_helper_super_set_uuid(struct super_block *sb, const u8 *uuid,
				 unsigned int len);
struct mnt_idmap *vexfs_helper_nop_idmap(void);
bool vexfs_helper_sb_lazytime(const struct super_block *sb);
struct mnt_idmap *vexfs_helper_file_mnt_idmap(const struct file *file);
const char *vexfs_helper_fs_parameter_string(const struct fs_parameter *param);
int vexfs_helper_fs_parse(struct fs_context *fc,
			  const struct fs_parameter_spec *desc,
			  struct fs_parameter *param,
			  struct fs_parse_result *result);

/* --- Page cache ---------------------------------------------------------- */

loff_t vexfs_helper_folio_pos(const struct folio *folio);
size_t vexfs_helper_folio_size(const struct folio *folio);
void *vexfs_helper_folio_address(const struct folio *folio);
void vexfs_helper_folio_put(struct folio *folio);
void vexfs_helper_folio_unlock(struct folio *folio);
bool vexfs_helper_folio_test_uptodate(const struct folio *folio);
/* NULL when the folio is not cached and uptodate; never an error pointer. */
struct folio *
vexfs_helper_filemap_get_folio_uptodate(struct address_space *mapping,
					pgoff_t index);
struct folio *vexfs_helper_read_mapping_folio(struct address_space *mapping,
					      pgoff_t index, struct file *file);
void vexfs_helper_mapping_set_large_folios(struct address_space *mapping);
void vexfs_helper_filemap_invalidate_lock(struct address_space *mapping);
void vexfs_helper_filemap_invalidate_unlock(struct address_space *mapping);
void vexfs_helper_filemap_invalidate_lock_shared(struct address_space *mapping);
void vexfs_helper_filemap_invalidate_unlock_shared(
	struct address_space *mapping);
/* Has what is dirty written back, unless the super block is going away. */
void vexfs_helper_write_back_for_space(struct super_block *sb);
/* Takes all folios out of the mapping; -EBUSY if one is dirty or pinned. */
int vexfs_helper_drop_folios(struct address_space *mapping);
bool vexfs_helper_has_pinned_folios(struct address_space *mapping);
size_t vexfs_helper_iov_iter_count(const struct iov_iter *iter);
struct inode *vexfs_helper_vmf_inode(const struct vm_fault *vmf);
struct file *vexfs_helper_vmf_file(const struct vm_fault *vmf);

/* --- File data ----------------------------------------------------------- */

unsigned long vexfs_helper_spin_lock_irqsave(spinlock_t *lock);
void vexfs_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
void vexfs_helper_file_accessed(struct file *file);
ssize_t vexfs_helper_generic_write_sync(struct kiocb *iocb, ssize_t count);
bool vexfs_helper_is_nosec(const struct inode *inode);
void vexfs_helper_iov_iter_reexpand(struct iov_iter *iter, size_t count);
void vexfs_helper_inode_lock_downgrade(struct inode *inode);
/* The folio at index, locked, made (up to len bytes large) if not cached; or NULL. */
struct folio *vexfs_helper_filemap_get_folio_write(
	struct address_space *mapping, pgoff_t index, size_t len);
void vexfs_helper_folio_mark_uptodate(struct folio *folio);
/*
 * The folio if it is in the cache, uptodate, and marked by the next function;
 * one that is not is NULL, and whoever wants it goes the long way.
 */
struct folio *
vexfs_helper_filemap_get_folio_checked(struct address_space *mapping,
				       pgoff_t index);
bool vexfs_helper_folio_test_checked(const struct folio *folio);
void vexfs_helper_folio_set_checked(struct folio *folio);
int vexfs_helper_folio_lock_killable(struct folio *folio);
void vexfs_helper_folio_wait_writeback(struct folio *folio);
/*
 * Brings len bytes at pos near: into the processor's cache from the page cache,
 * or from the device into that, without waiting. No reads beyond page end.
 */
void vexfs_helper_mapping_prefetch_entry(struct address_space *mapping,
					 pgoff_t index);
void vexfs_helper_mapping_prefetch(struct address_space *mapping, loff_t pos,
				   size_t len, pgoff_t end);
/* Read ahead of a reader that is about to use count pages from index on. How many pages came. */
unsigned long vexfs_helper_page_cache_readahead(struct address_space *mapping,
						struct file_ra_state *ra,
						pgoff_t index,
						unsigned long count);
u64 vexfs_helper_vmf_pgoff(const struct vm_fault *vmf);
struct folio *vexfs_helper_vmf_folio(const struct vm_fault *vmf);
/* Whether the fault may drop its lock, sleep and be tried again. */
bool vexfs_helper_vmf_may_retry(const struct vm_fault *vmf);
/*
 * Drops the lock that the fault holds (if it may) and returns the file with a
 * reference; NULL when it may not. The caller answers VM_FAULT_RETRY.
 */
struct file *vexfs_helper_vmf_unlock_for_io(struct vm_fault *vmf);

/* --- Locks, waiting, work ------------------------------------------------ */

void vexfs_helper_down_write_nested(struct rw_semaphore *sem, int depth);
void vexfs_helper_spin_lock_init(spinlock_t *lock, const char *name,
				 struct lock_class_key *key);
void vexfs_helper_init_waitqueue_head(struct wait_queue_head *wq,
				      const char *name,
				      struct lock_class_key *key);
void vexfs_helper_wake_up_all(struct wait_queue_head *wq);
/*
 * Sleeps until cond(data) is true, for at most so many milliseconds (0: however
 * long it takes), or until a signal arrives: one that kills, or any.
 */
long vexfs_helper_wait_event_timeout(struct wait_queue_head *wq,
				     bool (*cond)(void *), void *data,
				     bool fatal, unsigned int ms);
void vexfs_helper_poll_wait(struct file *file, struct wait_queue_head *wq,
			    struct poll_table_struct *table);
void vexfs_helper_init_work(struct work_struct *work, work_func_t func);
bool vexfs_helper_queue_work(struct workqueue_struct *wq,
			     struct work_struct *work);
void vexfs_helper_queue_background(struct work_struct *work);
struct workqueue_struct *vexfs_helper_alloc_workqueue(const char *name,
						      u32 flags,
						      int max_active);
bool vexfs_helper_fatal_signal_pending(void);
bool vexfs_helper_signal_pending(void);
u64 vexfs_helper_get_random_u64(void);
/* A thread of low priority, with a reference that the stop takes back. */
struct task_struct *vexfs_helper_kthread_run(int (*fn)(void *), void *data,
					     const char *name);
void vexfs_helper_kthread_stop_put(struct task_struct *task);
void vexfs_helper_cond_resched(void);
unsigned int vexfs_helper_memalloc_nofs_save(void);
void vexfs_helper_memalloc_nofs_restore(unsigned int flags);
void vexfs_helper_memalloc_retry_wait(void);

/* --- Memory and user space ----------------------------------------------- */

struct kmem_cache *vexfs_helper_kmem_cache_create(const char *name,
						  unsigned int size,
						  unsigned int align,
						  u32 flags,
						  void (*ctor)(void *));
void vexfs_helper_kernel_fpu_begin(void);
void vexfs_helper_kernel_fpu_end(void);
/* A quick clock of unknown rate. */
u64 vexfs_helper_cycles(void);
u64 vexfs_helper_ktime_get_ns(void);
/*
 * What the CPU of the kernel offers: bit 0 AVX2 and FMA, bit 1 F16C, bit 2 AVX-512F/BW/VL, bits 3 and 4
 * with that AVX512-VNNI and VPOPCNTDQ.
 */
u32 vexfs_helper_cpu_simd(void);
u32 vexfs_helper_crc32c(u32 crc, const void *data, size_t len);

/* --- Staging ------------------------------------------------------------- */

/* Write len bytes (whole blocks) to the device from block bno on, and wait. */
int vexfs_helper_write_blocks(struct block_device *bdev, u64 bno, void *data,
			      size_t len);
void vexfs_helper_copy(void *to, const void *from, size_t len);

/* --- Log lines ----------------------------------------------------------- */

/* "vexfs (sda1): MESSAGE" at the given level (0 to 7), rate limited per level. */
void vexfs_helper_log(const struct super_block *sb, int level,
		      const char *msg, size_t len);

/* --- Vectors ------------------------------------------------------------- */

/*
 * The directory below which the caller sees files of this file's mount: the
 * mount's root, or the caller's own if that lies in the same mount. A
 * reference is taken.
 */
struct inode *vexfs_helper_file_reach(const struct file *file);
/* Whether a rename came between: begin, look, ask. */
unsigned int vexfs_helper_rename_begin(void);
bool vexfs_helper_rename_retry(unsigned int seq);
uid_t vexfs_helper_current_euid(void);
/* As whom the caller creates through the file's mount; -1 for nobody. */
uid_t vexfs_helper_mapped_fsuid(const struct file *file);
bool vexfs_helper_ns_capable(const struct super_block *sb, int cap);

#endif /* VEXFS_HELPERS_H */
