package providers

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// finamKind is Finam's Trade API. The endpoint is a gateway before a gRPC service
// (https://api.finam.ru/docs/rest/authservice_auth.md): errors are google.rpc.Status
// objects. The tokens are JWTs of 15 minutes.
var finamKind = Kind{
	Name:    "finam",
	Help:    "Finam Trade API (https://tradeapi.finam.ru)",
	URL:     "https://api.finam.ru",
	Keys:    []Key{{Name: "secret", Help: "the API secret, made in the portal", Secret: true, Required: true}},
	Headers: []Header{{Name: "Authorization", Format: "{token}"}},
	RenewAt: 0.75,
	Logins:  12,
}

var finamLife = life{assumed: 15 * time.Minute, longest: 24 * time.Hour}

// finamClasses is what the gRPC codes mean here (google.rpc.Code; the gateway maps
// each to one HTTP status). The "token" of its texts is the API secret.
var finamClasses = map[int]Class{
	1:  Transient,     // cancelled
	2:  Transient,     // unknown
	3:  Refused,       // invalid argument; documented with the text of a 401
	4:  Transient,     // deadline exceeded
	5:  Refused,       // not found: "the account was not found in the token"
	6:  Transient,     // already exists
	7:  Refused,       // permission denied
	8:  Throttled,     // resource exhausted
	9:  Refused,       // failed precondition
	10: Transient,     // aborted
	11: Refused,       // out of range
	12: Misconfigured, // unimplemented
	13: Transient,     // internal
	14: Transient,     // unavailable
	15: Transient,     // data loss
	16: Refused,       // unauthenticated
}

type finam struct{ *caller }

func newFinam(c *caller) (Provider, error) { return &finam{c}, nil }

// Login trades the API secret for a JWT. There is no Authorization header on this
// call, ever: the server takes it for the caller's and refuses a stale one.
func (f *finam) Login(ctx context.Context, _ *Answer) (Token, error) {
	a, err := f.post(ctx, request{path: "/v1/sessions", body: map[string]string{"secret": f.Secrets["secret"].Reveal()}})
	if err != nil {
		return Token{}, err
	}
	if !a.ok() {
		return Token{}, finamFailure(a)
	}
	token, err := a.token("token")
	if err != nil {
		return Token{}, err
	}
	return a.issue(token, finamLife)
}

func finamFailure(a *answer) *Error {
	class, code := finamClass(a)
	words := a.words()
	if code >= 0 {
		words = quote(fmt.Sprintf("HTTP %d, code %s", a.status, a.mask.clean(strconv.Itoa(code))), a.message())
	}
	var e *Error
	switch {
	case class == Refused && code == 5:
		e = a.fail(class, "knows no account for the API secret (%s): check the account in the portal, and url", words)
	case class == Refused:
		e = a.fail(class, "refused the API secret (%s): make a new one in the portal", words)
	case class == Throttled:
		e = a.fail(class, "limits the rate of requests (%s); 200 a minute are allowed", words)
	default:
		e = a.judgeAs(class, "the API secret")
	}
	if class == Throttled || class == Transient {
		e.RetryAfter = finamWait(a, class)
	}
	return e
}

// finamClass is the class of a failure, and its gRPC code; -1 if the body is no
// google.rpc.Status. A code is believed only as far as the status allows: nothing
// is final that came with a 5xx; nor, except for the 404 of a wrong url, what came
// with a body that is no JSON.
func finamClass(a *answer) (Class, int) {
	class, code := a.class(), -1
	o, err := a.object()
	if err == nil {
		if n, ok := o.number("code"); ok {
			code = n
		}
	}
	known, ok := finamClasses[code]
	final := class == Refused || class == Misconfigured
	switch {
	case a.status/100 == 3 || a.status == http.StatusProxyAuthRequired:
	case ok && known == Throttled, ok && a.status/100 == 4 && class != Throttled:
		class = known
	case final && err != nil && len(a.body) > 0 && a.status != http.StatusNotFound:
		class = Blocked // not the API's words, but those of something before it
	}
	return class, code
}

// finamWait is what the answer asks for: Retry-After, else the gRPC push-back,
// where a negative one means "do not try again" and gets the longest wait there is.
// The limit is counted by the minute, so a rate limit that says nothing gets one.
func finamWait(a *answer, class Class) time.Duration {
	if wait := a.retryAfter(); wait > 0 {
		return wait
	}
	for _, prefix := range []string{"Grpc-Metadata-", "Grpc-Trailer-", ""} {
		ms, err := strconv.Atoi(a.header.Get(prefix + "Grpc-Retry-Pushback-Ms"))
		switch {
		case err != nil:
			continue
		case ms < 0 || ms > int(time.Hour/time.Millisecond):
			return time.Hour
		}
		return clampWait(time.Duration(ms) * time.Millisecond)
	}
	if class == Throttled {
		return time.Minute
	}
	return 0
}
