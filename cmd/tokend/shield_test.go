package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"testing"
)

// nobody is a uid that no file of these tests belongs to.
const nobody = 23456

// A user's daemon keeps its memory from that user's other processes, and a crash
// leaves no core file, however much the limits allow.
func TestShield(t *testing.T) {
	v := newVault(t)
	v.write("credentials.toml", "[credentials]\n")
	own := os.Getuid()
	if own == 0 { // root may look at everything: somebody else has to run it
		own = nobody
		for _, name := range []string{"", "credentials.toml", "n"} {
			v.must(os.Chown(v.path(name), own, own))
		}
	}
	v.env = append(v.env, "GOTRACEBACK=crash") // which asks for a core
	var attr *syscall.SysProcAttr
	if own != os.Getuid() {
		attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(own), Gid: uint32(own)}}
	}
	v.launch(attr, []string{"sh", "-c", `ulimit -c $(ulimit -H -c); exec "$@"`, "sh", tokendPath()})
	pid := v.cmd.Process.Pid
	info, err := os.Stat(fmt.Sprintf("/proc/%d/mem", pid))
	v.must(err)
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 {
		t.Errorf("the daemon's memory belongs to uid %d", owner)
	}
	cat := exec.Command("cat", fmt.Sprintf("/proc/%d/environ", pid))
	cat.SysProcAttr = attr
	if out, err := cat.CombinedOutput(); err == nil {
		t.Errorf("another process of the daemon's uid reads its environment, %d bytes", len(out))
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	v.must(err)
	if !regexp.MustCompile(`(?m)^Max core file size +0 +0 `).Match(limits) {
		t.Errorf("what tokend starts may leave cores:\n%s", limits)
	}
	v.must(v.cmd.Process.Signal(syscall.SIGABRT))
	exit, _ := errors.AsType[*exec.ExitError](<-v.exit)
	v.cmd = nil
	if status := exit.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGABRT || status.CoreDump() {
		t.Errorf("it ended with %v, dumped %t", exit, status.CoreDump())
	}
	if _, err := os.Stat(v.path("core")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a core file: %v", err)
	}
}
