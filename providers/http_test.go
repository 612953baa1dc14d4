package providers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// serve runs a handler on a loopback address and returns its URL.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// reply answers every request alike. A header is "Name: value".
func reply(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = []string{"application/json"}
		for _, line := range headers {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// testKind is a kind with nothing of its own.
var testKind = Kind{Name: "testkind", Keys: []Key{{Name: "password", Secret: true, Required: true}}}

const testPassword = `pa"ss <w&rd>/ü 1`

func testCaller(t *testing.T, url string, change ...func(*Settings)) *caller {
	t.Helper()
	c, err := newCaller(&testKind, testSettings(t, url, change...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testSettings(t *testing.T, url string, change ...func(*Settings)) Settings {
	t.Helper()
	transport, err := new(Transports).For(nil, "none")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.(*http.Transport).CloseIdleConnections)
	s := Settings{
		URL: url, Timeout: time.Minute, Transport: transport,
		Secrets: map[string]Secret{"password": NewSecret(testPassword)},
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

// wantError takes an error apart and checks that its text shows no secret.
func wantError(t *testing.T, err error, class Class, parts ...string) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %T (%v), want *Error", err, err)
	}
	if e.Class != class {
		t.Errorf("class is %v, want %v (%v)", e.Class, class, e)
	}
	for _, part := range parts {
		if !strings.Contains(e.Error(), part) {
			t.Errorf("error %q does not contain %q", e, part)
		}
	}
	if strings.Contains(e.Error(), testPassword) {
		t.Errorf("error %q shows the password", e)
	}
	return e
}

func TestRequestHasOnlyWhatWasAskedFor(t *testing.T) {
	tests := []struct {
		name    string
		request request
		headers []string // sorted
		body    string
		length  int64
	}{
		{
			"json",
			request{path: "/a/b/", body: map[string]string{"password": testPassword}},
			[]string{"Content-Length: 48", "Content-Type: application/json", "User-Agent: tokend"},
			testPassword, 48,
		},
		{
			"headers alone",
			request{path: "/token", header: map[string]string{"Et-App-Key": "k", "Accept": "application/json"}},
			[]string{"Accept: application/json", "Content-Length: 0", "Et-App-Key: k", "User-Agent: tokend"},
			"", 0,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				var headers []string
				for name, values := range r.Header {
					headers = append(headers, name+": "+strings.Join(values, "|"))
				}
				slices.Sort(headers)
				if !slices.Equal(headers, test.headers) {
					t.Errorf("headers are %q, want %q", headers, test.headers)
				}
				if r.Method != "POST" || r.URL.Path != "/base"+test.request.path || r.ContentLength != test.length {
					t.Errorf("request is %s %s with %d bytes", r.Method, r.URL, r.ContentLength)
				}
				var sent map[string]string
				json.NewDecoder(r.Body).Decode(&sent)
				if sent["password"] != test.body {
					t.Errorf("password is %q, want %q", sent["password"], test.body)
				}
			})
			if _, err := testCaller(t, url+"/base/").post(t.Context(), test.request); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	visited := false
	other := serve(t, func(http.ResponseWriter, *http.Request) { visited = true })
	for _, status := range []int{301, 302, 303, 307, 308} {
		for location, want := range map[string]string{
			other + "/x?secret=" + "q": "redirects to " + other + " (",
			"/token/":                  "redirects to another path of http://127.0.0.1",
			"":                         "redirects to an unnamed place",
			"http://u:pw@h/":           "redirects to http://h (",
			"mailto:pw@h":              "redirects to mailto: (",
			":bad":                     "redirects to an unnamed place",
		} {
			url := serve(t, reply(status, "", "Location: "+location))
			a, err := testCaller(t, url).post(t.Context(), request{})
			if err != nil {
				t.Fatal(err)
			}
			e := wantError(t, a.judge("the password"), Misconfigured, want)
			if strings.Contains(e.Error(), "q)") || strings.Contains(e.Error(), "pw") || e.Status != status || !e.Sent {
				t.Errorf("%d to %q gives %#v: %v", status, location, e, e)
			}
		}
	}
	if visited {
		t.Error("a redirect was followed")
	}
}

func TestBodyLimit(t *testing.T) {
	endless := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, `{"token":"`)
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat("a", 1<<16)); err != nil {
					return
				}
			}
		}
	}
	long := `{"token":"` + strings.Repeat("a", maxToken) + `"}`
	full := long + strings.Repeat(" ", maxBody-len(long))
	tests := []struct {
		name    string
		handler http.HandlerFunc
		class   Class
		token   bool
	}{
		{"exactly the limit", reply(200, full), 0, true},
		{"one more", reply(200, full+" "), Malformed, false},
		{"10 MiB", reply(200, `{"token":"`+strings.Repeat("a", 10<<20)+`"}`), Malformed, false},
		{"endless success", endless(200), Malformed, false},
		{"endless 500", endless(500), Transient, false},
		{"endless 401", endless(401), Refused, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, err := testCaller(t, serve(t, test.handler)).post(t.Context(), request{})
			if err != nil {
				t.Fatal(err)
			}
			if len(a.body) > maxBody {
				t.Errorf("%d bytes were read", len(a.body))
			}
			token, err := a.token("token")
			switch {
			case test.token:
				if err != nil || len(token.Reveal()) != maxToken {
					t.Errorf("token of %d bytes, error %v", len(token.Reveal()), err)
				}
			case a.ok():
				wantError(t, err, test.class, "more than 1024 KiB")
			default:
				if e := wantError(t, a.judge("the password"), test.class); len(e.Error()) > 1000 {
					t.Errorf("the error has %d bytes", len(e.Error()))
				}
			}
		})
	}
}

// counted is an endless body that counts what is read of it.
type counted struct{ read *int }

func (c counted) Read(p []byte) (int, error) { *c.read += len(p); return len(p), nil }

func (counted) Close() error { return nil }

func (c counted) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: c}, nil
}

func TestNoMoreIsReadThanTheLimit(t *testing.T) {
	read := 0
	c := testCaller(t, "http://h", func(s *Settings) { s.Transport = counted{&read} })
	if a, err := c.post(t.Context(), request{}); err != nil || !a.cut || read != maxBody+1 {
		t.Errorf("%d bytes were read, error %v", read, err)
	}
}

func TestLostAnswers(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	hang := func(parts string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // else the server does not see the client go
			if parts != "" {
				w.Header().Set("Retry-After", "7")
				w.Header().Set("Content-Length", "1000")
				w.WriteHeader(429)
				io.WriteString(w, parts)
				w.(http.Flusher).Flush()
			}
			select {
			case <-over:
			case <-r.Context().Done():
			}
		}
	}
	abort := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	half := func(status string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: 100\r\nRetry-After: 7\r\n\r\n{", status)
			conn.Close()
		}
	}
	garbage := func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nno-colon "+testPassword+"\x1b[31m\r\n\r\n")
		conn.Close()
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		timeout time.Duration
		class   Class
		wait    time.Duration
		status  int
		text    string
	}{
		{"silence", hang(""), 50 * time.Millisecond, Transient, 0, 0, "no complete answer from 127.0.0.1:"},
		{"silence in the body", hang("{"), 200 * time.Millisecond, Throttled, 7 * time.Second, 429, "within 200ms"},
		{"closed", abort, time.Minute, Transient, 0, 0, "closed the connection before its answer was complete"},
		{"half a success", half("200 OK"), time.Minute, Transient, 7 * time.Second, 200, "closed the connection"},
		{"half a refusal", half("401 No"), time.Minute, Transient, 7 * time.Second, 401, "closed the connection"},
		{"half a 429", half("429 Slow"), time.Minute, Throttled, 7 * time.Second, 429, "closed the connection"},
		{"garbage", garbage, time.Minute, Transient, 0, 0, withheld},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := testCaller(t, serve(t, test.handler), func(s *Settings) { s.Timeout = test.timeout })
			_, err := c.post(t.Context(), request{body: map[string]string{}})
			e := wantError(t, err, test.class, test.text)
			if !e.Sent || e.RetryAfter != test.wait || e.Status != test.status {
				t.Errorf("error is %+v: sent %v, wait %v, status %d", e, e.Sent, e.RetryAfter, e.Status)
			}
		})
	}
}

func TestNothingWasSent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // accepts in the kernel, never answers a TLS handshake
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	failing := func(s *Settings) {
		s.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "api.example", IsNotFound: true}
		}
	}
	short := func(s *Settings) { s.Timeout = 50 * time.Millisecond }
	tests := []struct {
		name, url, text string
		change          func(*Settings)
	}{
		{"refused", "http://" + closed.Addr().String(), "connection refused", func(*Settings) {}},
		{"no such host", "https://api.example", "reaching api.example: lookup api.example: no such host", failing},
		{"handshake hangs", "https://" + listener.Addr().String(), "no connection to 127.0.0.1:", short},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := testCaller(t, test.url, test.change).post(t.Context(), request{})
			if e := wantError(t, err, Transient, test.text); e.Sent || e.Status != 0 {
				t.Errorf("sent is %v, status %d", e.Sent, e.Status)
			}
		})
	}
}

func TestCancelling(t *testing.T) {
	arrived := make(chan struct{})
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	_, err := testCaller(t, url).post(ctx, request{})
	if e := wantError(t, err, Transient, "given up"); !e.Sent || !errors.Is(e, context.Canceled) {
		t.Errorf("error is %v, sent %v", e, e.Sent)
	}
	_, err = testCaller(t, url).post(ctx, request{})
	if e := wantError(t, err, Transient, "given up"); e.Sent {
		t.Error("a request that never began is said to be sent")
	}
}

func TestSettingsThatNoRequestCarries(t *testing.T) {
	for text, change := range map[string]func(*Settings){
		"url: not an http(s) URL with a host":             func(s *Settings) { s.URL = "" },
		"url: not an http(s) URL":                         func(s *Settings) { s.URL = "ftp://h" },
		"url: not an http(s) URL with a":                  func(s *Settings) { s.URL = "http://:80" },
		"url: not":                                        func(s *Settings) { s.URL = "http://u:pw@h\x7f" },
		"url: user info, query or fragment in a base URL": func(s *Settings) { s.URL = "http://u:pw@h" },
		"url: user info, query or fragment in a base":     func(s *Settings) { s.URL = "http://h?" },
		"url: user info, query or fragment in":            func(s *Settings) { s.URL = "http://h#f" },
		"password: missing":                               func(s *Settings) { s.Secrets = nil },
		"password: not valid UTF-8":                       func(s *Settings) { s.Secrets["password"] = NewSecret("pw\xff") },
	} {
		_, err := newCaller(&testKind, testSettings(t, "http://h", change))
		if err == nil || !strings.HasPrefix(err.Error(), text) || strings.Contains(err.Error(), "pw") {
			t.Errorf("error is %v, want %s", err, text)
		}
	}
	c, err := newCaller(&testKind, Settings{URL: "http://h", Secrets: map[string]Secret{"password": NewSecret("x")}})
	if err != nil || c.Timeout != 15*time.Second || c.Transport == nil {
		t.Errorf("defaults: %v", err)
	}
}
