package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokend-project/tokend/daemon/config"
	"github.com/tokend-project/tokend/daemon/keeper"
	"github.com/tokend-project/tokend/store"
)

// The watchdog is pinged three times in its time while the keeper's loop comes round,
// and not while it is stuck.
func TestWatchdog(t *testing.T) {
	e := newEar(t)
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	synctest.Test(t, func(t *testing.T) {
		d := e.daemon(t)
		held := make(chan struct{})
		kept := keeper.New(keeper.Config{Store: d.store, Log: d.log, Event: func(keeper.Event) { <-held }})
		d.keeper = kept
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { check(t, kept.Run(ctx)) })
		running.Go(func() { d.watchdog(ctx) })
		pings := func(want int) {
			t.Helper()
			synctest.Wait()
			if got := e.heard(); len(got) != want || slices.ContainsFunc(got, func(s string) bool { return s != "WATCHDOG=1" }) {
				t.Errorf("heard %q, want %d pings", got, want)
			}
		}
		pings(1)
		time.Sleep(time.Minute)
		pings(6)

		_, err := kept.Apply(ctx, e.unreachable(t)) // the login fails, which is an event
		check(t, err)
		time.Sleep(time.Second)
		pings(0)
		time.Sleep(5 * time.Minute)
		pings(0)
		if n := strings.Count(e.log.String(), "tokend is stuck"); n != 1 {
			t.Errorf("the log says %d times that it is stuck", n)
		}
		close(held)
		time.Sleep(time.Second)
		if got := e.heard(); len(got) == 0 {
			t.Error("it goes on, and systemd hears nothing of it")
		}
		time.Sleep(30 * time.Second)
		pings(3)
		if !strings.Contains(e.log.String(), "tokend goes on") {
			t.Error("the log does not say that it goes on")
		}
		cancel()
		running.Wait()
		pings(0)
	})
}

// Without a watchdog, or with another process's, there is nothing to do.
func TestWatchdogOff(t *testing.T) {
	for name, row := range map[string]struct {
		usec, pid string
		odd       bool
	}{
		"none":          {"", "", false},
		"another's":     {"30000000", "1", false},
		"no number":     {"soon", "", true},
		"no time":       {"0", "", true},
		"no process id": {"30000000", "me", true},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEar(t)
			t.Setenv("WATCHDOG_USEC", row.usec)
			t.Setenv("WATCHDOG_PID", row.pid)
			d := e.daemon(t)
			d.watchdog(t.Context()) // and it returns
			if got := e.heard(); len(got) > 0 {
				t.Errorf("heard %q", got)
			}
			if said := e.log.String(); strings.Contains(said, "the watchdog stays off") != row.odd {
				t.Errorf("the log says %q", said)
			}
		})
	}
}

// ear listens at NOTIFY_SOCKET, as systemd does. It never waits, so that it can be
// asked under a fake clock.
type ear struct {
	t   *testing.T
	fd  int
	log *logbook
}

func newEar(t *testing.T) *ear {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	check(t, err, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	t.Cleanup(func() { unix.Close(fd) })
	t.Setenv("NOTIFY_SOCKET", path)
	return &ear{t, fd, new(logbook)}
}

// heard is what was notified since it was asked last.
func (e *ear) heard() (all []string) {
	e.t.Helper()
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(e.fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return all
		}
		check(e.t, err)
		all = append(all, string(buf[:n]))
	}
}

// daemon is one that does not run.
func (e *ear) daemon(t *testing.T) *daemon {
	t.Helper()
	log := slog.New(slog.NewTextHandler(e.log, nil))
	kept, err := store.Open(store.Config{Path: filepath.Join(t.TempDir(), "state", "tokens.db"), Log: log})
	check(t, err)
	t.Cleanup(func() { check(t, kept.Close()) })
	return &daemon{log: log, store: kept, keeper: keeper.New(keeper.Config{Store: kept, Log: log})}
}

// unreachable is a credential whose server nobody runs.
func (e *ear) unreachable(t *testing.T) []*keeper.Credential {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials.toml")
	check(t, os.WriteFile(path, []byte(strings.ReplaceAll(good, "{url}", "http://127.0.0.1:1")), 0o600))
	file, err := config.NewLoader(config.Options{Path: path}).Load(t.Context())
	check(t, err)
	return file.Credentials
}
