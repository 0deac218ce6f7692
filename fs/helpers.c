// SPDX-License-Identifier: GPL-2.0
/*
 * Bodies of helpers.h: static inlines and function-like macros of the kernel as
 * plain functions. Nothing here decides anything.
 */
#include "helpers.h"

/* --- Buffer heads -------------------------------------------------------- */

/* The first private bit: "checked" is a bit of our own, as ext4's verified. */
enum { BH_VexfsChecked = BH_JBDPrivateStart };

BUFFER_FNS(VexfsChecked, vexfs_checked)

void vexfs_helper_set_buffer_uptodate(struct buffer_head *bh)
{
	set_buffer_uptodate(bh);
}

bool vexfs_helper_buffer_uptodate(const struct buffer_head *bh)
{
	return buffer_uptodate(bh);
}

bool vexfs_helper_buffer_checked(const struct buffer_head *bh)
{
	return buffer_vexfs_checked(bh);
}

void vexfs_helper_set_buffer_checked(struct buffer_head *bh)
{
	set_buffer_vexfs_checked(bh);
}

void vexfs_helper_lock_buffer(struct buffer_head *bh)
{
	lock_buffer(bh);
}

void vexfs_helper_unlock_buffer(struct buffer_head *bh)
{
	unlock_buffer(bh);
}

void vexfs_helper_get_bh(struct buffer_head *bh)
{
	get_bh(bh);
}

void vexfs_helper_brelse(struct buffer_head *bh)
{
	brelse(bh);
}

struct buffer_head *vexfs_helper_sb_bread(struct super_block *sb, u64 block)
{
	return sb_bread(sb, block);
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

void vexfs_helper_sb_breadahead(struct super_block *sb, const u64 *blocks,
				size_t count)
{
	struct blk_plug plug;
	size_t i;

	blk_start_plug(&plug);
	for (i = 0; i < count; i++)
		sb_breadahead(sb, blocks[i]);
	blk_finish_plug(&plug);
}

void *vexfs_helper_bh_data(const struct buffer_head *bh)
{
	return bh->b_data;
}

u64 vexfs_helper_bh_blocknr(const struct buffer_head *bh)
{
	return bh->b_blocknr;
}

/* --- jbd2 ---------------------------------------------------------------- */

bool vexfs_helper_is_journal_aborted(journal_t *journal)
{
	return is_journal_aborted(journal);
}

handle_t *vexfs_helper_journal_current_handle(void)
{
	return journal_current_handle();
}

tid_t vexfs_helper_handle_tid(handle_t *handle)
{
	return handle->h_transaction->t_tid;
}

/* --- Super blocks -------------------------------------------------------- */

bool vexfs_helper_sb_rdonly(const struct super_block *sb)
{
	return sb_rdonly(sb);
}

bool vexfs_helper_sb_ro_changes(const struct super_block *sb)
{
	return READ_ONCE(sb->s_readonly_remount);
}

bool vexfs_helper_sb_hold_active(struct super_block *sb)
{
	return atomic_inc_not_zero(&sb->s_active);
}

bool vexfs_helper_sb_start_write_trylock(struct super_block *sb)
{
	return sb_start_write_trylock(sb);
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

u64 vexfs_helper_bdev_max_discard_sectors(struct block_device *bdev)
{
	return bdev_max_discard_sectors(bdev);
}

u32 vexfs_helper_bdev_discard_granularity(struct block_device *bdev)
{
	return bdev_discard_granularity(bdev);
}

u32 vexfs_helper_bdev_dma_alignment(struct block_device *bdev)
{
	return bdev_dma_alignment(bdev);
}

void vexfs_helper_set_swap_bdev(struct swap_info_struct *info,
				struct block_device *bdev)
{
	info->bdev = bdev;
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

struct mnt_idmap *vexfs_helper_nop_idmap(void)
{
	return &nop_mnt_idmap;
}

bool vexfs_helper_sb_lazytime(const struct super_block *sb)
{
	return sb->s_flags & SB_LAZYTIME;
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

uid_t vexfs_helper_current_euid(void)
{
	return from_kuid_munged(current_user_ns(), current_euid());
}

uid_t vexfs_helper_mapped_fsuid(const struct file *file)
{
	struct user_namespace *ns = file_inode(file)->i_sb->s_user_ns;

	return from_kuid(ns, mapped_fsuid(file_mnt_idmap(file), ns));
}

bool vexfs_helper_ns_capable(const struct super_block *sb, int cap)
{
	return ns_capable(sb->s_user_ns, cap);
}
