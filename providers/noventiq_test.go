package providers

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

func noventiqAt(t *testing.T, url string, change ...func(*Settings)) Provider {
	t.Helper()
	kind, _ := Lookup("noventiq")
	settings := testSettings(t, url, change...)
	settings.Values = map[string]string{"username": "user"}
	p, err := kind.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNoventiqRequest(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != "POST" || r.RequestURI != "/v1/login_check" || string(body) != `{"password":"1234","username":"user"}` {
			t.Errorf("request is %s %s %s", r.Method, r.RequestURI, body)
		}
		if got := r.Header.Values("Content-Type"); len(got) != 1 || got[0] != "application/json" {
			t.Errorf("content type is %q", got)
		}
		reply(200, `{"token": "fj45u923j59ju42395iu9423i59243u0", "refresh_token": "4e283bb7620068c42d6"}`)(w, r)
	})
	p := noventiqAt(t, url, func(s *Settings) { s.Secrets["password"] = NewSecret("1234") })
	token, err := Login(t.Context(), p, nil)
	if err != nil || token.Value.Reveal() != "fj45u923j59ju42395iu9423i59243u0" || token.Expires.Sub(token.Issued) != 24*time.Hour {
		t.Fatalf("token %v, error %v", token, err)
	}
	if !token.Refresh.Empty() || !token.RefreshExpires.IsZero() {
		t.Error("the refresh token was kept")
	}
	if _, can := p.(Refresher); can {
		t.Error("there is no refresh endpoint")
	}
}

func TestNoventiqLifetime(t *testing.T) {
	jwtFor := func(d time.Duration) string {
		return testJWT(fmt.Sprintf(`{"exp":%.3f}`, float64(time.Now().Add(d).UnixMilli())/1e3))
	}
	tests := []struct {
		name, body string
		ttl, want  time.Duration
	}{
		{"date is not used", `{"token":"abc","date":"2001-01-01T00:00:00+03:00","refresh_token":7}`, 0, 24 * time.Hour},
		{"JWT that says less", `{"token":"` + jwtFor(time.Hour) + `"}`, 0, time.Hour},
		{"JWT that says more", `{"token":"` + jwtFor(48*time.Hour) + `"}`, 0, 24 * time.Hour},
		{"ttl", `{"token":"abc"}`, 8 * time.Hour, 8 * time.Hour},
	}
	for _, test := range tests {
		url := serve(t, reply(200, test.body))
		token, err := Login(t.Context(), noventiqAt(t, url, func(s *Settings) { s.TTL = test.ttl }), nil)
		// The server's second may begin before ours.
		if off := token.Expires.Sub(token.Issued) - test.want; err != nil || off.Abs() > time.Minute {
			t.Errorf("%s: lives %v, error %v", test.name, token.Expires.Sub(token.Issued), err)
		}
	}
}

func TestNoventiqErrors(t *testing.T) {
	list := func(code any, message string) string {
		return fmt.Sprintf(`{"errors":[{"error":%v,"message":%q}]}`, code, message)
	}
	tests := []answerTest{
		{400, list(1005, "Invalid authorization data."), "", Misconfigured, 0, `noventiq did not accept the request (HTTP 400, error 1005: "Invalid authorization data."): check username, password and url`},
		{400, list(110, "JSON is not valid."), "", Misconfigured, 0, "error 110"},
		{400, list(111, "Invalid data format (Content-type)."), "", Misconfigured, 0, "error 111"},
		{401, list(1006, "Bad credentials."), "", Refused, 0, `noventiq refused the user name and password (HTTP 401, error 1006: "Bad credentials."): correct them`},
		{401, list(`"1006"`, "Bad credentials."), "", Refused, 0, "error 1006"},
		{400, list(1006, "Bad credentials."), "", Refused, 0, "error 1006"},
		{200, list(1006, "Bad credentials."), "", Refused, 0, "error 1006"},
		{400, `{"errors":[{"error":110},{"error":111,"message":"x"}]}`, "", Misconfigured, 0, "(HTTP 400, error 110): "},
		{400, `{"errors":[{"error":7},"x",{"error":"1005","message":"y"}]}`, "", Misconfigured, 0, `error 1005: "y"`},
		{401, `{"Errors":[{"Error":1006,"Message":"Bad"}]}`, "", Refused, 0, `error 1006: "Bad"`},
		{401, `{"code":401,"message":"Invalid credentials."}`, "", Refused, 0, `noventiq refused the user name and password (HTTP 401 Unauthorized: "Invalid credentials.")`},
		{401, list(1007, "Invalid token"), "", Refused, 0, "HTTP 401"},
		{401, ``, "", Refused, 0, "an empty body"},
		{401, `{"errors":"x"}`, "", Refused, 0, "HTTP 401"},
		{401, htmlBody, "Content-Type: text/html", Blocked, 0, "something in front of it"},
		{403, htmlBody, "", Blocked, 0, "something in front of it"},
		{404, htmlBody, "", Misconfigured, 0, "check url"},
		{404, ``, "", Misconfigured, 0, "check url"},
		{429, list(1006, "x"), "", Throttled, 0, "HTTP 429"},
		{429, ``, "Retry-After: 30", Throttled, 30 * time.Second, "HTTP 429"},
		{500, `{"errors":[]}`, "", Transient, 0, "HTTP 500"},
		{500, list(1006, "x"), "", Transient, 0, "HTTP 500"},
		{502, htmlBody, "", Transient, 0, "HTTP 502"},
		{503, ``, "Retry-After: 30", Throttled, 30 * time.Second, "HTTP 503"},
		{302, ``, "Location: https://login.example/x?y", Misconfigured, 0, "redirects to https://login.example (HTTP 302"},
		{200, `{"refresh_token":"4e283bb7620068c42d6"}`, "", Malformed, 0, "there is none"},
		{200, `{"errors":[],"token":null}`, "", Malformed, 0, "there is none"},
		{200, `{"token":"a\nb"}`, "", Malformed, 0, "0x0a"},
		{200, htmlBody, "", Malformed, 0, "an HTML page"},
		{401, `{"code":401,"message":"user and ` + `pa\"ss <w&rd>/ü 1` + `"}`, "", Refused, 0, `"[withheld: it repeats a secret]"`},
	}
	for _, test := range tests {
		t.Run(test.name(), func(t *testing.T) {
			_, err := Login(t.Context(), noventiqAt(t, serve(t, reply(test.status, test.body, test.header))), nil)
			e := wantError(t, err, test.class, test.text)
			if e.RetryAfter != test.wait || e.Status != test.status || !e.Sent {
				t.Errorf("waits %v, want %v; status %d, sent %v", e.RetryAfter, test.wait, e.Status, e.Sent)
			}
		})
	}
}

func FuzzNoventiqAnswer(f *testing.F) {
	const secret = "Zx-secret-of-noventiq-Zx"
	for _, body := range []string{
		`{"token": "fj45u923j59ju42395iu9423i59243u0", "refresh_token": "4e283bb7620068c42d6"}`, `{"errors":[{"error":1005,"message":"Invalid authorization data."}]}`,
		`{"errors":[{"error":"1006","message":"` + secret + `"}]}`, `{"code":401,"message":"Invalid credentials."}`, `{"errors":[[],{},1]}`, htmlBody, "",
	} {
		for _, status := range []int{200, 302, 400, 401, 500} {
			f.Add(status, "application/json", "Sun, 01 Mar 2026 12:00:30 GMT", "http://a/b", []byte(body))
		}
	}
	for _, body := range hostileBodies("noventiq") {
		f.Add(200, "application/json", "Sun, 01 Mar 2026 12:00:30 GMT", "-1", body)
	}
	f.Fuzz(func(t *testing.T, status int, kind, date, wait string, body []byte) {
		fuzzAnswer(t, "noventiq", secret, Settings{
			URL: "https://api.example", Values: map[string]string{"username": "user"},
			Secrets:   map[string]Secret{"password": NewSecret(secret)},
			Transport: canned{status, fuzzHeader(kind, date, wait), body},
		}, 24*time.Hour)
	})
}
