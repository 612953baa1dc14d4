package sandbox

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// As in the vendors' pages, without their line breaks and quotes in Python's style.
const (
	etnaNoKey     = `{"error":"Application key is not defined or does not exist"}`
	etnaBad       = `{"State":"Failed","Step":"BaseAuthentication","Reason":"Invalid credentials"}`
	etnaCorrupted = `{"State":"Failed","Step":"VerificationCode","Reason":"Corrupted ticket"}`
	etnaBadPin    = `{"State":"Failed","Step":"SecutityPin","Reason":"Invalid pin"}`
	etnaDeniedAll = `{"Message":"Authorization has been denied for this request."}`

	etnaSucceeded  = `{"State":"Succeeded","Token":"TOKEN"}`
	etnaExpectCode = `{"Step":"VerificationCode","Reason":"Expecting confirmation code","State":"Expecting","Token":"TOKEN"}`
	etnaExpectPin  = `{"Step":"SecutityPin","Reason":"Invalid pin","State":"Expecting","Token":"TOKEN"}`
	etnaRetryCode  = `{"Step":"VerificationCode","Reason":"Invalid confirmation code","State":"Expecting","Token":"TOKEN"}`
)

// etnaLogin is a call of /token with the documents' credentials, unless more says
// otherwise: "Name: value" replaces, "Name" alone leaves out.
func etnaLogin(more ...string) request {
	header := []string{"Accept: application/json", "Et-App-Key: yourEttAppKey", "Username: testusername", "Password: testpassword"}
	for _, line := range more {
		name, _, set := strings.Cut(line, ":")
		for i, old := range header {
			if strings.HasPrefix(old, name+":") {
				header = append(header[:i], header[i+1:]...)
				break
			}
		}
		if set {
			header = append(header, line)
		}
	}
	return request{"POST", "/token", "", header}
}

// one is the knobs with the documents' user and what more it needs.
func one(user EtnaUser) Etna {
	user.Password = "testpassword"
	return Etna{Users: map[string]EtnaUser{"testusername": user}}
}

// expect asserts an answer in which TOKEN stands for any token, and returns that.
func expect(t *testing.T, got response, status int, want string) (token string) {
	t.Helper()
	body := got.body
	if strings.Contains(want, "TOKEN") {
		token = field(t, got.body, "Token")
		body = strings.Replace(body, token, "TOKEN", 1)
		if raw, err := base64.StdEncoding.DecodeString(token); err != nil || len(raw) < 32 {
			t.Errorf("the token is %q (%v), want base64", token, err)
		}
	}
	if got.err != nil || got.status != status || body != want {
		t.Errorf("got %d %s (%v)\nwant %d %s", got.status, got.body, got.err, status, want)
	}
	if want != "" && got.header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("Content-Type is %q", got.header.Get("Content-Type"))
	}
	return token
}

// info is the protected resource of a user.
func info(user string, header ...string) request {
	return request{"GET", "/v1.0/users/" + user + "/info", "", header}
}

func TestEtnaAnswers(t *testing.T) {
	const key = "Et-App-Key: yourEttAppKey"
	missing := func(uri string) string {
		return `{"Message":"No HTTP resource was found that matches the request URI 'http://example.com` + uri + `'."}`
	}
	tests := []struct {
		name   string
		call   request
		status int
		want   string
	}{
		{"login", etnaLogin(), 200, etnaSucceeded},
		{"no key", etnaLogin("Et-App-Key"), 401, etnaNoKey},
		{"wrong key", etnaLogin("Et-App-Key: other"), 401, etnaNoKey},
		{"no password", etnaLogin("Password"), 401, etnaBad},
		{"wrong password", etnaLogin("Password: other"), 401, etnaBad},
		{"no name", etnaLogin("Username"), 401, etnaBad},
		{"unknown name", etnaLogin("Username: other"), 401, etnaBad},
		{"credentials in the body", request{"POST", "/token", `{"Username":"testusername","Password":"testpassword"}`, []string{key}}, 401, etnaBad},
		{"a body beside them", request{"POST", "/token", `rubbish`, etnaLogin().header}, 200, etnaSucceeded},
		{"empty optional headers", etnaLogin("Authorization: ", "PinCode: ", "VerificationCode: "), 200, etnaSucceeded},
		{"a code without a ticket", etnaLogin("VerificationCode: 1"), 401, etnaCorrupted},
		{"a stale token", etnaLogin("Authorization: Bearer x"), 401, etnaCorrupted},
		{"GET", request{"GET", "/token", "", nil}, 405, `{"Message":"The requested resource does not support http method 'GET'."}`},
		{"POST of a user", request{"POST", "/v1.0/users/@me/info", "", nil}, 405, `{"Message":"The requested resource does not support http method 'POST'."}`},
		{"trailing slash", request{"POST", "/token/?a=b", "", nil}, 404, missing("/token/?a=b")},
		{"no user", request{"GET", "/v1.0/users//info", "", nil}, 404, missing("/v1.0/users//info")},
		{"resource without a key", info("@me"), 401, etnaNoKey},
		{"resource without a token", info("@me", key), 401, etnaDeniedAll},
		{"resource with an unknown one", info("@me", key, "Authorization: Bearer x"), 401, etnaDeniedAll},
		{"logout without a token", request{"POST", "/logout", "", []string{key}}, 401, etnaDeniedAll},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := New(Etna{})
			got := record(server, "192.0.2.7:1", test.call)
			expect(t, got, test.status, test.want)
			if allow := got.header.Get("Allow"); (allow != "") != (test.status == 405) || allow == test.call.method {
				t.Errorf("Allow is %q", allow)
			}
			if _, granted := server.Logins(); (granted == 1) != (test.status == 200) {
				t.Errorf("%d logins granted", granted)
			}
		})
	}
}

func TestEtnaTokens(t *testing.T) {
	server := New(Etna{})
	call := start(t, server)
	first, second := expect(t, call(etnaLogin()), 200, etnaSucceeded), expect(t, call(etnaLogin()), 200, etnaSucceeded)
	use := func(user, token, key string) response {
		return call(info(user, "Authorization: Bearer "+token, "Et-App-Key: "+key))
	}
	// The documents' sample, of user 644.
	const robert = `{"UserId":644,"FirstName":"Robert","MiddleName":"","LastName":"Zakiev","Login":"testusername",` +
		`"Email":"someEmail@etnatrader.com","AddedDate":"2019-01-14T12:27:37.6205663Z","Salutation":"NoSalutation","Suffix":"NoSuffix"}`
	expect(t, use("@me", first, "yourEttAppKey"), 200, robert)
	expect(t, use("644", second, "yourEttAppKey"), 200, robert)
	expect(t, use("645", second, "yourEttAppKey"), 401, etnaDeniedAll)
	expect(t, use("@me", first, "other"), 401, etnaNoKey)
	expect(t, call(info("@me", "Authorization: "+first, "Et-App-Key: yourEttAppKey")), 401, etnaDeniedAll)
	logout := call(request{"POST", "/logout", "", []string{"Authorization: Bearer " + first, "Et-App-Key: yourEttAppKey"}})
	expect(t, logout, 200, "")
	expect(t, use("@me", first, "yourEttAppKey"), 401, etnaDeniedAll)
	expect(t, use("@me", second, "yourEttAppKey"), 200, robert)
	server.Revoke()
	expect(t, use("@me", second, "yourEttAppKey"), 401, etnaDeniedAll)
}

func TestEtnaTokenLife(t *testing.T) {
	tests := []struct {
		name  string
		knobs Etna
		uses  []time.Duration // after the login
		want  []int
	}{
		{"an hour", Etna{}, []time.Duration{59 * time.Minute, time.Hour}, []int{200, 401}},
		{"a day", Etna{TTL: 24 * time.Hour}, []time.Duration{time.Hour, 24 * time.Hour}, []int{200, 401}},
		{"an idle hour", Etna{Idle: true}, []time.Duration{59 * time.Minute, 118 * time.Minute, 178 * time.Minute}, []int{200, 200, 401}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := New(test.knobs)
				token := expect(t, record(server, "192.0.2.7:1", etnaLogin()), 200, etnaSucceeded)
				for i, at := range test.uses {
					server.Skew(at)
					got := record(server, "192.0.2.7:1", info("@me", "Authorization: Bearer "+token, "Et-App-Key: yourEttAppKey"))
					if got.status != test.want[i] {
						t.Errorf("after %v: %d %s, want %d", at, got.status, got.body, test.want[i])
					}
				}
			})
		})
	}
}

func TestEtnaRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Etna{Lockout: -1})
		call := func(r request) response { return record(server, "192.0.2.7:1", r) }
		opened := time.Now()
		limits := func(got response, remaining int, reset time.Time) {
			t.Helper()
			want := fmt.Sprintf("10 %d %d", remaining, reset.Unix())
			if limits := got.header.Get("X-RateLimit-Limit") + " " + got.header.Get("X-RateLimit-Remaining") + " " +
				got.header.Get("X-RateLimit-Reset"); limits != want {
				t.Errorf("limit, remaining and reset are %s, want %s", limits, want)
			}
		}
		for i := range 10 {
			got := call(etnaLogin("Password: other"))
			expect(t, got, 401, etnaBad)
			limits(got, 9-i, opened.Add(time.Minute))
		}
		server.Skew(17*time.Second + time.Millisecond)
		got := call(etnaLogin())
		expect(t, got, 429, `{"statusCode":429,"message":"Rate limit is exceeded. Try again in 43 seconds."}`)
		limits(got, 0, opened.Add(time.Minute))
		if got.header.Get("Retry-After") != "43" {
			t.Errorf("Retry-After is %q, want 43", got.header.Get("Retry-After"))
		}
		expect(t, call(etnaLogin("Username: other")), 401, etnaBad) // has a limit of its own
		server.Skew(time.Minute)
		expect(t, call(etnaLogin()), 200, etnaSucceeded)
		server.Set(func(k *Etna) { k.Limit = -1 })
		for range 20 {
			if got := call(etnaLogin()); got.status != 200 || got.header.Get("X-RateLimit-Limit") != "" {
				t.Fatalf("without a limit: %d %s %v", got.status, got.body, got.header)
			}
		}
	})
}

func TestEtnaFaultsInItsOwnWords(t *testing.T) {
	server := New(Etna{})
	call := start(t, server)
	for status, want := range map[int]string{
		401: etnaBad, 500: `{"message":"An error occurred while processing your request"}`,
		429: `{"statusCode":429,"message":"Rate limit is exceeded. Try again in 60 seconds."}`,
	} {
		server.Fail(1, Fault{Status: status})
		expect(t, call(etnaLogin()), status, want)
	}
	server.Fail(1, Fault{Status: 503})
	if got := call(etnaLogin()); got.status != 503 || !strings.Contains(got.body, "<center>nginx</center>") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}
