package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/keeper"
)

// Config is what a Server works with. Keeper, Daemon, Reload, Health and Metrics
// are required.
type Config struct {
	Keeper *keeper.Keeper
	// Daemon returns the rules of [defaults] in force, which alone decide on reload
	// and metrics.
	Daemon func() access.Rules
	// Reload reads the credentials file again; its context ends with the caller's
	// connection.
	Reload  func(context.Context) (api.Reloaded, *api.Error)
	Health  func() api.Health
	Metrics http.Handler

	// Ready returns what every call but health and reload is answered with while no
	// credentials file was ever in force, else nil. A nil func is always ready.
	Ready func() *api.Error
	// Count hears of every answered call: its path with {name} in place of a name,
	// the credential if there is one of that name, and "ok" or the code of the
	// problem. What is no call at all is counted with an empty path.
	Count func(path, credential, outcome string)
	// Log hears of refused calls at warn and of granted reads at debug; nil is silent.
	Log *slog.Logger
	// Grace is how long calls in flight may go on after Run's context ended. Zero
	// cuts them at once.
	Grace time.Duration
}

// Server answers the calls of the socket.
type Server struct {
	Config
	limits limits
	peerOf func(*net.UnixConn) (access.Peer, error) // access.PeerOf, but in tests
}

// New makes a Server. It starts nothing.
func New(cfg Config) *Server {
	if cfg.Ready == nil {
		cfg.Ready = func() *api.Error { return nil }
	}
	if cfg.Count == nil {
		cfg.Count = func(string, string, string) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{Config: cfg, limits: defaultLimits(openFiles()), peerOf: access.PeerOf}
}

// Run answers until ctx ends, then ends the watches, lets the other calls in flight
// finish within the grace and returns nil. It closes the listener, which must hand out *net.UnixConn. Any
// other end is an error. Calls that wait for a token end when the keeper's context
// does, so end that one together with ctx.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	// Calls in flight outlive ctx, so theirs is another.
	calls, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	d := newDoor(l, s)
	stopping := make(chan struct{})
	d.stopping = stopping
	hs := s.http(calls, d)
	var failed error
	served := make(chan struct{})
	go func() {
		defer close(served)
		failed = hs.Serve(d)
	}()
	select {
	case <-served:
		failed = fmt.Errorf("accepting connections on %s: %w", l.Addr(), failed)
	case <-ctx.Done():
		l.Close()
		<-served // no new connections from here on
		failed = nil
	}
	close(stopping)
	hs.SetKeepAlivesEnabled(false)
	d.closeSilent(false)
	// net/http drops a request that comes after Shutdown. Callers connect and ask in two
	// steps, and a restart in between is to cost them nothing.
	d.awaitNewcomers()
	d.closeSilent(true)
	grace, cancel := context.WithTimeout(calls, s.Grace)
	defer cancel()
	if err := hs.Shutdown(grace); grace.Err() != nil {
		s.Log.Warn("calls cut at the end of the grace period", "err", err)
	}
	cut()
	hs.Close()
	d.wait()
	return failed
}

// connKey is the key of a request's *conn in its context.
type connKey struct{}

func (s *Server) http(calls context.Context, d *door) *http.Server {
	var http1 http.Protocols
	http1.SetHTTP1(true)
	return &http.Server{
		Handler:     http.HandlerFunc(s.serve),
		Protocols:   &http1,
		BaseContext: func(net.Listener) context.Context { return calls },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ConnState: d.state,
		ErrorLog:  slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),

		// Of a whole request. A call that waits is not cut by it: net/http lifts the
		// deadline once the request was read.
		ReadTimeout: s.limits.read,
		IdleTimeout: s.limits.idle,
		// net/http reads 4 KiB more than this before it gives up: those are for
		// answering with a problem what is a little too long.
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true, // OPTIONS * is no call either
	}
}
