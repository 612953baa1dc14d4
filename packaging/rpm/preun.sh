if [ "$1" -eq 0 ]; then # it goes, and is not replaced
	systemctl --no-reload disable tokend.service tokend.socket || :
	if [ -d /run/systemd/system ]; then
		systemctl stop tokend.service tokend.socket || :
	fi
	/usr/lib/tokend/fit-systemd --remove || :
fi
