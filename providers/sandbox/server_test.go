package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	finamSecret  = `{"secret":"your-api-secret-key"}`
	noventiqUser = `{"username":"user","password":"1234"}`
)

// request is one call; header is "Name: value" lines.
type request struct {
	method, path, body string
	header             []string
}

type response struct {
	status int
	header http.Header
	body   string
	err    error // of the call, or of reading the body
}

// start serves a look-alike over real HTTP and returns a way to call it that
// follows no redirect.
func start(t *testing.T, handler http.Handler) func(request) response {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return func(call request) response { return send(t.Context(), client, server.URL, call) }
}

func send(ctx context.Context, client *http.Client, base string, call request) response {
	r, err := http.NewRequestWithContext(ctx, call.method, base+call.path, strings.NewReader(call.body))
	if err != nil {
		return response{err: err}
	}
	for _, line := range call.header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	answer, err := client.Do(r)
	if err != nil {
		return response{err: err}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return response{status: answer.StatusCode, header: answer.Header, body: string(body), err: err}
}

func finamLogin() request {
	return request{"POST", "/v1/sessions", finamSecret, []string{"Content-Type: application/json"}}
}

func noventiqLoginCall() request {
	return request{"POST", noventiqLogin, noventiqUser, []string{"Content-Type: application/json"}}
}

// field is the string after "name":" in a JSON text.
func field(t *testing.T, text, name string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, `"`+name+`":"`)
	value, _, closed := strings.Cut(rest, `"`)
	if !found || !closed || value == "" {
		t.Fatalf("no %s in %q", name, text)
	}
	return value
}

func TestFaults(t *testing.T) {
	const page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1>" +
		"</center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
	tests := []struct {
		name    string
		fault   Fault
		status  int // 0: the connection ends
		body    string
		header  string // "Name: value"
		granted int
	}{
		{"500", Fault{Status: 500}, 500, `{"code":13,"message":"Внутренняя ошибка сервиса. Попробуйте позже","details":[]}`, "Content-Type: application/json", 0},
		{"503", Fault{Status: 503, RetryAfter: "7"}, 503, `{"code":14,"message":"Сервис на данный момент не доступен. Попробуйте позже","details":[]}`, "Retry-After: 7", 0},
		{"504", Fault{Status: 504}, 504, `{"code":4,"message":"Крайний срок истек до завершения операции","details":[]}`, "", 0},
		{"403", Fault{Status: 403}, 403, `{"code":7,"message":"Forbidden","details":[]}`, "", 0},
		{"418", Fault{Status: 418}, 418, `{"code":2,"message":"I'm a teapot","details":[]}`, "", 0},
		{"gateway", Fault{HTML: true}, 502, page, "Content-Type: text/html", 0},
		{"firewall", Fault{Status: 403, HTML: true}, 403, strings.ReplaceAll(page, "502 Bad Gateway", "403 Forbidden"), "", 0},
		{"late", Fault{Status: 503, Late: true, Body: "{}"}, 503, "{}", "", 1},
		{"body", Fault{Body: `{"token":5}`}, 200, `{"token":5}`, "Content-Type: application/json", 0},
		{"HTML of one's own", Fault{HTML: true, Body: "<p>"}, 200, "<p>", "Content-Type: text/html", 0},
		{"redirect", Fault{Location: "https://elsewhere.invalid/"}, 307, strings.ReplaceAll(page, "502 Bad Gateway", "307 Temporary Redirect"), "Location: https://elsewhere.invalid/", 0},
		{"moved", Fault{Status: 301, Location: "/x"}, 301, strings.ReplaceAll(page, "502 Bad Gateway", "301 Moved Permanently"), "Location: /x", 0},
		{"empty", Fault{Empty: true}, 200, "", "Content-Type: application/json", 1},
		{"truncated", Fault{Truncated: true, Body: `{"token":"x"}`}, 200, `{"toke`, "Content-Length: 6", 0},
		{"drop", Fault{Drop: true}, 0, "", "", 0},
		{"lost answer", Fault{Drop: true, Late: true}, 0, "", "", 1},
		{"cut in the body", Fault{Drop: true, Truncated: true}, 0, "", "", 1},
		{"edited", Fault{Edit: func(body []byte) []byte { return append(body[:9:9], '!') }}, 200, `{"token":!`, "Content-Length: 10", 1},
		{"header", Fault{Header: map[string]string{"Content-Type": "x/y"}, Body: "{}"}, 200, "{}", "Content-Type: x/y", 0},
		{"no header", Fault{Header: map[string]string{"Date": ""}, Body: "{}"}, 200, "{}", "Date: ", 0},
		{"raw", Fault{Raw: "HTTP/1.0 299 Odd\r\nX-Raw: yes\r\n\r\nhello"}, 299, "hello", "X-Raw: yes", 0},
		{"raw, late", Fault{Raw: "HTTP/1.0 200 OK\r\n\r\n", Late: true}, 200, "", "", 1},
		{"slow", Fault{Raw: "HTTP/1.0 200 OK\r\n\r\nhello", Pause: time.Microsecond}, 200, "hello", "", 0},
		{"reset", Fault{Reset: true}, 0, "", "", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := New(Finam{})
			call := start(t, server)
			server.Fail(1, test.fault)
			got := call(finamLogin())
			name, value, _ := strings.Cut(test.header, ": ")
			switch {
			case test.status == 0 && got.err == nil:
				t.Errorf("answered %d %q, want the connection to end", got.status, got.body)
			case test.status != 0 && (got.err != nil || got.status != test.status || got.body != test.body):
				t.Errorf("got %d %q (%v), want %d %q", got.status, got.body, got.err, test.status, test.body)
			case test.header != "" && got.header.Get(name) != value:
				t.Errorf("%s is %q, want %q", name, got.header.Get(name), value)
			}
			if tried, granted := server.Logins(); tried != 1 || granted != test.granted {
				t.Errorf("%d logins tried and %d granted, want 1 and %d", tried, granted, test.granted)
			}
			if again := call(finamLogin()); again.status != 200 {
				t.Errorf("after the fault: %d %q (%v), want 200", again.status, again.body, again.err)
			}
		})
	}
}

func TestTruncatedAnswerIsHalfOfTheRealOne(t *testing.T) {
	server := New(Finam{})
	call := start(t, server)
	server.Fail(1, Fault{Truncated: true})
	got := call(finamLogin())
	if got.err != nil || got.status != 200 || !strings.HasPrefix(got.body, `{"token":"ey`) || strings.HasSuffix(got.body, "}") {
		t.Errorf("got %d %q (%v), want the first half of a token", got.status, got.body, got.err)
	}
	server.Fail(1, Fault{Truncated: true, Drop: true})
	if got := call(finamLogin()); !errors.Is(got.err, io.ErrUnexpectedEOF) || !strings.HasPrefix(got.body, `{"token":"ey`) {
		t.Errorf("got %q (%v), want half an answer and then an unexpected EOF", got.body, got.err)
	}
}

func TestFaultsQueueByPath(t *testing.T) {
	server := New(Finam{})
	call := start(t, server)
	server.Fail(0, Fault{Status: 500})
	server.Fail(2, Fault{Status: 503, Path: "/v1/sessions"})
	server.Fail(-1, Fault{Status: 504})
	var got []int
	for _, path := range []string{"/v1/sessions", "/v1/usage", "/v1/sessions", "/v1/sessions"} {
		got = append(got, call(request{method: "POST", path: path, body: finamSecret}).status)
	}
	server.Heal()
	got = append(got, call(finamLogin()).status)
	if want := []int{503, 504, 503, 504, 200}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestHoldAnswersWhenReleased(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%v", late), func(t *testing.T) {
			server := New(Finam{})
			call := start(t, server)
			release := make(chan struct{})
			server.Fail(1, Fault{Hold: release, Late: late})
			answered := make(chan response, 1)
			go func() { answered <- call(finamLogin()) }()
			if err := server.Wait(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			if late {
				if err := server.WaitLogins(t.Context(), 1); err != nil {
					t.Fatal(err)
				}
			} else if _, granted := server.Logins(); granted != 0 {
				t.Error("the login took effect while the call was held")
			}
			if status := server.Calls()[0].Status; status != 0 {
				t.Errorf("a held call has status %d in the log, want 0", status)
			}
			close(release)
			if got := <-answered; got.status != 200 {
				t.Errorf("got %d (%v), want 200", got.status, got.err)
			}
			if status := server.Calls()[0].Status; status != 200 {
				t.Errorf("the log has status %d, want 200", status)
			}
		})
	}
}

func TestHeldCallEndsWithItsClient(t *testing.T) {
	server := New(Finam{})
	base := httptest.NewServer(server)
	defer base.Close() // returns only once the handler has
	server.Fail(1, Fault{Hold: make(chan struct{})})
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan response, 1)
	go func() { gone <- send(ctx, base.Client(), base.URL, finamLogin()) }()
	if err := server.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	if got := <-gone; !errors.Is(got.err, context.Canceled) {
		t.Errorf("got %v, want the client's own cancellation", got.err)
	}
}

// In a bubble the clock stands still until everybody waits, so the delay is exact.
func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Finam{})
		server.Latency(3 * time.Second)
		started := time.Now()
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, httptest.NewRequest("POST", "/v1/sessions", strings.NewReader(finamSecret)))
		if took := time.Since(started); took != 3*time.Second || recorder.Code != 200 {
			t.Errorf("answered %d after %v, want 200 after 3s", recorder.Code, took)
		}
		server.Latency(0)
		started = time.Now()
		server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		if took := time.Since(started); took != 0 {
			t.Errorf("answered after %v, want at once", took)
		}
	})
}

// The delay lies between the arrival, which wakes the waiter in vain, and the grant.
func TestWaitLoginsIsWokenByTheGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Finam{})
		server.Latency(time.Second)
		waited := make(chan error, 1)
		go func() { waited <- server.WaitLogins(t.Context(), 1) }()
		synctest.Wait()
		server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/sessions", strings.NewReader(finamSecret)))
		if err := <-waited; err != nil {
			t.Error(err)
		}
	})
}

func TestSkewShowsInDate(t *testing.T) {
	server := New(Noventiq{})
	call := start(t, server)
	for _, skew := range []time.Duration{0, 48 * time.Hour, -time.Hour} {
		server.Skew(skew)
		before := time.Now().Add(skew).Truncate(time.Second)
		got := call(noventiqLoginCall())
		date, err := http.ParseTime(got.header.Get("Date"))
		if after := time.Now().Add(skew); err != nil || date.Before(before) || date.After(after) {
			t.Errorf("with a skew of %v, Date is %v (%v), want %v to %v", skew, date, err, before, after)
		}
	}
}

func TestCallLogHoldsNoSecret(t *testing.T) {
	server := New(Noventiq{Users: map[string]string{"user": "a rare password"}})
	call := start(t, server)
	login := noventiqLoginCall()
	login.body = strings.Replace(login.body, "1234", "a rare password", 1)
	token := field(t, call(login).body, "token")
	call(request{"GET", "/v1/order/5?token=" + token, "", []string{"AuthorizationJWT: Bearer " + token}})
	calls := server.Calls()
	if len(calls) != 2 || calls[0].Method != "POST" || calls[0].Path != noventiqLogin || calls[1].Path != "/v1/order/5" ||
		calls[1].Status != 200 || calls[1].Time.Before(calls[0].Time) {
		t.Fatalf("log: %+v", calls)
	}
	if !slices.Contains(calls[0].Headers, "Content-Type") || !slices.Contains(calls[1].Headers, "Authorizationjwt") ||
		!slices.IsSorted(calls[1].Headers) {
		t.Errorf("headers in the log: %v and %v", calls[0].Headers, calls[1].Headers)
	}
	calls[0].Headers[0] = "spoilt"
	seen := fmt.Sprintf("%#v %#v", server.Calls(), server.state.windows)
	for key, g := range server.state.grants {
		seen += fmt.Sprintf(" %q %#v", key[:], *g)
	}
	for _, secret := range []string{token, "a rare password", "spoilt"} {
		if strings.Contains(seen, secret) {
			t.Errorf("%q is in the log or the state: %s", secret, seen)
		}
	}
}

func TestCallLogIsBounded(t *testing.T) {
	server := New(Finam{})
	for range maxCalls + 1 {
		server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/nowhere", nil))
	}
	if got := len(server.Calls()); got != maxCalls/2+1 {
		t.Errorf("the log keeps %d calls, want %d", got, maxCalls/2+1)
	}
	if err := server.Wait(t.Context(), maxCalls+1); err != nil {
		t.Error(err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the test is over"))
	err := New(Finam{}).WaitLogins(ctx, 2)
	if want := "waiting for 2 granted logins at the sandbox, where 0 came: the test is over"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestEverythingAtOnce(t *testing.T) {
	const workers, rounds = 8, 25
	server := New(Noventiq{})
	call := start(t, server)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range rounds {
				token := field(t, call(noventiqLoginCall()).body, "token")
				got := call(request{"GET", "/v1/order/7", "", []string{"AuthorizationJWT: Bearer " + token}})
				if got.status != 200 {
					t.Errorf("order: %d %q (%v), want 200", got.status, got.body, got.err)
				}
				server.Set(func(k *Noventiq) { k.JWT, k.Date = !k.JWT, !k.Date })
				server.Skew(time.Minute)
				server.Fail(1, Fault{Path: "/unused", Status: 500})
				server.Calls()
			}
		})
	}
	if err := server.WaitLogins(t.Context(), workers*rounds); err != nil {
		t.Error(err)
	}
	group.Wait()
	if tried, granted := server.Logins(); tried != workers*rounds || granted != workers*rounds {
		t.Errorf("%d tried, %d granted, want %d of both", tried, granted, workers*rounds)
	}
}
