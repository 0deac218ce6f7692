# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Programs that people run on a file system: git and a compiler, SQLite, PostgreSQL; and
# what else stands on a file system: a loop device (posix has overlayfs, nfs an export).
# VEXFS_LONG=1 runs them longer.

long=${VEXFS_LONG:-0}

pr_fresh() {
	cd /
	! mountpoint -q "$MNT" || umount "$MNT"
	mkfs.vexfs -q -f "$DISK1" && mount -t vexfs "$DISK1" "$MNT"
}
pr_clean() { cd / && umount "$MNT" && fsck.vexfs -n "$DISK1"; }

# --- git and a compiler ----------------------------------------------------------------------

# A library of the kernel's source package: libbpf takes its time, libsubcmd does not.
git_and_make() {
	local source lib
	source=$(ls -d /usr/src/linux-source-*/ | head -n 1)
	lib=tools/lib/$([ "$long" = 0 ] && echo subcmd || echo bpf)
	pr_fresh
	export GIT_CONFIG_GLOBAL=$WORK/gitconfig GIT_CONFIG_NOSYSTEM=1
	git config --global user.name test
	git config --global user.email test@localhost
	git config --global init.defaultBranch main
	mkdir -p "$MNT/origin/tools/arch" "$MNT/origin/scripts"
	cp -r "$source"/tools/{lib,include,build,scripts} "$MNT/origin/tools/"
	cp -r "$source/tools/arch/x86" "$MNT/origin/tools/arch/"
	cp "$source/scripts/bpf_doc.py" "$MNT/origin/scripts/"
	cd "$MNT/origin"
	git init -q && git add -A && git commit -qm one
	git rm -rq tools/arch && git commit -qm two
	cd "$MNT"
	git clone -q --no-local origin clone
	cd clone
	git fsck --strict --no-progress
	git checkout -q HEAD~1 && [ -d tools/arch ]
	git gc -q
	make -s -j4 -C $lib
	# After a remount what was built is there, and nothing needs to be built.
	cd / && umount "$MNT" && mount -t vexfs "$DISK1" "$MNT"
	cd "$MNT/clone"
	make -j4 -C $lib >"$WORK/again"
	not grep -E '^ +(CC|LD|AR) ' "$WORK/again"
	ar t $lib/lib*.a | grep -q '\.o$'
	[ -z "$(git status --porcelain --untracked-files=no)" ]
	git fsck --strict --no-progress
	diff -r --no-dereference "$MNT/origin/tools/include" "$MNT/clone/tools/include"
	pr_clean
}

# --- SQLite ------------------------------------------------------------------------------------

sqlite_journals() {
	local mode rows=$((long ? 20000 : 400)) n
	pr_fresh
	for mode in delete wal truncate; do
		sqlite3 "$MNT/$mode.db" "PRAGMA journal_mode=$mode; PRAGMA synchronous=FULL;
			CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB);" >/dev/null
		for n in 1 2 3; do
			(for ((i = 0; i < rows; i++)); do
				echo "INSERT INTO t (v) VALUES (randomblob(300)); SELECT max(id) FROM t;"
			done) | sqlite3 "$MNT/$mode.db" >"$WORK/acked" &
			local pid=$!
			sleep $((long ? 2 : 0)).5
			kill -9 $pid 2>/dev/null || true
			wait $pid || true
			[ "$(sqlite3 "$MNT/$mode.db" 'PRAGMA integrity_check;')" = ok ]
			# What was said to be there is there.
			[ "$(sqlite3 "$MNT/$mode.db" 'SELECT coalesce(max(id), 0) FROM t;')" -ge \
				"$(grep -E '^[0-9]+$' "$WORK/acked" | sed '$d' | tail -n 1 | grep . || echo 0)" ]
		done
	done
	cd / && umount "$MNT" && mount -t vexfs "$DISK1" "$MNT"
	for mode in delete wal truncate; do
		[ "$(sqlite3 "$MNT/$mode.db" 'PRAGMA integrity_check;')" = ok ]
	done
	pr_clean
}

# --- PostgreSQL ----------------------------------------------------------------------------------

pg() { setpriv --reuid postgres --regid postgres --clear-groups env -i LANG=C.UTF-8 PGHOST=/tmp "PATH=$pg_bin:$PATH" "$@"; }
postgres_crashes() {
	local round before after
	pg_bin=$(dirname "$(ls /usr/lib/postgresql/*/bin/postgres)")
	pr_fresh
	mkdir -m 700 "$MNT/pg" && chown postgres "$MNT/pg"
	cd /tmp
	pg initdb -D "$MNT/pg" -k --no-instructions >"$WORK/initdb" || { cat "$WORK/initdb" && return 1; }
	for round in $(seq $((long ? 10 : 2))); do
		pg pg_ctl -D "$MNT/pg" -w -t 120 -l /tmp/pg.log -o "-k /tmp -h ''" start >/dev/null || { tail /tmp/pg.log && return 1; }
		if [ "$round" = 1 ]; then
			pg pgbench -q -i -s $((long ? 5 : 1)) postgres 2>"$WORK/pgbench" || { cat "$WORK/pgbench" && return 1; }
			before=0
		else
			after=$(pg psql -qAtX postgres -c 'SELECT count(*) FROM pgbench_history')
			[ "$after" -ge "$before" ] || { echo "$before transactions were done, $after are there" && return 1; }
		fi
		pg pgbench -n -c 2 -t $((long ? 1000 : 40)) postgres >"$WORK/pgbench" 2>&1 || { cat "$WORK/pgbench" && return 1; }
		before=$(pg psql -qAtX postgres -c 'SELECT count(*) FROM pgbench_history')
		# As a crash: no checkpoint, no goodbye.
		pg pg_ctl -D "$MNT/pg" -w -m immediate stop >/dev/null
	done
	pg pg_ctl -D "$MNT/pg" -w -t 120 -l /tmp/pg.log -o "-k /tmp -h ''" start >/dev/null
	pg psql -qAtX postgres -c 'SELECT sum(abalance) = sum(bbalance) FROM
		(SELECT sum(abalance) abalance FROM pgbench_accounts) a,
		(SELECT sum(bbalance) bbalance FROM pgbench_branches) b' | grep -qx t
	pg pg_ctl -D "$MNT/pg" -w -m fast stop >/dev/null
	pg pg_checksums -D "$MNT/pg" --check >/dev/null
	pr_clean
}

# --- loop ---------------------------------------------------------------------------------------------

loop_on_file() {
	local dev direct
	pr_fresh
	trap 'umount "$WORK/l" 2>/dev/null || true; losetup -D' EXIT
	for direct in off on; do
		truncate -s 256M "$MNT/image"
		dev=$(losetup --find --show --direct-io=$direct "$MNT/image")
		mkfs.ext4 -q -F "$dev"
		mkdir -p "$WORK/l"
		mount "$dev" "$WORK/l"
		cp -a /usr/share/bash-completion "$WORK/l/"
		diff -r --no-dereference /usr/share/bash-completion "$WORK/l/bash-completion"
		umount "$WORK/l"
		e2fsck -fn "$dev" >/dev/null
		losetup -d "$dev"
		umount "$MNT" && mount -t vexfs "$DISK1" "$MNT"
		dev=$(losetup --find --show --read-only "$MNT/image")
		mount -o ro "$dev" "$WORK/l"
		diff -r --no-dereference /usr/share/bash-completion "$WORK/l/bash-completion"
		umount "$WORK/l"
		losetup -d "$dev"
		rm "$MNT/image"
	done
	pr_clean
}

need() { # NAME COMMAND TEST: skipped without the command
	if command -v "$2" >/dev/null 2>&1 || ls $2 >/dev/null 2>&1; then
		t "$1" "$3"
	else
		skip "$1" "$2 is not installed"
	fi
}
need "git clone, a build, and the same again after a remount" git git_and_make
need "SQLite: three journal modes, killed in between" sqlite3 sqlite_journals
need "PostgreSQL: crashes and recovers" "/usr/lib/postgresql/*/bin/postgres" postgres_crashes
t "a loop device on a file, direct and not" loop_on_file
