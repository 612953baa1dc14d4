// Package providers turns long-lived secrets into short-lived tokens, for each
// kind of login endpoint that tokend knows.
//
// A provider is stateless: it holds one credential's settings, and what must last
// from one renewal to the next is in the Token. It never retries, sleeps or
// remembers; when to try, and whether at all, is the keeper's to decide from the
// Class of the error. What must not differ between providers is there once: http.go
// makes the exchange (timeout, limits, no redirect), lost.go says why there was no
// answer, classify.go what a status means, body.go what a token is, lifetime.go how
// long it lives, mask.go what of foreign text an error may show.
//
// # What upstream may do wrong
//
//	no TLS: certificate, version, cipher   blocked, with what to do about it
//	no connection, no HTTP, too late       transient
//	a header above 256 KiB, 1xx included   transient
//	a proxy that refuses, or is down       misconfigured, throttled or transient
//	3xx, wherever to                       misconfigured; none is followed
//	a page for people with 401 or 403      blocked
//	half a body, no JSON, over 1 MiB       by its status; malformed with a 2xx
//	a body that is compressed              not unpacked: no JSON
//	a token of another type or empty,      malformed
//	  not printable ASCII, over 64 KiB
//	one that has expired                   malformed; the text tells both clocks
//	one that lives for years               cut to what such tokens live at most
//	one of a clock over 400 days off       malformed, unless ttl says how long it lives
//
// Of these, 64 at once hold less than 8 MiB each.
//
// A new provider is one file with its Kind, one line in the table in kinds.go,
// one look-alike in package sandbox and one table of golden answers.
package providers

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Provider turns one credential's settings into tokens.
type Provider interface {
	// Login authenticates with the secrets. answer is nil, or the reply to the
	// Challenge that the last Login returned as its error. Every error is an
	// *Error or a *Challenge.
	Login(ctx context.Context, answer *Answer) (Token, error)
}

// Refresher is a Provider whose tokens can be renewed without the secrets.
type Refresher interface {
	Provider
	// Refresh trades prev.Refresh for a new token. A Token that comes back without
	// a refresh token leaves prev's in force.
	Refresh(ctx context.Context, prev Token) (Token, error)
}

// Token is what a provider hands out. Times are this host's, corrected for the
// provider's clock, and carry a monotonic reading unless they come from the store.
type Token struct {
	Value          Secret
	Refresh        Secret // empty if the provider has none
	Issued         time.Time
	Expires        time.Time
	RefreshExpires time.Time // zero if unknown
	// Skew is the provider's clock minus this host's, as last measured. Above 400 days
	// it is for people to see, and corrects nothing.
	Skew time.Duration
}

// Class says what an error means for the next attempt.
type Class int

// The classes of errors. The table in the doc of package keeper has what each leads to.
const (
	// Malformed is a 2xx answer without a sane token, and the zero value: what is
	// not understood is retried slowly and never served.
	Malformed Class = iota
	// Refused is a provider's no to these secrets; sending them again is harmful.
	Refused
	// Misconfigured is a no to the request itself: wrong URL, wrong fields.
	Misconfigured
	// RefreshRefused is a no to the refresh token alone: log in.
	RefreshRefused
	// NoRefresh says that the provider has no refresh endpoint: log in, from now on.
	NoRefresh
	// Throttled is a rate limit.
	Throttled
	// Transient is a failure that may pass by itself: network, 408, 425, 5xx.
	Transient
	// Blocked is something between us and the provider: a certificate that does not
	// verify, a firewall's HTML page.
	Blocked
	// TicketGone ends a challenge that a person has answered: only a new login helps,
	// and only an operator asks for one.
	TicketGone
)

var classNames = [...]string{"malformed", "refused", "misconfigured", "refresh-refused", "no-refresh", "throttled", "transient", "blocked", "ticket-gone"}

// String is the class in lower case, as logs and metrics name it.
func (c Class) String() string {
	if c < 0 || int(c) >= len(classNames) {
		return fmt.Sprintf("class-%d", int(c))
	}
	return classNames[c]
}

// Error is a failed Login or Refresh. Its text holds no secret, and foreign text
// in it is masked, cut and free of control characters.
type Error struct {
	Class      Class
	RetryAfter time.Duration // what the provider asked for; 0 if it did not
	Sent       bool          // the request may have reached the provider
	Status     int           // of the HTTP answer; 0 if there was none
	Err        error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Challenge is an "error" of Login that only a person, or a configured source,
// can clear.
type Challenge struct {
	Step    string // the provider's name for what it wants
	Prompt  string // the provider's words to the person, masked and cut
	Ticket  Secret // stays in memory
	Expires time.Time

	spent string // keys whose configured answers this login has used up, a blank after each
}

func (c *Challenge) Error() string { return "the provider asks for " + c.Step }

// Answer is the reply to a Challenge.
type Answer struct {
	Challenge
	Text Secret
}

// Kind describes one kind of login endpoint. Checks, did-you-mean, the identity of
// a credential and the man page all come from it.
type Kind struct {
	Name    string   // as `provider =` in the credentials file
	Help    string   // one line for the man page
	URL     string   // default base URL; empty if the credential must give one
	Keys    []Key    // beside those that every credential takes
	Headers []Header // how callers use the token, unless the credential says otherwise
	RenewAt float64  // fraction of the lifetime at which to renew
	Logins  int      // logins a minute and account, at most
	// Person is the key without which a login may ask for what only a person has;
	// empty if logins never do. Each such login may send that person a code, so none
	// is repeated without need.
	Person string
	// New makes the provider. What it refuses are values that no request could
	// carry; its errors are shown as a problem of the file and hold no secret.
	New func(Settings) (Provider, error)
}

// Key is a key of the credentials file that a Kind takes.
type Key struct {
	Name     string
	Help     string // one line for the man page
	Secret   bool   // taken from any source, masked everywhere
	Identity bool   // decides whose token it is
	Required bool
	Default  string
	// Group, where not empty, makes the key one of several of which exactly one must be
	// given; Required is then of no account.
	Group string
	// Late is a secret that its sources give when it is needed, such as a one-time
	// code; it takes a TOTP key as well.
	Late bool
}

// Source gives a secret at the time it is needed. at is that time by the provider's
// clock, which a TOTP goes by. Its errors say what failed and hold no secret.
type Source func(ctx context.Context, at time.Time) (Secret, error)

// KeyError is an error of Kind.New about the value of one key, so that it can be
// shown at the key's place in the file.
type KeyError struct {
	Key string // a key of the kind, or url
	Err error  // without the key's name
}

func (e *KeyError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *KeyError) Unwrap() error { return e.Err }

// Header is a header that callers of the API send. Format may hold {token} and
// the name of any key of the kind in braces.
type Header struct {
	Name   string
	Format string
}

// Settings are the values of one credential, checked against its Kind.
type Settings struct {
	URL       string        // base, without a trailing slash
	Timeout   time.Duration // of one request
	TTL       time.Duration // lifetime to assume, and a cap; 0 if the file sets none
	Values    map[string]string
	Secrets   map[string]Secret
	Late      map[string]Source // of the keys that are Late
	Transport http.RoundTripper
}
