package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// dialWait is how long a socket that is there may take to show that somebody
// listens.
const dialWait = time.Second

// longestSocket is what fits sun_path with its closing NUL (unix(7)).
const longestSocket = 107

// inherited returns the socket that systemd passed, nil if it passed none.
func inherited() (net.Listener, error) {
	listeners, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("taking over the inherited socket: %w", err)
	}
	switch len(listeners) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, fmt.Errorf("inherited %d sockets, but tokend serves one: leave one ListenStream= in the socket unit", len(listeners))
	}
	l, ok := listeners[0].(*net.UnixListener)
	if !ok {
		return nil, errors.New("the inherited socket is no unix stream socket: the caller's identity would be unknown")
	}
	if !listens(l) {
		return nil, errors.New("the inherited socket is a connection: leave Accept=yes out of the socket unit")
	}
	l.SetUnlinkOnClose(false) // systemd goes on listening on it
	return l, nil
}

// listens says whether connections can be accepted on the socket (socket(7)).
func listens(l *net.UnixListener) (yes bool) {
	raw, err := l.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		on, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		yes = err == nil && on == 1
	})
	return yes
}

// listen makes the socket. As a service everybody may connect, since the kernel
// identifies callers and the rules decide; as a user's daemon only that user. A
// socket that nobody answers on is removed: our caller holds the store, so its
// owner is gone.
func listen(path string, service bool) (net.Listener, error) {
	dirMode, mask := fs.FileMode(0o700), 0o177
	if service {
		dirMode, mask = 0o755, 0o111
	}
	if len(path) > longestSocket {
		return nil, fmt.Errorf("the socket's path has %d bytes, the kernel takes %d: give a shorter --socket", len(path), longestSocket)
	}
	// The modes have to be right from the first moment, so they are set by the umask.
	old := syscall.Umask(0o777 &^ int(dirMode))
	defer syscall.Umask(old)
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return nil, fmt.Errorf("making the socket's directory: %w", err)
	}
	if err := checkDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	syscall.Umask(mask)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("making the socket: %w", err)
	}
	return l, nil
}

// checkDir refuses a directory in which others could put a socket of their own in
// our place: clients would send them answers to challenges.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking at the socket's directory: %w", err)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case owner != 0 && owner != uint32(os.Geteuid()):
		return fmt.Errorf("the socket's directory %s belongs to uid %d, who could replace the socket: give another --socket", dir, owner)
	case info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0:
		return fmt.Errorf("others can replace files in the socket's directory: chmod go-w %s", dir)
	}
	return nil
}

// removeStale removes a socket on which nobody answers.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("looking at the socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket: move it away, or give another --socket", path)
	}
	conn, err := net.DialTimeout("unix", path, dialWait)
	if err == nil {
		conn.Close()
		return fmt.Errorf("another daemon answers at %s: stop it, or give another --socket", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("looking whether another daemon answers: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing the stale socket: %w", err)
	}
	return nil
}
