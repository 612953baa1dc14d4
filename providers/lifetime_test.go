package providers

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

// testJWT makes a JWT with these claims; nobody looks at its signature.
func testJWT(claims string) string { return testJWTWith(`{"alg":"HS256","typ":"JWT"}`, claims) }

func testJWTWith(header, claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + enc([]byte(claims)) + "." + enc([]byte("signature"))
}

func TestMeasureSkew(t *testing.T) {
	second := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	date := second.Format(http.TimeFormat)
	at := func(d time.Duration) time.Time { return second.Add(d) }
	tests := []struct {
		name       string
		date       string
		start, end time.Time
		want       time.Duration
		ok         bool
	}{
		{"inside its second", date, at(300 * time.Millisecond), at(400 * time.Millisecond), 0, true},
		{"overlaps the beginning", date, at(-time.Second), at(0), 0, true},
		{"overlaps the end", date, at(time.Second), at(3 * time.Second), 0, true},
		{"long exchange around it", date, at(-10 * time.Second), at(10 * time.Second), 0, true},
		{"server ahead", date, at(-62 * time.Second), at(-60 * time.Second), time.Minute, true},
		{"server ahead a little", date, at(-2 * time.Second), at(-100 * time.Millisecond), 100 * time.Millisecond, true},
		{"server behind", date, at(61 * time.Second), at(70 * time.Second), -time.Minute, true},
		{"399 days", date, at(-399 * 24 * time.Hour), at(-399 * 24 * time.Hour), 399 * 24 * time.Hour, true},
		{"401 days", date, at(-401 * 24 * time.Hour), at(-401 * 24 * time.Hour), 401 * 24 * time.Hour, false},
		{"401 days behind", date, at(401 * 24 * time.Hour), at(401 * 24 * time.Hour), time.Second - 401*24*time.Hour, false},
		{"no date", "", at(0), at(0), 0, false},
		{"no date either", "yesterday", at(0), at(0), 0, false},
		{"before all clocks", "Mon, 01 Jan 0001 00:00:00 GMT", at(0), at(0), math.MinInt64, false},
	}
	for _, test := range tests {
		got, ok := measureSkew(test.date, test.start, test.end)
		if got != test.want || ok != test.ok {
			t.Errorf("%s: %v %v, want %v %v", test.name, got, ok, test.want, test.ok)
		}
	}
}

func TestJWTExpiry(t *testing.T) {
	long := strings.Repeat("9", 400)
	whole := testJWT(`{"exp":1724949192}`)
	bare := whole[:strings.LastIndex(whole, ".")]
	tests := []struct {
		name, text string
		want       float64 // 0: none stated; -1: an error
	}{
		{"plain", testJWT(`{"exp":1724949192}`), 1724949192},
		{"fraction", testJWT(`{"exp":1724949192.25}`), 1724949192.25},
		{"exponent", testJWT(`{"exp":1.724949192e9}`), 1724949192},
		{"numeric string", testJWT(`{"exp":"1724949192"}`), 1724949192},
		{"odd claims", testJWT(`{"exp":1724949192,"sub":1,"aud":{},"iat":"x","nbf":[],"user_id":206661}`), 1724949192},
		{"unknown algorithm", testJWTWith(`{"alg":"GOST3410"}`, `{"exp":1724949192}`), 1724949192},
		{"far away", testJWT(`{"exp":1e300}`), lastSecond},
		{"no exp", testJWT(`{"iat":1724949192}`), 0},
		{"null exp", testJWT(`{"exp":null}`), 0},
		{"null claims", testJWT(`null`), 0},
		{"word", testJWT(`{"exp":"soon"}`), -1},
		{"NaN", testJWT(`{"exp":"NaN"}`), -1},
		{"flag", testJWT(`{"exp":true}`), -1},
		{"beyond numbers", testJWT(`{"exp":` + long + `}`), -1},
		{"opaque", "fj45u923j59ju42395iu9423i59243u0", 0},
		{"empty", "", 0},
		{"two dots", "..", 0},
		{"no signature", bare + ".", 1724949192},
		{"two parts", bare, 0},
		{"four parts", testJWT(`{"exp":1724949192}`) + ".x", 0},
		{"no alg", testJWTWith(`{"typ":"JWT"}`, `{"exp":1724949192}`), 0},
		{"alg is no string", testJWTWith(`{"alg":1}`, `{"exp":1724949192}`), 0},
		{"header is a list", testJWTWith(`[]`, `{"exp":1724949192}`), 0},
		{"claims are a list", testJWT(`[1724949192]`), 0},
		{"bad signature", testJWT(`{"exp":1724949192}`) + "!", 0},
		{"bad signature, unknown algorithm", testJWTWith(`{"alg":"X"}`, `{"exp":1724949192}`) + "!", 0},
		{"padding", testJWT(`{"exp":1724949192}`) + "=", 0},
		{"line end", testJWT(`{"exp":1724949192}`) + "\n", 0},
	}
	for _, test := range tests {
		exp, stated, err := jwtExpiry(test.text)
		got := float64(exp.UnixNano()) / 1e9
		switch {
		case test.want < 0:
			if err == nil || stated {
				t.Errorf("%s: %v %v, want an error", test.name, exp, stated)
			}
		case err != nil || stated != (test.want > 0):
			t.Errorf("%s: stated %v, error %v", test.name, stated, err)
		case stated && test.want == lastSecond:
			if exp.Unix() != lastSecond {
				t.Errorf("%s: %v", test.name, exp)
			}
		case stated && math.Abs(got-test.want) > 1e-6:
			t.Errorf("%s: %f, want %f", test.name, got, test.want)
		}
	}
}

func TestIssue(t *testing.T) {
	start := time.Now()
	received := start.Add(2 * time.Second)
	jwtFor := func(left time.Duration) string {
		return testJWT(fmt.Sprintf(`{"iat":1,"exp":%.3f}`, float64(received.Add(left).UnixMilli())/1e3))
	}
	rules := life{assumed: 15 * time.Minute, longest: 24 * time.Hour}
	tests := []struct {
		name      string
		text      string
		skew, ttl time.Duration
		want      time.Duration // from received; 0: an error
	}{
		{"exp", jwtFor(10 * time.Minute), 0, 0, 10 * time.Minute},
		{"exp, server ahead", jwtFor(10 * time.Minute), 3 * time.Minute, 0, 7 * time.Minute},
		{"exp, server behind", jwtFor(10 * time.Minute), -3 * time.Minute, 0, 13 * time.Minute},
		{"exp past by our clock alone", jwtFor(-time.Minute), -3 * time.Minute, 0, 2 * time.Minute},
		{"exp past by theirs", jwtFor(time.Minute), 3 * time.Minute, 0, 0},
		{"exp now", jwtFor(0), 0, 0, 0},
		{"exp zero", testJWT(`{"exp":0}`), 0, 0, 0},
		{"exp negative", testJWT(`{"exp":-1e300}`), 0, 0, 0},
		{"exp no number", testJWT(`{"exp":[]}`), 0, 0, 0},
		{"ttl bounds exp, from the start", jwtFor(time.Hour), 0, time.Minute, 58 * time.Second},
		{"ttl above exp", jwtFor(time.Hour), 0, 2 * time.Hour, time.Hour},
		{"longest", jwtFor(1000 * time.Hour), 0, 0, 24*time.Hour - 2*time.Second},
		{"longest, whatever ttl", jwtFor(1000 * time.Hour), 0, 48 * time.Hour, 24*time.Hour - 2*time.Second},
		{"absurd", testJWT(`{"exp":1e300}`), -time.Hour, 0, 24*time.Hour - 2*time.Second},
		{"opaque", "opaque", time.Hour, 0, 15*time.Minute - 2*time.Second},
		{"no exp", testJWT(`{}`), 0, 0, 15*time.Minute - 2*time.Second},
		{"ttl replaces the assumed", "opaque", 0, 48 * time.Hour, 48*time.Hour - 2*time.Second},
		{"negative ttl", "opaque", 0, -time.Hour, 15*time.Minute - 2*time.Second},
		{"ttl shorter than the exchange", "opaque", 0, time.Second, 0},
		{"ttl shorter than the exchange, exp", jwtFor(time.Hour), 0, time.Second, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := testCaller(t, "http://h", func(s *Settings) { s.TTL = test.ttl })
			a := &answer{caller: c, status: 200, start: start, received: received, gap: test.skew, skew: test.skew, dated: true}
			token, err := a.issue(NewSecret(test.text), rules)
			if test.want == 0 {
				wantError(t, err, Malformed)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if off := token.Expires.Sub(received) - test.want; off.Abs() > time.Millisecond {
				t.Errorf("expires after %v, want %v", token.Expires.Sub(received), test.want)
			}
			if !token.Issued.Equal(start) || token.Skew != test.skew || token.Value.Reveal() != test.text {
				t.Errorf("token is %+v", token)
			}
			if token.Expires == token.Expires.Round(0) || token.Issued == token.Issued.Round(0) {
				t.Error("a time has lost its monotonic reading")
			}
		})
	}
}

func TestExpiredTokenNamesBothClocks(t *testing.T) {
	body := `{"token":"` + testJWT(`{"exp":1724949192}`) + `"}`
	ahead := time.Now().Add(2 * time.Hour).UTC().Truncate(time.Second)
	for header, want := range map[string]string{
		"Date: " + ahead.Format(http.TimeFormat): " and its own " + ahead.Format(time.RFC3339) + ": check both clocks",
		"Date: x":                                ", and the answer has no usable Date to compare clocks with: check both clocks",
	} {
		a, err := testCaller(t, serve(t, reply(200, body, header))).post(t.Context(), request{})
		if err != nil {
			t.Fatal(err)
		}
		token, err := a.token("token")
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.issue(token, finamLife)
		wantError(t, err, Malformed, "expired at 2024-08-29T16:33:12Z; this host's clock says 20", want)
	}
}

func FuzzJWT(f *testing.F) {
	for _, seed := range []string{"", "a.b.c", testJWT(`{"exp":1724949192}`), testJWT(`{"exp":"1"}`), testJWT(`{"exp":-1e308}`), testJWTWith(`{"alg":null}`, `{}`)} {
		f.Add(seed)
	}
	for _, test := range hostileExpiries() {
		f.Add(test.token)
	}
	rules := life{assumed: time.Minute, longest: 24 * time.Hour}
	c, err := newCaller(&testKind, Settings{URL: "http://h", Secrets: map[string]Secret{"password": NewSecret("x")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		exp, stated, err := jwtExpiry(text)
		if stated && (err != nil || exp.Unix() < 0 || exp.Unix() > lastSecond+1 || strings.Count(text, ".") != 2) {
			t.Errorf("%q gives %v, %v", text, exp, err)
		}
		now := time.Now()
		a := &answer{caller: c, status: 200, start: now, received: now, skew: -maxSkew}
		token, err := a.issue(NewSecret(text), rules)
		if err == nil && (!token.Expires.After(now) || token.Expires.After(now.Add(rules.longest))) {
			t.Errorf("%q expires at %v", text, token.Expires)
		}
		if err != nil && len(text) > 10 && strings.Contains(err.Error(), text) {
			t.Errorf("the error shows the token: %v", err)
		}
	})
}
