#!/bin/bash
# boot.sh: boot a real systemd as PID 1 of fresh namespaces, run
# commands in it, and shut it down.  For tests; needs root, Linux with
# cgroup2 + overlayfs, util-linux, and apt access the first time.
#
#   boot.sh tree                         build or reuse the tree, print its path
#   boot.sh start NAME [OPT...]          boot; returns once the system is up
#   boot.sh exec  NAME CMD [ARG...]      run CMD inside as root, keep its exit status
#   boot.sh stop  NAME                   orderly poweroff, then clean up
#   boot.sh run  [OPT...] -- CMD [ARG...]  start + exec + stop in one go
#
# OPT:  --bind SRC:DST     bind-mount a host path, read-write
#       --bind-ro SRC:DST  the same, read-only
#       --upper DIR        keep the writable layer in DIR (survives stop/start);
#                          without it the layer is a tmpfs and vanishes at stop
# ENV:  SDBOOT_SUITE       Debian suite of the tree (default trixie, systemd 257)
#       SDBOOT_PKGS        extra packages, comma-separated
#       SDBOOT_CACHE       where trees are kept  (default /var/cache/sdboot)
#       SDBOOT_RUN         state of running systems (default /run/sdboot)
#       SDBOOT_TIMEOUT     seconds to wait for the boot (default 60)
set -euo pipefail
shopt -s inherit_errexit
umask 022                        # the writable layer's top becomes "/" inside
{ : <&0; } 2>/dev/null || exec </dev/null

SELF=$(readlink -f "${BASH_SOURCE[0]}")
SUITE=${SDBOOT_SUITE:-trixie}
BASE_PKGS=systemd,systemd-sysv,dbus,libnss-systemd,libbpf1,passwd
PKGS=$BASE_PKGS${SDBOOT_PKGS:+,$SDBOOT_PKGS}
CACHE=${SDBOOT_CACHE:-/var/cache/sdboot}
RUN=${SDBOOT_RUN:-/run/sdboot}
TIMEOUT=${SDBOOT_TIMEOUT:-60}
PDEATH=()        # set by `run': the system dies with the script that runs it
OWNSESSION=()    # set by `run': a signal to us must not kill nsenter under its child

# Units that make no sense in a short-lived test container.
MASK="console-getty.service getty@.service apt-daily.timer apt-daily-upgrade.timer
 dpkg-db-backup.timer fstrim.timer e2scrub_all.timer systemd-timesyncd.service
 systemd-journald-audit.socket systemd-firstboot.service systemd-pstore.service
 sys-fs-fuse-connections.mount dev-hugepages.mount
 sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount
 systemd-modules-load.service systemd-sysctl.service systemd-binfmt.service
 proc-sys-fs-binfmt_misc.automount systemd-udevd.service
 systemd-udevd-kernel.socket systemd-udevd-control.socket"

# What the machine outside shares with PID 1 inside and must not lose to it:
# clock, modules, raw I/O, kernel log, wake-up alarms, security labels.
DROP_CAPS=-sys_time,-sys_module,-sys_rawio,-syslog,-wake_alarm,-block_suspend,-mac_admin,-mac_override

say() { printf 'sdboot: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# ------------------------------------------------------------------ the tree

cmd_tree() {
    local key dir tmp t0=$SECONDS u
    key=$(printf '%s %s %s' "$SUITE" "$PKGS" "$MASK" | sha256sum | cut -c1-12)
    dir=$CACHE/$SUITE-$key
    mkdir -p "$CACHE"
    exec 9>"$CACHE/.lock-$SUITE"; flock 9
    if [[ ! -e $dir/.sdboot-ready ]]; then
        exec 8>"$CACHE/.lock"; flock 8      # apt-get takes one at a time
        if ! command -v mmdebstrap >/dev/null; then
            say "installing mmdebstrap"
            { apt-get update && DEBIAN_FRONTEND=noninteractive \
                apt-get install -y --no-install-recommends mmdebstrap; } >&2
        fi
        exec 8>&-
        tmp=$(mktemp -d "$CACHE/tmp.XXXXXX"); chmod 755 "$tmp"
        say "building $SUITE tree ($PKGS)"
        mmdebstrap --quiet --mode=root --aptopt='Acquire::Retries "3"' --variant=minbase --include="$PKGS" \
            --dpkgopt='path-exclude=/usr/share/man/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' \
            --dpkgopt='path-exclude=/usr/share/doc/*' \
            "$SUITE" "$tmp/root" >&2 || { rm -rf "$tmp"; die "mmdebstrap failed"; }
        for u in $MASK; do ln -sf /dev/null "$tmp/root/etc/systemd/system/$u"; done
        : > "$tmp/root/etc/machine-id"        # empty: fresh id, but not "first boot"
        : > "$tmp/root/etc/fstab"
        rm -f "$tmp/root/etc/resolv.conf" "$tmp/root/etc/hostname"
        mkdir -p "$tmp/root/etc/systemd/journald.conf.d"
        # A test that floods the log must not lose lines; nothing goes to a host log.
        printf '[Journal]\nStorage=persistent\nRateLimitBurst=0\nReadKMsg=no\nAudit=no\n' \
            > "$tmp/root/etc/systemd/journald.conf.d/sdboot.conf"
        # Take the one-time boot jobs out of every boot.
        chroot "$tmp/root" systemd-sysusers >&2 || true
        chroot "$tmp/root" journalctl --update-catalog >&2 || true
        chroot "$tmp/root" ldconfig || true
        touch -r "$tmp/root/usr" "$tmp/root/etc/.updated" "$tmp/root/var/.updated"
        touch "$tmp/root/.sdboot-ready"
        rm -rf "$dir"; mv "$tmp/root" "$dir"; rmdir "$tmp"
        say "tree ready in $((SECONDS - t0)) s: $(du -sh "$dir" | cut -f1)"
    fi
    exec 9>&-
    printf '%s\n' "$dir"
}

# ------------------------------------------------------------------- cgroups

# The cgroup2 directory this process lives in, e.g. /sys/fs/cgroup/unified
own_cgroup() {
    local mnt path
    mnt=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
    [[ -n $mnt ]] || die "no cgroup2 mount on this machine"
    path=$(sed -n 's/^0:://p' /proc/self/cgroup)
    path=${mnt%/}/${path#/}; printf '%s\n' "${path%/}"
}

# ---------------------------------------------------------------- boot a tree

cmd_start() {
    local name=$1 tree s cg pid t0 t1 state; shift
    [[ $name =~ ^[a-zA-Z0-9._-]+$ ]] || die "bad name: $name"
    [[ $EUID == 0 ]] || die "needs root"
    s=$RUN/$name
    if [[ -e $s ]]; then
        ! alive "$s" || die "$name is running already (stop it first)"
        cmd_stop "$name"                  # what a killed run left behind
    fi
    tree=$(cmd_tree) || die "no tree to boot"
    cg=$(own_cgroup)
    mkdir -p "$RUN"; mkdir -m 700 "$s"
    : > "$s/binds"; : > "$s/upper"
    while (($#)); do
        case $1 in
            --bind)    printf 'rw %s %s\n' "${2%%:*}" "${2##*:}" >> "$s/binds"; shift 2;;
            --bind-ro) printf 'ro %s %s\n' "${2%%:*}" "${2##*:}" >> "$s/binds"; shift 2;;
            --upper)   mkdir -p "$2"; readlink -f "$2" > "$s/upper"; shift 2;;
            *) rm -rf "$s"; die "unknown option $1";;
        esac
    done
    printf '%s\n' "$tree" > "$s/tree"
    printf '%s\n' "$cg/sdboot-$name" > "$s/cgroup"
    mkfifo "$s/stdin"; mkdir "$s/mnt"
    t0=$(date +%s%N)
    # `script' lends a pty for /dev/console and keeps its output as a log.
    exec 3<>"$s/stdin"
    setsid "${PDEATH[@]}" script -qefc "exec $(printf '%q' "$SELF") __outer $(printf '%q' "$s")" \
        "$s/console.log" <&3 3>&- >/dev/null 2>&1 &
    printf '%s\n' $! > "$s/script.pid"
    exec 3>&-
    # Wait for PID 1 to offer its private socket, then for the job queue to drain.
    while :; do
        if (( $(date +%s%N) - t0 > TIMEOUT * 1000000000 )) || ! kill -0 "$(<"$s/script.pid")" 2>/dev/null; then
            say "boot failed; console:"; cat "$s/console.log" >&2 || true
            cmd_stop "$name" || true
            return 1
        fi
        pid=$(leader "$s") && [[ -S /proc/$pid/root/run/systemd/private ]] && break
        sleep 0.05
    done
    printf '%s\n' "$pid" > "$s/leader"
    state=$(cmd_exec "$name" timeout "$TIMEOUT" systemctl is-system-running --wait </dev/null) || true
    t1=$(date +%s%N)
    say "$name: $state after $(( (t1 - t0) / 1000000 )) ms, $(cmd_exec "$name" systemctl --version </dev/null | sed -n 1p)"
    case $state in
        running) ;;
        degraded) cmd_exec "$name" systemctl --failed --no-pager --plain </dev/null >&2 || true
                  cmd_exec "$name" journalctl -b -p warning --no-pager </dev/null >&2 || true;;
        *) cat "$s/console.log" >&2; cmd_stop "$name" || true; return 1;;
    esac
}

# Is the process that holds the namespaces still there (and not a reused pid)?
alive() {
    local outer
    outer=$(cat "$1/outer.pid" 2>/dev/null) || return 1
    grep -qs "/sdboot-$(basename "$1")\$" "/proc/$outer/cgroup"
}

# Host-side pid of the container's PID 1, once it is systemd.
leader() {
    local pid
    pid=$(cat "$1/init.pid" 2>/dev/null) || return 1
    [[ -n $pid && $(cat "/proc/$pid/comm" 2>/dev/null) == systemd ]] || return 1
    printf '%s\n' "$pid"
}

# Own cgroup, then new namespaces: cgroup first, so that it is the new root.
cmd___outer() {
    local s=$1 cg
    cg=$(<"$s/cgroup")
    mkdir "$cg"
    echo $$ > "$cg/cgroup.procs"
    echo $$ > "$s/outer.pid"
    exec unshare --mount --uts --ipc --net --pid --cgroup --propagation private \
        --fork --kill-child=KILL "$SELF" __init "$s"
}

# PID 1 of the new namespaces: lay out the root and become systemd.
cmd___init() {
    local s=$1 tree upper console r n mode src dst
    tree=$(<"$s/tree"); upper=$(<"$s/upper"); console=$(tty 2>/dev/null || true)
    read -r n _ < /proc/self/stat          # this is still the host's /proc: our pid out there
    echo "$n" > "$s/init.pid"
    if [[ -z $upper ]]; then
        mount -t tmpfs -o mode=755 sdboot "$s/mnt"; upper=$s/mnt
    fi
    mkdir -p "$upper/upper" "$upper/work" "$upper/root"; r=$upper/root
    mount -t overlay -o "lowerdir=$tree,upperdir=$upper/upper,workdir=$upper/work" overlay "$r"
    mount -t proc -o nosuid,noexec,nodev proc "$r/proc"
    # Kernel-wide settings stay out of reach.
    for n in sys sysrq-trigger irq bus; do
        [[ -e $r/proc/$n ]] || continue
        mount --bind "$r/proc/$n" "$r/proc/$n"
        mount -o remount,bind,ro,nosuid,noexec,nodev "$r/proc/$n"
    done
    # Every boot gets a boot id of its own, or `journalctl -b' would mix boots.
    cp /proc/sys/kernel/random/uuid "$s/boot_id"; chmod 444 "$s/boot_id"
    mount --bind "$s/boot_id" "$r/proc/sys/kernel/random/boot_id"
    mount -o remount,bind,ro "$r/proc/sys/kernel/random/boot_id"
    mount -t sysfs -o ro,nosuid,noexec,nodev sysfs "$r/sys"
    mount -t cgroup2 -o nosuid,noexec,nodev cgroup2 "$r/sys/fs/cgroup"
    mount -t tmpfs -o mode=755,nosuid,size=1m dev "$r/dev"
    while read -r n src; do               # own nodes: a chmod inside must not reach the host's
        # shellcheck disable=SC2086
        mknod -m 666 "$r/dev/$n" c $src
    done <<<$'null 1 3\nzero 1 5\nfull 1 7\nrandom 1 8\nurandom 1 9\ntty 5 0'
    mkdir "$r/dev/pts" "$r/dev/shm"
    mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666,nosuid,noexec devpts "$r/dev/pts"
    mount -t tmpfs -o mode=1777,nosuid,nodev shm "$r/dev/shm"
    ln -s pts/ptmx "$r/dev/ptmx"; ln -s /proc/self/fd "$r/dev/fd"
    ln -s /proc/self/fd/0 "$r/dev/stdin"; ln -s /proc/self/fd/1 "$r/dev/stdout"
    ln -s /proc/self/fd/2 "$r/dev/stderr"
    if [[ $console == /dev/pts/* ]]; then
        : > "$r/dev/console"; mount --bind "$console" "$r/dev/console"
    fi
    mount -t tmpfs -o mode=755,nosuid,nodev run "$r/run"
    while read -r mode src dst; do
        if [[ -d $src ]]; then mkdir -p "$r$dst"; else mkdir -p "$(dirname "$r$dst")"; touch "$r$dst"; fi
        mount --bind "$src" "$r$dst"
        [[ $mode == rw ]] || mount -o remount,bind,ro "$r$dst"
    done < "$s/binds"
    hostname "sdboot-$(basename "$s")"
    cd "$r"
    pivot_root . .
    umount -l .
    cd /
    # A container's manager must do this; without it LoadCredential= comes up empty.
    mount --make-rshared /
    exec env -i container=sdboot PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
        setpriv --bounding-set="$DROP_CAPS" /lib/systemd/systemd --show-status=yes
}

# ----------------------------------------------------------- run a command in

nudge() { while sleep 0.5; do kill -CONT "$1" || return 0; done; }

cmd_exec() {
    local name=$1 s pid cg me; shift
    s=$RUN/$name
    [[ -r $s/leader ]] || die "$name is not running"
    pid=$(<"$s/leader"); cg=$(<"$s/cgroup")/sdboot-exec
    # Never enter a process that merely got the same pid later.
    grep -qs "/sdboot-$name/" "/proc/$pid/cgroup" || die "$name is not running any more"
    # Join the container's cgroup tree too, so that nothing inside sees a foreign path.
    # If the system powers off under CMD, its shutdown stops every process for a moment;
    # nsenter copies that from CMD, and nothing inside can wake it again: so do it here.
    ( me=$BASHPID; nudge "$me" </dev/null >/dev/null 2>&1 &
      mkdir -p "$cg"; echo "$BASHPID" > "$cg/cgroup.procs"
      exec "${OWNSESSION[@]}" nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup \
        env -i container=sdboot HOME=/root LANG=C.UTF-8 TERM=dumb SYSTEMD_PAGER=cat \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" )
}

# End what `exec' still runs.  Those processes are no children of the PID 1 inside,
# so its shutdown would wait 10 s for them.  Only the commands: the nsenters then
# end by themselves and reap them.
end_execs() {
    local s=$1 ns sig i p pids
    ns=$(readlink "/proc/$(cat "$s/leader" 2>/dev/null)/ns/pid") || return 0
    for sig in TERM KILL; do
        for ((i = 0; i < 20; i++)); do
            mapfile -t pids < "$(<"$s/cgroup")/sdboot-exec/cgroup.procs" || return 0
            ((${#pids[@]})) || return 0
            ((i)) || for p in "${pids[@]}"; do
                [[ $(readlink "/proc/$p/ns/pid") != "$ns" ]] || kill -"$sig" "$p" || true
            done
            sleep 0.05
        done
    done 2>/dev/null
}

cmd_stop() {
    local name=$1 s outer cg i t0
    s=$RUN/$name
    [[ -d $s ]] || die "no such system: $name"
    t0=$(date +%s%N)
    outer=$(cat "$s/outer.pid" 2>/dev/null || true)
    cg=$(cat "$s/cgroup" 2>/dev/null || true)
    if alive "$s"; then
        end_execs "$s"
        [[ ! -e $s/leader ]] || cmd_exec "$name" systemctl --no-wall poweroff </dev/null >/dev/null 2>&1 || true
        for ((i = 0; i < 200; i++)); do alive "$s" || break; sleep 0.05; done
        if alive "$s"; then
            say "$name did not power off in 10 s; killing it"
            kill -KILL "$outer" || true
            for ((i = 0; i < 100; i++)); do alive "$s" || break; sleep 0.05; done
        fi
    fi
    if [[ -n $cg && -d $cg ]]; then
        for ((i = 0; i < 50; i++)); do
            find "$cg" -depth -type d -exec rmdir {} + 2>/dev/null && break; sleep 0.05
        done
        [[ ! -d $cg ]] || say "left a cgroup behind: $cg"
    fi
    rm -rf --one-file-system "$s"
    say "$name: stopped in $(( ($(date +%s%N) - t0) / 1000000 )) ms"
}

cmd_run() {
    local opts=() rc=0; name=run-$$
    while (($#)) && [[ $1 != -- ]]; do opts+=("$1"); shift; done
    [[ ${1:-} == -- ]] || die "run: put -- before the command"; shift
    for s in "$RUN"/run-*; do             # left by a killed `run': its pid is in the name
        [[ ! -d $s ]] || grep -qs '^State:[[:space:]]*[^ZX]' "/proc/${s##*-}/status" \
            || cmd_stop "$(basename "$s")"
    done
    PDEATH=(setpriv --pdeathsig KILL); OWNSESSION=(setsid)
    trap '[[ ! -d $RUN/$name ]] || cmd_stop "$name" || true' EXIT
    trap 'exit 143' TERM; trap 'exit 130' INT; trap 'exit 129' HUP
    cmd_start "$name" "${opts[@]}"
    cmd_exec "$name" "$@" <&0 &           # in the background, for `wait' heeds traps
    wait $! || rc=$?
    trap - EXIT
    cmd_stop "$name"
    exit $rc
}

case ${1:-} in
    tree|start|exec|stop|run|__outer|__init) c=$1; shift; "cmd_$c" "$@";;
    *) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$SELF"; exit 2;;
esac
