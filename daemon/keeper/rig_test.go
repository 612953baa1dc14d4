package keeper

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
	"github.com/tokend-project/tokend/store"
)

// upstream is a provider's server as these tests need it: it counts what it is asked
// for, and answers as its funcs say. It outlives restarts of the keeper.
type upstream struct {
	life  time.Duration // of the tokens it issues
	takes time.Duration // to answer
	login func(n int) error
	// refresh makes it a refresher: it returns the new refresh token, "" to keep it.
	refresh func(n int, with string) (string, error)
	skew    time.Duration

	mu                sync.Mutex
	logins, refreshed int
	flying, most      int
	at                []time.Time // of the requests
}

func (u *upstream) ask(ctx context.Context, count *int) (n int, err error) {
	u.mu.Lock()
	*count++
	n = *count
	u.flying++
	u.most = max(u.most, u.flying)
	u.at = append(u.at, time.Now())
	takes := u.takes
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		u.flying--
		u.mu.Unlock()
	}()
	select {
	case <-time.After(takes):
		return n, nil
	case <-ctx.Done():
		return n, failure(providers.Transient)
	}
}

// answers has logins answered with this error from now on; nil: with tokens.
func (u *upstream) answers(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.login = func(int) error { return err }
}

// slows has it take this long to answer from now on.
func (u *upstream) slows(takes time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.takes = takes
}

func (u *upstream) token(value string, now time.Time) providers.Token {
	return providers.Token{Value: providers.NewSecret(value), Issued: now, Expires: now.Add(u.life), Skew: u.skew}
}

func (u *upstream) asked() (logins, refreshed int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.logins, u.refreshed
}

// client is the provider of one credential at an upstream.
type client struct {
	*upstream
	secret string
}

func (c client) Login(ctx context.Context, _ *providers.Answer) (providers.Token, error) {
	now := time.Now()
	n, err := c.ask(ctx, &c.logins)
	c.mu.Lock()
	login := c.login
	c.mu.Unlock()
	if err == nil && login != nil {
		err = login(n)
	}
	if err != nil {
		return providers.Token{}, err
	}
	t := c.token(fmt.Sprintf("%s-login-%d", c.secret, n), now)
	if c.refresh != nil {
		t.Refresh = providers.NewSecret(fmt.Sprintf("refresh-0-%d", n))
		t.RefreshExpires = now.Add(24 * time.Hour)
	}
	return t, nil
}

// refresher is a client whose server has a refresh endpoint.
type refresher struct{ client }

func (r refresher) Refresh(ctx context.Context, prev providers.Token) (providers.Token, error) {
	now := time.Now()
	n, err := r.ask(ctx, &r.refreshed)
	if err != nil {
		return providers.Token{}, err
	}
	next, err := r.refresh(n, prev.Refresh.Reveal())
	if err != nil {
		return providers.Token{}, err
	}
	t := r.token(fmt.Sprintf("%s-refresh-%d", r.secret, n), now)
	t.Refresh = providers.NewSecret(next)
	return t, nil
}

func failure(class providers.Class) *providers.Error {
	return &providers.Error{Class: class, Sent: true, Err: fmt.Errorf("the provider said %v", class)}
}

// credential at the upstream; identity and secret decide what its name says.
func (u *upstream) credential(name, identity, secret string) *Credential {
	kind := &providers.Kind{Name: "test", RenewAt: 0.75, Logins: 12}
	c := &Credential{
		Name: name, Kind: kind, RenewAt: 0.75, Host: "api.example.com:443",
		Headers:  []providers.Header{{Name: "Authorization", Format: "Bearer {token}"}},
		Identity: sha256.Sum256([]byte(identity)), Secrets: sha256.Sum256([]byte(secret)),
	}
	c.Provider = client{u, secret}
	if u.refresh != nil {
		c.Provider = refresher{client{u, secret}}
	}
	return c
}

// rig is a keeper over a real store that can be restarted.
type rig struct {
	*Keeper
	t      *testing.T
	path   string
	store  *store.Store
	stop   func()
	write  func() // starts the store's writer
	noSave bool   // start without that

	mu     sync.Mutex
	events []Event
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "tokens.db")}
	t.Cleanup(func() {
		if r.stop != nil {
			r.stop()
		}
	})
	return r
}

// start opens the store and runs a keeper with these credentials.
func (r *rig) start(creds ...*Credential) *rig {
	r.t.Helper()
	r.startIdle()
	r.apply(creds...)
	return r
}

// startIdle is start before any file was in force.
func (r *rig) startIdle() {
	r.t.Helper()
	s, err := store.Open(store.Config{Path: r.path, Version: "test"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.store = s
	r.Keeper = New(Config{Store: s, Grace: 10 * time.Second, Event: func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	}})
	var wg, writer sync.WaitGroup
	keeping, stopKeeper := context.WithCancel(context.Background())
	writing, stopStore := context.WithCancel(context.Background())
	wg.Go(func() { r.Keeper.Run(keeping) })
	r.write = func() { writer.Go(func() { s.Run(writing) }) }
	if !r.noSave {
		r.write()
	}
	r.stop = func() {
		r.stop = nil
		stopKeeper()
		wg.Wait()
		stopStore()
		writer.Wait()
		if err := s.Close(); err != nil {
			r.t.Error(err)
		}
	}
}

// restart stops and starts again with these credentials.
func (r *rig) restart(creds ...*Credential) {
	r.t.Helper()
	r.stop()
	r.start(creds...)
}

// crash starts again from what a power cut at this moment would leave on disk.
func (r *rig) crash(creds ...*Credential) {
	r.t.Helper()
	left := r.t.TempDir()
	for _, name := range []string{"tokens.db", "store.key"} {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(r.path), name))
		if err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(left, name), data, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	r.stop() // what it still does, it does to the old files
	r.path = filepath.Join(left, filepath.Base(r.path))
	r.start(creds...)
}

func (r *rig) apply(creds ...*Credential) Change {
	r.t.Helper()
	c, err := r.Apply(r.t.Context(), creds)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// get asks for a token as a reader would who gives no min_ttl.
func (r *rig) get(name string, wait time.Duration) (string, *api.Error) {
	a, err := r.Cell(name).Token(r.t.Context(), Demand{MinTTL: -1, Wait: wait})
	if err != nil {
		return "", err
	}
	return string(a.Text), nil
}

// want asks for the token now and compares it.
func (r *rig) want(name, token string) {
	r.t.Helper()
	synctest.Wait()
	if got, err := r.get(name, 0); err != nil || got != token {
		r.t.Errorf("token of %s is %q (%v), want %q", name, got, err, token)
	}
}

// wantNone asks for the token now, and that it is not there for the reason of the code.
func (r *rig) wantNone(name string, code api.Code) *api.Error {
	r.t.Helper()
	synctest.Wait()
	got, err := r.get(name, 0)
	if err == nil || err.Code != code {
		r.t.Fatalf("token of %s is %q (%v), want none because of %s", name, got, err, code)
	}
	return err
}

// wantState waits for all that is under way and compares the state.
func (r *rig) wantState(name string, state api.State) api.Status {
	r.t.Helper()
	synctest.Wait()
	s := r.Cell(name).Status()
	if s.State != state {
		r.t.Errorf("%s is %s (%+v), want %s", name, s.State, s.Error, state)
	}
	return s
}

// wantAsked compares what the upstream was asked for.
func (r *rig) wantAsked(u *upstream, logins, refreshes int) {
	r.t.Helper()
	synctest.Wait()
	if l, f := u.asked(); l != logins || f != refreshes {
		r.t.Errorf("%d logins and %d refreshes, want %d and %d", l, f, logins, refreshes)
	}
}

// heard counts events of the kind.
func (r *rig) heard(kind EventKind) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// untilRenewal lets time pass until the credential's renewal has begun.
func (r *rig) untilRenewal(name string) {
	synctest.Wait()
	time.Sleep(time.Until(r.Cell(name).view.Load().next))
	synctest.Wait()
}
