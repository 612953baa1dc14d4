package access

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Why a caller's unit is not known, as part of a sentence.
var (
	errExited    = errors.New("the process that connected has exited")
	errElsewhere = errors.New("it is in a PID namespace that tokend cannot see into")
	errHidden    = errors.New("tokend cannot read its cgroup: tokend's own unit must not have ProtectProc=invisible, nor /proc be mounted with hidepid")
)

// caller is what a look-up of a unit starts from.
type caller struct {
	conn syscall.RawConn
	pid  int32
	uid  uint32
	met  time.Duration // after boot: when the connection was accepted
}

// unit finds the unit of the process that connected.
func (c caller) unit() (string, error) { return c.unitBy(unix.SO_PEERPIDFD) }

// unitBy is unit with the socket option that gives a pidfd of the process that
// connected (Linux 6.5). A pid alone might be another process's by now; while the one
// behind the pidfd lives, nobody else has its pid, so a file of /proc that was read
// before it was seen alive is its own.
func (c caller) unitBy(option int) (string, error) {
	if c.pid <= 0 {
		return "", errElsewhere
	}
	pidfd, err := c.pidfd(option)
	switch {
	case errors.Is(err, unix.ENOPROTOOPT): // from a kernel that does not know the option, and only from it
		return c.unitByStart()
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESRCH): // before 6.16, and some of that
		return "", errExited
	case err != nil:
		return "", fmt.Errorf("asking for the process that connected: %w", err)
	}
	defer unix.Close(pidfd)
	text, unread := os.ReadFile(c.proc() + "/cgroup")
	switch exited, err := hasExited(pidfd); {
	case err != nil:
		return "", fmt.Errorf("asking whether it is alive: %w", err)
	case exited:
		return "", errExited
	case unread != nil:
		return "", hidden(unread)
	}
	return unitOf(string(text))
}

// pidfd asks the socket for a descriptor of the process that connected. The caller
// closes it.
func (c caller) pidfd(option int) (fd int, err error) {
	failed := c.conn.Control(func(s uintptr) { fd, err = unix.GetsockoptInt(int(s), unix.SOL_SOCKET, option) })
	return fd, cmp.Or(failed, err)
}

// hasExited says whether the pidfd's process has: from 6.16 on the kernel hands out
// pidfds of processes that are gone, and before that of those nobody waited for yet.
func hasExited(pidfd int) (bool, error) {
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if !errors.Is(err, unix.EINTR) {
			return n != 0, err
		}
	}
}

// unitByStart is for kernels that name the caller by its pid alone. Whoever has that
// pid and runs since before the connection was accepted had it then already. If the
// caller exited before that and the pid went to another process, it must be one of
// the same user to pass for the caller.
func (c caller) unitByStart() (string, error) {
	// What is read below the directory stays that of one process, or fails.
	proc, err := os.OpenRoot(c.proc())
	if err != nil {
		if errors.Is(unix.Kill(int(c.pid), 0), unix.ESRCH) {
			return "", errExited
		}
		return "", hidden(err)
	}
	defer proc.Close()
	text, unread := proc.ReadFile("cgroup")
	if err := c.isCaller(proc); err != nil {
		return "", err
	}
	if unread != nil {
		return "", hidden(unread)
	}
	return unitOf(string(text))
}

// isCaller says why the process whose directory of /proc this is cannot be the caller.
func (c caller) isCaller(proc *os.Root) error {
	status, err := proc.ReadFile("status")
	stat, err2 := proc.ReadFile("stat")
	if err := cmp.Or(err, err2); errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return errExited
	} else if err != nil {
		return hidden(err)
	}
	uid, ok := effectiveUID(string(status))
	state, start, ok2 := stateAndStart(string(stat))
	switch {
	case !ok || !ok2:
		return errors.New("/proc says nothing of its uid and its start")
	case state == 'Z' || state == 'X' || start > c.met:
		return errExited
	case uid != c.uid:
		return fmt.Errorf("the process %d has the uid %d by now", c.pid, uid)
	}
	return nil
}

func (c caller) proc() string { return "/proc/" + strconv.Itoa(int(c.pid)) }

// hidden is the error of reading a file of a process that is alive.
func hidden(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return errHidden
	}
	return fmt.Errorf("reading its cgroup: %w", err)
}

// effectiveUID is the second number of the line "Uid:" of /proc/PID/status, proc(5).
func effectiveUID(status string) (uint32, bool) {
	_, rest, _ := strings.Cut(status, "\nUid:\t")
	line, _, _ := strings.Cut(rest, "\n")
	if fields := strings.Fields(line); len(fields) == 4 {
		uid, err := parseID(fields[1])
		return uid, err == nil
	}
	return 0, false
}

// tick is the unit of times in /proc/PID/stat: USER_HZ, 100 on all architectures of Go.
const tick = 10 * time.Millisecond

// stateAndStart reads two fields of /proc/PID/stat, proc(5): the third, a letter, and
// the 22nd, ticks after boot. The second is the name of the program in parentheses,
// and may hold anything.
func stateAndStart(stat string) (state byte, start time.Duration, ok bool) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, 0, false
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil || ticks < 0 || ticks > math.MaxInt64/int64(tick) {
		return 0, 0, false
	}
	return fields[0][0], time.Duration(ticks) * tick, true
}

// sinceBoot is the clock that starts of processes are given in; it runs on while the
// machine sleeps.
func sinceBoot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0 // then every process is too young
	}
	return time.Duration(t.Nano())
}
