package server

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/tokend-project/tokend/daemon/api"
)

// route is one call of the socket.
type route struct {
	path   string // with {name} in place of a name
	method string
	params []string // the query parameters that it takes
	always bool     // answered even when no credentials file was ever in force
	serve  func(*call) *api.Error
}

// The parameters of calls that wait, and of the watch.
var (
	forToken   = []string{"min_ttl", "wait"}
	forRenewal = []string{"wait"}
	forWatch   = []string{"name"}
)

// The calls: those at a fixed path, the one for a token, and those on one
// credential by their last element.
var (
	fixed = map[string]*route{
		"/v1/credentials": {"/v1/credentials", http.MethodGet, nil, false, (*call).list},
		"/v1/watch":       {"/v1/watch", http.MethodGet, forWatch, false, (*call).watch},
		"/v1/reload":      {"/v1/reload", http.MethodPost, nil, true, (*call).reload},
		"/v1/whoami":      {"/v1/whoami", http.MethodGet, nil, false, (*call).whoami},
		"/v1/health":      {"/v1/health", http.MethodGet, nil, true, (*call).health},
		"/metrics":        {"/metrics", http.MethodGet, nil, false, (*call).metrics},
	}
	token        = &route{"/v1/tokens/{name}", http.MethodGet, forToken, false, (*call).token}
	onCredential = map[string]*route{
		"":        {"/v1/credentials/{name}", http.MethodGet, nil, false, (*call).status},
		"/renew":  {"/v1/credentials/{name}/renew", http.MethodPost, forRenewal, false, (*call).renew},
		"/retry":  {"/v1/credentials/{name}/retry", http.MethodPost, forRenewal, false, (*call).retry},
		"/answer": {"/v1/credentials/{name}/answer", http.MethodPost, forRenewal, false, (*call).answer},
		"/drop":   {"/v1/credentials/{name}/drop", http.MethodPost, forRenewal, false, (*call).drop},
	}
)

// find returns the call at the path and the name in it, nil if there is none. The
// path is taken as it came: one that would have to be cleaned or unescaped is no
// call's.
func find(u *url.URL) (r *route, name string) {
	switch {
	case u.RawPath != "": // some character came escaped that need not be
		return nil, ""
	case u.User != nil, u.Scheme != "" && u.Scheme != "http": // in a proxy's form of the address
		return nil, ""
	}
	if r := fixed[u.Path]; r != nil {
		return r, ""
	}
	if name, ok := strings.CutPrefix(u.Path, "/v1/tokens/"); ok && api.ValidName(name) {
		return token, name
	}
	if rest, ok := strings.CutPrefix(u.Path, "/v1/credentials/"); ok {
		name, verb := rest, ""
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			name, verb = rest[:i], rest[i:]
		}
		if api.ValidName(name) {
			return onCredential[verb], name
		}
	}
	return nil, ""
}
