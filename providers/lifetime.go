package providers

import (
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// maxSkew is how far off a Date is believed: beyond it, the server has no clock.
	maxSkew = 400 * 24 * time.Hour
	// lastSecond bounds exp before it becomes a time (the end of the year 9999).
	lastSecond = 253402300799
)

// measureSkew is the smallest shift of this host's clock that explains a Date
// header: its second, [date, date+1s), must overlap the exchange, [start, end]. It
// reports false where there is no Date, or none to believe: the skew is for people then.
func measureSkew(date string, start, end time.Time) (time.Duration, bool) {
	at, err := http.ParseTime(date)
	if err != nil {
		return 0, false
	}
	skew := time.Duration(0)
	if ahead := at.Sub(end); ahead > 0 {
		skew = ahead
	} else if behind := at.Add(time.Second).Sub(start); behind < 0 {
		skew = behind
	}
	return skew, skew.Abs() <= maxSkew
}

// life says how long a kind's tokens live.
type life struct {
	assumed time.Duration // where the answer says nothing
	longest time.Duration // whatever the answer says
}

// issue makes the Token of a successful answer. Its lifetime is the exp of a JWT,
// in this host's time, or else is counted from the start of the request, which is
// never too late. Settings.TTL replaces the assumed one, and bounds the stated.
func (a *answer) issue(value Secret, life life) (Token, error) {
	token := Token{Value: value, Issued: a.start, Skew: a.gap}
	exp, stated, err := jwtExpiry(value.Reveal())
	if err != nil {
		return Token{}, a.fail(Malformed, "answered with a token that cannot be right: %w", err)
	}
	lifetime := cmp.Or(max(a.caller.TTL, 0), life.assumed)
	if stated {
		token.Expires = a.local(exp)
		if !token.Expires.After(a.received) {
			return Token{}, a.expired(exp)
		}
		if a.astray() && a.caller.TTL <= 0 && token.Expires.After(a.start.Add(life.longest)) {
			return Token{}, a.fail(Malformed, "answered with a token that expires at %s; %s: too far apart to tell how long it lives: check both clocks, or set ttl",
				exp.UTC().Format(time.RFC3339), a.clocks())
		}
		lifetime = life.longest
		if a.caller.TTL > 0 {
			lifetime = min(lifetime, a.caller.TTL)
		}
	}
	if last := a.start.Add(lifetime); !stated || token.Expires.After(last) {
		token.Expires = last
	}
	if !token.Expires.After(a.received) {
		return Token{}, a.fail(Malformed, "answered so late that the token's lifetime, %s from the request, was over: check ttl", lifetime)
	}
	return token, nil
}

// expiry is when a token ends that came beside the one that is issued, in this
// host's time: its exp, if it is a JWT that has one, else the end of the assumed
// lifetime.
func (a *answer) expiry(value Secret, assumed time.Duration) time.Time {
	exp, stated, err := jwtExpiry(value.Reveal())
	if err != nil || !stated {
		return a.start.Add(assumed)
	}
	return a.local(exp)
}

// local is a time of the provider's clock in this host's. It is added to a time of
// this process, so that the result keeps the monotonic clock.
func (a *answer) local(at time.Time) time.Time {
	return a.received.Add(at.Add(-a.skew).Sub(a.received))
}

// expired is about a token that was dead on arrival: one of two clocks is wrong.
func (a *answer) expired(exp time.Time) *Error {
	return a.fail(Malformed, "answered with a token that expired at %s; %s: check both clocks", exp.UTC().Format(time.RFC3339), a.clocks())
}

// astray says whether the provider's clock is so far off that it is not believed. An
// exp of the same clock says nothing then: one that has passed is told from this
// host's time, and one beyond the longest lifetime was made by such a clock.
func (a *answer) astray() bool { return !a.dated && a.gap != 0 }

// clocks tells the time on both sides.
func (a *answer) clocks() string {
	ours := "this host's clock says " + a.received.UTC().Format(time.RFC3339)
	if theirs, err := http.ParseTime(a.header.Get("Date")); err == nil {
		return ours + " and its own " + theirs.UTC().Format(time.RFC3339)
	}
	return ours + ", and the answer has no usable Date to compare clocks with"
}

// jwtExpiry reads the exp of a JWT. It reports false for what is not a JWT, or has
// no exp; neither is an error. exp may be fractional, or a string of a number. The
// signature is the API's to verify: we only want to know when to be back.
func jwtExpiry(text string) (exp time.Time, stated bool, err error) {
	if strings.ContainsAny(text, "\r\n") { // the decoder would skip them
		return time.Time{}, false, nil
	}
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(jwt.WithJSONNumber(), jwt.WithStrictDecoding())
	token, parts, err := parser.ParseUnverified(text, claims)
	if errors.Is(err, jwt.ErrTokenUnverifiable) {
		// An algorithm that the library does not know is fine; none at all is no JWT.
		if _, named := token.Header["alg"].(string); named {
			_, err = parser.DecodeSegment(parts[2])
		}
	}
	if err != nil {
		return time.Time{}, false, nil
	}
	var number json.Number
	switch value := claims["exp"].(type) {
	case nil:
		return time.Time{}, false, nil
	case json.Number:
		number = value
	case string:
		number = json.Number(value)
	}
	seconds, err := number.Float64()
	if err != nil || math.IsNaN(seconds) {
		return time.Time{}, false, errors.New("its exp is not a number")
	}
	seconds = min(max(seconds, 0), lastSecond)
	whole := int64(seconds)
	return time.Unix(whole, int64((seconds-float64(whole))*1e9)), true, nil
}
