#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The guest's part of power_cut.sh: check what the last cut left, then work until
# the power goes. Arguments: ROUND JOB SEED.
set -eu

round=$1
job=$2
seed=$3
dev=/dev/vdb
mnt=/mnt/v
promised=/mnt/share/promised
data="python3 /mnt/vexfs-src/test_env/suites/data_ops.py"
mkdir -p $mnt

if [ "$round" = 1 ]; then
	mkfs.vexfs -q $dev
else
	fsck.vexfs -n $dev || { echo "fsck -n before the mount: $?"; exit 1; }
fi
mount -t vexfs $dev $mnt

# What was promised: files by digest, collections by their number of records.
while read -r kind what value; do
	case $kind in
	file)
		sum=$(sha256sum <"$mnt/$what") || { echo "lost: $what"; exit 1; }
		[ "${sum%% *}" = "$value" ] || { echo "changed: $what"; exit 1; }
		;;
	collection)
		n=$(vexctl collection show $mnt "$what" --json |
			python3 -c 'import json, sys; print(json.load(sys.stdin)["records"])')
		[ "$n" = "$value" ] || { echo "collection $what: $n records of $value"; exit 1; }
		;;
	index)
		# It goes on where it was, and looks through what may be torn.
		vexctl index wait $mnt --collection "$what" ||
			{ echo "collection $what: its index does not get ready"; exit 1; }
		vexctl index verify $mnt --collection "$what" ||
			{ echo "collection $what: its index is damaged"; exit 1; }
		;;
	esac
done <$promised
# What the data job wrote keeps a log of its own.
[ ! -s /mnt/share/data ] || $data recovered $mnt/data /mnt/share/data
umount $mnt
fsck.vexfs -n $dev || { echo "fsck -n after the unmount: $?"; exit 1; }
[ "$job" != none ] || exit 0

mount -t vexfs $dev $mnt
promise() {
	echo "$@" >>$promised
	sync $promised
}

# Keep the disk from filling up, and deletions in the mix.
[ "$round" -le 3 ] || {
	old=$((round - 3))
	grep -v -e " round$old/" -e "^collection c${old}[ -]" -e "^index c$old " $promised >/tmp/left || :
	cat /tmp/left >$promised
	sync $promised
	rm -rf "$mnt/round$old" &
}

# An index has to be there before it can be cut.
[ "$job" = index ] || touch /mnt/share/ready
case $job in
cp)
	n=0
	while :; do
		n=$((n + 1))
		mkdir -p "$mnt/round$round/$n"
		for d in /usr/share/doc/*; do
			cp -a "$d" "$mnt/round$round/$n/"
			f=$(find "$mnt/round$round/$n/${d##*/}" -type f | head -n 1)
			[ -n "$f" ] || continue
			sync "$f"
			promise file "${f#"$mnt/"}" "$(sha256sum <"$f" | cut -d' ' -f1)"
		done
	done
	;;
data)
	mkdir -p $mnt/data
	$data work $mnt/data /mnt/share/data --seed "$seed"
	;;
index)
	# An index is built, and changed while records come and go.
	mkdir "$mnt/round$round"
	c=c$round
	vexctl collection create $mnt $c --dim 32 >/dev/null
	python3 - "$mnt/round$round" "$seed" <<'PY'
import random, struct, sys
rnd = random.Random(int(sys.argv[2]))
for part in range(8):
    with open("%s/part%d" % (sys.argv[1], part), "w") as text, open("/tmp/v%d.fvecs" % part, "wb") as vecs:
        with open("/tmp/keys%d" % part, "w") as keys:
            for i in range(300):
                text.write("line %d\n" % i)
                keys.write("%d\n" % (300 * part + i))
                vecs.write(struct.pack("<i32f", 32, *(rnd.gauss(0, 1) for _ in range(32))))
PY
	put_part() {
		vexctl import "$mnt/round$round/part$1" --collection $c --vectors "/tmp/v$1.fvecs" \
			--keys "/tmp/keys$1" >/dev/null
	}
	for part in 0 1 2 3; do put_part $part; done
	vexctl index create $mnt --collection $c --no-wait >/dev/null
	sync -f $mnt
	promise index $c -
	touch /mnt/share/ready
	n=0
	while :; do
		n=$((n + 1))
		put_part $((n % 8))
		cp "$mnt/round$round/part$(((n + 4) % 8))" "$mnt/round$round/new"
		mv "$mnt/round$round/new" "$mnt/round$round/part$(((n + 4) % 8))"
		[ $((n % 3)) != 0 ] || sync -f $mnt
	done
	;;
import)
	python3 - "$mnt/round$round" <<'PY'
import os, random, struct, sys
os.makedirs(sys.argv[1])
rnd = random.Random(len(sys.argv[1]))
with open(sys.argv[1] + "/lines", "w") as text, open("/tmp/v.fvecs", "wb") as vecs:
    for i in range(4000):
        text.write("line %d\n" % i)
        vecs.write(struct.pack("<i32f", 32, *(rnd.gauss(0, 1) for _ in range(32))))
PY
	n=0
	while :; do
		n=$((n + 1))
		c=c$round
		[ $n = 1 ] || c=c$round-$n
		vexctl collection create $mnt $c --dim 32 >/dev/null
		vexctl import "$mnt/round$round/lines" --collection $c --vectors /tmp/v.fvecs >/dev/null
		sync -f $mnt
		promise collection $c 4000
	done
	;;
esac
