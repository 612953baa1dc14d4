# A daemon that hangs is restarted, and one that does not is left alone.
# shellcheck shell=bash source=packaging/e2e/suite/lib.sh disable=SC2016,SC2317
. /e2e/suite/lib.sh

installed
like 'the unit has a watchdog' '^[1-9]' "$(show WatchdogUSec)"
printf '[Service]\nWatchdogSec=4s\n' | drop_in watchdog
need systemctl restart tokend.service

# pinged N: the watchdog was pinged since the start, and that at least N s ago.
pinged() { (($(show WatchdogTimestampMonotonic) - $(show ActiveEnterTimestampMonotonic) > $1 * 1000000)); }
comes 'pings come for three times the watchdog'\''s time' pinged 9
is 'without a restart' 0 "$(show NRestarts)"

pid=$(show MainPID)
kill -STOP "$pid"
comes 'a daemon that hangs is ended' matches NRestarts '^1$'
comes 'and another one started' matches ActiveState '^active$'
like 'another process' '^[1-9]' "$(show MainPID | grep -vx "$pid")"
check 'which serves' as reader tokenctl get finam
is 'the same token: nobody had to log in again' '1 1' "$(logins)"
journalctl --sync
like 'the journal says why' 'Watchdog timeout' "$(journalctl -u tokend.service --no-pager)"

# A stop that has to wait for a renewal outlasts both times.
printf '[Service]\nTimeoutStopSec=3s\n' | drop_in timeout
need systemctl restart tokend.service
"$E2E/lookalikes" delay finam 6s
tokenctl renew finam --wait 0s >/dev/null 2>&1
asked() { [[ $(logins) == "2 1" ]]; }
waits asked
check 'a stop that waits for a renewal' systemctl stop tokend.service
is 'is given the time' success "$(show Result)"
is 'and the renewal came through' '2 2' "$(logins)"
done_
