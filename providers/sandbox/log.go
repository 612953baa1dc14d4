package sandbox

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

// maxCalls is how many calls the log keeps; half of them go when it is full. A demo
// may run for days.
const maxCalls = 8192

// Call is a line of the call log. It has the names of the headers and nothing of
// the query, the values or the body, which hold secrets.
type Call struct {
	Method  string
	Path    string
	Headers []string  // names in Go's canonical form (Authorizationjwt), sorted
	Status  int       // 0 while unanswered, and for good if the connection was dropped
	Time    time.Time // of arrival, by the host's clock
}

// callLog is guarded by the server's lock.
type callLog struct {
	calls []*Call
	total int           // calls that came, whether or not they are still kept
	tried int           // calls of the login endpoint
	wake  chan struct{} // closed and replaced at every change
}

func newCallLog() callLog { return callLog{wake: make(chan struct{})} }

func (l *callLog) add(r *http.Request, login bool) *Call {
	if len(l.calls) >= maxCalls {
		l.calls = slices.Delete(l.calls, 0, maxCalls/2)
	}
	call := &Call{
		Method:  r.Method,
		Path:    r.URL.Path,
		Headers: slices.Sorted(maps.Keys(r.Header)),
		Time:    time.Now(),
	}
	l.calls = append(l.calls, call)
	l.total++
	if login {
		l.tried++
	}
	l.changed()
	return call
}

// changed wakes whoever waits.
func (l *callLog) changed() {
	close(l.wake)
	l.wake = make(chan struct{})
}

// Calls are the calls that came, the oldest first. A call is there from its
// arrival on, and its status before the client sees it. Of a long log only the
// last few thousand are kept.
func (s *Server[K]) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := make([]Call, len(s.log.calls))
	for i, call := range s.log.calls {
		calls[i] = *call
		calls[i].Headers = slices.Clone(call.Headers)
	}
	return calls
}

// Logins counts the calls of the login endpoint, faults included, and the tokens
// that logins were granted, including those whose answer was lost.
func (s *Server[K]) Logins() (tried, granted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.tried, s.state.logins
}

// Wait returns once n calls came since New, answered or not. Its error is that of
// ctx and says how many came.
func (s *Server[K]) Wait(ctx context.Context, n int) error {
	return s.waitFor(ctx, n, "calls", func() int { return s.log.total })
}

// WaitLogins returns once n logins were granted since New. Its error is that of
// ctx and says how many were.
func (s *Server[K]) WaitLogins(ctx context.Context, n int) error {
	return s.waitFor(ctx, n, "granted logins", func() int { return s.state.logins })
}

func (s *Server[K]) waitFor(ctx context.Context, n int, what string, count func() int) error {
	for {
		s.mu.Lock()
		have, wake := count(), s.log.wake
		s.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d %s at the sandbox, where %d came: %w", n, what, have, context.Cause(ctx))
		}
	}
}
