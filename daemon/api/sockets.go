package api

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ServiceSocket is where tokend listens when it runs as a service.
const ServiceSocket = "/run/tokend/tokend.sock"

// maxSocketPath is what sun_path holds beside its closing zero, unix(7).
const maxSocketPath = 107

// Sockets lists the sockets to try, in order: the one that flag names; else the one
// of TOKEND_SOCKET; else that of the user's own tokend, under XDG_RUNTIME_DIR, and
// then the service's. A socket is a path or unix://PATH. Who names a socket wants
// that daemon and no other, so nothing is tried after it.
func Sockets(flag string, getenv func(string) string) []string {
	for _, named := range [...]string{flag, getenv("TOKEND_SOCKET")} {
		if path := strings.TrimPrefix(named, "unix://"); path != "" {
			return []string{path}
		}
	}
	// The XDG base directory specification: relative paths are to be ignored.
	if dir := getenv("XDG_RUNTIME_DIR"); strings.HasPrefix(dir, "/") {
		return []string{strings.TrimSuffix(dir, "/") + "/tokend/tokend.sock", ServiceSocket}
	}
	return []string{ServiceSocket}
}

// connect connects to the first socket that takes us.
func (c *Client) connect(ctx context.Context) (conn *os.File, socket string, failed *Error) {
	var tried []string
	denied := false
	for _, socket := range c.Sockets {
		conn, err := dial(ctx, socket)
		if err == nil {
			return conn, socket, nil
		}
		if ctx.Err() != nil {
			return nil, "", gaveUp(ctx, socket)
		}
		denied = denied || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM)
		tried = append(tried, socket+": "+reason(socket, err))
	}
	switch {
	case len(tried) == 0:
		return nil, "", Errorf(CodeUnreachable, "there is no socket to try")
	case denied:
		return nil, "", Errorf(CodeDenied, "uid %d may not connect: %s", os.Geteuid(), strings.Join(tried, "; ")).
			WithHint("a user's own tokend serves that user alone; see the permissions of the socket and of its directory")
	}
	return nil, "", Errorf(CodeUnreachable, "no tokend answers: %s", strings.Join(tried, "; ")).
		WithHint("is tokend running? a socket elsewhere is named by --socket or TOKEND_SOCKET")
}

// dial connects to one socket. A full backlog makes the kernel say EAGAIN at once;
// that is a busy daemon and not a missing one, so it is tried again until ctx ends.
func dial(ctx context.Context, socket string) (*os.File, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		conn, err := dialOnce(socket)
		if !errors.Is(err, syscall.EAGAIN) {
			return conn, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// dialOnce connects by hand and leaves the descriptor to package os, whose files
// know deadlines too: linking package net costs a script's tokenctl one twentieth of
// its time.
func dialOnce(socket string) (*os.File, error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, err
	}
	if err = syscall.SetNonblock(fd, true); err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket})
	}
	if err != nil {
		syscall.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), socket), nil
}

// reason is the error without the words that package os puts around it.
func reason(socket string, err error) string {
	if len(socket) > maxSocketPath {
		return "the path of a socket has at most " + strconv.Itoa(maxSocketPath) + " bytes"
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// gaveUp is the error of a call whose ctx has ended.
func gaveUp(ctx context.Context, socket string) *Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Errorf(CodeUnreachable, "%s: no answer in time", socket).
			WithHint("the daemon may be busy or stopped; --timeout sets how long to wait for it")
	}
	return Errorf(CodeUnreachable, "%s: the call was given up", socket)
}
