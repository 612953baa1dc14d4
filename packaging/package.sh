#!/usr/bin/env bash
# package.sh ARCH FORMAT: one package into dist, by nfpm. `make package` runs it for
# all, with VERSION, SOURCE_DATE_EPOCH and NFPM in the environment. The same commit
# gives the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
export LC_ALL=C TZ=UTC

export ARCH=$1
format=$2
: "${VERSION:?}" "${SOURCE_DATE_EPOCH:?}" "${NFPM:?}"
work=dist/$format-$ARCH
root=$work/root
doc=$root/usr/share/doc/tokend
rm -rf "$work"
mkdir -p "$doc" "$work/scripts"

# Numbers sort as people expect: 1.0.0~rc.1 < 1.0.0 < 1.0.0+3.g1a2b3c4 < 1.0.1. A
# commit before the first tag has its number in the history.
pkgversion() {
	case $VERSION in
	v[0-9]*)
		sed -E 's/^v//; s/-([0-9]+)-(g[0-9a-f]+)/+\1.\2/; s/-dirty$/+dirty/; s/-/~/g' <<<"$VERSION"
		;;
	*)
		printf '0.1.0~dev.%s+%s\n' "$(git rev-list --count HEAD 2>/dev/null || echo 0)" "${VERSION//-/.}"
		;;
	esac
}
PKGVERSION=$(pkgversion)
export PKGVERSION

zsh=/usr/share/zsh/site-functions
[ "$format" = rpm ] || zsh=/usr/share/zsh/vendor-completions
make --silent install DESTDIR="$root" PREFIX=/usr BIN="dist/bin-$ARCH" ZSHDIR=$zsh

# licenses prints those of what is linked into the programs.
licenses() {
	local path version dir file
	printf '==== the Go standard library and runtime\n\n'
	cat "$(go env GOROOT)/LICENSE"
	go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/... | sort -u |
		while read -r path version dir; do
			for file in "$dir"/LICENSE* "$dir"/NOTICE*; do
				[ -f "$file" ] || continue
				printf '\n==== %s %s: %s\n\n' "$path" "$version" "${file##*/}"
				cat "$file"
			done
		done
}
licenses | gzip -9n >"$doc/LICENSES.gz"
gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
gzip -9n "$root"/usr/share/man/man*/*

if [ "$format" = deb ]; then
	{
		cat packaging/debian/copyright
		sed -n '/^Permission/,$p' LICENSE | sed 's/^$/./; s/^/ /'
	} >"$doc/copyright"
	gzip -9n >"$doc/changelog.Debian.gz" <<-END
		tokend ($PKGVERSION-1) unstable; urgency=medium

		  * What is new is in changelog.gz.

		 -- $(sed -n 's/^maintainer: //p' packaging/nfpm.yaml)  $(date -R -d "@$SOURCE_DATE_EPOCH")
	END
	install -Dm644 packaging/debian/lintian-overrides "$root/usr/share/lintian/overrides/tokend"
	cp packaging/debian/{postinst,prerm,postrm} "$work/scripts"
else
	install -Dm644 -t "$root/usr/share/licenses/tokend" LICENSE
	cp packaging/rpm/*.sh "$work/scripts"
	sed -i '/@SYSUSERS@/{
		r packaging/systemd/tokend.sysusers
		d
	}' "$work/scripts/pre.sh"
fi

cd "$work"
"$NFPM" package --packager "$format" --config ../../packaging/nfpm.yaml --target ..
