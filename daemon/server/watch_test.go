package server

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/keeper"
)

// watcher reads a watch.
type watcher struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Reader
}

// ask sends a watch's request as the uid, and reads nothing.
func (f *fixture) ask(t *testing.T, uid int, query string) *watcher {
	t.Helper()
	c := f.dial(t, uid)
	if _, err := io.WriteString(c, "GET /v1/watch"+query+" HTTP/1.1\r\nHost: tokend\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return &watcher{t: t, conn: c}
}

// begun reads the head of the answer.
func (w *watcher) begun() *watcher {
	w.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(w.conn), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		w.conn.Close() // else the body is read to its end
		resp.Body.Close()
	})
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/x-ndjson" || resp.Header.Get("Cache-Control") != "no-store" ||
		resp.ContentLength != -1 || len(resp.TransferEncoding) != 1 {
		w.t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	w.lines = bufio.NewReader(resp.Body)
	return w
}

func (f *fixture) watch(t *testing.T, uid int, query string) *watcher {
	t.Helper()
	return f.ask(t, uid, query).begun()
}

// next is the next line.
func (w *watcher) next() string {
	w.t.Helper()
	line, err := w.lines.ReadString('\n')
	if err != nil {
		w.t.Fatalf("%v after %q", err, line)
	}
	return line
}

// status is the next line's.
func (w *watcher) status() (s api.Status) {
	w.t.Helper()
	if line := w.next(); json.Unmarshal([]byte(line), &s) != nil || s.Name == "" {
		w.t.Fatalf("no status: %q", line)
	}
	return s
}

// want reads one line for each of these: "NAME STATE".
func (w *watcher) want(lines ...string) {
	w.t.Helper()
	for _, want := range lines {
		if s := w.status(); s.Name+" "+string(s.State) != want {
			w.t.Errorf("told %s %s, want %s", s.Name, s.State, want)
		}
	}
}

// until reads to the line that tells of this token.
func (w *watcher) until(name, token string) (lines int) {
	w.t.Helper()
	for lines = 1; ; lines++ {
		if s := w.status(); s.Name == name && s.Fingerprint == fingerprint(token) {
			return lines
		}
	}
}

// apply puts other credentials in force.
func (f *fixture) apply(t *testing.T, creds ...*keeper.Credential) {
	t.Helper()
	if _, err := f.keeper.Apply(t.Context(), creds); err != nil {
		t.Fatal(err)
	}
}

// lazy is a credential that does nothing, and so tells nothing, unless it is asked.
func lazy(t testing.TB, name string) *keeper.Credential {
	c := credential(t, name, tokens("token-of-"+name))
	c.Lazy = true
	return c
}

// ruled is the credential with other rules.
func ruled(c *keeper.Credential, r access.Rules) *keeper.Credential {
	other := *c
	other.Rules = r
	return &other
}

func TestWatch(t *testing.T) {
	f := start(t, nil, credential(t, "a", tokens("one", "two")), lazy(t, "b"))
	f.do(t, 1001, "GET", "/v1/tokens/a", "") // until it is there
	w := f.watch(t, 1001, "")
	first := w.next()
	if want := f.do(t, 1001, "GET", "/v1/credentials/a", "").body; first != want {
		t.Errorf("told %s, want %s", first, want)
	}
	w.want("b idle")
	named, other := f.watch(t, 4000, "?name=b&name=a&name=b"), f.watch(t, 2000, "?name=b")
	named.want("b idle", "a fresh")
	other.want("b idle")
	f.do(t, 2000, "POST", "/v1/credentials/a/drop", "")
	f.do(t, 1001, "GET", "/v1/tokens/b", "")
	w.until("a", "two")
	named.until("a", "two")
	for _, w := range []*watcher{w, named, other} {
		w.until("b", "token-of-b") // other heard of nothing before but b
	}
	if strings.Contains(first, "one") || strings.Contains(f.logged.String(), "token-of") {
		t.Errorf("a token in %s or in the log: %s", first, f.logged)
	}
	if got := strings.Count(f.counts.String(), "/v1/watch  ok\n"); got != 3 {
		t.Errorf("%d counted: %s", got, f.counts)
	}
}

// TestWatch_told is the table of what is worth a line.
func TestWatch_told(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	base := func() api.Status {
		return api.Status{
			Name: "a", State: api.StateStale, Usable: true, Fingerprint: "f", ExpiresAt: now,
			Challenge: &api.Challenge{Step: "s", Prompt: "p", ExpiresAt: now}, Error: &api.StatusError{Code: api.CodePending, Detail: "d"},
		}
	}
	s := stream{}
	for _, tt := range []struct {
		name   string
		told   bool
		change func(*api.Status)
	}{
		{"nothing", false, func(*api.Status) {}},
		{"state", true, func(s *api.Status) { s.State = api.StateFresh }},
		{"usable", true, func(s *api.Status) { s.Usable = false }},
		{"fingerprint", true, func(s *api.Status) { s.Fingerprint = "g" }},
		{"expires_at", true, func(s *api.Status) { s.ExpiresAt = now.Add(time.Second) }},
		{"error.code", true, func(s *api.Status) { s.Error.Code = api.CodeThrottled }},
		{"no error", true, func(s *api.Status) { s.Error = nil }},
		{"challenge.step", true, func(s *api.Status) { s.Challenge.Step = "t" }},
		{"challenge.prompt", true, func(s *api.Status) { s.Challenge.Prompt = "q" }},
		{"challenge.expires_at", true, func(s *api.Status) { s.Challenge.ExpiresAt = now.Add(time.Second) }},
		{"no challenge", true, func(s *api.Status) { s.Challenge = nil }},
		{"error.detail", false, func(s *api.Status) { s.Error.Detail = "e" }},
		{"the rest", false, func(s *api.Status) {
			s.RenewAt, s.LastRenewal, s.IssuedAt, s.Failures, s.Saved, s.SkewSeconds = now, now, now, 3, true, 9
		}},
	} {
		changed := base()
		tt.change(&changed)
		if got := s.sum(changed) != s.sum(base()); got != tt.told {
			t.Errorf("%s: told %v", tt.name, got)
		}
	}
}

func TestWatch_names(t *testing.T) {
	f := start(t, nil, lazy(t, "a"), ruled(lazy(t, "b"), rules(t, "user:6000", "", "")))
	for _, tt := range []struct {
		uid    int
		query  string
		status int
	}{
		{1001, "?name=b", 403},
		{1001, "?name=c", 404},
		{1001, "?name=c&name=b", 404},
		{1001, "?name=b&name=c", 403},
		{65534, "?name=a", 403},
		{0, "?name=", 400},
		{0, "?name=a&name=a/b", 400},
		{0, "?name=%2e%2e", 400},
		{0, "?name=a&wait=1s", 400},
		{0, "?names=a", 400},
	} {
		a := f.do(t, tt.uid, "GET", "/v1/watch"+tt.query, "")
		if e := a.problem(t); a.StatusCode != tt.status || e.Code != api.CodeUsage && "?name="+e.Name != strings.Split(tt.query, "&")[0] {
			t.Errorf("%s as %d: %s %+v", tt.query, tt.uid, a.Status, e)
		}
	}
	if got := f.logged.String(); !strings.Contains(got, "access denied") || !strings.Contains(got, "uid=1001 pid=77 method=GET credential=b path=/v1/watch") {
		t.Errorf("logged %s", got)
	}
	w := f.watch(t, 1001, "?name=c&name=b&name=a")
	for _, name := range []string{"c", "b"} {
		if got := w.next(); got != `{"name":"`+name+`","state":"removed"}`+"\n" {
			t.Errorf("told %s", got)
		}
	}
	w.want("a idle")
	f.apply(t, lazy(t, "a"), lazy(t, "b"), lazy(t, "c"), lazy(t, "d"))
	w.want("c idle", "b idle")
	f.apply(t)
	w.want("c removed", "b removed", "a removed")
}

// TestWatch_rights asserts that each line is for those alone who may see it then.
func TestWatch_rights(t *testing.T) {
	a, b := lazy(t, "a"), lazy(t, "b")
	mine, none := rules(t, "user:1001", "", ""), access.Rules{}
	f := start(t, nil, a, b)
	all, named, stranger := f.watch(t, 1001, ""), f.watch(t, 1001, "?name=b"), f.watch(t, 5000, "")
	all.want("a idle", "b idle")
	named.want("b idle")
	f.apply(t, a, ruled(b, none))
	if got := all.next(); got != `{"name":"b","state":"removed"}`+"\n" {
		t.Errorf("told %s", got)
	}
	named.want("b removed")
	f.do(t, 0, "GET", "/v1/tokens/b", "") // changes, but not for them
	f.apply(t, ruled(a, rules(t, "", "", "user:5000")), ruled(b, none))
	stranger.want("a idle")
	all.want("a removed")
	f.apply(t, a, ruled(b, mine), lazy(t, "c"))
	stranger.want("a removed")
	all.want("a idle", "b fresh", "c idle")
	named.want("b fresh")
	f.apply(t, lazy(t, "c"))
	all.want("a removed", "b removed")
	named.want("b removed")
	f.do(t, 1001, "GET", "/v1/tokens/c", "")
	all.until("c", "token-of-c")
}

// TestWatch_alive asserts that silence is broken, also if much happens that is none
// of the caller's business.
func TestWatch_alive(t *testing.T) {
	const most = 20_000
	f := start(t, func(s *Server) { s.limits.beat = time.Millisecond }, lazy(t, "a"))
	w := f.watch(t, 5000, "")
	var heard atomic.Bool
	go func() {
		defer heard.Store(true)
		for range 3 {
			if got := w.next(); got != "{}\n" {
				t.Errorf("told %q", got)
			}
		}
	}()
	n := 0
	for ; n < most && !heard.Load(); n++ {
		f.apply(t, lazy(t, "a"))
	}
	if n == most {
		t.Errorf("no sign of life during %d reloads", most)
		f.stop()
	}
}
