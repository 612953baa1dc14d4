# Who may read what: users, groups and units, and attempts to pass for one.
# shellcheck shell=bash source=packaging/e2e/suite/lib.sh disable=SC2016,SC2086,SC2317
. /e2e/suite/lib.sh

need useradd --uid 1001 --create-home bob
need groupadd trading
need useradd --uid 1002 --create-home --groups trading eve
installed

# many prints credentials that need no login of their own: what counts here is who
# gets past the rules, and pending (4) or a token (0) says so as well as the other.
rule() { printf '[credentials.%s]\nprovider = "finam"\nurl = "http://127.0.0.1:1"\nsecret = "no-secret"\nallow = [%s]\n' "$1" "$2"; }
{
	printf '[defaults]\noperate = ["unit:ops.service"]\n'
	rule mine '"user:bob"'
	rule ours '"group:trading"'
	rule shop '"unit:shop.service"'
	rule workers '"unit:worker@.service"'
	rule one "'unit:worker@a.service', 'unit:esc\x2daped.service'"
	rule manager '"unit:user@1001.service"'
	rule all '"everyone"'
} | credentials
need systemctl reload tokend.service
waits matches StatusText '^7 pending'

get='tokenctl get --wait 0s'
# in UNIT [PROPERTY…] -- COMMAND…: in a unit of that name.
in_() {
	local name=$1 properties=()
	shift
	while [[ $1 != -- ]]; do
		properties+=(-p "$1")
		shift
	done
	systemd-run --quiet --wait --pipe --collect --unit="$name" "${properties[@]}" "${@:2}" </dev/null
}
may() { exits 4 "$@"; }
# may_not WHAT AS COMMAND…: denied, and told as whom.
may_not() {
	local out code
	out=$("${@:3}" 2>&1)
	code=$?
	if ((code == 7)) && [[ $out == *"$2"* ]]; then ok "$1"; else fail "$1" "${*:3} exits with $code, not 7 and as $2: $out"; fi
}

may 'a user by name' as bob $get mine
may_not 'another user' 'uid 1002' as eve $get mine
may 'a group that a user is in' as eve $get ours
may_not 'one that a user is not in' 'uid 1001' as bob $get ours
may 'root may do everything' $get mine
may 'everyone' as stranger $get all
may 'a user of a dynamic unit, as everyone' in_ dynamic.service DynamicUser=yes -- $get all
may_not 'but not by a name' 'uid 6' in_ dynamic.service DynamicUser=yes -- $get mine

may 'a unit' in_ shop.service User=bob -- $get shop
may 'with a dynamic user' in_ shop.service DynamicUser=yes -- $get shop
may 'in a slice of its own' in_ shop.service User=bob Slice=shop-web.slice -- $get shop
may 'sandboxed' in_ shop.service User=bob PrivateUsers=yes PrivateTmp=yes ProtectSystem=strict -- $get shop
may 'from a child' in_ shop.service User=bob -- bash -c "$get shop; exit \$?"
may 'an instance of a template' in_ worker@a.service User=bob -- $get workers
may 'another one' in_ 'worker@a\x2db.service' User=bob -- $get workers
may_not 'no instance' 'unit worker.service' in_ worker.service User=bob -- $get workers
may 'one instance by name' in_ worker@a.service User=bob -- $get one
may_not 'which is not another' 'unit worker@b.service' in_ worker@b.service User=bob -- $get one
may 'a name with an escape' in_ 'esc\x2daped.service' User=bob -- $get one
may_not 'is not the one without' 'unit esc-aped.service' in_ esc-aped.service User=bob -- $get one
exits 0 'a unit may reload' in_ ops.service User=eve -- tokenctl reload
exits 7 'another may not' in_ evil.service User=eve -- tokenctl reload
like 'whoami says the unit and the rule' '"unit":"shop.service".*"rule":"unit:shop.service"' "$(in_ shop.service User=bob -- tokenctl whoami --json | tr -d ' \n')"

# Names that are nearly right, and trees that a unit may shape.
cat >/tmp/nest <<'END'
#!/bin/bash
# nest PATH COMMAND…: run it in a cgroup of our own, below the unit's.
own=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
mkdir -p "$own/$1" && echo $$ >"$own/$1/cgroup.procs" || exit 99
exec "${@:2}"
END
chmod 755 /tmp/nest
may 'a cgroup below the unit is the unit' in_ shop.service User=bob Delegate=yes -- /tmp/nest evil.service $get shop
may_not 'a delegated tree with the unit in it' 'unit box.service' in_ box.service User=bob Delegate=yes -- /tmp/nest shop.service $get shop
may_not 'and with its slice' 'unit box.service' in_ box.service User=bob Delegate=yes -- /tmp/nest system.slice/shop.service $get shop
may_not 'in a cgroup namespace too' 'unit box.service' in_ box.service User=bob Delegate=yes -- /tmp/nest system.slice/shop.service unshare --user --map-root-user --cgroup $get shop
may_not 'a longer name' 'unit shop.service.service' in_ shop.service.service User=bob -- $get shop
may_not 'an instance of that name' 'unit shop@shop.service' in_ shop@shop.service User=bob -- $get shop
may_not 'a scope of that name' 'unit shop.scope' systemd-run --quiet --scope --unit=shop.scope --uid=bob $get shop
exits 1 'a user cannot make a unit of that name' as bob systemd-run --quiet --wait --unit=shop.service true
need systemd-run --quiet --unit=shop.service -p User=eve sleep 600
exits 1 'nor move a process into it' in_ evil.service User=eve Delegate=yes -- bash -c 'echo $$ >/sys/fs/cgroup/system.slice/shop.service/cgroup.procs'
need systemctl stop shop.service

# The manager of a user, and a unit of that user's own with the name of ours. There is
# no PAM here, nor a bus for the user.
mkdir -p /etc/systemd/system/user@.service.d
printf '[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/%%i\n' >/etc/systemd/system/user@.service.d/nopam.conf
need systemctl daemon-reload
need systemctl start user@1001.service
bobs() { as bob env HOME=/home/bob XDG_RUNTIME_DIR=/run/user/1001 "$@"; }
# his UNIT SLICE CREDENTIAL: what a unit of bob's own gets, as its exit code and words.
his() {
	rm -f /tmp/his /tmp/his.new
	install -d -o bob -g bob /home/bob/.config{,/systemd{,/user}}
	cat >"/home/bob/.config/systemd/user/$1" <<-END
		[Service]
		Type=oneshot
		Slice=$2
		ExecStart=/bin/bash -c '$get $3 >/tmp/his.new 2>&1; echo \$\$? >>/tmp/his.new; mv /tmp/his.new /tmp/his'
	END
	bobs systemctl --user daemon-reload
	bobs systemctl --user start "$1"
	waits test -e /tmp/his
	cat /tmp/his
}
like 'a unit of a user is no unit of the system' 'unit user@1001.service.*7$' "$(his shop.service app.slice shop | tr '\n' ' ' | sed 's/ $//')"
like 'in a slice of that name neither' 'unit user@1001.service.*7$' "$(his shop.service system.slice shop | tr '\n' ' ' | sed 's/ $//')"
like 'all that runs there is user@' '4$' "$(his x.service app.slice manager)"
need systemctl stop user@1001.service
done_
