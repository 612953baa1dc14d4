package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/config"
	"github.com/tokend-project/tokend/daemon/keeper"
	"github.com/tokend-project/tokend/daemon/server"
	"github.com/tokend-project/tokend/store"
)

// grace is how long a stop waits for renewals and answers in flight.
const grace = 10 * time.Second

// Config says what to run.
type Config struct {
	Paths
	// KeyName is what messages call Paths.KeyFile: the flag or variable that named it.
	KeyName string
	// Service makes a socket that everybody may connect to, instead of the user alone,
	// and lets rules name units.
	Service bool
	// MetricsListen is a TCP address that serves /metrics to anybody who can reach
	// it; empty for none.
	MetricsListen string
	// Hangup has the credentials file read again for each value; SIGHUP, as a rule.
	Hangup <-chan os.Signal
	// Ready, if not nil, is called once the socket answers.
	Ready   func()
	Version string
	Log     *slog.Logger
}

// InvalidError says that tokend did not start because of the credentials file. Its
// problems are in the log.
type InvalidError struct{ Err error }

func (e *InvalidError) Error() string { return "not started: " + e.Err.Error() }

// Unwrap returns the problems of the file.
func (e *InvalidError) Unwrap() error { return e.Err }

// daemon is a running tokend.
type daemon struct {
	cfg     Config
	log     *slog.Logger
	started time.Time
	loader  *config.Loader
	store   *store.Store
	keeper  *keeper.Keeper
	metrics *metrics
	dirty   chan struct{} // holds a value when the status line may have changed

	telling  sync.Mutex // guards what follows; held while systemd is told
	told     string     // the status line that it has
	stopping bool       // it knows that we stop

	reloading sync.Mutex // one reload at a time
	mu        sync.Mutex // guards what follows; held for moments only
	inForce   inForce
}

// inForce is the credentials file as the daemon goes by it.
type inForce struct {
	rules    access.Rules
	sum      [32]byte
	loadedAt time.Time // zero: no file was ever in force
	err      error     // why the file on disk is not in force; nil if it is
	newest   string    // name of the credential whose problem is the newest, for the status line
}

// Run runs tokend until ctx ends, and returns nil then. The error is an
// *InvalidError if the credentials file is bad at the start and no socket was
// inherited; anything else is a failure of the host: a locked store, a socket that
// cannot be made.
func Run(ctx context.Context, cfg Config) error {
	d := &daemon{
		cfg: cfg, log: cfg.Log, started: time.Now(), dirty: make(chan struct{}, 1),
		loader: config.NewLoader(cfg.options()),
	}
	d.metrics = newMetrics(d.count)
	err := d.open(ctx)
	if err != nil {
		d.notify(statusIs(err.Error())) // `systemctl status` shows it when we are gone
	}
	return err
}

// open has everything there that a daemon needs, and then runs it.
func (d *daemon) open(ctx context.Context) (err error) {
	listener, err := inherited()
	if err != nil {
		return err
	}
	if err := d.cfg.check(listener != nil); err != nil {
		return err
	}
	file, err := d.load(ctx)
	if ctx.Err() != nil { // stopped before the start was over
		return closed(listener)
	}
	if err != nil && listener == nil {
		return &InvalidError{err}
	}
	d.store, err = store.Open(store.Config{
		Path: d.cfg.Store, KeyFile: d.cfg.KeyFile, KeyName: d.cfg.KeyName, Version: d.cfg.Version, Log: d.log,
	})
	if err != nil {
		return errors.Join(err, closed(listener))
	}
	defer func() { err = errors.Join(err, d.store.Close()) }()
	if listener == nil {
		if listener, err = listen(d.cfg.Socket, d.cfg.Service); err != nil {
			return err
		}
	}
	d.keeper = keeper.New(keeper.Config{Store: d.store, Event: d.hear, Grace: grace, Log: d.log})
	return d.run(ctx, listener, file)
}

func closed(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// run has everything running; the store outlives the rest, so that what the stop
// queues is still written.
func (d *daemon) run(ctx context.Context, listener net.Listener, file *config.File) error {
	lasting, endStore := context.WithCancel(context.WithoutCancel(ctx))
	defer endStore()
	stored := make(chan error, 1)
	go func() { stored <- d.store.Run(lasting) }()

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.keeper.Run(ctx) })
	var unused error
	if d.starts(ctx, file) {
		d.serve(ctx, g, listener)
	} else {
		unused = closed(listener)
	}
	err := g.Wait()
	endStore()
	return errors.Join(err, unused, <-stored)
}

// starts puts the file in force, if there is one; false says that we were stopped
// before the start was over.
func (d *daemon) starts(ctx context.Context, file *config.File) bool {
	if file == nil {
		return true
	}
	_, err := d.apply(ctx, file)
	return err == nil // the keeper takes everything for as long as it runs
}

// serve has everything running that the keeper does not need.
func (d *daemon) serve(ctx context.Context, g *errgroup.Group, listener net.Listener) {
	s := server.New(server.Config{
		Keeper: d.keeper, Daemon: d.rules, Reload: d.reload, Health: d.health,
		Metrics: d.metrics.handler(), Count: d.metrics.called, Ready: d.ready, Log: d.log, Grace: grace,
	})
	g.Go(func() error { return s.Run(ctx, listener) })
	if d.cfg.MetricsListen != "" {
		g.Go(func() error { return d.serveMetrics(ctx) })
	}
	g.Go(func() error { d.watch(ctx); return nil })
	g.Go(func() error { d.hangups(ctx); return nil })
	g.Go(func() error { d.watchdog(ctx); return nil })
	g.Go(func() error { d.report(ctx, listener.Addr().String()); return nil })
}

// serveMetrics serves /metrics on TCP, where callers have no identity.
func (d *daemon) serveMetrics(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", d.cfg.MetricsListen)
	if err != nil {
		return fmt.Errorf("listening for metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", d.metrics.handler())
	s := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics: %w", err)
	}
	return nil
}

// hear is where everything that happens to a credential arrives, on the keeper's
// goroutine.
func (d *daemon) hear(e keeper.Event) {
	write(d.log, e)
	d.mu.Lock()
	if e.Err != nil || e.State != api.StateFresh && e.State != api.StateIdle {
		d.inForce.newest = e.Credential
	}
	d.mu.Unlock()
	d.mark()
}

// mark has the status line made anew.
func (d *daemon) mark() {
	select {
	case d.dirty <- struct{}{}:
	default:
	}
}

// count counts the credentials by state, and those not saved.
func (d *daemon) count() (states map[api.State]int, unsaved int) {
	states = map[api.State]int{}
	for _, c := range d.keeper.Cells() {
		s := c.Status()
		states[s.State]++
		if !s.Saved {
			unsaved++
		}
	}
	return states, unsaved
}

func (d *daemon) rules() access.Rules {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inForce.rules
}

func (d *daemon) health() api.Health {
	states, _ := d.count()
	d.mu.Lock()
	defer d.mu.Unlock()
	h := api.Health{
		Version: d.cfg.Version, UptimeSeconds: int64(time.Since(d.started).Seconds()), Credentials: states,
		Config: api.ConfigHealth{LoadedAt: d.inForce.loadedAt},
	}
	if d.inForce.err != nil {
		h.Config.Error = d.inForce.err.Error()
	}
	return h
}
