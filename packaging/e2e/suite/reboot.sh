# Over a reboot the tokens stay. The first boot ends with a token, the second begins
# with it.
# shellcheck shell=bash source=packaging/e2e/suite/lib.sh
. /e2e/suite/lib.sh

case $1 in
1)
	installed
	tokenctl get finam >/root/token
	check 'a token before the reboot' test -s /root/token
	;;
2)
	lookalikes
	comes 'the service is up again by itself' matches StatusText '^1 fresh$'
	is 'the token is the same' "$(cat /root/token)" "$(as reader tokenctl get finam)"
	is 'nobody had to log in' '0 0' "$(logins)"
	is 'the system is well' running "$(systemctl is-system-running --wait)"
	;;
esac
done_
