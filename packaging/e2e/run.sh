#!/usr/bin/env bash
# run.sh [SUITE…]: the test under a real systemd. Each suite (all, if none is named)
# runs in a freshly booted system of its own, as PID 1 of new namespaces (boot.sh),
# once for each release of Debian in E2E_RELEASES, with the package installed. Needs
# root, and what apt-get, make and the Go proxy give. In the environment:
#
#   V=1            shows every check, not only those of suites that fail
#   E2E_JOBS       systems at a time (2)
#   E2E_BUILT      a folder with one.deb, two.deb and lookalikes, instead of building them
#   SDBOOT_CACHE   where the trees that are booted are kept (/var/cache/sdboot)
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
read -ra releases <<<"${E2E_RELEASES:-trixie bookworm}"
export SDBOOT_PKGS=${SDBOOT_PKGS-socat,procps}
export SDBOOT_RUN=${SDBOOT_RUN:-/run/tokend-e2e}

if [ "$(id -u)" -ne 0 ]; then
	echo "e2e: booting systemd needs root: nothing was tested. Run it as root, as in: sudo make e2e" >&2
	exit 1
fi
(($#)) || mapfile -t suites < <(basename -s .sh "$here"/suite/*.sh | grep -vx lib)
(($#)) && suites=("$@")

work=$(mktemp -d /tmp/tokend-e2e.XXXXXX)
cleanup() {
	local system
	trap '' INT TERM
	mapfile -t running < <(jobs -rp)
	((${#running[@]} == 0)) || kill -TERM "${running[@]}" 2>/dev/null || true
	for system in "$SDBOOT_RUN/e2e-$$"-*; do
		[ ! -d "$system" ] || "$here/boot.sh" stop "$(basename "$system")" || true
	done
	wait || true
	! mountpoint -q "$work/kept" || umount "$work/kept"
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# build makes a package, and one to upgrade to.
build() {
	local arch version
	arch=$(go env GOARCH)
	for version in 0.0.1 0.0.2; do
		make --no-print-directory -C "$here/../.." package VERSION=v$version ARCHS="$arch" FORMATS=deb
	done
	mv "$here/../../dist/tokend_0.0.1-1_$arch.deb" "$work/lent/one.deb"
	mv "$here/../../dist/tokend_0.0.2-1_$arch.deb" "$work/lent/two.deb"
	(cd "$here" && CGO_ENABLED=0 go build -trimpath -o "$work/lent/lookalikes" ./lookalikes)
}

# What the systems are lent.
begun=$SECONDS
trees=()
for release in "${releases[@]}"; do
	SDBOOT_SUITE=$release "$here/boot.sh" tree >/dev/null &
	trees+=($!)
done
mkdir "$work/lent"
if [ -n "${E2E_BUILT:-}" ]; then cp "$E2E_BUILT"/{one.deb,two.deb,lookalikes} "$work/lent"; else build; fi
cp -r "$here/suite" "$work/lent/suite"
chmod -R a+rX "$work/lent"

# What a system keeps over a reboot. An overlay on an overlay would not do.
mkdir "$work/kept"
mount -t tmpfs tokend-e2e "$work/kept"

# boots SUITE is how many times the suite's system boots.
boots() { if [ "$1" = reboot ]; then echo 2; else echo 1; fi; }

# run RELEASE SUITE: its exit status is the suite's.
run() {
	local release=$1 suite=$2 name=e2e-$$-$1-$2 boot code=0
	local upper=()
	export SDBOOT_SUITE=$release
	[ "$(boots "$suite")" -eq 1 ] || upper=(--upper "$work/kept/$name")
	for ((boot = 1; boot <= $(boots "$suite") && code == 0; boot++)); do
		"$here/boot.sh" start "$name" --bind-ro "$work/lent:/e2e" "${upper[@]}" || return 1
		timeout --foreground -k 10 240 "$here/boot.sh" exec "$name" bash "/e2e/suite/$suite.sh" "$boot" </dev/null || code=$?
		if [ "$code" -ne 0 ]; then
			echo "  ---- exit $code; the journal of that system:"
			"$here/boot.sh" exec "$name" journalctl -b --no-pager -o short-precise -n 400 </dev/null | sed 's/^/  | /' || true
		fi
		"$here/boot.sh" stop "$name" || code=1
	done
	return "$code"
}

for tree in "${trees[@]}"; do wait "$tree"; done
echo "e2e: what it takes is there after $((SECONDS - begun)) s"

# one RELEASE SUITE: run it, with its words kept together.
one() {
	local begun=$SECONDS code=0 out="$work/$1-$2.out"
	run "$1" "$2" >"$out" 2>&1 || code=$?
	{
		flock 9
		if [ "$code" -eq 0 ]; then echo "ok    $1 $2, $((SECONDS - begun)) s"; else echo "FAIL  $1 $2, $((SECONDS - begun)) s"; fi
		if [ "$code" -ne 0 ] || [ -n "${V:-}" ]; then cat "$out"; fi
	} 9>"$work/lock"
	[ "$code" -ne 0 ] || touch "$work/$1-$2.passed"
}

for suite in "${suites[@]}"; do
	for release in "${releases[@]}"; do
		while [ "$(jobs -rp | wc -l)" -ge "${E2E_JOBS:-2}" ]; do wait -n || true; done
		one "$release" "$suite" &
	done
done
wait
# Counted, so that a suite that never came to its end does not pass.
passed=$(find "$work" -maxdepth 1 -name '*.passed' | wc -l)
if [ "$passed" -ne $((${#suites[@]} * ${#releases[@]})) ]; then
	echo "e2e: failed after $((SECONDS - begun)) s" >&2
	exit 1
fi
echo "e2e: all passed in $((SECONDS - begun)) s"
