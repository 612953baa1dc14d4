package providers

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// classes is what a status means where no rule of the provider's own has caught
// the answer. What is permanent has to be certain; what is not in here is decided
// by statusClass.
var classes = map[int][2]Class{ // of a login, of a refresh
	http.StatusBadRequest:            {Misconfigured, RefreshRefused},
	http.StatusUnauthorized:          {Refused, RefreshRefused},
	http.StatusForbidden:             {Refused, RefreshRefused},
	http.StatusNotFound:              {Misconfigured, RefreshRefused},
	http.StatusMethodNotAllowed:      {Misconfigured, Misconfigured},
	http.StatusNotAcceptable:         {Misconfigured, Misconfigured},
	http.StatusProxyAuthRequired:     {Misconfigured, Misconfigured},
	http.StatusRequestTimeout:        {Transient, Transient},
	http.StatusConflict:              {Transient, Transient},
	http.StatusGone:                  {Misconfigured, RefreshRefused},
	http.StatusLengthRequired:        {Misconfigured, Misconfigured},
	http.StatusRequestEntityTooLarge: {Misconfigured, Misconfigured},
	http.StatusRequestURITooLong:     {Misconfigured, Misconfigured},
	http.StatusUnsupportedMediaType:  {Misconfigured, Misconfigured},
	http.StatusMisdirectedRequest:    {Transient, Transient},
	http.StatusUnprocessableEntity:   {Misconfigured, RefreshRefused},
	http.StatusLocked:                {Refused, Refused},
	http.StatusTooEarly:              {Transient, Transient},
	http.StatusTooManyRequests:       {Throttled, Throttled},
	499:                              {Transient, Transient}, // a gateway's word for a client that went away
	http.StatusNotImplemented:        {Misconfigured, Misconfigured},
}

// statusClass reads the table; other 4xx are a no to the request, other 5xx pass.
func statusClass(status int, step step) Class {
	if row, ok := classes[status]; ok {
		return row[step]
	}
	switch status / 100 {
	case 3, 4:
		return Misconfigured
	case 5:
		return Transient
	}
	return Malformed
}

// class is the status's class, with what the rest of the answer has to say.
func (a *answer) class() Class {
	switch {
	case (a.status == http.StatusUnauthorized || a.status == http.StatusForbidden) && a.html():
		return Blocked // a firewall's page, not the API's no
	case a.status == http.StatusServiceUnavailable && a.retryAfter() > 0:
		return Throttled
	}
	return statusClass(a.status, a.step)
}

// ok says whether the status promises a token.
func (a *answer) ok() bool { return a.status/100 == 2 }

// fail makes an Error of the class; the text follows the provider's name.
func (a *answer) fail(class Class, format string, args ...any) *Error {
	sent := a.status != http.StatusProxyAuthRequired // a proxy's answer: it has passed nothing on
	e := &Error{Class: class, Sent: sent, Status: a.status, Err: fmt.Errorf(a.caller.kind.Name+" "+format, args...)}
	if class == Throttled || class == Transient {
		e.RetryAfter = a.retryAfter()
	}
	return e
}

// judge makes the Error of an answer without success that no rule of the
// provider's own has caught. secrets names what was sent: "the API secret".
func (a *answer) judge(secrets string) *Error { return a.judgeAs(a.class(), secrets) }

// judgeAs is judge for a class that the provider's rules found.
func (a *answer) judgeAs(class Class, secrets string) *Error {
	if a.step == refresh && class == RefreshRefused {
		return a.fail(class, "refused the refresh token (%s)", a.words())
	}
	switch {
	case a.status/100 == 3:
		return a.fail(class, "redirects to %s (%s): no redirect is followed with secrets; correct url", a.target(), a.words())
	case a.status == http.StatusProxyAuthRequired:
		return a.fail(class, "was not reached: the proxy wants a user and a password (%s): correct proxy", a.words())
	}
	switch class {
	case Refused:
		return a.fail(class, "refused %s (%s)", secrets, a.words())
	case Misconfigured:
		return a.fail(class, "did not accept the request to %s (%s): check url and the credential's keys", a.caller.base.Host, a.words())
	case Throttled:
		return a.fail(class, "limits the rate of requests (%s)", a.words())
	case Blocked:
		return a.fail(class, "was not reached: something in front of it answered (%s)", a.words())
	case Malformed:
		return a.fail(class, "answered without a token (%s)", a.words())
	}
	return a.fail(class, "failed (%s)", a.words())
}

// broken is an answer that stopped before its end. Nothing permanent follows from
// half of it; a rate limit is in the header already.
func (a *answer) broken(e *Error) *Error {
	e.Status = a.status
	if a.class() == Throttled {
		e.Class = Throttled
	}
	if e.Class == Throttled || e.Class == Transient {
		e.RetryAfter = a.retryAfter()
	}
	return e
}

// target is the scheme and host of a redirect; the rest may hold secrets.
func (a *answer) target() string {
	place, err := a.caller.base.Parse(a.header.Get("Location"))
	switch {
	case err != nil || a.header.Get("Location") == "":
		return "an unnamed place"
	case place.Host == "":
		return a.mask.clean(place.Scheme + ":")
	case place.Host == a.caller.base.Host && place.Scheme == a.caller.base.Scheme:
		return "another path of " + a.mask.clean(place.Scheme+"://"+place.Host)
	}
	return a.mask.clean(place.Scheme + "://" + place.Host)
}

// retryAfter is what the answer's Retry-After asks for; 0 without one.
func (a *answer) retryAfter() time.Duration {
	now := a.received
	if date, err := http.ParseTime(a.header.Get("Date")); err == nil {
		now = date
	}
	return parseRetryAfter(a.header.Get("Retry-After"), now)
}

// parseRetryAfter reads both forms of RFC 9110, section 10.2.3: seconds, and a
// date, which is the server's and so counts from the server's now. The result is
// within 1 s and 1 h; 0 for what is neither form.
func parseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if at, err := http.ParseTime(value); err == nil {
		return clampWait(at.Sub(now))
	}
	seconds := time.Duration(0)
	for _, digit := range []byte(value) {
		if digit < '0' || digit > '9' {
			return 0
		}
		seconds = min(seconds*10+time.Duration(digit-'0'), 3600)
	}
	if value == "" {
		return 0
	}
	return clampWait(seconds * time.Second)
}

// clampWait bounds what a provider may ask for: no hot loop, and no outage of a day
// by one wrong header.
func clampWait(wait time.Duration) time.Duration { return min(max(wait, time.Second), time.Hour) }

// statusText is a status as errors show it: "HTTP 404 Not Found".
func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", status, http.StatusText(status)))
}
