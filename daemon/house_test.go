package daemon

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers/sandbox"
)

// house is a daemon with its files, a look-alike of Finam, a log, and a stand-in for
// systemd that hears its notifications.
type house struct {
	t      *testing.T
	dir    string
	finam  *sandbox.Server[sandbox.Finam]
	url    string // of the look-alike
	api    *api.Client
	cfg    Config
	log    *logbook
	told   chan string // notifications, whole
	hangup chan os.Signal
	stop   func() error
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), finam: sandbox.New(sandbox.Finam{}), log: new(logbook), hangup: make(chan os.Signal)}
	upstream := httptest.NewServer(h.finam)
	t.Cleanup(upstream.Close)
	h.url = upstream.URL
	h.cfg = Config{
		Paths: Paths{
			Credentials: filepath.Join(h.dir, "credentials.toml"),
			Socket:      filepath.Join(h.dir, "run", "tokend.sock"),
			Store:       filepath.Join(h.dir, "state", "tokens.db"),
		},
		Hangup: h.hangup, Version: "test", Log: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	h.api = &api.Client{Sockets: []string{h.cfg.Socket}}
	h.listenAsSystemd()
	return h
}

// listenAsSystemd hears what the daemon notifies.
func (h *house) listenAsSystemd() {
	path := filepath.Join(h.dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	h.t.Setenv("NOTIFY_SOCKET", path)
	h.told = make(chan string, 1000)
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			h.told <- string(buf[:n])
		}
	}()
}

// await returns the first notification from here on that contains text.
func (h *house) await(text string) string {
	h.t.Helper()
	for {
		select {
		case got := <-h.told:
			if strings.Contains(got, text) {
				return got
			}
		case <-h.t.Context().Done():
			h.t.Fatalf("systemd never heard %q", text)
		}
	}
}

// write replaces the credentials file in one step, as editors do.
func (h *house) write(text string) {
	h.t.Helper()
	temp := h.cfg.Credentials + ".new"
	if err := os.WriteFile(temp, []byte(strings.ReplaceAll(text, "{url}", h.url)), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Rename(temp, h.cfg.Credentials); err != nil {
		h.t.Fatal(err)
	}
}

// good is a credentials file in order.
const good = `[credentials.finam]
provider = "finam"
url = "{url}"
secret = "your-api-secret-key"
`

// start runs the daemon until the test ends or stop is called.
func (h *house) start() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	ready := make(chan struct{})
	h.cfg.Ready = sync.OnceFunc(func() { close(ready) })
	go func() { done <- Run(ctx, h.cfg) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		h.t.Fatalf("the daemon ended at its start: %v\n%s", err, h.log)
	}
	h.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	h.t.Cleanup(func() { h.stop() })
}

// token asks for finam's.
func (h *house) token() string {
	h.t.Helper()
	token, err := h.api.Token(h.t.Context(), "finam", api.TokenOptions{})
	if err != nil {
		h.t.Fatalf("asking for the token: %v", err)
	}
	return token.Token
}

// logbook is a log that can be read while it is written.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write appends.
func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is the log so far.
func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
