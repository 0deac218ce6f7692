// SPDX-License-Identifier: GPL-2.0
/*
 * Bodies of what helpers_attr.h declares.
 */
#include "helpers_attr.h"

/* --- Access control lists ------------------------------------------------- */

u32 vexfs_helper_acl_count(const struct posix_acl *acl)
{
	return acl->a_count;
}

void vexfs_helper_acl_get(const struct posix_acl *acl, u32 i, u16 *tag,
			  u16 *perm, u32 *id)
{
	const struct posix_acl_entry *e = &acl->a_entries[i];

	*tag = e->e_tag;
	*perm = e->e_perm;
	*id = 0;
	if (e->e_tag == ACL_USER)
		*id = from_kuid(&init_user_ns, e->e_uid);
	else if (e->e_tag == ACL_GROUP)
		*id = from_kgid(&init_user_ns, e->e_gid);
}

void vexfs_helper_acl_set(struct posix_acl *acl, u32 i, u16 tag, u16 perm,
			  u32 id)
{
	struct posix_acl_entry *e = &acl->a_entries[i];

	e->e_tag = tag;
	e->e_perm = perm;
	if (tag == ACL_USER)
		e->e_uid = make_kuid(&init_user_ns, id);
	else if (tag == ACL_GROUP)
		e->e_gid = make_kgid(&init_user_ns, id);
}

void vexfs_helper_acl_release(struct posix_acl *acl)
{
	posix_acl_release(acl);
}

/* --- Super blocks ---------------------------------------------------------- */

void vexfs_helper_super_set_sysfs_name_bdev(struct super_block *sb)
{
	super_set_sysfs_name_bdev(sb);
}

bool vexfs_helper_exempt_from_quota(void)
{
	return capable(CAP_SYS_RESOURCE);
}

void vexfs_helper_quota_warn(const struct super_block *sb, u32 type, u32 id,
			     u32 what)
{
	quota_send_warning(make_kqid(sb->s_user_ns, type, id), sb->s_dev, what);
}

u32 vexfs_helper_from_kqid(const struct super_block *sb,
			   const struct kqid *qid)
{
	return from_kqid(sb->s_user_ns, *qid);
}

void vexfs_helper_make_kqid(const struct super_block *sb, u32 type, u32 id,
			    struct kqid *to)
{
	*to = make_kqid(sb->s_user_ns, type, id);
}

u32 vexfs_helper_iattr_uid(struct mnt_idmap *idmap, const struct inode *inode,
			   const struct iattr *attr)
{
	struct user_namespace *ns = i_user_ns(inode);

	if (!(attr->ia_valid & ATTR_UID))
		return i_uid_read(inode);
	return from_kuid(ns, from_vfsuid(idmap, ns, attr->ia_vfsuid));
}

u32 vexfs_helper_iattr_gid(struct mnt_idmap *idmap, const struct inode *inode,
			   const struct iattr *attr)
{
	struct user_namespace *ns = i_user_ns(inode);

	if (!(attr->ia_valid & ATTR_GID))
		return i_gid_read(inode);
	return from_kgid(ns, from_vfsgid(idmap, ns, attr->ia_vfsgid));
}
