# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The test programs that every file system is measured by: pjdfstest, fsx, stress-ng, fio
# with verification, dbench. VEXFS_LONG=1 runs them long. What one of them asks of ext4, in
# the same guest, is what it may ask of VexFS.

programs=/run/vexfs-programs/bin
long=${VEXFS_LONG:-0}

cf_fresh() {
	cd /
	! mountpoint -q "$MNT" || umount "$MNT"
	mkfs.vexfs -q -f "$DISK1" && mount -t vexfs "$DISK1" "$MNT"
}
cf_clean() { cd / && umount "$MNT" && fsck.vexfs -n "$DISK1"; }

# --- pjdfstest ---------------------------------------------------------------------------

pjd_config() {
	id tests >/dev/null 2>&1 || useradd -M tests
	cat >"$WORK/pjdfstest.toml" <<-END
		[features]
		posix_fallocate = {}
		rename_ctime = {}
		utime_now = {}
		utimensat = {}
		[settings]
		naptime = 0.02
		allow_remount = false
		[dummy_auth]
		entries = [["nobody", "nogroup"], ["tests", "tests"]]
	END
}
pjd_run() { # DIR OUT [COMMAND...]: a failure shows in OUT
	local dir=$1 out=$2
	shift 2
	(cd "$dir" && "$@" "$programs/pjdfstest" -c "$WORK/pjdfstest.toml" -p "$dir" \
		-s "$WORK/second") >"$out" 2>&1 || true
	grep -q '^Summary: ' "$out" || { tail "$out" && return 1; }
}
# What did not pass, with what became of it.
pjd_rest() { sed -nE 's/^([a-z0-9_:]+) +(FAILED|skipped)$/\1 \2/p' "$1" | sort; }

pjd_root() {
	pjd_config
	mkdir -p "$WORK/second" "$MNT-ext4"
	mount -t tmpfs tmpfs "$WORK/second"
	cf_fresh
	mkfs.ext4 -q -F "$DISK2" && mount -t ext4 "$DISK2" "$MNT-ext4"
	chmod 777 "$MNT" "$MNT-ext4"
	pjd_run "$MNT-ext4" "$WORK/ext4" &
	pjd_run "$MNT" "$WORK/vexfs"
	wait $!
	umount "$WORK/second" "$MNT-ext4"
	grep ^Summary "$WORK/ext4" "$WORK/vexfs"
	# The one asks the C library, which has a table of the limits of links of a few file
	# systems, and says 127 of any other; then it is not run. (The tests on the host have EMLINK.)
	local more
	more=$(pjd_rest "$WORK/vexfs" | grep -vx 'link::link_count_max skipped' |
		comm -23 - <(pjd_rest "$WORK/ext4"))
	[ -z "$more" ] || { echo "not so on ext4: $more" && grep -A 3 FAILED "$WORK/vexfs" && return 1; }
	cf_clean
}
pjd_user() {
	pjd_config
	mkdir -p "$WORK/second"
	cf_fresh
	mkdir -m 755 "$MNT/home"
	chown tests "$MNT/home"
	chmod 755 "$WORK" && chmod 644 "$WORK/pjdfstest.toml"
	pjd_run "$MNT/home" "$WORK/user" setpriv --reuid tests --regid tests --clear-groups
	grep ^Summary "$WORK/user"
	not grep -A 3 FAILED "$WORK/user"
	cf_clean
}

# --- fsx -----------------------------------------------------------------------------------

fsx_runs() { # OPERATIONS SEEDS
	local n size
	cf_fresh
	for n in $(seq "$2"); do
		size=$((n % 2 ? 262144 : 3000000))
		cat >"$WORK/fsx.toml" <<-END
			flen = $size
			[weights]
			close_open = 1
			invalidate = 1
			truncate = 4
			fsync = 1
			fdatasync = 1
			posix_fallocate = 2
			punch_hole = 4
			sendfile = 2
			posix_fadvise = 1
			copy_file_range = 3
		END
		echo "seed $((VEXFS_SEED + n)), $size bytes"
		"$programs/fsx" -q -N "$1" -S $((VEXFS_SEED + n)) -f "$WORK/fsx.toml" -P "$WORK" \
			"$MNT/fsx$n"
	done
	cf_clean
}

# --- stress-ng -----------------------------------------------------------------------------

# What of the class takes part in the short form: all of them at once.
stressors=access,acl,chattr,chdir,chmod,chown,copy-file,dentry,dirdeep,dirmany,fallocate,fiemap
stressors+=,filename,flock,fpunch,iomix,lease,link,metamix,mknod,open,rename,seek,symlink,sync-file
stressors+=,touch,unlink,utime,xattr
stress() { # MOUNTPOINT OPTIONS...: what failed
	local dir=$1/stress
	mkdir "$dir"
	shift
	stress-ng "$@" --temp-path "$dir" --verify --seed "$VEXFS_SEED" >"$WORK/stress" 2>&1 || true
	rm -rf "$dir"
	grep -E 'info: .* (passed|failed): ' "$WORK/stress" >&2 || { tail "$WORK/stress" >&2 && return 1; }
	grep -E 'info: .* failed: [^0]' "$WORK/stress" | grep -oE '[a-z0-9-]+ \([0-9]+\)' | cut -d' ' -f1 | sort || true
}
stress_short() {
	cf_fresh
	local bad
	# Left alone, two of them want a GiB each: more than all of them find on the disk.
	bad=$(stress "$MNT" --with "$stressors" --all 1 --timeout 8 --iomix-bytes 64M \
		--fallocate-bytes 64M --copy-file-bytes 128M --metamix-bytes 32M)
	[ -z "$bad" ] || { echo "failed: $bad" && grep -E 'fail:' "$WORK/stress" | head -n 20 && return 1; }
	cf_clean
}
stress_long() {
	cf_fresh
	mkdir -p "$MNT-ext4"
	mkfs.ext4 -q -F "$DISK2" && mount -t ext4 "$DISK2" "$MNT-ext4"
	stress "$MNT" --class filesystem --seq 2 --timeout 8 >"$WORK/bad.vexfs"
	cp "$WORK/stress" "$WORK/stress.vexfs"
	stress "$MNT-ext4" --class filesystem --seq 2 --timeout 8 >"$WORK/bad.ext4"
	umount "$MNT-ext4"
	# What VexFS cannot must be what ext4 cannot.
	comm -23 "$WORK/bad.vexfs" "$WORK/bad.ext4" >"$WORK/bad"
	[ ! -s "$WORK/bad" ] || { cat "$WORK/bad" && grep -E 'fail:' "$WORK/stress.vexfs" | head -n 20 && return 1; }
	cf_clean
}

# --- Stopped in the middle -----------------------------------------------------------------

# While a load runs and fsync makes promises, the file system is stopped as FS_IOC_SHUTDOWN
# can: with everything written, with the journal, or at once.
stopped_rounds() {
	local round
	cf_fresh
	mkdir "$MNT/stress"
	for round in $(seq "$1"); do
		rm -rf "$MNT"/stress/* && : >"$WORK/promises"
		stress-ng --with chmod,dentry,iomix,link,metamix,mknod,rename,symlink,unlink,xattr \
			--all 1 --iomix-bytes 32M --metamix-bytes 32M --timeout 60 --temp-path "$MNT/stress" >/dev/null 2>&1 &
		local load=$!
		python3 "$suites/conform_ops.py" promise "$MNT/kept" "$WORK/promises" $((VEXFS_SEED + round)) &
		local promise=$!
		sleep $((1 + (VEXFS_SEED + round) % 3))
		# However slow the machine is: some promises are worth a look.
		while kill -0 $promise && [ "$(grep -c '^is ' "$WORK/promises")" -lt 20 ]; do sleep .2; done
		python3 "$suites/fs_state_ops.py" shutdown "$MNT" $((round % 3))
		wait $promise
		kill -KILL $load
		pkill -KILL stress-ng || true
		wait $load || true
		while ! umount "$MNT"; do sleep .2; done
		mount -t vexfs "$DISK1" "$MNT"
		python3 "$suites/conform_ops.py" kept "$MNT/kept" "$WORK/promises"
		umount "$MNT"
		fsck.vexfs -n "$DISK1"
		mount -t vexfs "$DISK1" "$MNT"
	done
	cf_clean
}
edges() {
	cf_fresh
	python3 "$suites/conform_ops.py" edges "$MNT/file"
	cf_clean
}

# --- fio and dbench ------------------------------------------------------------------------

fio_verify() { # NAME ENGINE DIRECT SIZE
	fio --name="$1" --directory="$MNT" --ioengine="$2" --direct="$3" --size="$4" --rw=randrw \
		--bsrange=4k-64k --blockalign=4k --iodepth=8 --verify=crc32c --verify_fatal=1 \
		--do_verify=1 --fsync=32 --end_fsync=1 --randseed="$VEXFS_SEED" --group_reporting \
		--output="$WORK/fio" --minimal || { tail -n 20 "$WORK/fio" && return 1; }
}
fio_engines() {
	local size=$((long ? 256 : 16))M engine
	cf_fresh
	for engine in psync mmap libaio io_uring; do
		fio_verify "buffered-$engine" $engine 0 "$size"
		[ $engine = mmap ] || fio_verify "direct-$engine" $engine 1 "$size"
	done
	# What is on the disk, not in the cache.
	umount "$MNT" && mount -t vexfs "$DISK1" "$MNT"
	md5sum "$MNT"/*.0.0 >/dev/null
	cf_clean
}
dbench_clients() {
	cf_fresh
	mkdir "$MNT/dbench"
	dbench -D "$MNT/dbench" -t "$((long ? 60 : 3))" 4 >"$WORK/dbench" 2>&1 || { tail -n 20 "$WORK/dbench" && return 1; }
	grep ^Throughput "$WORK/dbench"
	cf_clean
}

if [ ! -x $programs/pjdfstest ] || [ ! -x $programs/fsx ]; then
	skip "pjdfstest and fsx" "they were not built (run_tests.sh uml builds them)"
else
	t "pjdfstest as root: nothing fails or is skipped that ext4 passes" pjd_root
	t "pjdfstest as a user" pjd_user
	if [ "$long" != 0 ]; then
		t "fsx, 20 seeds of 50,000 operations" fsx_runs 50000 20
	else
		t "fsx, 2 seeds of 1,500 operations" fsx_runs 1500 2
	fi
fi
t "stress-ng, the stressors of file systems" stress_short
[ "$long" = 0 ] || t "stress-ng, the whole class, against ext4" stress_long
t "fio verifies what it wrote, by four engines" fio_engines
t "dbench" dbench_clients
t "stopped under load: what fsync promised is there" stopped_rounds $((long ? 60 : 3))
t "what lies behind the end of a file is never seen" edges
