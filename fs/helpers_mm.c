// SPDX-License-Identifier: GPL-2.0
/*
 * Bodies of helpers.h, continued: page cache, file data, locks, memory.
 */
#include "helpers.h"

#include <asm/cpufeature.h>
#include <asm/fpu/api.h>

/* --- Page cache ---------------------------------------------------------- */

loff_t vexfs_helper_folio_pos(const struct folio *folio)
{
	return folio_pos(folio);
}

size_t vexfs_helper_folio_size(const struct folio *folio)
{
	return folio_size(folio);
}

void *vexfs_helper_folio_address(const struct folio *folio)
{
	return folio_address(folio);
}

void vexfs_helper_folio_put(struct folio *folio)
{
	folio_put(folio);
}

void vexfs_helper_folio_unlock(struct folio *folio)
{
	folio_unlock(folio);
}

bool vexfs_helper_folio_test_uptodate(const struct folio *folio)
{
	return folio_test_uptodate(folio);
}

struct folio *
vexfs_helper_filemap_get_folio_uptodate(struct address_space *mapping,
					pgoff_t index)
{
	struct folio *folio = filemap_get_folio(mapping, index);

	if (IS_ERR(folio))
		return NULL;
	if (!folio_test_uptodate(folio)) {
		folio_put(folio);
		return NULL;
	}
	folio_mark_accessed(folio);
	return folio;
}

struct folio *vexfs_helper_read_mapping_folio(struct address_space *mapping,
					      pgoff_t index, struct file *file)
{
	return read_mapping_folio(mapping, index, file);
}

void vexfs_helper_mapping_set_large_folios(struct address_space *mapping)
{
	mapping_set_large_folios(mapping);
}

void vexfs_helper_write_back_for_space(struct super_block *sb)
{
	/*
	 * Not try_to_writeback_inodes_sb(), which does nothing when somebody
	 * else is writing back, be it one folio. Who changes or ends the
	 * mount writes everything back himself.
	 */
	if (!down_read_trylock(&sb->s_umount))
		return;
	writeback_inodes_sb(sb, WB_REASON_FS_FREE_SPACE);
	up_read(&sb->s_umount);
}

void vexfs_helper_filemap_invalidate_lock(struct address_space *mapping)
{
	filemap_invalidate_lock(mapping);
}

void vexfs_helper_filemap_invalidate_unlock(struct address_space *mapping)
{
	filemap_invalidate_unlock(mapping);
}

void vexfs_helper_filemap_invalidate_lock_shared(struct address_space *mapping)
{
	filemap_invalidate_lock_shared(mapping);
}

void vexfs_helper_filemap_invalidate_unlock_shared(
	struct address_space *mapping)
{
	filemap_invalidate_unlock_shared(mapping);
}

/*
 * A folio that is locked and in no page table is pinned by nobody new: faults
 * need its lock to map it, and lockless walks find it gone.
 */
static int vexfs_drop_folio(struct address_space *mapping, struct folio *folio)
{
	if (folio->mapping != mapping)
		return 0;
	folio_wait_writeback(folio);
	if (folio_mapped(folio))
		unmap_mapping_pages(mapping, folio->index,
				    folio_nr_pages(folio), false);
	if (folio_test_dirty(folio) || folio_maybe_dma_pinned(folio))
		return -EBUSY;
	return generic_error_remove_folio(mapping, folio);
}

int vexfs_helper_drop_folios(struct address_space *mapping)
{
	struct folio_batch batch;
	pgoff_t index = 0;
	int error = 0;

	folio_batch_init(&batch);
	while (!error && filemap_get_folios(mapping, &index, -1, &batch)) {
		for (unsigned int i = 0; !error && i < folio_batch_count(&batch);
		     i++) {
			struct folio *folio = batch.folios[i];

			folio_lock(folio);
			error = vexfs_drop_folio(mapping, folio);
			folio_unlock(folio);
		}
		folio_batch_release(&batch);
		cond_resched();
	}
	return error;
}

bool vexfs_helper_has_pinned_folios(struct address_space *mapping)
{
	struct folio_batch batch;
	pgoff_t index = 0;
	bool pinned = false;

	folio_batch_init(&batch);
	while (!pinned && filemap_get_folios(mapping, &index, -1, &batch)) {
		for (unsigned int i = 0; i < folio_batch_count(&batch); i++)
			pinned |= folio_maybe_dma_pinned(batch.folios[i]);
		folio_batch_release(&batch);
		cond_resched();
	}
	return pinned;
}

size_t vexfs_helper_iov_iter_count(const struct iov_iter *iter)
{
	return iov_iter_count(iter);
}

struct inode *vexfs_helper_vmf_inode(const struct vm_fault *vmf)
{
	return file_inode(vmf->vma->vm_file);
}

struct file *vexfs_helper_vmf_file(const struct vm_fault *vmf)
{
	return vmf->vma->vm_file;
}

/* --- Locks, waiting, work ------------------------------------------------ */

void vexfs_helper_down_write_nested(struct rw_semaphore *sem, int depth)
{
	down_write_nested(sem, depth);
}

void vexfs_helper_spin_lock_init(spinlock_t *lock, const char *name,
				 struct lock_class_key *key)
{
#ifdef CONFIG_DEBUG_SPINLOCK
	__raw_spin_lock_init(spinlock_check(lock), name, key, LD_WAIT_CONFIG);
#else
	spin_lock_init(lock);
#endif
}

void vexfs_helper_init_waitqueue_head(struct wait_queue_head *wq,
				      const char *name,
				      struct lock_class_key *key)
{
	__init_waitqueue_head(wq, name, key);
}

void vexfs_helper_wake_up_all(struct wait_queue_head *wq)
{
	wake_up_all(wq);
}

long vexfs_helper_wait_event_timeout(struct wait_queue_head *wq,
				     bool (*cond)(void *), void *data,
				     bool fatal, unsigned int ms)
{
	long ticks = ms ? (long)msecs_to_jiffies(ms) : MAX_SCHEDULE_TIMEOUT;

	if (fatal)
		return wait_event_killable_timeout(*wq, cond(data), ticks);
	return wait_event_interruptible_timeout(*wq, cond(data), ticks);
}

void vexfs_helper_poll_wait(struct file *file, struct wait_queue_head *wq,
			    struct poll_table_struct *table)
{
	poll_wait(file, wq, table);
}

void vexfs_helper_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

bool vexfs_helper_queue_work(struct workqueue_struct *wq,
			     struct work_struct *work)
{
	return queue_work(wq, work);
}

void vexfs_helper_queue_background(struct work_struct *work)
{
	queue_work(system_dfl_wq, work);
}

struct workqueue_struct *vexfs_helper_alloc_workqueue(const char *name,
						      u32 flags, int max_active)
{
	return alloc_workqueue("%s", flags, max_active, name);
}

bool vexfs_helper_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

u64 vexfs_helper_get_random_u64(void)
{
	return get_random_u64();
}

bool vexfs_helper_signal_pending(void)
{
	return signal_pending(current);
}

struct task_struct *vexfs_helper_kthread_run(int (*fn)(void *), void *data,
					     const char *name)
{
	struct task_struct *task = kthread_create(fn, data, "%s", name);

	if (!IS_ERR(task)) {
		get_task_struct(task);
		set_user_nice(task, 10);
		wake_up_process(task);
	}
	return task;
}

void vexfs_helper_kthread_stop_put(struct task_struct *task)
{
	kthread_stop_put(task);
}

void vexfs_helper_cond_resched(void)
{
	cond_resched();
}

unsigned int vexfs_helper_memalloc_nofs_save(void)
{
	return memalloc_nofs_save();
}

void vexfs_helper_memalloc_nofs_restore(unsigned int flags)
{
	memalloc_nofs_restore(flags);
}

void vexfs_helper_memalloc_retry_wait(void)
{
	memalloc_retry_wait(GFP_NOFS);
}

/* --- Memory and user space ----------------------------------------------- */

struct kmem_cache *vexfs_helper_kmem_cache_create(const char *name,
						  unsigned int size,
						  unsigned int align, u32 flags,
						  void (*ctor)(void *))
{
	return kmem_cache_create(name, size, align, (__force slab_flags_t)flags,
				 ctor);
}

void vexfs_helper_kernel_fpu_begin(void)
{
	kernel_fpu_begin();
}

void vexfs_helper_kernel_fpu_end(void)
{
	kernel_fpu_end();
}

u64 vexfs_helper_cycles(void)
{
	return __builtin_ia32_rdtsc();
}

u64 vexfs_helper_ktime_get_ns(void)
{
	return ktime_get_ns();
}

#ifdef CONFIG_UML
/* The flags are those that the host shows, of what it saves. */
#define vexfs_has_xfeatures(mask)	true
#else
#define vexfs_has_xfeatures(mask)	cpu_has_xfeatures(mask, NULL)
#endif

u32 vexfs_helper_cpu_simd(void)
{
	u32 have = 0;

	/* The registers must be saved by the kernel too, not only be there. */
	if (!vexfs_has_xfeatures(XFEATURE_MASK_SSE | XFEATURE_MASK_YMM))
		return 0;
	if (boot_cpu_has(X86_FEATURE_AVX2) && boot_cpu_has(X86_FEATURE_FMA))
		have |= 1;
	if (boot_cpu_has(X86_FEATURE_F16C))
		have |= 2;
	if (boot_cpu_has(X86_FEATURE_AVX512F) &&
	    boot_cpu_has(X86_FEATURE_AVX512BW) &&
	    boot_cpu_has(X86_FEATURE_AVX512VL) &&
	    vexfs_has_xfeatures(XFEATURE_MASK_AVX512))
		have |= 4;
	if (boot_cpu_has(X86_FEATURE_AVX512_VNNI))
		have |= 8;
	if (boot_cpu_has(X86_FEATURE_AVX512_VPOPCNTDQ))
		have |= 16;
	return have;
}

u32 vexfs_helper_crc32c(u32 crc, const void *data, size_t len)
{
	return crc32c(crc, data, len);
}

/* --- File data ----------------------------------------------------------- */

unsigned long vexfs_helper_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

void vexfs_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

void vexfs_helper_file_accessed(struct file *file)
{
	file_accessed(file);
}

ssize_t vexfs_helper_generic_write_sync(struct kiocb *iocb, ssize_t count)
{
	return generic_write_sync(iocb, count);
}

bool vexfs_helper_is_nosec(const struct inode *inode)
{
	return IS_NOSEC(inode);
}

void vexfs_helper_iov_iter_reexpand(struct iov_iter *iter, size_t count)
{
	iov_iter_reexpand(iter, count);
}

void vexfs_helper_inode_lock_downgrade(struct inode *inode)
{
	downgrade_write(&inode->i_rwsem);
}

struct folio *vexfs_helper_filemap_get_folio_write(
	struct address_space *mapping, pgoff_t index, size_t len)
{
	struct folio *folio;

	folio = __filemap_get_folio(mapping, index,
				    FGP_WRITEBEGIN | FGP_NOFS |
					    fgf_set_order(len),
				    mapping_gfp_mask(mapping));
	return IS_ERR(folio) ? NULL : folio;
}

void vexfs_helper_folio_mark_uptodate(struct folio *folio)
{
	folio_mark_uptodate(folio);
}

struct folio *
vexfs_helper_filemap_get_folio_checked(struct address_space *mapping,
				       pgoff_t index)
{
	struct folio *folio = filemap_get_folio(mapping, index);

	if (IS_ERR(folio))
		return NULL;
	if (!folio_test_uptodate(folio) || !folio_test_checked(folio)) {
		folio_put(folio);
		return NULL;
	}
	folio_mark_accessed(folio);
	return folio;
}

bool vexfs_helper_folio_test_checked(const struct folio *folio)
{
	return folio_test_checked(folio);
}

void vexfs_helper_folio_set_checked(struct folio *folio)
{
	folio_set_checked(folio);
}

int vexfs_helper_folio_lock_killable(struct folio *folio)
{
	return folio_lock_killable(folio);
}

void vexfs_helper_folio_wait_writeback(struct folio *folio)
{
	folio_wait_writeback(folio);
}

/* Fetches what xas_load() would wait for: the entry of a page, in a leaf. */
void vexfs_helper_mapping_prefetch_entry(struct address_space *mapping,
					 pgoff_t index)
{
	void *entry;

	rcu_read_lock();
	entry = xa_head(&mapping->i_pages);
	while (xa_is_node(entry)) {
		struct xa_node *node = xa_to_node(entry);
		unsigned int offset = (index >> node->shift) & XA_CHUNK_MASK;

		if (!node->shift) {
			prefetch(&node->slots[offset]);
			break;
		}
		entry = xa_entry(&mapping->i_pages, node, offset);
	}
	rcu_read_unlock();
}

void vexfs_helper_mapping_prefetch(struct address_space *mapping, loff_t pos,
				   size_t len, pgoff_t end)
{
	pgoff_t index = pos >> PAGE_SHIFT, last = (pos + len - 1) >> PAGE_SHIFT;
	XA_STATE(xas, &mapping->i_pages, index);
	struct folio *folio;

	rcu_read_lock();
	do {
		folio = xas_load(&xas);
	} while (xas_retry(&xas, folio));
	if (folio && !xa_is_value(folio)) {
		/*
		 * It may go while we look: the address is wrong then, which a
		 * prefetch does not mind. The folio is not read, which would
		 * mean to wait for it: where it begins, the tree knows. A tree
		 * of one page has no node.
		 */
		pgoff_t first = index;
		const char *at;

		if (xas.xa_node) {
			first >>= xas.xa_node->shift;
			first = (first & ~(pgoff_t)XA_CHUNK_MASK) | xas.xa_offset;
			first <<= xas.xa_node->shift;
		}
		at = page_address(&folio->page) +
		     ((index - first) << PAGE_SHIFT) + offset_in_page(pos);
		prefetchw(folio);
		len = min_t(size_t, len, PAGE_SIZE);
		/* Into the second cache: prefetch() would fill the first. */
		for (size_t i = 0; i < len; i += SMP_CACHE_BYTES)
			asm volatile("prefetcht1 %0" : : "m"(at[i]));
		rcu_read_unlock();
		return;
	}
	rcu_read_unlock();
	if (last >= end)
		return;
	if (filemap_invalidate_trylock_shared(mapping)) {
		DEFINE_READAHEAD(ractl, NULL, NULL, mapping, index);

		page_cache_ra_unbounded(&ractl, last - index + 1, 0);
		filemap_invalidate_unlock_shared(mapping);
	}
}

unsigned long vexfs_helper_page_cache_readahead(struct address_space *mapping,
						struct file_ra_state *ra,
						pgoff_t index,
						unsigned long count)
{
	unsigned long before = READ_ONCE(mapping->nrpages), after;
	struct folio *folio = filemap_get_folio(mapping, index);

	if (IS_ERR(folio)) {
		page_cache_sync_readahead(mapping, ra, NULL, index, count);
	} else {
		if (folio_test_readahead(folio))
			page_cache_async_readahead(mapping, ra, NULL, folio, count);
		folio_put(folio);
	}
	after = READ_ONCE(mapping->nrpages);
	return after > before ? after - before : 0;
}

u64 vexfs_helper_vmf_pgoff(const struct vm_fault *vmf)
{
	return vmf->pgoff;
}

struct folio *vexfs_helper_vmf_folio(const struct vm_fault *vmf)
{
	return page_folio(vmf->page);
}

bool vexfs_helper_vmf_may_retry(const struct vm_fault *vmf)
{
	return fault_flag_allow_retry_first(vmf->flags) &&
	       !(vmf->flags & FAULT_FLAG_RETRY_NOWAIT);
}

struct file *vexfs_helper_vmf_unlock_for_io(struct vm_fault *vmf)
{
	struct file *file;

	if (!vexfs_helper_vmf_may_retry(vmf))
		return NULL;
	file = get_file(vmf->vma->vm_file);
	if (vmf->flags & FAULT_FLAG_VMA_LOCK)
		vma_end_read(vmf->vma);
	else
		mmap_read_unlock(vmf->vma->vm_mm);
	return file;
}

/* --- Staging ------------------------------------------------------------- */

int vexfs_helper_write_blocks(struct block_device *bdev, u64 bno, void *data,
			      size_t len)
{
	int error = 0;

	while (len && !error) {
		size_t n = min_t(size_t, len, BIO_MAX_VECS / 2 * PAGE_SIZE);
		struct bio *bio;

		bio = bio_alloc(bdev, BIO_MAX_VECS / 2 + 1,
				REQ_OP_WRITE | REQ_SYNC, GFP_NOIO);
		bio->bi_iter.bi_sector = bno << (12 - SECTOR_SHIFT);
		if (!is_vmalloc_addr(data))
			bio_add_virt_nofail(bio, data, n);
		else if (!bio_add_vmalloc(bio, data, n))
			error = -EIO;
		if (!error)
			error = submit_bio_wait(bio);
		bio_put(bio);
		data += n;
		bno += n >> 12;
		len -= n;
	}
	return error;
}

void vexfs_helper_copy(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}
