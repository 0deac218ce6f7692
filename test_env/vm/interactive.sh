# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# run_qemu_simple.sh interactive [--fresh] [--gdb] [--daemon] [--disk SIZE]
# run_qemu_simple.sh ssh [COMMAND...]
#
# A Debian 13 VM to work in: systemd, user vexfs (may sudo), the source tree live and
# writable at /mnt/vexfs-src, an own root disk that keeps what you change. Its console
# is on this terminal (Ctrl-A X ends the VM), and ssh listens on loopback.
#
#   --fresh       begin with a new root disk
#   --gdb         gdb stub on 127.0.0.1:1234 (the VM starts; `target remote :1234`)
#   --daemon      in the background; `run_qemu_simple.sh ssh sudo poweroff` ends it
#   --disk SIZE   size of /dev/vdb, kept (default 4G; a new size makes a new disk);
#                 /dev/vdc, 1G, is kept too
#
# In the VM:
#   vs             the sources, and how things stand
#   vt [SECTION]   the tests
#   build-kernel   build, install and load vexfs.ko   (--host-built: take the host's)
#   build-vexctl   build and install vexctl           (--host-built: take the host's)
#
# Environment:
#   VEXFS_VM_MEMORY          (default 4G)
#   VEXFS_VM_CPUS            (default: as many as this machine has, 4 at most)
#   VEXFS_VM_SSH_PORT        (default 2222)
#   VEXFS_VM_EXTRA_PACKAGES  Debian packages to add, kept for later runs

ssh_port=${VEXFS_VM_SSH_PORT:-2222}
if [ "$mode" = ssh ]; then
	[ -r "$VEXFS_CACHE/ssh/id_ed25519" ] || die "not set up yet: run test_env/setup_vm.sh"
	exec ssh -p "$ssh_port" -i "$VEXFS_CACHE/ssh/id_ed25519" -o IdentitiesOnly=yes \
		-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR \
		vexfs@127.0.0.1 "$@"
fi

fresh=false gdb=() daemon=false disk=4G
while [ $# -gt 0 ]; do
	case $1 in
	--fresh) fresh=true && shift ;;
	--gdb) gdb=(-gdb tcp:127.0.0.1:1234) && shift ;;
	--daemon) daemon=true && shift ;;
	--disk) disk=$2 && shift 2 ;;
	-h | --help) usage "$VEXFS_SRC/test_env/vm/interactive.sh" | sed '/^shellcheck/d; /^ssh_port=/,$d' && exit 0 ;;
	*) die "what is '$1'? (see interactive --help)" ;;
	esac
done
ensure_setup
release=$(vexfs_kernel)
memory=${VEXFS_VM_MEMORY:-4G}
cpus=${VEXFS_VM_CPUS:-$(($(nproc) < 4 ? $(nproc) : 4))}
dir=$VEXFS_CACHE/image
vm=$VEXFS_CACHE/interactive
mkdir -p "$vm"
exec 9>"$vm/lock"
flock -n 9 || die "an interactive VM is running already (run_qemu_simple.sh ssh gets you in)"

! $fresh || rm -f "$dir/interactive.qcow2"
[ -e "$dir/interactive.qcow2" ] ||
	in_tree --bind "$dir" /run/image --chdir /run/image -- \
		qemu-img create -q -f qcow2 -b root.img -F raw interactive.qcow2
if [ "$(stat -c %s "$dir/interactive-data.img" 2>/dev/null)" != "$(numfmt --from=iec "$disk")" ]; then
	rm -f "$dir/interactive-data.img"
	truncate -s "$disk" "$dir/interactive-data.img"
fi

# The user in the VM owns the sources as their owner here does.
uid=$(stat -c %u "$VEXFS_SRC")
[ "$uid" != 0 ] || uid=1000
rm -rf "$vm/guest"
mkdir -p "$vm/guest/seed"
echo /sbin/init >"$vm/guest/next"
cp "$VEXFS_SRC/test_env/guest/full_setup.sh" "$vm/guest/setup"
cp -r "$VEXFS_SRC/test_env/guest/commands" "$vm/guest/commands"
[ ! -e "$VEXFS_SRC/vexfs.ko" ] || cp "$VEXFS_SRC/vexfs.ko" "$vm/guest/"
[ ! -e "$VEXFS_SRC/target/release/vexctl" ] || cp "$VEXFS_SRC/target/release/vexctl" "$vm/guest/"
truncate -s 1G "$dir/interactive-data2.img"
cat >"$vm/guest/seed/meta-data" <<EOF
instance-id: vexfs-vm
local-hostname: vexfs
EOF
cat >"$vm/guest/seed/user-data" <<EOF
#cloud-config
users:
  - name: vexfs
    uid: $uid
    groups: [adm, disk, sudo]
    shell: /bin/bash
    sudo: "ALL=(ALL) NOPASSWD:ALL"
    lock_passwd: true
    ssh_authorized_keys:
      - $(cat "$VEXFS_CACHE/ssh/id_ed25519.pub")
ssh_pwauth: false
disable_root: true
package_update: false
EOF

accel=$(vm_accel)
# shellcheck disable=SC2206
args=(-machine q35 $(vm_accel_args "$accel") -smp "$cpus" -m "$memory"
	-nodefaults -no-user-config -display none -no-reboot
	-append "console=ttyS0 quiet loglevel=5 root=/dev/vda rw vexfs_vm=full net.ifnames=0 systemd.show_status=auto"
	-drive "if=none,id=root,file=/run/image/interactive.qcow2,format=qcow2,cache=writeback"
	-device virtio-blk-pci,drive=root
	-drive "if=none,id=data,file=/run/image/interactive-data.img,format=raw,cache=writeback,discard=unmap"
	-device virtio-blk-pci,drive=data
	-drive "if=none,id=data2,file=/run/image/interactive-data2.img,format=raw,cache=writeback,discard=unmap"
	-device virtio-blk-pci,drive=data2
	-netdev "user,id=net,hostfwd=tcp:127.0.0.1:$ssh_port-:22" -device virtio-net-pci,netdev=net
	-object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng
	-virtfs "local,path=/mnt/vexfs-src,mount_tag=src,security_model=none,multidevs=remap"
	"${gdb[@]}")
binds=(--bind "$vm" /run/vm --bind "$dir" /run/image)
ensure_embeddings "$VEXFS_SRC/target/release/vexctl"
if [ -e "$VEXFS_CACHE/embeddings/glove100.vexemb" ]; then
	binds+=(--bind-ro "$VEXFS_CACHE/embeddings" /run/embeddings)
	args+=(-virtfs "local,path=/run/embeddings,mount_tag=embeddings,security_model=none,readonly=on,multidevs=remap")
fi

say "booting ($accel, $cpus CPUs, $memory); ssh: VEXFS_VM_SSH_PORT=$ssh_port test_env/run_qemu_simple.sh ssh"
run() {
	"$VEXFS_SRC/test_env/in_tree.sh" --kill "${binds[@]}" -- \
		/mnt/vexfs-src/test_env/guest/boot.sh "$release" "$@"
}
if $daemon; then
	# It keeps the lock (descriptor 9) for as long as it runs.
	setsid bash -c '"$@" </dev/null' vexfs-vm "$VEXFS_SRC/test_env/in_tree.sh" \
		"${binds[@]}" -- \
		/mnt/vexfs-src/test_env/guest/boot.sh "$release" "${args[@]}" \
		-serial file:/run/vm/console >"$vm/qemu" 2>&1 &
	pid=$!
	begin=$SECONDS
	until "$VEXFS_SRC/test_env/run_qemu_simple.sh" ssh true 2>/dev/null </dev/null; do
		kill -0 $pid 2>/dev/null || { cat "$vm/qemu" >&2 && die "the VM did not start"; }
		[ $((SECONDS - begin)) -lt 600 ] || die "no ssh after 10 minutes; its console: $vm/console"
		sleep 2
	done
	say "up after $((SECONDS - begin)) s; test_env/run_qemu_simple.sh ssh"
elif [ -t 0 ]; then
	say "Ctrl-A X ends the VM"
	run "${args[@]}" -serial mon:stdio
else
	run "${args[@]}" -serial file:/dev/stdout </dev/null
fi
