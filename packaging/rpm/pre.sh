# The owner of /etc/tokend has to be there before the files are.
systemd-sysusers --replace=/usr/lib/sysusers.d/tokend.conf - <<'END'
@SYSUSERS@
END
