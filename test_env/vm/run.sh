# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# run_qemu_simple.sh run [OPTIONS] -- COMMAND [ARG...]
#
# Boot the stock kernel with a minimal init, load vexfs.ko, run COMMAND as root with
# its output on this terminal (standard output and error kept apart), power off and
# exit with COMMAND's status.
#
#   --disk SIZE        an empty disk, thrown away at the end; the first is /dev/vdb, then
#                      /dev/vdc ... in the order of --disk and --keep-disk
#   --keep-disk FILE   a disk from an existing raw image, which keeps what is written.
#                      Flushes reach the file. SIGKILL this script, and the
#                      image is what a power cut leaves
#   --share DIR        DIR, writable, at /mnt/share
#   --memory M         in MiB, or as 4G (default 2G)
#   --cpus N           (default 2)
#   --timeout S        give up after S seconds (default 1800)
#   --tty              COMMAND gets this terminal
#   --env NAME=VALUE   into COMMAND's environment
#   --no-load          do not load vexfs (VEXFS_KO names it; `modprobe vexfs` does)
#   --checks           every check of the stock kernel's memory allocators; boots in twice the
#                      time. Without it, they cover vexfs's own caches, and samples
#   --append WORDS     more for the kernel's command line
#   --qemu WORDS       more for QEMU's
#   --kernel-log FILE  keep the kernel log there
#   --verbose          show the kernel's console as it comes, and the times
#
# In the VM: the source at /mnt/vexfs-src (read only), vexctl, mkfs.vexfs and fsck.vexfs
# on the PATH, word vectors in
# /usr/share/vexfs, a Debian 13 system; it is thrown away at the end. The module is
# vexfs.ko of the source tree (VEXFS_MODULE: another), vexctl is
# target/release/vexctl (VEXFS_VEXCTL: another).
#
# Exit status: COMMAND's own; or
#    99   the kernel complained (WARNING, BUG, oops, hung task, objects left when vexfs
#         was unloaded, or it does not unload): the log lines are printed
#   124   --timeout
#   125   the VM did not get to run COMMAND, or broke
#     2   wrong arguments

VEXFS_DIE_STATUS=2
run_file=$VEXFS_SRC/test_env/vm/run.sh
disks=()
share= memory=2G cpus=2 timeout=1800 tty=false load=true append= qemu_more= keep_log= verbose=false
checks="kfence.sample_interval=50 slab_debug=FZPU,vexfs*"
guest_env=()
need() { [ $# -ge 2 ] || die "$1 needs a value"; }
while [ $# -gt 0 ]; do
	case $1 in
	--disk) need "$@" && disks+=(new "$2") && shift 2 ;;
	--keep-disk) need "$@" && disks+=(keep "$2") && shift 2 ;;
	--share) need "$@" && share=$2 && shift 2 ;;
	--memory) need "$@" && memory=$2 && shift 2 ;;
	--cpus) need "$@" && cpus=$2 && shift 2 ;;
	--timeout) need "$@" && timeout=$2 && shift 2 ;;
	--env) need "$@" && guest_env+=("$2") && shift 2 ;;
	--append) need "$@" && append=$2 && shift 2 ;;
	--qemu) need "$@" && qemu_more=$2 && shift 2 ;;
	--kernel-log) need "$@" && keep_log=$2 && shift 2 ;;
	--tty) tty=true && shift ;;
	--no-load) load=false && shift ;;
	--checks) checks="kfence.sample_interval=20 slab_debug=FZPU init_on_free=1" && shift ;;
	--verbose) verbose=true && shift ;;
	-h | --help) usage "$run_file" | sed '/^shellcheck/d; /^VEXFS_DIE/,$d' && exit 0 ;;
	--) shift && break ;;
	*) die "what is '$1'? (the command comes after --; see run --help)" ;;
	esac
done
[ $# -gt 0 ] || die "no command (it comes after --; see run --help)"
[ -z "$share" ] || [ -d "$share" ] || die "--share $share: no such folder"
VEXFS_DIE_STATUS=125
ensure_setup
release=$(vexfs_kernel)

# The run's folder. Those of runs that were killed go first.
mkdir -p "$VEXFS_CACHE/run"
for d in "$VEXFS_CACHE/run"/*/; do
	[ -d "$d" ] || continue
	pid=$(basename "$d")
	kill -0 "${pid%%.*}" 2>/dev/null || rm -rf "$d"
done
vm=$(mktemp -d "$VEXFS_CACHE/run/$$.XXXXXX")
trap 'rm -rf "$vm"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$vm/guest"

# What goes into the guest.
echo /run/vexfs/init >"$vm/guest/next"
cp "$VEXFS_SRC/test_env/guest/run_init.sh" "$vm/guest/init"
printf 'exec' >"$vm/guest/command"
printf ' %q' "$@" >>"$vm/guest/command"
echo >>"$vm/guest/command"
: >"$vm/guest/env"
for e in "${guest_env[@]}"; do
	printf 'export %q\n' "$e" >>"$vm/guest/env"
done
module=${VEXFS_MODULE:-$VEXFS_SRC/vexfs.ko}
vexctl=${VEXFS_VEXCTL:-$VEXFS_SRC/target/release/vexctl}
if [ -e "$module" ]; then
	cp "$module" "$vm/guest/vexfs.ko"
elif $load; then
	die "no $module: build it (make), or give --no-load"
fi
if [ -e "$vexctl" ]; then
	cp "$vexctl" "$vm/guest/vexctl"
	chmod 755 "$vm/guest/vexctl"
	ensure_embeddings "$vexctl"
fi
$load || : >"$vm/guest/no-load"
if $tty; then
	{ stty size </dev/tty 2>/dev/null || echo 24 80; } |
		awk '{ print "rows", $1, "cols", $2, "sane" }' >"$vm/guest/tty"
	echo "${TERM:-linux}" >"$vm/guest/term"
fi

# QEMU's arguments.
accel=$(vm_accel)
binds=(--bind "$vm" /run/vm --bind "$VEXFS_CACHE/image" /run/image)
# shellcheck disable=SC2206
args=(-machine q35 $(vm_accel_args "$accel") -smp "$cpus" -m "$memory"
	-nodefaults -no-user-config -nographic -no-reboot -nic none
	-append "console=ttyS0 quiet loglevel=5 no_timer_check panic=-1 oops=panic panic_on_warn=1 hung_task_panic=1 rcupdate.rcu_expedited=1 random.trust_cpu=on $checks $append"
	-drive "if=none,id=root,file=/run/image/root.img,format=raw,readonly=on,cache=unsafe"
	-device virtio-blk-pci,drive=root
	-object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng
	-virtfs "local,path=/mnt/vexfs-src,mount_tag=src,security_model=none,readonly=on,multidevs=remap"
	-chardev "file,id=klog,path=/run/vm/console" -serial chardev:klog
	-device virtio-serial-pci
	-chardev "file,id=ctl,path=/run/vm/ctl" -device virtserialport,chardev=ctl,name=vexfs.ctl
	-chardev "file,id=dmesg,path=/run/vm/dmesg" -device virtserialport,chardev=dmesg,name=vexfs.dmesg)
n=0
i=0
while [ $i -lt ${#disks[@]} ]; do
	n=$((n + 1))
	file=${disks[i + 1]}
	if [ "${disks[i]}" = new ]; then
		truncate -s "$file" "$vm/disk$n" || die "--disk $file: not a size"
		file=/run/vm/disk$n
		cache=unsafe
	else
		[ -f "$file" ] || [ -b "$file" ] || die "--keep-disk $file: no such image"
		binds+=(--bind "$file" "/run/disk$n")
		file=/run/disk$n
		# Writes go to the host's page cache, the guest's flushes to the
		# file. What was not flushed may be lost with the host's power,
		# not with this process.
		cache=writeback
	fi
	args+=(-drive "if=none,id=disk$n,file=$file,format=raw,cache=$cache,discard=unmap,werror=report,rerror=report"
		-device "virtio-blk-pci,drive=disk$n,serial=vexfs$n")
	i=$((i + 2))
done
if [ -n "$share" ]; then
	binds+=(--bind "$share" /mnt/share)
	args+=(-virtfs "local,path=/mnt/share,mount_tag=share,security_model=none,multidevs=remap")
fi
if [ -e "$VEXFS_CACHE/embeddings/glove100.vexemb" ]; then
	binds+=(--bind-ro "$VEXFS_CACHE/embeddings" /run/embeddings)
	args+=(-virtfs "local,path=/run/embeddings,mount_tag=embeddings,security_model=none,readonly=on,multidevs=remap")
fi
if [ -d "$VEXFS_CACHE/programs/bin" ]; then
	binds+=(--bind-ro "$VEXFS_CACHE/programs" /run/programs)
	args+=(-virtfs "local,path=/run/programs,mount_tag=programs,security_model=none,readonly=on,multidevs=remap")
fi
if $tty; then
	args+=(-chardev "stdio,id=tty,signal=off" -device virtconsole,chardev=tty)
else
	args+=(-add-fd fd=3,set=3 -chardev "file,id=out,path=/dev/fdset/3,append=on"
		-device virtserialport,chardev=out,name=vexfs.out
		-add-fd fd=4,set=4 -chardev "file,id=err,path=/dev/fdset/4,append=on"
		-device virtserialport,chardev=err,name=vexfs.err)
fi
# shellcheck disable=SC2206
args+=($qemu_more)

# Killed when this script is, SIGKILL included: so no shell may stand between, and
# what is put into the background must exec.
boot() {
	$boot_exec setpriv --pdeathsig KILL timeout "$@" -s KILL "$timeout" \
		"$VEXFS_SRC/test_env/in_tree.sh" --kill "${binds[@]}" -- \
		/mnt/vexfs-src/test_env/guest/boot.sh "$release" "${args[@]}"
}

begin=$(date +%s.%N)
status=0
: >"$vm/console" && : >"$vm/ctl" && : >"$vm/dmesg"
if $verbose; then
	tail -f "$vm/console" --pid=$$ >&2 &
fi
if $tty; then
	stty_was=$(stty -g </dev/tty 2>/dev/null || true)
	boot_exec=
	boot --foreground 2>"$vm/qemu" || status=$?
	[ -z "$stty_was" ] || stty "$stty_was" </dev/tty
else
	# QEMU writes to pipes, whatever our own output is.
	exec 3> >(exec cat) && pid_out=$!
	exec 4> >(exec cat >&2) && pid_err=$!
	boot_exec=exec
	boot >"$vm/qemu" 2>&1 </dev/null &
	{ wait $! || status=$?; } 2>/dev/null
	exec 3>&- 4>&-
	wait "$pid_out" "$pid_err" 2>/dev/null || true
fi

# What came out. The console has the warnings, dmesg all, when it got that far.
log=$vm/console
[ ! -s "$vm/dmesg" ] || log=$vm/dmesg
[ -z "$keep_log" ] || cp "$log" "$keep_log"
. "$VEXFS_SRC/test_env/vm/kernel_log.sh"
if $verbose; then
	say "start to end $(echo "$(date +%s.%N) - $begin" | awk '{ printf "%.1f", $1 - $3 }') s, the command started $(sed -n 's/^start //p' "$vm/ctl") s after the kernel"
fi
run_outcome run_qemu_simple.sh "$vm/ctl" "$vm/dmesg" "$vm/qemu"
