# What every suite begins with. A suite is a list of checks that run inside a booted
# system of their own, as root; each prints a line, and the suite fails if one does.
# shellcheck shell=bash disable=SC2034,SC2317
set -uo pipefail
cd /

E2E=/e2e                      # debs, programs and suites, lent by the machine outside
SOCKET=/run/tokend/tokend.sock
FILE=/etc/tokend/credentials.toml
patience=60                   # seconds for a condition to come true, on a busy machine
failed=0

ok() { printf '  ok    %s\n' "$*"; }
fail() {
	printf '  FAIL  %s\n' "$1"
	shift
	if (($#)); then printf '%s\n' "$*" | sed 's/^/        /'; fi
	failed=1
}

# done_: what the suite ends with.
done_() { exit "$failed"; }

# check WHAT COMMAND…: it succeeds.
check() {
	local what=$1 out
	shift
	if out=$("$@" 2>&1); then ok "$what"; else fail "$what" "$* exits with $?: $out"; fi
}

# exits CODE WHAT COMMAND…: it exits with that code.
exits() {
	local want=$1 what=$2 out code
	shift 2
	out=$("$@" 2>&1)
	code=$?
	if ((code == want)); then ok "$what"; else fail "$what" "$* exits with $code, not $want: $out"; fi
}

# is WHAT WANT GOT: they are the same.
is() { if [[ $3 == "$2" ]]; then ok "$1"; else fail "$1" "got $3, want $2"; fi; }

# like WHAT PATTERN GOT: the extended regular expression matches.
like() { if [[ $3 =~ $2 ]]; then ok "$1"; else fail "$1" "got $3, want $2"; fi; }

# comes WHAT COMMAND…: it succeeds before our patience ends.
comes() {
	local what=$1 until=$((SECONDS + patience)) out
	shift
	until out=$("$@" 2>&1); do
		if ((SECONDS > until)); then
			fail "$what" "$*: not within $patience s; in the end: $out"
			return 1
		fi
		sleep 0.05
	done
	ok "$what"
}

# need COMMAND…: without it there is nothing to test.
need() {
	local out
	out=$("$@" 2>&1) || { fail "cannot go on: $*" "exits with $?: $out"; exit 1; }
}

# waits COMMAND…: comes, without a line for it; the end if it does not come.
waits() {
	local until=$((SECONDS + patience))
	until "$@" >/dev/null 2>&1; do
		if ((SECONDS > until)); then
			fail "cannot go on: $*" "not within $patience s"
			exit 1
		fi
		sleep 0.05
	done
}

# show PROPERTY [UNIT]: as systemctl has it.
show() { systemctl show --value -p "$1" "${2:-tokend.service}"; }

# shows PROPERTY VALUE [UNIT] and matches PROPERTY PATTERN [UNIT], for comes and waits.
shows() { [[ $(show "$1" "${3:-tokend.service}") == "$2" ]] || { show "$1" "${3:-tokend.service}"; return 1; }; }
matches() { [[ $(show "$1" "${3:-tokend.service}") =~ $2 ]] || { show "$1" "${3:-tokend.service}"; return 1; }; }

# as USER COMMAND…: as that user with its groups, in no unit.
as() { setpriv --reuid "$1" --regid "$1" --init-groups "${@:2}"; }

# unit PROPERTY… -- COMMAND…: in a unit of its own, to its end.
unit() {
	local properties=()
	while [[ $1 != -- ]]; do
		properties+=("$1")
		shift
	done
	systemd-run --quiet --collect --wait --pipe "${properties[@]}" "$@" </dev/null
}

# credentials: standard input becomes the credentials file, in one step.
credentials() {
	cat >"$FILE.new"
	chgrp tokend "$FILE.new"
	chmod 640 "$FILE.new"
	mv "$FILE.new" "$FILE"
}

# finam [LINE…] prints a credential of the look-alike of Finam, with further lines.
finam() {
	printf '[credentials.finam]\nprovider = "finam"\nurl = "http://127.0.0.1:8101"\nsecret = "your-api-secret-key"\n'
	if (($#)); then printf '%s\n' "$@"; fi
}

# drop_in NAME: standard input becomes a drop-in of the service.
drop_in() {
	mkdir -p /etc/systemd/system/tokend.service.d
	cat >"/etc/systemd/system/tokend.service.d/$1.conf"
	need systemctl daemon-reload
}

# version is systemd's.
version() { systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p'; }

# logins: those that the look-alike of Finam was asked for, and those that it granted.
logins() { "$E2E/lookalikes" logins finam; }

# lookalikes has them answer.
lookalikes() {
	need systemd-run --quiet --unit=lookalikes "$E2E/lookalikes" serve
	waits logins
}

# installed has the package installed, with people that have something to do with it
# and a credential that they may read.
installed() {
	need useradd --system --no-create-home reader
	need useradd --system --no-create-home stranger
	lookalikes
	need dpkg -i "$E2E/one.deb"
	finam 'allow = ["user:reader"]' | credentials
	waits matches StatusText '^1 fresh$'
}
