if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
	if [ "$1" -ge 1 ]; then # upgraded; the socket holds what connects meanwhile
		systemctl try-restart tokend.service || :
	fi
fi
