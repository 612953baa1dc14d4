package daemon

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A unit with Accept=yes passes a connection, which is a unix stream socket too.
func TestListens(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	check(t, err)
	defer l.Close()
	if !listens(l) {
		t.Error("a socket that listens is taken for one that does not")
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	defer unix.Close(pair[1])
	file := os.NewFile(uintptr(pair[0]), "connection")
	defer file.Close()
	passed, err := net.FileListener(file)
	check(t, err)
	defer passed.Close()
	if listens(passed.(*net.UnixListener)) {
		t.Error("a connection is taken for a socket that listens")
	}
}
