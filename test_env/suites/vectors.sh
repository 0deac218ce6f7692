# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Collections, records and the exact search, through the module.

ve_op() { python3 "$suites/vectors_ops.py" "$1" "$MNT" "${@:2}"; }
ve_data=/mnt/share

mkfs.vexfs -q -f "$DISK1" && mount -t vexfs "$DISK1" "$MNT"
# A mount point that others may search.
chmod 755 "$MNT"

ve_clean() { umount "$MNT" && fsck.vexfs -n "$DISK1" && mount -t vexfs "$DISK1" "$MNT"; }

t "all metrics and types against arithmetic" python3 "$suites/vectors_types_ops.py" find "$MNT"
t "types take what they hold, and metrics what they compare" python3 "$suites/vectors_types_ops.py" types "$MNT"
t "a batch reports item by item" ve_op batch_errors
t "rights of another user" ve_op rights
t "searches below a directory" ve_op scope
t "rename, write, truncate, mmap, copy, unlink" ve_op life
t "slots are used again" ve_op churn
t "puts, deletes, unlinks and searches at once" ve_op together
t "a killed search ends at once" python3 "$suites/vectors_kill_ops.py" killed "$MNT"
t "a dropped collection frees its space" ve_op drop
t "what is there is clean" ve_clean

ve_command_line() {
	cd "$MNT"
	printf 'one\ntwo\nthree\n' >lines
	vexctl collection create "$MNT" cli --dim 3 --metric ip --type f16
	vexctl put lines --collection cli --key 18446744073709551615 --vector '[-1, 0.5, 2]' --offset 4 --length 3
	[ "$(vexctl get "$MNT" --collection cli --key 18446744073709551615 --json | sed 's/,"version".*//')" = \
		'{"key":18446744073709551615,"path":"'"$MNT"'/lines","offset":4,"length":3' ]
	[ "$(vexctl search "$MNT" --collection cli --vector '[-2,0,0]' -k 3 --exact --json)" = \
		'{"query":0,"hits":[{"key":18446744073709551615,"path":"'"$MNT"'/lines","offset":4,"length":3,"score":2.0,"stale":false}]}' ]
	printf '%s\n' '{"path":"lines","offset":0,"length":3,"key":1,"vector":[1,0,0]}' \
		'{"path":"lines","key":2,"vector":[1,0]}' '{"path":"missing","key":3,"vector":[1,0,0]}' \
		'{"path":"lines","key":4,"vector":[1,null,0]}' "{\"path\":\"$MNT/lines\",\"key\":5,\"vector\":[0,1,0]}" >"$WORK/rows"
	local status=0
	vexctl import "$MNT" --collection cli --jsonl "$WORK/rows" --json >"$WORK/report" || status=$?
	[ $status = 3 ]
	[ "$(cat "$WORK/report")" = '{"collection":"cli","failed":3,"imported":2}' ]
	[ "$(vexctl search "$MNT" --collection cli --like lines -k 9 --json | grep -o '"key"' | wc -l)" = 3 ]
	vexctl delete "$MNT" --collection cli --key 1,5
	[ "$(vexctl get lines --collection cli --json | wc -l)" = 1 ]
	vexctl collection drop "$MNT" cli
}
t "vexctl put, get, search, import, delete" ve_command_line

# Both kinds of files, keys of one's own, squared distances, a line for each query.
ve_forms() {
	cd "$MNT"
	printf 'one\ntwo\nthree\n' >rows
	printf '30\n20\n10\n' >"$WORK/keys"
	python3 - "$WORK" <<-'END'
		import struct, sys
		rows = [(1, 0), (0, 1), (1, 1)]
		with open(sys.argv[1] + "/v.fvecs", "wb") as f:
		    for row in rows:
		        f.write(struct.pack("<i2f", 2, *row))
		head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"
		head += b" " * (117 - len(head)) + b"\n"
		with open(sys.argv[1] + "/v.npy", "wb") as f:
		    f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
		    for row in rows:
		        f.write(struct.pack("<2f", *row))
	END
	vexctl collection create "$MNT" keyed --dim 2 --metric l2
	vexctl import rows --collection keyed --vectors "$WORK/v.fvecs" --keys "$WORK/keys"
	[ "$(vexctl search "$MNT" --collection keyed --vector '[2,0]' -k 2 --json)" = \
		'{"query":0,"hits":[{"key":30,"path":"'"$MNT"'/rows","offset":0,"length":3,"score":1.0,"stale":false},{"key":10,"path":"'"$MNT"'/rows","offset":8,"length":5,"score":2.0,"stale":false}]}' ]
	vexctl collection create "$MNT" numbered --dim 2
	vexctl import rows --collection numbered --vectors "$WORK/v.npy"
	vexctl search "$MNT" --collection numbered --vectors "$WORK/v.npy" -k 1 --json >"$WORK/found"
	[ "$(sed 's/,"path".*//' "$WORK/found")" = '{"query":0,"hits":[{"key":0
{"query":1,"hits":[{"key":1
{"query":2,"hits":[{"key":2' ]
	vexctl collection drop "$MNT" keyed
	vexctl collection drop "$MNT" numbered
}
t "vexctl import and search, forms and formats" ve_forms
fails "takes 4" "a vector of another dimension is refused with a reason" vexctl search "$MNT" --collection scope --vector '[1]'
fails "not on a mounted VexFS" "a path elsewhere is refused with a reason" vexctl collection list /proc
fails "there is no collection nothing" "a collection that is not there" vexctl search "$MNT" --collection nothing --vector '[1]'

# Bytes and bits by the command line.
ve_types() {
	cd "$MNT"
	printf 'one\ntwo\nthree\n' >typed
	python3 - "$WORK" <<-'END'
		import struct, sys
		def npy(name, descr, shape, data):
		    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
		    head += b" " * (117 - len(head)) + b"\n"
		    with open(f"{sys.argv[1]}/{name}.npy", "wb") as f:
		        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data)
		npy("signed", "|i1", (3, 2), bytes([1, 128, 255, 127, 0, 0]))
		npy("packed", "|u1", (3, 2), bytes([0xff, 0xf0, 0x00, 0x00, 0xf0, 0xf0]))
	END
	vexctl collection create "$MNT" signed --dim 2 --type int8 --metric l2
	vexctl collection create "$MNT" packed --dim 12 --type binary
	vexctl collection show "$MNT" packed | grep -q "12 x binary hamming"
	vexctl import typed --collection signed --vectors "$WORK/signed.npy"
	vexctl import typed --collection packed --vectors "$WORK/packed.npy"
	vexctl get "$MNT" --collection signed --key 0 --json | grep -q '"vector":\[1.0,-128.0\]'
	[ "$(vexctl search "$MNT" --collection signed --vector '[-1,126]' -k 1 --json)" = \
		'{"query":0,"hits":[{"key":1,"path":"'"$MNT"'/typed","offset":4,"length":3,"score":1.0,"stale":false}]}' ]
	vexctl search "$MNT" --collection packed --vectors "$WORK/packed.npy" -k 3 --json >"$WORK/found"
	[ "$(grep -o '"key":[0-9]\|"score":[0-9.]*' "$WORK/found" | tr -d '\n')" = "$(
		printf '"key":%s"score":%s.0' 0 0 2 4 1 12 1 0 2 8 0 12 2 0 0 4 1 8
	)" ]
	vexctl search "$MNT" --collection packed --like typed -k 1 | grep -q typed
}
t "vexctl import and search of bytes and bits" ve_types
fails "hamming only" "binary vectors have one metric" vexctl collection create "$MNT" wrong --dim 2 --type binary --metric l2
fails "is for --type binary only" "which is of no use to others" vexctl collection create "$MNT" wrong --dim 2 --metric hamming

ve_meaning() {
	mkdir -p "$MNT/doc"
	echo "How to compress files and archives to save disk space: zip, gzip and tarballs" >"$MNT/doc/a"
	echo "A recipe for soup: cook onions and carrots in butter, add salt and pepper" >"$MNT/doc/b"
	echo "The orchestra played a symphony; violins and piano followed the conductor" >"$MNT/doc/c"
	head -c 100 /dev/urandom | tr '\0-\177' '\0' >"$MNT/doc/binary"
	vexctl collection create "$MNT" doc --dim 100
	vexctl embed "$MNT/doc" --collection doc
	first() { vexctl search "$MNT/doc" --collection doc --text "$1" -k 3 --json | sed 's/"},.*//; s/.*\[{"key":[0-9]*,"path":"//; s/".*//'; }
	[ "$(first "music concert")" = "$MNT/doc/c" ]
	[ "$(first "delicious food in the kitchen")" = "$MNT/doc/b" ]
	[ "$(first "smaller data")" = "$MNT/doc/a" ]
	[ -z "$(vexctl embed "$MNT/doc/a" --collection doc --list)" ]
	echo "and now something about football" >>"$MNT/doc/a"
	vexctl embed "$MNT/doc" --collection doc --list | grep -q "^stale .*doc/a"
	vexctl embed "$MNT/doc" --collection doc | grep -q "embedded 1 files"
	vexctl collection create "$MNT" own --dim 1 --metric l2
	vexctl embed "$MNT/doc/b" --collection own --chunk 64 --command "wc -c | sed 's/.*/[&]/'"
	vexctl get "$MNT/doc/b" --collection own | grep -q "bytes 0+"
}
if [ -e /usr/share/vexfs/glove100.vexemb ]; then
	t "files are found by meaning" ve_meaning
else
	skip "files are found by meaning" "the word vectors are not there"
fi

ve_import() {
	cp "$ve_data/glove100_words.txt" "$MNT/words"
	head -c 40400 "$ve_data/glove100_query.fvecs" >"$WORK/query.fvecs"
	local m
	for m in l2 cosine; do
		vexctl collection create "$MNT" "glove-$m" --dim 100 --metric $m
		vexctl import "$MNT/words" --collection "glove-$m" --vectors "$ve_data/glove100_base.fvecs"
	done
	ve_clean
}
ve_truth() {
	vexctl search "$MNT" --collection "glove-$1" --vectors "$WORK/query.fvecs" -k 10 --exact --json >"$WORK/found"
	ve_op truth "$WORK/found" "$ve_data/glove100_gt_$2.ivecs" 100
}
if [ -e $ve_data/glove100_base.fvecs ]; then
	t "100,000 real vectors go in and survive a remount" ve_import
	t "exact top 10 of 100 queries, L2" ve_truth l2 l2
	t "exact top 10 of 100 queries, cosine" ve_truth cosine cos
else
	skip "100,000 real vectors" "no ../shared/data beside the checkout"
fi
t "the volume is clean in the end" ve_clean
