# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# File data through the mounted file system, on $DISK1 (at least 256 MiB).
#
# VEXFS_OPS says how long the random tests are, DATA_TESTS names the tests to run
# (all), VEXFS_TEST_FS=ext4 runs them on another file system, to test the tests.

fs=${VEXFS_TEST_FS:-vexfs}
dev=$DISK1
mnt=$MNT
seed=$VEXFS_SEED
ops=${VEXFS_OPS:-600}
op() { python3 "$suites/data_ops.py" "$@"; }
room() { python3 "$suites/data_room_ops.py" "$@"; }
range() { python3 "$suites/data_range_ops.py" "$@"; }
# shellcheck source=test_env/suites/lib/staging.sh
. "$suites/lib/staging.sh"

make_fs() { # [BLOCKS of 4 KiB]
	case $fs in
	vexfs) mkfs.vexfs -q "$dev" ${1:+"$1"} ;;
	*) mkfs."$fs" -q -F -b 4096 "$dev" ${1:+"$1"} ;;
	esac
}
up() { mkdir -p "$mnt" && mount -t "$fs" "$dev" "$mnt"; }
down() { umount "$mnt"; }
# Unmounted, checked, and mounted again: nothing is in the page cache any more.
again() { down && check && up; }
check() {
	case $fs in
	vexfs) fsck.vexfs -n "$dev" >"$WORK/fsck.log" 2>&1 ;;
	*) fsck."$fs" -n -f "$dev" >"$WORK/fsck.log" 2>&1 ;;
	esac || {
		cat "$WORK/fsck.log"
		return 1
	}
}

# --- Tests -------------------------------------------------------------------

test_trees() { # real trees in, out, and back after a remount
	cp -a /usr/share/doc /usr/lib/python3 "$mnt/" || return
	diff -r --no-dereference /usr/share/doc "$mnt/doc" || return
	again || return
	diff -r --no-dereference /usr/share/doc "$mnt/doc" && diff -r --no-dereference /usr/lib/python3 "$mnt/python3"
}

test_fsx() { # a random mix of reads, writes, truncates and maps, with a model
	local size
	for size in 300000 3000000; do
		op fsx "$mnt/fsx" --seed "$seed" --ops "$ops" --size $size >"$WORK/sum" || return
		again || return
		[ "$(sha256sum <"$mnt/fsx" | cut -d' ' -f1)" = "$(cat "$WORK/sum")" ] || return
	done
}

test_fsx_direct() { # the same with direct I/O in between
	op fsx "$mnt/fsx" --seed "$seed" --ops "$ops" --size 600000 --direct >"$WORK/sum" || return
	again || return
	[ "$(sha256sum <"$mnt/fsx" | cut -d' ' -f1)" = "$(cat "$WORK/sum")" ]
}

test_fsx_many() { # several at once, while others sync and drop caches
	local i pids=()
	(while sleep .3; do sync && echo 1 >/proc/sys/vm/drop_caches; done) 2>/dev/null &
	local noise=$! status=0
	for i in 1 2 3 4; do
		op fsx "$mnt/fsx$i" --seed $((seed + i)) --ops $((ops / 2)) --size 400000 >/dev/null &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || status=1; done
	kill $noise || true
	wait $noise 2>/dev/null || true
	return $status
}

test_sparse() { op sparse "$mnt/sparse"; } # a file of 2^44 bytes, mostly holes

test_append() { # odd appends by two descriptors, gaps behind the end
	op append "$mnt/append"
}

test_direct() { op direct "$mnt/direct"; }

test_mmap() { # write through a map, msync, remount, compare
	op mmap "$mnt/map" || return
	op pattern "$mnt/p" 1234567 5 && again && op verify "$mnt/p" 1234567 5
}

test_rwf() { op rwf "$mnt/rwf"; } # O_SYNC, RWF_*, splice, copy_file_range

test_extents() { # a big sequential file is a few long extents
	dd if=/dev/urandom of="$mnt/big" bs=1M count=96 conv=fsync status=none || return
	local n
	n=$(op extents "$mnt/big") || return
	# Each time that some of it is written back, that may end where a region does.
	[ "$n" -le 8 ] || {
		echo "96 MiB written in one go are $n extents"
		return 1
	}
	# Small appends too: each goes behind the last.
	for ((n = 0; n < 64; n++)); do
		head -c 65536 /dev/urandom
	done >"$mnt/small"
	sync "$mnt/small"
	n=$(op extents "$mnt/small") || return
	[ "$n" -le 4 ] || {
		echo "4 MiB of small writes are $n extents"
		return 1
	}
}

test_delayed() { # what is written back late has its place late, in one piece
	room delayed "$mnt" && room short "$mnt" && again
}

test_room() { # files that grow get room, and give it back
	room together "$mnt" && again && room again "$mnt" && room frozen "$mnt" || return
	room crash "$mnt" && umount "$mnt" && up && room recovered "$mnt" && again && room recovered "$mnt" || return
	down
	make_fs 20480 && up && room full "$mnt" && room mapped "$mnt"
}

test_seek() { # cp --sparse reproduces holes and data
	truncate -s 64M "$mnt/h"
	dd if=/dev/urandom of="$mnt/h" bs=64k count=1 seek=7 conv=notrunc status=none
	dd if=/dev/urandom of="$mnt/h" bs=64k count=1 seek=900 conv=notrunc status=none
	sync "$mnt/h"
	cp --sparse=auto "$mnt/h" "$mnt/h2" && cmp "$mnt/h" "$mnt/h2" || return
	[ "$(du -k "$mnt/h2" | cut -f1)" -le 1024 ] || {
		du -k "$mnt/h2"
		return 1
	}
}

test_nowait() { op nowait "$mnt/nowait"; } # RWF_NOWAIT against writers
test_unlinked() { # data of an open, unlinked file; freed when it is closed
	local before after
	before=$(stat -f -c %f "$mnt")
	exec 7<>"$mnt/gone"
	rm "$mnt/gone"
	dd if=/dev/zero bs=1M count=16 status=none >&7 || return
	[ "$(stat -L -c %s /proc/self/fd/7)" = $((16 << 20)) ] || return
	exec 7>&-
	sync
	after=$(stat -f -c %f "$mnt")
	[ $((before - after)) -lt 64 ] || {
		echo "free blocks: $before before, $after after"
		return 1
	}
}

test_truncate_big() { # a file of very many extents goes in bounded transactions
	python3 - "$mnt/holes" <<-'END' || return
		import os, sys
		fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
		for i in range(3000):
		    os.pwrite(fd, b"x", i * 8192 + 4096 * (i & 1))
		os.fsync(fd)
		assert os.fstat(fd).st_blocks >= 3000 * 8, os.fstat(fd).st_blocks
		os.ftruncate(fd, 8192 * 100 + 5)
		os.fsync(fd)
		assert os.fstat(fd).st_blocks <= 102 * 8 + 64, os.fstat(fd).st_blocks
		os.ftruncate(fd, 8192 * 3000)
		os.lseek(fd, 8192 * 100 + 5, 0)
		assert not any(os.read(fd, 8192 * 2900)), "old data shows after a truncate"
		os.ftruncate(fd, 0)
		assert os.fstat(fd).st_blocks == 0, os.fstat(fd).st_blocks
	END
	again
}

test_enospc() { # a full disk loses nothing, and is usable again
	down
	make_fs 20480 && up || return
	local n m
	n=$(op fill "$mnt/full") || return
	again || return
	[ "$(stat -c %s "$mnt/full")" = "$n" ] || return
	# What is freed comes back at once, also before its commit.
	rm "$mnt/full" && dd if=/dev/zero of="$mnt/other" bs=1M count=$((n / 1048576 / 2)) status=none || return
	rm "$mnt/other"
	m=$(op fill "$mnt/full") || return
	[ "$m" -ge $((n - (4 << 20))) ] || {
		echo "$n bytes fitted the first time, $m the second"
		return 1
	}
	# Many small files until full, then all gone.
	rm "$mnt/full"
	mkdir "$mnt/d"
	for ((i = 0; ; i++)); do
		head -c 100000 /dev/zero >"$mnt/d/$i" 2>/dev/null || break
		[ $i -lt 5000 ] || return
	done
	rm -r "$mnt/d" && again
}

test_fallocate() { # what it does, and what it refuses
	range errors "$mnt/e" && rm "$mnt/e" && range blocks "$mnt/b" || return
	again || return
	[ "$(stat -c %s "$mnt/b")" = 262144 ] || return
	range many "$mnt/m" 6000 && again || return
	down
	make_fs 20480 && up && range full "$mnt/full"
}

test_fallocate_stale() { # what describes a range that changes is stale
	[ "$fs" = vexfs ] || return 0
	local f=$mnt/f change
	vexctl collection create "$mnt" c --dim 1 --metric l2 || return
	for change in "punch 8192 4096" "zero 8192 100" "collapse 4096 4096" "insert 4096 4096"; do
		seq 100000 | head -c 40000 >"$f"
		vexctl embed "$f" --collection c --command 'wc -c | sed "s/.*/[&]/"' >"$WORK/embedded" || return
		[ -z "$(vexctl embed "$f" --collection c --list)" ] || return
		# shellcheck disable=SC2086
		range ${change%% *} "$f" ${change#* } || return
		vexctl embed "$f" --collection c --list | grep -q "^stale " || {
			echo "not stale after $change"
			return 1
		}
	done
}

test_fallocate_offline() { # ranges of files that are on a volume
	[ "$fs" = vexfs ] || return 0
	st_new || return
	local f o=$WORK/orig/d/e
	st_offline || return
	f=$mnt/d/e
	# Whole blocks go without a recall, and nobody is there to do one.
	timeout 20 python3 "$suites/data_range_ops.py" punch "$f/f1048576" 0 1048576 || return
	timeout 20 python3 "$suites/data_range_ops.py" punch "$f/f3000000" 409600 2097152 || return
	timeout 20 python3 "$suites/data_range_ops.py" zero "$f/f1048577" 40960 40960 || return
	st_is "$f/f1048576" residency empty || return
	st_is "$f/f3000000" residency offline || return
	fallocate -p -o 0 -l 1048576 "$o/f1048576"
	fallocate -p -o 409600 -l 2097152 "$o/f3000000"
	fallocate -p -o 40960 -l 40960 "$o/f1048577"
	# The others wait for what they need.
	st_up || return
	range punch "$f/f1048575" 100 10000 && range collapse "$mnt/d/sparse" 8192 4096 || return
	range insert "$f/f4097" 4096 8192 || return
	fallocate -p -o 100 -l 10000 "$o/f1048575"
	dd if="$WORK/orig/d/sparse" of="$WORK/s" bs=4096 count=2 status=none
	dd if="$WORK/orig/d/sparse" bs=4096 skip=3 status=none >>"$WORK/s"
	cp "$WORK/s" "$WORK/orig/d/sparse"
	dd if="$o/f4097" of="$WORK/s" bs=4096 count=1 status=none
	truncate -s 12288 "$WORK/s"
	tail -c 1 "$o/f4097" >>"$WORK/s"
	cp "$WORK/s" "$o/f4097"
	diff -r "$WORK/orig/d" "$mnt/d" || return
	st_is "$f/f3000000" archive dirty || return
	vexctl archive -r "$mnt/d" && vexctl release -r "$mnt/d" && diff -r "$WORK/orig/d" "$mnt/d" || return
	st_down
}

test_where() { # FIEMAP, SEEK_*, on a volume too
	range map "$mnt/w" || return
	[ "$fs" = vexfs ] || return 0
	st_new && st_offline || return
	local e
	e=$(op where "$mnt/d/e/f3000000") && [ "$e" = "0 0 3002368 0x3" ] || {
		echo "an offline file: $e"
		return 1
	}
	[ "$(python3 -c 'import os,sys; fd = os.open(sys.argv[1], 0); print(os.lseek(fd, 5, os.SEEK_DATA), os.lseek(fd, 0, os.SEEK_HOLE))' "$mnt/d/e/f3000000")" = "5 3000000" ]
}

test_swap() { range swap "$mnt/swap"; }

test_direct_rules() { range direct "$mnt/direct"; }

test_uring() { python3 "$suites/data_uring.py" "$mnt/u" && again; }

# A device that gives back what is discarded: its image is $WORK/t/image.
sparse_up() { # [OPTIONS]
	down
	[ -e /dev/loop0 ] || modprobe loop
	mkdir -p "$WORK/t" && mount -t tmpfs -o size=700m none "$WORK/t" && truncate -s 1G "$WORK/t/image" || return
	loop=$(losetup -f --show "$WORK/t/image") && mkfs.vexfs -q "$loop" && mount -t vexfs "$@" "$loop" "$mnt"
}

sparse_down() {
	umount "$mnt" && fsck.vexfs -n "$loop" && losetup -d "$loop" && umount "$WORK/t" && up
}

sparse_mib() { du -m "$WORK/t/image" | cut -f1; }

test_trim() { # what is free is discarded, and nothing else
	local loop before after
	sparse_up || return
	op pattern "$mnt/kept" 33333333 7 && dd if=/dev/urandom of="$mnt/big" bs=1M count=100 status=none && sync || return
	before=$(sparse_mib)
	rm "$mnt/big"
	fstrim -v "$mnt" && fstrim -v -o 4096 -l 50000000 -m 65536 "$mnt" || return
	# The first one may have run before the removal was committed.
	sync && fstrim "$mnt" || return
	after=$(sparse_mib)
	echo "$before MiB before, $after after"
	[ "$after" -le $((before - 95)) ] || return
	echo 3 >/proc/sys/vm/drop_caches
	op verify "$mnt/kept" 33333333 7 && sparse_down
}

test_discard() { # what is freed is discarded when that is committed
	local loop before i
	sparse_up -o discard && grep -q " $mnt vexfs .*discard" /proc/mounts || return
	op pattern "$mnt/kept" 33333333 7 || return
	for i in 1 2 3; do dd if=/dev/urandom of="$mnt/big$i" bs=1M count=60 status=none || return; done
	sync && before=$(sparse_mib)
	rm "$mnt/big1" && sync || return
	for i in $(seq 100); do
		[ "$(sparse_mib)" -gt $((before - 55)) ] || break
		sleep 0.1
	done
	[ "$(sparse_mib)" -le $((before - 55)) ] || return
	# What was freed just before unmounting too, but nothing without the option.
	mount -o remount,nodiscard "$mnt" && ! grep -q " $mnt vexfs .*discard" /proc/mounts || return
	before=$(sparse_mib)
	rm "$mnt/big2" && sync && sleep 1 && [ "$(sparse_mib)" -ge "$before" ] || return
	mount -o remount,discard "$mnt" && rm "$mnt/big3" && umount "$mnt" || return
	[ "$(sparse_mib)" -le $((before - 55)) ] || return
	mount -t vexfs "$loop" "$mnt" && op verify "$mnt/kept" 33333333 7 && sparse_down
}

# --- Running them -------------------------------------------------------------

# On a new file system, checked afterwards.
data_test() {
	! mountpoint -q "$mnt" || umount "$mnt"
	make_fs
	up
	"test_$1"
	down
	check
}

for name in ${DATA_TESTS:-trees fsx fsx_direct fsx_many sparse append direct \
	mmap rwf nowait extents delayed room seek unlinked truncate_big enospc fallocate \
	fallocate_stale fallocate_offline where swap direct_rules uring trim discard}; do
	t "$name" data_test "$name"
done
