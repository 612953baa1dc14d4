# The drop-ins for common wishes, as packaging/README.md has them.
# shellcheck shell=bash source=packaging/e2e/suite/lib.sh disable=SC2317
. /e2e/suite/lib.sh

need groupadd trading
need useradd --groups trading trader
need useradd --uid 70000 far
installed
finam 'allow = ["user:reader", "user:trader", "user:far"]' | credentials
need tokenctl reload

# Users above 65535. An old systemd knows no identity, and hides nobody.
if [[ $(version) -ge 257 ]]; then
	exits 7 'a user above 65535 is nobody' as far tokenctl get finam
fi
drop_in users <<-'END'
	[Service]
	PrivateUsers=no
END
need systemctl restart tokend.service
check 'and somebody without PrivateUsers=' as far tokenctl get finam
check 'the others go on' as reader tokenctl get finam

# Only a group may connect at all.
mkdir -p /etc/systemd/system/tokend.socket.d
cat >/etc/systemd/system/tokend.socket.d/group.conf <<-'END'
	[Socket]
	SocketMode=0660
	SocketGroup=trading
END
need systemctl daemon-reload
need systemctl restart tokend.socket
is 'the socket is for a group' '660 root trading' "$(stat -c '%a %U %G' "$SOCKET")"
check 'whose members may connect' as trader tokenctl get finam
like 'and others may not' 'may not connect' "$(as reader tokenctl get finam 2>&1)"
check 'but root' tokenctl get finam

# Metrics on TCP, and addresses that may be called.
metrics() { exec 3<>/dev/tcp/127.0.0.1/9250 && printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3 && cat <&3; }
drop_in network <<-'END'
	[Service]
	Environment=TOKEND_METRICS_LISTEN=127.0.0.1:9250
	IPAddressDeny=any
	IPAddressAllow=localhost
END
need systemctl restart tokend.service
like 'metrics are on TCP' 'tokend_config_last_reload_successful 1' "$(metrics 2>&1)"
check 'a login to an address that is allowed' tokenctl drop finam
done_
