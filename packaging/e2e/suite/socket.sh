# The socket is systemd's: who connects starts the service, and a bad file does not
# take it down.
# shellcheck shell=bash source=packaging/e2e/suite/lib.sh
. /e2e/suite/lib.sh

installed
need systemctl stop tokend.service
is 'the socket outlives the service' active "$(systemctl is-active tokend.socket)"
check 'who connects starts it' as reader tokenctl get finam
is 'it runs' active "$(systemctl is-active tokend.service)"

# A bad file at the start.
need systemctl stop tokend.service
printf '[credentials.finam]\nprovidr = "finam"\n' | credentials
check 'with a bad file it starts' systemctl start tokend.service
pid=$(show MainPID)
comes 'and says so' matches StatusText "^credentials file not in force: $FILE:[0-9]+:[0-9]+: "
exits 11 'every call is answered with invalid' as reader tokenctl get finam
exits 11 'tokenctl list too' tokenctl list
exits 11 'and a reload' tokenctl reload
check 'but for health' timeout 60 "$E2E/lookalikes" get "$SOCKET" /v1/health
finam 'allow = ["user:reader"]' | credentials
comes 'mended, it serves' as reader tokenctl get finam
is 'in the same process' "active $pid" "$(show ActiveState) $(show MainPID)"
is 'without a restart' 0 "$(show NRestarts)"
rm "$FILE"
need systemctl restart tokend.service
exits 11 'a missing file is a bad one' as reader tokenctl get finam
finam 'allow = ["user:reader"]' | credentials
comes 'written, it serves' as reader tokenctl get finam

# Without a socket there is nothing to keep up.
printf '[credentials.finam]\nprovidr = "finam"\n' | credentials
need systemctl stop tokend.service tokend.socket
is 'a stopped socket is gone' '' "$(find /run/tokend -type s 2>&1 | grep -v 'No such')"
sed '/^Requires=/d; s/^After=tokend.socket/After=/' "$(show FragmentPath)" >/etc/systemd/system/alone.service
sed -i 's/^StateDirectory=.*/&\nRuntimeDirectory=tokend/; /^Also=/d' /etc/systemd/system/alone.service
[[ $(version) -ge 254 ]] || sed -i 's/^Type=.*/Type=notify/' /etc/systemd/system/alone.service
need systemctl daemon-reload
exits 1 'without the socket unit a bad file ends the start' systemctl start alone.service
is 'with EX_CONFIG' '78 exit-code failed 0' "$(show ExecMainStatus alone.service) $(show Result alone.service) $(show ActiveState alone.service) $(show NRestarts alone.service)"
like 'its last words are in the status' '^not started: ' "$(show StatusText alone.service)"
finam 'allow = ["user:reader"]' | credentials
check 'mended, it starts' systemctl start alone.service
check 'and serves' as reader tokenctl get finam
done_
