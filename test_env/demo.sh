#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make demo: all of VexFS once, in a VM, with real documents.
#
# Sets up and builds what is missing (the first time that takes some minutes), boots
# the VM, and there makes a file system, copies the manual pages in, finds them by
# meaning, moves them to a volume, finds them again, and reads one back.
set -euo pipefail

if [ "${1:-}" != --in-vm ]; then
	. "$(dirname -- "$0")/lib.sh"
	ensure_setup
	"$VEXFS_SRC/test_env/build_module.sh"
	"$VEXFS_SRC/test_env/cargo.sh" build -q --release -p vexctl
	echo "Booting the VM: the stock kernel $(vexfs_kernel), $(vm_accel)."
	"$VEXFS_SRC/test_env/run_qemu_simple.sh" run --disk 1G -- \
		/mnt/vexfs-src/test_env/demo.sh --in-vm
	cat <<-END

		That was all of it. To go on by hand:

		  test_env/run_qemu_simple.sh interactive     a VM with ssh and the module loaded
		  test_env/run_qemu_simple.sh run --disk 1G --tty -- bash

		and in there:

		  mkfs.vexfs /dev/vdb && mount -t vexfs /dev/vdb /mnt
		  vexctl agent /mnt --volumes /var/volumes &
		  cp something /mnt; vexctl archive -r /mnt; vexctl release -r /mnt; vexctl state -r /mnt
		  vexctl --help
	END
	exit
fi

# --- In the VM -------------------------------------------------------------------

mnt=/mnt/vexfs
volumes=/tmp/volumes
step() { printf '\n== %s\n' "$*"; }
run() {
	printf '$ %s\n' "$*"
	"$@"
}
# Shows the command without the part that only shortens its output.
search() {
	printf '$ vexctl search %s --collection docs --text "%s" -k %s\n' "$mnt/docs" "$1" "$2"
	vexctl search "$mnt/docs" --collection docs --text "$1" -k "$2"
}
used() { df --output=used -B 1K "$mnt" | tail -n 1 | tr -d ' '; }

step "A file system on a virtual disk"
run mkfs.vexfs /dev/vdb
mkdir -p "$mnt"
run mount -t vexfs /dev/vdb "$mnt"

step "Real documents: the VM's own longer manual pages"
mkdir "$mnt/docs"
( cd /usr/share/man && find man1 man5 man7 man8 -type f -size +4k -exec cp --parents -t "$mnt/docs" {} + )
files=$(find "$mnt/docs" -type f | wc -l)
echo "$files files, $(du -sh --apparent-size "$mnt/docs" | cut -f 1)"
( cd "$mnt/docs" && find . -type f -print0 | sort -z | xargs -0 sha256sum ) >/tmp/checksums

step "Their meaning as vectors, kept by the file system"
run vexctl collection create "$mnt" docs --dim 100 --metric cosine
run vexctl embed "$mnt/docs" --collection docs

step "Search by meaning"
search "add a user account" 3
search "make a disk partition bigger" 3

step "Cold files go to a volume: here a directory, the same format as on tape"
printf '$ vexctl agent %s --volumes %s &\n' "$mnt" "$volumes"
vexctl agent "$mnt" --volumes "$volumes" >/tmp/agent.log 2>&1 &
agent=$!
sync
before=$(used)
run vexctl archive -r "$mnt/docs/man1" "$mnt/docs/man8"
run vexctl release -r "$mnt/docs/man1" "$mnt/docs/man8"
sync
echo "the file system uses $(used) KiB instead of $before KiB"
printf '$ ls -ls %s\n' "$mnt/docs/man8"
ls -ls "$mnt/docs/man8" >/tmp/list
sed -n 2,4p /tmp/list
echo "..."

step "They are still found: searching recalls nothing"
search "make a disk partition bigger" 3
hit=$(vexctl search "$mnt/docs/man8" --collection docs --text "make a disk partition bigger" -k 1 --json |
	sed -n 's/.*"path":"\([^"]*\)".*/\1/p')
run vexctl state "$hit"

step "Reading one brings it back; the kernel checks each byte"
printf '$ zcat %s | wc -l\n' "$hit"
zcat "$hit" | wc -l
echo "agent: $(tail -n 1 /tmp/agent.log)"
run vexctl state "$hit"
name=${hit#"$mnt/docs/"}
grep -F " ./$name" /tmp/checksums | (cd "$mnt/docs" && sha256sum -c)

step "The volume is a plain tar archive"
bundle=$(find "$volumes" -name '*.tar' | head -n 1)
printf '$ tar -tf %s | head -n 3\n' "$bundle"
tar --warning=no-unknown-keyword -tf "$bundle" >/tmp/list
head -n 3 /tmp/list
run vexctl volume verify "$volumes"

step "All of them back, and compared"
run vexctl recall -r "$mnt/docs"
( cd "$mnt/docs" && sha256sum --quiet -c /tmp/checksums ) && echo "$files checksums are the same"

step "Unmount and check"
run umount "$mnt"
wait $agent
echo "agent: $(tail -n 1 /tmp/agent.log)"
run fsck.vexfs -n /dev/vdb
