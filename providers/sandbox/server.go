package sandbox

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxBody is the most of a request that is read: 4 MiB, gRPC's own limit.
const maxBody = 4 << 20

// vendor is what one API's file brings. Its knobs are the receiver, so that an
// answer is made from one consistent set of them.
type vendor interface {
	// login is the path of the call that trades secrets for a token.
	login() string
	// act answers a call. It holds the server's lock and must not block.
	act(s *state, r *http.Request, body []byte) answer
	// failure is how the API words an outage with this status.
	failure(status int) answer
}

// Server is a look-alike of one API; K holds its knobs. It is an http.Handler for
// net/http's server (a dropped connection is a panic with http.ErrAbortHandler).
// Every method may be called at any time, from any goroutine.
type Server[K vendor] struct {
	mu       sync.Mutex
	knobs    K
	state    state
	skew     time.Duration
	latency  time.Duration
	scripts  []script
	log      callLog
	listener net.Listener
}

// New makes a look-alike with these knobs; their zero value is the API as its
// documents describe it. It starts nothing. Maps and slices in the knobs belong to
// the server from here on: change them in Set.
func New[K vendor](knobs K) *Server[K] {
	return &Server[K]{knobs: knobs, state: newState(), log: newCallLog()}
}

// Set changes knobs while the server runs. No call sees half of a change.
func (s *Server[K]) Set(change func(*K)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.knobs)
}

// Skew sets the server's clock ahead of the host's by d (behind, if negative). It
// shows in Date headers, in the times inside tokens and answers, and in when a
// token dies: moving the clock on is how a test makes one expire.
func (s *Server[K]) Skew(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skew = d
}

// Latency delays every answer from now on by d. The delay comes before the call
// has any effect, and ends early when the client leaves.
func (s *Server[K]) Latency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// Revoke makes the API forget every token it has given out, as if an operator had
// ended all sessions.
func (s *Server[K]) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.revoke("")
}

// ServeHTTP answers one call: log, latency, fault, and then the API itself.
func (s *Server[K]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call, fault, latency := s.arrive(r)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil || !pause(r.Context(), latency) {
		panic(http.ErrAbortHandler)
	}
	if !fault.Late && !fault.wait(r.Context()) {
		panic(http.ErrAbortHandler)
	}
	reply := s.reply(fault, r, body)
	if fault.Late && !fault.wait(r.Context()) {
		panic(http.ErrAbortHandler)
	}
	if fault.Drop && !fault.Truncated {
		panic(http.ErrAbortHandler)
	}
	if fault.raw() {
		fault.write(r.Context(), w)
		return
	}
	s.answered(call, reply.status, w.Header())
	reply.write(w, fault)
}

// arrive logs the call and takes the fault that is scripted for it.
func (s *Server[K]) arrive(r *http.Request) (*Call, Fault, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	login := r.Method == http.MethodPost && r.URL.Path == s.knobs.login()
	return s.log.add(r, login), s.nextFault(r.URL.Path), s.latency
}

// reply is the API's answer, or the fault's in its place.
func (s *Server[K]) reply(fault Fault, r *http.Request, body []byte) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var reply answer
	if !fault.replaces() || fault.Late {
		before := s.state.logins
		s.state.now = s.now()
		reply = s.knobs.act(&s.state, r, body)
		if s.state.logins > before {
			s.log.changed()
		}
	}
	if fault.replaces() {
		reply = fault.answer(s.knobs.failure)
	}
	return reply
}

// answered notes the status before the client can see it, so that a client that
// has its answer finds it in the log.
func (s *Server[K]) answered(call *Call, status int, header http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	call.Status = status
	header.Set("Date", s.now().UTC().Format(http.TimeFormat))
}

// now is the server's own clock. Called with the lock held.
func (s *Server[K]) now() time.Time { return time.Now().Round(0).Add(s.skew) }

// pause waits for d and says whether the client is still there.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
