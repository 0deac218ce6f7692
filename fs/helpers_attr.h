/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As helpers.h, for attributes and what belongs to them: access control lists,
 * flags, labels, handles, quotas. Bodies in helpers_attr.c.
 */
#ifndef VEXFS_HELPERS_ATTR_H
#define VEXFS_HELPERS_ATTR_H

#include "helpers.h"

static const unsigned long VEXFS_SB_I_ALLOW_HSM __maybe_unused =
	SB_I_ALLOW_HSM;
static const unsigned long VEXFS_SB_POSIXACL __maybe_unused = SB_POSIXACL;

/* --- Access control lists ------------------------------------------------- */

u32 vexfs_helper_acl_count(const struct posix_acl *acl);
/* Entry i; its id if its tag takes one, else 0. */
void vexfs_helper_acl_get(const struct posix_acl *acl, u32 i, u16 *tag,
			  u16 *perm, u32 *id);
void vexfs_helper_acl_set(struct posix_acl *acl, u32 i, u16 tag, u16 perm,
			  u32 id);
void vexfs_helper_acl_release(struct posix_acl *acl);

/* --- Quota ----------------------------------------------------------------- */

/* Limits on space do not hold for the caller. */
bool vexfs_helper_exempt_from_quota(void);
/* Tells whoever listens by netlink; `what` is one of QUOTA_NL_*. */
void vexfs_helper_quota_warn(const struct super_block *sb, u32 type, u32 id,
			     u32 what);
/* The number that an owner has on disk; -1 for none. */
u32 vexfs_helper_from_kqid(const struct super_block *sb,
			   const struct kqid *qid);
void vexfs_helper_make_kqid(const struct super_block *sb, u32 type, u32 id,
			    struct kqid *to);
/* Whom a change of attributes would make the owner: as on disk. */
u32 vexfs_helper_iattr_uid(struct mnt_idmap *idmap, const struct inode *inode,
			   const struct iattr *attr);
u32 vexfs_helper_iattr_gid(struct mnt_idmap *idmap, const struct inode *inode,
			   const struct iattr *attr);

/* --- Super blocks ---------------------------------------------------------- */

void vexfs_helper_super_set_sysfs_name_bdev(struct super_block *sb);

#endif /* VEXFS_HELPERS_ATTR_H */
