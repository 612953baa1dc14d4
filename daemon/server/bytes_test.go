package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
)

// said is what came back on a connection until its end: for each answer its status,
// and the detail of those that are problems.
func said(t *testing.T, c net.Conn) (all []string) {
	t.Helper()
	r := bufio.NewReader(c)
	for {
		if _, err := r.Peek(1); err != nil { // the end, or a reset for what was not read
			return all
		}
		a := read(t, r, http.MethodGet)
		text := a.Status[:3]
		if a.StatusCode >= 400 {
			text += " " + a.problem(t).Detail
		}
		all = append(all, text)
	}
}

const (
	health = "GET /v1/health HTTP/1.1\r\nHost: x\r\n"
	reload = "POST /v1/reload HTTP/1.1\r\nHost: x\r\n"
	coded  = reload + "Transfer-Encoding: chunked\r\n"

	noHTTP    = "400 this is no HTTP/1.1 request: "
	malformed = noHTTP + "its request line, a header or the length of its body is malformed or cut off"
	far       = noHTTP + "its request line and headers are far longer than the 4096 bytes that are read"
)

// TestBytes sends what no sane client would, whole and a byte at a time, and asserts
// what comes back until the connection ends: a problem that says what is wrong, or
// nothing. What follows bytes whose length is in doubt is never taken for a request.
func TestBytes(t *testing.T) {
	f := start(t, func(s *Server) { s.limits.read, s.limits.idle = time.Minute, time.Minute })
	for _, tt := range []struct {
		name, request string
		want          []string
	}{
		{"nothing", "", nil},
		{"a line end", "\r\n", []string{malformed}},
		{"zeros", strings.Repeat("\x00", 64) + "\r\n\r\n", []string{malformed}},
		{"a TLS ClientHello", "\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03" + strings.Repeat("\xa7\n", 100), []string{malformed}},
		{"nonsense behind a request", health + "\r\nnonsense\r\n\r\n", []string{"200", malformed}},
		{"SSH", "SSH-2.0-OpenSSH_9.2\r\n\r\n", []string{malformed}},
		{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", []string{`400 no call has the path "*"`}},
		{"HTTP/2 in the line", "GET /v1/health HTTP/2.0\r\nHost: x\r\n\r\n", []string{noHTTP + "its version is not 1.1 or 1.0"}},
		{"HTTP/0.9", "GET /v1/health\r\n\r\n", []string{malformed}},
		{"HTTP/1.0", "GET /v1/health HTTP/1.0\r\n\r\n", []string{"200"}},
		{"a version that is none", "GET /v1/health HTTP/one\r\nHost: x\r\n\r\n", []string{malformed}},
		{"a method in lower case", "get /v1/health HTTP/1.1\r\nHost: x\r\n\r\n" + health + "\r\n", []string{`400 /v1/health takes GET, not "get"`, "200"}},
		{"a method that is none", "G@T /v1/health HTTP/1.1\r\nHost: x\r\n\r\n", []string{malformed}},
		{"no method", " /v1/health HTTP/1.1\r\nHost: x\r\n\r\n", []string{malformed}},
		{"a space in the path", "GET /v1/hea lth HTTP/1.1\r\nHost: x\r\n\r\n", []string{malformed}},
		{"an escape that is none", "GET /v1/tokens/%zz HTTP/1.1\r\nHost: x\r\n\r\n", []string{malformed}},
		{"a target for CONNECT", "GET tokend:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", []string{`400 no call has the path "tokend:80"`}},
		{"no slash before the path", "GET v1/health HTTP/1.1\r\nHost: x\r\n\r\n", []string{malformed}},
		{"no Host", "GET /v1/health HTTP/1.1\r\n\r\n" + health + "\r\n", []string{noHTTP + "missing required Host header"}},
		{"an empty Host", "GET /v1/health HTTP/1.1\r\nHost:\r\n\r\n", []string{"200"}},
		{"two Hosts", health + "Host: b\r\n\r\n", []string{malformed}},
		{"a Host that is none", "GET /v1/health HTTP/1.1\r\nHost: a b\r\n\r\n", []string{noHTTP + "malformed Host header"}},
		{"a header without a colon", health + "nonsense\r\n\r\n", []string{malformed}},
		{"a header without a name", health + ": x\r\n\r\n", []string{malformed}},
		{"a space before the colon", health + "A : b\r\n\r\n", []string{noHTTP + "invalid header name"}},
		{"a control character", health + "A: \x01\r\n\r\n", []string{malformed}},
		{"one header too long", health + "A: " + strings.Repeat("a", 1<<17) + "\r\n\r\n", []string{far}},
		{"too many headers", health + strings.Repeat("A: b\r\n", 1<<14) + "\r\n", []string{far}},
		{"an endless line", strings.Repeat("a", 1<<17), []string{far}},
		{"Expect", reload + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}", []string{"100", "200"}},
		{"Expect of a body that is too long", reload + "Expect: 100-continue\r\nContent-Length: 65537\r\n\r\n", []string{"400 the body is longer than 65536 bytes"}},
		{"Expect of nothing", health + "Expect: 100-continue\r\n\r\n", []string{"200"}},
		{"Expect something else", health + "Expect: tea\r\n\r\n", []string{noHTTP + "it expects something other than 100-continue"}},
		{"Upgrade to HTTP/2", health + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", []string{"200"}},
		{"Upgrade to a web socket", health + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n", []string{"200"}},

		{"a length that is no number", reload + "Content-Length: two\r\n\r\n{}" + health + "\r\n", []string{malformed}},
		{"a negative length", reload + "Content-Length: -1\r\n\r\n" + health + "\r\n", []string{malformed}},
		{"a signed length", reload + "Content-Length: +2\r\n\r\n{}", []string{malformed}},
		{"a length beyond numbers", reload + "Content-Length: 99999999999999999999\r\n\r\n{}", []string{malformed}},
		{"a length beyond memory", reload + "Content-Length: 9223372036854775807\r\n\r\n{}" + health + "\r\n", []string{"400 the body is longer than 65536 bytes"}},
		{"two lengths", reload + "Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" + health + "\r\n", []string{malformed}},
		{"a list of lengths", reload + "Content-Length: 2, 2\r\n\r\n{}", []string{malformed}},
		{"one length twice", reload + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" + health + "\r\n", []string{"200", "200"}},
		{"less than its length", reload + "Content-Length: 20\r\n\r\n{}", []string{"400 the body ended before its length"}},
		{"a body on GET", health + "Content-Length: 2\r\n\r\n{}" + health + "\r\n", []string{"400 /v1/health takes no body"}},
		{"chunks on GET", health + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + health + "\r\n", []string{"400 /v1/health takes no body"}},

		{"chunks", coded + "\r\n1\r\n{\r\n1;a=b\r\n}\r\n0\r\n\r\n", []string{"200"}},
		{"chunks are the last request", coded + "\r\n2\r\n{}\r\n0\r\n\r\n" + health + "\r\n", []string{"200"}},
		{"chunks and a length", coded + "Content-Length: 40\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + health + "\r\n", []string{"200"}},
		{"a length and chunks", reload + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + health + "\r\n", []string{"200"}},
		{"chunks in HTTP/1.0", strings.Replace(coded, "1.1", "1.0", 1) + "\r\n0\r\n\r\n" + health + "\r\n", []string{"200"}},
		{"another coding", reload + "Transfer-Encoding: gzip\r\n\r\n", []string{noHTTP + "its body is in a transfer coding other than chunked"}},
		{"two codings", reload + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", []string{noHTTP + "its body is in a transfer coding other than chunked"}},
		{"a chunk without a size", coded + "\r\n\r\n{}\r\n0\r\n\r\n", []string{"400 the body: empty hex number for chunk length"}},
		{"a negative chunk", coded + "\r\n-2\r\n{}\r\n0\r\n\r\n", []string{"400 the body: invalid byte in chunk length"}},
		{"a chunk beyond numbers", coded + "\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n", []string{"400 the body: http chunk length too large"}},
		{"a chunk beyond memory", coded + "\r\n7fffffffffffffff\r\n{}\r\n0\r\n\r\n", []string{"400 the body ended before its length"}},
		{"a chunk longer than its size", coded + "\r\n1\r\n{}\r\n0\r\n\r\n", []string{"400 the body: malformed chunked encoding"}},
		{"chunks without an end", coded + "\r\n2\r\n{}\r\n", []string{"400 the body ended before its length"}},
		{"many chunks", coded + "\r\n" + strings.Repeat("1\r\n \r\n", maxBody) + "2\r\n{}\r\n0\r\n\r\n", []string{"400 the body is longer than 65536 bytes"}},
		{"a long line before a chunk", coded + "\r\n2;" + strings.Repeat("a", 1<<13) + "\r\n{}\r\n0\r\n\r\n", []string{"400 the body: header line too long"}},
		{"trailers", coded + "Trailer: Origin\r\n\r\n2\r\n{}\r\n0\r\nOrigin: x\r\n\r\n", []string{"200"}},
		{"half a request line", "GET /v1/hea", []string{malformed}},
		{"half the headers", "GET /v1/health HTTP/1.1\r\nHost: x\r\n", []string{malformed}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, step := range []int{max(1, len(tt.request)), 1} {
				if step == 1 && len(tt.request) > 2000 {
					continue // the same in a thousand system calls
				}
				c := f.dial(t, 0)
				var sent error
				for part := range slices.Chunk([]byte(tt.request), step) {
					if _, sent = c.Write(part); sent != nil { // it knows enough, and has hung up
						break
					}
				}
				if err := c.(*net.UnixConn).CloseWrite(); sent == nil && err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "not connected") {
					t.Fatal(err)
				}
				if got := said(t, c); !slices.Equal(got, tt.want) {
					t.Errorf("%d at a time: got  %q\nwant %q", step, got, tt.want)
				}
			}
		})
	}
	if a := f.do(t, 0, "GET", "/v1/health", ""); a.StatusCode != 200 {
		t.Errorf("afterwards: %s", a.Status)
	}
}

// TestStalled asserts that a request that does not go on ends with its time, and
// nobody else notices.
func TestStalled(t *testing.T) {
	f := start(t, func(s *Server) { s.limits.read = 50 * time.Millisecond })
	for _, tt := range []struct {
		name, request string
		want          []string
	}{
		{"silence", "", nil},
		{"half a request line", "GET /v1/hea", []string{malformed}},
		{"half the headers", "GET /v1/health HTTP/1.1\r\nHost: x\r\n", nil},
		{"half a body", reload + "Content-Length: 10\r\n\r\n{", []string{"400 the body did not come whole within 50ms"}},
		{"half a chunk", coded + "\r\n2\r\n{", []string{"400 the body did not come whole within 50ms"}},
		{"a body that nobody asked for", health + "Content-Length: 10\r\n\r\n{", []string{"400 /v1/health takes no body"}},
		{"a body of no call", "POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", []string{`400 no call has the path "/v1/nothing"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := f.dial(t, 0)
			io.WriteString(c, tt.request)
			if got := said(t, c); !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
	if a := f.do(t, 0, "GET", "/v1/health", ""); a.StatusCode != 200 {
		t.Errorf("afterwards: %s", a.Status)
	}
}

// TestHalfClosed asserts that a caller who says that it sends nothing more, as socat
// and nc do at the end of their input, is waited with, and that one who has gone is
// not: its wait ends.
func TestHalfClosed(t *testing.T) {
	in, out := make(chan context.Context, 8), make(chan struct{})
	f := start(t, func(s *Server) {
		s.Reload = func(ctx context.Context) (api.Reloaded, *api.Error) {
			in <- ctx
			select {
			case <-out:
			case <-ctx.Done():
			}
			return api.Reloaded{}, nil
		}
	})
	const length = "Content-Length: 2\r\n\r\n{}"
	for _, request := range []string{reload + "\r\n", reload + length, health + "\r\n" + reload + "\r\n"} {
		c := f.dial(t, 0)
		io.WriteString(c, request)
		if err := c.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		ctx := <-in
		for range 20 { // by then the server knows
			if a := f.do(t, 0, "GET", "/v1/health", ""); a.StatusCode != 200 {
				t.Fatal(a.Status)
			}
		}
		if ctx.Err() != nil {
			t.Errorf("%q: given up: %v", request, context.Cause(ctx))
			continue
		}
		out <- struct{}{}
		if got := said(t, c); got == nil || slices.ContainsFunc(got, func(s string) bool { return s != "200" }) {
			t.Errorf("%q: %q", request, got)
		}
		for _, halfFirst := range []bool{false, true} {
			c := f.dial(t, 0)
			io.WriteString(c, reload+length)
			ctx := <-in
			if halfFirst {
				c.(*net.UnixConn).CloseWrite()
			}
			c.Close()
			<-ctx.Done()
		}
	}
}
