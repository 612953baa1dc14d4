package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
)

// TestRights is the table of who may do what.
func TestRights(t *testing.T) {
	const report = `{"fingerprint":"0123456789abcdef"}`
	for _, tt := range []struct {
		method, path, body string
		allowed            []int // beside root and the daemon's uid
	}{
		{"GET", "/v1/tokens/a", "", []int{1001}},
		{"GET", "/v1/credentials/a", "", []int{1001, 2000, 4000}},
		{"POST", "/v1/credentials/a/renew", report, []int{1001}},
		{"POST", "/v1/credentials/a/renew", "", []int{2000}},
		{"POST", "/v1/credentials/a/renew", "{}", []int{2000}},
		{"POST", "/v1/credentials/a/retry", "", []int{2000}},
		{"POST", "/v1/credentials/a/drop", "", []int{2000}},
		{"POST", "/v1/credentials/a/answer", `{"answer":"123456"}`, []int{2000}},
		{"POST", "/v1/reload", "", []int{3000}},
		{"GET", "/metrics", "", []int{4000}},
		{"GET", "/v1/credentials", "", []int{1001, 2000, 3000, 4000, 5000, 65534}},
		{"GET", "/v1/whoami", "", []int{1001, 2000, 3000, 4000, 5000, 65534}},
		{"GET", "/v1/health", "", []int{1001, 2000, 3000, 4000, 5000, 65534}},
	} {
		f := start(t, nil, credential(t, "a", tokens("x", "y", "z")))
		for _, uid := range []int{0, 990, 1001, 2000, 3000, 4000, 5000, 65534} {
			allowed := uid == 0 || uid == 990
			for _, a := range tt.allowed {
				allowed = allowed || a == uid
			}
			a := f.do(t, uid, tt.method, tt.path, tt.body)
			if (a.StatusCode == 403) == allowed {
				t.Errorf("%s %s %s as %d: %s %s", tt.method, tt.path, tt.body, uid, a.Status, a.body)
			}
			if a.StatusCode == 403 && !strings.Contains(a.problem(t).Detail, "the kernel knows you as uid ") {
				t.Errorf("%s %s as %d: %s", tt.method, tt.path, uid, a.body)
			}
		}
	}
}

func TestList(t *testing.T) {
	b := credential(t, "b", tokens("secret-b"))
	b.Rules = rules(t, "user:6000", "", "")
	f := start(t, nil, credential(t, "a", tokens("secret-a")), b)
	for uid, want := range map[int][]string{0: {"a", "b"}, 1001: {"a"}, 4000: {"a"}, 6000: {"b"}, 5000: {}} {
		a := f.do(t, uid, "GET", "/v1/credentials", "")
		if strings.Contains(a.body, "secret") {
			t.Errorf("a token in %s", a.body)
		}
		var got []string
		for _, name := range []string{"a", "b"} {
			if strings.Contains(a.body, `{"name":"`+name+`","provider":"test"`) {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") || !strings.HasPrefix(a.body, `{"credentials":[`) {
			t.Errorf("uid %d: %s, want %v", uid, a.body, want)
		}
	}
}

func TestRenewing(t *testing.T) {
	f := start(t, nil, credential(t, "a", tokens("one", "two", "three")))
	bare := func() string { return f.do(t, 1001, "GET", "/v1/tokens/a", "", "Accept: text/plain").body }
	if got := bare(); got != "one" {
		t.Fatalf("got %q", got)
	}
	for _, tt := range []struct {
		uid        int
		verb, body string
		want       string // the token afterwards
	}{
		{1001, "renew", `{"fingerprint":"` + fingerprint("one") + `"}`, "two"},
		{1001, "renew", `{"fingerprint":"` + fingerprint("one") + `"}`, "two"}, // no longer current
		{2000, "drop", "", "three"},
	} {
		a := f.do(t, tt.uid, "POST", "/v1/credentials/a/"+tt.verb, tt.body)
		if a.StatusCode != 200 || !strings.Contains(a.body, `"fingerprint":"`+fingerprint(tt.want)+`"`) {
			t.Errorf("%s %s: %s %s", tt.verb, tt.body, a.Status, a.body)
		}
		if got := bare(); got != tt.want {
			t.Errorf("after %s %s: %q, want %q", tt.verb, tt.body, got, tt.want)
		}
	}
}

func TestWhoami(t *testing.T) {
	f := start(t, func(s *Server) {
		s.peerOf = func(c *net.UnixConn) (access.Peer, error) {
			p, err := claimed(c)
			if p.UID == 1001 {
				p.Groups = []uint32{27, 4}
			}
			return p, err
		}
	}, credential(t, "a", tokens("x")))
	for uid, want := range map[int]string{
		0:          `{"uid":0,"user":"root","gid":0,"gids":[0],"pid":77,"grants":[{"name":"a","rights":["read","operate","observe"],"rule":"root"}]}`,
		1001:       `"gid":1001,"gids":[1001,27,4],"pid":77,"grants":[{"name":"a","rights":["read"],"rule":"user:1001"}]}`,
		4294967290: `{"uid":4294967290,"gid":4294967290,"gids":[4294967290],"pid":77,"grants":[]}`,
	} {
		if got := f.do(t, uid, "GET", "/v1/whoami", "").body; !strings.HasSuffix(got, want+"\n") {
			t.Errorf("got  %swant %s", got, want)
		}
	}
}

func TestReload(t *testing.T) {
	problem := api.Errorf(api.CodeInvalid, "the credentials file has 1 problem")
	problem.Problems = []api.Problem{{File: "f", Line: 3, Column: 1, Key: "credentials.a.x", Detail: "unknown key"}}
	bad := false
	f := start(t, func(s *Server) {
		good := s.Reload
		s.Reload = func(ctx context.Context) (api.Reloaded, *api.Error) {
			if bad {
				return api.Reloaded{}, problem
			}
			return good(ctx)
		}
	})
	if a := f.do(t, 3000, "POST", "/v1/reload", ""); a.body != `{"added":1,"changed":0,"removed":0,"kept":2}`+"\n" {
		t.Errorf("%s %s", a.Status, a.body)
	}
	bad = true
	if e := f.do(t, 3000, "POST", "/v1/reload", "").problem(t); e.Code != api.CodeInvalid || len(e.Problems) != 1 || e.Problems[0].Line != 3 {
		t.Errorf("%+v", e)
	}
}

func TestMetrics(t *testing.T) {
	f := start(t, nil)
	a := f.do(t, 4000, "GET", "/metrics", "")
	if a.body != "up 1\n" || a.ContentLength != 5 || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%s %v %q", a.Status, a.Header, a.body)
	}
}

// TestReady asserts what is answered while no credentials file was ever in force.
func TestReady(t *testing.T) {
	f := start(t, func(s *Server) {
		s.Ready = func() *api.Error { return api.Errorf(api.CodeInvalid, "f:3:1: unknown key") }
	})
	for path, want := range map[string]int{
		"GET /v1/health": 200, "POST /v1/reload": 200, "GET /v1/tokens/a": 422, "GET /v1/credentials": 422, "GET /v1/whoami": 422,
		"GET /metrics": 422, "POST /v1/credentials/a/drop": 422, "GET /v1/watch": 422, "GET /v1/nothing": 400,
	} {
		method, target, _ := strings.Cut(path, " ")
		if a := f.do(t, 0, method, target, ""); a.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, a.Status, want)
		}
	}
}

// TestPanic asserts that a fault of ours is one caller's problem, and that what the
// panic carries reaches neither log nor caller.
func TestPanic(t *testing.T) {
	values := []any{"s3cret", errors.New("s3cret"), nil}
	f := start(t, func(s *Server) {
		s.Health = func() api.Health {
			v := values[0]
			values = values[1:]
			if v == nil {
				_ = values[len(values)]
			}
			panic(v)
		}
	})
	for range 3 {
		a := f.do(t, 0, "GET", "/v1/health", "")
		if e := a.problem(t); e.Code != api.CodeInternal || strings.Contains(a.body, "goroutine") {
			t.Errorf("%s %s", a.Status, a.body)
		}
	}
	logged := f.logged.String()
	if strings.Contains(logged, "s3cret") || !strings.Contains(logged, "index out of range [0] with length 0") || !strings.Contains(logged, "calls_test.go") {
		t.Errorf("logged %s", logged)
	}
	if a := f.do(t, 0, "GET", "/v1/whoami", ""); a.StatusCode != 200 {
		t.Errorf("afterwards: %s", a.Status)
	}
}

// TestPanic_late asserts that a fault after the answer adds nothing to it, and ends
// the connection.
func TestPanic_late(t *testing.T) {
	var outcomes []string
	f := start(t, func(s *Server) {
		s.Count = func(_, _, outcome string) {
			if outcomes = append(outcomes, outcome); len(outcomes) == 1 {
				panic("late")
			}
		}
	})
	c := f.dial(t, 0)
	io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	got, _ := io.ReadAll(c)
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(got), "HTTP/1.1") > 1 || strings.Contains(string(got), "problem") || len(outcomes) != 1 {
		t.Errorf("counted %q, got %q", outcomes, got)
	}
}

// TestRun_silent asserts that connections on which nothing is asked do not hold up
// the end: net/http alone would wait 5 s for one that never said anything.
func TestRun_silent(t *testing.T) {
	f := start(t, func(s *Server) { s.Grace = 4 * time.Second })
	f.dial(t, 1001)
	f.do(t, 1001, "GET", "/v1/health", "") // accepted after the silent one
	if err := f.stop(); err != nil || strings.Contains(f.logged.String(), "calls cut") {
		t.Errorf("%v, logged %s", err, f.logged)
	}
}

// TestRun_newcomer asserts that a request is answered whose connection was made
// before the end and which comes only then: callers connect and ask in two steps, and
// a restart in between costs none of them its call. One that has been answered
// already has to look out for itself.
func TestRun_newcomer(t *testing.T) {
	f := start(t, nil)
	old, newcomer := f.dial(t, 1001), f.dial(t, 1001)
	ask := func(c net.Conn) { io.WriteString(c, "GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n") }
	ask(old)
	answered := bufio.NewReader(old)
	if resp, err := http.ReadResponse(answered, nil); err != nil || resp.Body.Close() != nil {
		t.Fatal(err)
	}
	f.do(t, 1001, "GET", "/v1/health", "") // accepted after the two
	stopped := make(chan error, 1)
	go func() { stopped <- f.stop() }()
	if got, err := io.ReadAll(answered); err != nil || len(got) > 0 { // closed: the end has begun
		t.Errorf("the connection that was answered: %q, %v", got, err)
	}
	ask(newcomer)
	if got, _ := io.ReadAll(newcomer); !strings.HasPrefix(string(got), "HTTP/1.1 200 OK") {
		t.Errorf("the newcomer got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestRun_halfBody asserts that who does not finish its request holds up no stop.
func TestRun_halfBody(t *testing.T) {
	f := start(t, func(s *Server) { s.limits.read, s.Grace = time.Hour, time.Hour })
	c := f.dial(t, 1001)
	io.WriteString(c, "POST /v1/credentials/finam/renew HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
	f.do(t, 1001, "GET", "/v1/health", "") // accepted after it
	if err := f.stop(); err != nil {
		t.Error(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 503 ") || !strings.Contains(string(got), `"detail":"tokend is stopping"`) {
		t.Errorf("%v: %s", err, got)
	}
}

// TestRun_grace asserts that a call in flight may finish after the end of ctx.
func TestRun_grace(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	f := start(t, func(s *Server) {
		s.Reload = func(context.Context) (api.Reloaded, *api.Error) {
			close(in)
			<-out
			return api.Reloaded{Added: 7}, nil
		}
	})
	silent := f.dial(t, 1001)
	c := f.dial(t, 0)
	io.WriteString(c, "POST /v1/reload HTTP/1.1\r\nHost: x\r\n\r\n")
	<-in
	stopped := make(chan error, 1)
	go func() { stopped <- f.stop() }()
	if got, err := io.ReadAll(silent); err != nil || len(got) != 0 { // closed in a moment
		t.Errorf("the silent connection: %q, %v", got, err)
	}
	if _, err := f.connect(t.Context(), 0); err == nil {
		t.Error("a new connection was accepted")
	}
	close(out)
	if got, _ := io.ReadAll(c); !strings.Contains(string(got), `"added":7`) {
		t.Errorf("got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestRun_cut asserts that calls longer than the grace are cancelled, and that Run
// waits for their end.
func TestRun_cut(t *testing.T) {
	in, ended := make(chan struct{}), false
	f := start(t, func(s *Server) {
		s.Grace = time.Millisecond
		s.Reload = func(ctx context.Context) (api.Reloaded, *api.Error) {
			close(in)
			<-ctx.Done()
			ended = true
			return api.Reloaded{}, nil
		}
	})
	c := f.dial(t, 0)
	// With the beginning of another request: net/http, which has read that, does not
	// notice that the connection ends, and so does not cancel the call.
	io.WriteString(c, "POST /v1/reload HTTP/1.1\r\nHost: x\r\n\r\nGET")
	<-in
	if err := f.stop(); err != nil || !ended {
		t.Errorf("%v, ended %v", err, ended)
	}
	if !strings.Contains(f.logged.String(), "calls cut at the end of the grace period") {
		t.Errorf("logged %s", f.logged)
	}
}
