// SPDX-License-Identifier: GPL-2.0
/*
 * Bodies of helpers.h: static inlines and function-like macros of the kernel as
 * plain functions. Nothing here decides anything.
 */
#include "helpers.h"

#include <linux/fs_dirent.h>

/* --- Buffer heads -------------------------------------------------------- */

/* The first private bit: "checked" is a bit of our own, as ext4's verified. */
enum { BH_VexfsChecked = BH_JBDPrivateStart };

BUFFER_FNS(VexfsChecked, vexfs_checked)

bool vexfs_helper_buffer_uptodate(const struct buffer_head *bh)
{
	return buffer_uptodate(bh);
}

void vexfs_helper_set_buffer_uptodate(struct buffer_head *bh)
{
	set_buffer_uptodate(bh);
}

void vexfs_helper_clear_buffer_uptodate(struct buffer_head *bh)
{
	clear_buffer_uptodate(bh);
}

bool vexfs_helper_buffer_dirty(const struct buffer_head *bh)
{
	return buffer_dirty(bh);
}

bool vexfs_helper_buffer_mapped(const struct buffer_head *bh)
{
	return buffer_mapped(bh);
}

bool vexfs_helper_buffer_new(const struct buffer_head *bh)
{
	return buffer_new(bh);
}

bool vexfs_helper_buffer_write_io_error(const struct buffer_head *bh)
{
	return buffer_write_io_error(bh);
}

void vexfs_helper_clear_buffer_write_io_error(struct buffer_head *bh)
{
	clear_buffer_write_io_error(bh);
}

bool vexfs_helper_buffer_jbd(const struct buffer_head *bh)
{
	return buffer_jbd(bh);
}

bool vexfs_helper_buffer_freed(const struct buffer_head *bh)
{
	return buffer_freed(bh);
}

bool vexfs_helper_buffer_checked(const struct buffer_head *bh)
{
	return buffer_vexfs_checked(bh);
}

void vexfs_helper_set_buffer_checked(struct buffer_head *bh)
{
	set_buffer_vexfs_checked(bh);
}

void vexfs_helper_clear_buffer_checked(struct buffer_head *bh)
{
	clear_buffer_vexfs_checked(bh);
}

void vexfs_helper_lock_buffer(struct buffer_head *bh)
{
	lock_buffer(bh);
}

void vexfs_helper_unlock_buffer(struct buffer_head *bh)
{
	unlock_buffer(bh);
}

void vexfs_helper_wait_on_buffer(struct buffer_head *bh)
{
	wait_on_buffer(bh);
}

void vexfs_helper_get_bh(struct buffer_head *bh)
{
	get_bh(bh);
}

void vexfs_helper_put_bh(struct buffer_head *bh)
{
	put_bh(bh);
}

void vexfs_helper_brelse(struct buffer_head *bh)
{
	brelse(bh);
}

void vexfs_helper_bforget(struct buffer_head *bh)
{
	bforget(bh);
}

struct buffer_head *vexfs_helper_sb_bread(struct super_block *sb, u64 block)
{
	return sb_bread(sb, block);
}

struct buffer_head *vexfs_helper_sb_bread_unmovable(struct super_block *sb,
						    u64 block)
{
	return sb_bread_unmovable(sb, block);
}

struct buffer_head *vexfs_helper_sb_getblk(struct super_block *sb, u64 block)
{
	return sb_getblk(sb, block);
}

struct buffer_head *vexfs_helper_sb_find_get_block(struct super_block *sb,
						   u64 block)
{
	return sb_find_get_block(sb, block);
}

void vexfs_helper_sb_breadahead(struct super_block *sb, u64 block)
{
	sb_breadahead(sb, block);
}

int vexfs_helper_bh_read(struct buffer_head *bh, u32 op_flags)
{
	return bh_read(bh, (__force blk_opf_t)op_flags);
}

void *vexfs_helper_bh_data(const struct buffer_head *bh)
{
	return bh->b_data;
}

u64 vexfs_helper_bh_blocknr(const struct buffer_head *bh)
{
	return bh->b_blocknr;
}

u32 vexfs_helper_bh_size(const struct buffer_head *bh)
{
	return bh->b_size;
}

/* --- jbd2 ---------------------------------------------------------------- */

bool vexfs_helper_is_journal_aborted(journal_t *journal)
{
	return is_journal_aborted(journal);
}

bool vexfs_helper_is_handle_aborted(handle_t *handle)
{
	return is_handle_aborted(handle);
}

handle_t *vexfs_helper_journal_current_handle(void)
{
	return journal_current_handle();
}

int vexfs_helper_jbd2_handle_buffer_credits(handle_t *handle)
{
	return jbd2_handle_buffer_credits(handle);
}

void vexfs_helper_jbd2_set_commit_callback(
	journal_t *journal, void (*callback)(journal_t *, transaction_t *))
{
	journal->j_commit_callback = callback;
}

tid_t vexfs_helper_handle_tid(handle_t *handle)
{
	return handle->h_transaction->t_tid;
}

tid_t vexfs_helper_transaction_tid(const transaction_t *transaction)
{
	return transaction->t_tid;
}

/* --- Inodes -------------------------------------------------------------- */

struct inode *vexfs_helper_file_inode(const struct file *file)
{
	return file_inode(file);
}

struct dentry *vexfs_helper_file_path_dentry(const struct file *file)
{
	return file->f_path.dentry;
}

struct dentry *vexfs_helper_file_dentry(const struct file *file)
{
	return file_dentry(file);
}

struct vfsmount *vexfs_helper_file_mnt(const struct file *file)
{
	return file->f_path.mnt;
}

loff_t vexfs_helper_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

void vexfs_helper_i_size_write(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

uid_t vexfs_helper_i_uid_read(const struct inode *inode)
{
	return i_uid_read(inode);
}

gid_t vexfs_helper_i_gid_read(const struct inode *inode)
{
	return i_gid_read(inode);
}

void vexfs_helper_i_uid_write(struct inode *inode, uid_t uid)
{
	i_uid_write(inode, uid);
}

void vexfs_helper_i_gid_write(struct inode *inode, gid_t gid)
{
	i_gid_write(inode, gid);
}

unsigned int vexfs_helper_i_nlink(const struct inode *inode)
{
	return inode->i_nlink;
}

time64_t vexfs_helper_inode_get_atime_sec(const struct inode *inode)
{
	return inode_get_atime_sec(inode);
}

long vexfs_helper_inode_get_atime_nsec(const struct inode *inode)
{
	return inode_get_atime_nsec(inode);
}

time64_t vexfs_helper_inode_get_mtime_sec(const struct inode *inode)
{
	return inode_get_mtime_sec(inode);
}

long vexfs_helper_inode_get_mtime_nsec(const struct inode *inode)
{
	return inode_get_mtime_nsec(inode);
}

time64_t vexfs_helper_inode_get_ctime_sec(const struct inode *inode)
{
	return inode_get_ctime_sec(inode);
}

long vexfs_helper_inode_get_ctime_nsec(const struct inode *inode)
{
	return inode_get_ctime_nsec(inode);
}

void vexfs_helper_inode_set_atime(struct inode *inode, time64_t sec, long nsec)
{
	inode_set_atime(inode, sec, nsec);
}

void vexfs_helper_inode_set_mtime(struct inode *inode, time64_t sec, long nsec)
{
	inode_set_mtime(inode, sec, nsec);
}

void vexfs_helper_inode_set_ctime(struct inode *inode, time64_t sec, long nsec)
{
	inode_set_ctime(inode, sec, nsec);
}

void vexfs_helper_inode_touch_mc(struct inode *inode)
{
	inode_set_mtime_to_ts(inode, inode_set_ctime_current(inode));
}

void vexfs_helper_set_i_fop(struct inode *inode,
			    const struct file_operations *fop)
{
	inode->i_fop = fop;
}

void vexfs_helper_set_i_link(struct inode *inode, char *link)
{
	inode->i_link = link;
}

char *vexfs_helper_i_link(const struct inode *inode)
{
	return inode->i_link;
}

void vexfs_helper_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

void vexfs_helper_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

bool vexfs_helper_inode_trylock(struct inode *inode)
{
	return inode_trylock(inode);
}

void vexfs_helper_inode_lock_shared(struct inode *inode)
{
	inode_lock_shared(inode);
}

void vexfs_helper_inode_unlock_shared(struct inode *inode)
{
	inode_unlock_shared(inode);
}

bool vexfs_helper_inode_trylock_shared(struct inode *inode)
{
	return inode_trylock_shared(inode);
}

bool vexfs_helper_inode_is_locked(const struct inode *inode)
{
	return inode_is_locked((struct inode *)inode);
}

void vexfs_helper_inode_inc_iversion(struct inode *inode)
{
	inode_inc_iversion(inode);
}

u64 vexfs_helper_inode_query_iversion(struct inode *inode)
{
	return inode_query_iversion(inode);
}

u64 vexfs_helper_inode_peek_iversion(const struct inode *inode)
{
	return inode_peek_iversion(inode);
}

void vexfs_helper_inode_set_iversion_queried(struct inode *inode, u64 val)
{
	inode_set_iversion_queried(inode, val);
}

void vexfs_helper_mark_inode_dirty(struct inode *inode)
{
	mark_inode_dirty(inode);
}

void vexfs_helper_mark_inode_dirty_sync(struct inode *inode)
{
	mark_inode_dirty_sync(inode);
}

bool vexfs_helper_is_sync(const struct inode *inode)
{
	return IS_SYNC(inode);
}

bool vexfs_helper_is_dirsync(const struct inode *inode)
{
	return IS_DIRSYNC(inode);
}

bool vexfs_helper_is_immutable(const struct inode *inode)
{
	return IS_IMMUTABLE(inode);
}

bool vexfs_helper_is_append(const struct inode *inode)
{
	return IS_APPEND(inode);
}

bool vexfs_helper_is_swapfile(const struct inode *inode)
{
	return IS_SWAPFILE(inode);
}

u32 vexfs_helper_inode_state_read_once(struct inode *inode)
{
	return inode_state_read_once(inode);
}

bool vexfs_helper_inode_is_new(struct inode *inode)
{
	return inode_state_read_once(inode) & I_NEW;
}

bool vexfs_helper_special_file(umode_t mode)
{
	return special_file(mode);
}

u32 vexfs_helper_new_encode_dev(dev_t dev)
{
	return new_encode_dev(dev);
}

dev_t vexfs_helper_new_decode_dev(u32 dev)
{
	return new_decode_dev(dev);
}

void vexfs_helper_inode_inc_link_count(struct inode *inode)
{
	inode_inc_link_count(inode);
}

void vexfs_helper_inode_dec_link_count(struct inode *inode)
{
	inode_dec_link_count(inode);
}

struct inode *vexfs_helper_alloc_inode_sb(struct super_block *sb,
					  struct kmem_cache *cache, gfp_t gfp)
{
	return alloc_inode_sb(sb, cache, gfp);
}

bool vexfs_helper_capable(int cap)
{
	return capable(cap);
}

bool vexfs_helper_mapping_tagged_dirty(struct address_space *mapping)
{
	return mapping_tagged(mapping, PAGECACHE_TAG_DIRTY);
}

/* --- Dentries and names -------------------------------------------------- */

struct inode *vexfs_helper_d_inode(const struct dentry *dentry)
{
	return d_inode(dentry);
}

bool vexfs_helper_d_really_is_positive(const struct dentry *dentry)
{
	return d_really_is_positive(dentry);
}

bool vexfs_helper_d_unhashed(const struct dentry *dentry)
{
	return d_unhashed(dentry);
}

const unsigned char *vexfs_helper_d_name(const struct dentry *dentry)
{
	return dentry->d_name.name;
}

u32 vexfs_helper_d_name_len(const struct dentry *dentry)
{
	return dentry->d_name.len;
}

const struct qstr *vexfs_helper_d_qstr(const struct dentry *dentry)
{
	return &dentry->d_name;
}

const unsigned char *vexfs_helper_qstr_name(const struct qstr *name)
{
	return name->name;
}

u32 vexfs_helper_qstr_len(const struct qstr *name)
{
	return name->len;
}

bool vexfs_helper_dir_emit(struct dir_context *ctx, const char *name, int len,
			   u64 ino, unsigned int type)
{
	return dir_emit(ctx, name, len, ino, type);
}

bool vexfs_helper_dir_emit_dots(struct file *file, struct dir_context *ctx)
{
	return dir_emit_dots(file, ctx);
}

unsigned char vexfs_helper_fs_umode_to_dtype(umode_t mode)
{
	return fs_umode_to_dtype(mode);
}

/* --- Super blocks -------------------------------------------------------- */

bool vexfs_helper_sb_rdonly(const struct super_block *sb)
{
	return sb_rdonly(sb);
}

void vexfs_helper_sb_start_write(struct super_block *sb)
{
	sb_start_write(sb);
}

void vexfs_helper_sb_end_write(struct super_block *sb)
{
	sb_end_write(sb);
}

void vexfs_helper_sb_start_intwrite(struct super_block *sb)
{
	sb_start_intwrite(sb);
}

void vexfs_helper_sb_end_intwrite(struct super_block *sb)
{
	sb_end_intwrite(sb);
}

void vexfs_helper_sb_start_pagefault(struct super_block *sb)
{
	sb_start_pagefault(sb);
}

void vexfs_helper_sb_end_pagefault(struct super_block *sb)
{
	sb_end_pagefault(sb);
}

u64 vexfs_helper_bdev_nr_bytes(struct block_device *bdev)
{
	return bdev_nr_bytes(bdev);
}

u32 vexfs_helper_bdev_logical_block_size(struct block_device *bdev)
{
	return bdev_logical_block_size(bdev);
}

bool vexfs_helper_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

bool vexfs_helper_bdev_write_cache(struct block_device *bdev)
{
	return bdev_write_cache(bdev);
}

u64 vexfs_helper_bdev_max_discard_sectors(struct block_device *bdev)
{
	return bdev_max_discard_sectors(bdev);
}

__kernel_fsid_t vexfs_helper_u64_to_fsid(u64 v)
{
	return u64_to_fsid(v);
}

void vexfs_helper_super_set_uuid(struct super_block *sb, const u8 *uuid,
				 unsigned int len)
{
	super_set_uuid(sb, uuid, len);
}

const char *vexfs_helper_sb_id(const struct super_block *sb)
{
	return sb->s_id;
}

struct mnt_idmap *vexfs_helper_nop_mnt_idmap(void)
{
	return &nop_mnt_idmap;
}

struct mnt_idmap *vexfs_helper_file_mnt_idmap(const struct file *file)
{
	return file_mnt_idmap(file);
}

const char *vexfs_helper_fs_parameter_string(const struct fs_parameter *param)
{
	return param->string;
}

int vexfs_helper_fs_parse(struct fs_context *fc,
			  const struct fs_parameter_spec *desc,
			  struct fs_parameter *param,
			  struct fs_parse_result *result)
{
	return fs_parse(fc, desc, param, result);
}

/* --- Log lines ----------------------------------------------------------- */

void vexfs_helper_log(const struct super_block *sb, int level, const char *msg,
		      size_t len)
{
	static DEFINE_RATELIMIT_STATE(limit, 5 * HZ, 50);
	int n = min_t(size_t, len, 512);

	/* Errors are not dropped: there are few, and each one matters. */
	if (level > 3 && !__ratelimit(&limit))
		return;
	printk("%c%cvexfs (%s): %.*s\n", KERN_SOH_ASCII, '0' + (level & 7),
	       sb ? sb->s_id : "-", n, msg);
}

/* --- Vectors ------------------------------------------------------------- */

struct inode *vexfs_helper_file_reach(const struct file *file)
{
	struct inode *inode;
	struct path root;

	get_fs_root(current->fs, &root);
	if (root.mnt == file->f_path.mnt)
		inode = d_inode(root.dentry);
	else
		inode = d_inode(file->f_path.mnt->mnt_root);
	ihold(inode);
	path_put(&root);
	return inode;
}

unsigned int vexfs_helper_rename_begin(void)
{
	return read_seqbegin(&rename_lock);
}

bool vexfs_helper_rename_retry(unsigned int seq)
{
	return read_seqretry(&rename_lock, seq);
}

uid_t vexfs_helper_current_fsuid(const struct super_block *sb)
{
	return from_kuid(sb->s_user_ns, current_fsuid());
}

bool vexfs_helper_ns_capable(const struct super_block *sb, int cap)
{
	return ns_capable(sb->s_user_ns, cap);
}
