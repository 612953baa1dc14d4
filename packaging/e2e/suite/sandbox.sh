# The sandbox, as seen from inside.
# shellcheck shell=bash source=packaging/e2e/suite/lib.sh disable=SC2016,SC2317
. /e2e/suite/lib.sh

installed
pid=$(show MainPID)
# state FIELD: of the process.
state() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status"; }
is 'no capability is left' '0000000000000000 0000000000000000 0000000000000000 0000000000000000' \
	"$(state CapEff) $(state CapPrm) $(state CapBnd) $(state CapAmb)"
is 'none can be had' 1 "$(state NoNewPrivs)"
is 'system calls are filtered' 2 "$(state Seccomp)"
is 'no core is dumped' 0 "$(awk '/^Max core/ {print $5}' "/proc/$pid/limits")"
# inside COMMAND…: with its mounts and as its user.
inside() { nsenter --target "$pid" --mount -- setpriv --reuid tokend --regid tokend --clear-groups --bounding-set -all --no-new-privs "$@"; }
as_root() { nsenter --target "$pid" --mount -- "$@"; }
echo hush >/home/secret
echo hush >/root/secret
exits 1 'not even root could write to /etc' as_root bash -c 'touch /etc/x 2>/dev/null'
exits 1 'nor to /usr' as_root bash -c 'touch /usr/x 2>/dev/null'
exits 1 'homes are not there' as_root test -e /home/secret
exits 1 'nor is root'\''s' as_root test -e /root/secret
check 'it writes its state' inside test -w /var/lib/tokend
check 'and reads its file' inside test -r "$FILE"
exits 1 'which it cannot write' inside test -w "$FILE"
touch /tmp/outside
exits 1 'its /tmp is its own' as_root test -e /tmp/outside
is 'of devices there are the harmless ones' '' "$(as_root find /dev -type b -o -type c ! -path '/dev/pts*' ! -regex '/dev/\(null\|zero\|full\|random\|urandom\|tty\|ptmx\)')"
exits 1 'cgroups cannot be changed' as_root bash -c 'mkdir /sys/fs/cgroup/x 2>/dev/null'

# What the filter forbids shows in a program with the same settings, but for one that
# systemd-run does not know.
same=()
while IFS= read -r line; do same+=(-p "$line"); done < <(systemctl cat tokend.service |
	grep -v '^PrivateUsers=' | grep -E '^(CapabilityBoundingSet|NoNewPrivileges|Protect[A-Za-z]+|Private[A-Za-z]+|DevicePolicy|Restrict[A-Za-z]+|LockPersonality|MemoryDenyWriteExecute|SystemCall[A-Za-z]+|KeyringMode|UMask)=')
jailed() { systemd-run --quiet --collect --wait --pipe -p User=tokend "${same[@]}" "$@" </dev/null; }
exits 0 'a program with the same settings runs' jailed true
exits 1 'it makes no user namespace' jailed unshare --user true
exits 1 'nor changes what kind of machine it sees' jailed setarch --addr-no-randomize true
like 'nor a socket of another family' 'refused' "$(jailed perl -e 'use Socket; socket(my $s, 16, SOCK_RAW, 0) ? print "made" : print "refused: $!"' 2>&1)"
like 'nor a set-uid file' 'refused' "$(jailed perl -e 'open(my $f, ">", "/tmp/x"); chmod(04755, "/tmp/x") ? print "made" : print "refused: $!"' 2>&1)"

if [[ $(version) -ge 257 ]]; then
	check 'systemd'\''s own score is 1.2 or better' systemd-analyze security --threshold=12 --no-pager tokend.service
	like 'which is' 'Overall exposure' "$(systemd-analyze security --no-pager tokend.service | tail -1)"
fi
done_
