/usr/lib/tokend/fit-systemd || :
if [ "$1" -eq 1 ]; then # the first installation
	systemctl --no-reload preset tokend.socket tokend.service || :
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
fi
