package server

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/keeper"
	"github.com/tokend-project/tokend/providers"
)

// narrow has the kernel take little more than a line on each connection before it
// holds up who writes.
func narrow(s *Server) {
	s.peerOf = func(c *net.UnixConn) (access.Peer, error) {
		if err := c.SetWriteBuffer(1); err != nil {
			return access.Peer{}, err
		}
		return claimed(c)
	}
}

// TestWatch_slow asserts that a caller who does not read holds up nobody, and then
// finds the newest instead of all that was.
func TestWatch_slow(t *testing.T) {
	const drops, reloads = 100, 2000
	var values []string
	for i := range drops + 2 {
		values = append(values, fmt.Sprintf("token-%d", i))
	}
	a := credential(t, "a", tokens(values...))
	a.Kind = &providers.Kind{Name: "test", RenewAt: 0.75, Logins: 1_000_000}
	f := start(t, func(s *Server) {
		narrow(s)
		s.limits.write = time.Hour
	}, a, lazy(t, "b"))
	f.do(t, 1001, "GET", "/v1/tokens/a", "")
	slow, quick := f.ask(t, 1001, ""), f.watch(t, 1001, "?name=a")
	for i := range drops {
		if s := f.do(t, 2000, "POST", "/v1/credentials/a/drop", ""); s.StatusCode != 200 {
			t.Fatalf("%s %s", s.Status, s.body)
		}
		quick.until("a", values[i+1])
	}
	for range reloads / 2 {
		f.apply(t, a)
		f.apply(t, a, lazy(t, "b"))
	}
	f.do(t, 1001, "GET", "/v1/tokens/b", "")
	f.do(t, 2000, "POST", "/v1/credentials/a/drop", "")
	slow.begun()
	last := map[string]string{}
	lines := 0
	for ; last["a"] != fingerprint(values[drops+1]) || last["b"] != fingerprint("token-of-b"); lines++ {
		s := slow.status()
		last[s.Name] = s.Fingerprint
	}
	if lines > drops/2 {
		t.Errorf("%d lines of some %d changes were kept for it", lines, 2*drops+reloads)
	}
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(slow.lines); err != nil || len(rest) != 0 {
		t.Errorf("after the newest came %q, %v", rest, err)
	}
}

// TestWatch_stuck asserts that a caller who stops reading is cut off.
func TestWatch_stuck(t *testing.T) {
	f := start(t, func(s *Server) {
		narrow(s)
		s.limits.write, s.limits.perUID = 20*time.Millisecond, 1
	}, lazy(t, "a"))
	w := f.watch(t, 1001, "") // until it has begun
	eventually(t, "room for another", func() bool {
		f.apply(t)
		f.apply(t, lazy(t, "a"))
		return f.do(t, 1001, "GET", "/v1/health", "").StatusCode == 200
	})
	if rest, err := io.ReadAll(w.lines); err == nil {
		t.Errorf("a whole answer: %q", rest)
	}
}

// TestWatch_leave asserts that nothing is left of a watch whose caller leaves.
func TestWatch_leave(t *testing.T) {
	f := start(t, func(s *Server) { s.limits.perUID = 1 }, lazy(t, "a"))
	w := f.watch(t, 1001, "")
	w.want("a idle")
	if s := f.do(t, 1001, "GET", "/v1/health", "").StatusCode; s != 503 {
		t.Errorf("%d while the only connection watches, want 503", s)
	}
	w.conn.Close()
	eventually(t, "room for another", func() bool { return f.do(t, 1001, "GET", "/v1/health", "").StatusCode == 200 })
}

// TestWatch_stopSlow asserts that what a slow caller has not read yet does not hold
// up the stop, and that what it does read is a whole answer.
func TestWatch_stopSlow(t *testing.T) {
	const all = 2000
	var creds []*keeper.Credential
	for i := range all {
		creds = append(creds, lazy(t, fmt.Sprintf("c%d", i)))
	}
	f := start(t, narrow, creds...)
	w := f.watch(t, 1001, "")
	stopped := make(chan error, 1)
	go func() { stopped <- f.stop() }()
	eventually(t, "a stop under way", func() bool {
		c, err := f.connect(t.Context(), 1001)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	got, err := io.ReadAll(w.lines)
	if n := strings.Count(string(got), "\n"); err != nil || n >= all || !strings.HasSuffix(string(got), "}\n") {
		t.Errorf("%d lines of %d, %v", n, all, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestWatch_stop asserts that watches end when tokend stops, as whole answers and at
// once: the grace is for others.
func TestWatch_stop(t *testing.T) {
	f := start(t, func(s *Server) { s.Grace = time.Hour }, lazy(t, "a"))
	idle, busy := f.watch(t, 5000, ""), f.watch(t, 1001, "")
	busy.want("a idle")
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*watcher{idle, busy} {
		if rest, err := io.ReadAll(w.lines); err != nil || len(rest) != 0 {
			t.Errorf("%q, %v", rest, err)
		}
	}
	if strings.Contains(f.logged.String(), "calls cut") {
		t.Errorf("logged %s", f.logged)
	}
}
