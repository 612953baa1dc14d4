package providers

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

const (
	jsonBody = `{"detail":"no"}`
	htmlBody = "<!DOCTYPE html><html><head><title>Attention\n Required!</title></head></html>"
)

var classTests = []struct {
	status         int
	body, header   string
	login, refresh Class
}{
	{301, "", "", Misconfigured, Misconfigured},
	{302, htmlBody, "", Misconfigured, Misconfigured},
	{304, "", "", Misconfigured, Misconfigured},
	{308, "", "", Misconfigured, Misconfigured},
	{400, jsonBody, "", Misconfigured, RefreshRefused},
	{401, jsonBody, "", Refused, RefreshRefused},
	{401, "", "", Refused, RefreshRefused},
	{401, "", "Content-Type: text/html", Refused, RefreshRefused},
	{401, jsonBody, "Content-Type: text/html", Refused, RefreshRefused},
	{401, "no", "Content-Type: text/plain", Refused, RefreshRefused},
	{401, htmlBody, "Content-Type: text/html; charset=utf-8", Blocked, Blocked},
	{401, "\ufeff \n" + htmlBody, "Content-Type: text/plain", Blocked, Blocked},
	{401, "denied", "Content-Type: text/html", Blocked, Blocked},
	{403, jsonBody, "", Refused, RefreshRefused},
	{403, "", "", Refused, RefreshRefused},
	{403, htmlBody, "", Blocked, Blocked},
	{404, jsonBody, "", Misconfigured, RefreshRefused},
	{404, htmlBody, "", Misconfigured, RefreshRefused},
	{405, jsonBody, "", Misconfigured, Misconfigured},
	{406, jsonBody, "", Misconfigured, Misconfigured},
	{407, "", "", Misconfigured, Misconfigured},
	{408, "", "", Transient, Transient},
	{409, jsonBody, "", Transient, Transient},
	{410, "", "", Misconfigured, RefreshRefused},
	{411, "", "", Misconfigured, Misconfigured},
	{413, "", "", Misconfigured, Misconfigured},
	{414, "", "", Misconfigured, Misconfigured},
	{415, "", "", Misconfigured, Misconfigured},
	{418, "", "", Misconfigured, Misconfigured},
	{421, "", "", Transient, Transient},
	{422, jsonBody, "", Misconfigured, RefreshRefused},
	{423, jsonBody, "", Refused, Refused},
	{425, "", "", Transient, Transient},
	{429, jsonBody, "", Throttled, Throttled},
	{429, htmlBody, "", Throttled, Throttled},
	{499, "", "", Transient, Transient},
	{500, htmlBody, "", Transient, Transient},
	{501, jsonBody, "", Misconfigured, Misconfigured},
	{502, htmlBody, "", Transient, Transient},
	{503, "", "", Transient, Transient},
	{503, "", "Retry-After: 5", Throttled, Throttled},
	{503, "", "Retry-After: soon", Transient, Transient},
	{504, "", "", Transient, Transient},
	{520, htmlBody, "", Transient, Transient},
	{200, jsonBody, "", Malformed, Malformed},
	{204, "", "", Malformed, Malformed},
	{999, "", "", Malformed, Malformed},
}

func TestClassOfStatus(t *testing.T) {
	for _, test := range classTests {
		name := fmt.Sprintf("%d %.5q %s", test.status, test.body, test.header)
		t.Run(name, func(t *testing.T) {
			c := testCaller(t, serve(t, reply(test.status, test.body, test.header)))
			for step, want := range map[step]Class{login: test.login, refresh: test.refresh} {
				a, err := c.post(t.Context(), request{step: step})
				if err != nil {
					t.Fatal(err)
				}
				e := wantError(t, a.judge("the password"), want, "testkind ", fmt.Sprintf("HTTP %d", test.status))
				if e.Status != test.status || e.Sent != (test.status != 407) {
					t.Errorf("status %d, sent %v", e.Status, e.Sent)
				}
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	tests := map[string]time.Duration{
		"":                               0,
		"1":                              time.Second,
		"0":                              time.Second,
		" 120 ":                          2 * time.Minute,
		"3600":                           time.Hour,
		"3601":                           time.Hour,
		"99999999999999999999999999":     time.Hour,
		"-1":                             0,
		"+5":                             0,
		"1.5":                            0,
		"5s":                             0,
		"soon":                           0,
		"Sun, 01 Mar 2026 12:00:30 GMT":  30 * time.Second,
		"Sunday, 01-Mar-26 12:00:30 GMT": 30 * time.Second,
		"Sun Mar  1 12:00:30 2026":       30 * time.Second,
		"Sun, 01 Mar 2026 11:00:00 GMT":  time.Second,
		"Sun, 01 Mar 2126 12:00:00 GMT":  time.Hour,
	}
	for value, want := range tests {
		if got := parseRetryAfter(value, now); got != want {
			t.Errorf("Retry-After %q gives %v, want %v", value, got, want)
		}
	}
}

// A date in Retry-After is the server's, and our clock has no part in it.
func TestRetryAfterCountsFromDate(t *testing.T) {
	tests := []struct {
		status  int
		headers []string
		class   Class
		want    time.Duration
	}{
		{429, []string{"Date: Sun, 01 Mar 2020 12:00:00 GMT", "Retry-After: Sun, 01 Mar 2020 12:02:00 GMT"}, Throttled, 2 * time.Minute},
		{503, []string{"Date: Sun, 01 Mar 2020 12:00:00 GMT", "Retry-After: Sun, 01 Mar 2020 12:02:00 GMT"}, Throttled, 2 * time.Minute},
		{502, []string{"Retry-After: 9"}, Transient, 9 * time.Second},
		{429, []string{"Date: x", "Retry-After: " + time.Now().Add(72*time.Hour).UTC().Format(http.TimeFormat)}, Throttled, time.Hour},
		{401, []string{"Retry-After: 9"}, Refused, 0},
	}
	for _, test := range tests {
		a, err := testCaller(t, serve(t, reply(test.status, "", test.headers...))).post(t.Context(), request{})
		if err != nil {
			t.Fatal(err)
		}
		if e := wantError(t, a.judge("the password"), test.class); e.RetryAfter != test.want {
			t.Errorf("%d %q waits %v, want %v", test.status, test.headers, e.RetryAfter, test.want)
		}
	}
}

// The texts of errors, whole: each says who, what, and what to do.
func TestTexts(t *testing.T) {
	tests := []struct {
		step   step
		status int
		body   string
		header string
		want   string
	}{
		{login, 401, `{"detail":"Wrong\u001b[31m\npassword"}`, "", `testkind refused the password (HTTP 401 Unauthorized: "Wrong[31m password")`},
		{login, 403, htmlBody, "", `testkind was not reached: something in front of it answered (HTTP 403 Forbidden, an HTML page: "Attention Required!")`},
		{login, 407, "", "", `testkind was not reached: the proxy wants a user and a password (HTTP 407 Proxy Authentication Required, an empty body): correct proxy`},
		{login, 404, "404 page not found\n", "", `testkind did not accept the request to HOST (HTTP 404 Not Found: "404 page not found"): check url and the credential's keys`},
		{login, 429, `[1]`, "", `testkind limits the rate of requests (HTTP 429 Too Many Requests: "[1]")`},
		{login, 500, `{"a":1}`, "", `testkind failed (HTTP 500 Internal Server Error)`},
		{login, 502, "<html></html>", "", `testkind failed (HTTP 502 Bad Gateway, an HTML page)`},
		{login, 502, "\x1f\x8b", "Content-Encoding: gzip", `testkind failed (HTTP 502 Bad Gateway, a body encoded as "gzip")`},
		{login, 200, "opaque-token", "", `testkind answered without a token (HTTP 200 OK, a body that is no JSON object)`},
		{refresh, 401, `{"detail":7,"error":"gone"}`, "", `testkind refused the refresh token (HTTP 401 Unauthorized: "gone")`},
	}
	for _, test := range tests {
		c := testCaller(t, serve(t, reply(test.status, test.body, test.header)))
		c.base.Host, c.Transport = "HOST", redirectTo{c.base.Host, c.Transport}
		a, err := c.post(t.Context(), request{step: test.step})
		if err != nil {
			t.Fatal(err)
		}
		if got := a.judge("the password").Error(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// redirectTo sends requests to another host, so that texts have a fixed one.
type redirectTo struct {
	host string
	http.RoundTripper
}

func (r redirectTo) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Host = r.host
	return r.RoundTripper.RoundTrip(req)
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "5", "-5", "99999999999999999999", "Sun, 01 Mar 2026 12:00:30 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", "-1", "NaN", "1e9", "3600.5", "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 32 Jan 1970 00:00:00 GMT"} {
		f.Add(seed, int64(1772366400))
	}
	f.Fuzz(func(t *testing.T, value string, now int64) {
		if wait := parseRetryAfter(value, time.Unix(now%lastSecond, 0)); wait != 0 && (wait < time.Second || wait > time.Hour) {
			t.Errorf("%q gives %v", value, wait)
		}
	})
}
