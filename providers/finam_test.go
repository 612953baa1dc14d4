package providers

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const finamSecret = "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiI3In0.c2VjcmV0"

func finamAt(t *testing.T, url string, change ...func(*Settings)) Provider {
	t.Helper()
	kind, _ := Lookup("finam")
	settings := testSettings(t, url, change...)
	settings.Secrets = map[string]Secret{"secret": NewSecret(finamSecret)}
	p, err := kind.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFinamRequest(t *testing.T) {
	token := testJWT(fmt.Sprintf(`{"exp":%d}`, time.Now().Add(15*time.Minute).Unix()))
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != "POST" || r.RequestURI != "/v1/sessions" || string(body) != `{"secret":"`+finamSecret+`"}` {
			t.Errorf("request is %s %s %s", r.Method, r.RequestURI, body)
		}
		if got := r.Header.Values("Content-Type"); len(got) != 1 || got[0] != "application/json" {
			t.Errorf("content type is %q", got)
		}
		if _, sent := r.Header["Authorization"]; sent {
			t.Error("an Authorization header was sent")
		}
		reply(200, `{"token":"`+token+`"}`)(w, r)
	})
	p := finamAt(t, url)
	for range 2 { // the second must not carry the first's token
		got, err := Login(t.Context(), p, nil)
		if err != nil || got.Value.Reveal() != token || !got.Refresh.Empty() || !got.RefreshExpires.IsZero() {
			t.Fatalf("token %v, error %v", got, err)
		}
		if left := time.Until(got.Expires); left < 13*time.Minute || left > 15*time.Minute {
			t.Errorf("%v are left", left)
		}
	}
}

func TestFinamLifetime(t *testing.T) {
	tests := []struct {
		name, token string
		ttl, want   time.Duration
	}{
		{"documented sample", "string", 0, 15 * time.Minute},
		{"opaque, ttl", "string", 5 * time.Minute, 5 * time.Minute},
		{"a year", testJWT(fmt.Sprintf(`{"exp":%d}`, time.Now().Add(8760*time.Hour).Unix())), 0, 24 * time.Hour},
	}
	for _, test := range tests {
		url := serve(t, reply(200, `{"token":"`+test.token+`"}`))
		token, err := Login(t.Context(), finamAt(t, url, func(s *Settings) { s.TTL = test.ttl }), nil)
		if err != nil || token.Expires.Sub(token.Issued) != test.want {
			t.Errorf("%s: lives %v, error %v", test.name, token.Expires.Sub(token.Issued), err)
		}
	}
}

// answerTest is an answer without a token, and the error that it makes.
type answerTest struct {
	status int
	body   string
	header string
	class  Class
	wait   time.Duration
	text   string
}

func (test answerTest) name() string {
	return fmt.Sprintf("%d %.40q %s", test.status, test.body, test.header)
}

const finamExpired = `{"code":16,"message":"Срок действия токена истек или токен недействителен","details":[]}`

// finamStatus is a google.rpc.Status.
func finamStatus(code int) string { return fmt.Sprintf(`{"code":%d,"message":"m","details":[]}`, code) }

var finamErrors = []answerTest{
	{401, finamExpired, "", Refused, 0, `finam refused the API secret (HTTP 401, code 16: "Срок действия токена истек или токен недействителен"): make a new one in the portal`},
	{404, `{"code":5,"message":"Счёт не был найден в токене","details":[]}`, "", Refused, 0, `finam knows no account for the API secret (HTTP 404, code 5: "Счёт не был найден в токене"): check the account in the portal, and url`},
	{429, `{"code":8,"message":"Слишком много запросов","details":[]}`, "", Throttled, time.Minute, `finam limits the rate of requests (HTTP 429, code 8: "Слишком много запросов"); 200 a minute are allowed`},
	{500, `{"code":13,"message":"Внутренняя ошибка","details":[]}`, "", Transient, 0, `finam failed (HTTP 500 Internal Server Error: "Внутренняя ошибка")`},
	{503, finamStatus(14), "", Transient, 0, "HTTP 503"},
	{503, finamStatus(14), "Retry-After: 20", Throttled, 20 * time.Second, "HTTP 503"},
	{504, finamStatus(4), "", Transient, 0, "HTTP 504"},
	{400, finamStatus(3), "", Refused, 0, "refused the API secret (HTTP 400, code 3"},
	{400, finamStatus(9), "", Refused, 0, "code 9"},
	{400, finamStatus(11), "", Refused, 0, "code 11"},
	{403, finamStatus(7), "", Refused, 0, "code 7"},
	{408, finamStatus(1), "", Transient, 0, "HTTP 408"},
	{499, finamStatus(1), "", Transient, 0, "HTTP 499"},
	{500, finamStatus(2), "", Transient, 0, "HTTP 500"},
	{500, finamStatus(15), "", Transient, 0, "HTTP 500"},
	{501, finamStatus(12), "", Misconfigured, 0, "check url"},
	{409, finamStatus(6), "", Transient, 0, "HTTP 409"},
	{409, finamStatus(10), "", Transient, 0, "HTTP 409"},
	{404, finamStatus(12), "", Misconfigured, 0, "check url"},
	{404, finamStatus(0), "", Misconfigured, 0, "check url"},
	{404, "", "", Misconfigured, 0, "check url"},
	{404, "404 page not found\n", "", Misconfigured, 0, `"404 page not found"): check url`},
	{404, htmlBody, "", Misconfigured, 0, "check url"},
	{404, `{"message":"no Route matched"}`, "", Misconfigured, 0, `"no Route matched"`},
	{401, `{"code":"16"}`, "", Refused, 0, "finam refused the API secret (HTTP 401, code 16): "},
	{401, `{"code":99,"message":"m"}`, "", Refused, 0, "code 99"},
	{401, `{"message":"Unauthorized"}`, "", Refused, 0, `HTTP 401 Unauthorized: "Unauthorized"`},
	{401, ``, "", Refused, 0, "an empty body"},
	// What comes from something in front of the API is never final.
	{400, htmlBody, "", Blocked, 0, "Attention Required!"},
	{401, htmlBody, "", Blocked, 0, "Attention Required!"},
	{403, htmlBody, "", Blocked, 0, "Attention Required!"},
	{405, htmlBody, "", Blocked, 0, "Attention Required!"},
	{501, htmlBody, "", Blocked, 0, "Attention Required!"},
	{401, "upstream says no", "Content-Type: text/plain", Blocked, 0, `"upstream says no"`},
	{502, htmlBody, "", Transient, 0, "Attention Required!"},
	{429, htmlBody, "", Throttled, time.Minute, "Attention Required!"},
	// A code is believed only as far as its status.
	{500, finamStatus(16), "", Transient, 0, "HTTP 500"},
	{503, finamStatus(3), "", Transient, 0, "HTTP 503"},
	{429, finamStatus(16), "", Throttled, time.Minute, "HTTP 429"},
	{500, finamStatus(8), "", Throttled, time.Minute, "HTTP 500"},
	{403, finamStatus(8), "", Throttled, time.Minute, "HTTP 403"},
	{400, finamStatus(14), "", Transient, 0, "HTTP 400"},
	{301, finamStatus(16), "", Misconfigured, 0, "redirects"},
	{407, finamStatus(16), "", Misconfigured, 0, "the proxy wants"},
	// What it asks for.
	{429, finamStatus(8), "Retry-After: 5", Throttled, 5 * time.Second, "code 8"},
	{429, finamStatus(8), "Grpc-Metadata-Grpc-Retry-Pushback-Ms: 2500", Throttled, 2500 * time.Millisecond, "code 8"},
	{503, finamStatus(14), "Grpc-Trailer-Grpc-Retry-Pushback-Ms: 90000", Transient, 90 * time.Second, "HTTP 503"},
	{429, finamStatus(8), "Grpc-Retry-Pushback-Ms: -1", Throttled, time.Hour, "code 8"},
	{429, finamStatus(8), "Grpc-Retry-Pushback-Ms: 99999999999", Throttled, time.Hour, "code 8"},
	{429, finamStatus(8), "Grpc-Retry-Pushback-Ms: 0", Throttled, time.Second, "code 8"},
	{429, finamStatus(8), "Grpc-Retry-Pushback-Ms: soon", Throttled, time.Minute, "code 8"},
	// Successes that are none.
	{200, `{}`, "", Malformed, 0, "there is none"},
	{200, `{"token":""}`, "", Malformed, 0, "there is none"},
	{200, `{"token":["string"]}`, "", Malformed, 0, "is not a string"},
	{200, htmlBody, "", Malformed, 0, "an HTML page"},
	{204, ``, "", Malformed, 0, "an empty body"},
	// It may repeat what it was given.
	{401, `{"code":16,"message":"bad secret ` + finamSecret + `"}`, "", Refused, 0, `"[withheld: it repeats a secret]"`},
}

func TestFinamErrors(t *testing.T) {
	for _, test := range finamErrors {
		t.Run(test.name(), func(t *testing.T) {
			_, err := Login(t.Context(), finamAt(t, serve(t, reply(test.status, test.body, test.header))), nil)
			e := wantError(t, err, test.class, test.text)
			if e.RetryAfter != test.wait || e.Status != test.status {
				t.Errorf("waits %v, want %v; status %d", e.RetryAfter, test.wait, e.Status)
			}
		})
	}
}

func TestFinamDefaultURL(t *testing.T) {
	p := finamAt(t, "")
	if got := p.(*finam).base.String(); got != "https://api.finam.ru" {
		t.Errorf("base is %s", got)
	}
}

// canned answers every request without a network.
type canned struct {
	status int
	header http.Header
	body   []byte
}

func (c canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: c.status, Header: c.header, Body: io.NopCloser(strings.NewReader(string(c.body)))}, nil
}

// fuzzAnswer checks what holds for any answer of any provider.
func fuzzAnswer(t *testing.T, kind, secret string, settings Settings, longest time.Duration) {
	k, _ := Lookup(kind)
	p, err := k.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	fuzzOutcome(t, secret, longest, func() (Token, error) { return p.Login(t.Context(), nil) }) // without the guard, so that a panic is one
}

// fuzzOutcome checks what holds for the outcome of any renewal.
func fuzzOutcome(t *testing.T, secret string, longest time.Duration, renew func() (Token, error)) {
	t.Helper()
	before := time.Now()
	token, err := renew()
	if err == nil {
		if checkToken(token.Value.Reveal()) != nil || len(token.Refresh.Reveal()) > maxToken || !token.Expires.After(before) || token.Expires.After(time.Now().Add(longest)) {
			t.Errorf("token %q expires %v", token.Value.Reveal(), token.Expires)
		}
		return
	}
	text := err.Error()
	switch e := err.(type) { //nolint:errorlint // it is the promise that is tested
	case *Challenge:
		text = e.Step + e.Prompt
		if e.Step == "" || e.Ticket.Empty() || !e.Expires.After(before) {
			t.Errorf("challenge is %+v", e)
		}
	case *Error:
		if e.RetryAfter != 0 && (e.RetryAfter < time.Second || e.RetryAfter > time.Hour) || strings.HasPrefix(e.Class.String(), "class-") {
			t.Errorf("%v waits %v", e.Class, e.RetryAfter)
		}
	default:
		t.Fatalf("error is %T", err)
	}
	if token != (Token{}) {
		t.Errorf("token %v beside an error", token)
	}
	if strings.Contains(text, secret) || strip(text) != text || len(text) > 4*maxForeign+500 {
		t.Errorf("text is %q", text)
	}
}

func fuzzHeader(kind, date, wait string) http.Header {
	return http.Header{"Content-Type": {kind}, "Date": {date}, "Retry-After": {wait}, "Location": {wait}, "Grpc-Retry-Pushback-Ms": {wait}}
}

func FuzzFinamAnswer(f *testing.F) {
	const secret = "Zx-secret-of-finam-Zx"
	for _, body := range []string{
		`{"token":"string"}`, `{"token":"` + testJWT(`{"exp":4000000000}`) + `"}`, `{"code":16,"message":"` + secret + `"}`,
		`{"code":5}`, `{"code":"8"}`, htmlBody, `{"token":"\n"}`, `[`, "", `{"message":"Zx-sec\u200bret-of-finam-Zx"}`,
	} {
		for _, status := range []int{200, 401, 404, 429, 503} {
			f.Add(status, "application/json", "Sun, 01 Mar 2026 12:00:30 GMT", "5", []byte(body))
		}
	}
	for _, body := range hostileBodies("finam") {
		f.Add(200, "application/json", "Sun, 01 Mar 2026 12:00:30 GMT", "-1", body)
	}
	f.Fuzz(func(t *testing.T, status int, kind, date, wait string, body []byte) {
		fuzzAnswer(t, "finam", secret, Settings{
			Secrets:   map[string]Secret{"secret": NewSecret(secret)},
			Transport: canned{status, fuzzHeader(kind, date, wait), body},
		}, 24*time.Hour)
	})
}
