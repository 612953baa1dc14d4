# Installed, started, told about itself, reloaded.
# shellcheck shell=bash source=packaging/e2e/suite/lib.sh
. /e2e/suite/lib.sh

installed
is 'the package brings the service up' active "$(systemctl is-active tokend.service)"
is 'and the socket' active "$(systemctl is-active tokend.socket)"
is 'both are enabled' $'enabled\nenabled' "$(systemctl is-enabled tokend.service tokend.socket)"
comes 'the system is well' systemctl is-system-running
is 'anybody may connect to the socket' '666 root root' "$(stat -c '%a %U %G' "$SOCKET")"
is 'its directory is for root to write' '755 root root' "$(stat -c '%a %U %G' /run/tokend)"
is 'it runs as a user of its own' tokend "$(stat -c %U "/proc/$(show MainPID)")"
is 'what it keeps is its own' '700 tokend' "$(stat -c '%a %U' /var/lib/tokend)"
check 'a token' as reader tokenctl get finam
check 'the units are in order' systemd-analyze verify --man=no tokend.service tokend.socket
# An old systemd passes over what it does not know, and a drop-in makes up for it.
new='Failed to parse service type, ignoring: notify-reload|Unknown key .Restart(Steps|MaxDelaySec).|Failed to parse boolean value, ignoring: identity'
[[ $(version) -lt 257 ]] || new='^$'
is 'nothing else in them is unknown to systemd' '' "$(systemd-analyze verify --man=no tokend.service tokend.socket 2>&1 | grep -vE "$new")"

# Ready before anybody could have logged in.
"$E2E/lookalikes" delay finam 20s
finam 'allow = ["user:reader"]' | sed 's/finam\]/slow]/' >/tmp/slow
(finam 'allow = ["user:reader"]'; cat /tmp/slow) | credentials
need systemctl restart tokend.service
check 'ready without waiting for a login' tokenctl list
comes 'the status line counts what is there' matches StatusText '^1 fresh, 1 pending'
"$E2E/lookalikes" delay finam 0s
finam 'allow = ["user:reader"]' | credentials
comes 'a changed file is in force without a word' matches StatusText '^1 fresh$'

pid=$(show MainPID)
check 'reload' systemctl reload tokend.service
is 'the service goes on' "active $pid" "$(show ActiveState) $(show MainPID)"
printf 'allow = 1\n' | cat "$FILE" - >/tmp/bad
credentials </tmp/bad
exits 0 'reload of a bad file is no end of the unit' systemctl reload tokend.service
comes 'its status line says where the file is bad' matches StatusText "^credentials file not in force: $FILE:[0-9]+:[0-9]+: "
is 'the service goes on with the old one' "active $pid" "$(show ActiveState) $(show MainPID)"
check 'and serves' as reader tokenctl get finam
exits 11 'tokenctl says so too' tokenctl reload
finam 'allow = ["user:reader"]' | credentials
check 'reload of a mended file' systemctl reload tokend.service
comes 'its status line is about tokens again' matches StatusText '^1 fresh$'
is 'all reloads went well for systemd' success "$(show ReloadResult)"
is 'all that without a restart' 0 "$(show NRestarts)"

check 'stop' systemctl stop tokend.service
is 'a clean one' 'success 0' "$(show Result) $(show ExecMainStatus)"
done_
