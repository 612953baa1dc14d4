package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/tokend-project/tokend/daemon/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTokenOutlivesARestart(t *testing.T) {
	h := newHouse(t)
	h.write(good)
	h.start()
	before := h.token()
	if err := h.stop(); err != nil {
		t.Fatalf("stopping: %v", err)
	}
	h.start()
	if after := h.token(); after != before {
		t.Error("the token did not outlive the restart")
	}
	if _, granted := h.finam.Logins(); granted != 1 {
		t.Errorf("%d logins, want 1", granted)
	}
}

// I6: a bad credentials file changes nothing, and everybody who should know is told.
func TestI6BadFileChangesNothing(t *testing.T) {
	for name, row := range map[string]struct {
		spoil func(h *house)
		want  string
	}{
		"syntax":      {func(h *house) { h.write(good + "\n[oops") }, ":6:"},
		"unknown key": {func(h *house) { h.write(good + "sekret = \"hush-hush\"\n") }, "(did you mean "},
		"all empty":   {func(h *house) { h.write("# nothing\n") }, "[credentials]"},
		"missing":     {func(h *house) { check(h.t, os.Remove(h.cfg.Credentials)) }, "no such file"},
		"directory": {func(h *house) {
			check(h.t, os.Remove(h.cfg.Credentials), os.Mkdir(h.cfg.Credentials, 0o700))
		}, "directory"},
		"open to others": {func(h *house) { check(h.t, os.Chmod(h.cfg.Credentials, 0o644)) }, "chmod"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.write(good)
			h.start()
			before := h.token()
			row.spoil(h)
			_, err := h.api.Reload(t.Context())
			problem, ok := errors.AsType[*api.Error](err)
			if !ok || problem.Code != api.CodeInvalid || len(problem.Problems) == 0 || !strings.Contains(problem.Problems[0].String(), row.want) {
				t.Fatalf("reload says %v (%+v), want %q", err, problem, row.want)
			}
			for who, text := range map[string]string{
				"the caller": problem.Detail, "systemd": h.await("STATUS=credentials file not in force"),
				"health": h.healthError(), "the log": h.log.String(),
			} {
				if !strings.Contains(text, row.want) {
					t.Errorf("%s is told %q, want %q", who, text, row.want)
				}
				if strings.Contains(text, "hush") || strings.Contains(text, "your-api-secret-key") {
					t.Errorf("%s is told a secret: %q", who, text)
				}
			}
			if m := h.metrics(); !strings.Contains(m, "tokend_config_last_reload_successful 0") {
				t.Errorf("metrics: %s", m)
			}
			if after := h.token(); after != before {
				t.Error("the token changed")
			}
			os.Remove(h.cfg.Credentials) // a directory does not give way to a file
			h.write(good)
			if _, err := h.api.Reload(t.Context()); err != nil || h.healthError() != "" {
				t.Errorf("after mending: %v, health %q", err, h.healthError())
			}
			if m := h.metrics(); !strings.Contains(m, "tokend_config_last_reload_successful 1") || !strings.Contains(m, `tokend_credentials{state="fresh"} 1`) {
				t.Errorf("metrics: %s", m)
			}
		})
	}
}

// The watch, SIGHUP and the reload call come to the same.
func TestReload(t *testing.T) {
	second := good + strings.Replace(good, "credentials.finam", "credentials.second", 1)
	for name, reload := range map[string]func(*house){
		"watch":  func(*house) {},
		"hangup": func(h *house) { h.hangup <- syscall.SIGHUP },
		"call": func(h *house) {
			if _, err := h.api.Reload(h.t.Context()); err != nil {
				h.t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.write(good)
			h.start()
			before := h.token()
			h.write(second)
			reload(h)
			for h.await("STATUS="); !strings.Contains(h.log.String(), "1 added, 0 changed, 0 removed, 1 kept"); {
				h.await("STATUS=")
			}
			if token, err := h.api.Token(t.Context(), "second", api.TokenOptions{}); err != nil || token.Token == before {
				t.Errorf("the new credential: %v", err)
			}
			if h.token() != before {
				t.Error("the credential that was kept has another token")
			}
			got, err := h.api.Reload(t.Context())
			if want := (api.Reloaded{Kept: 2}); err != nil || *got != want {
				t.Errorf("reloading what did not change: %+v, %v", got, err)
			}
		})
	}
}

func TestSystemdIsTold(t *testing.T) {
	h := newHouse(t)
	h.write(good)
	h.start()
	if got := <-h.told; !strings.HasPrefix(got, "READY=1\nSTATUS=") {
		t.Errorf("the first word to systemd is %q", got)
	}
	h.await("STATUS=1 fresh")
	h.hangup <- syscall.SIGHUP
	if got := h.await("RELOADING=1"); !strings.Contains(got, "MONOTONIC_USEC=") {
		t.Errorf("reloading without a time: %q", got)
	}
	h.await("READY=1")
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	h.await("STOPPING=1")
}

func TestStartWithABadFile(t *testing.T) {
	h := newHouse(t)
	h.write("[credentials.a]\n")
	err := Run(t.Context(), h.cfg)
	if _, ok := errors.AsType[*InvalidError](err); !ok {
		t.Fatalf("started with a bad file: %v", err)
	}
	for _, path := range []string{h.cfg.Socket, h.cfg.Store} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was touched (%v)", path, err)
		}
	}
}

func TestSocketModes(t *testing.T) {
	for service, want := range map[bool][2]fs.FileMode{true: {0o755, 0o666}, false: {0o700, 0o600}} {
		h := newHouse(t)
		h.cfg.Service = service
		h.write(good)
		h.start()
		for i, path := range []string{filepath.Dir(h.cfg.Socket), h.cfg.Socket} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want[i] {
				t.Errorf("service %v: %s has %v (%v), want %v", service, path, info.Mode(), err, want[i])
			}
		}
		check(t, h.stop())
		if _, err := os.Lstat(h.cfg.Socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket was left behind: %v", err)
		}
	}
}

// Whatever the umask, a service's socket is within everybody's reach.
func TestSocketModesUnderAnyUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	h := newHouse(t)
	h.cfg.Service = true
	h.write(good)
	h.start()
	if info, err := os.Stat(filepath.Dir(h.cfg.Socket)); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the socket's directory has %v (%v)", info.Mode(), err)
	}
}

func TestSocketsDirectoryThatOthersCanWrite(t *testing.T) {
	h := newHouse(t)
	h.write(good)
	dir := filepath.Dir(h.cfg.Socket)
	check(t, os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777))
	if err := Run(t.Context(), h.cfg); err == nil || !strings.Contains(err.Error(), "chmod go-w "+dir) {
		t.Errorf("started: %v", err)
	}
	h.cfg.Socket = filepath.Join(h.dir, strings.Repeat("long", 30))
	if err := Run(t.Context(), h.cfg); err == nil || !strings.Contains(err.Error(), "shorter --socket") {
		t.Errorf("started: %v", err)
	}
}

// A stop before the start was over is a clean stop, and no fault of the file.
func TestStopDuringTheStart(t *testing.T) {
	h := newHouse(t)
	h.write(good)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, h.cfg); err != nil {
		t.Errorf("stopped with %v", err)
	}
	for range 10 { // the keeper may still take the file, or not
		ctx, cancel := context.WithCancel(t.Context())
		h.cfg.Log = slog.New(slog.NewTextHandler(writer(func(line []byte) (int, error) {
			if bytes.Contains(line, []byte("new token store")) {
				cancel()
			}
			return len(line), nil
		}), nil))
		err := Run(ctx, h.cfg)
		if ctx.Err() == nil || err != nil {
			t.Errorf("stopped with the store open: %v, %v", ctx.Err(), err)
		}
		cancel()
		check(t, os.RemoveAll(filepath.Dir(h.cfg.Store)))
	}
}

// writer is a func as an io.Writer.
type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestWhatIsAtTheSocketsPlace(t *testing.T) {
	t.Run("a stale socket", func(t *testing.T) {
		h := newHouse(t)
		h.write(good)
		check(t, os.Mkdir(filepath.Dir(h.cfg.Socket), 0o700))
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: h.cfg.Socket, Net: "unix"})
		check(t, err)
		l.SetUnlinkOnClose(false)
		check(t, l.Close())
		h.start()
		h.token()
	})
	t.Run("a file", func(t *testing.T) {
		h := newHouse(t)
		h.write(good)
		check(t, os.Mkdir(filepath.Dir(h.cfg.Socket), 0o700), os.WriteFile(h.cfg.Socket, []byte("precious"), 0o600))
		if err := Run(t.Context(), h.cfg); err == nil || !strings.Contains(err.Error(), "is no socket") {
			t.Errorf("started: %v", err)
		}
	})
	t.Run("another daemon's store", func(t *testing.T) {
		h := newHouse(t)
		h.write(good)
		h.start()
		err := Run(t.Context(), h.cfg)
		if err == nil || !strings.Contains(err.Error(), "another tokend holds") {
			t.Errorf("started: %v", err)
		}
		h.token() // the first one's socket is still there
	})
	t.Run("another daemon", func(t *testing.T) {
		h := newHouse(t)
		h.write(good)
		h.start()
		second := h.cfg
		second.Store += ".other"
		if err := Run(t.Context(), second); err == nil || !strings.Contains(err.Error(), "another daemon answers") {
			t.Errorf("started: %v", err)
		}
		h.token()
	})
}

func TestMetricsOnTCP(t *testing.T) {
	h := newHouse(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	h.cfg.MetricsListen = l.Addr().String()
	check(t, l.Close())
	h.write(good)
	h.start()
	h.token()
	for path, want := range map[string]int{"/metrics": 200, "/v1/tokens/finam": 404, "/v1/health": 404} {
		resp, err := http.Get("http://" + h.cfg.MetricsListen + path)
		check(t, err)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s over TCP: %d, want %d", path, resp.StatusCode, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// healthError is what health says of the file.
func (h *house) healthError() string {
	h.t.Helper()
	health, err := h.api.Health(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return health.Config.Error
}

// metrics are those of the socket.
func (h *house) metrics() string {
	h.t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", h.cfg.Socket)
	}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://tokend/metrics")
	check(h.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(h.t, err)
	return string(body)
}

func check(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
