package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/access"
)

// childOf is the variable that makes another process of the test's own program a
// caller; it says what it does, and to which socket.
const childOf = "TOKEND_SERVER_TEST_CHILD"

// child is a caller of its own, with an order for each line on its standard input.
type child struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// newChild starts a caller as the uid; only root may be anybody.
func newChild(t *testing.T, f *fixture, uid int, files ...*os.File) *child {
	t.Helper()
	for path, mode := range map[string]os.FileMode{filepath.Dir(filepath.Dir(f.socket)): 0o755, filepath.Dir(f.socket): 0o755, f.socket: 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", childOf, uid, f.socket))
	cmd.Stderr, cmd.ExtraFiles = os.Stderr, files
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the other process: %v", err)
		}
	})
	return &child{in, bufio.NewReader(out)}
}

// order has the child do something, and returns what came of it.
func (c *child) order(t *testing.T, format string, args ...any) string {
	t.Helper()
	if _, err := fmt.Fprintf(c.in, format+"\n", args...); err != nil {
		t.Fatal(err)
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%s: the other process said %q, %v", format, line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// childMain is the other process.
func childMain() int {
	var uid int
	var socket string
	_, err := fmt.Sscan(os.Getenv(childOf), &uid, &socket)
	if err == nil && uid != os.Geteuid() {
		err = errors.Join(syscall.Setgid(uid), syscall.Setuid(uid))
	}
	var conns []net.Conn
	for orders := bufio.NewScanner(os.Stdin); err == nil && orders.Scan(); {
		var n int
		switch verb, arg, _ := strings.Cut(orders.Text(), " "); verb {
		case "connect":
			_, err = fmt.Sscan(arg, &n)
			for len(conns) < n && err == nil {
				var c net.Conn
				if c, err = net.Dial("unix", socket); err == nil {
					conns = append(conns, c)
				} else if errors.Is(err, syscall.EAGAIN) { // more than the kernel lets wait
					err = nil
					runtime.Gosched()
				}
			}
			fmt.Println(len(conns))
		case "ask": // over the last connection
			io.WriteString(conns[len(conns)-1], "GET /v1/whoami HTTP/1.1\r\nHost: x\r\n\r\n")
			fmt.Println(firstBody(conns[len(conns)-1]))
		case "passed": // over the one that was given to us
			file := os.NewFile(3, "passed")
			io.WriteString(file, "GET /v1/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			fmt.Println(firstBody(file))
		case "ended":
			fmt.Println(ended(conns))
		case "leave":
			for _, c := range conns {
				c.Close()
			}
			conns = nil
			fmt.Println("left")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// firstBody is the line of JSON in an answer.
func firstBody(r io.Reader) string {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "{") {
			return strings.TrimSpace(line)
		}
	}
}

// ended lists the connections that the other side has closed.
func ended(conns []net.Conn) (all []int) {
	for i, c := range conns {
		raw, err := c.(*net.UnixConn).SyscallConn()
		if err != nil {
			continue
		}
		_ = raw.Read(func(fd uintptr) bool {
			if n, err := syscall.Read(int(fd), make([]byte, 1)); n == 0 && err == nil {
				all = append(all, i)
			}
			return true
		})
	}
	return all
}

// TestCrowd has another uid open 2,000 connections that say nothing: those over its
// limit make room, the longest idle first, and nobody else notices.
func TestCrowd(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can start a process of another uid")
	}
	const all, most = 2000, 1500
	f := start(t, func(s *Server) {
		s.peerOf = access.PeerOf
		s.limits.perUID, s.limits.total = most, 1<<14
		s.limits.read, s.limits.idle = time.Hour, time.Hour // nobody leaves by itself
	})
	other := newChild(t, f, 54321)
	mine := f.dial(t, 0)
	other.order(t, "connect %d", all)
	if got := other.order(t, "ask"); !strings.HasPrefix(got, `{"uid":54321,`) { // so all were let in
		t.Fatalf("the last connection was told %s", got)
	}
	for range 3 {
		if a := f.do(t, 0, "GET", "/v1/health", ""); a.StatusCode != 200 {
			t.Errorf("another uid: %s", a.Status)
		}
	}
	io.WriteString(mine, "GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
	if a := read(t, bufio.NewReader(mine), "GET"); a.StatusCode != 200 {
		t.Errorf("a connection from before: %s", a.Status)
	}
	var want []int
	for i := range all - most {
		want = append(want, i)
	}
	if got := other.order(t, "ended"); got != fmt.Sprint(want) {
		t.Errorf("these made room: %s\nwant the first %d", got, all-most)
	}
}

// TestDescriptors takes all descriptors that the server's process may have: those who
// are in are served on, those who are not are once there is room.
func TestDescriptors(t *testing.T) {
	f := start(t, func(s *Server) {
		s.peerOf = access.PeerOf
		s.limits.read, s.limits.idle = time.Hour, time.Hour
	})
	mine := f.dial(t, 0)
	r := bufio.NewReader(mine)
	ask := func(when string) {
		t.Helper()
		io.WriteString(mine, "GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
		if a := read(t, r, "GET"); a.StatusCode != 200 {
			t.Errorf("%s: %s", when, a.Status)
		}
	}
	ask("before")
	other := newChild(t, f, os.Geteuid())
	other.order(t, "connect 1")
	other.order(t, "ask")
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = uint64(len(open) + 10)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) })
	other.order(t, "connect 50")
	eventually(t, "the last descriptor taken", func() bool { return strings.Contains(f.logged.String(), "too many open files") })
	ask("without descriptors")
	other.order(t, "leave")
	other.order(t, "connect 1")
	if got := other.order(t, "ask"); !strings.HasPrefix(got, `{"uid":`) {
		t.Errorf("afterwards: %q", got)
	}
	ask("afterwards")
}

// TestPassed asserts that whoever connected stays the caller when another process
// goes on with the connection.
func TestPassed(t *testing.T) {
	uid := os.Geteuid()
	f := start(t, func(s *Server) { s.peerOf = access.PeerOf })
	file, err := f.dial(t, 0).(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if uid == 0 {
		uid = 54321
	}
	got := newChild(t, f, uid, file).order(t, "passed")
	if want := fmt.Sprintf(`{"uid":%d,`, os.Geteuid()); !strings.HasPrefix(got, want) || !strings.Contains(got, fmt.Sprintf(`"pid":%d,`, os.Getpid())) {
		t.Errorf("got %s, want uid %d and pid %d", got, os.Geteuid(), os.Getpid())
	}
}

// TestCrowd_watches has one uid ask for 5,000 watches: those within its limit begin
// and hear of a change, the others are told to come back, and nobody else notices.
func TestCrowd_watches(t *testing.T) {
	const all, most = 5000, 4096
	if openFiles() < 3*all {
		t.Skipf("SKIPPED: it takes %d descriptors, and %d are allowed", 3*all, openFiles())
	}
	f := start(t, func(s *Server) {
		quiet(s)
		s.limits = defaultLimits(1 << 19)
		s.limits.read, s.limits.write = time.Hour, time.Hour
	}, credential(t, "a", tokens("x", "y")))
	f.do(t, 1001, "GET", "/v1/tokens/a", "") // there is one from here on
	in, busy := []*bufio.Reader{}, 0
	for i := range all {
		c := f.dial(t, 1001)
		io.WriteString(c, "GET /v1/watch?name=a HTTP/1.1\r\nHost: x\r\n\r\n")
		r := bufio.NewReader(c)
		switch line, err := r.ReadString('\n'); {
		case err != nil:
			t.Fatal(err)
		case strings.HasPrefix(line, "HTTP/1.1 200 "):
			in = append(in, r)
		case strings.HasPrefix(line, "HTTP/1.1 503 "):
			busy++
		default:
			t.Fatalf("watch %d: %s", i, line)
		}
	}
	if len(in) != most || busy != all-most {
		t.Errorf("%d watches began and %d did not, want %d and %d", len(in), busy, most, all-most)
	}
	if a := f.do(t, 2000, "POST", "/v1/credentials/a/drop", ""); a.StatusCode != 200 {
		t.Fatalf("another uid: %s %s", a.Status, a.body)
	}
	for i, r := range in {
		for seen := []string{}; !slices.Contains(seen, fingerprint("y")); {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("watch %d: %v after %q", i, err, seen)
			}
			if _, rest, ok := strings.Cut(line, `"fingerprint":"`); ok {
				seen = append(seen, rest[:16])
			}
		}
	}
}
