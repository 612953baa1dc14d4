# The daemon of a user, in that user's own manager.
# shellcheck shell=bash source=packaging/e2e/suite/lib.sh disable=SC2317
. /e2e/suite/lib.sh

need useradd --uid 1001 --create-home bob
installed

# There is no PAM here, nor a bus for the user.
mkdir -p /etc/systemd/system/user@.service.d
printf '[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/%%i\n' >/etc/systemd/system/user@.service.d/nopam.conf
need systemctl daemon-reload
need systemctl start user@1001.service
bobs() { as bob env HOME=/home/bob XDG_RUNTIME_DIR=/run/user/1001 "$@"; }
his() { bobs systemctl --user show --value -p "$1" tokend.service; }
now() { [[ $(his "$1") =~ $2 ]] || { his "$1"; return 1; }; }

need install -d -o bob -g bob -m 700 /home/bob/.config /home/bob/.config/tokend
finam >/home/bob/.config/tokend/credentials.toml
need chown bob:bob /home/bob/.config/tokend/credentials.toml
need chmod 600 /home/bob/.config/tokend/credentials.toml
check 'the pair of units starts' bobs systemctl --user enable --now tokend.socket tokend.service
comes 'it logs in' now StatusText '^1 fresh$'
is 'its socket is for the user alone' '600 bob' "$(stat -c '%a %U' /run/user/1001/tokend/tokend.sock)"
is 'and the directory of it' '700 bob' "$(stat -c '%a %U' /run/user/1001/tokend)"
is 'its tokens are at home' '600 bob' "$(stat -c '%a %U' /home/bob/.local/state/tokend/tokens.db)"
like 'tokenctl finds it before that of the host' 'the uid that runs tokend' "$(bobs tokenctl whoami 2>&1)"
exits 7 'nobody else may connect' as stranger tokenctl get finam --socket /run/user/1001/tokend/tokend.sock
token=$(bobs tokenctl get finam)
check 'it reloads' bobs systemctl --user reload tokend.service
check 'it restarts' bobs systemctl --user restart tokend.service
is 'with the same token' "$token" "$(bobs tokenctl get finam)"
check 'it stops' bobs systemctl --user stop tokend.service
is 'cleanly' success "$(his Result)"
check 'who connects starts it' bobs tokenctl get finam
need systemctl stop user@1001.service
done_
