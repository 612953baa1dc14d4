package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
)

// Values of headers, shared by all answers: net/http only reads them.
var (
	typeJSON    = []string{"application/json"}
	typeProblem = []string{"application/problem+json"}
	typeText    = []string{"text/plain; charset=utf-8"}
	typeLines   = []string{"application/x-ndjson"}
	noStore     = []string{"no-store"}
	varyAccept  = []string{"Accept"}
	closes      = []string{"close"}
)

// encode is v as a line of JSON. What crosses the socket can always be encoded, so
// an error is a fault of ours and a panic.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // no browser reads this, people do
	if err := enc.Encode(v); err != nil {
		panic(fmt.Errorf("encoding an answer: %w", err))
	}
	return b.Bytes()
}

// send writes a whole answer. An error of writing is the caller's, who is gone.
func (c *call) send(status int, contentType []string, body []byte) {
	h := c.w.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["Cache-Control"] = noStore
	c.answered = true
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body)
}

// ok answers with a document.
func (c *call) ok(v any) {
	c.send(http.StatusOK, typeJSON, encode(v))
	c.count("ok")
}

// fail answers with a problem. A body that was not read ends the connection: the
// next request would begin somewhere in it.
func (c *call) fail(e *api.Error) {
	if e.Name == "" && c.credential != "" {
		e = e.For(c.credential)
	}
	h := c.w.Header()
	if e.RetryAfter > 0 {
		h["Retry-After"] = []string{strconv.Itoa(e.RetryAfter)}
	}
	if c.r.ContentLength != 0 && !c.bodyRead {
		h["Connection"] = closes
	}
	c.send(e.Status, typeProblem, encode(e))
	c.count(string(e.Code))
}

func (c *call) count(outcome string) {
	path := ""
	if c.route != nil {
		path = c.route.path
	}
	c.server.Count(path, c.credential, outcome)
}

// survive turns a panic into a problem: one call's fault must not end the others.
func (c *call) survive() {
	v := recover()
	if v == nil {
		return
	}
	// A panic's value may hold anything, but the runtime's own texts hold no data;
	// neither does a stack, whose arguments are numbers.
	text := fmt.Sprintf("%T", v)
	if err, ok := v.(runtime.Error); ok {
		text = err.Error()
	}
	c.server.Log.Error("a call panicked; please report this", c.attrs("err", fmt.Sprintf("panic: %s\n%s", text, debug.Stack()))...)
	if c.answered {
		panic(http.ErrAbortHandler) // an answer that may be half sent must not look whole
	}
	clear(c.w.Header())
	c.w.Header()["Connection"] = closes // who knows what is left of the request
	c.fail(api.Errorf(api.CodeInternal, "a fault of tokend's own; its log says which"))
}

// attrs are what the log says of the call and its caller, after what the line is about.
func (c *call) attrs(args ...any) []any {
	args = append(args, "uid", c.conn.peer.UID, "pid", c.conn.peer.PID, "method", c.r.Method)
	if c.name != "" {
		args = append(args, "credential", c.name)
	}
	if c.route != nil {
		args = append(args, "path", c.route.path)
	}
	return args
}

// may says whether the rules grant the caller a right, in a problem if not. want
// names what the right is for: "read the token".
func (c *call) may(rules access.Rules, right access.Right, want string) *api.Error {
	allowed, why := rules.Decide(c.conn.peer, right)
	return c.decided(allowed, why, want)
}

// decided logs a decision; a refusal is said to the caller too, with the words that
// an operator needs to mend the rules.
func (c *call) decided(allowed bool, why, want string) *api.Error {
	if allowed {
		if c.server.Log.Enabled(c.r.Context(), slog.LevelDebug) { // spares every read the arguments
			c.server.Log.Debug("access granted", c.attrs("rule", why)...)
		}
		return nil
	}
	c.server.Log.Warn("access denied", c.attrs("rule", why)...)
	return api.Errorf(api.CodeDenied, "no right to %s: the kernel knows you as %s", want, why).
		WithHint("`tokenctl whoami` shows what you may do; `allow`, `operate` and `observe` in the credentials file decide")
}
