package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
)

func TestDefaultLimits(t *testing.T) {
	for _, tt := range []struct{ files, total, perUID, reserved int }{
		{1 << 19, 16384, 4096, 64},
		{16384, 16128, 4032, 64},
		{1024, 768, 192, 64},
		{256, 128, 32, 32},
		{64, 32, 8, 8},
		{2, 1, 1, 0},
	} {
		if l := defaultLimits(tt.files); l.total != tt.total || l.perUID != tt.perUID || l.reserved != tt.reserved {
			t.Errorf("%d files: %+v, want %+v", tt.files, l, tt)
		}
	}
	if openFiles() < 64 {
		t.Errorf("this process may open %d files?", openFiles())
	}
}

// hall is a door with nobody behind it: the test says what becomes of connections.
type hall struct {
	*fixture // only to dial
	*door
	clients []net.Conn // by the order of dialling
}

func newHall(t *testing.T, l limits) *hall {
	l.read, l.write, l.idle = time.Minute, time.Minute, time.Minute
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	s := New(Config{})
	s.limits, s.peerOf = l, claimed
	return &hall{fixture: &fixture{socket: socket}, door: newDoor(listener, s)}
}

// come dials as the uid and says whether the connection was let in.
func (h *hall) come(t *testing.T, uid int) *conn {
	t.Helper()
	h.clients = append(h.clients, h.dial(t, uid))
	nc, err := h.Listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.identify(nc)
	if err != nil {
		t.Fatal(err)
	}
	if !h.enter(c) {
		h.refuse(c)
		return nil
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// gone says whether the server closed the nth client's connection.
func (h *hall) gone(t *testing.T, n int) bool {
	t.Helper()
	h.clients[n].SetReadDeadline(time.Now().Add(5 * time.Millisecond)) // the end is there already, or will not come
	_, err := h.clients[n].Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

func TestDoor_perUID(t *testing.T) {
	h := newHall(t, limits{perUID: 3, total: 100})
	a, b, c := h.come(t, 1001), h.come(t, 1001), h.come(t, 1001)
	h.state(a, http.StateActive)
	h.state(a, http.StateIdle) // so b is quiet for the longest
	h.state(c, http.StateActive)
	other := h.come(t, 1002)
	if other == nil {
		t.Fatal("another uid was refused")
	}
	fourth := h.come(t, 1001)
	if fourth == nil || !slices.Equal(h.theGone(t), []int{1}) {
		t.Fatalf("let in: %v, closed: %v; want b closed", fourth != nil, h.theGone(t))
	}
	h.state(b, http.StateClosed) // net/http notices
	for _, busy := range []*conn{a, fourth} {
		h.state(busy, http.StateActive)
	}
	if h.come(t, 1001) != nil {
		t.Fatal("a fourth was let in though none of three is idle")
	}
	h.state(c, http.StateIdle)
	if h.come(t, 1001) == nil || !slices.Contains(h.theGone(t), 2) {
		t.Fatalf("refused though c is idle, closed: %v", h.theGone(t))
	}
	if d := h.door; d.total != 4 || len(d.conns[1001]) != 3 || len(d.conns[1002]) != 1 {
		t.Errorf("counted %d, %d and %d of the uids", d.total, len(d.conns[1001]), len(d.conns[1002]))
	}
}

// theGone lists the clients whose connections were closed.
func (h *hall) theGone(t *testing.T) (n []int) {
	for i := range h.clients {
		if h.gone(t, i) {
			n = append(n, i)
		}
	}
	return n
}

func TestDoor_total(t *testing.T) {
	h := newHall(t, limits{perUID: 2, total: 4, reserved: 1})
	var in []*conn
	for _, uid := range []int{1, 2, 3} {
		c := h.come(t, uid)
		h.state(c, http.StateActive)
		in = append(in, c)
	}
	if h.come(t, 4) != nil || h.come(t, 65534) != nil {
		t.Fatal("an ordinary uid got the reserved connection")
	}
	if h.come(t, 990) == nil {
		t.Fatal("the daemon's uid did not get the reserved connection")
	}
	if h.come(t, 0) != nil {
		t.Fatal("more than all were let in")
	}
	h.state(in[1], http.StateClosed)
	if h.come(t, 4) == nil {
		t.Fatal("refused though one had left")
	}
	if d := h.door; d.total != 4 || d.ordinary != 3 || len(d.conns) != 4 {
		t.Errorf("counted %d, of them %d ordinary, of %d uids", d.total, d.ordinary, len(d.conns))
	}
}

// TestDoor_order asserts that the longest idle connection makes room, each time.
func TestDoor_order(t *testing.T) {
	h := newHall(t, limits{perUID: 4, total: 9})
	var want []int
	for i := range 12 {
		if h.come(t, 1001) == nil {
			t.Fatalf("connection %d was refused", i)
		}
		if i >= 4 {
			want = append(want, i-4)
		}
		if got := h.theGone(t); !slices.Equal(got, want) {
			t.Fatalf("after connection %d these were closed: %v, want %v", i, got, want)
		}
	}
}

// TestDoor_one asserts that the only connection of a uid can make room for its next.
func TestDoor_one(t *testing.T) {
	h := newHall(t, limits{perUID: 1, total: 9})
	for i := range 5 {
		if h.come(t, 1001) == nil {
			t.Fatalf("connection %d was refused", i)
		}
	}
	if d := h.door; d.total != 1 || len(d.conns[1001]) != 1 {
		t.Errorf("counted %d, %d of the uid", d.total, len(d.conns[1001]))
	}
}

// startHeld runs a server that has room for one connection of each uid, and whose
// reload says that it began, and ends when it may.
func startHeld(t *testing.T) (f *fixture, in, out chan struct{}) {
	in, out = make(chan struct{}), make(chan struct{})
	return start(t, func(s *Server) {
		s.limits.perUID = 1
		s.Reload = func(context.Context) (api.Reloaded, *api.Error) {
			close(in)
			<-out
			return api.Reloaded{}, nil
		}
	}), in, out
}

// TestBusy asserts what a uid over its limit hears, and that nobody else notices.
func TestBusy(t *testing.T) {
	f, in, out := startHeld(t)
	c := f.dial(t, 0)
	io.WriteString(c, "POST /v1/reload HTTP/1.1\r\nHost: x\r\n\r\n")
	<-in
	for range 3 {
		a := f.do(t, 0, "GET", "/v1/health", "")
		if e := a.problem(t); a.StatusCode != 503 || a.Header.Get("Retry-After") != "1" || e.RetryAfter != 1 || e.Code != api.CodePending || !a.Close {
			t.Errorf("%s %v %s", a.Status, a.Header, a.body)
		}
	}
	if a := f.do(t, 1001, "GET", "/v1/health", ""); a.StatusCode != 200 {
		t.Errorf("another uid: %s", a.Status)
	}
	close(out)
	if a := read(t, bufio.NewReader(c), "POST"); a.StatusCode != 200 {
		t.Errorf("%s", a.Status)
	}
	eventually(t, "room", func() bool { return f.do(t, 0, "GET", "/v1/health", "").StatusCode == 200 })
	if n := strings.Count(f.logged.String(), "connection refused"); n != 1 {
		t.Errorf("%d lines about refused connections, want one", n)
	}
}

// TestBusy_pipelined asserts that a call whose request came together with the one
// before is under way like any other: it does not make room.
func TestBusy_pipelined(t *testing.T) {
	f, in, out := startHeld(t)
	c := f.dial(t, 0)
	io.WriteString(c, health+"\r\n"+reload+"\r\n")
	<-in
	if a := f.do(t, 0, "GET", "/v1/health", ""); a.StatusCode != 503 {
		t.Errorf("a second connection: %s", a.Status)
	}
	close(out)
	r := bufio.NewReader(c)
	for _, method := range []string{"GET", "POST"} {
		if a := read(t, r, method); a.StatusCode != 200 {
			t.Errorf("%s: %s", method, a.Status)
		}
	}
}

// TestStranger asserts that a connection whose caller the kernel does not name is
// closed, and that the next one is served.
func TestStranger(t *testing.T) {
	f := start(t, func(s *Server) {
		s.peerOf = func(c *net.UnixConn) (access.Peer, error) {
			if p, err := claimed(c); err == nil && p.UID != 13 {
				return p, nil
			}
			return access.Peer{}, errors.New("asking for the caller's identity: no")
		}
	})
	if got, err := io.ReadAll(f.dial(t, 13)); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	if a := f.do(t, 0, "GET", "/v1/health", ""); a.StatusCode != 200 {
		t.Errorf("%s", a.Status)
	}
	if !strings.Contains(f.logged.String(), "asking for the caller's identity: no") {
		t.Errorf("logged %s", f.logged)
	}
}

// TestKernel asks as whom the kernel knows the test.
func TestKernel(t *testing.T) {
	f := start(t, func(s *Server) { s.peerOf = access.PeerOf })
	a := f.do(t, 13, "GET", "/v1/whoami", "") // whatever it claims
	if want := fmt.Sprintf(`"pid":%d,`, os.Getpid()); !strings.Contains(a.body, want) {
		t.Errorf("%s, want %s", a.body, want)
	}
}

// TestSlowReader asserts that a caller who does not read its answer is cut off.
func TestSlowReader(t *testing.T) {
	const size = 8 << 20
	f := start(t, func(s *Server) {
		s.limits.write = 50 * time.Millisecond
		s.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", size)) })
	})
	c := f.dial(t, 0)
	io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "the answer counted", func() bool { return f.counts.String() != "" }) // written, or given up
	if got, _ := io.ReadAll(c); len(got) >= size {
		t.Errorf("all %d bytes came", len(got))
	}
}

// TestListener asserts that the end of the listener is an error of Run.
func TestListener(t *testing.T) {
	s := New(Config{})
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := s.Run(t.Context(), l); !errors.Is(err, net.ErrClosed) || !strings.HasPrefix(err.Error(), "accepting connections on ") {
		t.Errorf("got %v", err)
	}
}

// A call ends the time in which its connection is new: else each stop with a call in
// flight would take that time, and leave open what is between two calls.
func TestNewcomer(t *testing.T) {
	f := start(t, nil)
	c := &conn{asked: make(chan struct{})}
	if !c.newcomer() {
		t.Fatal("a connection on which nothing was asked is no newcomer")
	}
	for range 2 {
		r := httptest.NewRequest("GET", "/v1/health", nil)
		f.serve(httptest.NewRecorder(), r.WithContext(context.WithValue(r.Context(), connKey{}, c)))
		if c.newcomer() {
			t.Error("it is one after a call")
		}
	}
}
