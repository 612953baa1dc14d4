package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// shield keeps what this process has in memory to itself. It is not dumpable
// (PR_SET_DUMPABLE of prctl(2)): nothing of it goes into a core file, whatever
// kernel.core_pattern does with those, and no process without CAP_SYS_PTRACE can
// attach to it or read its /proc/PID/mem and /proc/PID/environ, not even one of the
// same user. The limit on core files stands for what tokend starts.
//
// The price: most of /proc/PID belongs to root, so that a debugger, strace, and lsof
// or ss for the names of its files and sockets, need root also for one's own daemon.
func shield() error {
	dump := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	core := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	if err := errors.Join(dump, core); err != nil {
		return fmt.Errorf("keeping memory out of core files and other processes: %w", err)
	}
	return nil
}
