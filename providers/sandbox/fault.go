package sandbox

import (
	"context"
	"net/http"
	"time"
)

// Fault is one way for an answer to go wrong. Status, HTML, Body and Location put
// another answer in the place of the API's; Raw puts there what need not be an answer
// at all; Edit, Header, Empty, Truncated and Drop spoil the one there is; Hold keeps it
// back. They combine: Drop with Truncated ends the connection in the middle of a body,
// Drop with Late loses the answer to a call that has taken effect. The zero Fault
// changes nothing.
type Fault struct {
	Path       string              // of the calls it strikes; empty: any
	Status     int                 // answered instead, in the API's own error format
	HTML       bool                // a gateway's HTML page instead, with Status (502 if 0)
	Body       string              // answered as JSON (with HTML: as HTML), byte for byte, with Status (200 if 0)
	Location   string              // a redirect to there, with Status (307 if 0)
	Raw        string              // written to the connection byte for byte, which ends then (HTTP/1.1 alone)
	Endless    string              // written behind Raw again and again, until the client leaves
	Pause      time.Duration       // before each byte of Raw and Endless
	Reset      bool                // the connection is reset, behind Raw or without an answer
	Edit       func([]byte) []byte // makes the body that is sent of the one there is
	Header     map[string]string   // sent in place of the answer's own; an empty value: not sent
	RetryAfter string              // sent as Retry-After, as it is
	Empty      bool                // status and headers, no body
	Truncated  bool                // half of the body, in a complete answer
	Drop       bool                // the connection ends without an answer
	Late       bool                // the call takes effect before the fault strikes
	Hold       <-chan struct{}     // nothing is answered until it is closed
}

// script is a fault and how many calls it is still for; negative: all of them.
type script struct {
	left int
	Fault
}

// Fail makes the next n answers go wrong; a negative n, every one until Heal. What
// was scripted earlier comes first, and a call takes one fault at most.
func (s *Server[K]) Fail(n int, fault Fault) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts = append(s.scripts, script{left: n, Fault: fault})
}

// Heal forgets all scripted faults. Calls that are being held stay held.
func (s *Server[K]) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts = nil
}

// nextFault takes the first fault that strikes calls of path. Called with the lock
// held.
func (s *Server[K]) nextFault(path string) Fault {
	for i := range s.scripts {
		next := &s.scripts[i]
		if next.Path != "" && next.Path != path {
			continue
		}
		fault := next.Fault
		if next.left > 0 {
			next.left--
		}
		if next.left == 0 {
			s.scripts = append(s.scripts[:i], s.scripts[i+1:]...)
		}
		return fault
	}
	return Fault{}
}

// replaces says whether the API's own answer is not sent, and without Late not
// even made.
func (f Fault) replaces() bool {
	return f.Status != 0 || f.HTML || f.Body != "" || f.Location != "" || f.Drop && !f.Truncated || f.raw()
}

// wait holds the call back, and says whether the client is still there.
func (f Fault) wait(ctx context.Context) bool {
	if f.Hold == nil {
		return true
	}
	select {
	case <-f.Hold:
		return true
	case <-ctx.Done():
		return false
	}
}

// answer is what is sent in the place of the API's.
func (f Fault) answer(failure func(int) answer) answer {
	switch {
	case f.Body != "" && f.HTML:
		return answerOf(or(f.Status, http.StatusOK), "text/html", []byte(f.Body))
	case f.Body != "":
		return answerOf(or(f.Status, http.StatusOK), "application/json", []byte(f.Body))
	case f.Location != "":
		reply := gatewayPage(or(f.Status, http.StatusTemporaryRedirect))
		reply.header.Set("Location", f.Location)
		return reply
	case f.HTML:
		return gatewayPage(or(f.Status, http.StatusBadGateway))
	}
	return failure(or(f.Status, http.StatusInternalServerError))
}

func or(status, instead int) int {
	if status == 0 {
		return instead
	}
	return status
}
