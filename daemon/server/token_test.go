package server

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

func fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

func TestToken(t *testing.T) {
	f := start(t, nil, credential(t, "broker", tokens("s3cret-token")))
	a := f.do(t, 1001, "GET", "/v1/tokens/broker", "")
	var tok api.Token
	if err := json.Unmarshal([]byte(a.body), &tok); err != nil || a.StatusCode != 200 {
		t.Fatalf("%s %v: %s", a.Status, err, a.body)
	}
	print := fingerprint("s3cret-token")
	if tok.Name != "broker" || tok.Token != "s3cret-token" || tok.Fingerprint != print || tok.State != api.StateFresh ||
		len(tok.Headers) != 1 || tok.Headers[0].Value != "Bearer s3cret-token" {
		t.Errorf("got %s", a.body)
	}
	want := map[string]string{
		"Content-Type": "application/json", "Content-Length": fmt.Sprint(len(a.body)), "Cache-Control": "no-store",
		"Vary": "Accept", "Etag": fmt.Sprintf(`"%s.%d"`, print, tok.ExpiresAt.Unix()),
	}
	for name, value := range want {
		if got := a.Header.Get(name); got != value {
			t.Errorf("%s: got %q, want %q", name, got, value)
		}
	}
	if got := f.counts.String(); got != "/v1/tokens/{name} broker ok\n" {
		t.Errorf("counted %q", got)
	}
	if got := f.logged.String(); strings.Contains(got, "s3cret") || !strings.Contains(got, `msg="access granted" rule=user:1001 uid=1001 pid=77 method=GET credential=broker path=/v1/tokens/{name}`) {
		t.Errorf("logged %s", got)
	}
}

func TestToken_text(t *testing.T) {
	f := start(t, nil, credential(t, "broker", tokens("bare")))
	a := f.do(t, 1001, "GET", "/v1/tokens/broker", "", "Accept: text/plain")
	if a.body != "bare" || a.Header.Get("Content-Type") != "text/plain; charset=utf-8" || a.ContentLength != 4 || a.Header.Get("Vary") != "Accept" {
		t.Errorf("got %q, %v", a.body, a.Header)
	}
}

func TestToken_unchanged(t *testing.T) {
	f := start(t, nil, credential(t, "broker", tokens("one", "two")))
	etag := f.do(t, 1001, "GET", "/v1/tokens/broker", "").Header.Get("Etag")
	a := f.do(t, 1001, "GET", "/v1/tokens/broker", "", "If-None-Match: "+etag)
	if a.StatusCode != 304 || a.body != "" || a.Header.Get("Etag") != etag || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Vary") != "Accept" {
		t.Errorf("%s %v %q", a.Status, a.Header, a.body)
	}
	// Another token is another tag, and min_ttl is looked at before the tag.
	if a := f.do(t, 2000, "POST", "/v1/credentials/broker/renew", ""); a.StatusCode != 200 {
		t.Fatalf("%s: %s", a.Status, a.body)
	}
	if a := f.do(t, 1001, "GET", "/v1/tokens/broker", "", "If-None-Match: "+etag, "Accept: text/plain"); a.body != "two" {
		t.Errorf("%s %q", a.Status, a.body)
	}
	if e := f.do(t, 1001, "GET", "/v1/tokens/broker?min_ttl=2h&wait=0s", "", "If-None-Match: *").problem(t); e.Code != api.CodeShort {
		t.Errorf("got %+v", e)
	}
}

// TestToken_denied asserts that 403 and 404 differ, and say and log what is needed.
func TestToken_denied(t *testing.T) {
	f := start(t, nil, credential(t, "broker", tokens("s3cret-token")))
	for _, tt := range []struct {
		uid           int
		name          string
		code          api.Code
		detail, audit string
	}{
		{2000, "broker", api.CodeDenied, "no right to read the token of broker: the kernel knows you as uid 2000, gid 2000; no `allow` rule grants it", "level=WARN msg=\"access denied\" rule=\"uid 2000, gid 2000; no `allow` rule grants it\" uid=2000 pid=77 method=GET credential=broker path=/v1/tokens/{name}\n"},
		{65534, "broker", api.CodeDenied, "cannot map", "uid=65534"},
		{1001, "brokr", api.CodeUnknown, `the credentials file has no credential "brokr"`, ""},
		{2000, "brokr", api.CodeUnknown, `the credentials file has no credential "brokr"`, ""},
	} {
		e := f.do(t, tt.uid, "GET", "/v1/tokens/"+tt.name, "").problem(t)
		if e.Code != tt.code || e.Name != tt.name || !strings.Contains(e.Detail, tt.detail) || e.Hint == "" {
			t.Errorf("uid %d, %s: got %+v", tt.uid, tt.name, e)
		}
		if !strings.Contains(f.logged.String(), tt.audit) {
			t.Errorf("uid %d, %s: not in the log: %s\n%s", tt.uid, tt.name, tt.audit, f.logged)
		}
	}
	for _, uid := range []int{0, 990} { // root and the daemon's own need no rule
		if a := f.do(t, uid, "GET", "/v1/tokens/broker", ""); a.StatusCode != 200 {
			t.Errorf("uid %d: %s", uid, a.Status)
		}
	}
}

func TestToken_problem(t *testing.T) {
	refusing := login(func(context.Context) (providers.Token, error) {
		return providers.Token{}, &providers.Error{Class: providers.Refused, Sent: true, Status: 401, Err: errors.New("bad password")}
	})
	throttling := login(func(context.Context) (providers.Token, error) {
		return providers.Token{}, &providers.Error{Class: providers.Throttled, RetryAfter: 90 * time.Second, Sent: true, Status: 429, Err: errors.New("slow down")}
	})
	f := start(t, nil, credential(t, "refused", refusing), credential(t, "throttled", throttling))
	if e := f.do(t, 1001, "GET", "/v1/tokens/refused?wait=1m", "").problem(t); e.Code != api.CodeRefused || e.Name != "refused" {
		t.Errorf("got %+v", e)
	}
	a := f.do(t, 1001, "GET", "/v1/tokens/throttled", "")
	if e := a.problem(t); e.Code != api.CodeThrottled || e.RetryAfter < 1 || a.Header.Get("Retry-After") != fmt.Sprint(e.RetryAfter) {
		t.Errorf("got %+v, Retry-After %q", e, a.Header.Get("Retry-After"))
	}
}

// held is a provider that logs in only once release was closed.
func held() (p login, release chan struct{}) {
	release = make(chan struct{})
	give := tokens("at last")
	return func(ctx context.Context) (providers.Token, error) {
		select {
		case <-release:
			return give(ctx)
		case <-ctx.Done():
			return providers.Token{}, &providers.Error{Class: providers.Transient, Err: ctx.Err()}
		}
	}, release
}

// TestToken_wait asserts that the limit on reading a request does not end a call
// that waits: while it waits, silent connections made after it come to that limit.
func TestToken_wait(t *testing.T) {
	p, release := held()
	f := start(t, func(s *Server) { s.limits.read = 20 * time.Millisecond }, credential(t, "broker", p))
	c := f.dial(t, 1001)
	io.WriteString(c, "GET /v1/tokens/broker?wait=1m HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n")
	post := f.dial(t, 2000)
	io.WriteString(post, "POST /v1/credentials/broker/renew?wait=1m HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
	for range 3 {
		if _, err := io.ReadAll(f.dial(t, 1001)); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	if a := read(t, bufio.NewReader(c), "GET"); a.body != "at last" {
		t.Errorf("%s: %s", a.Status, a.body)
	}
	if a := read(t, bufio.NewReader(post), "POST"); a.StatusCode != 200 {
		t.Errorf("%s: %s", a.Status, a.body)
	}
}

// TestRun_waiting asserts that stopping ends those who wait with a problem.
func TestRun_waiting(t *testing.T) {
	called := make(chan struct{}, 1)
	f := start(t, nil, credential(t, "broker", login(func(context.Context) (providers.Token, error) {
		called <- struct{}{}
		return providers.Token{}, &providers.Error{Class: providers.Transient, Err: errors.New("no route")}
	})))
	<-called
	c := f.dial(t, 1001)
	io.WriteString(c, "GET /v1/tokens/broker?wait=5m HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "the call in the log", func() bool { return strings.Contains(f.logged.String(), "access granted") })
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	if e := read(t, bufio.NewReader(c), "GET").problem(t); e.Code != api.CodePending || e.RetryAfter != 1 {
		t.Errorf("got %+v", e)
	}
}
