# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# uml.sh run [OPTIONS] -- COMMAND [ARG...]
#
# Boot User Mode Linux, load vexfs.ko, run COMMAND as root with its output on this terminal
# (standard output and error kept apart), power off and exit with COMMAND's status.
#
#   --debug            the debug kernel: lockdep, sleeping in atomic context, kmemleak, fault
#                      injection, UBSAN; two processors
#   --disk SIZE        an empty disk in memory, thrown away at the end; the first is /dev/vdb,
#                      then /dev/vdc ... in the order of --disk and --keep-disk
#   --keep-disk FILE   a disk from an existing raw image, which keeps what is written
#   --share DIR        DIR, writable, at /mnt/share
#   --memory M         in MiB, or as 4G (default 2G)
#   --cpu N            run on this processor of the host (default: any one, but always the
#                      same; the debug kernel: all)
#   --timeout S        give up after S seconds (default 900)
#   --env NAME=VALUE   into COMMAND's environment
#   --no-load          do not load vexfs (VEXFS_KO names it; `modprobe vexfs` does)
#   --append WORDS     more for the kernel's command line
#   --kernel-log FILE  keep the kernel log there
#   --verbose          show the kernel's console as it comes, and the times
#
# Inside: the source at /mnt/vexfs-src (read only), vexctl, mkfs.vexfs and fsck.vexfs
# on the PATH, word vectors in /usr/share/vexfs, the Debian 13 tree; what is written to it
# is thrown away at the end. The module is built first when it is not up to date
# (VEXFS_MODULE: another one), vexctl is target/release/vexctl (VEXFS_VEXCTL: another).
#
# Exit status: COMMAND's own; or
#    99   the kernel complained (WARNING, BUG, lockdep, UBSAN, a leak, objects left when
#         vexfs was unloaded, or it does not unload): the log lines are printed
#   124   --timeout
#   125   the kernel did not get to run COMMAND, or broke
#     2   wrong arguments

VEXFS_DIE_STATUS=2
run_file=$VEXFS_SRC/test_env/uml/run.sh
disks=()
flavour=fast
share= memory=2G cpu= timeout=900 load=true append= keep_log= verbose=false
guest_env=()
need() { [ $# -ge 2 ] || die "$1 needs a value"; }
while [ $# -gt 0 ]; do
	case $1 in
	--debug) flavour=debug && shift ;;
	--disk) need "$@" && disks+=(new "$2") && shift 2 ;;
	--keep-disk) need "$@" && disks+=(keep "$2") && shift 2 ;;
	--share) need "$@" && share=$2 && shift 2 ;;
	--memory) need "$@" && memory=$2 && shift 2 ;;
	--cpu) need "$@" && cpu=$2 && shift 2 ;;
	--timeout) need "$@" && timeout=$2 && shift 2 ;;
	--env) need "$@" && guest_env+=("$2") && shift 2 ;;
	--append) need "$@" && append=$2 && shift 2 ;;
	--kernel-log) need "$@" && keep_log=$2 && shift 2 ;;
	--no-load) load=false && shift ;;
	--verbose) verbose=true && shift ;;
	-h | --help) usage "$run_file" | sed '/^shellcheck/d; /^VEXFS_DIE/,$d' && exit 0 ;;
	--) shift && break ;;
	*) die "what is '$1'? (the command comes after --; see uml.sh run --help)" ;;
	esac
done
[ $# -gt 0 ] || die "no command (it comes after --; see uml.sh run --help)"
[ -z "$share" ] || [ -d "$share" ] || die "--share $share: no such folder"
VEXFS_DIE_STATUS=125
ensure_setup
uml_ensure "$flavour"
module=${VEXFS_MODULE:-}
if [ -z "$module" ]; then
	module=$VEXFS_SRC/build/uml-$flavour/vexfs.ko
	uml_module "$flavour" -s >&2 || die "vexfs.ko does not build for User Mode Linux"
fi

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
: >"$vm/console" && : >"$vm/guest/ctl" && : >"$vm/guest/dmesg"

# What goes into the guest.
printf 'exec' >"$vm/guest/command"
printf ' %q' "$@" >>"$vm/guest/command"
echo >>"$vm/guest/command"
: >"$vm/guest/env"
for e in "${guest_env[@]}"; do
	printf 'export %q\n' "$e" >>"$vm/guest/env"
done
[ -e "$module" ] || ! $load || die "no $module"
[ ! -e "$module" ] || cp "$module" "$vm/guest/vexfs.ko"
vexctl=${VEXFS_VEXCTL:-$VEXFS_SRC/target/release/vexctl}
if [ -e "$vexctl" ]; then
	cp "$vexctl" "$vm/guest/vexctl"
	chmod 755 "$vm/guest/vexctl"
	ensure_embeddings "$vexctl"
fi
$load || : >"$vm/guest/no-load"
[ "$flavour" = fast ] || : >"$vm/guest/debug"
[ -z "$share" ] || : >"$vm/guest/share"

binds=(--bind "$vm" /run/vm --bind "$uml_dir" /run/uml)
[ -z "$share" ] || binds+=(--bind "$share" /mnt/share)
if [ -e "$VEXFS_CACHE/embeddings/glove100.vexemb" ]; then
	binds+=(--bind-ro "$VEXFS_CACHE/embeddings" /run/embeddings)
	: >"$vm/guest/embeddings"
fi
if [ -d "$VEXFS_CACHE/programs/bin" ]; then
	binds+=(--bind-ro "$VEXFS_CACHE/programs" /run/programs)
	: >"$vm/guest/programs"
fi
# The output goes through serial lines, whose ends are descriptors of ours.
args=("mem=$memory" root=/dev/root rootfstype=hostfs rootflags=/ ro
	init=/mnt/vexfs-src/test_env/guest/uml_init.sh uml_dir=/tmp
	seccomp=on stderr=1 con=null con0=null,fd:2 ssl=null ssl0=null,fd:3 ssl1=null,fd:4
	loglevel=5 hung_task_panic=1 rcupdate.rcu_expedited=1)
[ "$flavour" = fast ] || args+=(ncpus=2)
case " $append " in
*" panic_on_warn="*) ;;
*) args+=(panic_on_warn=1) ;;
esac
sizes=()
n=0
i=0
while [ $i -lt ${#disks[@]} ]; do
	file=${disks[i + 1]}
	if [ "${disks[i]}" = new ]; then
		# Made on the memory file system that the tree gets.
		file=/tmp/disk$n
		sizes+=("$file" "${disks[i + 1]}")
	else
		[ -f "$file" ] || [ -b "$file" ] || die "--keep-disk $file: no such image"
		binds+=(--bind "$file" "/run/disk$n")
		file=/run/disk$n
	fi
	args+=("ubd$n=$file")
	n=$((n + 1))
	i=$((i + 2))
done
echo "$n" >"$vm/guest/disks"
# shellcheck disable=SC2206
args+=($append)
pin=()
if [ -n "$cpu" ]; then
	pin=(taskset -c "$cpu")
elif [ "$flavour" = fast ]; then
	mapfile -t allowed < <(taskset -cp $$ | sed 's/.*: //' | tr , '\n' |
		while IFS=- read -r a b; do seq "$a" "${b:-$a}"; done)
	pin=(taskset -c "${allowed[$$ % ${#allowed[@]}]}")
fi

begin=$(date +%s.%N)
status=0
if $verbose; then
	tail -f "$vm/console" --pid=$$ >&2 &
fi
# Killed when this script is, SIGKILL included: so no shell may stand between. Inside of the
# process namespace one must: the first process of it cannot abort, and a kernel that
# panics does.
exec 3> >(exec cat) && pid_out=$!
exec 4> >(exec cat >&2) && pid_err=$!
exec setpriv --pdeathsig KILL timeout -s KILL "$timeout" "${pin[@]}" \
	"$VEXFS_SRC/test_env/in_tree.sh" --kill "${binds[@]}" --setenv TMPDIR=/tmp/memory -- \
	sh -c '
		while [ "$1" != -- ]; do truncate -s "$2" "$1" || exit; shift 2; done
		shift
		# The memory of the machine, in large pages where the host has them, as a kernel maps its own.
		mkdir -m 1777 /tmp/memory || exit
		mount -t tmpfs -o mode=1777,huge=always tmpfs /tmp/memory 2>/dev/null || :
		/run/uml/'"$flavour"'/linux "$@"
		exit' sh "${sizes[@]}" -- "${args[@]}" \
	>"$vm/console" 2>&1 </dev/null &
{ wait $! || status=$?; } 2>/dev/null
exec 3>&- 4>&-
wait "$pid_out" "$pid_err" 2>/dev/null || true

# What came out. The console has the warnings, dmesg all, when it got that far.
log=$vm/console
[ ! -s "$vm/guest/dmesg" ] || log=$vm/guest/dmesg
[ -z "$keep_log" ] || cp "$log" "$keep_log"
. "$VEXFS_SRC/test_env/vm/kernel_log.sh"
if $verbose; then
	say "start to end $(echo "$(date +%s.%N) - $begin" | awk '{ printf "%.1f", $1 - $3 }') s"
fi
run_outcome uml.sh "$vm/guest/ctl" "$vm/guest/dmesg"
