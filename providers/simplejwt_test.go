package providers

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// The documented answer of the exchanger; its tokens ended in 2024.
const (
	simplejwtSampleRefresh = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTcyNTAzNTUzMiwiaWF0IjoxNzI0OTQ5MTMyLCJqdGkiOiI4Y2U1OTY0NmYxZDY0NzY5ODM5NGM1ZjNlOTIwNTNiYSIsInVzZXJfaWQiOjIwNjY2MSwicm9sZXMiOltdLCJpcF9hZGRyZXNzIjoiNDYuMjQ2LjkzLjIxNyJ9.52ODXJPkNtWx6FdUFUlFiKpVgvARe5OjZU8KvkhZLvw"
	simplejwtSampleAccess  = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoiYWNjZXNzIiwiZXhwIjoxNzI0OTQ5MTkyLCJpYXQiOjE3MjQ5NDkxMzIsImp0aSI6IjRlNmNjNWEzZTI5MjRmNThhNzA4ZDEwMTUxMmMzMTYzIiwidXNlcl9pZCI6MjA2NjYxLCJyb2xlcyI6W10sImlwX2FkZHJlc3MiOiI0Ni4yNDYuOTMuMjE3In0.MURebFOrrVC_BiAgUCBoBzH1mNE4GPBRGy-Y6u-z8PM"
)

// simplejwtToken has the sample's claims at other times.
func simplejwtToken(kind string, issued time.Time, exp time.Duration) string {
	return testJWT(fmt.Sprintf(`{"token_type":%q,"exp":%d,"iat":%d,"jti":"4e6cc5a3e2924f58a708d101512c3163","user_id":206661,"roles":[],"ip_address":"46.246.93.217"}`,
		kind, time.Now().Add(exp).Unix(), issued.Unix()))
}

func simplejwtPair(access, refresh string) string {
	return fmt.Sprintf("{\n    \"refresh\": %q,\n    \"access\": %q\n}", refresh, access)
}

func simplejwtAt(t *testing.T, url string, change ...func(*Settings)) Refresher {
	t.Helper()
	kind, _ := Lookup("simplejwt")
	settings := testSettings(t, url)
	settings.Values = map[string]string{"email": "ops@example.com"}
	for _, f := range change {
		f(&settings)
	}
	p, err := kind.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	return p.(Refresher)
}

const simplejwtOld = "old-refresh-token-of-the-test"

// simplejwtTry makes a login or a refresh against one answer.
func simplejwtTry(t *testing.T, step step, p Refresher) (Token, error) {
	if step == refresh {
		return Refresh(t.Context(), p, Token{Refresh: NewSecret(simplejwtOld)})
	}
	return Login(t.Context(), p, nil)
}

func TestSimpleJWTRequest(t *testing.T) {
	email := map[string]string{"email": "ops@example.com"}
	tests := []struct {
		name         string
		step         step
		values, want map[string]string
		path         string
	}{
		{"email", login, email, map[string]string{"email": "ops@example.com", "password": testPassword}, "/api/token/"},
		{"username", login, map[string]string{"username": "ops"}, map[string]string{"username": "ops", "password": testPassword}, "/api/token/"},
		{"field", login, map[string]string{"username": "ops", "username_field": "login"}, map[string]string{"login": "ops", "password": testPassword}, "/api/token/"},
		{"refresh", refresh, email, map[string]string{"refresh": simplejwtOld}, "/api/token/refresh/"},
	}
	for _, test := range tests {
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			want, _ := json.Marshal(test.want)
			if r.Method != "POST" || r.RequestURI != test.path || string(body) != string(want) {
				t.Errorf("%s: request is %s %s %s", test.name, r.Method, r.RequestURI, body)
			}
			if got := r.Header.Values("Content-Type"); !slices.Equal(got, []string{"application/json"}) || r.Header["Authorization"] != nil {
				t.Errorf("%s: headers are %v", test.name, r.Header)
			}
			reply(200, simplejwtPair("abc", "def"))(w, r)
		})
		p := simplejwtAt(t, url+"/api/", func(s *Settings) { s.Values = test.values })
		if token, err := simplejwtTry(t, test.step, p); err != nil || token.Value.Reveal() != "abc" || token.Refresh.Reveal() != "def" {
			t.Errorf("%s: token %q and %q, error %v", test.name, token.Value.Reveal(), token.Refresh.Reveal(), err)
		}
	}
}

func TestSimpleJWTDocumentedTokens(t *testing.T) {
	// In 2024 they would have been good for a minute and a day.
	url := serve(t, reply(200, simplejwtPair(simplejwtSampleAccess, simplejwtSampleRefresh)))
	_, err := Login(t.Context(), simplejwtAt(t, url), nil)
	wantError(t, err, Malformed, "simplejwt answered with a token that expired at 2024-08-29T16:33:12Z", "check both clocks")
	exp, stated, err := jwtExpiry(simplejwtSampleRefresh)
	if want := time.Unix(1725035532, 0); err != nil || !stated || !exp.Equal(want) {
		t.Errorf("the refresh token ends at %v, want %v", exp, want)
	}
}

func TestSimpleJWTLifetimes(t *testing.T) {
	now := time.Now()
	access := func(exp time.Duration) string { return simplejwtToken("access", now, exp) }
	day := simplejwtToken("refresh", now, 24*time.Hour)
	tests := []struct {
		name, body, date   string
		ttl, want, refresh time.Duration // refresh: 0 for none
	}{
		{"a minute and a day", simplejwtPair(access(time.Minute), day), "", 0, time.Minute, 24 * time.Hour},
		{"exp decides, not exp minus iat", simplejwtPair(simplejwtToken("access", now.Add(-20*time.Hour), time.Minute), day), "", 0, time.Minute, 24 * time.Hour},
		{"a month", simplejwtPair(access(30*24*time.Hour), day), "", 0, 30 * 24 * time.Hour, 24 * time.Hour},
		{"a refresh token of a week", simplejwtPair(access(time.Minute), simplejwtToken("refresh", now, 7*24*time.Hour)), "", 0, time.Minute, 7 * 24 * time.Hour},
		{"ttl is a cap", simplejwtPair(access(time.Hour), day), "", 10 * time.Minute, 10 * time.Minute, 24 * time.Hour},
		{"opaque", simplejwtPair("abc", "def"), "", 0, 5 * time.Minute, 24 * time.Hour},
		{"opaque, ttl", simplejwtPair("abc", "def"), "", 2 * time.Minute, 2 * time.Minute, 24 * time.Hour},
		{"JWT without exp", simplejwtPair(testJWT(`{"iat":1}`), testJWT(`{"iat":1}`)), "", 0, 5 * time.Minute, 24 * time.Hour},
		{"no refresh token", `{"access":"abc"}`, "", 0, 5 * time.Minute, 0},
		{"null refresh token", `{"access":"abc","refresh":null}`, "", 0, 5 * time.Minute, 0},
		{"odd refresh token", `{"access":"abc","refresh":["x"]}`, "", 0, 5 * time.Minute, 0},
		{"odd exp of the refresh token", simplejwtPair("abc", testJWT(`{"exp":"x"}`)), "", 0, 5 * time.Minute, 24 * time.Hour},
		{
			"their clock is an hour ahead", simplejwtPair(access(61*time.Minute), simplejwtToken("refresh", now, 25*time.Hour)),
			now.Add(time.Hour).UTC().Format(http.TimeFormat), 0, time.Minute, 24 * time.Hour,
		},
	}
	for _, test := range tests {
		for _, step := range []step{login, refresh} {
			answer := reply(200, test.body)
			if test.date != "" {
				answer = reply(200, test.body, "Date: "+test.date)
			}
			token, err := simplejwtTry(t, step, simplejwtAt(t, serve(t, answer), func(s *Settings) { s.TTL = test.ttl }))
			// The clocks are compared by the second.
			if off := token.Expires.Sub(token.Issued) - test.want; err != nil || off.Abs() > 10*time.Second {
				t.Errorf("%s, %d: lives %v, error %v", test.name, step, token.Expires.Sub(token.Issued), err)
			}
			if test.refresh == 0 {
				if !token.Refresh.Empty() || !token.RefreshExpires.IsZero() {
					t.Errorf("%s, %d: a refresh token until %v", test.name, step, token.RefreshExpires)
				}
			} else if off := token.RefreshExpires.Sub(token.Issued) - test.refresh; off.Abs() > 10*time.Second || token.Refresh.Empty() {
				t.Errorf("%s, %d: the refresh token lives %v", test.name, step, token.RefreshExpires.Sub(token.Issued))
			}
		}
	}
}

const (
	simplejwtMissing = "{\n    \"email\": [\n        \"Обязательное поле.\"\n    ],\n    \"password\": [\n        \"Обязательное поле.\"\n    ]\n}"
	simplejwtNobody  = "{\n    \"detail\": \"Не найдено активной учетной записи с указанными данными\"\n}"
	simplejwtInvalid = `{"detail":"Token is invalid or expired","code":"token_not_valid"}`
)

// simplejwtLogins are the answers to a login, and what both calls may be answered.
var simplejwtLogins = []answerTest{
	{400, simplejwtMissing, "", Misconfigured, 0, `simplejwt did not accept the request (HTTP 400 Bad Request: "email: Обязательное поле.; password: Обязательное поле."): check email, username_field and password`},
	{400, `{"f":["1"],"e":["2"],"d":["3"],"c":["4"],"b":"5","a":["6"]}`, "", Misconfigured, 0, `"a: 6; c: 4; d: 3; e: 2; f: 1"`},
	{400, `{"non_field_errors":["a","b"]}`, "", Misconfigured, 0, `"non_field_errors: a b"`},
	{400, `{"email":["` + strings.Repeat("x", 500) + `"]}`, "", Misconfigured, 0, `xxx…"): check`},
	{400, `{"detail":"JSON parse error - Expecting value: line 1 column 1 (char 0)"}`, "", Misconfigured, 0, "JSON parse error - Expecting value"},
	{400, htmlBody, "", Misconfigured, 0, "HTTP 400"},
	{401, simplejwtNobody, `WWW-Authenticate: Bearer realm="api"`, Refused, 0, `simplejwt refused the email and password (HTTP 401 Unauthorized: "Не найдено активной учетной записи с указанными данными"): correct them, or have the account activated`},
	{401, ``, "", Refused, 0, "an empty body"},
	{401, htmlBody, "", Blocked, 0, "something in front of it"},
	{403, `{"detail":"Vous n'avez pas la permission d'effectuer cette action."}`, "", Refused, 0, "refused the email and password (HTTP 403"},
	{403, htmlBody, "", Blocked, 0, "something in front of it"},
	{404, `{"detail":"Not found."}`, "", Misconfigured, 0, "check url"},
	{404, htmlBody, "", Misconfigured, 0, "check url"},
	{405, `{"detail":"Method \"POST\" not allowed."}`, "", Misconfigured, 0, "check url"},
	{406, `{"detail":"x"}`, "", Misconfigured, 0, "check url"},
	{415, `{"detail":"Unsupported media type"}`, "", Misconfigured, 0, "check url"},
}

var simplejwtBoth = []answerTest{
	{301, ``, "Location: /token", Misconfigured, 0, "redirects to another path of http://127.0.0.1"},
	{302, ``, "Location: https://exchanger.example/token/?next=x", Misconfigured, 0, "redirects to https://exchanger.example (HTTP 302 Found, an empty body): no redirect is followed with secrets; url may want https, or another path before /token/"},
	{307, ``, "Location: /token", Misconfigured, 0, "no redirect is followed"},
	{308, ``, "Location: /token", Misconfigured, 0, "no redirect is followed"},
	{429, `{"detail":"Request was throttled. Expected available in 17 seconds."}`, "Retry-After: 17", Throttled, 17 * time.Second, "limits the rate"},
	{429, `{"detail":"Запрос был проигнорирован."}`, "", Throttled, time.Minute, "limits the rate"},
	{500, htmlBody, "", Transient, 0, "HTTP 500"},
	{502, htmlBody, "", Transient, 0, "HTTP 502"},
	{503, ``, "", Transient, 0, "HTTP 503"},
	{503, ``, "Retry-After: 9", Throttled, 9 * time.Second, "HTTP 503"},
	{504, htmlBody, "", Transient, 0, "HTTP 504"},
	{200, `{"refresh":"` + simplejwtOld + `"}`, "", Malformed, 0, "there is none"},
	{200, `{"token":"abc"}`, "", Malformed, 0, "there is none"},
	{200, `{"access":7}`, "", Malformed, 0, `"access" is not a string`},
	{200, `{"access":"a b"}`, "", Malformed, 0, "0x20"},
	{200, htmlBody, "", Malformed, 0, "an HTML page"},
}

var simplejwtRefreshes = []answerTest{
	{401, simplejwtInvalid, "", RefreshRefused, 0, `simplejwt refused the refresh token (HTTP 401 Unauthorized: "Token is invalid or expired")`},
	{401, `{"detail":"Токен занесен в черный список","code":"token_not_valid"}`, "", RefreshRefused, 0, "refused the refresh token"},
	{401, simplejwtNobody, "", RefreshRefused, 0, "refused the refresh token"},
	{401, htmlBody, "", Blocked, 0, "something in front of it"},
	{403, `{"detail":"x"}`, "", RefreshRefused, 0, "refused the refresh token"},
	{400, `{"refresh":["This field may not be blank."]}`, "", RefreshRefused, 0, `simplejwt refused the refresh token (HTTP 400 Bad Request: "refresh: This field may not be blank.")`},
	{404, `{"detail":"No User matches the given query."}`, "", RefreshRefused, 0, "refused the refresh token"},
	{404, htmlBody, "Content-Type: text/html", NoRefresh, 0, `simplejwt has no /token/refresh/ (HTTP 404 Not Found, an HTML page: "Attention Required!"): every renewal will be a login`},
	{404, ``, "", RefreshRefused, 0, "refused the refresh token"},
	{405, `{"detail":"x"}`, "", Misconfigured, 0, "check url"},
	{401, `{"detail":"no ` + simplejwtOld + ` here","code":"token_not_valid"}`, "", RefreshRefused, 0, `"[withheld: it repeats a secret]"`},
	{400, `{"refresh":["` + simplejwtOld + `"]}`, "", RefreshRefused, 0, `"[withheld: it repeats a secret]"`},
}

func TestSimpleJWTErrors(t *testing.T) {
	echo := answerTest{400, `{"` + `pa\"ss <w&rd>/ü 1` + `":["` + `pa\"ss <w&rd>/ü 1` + `"]}`, "", Misconfigured, 0, `"[withheld: it repeats a secret]"`}
	for step, tests := range map[step][]answerTest{
		login:   slices.Concat(simplejwtLogins, simplejwtBoth, []answerTest{echo}),
		refresh: slices.Concat(simplejwtRefreshes, simplejwtBoth[2:]),
	} {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%d %s", step, test.name()), func(t *testing.T) {
				_, err := simplejwtTry(t, step, simplejwtAt(t, serve(t, reply(test.status, test.body, test.header))))
				e := wantError(t, err, test.class, test.text)
				if e.RetryAfter != test.wait || e.Status != test.status || !e.Sent || strings.Contains(e.Error(), simplejwtOld) {
					t.Errorf("waits %v, want %v; status %d, sent %v, text %s", e.RetryAfter, test.wait, e.Status, e.Sent, e)
				}
			})
		}
	}
}

func TestSimpleJWTSettings(t *testing.T) {
	kind, _ := Lookup("simplejwt")
	tests := []struct {
		values map[string]string
		want   string
	}{
		{map[string]string{}, "email: missing, as are the keys that may stand for it"},
		{map[string]string{"email": "a", "username": "b"}, "username: given beside email, which stands for the same"},
		{map[string]string{"email": "a", "username_field": "password"}, "username_field: password is the field of the password"},
	}
	for _, test := range tests {
		s := testSettings(t, "https://api.example")
		s.Values = test.values
		if _, err := kind.New(s); err == nil || err.Error() != test.want {
			t.Errorf("%v: error is %v", test.values, err)
		}
	}
}

func FuzzSimpleJWTAnswer(f *testing.F) {
	const secret = "Zx-secret-of-simplejwt-Zx"
	for _, body := range []string{
		simplejwtPair(simplejwtSampleAccess, simplejwtSampleRefresh), simplejwtPair(testJWT(`{"exp":4000000000}`), "x"), `{"access":"a","refresh":7}`,
		simplejwtMissing, simplejwtNobody, simplejwtInvalid, `{"` + secret + `":["` + secret + `"],"a":["\n"]}`, htmlBody, "",
	} {
		for _, status := range []int{200, 301, 400, 401, 404, 429} {
			f.Add(status, "application/json", "Sun, 01 Mar 2026 12:00:30 GMT", "5", []byte(body))
		}
	}
	for _, body := range hostileBodies("simplejwt") {
		f.Add(200, "application/json", "Sun, 01 Mar 2026 12:00:30 GMT", "-1", body)
	}
	f.Fuzz(func(t *testing.T, status int, kind, date, wait string, body []byte) {
		settings := Settings{
			URL: "https://api.example", Values: map[string]string{"email": "user"},
			Secrets:   map[string]Secret{"password": NewSecret(secret)},
			Transport: canned{status, fuzzHeader(kind, date, wait), body},
		}
		fuzzAnswer(t, "simplejwt", secret, settings, 365*24*time.Hour)
		k, _ := Lookup("simplejwt")
		settings.Secrets = map[string]Secret{"password": NewSecret("Zx-password-Zx")}
		p, err := k.New(settings)
		if err != nil {
			t.Fatal(err)
		}
		fuzzOutcome(t, secret, 365*24*time.Hour, func() (Token, error) {
			return p.(Refresher).Refresh(t.Context(), Token{Refresh: NewSecret(secret)})
		})
	})
}
