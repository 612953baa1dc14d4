package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/keeper"
	"github.com/tokend-project/tokend/providers"
	"github.com/tokend-project/tokend/store"
)

func TestMain(m *testing.M) {
	if os.Getenv(childOf) != "" {
		os.Exit(childMain())
	}
	goleak.VerifyTestMain(m)
}

// fixture is a server on a socket of its own, over a real keeper and store.
type fixture struct {
	*Server
	keeper *keeper.Keeper
	socket string
	logged *lines
	counts *lines
	stop   func() error // ends server and keeper as the daemon does, once
}

// lines collects text from several goroutines.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start runs a server whose parts change may replace before it begins.
func start(t testing.TB, change func(*Server), creds ...*keeper.Credential) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{socket: filepath.Join(dir, "s"), logged: new(lines), counts: new(lines)}
	st, err := store.Open(store.Config{Path: filepath.Join(dir, "store", "tokens.db")})
	if err != nil {
		t.Fatal(err)
	}
	f.keeper = keeper.New(keeper.Config{Store: st})
	f.Server = New(Config{
		Keeper:  f.keeper,
		Daemon:  func() access.Rules { return rules(t, "", "user:3000", "user:4000") },
		Reload:  func(context.Context) (api.Reloaded, *api.Error) { return api.Reloaded{Added: 1, Kept: 2}, nil },
		Health:  func() api.Health { return api.Health{Version: "v1"} },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1\n") }),
		Count:   func(path, name, outcome string) { fmt.Fprintf(f.counts, "%s %s %s\n", path, name, outcome) },
		Log:     slog.New(slog.NewTextHandler(f.logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Grace:   time.Minute,
	})
	f.peerOf = claimed
	if change != nil {
		change(f.Server)
	}
	f.run(t, st, creds)
	return f
}

func (f *fixture) run(t testing.TB, st *store.Store, creds []*keeper.Credential) {
	l, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	storing, stored := context.WithCancel(context.Background())
	written, kept, served := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { written <- st.Run(storing) }()
	go func() { kept <- f.keeper.Run(ctx) }()
	go func() { served <- f.Run(ctx, l) }()
	f.stop = sync.OnceValue(func() error {
		cancel()
		err := errors.Join(<-served, <-kept)
		stored()
		return errors.Join(err, <-written, st.Close())
	})
	t.Cleanup(func() {
		if err := f.stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	if _, err := f.keeper.Apply(ctx, creds); err != nil {
		t.Fatal(err)
	}
}

// The tests' callers are whom their own address claims them to be, so that a test
// can be anybody, and every connection has its identity from its first moment.
var callers atomic.Int64

func claimed(c *net.UnixConn) (access.Peer, error) {
	_, claim, _ := strings.Cut(c.RemoteAddr().String(), "uid=")
	uid, err := strconv.ParseUint(claim, 10, 32)
	if err != nil {
		return access.Peer{}, fmt.Errorf("who is %q? %w", c.RemoteAddr(), err)
	}
	return access.Peer{UID: uint32(uid), GID: uint32(uid), PID: 77, Owner: uid == 990, Overflow: uid == 65534}, nil
}

// dial connects as the uid.
func (f *fixture) dial(t testing.TB, uid int) net.Conn {
	t.Helper()
	c, err := f.connect(t.Context(), uid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (f *fixture) connect(ctx context.Context, uid int) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.UnixAddr{
		Net: "unix", Name: fmt.Sprintf("@tokend-server-test-%d-%d-uid=%d", os.Getpid(), callers.Add(1), uid),
	}}
	return d.DialContext(ctx, "unix", f.socket)
}

// eventually waits for a condition that nothing announces.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-t.Context().Done():
			t.Fatalf("never came: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// answer is an HTTP answer, read whole.
type answer struct {
	*http.Response
	body string
}

// problem is the answer's problem.
func (a answer) problem(t testing.TB) api.Error {
	t.Helper()
	var e api.Error
	if ct := a.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Fatalf("%s of type %q, not a problem: %s", a.Status, ct, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		t.Fatalf("%v in %q", err, a.body)
	}
	if e.Status != a.StatusCode || e.Title == "" || e.Type == "" || e.Detail == "" {
		t.Errorf("%s: incomplete problem %+v", a.Status, e)
	}
	return e
}

// read reads one answer from the connection. The method decides whether it has a body.
func read(t testing.TB, r *bufio.Reader, method string) answer {
	t.Helper()
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("reading an answer: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading an answer: %v", err)
	}
	return answer{resp, string(body)}
}

// raw sends bytes as the uid and reads one answer.
func (f *fixture) raw(t testing.TB, uid int, request string) answer {
	t.Helper()
	c := f.dial(t, uid)
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	return read(t, bufio.NewReader(c), method)
}

// do makes a call as the uid; each header is "Name: value".
func (f *fixture) do(t testing.TB, uid int, method, target, body string, headers ...string) answer {
	t.Helper()
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: tokend\r\n", method, target)
	if body != "" {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	for _, h := range headers {
		head += h + "\r\n"
	}
	return f.raw(t, uid, head+"\r\n"+body)
}

// rules parses one rule of each list; empty is none.
func rules(t testing.TB, allow, operate, observe string) access.Rules {
	t.Helper()
	list := func(text string) []access.Rule {
		if text == "" {
			return nil
		}
		r, err := new(access.Names).Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return []access.Rule{r}
	}
	return access.Rules{Allow: list(allow), Operate: list(operate), Observe: list(observe)}
}

// login is a provider made of a function.
type login func(ctx context.Context) (providers.Token, error)

func (l login) Login(ctx context.Context, _ *providers.Answer) (providers.Token, error) {
	return l(ctx)
}

// tokens hands out first, second and so on, each for an hour.
func tokens(values ...string) login {
	var n atomic.Int64
	return func(context.Context) (providers.Token, error) {
		i := min(int(n.Add(1)), len(values)) - 1
		now := time.Now()
		return providers.Token{Value: providers.NewSecret(values[i]), Issued: now, Expires: now.Add(time.Hour)}, nil
	}
}

// credential is one that uid 1001 may read, 2000 operate and 4000 observe.
func credential(t testing.TB, name string, p providers.Provider) *keeper.Credential {
	return &keeper.Credential{
		Name: name, Provider: p, RenewAt: 0.75, Host: name,
		Kind:     &providers.Kind{Name: "test", RenewAt: 0.75, Logins: 6000},
		Headers:  []providers.Header{{Name: "Authorization", Format: "Bearer {token}"}},
		Rules:    rules(t, "user:1001", "user:2000", "user:4000"),
		Identity: [32]byte{1, name[0]}, Secrets: [32]byte{2, name[0]},
	}
}
