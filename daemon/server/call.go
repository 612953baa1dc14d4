package server

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/keeper"
)

const (
	maxHeader = 4 << 10
	maxBody   = 64 << 10

	defaultWait = 10 * time.Second
	longestWait = 5 * time.Minute
)

// call is one request on its way to its answer.
type call struct {
	server *Server
	w      http.ResponseWriter
	r      *http.Request
	conn   *conn

	route      *route // nil until found
	name       string // of the credential, as asked for
	credential string // the same, once there is one of that name
	demand     keeper.Demand
	watched    []string // names to watch; none: all
	bodyRead   bool
	answered   bool
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	c := &call{
		server: s, w: w, r: r, conn: r.Context().Value(connKey{}).(*conn),
		demand: keeper.Demand{MinTTL: -1, Wait: defaultWait},
	}
	c.conn.called = true
	c.conn.heard.Do(func() { close(c.conn.asked) })
	defer c.survive()
	if len(r.TransferEncoding) > 0 { // by then net/http has dropped a length beside it
		w.Header()["Connection"] = closes
	}
	problem := c.check()
	if problem == nil {
		problem = c.route.serve(c)
	}
	if problem != nil {
		c.fail(problem)
	}
}

// check looks at everything that does not depend on the call, and finds the call.
func (c *call) check() *api.Error {
	if _, ok := c.r.Header["Origin"]; ok {
		return api.Errorf(api.CodeDenied, "the request has an Origin header, so a web page sent it: tokend is for local programs")
	}
	if size := headerSize(c.r); size > maxHeader {
		return api.Errorf(api.CodeUsage, "the request line and headers have %d bytes, at most %d are read", size, maxHeader)
	}
	route, name := find(c.r.URL)
	if route == nil {
		return api.Errorf(api.CodeUsage, "no call has the path %.100q", cmp.Or(c.r.URL.EscapedPath(), c.r.RequestURI)).
			WithHint("paths are taken as they are: nothing is unescaped, cleaned or redirected")
	}
	c.route, c.name = route, name
	if c.r.Method != route.method {
		return api.Errorf(api.CodeUsage, "%s takes %s, not %.20q", route.path, route.method, c.r.Method)
	}
	if c.r.ContentLength != 0 && route.method == http.MethodGet {
		return api.Errorf(api.CodeUsage, "%s takes no body", route.path)
	}
	if problem := c.query(); problem != nil {
		return problem
	}
	if !route.always {
		return c.server.Ready()
	}
	return nil
}

// headerSize is how long the request line and headers were.
func headerSize(r *http.Request) int {
	size := len(r.Method) + len(r.RequestURI) + len(r.Proto) + 4 + len("Host: \r\n") + len(r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	return size
}

// query reads the parameters into the demand.
func (c *call) query() *api.Error {
	seen := 0 // a bit for each parameter of the call
	for pair := range strings.SplitSeq(c.r.URL.RawQuery, "&") {
		if pair == "" {
			continue
		}
		escaped, text, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(escaped)
		i := slices.Index(c.route.params, key)
		if err != nil || i < 0 {
			return api.Errorf(api.CodeUsage, "%s has no parameter %.64q", c.route.path, escaped)
		}
		if seen&(1<<i) != 0 && key != "name" {
			return api.Errorf(api.CodeUsage, "the parameter %s is given twice", key)
		}
		seen |= 1 << i
		if problem := c.parameter(key, text); problem != nil {
			return problem
		}
	}
	return nil
}

func (c *call) parameter(key, escaped string) *api.Error {
	text, err := url.QueryUnescape(escaped)
	if err != nil {
		return api.Errorf(api.CodeUsage, "%s=%.64q is escaped badly", key, escaped)
	}
	if key == "name" {
		return c.watchedToo(text)
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return api.Errorf(api.CodeUsage, "%s=%.64q is no duration: write 30s, 5m or 1h30m", key, text)
	case d < 0:
		return api.Errorf(api.CodeUsage, "%s=%.64q is negative", key, text)
	case key == "wait" && d > longestWait:
		return api.Errorf(api.CodeUsage, "wait=%.64q is too long: at most %v", text, longestWait)
	case key == "wait":
		c.demand.Wait = d
	default:
		c.demand.MinTTL = d
	}
	return nil
}
