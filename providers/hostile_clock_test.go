package providers

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/providers/sandbox"
)

// longest is how long each kind lets a token live, whatever it says of itself.
var longest = map[string]time.Duration{"finam": finamLife.longest, "simplejwt": simplejwtLife.longest, "etna": etnaLife.longest, "noventiq": noventiqLife.longest}

// hostileExpiry is a token that says when it ends, in a way of its own.
type hostileExpiry struct {
	name, token string
	text        string        // in the error; "" for a token
	life        time.Duration // of it, at most; 0: the kind's longest
}

func hostileExpiries() []hostileExpiry {
	soon := time.Now().Add(time.Minute).Unix()
	deep := strings.Repeat(`{"a":`, 12000) + "1" + strings.Repeat("}", 12000)
	exp := func(value string) string { return testJWT(`{"iat":1,"exp":` + value + `}`) }
	return []hostileExpiry{
		{"a minute", exp(fmt.Sprint(soon)), "", time.Minute},
		{"a fraction", exp(fmt.Sprint(soon, ".9999")), "", time.Minute + time.Second},
		{"a string", exp(fmt.Sprintf(`"%d"`, soon)), "", time.Minute},
		{"past", exp("1724949192"), "expired at 2024-08-29T16:33:12Z", 0},
		{"a second ago", exp(fmt.Sprint(time.Now().Unix() - 1)), "check both clocks", 0},
		{"zero", exp("0"), "expired at 1970-01-01", 0},
		{"negative", exp("-1"), "expired at 1970-01-01", 0},
		{"least", exp("-9223372036854775808"), "expired at 1970-01-01", 0},
		{"a century", exp(fmt.Sprint(soon + 100*365*86400)), "", 0},
		{"milliseconds", exp(fmt.Sprint(soon * 1000)), "", 0},
		{"overflow", exp("9223372036854775808"), "", 0},
		{"far overflow", exp("1e300"), "", 0},
		{"beyond numbers", exp("1e400"), "its exp is not a number", 0},
		{"beyond numbers, below", exp("-1e400"), "its exp is not a number", 0},
		{"NaN in words", exp(`"NaN"`), "its exp is not a number", 0},
		{"infinity in words", exp(`"Infinity"`), "", 0},
		{"a word", exp(`"tomorrow"`), "its exp is not a number", 0},
		{"a list", exp(`[1]`), "its exp is not a number", 0},
		{"an object", exp(`{}`), "its exp is not a number", 0},
		{"twice", testJWT(fmt.Sprintf(`{"exp":1,"exp":%d}`, soon)), "", time.Minute},
		// What says nothing of its end lives as long as such tokens are taken to.
		{"null", exp(`null`), "", 0},
		{"none", testJWT(`{}`), "", 0},
		{"no JSON", exp(`NaN`), "", 0},
		{"two segments", "eyJhbGciOiJIUzI1NiJ9.e30", "", 0},
		{"five segments", exp("1") + ".x.y", "", 0},
		{"algorithm none", testJWTWith(`{"alg":"none"}`, fmt.Sprintf(`{"exp":%d}`, soon)), "", time.Minute},
		{"no algorithm", testJWTWith(`{}`, `{"exp":1}`), "", 0},
		{"nested too deep", testJWTWith(`{"alg":"HS256"}`, `{"a":`+strings.Repeat("[", 12000)), "", 0},
		{"too long", testJWT(deep), "more than 64 KiB", 0},
		{"near the limit", testJWT(fmt.Sprintf(`{"a":"%s","exp":%d}`, strings.Repeat("a", 48000), soon)), "", time.Minute},
	}
}

// TestHostileExpiries asserts that no exp, however absurd, makes a token that is dead, or
// one that lives longer than the kind's tokens may.
func TestHostileExpiries(t *testing.T) {
	for _, test := range hostileExpiries() {
		h := hostile{name: test.name, class: Malformed, text: test.text}
		for kind, s := range systems() {
			t.Run(test.name+"/"+kind, func(t *testing.T) {
				p := s.connect(t, kind)
				s.server.Fail(1, sandbox.Fault{Edit: edit(tokenField[kind], `"`+test.token+`"`)})
				began := time.Now()
				token, err := Login(t.Context(), p, nil)
				h.good = test.text == ""
				h.check(t, s.settings.Secrets, token, err, began)
				most := test.life
				if most == 0 {
					most = longest[kind]
				}
				if err == nil && token.Expires.After(time.Now().Add(most)) {
					t.Errorf("it lives %v, at most %v", time.Until(token.Expires), most)
				}
			})
		}
	}
}

// TestHostileDates asserts that a Date beyond belief corrects nothing, is told, and that
// a token of the same clock is not served for longer than it lives.
func TestHostileDates(t *testing.T) {
	year := 365 * 24 * time.Hour
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	exp := func(d time.Duration) string { return testJWT(fmt.Sprintf(`{"exp":%d}`, time.Now().Add(d).Unix())) }
	tests := []struct {
		name, date, token string
		ttl               time.Duration
		life              time.Duration // 0: an error
		text              string
	}{
		{"good", at(0), exp(time.Hour), 0, time.Hour, ""},
		{"a year ahead, both", at(year), exp(year + time.Hour), 0, time.Hour, ""},
		{"a year ahead, Date alone", at(year), exp(time.Hour), 0, 0, "check both clocks"},
		{"four years ahead, both", at(4 * year), exp(4*year + time.Hour), 0, 0, "too far apart to tell how long it lives: check both clocks, or set ttl"},
		{"four years ahead, both, with a ttl", at(4 * year), exp(4*year + time.Hour), time.Hour, time.Hour, ""},
		{"four years ahead, Date alone", at(4 * year), exp(time.Hour), 0, time.Hour, ""},
		{"four years ahead, opaque", at(4 * year), "opaque", time.Hour, time.Hour, ""},
		{"four years behind, both", at(-4 * year), exp(time.Hour - 4*year), 0, 0, "check both clocks"},
		{"since 1970, opaque", "Thu, 01 Jan 1970 00:00:00 GMT", "opaque", time.Hour, time.Hour, ""},
		{"before all clocks", "Mon, 01 Jan 0001 00:00:00 GMT", exp(time.Hour), 0, time.Hour, ""},
		{"after all clocks", "Fri, 31 Dec 9999 23:59:59 GMT", testJWT(`{"exp":253402300799}`), 0, 0, "too far apart"},
		{"no date", "yesterday", exp(time.Hour), 0, time.Hour, ""},
	}
	for _, test := range tests {
		for kind, s := range systems() {
			t.Run(test.name+"/"+kind, func(t *testing.T) {
				s.settings.TTL = test.ttl
				p := s.connect(t, kind)
				s.server.Fail(1, sandbox.Fault{Edit: edit(tokenField[kind], `"`+test.token+`"`), Header: map[string]string{"Date": test.date}})
				token, err := Login(t.Context(), p, nil)
				if test.life == 0 {
					wantError(t, err, Malformed, test.text)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if off := time.Until(token.Expires) - test.life; off < -time.Minute || off > time.Second {
					t.Errorf("it lives %v, want %v", time.Until(token.Expires), test.life)
				}
				date, err := http.ParseTime(test.date)
				if told := token.Skew.Abs() > year/2; told != (err == nil && time.Until(date).Abs() > year/2) {
					t.Errorf("skew is %v", token.Skew)
				}
			})
		}
	}
}
