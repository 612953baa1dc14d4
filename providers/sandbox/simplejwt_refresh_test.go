package sandbox

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	simpleBlack = `{"detail":"Токен занесен в черный список","code":"token_not_valid"}`
	simpleType  = `{"detail":"Токен имеет неправильный тип","code":"token_not_valid"}`
)

func TestSimpleJWTRefreshErrors(t *testing.T) {
	tests := []struct {
		name, path, body string
		skew             time.Duration
		status           int
		want             string
	}{
		{"nothing", "/token/refresh/", `{}`, 0, 400, `{"refresh":["Обязательное поле."]}`},
		{"rubbish", "/token/refresh/", `{"refresh":"x"}`, 0, 401, simpleInvalid},
		{"access token", "/token/refresh/", `{"refresh":"ACCESS"}`, 0, 401, simpleType},
		{"expired", "/token/refresh/", `{"refresh":"REFRESH"}`, 24 * time.Hour, 401, simpleInvalid},
		{"long expired", "/token/refresh/", `{"refresh":"REFRESH"}`, 240 * time.Hour, 401, simpleInvalid},
		{"verify nothing", "/token/verify/", `{"refresh":"REFRESH"}`, 0, 400, `{"token":["Обязательное поле."]}`},
		{"verify rubbish", "/token/verify/", `{"token":"x"}`, 0, 401, simpleInvalid},
		{"verify refresh", "/token/verify/", `{"token":"REFRESH"}`, 0, 200, `{}`},
		{"verify access", "/token/verify/", `{"token":"ACCESS"}`, 0, 200, `{}`},
		{"verify expired", "/token/verify/", `{"token":"ACCESS"}`, time.Minute, 401, simpleInvalid},
		{"blacklist access", "/token/blacklist/", `{"refresh":"ACCESS"}`, 0, 401, simpleType},
		{"blacklist", "/token/blacklist/", `{"refresh":"REFRESH"}`, 0, 200, `{}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := New(SimpleJWT{})
			call := start(t, server)
			refresh, access := obtain(t, call)
			server.Skew(test.skew)
			got := call(tokenCall(test.path, strings.NewReplacer("REFRESH", refresh, "ACCESS", access).Replace(test.body)))
			if got.status != test.status || got.body != test.want {
				t.Errorf("got %d %s\nwant %d %s", got.status, got.body, test.status, test.want)
			}
			if challenge := got.header.Get("WWW-Authenticate"); (challenge == `Bearer realm="api"`) != (test.status == 401) {
				t.Errorf("WWW-Authenticate is %q", challenge)
			}
		})
	}
}

func TestSimpleJWTRefreshKeepsTheClaims(t *testing.T) {
	issued := regexp.MustCompile(`"iat":(\d+)`)
	tests := []struct {
		release, user string
		same          bool // the iat
	}{
		{"", `"user_id":206661,`, true},
		{"5.5.0", `"user_id":206661,`, true},
		{"5.5.1", `"user_id":"206661",`, false},
	}
	for _, test := range tests {
		t.Run(test.release, func(t *testing.T) {
			server := New(SimpleJWT{Release: test.release})
			call := start(t, server)
			refresh, first := obtain(t, call)
			server.Skew(23 * time.Hour)
			got := renew(call, refresh)
			access := field(t, got.body, "access")
			if got.status != 200 || got.body != `{"access":"`+access+`"}` || access == first {
				t.Fatalf("refresh: %d %s", got.status, got.body)
			}
			if got := whoami(call, "Authorization: Bearer "+access); got.status != 200 {
				t.Errorf("the new token: %d %s", got.status, got.body)
			}
			text := payload(t, access)
			if !strings.Contains(text, test.user) || !strings.HasSuffix(text, `"roles":[],"ip_address":"127.0.0.1"}`) {
				t.Errorf("claims: %s", text)
			}
			if same := issued.FindString(text) == issued.FindString(payload(t, refresh)); same != test.same {
				t.Errorf("iat of the refresh token: %v, want %v: %s", same, test.same, text)
			}
			if tried, granted := server.Logins(); tried != 1 || granted != 1 {
				t.Errorf("a refresh counts as a login: %d tried, %d granted", tried, granted)
			}
		})
	}
}

func TestSimpleJWTRotation(t *testing.T) {
	for _, blacklist := range []bool{false, true} {
		server := New(SimpleJWT{Rotate: true, Blacklist: blacklist})
		call := start(t, server)
		refresh, _ := obtain(t, call)
		server.Skew(23 * time.Hour)
		got := renew(call, refresh)
		next := field(t, got.body, "refresh")
		if got.status != 200 || got.body != `{"access":"`+field(t, got.body, "access")+`","refresh":"`+next+`"}` || next == refresh {
			t.Fatalf("refresh: %d %s", got.status, got.body)
		}
		again, verify := renew(call, refresh), call(tokenCall("/token/verify/", `{"token":"`+refresh+`"}`))
		switch {
		case !blacklist && (again.status != 200 || verify.status != 200):
			t.Errorf("without a blacklist, the old one: %d %s, %d %s", again.status, again.body, verify.status, verify.body)
		case blacklist && (again.status != 401 || again.body != simpleBlack):
			t.Errorf("on the blacklist: %d %s", again.status, again.body)
		case blacklist && (verify.status != 400 || verify.body != `{"non_field_errors":["Token is blacklisted"]}`):
			t.Errorf("verifying it: %d %s", verify.status, verify.body)
		}
		server.Skew(46 * time.Hour) // the old one is dead by its own time
		if got := renew(call, next); got.status != 200 {
			t.Errorf("the new one: %d %s", got.status, got.body)
		}
	}
}

// The answer is lost, and with it the only refresh token that works.
func TestSimpleJWTLostRotation(t *testing.T) {
	server := New(SimpleJWT{Rotate: true, Blacklist: true})
	call := start(t, server)
	refresh, _ := obtain(t, call)
	server.Fail(1, Fault{Path: "/token/refresh/", Drop: true, Late: true})
	if got := renew(call, refresh); got.err == nil {
		t.Fatalf("answered %d %s", got.status, got.body)
	}
	if got := renew(call, refresh); got.status != 401 || got.body != simpleBlack {
		t.Errorf("after it: %d %s", got.status, got.body)
	}
	obtain(t, call)
}

func TestSimpleJWTBlacklist(t *testing.T) {
	for _, enabled := range []bool{false, true} {
		server := New(SimpleJWT{Blacklist: enabled, Release: "5.5.1"})
		call := start(t, server)
		refresh, access := obtain(t, call)
		if got := call(tokenCall("/token/blacklist/", `{"refresh":"`+refresh+`"}`)); got.status != 200 || got.body != "{}" {
			t.Errorf("got %d %s", got.status, got.body)
		}
		got := renew(call, refresh)
		if enabled != (got.status == 401) || enabled && got.body != simpleBlack {
			t.Errorf("with the app %v: %d %s", enabled, got.status, got.body)
		}
		got = call(tokenCall("/token/verify/", `{"token":"`+refresh+`"}`))
		if enabled && got.body != `{"non_field_errors":["Токен занесен в черный список"]}` {
			t.Errorf("verifying it: %d %s", got.status, got.body)
		}
		if got := whoami(call, "Authorization: Bearer "+access); got.status != 200 {
			t.Errorf("the access token of a blacklisted one: %d %s, want 200", got.status, got.body)
		}
	}
}

// What refresh makes of a user that went away differs by release.
func TestSimpleJWTRefreshLooksAtTheUser(t *testing.T) {
	const gone = `{"detail":"No active account found for the given token."}`
	tests := []struct {
		release           string
		inactive, deleted int
	}{
		{"", 200, 200},
		{"5.3.1", 200, 200},
		{"5.4.0", 401, 500},
		{"5.5.1", 401, 500},
		{"next", 401, 401},
	}
	for _, test := range tests {
		server := New(SimpleJWT{Release: test.release})
		call := start(t, server)
		refresh, _ := obtain(t, call)
		server.Set(func(k *SimpleJWT) { k.Users = map[string]SimpleJWTUser{"user@example.com": {Inactive: true}} })
		if got := renew(call, refresh); got.status != test.inactive || got.status == 401 && got.body != gone {
			t.Errorf("%q, inactive: %d %s, want %d", test.release, got.status, got.body, test.inactive)
		}
		server.Set(func(k *SimpleJWT) { k.Users = map[string]SimpleJWTUser{} })
		if got := renew(call, refresh); got.status != test.deleted || got.status == 401 && got.body != gone {
			t.Errorf("%q, deleted: %d %s, want %d", test.release, got.status, got.body, test.deleted)
		}
	}
}
