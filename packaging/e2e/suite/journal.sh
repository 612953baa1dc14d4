# The journal has fields to search for, and no secrets.
# shellcheck shell=bash source=packaging/e2e/suite/lib.sh
. /e2e/suite/lib.sh

installed
check 'a read' as reader tokenctl get finam
exits 7 'a read that is denied' as stranger tokenctl get finam
token=$(tokenctl get finam)
need systemctl restart tokend.service
journalctl --sync

# entry MATCH…: the newest entry that matches, as JSON.
entry() { journalctl -b -o json --no-pager -n 1 "$@"; }
# field NAME: of the JSON on standard input.
field() { sed -n "s/.*\"$1\":\"\\([^\"]*\\)\".*/\\1/p"; }
renewed=$(entry TOKEND_CREDENTIAL=finam TOKEND_OUTCOME=login)
is 'a login is found by its credential and outcome' finam "$(field TOKEND_CREDENTIAL <<<"$renewed")"
is 'with the provider' finam "$(field TOKEND_PROVIDER <<<"$renewed")"
is 'the state' fresh "$(field TOKEND_STATE <<<"$renewed")"
is 'a priority' 6 "$(field PRIORITY <<<"$renewed")"
is 'the unit' tokend.service "$(field _SYSTEMD_UNIT <<<"$renewed")"
is 'a name for journalctl -t' tokend "$(field SYSLOG_IDENTIFIER <<<"$renewed")"
is 'through the journal'\''s own door' journal "$(field _TRANSPORT <<<"$renewed")"
denied=$(entry TOKEND_UID="$(id -u stranger)")
is 'who was denied is there' warning "$(journalctl -b --no-pager -q -p warning..warning TOKEND_UID="$(id -u stranger)" | grep -q . && echo warning)"
is 'by its number' "$(id -u stranger)" "$(field TOKEND_UID <<<"$denied")"
is 'for what' finam "$(field TOKEND_CREDENTIAL <<<"$denied")"
is 'no secret is in the journal' 0 "$(journalctl -b -o export --all --no-pager | grep -caF -e your-api-secret-key -e "$token")"
is 'nor in what the unit shows' 0 "$({ systemctl show tokend.service; systemctl status tokend.service; } | grep -cF -e your-api-secret-key -e "$token")"
is 'nothing worse than a warning' '' "$(journalctl -b -u tokend.service -p err -q --no-pager)"
done_
