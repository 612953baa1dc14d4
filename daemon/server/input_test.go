package server

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

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
	deep := strings.Repeat("[", 32000) + strings.Repeat("]", 32000) + "}"
	for _, tt := range []struct{ call, body, detail string }{
		{"/v1/credentials/a/renew", other, ""},
		{"/v1/credentials/a/renew", " \n" + other + "\n", ""},
		{"/v1/credentials/a/renew", other + strings.Repeat(" ", maxBody-len(other)), ""},
		{"/v1/credentials/a/renew", other + strings.Repeat(" ", maxBody), "the body is longer than 65536 bytes"},
		{"/v1/credentials/a/renew", `{"fingerprint":""}`, "the fingerprint is not 16 hex digits in lower case, the first of the token's SHA-256"},
		{"/v1/credentials/a/renew", `{"fingerprint":"0123456789ABCDEF"}`, "the fingerprint is not 16 hex digits in lower case, the first of the token's SHA-256"},
		{"/v1/credentials/a/renew", `{"fingerprint":"0123456789abcdef0"}`, "the fingerprint is not 16 hex digits in lower case, the first of the token's SHA-256"},
		{"/v1/credentials/a/renew", `{"fingerprint":7}`, "the body: fingerprint is a number, not a string"},
		{"/v1/credentials/a/renew", `{"fingerprint":null}`, "the body: fingerprint is null, not a string"},
		{"/v1/credentials/a/renew", `{"fingerprint":[true]}`, "the body: fingerprint is an array, not a string"},
		{"/v1/credentials/a/renew", `{"fingerprint":{"a":{}}}`, "the body: fingerprint is an object, not a string"},
		{"/v1/credentials/a/renew", `{"fingerprint":false}`, "the body: fingerprint is a bool, not a string"},
		{"/v1/credentials/a/renew", `{"fingerprint":"x",` + other[1:], "the body: fingerprint is there twice"},
		{"/v1/credentials/a/renew", `{"Fingerprint":"0123456789abcdef"}`, `the body: unknown field "Fingerprint"`},
		{"/v1/credentials/a/renew", "{\"fingerprint\":\"\xff\"}", "the body is not UTF-8"},
		{"/v1/credentials/a/renew", "\xef\xbb\xbf{}", "the body is no JSON object"},
		{"/v1/credentials/a/renew", "{\"fingerprint\":\"a\nb\"}", "the body: invalid character '\\n' in string literal"},
		{"/v1/credentials/a/renew", "{\"fingerprint\":" + deep, "the body: invalid character '[' exceeded max depth"},
		{"/v1/credentials/a/renew", "{\"x\":" + deep, `the body: unknown field "x"`},
		{"/v1/credentials/a/renew", `{"` + strings.Repeat("x", 60000) + `":1}`, `the body: unknown field "` + strings.Repeat("x", 64) + `"`},
		{"/v1/credentials/a/renew", `{"fingerprint":"a",}`, "the body: invalid character '}' looking for beginning of object key string"},
		{"/v1/credentials/a/renew", `{1:2}`, "the body: invalid character '1'"},
		{"/v1/credentials/a/renew", `{}}`, "the body goes on after its JSON object"},
		{"/v1/credentials/a/renew", other + "\x00", "the body goes on after its JSON object"},
		{"/v1/credentials/a/answer", `{"answer":" "}`, `there is no answer in the body: write {"answer":"CODE"}`},
		{"/v1/credentials/a/answer", `{"answer":"12\u000034"}`, "the answer has a control character, or one that is none"},
		{"/v1/credentials/a/answer", `{"answer":"1234\n"}`, "the answer has a control character, or one that is none"},
		{"/v1/credentials/a/answer", `{"answer":"\ud800"}`, "the answer has a control character, or one that is none"},
		{"/v1/credentials/a/renew", `{"finger":"x"}`, `the body: unknown field "finger"`},
		{"/v1/credentials/a/renew", `{"fingerprint"`, "the body: unexpected EOF"},
		{"/v1/credentials/a/renew", `null`, "the body is no JSON object"},
		{"/v1/credentials/a/renew", `["a"]`, "the body is no JSON object"},
		{"/v1/credentials/a/renew", `fingerprint=x`, "the body is no JSON object"},
		{"/v1/credentials/a/renew", `{`, "the body: unexpected EOF"},
		{"/v1/credentials/a/renew", `{"fingerprint":"a"`, "the body: unexpected EOF"},
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
	e := f.raw(t, 0, request(3*maxHeader)).problem(t)
	if want := "this is no HTTP/1.1 request: its request line and headers are far longer than the 4096 bytes that are read"; e.Code != api.CodeUsage || e.Detail != want {
		t.Errorf("far over: %+v", e)
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
