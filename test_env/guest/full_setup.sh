#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the root of the interactive VM just before systemd does: what makes the plain
# tree a machine to work in. Safe to run at each boot.
set -eu

R=/run/vexfs
mkdir -p /etc/modprobe.d /etc/modules-load.d /var/lib/cloud/seed/nocloud /etc/cloud/cloud.cfg.d /etc/systemd/network \
	/etc/profile.d /mnt/vexfs-src /usr/local/bin
cp $R/seed/* /var/lib/cloud/seed/nocloud/

cat >/etc/cloud/cloud.cfg.d/90_vexfs.cfg <<-EOF
	datasource_list: [ NoCloud, None ]
	network: { config: disabled }
	manage_etc_hosts: true
	apt: { preserve_sources_list: true }
EOF
cat >/etc/systemd/network/10-vexfs.network <<-EOF
	[Match]
	Name=en* eth*
	[Network]
	DHCP=ipv4
	[DHCPv4]
	UseDNS=no
EOF
# QEMU's resolver; tmpfiles makes what /etc/resolv.conf points to.
echo 'f /run/resolv.conf 0644 root root - nameserver 10.0.2.3' >/etc/tmpfiles.d/vexfs.conf
# The host's module and vexctl, when there are any; build-kernel and build-vexctl replace
# them. (systemd mounts a /run of its own over ours.)
mkdir -p /var/lib/vexfs
[ ! -e $R/vexfs.ko ] || cp $R/vexfs.ko /var/lib/vexfs/
if [ -e $R/vexctl ]; then
	install -m 755 $R/vexctl /usr/local/bin/vexctl
	ln -sf /usr/local/bin/vexctl /usr/sbin/mkfs.vexfs
	ln -sf /usr/local/bin/vexctl /usr/sbin/fsck.vexfs
fi
# For modprobe and mount's autoload, without depmod over all modules (40 s under
# emulation).
cat >/etc/modprobe.d/vexfs.conf <<-'EOF'
	install vexfs for m in $(/usr/sbin/modinfo -F depends /var/lib/vexfs/vexfs.ko | tr , ' '); do /usr/sbin/modprobe $m; done; /usr/sbin/insmod /var/lib/vexfs/vexfs.ko $CMDLINE_OPTS
	alias fs-vexfs vexfs
EOF
[ ! -e /var/lib/vexfs/vexfs.ko ] || echo vexfs >/etc/modules-load.d/vexfs.conf

echo "src /mnt/vexfs-src 9p trans=virtio,version=9p2000.L,msize=512000,cache=mmap,nofail 0 0" >/etc/fstab
mkdir -p /usr/share/vexfs
echo "embeddings /usr/share/vexfs 9p trans=virtio,version=9p2000.L,msize=512000,cache=mmap,ro,nofail 0 0" >>/etc/fstab
mkdir -p /etc/systemd/system/serial-getty@ttyS0.service.d
cat >/etc/systemd/system/serial-getty@ttyS0.service.d/vexfs.conf <<-EOF
	[Service]
	ExecStart=
	ExecStart=-/sbin/agetty --autologin vexfs --keep-baud 115200,57600,38400,9600 - \$TERM
EOF
systemctl enable ssh.service systemd-networkd.service >/dev/null 2>&1
systemctl disable systemd-networkd-wait-online.service >/dev/null 2>&1 || true
systemctl mask apt-daily.timer apt-daily-upgrade.timer man-db.timer >/dev/null 2>&1 || true

for c in vs vt build-kernel build-vexctl; do
	install -m 755 "$R/commands/$c" "/usr/local/bin/$c"
done
# vs changes the shell's folder too, so it must be a function there.
echo 'vs() { cd /mnt/vexfs-src && command vs; }' >/etc/profile.d/vexfs.sh
