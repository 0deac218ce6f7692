// SPDX-License-Identifier: GPL-2.0
/*
 * Bodies of helpers.h, continued: inodes, dentries and names.
 */
#include "helpers.h"

#include <linux/fs_dirent.h>

/* --- Inodes -------------------------------------------------------------- */

struct inode *vexfs_helper_file_inode(const struct file *file)
{
	return file_inode(file);
}

struct dentry *vexfs_helper_file_path_dentry(const struct file *file)
{
	return file->f_path.dentry;
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

void vexfs_helper_stat_owner(struct mnt_idmap *idmap, const struct inode *inode,
			     uid_t *uid, gid_t *gid)
{
	struct user_namespace *ns = current_user_ns();

	*uid = from_kuid_munged(ns, vfsuid_into_kuid(i_uid_into_vfsuid(idmap, inode)));
	*gid = from_kgid_munged(ns, vfsgid_into_kgid(i_gid_into_vfsgid(idmap, inode)));
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
	/* Setting it forgets that it was seen, and the next one must differ then. */
	if (inode_get_ctime_sec(inode) != sec ||
	    inode_get_ctime_nsec(inode) != nsec)
		inode_set_ctime(inode, sec, nsec);
}

struct timespec64 vexfs_helper_inode_change_time(struct inode *inode)
{
	struct timespec64 old = inode_get_ctime(inode);
	struct timespec64 now = inode_set_ctime_current(inode);

	/* Whoever asked meanwhile asked for the old one: count it as seen. */
	if (!timespec64_equal(&old, &now)) {
		inode_set_ctime_to_ts(inode, old);
		atomic_or(I_CTIME_QUERIED, (atomic_t *)&inode->i_ctime_nsec);
	}
	return now;
}

void vexfs_helper_set_i_fop(struct inode *inode,
			    const struct file_operations *fop)
{
	inode->i_fop = fop;
}

void vexfs_helper_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

int vexfs_helper_inode_lock_killable(struct inode *inode)
{
	return inode_lock_killable(inode);
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

bool vexfs_helper_inode_has_dio(struct inode *inode)
{
	return atomic_read(&inode->i_dio_count) != 0;
}

struct inode *vexfs_helper_grab_inode(struct super_block *sb, u64 ino)
{
	struct inode *inode;

	rcu_read_lock();
	inode = find_inode_by_ino_rcu(sb, ino);
	if (inode)
		inode = igrab(inode);
	rcu_read_unlock();
	return inode;
}

bool vexfs_helper_is_sync(const struct inode *inode)
{
	return IS_SYNC(inode);
}

bool vexfs_helper_is_dirsync(const struct inode *inode)
{
	return IS_DIRSYNC(inode);
}

bool vexfs_helper_is_swapfile(const struct inode *inode)
{
	return IS_SWAPFILE(inode);
}

bool vexfs_helper_inode_is_new(struct inode *inode)
{
	return inode_state_read_once(inode) & I_NEW;
}

u32 vexfs_helper_new_encode_dev(dev_t dev)
{
	return new_encode_dev(dev);
}

dev_t vexfs_helper_new_decode_dev(u32 dev)
{
	return new_decode_dev(dev);
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

/* --- Dentries and names -------------------------------------------------- */

struct inode *vexfs_helper_d_inode(const struct dentry *dentry)
{
	return d_inode(dentry);
}

const unsigned char *vexfs_helper_d_name(const struct dentry *dentry)
{
	return dentry->d_name.name;
}

u32 vexfs_helper_d_name_len(const struct dentry *dentry)
{
	return dentry->d_name.len;
}

int vexfs_helper_security_inode_init_security(struct inode *inode,
					      struct inode *dir,
					      const struct qstr *name,
					      initxattrs initxattrs,
					      void *fs_data)
{
	return security_inode_init_security(inode, dir, name, initxattrs,
					    fs_data);
}

const struct qstr *vexfs_helper_d_qstr(const struct dentry *dentry)
{
	return &dentry->d_name;
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
