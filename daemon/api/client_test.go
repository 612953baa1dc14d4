package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// daemon answers each connection with the next of the answers, as they are, and
// keeps the requests. An empty answer closes without one.
type daemon struct {
	socket string
	mu     sync.Mutex
	got    []string
}

func newDaemon(t *testing.T, answers ...string) *daemon {
	t.Helper()
	d := &daemon{socket: filepath.Join(t.TempDir(), "s")}
	ln, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for _, a := range answers {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			d.serve(c, a)
		}
		ln.Close()
	})
	t.Cleanup(func() {
		ln.Close()
		done.Wait()
	})
	return d
}

// serve reads one request, body included, and answers it.
func (d *daemon) serve(c net.Conn, a string) {
	defer c.Close()
	var req strings.Builder
	buf := make([]byte, 1024)
	for {
		head, body, ok := strings.Cut(req.String(), "\r\n\r\n")
		_, rest, _ := strings.Cut(head, "Content-Length: ")
		digits, _, _ := strings.Cut(rest, "\r\n")
		want, _ := strconv.Atoi(digits)
		if ok && len(body) >= want {
			break
		}
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		req.Write(buf[:n])
	}
	d.mu.Lock()
	d.got = append(d.got, req.String())
	d.mu.Unlock()
	io.WriteString(c, a)
}

func (d *daemon) requests() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.got
}

func reply(status int, kind, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", status, kind, len(body), body)
}

const status = `{"name":"broker","provider":"etna","state":"fresh","usable":true,"failures":0,"saved":true,"skew_seconds":0}`

const (
	head = " HTTP/1.1\r\nHost: tokend\r\nConnection: close\r\n"
	none = "Content-Length: 0\r\n\r\n"
)

// with is the rest of a request whose body is the JSON.
func with(body string) string {
	return "Content-Length: " + strconv.Itoa(len(body)) + "\r\nContent-Type: application/json\r\n\r\n" + body
}

func fresh(s *Status, err error) string {
	if err != nil {
		return err.Error()
	}
	return s.Name + " " + string(s.State)
}

// What each method asks, and that it understands what it is told.
var calls = []struct {
	name, answer, request, want string
	call                        func(context.Context, *Client) string
}{
	{
		"token", `{"name":"broker","token":"abc","expires_at":"2026-01-02T03:04:05Z","new":1}`, "GET /v1/tokens/broker" + head + "\r\n", "abc 2026",
		func(ctx context.Context, c *Client) string {
			tok, err := c.Token(ctx, "broker", TokenOptions{})
			if err != nil {
				return err.Error()
			}
			return tok.Token + " " + strconv.Itoa(tok.ExpiresAt.Year())
		},
	},
	{
		"token with options", `{}`, "GET /v1/tokens/broker?min_ttl=1m30s&wait=0s" + head + "\r\n", "the daemon's answer has no token",
		func(ctx context.Context, c *Client) string {
			_, err := c.Token(ctx, "broker", TokenOptions{MinTTL: new(90 * time.Second), Wait: new(time.Duration(0))})
			return err.Error()
		},
	},
	{
		"list", `{"credentials":[` + status + `]}`, "GET /v1/credentials" + head + "\r\n", "1 etna",
		func(ctx context.Context, c *Client) string {
			list, err := c.Credentials(ctx)
			if err != nil {
				return err.Error()
			}
			return fmt.Sprint(len(list), " ", list[0].Provider)
		},
	},
	{
		"status", status, "GET /v1/credentials/broker" + head + "\r\n", "broker fresh",
		func(ctx context.Context, c *Client) string { return fresh(c.Credential(ctx, "broker")) },
	},
	{
		"empty status", "{}", "GET /v1/credentials/broker" + head + "\r\n", "the daemon's answer is no status",
		func(ctx context.Context, c *Client) string { return fresh(c.Credential(ctx, "broker")) },
	},
	{
		"report", status, "POST /v1/credentials/broker/renew" + head + with(`{"fingerprint":"9f86d081884c7d65"}`), "broker fresh",
		func(ctx context.Context, c *Client) string {
			return fresh(c.Renew(ctx, "broker", RenewOptions{Fingerprint: "9f86d081884c7d65"}))
		},
	},
	{
		"renew", status, "POST /v1/credentials/broker/renew?wait=5s" + head + with(`{}`), "broker fresh",
		func(ctx context.Context, c *Client) string {
			return fresh(c.Renew(ctx, "broker", RenewOptions{Wait: new(5 * time.Second)}))
		},
	},
	{
		"retry", status, "POST /v1/credentials/broker/retry" + head + none, "broker fresh",
		func(ctx context.Context, c *Client) string { return fresh(c.Retry(ctx, "broker", nil)) },
	},
	{
		"drop", status, "POST /v1/credentials/broker/drop?wait=1us" + head + none, "broker fresh",
		func(ctx context.Context, c *Client) string {
			return fresh(c.Drop(ctx, "broker", new(time.Microsecond)))
		},
	},
	{
		"answer", status, "POST /v1/credentials/broker/answer?wait=5s" + head + with(`{"answer":"123456"}`), "broker fresh",
		func(ctx context.Context, c *Client) string {
			return fresh(c.Answer(ctx, "broker", "123456", new(5*time.Second)))
		},
	},
	{
		"reload", `{"added":1,"changed":2,"removed":3,"kept":4}`, "POST /v1/reload" + head + none, "{1 2 3 4}",
		func(ctx context.Context, c *Client) string {
			r, err := c.Reload(ctx)
			if err != nil {
				return err.Error()
			}
			return fmt.Sprint(*r)
		},
	},
	{
		"whoami", `{"uid":1001,"gid":1002,"gids":[4],"pid":7,"grants":[{"name":"a","rights":["read"],"rule":"root"}]}`, "GET /v1/whoami" + head + "\r\n", "1001 root",
		func(ctx context.Context, c *Client) string {
			w, err := c.Whoami(ctx)
			if err != nil {
				return err.Error()
			}
			return fmt.Sprint(w.UID, " ", w.Grants[0].Rule)
		},
	},
	{
		"health", `{"version":"v1","credentials":{"fresh":2},"config":{"error":"line 3"}}`, "GET /v1/health" + head + "\r\n", "2 line 3",
		func(ctx context.Context, c *Client) string {
			h, err := c.Health(ctx)
			if err != nil {
				return err.Error()
			}
			return fmt.Sprint(h.Credentials[StateFresh], " ", h.Config.Error)
		},
	},
}

func TestClient_requests(t *testing.T) {
	for _, tt := range calls {
		t.Run(tt.name, func(t *testing.T) {
			d := newDaemon(t, reply(200, "application/json", tt.answer))
			raw := ""
			c := &Client{Sockets: []string{d.socket}, Raw: func(b []byte) { raw = string(b) }}
			if got := tt.call(t.Context(), c); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if got := strings.Join(d.requests(), "|"); got != tt.request {
				t.Errorf("sent %q\nwant %q", got, tt.request)
			}
			if raw != tt.answer {
				t.Errorf("Raw was given %q", raw)
			}
		})
	}
}

const kind = "application/problem+json"

// foreign is the error for an answer that tokend would not give.
func foreign(status int, detail string) Error {
	e := *Errorf(CodeInternal, "%s", detail).WithHint("is that tokend's socket?")
	e.Status = status
	return e
}

// What the daemon says that is not a good answer. S is the socket.
var problems = []struct {
	name, answer string
	want         Error
}{
	{
		"problem", reply(403, kind, `{"type":"x","title":"Not permitted","status":403,"code":"denied","name":"broker","detail":"uid 7","hint":"ask","retry_after":3}`),
		Error{Type: "x", Title: "Not permitted", Status: 403, Code: CodeDenied, Name: "broker", Detail: "uid 7", Hint: "ask", RetryAfter: 3},
	},
	{
		"the status line counts", reply(404, kind, `{"status":200,"code":"unknown","detail":"no"}`),
		Error{Title: "No such credential", Status: 404, Code: CodeUnknown, Detail: "no"},
	},
	{
		"a code of tomorrow", reply(418, kind, `{"code":"teapot","detail":"short and stout"}`),
		Error{Title: "Internal error", Status: 418, Code: CodeInternal, Detail: `short and stout (code "teapot", which this version does not know)`},
	},
	{
		"a code that never crosses", reply(502, kind, `{"code":"unreachable"}`),
		Error{Title: "No daemon", Status: 502, Code: CodeInternal, Detail: `No daemon (code "unreachable", which this version does not know)`},
	},
	{
		"text", reply(400, "text/plain", "400 Bad Request: \x1b[31mmalformed\nsecond line"),
		foreign(400, `S: the answer is 400, and no problem that tokend would name: "400 Bad Request: \x1b[31mmalformed"`),
	},
	{
		"a problem that is no JSON", reply(500, kind, "{"),
		foreign(500, `S: the answer is 500, and no problem that tokend would name: "{"`),
	},
	{
		"an empty redirect", reply(301, "text/html", ""),
		foreign(301, "S: the answer is 301, and no problem that tokend would name"),
	},
	{
		"not HTTP", "220 mail ESMTP\r\n",
		*Errorf(CodeInternal, "S: the answer is not HTTP/1.1: it has no status line").WithHint("is that tokend's socket?"),
	},
	{
		"not JSON", reply(200, "application/json", "<html>"),
		*Errorf(CodeInternal, "S: the answer is not what tokend would say: invalid character '<' looking for beginning of value").WithHint("is that tokend's socket?"),
	},
	{
		"cut off", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
		*Errorf(CodeUnreachable, "S: the connection was closed in the middle of the answer").WithHint("tokend may be restarting; see its log"),
	},
}

func TestClient_problems(t *testing.T) {
	for _, tt := range problems {
		t.Run(tt.name, func(t *testing.T) {
			d := newDaemon(t, tt.answer)
			_, err := (&Client{Sockets: []string{d.socket}}).Token(t.Context(), "broker", TokenOptions{})
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			got, want := *e, tt.want
			got.Detail = strings.ReplaceAll(got.Detail, d.socket, "S")
			if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
				t.Errorf("got  %#v\nwant %#v", got, want)
			}
		})
	}
}

func TestClient_restart(t *testing.T) {
	good := reply(200, "application/json", status)
	t.Run("a read is repeated once", func(t *testing.T) {
		d := newDaemon(t, "", good)
		if _, err := (&Client{Sockets: []string{d.socket}}).Credential(t.Context(), "broker"); err != nil {
			t.Error(err)
		}
		if n := len(d.requests()); n != 2 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("and no more", func(t *testing.T) {
		d := newDaemon(t, "", "", good)
		_, err := (&Client{Sockets: []string{d.socket}}).Credential(t.Context(), "broker")
		wantError(t, err, CodeUnreachable, d.socket+": the connection was closed without an answer")
		if n := len(d.requests()); n != 2 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("an order is not", func(t *testing.T) {
		d := newDaemon(t, "", good)
		_, err := (&Client{Sockets: []string{d.socket}}).Drop(t.Context(), "broker", nil)
		wantError(t, err, CodeUnreachable, d.socket+": the connection was closed without an answer; it is not known whether the request was carried out")
		if n := len(d.requests()); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("nor half an answer", func(t *testing.T) {
		d := newDaemon(t, "H", good)
		_, err := (&Client{Sockets: []string{d.socket}}).Credential(t.Context(), "broker")
		wantError(t, err, CodeUnreachable, d.socket+": the connection was closed in the middle of the answer")
	})
}

func wantError(t *testing.T, err error, code Code, detail string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code || e.Detail != detail {
		t.Errorf("got  %#v\nwant %s: %s", err, code, detail)
	}
}

// What is no name is not sent: it could be another path.
func TestClient_names(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "a/../b", "a?b", "a#b", "a b", "a\r\nb", "-a", "_a", "ä", strings.Repeat("a", 65)} {
		d := newDaemon(t, reply(200, "application/json", status))
		c := &Client{Sockets: []string{d.socket}}
		_, err := c.Token(t.Context(), name, TokenOptions{})
		_, err2 := c.Drop(t.Context(), name, nil)
		for _, err := range []error{err, err2} {
			var e *Error
			if !errors.As(err, &e) || e.Code != CodeUsage {
				t.Errorf("%q: got %v", name, err)
			}
		}
		if sent := d.requests(); len(sent) != 0 {
			t.Errorf("%q: sent %q", name, sent)
		}
	}
	for _, name := range []string{"a", "0-_", strings.Repeat("Z", 64)} {
		if err := checkName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// What holds a secret does not show it in a log.
func TestRedacted(t *testing.T) {
	for _, v := range []any{
		AnswerRequest{Answer: "s3cret"},
		&AnswerRequest{Answer: "s3cret"},
		Token{Name: "a", Token: "s3cret"},
		Header{Name: "Authorization", Value: "Bearer s3cret"},
		Token{Headers: []Header{{Value: "s3cret"}}},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, "s3cret") || text == "" {
				t.Errorf("%s of %T: %s", verb, v, text)
			}
		}
	}
}

func TestFingerprint(t *testing.T) {
	// FIPS 180-4's example of one block.
	if got := Fingerprint("abc"); got != "ba7816bf8f01cfea" {
		t.Errorf("got %s", got)
	}
}
