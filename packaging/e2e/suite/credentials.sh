# Secrets that systemd keeps: plain, sealed, and the store's key.
# shellcheck shell=bash source=packaging/e2e/suite/lib.sh disable=SC2016,SC2317
. /e2e/suite/lib.sh

# says NAME STATE: tokenctl says that the credential is in that state.
says() { tokenctl status "$1" --json | grep -q "\"state\":\"$2\""; }

installed
mkdir -m 700 /etc/tokend/keys
printf your-api-secret-key >/etc/tokend/keys/plain
need systemd-creds setup
printf your-api-secret-key | systemd-creds encrypt --with-key=host --name=sealed - /etc/tokend/keys/sealed.cred 2>/dev/null
head -c 32 /dev/urandom >/etc/tokend/keys/store
drop_in credentials <<-'END'
	[Service]
	LoadCredential=plain:/etc/tokend/keys/plain
	LoadCredentialEncrypted=sealed:/etc/tokend/keys/sealed.cred
END
(finam | sed 's/finam\]/plain]/; s/^secret.*/secret = { credential = "plain" }/'
	finam | sed 's/finam\]/sealed]/; s/^secret.*/secret = { credential = "sealed" }/') | credentials
need systemctl restart tokend.service
comes 'a plain credential logs in' tokenctl get plain
comes 'and a sealed one' tokenctl get sealed
like 'tokend check does not need them' 'in order' "$(tokend check "$FILE" 2>&1)"

# Changed: only a restart brings it.
printf another >/etc/tokend/keys/plain
need systemctl restart tokend.service
comes 'another secret is refused' says plain refused
like 'and the log says what brings another' 'arrives with a restart of tokend' "$(tokenctl status plain 2>&1; journalctl -u tokend.service --no-pager | grep refused)"
printf your-api-secret-key >/etc/tokend/keys/plain
need systemctl reload tokend.service
need systemctl restart tokend.service
comes 'the right one again serves after a restart' says plain fresh

# Not there: the unit does not start without it.
mv /etc/tokend/keys/sealed.cred /etc/tokend/keys/sealed.away
exits 1 'a missing credential keeps the unit from starting' timeout 20 systemctl restart tokend.service
journalctl --sync
like 'and systemd says why' 'status=243/CREDENTIALS' "$(journalctl -u tokend.service -b --no-pager)"
mv /etc/tokend/keys/sealed.away /etc/tokend/keys/sealed.cred
comes 'it starts once that is there' shows ActiveState active

# The store's key from outside: the store is of no use without it.
need systemctl stop tokend.service
rm -rf /var/lib/tokend/*
echo 'LoadCredential=tokend.key:/etc/tokend/keys/store' >>/etc/systemd/system/tokend.service.d/credentials.conf
need systemctl daemon-reload
need systemctl start tokend.service
comes 'with a key of its own' tokenctl get plain
check 'no key lies beside the store' test ! -e /var/lib/tokend/store.key
token=$(tokenctl get plain)
need systemctl restart tokend.service
is 'the store opens with it' "$token" "$(tokenctl get plain)"
need systemctl stop tokend.service
sed -i '/=tokend\.key:/d' /etc/systemd/system/tokend.service.d/credentials.conf
need systemctl daemon-reload
exits 1 'and not without it' systemctl start tokend.service
journalctl --sync
like 'which the log says' 'tokend.key' "$(journalctl -u tokend.service -p err -b --no-pager)"
echo 'LoadCredential=tokend.key:/etc/tokend/keys/store' >>/etc/systemd/system/tokend.service.d/credentials.conf
need systemctl daemon-reload
comes 'it starts with the key again' shows ActiveState active
is 'and has the same token' "$token" "$(tokenctl get plain)"
done_
