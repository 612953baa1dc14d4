package sandbox

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// list is the documents' sample of an error list, without its line breaks.
func list(entries ...string) string { return `{"errors":[` + strings.Join(entries, ",") + `]}` }

const (
	error110  = `{"error":110,"message":"JSON is not valid."}`
	error111  = `{"error":111,"message":"Invalid data format (Content-type)."}`
	error1005 = `{"error":1005,"message":"Invalid authorization data."}`
	error1006 = `{"error":1006,"message":"Bad credentials."}`
	error1007 = `{"error":1007,"message":"Your token is invalid."}`
	error1008 = `{"error":1008,"message":"Missing token."}`
	error1009 = `{"error":1009,"message":"Your token is expired."}`
)

func TestNoventiqLoginErrors(t *testing.T) {
	const asJSON = "Content-Type: application/json"
	tests := []struct {
		name, header, body string
		status             int
		want               string
	}{
		{"charset", "Content-Type: application/json; charset=utf-8", noventiqUser, 400, list(error111)},
		{"other case", "Content-Type: Application/JSON", noventiqUser, 400, list(error111)},
		{"form", "Content-Type: application/x-www-form-urlencoded", noventiqUser, 400, list(error111)},
		{"no content type", "Accept: */*", noventiqUser, 400, list(error111)},
		{"no JSON", asJSON, "username=user", 400, list(error110)},
		{"empty body", asJSON, "", 400, list(error110)},
		{"no object", asJSON, `["user"]`, 400, list(error110)},
		{"null", asJSON, "null", 400, list(error110)},
		{"rubbish after it", asJSON, noventiqUser + "x", 400, list(error110)},
		{"neither", "Content-Type: text/plain", "user", 400, list(error110, error111)},
		{"no fields", asJSON, `{}`, 400, list(error1005)},
		{"no password", asJSON, `{"username":"user"}`, 400, list(error1005)},
		{"empty name", asJSON, `{"username":"","password":"1234"}`, 400, list(error1005)},
		{"number", asJSON, `{"username":"user","password":1234}`, 400, list(error1005)},
		{"fields in other case", asJSON, `{"Username":"user","Password":"1234"}`, 400, list(error1005)},
		{"type and fields", "Content-Type: text/plain", `{}`, 400, list(error111, error1005)},
		{"wrong password", asJSON, `{"username":"user","password":"12345"}`, 401, list(error1006)},
		{"unknown user", asJSON, `{"username":"nobody","password":"1234"}`, 401, list(error1006)},
		{"wrong password and type", "Content-Type: text/plain", `{"username":"user","password":"x"}`, 400, list(error111)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := New(Noventiq{})
			got := start(t, server)(request{"POST", noventiqLogin, test.body, []string{test.header}})
			if got.err != nil || got.status != test.status || got.body != test.want {
				t.Errorf("got %d %s (%v)\nwant %d %s", got.status, got.body, got.err, test.status, test.want)
			}
			if got.header.Get("Content-Type") != "application/json" {
				t.Errorf("Content-Type is %q", got.header.Get("Content-Type"))
			}
			if tried, granted := server.Logins(); tried != 1 || granted != 0 {
				t.Errorf("%d logins tried and %d granted, want 1 and 0", tried, granted)
			}
		})
	}
}

func TestNoventiqLogin(t *testing.T) {
	server := New(Noventiq{})
	call := start(t, server)
	got := call(noventiqLoginCall())
	if sample := regexp.MustCompile(`^\{"token":"[0-9a-z]{32}","refresh_token":"[0-9a-f]{19}"\}$`); got.status != 200 || !sample.MatchString(got.body) {
		t.Errorf("got %d %s, want the form of the sample", got.status, got.body)
	}
	if got.header.Get("Cache-Control") != "no-cache, private" {
		t.Errorf("Cache-Control is %q", got.header.Get("Cache-Control"))
	}
	server.Set(func(k *Noventiq) { k.Date, k.AnyCharset, k.Users = true, true, map[string]string{"ann": "pass"} })
	server.Skew(-24 * time.Hour)
	before := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	got = call(request{
		"POST", noventiqLogin, `{"username":"ann","password":"pass"}`,
		[]string{"Content-Type: application/json; charset=utf-8"},
	})
	date := field(t, got.body, "date")
	when, err := time.Parse(time.RFC3339, date)
	if err != nil || !strings.HasSuffix(date, "+00:00") || when.Before(before) || when.After(time.Now().Add(-24*time.Hour)) {
		t.Errorf("date is %s (%v), want a day ago", date, err)
	}
	if !strings.HasPrefix(got.body, `{"date":"`+date+`","token":"`) {
		t.Errorf("got %s, want date, token, refresh_token", got.body)
	}
	if again := call(noventiqLoginCall()); again.status != 401 {
		t.Errorf("the default user is still let in: %d", again.status)
	}
}

func TestNoventiqJWT(t *testing.T) {
	server := New(Noventiq{JWT: true, TTL: time.Hour})
	server.Skew(-10 * time.Minute)
	call := start(t, server)
	token := field(t, call(noventiqLoginCall()).body, "token")
	parsed, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return []byte(defaultKey), nil }, jwt.WithValidMethods([]string{"HS256"}))
	if err != nil {
		t.Fatal(err)
	}
	issued, _ := parsed.Claims.GetIssuedAt()
	expires, _ := parsed.Claims.GetExpirationTime()
	if expires.Sub(issued.Time) != time.Hour || time.Until(expires.Time) > 50*time.Minute {
		t.Errorf("issued %v, expires %v, want an hour by a clock 10 minutes slow", issued, expires)
	}
	if name := parsed.Claims.(jwt.MapClaims)["username"]; name != "user" {
		t.Errorf("username is %v", name)
	}
	if got := order(call, "AuthorizationJWT: Bearer "+token); got.status != 200 {
		t.Errorf("order: %d %s", got.status, got.body)
	}
}

func order(call func(request) response, header string) response {
	return call(request{"GET", "/v1/order/123456", "", []string{header}})
}

func TestNoventiqOrder(t *testing.T) {
	const stock401 = `{"code":401,"message":"%s"}`
	tests := []struct {
		name, header string // TOKEN is replaced
		skew         time.Duration
		status       int
		want, stock  string
	}{
		{"token", "AuthorizationJWT: Bearer TOKEN", 0, 200, `{"order_id":123456,"order_name":"SL-123456","status":"not paid","external_id":"","create_date":"2022-01-01T00:00:00+00:00"}`, ""},
		{"scheme in lower case", "authorizationjwt: bearer TOKEN", 0, 200, "", ""},
		{"near its end", "AuthorizationJWT: Bearer TOKEN", 23*time.Hour + 59*time.Minute, 200, "", ""},
		{"no header", "Accept: */*", 0, 401, list(error1008), "JWT Token not found"},
		{"the usual header", "Authorization: Bearer TOKEN", 0, 401, list(error1008), "JWT Token not found"},
		{"bare token", "AuthorizationJWT: TOKEN", 0, 401, list(error1008), "JWT Token not found"},
		{"two spaces", "AuthorizationJWT: Bearer  TOKEN", 0, 401, list(error1008), "JWT Token not found"},
		{"unknown token", "AuthorizationJWT: Bearer xTOKEN", 0, 401, list(error1007), "Invalid JWT Token"},
		{"expired", "AuthorizationJWT: Bearer TOKEN", 24 * time.Hour, 401, list(error1009), "Expired JWT Token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := New(Noventiq{})
			call := start(t, server)
			token := field(t, call(noventiqLoginCall()).body, "token")
			server.Skew(test.skew)
			got := order(call, strings.Replace(test.header, "TOKEN", token, 1))
			if got.status != test.status || test.want != "" && got.body != test.want {
				t.Errorf("got %d %s\nwant %d %s", got.status, got.body, test.status, test.want)
			}
			if test.stock == "" {
				return
			}
			server.Set(func(k *Noventiq) { k.Stock = true })
			got = order(call, strings.Replace(test.header, "TOKEN", token, 1))
			if got.body != fmt.Sprintf(stock401, test.stock) || got.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("stock: %s %v\nwant %s", got.body, got.header, test.stock)
			}
		})
	}
}

func TestNoventiqSeveralLiveTokens(t *testing.T) {
	server := New(Noventiq{})
	call := start(t, server)
	first := "AuthorizationJWT: Bearer " + field(t, call(noventiqLoginCall()).body, "token")
	second := "AuthorizationJWT: Bearer " + field(t, call(noventiqLoginCall()).body, "token")
	if first == second || order(call, first).status != 200 || order(call, second).status != 200 {
		t.Error("a new token must leave the earlier one valid")
	}
	server.Skew(24*time.Hour + remembered + time.Minute)
	third := "AuthorizationJWT: Bearer " + field(t, call(noventiqLoginCall()).body, "token")
	if got := order(call, first); got.status != 401 || got.body != list(error1007) || len(server.state.grants) != 1 {
		t.Errorf("long expired: %d %s, and %d tokens remembered, want 1", got.status, got.body, len(server.state.grants))
	}
	server.Revoke()
	if got := order(call, third); got.status != 401 || got.body != list(error1007) {
		t.Errorf("revoked: %d %s", got.status, got.body)
	}
}

func TestNoventiqOtherErrorForms(t *testing.T) {
	server := New(Noventiq{TextCodes: true})
	call := start(t, server)
	wrong := noventiqLoginCall()
	wrong.body = `{"username":"user","password":"x"}`
	if got := call(wrong); got.body != `{"errors":[{"error":"1006","message":"Bad credentials."}]}` {
		t.Errorf("with text codes: %s", got.body)
	}
	server.Set(func(k *Noventiq) { k.Stock = true })
	if got := call(wrong); got.status != 401 || got.body != `{"code":401,"message":"Invalid credentials."}` ||
		got.header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("stock: %d %s %v", got.status, got.body, got.header)
	}
}

func TestNoventiqPages(t *testing.T) {
	tests := []struct {
		method, path, allow string
		status              int
		fault               Fault
	}{
		{"POST", "/v1/login", "", 404, Fault{}},
		{"POST", "/v1/login_check/", "", 404, Fault{}},
		{"GET", "/", "", 404, Fault{}},
		{"GET", "/v1/order/abc", "", 404, Fault{}},
		{"GET", "/v1/order/0", "", 404, Fault{}},
		{"GET", "/v1/order/", "", 404, Fault{}},
		{"GET", noventiqLogin, "POST", 405, Fault{}},
		{"PUT", noventiqLogin, "POST", 405, Fault{}},
		{"DELETE", "/v1/order/5", "GET", 405, Fault{}},
		{"POST", noventiqLogin, "", 500, Fault{Status: 500}},
		{"POST", noventiqLogin, "", 503, Fault{Status: 503}},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.method, test.path, test.status), func(t *testing.T) {
			server := New(Noventiq{})
			if test.fault.Status != 0 {
				server.Fail(1, test.fault)
			}
			got := start(t, server)(request{test.method, test.path, noventiqUser, []string{"Accept: application/json"}})
			if got.status != test.status || got.header.Get("Content-Type") != "text/html; charset=UTF-8" || got.header.Get("Allow") != test.allow {
				t.Errorf("got %d %v, want %d, HTML, Allow %q", got.status, got.header, test.status, test.allow)
			}
			if !strings.HasPrefix(got.body, "<!DOCTYPE html>\n") || !strings.Contains(got.body, fmt.Sprintf(`The server returned a "%d `, test.status)) {
				t.Errorf("body: %s", got.body)
			}
		})
	}
}

func TestNoventiqFaultsInItsOwnWords(t *testing.T) {
	server := New(Noventiq{})
	call := start(t, server)
	for status, want := range map[int]string{400: list(error1005), 401: list(error1006)} {
		server.Fail(1, Fault{Status: status})
		if got := call(noventiqLoginCall()); got.status != status || got.body != want {
			t.Errorf("got %d %s, want %d %s", got.status, got.body, status, want)
		}
	}
}
