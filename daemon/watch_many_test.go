package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/config"
	"github.com/tokend-project/tokend/daemon/keeper"
	"github.com/tokend-project/tokend/store"
)

const many = 10_000

// person is the n-th of many: credential, name and password.
func person(n int) (credential, email, password string) {
	return fmt.Sprintf("c%d", n), fmt.Sprintf("p%d@example.com", n), fmt.Sprintf("hush-%d", n)
}

// crowd is a credentials file with many credentials, of which the middle one logs in
// by itself. Those that altered names have another password.
func crowd(url string, altered map[int]string) string {
	var text strings.Builder
	text.WriteString("[defaults]\nmode = \"lazy\"\n")
	for n := range many {
		credential, email, password := person(n)
		if other := altered[n]; other != "" {
			password = other
		}
		fmt.Fprintf(&text, "[credentials.%s]\nprovider = \"simplejwt\"\nurl = %q\nemail = %q\npassword = %q\n", credential, url, email, password)
		if n == many/2 {
			text.WriteString("mode = \"eager\"\n")
		}
	}
	return text.String()
}

// Of many credentials one is changed: it alone logs in, the others keep their tokens
// and when they will be renewed.
func TestWatchedOneOfMany(t *testing.T) {
	const used = 100 // of the credentials somebody has asked for the token
	w := newWatched(t)
	w.cfg.Log = slog.New(slog.NewTextHandler(w.log, nil)) // not every call, please
	passwords := map[string]string{}
	for n := range many {
		_, email, password := person(n)
		passwords[email] = password
	}
	people, url := w.exchanger(passwords)
	put(t, w.cfg.Credentials, crowd(url, nil))
	w.start()
	type had struct {
		fingerprint string
		renewAt     time.Time
	}
	before := map[string]had{}
	for n := range used {
		name, _, _ := person(n * many / used)
		_, err := w.api.Token(t.Context(), name, tokenNow)
		check(t, err)
		s := w.fresh(name)
		before[name] = had{s.Fingerprint, s.RenewAt}
	}
	changed, email, _ := person(many / 2)
	people.Set(func(k *sandboxJWT) {
		user := k.Users[email]
		user.Password = "new"
		k.Users[email] = user
	})
	put(t, w.cfg.Credentials, crowd(url, map[int]string{many / 2: "new"}))
	w.until("one is changed", func() bool {
		return strings.Contains(w.log.String(), fmt.Sprintf("0 added, 1 changed, 0 removed, %d kept", many-1))
	})
	w.until("its new token", func() bool { return w.fresh(changed).Fingerprint != before[changed].fingerprint })
	for name, was := range before {
		s := w.fresh(name)
		if now := (had{s.Fingerprint, s.RenewAt}); now != was && name != changed {
			t.Errorf("%s had %v, and has %v", name, was, now)
		}
	}
	if tried, granted := people.Logins(); tried != used+1 || granted != used+1 {
		t.Errorf("%d logins, %d granted, want %d", tried, granted, used+1)
	}
}

// BenchmarkReload reads a file with many credentials of which one changed, and puts it
// in force.
func BenchmarkReload(b *testing.B) {
	dir := b.TempDir()
	log := slog.New(slog.DiscardHandler)
	cfg := Config{Paths: Paths{Credentials: filepath.Join(dir, "credentials.toml"), Store: filepath.Join(dir, "tokens.db")}, Log: log}
	d := &daemon{cfg: cfg, log: log, dirty: make(chan struct{}, 1), loader: config.NewLoader(config.Options{Path: cfg.Credentials, Log: log})}
	d.metrics = newMetrics(d.count)
	var err error
	if d.store, err = store.Open(store.Config{Path: cfg.Store, Version: "bench", Log: log}); err != nil {
		b.Fatal(err)
	}
	d.keeper = keeper.New(keeper.Config{Store: d.store, Event: d.hear, Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- d.store.Run(ctx) }()
	go func() { ended <- d.keeper.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-ended; <-ended; d.store.Close() })
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		text := crowd("https://exchanger.example.com", map[int]string{many / 2: fmt.Sprint("hush-", n)})
		if err := os.WriteFile(cfg.Credentials, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		got, problem := d.reload(ctx)
		if problem != nil || n > 0 && (got.Changed != 1 || got.Kept != many-1) {
			b.Fatalf("%+v, %v", got, problem)
		}
	}
}
