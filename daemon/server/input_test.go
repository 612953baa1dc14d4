package server

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
)

func TestParameters(t *testing.T) {
	f := start(t, nil, credential(t, "a", tokens("x")))
	for _, tt := range []struct{ call, detail string }{
		{"GET /v1/tokens/a?", ""},
		{"GET /v1/tokens/a?min_ttl=30s&wait=10s", ""},
		{"GET /v1/tokens/a?&wait=0&", ""},
		{"GET /v1/tokens/a?wait=5m", ""},
		{"GET /v1/tokens/a?min_ttl=1m%2030s", `min_ttl="1m 30s" is no duration: write 30s, 5m or 1h30m`},
		{"GET /v1/tokens/a?%6din_ttl=0s", ""},
		{"GET /v1/tokens/a?wait=5m1ns", `wait="5m1ns" is too long: at most 5m0s`},
		{"GET /v1/tokens/a?wait=-1s", `wait="-1s" is negative`},
		{"GET /v1/tokens/a?min_ttl=-1s", `min_ttl="-1s" is negative`},
		{"GET /v1/tokens/a?wait=10", `wait="10" is no duration: write 30s, 5m or 1h30m`},
		{"GET /v1/tokens/a?wait=", `wait="" is no duration: write 30s, 5m or 1h30m`},
		{"GET /v1/tokens/a?wait", `wait="" is no duration: write 30s, 5m or 1h30m`},
		{"GET /v1/tokens/a?wait=%zz", `wait="%zz" is escaped badly`},
		{"GET /v1/tokens/a?wait=1s;min_ttl=1s", `wait="1s;min_ttl=1s" is no duration: write 30s, 5m or 1h30m`},
		{"GET /v1/tokens/a?wait=1s&wait=1s", "the parameter wait is given twice"},
		{"GET /v1/tokens/a?ttl=1s", `/v1/tokens/{name} has no parameter "ttl"`},
		{"GET /v1/tokens/a?Wait=1s", `/v1/tokens/{name} has no parameter "Wait"`},
		{"GET /v1/tokens/a?%=1", `/v1/tokens/{name} has no parameter "%"`},
		{"GET /v1/tokens/a?=1", `/v1/tokens/{name} has no parameter ""`},
		{"GET /v1/tokens/a?" + strings.Repeat("x", 99), `/v1/tokens/{name} has no parameter "` + strings.Repeat("x", 64) + `"`},
		{"POST /v1/credentials/a/renew?min_ttl=1s", `/v1/credentials/{name}/renew has no parameter "min_ttl"`},
		{"POST /v1/reload?wait=1s", `/v1/reload has no parameter "wait"`},
		{"GET /v1/health?x", `/v1/health has no parameter "x"`},
	} {
		method, target, _ := strings.Cut(tt.call, " ")
		a := f.do(t, 0, method, target, "")
		if tt.detail == "" {
			if a.StatusCode != 200 {
				t.Errorf("%s: %s %s", tt.call, a.Status, a.body)
			}
		} else if e := a.problem(t); e.Code != api.CodeUsage || e.Detail != tt.detail {
			t.Errorf("%s: got  %s %s\nwant %s", tt.call, e.Code, e.Detail, tt.detail)
		}
	}
}

func TestBodies(t *testing.T) {
	f := start(t, nil, credential(t, "a", tokens("x")))
	const other = `{"fingerprint":"0123456789abcdef"}`
	for _, tt := range []struct{ call, body, detail string }{
		{"/v1/credentials/a/renew", other, ""},
		{"/v1/credentials/a/renew", " \n" + other + "\n", ""},
		{"/v1/credentials/a/renew", other + strings.Repeat(" ", maxBody-len(other)), ""},
		{"/v1/credentials/a/renew", other + strings.Repeat(" ", maxBody), "the body is longer than 65536 bytes"},
		{"/v1/credentials/a/renew", `{"fingerprint":""}`, "the fingerprint is not 16 hex digits in lower case, the first of the token's SHA-256"},
		{"/v1/credentials/a/renew", `{"fingerprint":"0123456789ABCDEF"}`, "the fingerprint is not 16 hex digits in lower case, the first of the token's SHA-256"},
		{"/v1/credentials/a/renew", `{"fingerprint":"0123456789abcdef0"}`, "the fingerprint is not 16 hex digits in lower case, the first of the token's SHA-256"},
		{"/v1/credentials/a/renew", `{"fingerprint":7}`, "the body: fingerprint is a number, not a string"},
		{"/v1/credentials/a/renew", `{"finger":"x"}`, `the body: unknown field "finger"`},
		{"/v1/credentials/a/renew", `{"fingerprint"`, "the body: unexpected EOF"},
		{"/v1/credentials/a/renew", `null`, "the body is no JSON object"},
		{"/v1/credentials/a/renew", `["a"]`, "the body is no JSON object"},
		{"/v1/credentials/a/renew", `fingerprint=x`, "the body is no JSON object"},
		{"/v1/credentials/a/renew", `{} {}`, "the body goes on after its JSON object"},
		{"/v1/reload", `{}`, ""},
		{"/v1/reload", `{"x":1}`, `the body: unknown field "x"`},
		{"/v1/credentials/a/drop", `{"x":1}`, `the body: unknown field "x"`},
		{"/v1/credentials/a/retry", `true`, "the body is no JSON object"},
	} {
		a := f.do(t, 0, "POST", tt.call, tt.body)
		if tt.detail == "" {
			if a.StatusCode != 200 {
				t.Errorf("%s %.60s: %s %s", tt.call, tt.body, a.Status, a.body)
			}
		} else if e := a.problem(t); e.Code != api.CodeUsage || e.Detail != tt.detail {
			t.Errorf("%s %.60s: got  %s %s\nwant %s", tt.call, tt.body, e.Code, e.Detail, tt.detail)
		}
	}
	chunked := "POST /v1/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	if a := f.raw(t, 0, chunked+"2\r\n{}\r\n0\r\n\r\n"); a.StatusCode != 200 {
		t.Errorf("chunked: %s %s", a.Status, a.body)
	}
	if a := f.raw(t, 0, chunked+"nonsense\r\n"); a.problem(t).Code != api.CodeUsage {
		t.Errorf("bad chunks: %s", a.Status)
	}
	if e := f.do(t, 0, "GET", "/v1/health", "{}").problem(t); e.Code != api.CodeUsage || e.Detail != "/v1/health takes no body" {
		t.Errorf("GET with a body: %+v", e)
	}
}

func TestOrigin(t *testing.T) {
	f := start(t, nil)
	for _, h := range []string{"Origin: https://example.com", "Origin: null", "origin:"} {
		if e := f.do(t, 0, "GET", "/v1/health", "", h).problem(t); e.Code != api.CodeDenied {
			t.Errorf("%s: %+v", h, e)
		}
	}
}

// TestHeaders asserts where the limit is, to the byte.
func TestHeaders(t *testing.T) {
	f := start(t, nil)
	request := func(size int) string {
		const head = "GET /v1/health HTTP/1.1\r\nHost: x\r\nPad: "
		return head + strings.Repeat("p", size-len(head)-2) + "\r\n\r\n"
	}
	if a := f.raw(t, 0, request(maxHeader)); a.StatusCode != 200 {
		t.Errorf("%d bytes: %s", maxHeader, a.Status)
	}
	if e := f.raw(t, 0, request(maxHeader+1)).problem(t); e.Code != api.CodeUsage || e.Detail != "the request line and headers have 4097 bytes, at most 4096 are read" {
		t.Errorf("one more: %+v", e)
	}
	if a := f.raw(t, 0, request(3*maxHeader)); a.StatusCode != 431 {
		t.Errorf("far over: %s", a.Status)
	}
}

// TestGarbage asserts that what is no HTTP/1.1 is answered with an error or nothing,
// and that the connection then ends.
func TestGarbage(t *testing.T) {
	f := start(t, func(s *Server) { s.limits.read = 50 * time.Millisecond })
	for _, tt := range []struct {
		name, request string
		status        int // 0: closed without an answer
	}{
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400},
		{"ssh", "SSH-2.0-OpenSSH_9.2\r\n\r\n", 400},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
		{"HTTP/2.0 in the request line", "GET /v1/health HTTP/2.0\r\nHost: x\r\n\r\n", 505},
		{"no Host", "GET /v1/health HTTP/1.1\r\n\r\n", 400},
		{"two Hosts", "GET /v1/health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		{"a header without a colon", "GET /v1/health HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n", 400},
		{"smuggling", "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400},
		{"a coding nobody knows", "POST /v1/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
		{"silence", "", 0},
		{"half a request line", "GET /v1/hea", 400},
		{"half the headers", "GET /v1/health HTTP/1.1\r\nHost: x\r\n", 0},
		{"a body that stalls", "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", 400},
		{"a body nobody asked for that stalls", "GET /v1/health HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", 400},
		{"a refused body that stalls", "POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := f.dial(t, 0)
			if _, err := io.WriteString(c, tt.request); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c) // to the end of the connection
			if err != nil && !strings.Contains(err.Error(), "reset") {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("HTTP/1.1 %d ", tt.status); tt.status != 0 && !strings.HasPrefix(string(got), want) {
				t.Errorf("got %q, want %s", got, want)
			}
			if n := strings.Count(string(got), "HTTP/1.1 "); tt.status == 0 && n != 0 || n > 1 {
				t.Errorf("got %d answers: %q", n, got)
			}
		})
	}
	if a := f.do(t, 0, "GET", "/v1/health", ""); a.StatusCode != 200 {
		t.Errorf("afterwards: %s", a.Status)
	}
}

// TestPipelining asserts that requests sent at once are answered in order, and that
// what a body left over is never taken for a request.
func TestPipelining(t *testing.T) {
	f := start(t, nil)
	const health, whoami = "GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n", "GET /v1/whoami HTTP/1.1\r\nHost: x\r\n\r\n"
	c := f.dial(t, 0)
	io.WriteString(c, health+"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"+whoami+
		"POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: "+fmt.Sprint(len(health))+"\r\n\r\n"+health)
	r := bufio.NewReader(c)
	for i, want := range []string{`{"version":"v1"`, `{"added":1,`, `{"uid":0,`, `{"type":`} {
		if a := read(t, r, http.MethodGet); !strings.HasPrefix(a.body, want) {
			t.Errorf("answer %d: %s, want %s", i, a.body, want)
		}
	}
	if rest, _ := io.ReadAll(r); len(rest) != 0 {
		t.Errorf("more answers: %q", rest)
	}
}
