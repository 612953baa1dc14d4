# Nobody loses a request: not at a restart, a reload, a crash or an upgrade.
# shellcheck shell=bash source=packaging/e2e/suite/lib.sh disable=SC2016,SC2317
. /e2e/suite/lib.sh

installed

# Two callers, each with a count of its calls, until hang_up: tokenctl, and a program
# that forgives nothing, or repeats a call whose connection ended without an answer,
# as tokenctl does.
mkdir -m 1777 /tmp/calls
tokenctl_calls() {
	local n=0
	while [[ ! -e /tmp/calls/stop ]]; do
		tokenctl get finam >/dev/null || echo "tokenctl exits with $?"
		echo $((++n)) >/tmp/calls/tokenctl.new
		mv /tmp/calls/tokenctl.new /tmp/calls/tokenctl
	done
}
export -f tokenctl_calls
reader=(setpriv --reuid reader --regid reader --init-groups)
declare -A caller
dial() {
	local raw=$1 # call, or recall where what is in flight must die
	rm -f /tmp/calls/*
	"${reader[@]}" bash -c tokenctl_calls >/tmp/calls/tokenctl.log 2>&1 &
	caller[tokenctl]=$!
	COUNT=/tmp/calls/raw "${reader[@]}" "$E2E/lookalikes" "$raw" "$SOCKET" /v1/tokens/finam >/tmp/calls/raw.log 2>&1 &
	caller[raw]=$!
	more
}

# more: both callers got answers to calls that began after this.
more() {
	local who from
	for who in tokenctl raw; do
		from=$(cat "/tmp/calls/$who" 2>/dev/null || echo 0)
		waits beyond "$who" $((from + 3))
	done
}
beyond() { (($(cat "/tmp/calls/$1") >= $2)); }

hang_up() {
	more
	touch /tmp/calls/stop
	kill -TERM "${caller[raw]}"
	wait "${caller[raw]}"
	is "$1: no call of a plain client is lost" 0 $?
	sed 's/^/        /' /tmp/calls/raw.log
	wait "${caller[tokenctl]}"
	is "$1: nor one of tokenctl's ($(cat /tmp/calls/tokenctl) of them)" '' "$(head -20 /tmp/calls/tokenctl.log)"
}

dial call
for _ in 1 2 3 4 5; do
	need systemctl restart tokend.service
	more
done
hang_up restarts

dial call
for _ in 1 2 3 4 5; do
	need systemctl reload tokend.service
	finam 'allow = ["user:reader"]' "timeout = \"$((RANDOM % 50 + 10))s\"" | credentials
	more
done
hang_up reloads

dial call
need systemctl stop tokend.service
more
need systemctl daemon-reexec
need systemctl restart tokend.service
hang_up 'a stop, and a new systemd'

dial recall
for n in 1 2 3; do
	pid=$(show MainPID)
	kill -KILL "$pid"
	waits matches MainPID "^[1-9]"
	waits shows NRestarts "$n"
	waits shows ActiveState active
	more
done
hang_up crashes

before=$(dpkg-query -W -f '${Version}' tokend)
dial call
need dpkg -i "$E2E/two.deb"
more
hang_up 'an upgrade'
is 'from one version' 0.0.1-1 "$before"
is 'to another' 0.0.2-1 "$(dpkg-query -W -f '${Version}' tokend)"
like 'which runs' '"version":"v0.0.2"' "$("$E2E/lookalikes" get "$SOCKET" /v1/health)"
is 'all that cost one login' '1 1' "$(logins)"
is 'and nothing failed' 'running' "$(systemctl is-system-running)"
done_
