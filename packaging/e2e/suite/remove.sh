# Removing keeps what was entrusted to it; purging does not.
# shellcheck shell=bash source=packaging/e2e/suite/lib.sh
. /e2e/suite/lib.sh

installed
token=$(tokenctl get finam)
check 'remove' dpkg -r tokend
exits 1 'the programs are gone' test -e /usr/bin/tokend
is 'nothing listens' '' "$(find /run/tokend -type s 2>/dev/null)"
is 'no process is left' '' "$(pgrep -x tokend)"
check 'the credentials file stays' test -s "$FILE"
check 'and the tokens' test -s /var/lib/tokend/tokens.db
need systemctl daemon-reload
is 'no unit is left, nor a drop-in' '' "$(find /usr/lib/systemd /usr/lib/tokend -name '*tokend*' 2>/dev/null)"
is 'systemd knows no such unit' not-found "$(show LoadState)"
check 'the system is well' systemctl is-system-running

check 'installed again' dpkg -i "$E2E/two.deb"
comes 'it is as before' matches StatusText '^1 fresh$'
is 'with the same token' "$token" "$(as reader tokenctl get finam)"
is 'and one login in all' '1 1' "$(logins)"

check 'purge' dpkg -P tokend
is 'nothing is left' '' "$(ls -d /etc/tokend /var/lib/tokend /var/lib/private/tokend /etc/systemd/system/*tokend* /etc/systemd/system/*/*tokend* 2>/dev/null)"
check 'the system is well' systemctl is-system-running
done_
