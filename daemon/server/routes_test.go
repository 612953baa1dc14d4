package server

import (
	"strings"
	"testing"

	"github.com/tokend-project/tokend/daemon/api"
)

// TestRoutes asks for everything as a caller without any right: what is a call is
// denied or unknown, but never a usage error.
func TestRoutes(t *testing.T) {
	f := start(t, nil, credential(t, "a", tokens("x")))
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/v1/tokens/a", 403},
		{"GET", "/v1/tokens/A-b_9", 404},
		{"GET", "/v1/credentials", 200},
		{"GET", "/v1/credentials/a", 403},
		{"GET", "/v1/credentials/b", 404},
		{"POST", "/v1/credentials/a/renew", 403},
		{"POST", "/v1/credentials/a/retry", 403},
		{"POST", "/v1/credentials/a/drop", 403},
		{"POST", "/v1/credentials/b/drop", 404},
		{"GET", "/v1/watch?name=a", 403},
		{"POST", "/v1/reload", 403},
		{"GET", "/v1/whoami", 200},
		{"GET", "/v1/health", 200},
		{"GET", "/metrics", 403},
		// A proxy's form of the same address (RFC 9112, section 3.2.2).
		{"GET", "http://tokend/v1/tokens/a", 403},
	} {
		if a := f.do(t, 5000, tt.method, tt.path, ""); a.StatusCode != tt.status {
			t.Errorf("%s %s: %s, want %d: %s", tt.method, tt.path, a.Status, tt.status, a.body)
		}
	}
}

// TestRoutes_none asks root's questions: nothing but their form is wrong.
func TestRoutes_none(t *testing.T) {
	f := start(t, nil, credential(t, "a", tokens("x")))
	for _, line := range []string{
		"GET /", "GET /v1", "GET /v1/", "GET /v2/tokens/a", "GET /v1/token/a", "GET /V1/tokens/a",
		"GET //v1/tokens/a", "GET /v1//tokens/a", "GET /v1/tokens//a", "GET /v1/tokens/a/", "GET /v1/tokens/",
		"GET /v1/tokens", "GET /v1/tokens/../tokens/a", "GET /v1/./tokens/a", "GET /v1/tokens/..", "GET /v1/tokens/.",
		"GET /v1/tokens/..%2ftokens%2fa", "GET /v1%2ftokens/a", "GET /v1/tokens/%61", "GET /v1/tokens/a%00", "GET /v1/tokens/a%20",
		"GET /v1/tokens/a;x", "GET /v1/tokens/a#x", "GET /v1/tokens/-a", "GET /v1/tokens/_a", "GET /v1/tokens/ü",
		"GET /v1/tokens/" + strings.Repeat("a", 65), "GET /v1/tokens/a/renew",
		"GET /v1/credentials/", "GET /v1/credentials/a/", "POST /v1/credentials/a/renew/", "POST /v1/credentials/a//renew",
		"POST /v1/credentials//renew", "POST /v1/credentials/a/revoke", "POST /v1/credentials/a/Renew", "POST /v1/reload/", "GET /metrics/",
		"GET http://tokend//v1/tokens/a", "GET http://tokend", "GET mailto:a", "GET tokend:80",
		"GET https://tokend/v1/whoami", "GET unix://s/v1/whoami", "GET http://u:p@tokend/v1/whoami", "GET http://tokend/../v1/whoami",
		"GET /v1/tokens/%2e%2e", "GET /v1/tokens/a%2frenew", "GET /v1/tokens/%FF", "GET /v1/tokens/\xff", "GET /v1/tokens/a\\b", "GET /v1\\whoami", "GET /v1/whoami;a=b",
		"GET /v1/tokens/" + strings.Repeat("a", 3900), "GET " + strings.Repeat("/", 3900), "GET /v1/./whoami", "GET /v1/whoami/.", "GET /v1/whoami%20", "GET /v1/whoami%3F",
		"HEAD /v1/tokens/a", "POST /v1/tokens/a", "OPTIONS /v1/tokens/a", "OPTIONS *", "GET *", "CONNECT tokend:80", "CONNECT /v1/tokens/a",
		"PUT /v1/credentials", "DELETE /v1/credentials/a", "GET /v1/credentials/a/renew", "GET /v1/reload", "POST /v1/health",
		"get /v1/health", "TRACE /v1/whoami", "POST /metrics", "POST /v1/watch", "HEAD /v1/watch", "GET /v1/watch/", "GET /v1/watch/a", "GET /v1/credentials/a/answer",
	} {
		method, target, _ := strings.Cut(line, " ")
		a := f.do(t, 0, method, target, "")
		if a.StatusCode != 400 || a.Header.Get("Content-Type") != "application/problem+json" || a.Header.Get("Location") != "" {
			t.Errorf("%s: %s %v", line, a.Status, a.Header)
			continue
		}
		if method == "HEAD" {
			if a.body != "" || a.ContentLength <= 0 {
				t.Errorf("%s: %d of %q", line, a.ContentLength, a.body)
			}
			continue
		}
		if e := a.problem(t); e.Code != api.CodeUsage {
			t.Errorf("%s: %+v", line, e)
		}
	}
}
