# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Queries of all forms, and filters, through the module.

qu_op() { python3 "$suites/queries_ops.py" "$1" "$MNT"; }

mkfs.vexfs -q -f "$DISK1" && mount -t vexfs "$DISK1" "$MNT"
chmod 755 "$MNT"

t "filters against a model" qu_op filters
t "a filter tells nobody of what they may not see" qu_op rights
t "radius, groups, pages, fusion, like this" qu_op forms
t "only what can be a hit is compared" qu_op plans
t "budgets" qu_op budgets
t "what is refused" qu_op wrong
qu_prepared() { python3 "$suites/queries_prepared_ops.py" "$1" "$MNT" "$DISK1"; }
t "a prepared filter lets in what it should, whatever changes" qu_prepared matches
t "of many records only those are compared that a prepared filter lets in" qu_prepared many
t "a prepared filter is in nobody's way" qu_prepared wrong
t "vectors go with their files, for root and a stranger" python3 "$suites/queries_life_ops.py" changes "$MNT"
t "a link moves while others search for it" python3 "$suites/queries_life_ops.py" moving_link "$MNT"
t "rights and names change while others search" python3 "$suites/queries_life_ops.py" races "$MNT"
# Keys of the hits, one to a word.
qu_keys() { vexctl search "$MNT" --collection q --vector '[0,0]' --json "$@" | grep -o '"key":[0-9]*' | cut -d: -f2 | tr '\n' ' '; }

qu_command_line() {
	cd "$MNT"
	mkdir -p docs/old
	local i
	for i in 1 2 3 4 5 6; do
		head -c $((i * 1000)) /dev/zero >"docs/f$i.txt"
	done
	mv docs/f5.txt docs/f6.txt docs/old
	vexctl collection create "$MNT" q --dim 2 --metric l2
	for i in 1 2 3 4; do
		vexctl put "docs/f$i.txt" --collection q --key "$i" --vector "[$i,0]"
	done
	for i in 5 6; do
		vexctl put "docs/old/f$i.txt" --collection q --key "$i" --vector "[$i,0]"
	done
	vexctl put docs/f1.txt --collection q --key 7 --vector '[7,0]' --offset 10 --length 5
	setfattr -n user.tag -v red docs/f2.txt
	setfattr -n user.n -v 12 docs/f3.txt
	touch -d 2001-02-03T04:05:06Z docs/f4.txt
	chmod 755 docs/f3.txt
	ln docs/f2.txt docs/old/second
	echo x >>docs/f1.txt
	[ "$(qu_keys)" = "1 2 3 4 5 6 7 " ]
	[ "$(qu_keys --filter 'size > 3K')" = "4 5 6 " ]
	[ "$(qu_keys --filter 'stale')" = "1 " ]
	[ "$(qu_keys --filter 'not whole or size = 2000')" = "2 7 " ]
	[ "$(qu_keys --filter "under $MNT/docs/old")" = "2 5 6 " ]
	[ "$(qu_keys --filter 'name = second')" = "2 " ]
	[ "$(qu_keys --filter "path ~ '$MNT/docs/*.txt' and not key in (1, 7)")" = "2 3 4 " ]
	[ "$(qu_keys --filter 'user.tag = red or user.n >= 12')" = "2 3 " ]
	[ "$(qu_keys --filter 'mtime < 2001-02-03T04:05:07Z')" = "4 " ]
	[ "$(qu_keys --filter 'mtime > -1h and mode has 0111')" = "3 " ]
	[ "$(qu_keys --filter 'owner = root and type = file and online and links = 2')" = "2 " ]
	printf '3\n\n5\n' >"$WORK/keys"
	[ "$(qu_keys --filter "key in @$WORK/keys")" = "3 5 " ]
	[ "$(qu_keys --within 9)" = "1 2 3 " ]
	[ "$(qu_keys --within 49 --group)" = "1 2 3 4 5 6 " ]
	[ "$(qu_keys --vector '[6,0]' --fuse | wc -w)" = 7 ]
	[ "$(qu_keys --vector '[1,0]' --fuse -k 1)" = "1 " ]
	vexctl search "$MNT" --collection q --like docs/f1.txt --others --group --json | grep -o '"key":[0-9]*' | head -n 1 | grep -q ':4$'
	vexctl search "$MNT" --collection q --like docs/f1.txt --fuse --others --json | grep -q '"key":2,'
	local page cursor=start all=
	while [ "$cursor" != null ]; do
		page=$(vexctl search "$MNT" --collection q --vector '[0,0]' -k 3 --cursor "$cursor" --json)
		all="$all$(echo "$page" | grep -o '"key":[0-9]*' | cut -d: -f2 | tr '\n' ' ')"
		cursor=$(echo "$page" | sed 's/.*"cursor":"\{0,1\}\([^",}]*\).*/\1/')
	done
	[ "$all" = "1 2 3 4 5 6 7 " ]
	vexctl search "$MNT" --collection q --vector '[0,0]' --explain --json | grep -q '"explain":{"plan":"scan of all vectors".*"scanned":[1-9]'
	vexctl search "$MNT" --collection q --vector '[0,0]' --filter 'key = 3' --explain 2>&1 | grep -q "plan: scan of the vectors that can match"
	vexctl search "$MNT" --collection q --vector '[0,0]' --budget-ms 60000 --budget-pages 100000 --json | grep -qv truncated
}
t "vexctl search with filters, pages and all" qu_command_line
fails "a list in parentheses" "a filter that makes no sense is refused with a reason" \
	vexctl search "$MNT" --collection q --vector '[0,0]' --filter 'key in 3'
fails "which nothing has" "a field that is not there" vexctl search "$MNT" --collection q --vector '[0,0]' --filter 'colour = red'

qu_clean() { umount "$MNT" && fsck.vexfs -n "$DISK1"; }
t "the volume is clean" qu_clean
