package server

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tokend-project/tokend/daemon/access"
)

// quiet turns off what tests listen to.
func quiet(s *Server) {
	s.Log = slog.New(slog.DiscardHandler)
	s.Count = func(string, string, string) {}
}

// handled is a request of uid 1001 as net/http hands it over.
func handled(t testing.TB, target string) *http.Request {
	ctx := context.WithValue(t.Context(), connKey{}, &conn{peer: access.Peer{UID: 1001}})
	return httptest.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
}

// BenchmarkToken is one read of a token over one kept connection; the client's part
// is a write and a parse.
func BenchmarkToken(b *testing.B) {
	f := start(b, quiet, credential(b, "broker", tokens("eyJhbGciOiJIUzI1NiJ9")))
	f.do(b, 1001, "GET", "/v1/tokens/broker", "")
	c := f.dial(b, 1001)
	r := bufio.NewReader(c)
	b.ReportAllocs()
	for b.Loop() {
		io.WriteString(c, "GET /v1/tokens/broker HTTP/1.1\r\nHost: tokend\r\n\r\n")
		if a := read(b, r, http.MethodGet); a.StatusCode != 200 {
			b.Fatal(a.Status)
		}
	}
}

// BenchmarkToken_connection is the same with a connection for each read, as scripts do.
func BenchmarkToken_connection(b *testing.B) {
	f := start(b, quiet, credential(b, "broker", tokens("eyJhbGciOiJIUzI1NiJ9")))
	b.ReportAllocs()
	for b.Loop() {
		if a := f.do(b, 1001, "GET", "/v1/tokens/broker", ""); a.StatusCode != 200 {
			b.Fatal(a.Status)
		}
	}
}

// BenchmarkToken_handler is the server's own part of a read, without net/http's.
func BenchmarkToken_handler(b *testing.B) {
	f := start(b, quiet, credential(b, "broker", tokens("eyJhbGciOiJIUzI1NiJ9")))
	f.do(b, 1001, "GET", "/v1/tokens/broker", "")
	r := handled(b, "/v1/tokens/broker?min_ttl=30s")
	b.ReportAllocs()
	for b.Loop() {
		p := page{header: http.Header{}}
		f.serve(&p, r)
		if p.status != 200 {
			b.Fatal(p.status)
		}
	}
}
